//! Web sessions: the cookie that a browser gets at login, and what keeps other sites' pages from using it.
//!
//! The cookie holds a [`Secret`], of which the catalog knows the digest. Every request that changes something must show
//! a second secret that is derived from the first (`X-CSRF-Token`), which a page of another site cannot know, and when
//! the browser says where it comes from, it must come from here. RFC 6265bis, 4.1.3.2, for the name's prefix.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::{COOKIE, HOST, ORIGIN, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use cookie::{Cookie, SameSite};
use data_encoding::BASE64URL_NOPAD;
use ring::hmac;
use sonde_store::catalog::WebSession;

use crate::Api;
use crate::error::ApiError;
use crate::here::OverTls;
use crate::secret::{self, Secret, digest_of};

/// How long a session lasts, in seconds.
pub(crate) const LIFE_SECS: i64 = 30 * 86_400;

/// How often a session's use is written down, in seconds.
const TOUCH_SECS: i64 = 3600;

/// The header that shows the second secret.
const CSRF_HEADER: &str = "x-csrf-token";

/// The session that a request came with.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    /// As the catalog has it.
    pub session: WebSession,
    /// What requests that change something have to show.
    pub csrf: String,
}

/// The session of this request's cookie, if it has a good one. Refused when another site's page may have sent it.
pub(crate) async fn find(parts: &Parts, api: &Api) -> Result<Option<Own>, ApiError> {
    let Some(token) = token(parts, api) else { return Ok(None) };
    let now = api.clock.now();
    // One that has ended is not refused: the browser still has its cookie, and what is public can be read without.
    let Some(session) = api.catalog.web_session(&digest_of(token), now).await? else { return Ok(None) };
    let own = Own { csrf: csrf_of(token), session };
    let only_reads = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if !only_reads || parts.headers.contains_key(UPGRADE) {
        check_origin(parts, api)?;
    }
    if !only_reads {
        check_csrf(&parts.headers, token)?;
    }
    if now.0.saturating_sub(own.session.last_used.0) >= TOUCH_SECS * 1_000_000_000 {
        api.catalog.touch_session(&own.session.token, now).await?;
    }
    Ok(Some(own))
}

/// The header that gives a browser its cookie.
pub(crate) fn give(parts: &Parts, api: &Api, token: &Secret) -> String {
    cookie(parts, api, token.text().to_owned(), LIFE_SECS)
}

/// The header that takes it away.
pub(crate) fn take_away(parts: &Parts, api: &Api) -> String {
    cookie(parts, api, String::new(), 0)
}

fn cookie(parts: &Parts, api: &Api, value: String, life_secs: i64) -> String {
    let is_https = is_https(parts, api);
    Cookie::build((name(is_https), value))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(is_https)
        .max_age(cookie::time::Duration::seconds(life_secs))
        .to_string()
}

/// Where there is HTTPS, a name that browsers take only with `Secure` and from this very host.
fn name(is_https: bool) -> &'static str {
    if is_https { "__Host-sonde" } else { "sonde" }
}

/// Does the browser see HTTPS? Behind a proxy only the configured address tells.
fn is_https(parts: &Parts, api: &Api) -> bool {
    let public = api.config.public_url.as_deref().unwrap_or_default();
    parts.extensions.get::<OverTls>().is_some() || public.starts_with("https://")
}

fn token<'a>(parts: &'a Parts, api: &Api) -> Option<&'a str> {
    let name = name(is_https(parts, api));
    let headers = parts.headers.get_all(COOKIE).iter().filter_map(|header| header.to_str().ok());
    let mut cookies = headers.flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, token) = cookies.find(|(key, _)| *key == name)?;
    Some(token).filter(|token| token.len() == secret::LENGTH)
}

fn csrf_key(token: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes())
}

const CSRF_CONTEXT: &[u8] = b"sonde csrf 1";

/// The second secret of a session.
pub(crate) fn csrf_of(token: &str) -> String {
    BASE64URL_NOPAD.encode(hmac::sign(&csrf_key(token), CSRF_CONTEXT).as_ref())
}

fn check_csrf(headers: &HeaderMap, token: &str) -> Result<(), ApiError> {
    let shown = headers.get(CSRF_HEADER).and_then(|shown| BASE64URL_NOPAD.decode(shown.as_bytes()).ok());
    // In constant time.
    match shown.map(|shown| hmac::verify(&csrf_key(token), CSRF_CONTEXT, &shown)) {
        Some(Ok(())) => Ok(()),
        _ => Err(ApiError::forbidden(
            "With a session cookie this needs the header X-CSRF-Token with the csrf_token of accounts/me/.",
        )),
    }
}

/// Refuses what a page of another site sent, as far as the browser tells.
fn check_origin(parts: &Parts, api: &Api) -> Result<(), ApiError> {
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let is_ours = match (header("sec-fetch-site"), header(ORIGIN.as_str())) {
        // The browser itself knows best, also through a proxy that changes the host.
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => {
            let host = header(HOST.as_str()).unwrap_or_default();
            is_own(origin, host, api.config.public_url.as_deref(), parts.extensions.get::<OverTls>().is_some())
        }
        (None, None) => true,
    };
    if is_ours {
        return Ok(());
    }
    Err(ApiError::forbidden("This request comes from a page of another site."))
}

fn is_own(origin: &str, host: &str, public_url: Option<&str>, over_tls: bool) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let public = public_url.and_then(|url| url.split_once("://"));
    let is_public = public.is_some_and(|(public, rest)| {
        public.eq_ignore_ascii_case(scheme)
            && rest.split('/').next().is_some_and(|public| public.eq_ignore_ascii_case(authority))
    });
    // Without TLS here there may be a proxy that has it.
    let is_here = !host.is_empty() && authority.eq_ignore_ascii_case(host) && (scheme == "https" || !over_tls);
    is_public || is_here
}

/// For requests that need no session and still must not come from another site's page, such as a login: nobody is to be
/// logged in as somebody else without noticing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SameOrigin;

impl FromRequestParts<Arc<Api>> for SameOrigin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        check_origin(parts, api).map(|()| SameOrigin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_page_is_from() {
        let own = |origin, tls| is_own(origin, "sonde.example:8443", Some("https://public.example/sonde/"), tls);
        assert!(own("https://sonde.example:8443", true));
        assert!(own("https://public.example", false), "through a proxy that changes the host");
        assert!(own("http://sonde.example:8443", false));
        assert!(!own("http://sonde.example:8443", true), "a page without TLS may be anybody's");
        for other in ["https://sonde.example", "https://public.example.evil", "http://public.example", "null", ""] {
            assert!(!own(other, true), "{other}");
        }
        assert!(!is_own("https://", "", None, false));
    }

    #[test]
    fn the_second_secret_is_of_the_session_alone() {
        let (one, other) = (Secret::new().unwrap(), Secret::new().unwrap());
        let headers = HeaderMap::from_iter([(CSRF_HEADER.parse().unwrap(), csrf_of(one.text()).parse().unwrap())]);
        assert!(check_csrf(&headers, one.text()).is_ok());
        check_csrf(&headers, other.text()).unwrap_err();
        check_csrf(&HeaderMap::new(), one.text()).unwrap_err();
    }
}
