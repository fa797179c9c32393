//! `measurements/{id}/metrics/`: the numbers for Prometheus.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sonde_protocol::ids::{MeasurementId, ProbeId, SessionId};
use sonde_protocol::result::{Failure, Outcome, Report, SkipReason, Skipped};
use sonde_protocol::spec::Kind;
use sonde_protocol::time::UnixNanos;

use crate::lab::{self, Lab, NOW, Person, asking, result};
use crate::status_check::ping;

struct Scene {
    lab: Lab,
    ada: Person,
    id: MeasurementId,
    probes: [(ProbeId, SessionId); 2],
}

fn scene(description: &str) -> Scene {
    scene_of(description, true)
}

fn scene_of(description: &str, is_public: bool) -> Scene {
    let lab = Lab::new();
    let ada = lab.person("ada");
    let probes = [1, 2].map(|number| {
        let probe = lab.new_probe(&ada);
        (probe, lab.connect(probe, &format!("30.0.{number}.1"), &[]))
    });
    let sources = json!([{"type": "probes", "value": format!("{},{}", probes[0].0, probes[1].0), "requested": 2}]);
    let mut body = asking("ping", "20.1.2.3", sources);
    body["is_oneoff"] = json!(false);
    body["definitions"][0]["interval"] = json!(60);
    body["definitions"][0]["description"] = json!(description);
    body["definitions"][0]["is_public"] = json!(is_public);
    let id = lab.measure(&ada, &body);
    Scene { lab, ada, id, probes }
}

impl Scene {
    fn store(&self, place: usize, report: &Report) {
        let (probe, session) = self.probes[place];
        self.lab.store(vec![self.lab.stored(probe, session, report)], Vec::new());
    }

    fn ask(&self, query: &str) -> String {
        let reply = self.lab.get(&format!("/api/v2/measurements/{}/metrics/{query}", self.id));
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        assert_eq!(reply.headers["cache-control"], "no-store");
        reply.text
    }

    /// The samples by name and labels, without the measurement's number.
    fn samples(&self, query: &str) -> BTreeMap<String, f64> {
        let own = format!("measurement=\"{}\"", self.id);
        let body = self.ask(query);
        let lines = body.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.contains(&own), "{line}");
            let name = name.replace(&format!("{own},"), "").replace(&format!("{{{own}}}"), "");
            (name.trim_start_matches("sonde_measurement_").to_owned(), value.parse().unwrap())
        };
        lines.map(sample).collect()
    }
}

#[test]
fn each_result_counts_once_however_often_somebody_asks() {
    let scene = scene("watched");
    let none = scene.samples("");
    assert_eq!((none["requests_total"], none["rtt_seconds_count"], none["probes"]), (0.0, 0.0, 2.0));
    scene.store(0, &ping(scene.id, NOW - 300, &[Some(3), Some(11), None]));
    scene.store(1, &ping(scene.id, NOW - 250, &[None, None]));
    for _ in 0..2 {
        let samples = scene.samples("");
        assert_eq!((samples["requests_total"], samples["replies_total"]), (5.0, 2.0));
        assert_eq!(samples["results_total{outcome=\"answered\"}"], 1.0);
        assert_eq!(samples["results_total{outcome=\"unanswered\"}"], 1.0);
        assert_eq!(samples["rtt_seconds_bucket{le=\"0.002\"}"], 0.0);
        assert_eq!(samples["rtt_seconds_bucket{le=\"0.004\"}"], 1.0);
        assert_eq!(samples["rtt_seconds_bucket{le=\"0.015\"}"], 2.0);
        assert_eq!(samples["rtt_seconds_bucket{le=\"+Inf\"}"], 2.0);
        assert!((samples["rtt_seconds_sum"] - 0.014).abs() < 1e-9);
        assert_eq!(samples["newest_result_timestamp_seconds"], (NOW - 250) as f64);
    }
    let skipped = Skipped {
        measurement: scene.id,
        planned_at: UnixNanos::from_secs(NOW - 60),
        runs: 3,
        reason: SkipReason::QuietLine,
    };
    scene.store(0, &Report::Skipped(skipped));
    scene.store(1, &ping(scene.id, NOW - 30, &[Some(40)]));
    let failed = Outcome::Failed(Failure::NotAllowed, Kind::Ping.number());
    scene.store(0, &result(scene.id, NOW - 20, "10.0.0.2", "20.1.2.3", failed));
    let samples = scene.samples("");
    assert_eq!((samples["requests_total"], samples["replies_total"]), (6.0, 3.0));
    assert_eq!(samples["skipped_runs_total{reason=\"quiet-line\"}"], 3.0);
    assert_eq!(samples["results_total{outcome=\"failed\"}"], 1.0);
}

#[test]
fn what_ran_long_ago_and_what_was_not_asked_for_do_not_count() {
    let scene = scene("watched");
    scene.store(0, &ping(scene.id, NOW - 4000, &[Some(3)]));
    let stranger = scene.lab.new_probe(&scene.ada);
    let session = scene.lab.connect(stranger, "30.0.9.1", &[]);
    let uninvited = scene.lab.stored(stranger, session, &ping(scene.id, NOW - 10, &[Some(3)]));
    scene.lab.store(vec![uninvited], Vec::new());
    assert_eq!(scene.samples("")["requests_total"], 0.0);
}

#[test]
fn probes_have_lines_when_they_are_asked_for() {
    let scene = scene("watched");
    scene.store(0, &ping(scene.id, NOW - 100, &[Some(30)]));
    scene.store(0, &ping(scene.id, NOW - 40, &[Some(9), Some(7)]));
    scene.store(1, &ping(scene.id, NOW - 40, &[None]));
    assert!(!scene.samples("").keys().any(|name| name.contains("probe=")));
    let samples = scene.samples("?by=probe");
    let [one, two] = scene.probes.map(|(probe, _)| probe);
    assert_eq!(samples[&format!("probe_requests_total{{probe=\"{one}\"}}")], 3.0);
    assert_eq!(samples[&format!("probe_rtt_seconds{{probe=\"{one}\"}}")], 0.007);
    assert_eq!(samples[&format!("probe_replies_total{{probe=\"{two}\"}}")], 0.0);
    assert!(!samples.contains_key(&format!("probe_rtt_seconds{{probe=\"{two}\"}}")), "silence is no time");
    let reply = scene.lab.get(&format!("/api/v2/measurements/{}/metrics/?by=country", scene.id));
    assert_eq!(reply.refused(400, 104), ["by"]);
}

#[test]
fn nobody_reads_a_private_measurement_not_even_its_owner() {
    let scene = scene_of("secret", false);
    let path = format!("/api/v2/measurements/{}/", scene.id);
    assert_eq!(scene.lab.get_as(&scene.ada, &path).status, 200);
    let path = format!("{path}metrics/");
    assert_eq!((scene.lab.get(&path).status, scene.lab.get_as(&scene.ada, &path).status), (404, 404));
}

#[test]
fn the_whole_body_is_as_in_the_file() {
    let scene = scene("\"quoted\" \\ and\nbroken <b>");
    scene.store(0, &ping(scene.id, NOW - 300, &[Some(3), Some(11), None]));
    scene.store(1, &ping(scene.id, NOW - 250, &[Some(700)]));
    let body = scene.ask("?by=probe");
    assert!(body.contains(r#"description="\"quoted\" \\ and\nbroken <b>""#), "{body}");
    let lines: Vec<&str> = body.lines().collect();
    lab::golden("measurement-metrics.json", &Value::from(lines));
}
