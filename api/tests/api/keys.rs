//! Keys: making, changing and removing them, and what each may do.

use serde_json::{Value, json};

use crate::lab::{Lab, NOW, Person, asking, worldwide};

/// Makes a key and gives its secret and its name.
#[track_caller]
fn make(lab: &Lab, with: &str, body: &Value) -> (String, String) {
    let reply = lab.call("POST", "/api/v2/keys/", Some(with), Some(body));
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(reply.headers["cache-control"], "no-store");
    let text = |field: &str| reply.json()[field].as_str().unwrap().to_owned();
    (text("uuid"), text("name"))
}

fn granting(permissions: &[&str]) -> Value {
    let grants: Vec<Value> = permissions.iter().map(|name| json!({ "permission": name, "target": null })).collect();
    json!({ "label": "narrow", "grants": grants })
}

/// A private measurement of this person.
fn private(lab: &Lab, person: &Person) -> u64 {
    let mut body = asking("ping", "1.1.1.1", worldwide(1));
    body["is_oneoff"] = json!(false);
    body["definitions"][0]["is_public"] = json!(false);
    lab.measure(person, &body).0
}

#[test]
fn the_probes_of_a_private_measurement_are_for_keys_that_may_see_it() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.1", &[]);
    let hidden = private(&lab, &anna);
    let like = |id: u64| asking("ping", "1.1.1.1", json!([{"type": "msm", "value": id, "requested": 1}]));
    let public = lab.measure(&anna, &asking("ping", "1.1.1.1", worldwide(1))).0;
    let makes = "measurements.create_measurement";
    let (only_makes, _) = make(&lab, &anna.key, &granting(&[makes]));
    let (sees, _) = make(&lab, &anna.key, &granting(&[makes, "measurements.get_measurement"]));
    for path in ["/api/v2/measurements/", "/api/v2/measurements/estimate/"] {
        let ask = |key: &str, id: u64| lab.call("POST", path, Some(key), Some(&like(id)));
        assert_eq!(ask(&only_makes, hidden).refused(400, 102), ["/probes/0/value"]);
        assert_eq!(
            ask(&only_makes, hidden).text,
            ask(&only_makes, 4_711_000).text.replace("4711000", &hidden.to_string())
        );
        assert!(ask(&only_makes, public).status < 300);
        assert!(ask(&sees, hidden).status < 300);
    }
    let (updates, _) = make(&lab, &anna.key, &granting(&["measurements.update_measurement"]));
    let join = json!([{"action": "add", "type": "msm", "value": hidden, "requested": 1}]);
    let path = format!("/api/v2/measurements/{public}/participation-requests/");
    lab.call("POST", &path, Some(&updates), Some(&join)).refused(400, 102);
}

#[test]
fn a_key_from_its_making_to_its_end() {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let mut body = granting(&["keys.get_key"]);
    body["valid_to"] = json!(NOW + 100);
    let (secret, name) = make(&lab, &anna.key, &body);
    let path = format!("/api/v2/keys/{name}/");
    let object = lab.call("GET", &path, Some(&secret), None).json();
    assert_eq!(
        object,
        json!({
            "uuid": name, "valid_from": null, "valid_to": "2025-10-09T08:55:00Z", "enabled": true, "is_active": true,
            "created_at": "2025-10-09T08:53:20Z", "label": "narrow",
            "grants": [{"permission": "keys.get_key", "target": null}], "type": "key",
        })
    );
    assert!(!lab.get_as(&anna, "/api/v2/keys/").text.contains(&secret), "it is shown once");
    // To others it does not exist.
    for (method, body) in [("GET", None), ("PUT", Some(&body)), ("DELETE", None)] {
        lab.call(method, &path, Some(&ben.key), body).refused(404, 104);
        lab.call(method, &path, None, body).refused(403, 104);
    }

    let change = |body: Value| lab.call("PUT", &path, Some(&anna.key), Some(&body)).json();
    assert_eq!(change(json!({"enabled": false}))["is_active"], false);
    assert!(lab.call("GET", &path, Some(&secret), None).text.contains("disabled"));
    change(json!({"enabled": true, "valid_from": NOW + 50}));
    assert!(lab.call("GET", &path, Some(&secret), None).text.contains("not valid yet"));
    lab.set_clock(NOW + 50);
    assert_eq!(lab.call("GET", &path, Some(&secret), None).json()["is_active"], true);
    lab.set_clock(NOW + 100);
    assert!(lab.call("GET", &path, Some(&secret), None).text.contains("expired"));
    lab.call("GET", "/api/v2/probes/", Some(&secret), None).refused(403, 104);

    assert_eq!(lab.call("DELETE", &path, Some(&anna.key), None).status, 204);
    lab.call("DELETE", &path, Some(&anna.key), None).refused(404, 104);
    assert!(lab.call("GET", &path, Some(&secret), None).text.contains("does not exist"));
}

