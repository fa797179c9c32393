//! What `sslcert` saw.

use minicbor::{Decode, Encode};

/// What `sslcert` saw.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct SslcertOutcome {}
