//! ICMP and ICMPv6 messages as bytes: echo requests out, echo replies and errors in (RFC 792, RFC 4443), with the checksum
//! of both (RFC 1071). It must not know about runs, times or sockets.
//!
//! One length check, in [`Message::parse`]; what is behind it works on fields.

use alloc::vec::Vec;

use sonde_protocol::net::{Family, Transport};
use sonde_protocol::spec::Spec;

/// Bytes of an ICMP header of either family: type, code, checksum, and four bytes that depend on the type.
pub const HEADER_LEN: usize = 8;

/// What a target's owner sees in a packet dump behind the bytes that mean something to us.
const FILLER: &[u8] = b"Sonde network measurement. ";

/// What a message is. The families number the same things differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Echo request: 8, ICMPv6 128.
    EchoRequest,
    /// Echo reply: 0, ICMPv6 129.
    EchoReply,
    /// Destination unreachable: 3, ICMPv6 1.
    DestinationUnreachable,
    /// Packet too big: ICMPv6 2. ICMP says so by code 4 of destination unreachable.
    PacketTooBig,
    /// Time exceeded: 11, ICMPv6 3.
    TimeExceeded,
    /// Parameter problem: 12, ICMPv6 4.
    ParameterProblem,
    /// Any other type.
    Other(u8),
}

impl Kind {
    const V4: [(u8, Kind); 5] = [
        (0, Kind::EchoReply),
        (3, Kind::DestinationUnreachable),
        (8, Kind::EchoRequest),
        (11, Kind::TimeExceeded),
        (12, Kind::ParameterProblem),
    ];
    const V6: [(u8, Kind); 6] = [
        (1, Kind::DestinationUnreachable),
        (2, Kind::PacketTooBig),
        (3, Kind::TimeExceeded),
        (4, Kind::ParameterProblem),
        (128, Kind::EchoRequest),
        (129, Kind::EchoReply),
    ];

    /// The kind with this type number.
    pub fn from_number(family: Family, number: u8) -> Self {
        let table: &[(u8, Kind)] = match family {
            Family::V4 => &Self::V4,
            Family::V6 => &Self::V6,
        };
        table.iter().find(|(n, _)| *n == number).map_or(Kind::Other(number), |(_, kind)| *kind)
    }
}

/// What an ICMP error says about the packet it quotes, as far as an engine acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// Its hop limit ran out on the way.
    HopLimitExceeded,
    /// It was too long for the next link.
    TooBig,
    /// Whoever sent the error can bring no packet to the destination, or the destination wants none.
    Unreachable,
    /// It arrived somewhere and was not understood, or not put together again in time.
    Rejected,
    /// Nothing: the packet goes on (redirects, source quench), or the type is unknown.
    Other,
}

impl Problem {
    /// What type and code of an error mean.
    pub fn of(family: Family, kind: u8, code: u8) -> Self {
        match (Kind::from_number(family, kind), family, code) {
            (Kind::TimeExceeded, _, 0) => Problem::HopLimitExceeded,
            (Kind::TimeExceeded | Kind::ParameterProblem, _, _) => Problem::Rejected,
            (Kind::PacketTooBig, _, _) | (Kind::DestinationUnreachable, Family::V4, 4) => Problem::TooBig,
            (Kind::DestinationUnreachable, _, _) => Problem::Unreachable,
            (Kind::EchoRequest | Kind::EchoReply | Kind::Other(_), _, _) => Problem::Other,
        }
    }
}

/// One ICMP message, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its code.
    pub code: u8,
    /// Identifier; means something in echo messages only.
    pub identifier: u16,
    /// Sequence number; means something in echo messages only.
    pub sequence: u16,
    /// What stands behind the header.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a message from its type byte on; `None` when it is shorter than a header. The checksum is not looked at: the
    /// kernel has done so, and in a quote it is not ours to judge.
    pub fn parse(family: Family, bytes: &'a [u8]) -> Option<Self> {
        let [kind, code, _, _, id_high, id_low, seq_high, seq_low, payload @ ..] = bytes else { return None };
        Some(Self {
            kind: Kind::from_number(family, *kind),
            code: *code,
            identifier: u16::from_be_bytes([*id_high, *id_low]),
            sequence: u16::from_be_bytes([*seq_high, *seq_low]),
            payload,
        })
    }
}

/// An echo request with identifier and checksum zero: the kernel fills both on its ICMP sockets; on a raw IPv4 socket the
/// shell sets the identifier and calls [`fill_checksum`].
pub fn echo_request(family: Family, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let kind = match family {
        Family::V4 => 8,
        Family::V6 => 128,
    };
    let mut message = Vec::with_capacity(HEADER_LEN + payload.len());
    message.extend([kind, 0, 0, 0, 0, 0]);
    message.extend(sequence.to_be_bytes());
    message.extend(payload);
    message
}

