//! The definition of `ntp`.

use minicbor::{Decode, Encode};

use super::Limits;

/// `ntp`: client exchanges with a time server (RFC 5905).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NtpSpec {
    /// How many exchanges.
    #[n(0)]
    pub packets: u32,
    /// Milliseconds to wait for each answer.
    #[n(1)]
    pub timeout: u32,
}

impl NtpSpec {
    /// Exchanges in one run.
    pub const PACKETS: Limits = Limits::new("packets", 3, 1, 16);
    /// Milliseconds to wait.
    pub const TIMEOUT: Limits = Limits::new("timeout", 4000, 1, 60_000);
}

impl Default for NtpSpec {
    fn default() -> Self {
        Self { packets: Self::PACKETS.default, timeout: Self::TIMEOUT.default }
    }
}
