//! What passes on the way: sizes, pieces, extension headers, the ICMP messages that must. Sizes are those of whole IP packets.

use minicbor::{Decode, Encode};

use super::reach::Attempt;
use crate::bounded::List;
use crate::net::{Family, Ip};

/// What was found out about sizes on the way to one reference and back.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SizesSeen {
    /// The reference, by its place among the targets.
    #[n(0)]
    pub target: u8,
    /// The family.
    #[n(1)]
    pub af: Family,
    /// From the probe to the reference.
    #[n(2)]
    pub up: List<SizeTry, 16>,
    /// From the reference to the probe.
    #[n(3)]
    pub down: List<SizeTry, 16>,
    /// Eight thousand bytes over TCP to the reference.
    #[n(4)]
    pub bulk_up: Option<Attempt>,
    /// Eight thousand bytes over TCP from the reference.
    #[n(5)]
    pub bulk_down: Option<Attempt>,
}

/// Packets of one size.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SizeTry {
    /// The size.
    #[n(0)]
    pub size: u32,
    /// How many were sent.
    #[n(1)]
    pub sent: u8,
    /// How many did not arrive.
    #[n(2)]
    pub lost: u8,
    /// How many of the small packets beside them did not arrive either; as many small ones were sent.
    #[n(3)]
    pub controls_lost: u8,
    /// Who said that one was too big: to the probe on the way up, to the reference on the way down.
    #[n(4)]
    pub too_big: Option<TooBig>,
}

impl SizeTry {
    /// Did one of them arrive?
    pub const fn passed(&self) -> bool {
        self.lost < self.sent
    }
}

/// A message that a packet was too big.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub struct TooBig {
    /// Who said it; absent when the reference did not tell.
    #[n(0)]
    pub from: Option<Ip>,
    /// What fits.
    #[n(1)]
    pub mtu: Option<u32>,
}

/// Whether what is unusual arrives. Absent: not tried, or no privilege to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct HeadersSeen {
    /// Packets in pieces to a reference.
    #[n(0)]
    pub fragment_up: Option<bool>,
    /// Packets in pieces from a reference.
    #[n(1)]
    pub fragment_down: Option<bool>,
    /// A destination options header of 8 bytes.
    #[n(2)]
    pub destination: Option<bool>,
    /// A hop-by-hop options header of 8 bytes.
    #[n(3)]
    pub hop_by_hop: Option<bool>,
    /// A DNS answer of more than 1500 bytes over UDP.
    #[n(4)]
    pub large_dns: Option<bool>,
}

/// Whether ICMP messages that must pass do (RFC 4890, section 4.3.1). Absent: not tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct IcmpSeen {
    /// The family.
    #[n(0)]
    pub af: Family,
    /// A closed port said so.
    #[n(1)]
    pub unreachable: Option<bool>,
    /// A hop limit that ran out was reported.
    #[n(2)]
    pub time_exceeded: Option<bool>,
    /// An echo was answered.
    #[n(3)]
    pub echo: Option<bool>,
    /// "Too big" came back from the narrow address.
    #[n(4)]
    pub too_big: Option<bool>,
}

/// A router near the probe, found by hop limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NearHop {
    /// The hop limit.
    #[n(0)]
    pub hop: u8,
    /// Who answered; absent: silence.
    #[n(1)]
    pub from: Option<Ip>,
}

/// What has changed on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Stability {
    /// Different /64 in a day.
    #[n(0)]
    pub prefixes_64: u32,
    /// Different /48 in a day.
    #[n(1)]
    pub prefixes_48: u32,
    /// Times without a default route in a day.
    #[n(2)]
    pub route_gaps: u32,
    /// Changes of default route or prefix in an hour.
    #[n(3)]
    pub changes: u32,
}
