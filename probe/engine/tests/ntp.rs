//! Plays `ntp` against a server out of a file in `tests/ntp_scripts` and compares the outcome with what the file expects:
//! where the clocks stand, how long the ways there and back are, and what the server does with each request. A new case is a
//! new file; `SONDE_REWRITE=1 cargo test -p sonde-engine --test ntp` writes what the engine says now.
//!
//! And what holds whatever comes: the run ends, with one reply a request, and the sign of the offset is right.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use proptest::prelude::*;
use serde::Deserialize;
use sonde_engine::ntp::{Anchor, Ntp, NtpConfig, PORT};
use sonde_engine::{Channel, Engine, IcmpErrorEvent, Meta, Token, Transmit};
use sonde_protocol::result::{NtpOutcome, NtpReply, Outcome, Why};
use sonde_protocol::spec::NtpSpec;
use sonde_protocol::time::{Nanos, UnixNanos};

const SERVER: &str = "192.0.2.1";
const STRANGER: &str = "203.0.113.1";
const NTP_TO_UNIX: i128 = 2_208_988_800;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Script {
    packets: u32,
    timeout: u32,
    /// The probe's clock at the start, in Unix seconds.
    clock: i64,
    /// How much faster than the monotonic clock the probe's clock runs, in percent.
    slew: f64,
    /// How far the probe's clock is stepped after the last packet, in seconds.
    step: f64,
    /// Milliseconds the kernel's stamp of departure is later than the program's, and than the answer may be.
    leave_after: f64,
    /// What the server does with the packets in turn; the last for all others.
    server: Vec<Behaviour>,
    expect: Expect,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            packets: 3,
            timeout: 1000,
            clock: 1_795_737_600,
            slew: 0.0,
            step: 0.0,
            leave_after: 0.0,
            server: vec![Behaviour::default()],
            expect: Expect::default(),
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    outcome: String,
}

/// Times in milliseconds, clocks in seconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Behaviour {
    there: f64,
    back: f64,
    takes: f64,
    /// The server's clock minus the true time, which is the probe's clock at the start.
    ahead: f64,
    /// What it does: answer, twice, silent, unsent, kiss, empty, wrong-origin, zero-origin, wrong-port, stranger, client,
    /// short, refused, unreachable, unreachable-then-answer.
    does: String,
    kiss: String,
    stratum: u8,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { there: 10.0, back: 10.0, takes: 1.0, ahead: 0.0, does: "answer".into(), kiss: "RATE".into(), stratum: 2 }
    }
}

enum Event {
    Datagram(Meta, Vec<u8>),
    Error(IcmpErrorEvent),
}

