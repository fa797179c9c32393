//! What `pathmtu` saw.

use minicbor::{Decode, Encode};

/// What `pathmtu` saw.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct PathMtuOutcome {}
