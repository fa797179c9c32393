//! What goes wrong, over everything that carries a query: each has its word, and what came is kept.

use serde_json::{Value, json};
use sonde_tests::lab::{DnsServer, Family, Host, LabOptions};
use sonde_tests::scene::{self, Scene};

use crate::{CARRIERS, Carrier, bytes, definition, without_id};

const HOST: Host = Host::Dual;

const ZONE: &str = "odd.lab.example TXT 60 \"odd\"\nodd.lab.example ODDID\n\
                    noise.lab.example GARBAGE\n\
                    close.lab.example TXT 60 \"close\"\nclose.lab.example CLOSE\n\
                    half.lab.example TXT 60 \"half\"\nhalf.lab.example HALF\n\
                    quiet.lab.example SILENT\n\
                    slow.lab.example TXT 60 \"slow\"\nslow.lab.example DELAY 300\n\
                    fine.lab.example TXT 60 \"fine\"\n\
                    sick.lab.example TXT 60 \"sick\"\nsick.lab.example HTTP 500\n\
                    page.lab.example TXT 60 \"page\"\npage.lab.example MEDIA text/html\n";

/// A failure: for which carriers, the name asked for, fields, and what the result must be.
struct Case {
    carriers: &'static [&'static str],
    name: &'static str,
    fields: Value,
    check: fn(Carrier, &Value),
}

/// One member of `error`, which must be the only one but for `idmismatch`.
fn says(result: &Value, key: &str, words: &[&str]) {
    let text = result["error"][key].as_str().unwrap_or_else(|| panic!("no {key} in {result}"));
    assert!(words.iter().any(|words| text.contains(words)), "{text:?} is none of {words:?}: {result}");
    assert!(result.get("result").is_none(), "{result}");
}

fn cases(family: Family) -> Vec<Case> {
    let server = Host::Dns.address(family).unwrap();
    let target = json!({"target": server});
    let with = |more: Value| {
        let mut fields = target.clone();
        more.as_object().unwrap().iter().for_each(|(key, value)| fields[key] = value.clone());
        fields
    };
    let case = |carriers, name, fields, check| Case { carriers, name, fields, check };
    let (connected, secure): (&[_], &[_]) = (&["tcp", "tls", "https", "quic"], &["tls", "https", "quic"]);
    let all: &[_] = &["udp", "tcp", "tls", "https", "quic"];
    vec![
        case(connected, "odd", target.clone(), |carrier, result| {
            says(result, "TU_READ_ERR", &["the answer's id is not the query's"]);
            assert_eq!(result["error"]["idmismatch"], 1, "{result}");
            let stray = &result["sonde"]["strays"][0];
            assert_eq!((&stray["what"], &stray["port"]), (&json!("id"), &json!(carrier.port.parse::<u16>().unwrap())));
            assert!(without_id(&bytes(&stray["abuf"])).ends_with(b"\x03odd"), "kept: {result}");
        }),
        case(connected, "close", target.clone(), |carrier, result| {
            let words: &[_] = match carrier.name {
                "https" => &["stream error", "INTERNAL_ERROR", "internal error"],
                "quic" => &["no answer today"],
                _ => &["connection closed without an answer"],
            };
            says(result, "TU_READ_ERR", words);
        }),
        case(connected, "half", target.clone(), |carrier, result| {
            let words: &[_] = match carrier.name {
                "https" => &["stream error", "INTERNAL_ERROR", "internal error"],
                _ => &["connection closed after 25 of 51 bytes"],
            };
            says(result, "TU_READ_ERR", words);
        }),
        case(all, "quiet", with(json!({"timeout": 400, "retry": 1})), |_, result| {
            assert_eq!((&result["error"], &result["retry"]), (&json!({"timeout": 400}), &json!(1)), "{result}");
        }),
        case(&["https"], "sick", target.clone(), |_, result| {
            says(result, "TU_READ_ERR", &["HTTP status 500"]);
            let stray = &result["sonde"]["strays"][0];
            assert_eq!(stray["what"], "http status", "{result}");
            assert!(bytes(&stray["abuf"]).ends_with(b"\x04sick"), "kept: {result}");
        }),
        case(&["https"], "page", target.clone(), |_, result| {
            says(result, "TU_READ_ERR", &["the content type is text/html"]);
            assert_eq!(result["sonde"]["strays"][0]["what"], "content type", "{result}");
        }),
        case(&["https"], "fine", with(json!({"path": "/elsewhere"})), |_, result| {
            says(result, "TU_READ_ERR", &["HTTP status 404"]);
        }),
        // Nobody speaks the protocol that is asked for there.
        case(&["https"], "fine", with(json!({"port": 853})), |_, result| {
            says(result, "TUCONNECT", &["TLS handshake failed"]);
            assert!(result["sonde"].get("tls_version").is_none(), "{result}");
        }),
        case(&["tls", "https"], "fine", with(json!({"port": 53, "timeout": 400})), |_, result| {
            // It waits for the query that our hello seems to announce.
            assert_eq!(result["error"], json!({"timeout": 400}), "{result}");
        }),
        case(
            &["tcp", "tls", "https"],
            "fine",
            json!({"target": Host::Target.address(family).unwrap()}),
            |_, result| {
                says(result, "TUCONNECT", &["Connection refused"]);
            },
        ),
        case(
            &["quic"],
            "fine",
            json!({"target": Host::Target.address(family).unwrap(), "timeout": 400}),
            |_, result| {
                assert_eq!(result["error"], json!({"timeout": 400}), "{result}");
            },
        ),
        case(secure, "fine", json!({"target": "nowhere.lab.example", "resolve_on_probe": true}), |carrier, result| {
            assert!(result["error"]["getaddrinfo"].is_string(), "{result}");
            assert_eq!((&result["proto"], &result["dst_port"]), (&json!(carrier.proto), &json!(carrier.port)));
        }),
        case(secure, "fine", with(json!({"hostname": "not a name"})), |carrier, result| {
            let key = if result["error"].get("senderror").is_some() { "senderror" } else { "TUCONNECT" };
            says(result, key, &["not a name", "invalid"]);
            assert!(carrier.is_secure());
        }),
    ]
}

