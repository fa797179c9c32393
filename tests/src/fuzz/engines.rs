//! The engines, and the bytes of theirs that can be read alone.

use sonde_engine::dns::{self, DnsUdp, QueryContext, TcpReader, query};
use sonde_engine::http::{Event, Exchange};
use sonde_engine::icmp::{Message, Problem};
use sonde_engine::ntp::{Anchor, Ntp, NtpConfig, PORT};
use sonde_engine::ping::{Ping, PingConfig};
use sonde_engine::traceroute::{Traceroute, TracerouteConfig};
use sonde_engine::{Channel, Transmit};
use sonde_protocol::bounded::Text;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::{Family, Transport};
use sonde_protocol::result::Outcome;
use sonde_protocol::spec::{DnsSpec, HttpMethod, HttpSpec, NtpSpec, PingSpec, Spec, TracerouteSpec};
use sonde_protocol::time::{Nanos, UnixNanos};

use super::drive::{check, drive, target};
use super::input::Input;

const TIME: UnixNanos = UnixNanos::from_secs(1_795_737_600);

fn family(input: &mut Input<'_>) -> Family {
    if input.flag() { Family::V6 } else { Family::V4 }
}

/// An echo reply to an echo request; of UDP, what was sent.
fn echoed(transmit: &Transmit) -> Vec<u8> {
    let mut bytes = transmit.payload.clone();
    if let (Channel::Icmp, Some(kind)) = (transmit.channel, bytes.first_mut()) {
        *kind = if *kind == 8 { 0 } else { 129 };
    }
    bytes
}

/// One ICMP message, as both families read it.
pub(super) fn icmp_message(data: &[u8]) {
    for family in Family::BOTH {
        if let Some(message) = Message::parse(family, data) {
            assert!(message.payload.len() + sonde_engine::icmp::HEADER_LEN == data.len());
        }
        if let [kind, code, ..] = *data {
            let _ = Problem::of(family, kind, code);
        }
    }
}

pub(super) fn ping(data: &[u8]) {
    let input = &mut Input::new(data);
    let family = family(input);
    let spec = PingSpec {
        packets: input.within(1, 16),
        size: input.within(1, 2048),
        packet_interval: input.within(2, 3000),
        include_probe_id: input.flag(),
    };
    let config = PingConfig {
        spec,
        dst: target(family),
        first_sequence: input.u16(),
        cookie: 0x5eed_c00c_1e00_0001,
        probe_id: ProbeId(7),
    };
    drive(&mut Ping::new(config, Nanos(0)), family, 0, echoed, input);
}

pub(super) fn traceroute(data: &[u8]) {
    let input = &mut Input::new(data);
    let family = family(input);
    let first_hop = input.within(1, 8);
    let spec = TracerouteSpec {
        protocol: if input.flag() { Transport::Icmp } else { Transport::Udp },
        packets: input.within(1, 16),
        size: input.within(0, 2048),
        first_hop,
        max_hops: input.within(first_hop, 255),
        paris: input.within(0, 64),
        response_timeout: input.within(1, 5000),
        duplicate_timeout: input.within(0, 100),
        dont_fragment: input.flag(),
        ..TracerouteSpec::default()
    };
    assert_eq!(Spec::Traceroute(spec.clone()).problems(), []);
    let config = TracerouteConfig {
        spec,
        dst: target(family),
        first_sequence: input.u16(),
        cookie: 0x5eed_c00c_1e00_0001,
        flow: u32::from(input.u16()),
        path_length: input.flag().then(|| input.u8()),
    };
    if let Ok(mut engine) = Traceroute::new(config, Nanos(0)) {
        drive(&mut engine, family, 0, echoed, input);
    }
}

