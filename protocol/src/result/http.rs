//! What `http` saw.

use minicbor::{Decode, Encode};

/// What `http` saw.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct HttpOutcome {}
