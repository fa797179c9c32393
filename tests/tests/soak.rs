//! A probe on an accelerated schedule through one fault after another, drawn from a seed: cut cables, loss, other addresses, no
//! IPv6, lying resolvers, no UDP, a clock that somebody sets, collectors and its own process stopped and killed. In the end every due time is accounted for
//! once, and neither memory nor descriptors, threads or files have grown. Twelve faults in CI, hundreds with `SONDE_LONG`; a
//! seed is played again with `SONDE_SEED`. Needs root; says SKIPPED where it cannot run.
//!
//! The probe's clock is an injected one (`sonde_tests::stepped`): nothing here touches the machine's.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::seed::Rng;
use sonde_tests::audit::{self, Subject};
use sonde_tests::lab::dns::default_zone;
use sonde_tests::lab::{Direction, DnsServer, Family, Host, Lab, LabOptions, Link, LinkParams};
use sonde_tests::scene::{COLLECTOR_PORT, Scene, lab, say};
use sonde_tests::stepped;
use sonde_tests::world::wait_for;

/// One of each.
const FAULTS: [Fault; 10] = [
    Fault::Cut,
    Fault::Loss,
    Fault::OtherAddress,
    Fault::NoV6,
    Fault::LyingResolver,
    Fault::NoUdp,
    Fault::ClockSet,
    Fault::CollectorKilled,
    Fault::CollectorStopped,
    Fault::ProbeStopped,
];

/// What a clock is off by when somebody has set it, in seconds: a little, hours, days, years.
const STEPS: [i64; 8] = [-2, 3, 90, -3_600, 7_200, -86_400, 40 * 86_400, -3 * 365 * 86_400];

/// Rounds with `SONDE_LONG`: an hour and a half.
const LONG: usize = 600;

/// Rounds before the memory is looked at, with `SONDE_LONG`: the largest backlog so far keeps its place in the heap.
const LONG_SETTLE: usize = 100;

/// Once in so many rounds the collector is away for longer than a minute.
const MISSING: usize = 60;

/// Reports that are made before a fault ends. Six a second are due.
const DURING: usize = 12;

/// How much more memory a process may hold in the end than after each fault was met once (or more often), in kilobytes. A
/// longer backlog than any before keeps its place in the heap, some megabytes in a program that is not optimised; what leaks a
/// little with each fault is beyond it in the long run.
const GROWTH_KB: u64 = 12 * 1024;

/// How much more the state directory may hold, in bytes. What a probe notes down each day is small and bounded.
const FILES_GROWTH: u64 = 1 << 20;

/// Descriptors and threads that come and go with what is being measured at the moment.
const COMING_AND_GOING: usize = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Cut,
    Loss,
    OtherAddress,
    NoV6,
    LyingResolver,
    NoUdp,
    ClockSet,
    CollectorKilled,
    CollectorStopped,
    ProbeStopped,
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    resident_kb: u64,
    descriptors: usize,
    threads: usize,
    state_bytes: u64,
}

impl Held {
    fn of(scene: &mut Scene<'_>) -> Self {
        let probe = &mut scene.probes.get_mut(&Host::Dual).unwrap().probe;
        let state = probe.state();
        let process = probe.process().unwrap();
        let count = |what: &str| fs::read_dir(format!("/proc/{}/{what}", process.id())).unwrap().count();
        Self {
            resident_kb: process.resident_kb().unwrap(),
            descriptors: count("fd"),
            threads: count("task"),
            state_bytes: size(&state),
        }
    }
}

fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().filter_map(Result::ok);
    // A file may be replaced while we look.
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

fn ip(lab: &Lab, version: &str, lines: &str) {
    lab.host(Host::Dual).feed("ip", &[version, "-batch", "-"], lines).unwrap();
}

