//! Pages of measurements, with what an API may say, and with what somebody may have written into a measurement.

use axum::http::StatusCode;
use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::fake::{Fake, Reply};

const EVIL: &str = "<script>alert(1)</script>\"'><img src=x onerror=y>";

fn measurement(kind: &str) -> Value {
    json!({
        "id": 1_000_001, "type": kind, "status": {"id": 2, "name": "Ongoing", "when": null}, "af": 6, "description": EVIL,
        "target": format!("a.{EVIL}.example"), "target_ip": "2001:db8::1", "interval": 240, "is_oneoff": false, "is_public": true,
        "participant_count": 2, "probes_requested": 3, "start_time": 1_760_000_000, "creation_time": 1_760_000_000,
        "stop_time": null, "tags": [EVIL, "two"], "packets": 3, "size": 48, "query_type": "TXT", "query_argument": EVIL,
    })
}

fn summary() -> Value {
    let bin = |start: i64, state: &str, median: Option<f64>| {
        json!({"start": start, "complete": true, "state": state, "probes": 2, "results": 4, "failed": 0, "sent": 12,
            "received": if median.is_some() { 11 } else { 0 }, "min": median, "p25": median, "median": median, "p75": median, "max": median})
    };
    json!({
        "id": 1_000_001, "type": "ping", "metric": "rtt", "unit": "ms", "start": 1_760_000_400, "stop": 1_760_003_999, "step": 900,
        "newest": 1_760_003_000, "approximate": false, "probes": 2, "results": 16, "failed": 0, "sent": 48, "received": 22, "skipped": 3,
        "bins": [bin(1_760_000_400, "answered", Some(12.3)), bin(1_760_001_300, "lost", None),
            bin(1_760_002_200, "failed", None), bin(1_760_003_100, "none", None)],
    })
}

fn probes() -> Value {
    json!({"count": 2, "left_out": false, "probes": [
        {"prb_id": 7, "state": "answered", "results": 8, "failed": 0, "sent": 24, "received": 22, "loss": 8.3, "min": 10.0, "p25": 11.0,
            "median": 12.3, "p75": 13.0, "max": 20.0, "last_timestamp": 1_760_003_000, "last_state": "answered", "last_value": 12.0,
            "asn": 64_500, "country_code": "DE", "latitude": 50.0, "longitude": 8.0},
        {"prb_id": 8, "state": "none", "results": 0, "failed": 0, "sent": 0, "received": 0, "loss": null, "median": null,
            "last_timestamp": null, "last_state": null, "last_value": null, "asn": null, "country_code": null},
    ]})
}

fn answers() -> Value {
    json!({"count": 2, "left_out": 4, "answers": [
        {"text": format!("NOERROR TXT {EVIL}"), "count": 15, "probes": 2, "first": 1_760_000_400, "last": 1_760_003_000,
            "answer": {"rcode": "NOERROR", "records": [EVIL]}},
        {"text": "www.example.net by CN=x", "count": 1, "probes": 1, "first": 1_760_000_400, "last": 1_760_003_000,
            "answer": {"subject": EVIL, "issuer": "CN=x", "names": [EVIL], "not_before": 1, "not_after": 1_750_000_000, "sha256": "ab"}},
    ]})
}

fn result(kind: &str) -> Value {
    json!([
        {"type": kind, "prb_id": 7, "timestamp": 1_760_003_000, "sent": 3, "rcvd": 3, "min": 10.0, "avg": 11.0, "max": 12.0, "ttl": 57,
            "dst_name": EVIL, "result": [{"rtt": 10.0}, {"rtt": 12.0}, {"error": EVIL}], "sonde": {"started": 1_760_003_000.5}},
        {"type": kind, "prb_id": 7, "timestamp": 1_760_002_000, "sonde": {"error": EVIL}},
    ])
}

fn paths() -> Value {
    json!({"id": 1_000_001, "time": 1_760_003_000, "newest": 1_760_003_000, "by": "address", "probes": 2, "reached": 1, "target": EVIL,
        "left_out": 0,
        "nodes": [
            {"id": 0, "kind": "source", "layer": 0, "label": "probe 7", "probes": 1, "ends": 0, "rtt": null},
            {"id": 1, "kind": "hop", "layer": 1, "label": EVIL, "asn": 64_500, "probes": 2, "ends": 1, "rtt": 1.5},
            {"id": 2, "kind": "target", "layer": 5, "label": EVIL, "probes": 1, "ends": 0, "rtt": 20.0},
        ],
        "edges": [{"from": 0, "to": 1, "probes": 1, "silent": 0}, {"from": 1, "to": 2, "probes": 1, "silent": 3}]})
}

fn site(kind: &str) -> Fake {
    let base = "/api/v2/measurements/1000001/";
    let at = |rest: &str| format!("{base}{rest}");
    let heat = json!({"bins": 4, "probes": [7, 8], "start": 0, "step": 900, "cells": BASE64.encode(&[90, 2, 1, 0, 0, 0, 0, 0]),
        "codes": {"none": 0, "failed": 1, "lost": 2, "first": 3, "least": 0.01, "factor": 1.06}});
    let list = json!({"count": 120, "next": null, "results": [measurement(kind), {"id": 5}]});
    let answers: Vec<(String, Value)> = vec![
        ("/api/v2/measurements/".into(), list),
        (at(""), measurement(kind)),
        (at("summary/"), summary()),
        (at("summary/probes/"), probes()),
        (at("summary/answers/"), answers()),
        (at("summary/heat/"), heat),
        (at("latest/"), result(kind)),
        (at("results/"), result(kind)),
        (at("paths/"), paths()),
    ];
    let answers: Vec<(&str, Value)> = answers.iter().map(|(path, value)| (path.as_str(), value.clone())).collect();
    Fake::new(&answers)
}

