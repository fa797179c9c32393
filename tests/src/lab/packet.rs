//! The few fields of an Ethernet frame that tests ask about: addresses, ports, ICMP type, id and sequence number, and
//! what an ICMP error quotes. For the capture, the wire's log and the reachability tools. It knows no options and
//! verifies no checksum.
//!
//! Written apart from the probe's own parsers, so that one mistake does not hide in both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Ethernet's number for IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// Ethernet's number for ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// Ethernet's number for IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// IP's number for ICMP.
pub const ICMP: u8 = 1;
/// IP's number for TCP.
pub const TCP: u8 = 6;
/// IP's number for UDP.
pub const UDP: u8 = 17;
/// IP's number for ICMPv6.
pub const ICMPV6: u8 = 58;

const IGMP: u8 = 2;
const ETHERNET_HEADER: usize = 14;

/// How much of a frame the wire's log keeps, and so how far [`IpSummary::payload_hash`] looks, in bytes.
pub const SNAP_LENGTH: usize = 128;

/// What a frame is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketSummary {
    /// Ethernet's protocol number.
    pub ethertype: u16,
    /// The IP packet, if it is one and whole enough.
    pub ip: Option<IpSummary>,
    /// The packet that an ICMP error quotes.
    pub quoted: Option<IpSummary>,
}

/// What an IP packet is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpSummary {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// The transport's number, past any IPv6 extension headers.
    pub protocol: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Source port of TCP or UDP.
    pub src_port: Option<u16>,
    /// Destination port of TCP or UDP.
    pub dst_port: Option<u16>,
    /// Type of ICMP or ICMPv6.
    pub icmp_type: Option<u8>,
    /// Code of ICMP or ICMPv6.
    pub icmp_code: Option<u8>,
    /// Identifier of an echo request or reply.
    pub icmp_id: Option<u16>,
    /// Sequence number of an echo request or reply.
    pub icmp_seq: Option<u16>,
    /// Sequence number of TCP.
    pub tcp_seq: Option<u32>,
    /// Acknowledgement number of TCP, when its flag is set.
    pub tcp_ack: Option<u32>,
    /// FNV-1a of what follows the transport's fixed header, up to byte [`SNAP_LENGTH`] of the frame: the same on every
    /// link and on both sides of a NAT.
    pub payload_hash: u64,
}

impl PacketSummary {
    /// Reads a frame that begins with its Ethernet header. `None` if even that is cut short.
    pub fn of_frame(frame: &[u8]) -> Option<Self> {
        let frame = frame.get(..frame.len().min(SNAP_LENGTH))?;
        let ethertype = be16(frame, 12)?;
        let mut summary = Self { ethertype, ip: None, quoted: None };
        let packet = frame.get(ETHERNET_HEADER..)?;
        if let Some((ip, transport)) = match ethertype {
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => parse_ip(packet),
            _ => None,
        } {
            summary.ip = Some(ip);
            summary.quoted = quoted(ip.protocol, transport);
        }
        Some(summary)
    }

    /// Source address, if it is IP.
    pub fn src(&self) -> Option<IpAddr> {
        self.ip.map(|ip| ip.src)
    }

    /// Destination address, if it is IP.
    pub fn dst(&self) -> Option<IpAddr> {
        self.ip.map(|ip| ip.dst)
    }

    /// Whether it is ARP.
    pub fn is_arp(&self) -> bool {
        self.ethertype == ETHERTYPE_ARP
    }

    /// Whether it is Neighbour Discovery: router or neighbour solicitation or advertisement, redirect (RFC 4861).
    pub fn is_nd(&self) -> bool {
        self.ip.is_some_and(|ip| ip.protocol == ICMPV6 && ip.icmp_type.is_some_and(|kind| (133..=137).contains(&kind)))
    }

    /// Whether it reports multicast membership: IGMP, MLD (RFC 2710, RFC 3810).
    pub fn is_membership(&self) -> bool {
        self.ip.is_some_and(|ip| {
            ip.protocol == IGMP
                || (ip.protocol == ICMPV6 && ip.icmp_type.is_some_and(|kind| matches!(kind, 130..=132 | 143)))
        })
    }

    /// Whether it goes to port 53 of `resolver`, over UDP or TCP.
    pub fn is_dns_to(&self, resolver: IpAddr) -> bool {
        self.ip.is_some_and(|ip| ip.dst == resolver && matches!(ip.protocol, UDP | TCP) && ip.dst_port == Some(53))
    }
}

/// The packet quoted inside an ICMP error, given its protocol and its bytes from the ICMP header on.
pub(super) fn quoted(protocol: u8, icmp: &[u8]) -> Option<IpSummary> {
    let kind = *icmp.first()?;
    let is_error = match protocol {
        ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
        ICMPV6 => kind < 128,
        _ => false,
    };
    if !is_error {
        return None;
    }
    parse_ip(icmp.get(8..)?).map(|(ip, _)| ip)
}

