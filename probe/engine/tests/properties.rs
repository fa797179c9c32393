//! What holds for every run of ping and traceroute, whatever the network does: it ends, the result is complete, the flow is
//! constant, the same inputs give the same result, and nothing that comes from outside can break the engine.

mod net;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use sonde_engine::icmp::{checksum, old_extensions, sequences_needed};
use sonde_engine::ping::{Ping, PingConfig};
use sonde_engine::quote::Quote;
use sonde_engine::tcp::Segment;
use sonde_engine::traceroute::{MAX_OPEN, PACE, SPACING, Traceroute, TracerouteConfig};
use sonde_engine::{Channel, Engine, ErrorDetails, IcmpErrorEvent, Meta, Token};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::{Family, Transport};
use sonde_protocol::result::{HopReply, Outcome, PingReply, TracerouteOutcome, Why};
use sonde_protocol::spec::{PingSpec, Spec, TracerouteSpec};
use sonde_protocol::time::Nanos;

use net::{HopScript, Net, NetScript, Played, Random, Sent};

/// So many cases, unless `PROPTEST_CASES` says otherwise. A failure prints its inputs, which is all that a case depends on.
fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(cases), failure_persistence: None, ..ProptestConfig::default() }
}

/// A whole random case.
#[derive(Debug, Clone)]
struct Case {
    v6: bool,
    net: NetScript,
    hops: Vec<HopScript>,
    first_sequence: u16,
}

impl Case {
    fn dst(&self) -> IpAddr {
        address(self.v6, 0)
    }

    fn net(&self) -> Net {
        Net::new(self.dst(), self.net.clone(), self.hops.clone())
    }

    fn play_traceroute(
        &self,
        spec: &TracerouteSpec,
        flow: u32,
        path_length: Option<u8>,
    ) -> (Played, TracerouteOutcome) {
        let config = TracerouteConfig {
            spec: spec.clone(),
            dst: self.dst(),
            first_sequence: self.first_sequence,
            cookie: 0x0123_4567_89ab_cdef,
            flow,
            path_length,
        };
        let mut engine = Traceroute::new(config, Nanos(0)).expect("the definition is in range");
        let played = self.net().play(&mut engine);
        match played.outcome.clone() {
            Outcome::Traceroute(outcome) => (played, outcome),
            other => panic!("{other:?}"),
        }
    }

    fn play_ping(&self, spec: &PingSpec) -> Played {
        let config = PingConfig {
            spec: spec.clone(),
            dst: self.dst(),
            first_sequence: self.first_sequence,
            cookie: 0x0123_4567_89ab_cdef,
            probe_id: ProbeId(7),
        };
        self.net().play(&mut Ping::new(config, Nanos(0)))
    }
}

/// The target is number 0, routers count from 1.
fn address(v6: bool, number: usize) -> IpAddr {
    let text = if v6 { format!("2001:db8::{number:x}") } else { format!("192.0.2.{number}") };
    text.parse().expect("an address")
}

prop_compose! {
    fn hop()(
        delay in 0.0..400.0_f64,
        silent in prop::bool::weighted(0.15),
        loss in prop_oneof![Just(0), 0..100_u64],
        duplicate in prop_oneof![Just(0), 0..50_u64],
        late in prop_oneof![3 => Just(0), 1 => 0..60_u64],
        at_most_every in prop_oneof![Just(0.0), 0.0..300.0_f64],
        refuse in prop::option::weighted(0.05, (any::<u8>(), any::<u8>())),
        error in prop::option::weighted(0.05, (any::<u8>(), any::<u8>())),
        mtu in prop::option::weighted(0.05, 0..1500_u32),
        quote in prop::option::weighted(0.2, 0..20_usize),
        bypass in prop::collection::vec(1..20_u32, 0..3),
    ) -> HopScript {
        let random = Random { loss, duplicate, late };
        let template = HopScript::new(address(false, 0), delay);
        HopScript { silent, at_most_every, refuse, error, mtu, quote, bypass, random, ..template }
    }
}

prop_compose! {
    fn case()(
        v6 in any::<bool>(),
        seed in any::<u64>(),
        jitter in 0.0..50.0_f64,
        leave_after in 0.0..2.0_f64,
        stamp_after in 0.0..500.0_f64,
        read_after in prop::collection::vec((1..40_u32, 0.0..6000.0_f64), 0..3),
        unsent in prop::collection::vec(1..40_u32, 0..3),
        unsent_from in prop::option::weighted(0.1, 1..40_u32),
        mut hops in prop::collection::vec(hop(), 0..24),
        has_target in prop::bool::weighted(0.8),
        first_sequence in any::<u16>(),
        unprivileged in any::<bool>(),
    ) -> Case {
        let length = hops.len();
        for (i, hop) in hops.iter_mut().enumerate() {
            let number = if has_target && i + 1 == length { 0 } else { i + 1 };
            hop.from = address(v6, number);
        }
        let script = NetScript { seed, jitter, leave_after, stamp_after, read_after, unsent, unsent_from, unprivileged };
        Case { v6, net: script, hops, first_sequence }
    }
}

