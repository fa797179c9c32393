//! Probes that wait: who sees them, who claims them, who puts one in another's place; and those that nobody stands for.

use serde_json::{Value, json};
use sonde_api::{ApiConfig, LimitsConfig};
use sonde_protocol::identity::ClaimCode;
use sonde_protocol::ids::{AccountId, ProbeId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Admission, Enrolment, Knock, Knocked, Probes};
use sonde_store::conformance::block_on;

use crate::lab::{Lab, NOW, asking, golden, worldwide};

const CLAIM: &str = "/api/v2/probes/claim/";
const PENDING: &str = "/api/v2/probes/pending/";

fn key(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

/// A probe waits with the key that is made of `n`; gives its code.
fn waits(lab: &Lab, n: u8, owner: Option<AccountId>) -> String {
    let code = ClaimCode::from_random(u64::from(n) * 1_000_003);
    let knock = Knock {
        key: key(n),
        owner,
        address: "20.0.7.9".parse().unwrap(),
        software: "sonde-probe/0.1.0".into(),
        code,
        at: UnixNanos::from_secs(NOW),
    };
    assert!(matches!(block_on(lab.catalog.knock(&knock)).unwrap(), Knocked::Waits(_)));
    code.to_string()
}

fn admission(lab: &Lab, n: u8) -> Admission {
    block_on(lab.catalog.admit(&key(n), None, UnixNanos::from_secs(NOW))).unwrap()
}

#[test]
fn a_probe_is_claimed_by_the_code_that_it_shows() {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let code = waits(&lab, 200, None);
    assert_eq!(lab.get_as(&anna, PENDING).json()["count"], 0, "it waits for nobody in particular");
    lab.call("POST", CLAIM, None, Some(&json!({"code": code}))).refused(403, 104);
    for (body, places) in [
        (json!([]), &[""][..]),
        (json!({}), &["/code"]),
        (json!({"code": 5}), &["/code"]),
        (json!({"code": "ABCD"}), &["/code"]),
        (json!({"code": "\u{202e}BCD-EFGH"}), &["/code"]),
        (json!({"code": "2222-2222"}), &["/code"]),
        (json!({"code": code, "key": "x"}), &["/key"]),
        (json!({"code": code, "key": key(201).to_string()}), &["/key"]),
    ] {
        assert_eq!(lab.post_as(&anna, CLAIM, &body).refused(400, 102), places, "{body}");
    }
    let code = code.to_lowercase().replace('-', "");
    let claimed = lab.post_as(&anna, CLAIM, &json!({"code": code, "key": key(200).to_string()}));
    assert_eq!(claimed.status, 201, "{claimed:?}");
    let claimed = claimed.json();
    golden("claimed-probe.json", &claimed);
    let Admission::Known(probe) = admission(&lab, 200) else { panic!("it is a probe now") };
    assert_eq!((json!(probe.id.0), probe.owner), (claimed["id"].clone(), anna.id));
    assert_eq!(lab.get_as(&anna, "/api/v2/probes/my/").json()["count"], 1);
    assert_eq!(lab.post_as(&ben, CLAIM, &json!({"code": code})).refused(400, 102), ["/code"], "once");
}

#[test]
fn whoever_has_used_a_token_twice_is_asked() {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let (first, second) = (waits(&lab, 200, Some(anna.id)), waits(&lab, 201, Some(anna.id)));
    let listed = lab.get_as(&anna, PENDING).json();
    assert_eq!(listed["count"], 2);
    golden("pending-probe.json", &listed["results"][0]);
    assert_eq!(lab.get_as(&ben, PENDING).json()["count"], 0);
    lab.get(PENDING).refused(403, 104);
    let newest = lab.get_as(&anna, &format!("{PENDING}?sort=-id&page_size=1")).json();
    assert_eq!((newest["count"].clone(), newest["results"].as_array().unwrap().len()), (json!(2), 1));

    assert_eq!(lab.post_as(&ben, CLAIM, &json!({"code": first})).refused(400, 102), ["/code"]);
    let turn_away = |person: &crate::lab::Person, code: &str| {
        lab.call("DELETE", &format!("{PENDING}{code}/"), Some(&person.key), None).status
    };
    assert_eq!([turn_away(&ben, &first), turn_away(&anna, "nonsense"), turn_away(&anna, "2222-2222")], [404; 3]);
    assert_eq!(turn_away(&anna, &first), 204);
    assert_eq!(turn_away(&anna, &first), 404);
    assert_eq!(lab.post_as(&anna, CLAIM, &json!({"code": second})).status, 201);
    assert_eq!(lab.get_as(&anna, PENDING).json()["count"], 0);
    assert_eq!(admission(&lab, 200), Admission::UnknownKey);
}

#[test]
fn a_new_board_takes_the_place_of_an_old_one() {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let probe = lab.probe(&anna, "20.0.0.9", &[]);
    let path = format!("/api/v2/probes/{probe}/rebind/");
    let before = lab.get_as(&anna, &format!("/api/v2/probes/{probe}/")).json();
    let old = block_on(lab.catalog.probe(probe)).unwrap().unwrap().key;
    let body = json!({"code": waits(&lab, 200, None)});
    lab.call("POST", &path, None, Some(&body)).refused(403, 104);
    lab.post_as(&ben, &path, &body).refused(403, 104);
    lab.post_as(&anna, "/api/v2/probes/999/rebind/", &body).refused(404, 104);
    for bad in [json!({}), json!({"code": "2222-2222"}), json!({"code": 1})] {
        assert_eq!(lab.post_as(&anna, &path, &bad).refused(400, 102), ["/code"]);
    }
    let done = lab.post_as(&anna, &path, &body);
    assert_eq!((done.status, done.json()["id"].clone()), (200, json!(probe.0)), "{done:?}");
    assert_eq!(done.json()["fingerprint"], key(200).short());
    let after = lab.get_as(&anna, &format!("/api/v2/probes/{probe}/")).json();
    assert_eq!(after, before, "all that is known of it stays");
    let replaced = block_on(lab.catalog.admit(&old, None, UnixNanos::from_secs(NOW))).unwrap();
    assert!(matches!(replaced, Admission::Replaced { probe: of, .. } if of == probe), "{replaced:?}");
}

/// A probe of an open network, connected.
fn unvouched(lab: &Lab, n: u8, from: &str) -> ProbeId {
    let key = key(n);
    let joined = lab.catalog.join_open(&key, from.parse().unwrap(), UnixNanos::from_secs(NOW));
    let probe = block_on(joined).unwrap().unwrap().id;
    lab.connect(probe, from, &[]);
    probe
}

#[test]
fn what_nobody_stands_for_is_measured_with_by_its_number_alone() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let probe = unvouched(&lab, 200, "20.0.0.9");
    let object = |what: &str| lab.get(&format!("/api/v2/probes/{probe}/")).json()[what].clone();
    assert_eq!((object("is_vouched"), object("status")["id"].clone()), (json!(false), json!(1)));
    assert_eq!(lab.get("/api/v2/probes/rankings/").json()["prefix4"], json!([]));
    let ask = |sources: Value| {
        let id = lab.measure(&anna, &asking("ping", "1.1.1.1", sources));
        lab.get(&format!("/api/v2/measurements/{id}/")).json()["participant_count"].clone()
    };
    let others = [worldwide(1), json!([{"type": "prefix", "value": "20.0.0.0/24", "requested": 1}])];
    for source in &others {
        assert!(ask(source.clone()).as_u64().is_none_or(|count| count == 0), "{source}");
    }
    assert_eq!(ask(json!([{"type": "probes", "value": probe.0, "requested": 1}])), 1);

    block_on(lab.catalog.vouch(probe)).unwrap();
    assert_eq!(object("is_vouched"), json!(true));
    assert_eq!(ask(worldwide(1)), 1);
    assert_eq!(lab.get("/api/v2/probes/rankings/").json()["prefix4"], json!([["20.0.0.0/24", 1]]));
}

