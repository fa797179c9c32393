//! A collector gone bad, with the right key, and what it cannot make a probe do: everything stays within the limits of the
//! probe's host. Seen from a capture on the probes' hosts and at the victim. That it gets no packet to forbidden addresses is
//! shown in `lab_policy`.
//!
//! It gives orders each second, or oftener, with the largest packets, for answers much larger than their questions, all of
//! them for one victim; and then a flood of a hundred thousand orders, a million with SONDE_LONG. Needs root; says SKIPPED
//! where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sonde_collector::Network;
use sonde_protocol::bounded::{Bytes, List, Text};
use sonde_protocol::ids::MeasurementId;
use sonde_protocol::net::{Family as Af, Ip, Transport};
use sonde_protocol::order::{Order, When};
use sonde_protocol::result::{Outcome, Report, SkipReason};
use sonde_protocol::spec::{DnsSpec, PingSpec, Spec, Target, TracerouteSpec};
use sonde_protocol::time::UnixNanos;
use sonde_tests::lab::{CapturedPacket, DnsServer, Family, Host, Lab, LabOptions};
use sonde_tests::rogue::{Flood, Orders, Rogue};
use sonde_tests::scene::{self, collector_addresses, say};
use sonde_tests::world::{Place, Probe, wait_for};

/// The limits of each host here.
const PACKETS_PER_SECOND: usize = 40;
/// A single run that needs more, such as a traceroute, is not slowed to it: it keeps other runs away from its target for longer.
const TARGET_PACKETS_PER_SECOND: usize = 16;
const BYTES_PER_DAY: u64 = 1 << 20;

/// Packets that the sockets let go at once after a silence (`net::Options::burst`).
const BURST: usize = 32;

fn limits() -> String {
    format!(
        "[limits]\npackets_per_second = {PACKETS_PER_SECOND}\nbytes_per_day = {BYTES_PER_DAY}\n\
         target_packets_per_second = {TARGET_PACKETS_PER_SECOND}\nconcurrent = 16\n"
    )
}

fn target() -> IpAddr {
    Host::Target.address(Family::V4).unwrap()
}

fn now() -> UnixNanos {
    UnixNanos(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap())
}

fn order(number: u64, spec: &Spec, address: IpAddr, when: When) -> Order {
    Order {
        measurement: MeasurementId(number),
        kind: spec.kind().number(),
        spec: Bytes::new(spec.to_cbor()).unwrap(),
        af: Af::of(address),
        target: Some(Target::cut(address.to_string())),
        addresses: List::cut([Ip(address)]),
        resolve_on_probe: false,
        when,
        ordered_at: now(),
    }
}

fn once() -> When {
    When::Once { start: None, expires: now() + Duration::from_secs(3600) }
}

/// As often as an order can say: an interval of nothing, which counts as a second.
fn always() -> When {
    When::Periodic { start: now(), interval: 0, spread: 0, stop: None }
}

fn greedy() -> Vec<Spec> {
    let dns = DnsSpec { query_argument: Text::cut("big.lab.example"), query_type: 16, ..DnsSpec::default() };
    vec![
        Spec::Ping(PingSpec { packets: 16, size: 2048, packet_interval: 2, ..PingSpec::default() }),
        Spec::Ping(PingSpec { packets: 16, size: 1, packet_interval: 2, ..PingSpec::default() }),
        Spec::Traceroute(TracerouteSpec { packets: 16, max_hops: 255, ..TracerouteSpec::default() }),
        Spec::Dns(DnsSpec { udp_payload_size: 4096, retry: 10, ..dns.clone() }),
        Spec::Dns(DnsSpec { protocol: Transport::Tcp, ..dns }),
        // Beyond every range: nothing of it may run.
        Spec::Ping(PingSpec { packets: u32::MAX, size: 65_535, packet_interval: 0, ..PingSpec::default() }),
    ]
}

/// The first number of the [`strange`] orders.
const STRANGE: u64 = 500;