#[test]
fn every_failure_has_its_word_whatever_carries_the_query() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    lab.add_to_zone(DnsServer::Lab, ZONE).unwrap();
    let scene = Scene::start(&lab, &[HOST]).unwrap();
    for family in Family::ALL {
        let mut asked = Vec::new();
        for case in cases(family) {
            for carrier in CARRIERS.into_iter().filter(|carrier| case.carriers.contains(&carrier.name)) {
                let name = format!("{}.lab.example", case.name);
                asked.push((carrier, case.name, case.check, definition(family, carrier, &name, &case.fields)));
            }
        }
        let definitions: Vec<Value> = asked.iter().map(|(.., definition)| definition.clone()).collect();
        let ids = scene.once(&definitions, &[HOST]).unwrap();
        for ((carrier, name, check, _), id) in asked.iter().zip(ids) {
            let result = &scene.one_each(&scene.owner, id, &[HOST]).unwrap()[&HOST];
            check(*carrier, result);
            assert_eq!(
                result["sonde"]["transport"] == carrier.name,
                carrier.is_secure() && result.get("dst_addr").is_some() && result["error"].get("getaddrinfo").is_none(),
                "{result}"
            );
            scene::record(&format!("dns failure: {name} over {}, {family:?}", carrier.name), result, true).unwrap();
        }
    }
}

#[test]
fn late_answers_and_bytes_that_are_no_message_are_answers() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    lab.add_to_zone(DnsServer::Lab, ZONE).unwrap();
    let scene = Scene::start(&lab, &[HOST]).unwrap();
    for family in Family::ALL {
        let target = json!({"target": Host::Dns.address(family).unwrap()});
        for carrier in CARRIERS {
            let names = ["slow.lab.example", "noise.lab.example"];
            let definitions = names.map(|name| definition(family, carrier, name, &target));
            let ids = scene.once(&definitions, &[HOST]).unwrap();
            let [slow, noise] =
                [0, 1].map(|n| scene.one_each(&scene.owner, ids[n], &[HOST]).unwrap().remove(&HOST).unwrap());
            assert_eq!(slow["result"]["answers"][0]["RDATA"], json!(["slow"]), "{slow}");
            assert!(slow["result"]["rt"].as_f64() >= Some(300.0), "{slow}");
            scene::record(&format!("dns slow over {}, {family:?}", carrier.name), &slow, false).unwrap();

            // RIPE's parser calls such a message malformed, as it would Atlas's: so it is not recorded.
            let log = lab.dns_log(DnsServer::Lab).unwrap();
            let sent = log.iter().rev().find(|entry| {
                entry.name == "noise.lab.example."
                    && entry.transport == carrier.name
                    && entry.query == bytes(&noise["qbuf"])
            });
            let abuf = bytes(&noise["result"]["abuf"]);
            assert_eq!(Some(&abuf), sent.unwrap().answer.as_ref(), "{noise}");
            assert!(abuf.len() == 40 && abuf.ends_with(&[0xff; 37]), "{noise}");
        }
    }
}
