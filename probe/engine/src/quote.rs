//! The IP header that an ICMP error quotes, with the IPv6 options headers behind it (RFC 791, RFC 8200). Only a raw socket
//! is given it. It must not know about runs or sockets.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sonde_protocol::net::Family;

/// Extension headers that are looked through at most; more than any honest packet has.
const MAX_EXTENSIONS: usize = 8;
/// Numbers of the IPv6 extension headers that can stand before the transport (RFC 8200, 4.1).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// What a quote says in front of the transport's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// Where the packet was going.
    pub dst: IpAddr,
    /// Its TTL or hop limit as the sender of the error saw it.
    pub hop_limit: u8,
    /// Its TOS or traffic class as the sender of the error saw it.
    pub traffic_class: u8,
    /// The transport's number.
    pub protocol: u8,
    /// Where the transport's header begins, in bytes from the IP header's first.
    pub transport_at: usize,
    /// Bytes of a hop-by-hop options header beyond its first 8 (RIPE Atlas: `hbhoptsize`).
    pub hop_by_hop_size: Option<u32>,
    /// The same of a destination options header (`dstoptsize`).
    pub destination_size: Option<u32>,
}

impl Quote {
    /// Reads a quote from the IP header's first byte on; `None` when it ends before the transport's header, is of the other
    /// family, or a later fragment.
    pub fn parse(family: Family, bytes: &[u8]) -> Option<Self> {
        match family {
            Family::V4 => Self::v4(bytes),
            Family::V6 => Self::v6(bytes),
        }
    }

    fn v4(bytes: &[u8]) -> Option<Self> {
        let header = bytes.first_chunk::<20>()?;
        let [version, traffic_class, ..] = *header;
        let [_, _, _, _, _, _, high, low, hop_limit, protocol, _, _, _, _, _, _, a, b, c, d] = *header;
        let transport_at = usize::from(version & 0x0f) * 4;
        let is_first = u16::from_be_bytes([high, low]) & 0x1fff == 0;
        if version >> 4 != 4 || transport_at < 20 || bytes.len() < transport_at || !is_first {
            return None;
        }
        let dst = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
        Some(Self {
            dst,
            hop_limit,
            traffic_class,
            protocol,
            transport_at,
            hop_by_hop_size: None,
            destination_size: None,
        })
    }

    fn v6(bytes: &[u8]) -> Option<Self> {
        let (header, mut rest) = bytes.split_first_chunk::<40>()?;
        let [first, second, _, _, _, _, next, hop_limit, ..] = *header;
        if first >> 4 != 6 {
            return None;
        }
        let dst = <[u8; 16]>::try_from(header.get(24..)?).ok()?;
        let mut quote = Self {
            dst: IpAddr::V6(Ipv6Addr::from(dst)),
            hop_limit,
            traffic_class: (first << 4) | (second >> 4),
            protocol: next,
            transport_at: header.len(),
            hop_by_hop_size: None,
            destination_size: None,
        };
        for _ in 0..MAX_EXTENSIONS {
            let (kind, length) = match (quote.protocol, rest) {
                (FRAGMENT, [_, _, high, low, ..]) if u16::from_be_bytes([*high, *low]) & 0xfff8 == 0 => (FRAGMENT, 0),
                (FRAGMENT, _) => return None,
                (HOP_BY_HOP | ROUTING | DESTINATION, [_, length, ..]) => (quote.protocol, u32::from(*length) * 8),
                (HOP_BY_HOP | ROUTING | DESTINATION, _) => return None,
                _ => return Some(quote),
            };
            let size = 8 + usize::try_from(length).ok()?;
            let (extension, behind) = rest.split_at_checked(size)?;
            match kind {
                HOP_BY_HOP => quote.hop_by_hop_size = Some(length),
                DESTINATION => quote.destination_size = Some(length),
                _ => {}
            }
            quote.protocol = *extension.first()?;
            quote.transport_at += size;
            rest = behind;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn v6(next: u8, behind: &[u8]) -> Vec<u8> {
        let mut bytes = alloc::vec![0x6a, 0x80, 0, 0, 0, 0, next, 3];
        bytes.extend([0xfd; 16]);
        bytes.extend([0x20; 16]);
        bytes.extend(behind);
        bytes
    }

    #[test]
    fn an_ipv4_header_with_and_without_options() {
        let mut bytes = [0; 28];
        bytes[..20].copy_from_slice(b"\x45\x48\x00\x1c\0\0\0\0\x02\x11\0\0\x0a\0\0\x02\xc0\0\x02\x09");
        let quote = Quote::parse(Family::V4, &bytes).unwrap();
        assert_eq!(quote.dst, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)));
        assert_eq!((quote.hop_limit, quote.traffic_class, quote.protocol, quote.transport_at), (2, 0x48, 17, 20));
        bytes[0] = 0x46;
        assert_eq!(Quote::parse(Family::V4, &bytes).unwrap().transport_at, 24);
        for (byte, wrong) in [(0, 0x44), (0, 0x65), (0, 0x4f), (7, 1)] {
            let mut bytes = bytes;
            bytes[byte] = wrong;
            assert_eq!(Quote::parse(Family::V4, &bytes), None, "byte {byte} is {wrong}");
        }
        for length in 0..24 {
            assert_eq!(Quote::parse(Family::V4, &bytes[..length]), None, "{length} bytes");
        }
        assert_eq!(Quote::parse(Family::V6, &bytes), None);
    }

    #[test]
    fn ipv6_extension_headers_are_looked_through() {
        let plain = Quote::parse(Family::V6, &v6(17, &[])).unwrap();
        assert_eq!((plain.hop_limit, plain.traffic_class, plain.protocol, plain.transport_at), (3, 0xa8, 17, 40));
        assert_eq!(plain.dst, IpAddr::V6(Ipv6Addr::from([0x20; 16])));
        // Hop-by-hop of 8 bytes, first fragment, destination options of 24, UDP.
        let mut behind = alloc::vec![FRAGMENT, 0, 1, 4, 0, 0, 0, 0, DESTINATION, 0, 0, 1, 0, 0, 0, 0, 17, 2];
        behind.extend([0; 22]);
        let bytes = v6(HOP_BY_HOP, &behind);
        let quote = Quote::parse(Family::V6, &bytes).unwrap();
        assert_eq!((quote.protocol, quote.transport_at), (17, 40 + 8 + 8 + 24));
        assert_eq!((quote.hop_by_hop_size, quote.destination_size), (Some(0), Some(16)));
        for length in 0..bytes.len() {
            assert_eq!(Quote::parse(Family::V6, &bytes[..length]), None, "{length} bytes");
        }
        let later = v6(FRAGMENT, &[17, 0, 0, 8, 0, 0, 0, 0]);
        assert_eq!(Quote::parse(Family::V6, &later), None, "a later fragment");
        let endless = v6(DESTINATION, &[DESTINATION, 0, 0, 0, 0, 0, 0, 0].repeat(20));
        assert_eq!(Quote::parse(Family::V6, &endless), None, "headers without end");
    }
}
