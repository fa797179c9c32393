//! Who may ask the site to change something: its own pages. A page of another site could send a visitor's cookie along.
//!
//! `Sec-Fetch-Site` is what browsers themselves say (on HTTPS and localhost, since about 2023); without it `Origin` has to be this
//! site's. Who says neither is refused: programs use the API, with a key.

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Method};

use crate::page::Problem;

/// Refuses an unsafe method that does not come from a page of this site.
pub(crate) fn check(request: &Request, public_url: Option<&str>) -> Result<(), Problem> {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
        || is_own(request.headers(), public_url)
    {
        return Ok(());
    }
    Err(Problem::forbidden(
        "This came from a page of another site, or from none. Open the form here and send it again.",
    ))
}

fn is_own(headers: &HeaderMap, public_url: Option<&str>) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match (text("sec-fetch-site"), text(ORIGIN.as_str())) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => {
            let Some((scheme, authority)) = origin.split_once("://") else { return false };
            let is_here =
                text(HOST.as_str()).is_some_and(|host| !host.is_empty() && host.eq_ignore_ascii_case(authority));
            let public = public_url.and_then(|url| url.split_once("://"));
            let is_public = public.is_some_and(|(public, rest)| {
                let host = rest.split('/').next().unwrap_or_default();
                public.eq_ignore_ascii_case(scheme) && host.eq_ignore_ascii_case(authority)
            });
            is_here || is_public
        }
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn only_own_pages_change_anything() {
        let own = |headers: &[(&'static str, &'static str)]| {
            let pairs =
                headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            is_own(&pairs.collect(), Some("https://public.example/"))
        };
        let host = ("host", "sonde.example:8080");
        assert!(own(&[host, ("sec-fetch-site", "same-origin")]));
        assert!(own(&[host, ("origin", "http://sonde.example:8080")]));
        assert!(own(&[host, ("origin", "https://public.example")]), "behind a proxy");
        for site in ["none", "same-site", "cross-site", ""] {
            assert!(!own(&[host, ("sec-fetch-site", site), ("origin", "http://sonde.example:8080")]), "{site}");
        }
        for origin in ["null", "", "http://sonde.example", "http://public.example", "https://public.example.evil"] {
            assert!(!own(&[host, ("origin", origin)]), "{origin}");
        }
        assert!(!own(&[host]) && !own(&[]) && !own(&[("host", ""), ("origin", "http://")]));
    }
}
