//! What measurements cost and probes earn, as their owners see it.

use std::sync::Arc;

use serde_json::{Value, json};
use sonde_api::{ApiConfig, CreditsPolicy, Policy, charge};
use sonde_protocol::ids::{MeasurementId, ProbeId, SessionId};
use sonde_store::catalog::Credits;

use crate::lab::{Lab, NOW, Person, asking, path, skipped, worldwide};

/// As the demo is not: everything costs.
pub fn charging(change: impl FnOnce(&mut CreditsPolicy)) -> Lab {
    let mut credits = CreditsPolicy { starting_credits: 1_000, ..CreditsPolicy::default() };
    change(&mut credits);
    Lab::with(ApiConfig { policy: Policy { credits, ..Policy::free() }, ..ApiConfig::default() })
}

/// A traceroute every minute.
fn periodic(target: &str, sources: Value) -> Value {
    let mut body = asking("traceroute", target, sources);
    body["is_oneoff"] = json!(false);
    body["definitions"][0]["interval"] = json!(3600);
    body
}

/// What arrived is charged for.
pub fn round(lab: &Lab) {
    lab.runtime.block_on(charge(&Arc::new(lab.api.clone()))).unwrap();
    let wrong = lab.runtime.block_on(lab.catalog.check_ledger()).unwrap();
    assert_eq!(wrong, Vec::<String>::new());
}

fn report(lab: &Lab, probe: ProbeId, session: SessionId, id: MeasurementId, runs: i64) {
    let results = (0..runs).map(|run| path(id, NOW + run, "20.0.0.9", "1.1.1.1", &["22.0.0.1"]));
    lab.store(results.map(|result| lab.stored(probe, session, &result)).collect(), Vec::new());
}

