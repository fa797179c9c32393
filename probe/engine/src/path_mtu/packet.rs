//! The packets of a path-MTU run as bytes: of any size, each with a number in it, all of one flow.
//!
//! - ICMP: the sequence number names the packet; two bytes at the start of the payload keep the checksum the same in all.
//! - UDP: the first two bytes of the payload name the packet, two more keep the checksum; the port is [`PORT`].
//!
//! So routers that balance load by flow send them all the same way, as in Paris traceroute. The run's cookie follows, then
//! filler. Sizes are those of whole IP packets.

use alloc::vec::Vec;

use sonde_protocol::net::{Family, Transport};

use crate::Channel;
use crate::icmp::{self, HEADER_LEN, Kind, Message};

/// The UDP port that is hoped to be closed: where every traceroute counts from.
pub const PORT: u16 = 33_434;

/// Bytes of the headers of either transport, 8, and of the IP header.
pub(super) const fn headers(family: Family) -> u32 {
    8 + match family {
        Family::V4 => 20,
        Family::V6 => 40,
    }
}

/// A small packet, with which a target that answers at all answers: for IPv4 the MTU that every link has (RFC 1191,
/// section 3), for IPv6 as many bytes behind the headers.
pub(super) const fn small(family: Family) -> u32 {
    headers(family) + 40
}

/// Which packet an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// The packet with this number; whether it was ever sent is not checked.
    Packet(u16),
    /// One of this run's, but the answer does not say which.
    Unknown,
    /// None of this run's.
    Foreign,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Packets {
    pub family: Family,
    pub first_sequence: u16,
    pub cookie: [u8; 8],
}

impl Packets {
    /// Packet `number` of `size` bytes; smaller ones than [`small`] are made that long.
    pub fn make(&self, number: u16, transport: Transport, size: u32) -> (Channel, Vec<u8>) {
        let payload_len = size.max(small(self.family)) - headers(self.family);
        let payload_len = usize::try_from(payload_len).unwrap_or(0);
        match transport {
            Transport::Icmp => (Channel::Icmp, self.echo_request(number, payload_len)),
            Transport::Tcp | Transport::Udp => (Channel::Udp { port: PORT }, self.datagram(number, payload_len)),
        }
    }

    fn echo_request(&self, number: u16, payload_len: usize) -> Vec<u8> {
        let mut payload = Vec::with_capacity(payload_len);
        payload.extend([0, 0]);
        payload.extend(self.cookie);
        icmp::fill(&mut payload, payload_len);
        let mut message = icmp::echo_request(self.family, self.first_sequence.wrapping_add(number), &payload);
        // ICMPv6 counts the length in its checksum (RFC 4443, 2.3).
        let length = if self.family == Family::V6 { message.len() } else { 0 };
        icmp::balance(&mut message, HEADER_LEN, -1 - length as i64);
        message
    }

    fn datagram(&self, number: u16, payload_len: usize) -> Vec<u8> {
        let mut payload = Vec::with_capacity(payload_len);
        payload.extend(number.to_be_bytes());
        payload.extend([0, 0]);
        payload.extend(self.cookie);
        icmp::fill(&mut payload, payload_len);
        // The length stands in the header and in the pseudo-header (RFC 768).
        icmp::balance(&mut payload, 2, -2 * (8 + payload_len as i64));
        payload
    }

    /// The echo request that a reply answers; it has to bring back the whole cookie.
    pub fn echoed(&self, message: &Message<'_>) -> Named {
        if message.kind == Kind::EchoReply && message.code == 0 {
            self.by_sequence(message, true)
        } else {
            Named::Foreign
        }
    }

    /// The packet that a datagram answers: an echo of ours, or whatever a service says.
    pub fn served(&self, bytes: &[u8]) -> Named {
        match self.by_tag(bytes, true) {
            Named::Foreign => Named::Unknown,
            named => named,
        }
    }

    /// The echo request that an ICMP error quotes, from its type byte on.
    pub fn quoted_request(&self, quoted: &[u8]) -> Named {
        match Message::parse(self.family, quoted) {
            Some(message) if message.kind == Kind::EchoRequest => self.by_sequence(&message, false),
            _ => Named::Foreign,
        }
    }

