//! Probes that stay away are replaced, where their measurement asks for it.

use serde_json::{Value, json};
use sonde_api::Replacements;

use crate::lab::{Lab, NOW, Person, asking, worldwide};

const DAY: i64 = 86_400;

fn topped_up(lab: &Lab, person: &Person, sources: Value, changes: Value) -> u64 {
    let mut body = asking("ping", "20.1.2.3", sources);
    body["is_oneoff"] = json!(false);
    body["definitions"][0]["auto_topup"] = json!(true);
    for (key, value) in changes.as_object().unwrap() {
        body["definitions"][0][key] = value.clone();
    }
    lab.measure(person, &body).0
}

fn part(lab: &Lab, id: u64) -> Vec<u64> {
    let object = lab.get(&format!("/api/v2/measurements/{id}/?fields=probes")).json();
    object["probes"].as_array().unwrap().iter().map(|probe| probe["id"].as_u64().unwrap()).collect()
}

fn look(lab: &Lab) {
    lab.runtime.block_on(Replacements(lab.api.clone()).once());
}

#[test]
fn a_probe_that_stays_away_is_replaced() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let gone = lab.new_probe(&anna);
    let session = lab.connect(gone, "20.0.0.1", &[]);
    let every = |days: i64| json!({"auto_topup_prb_days_off": days});
    let soon = topped_up(&lab, &anna, worldwide(1), every(2));
    let later = topped_up(&lab, &anna, worldwide(1), every(9));
    let named = topped_up(&lab, &anna, json!([{"type": "probes", "value": gone.to_string()}]), every(2));
    let without = topped_up(&lab, &anna, worldwide(1), json!({"auto_topup": false}));
    let over = topped_up(&lab, &anna, worldwide(1), every(2));
    assert_eq!(lab.call("DELETE", &format!("/api/v2/measurements/{over}/"), Some(&anna.key), None).status, 204);
    lab.disconnect(session);
    let other = lab.probe(&anna, "20.0.0.2", &[]);
    lab.dispatched();

    // It left 100 s before.
    lab.set_clock(NOW - 101 + 2 * DAY);
    look(&lab);
    assert_eq!((lab.dispatched(), part(&lab, soon)), (vec![], vec![gone.0]), "not yet two days");
    lab.set_clock(NOW - 100 + 2 * DAY);
    look(&lab);
    assert_eq!(lab.dispatched(), [vec![gone.0, other.0]]);
    assert_eq!(part(&lab, soon), [other.0]);
    for id in [later, named, without, over] {
        assert_eq!(part(&lab, id), [gone.0], "{id}");
    }
    look(&lab);
    assert_eq!(lab.dispatched(), Vec::<Vec<u64>>::new(), "once");
    let object = lab.get(&format!("/api/v2/measurements/{soon}/?optional_fields=participant_logs")).json();
    let at = NOW - 100 + 2 * DAY;
    assert_eq!(
        object["participant_logs"],
        json!([
            {"prb_id": gone, "timestamp": NOW, "action": "join"},
            {"prb_id": gone, "timestamp": at, "action": "leave"},
            {"prb_id": other, "timestamp": at, "action": "join"},
        ])
    );
    assert_eq!((&object["participant_count"], &object["probes_requested"]), (&json!(1), &json!(1)));
}

#[test]
fn what_is_asked_for_is_shown_and_checked() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.1", &[]);
    let fields = "fields=auto_topup,auto_topup_prb_days_off,auto_topup_prb_similarity";
    let shown = |id: u64| {
        let object = lab.get(&format!("/api/v2/measurements/{id}/?{fields}")).json();
        ["auto_topup", "auto_topup_prb_days_off", "auto_topup_prb_similarity"].map(|name| object[name].clone())
    };
    let id = topped_up(&lab, &anna, worldwide(1), json!({}));
    assert_eq!(shown(id), [json!(true), json!(7), json!(0.5)]);
    let id = topped_up(&lab, &anna, worldwide(1), json!({"auto_topup": "false"}));
    assert_eq!(shown(id), [json!(false), Value::Null, Value::Null]);
    for (field, value) in [
        ("auto_topup", json!("perhaps")),
        ("auto_topup_prb_days_off", json!(31)),
        ("auto_topup_prb_similarity", json!(1.5)),
        ("auto_topup_prb_similarity", json!([])),
    ] {
        let mut body = asking("ping", "20.1.2.3", worldwide(1));
        body["is_oneoff"] = json!(false);
        body["definitions"][0][field] = value;
        let reply = lab.post_as(&anna, "/api/v2/measurements/", &body);
        assert_eq!(reply.refused(400, 102), [format!("/definitions/0/{field}")]);
    }
}
