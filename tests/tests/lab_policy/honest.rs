//! Forbidden targets through the API of an honest server: what it can know it refuses at once, the rest the probe refuses,
//! and says so in its result.

use std::net::IpAddr;

use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value, json};
use sonde_tests::lab::{DnsServer, Family, Host, Lab, LabOptions};
use sonde_tests::scene::{self, Scene};
use sonde_tests::world::wait_for;

use crate::{FORBIDDEN_QUESTION, HOSTS, Proof, is_private, look_up, near, record, resolver_of, special, target};

/// The definitions of every kind of packet for one target, with further fields.
fn every_kind(address: IpAddr, target: &str, more: &Value) -> Vec<Value> {
    let kinds = [
        json!({"type": "ping", "packets": 1}),
        json!({"type": "traceroute", "protocol": "UDP", "packets": 1}),
        json!({"type": "traceroute", "protocol": "ICMP", "packets": 1}),
        json!({"type": "dns", "query_class": "IN", "query_type": "A", "query_argument": FORBIDDEN_QUESTION}),
        json!({"type": "dns", "query_class": "IN", "query_type": "A", "query_argument": FORBIDDEN_QUESTION, "protocol": "TCP"}),
    ];
    let complete = |mut kind: Value| {
        kind["af"] = json!(if address.is_ipv4() { 4 } else { 6 });
        kind["target"] = json!(target);
        for (key, value) in more.as_object().unwrap() {
            kind[key] = value.clone();
        }
        kind
    };
    kinds.map(complete).into_iter().collect()
}

/// The API refuses all of these definitions, and says of each that it is the target.
fn assert_refused(scene: &Scene<'_>, definitions: &[Value]) {
    let body = json!({"definitions": definitions, "probes": scene.source(&HOSTS), "is_oneoff": true});
    let answer = scene.owner.request("POST", "/api/v2/measurements/", Some(&body)).unwrap();
    assert_eq!(answer.status, 400, "{body}: {}", answer.text);
    let errors = answer.json["error"]["errors"].as_array().unwrap();
    let pointers: Vec<&str> = errors.iter().filter_map(|error| error["source"]["pointer"].as_str()).collect();
    let expected: Vec<String> = (0..definitions.len()).map(|n| format!("/definitions/{n}/target")).collect();
    assert_eq!(pointers, expected, "{body}: {}", answer.text);
}

/// Whether a result says that the probe refused.
fn is_refusal(result: &Value) -> bool {
    let words = match result["type"].as_str() {
        Some("dns") => &result["error"]["socket"],
        _ => &result["result"][0]["error"],
    };
    words == "address not allowed"
}

/// The probe on `host` refuses each of these definitions.
fn assert_refused_by_probe(scene: &Scene<'_>, host: Host, what: &str, definitions: &[Value]) {
    for definitions in definitions.chunks(100) {
        let ids = scene.once(definitions, &[host]).unwrap();
        for (definition, id) in definitions.iter().zip(ids) {
            let results = scene.one_each(&scene.owner, id, &[host]).unwrap();
            assert!(is_refusal(&results[&host]), "{host:?}: {definition}: {}", results[&host]);
            scene::record(&format!("forbidden, {what}, {}", host.name()), &results[&host], true).unwrap();
        }
    }
}

/// A name for each forbidden address of a host.
fn traps(lab: &Lab, host: Host) -> Vec<(String, IpAddr)> {
    let addresses = special().into_iter().chain(near(lab, host));
    (0..).zip(addresses).map(|(n, address)| (format!("trap-{n}.{}.lab.example", host.name()), address)).collect()
}

/// The line of a zone that gives a public address first and then `address`.
fn turning(name: &str, address: IpAddr) -> String {
    let record = if address.is_ipv4() { "A" } else { "AAAA" };
    format!("{name} {record} 0 {} then {address}\n", target(Family::of(address)))
}

#[test]
fn no_packet_to_a_forbidden_target_whoever_asks_and_however_it_is_named() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    for host in HOSTS {
        let lines: String = traps(&lab, host).iter().map(|(name, address)| turning(name, *address)).collect();
        lab.add_to_zone(resolver_of(host), &lines).unwrap();
    }
    let proof = Proof::begin(&lab);
    let scene = Scene::start(&lab, &HOSTS).unwrap();

    literals(&lab, &scene);
    names_that_the_server_resolves(&lab, &scene);
    names_that_turn_before_the_probe_resolves(&lab, &scene);
    names_that_turn_between_two_runs(&lab, &scene);
    own_resolver(&lab, &scene);
    allowed_targets(&scene);

    proof.conclude();
}

/// Special literals are refused by the API; those that only look public, by the probe.
fn literals(lab: &Lab, scene: &Scene<'_>) {
    for address in special() {
        assert_refused(scene, &every_kind(address, &address.to_string(), &json!({})));
    }
    for host in HOSTS {
        let (private, public): (Vec<IpAddr>, Vec<IpAddr>) = near(lab, host).into_iter().partition(is_private);
        assert!(!public.is_empty());
        for address in private {
            assert_refused(scene, &every_kind(address, &address.to_string(), &json!({})));
        }
        let definitions: Vec<Value> =
            public.iter().flat_map(|address| every_kind(*address, &address.to_string(), &json!({}))).collect();
        assert_refused_by_probe(scene, host, "literal", &definitions);
    }
}

