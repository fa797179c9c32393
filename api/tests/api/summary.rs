//! `measurements/{id}/summary/` and `…/paths/`: many results at once.

use serde_json::{Value, json};
use sonde_protocol::bounded::{Bytes, List};
use sonde_protocol::ids::{MeasurementId, ProbeId, SessionId};
use sonde_protocol::result::{Failure, Outcome, SslcertOutcome};
use sonde_protocol::spec::Kind;

use crate::lab::{Lab, NOW, Person, asking, golden, path, result, skipped, worldwide};
use crate::status_check::ping;

/// The beginning of a bin of five minutes, half an hour ago.
const THEN: i64 = NOW - NOW % 300 - 1800;

struct Scene {
    lab: Lab,
    ada: Person,
    probes: [(ProbeId, SessionId); 3],
}

fn scene() -> Scene {
    let lab = Lab::new();
    let ada = lab.person("ada");
    let probes = [1, 2, 3].map(|number| {
        let probe = lab.new_probe(&ada);
        (probe, lab.connect(probe, &format!("30.0.{number}.9"), &[]))
    });
    Scene { lab, ada, probes }
}

impl Scene {
    fn periodic(&self, kind: &str, target: &str) -> MeasurementId {
        self.lab.set_clock(THEN - 3600);
        let mut body = asking(kind, target, worldwide(3));
        body["is_oneoff"] = json!(false);
        body["definitions"][0]["interval"] = json!(240);
        let id = self.lab.measure(&self.ada, &body);
        self.lab.set_clock(NOW);
        id
    }

    fn store(&self, reports: &[(usize, sonde_protocol::result::Report)]) {
        let stored = reports.iter().map(|(number, report)| {
            let (probe, session) = self.probes[*number];
            self.lab.stored(probe, session, report)
        });
        // A probe's reports of one boot have numbers of their own in `stored`.
        self.lab.store(stored.collect(), Vec::new());
    }

    fn ask(&self, url: &str) -> Value {
        let reply = self.lab.get(url);
        assert_eq!(reply.status, 200, "{url}: {reply:?}");
        reply.json()
    }
}

/// Five minutes in which two probes answer, five in which all is lost, five without a run that could be carried out.
fn pinged() -> (Scene, MeasurementId) {
    let scene = scene();
    let id = scene.periodic("ping", "20.1.2.3");
    let failed = |at| result(id, at, "10.0.0.2", "20.1.2.3", Outcome::Failed(Failure::NotAllowed, Kind::Ping.number()));
    scene.store(&[
        (0, ping(id, THEN, &[Some(10), Some(12), None])),
        (1, ping(id, THEN + 299, &[Some(30), Some(20), Some(40)])),
        (0, ping(id, THEN + 300, &[None, None, None])),
        (0, failed(THEN + 600)),
        (1, skipped(id, THEN + 600, 2)),
    ]);
    (scene, id)
}

fn url(id: MeasurementId, rest: &str) -> String {
    let range = format!("start={THEN}&stop={}&bins=4", THEN + 1199);
    let sign = if rest.contains('?') { '&' } else { '?' };
    format!("/api/v2/measurements/{id}/{rest}{sign}{range}")
}

