//! The packets of a path-MTU run as bytes: of any size, each with a number in it, all of one flow ([`Tagged`]). Sizes are those
//! of whole IP packets.

use alloc::vec::Vec;

use sonde_protocol::net::{Family, Transport};

use crate::Channel;
use crate::tagged::Tagged;

/// The UDP port that is hoped to be closed: where every traceroute counts from.
pub const PORT: u16 = 33_434;

/// The one flow variation.
const FLOW: u16 = 1;

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

/// Packet `number` of `size` bytes; smaller ones than [`small`] are made that long.
pub(super) fn make(tagged: &Tagged, number: u16, transport: Transport, size: u32) -> (Channel, Vec<u8>) {
    let payload_len = size.max(small(tagged.family)) - headers(tagged.family);
    let payload_len = usize::try_from(payload_len).unwrap_or(0);
    match transport {
        Transport::Icmp => (Channel::Icmp, tagged.echo_request(number, Some(FLOW), payload_len)),
        Transport::Tcp | Transport::Udp => (Channel::Udp { port: PORT }, tagged.datagram(number, payload_len)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::icmp::{self, Message};
    use crate::tagged::Named;

    const FAMILIES: [(Family, u32); 2] = [(Family::V4, 28), (Family::V6, 48)];

    fn packets(family: Family) -> Tagged {
        Tagged { family, first_sequence: 65_530, cookie: *b"cookies!", cookie_len: 8 }
    }

    #[test]
    fn a_packet_has_the_size_asked_for_and_names_itself() {
        for (family, headers) in FAMILIES {
            let packets = packets(family);
            for size in [headers + 40, headers + 41, 1280, 1500, 9216] {
                let request = make(&packets, 300, Transport::Icmp, size).1;
                assert_eq!(request.len() as u32, size - headers + 8, "the ICMP header is part of it");
                assert_eq!(packets.quoted_request(&request), Named::Packet(300));
                assert_eq!(packets.quoted_request(&request[..8]), Named::Packet(300), "all that RFC 792 asks for");
                let (channel, datagram) = make(&packets, 300, Transport::Udp, size);
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
                    let mut bytes = make(&packets(family), number, transport, size).1;
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
        let mut request = make(&packets, 3, Transport::Icmp, 100).1;
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
