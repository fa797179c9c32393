//! One-offs of every kind, over both families, from every host: exactly one result each, true in every number that the lab
//! knows, and for the public without what is the host's own business.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value, json};
use sonde_protocol::spec::Kind;
use sonde_tests::lab::{DnsLogEntry, DnsServer, Family, Host, Lab, LabOptions};
use sonde_tests::scene::{self, Scene, address};

use crate::truth::{SIZE_SEEN_WHOLE, Truth};
use crate::{HOSTS, definition, number, target, text_query};

/// Further facts about a case.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// As asked.
    Plain,
    /// dns whose answer does not fit into UDP.
    Truncated,
    /// dns of the probe's own resolvers.
    OwnResolver,
    /// The probe resolves the target's name.
    ResolvedByProbe,
}

/// One definition and what it is about.
struct Case {
    name: &'static str,
    kind: Kind,
    how: How,
    /// Who is measured; for a probe's own resolvers the lab says who they are.
    dst: IpAddr,
    definition: Value,
}

/// The name that a dns case asks for.
fn query_name(case: &str, family: Family) -> String {
    format!("{}-v{}.lab.example", case.replace(' ', "-"), number(family))
}

fn cases(family: Family) -> Vec<Case> {
    let case = |name, kind, how, dst, definition| Case { name, kind, how, dst, definition };
    let ping = |name, dst: IpAddr, target: &str| {
        let fields = json!({"target": target, "packets": 3, "packet_interval": 20});
        case(name, Kind::Ping, How::Plain, dst, definition(Kind::Ping, family, &fields))
    };
    let traceroute = |name, protocol: &str, how, dst: IpAddr, target: &str| {
        let fields = json!({
            "target": target, "protocol": protocol, "packets": 2, "size": SIZE_SEEN_WHOLE,
            "resolve_on_probe": how == How::ResolvedByProbe,
        });
        case(name, Kind::Traceroute, how, dst, definition(Kind::Traceroute, family, &fields))
    };
    let server = Host::Dns.address(family).unwrap();
    let dns = |name, how, fields: Value| {
        let mut fields = fields;
        fields["include_qbuf"] = json!(true);
        if how != How::OwnResolver {
            fields["target"] = json!(server);
        }
        case(name, Kind::Dns, how, server, text_query(family, &query_name(name, family), &fields))
    };
    let dst = |which| target(family, which);
    vec![
        ping("ping", dst(0), &dst(0).to_string()),
        ping("ping by name", dst(2), "target3.lab.example"),
        traceroute("traceroute udp", "UDP", How::Plain, dst(0), &dst(0).to_string()),
        traceroute("traceroute icmp", "ICMP", How::Plain, dst(1), &dst(1).to_string()),
        traceroute("traceroute tcp", "TCP", How::Plain, dst(0), &dst(0).to_string()),
        traceroute("traceroute by own name", "UDP", How::ResolvedByProbe, dst(1), "target2.lab.example"),
        dns("dns udp", How::Plain, json!({"udp_payload_size": 1232, "set_nsid_bit": true})),
        dns("dns tcp", How::Plain, json!({"protocol": "TCP"})),
        dns("dns truncated", How::Truncated, json!({})),
        dns("dns own resolver", How::OwnResolver, json!({"use_probe_resolver": true})),
    ]
}

/// The names that the dns cases ask for.
fn zone() -> String {
    let mut zone = String::new();
    for family in Family::ALL {
        for case in cases(family).iter().filter(|case| case.kind == Kind::Dns) {
            let name = query_name(case.name, family);
            zone.push_str(&format!("{name} TXT 60 \"{}\" \"{}\"\n", case.name, "x".repeat(200)));
            if case.how == How::Truncated {
                zone.push_str(&format!("{name} TRUNCATE\n"));
            }
        }
    }
    zone
}

