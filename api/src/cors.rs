//! What pages of other sites may do: everything that anybody may do. No answer allows credentials, so a browser sends such a
//! page's requests without our cookie; with a key, that page has the key already.
//!
//! A rule of browsers alone (<https://fetch.spec.whatwg.org/#http-cors-protocol>); it protects nothing by itself.

use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

/// Is this for programs?
fn is_open(path: &str) -> bool {
    path.starts_with("/api/") || path == "/stream" || path.starts_with("/stream/")
}

/// The answer to a browser that asks before it sends a request with a key or a JSON body.
pub(crate) fn preflight(request: &Request) -> Option<Response> {
    let headers = request.headers();
    let asks = request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if !asks || !is_open(request.uri().path()) {
        return None;
    }
    let allowed = [
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, PUT, PATCH, DELETE"),
        // The star does not cover Authorization.
        (ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, Accept, Idempotency-Key, Last-Event-ID"),
        (ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    Some((StatusCode::NO_CONTENT, allowed).into_response())
}

/// Lets pages of other sites read an answer.
pub(crate) fn open(path: &str, headers: &mut HeaderMap) {
    if is_open(path) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        let exposed = HeaderValue::from_static("Retry-After, X-RIPE-Atlas-Global-Alert");
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}
