//! The one form of every refusal: RIPE Atlas's error envelope.
//!
//! `{"error":{"status":400,"code":102,"title":"Bad Request","detail":"…","errors":[{"source":{"pointer":"/…"},"detail":"…"}]}}`.
//! Clients format `status`, `title` and `detail` without looking whether they are there. Code 102 is a body that does not
//! validate, 104 everything else.

use std::time::Duration;

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sonde_store::StoreError;

/// Where in a request a problem is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A place in the body (a JSON pointer, RFC 6901; empty for the whole).
    Pointer(String),
    /// A parameter of the query.
    Parameter(String),
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where.
    pub source: Source,
    /// What, in a sentence for whoever sent it.
    pub detail: String,
}

impl Problem {
    /// A problem at a place in the body.
    pub fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { source: Source::Pointer(pointer.into()), detail: detail.into() }
    }
}

/// A request that is refused, or that the server could not carry out.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: u16,
    detail: String,
    problems: Vec<Problem>,
    retry_after: Option<u64>,
}

const BODY: u16 = 102;
const OTHER: u16 = 104;
const GENERAL: &str = "There was a problem with your request";

impl ApiError {
    fn plain(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, code: OTHER, detail: detail.into(), problems: Vec::new(), retry_after: None }
    }

    /// The body does not validate, for all these reasons.
    pub fn body(problems: Vec<Problem>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: BODY, detail: GENERAL.into(), problems, retry_after: None }
    }

    /// The body does not validate, for one reason.
    pub fn body_at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::body(vec![Problem::at(pointer, detail)])
    }

    /// A parameter of the query has a value that cannot be used.
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        let problem = Problem { source: Source::Parameter(name.to_owned()), detail: detail.into() };
        Self { problems: vec![problem], ..Self::plain(StatusCode::BAD_REQUEST, GENERAL) }
    }

    /// It makes sense by itself, but not after what came before.
    pub fn unprocessable(detail: &str) -> Self {
        Self::plain(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// The request cannot be served as it is.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::plain(StatusCode::BAD_REQUEST, detail)
    }

    /// It does not exist, or this viewer may not know that it does.
    pub fn not_found() -> Self {
        Self::plain(StatusCode::NOT_FOUND, "Not found.")
    }

    /// Is it [`ApiError::not_found`]?
    pub fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// The path exists, but not for this method.
    pub fn method_not_allowed(method: &Method) -> Self {
        Self::plain(StatusCode::METHOD_NOT_ALLOWED, format!("Method \"{method}\" not allowed."))
    }

    /// The key is missing or wrong, or it is not the owner's.
    pub fn forbidden(detail: &str) -> Self {
        Self::plain(StatusCode::FORBIDDEN, detail)
    }

    /// Too much from one client; it may come back after this time (`Retry-After`, in whole seconds, rounded up).
    pub fn too_many(detail: impl Into<String>, after: Duration) -> Self {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        Self { retry_after: Some(seconds.max(1)), ..Self::plain(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// The body could not be received; code 102, because it is about the body.
    pub fn unusable_body(status: StatusCode, detail: &str) -> Self {
        Self { code: BODY, ..Self::plain(status, detail) }
    }

    /// The server could not carry it out; why is in its log.
    pub fn internal() -> Self {
        Self::plain(StatusCode::INTERNAL_SERVER_ERROR, "The server could not carry this out.")
    }

    fn to_json(&self) -> Value {
        let errors = self.problems.iter().map(|problem| {
            let source = match &problem.source {
                Source::Pointer(pointer) => json!({ "pointer": pointer }),
                Source::Parameter(name) => json!({ "parameter": name }),
            };
            json!({ "source": source, "detail": problem.detail })
        });
        let mut error = json!({
            "status": self.status.as_u16(),
            "code": self.code,
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "detail": self.detail,
        });
        if let (Some(error), false) = (error.as_object_mut(), self.problems.is_empty()) {
            error.insert("errors".into(), errors.collect());
        }
        json!({ "error": error })
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if let StoreError::TooMuch { what, most } = error {
            let why =
                format!("More than {most} {what} would have to be read. Ask for less time, or for a longer prefix.");
            return Self::bad_request(why);
        }
        tracing::error!(%error, "the store failed under a request");
        Self::internal()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.to_json())).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_of_a_body_that_does_not_validate() {
        let error = ApiError::body_at("/definitions/0/af", "This field is required.");
        assert_eq!(
            error.to_json(),
            json!({"error": {
                "status": 400, "code": 102, "title": "Bad Request", "detail": "There was a problem with your request",
                "errors": [{"source": {"pointer": "/definitions/0/af"}, "detail": "This field is required."}],
            }})
        );
    }

    #[test]
    fn too_many_says_when_to_come_back() {
        let response = ApiError::too_many("Slow down.", Duration::from_millis(1200)).into_response();
        assert_eq!(
            (response.status(), &response.headers()[RETRY_AFTER]),
            (StatusCode::TOO_MANY_REQUESTS, &"2".parse().unwrap())
        );
    }

    #[test]
    fn without_problems_there_is_no_list_of_them() {
        assert_eq!(
            ApiError::not_found().to_json(),
            json!({"error": {"status": 404, "code": 104, "title": "Not Found", "detail": "Not found."}})
        );
    }
}
