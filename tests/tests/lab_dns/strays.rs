//! What comes besides the answer, and from others than the server, is reported beside it.

use std::net::IpAddr;

use serde_json::{Value, json};
use sonde_tests::lab::{DnsServer, Family, Host, Lab, LabOptions};
use sonde_tests::scene::{self, Scene};

use crate::{CARRIERS, bytes, definition, number, without_id};

const HOST: Host = Host::Dual;

/// A second address of the server, of the same network.
fn elsewhere(family: Family) -> IpAddr {
    match family {
        Family::V4 => "20.21.1.54".parse().unwrap(),
        Family::V6 => "2a0e:5a00:201:1::54".parse().unwrap(),
    }
}

fn give_elsewhere(lab: &Lab) {
    for family in Family::ALL {
        let (length, more) = if family == Family::V4 { (24, "") } else { (64, "nodad") };
        let script = format!("addr add {}/{length} dev eth0 {more}\n", elsewhere(family));
        let family = if family == Family::V4 { "-4" } else { "-6" };
        lab.host(Host::Dns).feed("ip", &[family, "-batch", "-"], &script).unwrap();
    }
}

#[test]
fn what_is_no_answer_is_reported_beside_the_answer() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    give_elsewhere(&lab);
    // A trick, what is said of it, whose address it comes from, from the server's port?
    let tricks =
        [("forge", "id", false, true), ("echo", "no response", false, true), ("aside", "source", false, false)];
    let all = tricks.into_iter().chain([("elsewhere", "source", true, true)]);
    let name = |trick: &str, family| format!("{trick}-v{}.lab.example", number(family));
    for family in Family::ALL {
        for trick in ["forge", "echo", "aside", "elsewhere", "cut"] {
            let name = name(trick, family);
            let word = match trick {
                "elsewhere" => format!("ELSEWHERE {}", elsewhere(family)),
                "cut" => format!("FORGE\n{name} TRUNCATE"),
                _ => trick.to_ascii_uppercase(),
            };
            lab.add_to_zone(DnsServer::Lab, &format!("{name} TXT 60 \"{trick}\"\n{name} {word}")).unwrap();
        }
        lab.add_to_zone(DnsServer::Lab, &format!("{} ODDID", name("odd", family))).unwrap();
    }
    let scene = Scene::start(&lab, &[HOST]).unwrap();
    for family in Family::ALL {
        let server = Host::Dns.address(family).unwrap();
        let target = json!({"target": server});
        let ask = |name: &str, fields: &Value| {
            let id = scene.once(&[definition(family, CARRIERS[0], name, fields)], &[HOST]).unwrap()[0];
            scene.one_each(&scene.owner, id, &[HOST]).unwrap().remove(&HOST).unwrap()
        };
        for (trick, what, is_elsewhere, at_port) in all.clone() {
            let result = ask(&name(trick, family), &target);
            assert_eq!(result["result"]["answers"][0]["RDATA"], json!([trick]), "{result}");
            let extra = &result["sonde"];
            assert_eq!(extra["strays_seen"], 1, "{result}");
            let [stray] = extra["strays"].as_array().unwrap().as_slice() else { panic!("{result}") };
            let from = if is_elsewhere { elsewhere(family) } else { server };
            assert_eq!((&stray["what"], &stray["from"]), (&json!(what), &json!(from)), "{result}");
            assert_eq!(stray["port"] == 53, at_port, "{result}");
            let (abuf, seen) = (bytes(&result["result"]["abuf"]), bytes(&stray["abuf"]));
            assert_eq!(stray["size"], seen.len());
            match what {
                "no response" => assert_eq!(seen, bytes(&result["qbuf"]), "the query itself: {result}"),
                "id" => assert!(without_id(&seen) == without_id(&abuf) && seen != abuf, "{result}"),
                _ => assert_eq!(seen, abuf, "{result}"),
            }
            assert!(stray["after"].as_f64() <= result["result"]["rt"].as_f64(), "{result}");
            scene::record(&format!("dns among strays: {trick}, {family:?}"), &result, false).unwrap();
        }

        let cut = ask(&name("cut", family), &target);
        assert_eq!((&cut["proto"], &cut["sonde"]["strays"][0]["what"]), (&json!("TCP"), &json!("id")), "{cut}");
        assert_eq!(cut["result"]["answers"][0]["RDATA"], json!(["cut"]), "{cut}");
        scene::record(&format!("dns truncated among strays, {family:?}"), &cut, false).unwrap();

        let odd =
            ask(&name("odd", family), &json!({"target": server, "timeout": 300, "retry": 1, "include_abuf": false}));
        assert_eq!(odd["error"], json!({"timeout": 300, "idmismatch": 2}), "{odd}");
        assert_eq!((&odd["sonde"]["strays_seen"], &odd["retry"]), (&json!(2), &json!(1)), "{odd}");
        assert!(odd["sonde"]["strays"][1].get("abuf").is_none(), "not asked for: {odd}");
        scene::record(&format!("dns silence but for strays, {family:?}"), &odd, true).unwrap();
    }
}
