//! What `sslcert` saw.

use minicbor::{Decode, Encode};

use super::Why;
use crate::bounded::{Bytes, List};

/// How many certificates are kept of what a server shows. Chains have three or four; a server that shows more than this is
/// misconfigured, and [`SslcertOutcome::certificates_left_out`] counts the rest.
pub const MAX_CERTIFICATES: usize = 32;

/// The most bytes of certificates kept, all together: what TLS can carry in the one message that has them, as rustls
/// allows it.
pub const MAX_CERTIFICATE_BYTES: usize = 65_536;

/// What `sslcert` saw: certificates, or why there are none, and sometimes both.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct SslcertOutcome {
    /// Nanoseconds until the connection was open (Atlas: `ttc`).
    #[n(0)]
    pub connect: Option<u64>,
    /// Nanoseconds until the certificates were there, connection included (Atlas: `rt`).
    #[n(1)]
    pub rt: Option<u64>,
    /// The version that the server chose, as TLS numbers them (0x0303 is TLS 1.2; Atlas: `ver`).
    #[n(2)]
    pub version: Option<u16>,
    /// The cipher suite that the server chose, by its number in the IANA registry (Atlas: `server_cipher`).
    #[n(3)]
    pub cipher: Option<u16>,
    /// In DER, the server's own first (Atlas: `cert`).
    #[n(4)]
    pub certificates: List<Bytes<MAX_CERTIFICATE_BYTES>, MAX_CERTIFICATES>,
    /// How many more the server has shown than are kept.
    #[n(5)]
    pub certificates_left_out: u32,
    /// The server asked for a certificate of the client's.
    #[n(6)]
    pub client_certificate_wanted: bool,
    /// What went wrong. Where there are certificates as well, it did so behind them: the signature that proves them is wrong.
    #[n(7)]
    pub failure: Option<SslcertFailure>,
}

/// What went wrong in a TLS handshake.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SslcertFailure {
    /// The server sent a fatal alert: its description (RFC 8446, section 6; Atlas: `alert`).
    #[n(0)]
    Alert(#[n(0)] u8),
    /// Anything else (Atlas: `err`).
    #[n(1)]
    Failed(#[n(0)] Why),
}
