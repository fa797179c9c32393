//! What `pathmtu` saw.
//!
//! Every size here is that of a whole IP packet in bytes, its IP header included: what an MTU is about.

use minicbor::{Decode, Encode};

use super::{IcmpError, Why};
use crate::bounded::List;
use crate::net::{Ip, Transport};

/// The most routers that are listed as having named an MTU.
pub const MAX_MTU_LIMITS: usize = 16;

/// The most tries that are listed.
pub const MAX_MTU_TRIES: usize = 256;

/// What `pathmtu` saw.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct PathMtuOutcome {
    /// The greatest packet that the probe's own interface takes; absent when it takes all that were tried.
    #[n(0)]
    pub interface: Option<u32>,
    /// From the probe to the target.
    #[n(1)]
    pub forward: Mtu,
    /// From the target to the probe: what arrives in one piece.
    #[n(2)]
    pub reverse: Mtu,
    /// There and back: the greatest echo that comes back whole, in pieces or not.
    #[n(3)]
    pub round_trip: Mtu,
    /// Who said that a packet was too big; each router once for each MTU, in the order of the packets.
    #[n(4)]
    pub limits: List<MtuLimit, MAX_MTU_LIMITS>,
    /// Where packets vanish for their size, without a word.
    #[n(5)]
    pub hole: Option<MtuHole>,
    /// How the search ended.
    #[n(6)]
    pub end: MtuEnd,
    /// Every packet, in order, as far as there is room.
    #[n(7)]
    pub tries: List<MtuTry, MAX_MTU_TRIES>,
}

/// The greatest packet that passes, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub enum Mtu {
    /// Nothing is known.
    #[n(0)]
    #[default]
    Unknown,
    /// So many bytes passed; more may.
    #[n(1)]
    AtLeast(#[n(0)] u32),
    /// So many bytes passed, and one more does not.
    #[n(2)]
    Exactly(#[n(0)] u32),
}

impl Mtu {
    /// A size that did pass.
    pub const fn size(self) -> Option<u32> {
        match self {
            Mtu::Unknown => None,
            Mtu::AtLeast(size) | Mtu::Exactly(size) => Some(size),
        }
    }

    /// Is it known that one byte more does not pass?
    pub const fn is_exact(self) -> bool {
        matches!(self, Mtu::Exactly(_))
    }
}

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(index_only)]
pub enum MtuEnd {
    /// There was nothing more to find out.
    #[n(0)]
    #[default]
    Complete,
    /// So many packets were lost, whatever their size, that sizes could not be told apart.
    #[n(1)]
    Loss,
    /// The run had sent all the packets, or taken all the time, that it may.
    #[n(2)]
    Bound,
}

/// A router that named an MTU (fragmentation needed, packet too big).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MtuLimit {
    /// Who.
    #[n(0)]
    pub from: Ip,
    /// What it named; absent when it named none (RFC 1191, section 5).
    #[n(1)]
    pub mtu: Option<u32>,
    /// The first packet that it was about.
    #[n(2)]
    pub size: u32,
    /// TTL or hop limit of the message on arrival.
    #[n(3)]
    pub hop_limit: Option<u8>,
}

/// A path on which packets above a size vanish without a word.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MtuHole {
    /// The greatest packet that passed.
    #[n(0)]
    pub passes: u32,
    /// The least one that vanished.
    #[n(1)]
    pub lost: u32,
    /// On which way.
    #[n(2)]
    pub direction: MtuDirection,
    /// The farthest router that a packet of the lost size is known to have reached: the hole is behind it.
    #[n(3)]
    pub last_hop: Option<MtuHop>,
    /// The first behind it that small packets reach and those of the lost size do not.
    #[n(4)]
    pub next_hop: Option<MtuHop>,
}

/// A way between the probe and the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(index_only)]
pub enum MtuDirection {
    /// It cannot be told.
    #[n(0)]
    #[default]
    Unknown,
    /// From the probe to the target.
    #[n(1)]
    Forward,
    /// From the target to the probe.
    #[n(2)]
    Reverse,
}

/// Somebody on the path, found by hop limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MtuHop {
    /// The hop limit that reached it.
    #[n(0)]
    pub hop: u8,
    /// Who answered.
    #[n(1)]
    pub from: Ip,
}

/// One packet, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MtuTry {
    /// An ICMP echo request or a UDP datagram.
    #[n(0)]
    pub protocol: Transport,
    /// Its size.
    #[n(1)]
    pub size: u32,
    /// The hop limit it was sent with, when that was to end it on the way.
    #[n(2)]
    pub hop: Option<u8>,
    /// What came back.
    #[n(3)]
    pub answer: MtuAnswer,
}

/// What became of one packet.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum MtuAnswer {
    /// An echo reply, or a datagram.
    #[n(0)]
    Reply(#[n(0)] MtuReply),
    /// Silence.
    #[n(1)]
    Timeout,
    /// The packet could not be sent.
    #[n(2)]
    SendError(#[n(0)] Why),
    /// An ICMP error: too big, time exceeded, or the target's closed port.
    #[n(3)]
    Icmp(#[n(0)] IcmpError),
    /// The system refused it: it is longer than what the interface takes.
    #[n(4)]
    TooLong,
}

/// A reply of the target.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MtuReply {
    /// Who answered.
    #[n(0)]
    pub from: Ip,
    /// Round-trip time in nanoseconds.
    #[n(1)]
    pub rtt: u64,
    /// TTL or hop limit on arrival.
    #[n(2)]
    pub hop_limit: Option<u8>,
    /// The whole packet, put together again.
    #[n(3)]
    pub size: u32,
    /// The greatest of the pieces that it came in; absent when it came in one.
    #[n(4)]
    pub fragment: Option<u32>,
}
