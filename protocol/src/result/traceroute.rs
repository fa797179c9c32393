//! What `traceroute` saw.

use minicbor::{Decode, Encode};

use super::Why;
use crate::bounded::{Bytes, List};
use crate::net::{Ip, Transport};

/// What `traceroute` saw.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TracerouteOutcome {
    /// What the packets were.
    #[n(0)]
    pub protocol: Transport,
    /// Payload bytes asked for.
    #[n(1)]
    pub size: u32,
    /// The flow variation of this run, from 1; absent without Paris mode.
    #[n(2)]
    pub paris_id: Option<u32>,
    /// Hops in order; number 255 is the last try after too many silent hops.
    #[n(3)]
    pub hops: List<Hop, 256>,
}

/// One hop.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hop {
    /// The hop limit sent.
    #[n(0)]
    pub hop: u8,
    /// What came back, in the order of the packets; duplicates and late replies behind.
    #[n(1)]
    pub replies: List<HopReply, 64>,
}

/// What became of one packet of one hop.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum HopReply {
    /// An answer, from a router or the target.
    #[n(0)]
    Reply(#[n(0)] HopAnswer),
    /// Silence.
    #[n(1)]
    Timeout,
    /// The packet could not be sent.
    #[n(2)]
    SendError(#[n(0)] Why),
}

/// One answer to a packet of traceroute.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HopAnswer {
    /// Who answered.
    #[n(0)]
    pub from: Ip,
    /// Round-trip time in nanoseconds.
    #[n(1)]
    pub rtt: Option<u64>,
    /// TTL or hop limit on arrival.
    #[n(2)]
    pub hop_limit: Option<u8>,
    /// Bytes of the answer behind its IP header. Of an ICMP error only a raw socket sees it.
    #[n(3)]
    pub size: Option<u32>,
    /// The ICMP type and code of the answer; absent when the answer is an echo reply, of a UDP service or of TCP.
    #[n(4)]
    pub icmp: Option<IcmpKind>,
    /// How many packets ago the packet was sent that this answers, when it came after its time-out.
    #[n(5)]
    pub late: Option<u32>,
    /// It repeats an answer already seen.
    #[n(6)]
    pub duplicate: bool,
    /// Hop limit inside the quoted packet, when it was not 1 and a raw socket saw it.
    #[n(7)]
    pub quoted_hop_limit: Option<u8>,
    /// Destination inside the quoted packet, when it differs from the target.
    #[n(8)]
    pub quoted_dst: Option<Ip>,
    /// The MTU it names.
    #[n(9)]
    pub mtu: Option<u32>,
    /// RFC 4884 extension objects, raw, header included.
    #[n(10)]
    pub extensions: Option<Bytes<512>>,
    /// The flags byte of a TCP segment (RFC 9293, 3.1: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32).
    #[n(11)]
    pub tcp_flags: Option<u8>,
    /// The options of a TCP segment, raw; absent when it had none.
    #[n(12)]
    pub tcp_options: Option<Bytes<40>>,
    /// Traffic class or TOS inside the quoted packet, when it is not the one sent and a raw socket saw it.
    #[n(13)]
    pub quoted_traffic_class: Option<u8>,
    /// Bytes of the IPv6 hop-by-hop options header inside the quoted packet, its first 8 not counted (as RIPE Atlas).
    #[n(14)]
    pub hop_by_hop_size: Option<u32>,
    /// The same of the destination options header.
    #[n(15)]
    pub destination_size: Option<u32>,
    /// True when the error did not say that it has extensions, as routers older than RFC 4884 do not.
    #[n(16)]
    pub extensions_unannounced: Option<bool>,
}

impl HopAnswer {
    /// An answer of which nothing is known but who sent it.
    pub fn new(from: Ip) -> Self {
        Self {
            from,
            rtt: None,
            hop_limit: None,
            size: None,
            icmp: None,
            late: None,
            duplicate: false,
            quoted_hop_limit: None,
            quoted_dst: None,
            mtu: None,
            extensions: None,
            tcp_flags: None,
            tcp_options: None,
            quoted_traffic_class: None,
            hop_by_hop_size: None,
            destination_size: None,
            extensions_unannounced: None,
        }
    }
}

/// ICMP type and code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct IcmpKind {
    /// Type.
    #[n(0)]
    pub kind: u8,
    /// Code.
    #[n(1)]
    pub code: u8,
}
