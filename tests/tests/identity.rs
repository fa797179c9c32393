//! Who a probe is and whose, with the real programs on loopback: claims, used tokens, open networks, another board in an old
//! one's place, copied cards, and another key.

// What cannot go on here has failed the test.
#![expect(clippy::unwrap_used, reason = "an error must end the test")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sonde_protocol::bounded::List;
use sonde_protocol::directory::{Collector, NetworkFile};
use sonde_tests::loopback::Loopback;
use sonde_tests::world::{EMAIL, Probe, program, wait_for};

/// Waits until the probe shows a claim code, in this state. Gives the code.
fn code_of(probe: &mut Probe<'_>, state: &str) -> String {
    let shown =
        probe.wait_status("a claim code", |status| status["state"] == state && status["claim_code"].is_string());
    let shown = shown.unwrap();
    let code = shown["claim_code"].as_str().unwrap().to_owned();
    let words = if state == "waiting" { &shown["why"] } else { &shown["key_note"] };
    assert!(words.as_str().unwrap().contains(&code), "{shown}");
    code
}

/// The beginning of a probe's key.
fn fingerprint(probe: &Probe<'_>) -> String {
    let status = probe.status().unwrap().unwrap();
    status["key"].as_str().unwrap()[..11].to_owned()
}

fn record(network: &Loopback, number: u64) -> Value {
    network.client.get(&format!("/api/v2/probes/{number}/")).unwrap()
}

/// Pings once from this probe and waits for the result.
fn measures(network: &Loopback, number: u64) {
    let ping = json!([{"type": "ping", "af": 4, "target": "127.0.0.1", "packets": 1}]);
    let probes = json!([{"type": "probes", "value": number.to_string(), "requested": 1}]);
    let id = network.client.measure(&ping, &probes, true).unwrap()[0];
    let results = network.client.wait_results(id, 1).unwrap();
    assert_eq!((results.len(), &results[0]["prb_id"]), (1, &json!(number)));
}

fn post(network: &Loopback, path: &str, body: &Value) -> (u16, Value) {
    let answer = network.client.request("POST", path, Some(body)).unwrap();
    (answer.status, answer.json)
}

fn claim(network: &Loopback, code: &str) -> Value {
    let (status, claimed) = post(network, "/api/v2/probes/claim/", &json!({"code": code}));
    assert_eq!(status, 201, "{claimed}");
    claimed
}

#[test]
fn a_probe_without_a_token_waits_until_somebody_claims_it() {
    let network = Loopback::start(0).unwrap();
    let mut probe = network.stranger("stranger", None).unwrap();
    let code = code_of(&mut probe, "waiting");
    let key = fingerprint(&probe);
    let listed = network.server.admin(&["probe", "pending"]).unwrap();
    assert!(listed.starts_with(&format!("{code} key {key} for anybody")), "both sides show the same: {listed}");
    let doctor = Command::new(program("sonde-probe").unwrap()).args(["doctor", "--state"]).arg(probe.state()).output();
    let said = String::from_utf8(doctor.unwrap().stdout).unwrap();
    assert!(said.contains("waiting to be claimed") && said.contains(&code), "{said}");
    assert_eq!(post(&network, "/api/v2/probes/claim/", &json!({"code": "2222-2222"})).0, 400);
    // It waits on, through a restart of either side, with the same code.
    probe.kill().unwrap();
    probe.restart().unwrap();
    assert_eq!(code_of(&mut probe, "waiting"), code);

    let claimed = claim(&network, &code);
    assert_eq!(claimed["fingerprint"], json!(key));
    assert!(claimed["consented_at"].is_string() && claimed["consent_version"].is_string(), "{claimed}");
    let number = probe.wait_connected().unwrap();
    assert_eq!(claimed["id"], json!(number));
    assert_eq!(probe.status().unwrap().unwrap()["claim_code"], Value::Null);
    measures(&network, number);
    assert_eq!(network.server.admin(&["probe", "pending"]).unwrap(), "nobody waits\n");

    // The operator can do the same for somebody.
    let mut second = network.stranger("second", None).unwrap();
    let code = code_of(&mut second, "waiting");
    network.server.admin(&["probe", "claim", &code, EMAIL]).unwrap();
    assert_ne!(second.wait_connected().unwrap(), number);
}

