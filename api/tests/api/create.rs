//! Making measurements: what is refused, where it points, and what comes of what is accepted.

use serde_json::{Value, json};
use sonde_api::ApiConfig;

use crate::lab::{Lab, NOW, asking, worldwide};

const FORBIDDEN: [&str; 7] =
    ["192.168.0.1", "127.0.0.1", "::1", "fe80::1", "100.64.0.1", "64:ff9b::c0a8:1", "::ffff:10.0.0.1"];

#[test]
fn both_forms_of_every_path_that_makes_measurements() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.9", &[]);
    for (path, kind) in [
        ("/api/v2/measurements", "ping"),
        ("/api/v2/measurements/", "ping"),
        ("/api/v2/measurements/ping", "ping"),
        ("/api/v2/measurements/ping/", "ping"),
        ("/api/v2/measurements/traceroute/", "traceroute"),
    ] {
        let reply = lab.post_as(&anna, path, &asking(kind, "1.1.1.1", worldwide(1)));
        assert_eq!(reply.status, 201, "{path}: {reply:?}");
        assert_eq!(reply.json()["measurements"].as_array().unwrap().len(), 1, "{path}");
    }
    // On a path of a kind the definition need not say it, and must not say another.
    let mut body = asking("ping", "1.1.1.1", worldwide(1));
    body["definitions"][0].as_object_mut().unwrap().remove("type");
    assert_eq!(lab.post_as(&anna, "/api/v2/measurements/ping", &body).status, 201);
    assert_eq!(lab.post_as(&anna, "/api/v2/measurements", &body).refused(400, 102), ["/definitions/0/type"]);
    let other = asking("traceroute", "1.1.1.1", worldwide(1));
    assert_eq!(lab.post_as(&anna, "/api/v2/measurements/ping/", &other).refused(400, 102), ["/definitions/0/type"]);
}

#[test]
fn ipv6_has_no_target_and_two_scopes() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.9", &[]);
    // The network's references are its targets, whatever is asked.
    let mut body = asking("ipv6", "1.1.1.1", worldwide(1));
    let reply = lab.post_as(&anna, "/api/v2/measurements/", &body);
    assert_eq!(reply.status, 201, "{reply:?}");
    let id = reply.json()["measurements"][0].as_u64().unwrap();
    let made = lab.get(&format!("/api/v2/measurements/{id}/")).json();
    assert_eq!((&made["target"], &made["scope"], &made["type"]), (&json!(null), &json!("light"), &json!("ipv6")));
    if let Some(definition) = body["definitions"][0].as_object_mut() {
        definition.remove("target");
        definition.insert("scope".into(), "full".into());
    }
    assert_eq!(lab.post_as(&anna, "/api/v2/measurements/ipv6/", &body).status, 201);
    body["definitions"][0]["scope"] = json!("everything");
    assert_eq!(lab.post_as(&anna, "/api/v2/measurements/", &body).refused(400, 102), ["/definitions/0/scope"]);
    // There is no path of a word that is no kind.
    assert_eq!(lab.post_as(&anna, "/api/v2/measurements/wifi/", &body).status, 405);
}

#[test]
fn the_chosen_probes_orders_have_changed() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let first = lab.probe(&anna, "20.0.0.9", &[]);
    let second = lab.probe(&anna, "20.0.1.9", &[]);
    let mut body = asking("ping", "1.1.1.1", worldwide(10));
    let twice = json!([body["definitions"][0], body["definitions"][0]]);
    body["definitions"] = twice;
    let reply = lab.post_as(&anna, "/api/v2/measurements/", &body);
    assert_eq!(reply.json()["measurements"].as_array().unwrap().len(), 2);
    assert_eq!(lab.dispatched(), [[first.0, second.0]], "each probe once, after the commit");

    let id = &reply.json()["measurements"][1];
    let object = lab.get(&format!("/api/v2/measurements/{id}?optional_fields=probes,probe_sources")).json();
    let probes: Vec<u64> = object["probes"].as_array().unwrap().iter().map(|p| p["id"].as_u64().unwrap()).collect();
    assert_eq!(probes, [first.0, second.0]);
    assert_eq!(object["group_id"], reply.json()["measurements"][0]);
    assert_eq!(object["probe_sources"][0]["requested"], 10);
    assert_eq!(object["status"], json!({"id": 2, "name": "Ongoing", "when": null}));
}