pub(super) fn dns_udp(data: &[u8]) {
    let input = &mut Input::new(data);
    let family = family(input);
    let spec = DnsSpec {
        query_argument: Text::cut("example.net"),
        retry: input.within(0, 10),
        timeout: input.within(100, 5000),
        use_probe_resolver: input.flag(),
        include_qbuf: input.flag(),
        set_nsid_bit: input.flag(),
        cookies: input.flag(),
        ..DnsSpec::default()
    };
    let context = QueryContext { probe_id: ProbeId(7), id: input.u16(), random: 7, time: TIME };
    let Ok(query) = query(&spec, &context) else { return };
    let exchange = dns::Exchange { dst: target(family), src: None, now: Nanos(0), time: TIME };
    let answered = |transmit: &Transmit| {
        let mut bytes = transmit.payload.clone();
        if let Some(flags) = bytes.get_mut(2) {
            *flags |= 0x80;
        }
        bytes
    };
    drive(&mut DnsUdp::new(&spec, exchange, query), family, 53, answered, input);
}

/// A message behind its length, in pieces as they come.
pub(super) fn dns_tcp(data: &[u8]) {
    let input = &mut Input::new(data);
    let (mut reader, mut all) = (TcpReader::default(), Vec::new());
    let mut is_whole = false;
    while !input.is_empty() && !is_whole {
        let piece = input.bytes();
        all.extend_from_slice(piece);
        is_whole = reader.push(piece);
    }
    assert_eq!(reader.message().is_some(), is_whole);
    if let Some(message) = reader.message() {
        let length = all.first_chunk().map(|prefix| usize::from(u16::from_be_bytes(*prefix)));
        assert_eq!(Some(message.len()), length);
        assert_eq!(Some(message), all.get(2..2 + message.len()));
    }
}

pub(super) fn ntp(data: &[u8]) {
    let input = &mut Input::new(data);
    let family = family(input);
    let spec = NtpSpec { packets: input.within(1, 16), timeout: input.within(1, 60_000) };
    let time = UnixNanos::from_secs(i64::from(input.u16()) * 100_000);
    let config = NtpConfig { spec, dst: target(family), cookie: 7 };
    let mut engine = Ntp::new(config, Anchor { now: Nanos(0), time });
    let answered = |transmit: &Transmit| {
        let mut bytes = vec![0x24, 1, 6, 0xec, 0, 0, 0, 1, 0, 0, 0, 1, b'L', b'A', b'B', 0];
        bytes.extend([0xee; 8]);
        bytes.extend(transmit.payload.get(40..).unwrap_or_default());
        bytes.extend([0xee; 16]);
        bytes
    };
    let end = Anchor { now: Nanos(i64::from(input.u16()) * 1_000_000), time: UnixNanos(i64::from(input.u16()) << 40) };
    drive(&mut engine, family, PORT, answered, input);
    check(family, Outcome::Ntp(engine.outcome(end)));
}

/// A response in one piece and in many: it is read the same, and as little of it as may be.
pub(super) fn http(data: &[u8]) {
    let input = &mut Input::new(data);
    let spec = HttpSpec {
        method: if input.flag() { HttpMethod::Head } else { HttpMethod::Get },
        header_bytes: input.within(0, 2048),
        max_bytes_read: input.flag().then(|| input.within(1, 5000)),
        extended_timing: true,
        ..HttpSpec::default()
    };
    let piece = usize::from(input.u8()) + 1;
    let response = input.take(usize::MAX);
    let read = |piece: usize| {
        let mut exchange = Exchange::new(&spec, Nanos(0));
        for event in [Event::Connected, Event::Sent] {
            exchange.handle(Nanos(1), &event);
        }
        for bytes in response.chunks(piece) {
            exchange.handle(Nanos(2), &Event::Bytes(bytes));
        }
        exchange.handle(Nanos(3), &Event::Closed);
        assert!(exchange.is_over());
        exchange.finish()
    };
    let seen = read(piece);
    assert_eq!(seen, read(usize::MAX));
    assert!(seen.body_size <= u64::from(spec.max_bytes_read.unwrap_or(HttpSpec::MAX_BYTES_READ.max)));
    assert!(seen.failure.is_some() != seen.rt.is_some());
    check(Family::V4, Outcome::Http(Box::new(seen)));
}
