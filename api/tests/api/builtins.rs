//! Built-in measurements: everybody's, and nobody's to change.

use serde_json::{Value, json};
use sonde_api::{AnchorBuiltins, ApiConfig, read_builtins};
use sonde_protocol::bounded::List;
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::result::{Outcome, PingOutcome};
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{AnchorAdded, Anchors, NewAnchor, Orders};

use crate::lab::{Lab, NOW, asking, result, worldwide};

/// Makes them as the server does at its start.
fn reconcile(lab: &Lab, entries: &[Value]) {
    let now = UnixNanos::from_secs(NOW);
    let file = read_builtins(entries, &ApiConfig::default(), &[], now).unwrap();
    let done = lab.runtime.block_on(file.reconcile(&*lab.catalog, &ApiConfig::default(), &[], now)).unwrap();
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

/// Makes a probe an anchor of this name, and gives the anchor's number.
fn anchor(lab: &Lab, probe: ProbeId, hostname: &str) -> u64 {
    let new = NewAnchor { probe, hostname: hostname.into(), city: None, country: None, company: None };
    match lab.runtime.block_on(lab.catalog.add_anchor(&new, UnixNanos::from_secs(NOW))).unwrap() {
        AnchorAdded::Made(id) => id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_anchor_is_measured_by_all_others_for_as_long_as_it_is_one() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let both = lab.probe(&anna, "20.0.0.1", &[]);
    let six = lab.probe(&anna, "20.0.1.1", &[]);
    let other = lab.probe(&anna, "20.0.2.1", &[]);
    let entries = [
        k_root(),
        json!({"id": 20_000, "anchors": true, "type": "ping", "af": 4, "description": "Ping {anchor}"}),
        json!({"id": 30_000, "anchors": true, "type": "traceroute", "af": 6, "protocol": "ICMP"}),
    ];
    let file = read_builtins(&entries, &lab.api.config, &[], UnixNanos::from_secs(NOW)).unwrap();
    let keeper = AnchorBuiltins { api: lab.api.clone(), file };
    let keep = || lab.runtime.block_on(keeper.once()).unwrap();
    let ordered = |probe| -> Vec<u64> {
        let (_, orders) = lab.runtime.block_on(lab.catalog.orders(probe, UnixNanos::from_secs(NOW))).unwrap();
        orders.iter().map(|order| order.measurement.0).collect()
    };
    let first = anchor(&lab, both, "good.example");
    let second = anchor(&lab, six, "v6only.example");
    let private = anchor(&lab, other, "mixed.example");
    assert!(keep());
    let (ping, trace, trace_six) = (20_000 + first, 30_000 + first, 30_000 + second);
    assert_eq!(lab.get("/api/v2/measurements/?sort=id").ids(), [1001, ping, trace, trace_six]);
    assert_eq!(ordered(both), [1001, trace_six], "not itself");
    assert_eq!(ordered(six), [1001, ping, trace]);
    assert_eq!(ordered(other), [1001, ping, trace, trace_six], "and nobody measures {private}, which is at home");
    assert_eq!(lab.dispatched(), [[both.0, six.0, other.0]]);
    let shown = lab.get(&format!("/api/v2/measurements/{ping}/")).json();
    assert_eq!(
        (&shown["target"], &shown["target_ip"], &shown["description"]),
        (&json!("good.example"), &json!("20.1.2.3"), &json!("Ping good.example"))
    );
    assert_eq!(lab.get("/api/v2/anchor-measurements/").ids(), [ping, trace, trace_six]);

    // Nothing new: nobody is told anything. A start without DNS changes nothing either.
    assert!(keep());
    reconcile(&lab, &entries);
    assert_eq!(lab.dispatched(), Vec::<Vec<u64>>::new());
    assert_eq!(ordered(other), [1001, ping, trace, trace_six]);

    // One goes, one comes whose name nobody can look up now.
    lab.runtime.block_on(lab.catalog.remove_anchor(both, UnixNanos::from_secs(NOW))).unwrap();
    let later = anchor(&lab, both, "broken.example");
    assert!(!keep());
    assert_eq!(ordered(other), [1001, trace_six]);
    assert_eq!(lab.dispatched().len(), 1);
    assert_eq!(lab.get(&format!("/api/v2/measurements/{ping}/")).json()["status"]["name"], "Stopped");
    lab.get(&format!("/api/v2/measurements/{}/", 20_000 + later)).refused(404, 104);
    assert_eq!(lab.get("/api/v2/anchor-measurements/").ids(), [trace_six]);

    // The file does not ask for it any more.
    reconcile(&lab, &entries[..2]);
    assert_eq!(ordered(other), [1001]);
}