#[test]
fn forbidden_targets() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    for target in FORBIDDEN {
        let reply = lab.post_as(&anna, "/api/v2/measurements/", &asking("ping", target, worldwide(1)));
        assert_eq!(reply.refused(400, 102), ["/definitions/0/target"], "{target}");
    }
    assert_eq!(lab.get("/api/v2/measurements/").json()["count"], 0, "nothing was made");
    let lab = Lab::with(ApiConfig { allow_targets: vec!["127.0.0.0/8".parse().unwrap()], ..ApiConfig::default() });
    let anna = lab.person("anna");
    assert_eq!(lab.post_as(&anna, "/api/v2/measurements/", &asking("ping", "127.0.0.1", worldwide(1))).status, 201);
}

#[test]
fn names_are_looked_up_unless_the_probe_does() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let post = |changes: Value| {
        let mut body = asking("ping", "x", worldwide(1));
        for (key, value) in changes.as_object().unwrap() {
            body["definitions"][0][key] = value.clone();
        }
        lab.post_as(&anna, "/api/v2/measurements/", &body)
    };
    for target in ["v6only.example", "mixed.example", "nowhere.example", "broken.example", "not a name"] {
        assert_eq!(post(json!({"target": target})).refused(400, 102), ["/definitions/0/target"], "{target}");
    }
    assert_eq!(post(json!({"target": "v6only.example", "af": 6})).status, 201);
    assert_eq!(post(json!({"target": "nowhere.example", "resolve_on_probe": true})).status, 201);
    assert_eq!(post(json!({"target": "nowhere.example", "skip_dns_check": true})).status, 201);

    let id = post(json!({"target": "Good.Example."})).json()["measurements"][0].clone();
    let object = lab.get(&format!("/api/v2/measurements/{id}/")).json();
    assert_eq!(object["target"], "Good.Example.");
    assert_eq!((&object["target_ip"], &object["resolved_ips"]), (&json!("20.1.2.3"), &json!(["20.1.2.3"])));
}

#[test]
fn http_measures_listed_hosts_and_certificates_are_anybodys() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let post = |kind: &str, target: &str, changes: Value| {
        let mut body = asking(kind, target, worldwide(1));
        for (key, value) in changes.as_object().unwrap() {
            body["definitions"][0][key] = value.clone();
        }
        lab.post_as(&anna, "/api/v2/measurements/", &body)
    };
    for target in ["good.example", "1.1.1.1", "listed.example.net"] {
        assert_eq!(post("http", target, json!({})).refused(400, 102), ["/definitions/0/target"], "{target}");
    }
    assert_eq!(lab.get("/api/v2/measurements/").json()["count"], 0, "nothing was made");
    for target in ["Listed.Example.", "20.9.9.9"] {
        // As ripe-atlas-tools sends it.
        let reply = post(
            "http",
            target,
            json!({"query_string": null, "max_bytes_read": null, "user_agent": "x", "header_bytes": 0, "version": "1.1"}),
        );
        assert_eq!(reply.status, 201, "{target}: {reply:?}");
        let object = lab.get(&format!("/api/v2/measurements/{}/", reply.json()["measurements"][0])).json();
        assert_eq!((&object["type"], &object["path"], &object["port"]), (&json!("http"), &json!("/"), &json!(80)));
        assert_eq!(object["resolve_on_probe"], target != "20.9.9.9");
    }
    assert_eq!(post("sslcert", "good.example", json!({"hostname": ""})).status, 201);
    assert_eq!(post("sslcert", "good.example", json!({"port": 25})).refused(400, 102), ["/definitions/0/port"]);
    assert_eq!(post("http", "listed.example", json!({"port": 6379})).refused(400, 102), ["/definitions/0/port"]);
}

