//! Every object of the API as its clients read it: against the table of its fields, and against a file that shows a change
//! of any letter. `SONDE_BLESS=1` writes the files in `api/tests/golden/` anew.

use serde_json::{Map, Value, json};
use sonde_api::{ApiConfig, LimitsConfig};
use sonde_store::catalog::{ProbeEdit, Probes};

use crate::lab::{self, Lab, NOW, Person, Reply, asking, worldwide};
use crate::status_check::ping;

mod table;

use table::holds;

/// Compares with the file of this name, whatever address the server has this time.
#[track_caller]
fn golden(lab: &Lab, name: &str, value: &Value) {
    let text = value.to_string().replace(&format!("http://{}", lab.address), "http://sonde.example");
    lab::golden(&format!("{name}.json"), &serde_json::from_str(&text).unwrap());
}

#[track_caller]
fn ok(reply: &Reply) -> Value {
    assert!((200..300).contains(&reply.status), "{reply:?}");
    reply.json()
}

/// A measurement of every kind; dns in both forms.
fn definitions() -> Vec<(&'static str, Value)> {
    let query = json!({"query_class": "IN", "query_type": "AAAA", "query_argument": "example.net"});
    let with = |definition: Value, more: &Value| {
        let mut definition = definition.as_object().unwrap().clone();
        definition.extend(more.as_object().unwrap().clone());
        Value::Object(definition)
    };
    vec![
        ("ping", json!({"af": 4, "target": "good.example", "description": "is it there?", "tags": ["one", "two"]})),
        ("traceroute", json!({"af": 6, "target": "2a00:9::1", "protocol": "ICMP"})),
        ("dns", with(json!({"af": 4, "target": "20.1.2.3", "description": "a server"}), &query)),
        ("dns-own-resolvers", with(json!({"type": "dns", "af": 6, "use_probe_resolver": true}), &query)),
        ("sslcert", json!({"af": 4, "target": "20.1.2.3", "hostname": "www.example.net"})),
        ("http", json!({"af": 4, "target": "20.9.9.9", "query_string": "a=b"})),
        ("ntp", json!({"af": 6, "target": "good.example", "resolve_on_probe": true})),
        ("pathmtu", json!({"af": 4, "target": "20.1.2.3"})),
    ]
}

fn body(name: &str, definition: &Value, is_oneoff: bool) -> Value {
    let mut definition = definition.clone();
    if definition.get("type").is_none() {
        definition["type"] = json!(name);
    }
    json!({"definitions": [definition], "probes": worldwide(2), "is_oneoff": is_oneoff})
}

struct Scene {
    lab: Lab,
    anna: Person,
    ben: Person,
}

/// Two people, and two connected probes.
fn scene() -> Scene {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    lab.probe(&ben, "30.0.1.9", &["2a00:1:1::9"]);
    lab.probe(&ben, "30.0.2.9", &["2a00:1:2::9"]);
    Scene { lab, anna, ben }
}

#[test]
fn a_measurement_of_every_kind_once_and_periodic_as_anybody_and_its_owner_see_it() {
    let Scene { lab, anna, ben } = scene();
    for (name, definition) in definitions() {
        for (form, is_oneoff) in [("oneoff", true), ("periodic", false)] {
            let id = lab.measure(&anna, &body(name, &definition, is_oneoff));
            let path = format!("/api/v2/measurements/{id}/");
            let public = ok(&lab.get(&path));
            let kind = public["type"].as_str().unwrap().to_owned();
            holds(&public, &[table::MEASUREMENT, table::of_kind(&kind)]);
            assert_eq!(public["interval"].is_null(), is_oneoff, "{public}");
            golden(&lab, &format!("measurement-{name}-{form}"), &public);
            assert_eq!(ok(&lab.get_as(&ben, &path)), public, "a stranger sees what anybody sees");

            let owner = ok(&lab.get_as(&anna, &path));
            holds(&owner, &[table::MEASUREMENT, table::of_kind(&kind), table::OF_OWNER]);
            assert_eq!(ok(&lab.get_as(&anna, &format!("{path}private/"))), owner);
            let mut without = owner.as_object().unwrap().clone();
            for field in ["user_id", "bill_to_user_id"] {
                assert_eq!(without.remove(field), Some(json!(anna.id)), "{field}");
            }
            assert_eq!(Value::Object(without), public, "nothing else is for the owner alone");

            let list = ok(&lab.get(&format!("/api/v2/measurements/?id={id}")));
            assert_eq!(list["results"], json!([public]), "lists show the same");
        }
    }
}

