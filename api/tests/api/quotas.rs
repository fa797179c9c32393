//! How much an account may do.

use serde_json::{Value, json};
use sonde_api::{ApiConfig, Policy, QuotasPolicy};

use crate::lab::{Lab, Reply, asking, worldwide};

fn limited(change: impl FnOnce(&mut QuotasPolicy)) -> Lab {
    let mut quotas = QuotasPolicy::default();
    change(&mut quotas);
    Lab::with(ApiConfig { policy: Policy { quotas, ..Policy::free() }, ..ApiConfig::default() })
}

#[track_caller]
fn refused(reply: &Reply) -> String {
    let places = reply.refused(400, 102);
    assert_eq!(places[0], "");
    reply.json()["error"]["errors"][0]["detail"].as_str().unwrap().to_owned()
}

fn periodic(target: &str, probes: u32, interval: u32) -> Value {
    let mut body = asking("ping", target, worldwide(probes));
    body["is_oneoff"] = json!(false);
    body["definitions"][0]["interval"] = json!(interval);
    body
}

#[test]
fn measurements_at_a_time() {
    let lab = limited(|quotas| quotas.concurrent_measurements = 2);
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    lab.probe(&anna, "20.0.0.9", &[]);
    let post = |target: &str| lab.post_as(&anna, "/api/v2/measurements/", &asking("ping", target, worldwide(1)));
    let first = post("1.1.1.1");
    assert_eq!((first.status, post("1.1.1.2").status), (201, 201));
    let why = refused(&post("1.1.1.3"));
    assert_eq!(why, "You may have at most 2 measurements at a time; with this it would be 3.");
    assert_eq!(lab.get("/api/v2/measurements/").json()["count"], 2);
    let other = lab.post_as(&ben, "/api/v2/measurements/", &asking("ping", "1.1.1.3", worldwide(1)));
    assert_eq!(other.status, 201, "everybody has a quota of their own");
    lab.call("DELETE", &format!("/api/v2/measurements/{}", first.json()["measurements"][0]), Some(&anna.key), None);
    assert_eq!(post("1.1.1.3").status, 201, "what is over does not count");
}

#[test]
fn two_requests_at_once_cannot_pass_a_quota_together() {
    let lab = limited(|quotas| quotas.concurrent_measurements = 3);
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.9", &[]);
    let body = asking("ping", "1.1.1.1", worldwide(1));
    let made: usize = std::thread::scope(|scope| {
        let send = || lab.post_as(&anna, "/api/v2/measurements/", &body).status;
        let sent: Vec<_> = (0..10).map(|_| scope.spawn(send)).collect();
        sent.into_iter().map(|sent| usize::from(sent.join().unwrap() == 201)).sum()
    });
    assert_eq!(made, 3);
}

#[test]
fn results_and_probes() {
    let lab = limited(|quotas| (quotas.results_per_day, quotas.probes_per_measurement) = (3000, 2));
    let anna = lab.person("anna");
    let probes: Vec<_> = (0..3).map(|n| lab.probe(&anna, &format!("20.0.{n}.9"), &[])).collect();
    let post = |body: &Value| lab.post_as(&anna, "/api/v2/measurements/", body);
    assert!(refused(&post(&asking("ping", "1.1.1.1", worldwide(3)))).contains("at most 2 probes in a measurement"));
    let id = post(&periodic("1.1.1.1", 1, 60)).json()["measurements"][0].clone();
    let why = refused(&post(&periodic("1.1.1.1", 2, 60)));
    assert_eq!(why, "You may have at most 3000 results a day; with this it would be 4320.");
    assert_eq!(post(&periodic("1.1.1.1", 1, 60)).status, 201);
    // Who joins counts as well.
    let join = |probe: u64| {
        let body = json!([{"action": "add", "type": "probes", "value": probe, "requested": 1}]);
        lab.post_as(&anna, &format!("/api/v2/measurements/{id}/participation-requests/"), &body)
    };
    // Chance chose who takes part; somebody who does not.
    let part =
        lab.get_as(&anna, &format!("/api/v2/measurements/{id}/?fields=probes")).json()["probes"][0]["id"].clone();
    let other = probes.iter().find(|probe| part != probe.0).unwrap();
    assert!(refused(&join(other.0)).contains("results a day"));
    let fast = limited(|quotas| quotas.results_per_second = 1);
    let ben = fast.person("ben");
    fast.probe(&ben, "20.0.0.9", &[]);
    assert_eq!(fast.post_as(&ben, "/api/v2/measurements/", &periodic("1.1.1.1", 1, 60)).status, 201);
}

#[test]
fn of_one_type_to_one_target() {
    let lab = limited(|quotas| (quotas.oneoff_alike, quotas.periodic_alike) = (2, 1));
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.9", &[]);
    let post = |body: &Value| lab.post_as(&anna, "/api/v2/measurements/", body);
    let ping = asking("ping", "good.example", worldwide(1));
    let mut twice = ping.clone();
    twice["definitions"] = json!([ping["definitions"][0], ping["definitions"][0]]);
    assert_eq!(post(&ping).status, 201);
    assert!(refused(&post(&twice)).contains("one-off measurements of one type to one target"));
    assert_eq!(post(&asking("ping", "Good.Example", worldwide(1))).status, 201, "the second");
    assert!(refused(&post(&ping)).contains("it would be 3"));
    assert_eq!(post(&asking("traceroute", "good.example", worldwide(1))).status, 201, "another type");
    assert_eq!(post(&periodic("good.example", 1, 60)).status, 201, "periodic ones are counted by themselves");
    assert!(refused(&post(&periodic("good.example", 1, 60))).contains("periodic measurements"));
}

#[test]
fn zero_is_without_limit() {
    let lab = limited(|quotas| {
        *quotas = QuotasPolicy {
            enabled: true,
            concurrent_measurements: 0,
            probes_per_measurement: 0,
            results_per_day: 0,
            credits_per_day: 0,
            results_per_second: 0,
            periodic_alike: 0,
            oneoff_alike: 0,
        }
    });
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.9", &[]);
    assert_eq!(lab.post_as(&anna, "/api/v2/measurements/", &periodic("1.1.1.1", 1, 60)).status, 201);
}
