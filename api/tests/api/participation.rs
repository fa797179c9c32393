//! Joining and leaving, groups, tags, and the forms of a measurement that go with them.

use serde_json::json;
use sonde_protocol::ids::ProbeId;

use crate::lab::{Lab, NOW, Person, asking, path, worldwide};

fn periodic(person: &Person, lab: &Lab, requested: u32) -> u64 {
    let mut body = asking("traceroute", "1.1.1.1", worldwide(requested));
    body["is_oneoff"] = json!(false);
    lab.measure(person, &body).0
}

fn part(lab: &Lab, id: u64) -> Vec<u64> {
    let object = lab.get(&format!("/api/v2/measurements/{id}/?fields=probes,status")).json();
    object["probes"].as_array().unwrap().iter().map(|probe| probe["id"].as_u64().unwrap()).collect()
}

#[test]
fn probes_join_and_leave() {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let first = lab.probe(&anna, "20.0.0.9", &[]);
    let id = periodic(&anna, &lab, 5);
    let second = lab.probe(&anna, "20.0.1.9", &[]);
    lab.dispatched();
    let url = format!("/api/v2/measurements/{id}/participation-requests/");
    let add = json!([{"action": "add", "type": "area", "value": "WW", "requested": 5, "include": "system-ipv4-works"}]);
    lab.call("POST", &url, Some(&ben.key), Some(&add)).refused(403, 104);
    let reply = lab.post_as(&anna, &url, &add);
    assert_eq!(reply.status, 201, "{reply:?}");
    let request = reply.json()["request_ids"][0].as_u64().unwrap();
    assert_eq!(lab.dispatched(), [vec![second.0]], "the one that was not there yet");
    assert_eq!(part(&lab, id), [first.0, second.0]);

    let session = lab.connect(first, "20.0.0.9", &[]);
    let report = path(sonde_protocol::ids::MeasurementId(id), NOW, "192.168.1.5", "1.1.1.1", &["20.9.9.9"]);
    lab.store(vec![lab.stored(first, session, &report)], vec![]);
    lab.set_clock(NOW + 10);
    let remove = json!([{"action": "remove", "type": "probes", "value": first.to_string(), "requested": 1}]);
    assert_eq!(lab.post_as(&anna, &url, &remove).status, 201);
    assert_eq!(lab.dispatched(), [vec![first.0]]);
    assert_eq!(part(&lab, id), [second.0]);
    let orders = |probe: ProbeId| {
        use sonde_protocol::time::UnixNanos;
        use sonde_store::catalog::Orders;
        lab.runtime.block_on(lab.catalog.orders(probe, UnixNanos::from_secs(NOW + 10))).unwrap().1.len()
    };
    assert_eq!((orders(first), orders(second)), (0, 1));
    let results = lab.get(&format!("/api/v2/measurements/{id}/results/")).json();
    assert_eq!(results.as_array().unwrap().len(), 1, "what it measured stays");
    let keyed = lab.get(&format!("/api/v2/measurement-latest/{id}/?versions=2")).json();
    assert_eq!(keyed[first.to_string()].as_array().unwrap().len(), 1, "{keyed}");
    assert_eq!(lab.get(&format!("/api/v2/measurements-latest/{id}?lookback_days=1")).json(), keyed);
    assert_eq!(lab.get(&format!("/api/v2/measurement-latest/{id}/?anchors_only=true")).json(), json!({}));
    assert_eq!(lab.get(&format!("/api/v2/measurements/{id}/latest/?public-only=true")).json(), json!([]));

    assert_eq!(
        lab.post_as(&anna, &url, &json!([{"action": "add", "type": "probes", "value": first.to_string()}])).status,
        201
    );
    assert_eq!(part(&lab, id), [first.0, second.0]);
    assert_eq!(orders(first), 1, "it takes part again");

    let listed = lab.get(&url).json();
    let actions: Vec<_> = listed["results"].as_array().unwrap().iter().map(|r| r["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["add", "add", "remove", "add"]);
    assert_eq!(lab.get(&format!("{url}probes/")).json()["count"], 2);
    let one = lab.get(&format!("/api/v2/participation-requests/{request}/")).json();
    assert_eq!((&one["type"], &one["requested"], &one["measurement_id"]), (&json!("area"), &json!(5), &json!(id)));
    assert_eq!(one["created_at"], NOW);

    let object = lab
        .get(&format!(
            "/api/v2/measurements/{id}/?optional_fields=participant_logs,current_probes,participation_requests"
        ))
        .json();
    assert_eq!(object["participant_count"], 2);
    assert_eq!(object["current_probes"].as_array().unwrap().len(), 2);
    assert_eq!(object["participation_requests"].as_array().unwrap().len(), 4);
    let log: Vec<_> = object["participant_logs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["prb_id"].as_u64().unwrap(), event["action"].as_str().unwrap()))
        .collect();
    assert_eq!(log, [(first.0, "join"), (second.0, "join"), (first.0, "leave"), (first.0, "join")]);
}

#[test]
fn requests_that_cannot_be_carried_out() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.9", &[]);
    let id = periodic(&anna, &lab, 1);
    let url = format!("/api/v2/measurements/{id}/participation-requests/");
    for (body, places) in [
        (json!(5), vec![""]),
        (json!([]), vec![""]),
        (json!([{"type": "area", "value": "WW", "requested": 1}]), vec!["/0/action"]),
        (json!([{"action": "remove", "type": "area", "value": "WW", "requested": 1}]), vec!["/0/type"]),
        (json!([{"action": "add", "type": "area", "value": "Mars", "requested": 1}]), vec!["/0/value"]),
        (json!([{"action": "add", "type": "area", "value": "WW", "requested": 1001}]), vec!["/0/requested"]),
    ] {
        assert_eq!(lab.post_as(&anna, &url, &body).refused(400, 102), places, "{body}");
    }
    lab.call("DELETE", &format!("/api/v2/measurements/{id}/"), Some(&anna.key), None);
    let add = json!([{"action": "add", "type": "area", "value": "WW", "requested": 1}]);
    assert_eq!(lab.post_as(&anna, &url, &add).refused(400, 102), [""], "it is over");
    lab.get("/api/v2/participation-requests/9999/").refused(404, 104);
}

#[test]
fn groups() {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    lab.probe(&anna, "20.0.0.9", &[]);
    let first = periodic(&anna, &lab, 1);
    let mut body = asking("ping", "1.1.1.1", worldwide(1));
    body["is_oneoff"] = json!(false);
    body["definitions"][0]["group_id"] = json!(first);
    assert_eq!(lab.post_as(&ben, "/api/v2/measurements/", &body).refused(400, 102), ["/definitions/0/group_id"]);
    let second = lab.measure(&anna, &body).0;
    let other = lab.measure(&ben, &asking("ping", "1.1.1.1", worldwide(1))).0;
    assert_eq!(lab.get("/api/v2/measurements/groups/").ids(), [first, other]);
    let url = format!("/api/v2/measurements/groups/{first}/");
    assert_eq!(
        lab.get(&format!("/api/v2/measurements/{second}/")).json()["group"],
        format!("http://{}{url}", lab.address)
    );
    let members = lab.get(&url).json();
    let ids: Vec<_> = members["measurements"].as_array().unwrap().iter().map(|m| m["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [first, second]);
    lab.call("DELETE", &url, Some(&ben.key), None).refused(403, 104);
    lab.get("/api/v2/measurements/groups/5/").refused(404, 104);
    assert_eq!(lab.call("DELETE", &url, Some(&anna.key), None).status, 204);
    assert_eq!(lab.get("/api/v2/measurements/?status=4").ids(), [first, second]);
}

#[test]
fn tags() {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    lab.probe(&anna, "20.0.0.9", &[]);
    let (one, two) = (periodic(&anna, &lab, 1), periodic(&anna, &lab, 1));
    let url = format!("/api/v2/measurements/{one}/tags/");
    assert_eq!(lab.post_as(&anna, &url, &json!({"tag": "Tea"})).status, 201);
    assert_eq!(lab.post_as(&anna, &url, &json!({"tag": "coffee"})).status, 201);
    assert_eq!(lab.post_as(&anna, &url, &json!({"tag": "a b"})).refused(400, 102), ["/tag"]);
    assert_eq!(lab.post_as(&anna, &url, &json!({})).refused(400, 102), ["/tag"]);
    lab.post_as(&ben, &url, &json!({"tag": "mine"})).refused(403, 104);
    lab.post_as(&anna, &format!("/api/v2/measurements/{two}/tags"), &json!({"tag": "tea"}));
    assert_eq!(lab.get("/api/v2/measurements/?tags=tea").ids(), [one, two]);
    assert_eq!(lab.get("/api/v2/measurements/?tags=tea,coffee").ids(), [one]);
    assert_eq!(lab.get(&format!("{url}tea/")).json(), json!({"tag": "tea"}));
    let names = |path: &str| -> Vec<String> {
        let reply = lab.get_as(&anna, path).json();
        reply["results"].as_array().unwrap().iter().map(|t| t["tag"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("/api/v2/measurements/tags/"), ["coffee", "tea"]);
    assert_eq!(names("/api/v2/measurements/tags/?tag__startswith=T"), ["tea"]);
    assert_eq!(names("/api/v2/measurements/my-tags/"), ["coffee", "tea"]);
    assert_eq!(lab.get_as(&ben, "/api/v2/measurements/my-tags/").json()["count"], 0);
    assert_eq!(lab.call("DELETE", &format!("{url}coffee/"), Some(&anna.key), None).status, 204);
    lab.get(&format!("{url}coffee/")).refused(404, 104);
    assert_eq!(names("/api/v2/measurements/tags/"), ["tea"]);
    let stop = "/api/v2/measurements/my-tags/tea/stop/";
    lab.call("POST", stop, Some(&ben.key), None).refused(404, 104);
    let reply = lab.call("POST", stop, Some(&anna.key), None);
    assert_eq!(reply.json(), json!({"measurements": [one, two]}));
    assert_eq!(lab.call("POST", stop, Some(&anna.key), None).json(), json!({"measurements": []}), "over already");
}

#[test]
fn the_owners_view_and_the_form_of_times() {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let mut body = asking("ping", "1.1.1.1", worldwide(1));
    body["definitions"][0]["is_public"] = json!(false);
    let made = lab.post_as(&anna, "/api/v2/measurements/my/", &body);
    assert_eq!(made.status, 201);
    let id = made.json()["measurements"][0].as_u64().unwrap();
    lab.get_as(&ben, &format!("/api/v2/measurements/{id}/private/")).refused(404, 104);
    assert!(lab.get_as(&anna, &format!("/api/v2/measurements/{id}/private/")).json()["user_id"].is_u64());
    assert_eq!(lab.get_as(&anna, "/api/v2/measurements/?is_public=false").ids(), [id]);
    assert_eq!(lab.get("/api/v2/measurements/?is_public=false").json()["count"], 0);
    let iso = lab.get_as(&anna, &format!("/api/v2/measurements/{id}/?format%5Bdatetime%5D=iso-8601")).json();
    assert_eq!(
        (&iso["start_time"], &iso["status"]["when"]),
        (&json!("2025-10-09T08:53:20Z"), &json!("2025-10-09T08:53:20Z"))
    );
    assert_eq!(iso["stop_time"], json!(null));
}