#[test]
fn what_a_measurement_shows_when_it_is_asked_for() {
    let Scene { lab, anna, .. } = scene();
    let mut body = body("ping", &definitions()[0].1, false);
    body["start_time"] = json!(NOW + 3600);
    body["stop_time"] = json!(NOW + 7200);
    body["definitions"][0]["is_public"] = json!(false);
    body["probes"][0]["tags"] = json!({"include": ["system-ipv4-works"], "exclude": ["system-v1"]});
    let id = lab.measure(&anna, &body);
    lab.set_clock(NOW + 60);
    let leave = json!([{"action": "remove", "type": "probes", "value": "1", "requested": 1}]);
    ok(&lab.post_as(&anna, &format!("/api/v2/measurements/{id}/participation-requests/"), &leave));
    let names = "probes,probe_sources,participation_requests,current_probes,participant_logs,is_active";
    let path = format!("/api/v2/measurements/{id}/?optional_fields={names}");
    let object = ok(&lab.get_as(&anna, &path));
    holds(&object, &[table::MEASUREMENT, table::of_kind("ping"), table::OF_OWNER, table::OPTIONAL]);
    golden(&lab, "measurement-optional-fields", &object);

    let iso = ok(&lab.get_as(&anna, &format!("{path}&format%5Bdatetime%5D=iso-8601")));
    golden(&lab, "measurement-optional-fields-iso", &iso);
}

#[test]
fn the_states_of_a_measurement() {
    let Scene { lab, anna, .. } = scene();
    let periodic = |more: &Value| {
        let mut body = body("ping", &json!({"af": 4, "target": "20.1.2.3"}), false);
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        lab.measure(&anna, &body)
    };
    let nobody = json!({"probes": [{"type": "asn", "value": 64500, "requested": 1}]});
    let ids = [
        ("Scheduled", periodic(&json!({"start_time": NOW + 3600}))),
        ("Ongoing", periodic(&json!({}))),
        ("Stopped", periodic(&json!({"stop_time": NOW + 20}))),
        ("No suitable probes", periodic(&nobody)),
    ];
    let stopped = periodic(&json!({}));
    lab.set_clock(NOW + 30);
    assert_eq!(lab.call("DELETE", &format!("/api/v2/measurements/{stopped}"), Some(&anna.key), None).status, 204);
    let mut states = Map::new();
    for (name, id) in ids.into_iter().chain([("Stopped by hand", stopped)]) {
        let object = ok(&lab.get(&format!("/api/v2/measurements/{id}/?fields=status,start_time,stop_time,is_active")));
        assert!(name.starts_with(object["status"]["name"].as_str().unwrap()), "{name}: {object}");
        states.insert(name.into(), object);
    }
    golden(&lab, "measurement-states", &Value::Object(states));
}

