//! Broken networks: `sonde-probe doctor` and the running probe name the right cause and no other, and the probe's record in
//! the API says the same word, at once where the probe still reaches its collector, else when it is back. One row a network.
//!
//! Needs root; says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::process::Command;

use serde_json::{Value, json};
use sonde_tests::lab::dns::default_zone;
use sonde_tests::lab::{DnsServer, Family, Host, Lab, LabOptions, Router};
use sonde_tests::scene::{COLLECTOR_PORT, Scene, lab, say, unhurried};
use sonde_tests::world::{program, wait_for};

/// What the directory calls the collector.
const NAME: &str = "server.lab.example";

/// Where the probe is.
const HOME: Host = Host::Dual;

/// The groups that may send pings.
const PINGS: &str = "net.ipv4.ping_group_range";

/// How a network is broken, and what it is called.
struct Network {
    what: &'static str,
    broken: fn(&Lab),
    word: &'static str,
    /// The probe reaches its collector all the same.
    connected: bool,
}

fn ip(lab: &Lab, lines: &str) {
    lab.host(HOME).feed("ip", &["-batch", "-"], lines).unwrap();
}

/// A table of rules at the home router.
fn at_the_router(lab: &Lab, family: &str, chain: &str) {
    lab.router(Router::Home).nft(&format!("table {family} broken {{ chain here {{ {chain} }}; }}")).unwrap();
}

fn forward(lab: &Lab, family: &str, rule: &str) {
    at_the_router(lab, family, &format!("type filter hook forward priority 0; {rule}"));
}

fn lie(lab: &Lab, lies: &str) {
    let own = format!("{NAME} ");
    let rest: String =
        default_zone().lines().filter(|line| !line.starts_with(&own)).map(|line| format!("{line}\n")).collect();
    lab.set_zone(DnsServer::Lab, &format!("{rest}{lies}")).unwrap();
}

const NETWORKS: &[Network] = &[
    Network {
        what: "the cable is out",
        broken: |lab| ip(lab, "link set dev eth0 down\n"),
        word: "link-down",
        connected: false,
    },
    Network {
        what: "no address",
        broken: |lab| ip(lab, "addr flush dev eth0 scope global\n"),
        word: "no-address",
        connected: false,
    },
    Network {
        what: "no default route",
        broken: |lab| ip(lab, "route del 0.0.0.0/0\nroute del ::/0\n"),
        word: "no-route",
        connected: false,
    },
    Network {
        what: "a dead router",
        broken: |lab| at_the_router(lab, "inet", "type filter hook prerouting priority -300; iifname \"lan*\" drop;"),
        word: "gateway-silent",
        connected: false,
    },
    Network {
        what: "the router has no line",
        broken: |lab| forward(lab, "inet", "drop;"),
        word: "no-internet",
        connected: false,
    },
    Network {
        what: "a DNS server that does not answer",
        broken: |lab| {
            let rules = "table inet broken { chain here { type filter hook input priority 0; th dport 53 drop; }; }";
            lab.host(Host::Dns).nft(rules).unwrap();
        },
        word: "dns-silent",
        connected: true,
    },
    Network {
        what: "a DNS server that names another address",
        broken: |lab| {
            let target = Host::Target.address(Family::V4).unwrap();
            lie(lab, &format!("{NAME} A 60 {target}\n"));
        },
        word: "dns-wrong",
        connected: true,
    },
    Network {
        what: "a DNS server that denies the name",
        broken: |lab| lie(lab, &format!("{NAME} NXDOMAIN\n")),
        word: "dns-wrong",
        connected: true,
    },
    Network { what: "IPv4 is broken", broken: |lab| forward(lab, "ip", "drop;"), word: "ipv4-broken", connected: true },
    Network {
        what: "IPv6 is broken",
        broken: |lab| forward(lab, "ip6", "drop;"),
        word: "ipv6-broken",
        connected: true,
    },
    Network {
        what: "nobody may send pings",
        broken: |lab| lab.host(HOME).sysctl(PINGS, "1 0").unwrap(),
        word: "no-ping",
        connected: true,
    },
    Network {
        what: "UDP is blocked",
        broken: |lab| forward(lab, "inet", "meta l4proto udp drop;"),
        word: "udp-blocked",
        connected: false,
    },
    Network {
        what: "large packets vanish, those of the handshake too",
        broken: |lab| forward(lab, "inet", "meta length > 1220 drop;"),
        word: "mtu-hole",
        connected: false,
    },
];

/// The network is as it was. The probe hears of a change of its addresses, and tries again.
fn mend(lab: &Lab) {
    for namespace in [lab.router(Router::Home), lab.host(Host::Dns)] {
        let anew = "table ip broken {}\ntable ip6 broken {}\ntable inet broken {}\n\
                    delete table ip broken\ndelete table ip6 broken\ndelete table inet broken\n";
        namespace.nft(anew).unwrap();
    }
    lab.set_zone(DnsServer::Lab, &default_zone()).unwrap();
    lab.host(HOME).sysctl(PINGS, "0 2147483647").unwrap();
    let [v4, v6] = Family::ALL.map(|family| HOME.address(family).unwrap());
    ip(
        lab,
        &format!(
            "link set dev eth0 up\naddr replace {v4}/24 dev eth0\naddr replace {v6}/64 dev eth0 nodad\n\
             route replace default via 20.10.1.1\nroute replace ::/0 via 2a0e:5a00:100:aa00::1\n\
             addr add 20.10.1.77/24 dev eth0\naddr del 20.10.1.77/24 dev eth0\n"
        ),
    );
}

