//! Whole runs of the engines on a clock that is stepped and slewed while packets are under way, read late and early: no
//! round-trip time may be farther from the truth than the run says.
//!
//! Everything between the system calls and the engines is the real code; the system calls themselves are played here.

use std::net::IpAddr;
use std::sync::Arc;

use sonde_engine::dns::{DnsUdp, Exchange, QueryContext, query};
use sonde_engine::ping::{Ping, PingConfig};
use sonde_engine::traceroute::{Traceroute, TracerouteConfig};
use sonde_engine::{Channel, Engine, IcmpErrorEvent, Meta, Transmit};
use sonde_protocol::bounded::Text;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::{Family, Transport};
use sonde_protocol::result::{DnsReply, HopReply, Outcome, PingReply, StampSource};
use sonde_protocol::seed::Rng;
use sonde_protocol::spec::{DnsSpec, PingSpec, TracerouteSpec};
use sonde_protocol::time::{Nanos, UnixNanos};

use super::clock::fake::FakeClock;
use super::clock::{ClockSource, StampConverter};
use super::departures::Departures;
use super::icmp_socket;
use super::stamps::StampLedger;

const US: i64 = 1_000;
const MS: i64 = 1_000_000;
const S: i64 = 1_000_000_000;
const DST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9));
const ROUTER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
/// Hops of the path.
const PATH: u8 = 5;

/// What the network does with a packet.
enum Answer {
    Datagram(Vec<u8>, u16),
    Error(IcmpErrorEvent),
}

/// What happened to a packet in truth.
struct Truth {
    hop_limit: Option<u8>,
    rtt: u64,
}

/// On its way back, or waiting to be read.
struct Arrival {
    at: Nanos,
    sequence: Option<u16>,
    answer: Answer,
}