#[test]
fn what_stands_around_measurements() {
    let Scene { lab, anna, .. } = scene();
    let mut two = body("ping", &definitions()[0].1, false);
    two["definitions"] = json!([two["definitions"][0], two["definitions"][0]]);
    let made = lab.post_as(&anna, "/api/v2/measurements/", &two);
    assert_eq!(made.status, 201);
    let id = made.json()["measurements"][0].as_u64().unwrap();
    let requests = format!("/api/v2/measurements/{id}/participation-requests/");
    let add = json!([{"action": "add", "type": "area", "value": "WW", "requested": 1}]);
    let asked = lab.post_as(&anna, &requests, &add);
    let tagged = lab.post_as(&anna, &format!("/api/v2/measurements/{id}/tags/"), &json!({"tag": "three"}));
    let written = json!({
        "POST measurements/": ok(&made), "POST participation-requests/": ok(&asked), "POST tags/": ok(&tagged),
    });
    golden(&lab, "written", &written);

    let mut lists = Map::new();
    let mut list = |path: &str, fields: Option<&str>| {
        let object = ok(&lab.get_as(&anna, path));
        holds(&object, &[table::LIST]);
        for item in object["results"].as_array().unwrap() {
            holds(item, &fields.map(|fields| vec![fields]).unwrap_or_else(|| vec!["id int", "type str"]));
        }
        lists.insert(path.into(), object);
    };
    list("/api/v2/measurements/?fields=&page_size=1", None);
    list("/api/v2/measurements/?fields=&page_size=1&page=2", None);
    list("/api/v2/measurements/?page_size=0", None);
    list(&requests, Some(table::PARTICIPATION_REQUEST));
    list("/api/v2/measurements/groups/", Some(table::GROUP));
    list("/api/v2/measurements/tags/", Some(table::TAG));
    list("/api/v2/measurements/my-tags/?tag__startswith=t", Some(table::TAG));
    list(&format!("/api/v2/measurements/{id}/tags/"), Some("tag str"));
    golden(&lab, "lists", &Value::Object(lists));

    let request = ok(&lab.get(&format!("/api/v2/participation-requests/{}/", asked.json()["request_ids"][0])));
    holds(&request, &[table::PARTICIPATION_REQUEST]);
    let group = ok(&lab.get(&format!("/api/v2/measurements/groups/{id}/")));
    holds(&group, &[table::GROUP]);
    let tag = ok(&lab.get_as(&anna, "/api/v2/measurements/my-tags/two/"));
    holds(&tag, &[table::TAG, "measurements [int]"]);
    golden(&lab, "participation-request", &request);
    golden(&lab, "group", &group);
    golden(&lab, "my-tag", &tag);
}

#[test]
fn a_key() {
    let Scene { lab, anna, .. } = scene();
    let id = lab.measure(&anna, &body("ping", &definitions()[0].1, false));
    let target = json!({"type": "measurement", "id": id});
    let grants = json!([{"permission": "measurements.create_measurement", "target": null},
        {"permission": "measurements.get_measurement", "target": target}]);
    let body = json!({"label": "for the dashboard", "valid_to": NOW + 3600, "grants": grants});
    let mut made = ok(&lab.post_as(&anna, "/api/v2/keys/", &body));
    holds(&made, &[table::KEY, "name str"]);
    let name = made["name"].as_str().unwrap().to_owned();
    let mut key = ok(&lab.get_as(&anna, &format!("/api/v2/keys/{name}/")));
    holds(&key, &[table::KEY]);
    assert_eq!(key["uuid"], json!(name));
    // Both are random.
    for object in [&mut made, &mut key] {
        for field in ["uuid", "name"] {
            if let Some(value) = object.get_mut(field) {
                *value = json!("01234567-89ab-4cde-8f01-23456789abcd");
            }
        }
    }
    golden(&lab, "key", &key);
    golden(&lab, "key-made", &made);
    // Every permission there is grows with the network; its form does not.
    let permissions = ok(&lab.get("/api/v2/keys/permissions/"));
    holds(&permissions, &[table::LIST]);
    for permission in permissions["results"].as_array().unwrap() {
        holds(permission, &["permission str", "has_targets bool", "type str"]);
    }
}

#[test]
fn where_and_when_probes_are() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let (here, away) = (lab.probe(&anna, "20.0.0.9", &[]), lab.new_probe(&anna));
    lab.set_clock(NOW + 1000);
    lab.disconnect(lab.connect(away, "20.0.1.9", &[]));
    lab.set_clock(NOW + 2000);
    let place = Some(Some((52.3731, 4.8922)));
    for probe in [here, away] {
        let edit = ProbeEdit { place, ..Default::default() };
        lab.runtime.block_on(lab.catalog.edit_probe(probe, &edit)).unwrap();
    }
    let never = lab.new_probe(&anna);
    let mut kept = Map::new();
    for path in [
        "places/".to_owned(),
        "places/?status=2".to_owned(),
        format!("{here}/uptime/"),
        format!("{here}/uptime/?window=90d"),
        format!("{never}/uptime/?window=24h"),
    ] {
        let object = ok(&lab.get(&format!("/api/v2/probes/{path}")));
        let table = if path.starts_with("places") { table::PLACES } else { table::UPTIME };
        holds(&object, &[table]);
        kept.insert(path, object);
    }
    golden(&lab, "probe-places-uptime", &Value::Object(kept));
    let refused = lab.get(&format!("/api/v2/probes/{here}/uptime/?window=1y"));
    assert_eq!(refused.refused(400, 104), ["window"]);
    assert_eq!(lab.get("/api/v2/probes/999/uptime/").status, 404);
    assert_eq!(lab.get("/api/v2/probes/0/uptime/").status, 404);
}