#[test]
fn every_kind_once_from_every_host_over_both_families() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    for server in [DnsServer::Lab, DnsServer::NatGateway] {
        lab.add_to_zone(server, &zone()).unwrap();
    }
    let scene = Scene::start(&lab, &HOSTS).unwrap();
    let mut asked: Vec<(Family, Case, u64)> = Vec::new();
    for family in Family::ALL {
        let cases = cases(family);
        let definitions: Vec<Value> = cases.iter().map(|case| case.definition.clone()).collect();
        let ids = scene.once(&definitions, &scene.hosts(family)).unwrap();
        assert_eq!(ids.len(), cases.len());
        asked.extend(cases.into_iter().zip(ids).map(|(case, id)| (family, case, id)));
    }
    let results: Vec<BTreeMap<Host, Value>> =
        asked.iter().map(|(family, _, id)| scene.one_each(&scene.owner, *id, &scene.hosts(*family)).unwrap()).collect();

    let mut truth = Truth::now(&lab);
    for ((family, case, id), results) in asked.iter().zip(&results) {
        let shown = scene.one_each(&scene.public, *id, &scene.hosts(*family)).unwrap();
        for (host, result) in results {
            let name = format!("{}, {} over {family:?}", case.name, host.name());
            check_head(&name, case, *family, *host, *id, &scene, result);
            match case.kind {
                Kind::Ping => truth.check_pings(*host, case.dst, &[result]),
                Kind::Traceroute => truth.check_traceroutes(*host, case.dst, &[result]),
                _ => check_dns(&lab, &mut truth, case, *family, *host, result),
            }
            assert_eq!(shown[host], masked(*host, result), "what the public sees of {name}");
            scene::record(&name, result, false).unwrap();
            scene::record(&format!("{name}, public"), &shown[host], false).unwrap();
        }
    }
    truth.print_excess("one-offs");

    // Once is once: what each probe reports after this, everything else has been reported before.
    for family in Family::ALL {
        let hosts = scene.hosts(family);
        let last = scene.once(&[cases(family).remove(0).definition], &hosts).unwrap()[0];
        scene.one_each(&scene.owner, last, &hosts).unwrap();
    }
    for ((_, case, id), results) in asked.iter().zip(&results) {
        assert_eq!(scene.owner.results(*id).unwrap().len(), results.len(), "{}", case.name);
    }
}

/// The members that all kinds have.
fn check_head(name: &str, case: &Case, family: Family, host: Host, id: u64, scene: &Scene<'_>, result: &Value) {
    assert_eq!(result["prb_id"], scene.number(host), "{name}");
    assert_eq!(result["msm_id"], id, "{name}");
    // The probes are of the same version as this test.
    assert_eq!((&result["fw"], &result["mver"]), (&json!(6000), &json!(env!("CARGO_PKG_VERSION"))), "{name}");
    assert_eq!(result["type"], case.kind.name(), "{name}");
    // The probe may have reached its collector by either family.
    let from = address(result, "from").unwrap();
    assert!(Family::ALL.iter().any(|family| host.public_address(*family) == Some(from)), "{name}: from {from}");
    let server = if case.how == How::OwnResolver { &result["resultset"][0] } else { result };
    assert_eq!(server["af"], number(family), "{name}: {result}");
    assert_eq!(server["src_addr"], json!(host.address(family)), "{name}: {result}");
    if case.how != How::OwnResolver {
        assert_eq!(address(result, "dst_addr").unwrap(), case.dst, "{name}: {result}");
    }
    assert_eq!(result["ttr"].is_number(), case.how == How::ResolvedByProbe, "{name}: {result}");
    assert!(result["sonde"]["started"].as_f64() >= result["sonde"]["planned"].as_f64(), "{name}: {result}");
}

