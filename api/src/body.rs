//! A request's body as JSON: bounded in size and time, and refused in words when it is not JSON. The `Content-Type` is not
//! looked at: curl's users forget it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT};
use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt;
use serde_json::Value;

use crate::Api;
use crate::error::ApiError;

/// The greatest body in bytes: a hundred definitions and as many sources are a tenth of it.
const MAX_BODY: usize = 1024 * 1024;

/// How many bytes more are read and thrown away, so that a client that sends before it listens gets to hear why.
const MAX_WASTE: usize = 8 * 1024 * 1024;

/// How long a body may take to arrive.
const MAX_TIME: Duration = Duration::from_secs(30);

/// A body that is not looked at: read and thrown away, because a connection whose request was not read to its end cannot be
/// used for another.
#[derive(Debug)]
pub(crate) struct AnyBody;

impl FromRequest<Arc<Api>> for AnyBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Arc<Api>) -> Result<Self, ApiError> {
        match tokio::time::timeout(MAX_TIME, receive(request.into_body())).await {
            Ok(received) => received.map(|_| Self),
            Err(_) => Err(too_slow()),
        }
    }
}

/// The body, parsed.
#[derive(Debug)]
pub(crate) struct JsonBody(pub Value);

impl FromRequest<Arc<Api>> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Arc<Api>) -> Result<Self, ApiError> {
        let (head, body) = request.into_parts();
        let mut codings = head.headers.get_all(CONTENT_ENCODING).iter();
        if !codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            let detail = "This server takes bodies without a Content-Encoding only.";
            return Err(ApiError::unusable_body(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        // A client that waits to be asked for its body has sent nothing yet.
        if announces_too_much(&head.headers) && head.headers.contains_key(EXPECT) {
            return Err(too_large());
        }
        let Ok(bytes) = tokio::time::timeout(MAX_TIME, receive(body)).await else {
            return Err(too_slow());
        };
        match serde_json::from_slice(&bytes?) {
            Ok(value) => Ok(JsonBody(value)),
            Err(error) => Err(ApiError::body_at("", format!("The body is not JSON: {error}."))),
        }
    }
}

fn announces_too_much(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length > MAX_BODY as u64)
}

fn too_slow() -> ApiError {
    ApiError::unusable_body(StatusCode::REQUEST_TIMEOUT, "The body took too long to arrive.")
}

fn too_large() -> ApiError {
    let detail = format!("The body is larger than {MAX_BODY} bytes.");
    ApiError::unusable_body(StatusCode::PAYLOAD_TOO_LARGE, &detail)
}

/// The whole body, if it is not too large.
async fn receive(body: Body) -> Result<Vec<u8>, ApiError> {
    let mut stream = body.into_data_stream();
    let (mut bytes, mut total) = (Vec::new(), 0);
    while let Some(piece) = stream.next().await {
        let piece =
            piece.map_err(|_| ApiError::unusable_body(StatusCode::BAD_REQUEST, "The body did not arrive whole."))?;
        total += piece.len();
        if total <= MAX_BODY {
            bytes.extend_from_slice(&piece);
        } else {
            bytes = Vec::new();
        }
        if total > MAX_BODY + MAX_WASTE {
            break;
        }
    }
    if total > MAX_BODY { Err(too_large()) } else { Ok(bytes) }
}
