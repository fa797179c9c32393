//! The definition of `sslcert`.

use minicbor::{Decode, Encode};

use super::{Limits, MAX_TARGET};
use crate::bounded::Text;

/// `sslcert`: the certificates a TLS server shows.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SslcertSpec {
    /// Port of the server.
    #[n(0)]
    pub port: u32,
    /// Server name indication (RFC 6066); the target's name when absent.
    #[n(1)]
    pub hostname: Option<Text<MAX_TARGET>>,
}

impl SslcertSpec {
    /// Port of the server.
    pub const PORT: Limits = Limits::new("port", 443, 1, 65_535);
}

impl Default for SslcertSpec {
    fn default() -> Self {
        Self { port: Self::PORT.default, hostname: None }
    }
}
