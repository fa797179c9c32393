//! Alert rules and their webhooks, up to a receiver that speaks TLS.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use data_encoding::BASE64;
use serde_json::{Value, json};
use sonde_api::egress::{Egress, SystemConnect};
use sonde_api::{ApiConfig, Watch};
use sonde_protocol::ids::{MeasurementId, ProbeId, SessionId};

use crate::egress::{PUBLIC, Recorder, SPECIAL, Script, receiver};
use crate::lab::{Lab, NOW, Person, asking};
use crate::status_check::ping;

const LOOPBACK: &str = "127.0.0.0/8";
const OK: &str = "HTTP/1.1 204 No Content\r\n\r\n";

struct Scene {
    lab: Lab,
    ada: Person,
    id: MeasurementId,
    probes: Vec<(ProbeId, SessionId)>,
    watch: Watch,
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    _dir: tempfile::TempDir,
}

impl Scene {
    /// Three probes that ping every minute, and a receiver with these answers.
    fn new(answers: &'static [&'static str]) -> Self {
        let allowed = vec![LOOPBACK.parse().unwrap()];
        let lab = Lab::with(ApiConfig { webhook_allow: allowed.clone(), ..ApiConfig::default() });
        let dir = tempfile::tempdir().unwrap();
        let (address, seen) = lab.runtime.block_on(receiver(dir.path(), answers));
        let names: Vec<&[&str]> = vec![&["127.0.0.1"]; 100];
        let ca = dir.path().join("ca.pem");
        let egress = Egress::new(Script::new(&names), Arc::new(SystemConnect), Some(&ca), allowed).unwrap();
        let watch = Watch {
            catalog: lab.catalog.clone(),
            results: lab.results.clone(),
            clock: lab.clock.clone(),
            egress: Arc::new(egress),
        };
        let ada = lab.person("ada");
        let probes: Vec<_> = (1..=3)
            .map(|n| {
                let probe = lab.new_probe(&ada);
                (probe, lab.connect(probe, &format!("30.0.{n}.1"), &[]))
            })
            .collect();
        let named: Vec<String> = probes.iter().map(|(probe, _)| probe.to_string()).collect();
        let sources = json!([{"type": "probes", "value": named.join(","), "requested": 3}]);
        let mut body = asking("ping", "20.1.2.3", sources);
        body["is_oneoff"] = json!(false);
        body["definitions"][0]["interval"] = json!(60);
        body["definitions"][0]["is_public"] = json!(false);
        let id = lab.measure(&ada, &body);
        Self { lab, ada, id, probes, watch, address, seen, _dir: dir }
    }

    fn rule(&self) -> Value {
        json!({
            "measurement": self.id, "description": "down", "metric": "loss", "operator": ">=", "threshold": 100,
            "probes": 2, "runs": 2, "of": 3, "url": format!("https://hook.example:{}/in", self.address.port()),
        })
    }

    /// Each probe pings once, with or without an answer; then the rules are looked at.
    fn run(&self, at: i64, answers: [bool; 3]) {
        self.lab.set_clock(at);
        let reports = self.probes.iter().zip(answers).map(|((probe, session), answer)| {
            let report = ping(self.id, at, &[answer.then_some(10)]);
            self.lab.stored(*probe, *session, &report)
        });
        self.lab.store(reports.collect(), Vec::new());
        self.look();
    }

    fn look(&self) {
        self.lab.runtime.block_on(self.watch.once()).unwrap();
    }

    /// What the receiver got since the last look: header lines and body.
    fn received(&self) -> Vec<(Vec<String>, Value)> {
        let requests = std::mem::take(&mut *self.seen.lock().unwrap());
        let parse = |request: &String| {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            (head.lines().map(str::to_owned).collect(), serde_json::from_str(body).unwrap())
        };
        requests.iter().map(parse).collect()
    }

    fn types(&self) -> Vec<String> {
        self.received().iter().map(|(_, body)| body["type"].as_str().unwrap().to_owned()).collect()
    }

    fn deliveries(&self, id: &Value) -> Vec<Value> {
        let reply = self.lab.get_as(&self.ada, &format!("/api/v2/alerts/{id}/deliveries/"));
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["results"].as_array().unwrap().clone()
    }
}

