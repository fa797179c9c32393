//! Targets are asked in the DNS, and not measured by everybody at once.

use std::sync::Arc;

use serde_json::{Value, json};
use sonde_api::{ApiConfig, Policy, TargetsPolicy, stop_unwilling};

use crate::lab::{Lab, asking, worldwide};

fn protecting(targets: TargetsPolicy, allow: &[&str]) -> Lab {
    let allow_targets = allow.iter().map(|net| net.parse().unwrap()).collect();
    Lab::with(ApiConfig { allow_targets, policy: Policy { targets, ..Policy::free() }, ..ApiConfig::default() })
}

#[test]
fn who_says_no_is_not_measured() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.9", &[]);
    let post = |changes: Value| {
        let mut body = asking("ping", "x", worldwide(1));
        for (key, value) in changes.as_object().unwrap() {
            body["definitions"][0][key] = value.clone();
        }
        lab.post_as(&anna, "/api/v2/measurements/", &body)
    };
    for target in ["unwilling.example", "www.unwilling.example", "20.6.6.6", "borrowed.example", "20.8.8.77"] {
        let reply = post(json!({"target": target}));
        assert_eq!(reply.refused(400, 102), ["/definitions/0/target"], "{target}");
        let why = reply.json()["error"]["errors"][0]["detail"].to_string();
        assert!(why.contains("_sonde."), "{why}");
    }
    assert_eq!(
        post(json!({"target": "a.unwilling.example", "resolve_on_probe": true})).refused(400, 102),
        ["/definitions/0/target"]
    );
    assert_eq!(lab.get("/api/v2/measurements/").json()["count"], 0);
    for target in ["good.example", "20.6.6.7", "20.8.9.77"] {
        assert_eq!(post(json!({"target": target})).status, 201, "{target}");
    }
    let silent = json!({"target": "a.broken.example", "resolve_on_probe": true});
    assert_eq!(post(silent).status, 201, "who cannot be asked has not said no");
}

#[test]
fn the_operators_own_targets_are_not_asked() {
    let lab = protecting(TargetsPolicy::default(), &["20.6.6.0/24"]);
    let anna = lab.person("anna");
    assert_eq!(lab.post_as(&anna, "/api/v2/measurements/", &asking("ping", "20.6.6.6", worldwide(1))).status, 201);
    let lab = protecting(TargetsPolicy { opt_out: false, ..TargetsPolicy::default() }, &[]);
    let anna = lab.person("anna");
    assert_eq!(lab.post_as(&anna, "/api/v2/measurements/", &asking("ping", "20.6.6.6", worldwide(1))).status, 201);
}

#[test]
fn what_runs_is_stopped_when_its_target_says_no() {
    let lab = protecting(TargetsPolicy { opt_out: false, ..TargetsPolicy::default() }, &[]);
    let anna = lab.person("anna");
    let probe = lab.probe(&anna, "20.0.0.9", &[]);
    let [unwilling, willing] = ["unwilling.example", "good.example"].map(|target| {
        let mut body = asking("ping", target, worldwide(1));
        body["is_oneoff"] = json!(false);
        lab.measure(&anna, &body)
    });
    lab.dispatched();
    let mut api = lab.api.clone();
    api.config.policy.targets.opt_out = true;
    lab.runtime.block_on(stop_unwilling(&Arc::new(api))).unwrap();
    let status = |id| lab.get(&format!("/api/v2/measurements/{id}/")).json()["status"]["name"].clone();
    assert_eq!((status(unwilling), status(willing)), (json!("Forced to stop"), json!("Ongoing")));
    assert_eq!(lab.dispatched(), [[probe.0]]);
}

#[test]
fn everybodys_packets_to_one_target_are_bounded() {
    // A one-off ping of 16 packets counts as 16 / 60 packets a second and probe.
    let targets = TargetsPolicy { packets_per_second: 1, network_packets_per_second: 2, ..TargetsPolicy::default() };
    let lab = protecting(targets, &["20.5.0.0/16"]);
    let people: Vec<_> = ["a", "b", "c", "d", "e"].iter().map(|name| lab.person(name)).collect();
    lab.probe(&people[0], "20.0.0.9", &[]);
    let ping = |who: usize, target: &str, count: usize| {
        let mut body = asking("ping", target, worldwide(1));
        body["definitions"][0]["packets"] = json!(16);
        body["definitions"] = json!(vec![body["definitions"][0].clone(); count]);
        lab.post_as(&people[who], "/api/v2/measurements/", &body)
    };
    for (who, _) in people.iter().enumerate().take(3) {
        assert_eq!(ping(who, "20.7.7.7", 1).status, 201);
    }
    let reply = ping(3, "20.7.7.7", 1);
    assert_eq!(reply.refused(400, 102), [""], "the fourth person's would be more than one packet a second");
    assert!(
        reply.json()["error"]["errors"][0]["detail"].as_str().unwrap().starts_with("20.7.7.7 would get more than 1 ")
    );
    assert_eq!(ping(3, "20.7.7.8", 3).status, 201, "a neighbour");
    assert_eq!(ping(3, "20.7.7.9", 1).status, 201);
    assert!(
        ping(4, "20.7.7.10", 1).json()["error"]["errors"][0]["detail"].as_str().unwrap().contains("The network of")
    );
    assert_eq!(ping(4, "20.7.8.7", 3).status, 201, "another network");
    assert_eq!(ping(4, "20.7.9.7", 4).refused(400, 102), [""], "in one request as well");
    assert_eq!(ping(4, "20.5.1.1", 9).status, 201, "the operator's own");
}