#[test]
fn a_time_in_bins() {
    let (scene, id) = pinged();
    let summary = scene.ask(&url(id, "summary/"));
    golden("summary.json", &summary);
    let states: Vec<&str> =
        summary["bins"].as_array().unwrap().iter().map(|bin| bin["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["answered", "lost", "failed", "none"]);
    let loss = scene.ask(&url(id, "summary/?metric=loss"));
    assert_eq!((&loss["bins"][1]["median"], &loss["unit"]), (&json!(100.0), &json!("%")));
    let one = scene.ask(&url(id, &format!("summary/?probe_ids={}", scene.probes[1].0)));
    assert_eq!((&one["bins"][0]["median"], &one["results"]), (&json!(20.0), &json!(1)));

    let csv = scene.lab.get(&url(id, "summary/?format=csv"));
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    let lines: Vec<&str> = csv.text.lines().collect();
    assert_eq!(lines.len(), 5, "{csv:?}");
    assert_eq!(lines[1], format!("{THEN},true,answered,2,2,0,6,5,10.0,10.0,10.0,20.0,20.0"));
    assert_eq!(lines[4], format!("{},true,none,0,0,0,0,0,,,,,", THEN + 900));
}

#[test]
fn each_probe_with_those_that_say_nothing() {
    let (scene, id) = pinged();
    let probes = scene.ask(&url(id, "summary/probes/"));
    golden("summary-probes.json", &probes);
    let states: Vec<&str> =
        probes["probes"].as_array().unwrap().iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["answered", "answered", "none"]);
    let heat = scene.ask(&url(id, "summary/heat/"));
    golden("summary-heat.json", &heat);
    let cells = data_encoding::BASE64.decode(heat["cells"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!((cells.len(), &cells[1..4], &cells[8..]), (12, &[2, 1, 0][..], &[0; 4][..]));
}

#[test]
fn answers_are_counted() {
    let (scene, id) = pinged();
    let answers = scene.ask(&url(id, "summary/answers/"));
    golden("summary-answers.json", &answers);
    let texts: Vec<&str> =
        answers["answers"].as_array().unwrap().iter().map(|row| row["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["address not allowed", "all were answered", "nothing came back", "some were lost"]);

    let tls = scene.periodic("sslcert", "20.1.2.3");
    let key = rcgen::KeyPair::generate().unwrap();
    let mut wanted = rcgen::CertificateParams::new(vec!["www.example.net".to_owned()]).unwrap();
    wanted.not_after = rcgen::date_time_ymd(2030, 1, 2);
    let certificate = wanted.self_signed(&key).unwrap();
    let shown = |der: &[u8]| {
        let certificates = List::cut([Bytes::new(der).unwrap()]);
        let seen = SslcertOutcome { certificates, rt: Some(9_000_000), ..SslcertOutcome::default() };
        result(tls, THEN, "10.0.0.2", "20.1.2.3", Outcome::Sslcert(Box::new(seen)))
    };
    scene.store(&[(0, shown(certificate.der())), (1, shown(certificate.der())), (2, shown(b"no certificate"))]);
    let answers = scene.ask(&url(tls, "summary/answers/"));
    let [one, two] = &answers["answers"].as_array().unwrap()[..] else { panic!("{answers}") };
    assert_eq!((&one["count"], &one["probes"]), (&json!(2), &json!(2)));
    assert_eq!(one["answer"]["names"], json!(["www.example.net"]));
    assert_eq!(one["answer"]["not_after"], 1_893_542_400);
    assert_eq!(two["text"], "a certificate that cannot be read");
    let times = scene.ask(&url(tls, "summary/"));
    assert_eq!((&times["bins"][0]["median"], &times["bins"][0]["received"]), (&json!(9.0), &json!(3)));
}

#[test]
fn paths_as_one_graph_with_homes_hidden() {
    let scene = scene();
    let id = scene.periodic("traceroute", "20.1.2.3");
    let trace = |n: usize, at, hops: &[&str]| path(id, at, &format!("192.168.{n}.2"), "20.1.2.3", hops);
    scene.store(&[
        (0, trace(1, THEN, &["192.168.1.1", "22.0.0.9"])),
        (0, trace(1, THEN + 240, &["192.168.1.1", "22.0.0.1", "22.0.0.2"])),
        (1, trace(2, THEN + 240, &["192.168.2.1", "22.0.0.1", "22.0.0.2"])),
    ]);
    let at = |time: i64| scene.ask(&format!("/api/v2/measurements/{id}/paths/?time={time}"));
    let graph = at(THEN + 300);
    golden("paths.json", &graph);
    let labels = |graph: &Value| -> Vec<String> {
        graph["nodes"].as_array().unwrap().iter().map(|node| node["label"].as_str().unwrap().to_owned()).collect()
    };
    assert!(labels(&graph).contains(&"192.168.1.0/24".to_owned()), "{graph}");
    let whole = scene.lab.get_as(&scene.ada, &format!("/api/v2/measurements/{id}/paths/?time={}", THEN + 300));
    assert!(labels(&whole.json()).contains(&"192.168.1.1".to_owned()), "the owner of the probe sees it");
    assert!(whole.headers["cache-control"].starts_with("private"));
    assert!(labels(&at(THEN + 10)).contains(&"22.0.0.9".to_owned()), "as it was then");
    assert_eq!(at(THEN - 5)["nodes"], json!([]));
    let networks = scene.ask(&format!("/api/v2/measurements/{id}/paths/?by=as&time={}", THEN + 300));
    assert_eq!((&networks["by"], &networks["reached"]), (&json!("as"), &json!(2)));
}

#[test]
fn an_answer_that_is_known_is_not_sent_again() {
    let (scene, id) = pinged();
    for rest in ["summary/", "summary/probes/", "summary/answers/", "summary/heat/"] {
        let url = url(id, rest);
        let first = scene.lab.get(&url);
        assert_eq!(first.headers["cache-control"], "public, no-cache", "few results are read anew each time");
        let tag = first.headers["etag"].as_str();
        let again = scene.lab.call_with("GET", &url, &[("If-None-Match", tag)], None);
        assert_eq!((again.status, again.text.as_str()), (304, ""), "{rest}");
    }
    let url = url(id, "summary/");
    let before = scene.lab.get(&url).headers["etag"].clone();
    scene.store(&[(2, ping(id, THEN + 900, &[Some(5)]))]);
    assert_ne!(scene.lab.get(&url).headers["etag"], before, "a new result is a new answer");
}

#[test]
fn without_a_time_it_is_the_last_day_or_all_of_a_oneoff() {
    let (scene, id) = pinged();
    let summary = scene.ask(&format!("/api/v2/measurements/{id}/summary/"));
    let (start, stop) = (summary["start"].as_i64().unwrap(), summary["stop"].as_i64().unwrap());
    assert!(start <= THEN - 3600 && start > THEN - 3600 - 900 && stop >= NOW, "since it began: {start} to {stop}");
    assert_eq!(summary["results"], 4);
    let last = summary["bins"].as_array().unwrap().last().unwrap();
    assert_eq!(last["complete"], false, "time goes on");
    scene.lab.set_clock(THEN);
    let once = scene.lab.measure(&scene.ada, &asking("ping", "20.1.2.3", worldwide(3)));
    scene.store(&[(0, ping(once, THEN + 1, &[Some(7)]))]);
    scene.lab.set_clock(NOW + 40 * 86_400);
    let summary = scene.ask(&format!("/api/v2/measurements/{once}/summary/"));
    assert_eq!(summary["results"], 1, "{summary}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let (scene, id) = pinged();
    for (query, place) in [
        ("bins=0", "bins"),
        ("bins=501", "bins"),
        ("bins=x", "bins"),
        ("metric=hops", "metric"),
        ("metric=age", "metric"),
        ("format=txt", "format"),
        ("start=soon", "start"),
        ("start=20&stop=10", "start"),
        ("probe_ids=a", "probe_ids"),
    ] {
        let reply = scene.lab.get(&format!("/api/v2/measurements/{id}/summary/?{query}"));
        assert_eq!(reply.refused(400, 104), [place], "{query}");
    }
    scene.lab.get(&format!("/api/v2/measurements/{id}/paths/")).refused(400, 104);
    let path = scene.periodic("traceroute", "20.1.2.3");
    let by = scene.lab.get(&format!("/api/v2/measurements/{path}/paths/?by=country"));
    assert_eq!(by.refused(400, 104), ["by"]);
    // Times at the ends of what a number can hold.
    for range in ["start=0&stop=9223372036854775807", "start=9223372036854775806", "stop=0"] {
        let reply = scene.lab.get(&format!("/api/v2/measurements/{id}/summary/?{range}"));
        assert!(matches!(reply.status, 200 | 400), "{range}: {reply:?}");
    }
}
