//! TCP segments as bytes, as far as traceroute needs them: a SYN out, an answer in, the first bytes of a SYN in a quote
//! (RFC 9293). It must not know about runs, times or sockets.

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::icmp;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;

/// The protocol's number in an IP header.
const PROTOCOL: u8 = 6;
/// Header length of five words, and the window we claim: any.
const SYN_LENGTH: u8 = 5 << 4;
const WINDOW: [u8; 2] = 0xffff_u16.to_be_bytes();

/// Bits of the flags byte.
pub mod flag {
    /// Opens a connection.
    pub const SYN: u8 = 2;
    /// Refuses or ends one.
    pub const RST: u8 = 4;
    /// The acknowledgement number means something.
    pub const ACK: u8 = 16;
}

/// A segment, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number; means something with [`flag::ACK`].
    pub acknowledgement: u32,
    /// See [`flag`].
    pub flags: u8,
    /// Options, at most 40 bytes.
    pub options: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Reads a segment from its source port on; `None` when it is shorter than its header says. The checksum is not looked
    /// at.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (named, rest) = bytes.split_at_checked(8)?;
        let Start { source_port, destination_port, sequence } = Start::parse(named)?;
        let [a, b, c, d, offset, flags, ..] = *rest else { return None };
        let header = usize::from(offset >> 4) * 4;
        Some(Self {
            source_port,
            destination_port,
            sequence,
            acknowledgement: u32::from_be_bytes([a, b, c, d]),
            flags,
            options: bytes.get(HEADER_LEN..header)?,
        })
    }

    /// Has all of these flags.
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }
}

/// The first eight bytes of a segment, which is as much as every ICMP error quotes (RFC 792).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence: u32,
}

impl Start {
    /// Reads them; `None` when there are fewer.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h, ..] = *bytes else { return None };
        Some(Self {
            source_port: u16::from_be_bytes([a, b]),
            destination_port: u16::from_be_bytes([c, d]),
            sequence: u32::from_be_bytes([e, f, g, h]),
        })
    }
}

/// A SYN without options, with source port and checksum zero: the shell fills them in ([`fill`]).
pub fn syn(port: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::with_capacity(HEADER_LEN + payload.len());
    segment.extend([0, 0]);
    segment.extend(port.to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend([0, 0, 0, 0, SYN_LENGTH, flag::SYN]);
    segment.extend(WINDOW);
    segment.extend([0, 0, 0, 0]);
    segment.extend(payload);
    segment
}

/// Writes source port and checksum into a segment that goes from `src` to `dst`. Nothing happens without room for them or
/// when the families differ.
pub fn fill(segment: &mut [u8], src: IpAddr, dst: IpAddr, source_port: u16) {
    if segment.len() < HEADER_LEN {
        return;
    }
    let mut summed = Vec::with_capacity(40 + segment.len());
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => summed.extend([src.octets(), dst.octets()].as_flattened()),
        (IpAddr::V6(src), IpAddr::V6(dst)) => summed.extend([src.octets(), dst.octets()].as_flattened()),
        _ => return,
    }
    if let Some(field) = segment.get_mut(..2) {
        field.copy_from_slice(&source_port.to_be_bytes());
    }
    if let Some(field) = segment.get_mut(16..18) {
        field.copy_from_slice(&[0, 0]);
    }
    // The rest of the pseudo-header, which gives the same sum in both families (RFC 9293, 3.1; RFC 8200, 8.1).
    let length = u32::try_from(segment.len()).unwrap_or(u32::MAX);
    summed.extend(length.to_be_bytes());
    summed.extend([0, 0, 0, PROTOCOL]);
    summed.extend_from_slice(segment);
    let sum = icmp::checksum(&summed);
    if let Some(field) = segment.get_mut(16..18) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A SYN-ACK of 192.0.2.1 port 80 to port 20481: acknowledges 0x11223345, MSS 1460.
    const SYN_ACK: &[u8] =
        b"\x00\x50\x50\x01\xaa\xbb\xcc\xdd\x11\x22\x33\x45\x60\x12\xfa\xf0\x00\x00\x00\x00\x02\x04\x05\xb4";

    #[test]
    fn reads_a_segment_and_no_shorter_one() {
        let segment = Segment::parse(SYN_ACK).unwrap();
        assert_eq!((segment.source_port, segment.destination_port), (80, 20_481));
        assert_eq!((segment.sequence, segment.acknowledgement), (0xaabb_ccdd, 0x1122_3345));
        assert!(segment.has(flag::SYN | flag::ACK) && !segment.has(flag::RST));
        assert_eq!(segment.options, &[2, 4, 5, 180]);
        for length in 0..SYN_ACK.len() {
            assert_eq!(Segment::parse(&SYN_ACK[..length]), None, "{length} bytes");
        }
        let mut impossible = SYN_ACK.to_vec();
        for words in 0..5 {
            impossible[12] = words << 4;
            assert_eq!(Segment::parse(&impossible), None, "a header of {words} words");
        }
    }

    #[test]
    fn eight_bytes_name_a_segment() {
        let start = Start { source_port: 80, destination_port: 20_481, sequence: 0xaabb_ccdd };
        assert_eq!(Start::parse(&SYN_ACK[..8]), Some(start));
        assert_eq!(Start::parse(&SYN_ACK[..7]), None);
    }

    #[test]
    fn a_filled_syn_verifies_in_both_families() {
        for (src, dst, pseudo) in [
            ("10.0.0.2", "192.0.2.1", &b"\x0a\0\0\x02\xc0\0\x02\x01"[..]),
            (
                "2001:db8::2",
                "2001:db8::1",
                b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01",
            ),
        ] {
            let mut segment = syn(443, 7, b"odd");
            fill(&mut segment, src.parse().unwrap(), dst.parse().unwrap(), 20_485);
            let read = Segment::parse(&segment).unwrap();
            assert_eq!((read.source_port, read.destination_port, read.sequence), (20_485, 443, 7));
            assert_eq!((read.flags, read.options.len(), &segment[20..]), (flag::SYN, 0, &b"odd"[..]));
            let mut summed = pseudo.to_vec();
            summed.extend([0, segment.len() as u8, 0, PROTOCOL]);
            summed.extend(&segment);
            assert_eq!(icmp::checksum(&summed), 0, "from {src}");
        }
        let mut short = [1; 19];
        fill(&mut short, "10.0.0.2".parse().unwrap(), "192.0.2.1".parse().unwrap(), 1);
        assert_eq!(short, [1; 19]);
    }
}