/// The summary of an IP packet, and its bytes from the transport's header on.
pub(super) fn parse_ip(packet: &[u8]) -> Option<(IpSummary, &[u8])> {
    let (src, dst, protocol, hop_limit, transport) = match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet.first()? & 0x0f) * 4;
            let first_fragment = be16(packet, 6)? & 0x1fff == 0;
            let address = |at| packet.get(at..at + 4)?.try_into().ok().map(|bytes: [u8; 4]| Ipv4Addr::from(bytes));
            let transport = if first_fragment { packet.get(header..)? } else { &[] };
            (address(12)?.into(), address(16)?.into(), *packet.get(9)?, *packet.get(8)?, transport)
        }
        6 => {
            let address = |at| packet.get(at..at + 16)?.try_into().ok().map(|bytes: [u8; 16]| Ipv6Addr::from(bytes));
            let (protocol, transport) = skip_extensions(*packet.get(6)?, packet.get(40..)?);
            (address(8)?.into(), address(24)?.into(), protocol, *packet.get(7)?, transport)
        }
        _ => return None,
    };
    let mut ip = IpSummary {
        src,
        dst,
        protocol,
        hop_limit,
        src_port: None,
        dst_port: None,
        icmp_type: None,
        icmp_code: None,
        icmp_id: None,
        icmp_seq: None,
        tcp_seq: None,
        tcp_ack: None,
        payload_hash: 0,
    };
    let header = match protocol {
        TCP | UDP => {
            ip.src_port = be16(transport, 0);
            ip.dst_port = be16(transport, 2);
            if protocol == TCP {
                ip.tcp_seq = be32(transport, 4);
                ip.tcp_ack = be32(transport, 8).filter(|_| transport.get(13).is_some_and(|flags| flags & 16 != 0));
                20
            } else {
                8
            }
        }
        ICMP | ICMPV6 => {
            ip.icmp_type = transport.first().copied();
            ip.icmp_code = transport.get(1).copied();
            if matches!((protocol, ip.icmp_type), (ICMP, Some(0 | 8)) | (ICMPV6, Some(128 | 129))) {
                ip.icmp_id = be16(transport, 4);
                ip.icmp_seq = be16(transport, 6);
            }
            8
        }
        _ => 0,
    };
    ip.payload_hash = fnv1a(transport.get(header..).unwrap_or(&[]));
    Some((ip, transport))
}

/// Past the extension headers of RFC 8200; a later fragment has no transport header.
fn skip_extensions(mut next: u8, mut rest: &[u8]) -> (u8, &[u8]) {
    // Each round consumes at least eight bytes of `rest`.
    while let (0 | 43 | 44 | 60, Some(&following), Some(&length)) = (next, rest.first(), rest.get(1)) {
        let size = if next == 44 {
            if be16(rest, 2).is_none_or(|word| word >> 3 != 0) {
                return (following, &[]);
            }
            8
        } else {
            (usize::from(length) + 1) * 8
        };
        next = following;
        rest = rest.get(size..).unwrap_or(&[]);
    }
    (next, rest)
}

pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// [`IpSummary::payload_hash`] of these bytes.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(ethertype: u16, packet: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(ethertype.to_be_bytes());
        frame.extend(packet);
        frame
    }

    fn v4(protocol: u8, transport: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 20, 1, 1, 1, 20, 2, 2, 2];
        packet.extend(transport);
        packet
    }

    #[test]
    fn an_echo_request_shows_its_id_and_sequence_number() {
        let summary = PacketSummary::of_frame(&frame(0x0800, &v4(ICMP, &[8, 0, 0, 0, 1, 2, 3, 4, 9]))).unwrap();
        let ip = summary.ip.unwrap();
        assert_eq!((ip.icmp_id, ip.icmp_seq, ip.hop_limit), (Some(0x0102), Some(0x0304), 64));
        assert_eq!(summary.quoted, None);
    }

    #[test]
    fn a_segment_shows_its_numbers() {
        let mut segment = [0; 20];
        segment[..12].copy_from_slice(&[0, 80, 0x50, 1, 1, 2, 3, 4, 5, 6, 7, 8]);
        let numbers = |segment: &[u8]| parse_ip(&v4(TCP, segment)).map(|(ip, _)| (ip.tcp_seq, ip.tcp_ack)).unwrap();
        assert_eq!(numbers(&segment), (Some(0x0102_0304), None));
        segment[13] = 0x14;
        assert_eq!(numbers(&segment), (Some(0x0102_0304), Some(0x0506_0708)));
    }

    #[test]
    fn an_error_shows_what_it_quotes() {
        let inner = v4(UDP, &[0x82, 0x9a, 0x82, 0x9b, 0, 8, 0, 0]);
        let mut error = vec![11, 0, 0, 0, 0, 0, 0, 0];
        error.extend(inner);
        let summary = PacketSummary::of_frame(&frame(0x0800, &v4(ICMP, &error))).unwrap();
        assert_eq!(summary.quoted.unwrap().dst_port, Some(0x829b));
    }

    #[test]
    fn mld_behind_a_hop_by_hop_header_is_found() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 16, 0, 1];
        packet.extend([0; 32]);
        packet.extend([ICMPV6, 0, 5, 2, 0, 0, 1, 0]);
        packet.extend([143, 0, 0, 0, 0, 0, 0, 0]);
        assert!(PacketSummary::of_frame(&frame(0x86dd, &packet)).unwrap().is_membership());
    }

    #[test]
    fn no_cut_of_a_frame_makes_it_panic() {
        let mut error = vec![11, 0, 0, 0, 0, 0, 0, 0];
        error.extend(v4(TCP, &[0; 20]));
        let whole = frame(0x0800, &v4(ICMP, &error));
        for length in 0..whole.len() {
            let _ = PacketSummary::of_frame(&whole[..length]);
        }
    }
}
