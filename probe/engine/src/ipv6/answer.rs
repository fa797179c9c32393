//! Reads of a DNS answer what the checks need (RFC 1035, 4.1): header, addresses of one type, whether there are signatures.
//! The message is a stranger's: whatever it says is bounded, and what cannot be read ends the reading.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sonde_protocol::bounded::List;
use sonde_protocol::net::Ip;
use sonde_protocol::result::ipv6::{DnsCheck, DnsSeen};

/// Type of a signature (RFC 4034).
const RRSIG: u16 = 46;

/// What the answer to a question of type `qtype` says, `rt` nanoseconds after it. `None`: it is shorter than a header.
///
/// Addresses of `known` come first, so that a long list does not push them out.
pub fn read(message: &[u8], qtype: u16, rt: u64, known: &[IpAddr]) -> Option<DnsSeen> {
    let header: &[u8; 12] = message.first_chunk()?;
    let [_, _, f0, f1, q0, q1, a0, a1, n0, n1, ..] = *header;
    let word = |high, low| u16::from_be_bytes([high, low]);
    let flags = word(f0, f1);
    let mut seen = DnsSeen {
        rt,
        size: u32::try_from(message.len()).unwrap_or(u32::MAX),
        rcode: f1 & 0x0f,
        flags,
        ..DnsSeen::default()
    };
    let mut found = Vec::new();
    let counts = Counts { questions: word(q0, q1), answers: word(a0, a1), authorities: word(n0, n1) };
    // What stands before damage counts; there is nothing to be done about the rest.
    let _ = records(message.get(12..)?, counts, |kind, data, is_answer| {
        seen.signed |= kind == RRSIG;
        if kind == qtype && is_answer {
            match address(kind, data) {
                Some(address) => found.push(address),
                None if matches!(kind, DnsCheck::A | DnsCheck::AAAA) => seen.malformed = true,
                None => {}
            }
        }
    });
    found.sort_by_key(|address| !known.contains(address));
    seen.addresses = List::cut(found.into_iter().map(Ip));
    Some(seen)
}

fn address(kind: u16, data: &[u8]) -> Option<IpAddr> {
    match kind {
        DnsCheck::A => <[u8; 4]>::try_from(data).ok().map(|octets| Ipv4Addr::from(octets).into()),
        DnsCheck::AAAA => <[u8; 16]>::try_from(data).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

struct Counts {
    questions: u16,
    answers: u16,
    authorities: u16,
}

/// Calls `take` with type and data of each record of the answer and the authority section.
fn records(mut rest: &[u8], counts: Counts, mut take: impl FnMut(u16, &[u8], bool)) -> Option<()> {
    for _ in 0..counts.questions {
        rest = behind_name(rest)?.get(4..)?;
    }
    for n in 0..u32::from(counts.answers) + u32::from(counts.authorities) {
        rest = behind_name(rest)?;
        let (fixed, behind) = rest.split_first_chunk::<10>()?;
        let [t0, t1, _, _, _, _, _, _, l0, l1] = *fixed;
        let (data, after) = behind.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
        take(u16::from_be_bytes([t0, t1]), data, n < u32::from(counts.answers));
        rest = after;
    }
    Some(())
}

/// What follows a name. Where a pointer leads need not be known.
fn behind_name(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let (&length, behind) = rest.split_first()?;
        match length {
            0 => return Some(behind),
            1..=63 => rest = behind.get(usize::from(length)..)?,
            192..=255 => return behind.get(1..),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
    use hickory_proto::rr::{Name, RData, Record, RecordType};

    use super::*;

    fn message(addresses: &[&str]) -> Vec<u8> {
        let name = Name::from_str("x.ds.example.").unwrap();
        let mut message = Message::new(7, MessageType::Response, OpCode::Query);
        message.metadata.recursion_available = true;
        message.metadata.response_code = ResponseCode::NoError;
        message.add_query(Query::query(name.clone(), RecordType::AAAA));
        for address in addresses {
            let data = match address.parse().unwrap() {
                IpAddr::V4(v4) => RData::A(v4.into()),
                IpAddr::V6(v6) => RData::AAAA(v6.into()),
            };
            message.add_answer(Record::from_rdata(name.clone(), 300, data));
        }
        message.to_vec().unwrap()
    }

    #[test]
    fn addresses_of_the_type_are_read_and_known_ones_come_first() {
        let bytes = message(&["2001:db8::1", "192.0.2.1", "2001:db8::2"]);
        let known: IpAddr = "2001:db8::2".parse().unwrap();
        let seen = read(&bytes, DnsCheck::AAAA, 5, &[known]).unwrap();
        let addresses: Vec<IpAddr> = seen.addresses.iter().map(|ip| ip.0).collect();
        assert_eq!(addresses, [known, "2001:db8::1".parse().unwrap()]);
        assert!(seen.has(DnsSeen::RECURSION_AVAILABLE) && !seen.has(DnsSeen::AUTHORITATIVE));
        assert_eq!((seen.rcode, seen.rt, seen.malformed, seen.signed), (0, 5, false, false));
        assert_eq!(read(&bytes, DnsCheck::A, 5, &[]).unwrap().addresses.len(), 1);
    }

    #[test]
    fn four_bytes_in_an_aaaa_record_are_noticed() {
        let mut bytes = message(&["192.0.2.1"]);
        // The type of the only record: 12 bytes before its end are type, class, TTL, length, and 4 of data behind.
        let at = bytes.len() - 14;
        bytes[at..at + 2].copy_from_slice(&28_u16.to_be_bytes());
        let seen = read(&bytes, DnsCheck::AAAA, 0, &[]).unwrap();
        assert!(seen.malformed && seen.addresses.is_empty());
    }

    #[test]
    fn a_message_that_ends_anywhere_is_survived() {
        let bytes = message(&["2001:db8::1", "2001:db8::2"]);
        for end in 0..bytes.len() {
            let seen = read(&bytes[..end], DnsCheck::AAAA, 0, &[]);
            assert_eq!(seen.is_some(), end >= 12);
        }
    }
}