/// The words that are more than a note, in their order.
fn words(list: &Value) -> Vec<String> {
    let heavy = list.as_array().into_iter().flatten().filter(|one| one["level"] != "note" && one["level"] != "ok");
    heavy.filter_map(|one| one["word"].as_str().map(str::to_owned)).collect()
}

fn doctor(lab: &Lab, state: &std::path::Path) -> Value {
    let mut command: Command = lab.host(HOME).command(program("sonde-probe").unwrap());
    let output = command.args(["doctor", "--json", "--state"]).arg(state).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn each_network_that_keeps_the_probe_away_is_called_by_its_name() {
    each_is_called_by_its_name(false);
}

#[test]
fn each_broken_network_that_it_still_gets_out_of_is_called_by_its_name() {
    each_is_called_by_its_name(true);
}

/// Goes through those in which the probe reaches its collector, or through the others: two labs take half the time.
fn each_is_called_by_its_name(reached: bool) {
    let Some(lab) = lab(LabOptions::default()) else { return };
    let mut scene = Scene::start(&lab, &[HOME]).unwrap();
    scene.server.announce(&[&format!("{NAME}:{COLLECTOR_PORT}")]).unwrap();
    let number = scene.number(HOME);
    let state = scene.probes[&HOME].probe.state();
    let record = |scene: &Scene<'_>| scene.owner.get(&format!("/api/v2/probes/{number}/")).unwrap()["health"].clone();
    let well = |scene: &Scene<'_>| {
        wait_for("a probe that is well", || {
            let status = scene.probes[&HOME].probe.status()?;
            let status = status.filter(|one| one["state"] == "connected" && one["conditions"] == json!([]));
            Ok(status.filter(|_| record(scene)["level"] == "ok"))
        })
        .unwrap_or_else(|error| panic!("{error:#}: {:?} {}", scene.probes[&HOME].probe.status(), record(scene)))
    };
    // In its sandbox, as far as this kernel has one.
    let config = unhurried("enabled = true\nraw = false");
    std::fs::write(scene.probes[&HOME].probe.dir().join("sonde.toml"), config).unwrap();
    let probe = &mut scene.probes.get_mut(&HOME).unwrap().probe;
    probe.stop().unwrap();
    probe.restart().unwrap();
    mend(&lab);
    assert_eq!(well(&scene)["sandbox"]["enabled"], json!(true));
    let healthy = doctor(&lab, &state);
    assert_eq!(words(&healthy["findings"]), [""; 0], "{healthy}");

    for network in NETWORKS.iter().filter(|network| network.connected == reached) {
        let Network { what, broken, word, connected } = network;
        let member = scene.probes.get_mut(&HOME).unwrap();
        // As at home: the power fails, and what comes back has to find out.
        member.probe.kill().unwrap();
        broken(&lab);
        member.probe.restart().unwrap();
        let status = wait_for(&format!("{word}: {what}"), || {
            let status = scene.probes[&HOME].probe.status()?;
            Ok(status.filter(|one| words(&one["conditions"]) == [*word]))
        })
        .unwrap_or_else(|error| panic!("{error:#}: {:?}", scene.probes[&HOME].probe.status()));
        let findings = doctor(&lab, &state);
        assert_eq!(words(&findings["findings"]), [*word], "doctor, {what}: {findings}");
        let first = &findings["findings"][0];
        assert_eq!(first["word"], *word, "{what} comes first: {findings}");
        assert!(first["advice"].as_str().is_some_and(|advice| advice.ends_with('.')), "what to do: {first}");
        say(&format!("{what}: {} {}", word, status["conditions"][0]["detail"]));
        if *connected {
            wait_for(&format!("the record to say {word}"), || {
                let health = record(&scene);
                Ok((words(&health["conditions"]) == [*word]).then_some(()))
            })
            .unwrap_or_else(|error| panic!("{error:#}: {what}: {}", record(&scene)));
        } else {
            assert_ne!(status["state"], "connected", "{what}: {status}");
        }
        mend(&lab);
        well(&scene);
        // Not always the newest: on the way back something else may have been silent for a moment.
        let past = record(&scene)["past"].clone();
        let is_this = |one: &Value| (&one["word"], &one["was_disconnected"]) == (&json!(word), &json!(!connected));
        assert!(past.as_array().is_some_and(|past| past.iter().any(is_this)), "{what}: {past}");
        let public = scene.public.get(&format!("/api/v2/probes/{number}/")).unwrap();
        assert_eq!(public.get("health"), None, "how it is at home is nobody's business");
    }
}
