//! What `ntp` saw.

use minicbor::{Decode, Encode};

/// What `ntp` saw.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct NtpOutcome {}