struct World {
    rng: Rng,
    clock: Arc<FakeClock>,
    converter: StampConverter,
    ledger: StampLedger,
    departures: Departures<sonde_engine::Token>,
    /// The kernel's count, when it stamped, from when on that can be read.
    stamps: Vec<(u32, UnixNanos, Nanos)>,
    arrivals: Vec<Arrival>,
    truths: Vec<Truth>,
    empty_at: Nanos,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let clock = FakeClock::new();
        let mut at = clock.truth();
        if rng.one_in(2) {
            clock.slew(slew(&mut rng));
        }
        for _ in 0..rng.below(12) {
            // What disciplines clocks lets a slew last a second at least; steps may come at any time.
            let slews = rng.one_in(2);
            at.0 += if slews { S } else { 0 } + any(&mut rng, 2 * S);
            let step = if slews && rng.one_in(2) { 0 } else { step(&mut rng) };
            clock.plan(at, step, slews.then(|| slew(&mut rng)));
        }
        let converter = StampConverter::new(clock.clone());
        let empty_at = converter.now();
        Self {
            rng,
            clock,
            converter,
            ledger: StampLedger::default(),
            departures: Departures::new(),
            stamps: Vec::new(),
            arrivals: Vec::new(),
            truths: Vec::new(),
            empty_at,
        }
    }

    /// A little time passes, as between two lines of a program; much when another program has the processor.
    fn linger(&mut self) {
        let nanos = if self.rng.one_in(15) { any(&mut self.rng, 20 * MS) } else { any(&mut self.rng, 20 * US) };
        self.clock.pass(nanos);
    }

    /// Plays a run to its end and gives its outcome.
    fn play<E: Engine>(&mut self, engine: &mut E, answer: impl Fn(&Transmit) -> Answer) -> Outcome {
        loop {
            let now = self.converter.now();
            if engine.poll_timeout().is_some_and(|at| at <= now) {
                engine.handle_timeout(now);
            }
            while let Some(transmit) = engine.poll_transmit(self.converter.now()) {
                self.send(engine, &transmit, answer(&transmit));
            }
            let stamp_due = self.ledger.wait_until().filter(|until| *until > self.converter.now());
            if stamp_due.is_none()
                && let Some(outcome) = engine.poll_outcome()
            {
                return outcome;
            }
            // Sleep until something happens, and wake up late.
            self.converter.look();
            let arrivals = self.arrivals.iter().map(|arrival| arrival.at);
            let stamps = self.stamps.iter().map(|(.., at)| *at);
            let wake = arrivals.chain(stamps).chain(engine.poll_timeout()).chain(stamp_due).min().expect("it goes on");
            self.clock.pass(wake.nanos_since(self.clock.truth()).max(0));
            self.linger();
            self.receive(engine);
        }
    }

    /// As the socket and the loop do it.
    fn send<E: Engine>(&mut self, engine: &mut E, transmit: &Transmit, answer: Answer) {
        self.converter.look();
        let before = self.converter.now();
        self.linger();
        let left = self.clock.truth();
        let stamp = self.clock.stamp();
        self.linger();
        let took = self.converter.now().since(before).as_nanos() as u64;
        self.converter.look();
        let sequence = match transmit.channel {
            Channel::Icmp => icmp_socket::sequence(Family::V4, &transmit.payload),
            Channel::Udp { .. } | Channel::Tcp { .. } => None,
        };
        let number = self.truths.len() as u32;
        self.departures.sent(transmit.token, before);
        self.ledger.sent(transmit.token, sequence, true, took);
        engine.handle_sent(transmit.token, before);
        // Some stamps come late, some never.
        if !self.rng.one_in(20) {
            let late = if self.rng.one_in(10) { any(&mut self.rng, 30 * MS) } else { 0 };
            self.stamps.push((number, stamp, Nanos(left.0 + late)));
        }
        let rtt = if self.rng.one_in(3) { any(&mut self.rng, 300 * MS) } else { any(&mut self.rng, MS) } + 10 * US;
        let at = Nanos(left.0 + rtt);
        self.truths.push(Truth { hop_limit: transmit.hop_limit, rtt: rtt as u64 });
        self.arrivals.push(Arrival { at, sequence, answer });
    }

    fn receive<E: Engine>(&mut self, engine: &mut E) {
        let started = self.converter.now();
        self.converter.look();
        let there = self.clock.truth();
        let mut datagrams = Vec::new();
        self.arrivals.sort_by_key(|arrival| arrival.at);
        let later = self.arrivals.partition_point(|arrival| arrival.at <= there);
        for arrival in self.arrivals.drain(..later) {
            let (placed, kernel) = self.converter.arrival(Some(self.clock.stamp_at(arrival.at)), self.empty_at);
            datagrams.push((arrival, placed, kernel));
        }
        let there = self.clock.truth();
        for (number, stamp, at) in std::mem::take(&mut self.stamps) {
            if at > there {
                self.stamps.push((number, stamp, at));
            } else if let Some((token, left)) =
                self.departures.claim(&self.converter, number, stamp, self.converter.now())
            {
                self.ledger.stamped(token, left.error);
                engine.handle_sent(token, left.at);
            }
        }
        for (arrival, placed, kernel) in datagrams {
            self.ledger.received(arrival.sequence, kernel, placed.error, self.converter.now());
            match arrival.answer {
                Answer::Datagram(bytes, from_port) => {
                    let meta =
                        Meta { received_at: placed.at, from: DST, from_port, hop_limit: Some(60), fragment: None };
                    engine.handle_datagram(&meta, &bytes);
                }
                Answer::Error(event) => {
                    engine.handle_icmp_error(&IcmpErrorEvent { received_at: placed.at, ..event });
                }
            }
        }
        self.empty_at = started;
    }

    /// Holds a reported time against the truth.
    fn check(&self, reported: u64, truth: u64, what: &str) {
        let error = self.ledger.rtt_error().expect("something was answered");
        let off = reported.abs_diff(truth);
        assert!(off <= error, "{what}: {reported} ns, in truth {truth}: off by {off}, not {error} at most");
    }
}

fn any(rng: &mut Rng, below: i64) -> i64 {
    rng.below(below as u64) as i64
}

fn slew(rng: &mut Rng) -> i64 {
    [0, 20, -500, 83_000, 100_000, -100_000][any(rng, 6) as usize]
}

fn step(rng: &mut Rng) -> i64 {
    [10 * S, -10 * S, S, -S, 40 * MS, -40 * MS, 3 * MS, -3 * MS][any(rng, 8) as usize]
}

/// How often each source was reported: a test that never saw the kernel's stamps would show nothing.
#[derive(Default)]
struct Sources([u32; 3]);

impl Sources {
    fn note(&mut self, source: StampSource) {
        self.0[source as usize] += 1;
    }

