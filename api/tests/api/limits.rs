//! Limits as a client meets them. The lab's clock stands still, so buckets fill only when a test says so.

use serde_json::json;
use sonde_api::{ApiConfig, LimitsConfig};

use crate::lab::{Lab, NOW, Person, asking, worldwide};

fn limited(address: u32, account: u32, create: u32) -> LimitsConfig {
    LimitsConfig {
        address_per_minute: address,
        account_per_minute: account,
        create_per_minute: create,
        login_per_minute: 0,
        loopback: true,
        trusted_proxies: Vec::new(),
        ..LimitsConfig::default()
    }
}

fn lab(limits: LimitsConfig) -> Lab {
    Lab::with(ApiConfig { limits, ..ApiConfig::default() })
}

#[test]
fn an_address_that_asks_too_much_is_told_when_to_come_back() {
    let lab = lab(limited(3, 0, 0));
    for _ in 0..3 {
        assert_eq!(lab.get("/api/v2/probes/").status, 200);
    }
    let refused = lab.get("/api/v2/probes/");
    refused.refused(429, 104);
    assert_eq!(refused.headers["retry-after"], "20");
    // A word in a header does not make another address of it.
    let raw = "GET /api/v2/probes/ HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: close\r\n\r\n";
    assert!(lab.raw(raw.as_bytes()).starts_with("HTTP/1.1 429"));
    lab.set_clock(NOW + 19);
    lab.get("/api/v2/probes/").refused(429, 104);
    lab.set_clock(NOW + 20);
    assert_eq!(lab.get("/api/v2/probes/").status, 200);
    lab.get("/api/v2/probes/").refused(429, 104);
}

#[test]
fn behind_a_trusted_proxy_each_client_has_its_own() {
    let lab = lab(LimitsConfig { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..limited(1, 0, 0) });
    let ask = |from: &str| {
        let head = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {from}\r\nConnection: close\r\n\r\n");
        lab.raw(head.as_bytes()).get(9..12).unwrap().to_owned()
    };
    assert_eq!(ask("192.0.2.1"), "200");
    assert_eq!(ask("192.0.2.1"), "429");
    assert_eq!(ask("192.0.2.2"), "200");
    assert_eq!(ask("192.0.2.77, 192.0.2.2"), "429", "what the client itself wrote does not count");
    assert_eq!(ask("2001:db8::1"), "200");
    assert_eq!(ask("2001:db8::2"), "429", "the same /64");
}

#[test]
fn an_account_has_a_limit_with_all_its_keys_and_a_smaller_one_for_making_measurements() {
    let lab = lab(limited(0, 4, 2));
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let other = Person { key: lab.key(anna.id, true), ..anna.clone() };
    let make = |person| lab.post_as(person, "/api/v2/measurements", &asking("ping", "1.1.1.1", worldwide(1)));
    assert_eq!((make(&anna).status, make(&other).status), (201, 201));
    let refused = make(&anna);
    refused.refused(429, 104);
    assert_eq!(refused.headers["retry-after"], "30");
    assert_eq!(lab.get_as(&anna, "/api/v2/keys/").status, 200);
    assert_eq!(lab.get(&format!("/api/v2/keys/?key={}", other.key.to_uppercase())).status, 200);
    lab.get_as(&anna, "/api/v2/keys/").refused(429, 104);
    lab.get_as(&other, "/api/v2/keys/").refused(429, 104);
    assert_eq!(lab.get_as(&ben, "/api/v2/keys/").status, 200);
    assert_eq!(lab.get("/api/v2/probes/").json()["count"], json!(0));
}

#[test]
fn loopback_is_not_counted_unless_asked_for() {
    let lab = lab(LimitsConfig { loopback: false, ..limited(1, 1, 1) });
    for _ in 0..3 {
        assert_eq!(lab.get("/api/v2/probes/").status, 200);
    }
}