fn ms(value: f64) -> Duration {
    Duration::from_nanos((value * 1e6).round() as u64)
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Unix nanoseconds as an NTP stamp, whatever the era.
fn stamp(unix: i128) -> [u8; 8] {
    let since_1900 = unix + NTP_TO_UNIX * 1_000_000_000;
    let fixed = (since_1900 << 32).div_euclid(1_000_000_000);
    ((fixed & i128::from(u64::MAX)) as u64).to_be_bytes()
}

impl Script {
    fn engine(&self) -> Ntp {
        let spec = NtpSpec { packets: self.packets, timeout: self.timeout };
        let start = Anchor { now: Nanos(0), time: UnixNanos::from_secs(self.clock) };
        Ntp::new(NtpConfig { spec, dst: address(SERVER), cookie: 7 }, start)
    }

    /// The probe's clock before the step.
    fn clock_at(&self, now: Nanos) -> i128 {
        i128::from(self.clock) * 1_000_000_000 + (now.0 as f64 * (1.0 + self.slew / 100.0)).round() as i128
    }

    fn play(&self) -> (NtpOutcome, Nanos) {
        let mut engine = self.engine();
        let mut queue: Vec<(Nanos, Event)> = Vec::new();
        let mut stamps: Vec<(Token, Nanos)> = Vec::new();
        let (mut now, mut number) = (Nanos(0), 0);
        for _ in 0..1000 {
            while let Some(transmit) = engine.poll_transmit(now) {
                let behaviour = self.server.get(number).or(self.server.last()).cloned().unwrap_or_default();
                number += 1;
                if behaviour.does == "unsent" {
                    engine.handle_send_error(transmit.token, now, Why::cut("Network is unreachable"));
                    continue;
                }
                engine.handle_sent(transmit.token, now);
                let left_at = now + ms(self.leave_after);
                stamps.push((transmit.token, left_at));
                queue.extend(self.answers(&behaviour, left_at, &transmit));
            }
            // The kernel's stamps come last of all, as the shell waits for them before it takes the outcome.
            if engine.poll_timeout().is_none() {
                for (token, at) in stamps.drain(..) {
                    engine.handle_sent(token, at);
                }
            }
            if engine.poll_outcome().is_some() {
                assert_eq!((engine.poll_outcome(), engine.poll_transmit(now)), (None, None), "the end is the end");
                let stepped = self.clock_at(now) + (self.step * 1e9) as i128;
                let end = Anchor { now, time: UnixNanos(i64::try_from(stepped).expect("a time of day")) };
                return (engine.outcome(end), now);
            }
            let wake_at = engine.poll_timeout().expect("a run that is not over wants to be woken");
            queue.sort_by_key(|(at, _)| *at);
            match queue.first() {
                Some((at, _)) if *at <= wake_at => {
                    let (at, event) = queue.remove(0);
                    now = now.max(at);
                    match event {
                        Event::Datagram(meta, bytes) => engine.handle_datagram(&meta, &bytes),
                        Event::Error(event) => engine.handle_icmp_error(&event),
                    }
                }
                _ => {
                    now = now.max(wake_at);
                    engine.handle_timeout(now);
                }
            }
        }
        panic!("the run does not end");
    }

    fn answers(&self, behaviour: &Behaviour, left_at: Nanos, transmit: &Transmit) -> Vec<(Nanos, Event)> {
        assert_eq!((transmit.channel, transmit.payload.len()), (Channel::Udp { port: PORT }, 48));
        let came_at = left_at + ms(behaviour.there);
        let went_at = came_at + ms(behaviour.takes);
        let received_at = went_at + ms(behaviour.back);
        let server_clock = |at: Nanos| self.clock_at(at) + (behaviour.ahead * 1e9) as i128;
        let mut bytes = vec![0x24, behaviour.stratum, 6, 0xec];
        bytes.extend([0, 0, 1, 0, 0, 0, 2, 0]);
        bytes.extend(if behaviour.stratum == 0 { behaviour.kiss.as_bytes() } else { &[192, 0, 2, 123] });
        bytes.extend(stamp(server_clock(left_at) - 16_000_000_000));
        bytes.extend(&transmit.payload[40..]);
        bytes.extend(stamp(server_clock(came_at)));
        bytes.extend(stamp(server_clock(went_at)));
        let mut meta =
            Meta { received_at, from: address(SERVER), from_port: PORT, hop_limit: Some(60), fragment: None };
        let error = |from: &str, code| IcmpErrorEvent {
            received_at: came_at,
            from: address(from),
            hop_limit: Some(63),
            kind: 3,
            code,
            mtu: None,
            quoted: transmit.payload.clone(),
            details: sonde_engine::ErrorDetails::default(),
            extensions: None,
        };
        match behaviour.does.as_str() {
            "silent" => return Vec::new(),
            "refused" => return vec![(came_at, Event::Error(error(SERVER, 3)))],
            "unreachable" => return vec![(came_at, Event::Error(error(STRANGER, 1)))],
            "unreachable-then-answer" => {
                return vec![(came_at, Event::Error(error(STRANGER, 1))), (received_at, Event::Datagram(meta, bytes))];
            }
            "twice" => {
                let again = Meta { received_at: received_at + ms(1.0), ..meta };
                return vec![
                    (received_at, Event::Datagram(meta, bytes.clone())),
                    (again.received_at, Event::Datagram(again, bytes)),
                ];
            }
            "answer" => {}
            "kiss" => {
                bytes[1] = 0;
                bytes[12..16].copy_from_slice(behaviour.kiss.as_bytes());
            }
            "empty" => bytes[32..].fill(0),
            "wrong-origin" => bytes[24] ^= 1,
            "zero-origin" => bytes[24..32].fill(0),
            "wrong-port" => meta.from_port = 1123,
            "stranger" => meta.from = address(STRANGER),
            "client" => bytes[0] = 0x23,
            "short" => bytes.truncate(47),
            other => panic!("a server cannot do {other}"),
        }
        vec![(received_at, Event::Datagram(meta, bytes))]
    }
}

/// Nanoseconds as seconds with all their digits.
fn seconds(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    format!("{sign}{}.{:09}", nanos.unsigned_abs() / 1_000_000_000, nanos.unsigned_abs() % 1_000_000_000)
}

fn text(outcome: &NtpOutcome, ended_at: Nanos) -> String {
    let mut text = format!("{} strays, ended at {}\n", outcome.strays, seconds(ended_at.0));
    match &outcome.server {
        Some(server) => {
            let reference = server.reference_time.map_or("never".into(), |time| time.to_string());
            let _ = writeln!(
                text,
                "leap {} version {} stratum {} poll {} precision {} id {:08x} set {reference}",
                server.leap, server.version, server.stratum, server.poll, server.precision, server.reference_id
            );
        }
        None => text.push_str("no answer\n"),
    }
    for reply in &outcome.replies {
        let _ = match reply {
            NtpReply::Timeout => writeln!(text, "*"),
            NtpReply::SendError(why) => writeln!(text, "not sent: {why}"),
            NtpReply::Icmp(error) => {
                let rtt = error.rtt.map_or(String::new(), |rtt| format!(" after {}", seconds(rtt as i64)));
                writeln!(text, "icmp {}/{} from {}{rtt}", error.kind, error.code, error.from)
            }
            NtpReply::NoTime(none) => {
                let kiss =
                    none.kiss.map_or("empty".into(), |kiss| String::from_utf8_lossy(&kiss.to_be_bytes()).into_owned());
                writeln!(text, "no time after {}: {kiss}", seconds(none.elapsed as i64))
            }
            NtpReply::Answer(a) => writeln!(
                text,
                "offset {} rtt {} ({} {} {} {})",
                seconds(a.offset),
                seconds(a.rtt),
                a.origin,
                a.receive,
                a.transmit,
                a.last
            ),
        };
    }
    text
}

#[test]
fn every_script_ends_as_it_expects() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ntp_scripts");
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    let mut failures = Vec::new();
    for path in paths {
        let source = fs::read_to_string(&path).unwrap();
        let script: Script = toml::from_str(&source).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (outcome, ended_at) = script.play();
        let actual = text(&outcome, ended_at);
        if env::var_os("SONDE_REWRITE").is_some() {
            let (head, _) = source.split_once("outcome = '''\n").expect("a script expects an outcome");
            fs::write(&path, format!("{head}outcome = '''\n{actual}'''\n")).unwrap();
        } else if actual != script.expect.outcome {
            failures.push(format!("{}\n--- expected\n{}--- got\n{actual}", path.display(), script.expect.outcome));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u16),
    Answer { at: usize, xor: u8, length: usize, ours: bool },
    Garbage(Vec<u8>),
    Icmp(bool, u8, u8, Vec<u8>),
    Sent(u32, i64),
    SendError(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..60);
    prop_oneof![
        any::<u16>().prop_map(Step::Wait),
        (0_usize..60, any::<u8>(), 0_usize..60, any::<bool>()).prop_map(|(at, xor, length, ours)| Step::Answer {
            at,
            xor,
            length,
            ours
        }),
        bytes().prop_map(Step::Garbage),
        (any::<bool>(), any::<u8>(), any::<u8>(), bytes()).prop_map(|(a, b, c, d)| Step::Icmp(a, b, c, d)),
        (0_u32..20, any::<i64>()).prop_map(|(token, at)| Step::Sent(token, at)),
        (0_u32..20).prop_map(Step::SendError),
    ]
}

proptest! {
    /// Whatever comes, the run ends after its last time-out, with a reply for each request that went.
    #[test]
    fn every_run_ends(
        packets in 1_u32..=16,
        timeout in 1_u32..=60_000,
        clock in any::<i64>(),
        end in any::<(i64, i64)>(),
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let script = Script { packets, timeout, clock: clock / 1_000_000_000, ..Script::default() };
        let mut engine = script.engine();
        let mut now = Nanos(0);
        let mut last = Vec::new();
        let mut sent = 0;
        for step in steps.into_iter().chain((0..20).map(|_| Step::Wait(60_000))) {
            while let Some(transmit) = engine.poll_transmit(now) {
                sent += 1;
                last = transmit.payload;
            }
            let from = |ours| address(if ours { SERVER } else { STRANGER });
            let meta = |ours| Meta { received_at: now, from: from(ours), from_port: PORT, hop_limit: None, fragment: None };
            match step {
                Step::Wait(ms) => {
                    now = now + Duration::from_millis(u64::from(ms));
                    engine.handle_timeout(now);
                }
                Step::Answer { at, xor, length, ours } => {
                    let mut bytes = vec![0x24; 24];
                    bytes.extend(last.get(40..).unwrap_or_default());
                    bytes.extend([0xe9; 16]);
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= xor;
                    }
                    bytes.truncate(if length < 30 { 48 } else { length });
                    engine.handle_datagram(&meta(ours), &bytes);
                }
                Step::Garbage(bytes) => engine.handle_datagram(&meta(true), &bytes),
                Step::Icmp(ours, kind, code, quoted) => engine.handle_icmp_error(&IcmpErrorEvent {
                    received_at: now,
                    from: from(ours),
                    hop_limit: None,
                    kind,
                    code,
                    mtu: None,
                    quoted,
                    details: sonde_engine::ErrorDetails::default(),
                    extensions: None,
                }),
                Step::Sent(token, at) => engine.handle_sent(Token(token), Nanos(at)),
                Step::SendError(token) => engine.handle_send_error(Token(token), now, Why::cut("no")),
            }
        }
        let Some(Outcome::Ntp(outcome)) = engine.poll_outcome() else { panic!("no outcome") };
        prop_assert!(sent <= packets && outcome.replies.len() == sent as usize);
        prop_assert_eq!((engine.poll_outcome(), engine.poll_timeout()), (None, None));
        prop_assert_eq!(engine.outcome(Anchor { now: Nanos(end.0), time: UnixNanos(end.1) }).replies.len(), sent as usize);
    }

    /// The offset is how far the server is ahead, wrong by at most half the difference of the two ways; the round trip is
    /// both ways, whatever the clocks say.
    #[test]
    fn offset_and_round_trip_are_true(
        ahead in -2_000_000_000.0..2_000_000_000.0_f64,
        there in 0.0..400.0_f64,
        back in 0.0..400.0_f64,
        takes in 0.0..100.0_f64,
        clock in 0_i64..4_000_000_000,
    ) {
        let ahead = ahead.round() / 1000.0;
        let server = vec![Behaviour { there, back, takes, ahead, ..Behaviour::default() }];
        let (outcome, _) = Script { clock, server, packets: 1, ..Script::default() }.play();
        let Some(NtpReply::Answer(answer)) = outcome.replies.first() else { panic!("{outcome:?}") };
        let expected = (ahead * 1e9) + (there - back) / 2.0 * 1e6;
        prop_assert!((answer.offset as f64 - expected).abs() < 10.0, "{} instead of {expected}", answer.offset);
        prop_assert!((answer.rtt as f64 - (there + back) * 1e6).abs() < 10.0, "{} ns", answer.rtt);
    }
}
