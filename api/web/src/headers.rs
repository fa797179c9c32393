//! What every answer of the site carries: what its page may do, how long it may be kept, what names its content.

use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use axum::middleware::Next;
use axum::response::Response;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate};

use crate::page::{self, Problem};
use crate::site::App;

/// What a page may do: load our own scripts, styles and pictures, and ask our own API. Nothing inline, no strings made markup.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const PERMISSIONS: &str = "camera=(), geolocation=(), microphone=(), payment=(), usb=(), browsing-topics=()";

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// The longest page that gets an `ETag`, in bytes; a longer one is passed on as it is.
const MAX_PAGE: usize = 16 << 20;

/// Around every page: errors become pages, and every answer gets its headers. A handler's own headers stay.
pub(crate) async fn finish(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let known = request.headers().get(IF_NONE_MATCH).cloned();
    let response = dress(&app, next.run(request).await).await;
    if !is_read || response.status() != StatusCode::OK {
        return response;
    }
    named(response, known.as_ref()).await
}

/// A problem as a page, and the headers of every answer.
pub(crate) async fn dress(app: &App, mut response: Response) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let own = response.headers().clone();
        response = page::of_problem(app, problem);
        // `Retry-After` and the like.
        for (name, value) in &own {
            response.headers_mut().entry(name).or_insert(value.clone());
        }
    }
    let headers = response.headers_mut();
    let defaults = [
        (CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The path alone never leaves the site: an address may name what somebody looks at.
        (REFERRER_POLICY, "strict-origin-when-cross-origin"),
        (PERMISSIONS_POLICY, PERMISSIONS),
        (CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in defaults {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Gives a public page the name of its content, and answers 304 to whoever has it.
async fn named(response: Response, known: Option<&HeaderValue>) -> Response {
    let is_kept = response.headers().get(CACHE_CONTROL).is_some_and(|cache| cache.as_bytes().starts_with(b"public"));
    let is_immutable =
        response.headers().get(CACHE_CONTROL).is_some_and(|cache| cache.as_bytes().ends_with(b"immutable"));
    if !is_kept || is_immutable || response.headers().contains_key(ETAG) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, MAX_PAGE).await else {
        tracing::error!("a page is longer than {MAX_PAGE} bytes");
        parts.status = StatusCode::INTERNAL_SERVER_ERROR;
        return Response::from_parts(parts, Body::empty());
    };
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    // Weak: the same page may travel compressed or not.
    let tag = format!("W/\"{:016x}\"", hasher.finish());
    let is_known = known.and_then(|known| known.to_str().ok()).is_some_and(|known| matches(known, &tag));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        parts.headers.insert(ETAG, tag);
    }
    if is_known {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(CONTENT_TYPE);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}

/// RFC 9110, 13.1.2: any of a list, compared weakly.
fn matches(known: &str, tag: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    known.trim() == "*" || known.split(',').any(|known| bare(known) == bare(tag))
}

/// Compresses pages, but none that is one visitor's: what such a page says of others' doing next to a secret would tell the
/// secret by its length.
pub(crate) fn compression() -> CompressionLayer<impl Predicate> {
    let is_public = |_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions| {
        !headers.get(CACHE_CONTROL).is_some_and(|cache| cache.as_bytes().starts_with(b"private"))
    };
    CompressionLayer::new().gzip(true).compress_when(DefaultPredicate::new().and(is_public))
}