/// A name of a special address is refused by the API where the server resolves, and one that has no address too.
fn names_that_the_server_resolves(lab: &Lab, scene: &Scene<'_>) {
    let lines: String =
        (0..).zip(special()).map(|(n, address)| record(&format!("special-{n}.lab.example"), address)).collect();
    lab.add_to_zone(DnsServer::Lab, &lines).unwrap();
    for (n, address) in (0..).zip(special()) {
        assert_refused(scene, &every_kind(address, &format!("special-{n}.lab.example"), &json!({})));
        assert_refused(scene, &every_kind(address, "nowhere.lab.example", &json!({})));
    }
}

/// Public when the measurement is made, forbidden when the probe resolves.
fn names_that_turn_before_the_probe_resolves(lab: &Lab, scene: &Scene<'_>) {
    for host in HOSTS {
        let mut definitions = Vec::new();
        for (name, address) in traps(lab, host) {
            // This takes the first answer, the public one; everybody gets the other one from now on.
            let from = if host == Host::Nat { Host::Nat } else { Host::Server };
            let family = Family::of(address);
            assert_eq!(look_up(lab, from, &name, family), target(family));
            definitions.extend(every_kind(address, &name, &json!({"resolve_on_probe": true})));
        }
        assert_refused_by_probe(scene, host, "name", &definitions);
        // It was these names that the probe asked for.
        let asked = lab.dns_log(resolver_of(host)).unwrap();
        for (name, _) in traps(lab, host) {
            let times = asked.iter().filter(|entry| entry.name == format!("{name}.")).count();
            assert!(times > 1, "{name} was looked up {times} times");
        }
    }
}

/// Public at the first run, forbidden at the second.
fn names_that_turn_between_two_runs(lab: &Lab, scene: &Scene<'_>) {
    let mut asked = Vec::new();
    for host in HOSTS {
        let families = Family::ALL.into_iter().filter(|family| host.address(*family).is_some());
        for family in families {
            let gateway = lab.path(host, Host::Target, family)[0].address;
            for kind in ["ping", "traceroute"] {
                let name = format!("moving-{kind}.{}.lab.example", host.name());
                lab.add_to_zone(resolver_of(host), &turning(&name, gateway)).unwrap();
                let definition = json!({
                    "type": kind, "af": if gateway.is_ipv4() { 4 } else { 6 }, "target": name, "resolve_on_probe": true,
                    "packets": 1, "interval": 1, "spread": 0,
                });
                asked.push((host, json!([definition])));
            }
        }
    }
    // Not before all names are there: with each change of the zone every sequence begins anew.
    let begin =
        |(host, definitions)| (host, scene.owner.measure(&definitions, &scene.source(&[host]), false).unwrap()[0]);
    let running: Vec<(Host, u64)> = asked.into_iter().map(begin).collect();
    for (host, id) in running {
        let mut results = wait_for("a second run", || {
            let results = scene.owner.results(id)?;
            Ok((results.len() >= 2).then_some(results))
        })
        .unwrap();
        let answer = scene.owner.request("DELETE", &format!("/api/v2/measurements/{id}/"), None).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text);
        results.sort_by(|a, b| {
            a["sonde"]["planned"].as_f64().unwrap().total_cmp(&b["sonde"]["planned"].as_f64().unwrap())
        });
        for (n, result) in results.iter().enumerate() {
            assert_eq!(is_refusal(result), n > 0, "{host:?}, run {n}: {result}");
            scene::record(&format!("run {n} of a name that turns, {}", host.name()), result, n > 0).unwrap();
        }
    }
}

/// The probe's own resolver may be asked, also at a private address.
fn own_resolver(lab: &Lab, scene: &Scene<'_>) {
    lab.add_to_zone(DnsServer::NatGateway, "inside.lab.example TXT 60 \"inside\"").unwrap();
    let definition = json!({
        "type": "dns", "af": 4, "query_class": "IN", "query_type": "TXT", "query_argument": "inside.lab.example",
        "use_probe_resolver": true,
    });
    let id = scene.once(&[definition], &[Host::Nat]).unwrap()[0];
    let result = scene.one_each(&scene.owner, id, &[Host::Nat]).unwrap().remove(&Host::Nat).unwrap();
    let response = &result["resultset"][0];
    assert_eq!(response["dst_addr"], "192.168.7.1", "{result}");
    let log = lab.dns_log(DnsServer::NatGateway).unwrap();
    let sent = log.iter().find(|entry| entry.name == "inside.lab.example.").unwrap().answer.clone().unwrap();
    let abuf = BASE64.decode(response["result"]["abuf"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(HEXLOWER.encode(&abuf), HEXLOWER.encode(&sent));
    scene::record("own resolver at a private address", &result, false).unwrap();
}

/// The counter-check: what may be measured is.
fn allowed_targets(scene: &Scene<'_>) {
    for family in Family::ALL {
        let address = target(family);
        let definition = every_kind(address, &address.to_string(), &json!({})).remove(0);
        let hosts = scene.hosts(family);
        let id = scene.once(&[definition], &hosts).unwrap()[0];
        for (host, result) in scene.one_each(&scene.owner, id, &hosts).unwrap() {
            assert_eq!(result["rcvd"], 1, "{host:?}: {result}");
        }
    }
}