/// Orders that nobody can carry out: of a kind that there is not, with another kind's definition, with garbage.
fn strange() -> Vec<Order> {
    let plain = order(STRANGE, &Spec::Ping(PingSpec::default()), target(), always());
    let spec = |bytes: &[u8]| Bytes::new(bytes).unwrap();
    let all = [
        Order { kind: 200, ..plain.clone() },
        Order { kind: 0, ..plain.clone() },
        Order { kind: 2, spec: spec(&[0xff; 64]), ..plain.clone() },
        Order { spec: spec(&[]), ..plain.clone() },
        Order { spec: spec(&[0xbf; 500]), ..plain.clone() },
        // Every hundred years.
        Order {
            kind: 200,
            when: When::Periodic { start: now(), interval: u32::MAX, spread: u32::MAX, stop: None },
            ..plain
        },
    ];
    (STRANGE..).zip(all).map(|(number, order)| Order { measurement: MeasurementId(number), ..order }).collect()
}

fn probe<'a>(lab: &'a Lab, host: Host, dir: &Path, network: &Network, config: &str) -> Probe<'a> {
    fs::create_dir(dir).unwrap();
    fs::write(dir.join("network.toml"), toml::to_string(&network.network_file(None)).unwrap()).unwrap();
    Probe::start(Place::In(lab.host(host)), dir, config).unwrap()
}

/// What a host sent to be measured: towards the target, and whatever would be towards nobody it has to talk to.
fn measured(lab: &Lab, host: Host, packets: &[CapturedPacket]) -> Vec<CapturedPacket> {
    let needed = |packet: &CapturedPacket| {
        let Some(ip) = packet.summary.ip else { return true };
        packet.summary.is_nd()
            || packet.summary.is_membership()
            || collector_addresses().iter().any(|collector| collector.ip() == ip.dst)
            || lab.resolvers(host).contains(&ip.dst) && ip.dst != target()
    };
    packets.iter().filter(|packet| packet.left() && !needed(packet)).cloned().collect()
}

/// The most packets in any second.
fn most_in_a_second(packets: &[CapturedPacket]) -> usize {
    let times: Vec<i64> = packets.iter().map(|packet| packet.at).collect();
    let within = |(n, from): (usize, &i64)| times[n..].iter().take_while(|at| **at < from + 1_000_000_000).count();
    times.iter().enumerate().map(within).max().unwrap_or(0)
}

/// What of the day's bytes the probe says is used.
fn bytes_today(probe: &Probe<'_>) -> u64 {
    let status = probe.status().unwrap().unwrap_or_default();
    status["host"]["bytes_today"].as_u64().unwrap_or(0)
}

/// Waits until so many more runs than now are reported as left out for a limit, and gives the results so far.
fn wait_for_limits(rogue: &Rogue, more: usize) -> usize {
    let limited = || {
        let is_limit = |report: &Report| matches!(report, Report::Skipped(one) if one.reason == SkipReason::Limit);
        rogue.reports().iter().filter(|(_, report)| is_limit(report)).count()
    };
    let before = limited();
    wait_for("runs to be left out for a limit", || Ok((limited() >= before + more).then_some(()))).unwrap();
    rogue.reports().iter().filter(|(_, report)| matches!(report, Report::Result(_))).count()
}

