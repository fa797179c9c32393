//! What goes wrong in the world is a result: silence, names that do not exist, servers that do not answer. `is_error` of
//! RIPE's own parser follows from what is recorded here.

use serde_json::{Value, json};
use sonde_protocol::spec::Kind;
use sonde_tests::lab::{Family, Host, LabOptions};
use sonde_tests::scene::{self, Scene};

use crate::{HOSTS, definition, target, text_query};

/// A definition, whether the run as a whole fails, and what the result must be.
struct Case {
    name: &'static str,
    fails: bool,
    definition: Value,
    check: fn(Family, Host, &Value),
}

fn cases(family: Family) -> Vec<Case> {
    let case = |name, fails, definition, check| Case { name, fails, definition, check };
    let ping = |fields: Value| definition(Kind::Ping, family, &fields);
    let traceroute = |fields: Value| definition(Kind::Traceroute, family, &fields);
    let (mute, server) = (target(family, 2), Host::Dns.address(family).unwrap());
    let nowhere = json!({"target": "nowhere.lab.example", "resolve_on_probe": true});
    let dns = |name, fields: Value| text_query(family, name, &fields);
    // Silence is waited for; whatever else comes has all the time that it needs.
    let quiet = |mut fields: Value| {
        fields["timeout"] = json!(300);
        text_query(family, "quiet.lab.example", &fields)
    };
    vec![
        case(
            "silent target",
            false,
            ping(json!({"target": mute, "packets": 2, "packet_interval": 20})),
            |_, _, result| {
                assert_eq!((&result["sent"], &result["rcvd"]), (&json!(2), &json!(0)), "{result}");
                assert_eq!(result["result"], json!([{"x": "*"}, {"x": "*"}]), "{result}");
                assert_eq!((&result["min"], &result["avg"], &result["max"]), (&json!(-1), &json!(-1), &json!(-1)));
            },
        ),
        case(
            "path to a silent target",
            false,
            traceroute(json!({"target": mute, "packets": 1, "max_hops": 6, "response_timeout": 1000})),
            |_, host, result| {
                let hops = result["result"].as_array().unwrap();
                let numbers: Vec<&Value> = hops.iter().map(|hop| &hop["hop"]).collect();
                assert_eq!(numbers, [1, 2, 3, 4, 5, 6], "{result}");
                // The target would be hop 4, or 5 behind a household's router.
                let target = if matches!(host, Host::Dual | Host::Nat) { 5 } else { 4 };
                for (number, hop) in (1..).zip(hops) {
                    let reply = &hop["result"][0];
                    let is_silent = *reply == json!({"x": "*"});
                    assert_eq!(is_silent, number >= target, "{host:?}, hop {number}: {result}");
                }
            },
        ),
        case("ping to no name", true, ping(nowhere.clone()), |_, _, result| {
            let words = result["result"][0]["error"].as_str().unwrap_or_default();
            assert!(words.starts_with("dns resolution failed"), "{result}");
            assert_eq!((&result["sent"], &result["dst_name"]), (&json!(0), &json!("nowhere.lab.example")), "{result}");
            assert!(result["sonde"]["error"].is_string() && result.get("dst_addr").is_none(), "{result}");
        }),
        case("traceroute to no name", true, traceroute(nowhere.clone()), |_, _, result| {
            let words = result["result"][0]["error"].as_str().unwrap_or_default();
            assert!(words.starts_with("name resolution failed"), "{result}");
            assert!(result["sonde"]["error"].is_string() && result.get("dst_addr").is_none(), "{result}");
        }),
        case("dns at no name", true, dns("x.lab.example", nowhere), |_, _, result| {
            assert!(result["error"]["getaddrinfo"].is_string(), "{result}");
        }),
        case("NXDOMAIN", false, dns("missing.lab.example", json!({"target": server})), |_, _, result| {
            let answer = data_encoding::BASE64.decode(result["result"]["abuf"].as_str().unwrap().as_bytes()).unwrap();
            assert_eq!(answer[3] & 0xf, 3, "an answer as any other: {result}");
            assert_eq!(
                (&result["result"]["ANCOUNT"], &result["result"]["NSCOUNT"]),
                (&json!(0), &json!(1)),
                "{result}"
            );
            assert!(result.get("error").is_none(), "{result}");
        }),
        case("SERVFAIL", false, dns("broken.lab.example", json!({"target": server})), |_, _, result| {
            assert!(result["result"]["abuf"].is_string() && result.get("error").is_none(), "{result}");
        }),
        case("silent server", true, quiet(json!({"target": server, "retry": 1})), |_, _, result| {
            assert_eq!((&result["error"], &result["retry"]), (&json!({"timeout": 300}), &json!(1)), "{result}");
        }),
        case("silent server, TCP", true, quiet(json!({"target": server, "protocol": "TCP"})), |_, _, result| {
            assert!(result["error"].is_object() && result.get("result").is_none(), "{result}");
        }),
        case(
            "nobody at the port",
            true,
            dns("x.lab.example", json!({"target": target(family, 0), "protocol": "TCP"})),
            |_, _, result| {
                assert!(result["error"]["TUCONNECT"].is_string(), "{result}");
            },
        ),
        // An error of one resolver is no error of the run, which was to ask all of them.
        case("silent own resolver", false, quiet(json!({"use_probe_resolver": true})), |_, _, result| {
            assert_eq!(result["resultset"][0]["error"], json!({"timeout": 300}), "{result}");
        }),
    ]
}

