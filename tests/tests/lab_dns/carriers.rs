//! The same question over everything that carries it gives the same answer, byte for byte but for the id, and that is the
//! answer that the server has sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sonde_tests::lab::{DnsServer, Family, Host, Lab, LabOptions};
use sonde_tests::scene::{self, Scene};

use crate::{CARRIERS, Carrier, bytes, definition, number, without_id};

const HOST: Host = Host::Dual;

/// What is asked: a word for it, and the fields of the definition.
fn questions(family: Family) -> Vec<(&'static str, Value)> {
    let name = |word: &str| format!("{word}-v{}.lab.example", number(family));
    vec![
        ("text", json!({"query_argument": name("text"), "udp_payload_size": 4096})),
        ("long text", json!({"query_argument": name("long"), "udp_payload_size": 4096, "set_rd_bit": true})),
        ("address", json!({"query_argument": "target.lab.example", "query_type": "AAAA"})),
        ("alias", json!({"query_argument": name("alias"), "query_type": 1, "set_do_bit": true})),
        ("no such name", json!({"query_argument": name("missing"), "set_cd_bit": true})),
        ("no such type", json!({"query_argument": name("text"), "query_type": "TYPE65"})),
        ("identity", json!({"query_argument": "version.bind", "query_class": "CHAOS", "set_nsid_bit": true})),
        ("identity by number", json!({"query_argument": "hostname.bind", "query_class": 3, "query_type": 16})),
        ("subnet", json!({"query_argument": name("text"), "default_client_subnet": true, "cookies": true})),
        ("macro", json!({"query_argument": "$p.text.lab.example", "use_macros": true})),
    ]
}

fn zone() -> String {
    let families = Family::ALL.map(number);
    let lines = families.map(|af| {
        let long: String = (0..12).map(|n| format!(" \"{}\"", char::from(b'a' + n).to_string().repeat(200))).collect();
        format!(
            "text-v{af}.lab.example TXT 60 \"hello\" \"there\"\nlong-v{af}.lab.example TXT 60{long}\n\
             alias-v{af}.lab.example CNAME 60 target.lab.example\n"
        )
    });
    lines.concat()
}

#[test]
fn the_same_answer_over_everything_that_carries_it() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    lab.add_to_zone(DnsServer::Lab, &zone()).unwrap();
    let scene = Scene::start(&lab, &[HOST]).unwrap();
    for family in Family::ALL {
        let server = Host::Dns.address(family).unwrap();
        let mut asked = Vec::new();
        for (word, fields) in questions(family) {
            for carrier in CARRIERS {
                let mut definition = definition(family, carrier, "", &fields);
                // By name too: what is asked is the same.
                let by_name = word == "text" && carrier.is_secure();
                definition["target"] = if by_name { json!("ns.lab.example") } else { json!(server) };
                asked.push((word, carrier, definition));
            }
        }
        let definitions: Vec<Value> = asked.iter().map(|(_, _, definition)| definition.clone()).collect();
        let ids = scene.once(&definitions, &[HOST]).unwrap();
        let mut first: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        let mut with_an_id: BTreeMap<&str, bool> = BTreeMap::new();
        for ((word, carrier, _), id) in asked.iter().zip(ids) {
            let name = format!("dns {word} over {}, {family:?}", carrier.name);
            let result = &scene.one_each(&scene.owner, id, &[HOST]).unwrap()[&HOST];
            let answer = check_answer(&lab, &name, *carrier, family, result);
            *with_an_id.entry(carrier.name).or_default() |= !answer.starts_with(&[0, 0]);
            let of_udp = first.entry(word).or_insert_with(|| answer.clone());
            assert_eq!(
                HEXLOWER.encode(without_id(&answer)),
                HEXLOWER.encode(without_id(of_udp)),
                "{name}: not as over UDP"
            );
            scene::record(&name, result, false).unwrap();
        }
        for carrier in CARRIERS {
            assert_eq!(with_an_id[carrier.name], !carrier.has_no_id(), "{}: the ids of its queries", carrier.name);
        }
        assert_eq!(first["long text"].len() / 1000, 2, "it would not fit into 512 bytes");
    }
}

