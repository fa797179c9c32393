//! A collector that the network's file lists by an IPv4 literal alone, and probes on lines of IPv6 alone: they reach it through the
//! line's NAT64 (tayga), where a resolver shows it (RFC 7050) and where only the router advertises it (RFC 8781).
//!
//! Needs root, and knot, unbound, tayga and radvd; says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::fs;
use std::net::{IpAddr, SocketAddr};

use sonde_tests::lab::homes::{Homes, NAT64_PREFIX, Nat64, Plan, Resolver, V4, V6, ZoneFile};
use sonde_tests::lab::{Family, Lab};
use sonde_tests::scene::say;
use sonde_tests::world::{EMAIL, Place, Probe, Server};

const OVER6: Family = Family::V6;

/// Whose line shows its translator in what way.
const HOMES: [(&str, Plan); 3] = [
    (
        "DNS64 shows it",
        Plan { v4: V4::None, resolvers: &[(Resolver::Dns64, OVER6)], nat64: Nat64::Works, ..Plan::dual("dns64") },
    ),
    ("the router alone advertises it, when the cable is plugged in", advertised("pref64")),
    ("the router has advertised it before the probe was there, and a board's system has heard", advertised("told")),
];

/// A home whose router knows the translator, and whose resolver does not.
const fn advertised(name: &'static str) -> Plan {
    Plan {
        v4: V4::None,
        v6: V6::Pref64,
        resolvers: &[(Resolver::Plain, OVER6)],
        nat64: Nat64::Works,
        ..Plan::dual(name)
    }
}

/// A zone, so that the provider's resolvers serve.
const ZONE: &str = "nat64.lab.example";

fn homes() -> Option<Homes> {
    let missing = Homes::missing();
    let reason = Lab::available().err().or((!missing.is_empty()).then(|| format!("not installed: {missing:?}")));
    if let Some(reason) = reason {
        assert!(std::env::var_os("SONDE_LAB_REQUIRED").is_none_or(|value| value != "1"), "no lab: {reason}");
        say(&format!("SKIPPED: no lab on this machine: {reason}"));
        return None;
    }
    let mut homes = Homes::start(&HOMES.map(|(_, plan)| plan)).unwrap();
    let path = homes.dir().join("zone");
    let [server, host] = [Homes::authority_address(Family::V4), Homes::reference_address(0, Family::V4)];
    let text = format!(
        "$ORIGIN {ZONE}.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A {server}\nv4 A {host}\n"
    );
    fs::write(&path, text).unwrap();
    homes.serve_names(&[ZoneFile { origin: ZONE.into(), path, signed: true }]).unwrap();
    Some(homes)
}

#[test]
fn an_ipv4_literal_is_reached_through_the_lines_translator() {
    let Some(homes) = homes() else { return };
    let dir = tempfile::tempdir().unwrap();
    let collector = SocketAddr::new(Homes::reference_address(0, Family::V4), 8044);
    let api = SocketAddr::new(collector.ip(), 8080);
    let place = Place::In(homes.reference(0));
    let server = Server::start(place, &dir.path().join("server"), api, &[collector], "").unwrap();
    server.researcher(EMAIL).unwrap();
    for (what, plan) in HOMES {
        let home = homes.home(plan.name);
        let folder = dir.path().join(plan.name);
        fs::create_dir(&folder).unwrap();
        server.network_file(EMAIL, &folder.join("network.toml")).unwrap();
        let network = fs::read_to_string(folder.join("network.toml")).unwrap();
        assert!(network.contains(&collector.to_string()) && !network.contains("::"), "a literal alone: {network}");
        let resolvers: Vec<String> =
            plan.resolvers.iter().map(|(resolver, family)| format!("\"{}\"", resolver.address(*family))).collect();
        let config = format!("[policy]\nresolvers = [{}]\n", resolvers.join(", "));
        let mut probe = Probe::start(Place::In(home.host), &folder, &config).unwrap();
        match plan.name {
            "pref64" => {
                // What is advertised before it listens it does not hear.
                probe.wait_status("that it listens", |status| status["state"] == "connecting").unwrap();
                home.host.feed("ip", &["-batch", "-"], "link set dev eth0 down\nlink set dev eth0 up\n").unwrap();
            }
            "told" => {
                probe.stop().unwrap();
                probe.restart_with(&[("SONDE_OS_NAT64", &format!("{NAT64_PREFIX}/96"))]).unwrap();
            }
            _ => {}
        }
        let number = probe.wait_connected().unwrap();
        let log = probe.process().unwrap().log();
        let IpAddr::V4(v4) = collector.ip() else { panic!("{collector}") };
        let translated =
            SocketAddr::new((u128::from(NAT64_PREFIX) | u128::from(u32::from(v4))).to_be_bytes().into(), 8044);
        assert!(log.contains(&format!("collector={translated}")), "{what}: {log}");
        say(&format!("{what}: probe {number} by {translated}"));
        probe.stop().unwrap();
    }
}