#[test]
fn failures_are_results_in_atlas_words() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    for server in [sonde_tests::lab::DnsServer::Lab, sonde_tests::lab::DnsServer::NatGateway] {
        lab.add_to_zone(server, "quiet.lab.example SILENT\nbroken.lab.example SERVFAIL").unwrap();
    }
    let mute = |family| target(family, 2);
    lab.host(Host::Target)
        .nft(&format!(
            "table inet mute {{ chain in {{ type filter hook input priority 0; ip daddr {} drop; ip6 daddr {} drop; }}; }}",
            mute(Family::V4),
            mute(Family::V6)
        ))
        .unwrap();
    let scene = Scene::start(&lab, &HOSTS).unwrap();
    for family in Family::ALL {
        let (cases, hosts) = (cases(family), scene.hosts(family));
        let definitions: Vec<Value> = cases.iter().map(|case| case.definition.clone()).collect();
        let ids = scene.once(&definitions, &hosts).unwrap();
        for (case, id) in cases.iter().zip(ids) {
            for (host, result) in scene.one_each(&scene.owner, id, &hosts).unwrap() {
                (case.check)(family, host, &result);
                let name = format!("{}, {} over {family:?}", case.name, host.name());
                scene::record(&name, &result, case.fails).unwrap();
            }
        }
    }
}

/// A family that the host does not have: no packet can be sent, and every result says so. For ping and traceroute these are
/// errors of packets, as in Atlas; dns has nothing but its one query.
#[test]
fn a_family_that_the_host_lacks_is_told_in_words() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    let scene = Scene::start(&lab, &HOSTS).unwrap();
    for family in Family::ALL {
        let hosts: Vec<Host> = HOSTS.into_iter().filter(|host| host.address(family).is_none()).collect();
        let address = target(family, 0);
        let ping = json!({"target": address, "packets": 2, "packet_interval": 20});
        let cases = [
            (definition(Kind::Ping, family, &ping), false, "/result/1/error"),
            (definition(Kind::Traceroute, family, &json!({"target": address})), false, "/result/0/result/2/error"),
            (
                definition(Kind::Traceroute, family, &json!({"target": address, "protocol": "ICMP"})),
                false,
                "/result/0/result/2/error",
            ),
            (text_query(family, "x.lab.example", &json!({"target": address})), true, "/error/senderror"),
            (
                text_query(family, "x.lab.example", &json!({"target": address, "protocol": "TCP"})),
                true,
                "/error/TUCONNECT",
            ),
            (text_query(family, "x.lab.example", &json!({"use_probe_resolver": true})), true, "/error/getaddrinfo"),
        ];
        let definitions: Vec<Value> = cases.iter().map(|(definition, ..)| definition.clone()).collect();
        let ids = scene.once(&definitions, &hosts).unwrap();
        for ((definition, fails, place), id) in cases.iter().zip(ids) {
            for (host, result) in scene.one_each(&scene.owner, id, &hosts).unwrap() {
                // Behind the NAT IPv6 is switched off; elsewhere there is no route.
                let reason =
                    if host == Host::Nat { "Cannot assign requested address" } else { "Network is unreachable" };
                let words = result.pointer(place).and_then(Value::as_str).unwrap_or_default();
                let is_told = words.ends_with(reason) || words.starts_with("no resolver with an IPv");
                assert!(is_told, "{host:?}: {definition} gave {result}");
                assert!(result["type"] != "ping" || (result["sent"] == 0 && result["rcvd"] == 0), "{result}");
                scene::record(&format!("family {family:?} lacking, {}", host.name()), &result, *fails).unwrap();
            }
        }
    }
}