    fn check(&self) {
        let [user, _, kernel] = self.0;
        assert!(kernel > 50, "kernel stamps: {:?}", self.0);
        assert!(user > 0, "and some that cannot be used: {:?}", self.0);
    }
}

#[test]
fn no_ping_is_farther_from_the_truth_than_it_says() {
    let mut sources = Sources::default();
    for seed in 0..400 {
        let mut world = World::new(seed);
        let spec = PingSpec { packets: 1 + any(&mut world.rng, 8) as u32, ..PingSpec::default() };
        let config = PingConfig { spec, dst: DST, first_sequence: 9, cookie: seed, probe_id: ProbeId(1) };
        let mut ping = Ping::new(config, world.converter.now());
        let outcome = world.play(&mut ping, |transmit| {
            let mut bytes = transmit.payload.clone();
            bytes[0] = 0;
            Answer::Datagram(bytes, 0)
        });
        let Outcome::Ping(outcome) = outcome else { panic!("{outcome:?}") };
        for (index, reply) in outcome.replies.iter().enumerate() {
            let PingReply::Reply(reply) = reply else { panic!("seed {seed}: {reply:?}") };
            world.check(reply.rtt, world.truths[index].rtt, &format!("seed {seed}, packet {index}"));
        }
        sources.note(world.ledger.source());
    }
    sources.check();
}

#[test]
fn no_hop_is_farther_from_the_truth_than_it_says() {
    let mut sources = Sources::default();
    for seed in 0..200 {
        let mut world = World::new(seed);
        let config = TracerouteConfig {
            spec: TracerouteSpec { protocol: Transport::Udp, ..TracerouteSpec::default() },
            dst: DST,
            first_sequence: 0,
            cookie: seed,
            flow: 0,
            path_length: None,
        };
        let mut traceroute = Traceroute::new(config, world.converter.now()).expect("a plain definition");
        let outcome = world.play(&mut traceroute, |transmit| {
            let arrives = transmit.hop_limit.is_none_or(|limit| limit >= PATH);
            Answer::Error(IcmpErrorEvent {
                received_at: Nanos(0),
                from: if arrives { DST } else { ROUTER },
                hop_limit: Some(60),
                kind: if arrives { 3 } else { 11 },
                code: if arrives { 3 } else { 0 },
                mtu: None,
                quoted: transmit.payload.clone(),
                details: sonde_engine::ErrorDetails::default(),
                extensions: None,
            })
        });
        let Outcome::Traceroute(outcome) = outcome else { panic!("{outcome:?}") };
        assert_eq!(outcome.hops.len(), usize::from(PATH), "seed {seed}");
        for hop in outcome.hops.iter() {
            let truths = world.truths.iter().filter(|truth| truth.hop_limit == Some(hop.hop));
            for (reply, truth) in hop.replies.iter().zip(truths) {
                let HopReply::Reply(answer) = reply else { panic!("seed {seed}: {reply:?}") };
                let Some(rtt) = answer.rtt else { panic!("seed {seed}: {answer:?}") };
                world.check(rtt, truth.rtt, &format!("seed {seed}, hop {}", hop.hop));
            }
        }
        sources.note(world.ledger.source());
    }
    sources.check();
}

#[test]
fn no_dns_answer_is_farther_from_the_truth_than_it_says() {
    let mut sources = Sources::default();
    for seed in 0..400 {
        let mut world = World::new(seed);
        let spec = DnsSpec { query_argument: Text::cut("example.net"), ..DnsSpec::default() };
        let (now, time) = (world.converter.now(), world.clock.realtime());
        let context = QueryContext { probe_id: ProbeId(1), id: 77, random: seed, time };
        let query = query(&spec, &context).expect("a query");
        let mut dns = DnsUdp::new(&spec, Exchange { dst: DST, zone: 0, src: None, now, time }, query);
        world.play(&mut dns, |transmit| {
            let mut bytes = transmit.payload.clone();
            bytes[2] |= 0x80;
            Answer::Datagram(bytes, 53)
        });
        let end = dns.take_response().expect("it has ended");
        let DnsReply::Answer(answer) = &end.response().outcome else { panic!("seed {seed}: {end:?}") };
        world.check(answer.rt, world.truths[0].rtt, &format!("seed {seed}"));
        sources.note(world.ledger.source());
    }
    sources.check();
}