/// The Internet checksum (RFC 1071). Over a message that carries its right checksum it is 0.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = sum(bytes);
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// Writes the checksum into an ICMPv4 message. ICMPv6 has addresses in its checksum (RFC 4443, 2.3), which the kernel
/// always adds itself.
pub fn fill_checksum(message: &mut [u8]) {
    if message.len() < HEADER_LEN {
        return;
    }
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&[0, 0]);
    }
    let sum = checksum(message);
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

/// Where the extension structure stands in errors of routers that are older than RFC 4884, in bytes from the quoted IP
/// header on (RFC 4884, 5.5).
const OLD_EXTENSIONS_AT: usize = 128;

/// The extension structure in an error that does not say that it has one: what stands where such routers put it, if it is
/// version 2, reserved bits zero, with at least one object and its right checksum. `quoted` begins `headers` bytes behind
/// the quoted IP header's first.
pub fn old_extensions(quoted: &[u8], headers: usize) -> Option<&[u8]> {
    let structure = quoted.get(OLD_EXTENSIONS_AT.checked_sub(headers)?..)?;
    let is_one = matches!(structure, [0x20, 0, high, low, _, _, _, _, ..] if (*high, *low) != (0, 0));
    (is_one && checksum(structure) == 0).then_some(structure)
}