prop_compose! {
    fn traceroute_spec()(
        protocol in prop_oneof![Just(Transport::Icmp), Just(Transport::Udp), Just(Transport::Tcp)],
        packets in 1..=16_u32,
        size in prop_oneof![0..16_u32, 0..=2048_u32],
        first_hop in prop_oneof![4 => 1..4_u32, 1 => 1..=255_u32],
        more in prop_oneof![0..40_u32, 0..=254_u32],
        paris in 0..=64_u32,
        response_timeout in prop_oneof![1..5000_u32, Just(60_000)],
        duplicate_timeout in 0..100_u32,
    ) -> TracerouteSpec {
        TracerouteSpec {
            protocol,
            packets,
            size,
            first_hop,
            max_hops: (first_hop + more).min(255),
            paris,
            response_timeout,
            duplicate_timeout,
            ..TracerouteSpec::default()
        }
    }
}

prop_compose! {
    fn ping_spec()(
        packets in 1..=16_u32,
        size in 1..=2048_u32,
        packet_interval in 2..3000_u32,
        include_probe_id in any::<bool>(),
    ) -> PingSpec {
        PingSpec { packets, size, packet_interval, include_probe_id }
    }
}

/// The flow as routers see it: checksum for ICMP, destination port and checksum for UDP, both ports for TCP. Identifier, source port and
/// addresses are the same for all packets of a run and thus left out.
fn flow(sent: &Sent) -> (Channel, u16) {
    let transmit = &sent.transmit;
    let length = transmit.payload.len() as u16;
    let pseudo_header: &[u16] = match transmit.channel {
        Channel::Icmp if transmit.dst.is_ipv4() => &[],
        Channel::Icmp => &[length],
        Channel::Udp { .. } => &[17, length + 8, length + 8],
        Channel::Tcp { .. } => return (transmit.channel, 0),
    };
    let mut bytes: Vec<u8> = pseudo_header.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.extend(&transmit.payload);
    (transmit.channel, checksum(&bytes))
}

fn is_first_answer(reply: &&HopReply) -> bool {
    !matches!(reply, HopReply::Reply(answer) if answer.duplicate || answer.late.is_some())
}

fn check_outcome(spec: &TracerouteSpec, played: &Played, outcome: &TracerouteOutcome) -> Result<(), TestCaseError> {
    let numbers: Vec<u32> = outcome.hops.iter().map(|hop| u32::from(hop.hop)).collect();
    prop_assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    prop_assert_eq!(numbers.first().copied(), Some(spec.first_hop));
    for (position, number) in numbers.iter().enumerate() {
        let expected = spec.first_hop + position as u32;
        prop_assert!(*number == expected || (*number == 255 && position + 1 == numbers.len()), "{:?}", numbers);
    }
    for hop in &outcome.hops {
        let packets = hop.replies.iter().filter(is_first_answer).count();
        prop_assert_eq!(packets as u32, spec.packets, "{:?}", hop);
        prop_assert!(hop.replies.iter().take(packets).all(|reply| is_first_answer(&reply)), "{:?}", hop);
    }
    let reserved = sequences_needed(&Spec::Traceroute(spec.clone()));
    prop_assert!(reserved == 0 || played.sent.len() <= usize::from(reserved));
    Ok(())
}

