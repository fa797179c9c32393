//! Host names that lead elsewhere while they are measured.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use sonde_api::{Api, ApiConfig, Policy, Resolve, TargetUpdates, TargetsPolicy};
use sonde_protocol::net::Family;

use crate::lab::{Lab, NOW, Person, asking, worldwide};

const HOUR: i64 = 3600;

/// Every name leads here; without an address, to nobody who answers.
struct Everything(Option<&'static str>);

#[async_trait]
impl Resolve for Everything {
    async fn resolve(&self, _: &str, _: Family) -> Result<Vec<IpAddr>, String> {
        self.0.map(|address| vec![address.parse().unwrap()]).ok_or_else(|| "no answer within 2 s".into())
    }

    async fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        Ok(if name == "_sonde.6.6.6.20.in-addr.arpa" { vec!["v=sonde1 deny".into()] } else { Vec::new() })
    }
}

fn looked_up(lab: &Lab, person: &Person, target: &str, changes: Value) -> u64 {
    let mut body = asking("ping", target, worldwide(1));
    body["is_oneoff"] = json!(false);
    body["definitions"][0]["target_update_hours"] = json!(24);
    for (key, value) in changes.as_object().unwrap() {
        body["definitions"][0][key] = value.clone();
    }
    lab.measure(person, &body).0
}

/// Looks when so many hours are over, while names lead there.
fn look(lab: &Lab, hours: i64, address: Option<&'static str>) {
    lab.set_clock(NOW + hours * HOUR);
    let api = Api { resolver: Arc::new(Everything(address)), ..lab.api.clone() };
    lab.runtime.block_on(TargetUpdates(api).once()).unwrap();
}

fn shown(lab: &Lab, person: &Person, id: u64) -> (Value, Value, Value) {
    let fields = "fields=target_ip,target_update_error,status";
    let object = lab.get_as(person, &format!("/api/v2/measurements/{id}/?{fields}")).json();
    (object["target_ip"].clone(), object["target_update_error"].clone(), object["status"]["name"].clone())
}

#[test]
fn a_target_is_measured_where_its_name_leads() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let probe = lab.probe(&anna, "20.0.0.9", &[]);
    let id = looked_up(&lab, &anna, "good.example", json!({}));
    let others = [
        looked_up(&lab, &anna, "good.example", json!({"target_update_hours": null})),
        looked_up(&lab, &anna, "good.example", json!({"resolve_on_probe": true})),
        looked_up(&lab, &anna, "20.1.2.3", json!({})),
    ];
    lab.dispatched();
    look(&lab, 23, Some("20.7.7.7"));
    assert_eq!(lab.dispatched(), Vec::<Vec<u64>>::new(), "not yet");
    look(&lab, 24, Some("20.1.2.3"));
    assert_eq!(lab.dispatched(), Vec::<Vec<u64>>::new(), "it is where it was");
    look(&lab, 48, Some("20.7.7.7"));
    assert_eq!(lab.dispatched(), [[probe.0]]);
    assert_eq!(shown(&lab, &anna, id), (json!("20.7.7.7"), json!(null), json!("Ongoing")));
    let object = lab.get(&format!("/api/v2/measurements/{id}/?optional_fields=target_update_hours")).json();
    assert_eq!((&object["target_update_hours"], &object["resolved_ips"]), (&json!(24), &json!(["20.7.7.7"])));
    for other in others {
        let object = lab.get(&format!("/api/v2/measurements/{other}/?optional_fields=target_update_hours")).json();
        assert_eq!(object["target_update_hours"], json!(null), "{other}");
        assert_ne!(object["target_ip"], json!("20.7.7.7"), "{other}");
    }
}

#[test]
fn where_nobody_may_measure_a_target_is_not_followed() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.9", &[]);
    let id = looked_up(&lab, &anna, "good.example", json!({}));
    lab.dispatched();
    // An hour after each failure it is tried again.
    for (hours, address, why) in [(24, Some("10.0.0.1"), "10.0.0.1"), (25, None, "no answer within 2 s")] {
        look(&lab, hours, address);
        let (ip, error, status) = shown(&lab, &anna, id);
        assert_eq!((ip, status), (json!("20.1.2.3"), json!("Ongoing")));
        assert!(error.as_str().unwrap().contains(why), "{error}");
    }
    let public = lab.get(&format!("/api/v2/measurements/{id}/?optional_fields=target_update_error")).json();
    assert_eq!(public.get("target_update_error"), None, "its owner's business");
    assert_eq!(lab.dispatched(), Vec::<Vec<u64>>::new());
    look(&lab, 26, Some("20.7.7.7"));
    assert_eq!(shown(&lab, &anna, id), (json!("20.7.7.7"), json!(null), json!("Ongoing")));
    look(&lab, 50, Some("20.6.6.6"));
    assert_eq!(shown(&lab, &anna, id).2, json!("Forced to stop"), "the owner of that address says no");
}

#[test]
fn names_that_lead_to_one_victim_later_are_bounded_like_new_measurements() {
    let targets = TargetsPolicy { packets_per_second: 1, ..TargetsPolicy::default() };
    let lab = Lab::with(ApiConfig { policy: Policy { targets, ..Policy::free() }, ..ApiConfig::default() });
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.9", &[]);
    // 16 packets a minute each: a quarter of what one address may get.
    let often = json!({"packets": 16, "interval": 60});
    let ids: Vec<u64> = ["good.example", "good.example", "good.example"]
        .iter()
        .map(|name| looked_up(&lab, &anna, name, often.clone()))
        .collect();
    let mut body = asking("ping", "20.7.7.7", worldwide(1));
    body["is_oneoff"] = json!(false);
    body["definitions"][0]["packets"] = json!(16);
    body["definitions"][0]["interval"] = json!(60);
    lab.measure(&anna, &body);
    look(&lab, 24, Some("20.7.7.7"));
    let moved: Vec<Value> = ids.iter().map(|&id| shown(&lab, &anna, id).0).collect();
    assert_eq!(moved, [json!("20.7.7.7"), json!("20.7.7.7"), json!("20.1.2.3")]);
    let why = shown(&lab, &anna, ids[2]).1;
    assert!(why.as_str().unwrap().contains("more than 1 packets a second"), "{why}");
}

#[test]
fn what_is_asked_for_is_checked() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.9", &[]);
    for hours in [json!(21), json!(721), json!(-1), json!("soon"), json!([])] {
        let mut body = asking("ping", "good.example", worldwide(1));
        body["definitions"][0]["target_update_hours"] = hours.clone();
        let reply = lab.post_as(&anna, "/api/v2/measurements/", &body);
        assert_eq!(reply.refused(400, 102), ["/definitions/0/target_update_hours"], "{hours}");
    }
    let oneoff = {
        let mut body = asking("ping", "good.example", worldwide(1));
        body["is_oneoff"] = json!(true);
        body["definitions"][0]["target_update_hours"] = json!(24);
        lab.measure(&anna, &body).0
    };
    look(&lab, 1000, Some("20.7.7.7"));
    assert_eq!(shown(&lab, &anna, oneoff).0, json!("20.1.2.3"));
}
