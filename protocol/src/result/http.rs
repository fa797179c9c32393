//! What `http` saw.

use minicbor::{Decode, Encode};

use super::Why;
use crate::bounded::{Bytes, List};
use crate::spec::HttpMethod;

/// How many reads are reported with their times; later ones are not.
pub const MAX_HTTP_READS: usize = 512;

/// What `http` saw of one request and its response. Times count from the beginning of the connection, as in RIPE Atlas.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HttpOutcome {
    /// What was asked.
    #[n(0)]
    pub method: HttpMethod,
    /// Nanoseconds until the response had ended (Atlas: `rt`); absent when it never did.
    #[n(1)]
    pub rt: Option<u64>,
    /// Nanoseconds until the connection was open (Atlas: `ttc`), when the definition asks for more times.
    #[n(2)]
    pub connect: Option<u64>,
    /// Nanoseconds until TLS was set up, likewise; absent without TLS.
    #[n(3)]
    pub tls: Option<u64>,
    /// Nanoseconds until the first byte of the response (Atlas: `ttfb`), likewise.
    #[n(4)]
    pub first_byte: Option<u64>,
    /// What the response's header says; absent when it was not whole.
    #[n(5)]
    pub head: Option<HttpHead>,
    /// Bytes of the body as far as it was read, without the framing of chunks (Atlas: `bsize`).
    #[n(6)]
    pub body_size: u64,
    /// The body went on behind what the definition allows to read (Atlas: `read-truncated`).
    #[n(7)]
    pub truncated: bool,
    /// The first bytes of the header's lines behind the status line, when the definition asks for them (Atlas: `header`).
    #[n(8)]
    pub header: Option<Bytes<2048>>,
    /// When bytes came, if the definition asks for that (Atlas: `readtiming`).
    #[n(9)]
    pub reads: List<HttpRead, MAX_HTTP_READS>,
    /// Why there is no whole response (Atlas: `err`).
    #[n(10)]
    pub failure: Option<Why>,
}

/// The head of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HttpHead {
    /// The status code (Atlas: `res`).
    #[n(0)]
    pub status: u16,
    /// HTTP/1.1 instead of 1.0 (Atlas: `ver`).
    #[n(1)]
    pub version_1_1: bool,
    /// Bytes of the head: status line, header lines and the empty line (Atlas: `hsize`).
    #[n(2)]
    pub size: u32,
}

/// Bytes of a response that came together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HttpRead {
    /// How many bytes of the response had come before (Atlas: `o`).
    #[n(0)]
    pub offset: u64,
    /// Nanoseconds from the beginning (Atlas: `t`).
    #[n(1)]
    pub at: u64,
}

impl HttpOutcome {
    /// Nothing seen yet.
    pub fn new(method: HttpMethod) -> Self {
        Self {
            method,
            rt: None,
            connect: None,
            tls: None,
            first_byte: None,
            head: None,
            body_size: 0,
            truncated: false,
            header: None,
            reads: List::default(),
            failure: None,
        }
    }
}