#[test]
fn each_permission_opens_its_own_doors_only() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.9", &[]);
    let one = private(&lab, &anna);
    let msm = format!("/api/v2/measurements/{one}/");
    let (results, latest, skipped) = (format!("{msm}results/"), format!("{msm}latest/"), format!("{msm}skipped/"));
    let create = asking("ping", "1.1.1.1", worldwide(1));
    let edit = json!({"description": "x"});
    let doors: [(&str, &str, Option<&Value>, &str, u16); 10] = [
        ("POST", "/api/v2/measurements/", Some(&create), "measurements.create_measurement", 403),
        ("GET", "/api/v2/measurements/my/", None, "measurements.list_measurements", 403),
        ("GET", &msm, None, "measurements.get_measurement", 404),
        ("GET", &results, None, "measurements.get_non_public_results", 404),
        ("GET", &latest, None, "measurements.get_non_public_results", 404),
        ("GET", &skipped, None, "measurements.get_non_public_results", 404),
        ("PATCH", &msm, Some(&edit), "measurements.update_measurement", 403),
        ("DELETE", &msm, None, "measurements.stop_measurement", 403),
        ("GET", "/api/v2/keys/", None, "keys.list_keys", 403),
        ("GET", "/api/v2/probes/my/", None, "probes.list_probes", 403),
    ];
    let list = lab.get("/api/v2/keys/permissions/").json();
    let names: Vec<&str> =
        list["results"].as_array().unwrap().iter().map(|one| one["permission"].as_str().unwrap()).collect();
    for granted in &names {
        let (key, _) = make(&lab, &anna.key, &granting(&[granted]));
        for (method, path, body, needed, refusal) in doors {
            let reply = lab.call(method, path, Some(&key), body);
            match needed == *granted {
                true => assert!(reply.status < 300, "{granted}: {method} {path}: {reply:?}"),
                false => drop(reply.refused(refusal, 104)),
            }
        }
    }
    // A key without any permission sees what the public sees.
    let (nothing, _) = make(&lab, &anna.key, &json!({"label": "nothing"}));
    assert_eq!(
        lab.call("GET", "/api/v2/measurements/", Some(&nothing), None).ids(),
        lab.get("/api/v2/measurements/").ids()
    );
}

#[test]
fn a_grant_for_one_measurement_is_good_for_no_other() {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    lab.probe(&anna, "20.0.0.9", &[]);
    let (one, other, bens) = (private(&lab, &anna), private(&lab, &anna), private(&lab, &ben));
    let target = |id: u64| json!({"type": "measurement", "id": id});
    let grants: Vec<Value> = [one, bens]
        .iter()
        .map(|id| json!({"permission": "measurements.get_non_public_results", "target": target(*id)}))
        .collect();
    let (key, _) = make(&lab, &anna.key, &json!({ "grants": grants }));
    let read = |id: u64| lab.call("GET", &format!("/api/v2/measurements/{id}/results/"), Some(&key), None);
    assert_eq!(read(one).status, 200);
    read(other).refused(404, 104);
    read(bens).refused(404, 104);

    let targets = |name: &str| lab.get_as(&anna, &format!("/api/v2/keys/permissions/{name}/targets/"));
    let mut listed = targets("measurements.get_non_public_results").ids();
    listed.sort_unstable();
    assert_eq!(listed, [one, other]);
    assert_eq!(targets("measurements.create_measurement").json()["count"], 0);
    targets("measurements.nonsense").refused(404, 104);
}

#[test]
fn no_key_makes_one_that_reaches_further_than_itself() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let mut body = granting(&["keys.create_key", "keys.update_key", "keys.delete_key", "keys.get_key"]);
    body["valid_to"] = json!(NOW + 100);
    let (narrow, name) = make(&lab, &anna.key, &body);
    let (_, wide) = make(&lab, &anna.key, &granting(&["measurements.create_measurement"]));
    let call = |method: &str, path: &str, body: Value| lab.call(method, path, Some(&narrow), Some(&body));

    let more = granting(&["measurements.create_measurement"]);
    call("POST", "/api/v2/keys/", more.clone()).refused(403, 104);
    call("PUT", &format!("/api/v2/keys/{name}/"), more).refused(403, 104);
    call("PUT", &format!("/api/v2/keys/{wide}/"), json!({"label": "mine"})).refused(403, 104);
    lab.call("DELETE", &format!("/api/v2/keys/{wide}/"), Some(&narrow), None).refused(403, 104);
    // Nor one that lives longer.
    let same = granting(&["keys.get_key"]);
    assert_eq!(call("POST", "/api/v2/keys/", same.clone()).refused(400, 102), ["/valid_to"]);
    let longer = json!({ "valid_to": null });
    assert_eq!(call("PUT", &format!("/api/v2/keys/{name}/"), longer).refused(400, 102), ["/valid_to"]);
    let mut shorter = same;
    shorter["valid_to"] = json!(NOW + 99);
    make(&lab, &narrow, &shorter);
}

#[test]
fn what_is_wrong_with_a_key_is_said_at_its_place() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let post = |body: Value| lab.post_as(&anna, "/api/v2/keys/", &body).refused(400, 102);
    assert_eq!(post(json!([])), [""]);
    let body = json!({
        "label": "x".repeat(256), "enabled": "yes", "valid_from": "soon", "valid_to": [],
        "grants": [
            {"permission": "all"}, {},
            {"permission": "keys.get_key", "target": {"type": "measurement", "id": 1}},
            {"permission": "measurements.get_measurement", "target": {"type": "probe", "id": 1}},
            {"permission": "measurements.get_measurement", "target": {"type": "measurement", "id": u64::MAX}},
        ],
    });
    let places = [
        "/label",
        "/enabled",
        "/valid_from",
        "/valid_to",
        "/grants/0/permission",
        "/grants/1/permission",
        "/grants/2/target",
        "/grants/3/target",
        "/grants/4/target",
    ];
    assert_eq!(post(body), places);
    assert_eq!(post(json!({"grants": null})), ["/grants"]);
    assert_eq!(post(json!({"valid_from": NOW + 1, "valid_to": NOW + 1})), ["/valid_to"]);
    for _ in 1..100 {
        make(&lab, &anna.key, &json!({}));
    }
    assert_eq!(post(json!({})), [""], "one more than there may be");
}