/// The answer is byte by byte what the server says that it sent, and the query what it says that it got.
fn check_dns(lab: &Lab, truth: &mut Truth<'_>, case: &Case, family: Family, host: Host, result: &Value) {
    let (server, client, response) = match case.how {
        How::OwnResolver => {
            let all = result["resultset"].as_array().unwrap();
            let asked: Vec<IpAddr> = all.iter().map(|one| address(one, "dst_addr").unwrap()).collect();
            let own: Vec<IpAddr> = lab.resolvers(host).into_iter().filter(|own| Family::of(*own) == family).collect();
            assert_eq!(asked, own, "every resolver of the family, and no other");
            if host == Host::Nat {
                (DnsServer::NatGateway, host.address(family), &all[0])
            } else {
                (DnsServer::Lab, host.public_address(family), &all[0])
            }
        }
        _ => (DnsServer::Lab, host.public_address(family), result),
    };
    let name = format!("{}.", query_name(case.name, family));
    let log = lab.dns_log(server).unwrap();
    let is_ours = |entry: &&DnsLogEntry| entry.name == name && Some(entry.client.ip()) == client;
    let entries: Vec<&DnsLogEntry> = log.iter().filter(is_ours).collect();
    let transports: Vec<&str> = entries.iter().map(|entry| entry.transport.as_str()).collect();
    let (expected, protocol): (&[&str], _) = match (case.name, case.how) {
        (_, How::Truncated) => (&["udp", "tcp"], "TCP"),
        ("dns tcp", _) => (&["tcp"], "TCP"),
        _ => (&["udp"], "UDP"),
    };
    assert_eq!(transports, expected, "{host:?}, {name}");
    assert_eq!(response["proto"], protocol, "{response}");

    let last = entries[entries.len() - 1];
    let answer = &response["result"];
    let bytes = |value: &Value| BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap();
    let (abuf, sent) = (bytes(&answer["abuf"]), last.answer.clone().unwrap());
    assert_eq!(HEXLOWER.encode(&abuf), HEXLOWER.encode(&sent), "{host:?}, {name}");
    assert_eq!(HEXLOWER.encode(&bytes(&response["qbuf"])), HEXLOWER.encode(&last.query), "{host:?}, {name}");
    assert_eq!(answer["size"], sent.len());
    assert_eq!(answer["ANCOUNT"], 1, "{response}");
    assert_eq!(answer["answers"][0]["RDATA"][0], case.name, "{response}");
    assert_eq!(answer["sonde"]["truncated_first"] == true, case.how == How::Truncated, "{response}");
    truth.check_dns_time(host, last.client, last.server, answer);
}

/// A result of a probe on `host` as everybody may see it: of the addresses that are the host's own business, or next to it,
/// the network alone.
fn masked(host: Host, result: &Value) -> Value {
    let own: Vec<IpAddr> = Family::ALL
        .into_iter()
        .flat_map(|family| [host.address(family), host.public_address(family)])
        .flatten()
        .collect();
    let is_near = |address: IpAddr| {
        let is_private = matches!(address, IpAddr::V4(v4) if v4.is_private());
        is_private || own.iter().any(|own| network(*own) == network(address))
    };
    let hide = |value: &mut Value, when: &dyn Fn(IpAddr) -> bool| {
        let Some(address) = value.as_str().and_then(|text| text.parse().ok()) else { return };
        if when(address) {
            *value = json!(network(address));
        }
    };
    let mut shown = result.clone();
    hide(&mut shown["from"], &|_| true);
    let dst = result["dst_addr"].as_str().and_then(|text| text.parse::<IpAddr>().ok());
    if result.get("src_addr").is_some() {
        hide(&mut shown["src_addr"], &|_| true);
    }
    let hops = shown.get_mut("result").and_then(Value::as_array_mut).into_iter().flatten();
    for hop in hops.filter(|hop| hop.get("hop").is_some()) {
        let is_first = hop["hop"] == 1;
        for reply in hop["result"].as_array_mut().into_iter().flatten() {
            hide(&mut reply["from"], &|from| Some(from) != dst && (is_first || is_near(from)));
        }
    }
    for response in shown.get_mut("resultset").and_then(Value::as_array_mut).into_iter().flatten() {
        hide(&mut response["src_addr"], &|_| true);
        hide(&mut response["dst_addr"], &is_near);
    }
    shown
}

/// The /24 or /48 of an address.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into()
        }
    }
}
