//! The definition of `pathmtu`.

use minicbor::{Decode, Encode};

use super::Limits;

/// `pathmtu`: the greatest packet that passes to the target and back (RFC 1191, RFC 8201, RFC 4821). Ours, not Atlas's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PathMtuSpec {
    /// Packets sent of one size before it counts as lost.
    #[n(0)]
    pub packets: u32,
    /// Milliseconds to wait for an answer.
    #[n(1)]
    pub timeout: u32,
}

impl PathMtuSpec {
    /// Packets of one size.
    pub const PACKETS: Limits = Limits::new("packets", 3, 1, 16);
    /// Milliseconds to wait.
    pub const TIMEOUT: Limits = Limits::new("timeout", 1000, 10, 10_000);
}

impl Default for PathMtuSpec {
    fn default() -> Self {
        Self { packets: Self::PACKETS.default, timeout: Self::TIMEOUT.default }
    }
}
