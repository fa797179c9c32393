//! What owners say of their probes, tags, rankings, what runs on a probe, and the object field by field.

use serde_json::{Value, json};
use sonde_protocol::board::{BoardState, LogHead, UpdateAttempt, UpdateChoice, UpdateOutcome, UpdateStage};
use sonde_protocol::bounded::{List, Text};
use sonde_protocol::ids::Asn;
use sonde_protocol::message::{HostPause, HostState};
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Anchors, Boards, Healths, NewAnchor, ProbeEdit, ProbeOrigin, Probes};

use crate::lab::{Lab, NOW, asking, worldwide};

#[test]
fn an_owner_changes_a_probe_and_nobody_else_does() {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let probe = lab.probe(&anna, "20.0.0.9", &[]);
    let path = format!("/api/v2/probes/{probe}/");
    let patch = |key: &str, body: Value| lab.call("PATCH", &path, Some(key), Some(&body));
    let body = json!({
        "description": "under the roof",
        "country_code": "fr",
        "geometry": {"type": "Point", "coordinates": [4.8922, 52.3731]},
        "tags": ["home", "fibre"],
    });
    lab.call("PATCH", &path, None, Some(&body)).refused(403, 104);
    patch(&ben.key, body.clone()).refused(403, 104);
    let mine = patch(&anna.key, body).json();
    assert_eq!((&mine["description"], &mine["country_code"]), (&json!("under the roof"), &json!("FR")));
    assert_eq!(mine["geometry"]["coordinates"], json!([4.8922, 52.3731]));
    let slugs = |object: &Value| -> Vec<String> {
        object["tags"].as_array().unwrap().iter().map(|tag| tag["slug"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(slugs(&mine), ["fibre", "home", "system-ipv4-capable", "system-ipv4-works"]);
    // Others see the country and the tags, a blurred place, and no description.
    let public = lab.get(&path).json();
    assert_eq!((&public["description"], &public["country_code"]), (&Value::Null, &json!("FR")));
    assert_ne!(public["geometry"]["coordinates"], mine["geometry"]["coordinates"]);
    assert_eq!(slugs(&public), slugs(&mine));

    assert_eq!(
        patch(&anna.key, json!({"status": 1, "country_code": "x"})).refused(400, 102),
        ["/country_code", "/status"]
    );
    assert_eq!(patch(&anna.key, json!({"is_public": true})).status, 200);
    assert_eq!(lab.get(&path).json()["address_v4"], "20.0.0.9");
    // Without a country of the owner's, the tables say it.
    assert_eq!(patch(&anna.key, json!({"country_code": null})).json()["country_code"], "NL");
    // A whole object as it was read.
    let mut whole = lab.get_as(&anna, &path).json();
    whole["description"] = json!("in the cellar");
    assert_eq!(lab.call("PUT", &path, Some(&anna.key), Some(&whole)).json()["description"], "in the cellar");

    let tags = format!("/api/v2/probes/{probe}/tags/");
    let patched = lab.call("PATCH", &tags, Some(&anna.key), Some(&json!(["office"]))).json();
    assert_eq!(slugs(&patched), ["office", "system-ipv4-capable", "system-ipv4-works"]);
    lab.call("PATCH", &tags, Some(&anna.key), Some(&json!({}))).refused(400, 102);
    lab.call("PATCH", &tags, Some(&ben.key), Some(&json!(["x"]))).refused(403, 104);
    assert_eq!(lab.get(&tags).json()[0], json!({"name": "office", "slug": "office"}));
    lab.call("PATCH", "/api/v2/probes/999/", Some(&anna.key), Some(&json!({}))).refused(404, 104);
}

#[test]
fn tags_rankings_and_what_runs_on_a_probe() {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let probe = lab.probe(&anna, "20.0.0.9", &[]);
    let away = lab.new_probe(&anna);
    let list = lab.get("/api/v2/probes/tags/?page_size=1").json();
    assert_eq!((&list["count"], &list["results"][0]["slug"]), (&json!(2), &json!("system-ipv4-capable")));
    let tag = lab.get("/api/v2/probes/tags/system-ipv4-works/").json();
    assert_eq!(tag, json!({"name": "system: IPv4 Works", "slug": "system-ipv4-works"}));
    lab.get("/api/v2/probes/tags/nobody-has-it/").refused(404, 104);

    let rankings = lab.get("/api/v2/probes/rankings/").json();
    assert_eq!(rankings["prefix4"], json!([["20.0.0.0/24", 1]]));
    assert_eq!(rankings["asn6"], json!([]));

    let mut body = asking("ping", "1.1.1.1", worldwide(1));
    body["is_oneoff"] = json!(false);
    let shown = lab.measure(&anna, &body);
    body["definitions"][0]["is_public"] = json!(false);
    let hidden = lab.measure(&ben, &body);
    let path = format!("/api/v2/probes/{probe}/measurements/");
    assert_eq!(lab.get(&path).ids(), [shown.0]);
    assert_eq!(lab.get_as(&ben, &path).ids(), [shown.0, hidden.0], "the owner of the probe is not the measurement's");
    assert_eq!(lab.get_as(&anna, &path).ids(), [shown.0]);
    assert_eq!(lab.get(&format!("/api/v2/probes/{away}/measurements/")).ids(), [0; 0]);
    lab.get("/api/v2/probes/999/measurements/").refused(404, 104);
}

#[test]
fn targets_have_an_origin() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.9", &[]);
    let id = lab.measure(&anna, &asking("ping", "20.7.7.7", worldwide(1)));
    let object = lab.get(&format!("/api/v2/measurements/{id}/")).json();
    assert_eq!((&object["target_asn"], &object["target_prefix"]), (&json!(64_500), &json!("20.0.0.0/8")));
    assert_eq!(lab.get("/api/v2/measurements/?target_asn=64500").ids(), [id.0]);
    let id = lab.measure(&anna, &asking("ping", "9.9.9.9", worldwide(1)));
    assert_eq!(lab.get(&format!("/api/v2/measurements/{id}/")).json()["target_asn"], Value::Null);
}

/// A board that waits, with something of everything.
pub(crate) fn board() -> BoardState {
    let attempt = UpdateAttempt {
        release: 202_611_290_220,
        outcome: UpdateOutcome::FellBack,
        words: Text::cut("no address on eth0 within ten minutes"),
        at: UnixNanos::from_secs(NOW - 3600),
    };
    BoardState {
        running: 202_610_010_000,
        name: Text::cut("0.4.1"),
        stage: UpdateStage::Waiting,
        release: Some(202_612_010_000),
        words: Text::cut("it is for later: the owner waits 7 days"),
        attempts: List::cut([attempt]),
        choice: UpdateChoice::Delay(7 * 86_400),
        checked_at: Some(UnixNanos::from_secs(NOW - 60)),
        log: Some(LogHead { size: 12, root: [0xab; 32] }),
    }
}

#[test]
fn an_owner_chooses_what_becomes_of_a_boards_updates() {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let probe = lab.probe(&anna, "20.0.0.9", &[]);
    let path = format!("/api/v2/probes/{probe}/");
    let choose = |key: &str, choice: Value| lab.call("PATCH", &path, Some(key), Some(&json!({ "updates": choice })));
    assert_eq!(lab.get_as(&anna, &path).json().get("updates"), None, "nobody has said anything");
    for choice in [
        json!({"choice": "delay", "days": 14}),
        json!({"choice": "pin", "release": 202_611_290_220_u64}),
        json!({"choice": "refuse"}),
        json!({"choice": "follow"}),
    ] {
        assert_eq!(choose(&anna.key, choice.clone()).json()["updates"], choice);
        assert_eq!(lab.get_as(&anna, &path).json()["updates"], choice);
        assert_eq!(lab.get(&path).json().get("updates"), None, "that is for its owner to know");
    }
    assert_eq!(choose(&anna.key, json!({"choice": "delay", "days": 0})).refused(400, 102), ["/updates/days"]);
    choose(&ben.key, json!({"choice": "refuse"})).refused(403, 104);
    assert_eq!(lab.get_as(&anna, &path).json()["updates"], json!({"choice": "follow"}));
    // A whole object as it was read says the same again.
    lab.runtime.block_on(lab.catalog.record_board(probe, &board(), lab.api.clock.now())).unwrap();
    let whole = lab.get_as(&anna, &path).json();
    assert_eq!(whole["board"]["choice"], json!({"choice": "delay", "days": 7}), "the board has not heard of it yet");
    assert_eq!(lab.call("PUT", &path, Some(&anna.key), Some(&whole)).json(), whole);
    // Others are told what runs, as with any probe's software, and no more.
    assert_eq!(lab.get(&path).json()["board"], json!({"name": "0.4.1"}));
    assert_eq!(lab.get_as(&ben, &path).json()["board"], json!({"name": "0.4.1"}));
    let metrics = lab.get("/api/v2/boards/metrics/").text;
    let line = r#"sonde_boards{release="202610010000",name="0.4.1",stage="waiting"} 1"#;
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
}

/// The object as `golden/probe.json` has it.
#[test]
fn the_object_of_a_probe_field_by_field() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let probe = lab.probe(&anna, "20.0.0.9", &["2a00:1:2:3::9", "192.168.1.5"]);
    let never = lab.new_probe(&anna);
    let edit = ProbeEdit {
        description: Some(Some("under the roof".into())),
        country: Some(Some("NL".into())),
        place: Some(Some((52.3731, 4.8922))),
        tags: Some(vec!["home".into()]),
        ..ProbeEdit::default()
    };
    let origin = ProbeOrigin { probe, asns: Some((Some(Asn(64_500)), Some(Asn(64_501)))), country: None };
    let anchor = NewAnchor {
        probe,
        hostname: "anchor.example.net".into(),
        city: Some("Amsterdam".into()),
        country: Some("NL".into()),
        company: Some("Example".into()),
    };
    let host = HostState {
        written_today: 8192,
        measured_today: 123_456,
        pause: Some(HostPause { remaining: Some(3600) }),
        packets_per_second: 200,
        bytes_per_day: 1 << 30,
        kinds: List::cut([1, 200]),
        hours: List::cut([Text::cut("22:00-06:00")]),
    };
    lab.runtime.block_on(async {
        lab.catalog.edit_probe(probe, &edit).await.unwrap();
        lab.catalog.record_host(probe, &host, lab.api.clock.now()).await.unwrap();
        lab.catalog.record_board(probe, &board(), lab.api.clock.now()).await.unwrap();
        lab.catalog.choose_updates(probe, UpdateChoice::Delay(7 * 86_400)).await.unwrap();
        lab.catalog.set_origins(&[origin]).await.unwrap();
        lab.catalog.add_anchor(&anchor, lab.api.clock.now()).await.unwrap();
    });
    let get = |path: String| lab.get(&path).json();
    crate::lab::golden(
        "probe.json",
        &json!({
            "owner": lab.get_as(&anna, &format!("/api/v2/probes/{probe}/")).json(),
            "others": get(format!("/api/v2/probes/{probe}/")),
            "never connected": get(format!("/api/v2/probes/{never}/")),
            "fields": get(format!("/api/v2/probes/{probe}/?fields=status,tags&format[datetime]=iso-8601")),
            "times": get(format!("/api/v2/probes/{probe}/?fields=first_connected,status_since&format[datetime]=iso-8601")),
        }),
    );
    let seconds = get(format!("/api/v2/probes/{probe}/?fields=status&format[datetime]=unix"));
    assert_eq!(seconds["status"]["since"], NOW - 500);
}