    /// The datagram that an ICMP error quotes, from its payload on, which may be cut to nothing.
    pub fn quoted_datagram(&self, quoted: &[u8]) -> Named {
        self.by_tag(quoted, false)
    }

    fn by_sequence(&self, message: &Message<'_>, whole: bool) -> Named {
        if self.is_our_cookie(message.payload.get(2..).unwrap_or(&[]), whole) {
            Named::Packet(message.sequence.wrapping_sub(self.first_sequence))
        } else {
            Named::Foreign
        }
    }

    fn by_tag(&self, payload: &[u8], whole: bool) -> Named {
        let [high, low, rest @ ..] = payload else { return Named::Unknown };
        if self.is_our_cookie(rest.get(2..).unwrap_or(&[]), whole) {
            Named::Packet(u16::from_be_bytes([*high, *low]))
        } else {
            Named::Foreign
        }
    }

    fn is_our_cookie(&self, bytes: &[u8], whole: bool) -> bool {
        let same = bytes.iter().zip(&self.cookie).all(|(theirs, ours)| theirs == ours);
        same && (!whole || bytes.len() >= self.cookie.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAMILIES: [(Family, u32); 2] = [(Family::V4, 28), (Family::V6, 48)];

    fn packets(family: Family) -> Packets {
        Packets { family, first_sequence: 65_530, cookie: *b"cookies!" }
    }

    #[test]
    fn a_packet_has_the_size_asked_for_and_names_itself() {
        for (family, headers) in FAMILIES {
            let packets = packets(family);
            for size in [headers + 40, headers + 41, 1280, 1500, 9216] {
                let request = packets.make(300, Transport::Icmp, size).1;
                assert_eq!(request.len() as u32, size - headers + 8, "the ICMP header is part of it");
                assert_eq!(packets.quoted_request(&request), Named::Packet(300));
                assert_eq!(packets.quoted_request(&request[..8]), Named::Packet(300), "all that RFC 792 asks for");
                let (channel, datagram) = packets.make(300, Transport::Udp, size);
                assert_eq!((channel, datagram.len() as u32), (Channel::Udp { port: PORT }, size - headers));
                assert_eq!(packets.quoted_datagram(&datagram[..2]), Named::Packet(300));
                assert_eq!(packets.quoted_datagram(&[]), Named::Unknown);
            }
        }
    }

    #[test]
    fn every_packet_is_of_the_same_flow() {
        for (family, _) in FAMILIES {
            for transport in [Transport::Icmp, Transport::Udp] {
                let sum = |number, size| {
                    let mut bytes = packets(family).make(number, transport, size).1;
                    let length = bytes.len() as u16;
                    match transport {
                        Transport::Icmp if family == Family::V4 => {}
                        Transport::Icmp => bytes.splice(0..0, length.to_be_bytes()).for_each(drop),
                        _ => bytes.splice(0..0, [length + 8; 2].map(u16::to_be_bytes).concat()).for_each(drop),
                    }
                    icmp::checksum(&bytes)
                };
                let one = sum(0, 1500);
                assert!([(1, 1500), (5, 1499), (6, 1280), (7, 9000)].iter().all(|(n, size)| sum(*n, *size) == one));
            }
        }
    }

    #[test]
    fn what_is_not_ours_is_foreign() {
        let packets = packets(Family::V4);
        let mut request = packets.make(3, Transport::Icmp, 100).1;
        let parse = |bytes: &[u8]| packets.echoed(&Message::parse(Family::V4, bytes).unwrap());
        assert_eq!(parse(&request), Named::Foreign, "a request is no reply");
        request[0] = 0;
        assert_eq!(parse(&request), Named::Packet(3));
        assert_eq!(parse(&request[..17]), Named::Foreign, "half of the cookie is missing");
        request[12] ^= 1;
        assert_eq!(parse(&request), Named::Foreign);
        assert_eq!(packets.served(b"hello, I am a service"), Named::Unknown);
    }
}