#[test]
fn its_owner_is_told_once_when_it_goes_wrong_and_once_when_it_is_well() {
    let scene = Scene::new(&[OK]);
    let made = scene.lab.post_as(&scene.ada, "/api/v2/alerts/", &scene.rule());
    assert_eq!(made.status, 201, "{made:?}");
    let (made, secret) = (made.json(), made.json()["secret"].as_str().unwrap().to_owned());
    assert_eq!(made["state"], json!({"alerting": false, "since": null, "probes": []}));

    // Two bad runs of one probe, one of another: not yet.
    scene.run(NOW + 60, [false, true, true]);
    scene.run(NOW + 120, [false, false, true]);
    assert_eq!(scene.types(), [""; 0]);
    scene.run(NOW + 180, [true, false, true]);
    let received = scene.received();
    assert_eq!(received.len(), 1);
    let (head, body) = &received[0];
    let bad = json!([scene.probes[0].0, scene.probes[1].0]);
    assert_eq!((&body["type"], &body["timestamp"]), (&json!("alert.raised"), &json!("2025-10-09T08:56:20Z")));
    assert_eq!((&body["data"]["probes"], &body["data"]["measurement"]), (&bad, &json!(scene.id)));

    // The signature, as a receiver checks it.
    let header = |name: &str| {
        let line = head.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("{name}: {head:?}")).to_owned()
    };
    let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap().as_bytes()).unwrap();
    let signed = format!("{}.{}.{body}", header("webhook-id"), header("webhook-timestamp"));
    let tag = BASE64.decode(header("webhook-signature").strip_prefix("v1,").unwrap().as_bytes()).unwrap();
    ring::hmac::verify(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key), signed.as_bytes(), &tag).unwrap();

    scene.run(NOW + 240, [false, false, true]);
    assert_eq!(scene.types(), [""; 0], "nothing new");
    scene.run(NOW + 300, [true, true, true]);
    assert_eq!(scene.types(), ["alert.cleared"]);
    let shown = scene.lab.get_as(&scene.ada, &format!("/api/v2/alerts/{}/", made["id"])).json();
    assert!(shown.get("secret").is_none(), "{shown}");
    assert_eq!(
        (&shown["state"]["alerting"], &shown["state"]["since"]),
        (&json!(false), &json!("2025-10-09T08:58:20Z"))
    );
}

#[test]
fn what_is_not_taken_comes_again_with_the_same_name() {
    let scene = Scene::new(&["HTTP/1.1 500 No\r\n\r\n", "HTTP/1.1 301 Go\r\nLocation: https://127.0.0.1/\r\n\r\n", OK]);
    let id = scene.lab.post_as(&scene.ada, "/api/v2/alerts/", &scene.rule()).json()["id"].clone();
    let path = format!("/api/v2/alerts/{id}/test/");
    let sent = scene.lab.post_as(&scene.ada, &path, &json!({}));
    assert_eq!(sent.status, 202, "{sent:?}");
    scene.look();
    let waiting = &scene.deliveries(&id)[0];
    assert_eq!(
        (&waiting["state"], &waiting["last_answer"], &waiting["attempts"]),
        (&json!("waiting"), &json!("status 500"), &json!(1))
    );
    for step in [4, 5, 30, 60] {
        scene.lab.set_clock(NOW + step);
        scene.look();
    }
    let names: Vec<String> = scene.received().iter().map(|(head, _)| head.join(" ")).collect();
    let name = sent.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(names.iter().filter(|head| head.contains(&name)).count(), 3, "at 0 s, 5 s and 35 s: {names:?}");
    let done = &scene.deliveries(&id)[0];
    assert_eq!((&done["state"], &done["attempts"]), (&json!("delivered"), &json!(3)));
}

#[test]
fn a_receiver_that_is_gone_switches_the_rule_off() {
    let scene = Scene::new(&["HTTP/1.1 410 Gone\r\n\r\n"]);
    let id = scene.lab.post_as(&scene.ada, "/api/v2/alerts/", &scene.rule()).json()["id"].clone();
    for _ in 0..2 {
        scene.lab.post_as(&scene.ada, &format!("/api/v2/alerts/{id}/test/"), &json!({}));
    }
    scene.look();
    assert_eq!(scene.received().len(), 1);
    let rule = scene.lab.get_as(&scene.ada, &format!("/api/v2/alerts/{id}/")).json();
    assert_eq!(rule["enabled"], json!(false));
    assert!(scene.deliveries(&id).iter().all(|one| one["state"] == "given up"));
}

#[test]
fn an_alert_about_what_is_over_ends() {
    let scene = Scene::new(&[OK]);
    let rule = json!({
        "measurement": scene.id, "metric": "age", "operator": ">", "threshold": 300, "probes": "100%",
        "url": format!("https://hook.example:{}/in", scene.address.port()),
    });
    scene.lab.post_as(&scene.ada, "/api/v2/alerts/", &rule);
    scene.lab.set_clock(NOW + 299);
    scene.look();
    assert_eq!(scene.types(), [""; 0]);
    scene.lab.set_clock(NOW + 1000);
    scene.look();
    assert_eq!(scene.types(), ["alert.raised"], "no probe ever answered");
    scene.lab.call("DELETE", &format!("/api/v2/measurements/{}", scene.id), Some(&scene.ada.key), None);
    scene.lab.set_clock(NOW + 2000);
    scene.look();
    let received = scene.received();
    assert_eq!(
        (&received[0].1["type"], &received[0].1["data"]["measurement_is_over"]),
        (&json!("alert.cleared"), &json!(true))
    );
}