fn credits(lab: &Lab, person: &Person) -> Value {
    let reply = lab.get_as(person, "/api/v2/credits/");
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

#[test]
fn the_object_field_by_field() {
    let lab = charging(|_| {});
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let probe = lab.new_probe(&anna);
    round(&lab);
    let session = lab.connect(probe, "20.0.0.9", &[]);
    let once = lab.measure(&ben, &asking("ping", "1.1.1.1", worldwide(1)));
    lab.set_clock(NOW + 60);
    report(&lab, probe, session, once, 1);
    let skip = lab.stored(probe, session, &skipped(once, NOW, 3));
    lab.store(vec![skip], Vec::new());
    round(&lab);
    let expected: Value = serde_json::from_str(include_str!("credits.json")).unwrap();
    let link = |word: &str| format!("http://{}/api/v2/credits/{word}/", lab.address);
    for (person, expected) in [(&ben, "spent"), (&anna, "earned")].map(|(who, what)| (who, expected[what].clone())) {
        let mut expected = expected;
        for (field, word) in
            [("income_items", "income-items"), ("expense_items", "expense-items"), ("transactions", "transactions")]
        {
            expected[field] = json!(link(word));
        }
        assert_eq!(credits(&lab, person), expected);
    }
    lab.get("/api/v2/credits/").refused(403, 104);
}

#[test]
fn a_result_costs_its_price_once() {
    let lab = charging(|_| {});
    let anna = lab.person("anna");
    let probe = lab.new_probe(&anna);
    let session = lab.connect(probe, "20.0.0.9", &[]);
    let balance = || credits(&lab, &anna)["current_balance"].as_i64().unwrap();
    assert_eq!(balance(), 1_000);
    let old = lab.measure(&anna, &periodic("1.1.1.1", worldwide(1)));
    report(&lab, probe, session, old, 4);
    lab.set_clock(NOW + 1);
    round(&lab);
    assert_eq!(balance(), 1_000, "what came before charging began is free");
    report(&lab, probe, session, old, 2);
    let once = lab.measure(&anna, &asking("traceroute", "1.1.1.1", worldwide(1)));
    report(&lab, probe, session, once, 1);
    for _ in 0..3 {
        round(&lab);
        assert_eq!(balance(), 1_000 - 2 * 30 - 60);
    }
    let items = lab.get_as(&anna, "/api/v2/credits/expense-items").json();
    let shown: Vec<_> = items["results"].as_array().unwrap().iter().collect();
    assert_eq!(
        shown.iter().map(|item| (&item["measurement_id"], &item["results"], &item["amount"])).collect::<Vec<_>>(),
        [(&json!(old), &json!(2), &json!(-60)), (&json!(once), &json!(1), &json!(-60))]
    );
    let one = lab.get_as(&anna, &format!("/api/v2/credits/transactions/{}/", shown[0]["id"])).json();
    assert_eq!(&one, shown[0]);
    let ben = lab.person("ben");
    lab.get_as(&ben, &format!("/api/v2/credits/transactions/{}/", shown[0]["id"])).refused(404, 104);
    assert_eq!(lab.get_as(&anna, "/api/v2/credits/transactions/").json()["count"], 3, "and what she began with");
}

#[test]
fn own_probes_can_be_free() {
    let lab = charging(|credits| credits.own_probes_free = true);
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let (own, other) = (lab.new_probe(&anna), lab.new_probe(&ben));
    let sessions = [lab.connect(own, "20.0.0.9", &[]), lab.connect(other, "20.0.1.9", &[])];
    round(&lab);
    let estimate =
        lab.post_as(&anna, "/api/v2/measurements/estimate/", &asking("traceroute", "1.1.1.1", worldwide(2))).json();
    assert_eq!(
        (&estimate["measurements"][0]["probes"], &estimate["measurements"][0]["total"]),
        (&json!(2), &json!(60))
    );
    let id = lab.measure(&anna, &asking("traceroute", "1.1.1.1", worldwide(2)));
    report(&lab, own, sessions[0], id, 1);
    report(&lab, other, sessions[1], id, 1);
    round(&lab);
    assert_eq!(credits(&lab, &anna)["past_day_credits_spent"], 60);
}

#[test]
fn whoever_has_less_than_nothing_is_stopped() {
    let lab = charging(|credits| credits.starting_credits = 800);
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let probe = lab.new_probe(&ben);
    let session = lab.connect(probe, "20.0.0.9", &[]);
    let id = lab.measure(&anna, &periodic("1.1.1.1", worldwide(1)));
    round(&lab);
    lab.dispatched();
    let status = || lab.get(&format!("/api/v2/measurements/{id}/")).json()["status"]["name"].clone();
    report(&lab, probe, session, id, 25);
    round(&lab);
    assert_eq!((status(), lab.dispatched().len()), (json!("Ongoing"), 0));
    lab.set_clock(NOW + 86_400);
    report(&lab, probe, session, id, 3);
    round(&lab);
    assert_eq!(credits(&lab, &anna)["estimated_daily_expenditure"], 0);
    assert_eq!((status(), lab.dispatched()), (json!("Forced to stop"), vec![vec![probe.0]]));
}

#[test]
fn what_is_not_there_cannot_be_spent() {
    let lab = charging(|credits| credits.starting_credits = 100);
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.9", &[]);
    let post = |body: &Value| lab.post_as(&anna, "/api/v2/measurements/", body);
    let trace = asking("traceroute", "1.1.1.1", worldwide(1));
    assert_eq!(post(&trace).status, 201);
    let refused = post(&trace);
    assert_eq!(refused.refused(400, 102), [""]);
    let why = &refused.json()["error"]["errors"][0]["detail"];
    assert_eq!(why, "This needs 60 credits, and you have 40 to spend.");
    assert_eq!(post(&periodic("1.1.1.1", worldwide(1))).refused(400, 102), [""], "a day of it costs 720");
    assert_eq!(lab.get("/api/v2/measurements/").json()["count"], 1);
    assert_eq!(credits(&lab, &anna)["current_balance"], 100, "charged is what has arrived");
}

#[test]
fn two_requests_at_once_cannot_spend_the_same_credits() {
    let lab = charging(|credits| credits.starting_credits = 350);
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.9", &[]);
    let body = asking("traceroute", "1.1.1.1", worldwide(1));
    let made: usize = std::thread::scope(|scope| {
        let send = || lab.post_as(&anna, "/api/v2/measurements/", &body).status;
        let sent: Vec<_> = (0..12).map(|_| scope.spawn(send)).collect();
        sent.into_iter().map(|sent| usize::from(sent.join().unwrap() == 201)).sum()
    });
    assert_eq!((made, lab.get("/api/v2/measurements/").json()["count"].as_u64()), (5, Some(5)));
}

#[test]
fn an_estimate_makes_nothing() {
    let lab = charging(|_| {});
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.9", &[]);
    lab.probe(&anna, "20.0.1.9", &[]);
    let estimate = |body: &Value| lab.post_as(&anna, "/api/v2/measurements/estimate", body);
    let reply = estimate(&asking("ping", "1.1.1.1", worldwide(2))).json();
    let seed = &reply["probe_sources"][0]["seed"];
    let ids = &reply["measurements"][0]["probe_ids"];
    assert_eq!(
        reply,
        json!({
            "measurements": [{"type": "ping", "target": "1.1.1.1", "probes": 2, "probe_ids": ids, "credits_per_result": 6,
                "estimated_results_per_day": 2, "credits_per_day": 12, "total": 12}],
            "probe_sources": [{"requested": 2, "type": "area", "value": "WW", "tags_include": "", "tags_exclude": "",
                "diversity": false, "seed": seed}],
            "balance": 1000, "reserved": 0, "allowed": true, "reasons": [],
        })
    );
    let again = estimate(&asking("ping", "1.1.1.1", reply["probe_sources"].clone())).json();
    assert_eq!(&again["measurements"][0]["probe_ids"], ids, "what it says can be asked for");
    let mut day = periodic("1.1.1.1", worldwide(2));
    let reply = estimate(&day).json();
    assert_eq!(reply["measurements"][0]["credits_per_day"], 2 * 24 * 30);
    assert_eq!((&reply["measurements"][0]["total"], &reply["allowed"]), (&Value::Null, &json!(false)));
    assert_eq!(reply["reasons"], json!(["This needs 1440 credits, and you have 1000 to spend."]));
    day["stop_time"] = json!(NOW + 7200);
    let reply = estimate(&day).json();
    assert_eq!((&reply["measurements"][0]["total"], &reply["allowed"]), (&json!(120), &json!(true)));
    assert_eq!(estimate(&json!({})).refused(400, 102).len(), 2);
    assert_eq!(lab.get("/api/v2/measurements/").json()["count"], 0);
    assert!(lab.dispatched().is_empty());
}

#[test]
fn credits_are_given_away() {
    let lab = charging(|_| {});
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let give = |path: &str, body: Value| lab.post_as(&anna, path, &body);
    let path = "/api/v2/credits/transfers/";
    let reply = give(path, json!({"recipient": "Ben@Example.net", "amount": 400}));
    assert_eq!(reply.status, 201, "{reply:?}");
    let id = reply.json()["id"].clone();
    assert_eq!(reply.json()["transaction"], format!("http://{}/api/v2/credits/transactions/{id}/", lab.address));
    assert_eq!(give("/api/v2/credits/transfer", json!({"recipient": "ben@example.net", "amount": "100"})).status, 201);
    assert_eq!(credits(&lab, &anna)["current_balance"], 500);
    assert_eq!(credits(&lab, &ben)["current_balance"], 1_500);
    let seen = lab.get_as(&ben, &format!("/api/v2/credits/transactions/{id}/")).json();
    assert_eq!(
        (&seen["amount"], &seen["other_user_id"], &seen["kind"]),
        (&json!(400), &json!(anna.id), &json!("transfer"))
    );
    assert_eq!(lab.get_as(&ben, "/api/v2/credits/transfers/").ids().len(), 2);

    for (body, places) in [
        (json!({"recipient": "ben@example.net", "amount": 501}), vec!["/amount"]),
        (json!({"recipient": "ben@example.net", "amount": 0}), vec!["/amount"]),
        (json!({"recipient": "ben@example.net", "amount": -5}), vec!["/amount"]),
        (json!({"recipient": "ben@example.net", "amount": 1e300}), vec!["/amount"]),
        (json!({"recipient": "nobody@example.net", "amount": 1}), vec!["/recipient"]),
        (json!({"recipient": "anna@example.net", "amount": 1}), vec!["/recipient"]),
        (json!({"recipient": ["ben@example.net"]}), vec!["/amount", "/recipient"]),
        (json!({"recipient": "x".repeat(300), "amount": 1}), vec!["/recipient"]),
        (json!([]), vec![""]),
    ] {
        assert_eq!(give(path, body.clone()).refused(400, 102), places, "{body}");
    }
    assert_eq!(credits(&lab, &anna)["current_balance"], 500);
    assert!(lab.runtime.block_on(lab.catalog.check_ledger()).unwrap().is_empty());
}

#[test]
fn only_the_own_account_pays() {
    let lab = charging(|_| {});
    let anna = lab.person("anna");
    lab.person("ben");
    lab.probe(&anna, "20.0.0.9", &[]);
    for (payer, status) in [
        (json!("anna@example.net"), 201),
        (json!(null), 201),
        (json!("ben@example.net"), 400),
        (json!("nobody@example.net"), 400),
        (json!(5), 400),
    ] {
        let mut body = asking("ping", "1.1.1.1", worldwide(1));
        body["bill_to"] = payer.clone();
        let reply = lab.post_as(&anna, "/api/v2/measurements/", &body);
        assert_eq!(reply.status, status, "{payer}");
        if status == 400 {
            assert_eq!(reply.refused(400, 102), ["/bill_to"]);
        }
    }
    let free = Lab::new();
    let anna = free.person("anna");
    let mut body = asking("ping", "1.1.1.1", worldwide(1));
    body["bill_to"] = json!("ben@example.net");
    assert_eq!(free.post_as(&anna, "/api/v2/measurements/", &body).status, 201, "there is nothing to pay");
}

#[test]
fn nothing_is_charged_where_nothing_costs() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let probe = lab.new_probe(&anna);
    let session = lab.connect(probe, "20.0.0.9", &[]);
    let id = lab.measure(&anna, &periodic("1.1.1.1", worldwide(1)));
    round(&lab);
    report(&lab, probe, session, id, 5);
    lab.set_clock(NOW + 600);
    round(&lab);
    let object = credits(&lab, &anna);
    assert_eq!((&object["credit_checked"], &object["current_balance"]), (&json!(false), &json!(0)));
    assert_eq!(lab.get_as(&anna, "/api/v2/credits/transactions/").json()["count"], 0);
}