/// Paced, and spaced within a hop.
fn check_schedule(sent: &[Sent]) -> Result<(), TestCaseError> {
    for pair in sent.windows(2) {
        prop_assert!(pair[1].at >= pair[0].at + PACE);
    }
    let hop_limits: BTreeSet<_> = sent.iter().map(|packet| packet.transmit.hop_limit).collect();
    for hop_limit in hop_limits {
        let times: Vec<Nanos> = sent.iter().filter(|s| s.transmit.hop_limit == hop_limit).map(|s| s.at).collect();
        prop_assert!(times.is_sorted_by(|a, b| *b >= *a + SPACING), "{hop_limit:?} {times:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn every_traceroute_ends_complete_and_the_same_again(
        case in case(), spec in traceroute_spec(), run in any::<u32>(), length in prop::option::of(any::<u8>()),
    ) {
        let (played, outcome) = case.play_traceroute(&spec, run, length);
        check_outcome(&spec, &played, &outcome)?;
        check_schedule(&played.sent)?;
        let (again, same) = case.play_traceroute(&spec, run, length);
        prop_assert_eq!(outcome, same);
        prop_assert_eq!(played.sent, again.sent);
        prop_assert_eq!(played.ended_at, again.ended_at);
    }

    #[test]
    fn the_flow_is_the_same_in_every_packet_of_a_paris_traceroute(
        case in case(), spec in traceroute_spec(), run in any::<u32>(),
    ) {
        prop_assume!(spec.paris > 0);
        let (played, outcome) = case.play_traceroute(&spec, run, None);
        prop_assert_eq!(outcome.paris_id, Some(run % spec.paris + 1));
        let flows: Vec<_> = played.sent.iter().map(flow).collect();
        prop_assert!(flows.iter().all(|flow| *flow == flows[0]), "{flows:?}");
        let (other, _) = case.play_traceroute(&spec, run.wrapping_add(1), None);
        prop_assert!(spec.paris == 1 || u64::from(run) + 1 > u64::from(u32::MAX) || flow(&other.sent[0]) != flows[0]);
    }

    #[test]
    fn few_hops_are_asked_that_nobody_answers(case in case(), spec in traceroute_spec()) {
        // A network that is dead from the start sees no more than the gap and what was under way beyond it.
        let dead = Case { hops: Vec::new(), ..case };
        let (played, _) = dead.play_traceroute(&spec, 0, None);
        let asked: BTreeSet<_> = played.sent.iter().map(|packet| packet.transmit.hop_limit).collect();
        prop_assert!(asked.len() <= MAX_OPEN, "{asked:?}");
    }

    #[test]
    fn every_ping_ends_complete_and_the_same_again(case in case(), spec in ping_spec()) {
        let played = case.play_ping(&spec);
        let Outcome::Ping(outcome) = &played.outcome else { panic!("{:?}", played.outcome) };
        let is_duplicate = |reply: &&PingReply| matches!(reply, PingReply::Reply(echo) if echo.duplicate);
        let first = outcome.replies.iter().filter(|reply| !is_duplicate(reply)).count();
        prop_assert_eq!(first as u32, spec.packets);
        prop_assert_eq!(played.sent.len() as u32, spec.packets);
        let not_sent = outcome.replies.iter().filter(|reply| matches!(reply, PingReply::SendError(_))).count();
        prop_assert_eq!(outcome.sent, spec.packets - not_sent as u32);
        for pair in played.sent.windows(2) {
            let interval = Duration::from_millis(u64::from(spec.packet_interval));
            prop_assert!(pair[1].at >= pair[0].at + interval);
        }
        let again = case.play_ping(&spec);
        prop_assert_eq!(&played.outcome, &again.outcome);
        prop_assert_eq!((played.sent, played.ended_at), (again.sent, again.ended_at));
    }
}

/// Something that a shell might hand to an engine, true or not.
#[derive(Debug, Clone)]
enum Input {
    Transmit,
    Sent(u32, i64),
    SendError(u32),
    Datagram(bool, Vec<u8>),
    Error(u8, u8, Vec<u8>, Option<u32>),
    /// What a packet of the run looked like, with one byte changed.
    Echo(usize, usize, u8, bool),
    Timeout,
}

fn input() -> impl Strategy<Value = Input> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..80);
    prop_oneof![
        4 => Just(Input::Transmit),
        1 => (prop_oneof![0..8_u32, any::<u32>()], any::<i64>()).prop_map(|(token, at)| Input::Sent(token, at)),
        1 => prop_oneof![0..8_u32, any::<u32>()].prop_map(Input::SendError),
        1 => (any::<bool>(), bytes()).prop_map(|(own, bytes)| Input::Datagram(own, bytes)),
        1 => (0..16_u8, 0..16_u8, bytes(), any::<Option<u32>>()).prop_map(|(k, c, q, mtu)| Input::Error(k, c, q, mtu)),
        4 => (0..40_usize, 0..64_usize, 0..3_u8, any::<bool>()).prop_map(|(n, at, x, e)| Input::Echo(n, at, x, e)),
        1 => Just(Input::Timeout),
    ]
}