#[test]
fn every_problem_is_pointed_at_and_nothing_is_made() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.9", &[]);
    let body = json!({
        "definitions": [
            {"type": "ping", "af": 4, "target": "1.1.1.1", "packets": "many"},
            {"type": "traceroute", "af": 4, "target": "1.1.1.1", "protocol": "TCP", "port": 22},
            {"type": "dns", "af": 4, "target": "1.1.1.1", "tls": true},
            {"type": "http", "af": 4, "target": "1.1.1.1"},
            {"type": "ping", "af": 4, "target": "1.1.1.1"},
        ],
        "probes": [{"type": "region", "value": "middle-earth", "requested": 1}],
        "is_oneoff": true,
        "stop_time": NOW + 100,
    });
    let mut places = lab.post_as(&anna, "/api/v2/measurements/", &body).refused(400, 102);
    places.sort();
    assert_eq!(
        places,
        [
            "/definitions/0/packets",
            "/definitions/1/port",
            "/definitions/2/query_argument",
            "/definitions/2/query_class",
            "/definitions/2/query_type",
            "/definitions/3/target",
            "/probes/0/value",
            "/stop_time",
        ]
    );
    // Names that cannot be measured are found after everything else is in order; still nothing is half-made.
    let mut body = asking("ping", "1.1.1.1", worldwide(1));
    let mut named = body["definitions"][0].clone();
    named["target"] = json!("nowhere.example");
    body["definitions"] = json!([body["definitions"][0], named]);
    assert_eq!(lab.post_as(&anna, "/api/v2/measurements/", &body).refused(400, 102), ["/definitions/1/target"]);
    let unknown = asking("ping", "1.1.1.1", json!([{"type": "msm", "value": 1000000, "requested": 1}]));
    assert_eq!(lab.post_as(&anna, "/api/v2/measurements/", &unknown).refused(400, 102), ["/probes/0/value"]);
    assert_eq!(lab.get("/api/v2/measurements/").json()["count"], 0);
    assert!(lab.dispatched().is_empty());
}

#[test]
fn a_key_is_needed() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let body = asking("ping", "1.1.1.1", worldwide(1));
    let post =
        |key: Option<&str>, query: &str| lab.call("POST", &format!("/api/v2/measurements/{query}"), key, Some(&body));
    assert_eq!(post(None, "").refused(403, 104), [""; 0]);
    for bad in ["not-a-key", "00000000-0000-0000-0000-000000000000", &lab.key(anna.id, false)] {
        post(Some(bad), "").refused(403, 104);
        post(None, &format!("?key={bad}")).refused(403, 104);
    }
    assert_eq!(post(None, &format!("?key={}", anna.key)).status, 201);
    // A bad key is refused also where none is needed.
    lab.call("GET", "/api/v2/probes/", Some("not-a-key"), None).refused(403, 104);
}

/// Which probes a source gives, sorted.
fn chosen(lab: &Lab, person: &crate::lab::Person, target: &str, sources: Value) -> Vec<u64> {
    let id = lab.measure(person, &asking("ping", target, sources));
    let object = lab.get(&format!("/api/v2/measurements/{id}/?fields=probes")).json();
    object["probes"].as_array().unwrap().iter().map(|probe| probe["id"].as_u64().unwrap()).collect()
}

