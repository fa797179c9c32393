//! Where a request was made to, for absolute links.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};

use crate::Api;

/// In a request's extensions: it came over TLS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OverTls;

/// The request's own address.
#[derive(Debug, Clone)]
pub(crate) struct Here {
    base: String,
    uri: Uri,
}

impl FromRequestParts<Arc<Api>> for Here {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Infallible> {
        let OriginalUri(uri) = OriginalUri::from_request_parts(parts, api).await?;
        let scheme = if parts.extensions.get::<OverTls>().is_some() { "https" } else { "http" };
        Ok(Self { base: base(api.config.public_url.as_deref(), scheme, &parts.headers), uri })
    }
}

impl Here {
    /// The absolute URL of something under `/api/v2/`.
    pub fn api(&self, path: &str) -> String {
        format!("{}/api/v2/{path}", self.base)
    }

    /// The absolute URL of something of the site, such as a picture.
    pub fn site(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    /// This request's own absolute URL.
    pub fn url(&self) -> String {
        format!("{}{}", self.base, self.uri)
    }

    /// This request's absolute URL with another page, every other parameter kept as it was written. The page comes last,
    /// as `page=N`, because clients look for exactly that.
    pub fn with_page(&self, page: u64) -> String {
        let mut url = format!("{}{}?", self.base, self.uri.path());
        let kept = self.uri.query().unwrap_or_default().split('&');
        for pair in kept.filter(|pair| !pair.is_empty() && *pair != "page" && !pair.starts_with("page=")) {
            url.push_str(pair);
            url.push('&');
        }
        url + &format!("page={page}")
    }
}

fn base(public_url: Option<&str>, scheme: &str, headers: &HeaderMap) -> String {
    if let Some(url) = public_url {
        return url.trim_end_matches('/').to_owned();
    }
    // Whatever the client calls us, as long as it is the name of a host: it goes into the links of the answer.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    match headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .filter(|host| !host.is_empty() && host.bytes().all(plain))
    {
        Some(host) => format!("{scheme}://{host}"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(uri: &str) -> Here {
        Here { base: "https://sonde.example".into(), uri: uri.parse().unwrap() }
    }

    #[test]
    fn another_page_keeps_every_other_parameter() {
        assert_eq!(
            here("/api/v2/probes/?page=2&tags=a%2Cb&page_size=5").with_page(3),
            "https://sonde.example/api/v2/probes/?tags=a%2Cb&page_size=5&page=3"
        );
        assert_eq!(here("/api/v2/probes").with_page(2), "https://sonde.example/api/v2/probes?page=2");
    }

    #[test]
    fn a_host_that_is_no_name_makes_no_link() {
        let headers = |host: &str| HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
        assert_eq!(base(None, "http", &headers("sonde:8080")), "http://sonde:8080");
        assert_eq!(base(None, "https", &headers("sonde")), "https://sonde");
        assert_eq!(base(None, "http", &headers("evil/\"><script>")), "");
        assert_eq!(base(Some("https://a.example/"), "http", &headers("sonde")), "https://a.example");
    }
}
