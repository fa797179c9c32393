//! The engines, and the bytes of theirs that can be read alone.

use sonde_engine::dns::{DnsUdp, Exchange, QueryContext, StreamEvent, StreamPlan, gather, query, stream_response};
use sonde_engine::icmp::{Message, Problem, old_extensions};
use sonde_engine::ntp::{Anchor, Ntp, NtpConfig, PORT};
use sonde_engine::path_mtu::{PathMtu, PathMtuConfig};
use sonde_engine::ping::{Ping, PingConfig};
use sonde_engine::quote::Quote;
use sonde_engine::tcp::{Segment, Start, flag};
use sonde_engine::traceroute::{Traceroute, TracerouteConfig};
use sonde_engine::{Channel, Transmit};
use sonde_protocol::bounded::Text;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::{Family, Transport};
use sonde_protocol::result::Outcome;
use sonde_protocol::spec::{DnsSpec, NtpSpec, PathMtuSpec, PingSpec, Spec, TracerouteSpec};
use sonde_protocol::time::{Nanos, UnixNanos};

use super::drive::{check, drive, target};
use super::input::Input;

const TIME: UnixNanos = UnixNanos::from_secs(1_795_737_600);

fn family(input: &mut Input<'_>) -> Family {
    if input.flag() { Family::V6 } else { Family::V4 }
}

/// An echo reply to an echo request; of UDP, what was sent; a refusal of a SYN.
fn echoed(transmit: &Transmit) -> Vec<u8> {
    let mut bytes = transmit.payload.clone();
    match (transmit.channel, bytes.as_mut_slice()) {
        (Channel::Icmp, [kind, ..]) => *kind = if *kind == 8 { 0 } else { 129 },
        (Channel::Tcp { .. }, [a, b, c, d, e, f, g, h, i, j, k, l, _, flags, ..]) => {
            let next = u32::from_be_bytes([*e, *f, *g, *h]).wrapping_add(1);
            [*a, *b, *c, *d] = [*c, *d, *a, *b];
            [*i, *j, *k, *l] = next.to_be_bytes();
            *flags = flag::RST | flag::ACK;
        }
        _ => {}
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

/// An answer over TCP.
pub(super) fn tcp_segment(data: &[u8]) {
    if let Some(segment) = Segment::parse(data) {
        assert!(segment.options.len() <= 40);
        let start = Start::parse(data).map(|start| (start.source_port, start.destination_port, start.sequence));
        assert_eq!(start, Some((segment.source_port, segment.destination_port, segment.sequence)));
    }
}

/// The packet in an ICMP error, as both families read it, and extensions that the error did not announce.
pub(super) fn quote(data: &[u8]) {
    for family in Family::BOTH {
        if let Some(quote) = Quote::parse(family, data) {
            assert!(quote.transport_at <= data.len());
        }
    }
    for headers in [0, 20, 28, 40, 128, 129] {
        if let Some(structure) = old_extensions(data, headers) {
            assert!(data.ends_with(structure));
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
        protocol: match input.u8() % 3 {
            0 => Transport::Udp,
            1 => Transport::Icmp,
            _ => Transport::Tcp,
        },
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
    let exchange = Exchange { dst: target(family), zone: 0, src: None, now: Nanos(0), time: TIME };
    let answered = |transmit: &Transmit| {
        let mut bytes = transmit.payload.clone();
        if let Some(flags) = bytes.get_mut(2) {
            *flags |= 0x80;
        }
        bytes
    };
    drive(&mut DnsUdp::new(&spec, exchange, query), family, 53, answered, input);
}

/// What comes over a connection in pieces, taken for each kind of connection.
pub(super) fn dns_tcp(data: &[u8]) {
    let pieces: Vec<&[u8]> = {
        let input = &mut Input::new(data);
        std::iter::from_fn(|| (!input.is_empty()).then(|| input.bytes())).collect()
    };
    for (tls, https, quic) in [(false, false, false), (true, false, false), (false, true, false), (false, false, true)]
    {
        let protocol = Transport::Tcp;
        let query_argument = Text::cut("example.net");
        let spec = DnsSpec { query_argument, protocol, tls, https, quic, ..DnsSpec::default() };
        let context = QueryContext { probe_id: ProbeId(7), id: 0, random: 7, time: TIME };
        let Ok(query) = query(&spec, &context) else { return };
        let exchange = Exchange { dst: target(Family::V4), zone: 0, src: None, now: Nanos(0), time: TIME };
        let plan = StreamPlan::new(&spec, exchange, "ns.example.net", query, 0);
        let mut reader = plan.reader();
        let taken = pieces.iter().position(|piece| reader.push(piece)).map_or(pieces.len(), |last| last + 1);
        if let Some(message) = reader.message() {
            let all = pieces.get(..taken).unwrap_or_default().concat();
            let length = all.first_chunk().map(|prefix| usize::from(u16::from_be_bytes(*prefix)));
            assert_eq!(Some(message.len()), length);
            assert_eq!(Some(message), all.get(2..2 + message.len()));
        }
        let at = Nanos(1);
        let content_type = Some(Text::cut("application/dns-message"));
        let mut events = vec![StreamEvent::Sent(at), StreamEvent::Head { at, status: 200, content_type }];
        events.extend(pieces.iter().map(|piece| StreamEvent::Bytes { at, data: piece.to_vec() }));
        events.push(StreamEvent::Closed(at));
        check(Family::V4, Outcome::Dns(gather(false, [stream_response(&plan, &events)])));
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

pub(super) fn path_mtu(data: &[u8]) {
    let input = &mut Input::new(data);
    let family = family(input);
    let spec = PathMtuSpec { packets: input.within(1, 16), timeout: input.within(10, 10_000) };
    let config =
        PathMtuConfig { spec, dst: target(family), first_sequence: input.u16(), cookie: 0x5eed_c00c_1e00_0001 };
    drive(&mut PathMtu::new(config, Nanos(0)), family, 0, echoed, input);
}