#[test]
fn rules_are_checked_and_are_nobody_elses() {
    let scene = Scene::new(&[OK]);
    let bob = scene.lab.person("bob");
    for (field, bad) in [
        ("measurement", json!(999)),
        ("measurement", json!("x")),
        ("metric", json!("hops")),
        ("operator", json!("~")),
        ("threshold", json!(null)),
        ("probes", json!(-1)),
        ("runs", json!(4)),
        ("url", json!("http://hook.example/")),
        ("url", json!("https://10.0.0.1/")),
        ("url", json!("https://hook.example:22/")),
        ("url", json!(7)),
        ("description", json!("x".repeat(600))),
        ("enabled", json!("perhaps")),
    ] {
        let mut rule = scene.rule();
        rule[field] = bad.clone();
        let places = scene.lab.post_as(&scene.ada, "/api/v2/alerts/", &rule).refused(400, 102);
        assert_eq!(places, [format!("/{field}")], "{bad}");
    }
    // The measurement is private.
    assert_eq!(scene.lab.post_as(&bob, "/api/v2/alerts/", &scene.rule()).refused(400, 102), ["/measurement"]);
    let id = scene.lab.post_as(&scene.ada, "/api/v2/alerts/", &scene.rule()).json()["id"].clone();
    for (method, path) in [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "deliveries/"), ("POST", "test/")] {
        let path = format!("/api/v2/alerts/{id}/{path}");
        let body = json!({});
        let body = ["PATCH", "POST"].contains(&method).then_some(&body);
        scene.lab.call(method, &path, Some(&bob.key), body).refused(404, 104);
        scene.lab.call(method, &path, None, body).refused(403, 104);
    }
    assert_eq!(scene.lab.get_as(&bob, "/api/v2/alerts/").ids(), [0; 0]);

    let path = format!("/api/v2/alerts/{id}/");
    let change = json!({"threshold": 50, "enabled": false});
    let changed = scene.lab.call("PATCH", &path, Some(&scene.ada.key), Some(&change)).json();
    assert_eq!(
        (&changed["threshold"], &changed["runs"], &changed["enabled"]),
        (&json!(50.0), &json!(2), &json!(false))
    );
    assert_eq!(scene.lab.call("DELETE", &path, Some(&scene.ada.key), None).status, 204);
    scene.lab.get_as(&scene.ada, &path).refused(404, 104);
}

#[test]
fn no_webhook_goes_where_only_the_server_can_reach() {
    let lab = Lab::new();
    let ada = lab.person("ada");
    let id = lab.measure(&ada, &asking("ping", "20.1.2.3", crate::lab::worldwide(1)));
    let rule = |host: &str| json!({"measurement": id, "metric": "loss", "operator": ">", "threshold": 1, "url": format!("https://{host}/")});
    for address in SPECIAL {
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        assert_eq!(lab.post_as(&ada, "/api/v2/alerts/", &rule(&host)).refused(400, 102), ["/url"], "{address}");
    }
    // A name, each time with another answer: special alone, beside a public one, and a public one first and then another.
    let made = lab.post_as(&ada, "/api/v2/alerts/", &rule("hook.example"));
    let test = format!("/api/v2/alerts/{}/test/", made.json()["id"]);
    let recorder = Arc::new(Recorder::default());
    for address in SPECIAL {
        let answers: [&[&str]; 3] = [&[address], &[PUBLIC, address], &["2a00:9::1", address]];
        let egress = Egress::new(Script::new(&answers), recorder.clone(), None, Vec::new()).unwrap();
        let watch = Watch {
            catalog: lab.catalog.clone(),
            results: lab.results.clone(),
            clock: lab.clock.clone(),
            egress: Arc::new(egress),
        };
        for _ in answers {
            assert_eq!(lab.post_as(&ada, &test, &json!({})).status, 202);
            lab.runtime.block_on(watch.once()).unwrap();
        }
    }
    assert_eq!(recorder.went(), [""; 0]);

    let rebinding: [&[&str]; 2] = [&[PUBLIC], &["127.0.0.1"]];
    let egress = Egress::new(Script::new(&rebinding), recorder.clone(), None, Vec::new()).unwrap();
    let (catalog, results, clock) = (lab.catalog.clone(), lab.results.clone(), lab.clock.clone());
    let watch = Watch { catalog, results, clock, egress: Arc::new(egress) };
    assert_eq!(lab.post_as(&ada, &test, &json!({})).status, 202);
    for step in [0, 10] {
        lab.set_clock(NOW + step);
        lab.runtime.block_on(watch.once()).unwrap();
    }
    assert_eq!(recorder.went(), [format!("{PUBLIC}:443")], "the second attempt found the name elsewhere");
    let path = format!("/api/v2/alerts/{}/deliveries/?sort=-id&page_size=500", made.json()["id"]);
    let all = lab.get_as(&ada, &path).json();
    let all = all["results"].as_array().unwrap();
    assert_eq!(all.len(), 3 * SPECIAL.len() + 1);
    assert!(all.iter().all(|one| one["state"] == "given up"), "{all:?}");
}
