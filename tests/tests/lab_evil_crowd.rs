//! A collector gone bad turns a hundred probes against one victim, with everything that the kinds allow: what arrives there is no
//! more than a hundred times what one host allows towards one target, and from each probe no more than its own host's; and every
//! run that was ordered is accounted for in the probes' own reports, as a result or as skipped with its reason.
//!
//! A hundred real probes on one machine of the lab, each of another user, whose packets leave by another address: so a capture
//! at the victim tells them apart. Needs root; says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::{Child, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sonde_collector::Network;
use sonde_protocol::bounded::{Bytes, List, Text};
use sonde_protocol::ids::MeasurementId;
use sonde_protocol::net::{Family as Af, Ip, Transport};
use sonde_protocol::order::{Order, When};
use sonde_protocol::result::{Report, SkipReason};
use sonde_protocol::spec::{DnsSpec, NtpSpec, PathMtuSpec, PingSpec, Spec, SslcertSpec, Target, TracerouteSpec};
use sonde_protocol::time::UnixNanos;
use sonde_tests::lab::{CapturedPacket, Family, Host, Lab, LabOptions};
use sonde_tests::rogue::{Orders, Rogue};
use sonde_tests::scene::{self, collector_addresses, say};
use sonde_tests::world::{runnable_copy, wait_for};

const PROBES: u8 = 100;

/// The users that the probes run as, one each, and the routing tables by which their packets leave.
const FIRST_USER: u32 = 20_000;

/// What each host allows.
const PACKETS_PER_SECOND: usize = 20;
const TARGET_PACKETS_PER_SECOND: usize = 8;

/// Packets that the sockets let go at once after a silence (`net::Options::burst`).
const BURST: usize = 32;

/// The most that one run here sends to the victim: it is admitted whole, and keeps others away for as long as it takes.
const LARGEST_RUN: usize = 48;

/// Runs of each probe that are waited for.
const RUNS: usize = 200;

fn target() -> IpAddr {
    Host::Target.address(Family::V4).unwrap()
}

fn now() -> UnixNanos {
    UnixNanos(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap())
}

/// Where a probe's packets come from.
fn source(probe: u8) -> IpAddr {
    Ipv4Addr::new(20, 10, 1, 100 + probe).into()
}

/// Everything that can be sent to a host that has done nothing.
fn everything() -> Vec<Spec> {
    let query_argument = Text::cut("example.net");
    let dns = DnsSpec { query_argument, query_type: 255, retry: 3, udp_payload_size: 4096, ..DnsSpec::default() };
    let trace = |protocol| {
        Spec::Traceroute(TracerouteSpec {
            protocol,
            packets: 3,
            first_hop: 3,
            max_hops: 16,
            ..TracerouteSpec::default()
        })
    };
    vec![
        Spec::Ping(PingSpec { packets: 16, size: 2048, packet_interval: 2, ..PingSpec::default() }),
        Spec::Ping(PingSpec { packets: 1, size: 1, ..PingSpec::default() }),
        trace(Transport::Icmp),
        trace(Transport::Udp),
        Spec::Dns(dns.clone()),
        Spec::Dns(DnsSpec { protocol: Transport::Tcp, ..dns }),
        Spec::Sslcert(SslcertSpec::default()),
        Spec::Ntp(NtpSpec::default()),
        Spec::PathMtu(PathMtuSpec::default()),
    ]
}

/// Each of them three times over, each second for ever.
fn orders(start: UnixNanos) -> Vec<Order> {
    let all = (0..3).flat_map(|_| everything());
    let order = |(number, spec): (u64, Spec)| Order {
        measurement: MeasurementId(number),
        kind: spec.kind().number(),
        spec: Bytes::new(spec.to_cbor()).unwrap(),
        af: Af::V4,
        target: Some(Target::cut(target().to_string())),
        addresses: List::cut([Ip(target())]),
        resolve_on_probe: false,
        when: When::Periodic { start, interval: 1, spread: 0, stop: None },
        ordered_at: start,
    };
    (1..).zip(all).map(order).collect()
}

/// The probes' processes. Dropping it ends them.
struct Crowd(Vec<Child>);

