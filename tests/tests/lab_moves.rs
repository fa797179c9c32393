//! The probe's address changes while it is connected: within a family the session goes on, across families it resumes;
//! either way every run is stored, once. Needs root; says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::net::IpAddr;

use serde_json::{Value, json};
use sonde_protocol::ids::ProbeId;
use sonde_tests::audit::{self, Findings, Subject};
use sonde_tests::lab::{Family, Host, Lab, LabOptions};
use sonde_tests::scene::{Scene, lab, say};
use sonde_tests::world::wait_for;

/// Seconds between runs: far more than a busy machine keeps a probe waiting.
const INTERVAL: u32 = 4;

/// What `ip` knows about an address of a host, besides the address.
struct Line {
    prefix: u8,
    gateway: IpAddr,
}

fn line(host: Host, family: Family) -> Line {
    let (prefix, gateway) = match (host, family) {
        (Host::V4Only, Family::V4) => (24, "20.11.1.1"),
        (Host::V6Only, Family::V6) => (64, "2a0e:5a00:101:bb00::1"),
        (Host::Dual, Family::V4) => (24, "20.10.1.1"),
        (Host::Dual, Family::V6) => (64, "2a0e:5a00:100:aa00::1"),
        _ => panic!("no test moves {} over {family:?}", host.name()),
    };
    Line { prefix, gateway: gateway.parse().unwrap() }
}

/// Lines for `ip`, inside.
fn ip(lab: &Lab, host: Host, family: Family, lines: &[String]) {
    let version = if family == Family::V4 { "-4" } else { "-6" };
    lab.host(host).feed("ip", &[version, "-batch", "-"], &format!("{}\n", lines.join("\n"))).unwrap();
}

/// A host gets an address, and its way out.
fn appear(lab: &Lab, host: Host, address: IpAddr) {
    let family = Family::of(address);
    let Line { prefix, gateway } = line(host, family);
    let nodad = if family == Family::V6 { " nodad" } else { "" };
    let add = format!("addr add {address}/{prefix} dev eth0{nodad}");
    ip(lab, host, family, &[add, format!("route replace default via {gateway} dev eth0")]);
}

/// A host loses an address, and with the last one its way out.
fn vanish(lab: &Lab, host: Host, address: IpAddr) {
    let family = Family::of(address);
    ip(lab, host, family, &[format!("addr del {address}/{} dev eth0", line(host, family).prefix)]);
}

/// A host's address becomes another in the same network.
fn renumber(lab: &Lab, host: Host, old: IpAddr, new: IpAddr) {
    // Else an IPv4 address takes those that came after it along.
    lab.host(host).sysctl("net.ipv4.conf.eth0.promote_secondaries", "1").unwrap();
    appear(lab, host, new);
    vanish(lab, host, old);
    ip(
        lab,
        host,
        Family::of(new),
        &[format!("route replace default via {} dev eth0", line(host, Family::of(new)).gateway)],
    );
}

fn pings(families: &[Family]) -> Value {
    let ping = |(family, n): (&Family, usize)| {
        let af = if *family == Family::V4 { 4 } else { 6 };
        let target = Host::Target.addresses(*family)[n];
        json!({"type": "ping", "af": af, "target": target, "packets": 1, "interval": INTERVAL, "spread": INTERVAL})
    };
    families.iter().flat_map(|family| (0..3).map(move |n| (family, n))).map(ping).collect()
}

/// Measures periodically from a host until everything is checked.
fn load(scene: &Scene<'_>, host: Host) -> Vec<u64> {
    let families: Vec<Family> = Family::ALL.into_iter().filter(|family| host.address(*family).is_some()).collect();
    scene.owner.measure(&pings(&families), &scene.source(&[host]), false).unwrap()
}

/// Waits until one of the measurements has a result more, made at the address `from`.
fn wait_result_from(scene: &Scene<'_>, measurements: &[u64], from: IpAddr) {
    wait_for(&format!("a result from {from}"), || {
        for id in measurements {
            if scene.owner.results(*id)?.iter().any(|result| result["src_addr"] == json!(from)) {
                return Ok(Some(()));
            }
        }
        Ok(None)
    })
    .unwrap();
}