/// Everything a probe does all day, each second.
fn load() -> Value {
    let common = json!({"interval": 1, "spread": 1});
    let with = |more: Value| {
        let mut all = common.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let target = |family| Host::Target.address(family).unwrap();
    json!([
        with(json!({"type": "ping", "af": 4, "target": target(Family::V4), "packets": 1})),
        with(json!({"type": "ping", "af": 6, "target": target(Family::V6), "packets": 1})),
        with(json!({"type": "ping", "af": 6, "target": "target.lab.example", "packets": 1, "resolve_on_probe": true})),
        with(json!({"type": "traceroute", "af": 4, "target": target(Family::V4), "packets": 1, "protocol": "ICMP"})),
        with(json!({
            "type": "dns", "af": 4, "query_class": "IN", "query_type": "AAAA", "query_argument": "target.lab.example",
            "use_probe_resolver": true,
        })),
        with(json!({
            "type": "dns", "af": 6, "query_class": "IN", "query_type": "A", "query_argument": "target.lab.example",
            "target": Host::Dns.address(Family::V6).unwrap(), "protocol": "TCP",
        })),
    ])
}

struct Soak<'a> {
    lab: &'a Lab,
    scene: Scene<'a>,
    rng: Rng,
    /// Which of two addresses the probe's host has.
    moved: bool,
}

impl Soak<'_> {
    fn reports(&self) -> usize {
        fs::read_to_string(self.scene.probes[&Host::Dual].probe.report_log()).unwrap_or_default().lines().count()
    }

    /// The fault lasts until so many more runs have been accounted for.
    fn endure(&self) {
        let before = self.reports();
        wait_for("more reports", || Ok((self.reports() >= before + DURING).then_some(()))).unwrap();
    }

    /// Connected, and nothing left in the spool but what is under way.
    fn recover(&mut self) {
        let probe = &self.scene.probes[&Host::Dual].probe;
        wait_for("the probe to be well again", || {
            let well = |status: &Value| {
                status["state"] == "connected" && status["spool"].as_u64().is_some_and(|waiting| waiting < 16)
            };
            Ok(probe.status()?.filter(well))
        })
        .unwrap();
    }

    /// The collector is away for so long that the spool goes to its file, and is read from there again.
    fn miss_the_collector(&mut self) {
        let written = |status: &Value| status["written_today"].as_u64().unwrap_or(0);
        self.scene.server.kill().unwrap();
        let probe = &mut self.scene.probes.get_mut(&Host::Dual).unwrap().probe;
        let before = written(&probe.status().unwrap().unwrap_or_default());
        let mut look = || probe.wait_status("to have written its file", |status| written(status) > before);
        look().or_else(|_| look()).unwrap();
        self.scene.server.restart().unwrap();
        self.recover();
    }

    fn meet(&mut self, fault: Fault) {
        let lab = self.lab;
        match fault {
            Fault::Cut => {
                lab.set_link_down(Link::HomeR1, true).unwrap();
                self.endure();
                lab.set_link_down(Link::HomeR1, false).unwrap();
            }
            Fault::Loss => {
                let whole = lab.link(Link::HomeR1, Direction::Forward);
                lab.set_link(Link::HomeR1, LinkParams { loss: 0.3, duplicate: 0.1, ..whole }).unwrap();
                self.endure();
                lab.set_link(Link::HomeR1, whole).unwrap();
            }
            Fault::OtherAddress => {
                let (old, new) = if self.moved { ("20.10.1.77", "20.10.1.10") } else { ("20.10.1.10", "20.10.1.77") };
                self.moved = !self.moved;
                let route = "route replace default via 20.10.1.1 dev eth0\n";
                ip(lab, "-4", &format!("addr add {new}/24 dev eth0\naddr del {old}/24 dev eth0\n{route}"));
                self.endure();
            }
            Fault::NoV6 => {
                let v6 = Host::Dual.address(Family::V6).unwrap();
                ip(lab, "-6", &format!("addr del {v6}/64 dev eth0\n"));
                self.endure();
                let route = "route replace default via 2a0e:5a00:100:aa00::1 dev eth0\n";
                ip(lab, "-6", &format!("addr add {v6}/64 dev eth0 nodad\n{route}"));
            }
            Fault::LyingResolver => {
                let lies = default_zone()
                    .replace("target.lab.example A ", "other.lab.example A ")
                    .replace("target.lab.example AAAA ", "other.lab.example AAAA ");
                lab.set_zone(DnsServer::Lab, &format!("{lies}target.lab.example A 1 127.0.0.1\n")).unwrap();
                self.endure();
                lab.set_zone(DnsServer::Lab, &default_zone()).unwrap();
            }
            Fault::NoUdp => {
                let wall = lab.host(Host::Server);
                let rule = format!("type filter hook input priority 0; udp dport {COLLECTOR_PORT} drop;");
                wall.nft(&format!("table inet wall {{ chain incoming {{ {rule} }}; }}")).unwrap();
                self.endure();
                wall.nft("delete table inet wall").unwrap();
            }
            Fault::ClockSet => {
                let dir = self.scene.probes[&Host::Dual].probe.dir().to_owned();
                for _ in 0..2 {
                    let seconds = STEPS[usize::try_from(self.rng.below(STEPS.len() as u64)).unwrap()];
                    stepped::step(&dir, seconds * 1_000_000_000).unwrap();
                    self.endure();
                }
                stepped::step(&dir, 0).unwrap();
            }
            Fault::CollectorKilled => {
                self.scene.server.kill().unwrap();
                self.endure();
                self.scene.server.restart().unwrap();
            }
            Fault::CollectorStopped => {
                self.scene.server.stop().unwrap();
                self.endure();
                self.scene.server.restart().unwrap();
            }
            Fault::ProbeStopped => {
                let probe = &mut self.scene.probes.get_mut(&Host::Dual).unwrap().probe;
                probe.stop().unwrap();
                probe.restart().unwrap();
                probe.wait_connected().unwrap();
                self.endure();
            }
        }
        self.recover();
    }
}