#[test]
fn a_closed_network_refuses_in_words() {
    let network = Loopback::start_with_settings(0, "[network]\nenrol = \"closed\"\n").unwrap();
    let mut probe = network.stranger("stranger", None).unwrap();
    let refused = probe.wait_status("a refusal", |status| status["state"] == "refused").unwrap();
    assert!(refused["why"].as_str().unwrap().contains("join token"), "{refused}");
    assert_eq!(network.server.admin(&["probe", "pending"]).unwrap(), "nobody waits\n");
}

#[test]
fn a_new_key_with_a_used_token_waits_for_the_tokens_owner() {
    let network = Loopback::start(1).unwrap();
    let card = network.probes[0].dir().join("network.toml");
    let mut first = network.stranger("first", Some(&card)).unwrap();
    let code = code_of(&mut first, "waiting");
    let why = first.status().unwrap().unwrap()["why"].clone();
    assert!(why.as_str().unwrap().contains("approve"), "{why}");
    let pending = network.client.get("/api/v2/probes/pending/").unwrap();
    assert_eq!((&pending["count"], &pending["results"][0]["claim_code"]), (&json!(1), &json!(code)));
    let other = network.server.researcher("other@example.net").unwrap();
    assert_eq!(other.get("/api/v2/probes/pending/").unwrap()["count"], 0);
    let body = json!({"code": code});
    assert_eq!(other.request("POST", "/api/v2/probes/claim/", Some(&body)).unwrap().status, 400);
    claim(&network, &code);
    assert_ne!(first.wait_connected().unwrap(), network.numbers[0]);

    let mut second = network.stranger("second", Some(&card)).unwrap();
    let code = code_of(&mut second, "waiting");
    let path = format!("/api/v2/probes/pending/{code}/");
    assert_eq!(network.client.request("DELETE", &path, None).unwrap().status, 204);
    second.kill().unwrap();
    second.restart().unwrap();
    let refused = second.wait_status("a refusal", |status| status["state"] == "refused").unwrap();
    assert!(refused["why"].as_str().unwrap().contains("does not want"), "{refused}");
    assert_eq!(network.client.get("/api/v2/probes/pending/").unwrap()["count"], 0);
}

#[test]
fn an_open_network_serves_strangers_that_count_when_somebody_stands_for_them() {
    let network = Loopback::start_with_settings(0, "[network]\nenrol = \"open\"\n").unwrap();
    // All of them by IPv4: whoever happened to come by the other family would come from another network.
    let card: NetworkFile = toml::from_str(&network.server.admin(&["network", "card"]).unwrap()).unwrap();
    let only_v4 = |collector: &Collector| Collector {
        addresses: List::cut(collector.addresses.iter().filter(|address| !address.starts_with('[')).cloned()),
        ..collector.clone()
    };
    let card = NetworkFile { collectors: card.collectors.iter().map(only_v4).collect(), ..card };
    let file = network.dir("card").unwrap().join("network.toml");
    std::fs::write(&file, toml::to_string(&card).unwrap()).unwrap();
    let stranger = |name: &str| network.stranger(name, Some(&file)).unwrap();
    let mut probes: Vec<_> = ["a", "b"].map(stranger).into();
    let numbers: Vec<u64> = probes.iter_mut().map(|probe| probe.wait_connected().unwrap()).collect();
    let everywhere = |requested: usize| {
        let ping = json!([{"type": "ping", "af": 4, "target": "127.0.0.1", "packets": 1}]);
        let probes = json!([{"type": "area", "value": "WW", "requested": requested}]);
        let id = network.client.measure(&ping, &probes, true).unwrap()[0];
        network.client.get(&format!("/api/v2/measurements/{id}/")).unwrap()["participant_count"].clone()
    };
    assert!(everywhere(2).as_u64().is_none_or(|count| count == 0), "nobody stands for them");
    for &number in &numbers {
        assert_eq!(record(&network, number)["is_vouched"], false);
        measures(&network, number);
    }
    // A third one from there has to wait.
    let mut third = stranger("c");
    let third_code = code_of(&mut third, "waiting");
    network.server.admin(&["probe", "vouch", &numbers[0].to_string()]).unwrap();
    assert_eq!(everywhere(2), 1);
    let code = code_of(&mut probes[1], "connected");
    assert_eq!(claim(&network, &code)["id"], json!(numbers[1]));
    probes[1].wait_status("the end of the code", |status| status["claim_code"].is_null()).unwrap();
    assert_eq!(everywhere(2), 2);
    assert_eq!(network.client.get("/api/v2/probes/my/").unwrap()["count"], 1);
    claim(&network, &third_code);
    third.wait_connected().unwrap();
    assert_eq!(everywhere(3), 3);
}