impl Crowd {
    fn start(lab: &Lab, folder: &std::path::Path, network: &Network) -> Self {
        let inside = lab.host(Host::Dual);
        inside.sysctl("net.ipv4.ping_group_range", "0 2147483647").unwrap();
        let probes = (0..PROBES).map(|n| (n, FIRST_USER + u32::from(n), source(n)));
        let lines = |line: &dyn Fn(u32, IpAddr) -> String| {
            probes.clone().map(|(_, user, address)| line(user, address)).collect::<String>()
        };
        let ip = |lines: String| inside.feed("ip", &["-4", "-batch", "-"], &lines).unwrap();
        ip(lines(&|_, address| format!("addr add {address}/24 dev eth0\n")));
        ip(lines(&|user, address| format!("route add default via 20.10.1.1 dev eth0 src {address} table {user}\n")));
        ip(lines(&|user, _| format!("rule add uidrange {user}-{user} lookup {user}\n")));
        // The build folder may be closed to others.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        let copy = runnable_copy("sonde-probe", folder).unwrap();
        let file = folder.join("network.toml");
        fs::write(&file, toml::to_string(&network.network_file(None)).unwrap()).unwrap();
        let config = folder.join("sonde.toml");
        let limits = format!(
            "[limits]\npackets_per_second = {PACKETS_PER_SECOND}\n\
             target_packets_per_second = {TARGET_PACKETS_PER_SECOND}\n[spool]\nenabled = false\n"
        );
        fs::write(&config, limits).unwrap();
        for open in [&file, &config] {
            fs::set_permissions(open, fs::Permissions::from_mode(0o644)).unwrap();
        }
        let mut crowd = Self(Vec::new());
        for (n, user, _) in probes {
            let state = folder.join(format!("state{n}"));
            fs::create_dir(&state).unwrap();
            fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
            chown(&state, Some(user), Some(user)).unwrap();
            let mut command = inside.command("setpriv");
            command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]).arg(&copy);
            command.arg("run").arg("--network").arg(&file).arg("--state").arg(&state).arg("--config").arg(&config);
            let log = fs::File::create(folder.join(format!("probe{n}.log"))).unwrap();
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            crowd.0.push(command.spawn().unwrap());
        }
        crowd
    }

    /// Asks all of them to stop and waits.
    fn stop(&mut self) {
        for probe in &self.0 {
            kill(Pid::from_raw(i32::try_from(probe.id()).unwrap()), Signal::SIGTERM).unwrap();
        }
        let ended = |probe: &mut Child| probe.try_wait().unwrap().is_some();
        wait_for("the probes to stop", || Ok(self.0.iter_mut().all(ended).then_some(()))).unwrap();
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for probe in &mut self.0 {
            let _ = probe.kill();
            let _ = probe.wait();
        }
    }
}

/// The most packets in any span of so many seconds.
fn most_within(times: &[i64], seconds: i64) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (n, at) in times.iter().enumerate() {
        while times[first] + seconds * 1_000_000_000 <= *at {
            first += 1;
        }
        most = most.max(n + 1 - first);
    }
    most
}

/// Is it what is left of a packet that was too long for a link? What a host counts is the packet.
fn is_rest(packet: &CapturedPacket) -> bool {
    // Behind Ethernet's header: the fragment's offset (RFC 791, section 3.1).
    packet.bytes.get(20..22).is_some_and(|field| u16::from_be_bytes([field[0], field[1]]) & 0x1fff != 0)
}

/// When each probe's packets arrived at the victim.
fn arrivals(packets: &[CapturedPacket]) -> BTreeMap<IpAddr, Vec<i64>> {
    let sources: BTreeSet<IpAddr> = (0..PROBES).map(source).collect();
    let mut arrivals: BTreeMap<IpAddr, Vec<i64>> = BTreeMap::new();
    for packet in packets.iter().filter(|packet| !packet.outgoing && packet.interface != "lo") {
        if let (Some(src), Some(dst)) = (packet.summary.src(), packet.summary.dst())
            && dst == target()
            && sources.contains(&src)
            && !is_rest(packet)
        {
            arrivals.entry(src).or_default().push(packet.at);
        }
    }
    arrivals
}

/// Each second from the first to the last that a measurement's reports speak of, and how often.
fn spoken_of(reports: &[Report]) -> BTreeMap<i64, u32> {
    let mut seconds: BTreeMap<i64, u32> = BTreeMap::new();
    for report in reports {
        let (from, runs) = match report {
            Report::Result(result) => (result.planned_at, 1),
            Report::Skipped(skipped) => (skipped.planned_at, i64::from(skipped.runs)),
        };
        for n in 0..runs {
            *seconds.entry(from.as_secs() + n).or_default() += 1;
        }
    }
    seconds
}

