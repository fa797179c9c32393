//! Answers that a reader may have already: `ETag` is a digest of the body, and whoever names it in `If-None-Match` gets 304
//! (RFC 9110, 8.8.3 and 13.1.2).

use std::time::Duration;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use sonde_store::view::Viewer;

/// How many bytes of the digest the tag has.
const TAG_BYTES: usize = 12;

/// The answer with this body, good for so long; what is not for everybody stays out of shared caches.
pub(crate) fn respond(
    asked: &HeaderMap,
    viewer: Viewer,
    body: Vec<u8>,
    content_type: &'static str,
    fresh_for: Duration,
) -> Response {
    let sum = digest(&SHA256, &body);
    let tag = format!("\"{}\"", HEXLOWER.encode(sum.as_ref().get(..TAG_BYTES).unwrap_or_default()));
    let whose = if viewer == Viewer::Public { "public" } else { "private" };
    let caching = match fresh_for.as_secs() {
        // It may be kept, and must be asked about each time.
        0 => format!("{whose}, no-cache"),
        seconds => format!("{whose}, max-age={seconds}"),
    };
    let is_known = is_known(asked, &tag);
    let headers = [(ETAG, tag), (CACHE_CONTROL, caching)];
    if is_known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(CONTENT_TYPE, content_type)], body).into_response()
}

/// Does whoever asks have the answer of this tag already?
pub(crate) fn is_known(asked: &HeaderMap, tag: &str) -> bool {
    asked
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|known| known.trim().trim_start_matches("W/"))
        .any(|known| known == "*" || known == tag)
}
