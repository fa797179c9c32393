//! What the user-space router does with a packet, as bytes: forwards it, or answers with an ICMP error that carries the
//! label stack (RFC 4884, RFC 4950). Pure, and written apart from the probe's parsers.

use std::net::IpAddr;

use crate::lab::packet::{ICMP, ICMPV6, be16, parse_ip};
use crate::lab::reach::checksum;
use crate::lab::topology::{MPLS_LABELS, MplsLabel};

/// How much of a packet is quoted in front of an extension: what RFC 4884 asks for at least, and padded to that.
const QUOTE: usize = 128;
/// How much is quoted where no extension follows.
const PLAIN_QUOTE: usize = 548;
/// What this router's own packets begin with.
const HOP_LIMIT: u8 = 64;

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the kernel's, or nobody's.
    Ignore,
    /// A whole IP packet is to be sent.
    Send {
        /// From its IP header on.
        packet: Vec<u8>,
        /// Where to.
        dst: IpAddr,
    },
}

/// Decides about a packet that came in where the router's address is `me`; all its addresses are `own`. What follows the
/// packet in its frame is padding.
pub(super) fn judge(bytes: &[u8], me: IpAddr, own: &[IpAddr]) -> Verdict {
    let Some((ip, packet)) = whole(bytes).and_then(|packet| Some((parse_ip(packet)?.0, packet))) else {
        return Verdict::Ignore;
    };
    let is_local = match ip.dst {
        IpAddr::V4(dst) => dst.is_multicast() || dst.is_broadcast() || dst.is_link_local(),
        IpAddr::V6(dst) => dst.is_multicast() || dst.is_unicast_link_local(),
    };
    if is_local || own.contains(&ip.dst) {
        return Verdict::Ignore;
    }
    if ip.hop_limit <= 1 {
        if is_icmp_error(ip.protocol, ip.icmp_type) {
            return Verdict::Ignore;
        }
        return Verdict::Send { packet: time_exceeded(packet, me, ip.src), dst: ip.src };
    }
    let mut packet = packet.to_vec();
    // The kernel makes IPv4's header checksum anew.
    let at = if ip.dst.is_ipv4() { 8 } else { 7 };
    if let Some(hop_limit) = packet.get_mut(at) {
        *hop_limit -= 1;
    }
    Verdict::Send { packet, dst: ip.dst }
}

/// The answer to a packet that is longer than the next link allows; `None` for one that a router might fragment.
pub(super) fn too_big(bytes: &[u8], me: IpAddr, mtu: u32) -> Option<Verdict> {
    let packet = whole(bytes)?;
    let (ip, _) = parse_ip(packet)?;
    let may_fragment = ip.dst.is_ipv4() && be16(packet, 6)? & 0x4000 == 0;
    if may_fragment || is_icmp_error(ip.protocol, ip.icmp_type) {
        return None;
    }
    let (kind, code) = if me.is_ipv4() { (3, 4) } else { (2, 0) };
    let mut message = vec![kind, code, 0, 0];
    message.extend(mtu.to_be_bytes());
    message.extend(packet.iter().take(PLAIN_QUOTE));
    Some(Verdict::Send { packet: with_ip_header(message, me, ip.src), dst: ip.src })
}

/// The packet without padding.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let length = match bytes.first()? >> 4 {
        4 => usize::from(be16(bytes, 2)?),
        6 => 40 + usize::from(be16(bytes, 4)?),
        _ => return None,
    };
    bytes.get(..length)
}

fn is_icmp_error(protocol: u8, icmp_type: Option<u8>) -> bool {
    match (protocol, icmp_type) {
        (ICMP, Some(kind)) => !matches!(kind, 0 | 8),
        (ICMPV6, Some(kind)) => kind < 128,
        _ => false,
    }
}

/// "Time exceeded in transit" with the label stack.
fn time_exceeded(packet: &[u8], me: IpAddr, to: IpAddr) -> Vec<u8> {
    let mut quote: Vec<u8> = packet.iter().copied().take(QUOTE).collect();
    quote.resize(QUOTE, 0);
    // The quote's length, in words of 32 bits at byte 5 or of 64 bits at byte 4 (RFC 4884, sections 4 and 5).
    let mut message = if me.is_ipv4() {
        vec![11, 0, 0, 0, 0, (QUOTE / 4) as u8, 0, 0]
    } else {
        vec![3, 0, 0, 0, (QUOTE / 8) as u8, 0, 0, 0]
    };
    message.extend(quote);
    message.extend(extension(&MPLS_LABELS));
    with_ip_header(message, me, to)
}