#[test]
fn the_bytes_of_a_day_are_used_up_by_answers_too_and_stay_used_up_after_a_stop_and_a_kill() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    let long: String = (0..15).map(|n| format!(" \"{}{n}\"", "x".repeat(240))).collect();
    lab.add_to_zone(DnsServer::Lab, &format!("big.lab.example TXT 0{long}\n")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let address: SocketAddr = collector_addresses()[0];
    let network = Network::open_or_create(&folder.path().join("network"), "bad", &[address.to_string()]).unwrap();
    let resolver = lab.resolvers(Host::Dual).into_iter().find(IpAddr::is_ipv4).unwrap();
    // Each asks for some four thousand bytes with a hundred; none pings.
    let question = |protocol| {
        let query_argument = Text::cut("big.lab.example");
        Spec::Dns(DnsSpec { query_argument, query_type: 16, udp_payload_size: 4096, protocol, ..DnsSpec::default() })
    };
    let orders: Vec<Order> = (1..=24)
        .map(|n| order(n, &question(if n % 4 == 0 { Transport::Tcp } else { Transport::Udp }), resolver, always()))
        .collect();
    let given: Orders = [(Host::Dual.public_address(Family::V4).unwrap(), orders)].into();
    let capture = lab.capture(Host::Dual).unwrap();
    let rogue = Rogue::start(lab.host(Host::Server), address, &network, given).unwrap();
    let config = format!(
        "[limits]\npackets_per_second = 200\nbytes_per_day = {BYTES_PER_DAY}\ntarget_packets_per_second = 200\n\
         target_interval_ms = 0\nconcurrent = 8\n"
    );
    let mut probe = probe(&lab, Host::Dual, &folder.path().join("probe"), &network, &config);
    probe.wait_connected().unwrap();
    wait_for("the bytes of the day to be used up", || {
        Ok((bytes_today(&probe) + 8 * 1024 > BYTES_PER_DAY).then_some(()))
    })
    .unwrap();
    wait_for_limits(&rogue, 100);
    // What was under way has ended by now: from here on there is no result.
    let results = wait_for_limits(&rogue, 100);
    assert_eq!(wait_for_limits(&rogue, 100), results, "something was measured beyond the bytes of the day");
    let used = bytes_today(&probe);

    probe.stop().unwrap();
    probe.restart().unwrap();
    probe.wait_connected().unwrap();
    assert!(bytes_today(&probe) >= used, "a stop gives nothing back");
    assert_eq!(wait_for_limits(&rogue, 100), results, "after a stop");
    probe.kill().unwrap();
    probe.restart().unwrap();
    probe.wait_connected().unwrap();
    assert!(bytes_today(&probe) >= used, "a kill gives nothing back");
    assert_eq!(wait_for_limits(&rogue, 100), results, "after a kill");
    drop(probe);

    let all = capture.stop().unwrap();
    let is_theirs = |address: Option<IpAddr>| address == Some(resolver);
    let line = all.iter().filter(|packet| packet.interface != "lo");
    let line = line.filter(|packet| is_theirs(packet.summary.src()) || is_theirs(packet.summary.dst()));
    let (sent, received) = line.fold((0, 0), |(sent, received), packet| match packet.outgoing {
        true => (sent + packet.bytes.len() as u64, received),
        false => (sent, received + packet.bytes.len() as u64),
    });
    say(&format!("{results} answers: {sent} bytes sent, {received} received, {used} counted of {BYTES_PER_DAY}"));
    assert!(received > 4 * sent, "the answers are no larger than the questions: {sent} sent, {received} received");
    assert!(sent + received <= BYTES_PER_DAY + 64 * 1024, "{} bytes on the line", sent + received);
}