#[test]
fn a_status_check() {
    let Scene { lab, anna, .. } = scene();
    let id = lab.measure(&anna, &body("ping", &json!({"af": 4, "target": "20.1.2.3"}), false));
    let sessions = [1, 2].map(|probe| {
        let probe = sonde_protocol::ids::ProbeId(probe);
        (probe, lab.connect(probe, &format!("30.0.{probe}.9"), &[]))
    });
    let runs = [[Some(10), Some(14)], [None, None]];
    let reports = sessions
        .iter()
        .zip(runs)
        .map(|((probe, session), rtts)| lab.stored(*probe, *session, &ping(id, NOW - 10, &rtts)));
    lab.store(reports.collect(), Vec::new());
    let check = ok(&lab.get(&format!("/api/v2/measurements/{id}/status-check?show_all=true")));
    holds(&check, &[table::STATUS_CHECK]);
    for probe in check["probes"].as_object().unwrap().values() {
        holds(probe, &[table::STATUS_CHECK_OF_PROBE]);
    }
    golden(&lab, "status-check", &check);
}

#[test]
fn refusals() {
    let limits = LimitsConfig {
        create_per_minute: 2,
        loopback: true,
        address_per_minute: 0,
        account_per_minute: 0,
        ..LimitsConfig::default()
    };
    let lab = Lab::with(ApiConfig { limits, ..ApiConfig::default() });
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let id = lab.measure(&anna, &asking("ping", "20.1.2.3", worldwide(1)));
    let nobody = "00000000-0000-4000-8000-000000000000";
    let bad = json!({"definitions": [{"type": "ping", "af": 5, "target": "10.0.0.1", "packets": 99}]});
    let good = asking("ping", "20.1.2.3", worldwide(1));
    let one = format!("/api/v2/measurements/{id}/");
    let mut kept = Map::new();
    let mut keep = |name: &str, status: u16, reply: Reply| {
        assert_eq!(reply.status, status, "{name}: {reply:?}");
        let object = reply.json();
        let has_problems = object["error"].get("errors").is_some();
        holds(&object, if has_problems { &[table::ERROR, table::PROBLEMS] } else { &[table::ERROR] });
        kept.insert(name.into(), object);
    };
    keep("a body", 400, lab.post_as(&anna, "/api/v2/measurements/", &bad));
    keep("a body that is no JSON", 400, lab.call_raw("POST", "/api/v2/keys/", Some(&anna.key), Some(b"{".to_vec())));
    keep("a parameter", 400, lab.get("/api/v2/measurements/?af=5"));
    keep("no key", 403, lab.get("/api/v2/measurements/my/"));
    keep("an unknown key", 403, lab.call("GET", &one, Some(nobody), None));
    keep("another's measurement", 403, lab.call("DELETE", &one, Some(&ben.key), None));
    keep("nothing there", 404, lab.get("/api/v2/measurements/5/"));
    keep("no such page", 404, lab.get("/api/v2/measurements/?page=9"));
    keep("no such method", 405, lab.call("PUT", &one, Some(&anna.key), Some(&json!({}))));
    keep("too large", 413, lab.call_raw("POST", "/api/v2/measurements/", Some(&ben.key), Some(vec![b' '; 2 << 20])));
    lab.post_as(&anna, "/api/v2/measurements/", &good);
    keep("too many", 429, lab.post_as(&anna, "/api/v2/measurements/", &good));
    golden(&lab, "refusals", &Value::Object(kept));
}
