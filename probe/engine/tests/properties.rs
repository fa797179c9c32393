//! What holds for every run of ping, traceroute and pathmtu, whatever the network does: it ends, the result is complete, the flow is
//! constant, the same inputs give the same result, and nothing that comes from outside can break the engine.

mod net;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use sonde_engine::icmp::{Problem, checksum, old_extensions, sequences_needed};
use sonde_engine::path_mtu::{PACE, PathMtu, PathMtuConfig, UDP_PACE};
use sonde_engine::ping::{Ping, PingConfig};
use sonde_engine::quote::Quote;
use sonde_engine::tcp::Segment;
use sonde_engine::traceroute::{self, MAX_OPEN, SPACING, Traceroute, TracerouteConfig};
use sonde_engine::{Channel, Engine, ErrorDetails, IcmpErrorEvent, Meta, Token};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::{Family, Transport};
use sonde_protocol::result::{
    HopReply, Mtu, MtuAnswer, MtuDirection, MtuEnd, MtuTry, Outcome, PathMtuOutcome, PingReply, TracerouteOutcome, Why,
};
use sonde_protocol::spec::{PathMtuSpec, PingSpec, Spec, TracerouteSpec};
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

fn play_path_mtu(net: Net, dst: IpAddr, spec: &PathMtuSpec, first_sequence: u16) -> (Played, PathMtuOutcome) {
    let config = PathMtuConfig { spec: spec.clone(), dst, first_sequence, cookie: 0x0123_4567_89ab_cdef };
    let played = net.play(&mut PathMtu::new(config, Nanos(0)));
    match played.outcome.clone() {
        Outcome::PathMtu(outcome) => (played, *outcome),
        other => panic!("{other:?}"),
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
        let script = NetScript { seed, jitter, leave_after, stamp_after, read_after, unsent, unsent_from, unprivileged, interface: None };
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
        prop_assert!(pair[1].at >= pair[0].at + traceroute::PACE);
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

    #[test]
    fn every_path_mtu_ends_within_its_bounds_and_names_no_size_that_did_not_pass(
        case in case(),
        packets in 1..=16_u32,
        timeout in prop_oneof![10..1500_u32, Just(10_000)],
        interface in prop::option::weighted(0.8, 68..9300_u32),
        reverse_mtu in prop::option::weighted(0.3, 68..1500_u32),
        hole in any::<bool>(),
    ) {
        let mut case = case;
        case.net.interface = interface;
        for hop in &mut case.hops {
            (hop.reverse_mtu, hop.hole) = (reverse_mtu, hole);
        }
        let spec = PathMtuSpec { packets, timeout };
        let (played, outcome) = play_path_mtu(case.net(), case.dst(), &spec, case.first_sequence);
        let at_most = Spec::PathMtu(spec.clone()).packets_at_most();
        prop_assert!(played.sent.len() <= at_most as usize);
        prop_assert!(played.sent.len() <= usize::from(sequences_needed(&Spec::PathMtu(spec.clone()))));
        check_path_mtu_pace(&played.sent, interface)?;
        check_claims(&outcome, case.dst())?;
        let (again, same) = play_path_mtu(case.net(), case.dst(), &spec, case.first_sequence);
        prop_assert_eq!(outcome, same);
        prop_assert_eq!((played.sent, played.ended_at), (again.sent, again.ended_at));
    }

    #[test]
    fn on_a_path_without_loss_the_mtu_is_exact_and_the_hole_is_named(path in narrow_path()) {
        let (_, outcome) = play_path_mtu(path.net(), address(path.v6, 0), &PathMtuSpec::default(), 7);
        prop_assert_eq!(outcome.end, MtuEnd::Complete);
        prop_assert_eq!(outcome.interface, Some(path.interface));
        let forward = path.links.iter().map(|link| link.mtu).fold(path.interface, u32::min);
        prop_assert_eq!(outcome.forward, Mtu::Exactly(forward), "{:?}", outcome);
        // Whoever is the first that cannot pass one byte more on.
        let culprit = path.links.iter().position(|link| link.mtu == forward).filter(|_| forward < path.interface);
        let hole = culprit.filter(|link| path.links[*link].hole);
        prop_assert_eq!(outcome.hole.as_ref().map(|hole| (hole.passes, hole.lost, hole.direction)),
            hole.map(|_| (forward, forward + 1, MtuDirection::Forward)), "{:?}", outcome);
        let last_hop = outcome.hole.and_then(|hole| hole.last_hop).map(|hop| hop.hop);
        prop_assert_eq!(last_hop, hole.map(|link| link as u8 + 1));
        let reverse = match path.reverse {
            Some(reverse) if reverse < forward => Mtu::Exactly(reverse),
            _ => Mtu::AtLeast(forward),
        };
        prop_assert_eq!(outcome.reverse, reverse);
    }
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn loss_does_not_look_like_a_hole(path in narrow_path(), loss in 1..=8_u64, seed in any::<u64>()) {
        let path = NarrowPath { links: path.links.into_iter().map(|link| NarrowLink { hole: false, ..link }).collect(), ..path };
        let mut script = path.script();
        script.1.iter_mut().for_each(|hop| hop.random.loss = loss);
        script.0.seed = seed;
        let dst = address(path.v6, 0);
        let (_, outcome) = play_path_mtu(Net::new(dst, script.0, script.1), dst, &PathMtuSpec::default(), 7);
        let forward = path.links.iter().map(|link| link.mtu).fold(path.interface, u32::min);
        prop_assert_eq!(&outcome.hole, &None, "{:?}", outcome);
        prop_assert!(outcome.forward.size().is_none_or(|size| size <= forward));
        prop_assert!(!outcome.forward.is_exact() || outcome.forward == Mtu::Exactly(forward), "{:?}", outcome);
    }
}

/// A path on which nothing is lost but for its size.
#[derive(Debug, Clone)]
struct NarrowPath {
    v6: bool,
    interface: u32,
    links: Vec<NarrowLink>,
    reverse: Option<u32>,
}

/// The link behind a router.
#[derive(Debug, Clone)]
struct NarrowLink {
    mtu: u32,
    hole: bool,
    /// What the router says that its MTU is.
    named: Option<u32>,
}

impl NarrowPath {
    fn net(&self) -> Net {
        let (host, hops) = self.script();
        Net::new(address(self.v6, 0), host, hops)
    }

    fn script(&self) -> (NetScript, Vec<HopScript>) {
        let mut hops: Vec<HopScript> = (self.links.iter().enumerate())
            .map(|(i, link)| HopScript {
                mtu: Some(link.mtu),
                named_mtu: link.named,
                hole: link.hole,
                ..HopScript::new(address(self.v6, i + 1), 5.0)
            })
            .collect();
        hops.push(HopScript { reverse_mtu: self.reverse, ..HopScript::new(address(self.v6, 0), 50.0) });
        (NetScript { interface: Some(self.interface), ..NetScript::default() }, hops)
    }
}

prop_compose! {
    fn narrow_path()(
        v6 in any::<bool>(),
        interface in prop_oneof![3 => Just(1500), 1 => 600..9216_u32],
        links in prop::collection::vec(
            (prop_oneof![Just(9000), Just(1500), Just(1400), Just(1280), 90..1600_u32], any::<bool>(),
                prop::option::weighted(0.2, 0..2000_u32)),
            0..9,
        ),
        reverse in prop::option::of(prop_oneof![Just(1280), Just(1400), 90..1600_u32]),
    ) -> NarrowPath {
        let links = links.into_iter().map(|(mtu, hole, named)| NarrowLink { mtu, hole, named }).collect();
        NarrowPath { v6, interface, links, reverse }
    }
}

/// Packets that leave the host are paced, those of UDP more.
fn check_path_mtu_pace(sent: &[Sent], interface: Option<u32>) -> Result<(), TestCaseError> {
    let left: Vec<&Sent> = (sent.iter())
        .filter(|sent| interface.is_none_or(|mtu| net::ip_length(&sent.transmit) <= mtu as usize))
        .collect();
    for pair in left.windows(2) {
        prop_assert!(pair[1].at >= pair[0].at + PACE);
    }
    let udp: Vec<Nanos> = left.iter().filter(|s| s.transmit.channel != Channel::Icmp).map(|s| s.at).collect();
    prop_assert!(udp.is_sorted_by(|a, b| *b >= *a + UDP_PACE), "{udp:?}");
    Ok(())
}

/// Every size that is said to have passed did.
fn check_claims(outcome: &PathMtuOutcome, dst: IpAddr) -> Result<(), TestCaseError> {
    if outcome.tries.len() == sonde_protocol::result::MAX_MTU_TRIES {
        // Not all of them are told.
        return Ok(());
    }
    let arrived = |one: &&MtuTry| match &one.answer {
        MtuAnswer::Reply(_) => true,
        MtuAnswer::Icmp(error) => {
            let is_closed = Problem::of(Family::of(dst), error.kind, error.code) == Problem::Unreachable;
            one.protocol == Transport::Udp && error.from.0 == dst && is_closed
        }
        _ => false,
    };
    let replies = outcome.tries.iter().filter_map(|one| match &one.answer {
        MtuAnswer::Reply(reply) => Some((one.size, reply.fragment.unwrap_or(reply.size))),
        _ => None,
    });
    let greatest = outcome.tries.iter().filter(arrived).map(|one| one.size).max();
    if let Some(size) = outcome.forward.size() {
        prop_assert_eq!(Some(size), greatest, "{:?}", outcome);
    }
    if let Some(size) = outcome.round_trip.size() {
        prop_assert_eq!(Some(size), replies.clone().map(|(size, _)| size).max());
    }
    if let Some(size) = outcome.reverse.size() {
        prop_assert_eq!(Some(size), replies.map(|(_, piece)| piece).max());
    }
    if let Some(hole) = &outcome.hole {
        prop_assert_eq!(hole.lost, hole.passes + 1);
        prop_assert!(outcome.tries.iter().any(|one| one.size == hole.lost && one.answer == MtuAnswer::Timeout));
    }
    Ok(())
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
        let ping_packets = ping_spec.packets;
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
        let spec = PathMtuSpec { packets: ping_packets, timeout: 500 };
        let config = PathMtuConfig { spec, dst, first_sequence, cookie };
        let outcome = feed(&mut PathMtu::new(config, Nanos(0)), dst, &inputs);
        prop_assert!(matches!(&outcome, Outcome::PathMtu(_)), "{outcome:?}");
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
