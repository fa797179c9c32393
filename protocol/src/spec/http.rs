//! The definition of `http`.

use alloc::string::String;

use minicbor::{Decode, Encode};

use super::Limits;
use crate::bounded::Text;

/// The method of an HTTP measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum HttpMethod {
    /// Headers and body.
    #[n(0)]
    Get,
    /// Headers alone.
    #[n(1)]
    Head,
    /// An empty POST.
    #[n(2)]
    Post,
}

impl HttpMethod {
    /// The method's name (RFC 9110).
    pub const fn name(self) -> &'static str {
        match self {
            HttpMethod::Get => "GET",
            HttpMethod::Head => "HEAD",
            HttpMethod::Post => "POST",
        }
    }

    /// Reads the method's name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        [HttpMethod::Get, HttpMethod::Head, HttpMethod::Post].into_iter().find(|m| m.name().eq_ignore_ascii_case(name))
    }
}

/// `http`: one request to a host that the signed directory lists.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HttpSpec {
    /// The method.
    #[n(0)]
    pub method: HttpMethod,
    /// Path of the URL.
    #[n(1)]
    pub path: Text<1024>,
    /// Query of the URL, without the question mark.
    #[n(2)]
    pub query_string: Option<Text<1024>>,
    /// Port; 443 is the default with `https`.
    #[n(3)]
    pub port: u32,
    /// Over TLS.
    #[n(4)]
    pub https: bool,
    /// HTTP/1.1 instead of 1.0.
    #[n(5)]
    pub version_1_1: bool,
    /// How many bytes of the response's header results carry.
    #[n(6)]
    pub header_bytes: u32,
    /// How much of the body is read at most.
    #[n(7)]
    pub max_bytes_read: Option<u32>,
    /// Results carry `ttr`, `ttc`, `ttfb`.
    #[n(8)]
    pub extended_timing: bool,
    /// Results carry the times of the reads.
    #[n(9)]
    pub more_extended_timing: bool,
}

impl HttpSpec {
    /// Port of the server.
    pub const PORT: Limits = Limits::new("port", 80, 1, 65_535);
    /// Bytes of the response's header.
    pub const HEADER_BYTES: Limits = Limits::new("header_bytes", 0, 0, 2048);
    /// Bytes of the body.
    pub const MAX_BYTES_READ: Limits = Limits::new("max_bytes_read", 1_020_048, 1, 1_020_048);

    /// The port that a URL of this scheme need not name.
    pub const fn default_port(https: bool) -> u32 {
        if https { 443 } else { Self::PORT.default }
    }

    /// `host`, with the port when it is not the scheme's own; IPv6 literals in brackets (RFC 3986, section 3.2.2).
    pub fn authority(&self, host: &str) -> String {
        let host = if host.contains(':') { alloc::format!("[{host}]") } else { String::from(host) };
        if self.port == Self::default_port(self.https) { host } else { alloc::format!("{host}:{}", self.port) }
    }

    /// Path and query, as the request has them.
    pub fn path_and_query(&self) -> String {
        match &self.query_string {
            Some(query) => alloc::format!("{}?{query}", self.path),
            None => String::from(self.path.as_str()),
        }
    }

    /// The whole URL.
    pub fn uri(&self, host: &str) -> String {
        let scheme = if self.https { "https" } else { "http" };
        alloc::format!("{scheme}://{}{}", self.authority(host), self.path_and_query())
    }
}

/// Can this stand in the first line of a request? Visible ASCII alone: a space or a line end would end it early, and what
/// follows would be a request of the sender's own making.
pub(super) fn is_request_text(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Default for HttpSpec {
    fn default() -> Self {
        Self {
            method: HttpMethod::Get,
            path: Text::cut("/"),
            query_string: None,
            port: Self::PORT.default,
            https: false,
            version_1_1: true,
            header_bytes: Self::HEADER_BYTES.default,
            max_bytes_read: None,
            extended_timing: false,
            more_extended_timing: false,
        }
    }
}