#[test]
fn a_new_board_takes_the_place_of_a_dead_one() {
    let mut network = Loopback::start(1).unwrap();
    let number = network.numbers[0];
    let tags = json!({"tags": ["attic"]});
    let path = format!("/api/v2/probes/{number}/");
    assert_eq!(network.client.request("PATCH", &path, Some(&tags)).unwrap().status, 200);
    measures(&network, number);
    let first = record(&network, number)["first_connected"].clone();
    // Not dead at all: the old board goes on until it is told.
    let mut board = network.stranger("board", None).unwrap();
    let code = code_of(&mut board, "waiting");
    let (status, done) = post(&network, &format!("{path}rebind/"), &json!({"code": code}));
    assert_eq!((status, &done["id"], &done["fingerprint"]), (200, &json!(number), &json!(fingerprint(&board))));
    assert_eq!(board.wait_connected().unwrap(), number);
    let old = &mut network.probes[0];
    let refused = old.wait_status("a refusal", |status| status["state"] == "refused").unwrap();
    let why = refused["why"].as_str().unwrap();
    assert!(why.contains(&format!("probe {number} has another key")) && why.contains("remove probe.key"), "{why}");
    measures(&network, number);
    let after = record(&network, number);
    assert_eq!(after["first_connected"], first);
    assert!(after["tags"].to_string().contains("attic"), "{after}");

    let mut next = network.stranger("next", None).unwrap();
    let code = code_of(&mut next, "waiting");
    network.server.admin(&["probe", "rebind", &number.to_string(), &code]).unwrap();
    assert_eq!(next.wait_connected().unwrap(), number);
    board.wait_status("a refusal", |status| status["state"] == "refused").unwrap();
}

/// The public keys in the files of a state directory, by name.
fn keys(state: &Path) -> [Option<String>; 2] {
    ["probe.key", "next.key"].map(|name| {
        let bytes = std::fs::read(state.join(name)).ok()?;
        Some(sonde_protocol::tls::SecretKey::from_pkcs8(&bytes).unwrap().public().to_string())
    })
}