/// A page, whole, in which nothing that somebody wrote is markup.
#[track_caller]
fn well(reply: &Reply) -> &str {
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    let text = reply.text.as_str();
    assert!(text.contains("</html>") && !text.contains("<script>alert") && !text.contains("<img"), "{text}");
    assert!(!text.contains(" style=") && !text.contains(" onerror=y>") && !text.contains("NaN"), "{text}");
    text
}

#[tokio::test]
async fn the_list_finds_and_turns_pages() {
    let site = site("ping");
    let reply = site.get("/measurements?search=a%26b&type=ping&status=running&af=6&page=2").await;
    let text = well(&reply);
    assert!(text.contains("120 measurements") && text.contains("href=\"/measurements/1000001\""), "{text}");
    assert!(text.contains("Page 2 of 3") && text.contains("search=a%26b"), "{text}");
    let asked = &site.seen()[0].path;
    for part in ["search=a%26b", "type=ping", "status=2", "af=6", "page=2", "page_size=50", "sort=-id"] {
        assert!(asked.contains(part), "{part} in {asked}");
    }
    for odd in ["type=wifi", "status=odd", "af=5", "page=0", "page=x", "page=99999"] {
        assert_eq!(site.get(&format!("/measurements?{odd}")).await.status, StatusCode::BAD_REQUEST, "{odd}");
    }
}

#[tokio::test]
async fn each_kind_has_its_page() {
    for kind in ["ping", "traceroute", "dns", "sslcert", "http", "ntp", "pathmtu", "ipv6", "new"] {
        let site = site(kind);
        let reply = site.get("/measurements/1000001").await;
        let text = well(&reply);
        for word in ["Definition", "Newest results", "Take the data", "AS64500", "sonde --server", "curl -sS"] {
            assert!(text.contains(word), "{kind}: {word}");
        }
        assert_eq!(text.contains("class=\"chart paths\""), kind == "traceroute", "{kind}");
        assert!(text.contains("<rect class=\"bad\"") && text.contains("</svg> all lost</li>"), "{kind}");
    }
}

#[tokio::test]
async fn what_was_lost_what_failed_and_what_nobody_measured_differ() {
    let reply = site("ping").get("/measurements/1000001").await;
    let text = well(&reply);
    for word in [
        "class=\"loss-5\"",
        "class=\"loss-failed\"",
        "url(#hatch-none)",
        "<td>all lost</td>",
        "<td>not carried out</td>",
    ] {
        assert!(text.contains(word), "{word}");
    }
    assert!(text.contains("Round-trip time: about 12.3 ms. 54.2 % of 48 requests were lost"), "{text}");
    assert!(text.contains("class=\"chart heat\""), "two probes have a row each: {text}");
}

#[tokio::test]
async fn every_choice_is_in_the_address_and_reaches_the_api() {
    let site = site("ping");
    let reply =
        site.get("/measurements/1000001?start=2025-10-09T09:00&stop=2025-10-09T10:00&metric=rtt_max&order=loss").await;
    let text = well(&reply);
    assert!(text.contains("aria-sort=\"descending\""), "{text}");
    let asked = site.seen().into_iter().find(|seen| seen.path.contains("/summary/?")).unwrap().path;
    assert!(asked.contains("start=1760000400&stop=1760004000&metric=rtt_max"), "{asked}");
    for odd in ["metric=hops", "range=2d", "start=soon", "start=9&stop=5", "order=colour", "all=2"] {
        assert_eq!(site.get(&format!("/measurements/1000001?{odd}")).await.status, StatusCode::BAD_REQUEST, "{odd}");
    }
}

#[tokio::test]
async fn paths_hop_by_hop() {
    let site = site("traceroute");
    let reply = site.get("/measurements/1000001/paths?t=1760003000&by=address").await;
    let text = well(&reply);
    assert!(text.contains("1 of 2 probes reached the target.") && text.contains("3 × *"), "{text}");
    assert!(text.contains("<td>1 path</td>") && text.contains("href=\"/as/64500\""), "{text}");
    let asked = site.seen().pop().unwrap().path;
    assert!(asked.ends_with("/paths/?time=1760003000&by=address"), "{asked}");
    assert_eq!(self::site("ping").get("/measurements/1000001/paths").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_a_probe_reported_in_words_and_raw() {
    let site = site("ping");
    let reply = site.get("/measurements/1000001/probe/7").await;
    let text = well(&reply);
    assert!(text.contains("3/3 back; min 10.0 ms") && text.contains("As it is in the API"), "{text}");
    let asked = site.seen().pop().unwrap().path;
    assert!(asked.contains("probe_ids=7") && asked.contains("start="), "{asked}");
    let older = site.get("/measurements/1000001/probe/7?t=1760002000").await;
    assert!(well(&older).contains("class=\"said bad\""), "{}", older.text);
    assert_eq!(site.get("/measurements/1000001/probe/7?t=5").await.status, StatusCode::NOT_FOUND);
    assert_eq!(site.get("/measurements/1000001/probe/x").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let site = Fake::new(&[]);
    for path in
        ["/measurements/5", "/measurements/x", "/measurements/5/paths", "/measurements/5/probe/1", "/measurements/-1"]
    {
        let reply = site.get(path).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{path}: {}", reply.text);
    }
}
