//! The definition of `ping`.

use minicbor::{Decode, Encode};

use super::Limits;

/// `ping`: ICMP echo requests (RFC 792, RFC 4443).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PingSpec {
    /// How many requests.
    #[n(0)]
    pub packets: u32,
    /// ICMP payload bytes, without the header.
    #[n(1)]
    pub size: u32,
    /// Milliseconds between requests.
    #[n(2)]
    pub packet_interval: u32,
    /// Puts the probe's id into the payload.
    #[n(3)]
    pub include_probe_id: bool,
}

impl PingSpec {
    /// Requests in one run.
    pub const PACKETS: Limits = Limits::new("packets", 3, 1, 16);
    /// Payload bytes.
    pub const SIZE: Limits = Limits::new("size", 48, 1, 2048);
    /// Milliseconds between requests.
    pub const PACKET_INTERVAL: Limits = Limits::new("packet_interval", 1000, 2, 300_000);
}

impl Default for PingSpec {
    fn default() -> Self {
        Self {
            packets: Self::PACKETS.default,
            size: Self::SIZE.default,
            packet_interval: Self::PACKET_INTERVAL.default,
            include_probe_id: false,
        }
    }
}