fn rotate(state: &Path) -> String {
    let output = Command::new(program("sonde-probe").unwrap()).args(["rotate-key", "--state"]).arg(state).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_probe_exchanges_its_key_and_gets_in_whenever_it_dies() {
    let mut network = Loopback::start(1).unwrap();
    let number = network.numbers[0];
    let state = network.probes[0].state();
    let [old, _] = keys(&state);
    let said = rotate(&state);
    let [first, none] = keys(&state);
    assert!(first != old && none.is_none() && said.contains(first.as_deref().unwrap()), "{said}");
    measures(&network, number);
    network.probes[0].kill().unwrap();
    network.probes[0].restart().unwrap();
    assert_eq!(network.probes[0].wait_connected().unwrap(), number);

    // The key is laid down while the probe is away, and the probe dies after the network has taken it and before it knows.
    network.probes[0].kill().unwrap();
    let said = rotate(&state);
    assert!(said.contains("after its next start"), "{said}");
    let before = network.dir("before").unwrap();
    for name in ["probe.key", "next.key"] {
        std::fs::copy(state.join(name), before.join(name)).unwrap();
    }
    let [_, next] = keys(&state);
    network.probes[0].restart().unwrap();
    let has = |probe: &mut Probe<'_>| {
        let what =
            probe.wait_status("the new key", |status| status["state"] == "connected" && status["key"] == json!(next));
        what.unwrap()["probe"].as_u64()
    };
    assert_eq!(has(&mut network.probes[0]), Some(number));
    network.probes[0].kill().unwrap();
    for name in ["probe.key", "next.key"] {
        std::fs::copy(before.join(name), state.join(name)).unwrap();
    }
    assert_eq!(keys(&state), [first.clone(), next.clone()]);
    network.probes[0].restart().unwrap();
    assert_eq!(has(&mut network.probes[0]), Some(number));
    assert_eq!(keys(&state), [next, None]);
    measures(&network, number);

    // A thief with an old key is told, and is no probe.
    network.probes[0].kill().unwrap();
    std::fs::copy(before.join("probe.key"), state.join("probe.key")).unwrap();
    network.probes[0].restart().unwrap();
    let refused = network.probes[0].wait_status("a refusal", |status| status["state"] == "refused").unwrap();
    assert!(refused["why"].as_str().unwrap().contains("has another key now"), "{refused}");
}

#[test]
fn a_copied_card_is_noticed_and_both_are_told() {
    let network = Loopback::start_with_settings(1, "").unwrap();
    let number = network.numbers[0];
    let periodic = network.ping_periodically(3, 1).unwrap();
    let dir = network.dir("copy").unwrap();
    std::fs::create_dir(dir.join("state")).unwrap();
    std::fs::copy(network.probes[0].state().join("probe.key"), dir.join("state/probe.key")).unwrap();
    let copy = network.stranger("copy", None).unwrap();
    let statuses = wait_for("one to be turned away and the other to be told", || {
        let both = [network.probes[0].status()?, copy.status()?].map(Option::unwrap_or_default);
        let refused = both.iter().position(|status| status["state"] == "refused");
        let told = both.iter().position(|status| status["key_note"].is_string());
        Ok(refused.zip(told).map(|places| (both, places)))
    });
    let (both, (refused, told)) = statuses.unwrap();
    assert_ne!(refused, told);
    for (place, field) in [(refused, "why"), (told, "key_note")] {
        let words = both[place][field].as_str().unwrap();
        assert!(words.contains("same key") && words.contains("remove probe.key"), "{words}");
    }
    assert!(record(&network, number)["duplicate_key_seen"].is_u64());
    measures(&network, number);

    // Who does as told is a probe of its own; the other one goes on. Whichever it is, nothing is stored twice.
    for id in periodic {
        let results = network.client.results(id).unwrap();
        let texts: BTreeSet<String> = results.iter().map(Value::to_string).collect();
        assert_eq!(texts.len(), results.len(), "{id} has a result twice");
        assert!(results.iter().all(|result| result["prb_id"] == json!(number)));
    }
    let mut network = network;
    let mut copies = [network.probes.pop().unwrap(), copy];
    let other = &mut copies[refused];
    other.kill().unwrap();
    std::fs::remove_file(other.state().join("probe.key")).unwrap();
    std::fs::write(other.dir().join("network.toml"), network.server.admin(&["network", "card"]).unwrap()).unwrap();
    other.restart().unwrap();
    let code = code_of(other, "waiting");
    claim(&network, &code);
    assert_ne!(other.wait_connected().unwrap(), number);
    measures(&network, number);
}
