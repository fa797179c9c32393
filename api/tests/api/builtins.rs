//! Built-in measurements: everybody's, and nobody's to change.

use serde_json::{Value, json};
use sonde_api::{ApiConfig, read_builtins};
use sonde_protocol::bounded::List;
use sonde_protocol::ids::MeasurementId;
use sonde_protocol::result::{Outcome, PingOutcome};
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::Builtins;

use crate::lab::{Lab, NOW, asking, result, worldwide};

/// Makes them as the server does at its start.
fn reconcile(lab: &Lab, entries: &[Value]) {
    let now = UnixNanos::from_secs(NOW);
    let builtins = read_builtins(entries, &ApiConfig::default(), &[], now).unwrap();
    let done = lab.runtime.block_on(lab.catalog.reconcile_builtins(&builtins, now)).unwrap();
    assert_eq!(done.refused, []);
}

fn k_root() -> Value {
    json!({"id": 1001, "type": "ping", "af": 4, "target": "k.root-servers.net", "address": "193.0.14.129",
           "interval": 240, "description": "K-root"})
}

#[test]
fn a_builtin_looks_as_atlas_shows_it() {
    let lab = Lab::new();
    reconcile(&lab, &[k_root()]);
    let object = lab.get("/api/v2/measurements/1001/").json();
    for (field, expected) in [
        ("id", json!(1001)),
        ("type", json!("ping")),
        ("status", json!({"id": 2, "name": "Ongoing", "when": null})),
        ("target", json!("k.root-servers.net")),
        ("target_ip", json!("193.0.14.129")),
        ("interval", json!(240)),
        ("packets", json!(3)),
        ("credits_per_result", json!(3)),
        ("is_public", json!(true)),
        ("is_oneoff", json!(false)),
        ("resolve_on_probe", json!(false)),
        ("start_time", json!(NOW)),
        ("stop_time", Value::Null),
        ("group", Value::Null),
        ("group_id", Value::Null),
        ("participant_count", Value::Null),
        ("probes_requested", Value::Null),
        ("probes_scheduled", Value::Null),
    ] {
        assert_eq!(object[field], expected, "{field}");
    }
    assert!(object.get("user_id").is_none());
    let probes = lab.get("/api/v2/measurements/1001/?fields=probes,current_probes,is_active").json();
    assert_eq!(probes, json!({"id": 1001, "type": "ping", "probes": null, "current_probes": null, "is_active": true}));
}

#[test]
fn lists_hold_builtins_and_users_measurements_alike() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.1", &[]);
    reconcile(&lab, &[k_root(), json!({"id": 2001, "type": "ping", "af": 6, "target": "2001:7fd::1"})]);
    let own = lab.measure(&anna, &asking("ping", "20.1.2.3", worldwide(1)));
    let ids = |query: &str| lab.get(&format!("/api/v2/measurements/{query}")).ids();
    assert_eq!(ids("?sort=id"), [1001, 2001, own.0]);
    assert_eq!(ids("?id__lt=1000000&sort=-id"), [2001, 1001]);
    assert_eq!(ids("ping/?af=6"), [2001]);
    assert_eq!(ids("?status=Ongoing&id__lt=1000000"), [1001, 2001]);
    assert_eq!(ids("?target_ip=193.0.14.129"), [1001]);
    assert_eq!(lab.get_as(&anna, "/api/v2/measurements/my/").ids(), [own.0]);
    assert_eq!(lab.get("/api/v2/measurements/groups/").ids(), [own.0]);
    assert_eq!(lab.get("/api/v2/measurements/groups/1001/").status, 404);
}

#[test]
fn nobody_changes_a_builtin() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let probe = lab.probe(&anna, "20.0.0.1", &[]);
    reconcile(&lab, &[k_root()]);
    let before = lab.get("/api/v2/measurements/1001/").json();
    let remove = json!([{"action": "remove", "type": "probes", "value": probe.to_string(), "requested": 1}]);
    for (method, path, body) in [
        ("DELETE", "1001/", None),
        ("DELETE", "groups/1001/", None),
        ("PATCH", "1001/", Some(json!({"description": "mine"}))),
        ("POST", "1001/tags/", Some(json!({"tag": "mine"}))),
        ("POST", "1001/participation-requests/", Some(remove)),
        ("GET", "1001/private/", None),
    ] {
        let reply = lab.call(method, &format!("/api/v2/measurements/{path}"), Some(&anna.key), body.as_ref());
        reply.refused(403, 104);
    }
    let mut join = asking("ping", "20.1.2.3", worldwide(1));
    join["definitions"][0]["group_id"] = json!(1001);
    let reply = lab.post_as(&anna, "/api/v2/measurements/", &join);
    assert_eq!(reply.refused(400, 102), ["/definitions/0/group_id"]);
    assert_eq!(lab.get("/api/v2/measurements/1001/").json(), before);
}

#[test]
fn results_of_builtins_are_every_probes() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    reconcile(&lab, &[k_root()]);
    let mut probes = Vec::new();
    for from in ["20.0.0.1", "20.0.1.1", "20.0.2.1"] {
        let probe = lab.new_probe(&anna);
        let session = lab.connect(probe, from, &[]);
        for at in [NOW - 300, NOW - 60] {
            let ping = Outcome::Ping(PingOutcome { size: 48, sent: 0, replies: List::cut([]) });
            let report = result(MeasurementId(1001), at, from, "193.0.14.129", ping);
            lab.store(vec![lab.stored(probe, session, &report)], vec![]);
        }
        probes.push(probe.0);
    }
    let from = |path: &str| {
        let list = lab.get(&format!("/api/v2/measurements/1001/{path}")).json();
        let mut probes: Vec<u64> =
            list.as_array().unwrap().iter().map(|result| result["prb_id"].as_u64().unwrap()).collect();
        probes.sort_unstable();
        probes
    };
    assert_eq!(from("latest/"), probes);
    assert_eq!(from("results/").len(), 6);
    assert_eq!(from(&format!("results/?start={}", NOW - 100)), probes);
    assert_eq!(from(&format!("latest/?probe_ids={}", probes[1])), [probes[1]]);
    assert_eq!(from("latest/?public_only=true"), Vec::<u64>::new());
    // Its probes can be asked again.
    let again = asking("ping", "20.1.2.3", json!([{"type": "msm", "value": 1001, "requested": 10}]));
    let id = lab.measure(&anna, &again);
    assert_eq!(lab.get(&format!("/api/v2/measurements/{id}/")).json()["participant_count"], 3);
    assert_eq!(lab.get("/api/v2/measurements/1001/status-check").status, 200);
}
