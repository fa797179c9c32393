//! A request's body as JSON: bounded in size and time, and refused in words when it is not JSON. The `Content-Type` is not
//! looked at: curl's users forget it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::response::IntoResponse;
use serde_json::Value;

use crate::Api;
use crate::error::ApiError;

/// The greatest body in bytes: a hundred definitions and as many sources are a tenth of it.
pub(crate) const MAX_BODY: usize = 1024 * 1024;

/// How long a body may take to arrive.
const MAX_TIME: Duration = Duration::from_secs(30);

/// The body, parsed.
#[derive(Debug)]
pub(crate) struct JsonBody(pub Value);

impl FromRequest<Arc<Api>> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, ApiError> {
        let headers = request.headers();
        let plain =
            headers.get_all(CONTENT_ENCODING).iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
        if !plain {
            let detail = "This server takes bodies without a Content-Encoding only.";
            return Err(ApiError::unusable_body(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let too_large = || {
            let detail = format!("The body is larger than {MAX_BODY} bytes.");
            ApiError::unusable_body(StatusCode::PAYLOAD_TOO_LARGE, &detail)
        };
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > MAX_BODY as u64) {
            return Err(too_large());
        }
        // The router's `DefaultBodyLimit` cuts a body that did not say its length.
        let bytes = match tokio::time::timeout(MAX_TIME, Bytes::from_request(request, api)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(rejection)) => {
                return Err(match rejection.into_response().status() {
                    StatusCode::PAYLOAD_TOO_LARGE => too_large(),
                    _ => ApiError::unusable_body(StatusCode::BAD_REQUEST, "The body did not arrive whole."),
                });
            }
            Err(_) => {
                return Err(ApiError::unusable_body(StatusCode::REQUEST_TIMEOUT, "The body took too long to arrive."));
            }
        };
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(JsonBody(value)),
            Err(error) => Err(ApiError::body_at("", format!("The body is not JSON: {error}."))),
        }
    }
}