#[test]
fn sources_choose_what_fits() {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let v4 = lab.probe(&anna, "20.0.0.9", &[]).0;
    let v6 = lab.probe(&anna, "2a00:1:2:3::9", &[]).0;
    let both = lab.probe(&anna, "20.0.1.9", &["2a00:1:3:3::9"]).0;
    let away = {
        let probe = lab.new_probe(&anna);
        lab.disconnect(lab.connect(probe, "20.0.2.9", &[]));
        probe.0
    };
    let never = lab.new_probe(&anna).0;

    assert_eq!(chosen(&lab, &ben, "1.1.1.1", worldwide(10)), [v4, both], "connected, and with IPv4");
    assert_eq!(chosen(&lab, &ben, "2a00:9::1", worldwide(10)), [v6, both]);
    assert_eq!(chosen(&lab, &ben, "1.1.1.1", worldwide(1)).len(), 1);
    let tagged = |tags: Value| json!([{"type": "area", "value": "WW", "requested": 10, "tags": tags}]);
    assert_eq!(chosen(&lab, &ben, "1.1.1.1", tagged(json!({"include": ["system-ipv6-works"]}))), [both]);
    assert_eq!(chosen(&lab, &ben, "1.1.1.1", tagged(json!({"exclude": ["system-ipv6-works"]}))), [v4]);
    let named = json!([{"type": "probes", "value": format!("{never},{away},{v6},999"), "requested": 9}]);
    assert_eq!(chosen(&lab, &ben, "1.1.1.1", named), [v6, away, never], "whoever is named takes part");
    let two = json!([{"type": "probes", "value": v4, "requested": 1}, {"type": "area", "value": "WW", "requested": 1}]);
    assert_eq!(chosen(&lab, &ben, "1.1.1.1", two), [v4, both], "nobody is chosen twice");
    for (kind, value) in [("country", "NL"), ("asn", "64500"), ("prefix", "21.0.0.0/8")] {
        let source = json!([{"type": kind, "value": value, "requested": 1}]);
        assert_eq!(chosen(&lab, &ben, "1.1.1.1", source), [0; 0], "{kind}");
    }
    let first = lab.measure(&ben, &asking("ping", "1.1.1.1", json!([{"type": "probes", "value": [v4, away]}])));
    let same = json!([{"type": "msm", "value": first, "requested": 10}]);
    assert_eq!(chosen(&lab, &ben, "1.1.1.1", same), [v4]);
}

#[test]
fn a_prefix_tells_no_more_of_an_address_than_the_public_may_know() {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let probe = lab.probe(&anna, "20.0.0.9", &[]).0;
    let prefix = |value: &str| json!([{"type": "prefix", "value": value, "requested": 1}]);
    for value in ["20.0.0.0/8", "20.0.0.0/24", "20.0.0.77/24"] {
        assert_eq!(chosen(&lab, &ben, "1.1.1.1", prefix(value)), [probe], "{value}");
    }
    for value in ["20.0.0.0/25", "20.0.0.9/32", "20.0.0.128/25", "20.0.1.0/24"] {
        assert_eq!(chosen(&lab, &ben, "1.1.1.1", prefix(value)), [0; 0], "{value}");
    }
    assert_eq!(chosen(&lab, &anna, "1.1.1.1", prefix("20.0.0.9/32")), [probe], "the owner knows it");
}

#[test]
fn a_measurement_without_probes_says_so() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let id = lab.measure(&anna, &asking("ping", "1.1.1.1", worldwide(5)));
    let object = lab.get(&format!("/api/v2/measurements/{id}")).json();
    assert_eq!(object["status"], json!({"id": 6, "name": "No suitable probes", "when": NOW}));
    assert_eq!(object["participant_count"], 0);
}

#[test]
fn what_a_client_of_atlas_sends() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.9", &[]);
    // ripe-atlas-tools, blaeu and goat in turn.
    for body in [
        json!({"is_oneoff": true, "definitions": [{"type": "ping", "af": 4, "description": "Ping measurement to 1.1.1.1",
            "target": "1.1.1.1", "packets": 3, "packet_interval": 1000, "size": 48}],
            "probes": [{"type": "area", "value": "WW", "requested": 50,
            "tags": {"include": ["system-ipv4-works"], "exclude": []}}]}),
        json!({"is_oneoff": true, "definitions": [{"target": "1.1.1.1", "af": 4, "type": "traceroute", "protocol": "UDP",
            "port": 80, "size": 64, "max_hops": 32, "description": "Traceroute 1.1.1.1", "resolve_on_probe": null}],
            "probes": [{"requested": 5, "type": "area", "value": "WW", "tags": {"include": ["system-ipv4-works"]}}]}),
        json!({"is_oneoff": false, "bill_to": "someone@example.net", "start_time": "2025-10-09T09:00:00Z",
            "stop_time": "2025-10-09T10:00:00Z", "definitions": [{"type": "ping", "af": 4, "target": "1.1.1.1",
            "description": "d", "interval": 60, "packet_size": 64, "auto_topup": true}],
            "probes": [{"requested": 5, "type": "country", "value": "nl"}]}),
    ] {
        let reply = lab.post_as(&anna, "/api/v2/measurements/", &body);
        assert_eq!(reply.status, 201, "{reply:?}");
    }
}