/// The extension structure with one object: class 1 "MPLS label stack", type 1 "incoming" (RFC 4950).
fn extension(labels: &[MplsLabel]) -> Vec<u8> {
    let mut object = ((4 + 4 * labels.len()) as u16).to_be_bytes().to_vec();
    object.extend([1, 1]);
    for (number, label) in (1..).zip(labels) {
        let is_bottom = u32::from(number == labels.len());
        let word = label.label << 12 | u32::from(label.exp & 7) << 9 | is_bottom << 8 | u32::from(label.ttl);
        object.extend(word.to_be_bytes());
    }
    // Version 2; the checksum is over header and objects.
    let mut extension = vec![0x20, 0, 0, 0];
    extension.extend(object);
    let sum = checksum(&extension).to_be_bytes();
    extension.splice(2..4, sum);
    extension
}

/// Completes an ICMP message, whose checksum is zero so far.
fn with_ip_header(mut message: Vec<u8>, src: IpAddr, dst: IpAddr) -> Vec<u8> {
    let length = message.len() as u16;
    let mut packet = Vec::with_capacity(40 + message.len());
    let sum = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            // Precedence as Linux gives it to errors (RFC 1812, section 4.3.2.5).
            packet.extend([0x45, 0xc0]);
            packet.extend((length + 20).to_be_bytes());
            packet.extend([0, 0, 0, 0, HOP_LIMIT, ICMP, 0, 0]);
            packet.extend(src.octets());
            packet.extend(dst.octets());
            let sum = checksum(&packet).to_be_bytes();
            packet.splice(10..12, sum);
            checksum(&message)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(length.to_be_bytes());
            packet.extend([ICMPV6, HOP_LIMIT]);
            packet.extend(src.octets());
            packet.extend(dst.octets());
            let mut summed = [src.octets(), dst.octets()].concat();
            summed.extend(u32::from(length).to_be_bytes());
            summed.extend([0, 0, 0, ICMPV6]);
            summed.extend(&message);
            checksum(&summed)
        }
        _ => unreachable!("a packet and its answer are of one family"),
    };
    message.splice(2..4, sum.to_be_bytes());
    packet.extend(message);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 UDP packet with this hop limit and padding behind it.
    fn udp(hop_limit: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 30, 0, 9, 0x40, 0, hop_limit, 17, 0, 0, 20, 1, 1, 1, 20, 2, 2, 2];
        packet.extend([0x82, 0x9a, 0x82, 0x9b, 0, 10, 0, 0, 1, 2]);
        packet.extend([0; 16]);
        packet
    }

    #[test]
    fn a_packet_that_may_live_on_loses_one_hop_and_its_padding() {
        let me = "20.9.9.9".parse().unwrap();
        let Verdict::Send { packet, dst } = judge(&udp(2), me, &[me]) else { panic!("it is forwarded") };
        assert_eq!((packet.len(), packet[8], dst.to_string()), (30, 1, "20.2.2.2".to_owned()));
    }

    #[test]
    fn a_packet_at_its_end_is_quoted_with_the_labels() {
        let me = "20.9.9.9".parse().unwrap();
        let Verdict::Send { packet, dst } = judge(&udp(1), me, &[me]) else { panic!("it is answered") };
        assert_eq!(dst.to_string(), "20.1.1.1");
        assert_eq!(packet[20..22], [11, 0]);
        assert_eq!(packet[25], 32);
        assert_eq!(packet[28..58], udp(1)[..30]);
        let extension = &packet[28 + 128..];
        assert_eq!(extension[4..8], [0, 12, 1, 1]);
        assert_eq!(extension[8..], [0x05, 0xdc, 0x50, 1, 0xff, 0xff, 0xfb, 254]);
        assert_eq!((checksum(extension), checksum(&packet[20..])), (0, 0));
    }

    #[test]
    fn its_own_packets_and_the_neighbours_talk_are_the_kernels() {
        let me = "20.2.2.2".parse().unwrap();
        assert_eq!(judge(&udp(5), "20.9.9.9".parse().unwrap(), &[me]), Verdict::Ignore);
        for length in 0..30 {
            assert_eq!(judge(&udp(5)[..length], me, &[]), Verdict::Ignore);
        }
    }
}