/// How many ICMP sequence numbers a run can use at most; 0 for kinds that send no echo requests.
pub fn sequences_needed(spec: &Spec) -> u16 {
    let count = match spec {
        Spec::Ping(ping) => ping.packets,
        Spec::Traceroute(trace) if trace.protocol == Transport::Icmp => {
            // One hop more: the last try at hop 255.
            let hops = trace.max_hops.saturating_sub(trace.first_hop).saturating_add(2);
            trace.packets.saturating_mul(hops)
        }
        Spec::PathMtu(_) => spec.packets_at_most(),
        _ => 0,
    };
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// The sum of the 16-bit words, unfolded; an odd last byte is padded with zero (RFC 1071, 4.1).
fn sum(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| match pair {
        [high, low] => u64::from(u16::from_be_bytes([*high, *low])),
        [high] => u64::from(*high) << 8,
        _ => 0,
    };
    bytes.chunks(2).map(word).sum()
}

/// Sets the word at the even offset `at` so that the one's complement sum of `bytes` is `target`. One's complement
/// arithmetic is arithmetic modulo 65535, so that `target` may be any number. Nothing happens without room for the word.
pub(crate) fn balance(bytes: &mut [u8], at: usize, target: i64) {
    let end = at.saturating_add(2);
    let Some(word) = bytes.get_mut(at..end) else { return };
    word.copy_from_slice(&[0, 0]);
    let missing = target.saturating_sub_unsigned(sum(bytes)).rem_euclid(0xffff) as u16;
    if let Some(word) = bytes.get_mut(at..end) {
        word.copy_from_slice(&missing.to_be_bytes());
    }
}

/// Makes `payload` exactly `size` bytes long: cut, or filled up with text.
pub(crate) fn fill(payload: &mut Vec<u8>, size: usize) {
    payload.truncate(size);
    let missing = size - payload.len();
    payload.extend(FILLER.iter().cycle().take(missing));
}

#[cfg(test)]
mod tests {
    use sonde_protocol::spec::{DnsSpec, PingSpec, TracerouteSpec};

    use super::*;

    /// What `ping` of Windows sends, id 1, sequence 1.
    const REQUEST: &[u8] = b"\x08\x00\x4d\x5a\x00\x01\x00\x01abcdefghijklmnopqrstuvwabcdefghi";
    /// A reply of ::1, id 0x6b05, sequence 2, four bytes of payload.
    const REPLY_V6: &[u8] = b"\x81\x00\x12\x34\x6b\x05\x00\x02\xde\xad\xbe\xef";

    #[test]
    fn reads_echo_messages_of_both_families() {
        let request = Message::parse(Family::V4, REQUEST).unwrap();
        assert_eq!((request.kind, request.code), (Kind::EchoRequest, 0));
        assert_eq!((request.identifier, request.sequence, request.payload.len()), (1, 1, 32));
        let reply = Message::parse(Family::V6, REPLY_V6).unwrap();
        assert_eq!((reply.kind, reply.identifier, reply.sequence), (Kind::EchoReply, 0x6b05, 2));
        assert_eq!(reply.payload, b"\xde\xad\xbe\xef");
        // The same bytes are something else in the other family.
        assert_eq!(Message::parse(Family::V4, REPLY_V6).unwrap().kind, Kind::Other(129));
    }

    #[test]
    fn whatever_is_shorter_than_a_header_is_no_message() {
        for length in 0..HEADER_LEN {
            assert_eq!(Message::parse(Family::V4, &REQUEST[..length]), None, "{length} bytes");
        }
        assert_eq!(Message::parse(Family::V4, &REQUEST[..HEADER_LEN]).unwrap().payload, b"");
    }

    #[test]
    fn writes_the_request_that_another_program_wrote() {
        let mut message = echo_request(Family::V4, 1, &REQUEST[HEADER_LEN..]);
        message[4..6].copy_from_slice(&[0, 1]);
        fill_checksum(&mut message);
        assert_eq!(message, REQUEST);
        assert_eq!(checksum(&message), 0);
        assert_eq!(echo_request(Family::V6, 0x0102, b"x"), b"\x80\0\0\0\0\0\x01\x02x");
    }

    #[test]
    fn checksum_is_that_of_rfc_1071() {
        // The RFC's own example (section 3) sums to ddf2.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[0x01]), !0x0100);
        assert_eq!(checksum(&[]), 0xffff);
        let mut short = [8, 0, 0];
        fill_checksum(&mut short);
        assert_eq!(short, [8, 0, 0]);
    }

    #[test]
    fn balancing_fixes_the_checksum_whatever_else_changes() {
        let with = |sequence: u16, target: i64| {
            let mut message = echo_request(Family::V4, sequence, b"\xff\xffpayload");
            balance(&mut message, HEADER_LEN, target);
            checksum(&message)
        };
        for sequence in [0, 1, 0x7fff, 0xfffe, 0xffff] {
            assert_eq!(with(sequence, -3), 3);
            assert_eq!(with(sequence, 70_000), !(70_000u32 - 65_535) as u16);
        }
        let mut no_room = [1, 2, 3];
        balance(&mut no_room, 2, 0);
        assert_eq!(no_room, [1, 2, 3]);
    }

    #[test]
    fn errors_mean_the_same_in_both_families() {
        let cases = [
            (Family::V4, 11, 0, Problem::HopLimitExceeded),
            (Family::V6, 3, 0, Problem::HopLimitExceeded),
            (Family::V4, 11, 1, Problem::Rejected),
            (Family::V6, 4, 1, Problem::Rejected),
            (Family::V4, 3, 4, Problem::TooBig),
            (Family::V6, 2, 0, Problem::TooBig),
            (Family::V4, 3, 3, Problem::Unreachable),
            (Family::V6, 1, 4, Problem::Unreachable),
            (Family::V4, 3, 13, Problem::Unreachable),
            (Family::V4, 5, 1, Problem::Other),
            (Family::V4, 4, 0, Problem::Other),
            (Family::V6, 137, 0, Problem::Other),
        ];
        for (family, kind, code, problem) in cases {
            assert_eq!(Problem::of(family, kind, code), problem, "IPv{family} {kind}/{code}");
        }
    }

    #[test]
    fn old_extensions_are_found_where_they_have_to_be() {
        let mut quoted = alloc::vec![7; 128 - 28];
        quoted.extend(b"\x20\x00\x00\x00\x00\x08\x01\x01\x05\xdc\xdb\x01");
        let sum = checksum(&quoted[100..]).to_be_bytes();
        quoted[102..104].copy_from_slice(&sum);
        assert_eq!(old_extensions(&quoted, 28), Some(&quoted[100..]));
        assert_eq!(old_extensions(&quoted, 20), None, "eight bytes behind");
        assert_eq!(old_extensions(&quoted, 200), None);
        for (place, wrong) in [(100, 0x10), (101, 1), (111, 2)] {
            let mut other = quoted.clone();
            other[place] = wrong;
            assert_eq!(old_extensions(&other, 28), None, "byte {place}");
        }
        for length in 0..quoted.len() {
            assert_eq!(old_extensions(&quoted[..length], 28), None, "{length} bytes");
        }
        // Our own filler is no structure, wherever the quote ends.
        let mut filler = Vec::new();
        fill(&mut filler, 2000);
        assert!((0..2000).all(|length| old_extensions(&filler[..length], 28).is_none()));
    }

    #[test]
    fn sequence_numbers_are_reserved_for_every_packet_a_run_can_send() {
        assert_eq!(sequences_needed(&Spec::Ping(PingSpec { packets: 16, ..PingSpec::default() })), 16);
        let trace =
            TracerouteSpec { protocol: Transport::Icmp, max_hops: 255, packets: 16, ..TracerouteSpec::default() };
        assert_eq!(sequences_needed(&Spec::Traceroute(trace.clone())), 4096);
        assert_eq!(sequences_needed(&Spec::Traceroute(TracerouteSpec { protocol: Transport::Udp, ..trace })), 0);
        assert_eq!(sequences_needed(&Spec::Dns(DnsSpec::default())), 0);
    }
}