#[test]
fn a_probe_outlives_what_networks_do_to_it() {
    let Some(lab) = lab(LabOptions::default()) else { return };
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let long = number("SONDE_LONG").is_some();
    let seed = number("SONDE_SEED").unwrap_or_else(|| getrandom::u64().unwrap());
    say(&format!("SONDE_SEED={seed}"));
    let mut rng = Rng::new(seed);
    let scene = Scene::start_stepped(&lab, &[Host::Dual], "listen_tls = [\"[::]:8443\"]").unwrap();
    let number = scene.number(Host::Dual);
    // Else an IPv4 address takes those that came after it along.
    lab.host(Host::Dual).sysctl("net.ipv4.conf.eth0.promote_secondaries", "1").unwrap();
    scene.owner.measure(&load(), &scene.source(&[Host::Dual]), false).unwrap();
    let mut soak = Soak { lab: &lab, scene, rng: Rng::new(rng.next_u64()), moved: false };
    soak.endure();

    // Each once, in any order. A stop of the probe comes first, so that it is the same process from then on.
    soak.meet(Fault::ProbeStopped);
    let lasting: Vec<Fault> = FAULTS.into_iter().filter(|fault| *fault != Fault::ProbeStopped).collect();
    let mut first = lasting.clone();
    for i in (1..first.len()).rev() {
        first.swap(i, usize::try_from(rng.below(i as u64 + 1)).unwrap());
    }
    for &fault in &first {
        say(&format!("{fault:?}"));
        soak.meet(fault);
    }
    soak.endure();
    let (settle, rounds) = if long { (LONG_SETTLE, LONG) } else { (0, 2) };
    let mut before = Held::of(&mut soak.scene);
    for round in 0..rounds {
        if round == settle {
            before = Held::of(&mut soak.scene);
        }
        let fault = lasting[usize::try_from(rng.below(lasting.len() as u64)).unwrap()];
        soak.meet(fault);
        if round % MISSING == MISSING / 2 {
            soak.miss_the_collector();
        }
        if round % 20 == 0 {
            say(&format!("round {round} ({fault:?}): {:?}", Held::of(&mut soak.scene)));
        }
    }
    soak.endure();
    let after = Held::of(&mut soak.scene);
    say(&format!("before: {before:?}\nafter:  {after:?}"));
    assert!(after.resident_kb <= before.resident_kb + GROWTH_KB, "{before:?} {after:?}");
    assert!(after.descriptors <= before.descriptors + COMING_AND_GOING, "{before:?} {after:?}");
    assert!(after.threads <= before.threads + COMING_AND_GOING, "{before:?} {after:?}");
    assert!(after.state_bytes <= before.state_bytes + FILES_GROWTH, "{before:?} {after:?}");

    let until = audit::now();
    let probe = &mut soak.scene.probes.get_mut(&Host::Dual).unwrap().probe;
    let said = probe.process().unwrap().log();
    assert!(!said.contains("panicked"), "{said}");
    probe.stop().unwrap();
    let subject = Subject { probe: ProbeId(number), log: probe.report_log(), until };
    soak.scene.server.stop().unwrap();
    let found = audit::check(soak.scene.server.data(), &[subject]).unwrap();
    say(&format!("soak: {found}"));
    assert_eq!(found.logged, found.stored, "{found}");
}