/// Waits until the collector has said that it sees the probe of a host at an address, by a new connection or the old one.
fn wait_seen_at(scene: &mut Scene<'_>, host: Host, address: IpAddr) -> String {
    let number = scene.number(host);
    let server = &mut scene.server;
    wait_for(&format!("{} to be seen at {address}", host.name()), || {
        let log = server.process()?.log();
        let last = log.lines().rfind(|line| {
            line.contains(&format!("probe_id={number} "))
                && (line.contains(" connected ") || line.contains(" has moved "))
        });
        Ok(last.filter(|line| line.split(' ').any(|word| word == format!("address={address}"))).map(str::to_owned))
    })
    .unwrap()
}

/// Stops everything and checks it.
fn finish(mut scene: Scene<'_>) -> Findings {
    let stop = |member: &mut sonde_tests::scene::Member<'_>| {
        let until = audit::now();
        member.probe.stop().unwrap();
        Subject { probe: ProbeId(member.number), log: member.probe.report_log(), until }
    };
    let subjects: Vec<Subject> = scene.probes.values_mut().map(stop).collect();
    scene.server.stop().unwrap();
    audit::check(scene.server.data(), &subjects).unwrap()
}

/// Every run that was due has its result, unless the probe was stopped just then, and nothing is missing.
fn assert_whole(what: &str, found: &Findings) {
    say(&format!("{what}: {found}"));
    let stopping = found.skipped.get("stopping").copied().unwrap_or(0);
    assert!(found.results > 0 && found.gaps.is_empty() && found.results + stopping == found.due, "{found}");
    assert_eq!(found.logged, found.stored);
}

#[test]
fn a_probe_whose_address_changes_within_a_family_goes_on() {
    let Some(lab) = lab(LabOptions::default()) else { return };
    let mut scene = Scene::start(&lab, &[Host::V4Only, Host::V6Only]).unwrap();
    for (host, family, new) in
        [(Host::V4Only, Family::V4, "20.11.1.20"), (Host::V6Only, Family::V6, "2a0e:5a00:101:bb00::20")]
    {
        let (old, new) = (host.address(family).unwrap(), new.parse().unwrap());
        let measurements = load(&scene, host);
        wait_result_from(&scene, &measurements, old);
        renumber(&lab, host, old, new);
        say(&wait_seen_at(&mut scene, host, new));
        wait_result_from(&scene, &measurements, new);
        // Orders find their way to it.
        let oneoff = scene.once(&[pings(&[family])[0].clone()], &[host]).unwrap();
        let results = scene.one_each(&scene.owner, oneoff[0], &[host]).unwrap();
        assert_eq!(results[&host]["rcvd"], 1, "{results:?}");
    }
    assert_whole("within a family", &finish(scene));
}

#[test]
fn a_probe_that_loses_a_family_comes_back_over_the_other() {
    let Some(lab) = lab(LabOptions::default()) else { return };
    let mut scene = Scene::start(&lab, &[Host::Dual]).unwrap();
    let [v4, v6] = Family::ALL.map(|family| Host::Dual.address(family).unwrap());
    let measurements = load(&scene, Host::Dual);
    wait_result_from(&scene, &measurements, v4);
    wait_result_from(&scene, &measurements, v6);
    vanish(&lab, Host::Dual, v4);
    say(&wait_seen_at(&mut scene, Host::Dual, v6));
    appear(&lab, Host::Dual, v4);
    vanish(&lab, Host::Dual, v6);
    say(&wait_seen_at(&mut scene, Host::Dual, v4));
    appear(&lab, Host::Dual, v6);
    let oneoff = scene.once(&[pings(&[Family::V4])[0].clone()], &[Host::Dual]).unwrap();
    assert_eq!(scene.one_each(&scene.owner, oneoff[0], &[Host::Dual]).unwrap()[&Host::Dual]["rcvd"], 1);
    assert_whole("across families", &finish(scene));
}