#[test]
fn a_copied_key_is_shown_to_the_owner() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let probe = lab.probe(&anna, "20.0.0.9", &[]);
    block_on(lab.catalog.note_duplicate(probe, UnixNanos::from_secs(NOW))).unwrap();
    let path = format!("/api/v2/probes/{probe}/");
    assert_eq!(lab.get_as(&anna, &path).json()["duplicate_key_seen"], NOW);
    assert_eq!(lab.get(&path).json()["duplicate_key_seen"], Value::Null);
}

#[test]
fn codes_are_not_found_by_trying() {
    let lab = Lab::with(ApiConfig { limits: LimitsConfig::default(), ..ApiConfig::default() });
    let anna = lab.person("anna");
    let code = waits(&lab, 200, None);
    let tries = (0..40).map(|_| lab.post_as(&anna, CLAIM, &json!({"code": "2222-2222"})).status);
    let statuses: Vec<u16> = tries.collect();
    assert!(statuses.starts_with(&[400]) && statuses.ends_with(&[429]), "{statuses:?}");
    assert_eq!(lab.post_as(&anna, CLAIM, &json!({"code": code})).status, 429, "nor by the right one then");
    let path = format!("{PENDING}{code}/");
    assert_eq!(lab.call("DELETE", &path, Some(&anna.key), None).status, 429);
}
