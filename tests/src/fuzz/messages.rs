//! What the two ends say to each other, and what of a stranger's bytes becomes JSON.

use std::fmt::Debug;

use minicbor::{Decode, Encode};
use sonde_protocol::board::{FromSystem, ToSystem};
use sonde_protocol::bounded::{Bytes, List};
use sonde_protocol::directory::{Directory, SignedDirectory};
use sonde_protocol::lanes::{MAX_PIECE, Record, RecordReader};
use sonde_protocol::message::{Down, Frame, Up, from_cbor, to_cbor};
use sonde_protocol::net::{Family, Ip, Transport};
use sonde_protocol::order::{Order, OrdersUpdate};
use sonde_protocol::result::{
    DnsAnswer, DnsOutcome, DnsReply, DnsResponse, Hop, HopAnswer, HopReply, IcmpKind, Outcome, Report,
    TracerouteOutcome,
};
use sonde_protocol::spec::{Kind, Spec};
use sonde_protocol::time::UnixNanos;
use sonde_protocol::tls::Ring;
use sonde_protocol::wire::Reader;

use super::drive::{check, check_json, target};
use super::input::Input;

/// The greatest message that [`wire`] lets through: small, so that short inputs reach it.
const ALLOWED: usize = 64;

fn read<T>(data: &[u8]) -> Option<T>
where
    T: for<'b> Decode<'b, ()> + Encode<()> + PartialEq + Debug,
{
    let value = from_cbor::<T>(data).ok()??;
    let again = from_cbor::<T>(&to_cbor(&value)).expect("what was written can be read");
    assert_eq!(again.as_ref(), Some(&value));
    Some(value)
}

pub(super) fn up(data: &[u8]) {
    read::<Up>(data);
}

pub(super) fn down(data: &[u8]) {
    read::<Down>(data);
    read::<Order>(data);
    read::<OrdersUpdate>(data);
}

/// What a board's system and its probe say to each other.
pub(super) fn board(data: &[u8]) {
    read::<FromSystem>(data);
    read::<ToSystem>(data);
}

pub(super) fn frame(data: &[u8]) {
    read::<Frame>(data);
}

/// A report of a probe that has gone bad is stored, and has to be shown.
pub(super) fn report(data: &[u8]) {
    read::<Report>(data);
    if let Ok(report) = Report::from_cbor(data) {
        let _ = report.measurement();
        if let Report::Result(result) = report {
            check_json(&result);
        }
    }
}

pub(super) fn spec(data: &[u8]) {
    for kind in Kind::ALL {
        let Ok(spec) = Spec::from_cbor(kind, data) else { continue };
        assert_eq!(spec.problems(), [], "what was read can be run");
        assert_eq!(Spec::from_cbor(kind, &spec.to_cbor()).expect("what was written can be read"), spec);
        let _ = (spec.tcp_port(), spec.packets_at_most(), spec.packet_size());
    }
}

pub(super) fn directory(data: &[u8]) {
    read::<Directory>(data);
    if let Some(signed) = read::<SignedDirectory>(data) {
        // Nobody has the root's key here.
        let _ = signed.open(&[signed.root], &Ring);
    }
}

/// A stream cut into messages, in pieces as they come.
pub(super) fn wire(data: &[u8]) {
    let input = &mut Input::new(data);
    let mut reader = Reader::new(ALLOWED);
    while !input.is_empty() {
        reader.push(input.bytes());
        loop {
            match reader.next_message() {
                Ok(Some(message)) => assert!(message.len() <= ALLOWED),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// Records of the lanes over one stream, in pieces as they come.
pub(super) fn lanes(data: &[u8]) {
    let input = &mut Input::new(data);
    let mut reader = RecordReader::default();
    while !input.is_empty() {
        reader.push(input.bytes());
        loop {
            match reader.next_record() {
                Ok(Some(Record::Data(_, piece))) => assert!(piece.len() <= MAX_PIECE),
                Ok(Some(Record::Ping | Record::Pong)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// The answer of a name server, as the JSON shows it.
pub(super) fn dns_message(data: &[u8]) {
    // What the checks of ipv6 read of an answer.
    for qtype in [1, 28] {
        if let Some(seen) = sonde_engine::ipv6::answer::read(data, qtype, 1, &[target(Family::V6)]) {
            assert!(seen.addresses.iter().all(|ip| (Family::of(ip.0) == Family::V6) == (qtype == 28)));
        }
    }
    let Some(message) = Bytes::new(data) else { return };
    let answer = DnsAnswer {
        rt: 1,
        message,
        show_message: true,
        connect: None,
        truncated_first: false,
        handshake: None,
        exchange: None,
    };
    let response = DnsResponse {
        sent_at: UnixNanos(0),
        dst_addr: Ip(target(Family::V4)),
        dst_port: 53,
        src_addr: None,
        protocol: Transport::Udp,
        retries: 0,
        query: None,
        outcome: DnsReply::Answer(answer),
        secure: None,
        strays: List::default(),
        strays_seen: 0,
        id_mismatches: 0,
    };
    for own_resolvers in [false, true] {
        check(Family::V4, Outcome::Dns(DnsOutcome { own_resolvers, responses: List::cut([response.clone()]) }));
    }
}

/// The RFC 4884 structure of a router's error, as the JSON shows it.
pub(super) fn icmp_extension(data: &[u8]) {
    let Some(extensions) = Bytes::new(data) else { return };
    let answer = HopAnswer {
        rtt: Some(1_000_000),
        size: Some(28),
        icmp: Some(IcmpKind { kind: 11, code: 0 }),
        extensions: Some(extensions),
        ..HopAnswer::new(Ip(target(Family::V4)))
    };
    let hops = List::cut([Hop { hop: 1, replies: List::cut([HopReply::Reply(answer)]) }]);
    let outcome = TracerouteOutcome { protocol: Transport::Udp, size: 48, paris_id: None, hops };
    check(Family::V4, Outcome::Traceroute(outcome));
}