#[test]
fn a_hundred_probes_against_one_victim_are_no_more_than_a_hundred_times_their_hosts_limits() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let address: SocketAddr = collector_addresses()[0];
    let network = Network::open_or_create(&folder.path().join("network"), "bad", &[address.to_string()]).unwrap();
    let orders = orders(now());
    let given: Orders = (0..PROBES).map(|n| (source(n), orders.clone())).collect();
    let rogue = Rogue::start(lab.host(Host::Server), address, &network, given).unwrap();
    let capture = lab.capture(Host::Target).unwrap();
    let begun = now();
    let mut crowd = Crowd::start(&lab, folder.path(), &network);

    let by_probe = || {
        let mut by_probe: BTreeMap<IpAddr, Vec<Report>> = BTreeMap::new();
        for (from, report) in rogue.reports() {
            by_probe.entry(from).or_default().push(report);
        }
        by_probe
    };
    let enough = || {
        let counts = by_probe();
        Ok((counts.len() == usize::from(PROBES) && counts.values().all(|all| all.len() >= RUNS)).then_some(()))
    };
    // A hundred probes on a machine that does other things too.
    let look = || wait_for("runs of every probe", enough);
    look().or_else(|_| look()).or_else(|_| look()).unwrap();
    crowd.stop();
    let seconds = usize::try_from(now().since(begun).as_secs()).unwrap() + 1;
    let packets = capture.stop().unwrap();

    // At the victim.
    let arrivals = arrivals(&packets);
    assert_eq!(arrivals.len(), usize::from(PROBES), "each of them reached the victim");
    let all: usize = arrivals.values().map(Vec::len).sum();
    let most = arrivals.values().map(|times| most_within(times, 1)).max().unwrap();
    let long = arrivals.values().map(|times| most_within(times, 10)).max().unwrap();
    say(&format!(
        "{all} packets at the victim in {seconds} s from {PROBES} probes; the most of one in 1 s {most}, in 10 s {long}; \
         allowed to each are {TARGET_PACKETS_PER_SECOND} a second"
    ));
    for (probe, times) in &arrivals {
        let count = times.len();
        assert!(count <= TARGET_PACKETS_PER_SECOND * (seconds + 1) + LARGEST_RUN, "{count} packets of {probe}");
    }
    assert!(most <= PACKETS_PER_SECOND + BURST, "{most} in a second");
    assert!(long <= 11 * TARGET_PACKETS_PER_SECOND + LARGEST_RUN, "{long} in ten seconds");
    assert!(all <= usize::from(PROBES) * (TARGET_PACKETS_PER_SECOND * (seconds + 1) + LARGEST_RUN));

    // In their reports.
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for (probe, reports) in by_probe() {
        let mut of: BTreeMap<MeasurementId, Vec<Report>> = BTreeMap::new();
        for report in reports {
            if let Report::Skipped(skipped) = &report {
                *reasons.entry(format!("{:?}", skipped.reason)).or_default() += u64::from(skipped.runs);
            } else {
                *reasons.entry("Result".into()).or_default() += 1;
            }
            of.entry(report.measurement()).or_default().push(report);
        }
        assert_eq!(of.len(), orders.len(), "{probe} speaks of every order");
        for (measurement, reports) in of {
            let seconds = spoken_of(&reports);
            let (first, last) = (seconds.keys().next().unwrap(), seconds.keys().next_back().unwrap());
            assert_eq!(seconds.len() as i64, last - first + 1, "{probe} is silent of a run of {measurement}");
            assert!(seconds.values().all(|times| *times == 1), "{probe} speaks of a run of {measurement} twice");
        }
    }
    say(&format!("runs of all of them: {reasons:?}"));
    let known =
        [SkipReason::Limit, SkipReason::Overlap, SkipReason::LateOrder, SkipReason::Stopping, SkipReason::Expired];
    let known: BTreeSet<String> = known.iter().map(|reason| format!("{reason:?}")).chain(["Result".into()]).collect();
    assert!(reasons.keys().all(|reason| known.contains(reason)), "{reasons:?}");
    assert!(reasons["Result"] > 0);
}