#[test]
fn whatever_is_ordered_each_probe_stays_within_its_hosts_limits() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    let long: String = (0..12).map(|n| format!(" \"{}{n}\"", "x".repeat(200))).collect();
    lab.add_to_zone(DnsServer::Lab, &format!("big.lab.example TXT 0{long}\n")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let address: SocketAddr = collector_addresses()[0];
    let network = Network::open_or_create(&folder.path().join("network"), "bad", &[address.to_string()]).unwrap();
    let resolver = lab.resolvers(Host::Dual).into_iter().find(IpAddr::is_ipv4);
    let mut orders: Vec<Order> = Vec::new();
    for round in 0..8 {
        for spec in greedy() {
            // Answers come from a DNS server; everything else goes to the one victim.
            let number = 1 + orders.len() as u64;
            let when = if round % 2 == 0 { always() } else { once() };
            let to = if matches!(spec, Spec::Dns(_)) { resolver.unwrap_or_else(target) } else { target() };
            orders.push(order(number, &spec, to, when));
        }
    }
    orders.extend(strange());
    let long_run = std::env::var_os("SONDE_LONG").is_some();
    let flood = Flood {
        order: order(0, &Spec::Ping(PingSpec { packets: 1, ..PingSpec::default() }), target(), once()),
        count: if long_run { 1_000_000 } else { 100_000 },
        first: 1_000_000,
    };
    let both = [Host::Dual, Host::Nat];
    let given: Orders = both.iter().map(|host| (host.public_address(Family::V4).unwrap(), orders.clone())).collect();
    let captures = both.map(|host| (host, lab.capture(host).unwrap()));
    let rogue = Rogue::start_flooding(lab.host(Host::Server), address, &network, given, flood.clone()).unwrap();
    let config = limits();
    let mut busy = probe(&lab, Host::Dual, &folder.path().join("busy"), &network, &config);
    // Its host wants nothing measured.
    let paused = probe(&lab, Host::Nat, &folder.path().join("paused"), &network, &format!("{config}pause = true\n"));
    busy.wait_connected().unwrap();
    let begun = busy.process().unwrap().resident_kb().unwrap();

    let mut taken = 0;
    while taken < 2 * flood.count {
        // As long as it goes on it is well.
        taken = wait_for("the flood to go on", || Ok(Some(rogue.flooded()).filter(|now| *now > taken))).unwrap();
        if 2 * flood.count - taken < 4_000 {
            break;
        }
    }
    // What is beyond the limits is said to be.
    let says = |wanted: &dyn Fn(&Report) -> bool| rogue.reports().iter().any(|(_, report)| wanted(report));
    let limit = |report: &Report| matches!(report, Report::Skipped(one) if one.reason == SkipReason::Limit);
    wait_for("a run to be left out for a limit", || Ok(says(&limit).then_some(()))).unwrap();
    let resident = busy.process().unwrap().resident_kb().unwrap();
    let host = busy.status().unwrap().unwrap()["host"].clone();
    assert!(paused.status().unwrap().unwrap()["host"]["paused"] == true, "no message ends a pause");
    drop((busy, paused));

    let reports = rogue.reports();
    say(&format!(
        "{taken} orders of a flood taken, {} reports; {begun} KB resident before, {resident} KB after; {host}",
        reports.len()
    ));
    assert!(resident < 96 * 1024, "{resident} KB resident");
    let paused_at = Host::Nat.public_address(Family::V4).unwrap();
    let mut unsupported = false;
    for (from, report) in &reports {
        let is_out_of_range = report.measurement().0 <= 48 && report.measurement().0.is_multiple_of(6);
        let is_strange = (STRANGE..STRANGE + 100).contains(&report.measurement().0);
        match report {
            Report::Skipped(skipped) if is_strange => unsupported |= skipped.reason == SkipReason::Unsupported,
            Report::Result(result) => {
                assert!(*from != paused_at, "a paused probe measured: {result:?}");
                assert!(!is_out_of_range, "{result:?}");
                assert!(!is_strange, "{result:?}");
                if let Outcome::Ping(ping) = &result.outcome {
                    assert!(ping.size <= 2048 && ping.sent <= 16, "{ping:?}");
                }
            }
            Report::Skipped(skipped) if *from == paused_at && !is_out_of_range => {
                assert!(
                    matches!(
                        skipped.reason,
                        SkipReason::Paused
                            | SkipReason::Limit
                            | SkipReason::LateOrder
                            | SkipReason::Overlap
                            // The flood kept the probe busy for longer than a run may be late.
                            | SkipReason::Clock
                    ),
                    "{skipped:?}"
                );
            }
            Report::Skipped(_) => {}
        }
    }
    assert!(unsupported, "orders that nobody can carry out are said to be such");
    for (host, capture) in captures {
        let all = capture.stop().unwrap();
        let packets = measured(&lab, host, &all);
        if host == Host::Nat {
            assert!(packets.is_empty(), "a paused probe sent {} packets: {:?}", packets.len(), packets.first());
            continue;
        }
        let to_victim: Vec<CapturedPacket> =
            packets.iter().filter(|packet| packet.left_to(target())).cloned().collect();
        let talks_to = |address: Option<IpAddr>| {
            address.is_some_and(|address| address == target() || lab.resolvers(host).contains(&address))
        };
        let both_ways = all.iter().filter(|packet| packet.interface != "lo");
        let both_ways = both_ways.filter(|packet| talks_to(packet.summary.src()) || talks_to(packet.summary.dst()));
        let line: usize = both_ways.map(|packet| packet.bytes.len()).sum();
        let (most, most_there) = (most_in_a_second(&packets), most_in_a_second(&to_victim));
        let bytes: usize = packets.iter().map(|packet| packet.bytes.len()).sum();
        say(&format!(
            "{} packets, {bytes} bytes sent, {line} both ways; most in a second: {most}, to the victim {most_there}",
            packets.len()
        ));
        assert!(!to_victim.is_empty(), "the capture is blind");
        assert!(most <= PACKETS_PER_SECOND + BURST, "{most} packets in a second");
        assert!(most_there <= PACKETS_PER_SECOND + BURST, "{most_there} packets in a second to one target");
        // A run is admitted whole, and what came back beyond what was expected counts from its end on.
        assert!(line as u64 <= BYTES_PER_DAY + 256 * 1024, "{line} bytes");
    }
}
