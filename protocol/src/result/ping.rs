//! What `ping` saw.

use minicbor::{Decode, Encode};

use super::Why;
use crate::bounded::List;
use crate::net::Ip;

/// What `ping` saw.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct PingOutcome {
    /// ICMP payload bytes asked for.
    #[n(0)]
    pub size: u32,
    /// How many requests left the host.
    #[n(1)]
    pub sent: u32,
    /// In the order of the requests; duplicates behind the reply they repeat.
    #[n(2)]
    pub replies: List<PingReply, 64>,
}

/// What became of one echo request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum PingReply {
    /// An answer.
    #[n(0)]
    Reply(#[n(0)] EchoReply),
    /// Silence.
    #[n(1)]
    Timeout,
    /// The request could not be sent.
    #[n(2)]
    SendError(#[n(0)] Why),
    /// A router or the target sent an ICMP error instead.
    #[n(3)]
    Icmp(#[n(0)] IcmpError),
}

/// One echo reply.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EchoReply {
    /// Round-trip time in nanoseconds.
    #[n(0)]
    pub rtt: u64,
    /// TTL or hop limit on arrival, when the system tells it.
    #[n(1)]
    pub hop_limit: Option<u8>,
    /// ICMP payload bytes of the reply.
    #[n(2)]
    pub size: u32,
    /// Who answered.
    #[n(3)]
    pub from: Ip,
    /// It repeats a reply already seen.
    #[n(4)]
    pub duplicate: bool,
}

/// An ICMP error.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct IcmpError {
    /// Who sent it.
    #[n(0)]
    pub from: Ip,
    /// ICMP type.
    #[n(1)]
    pub kind: u8,
    /// ICMP code.
    #[n(2)]
    pub code: u8,
    /// Nanoseconds from request to error, when both stamps are known.
    #[n(3)]
    pub rtt: Option<u64>,
    /// TTL or hop limit on arrival.
    #[n(4)]
    pub hop_limit: Option<u8>,
    /// The MTU it names (fragmentation needed, packet too big).
    #[n(5)]
    pub mtu: Option<u32>,
}
