//! Stopping and changing measurements, and one's keys.

use serde_json::{Value, json};

use crate::lab::{Lab, NOW, asking, worldwide};

#[test]
fn the_owner_stops_a_measurement() {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let probe = lab.probe(&anna, "20.0.0.9", &[]);
    for form in ["", "/"] {
        let mut body = asking("ping", "1.1.1.1", worldwide(1));
        body["is_oneoff"] = json!(false);
        let id = lab.measure(&anna, &body);
        let path = format!("/api/v2/measurements/{id}{form}");
        lab.dispatched();
        lab.call("DELETE", &path, None, None).refused(403, 104);
        lab.call("DELETE", &path, Some(&ben.key), None).refused(403, 104);
        assert!(lab.dispatched().is_empty());
        let stopped = lab.call("DELETE", &path, Some(&anna.key), None);
        assert_eq!((stopped.status, stopped.text.as_str()), (204, ""));
        assert_eq!(lab.dispatched(), [[probe.0]]);
        let object = lab.get(&path).json();
        assert_eq!(object["status"], json!({"id": 4, "name": "Stopped", "when": NOW}));
        assert_eq!(object["stop_time"], NOW);
        assert_eq!(lab.call("DELETE", &path, Some(&anna.key), None).status, 204, "again changes nothing");
        assert!(lab.dispatched().is_empty());
    }
    lab.call("DELETE", "/api/v2/measurements/5", Some(&anna.key), None).refused(404, 104);
}

#[test]
fn a_oneoff_stays_ongoing_until_clients_have_looked() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let probe = lab.probe(&anna, "20.0.0.9", &[]);
    let id = lab.measure(&anna, &asking("ping", "1.1.1.1", worldwide(4)));
    let status = || lab.get(&format!("/api/v2/measurements/{id}/?fields=status")).json()["status"]["name"].clone();
    lab.runtime.block_on(async {
        use sonde_store::catalog::Orders;
        lab.catalog.settle_oneoffs(&[(id, probe)]).await.unwrap();
    });
    assert_eq!(status(), "Ongoing");
    lab.set_clock(NOW + 30);
    assert_eq!(status(), "Ongoing");
    lab.set_clock(NOW + 31);
    assert_eq!(status(), "Stopped");
}

#[test]
fn what_can_be_changed() {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let mut body = asking("ping", "1.1.1.1", worldwide(1));
    body["definitions"][0]["is_public"] = json!(false);
    let path = format!("/api/v2/measurements/{}/", lab.measure(&anna, &body));
    let patch = |key: Option<&str>, body: Value| lab.call("PATCH", &path, key, Some(&body));
    let own = Some(anna.key.as_str());

    patch(None, json!({})).refused(403, 104);
    patch(Some(&ben.key), json!({})).refused(404, 104);
    assert_eq!(patch(own, json!({"description": "tea"})).json()["description"], "tea");
    assert_eq!(patch(own, json!({"description": null})).json()["description"], Value::Null);
    assert_eq!(patch(own, json!({"is_public": false})).status, 200, "it is not");
    assert_eq!(patch(own, json!({"is_public": true, "packets": 5})).refused(400, 102), ["/packets"]);
    lab.get(&path).refused(404, 104);
    assert_eq!(patch(own, json!({"is_public": true, "description": "for all"})).json()["is_public"], true);
    assert_eq!(lab.get(&path).json()["description"], "for all");
    assert_eq!(lab.get("/api/v2/measurements/?search=FOR%20all").ids().len(), 1);
    assert_eq!(patch(own, json!({"is_public": false})).refused(400, 102), ["/is_public"]);
    patch(Some(&ben.key), json!({"description": "mine"})).refused(403, 104);
    assert_eq!(patch(own, json!({"description": 5})).refused(400, 102), ["/description"]);
    assert_eq!(patch(own, json!([])).refused(400, 102), [""]);
}

#[test]
fn keys_are_listed_without_their_secrets() {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let off = lab.key(anna.id, false);
    let list = lab.get_as(&anna, "/api/v2/keys/");
    assert_eq!(list.json()["count"], 2);
    for secret in [&anna.key, &off, &ben.key] {
        assert!(!list.text.contains(secret.as_str()), "{list:?}");
    }
    let keys = list.json()["results"].as_array().unwrap().clone();
    let enabled: Vec<_> = keys.iter().map(|key| key["enabled"].as_bool().unwrap()).collect();
    assert_eq!(enabled.iter().filter(|on| **on).count(), 1);
    let key = &keys[0];
    assert_eq!(
        (&key["type"], &key["label"], &key["created_at"]),
        (&json!("key"), &json!("test"), &json!("2025-10-09T08:36:40Z"))
    );
    let name = key["uuid"].as_str().unwrap();
    assert_eq!(name.len(), 36);
    assert_eq!(lab.get_as(&anna, "/api/v2/keys").json()["results"][0]["uuid"], name, "the name stays");
    lab.call("GET", "/api/v2/keys/", Some(name), None).refused(403, 104);
    lab.get("/api/v2/keys/").refused(403, 104);
}