/// The answer of one result, after everything in it has been held against the server's log and the path.
fn check_answer(lab: &Lab, name: &str, carrier: Carrier, family: Family, result: &Value) -> Vec<u8> {
    assert!(result.get("error").is_none(), "{name}: {result}");
    assert_eq!((&result["proto"], &result["dst_port"]), (&json!(carrier.proto), &json!(carrier.port)), "{name}");
    let (abuf, qbuf) = (bytes(&result["result"]["abuf"]), bytes(&result["qbuf"]));
    let log = lab.dns_log(DnsServer::Lab).unwrap();
    let client = HOST.public_address(family).unwrap();
    let server = SocketAddr::new(Host::Dns.address(family).unwrap(), carrier.port.parse().unwrap());
    let entry = log.iter().find(|entry| {
        entry.transport == carrier.name && entry.client.ip() == client && entry.server == server && entry.query == qbuf
    });
    let entry = entry.unwrap_or_else(|| panic!("{name}: nothing like it was asked: {result}"));
    assert_eq!(HEXLOWER.encode(&abuf), HEXLOWER.encode(entry.answer.as_ref().unwrap()), "{name}: not what was sent");
    assert_eq!(result["result"]["size"], abuf.len(), "{name}");
    // One in 65,536 random ids is 0 too: what has one is looked at below, all ids of a carrier together.
    assert!(!carrier.has_no_id() || abuf.starts_with(&[0, 0]), "{name}");
    check_times(lab, name, carrier, family, result);

    let extra = &result["sonde"];
    if carrier.is_secure() {
        assert_eq!(
            (&extra["transport"], &extra["tls_version"]),
            (&json!(carrier.name), &json!("1.3")),
            "{name}: {extra}"
        );
        assert_eq!(extra["cipher"].is_string(), carrier.name != "quic", "{name}: {extra}");
    } else {
        assert!(extra.get("transport").is_none(), "{name}: {extra}");
    }
    assert!(extra.get("strays").is_none(), "{name}: {extra}");
    abuf
}

/// No part of an exchange is faster than the path allows, and the parts make no more than the whole.
fn check_times(lab: &Lab, name: &str, carrier: Carrier, family: Family, result: &Value) {
    let answer = &result["result"];
    let floor = lab.rtt_floor(HOST, Host::Dns, family).unwrap().as_secs_f64() * 1e3;
    // Three decimals are printed.
    let least = |trips: u32| floor * f64::from(trips) - 0.001;
    let rt = answer["rt"].as_f64().unwrap();
    assert!(rt >= least(carrier.round_trips), "{name}: {rt} ms, {} round trips of {floor} ms", carrier.round_trips);
    let parts = ["ttc", "handshake", "query"].map(|part| answer["sonde"][part].as_f64());
    let has = parts.map(|part| part.is_some());
    let expected = match carrier.name {
        "udp" => [false, false, false],
        "tcp" => [true, false, true],
        "quic" => [false, true, true],
        _ => [true, true, true],
    };
    assert_eq!(has, expected, "{name}: {answer}");
    for part in parts.into_iter().flatten() {
        assert!(part >= least(1), "{name}: {answer}");
    }
    assert!(parts.into_iter().flatten().sum::<f64>() <= rt + 0.003, "{name}: {answer}");
}

#[test]
fn own_resolvers_are_asked_over_tls_and_quic_too() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    lab.add_to_zone(DnsServer::Lab, &zone()).unwrap();
    let scene = Scene::start(&lab, &[HOST]).unwrap();
    let own = json!({"use_probe_resolver": true});
    for family in Family::ALL {
        for carrier in CARRIERS.into_iter().filter(|carrier| carrier.port == "853") {
            let name = format!("text-v{}.lab.example", number(family));
            let id = scene.once(&[definition(family, carrier, &name, &own)], &[HOST]).unwrap()[0];
            let result = &scene.one_each(&scene.owner, id, &[HOST]).unwrap()[&HOST];
            let set = result["resultset"].as_array().unwrap();
            let asked: Vec<&Value> = set.iter().map(|one| &one["dst_addr"]).collect();
            let configured = lab.resolvers(HOST).into_iter().filter(|own| Family::of(*own) == family);
            assert_eq!(asked, configured.map(|own| json!(own)).collect::<Vec<_>>().iter().collect::<Vec<_>>());
            for one in set {
                assert_eq!(one["result"]["answers"][0]["RDATA"], json!(["hello", "there"]), "{result}");
                assert_eq!(
                    (&one["sonde"]["transport"], &one["dst_port"]),
                    (&json!(carrier.name), &json!("853")),
                    "{one}"
                );
            }
            scene::record(&format!("dns own resolvers over {}, {family:?}", carrier.name), result, false).unwrap();
        }
    }
    // At 443 a resolver is a web server like any other.
    let https = definition(Family::V4, CARRIERS[3], "x.example", &own);
    let refused = scene.once(&[https], &[HOST]).unwrap_err().to_string();
    assert!(refused.contains("/definitions/0/https") && refused.contains("53 and 853"), "{refused}");
}