/// Feeds all inputs, a step of time apart, then only time; the run has to end, once.
fn feed(engine: &mut dyn Engine, dst: IpAddr, inputs: &[(Input, u32)]) -> Outcome {
    let mut now = Nanos(0);
    let mut payloads: Vec<Vec<u8>> = Vec::new();
    let meta = |now, from| Meta { received_at: now, from, from_port: 0, hop_limit: None, fragment: None };
    let error = |now, kind, code, quoted: &[u8], mtu| IcmpErrorEvent {
        received_at: now,
        from: dst,
        hop_limit: None,
        kind,
        code,
        mtu,
        quoted: quoted.to_vec(),
        extensions: Some(quoted.to_vec()),
        details: ErrorDetails::default(),
    };
    for (input, step) in inputs {
        now = now + Duration::from_micros(u64::from(*step));
        match input {
            Input::Transmit => payloads.extend(engine.poll_transmit(now).map(|transmit| transmit.payload)),
            Input::Sent(token, at) => engine.handle_sent(Token(*token), Nanos(*at)),
            Input::SendError(token) => engine.handle_send_error(Token(*token), now, Why::cut("no")),
            Input::Datagram(own, bytes) => {
                let from = if *own { dst } else { address(false, 9) };
                engine.handle_datagram(&meta(now, from), bytes);
            }
            Input::Error(kind, code, quoted, mtu) => {
                engine.handle_icmp_error(&error(now, *kind, *code, quoted, *mtu));
            }
            Input::Echo(number, at, change, is_error) => {
                let Some(payload) = payloads.get(number % payloads.len().max(1)) else { continue };
                let mut bytes = payload.clone();
                if let Some(byte) = bytes.get_mut(*at) {
                    *byte = byte.wrapping_add(*change);
                }
                if *is_error {
                    engine.handle_icmp_error(&error(now, 11, 0, &bytes, None));
                } else {
                    if let Some(kind) = bytes.first_mut().filter(|kind| **kind == 8) {
                        *kind = 0;
                    }
                    engine.handle_datagram(&meta(now, dst), &bytes);
                }
            }
            Input::Timeout => engine.handle_timeout(now),
        }
        if let Some(outcome) = engine.poll_outcome() {
            return outcome;
        }
    }
    for _ in 0..200_000 {
        while engine.poll_transmit(now).is_some() {}
        if let Some(outcome) = engine.poll_outcome() {
            return outcome;
        }
        now = now.max(engine.poll_timeout().expect("a run that is not over wants to be woken"));
        engine.handle_timeout(now);
    }
    panic!("the run does not end");
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn nothing_that_comes_in_breaks_an_engine(
        spec in traceroute_spec(),
        ping_spec in ping_spec(),
        inputs in prop::collection::vec((input(), 0..50_000_u32), 0..200),
        cookie in any::<u64>(),
        first_sequence in any::<u16>(),
    ) {
        let dst = address(false, 0);
        let config = TracerouteConfig { spec: spec.clone(), dst, first_sequence, cookie, flow: 0, path_length: None };
        let mut engine = Traceroute::new(config, Nanos(0)).expect("the definition is in range");
        let outcome = feed(&mut engine, dst, &inputs);
        let Outcome::Traceroute(outcome) = outcome else { panic!("{outcome:?}") };
        for hop in &outcome.hops {
            prop_assert_eq!(hop.replies.iter().filter(is_first_answer).count() as u32, spec.packets, "{:?}", hop);
            prop_assert!(hop.replies.len() <= 64);
        }
        let config = PingConfig { spec: ping_spec, dst, first_sequence, cookie, probe_id: ProbeId(1) };
        let outcome = feed(&mut Ping::new(config, Nanos(0)), dst, &inputs);
        prop_assert!(matches!(&outcome, Outcome::Ping(outcome) if outcome.replies.len() <= 64), "{outcome:?}");
    }
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn no_bytes_break_a_parser(mut bytes in prop::collection::vec(any::<u8>(), 0..200), v6 in any::<bool>(), next in any::<u8>()) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        // Random bytes hardly ever look like IP.
        if let [first, _, _, _, _, _, header, ..] = bytes.as_mut_slice() {
            *first = if v6 { 0x60 | (*first & 0x0f) } else { 0x40 | (*first & 0x0f) };
            *header = if v6 { next } else { *header & 0xe0 };
        }
        if let Some(quote) = Quote::parse(family, &bytes) {
            let least = if v6 { 40 } else { 20 };
            prop_assert!((least..=bytes.len()).contains(&quote.transport_at));
        }
        if let Some(segment) = Segment::parse(&bytes) {
            prop_assert!(segment.options.len() <= 40);
        }
        if let Some(structure) = old_extensions(&bytes, usize::from(next)) {
            prop_assert!(bytes.ends_with(structure));
        }
    }
}
