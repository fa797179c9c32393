//! The definition of `traceroute`.

use minicbor::{Decode, Encode};

use super::Limits;
use crate::net::Transport;

/// `traceroute`: the routers on the way and their answers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TracerouteSpec {
    /// What the packets are.
    #[n(0)]
    pub protocol: Transport,
    /// Packets per hop.
    #[n(1)]
    pub packets: u32,
    /// Payload bytes.
    #[n(2)]
    pub size: u32,
    /// The first hop limit sent.
    #[n(3)]
    pub first_hop: u32,
    /// The greatest hop limit sent.
    #[n(4)]
    pub max_hops: u32,
    /// How many flow variations the measurement uses in turn; 0 switches Paris mode off.
    #[n(5)]
    pub paris: u32,
    /// Destination port of TCP. UDP counts from 33434, as in RIPE Atlas.
    #[n(6)]
    pub port: u32,
    /// Milliseconds to wait for an answer.
    #[n(7)]
    pub response_timeout: u32,
    /// Milliseconds to wait for duplicates.
    #[n(8)]
    pub duplicate_timeout: u32,
    /// Bytes of an IPv6 hop-by-hop options header; 0 for none.
    #[n(9)]
    pub hop_by_hop_option_size: u32,
    /// Bytes of an IPv6 destination options header; 0 for none.
    #[n(10)]
    pub destination_option_size: u32,
    /// Sets the don't-fragment bit.
    #[n(11)]
    pub dont_fragment: bool,
    /// Traffic class (IPv6) or TOS (IPv4) byte.
    #[n(12)]
    pub traffic_class: u32,
}

impl TracerouteSpec {
    /// Packets per hop.
    pub const PACKETS: Limits = Limits::new("packets", 3, 1, 16);
    /// Payload bytes.
    pub const SIZE: Limits = Limits::new("size", 48, 0, 2048);
    /// The first hop limit sent.
    pub const FIRST_HOP: Limits = Limits::new("first_hop", 1, 1, 255);
    /// The greatest hop limit sent.
    pub const MAX_HOPS: Limits = Limits::new("max_hops", 32, 1, 255);
    /// Flow variations.
    pub const PARIS: Limits = Limits::new("paris", 16, 0, 64);
    /// Destination port.
    pub const PORT: Limits = Limits::new("port", 80, 1, 65_535);
    /// Milliseconds to wait for an answer.
    pub const RESPONSE_TIMEOUT: Limits = Limits::new("response_timeout", 4000, 1, 60_000);
    /// Milliseconds to wait for duplicates.
    pub const DUPLICATE_TIMEOUT: Limits = Limits::new("duplicate_timeout", 10, 0, 10_000);
    /// Bytes of an IPv6 hop-by-hop options header.
    pub const HOP_BY_HOP_OPTION_SIZE: Limits = Limits::new("hop_by_hop_option_size", 0, 0, 2048);
    /// Bytes of an IPv6 destination options header.
    pub const DESTINATION_OPTION_SIZE: Limits = Limits::new("destination_option_size", 0, 0, 1024);
    /// Traffic class or TOS byte.
    pub const TRAFFIC_CLASS: Limits = Limits::new("traffic_class", 0, 0, 255);
}

impl Default for TracerouteSpec {
    fn default() -> Self {
        Self {
            protocol: Transport::Udp,
            packets: Self::PACKETS.default,
            size: Self::SIZE.default,
            first_hop: Self::FIRST_HOP.default,
            max_hops: Self::MAX_HOPS.default,
            paris: Self::PARIS.default,
            port: Self::PORT.default,
            response_timeout: Self::RESPONSE_TIMEOUT.default,
            duplicate_timeout: Self::DUPLICATE_TIMEOUT.default,
            hop_by_hop_option_size: Self::HOP_BY_HOP_OPTION_SIZE.default,
            destination_option_size: Self::DESTINATION_OPTION_SIZE.default,
            dont_fragment: false,
            traffic_class: Self::TRAFFIC_CLASS.default,
        }
    }
}
