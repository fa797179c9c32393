//! Who sees what: as the public, as the owner of the probe, and as somebody else with a key. Every endpoint is in [`everywhere`].

use serde_json::json;
use sonde_protocol::bounded::{Bytes, List, Text};
use sonde_protocol::condition::{Condition, Word};
use sonde_protocol::ids::MeasurementId;
use sonde_protocol::message::{HostPause, HostState};
use sonde_protocol::net::Transport;
use sonde_protocol::result::{DnsOutcome, DnsReply, DnsResponse, DnsStray, Outcome, StrayKind};
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Anchors, Boards, Healths, NewAnchor};

use crate::credits::charging;
use crate::ipv6::{ask_everybody, behind_a_hole};
use crate::lab::{Lab, NOW, Person, asking, ip, path, result};
use crate::probe_edits::board;

pub(crate) mod everywhere;

/// Addresses at the probe's owner's home, in every place where one can appear.
const PRIVATE: [&str; 12] = [
    "20.0.0.9",           // seen by the collector
    "2a00:1:2:3::9",      // the probe's own
    "192.168.1.2",        // behind the router
    "192.168.1.1",        // the first hop
    "10.11.12.13",        // a special hop
    "20.0.0.77",          // a hop inside the own /24
    "2a00:1:2:ff::1",     // a hop inside the own /48
    "192.168.1.53",       // the own resolver
    "20.0.0.53",          // an own resolver inside the own /24
    "home of carol",      // what the owner calls the probe, were it shown
    "no address on eth0", // why a release did not come up there
    "202612010000",       // the release that its board waits for
];

struct Scene {
    lab: Lab,
    /// Owns the probe.
    carol: Person,
    /// Owns the measurements.
    rita: Person,
    public: [MeasurementId; 3],
    private: MeasurementId,
    probe: u64,
}

fn scene() -> Scene {
    let lab = charging(|credits| credits.starting_credits = 1_000_000);
    let (carol, rita) = (lab.person("carol"), lab.person("rita"));
    let probe = lab.new_probe(&carol);
    let session = lab.connect(probe, "20.0.0.9", &["192.168.1.2", "2a00:1:2:3::9"]);
    let resolver = Condition {
        word: Word::DnsSilent.number(),
        began: 5,
        ended: None,
        detail: Text::new("192.168.1.53"),
        cut_off: false,
    };
    lab.runtime.block_on(lab.catalog.record_health(probe, &[resolver], UnixNanos::from_secs(NOW))).unwrap();
    let habits = HostState {
        measured_today: 7_777_777,
        hours: List::cut([Text::cut("03:33-04:44")]),
        pause: Some(HostPause { remaining: Some(60) }),
        ..HostState::default()
    };
    lab.runtime.block_on(lab.catalog.record_host(probe, &habits, UnixNanos::from_secs(NOW))).unwrap();
    lab.runtime.block_on(lab.catalog.record_board(probe, &board(), UnixNanos::from_secs(NOW))).unwrap();
    // A home that is an anchor: its host name is public, its addresses are not.
    let hostname = "good.example".to_owned();
    let anchor = NewAnchor { probe, hostname, city: None, country: None, company: None };
    lab.runtime.block_on(lab.catalog.add_anchor(&anchor, UnixNanos::from_secs(NOW))).unwrap();
    let source = json!([{"type": "probes", "value": probe}]);
    let v4 = lab.measure(&rita, &asking("traceroute", "1.1.1.1", source.clone()));
    let v6 = lab.measure(&rita, &asking("traceroute", "2a00:9::1", source.clone()));
    let dns = json!({"is_oneoff": true, "probes": source, "definitions": [{"type": "dns", "af": 4, "query_class": "IN",
        "query_type": "A", "query_argument": "example.net", "use_probe_resolver": true}]});
    let dns = lab.measure(&rita, &dns);
    let mut hidden = asking("traceroute", everywhere::TARGET, source);
    hidden["definitions"][0]["is_public"] = json!(false);
    hidden["definitions"][0]["description"] = json!(everywhere::DESCRIPTION);
    hidden["definitions"][0]["tags"] = json!([everywhere::TAG]);
    let private = lab.measure(&rita, &hidden);

    ask_everybody(&lab);
    let hops4 = ["192.168.1.1", "10.11.12.13", "20.0.0.77", "22.0.0.1"];
    let hops6 = ["2a00:1:2:ff::1", "2a00:1:2:ff::1", "2a00:5::1"];
    let response = |resolver: &str| DnsResponse {
        sent_at: UnixNanos::from_secs(NOW),
        dst_addr: ip(resolver),
        dst_port: 53,
        src_addr: Some(ip("192.168.1.2")),
        protocol: Transport::Udp,
        retries: 0,
        query: None,
        outcome: DnsReply::Timeout(5000),
        secure: None,
        // Somebody else at home has answered.
        strays: List::cut([DnsStray {
            from: ip("192.168.1.1"),
            port: 53,
            what: StrayKind::Source,
            after: 1,
            size: 1,
            message: Bytes::default(),
            show_message: true,
        }]),
        strays_seen: 1,
        id_mismatches: 0,
    };
    let resolvers = ["192.168.1.53", "20.0.0.53", "9.9.9.9"].map(response);
    let outcome = Outcome::Dns(DnsOutcome { own_resolvers: true, responses: List::cut(resolvers) });
    let reports = [
        path(v4, NOW, "192.168.1.2", "1.1.1.1", &hops4),
        path(v6, NOW, "2a00:1:2:3::9", "2a00:9::1", &hops6),
        result(dns, NOW, "192.168.1.2", "9.9.9.9", outcome),
        path(private, NOW, "192.168.1.2", everywhere::TARGET, &hops4),
        behind_a_hole(NOW, "2a00:1:2:3::9", "192.168.1.2", "20.0.0.9", "192.168.1.53", "192.168.1.1"),
    ];
    lab.store(reports.iter().map(|report| lab.stored(probe, session, report)).collect(), Vec::new());
    Scene { lab, carol, rita, public: [v4, v6, dns], private, probe: probe.0 }
}

/// Does the text hold this address or number as a whole word? `20.0.0.9` is not in `120.0.0.99`.
fn shows(text: &str, address: &str) -> bool {
    let is_number = address.bytes().all(|byte| byte.is_ascii_digit());
    let part = |c: char| c.is_ascii_hexdigit() || c == '.' || (c == ':' && !is_number);
    text.match_indices(address).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + address.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

#[test]
fn what_strangers_see_instead() {
    let scene = scene();
    let results = |id: MeasurementId| scene.lab.get(&format!("/api/v2/measurements/{id}/results/")).json()[0].clone();
    let hops = |result: &serde_json::Value| -> Vec<String> {
        let hops = result["result"].as_array().unwrap().iter();
        hops.map(|hop| hop["result"][0]["from"].as_str().unwrap().to_owned()).collect()
    };
    let [v4, v6, dns] = scene.public.map(results);
    assert_eq!((&v4["from"], &v4["src_addr"]), (&json!("20.0.0.0"), &json!("192.168.1.0")));
    assert_eq!(hops(&v4), ["192.168.1.0", "10.11.12.0", "20.0.0.0", "22.0.0.1", "1.1.1.1"]);
    assert_eq!(v6["src_addr"], "2a00:1:2::");
    assert_eq!(hops(&v6), ["2a00:1:2::", "2a00:1:2::", "2a00:5::1", "2a00:9::1"]);
    let resolvers: Vec<_> =
        dns["resultset"].as_array().unwrap().iter().map(|one| one["dst_addr"].as_str().unwrap()).collect();
    assert_eq!(resolvers, ["192.168.1.0", "20.0.0.0", "9.9.9.9"]);

    let probe = scene.lab.get(&format!("/api/v2/probes/{}/", scene.probe)).json();
    assert_eq!((&probe["address_v4"], &probe["prefix_v4"]), (&json!(null), &json!("20.0.0.0/24")));
    assert_eq!((&probe["address_v6"], &probe["prefix_v6"]), (&json!(null), &json!("2a00:1:2::/48")));
}

#[test]
fn the_owner_sees_the_probe_whole() {
    let scene = scene();
    let [v4, _, dns] = scene.public;
    let results =
        |id: MeasurementId| scene.lab.get_as(&scene.carol, &format!("/api/v2/measurements/{id}/latest/")).text;
    for address in ["20.0.0.9", "192.168.1.2", "192.168.1.1", "10.11.12.13", "20.0.0.77"] {
        assert!(shows(&results(v4), address), "{address}");
    }
    for address in ["192.168.1.53", "20.0.0.53"] {
        assert!(shows(&results(dns), address), "{address}");
    }
    let probe = scene.lab.get_as(&scene.carol, &format!("/api/v2/probes/{}/", scene.probe)).json();
    assert_eq!((&probe["address_v4"], &probe["address_v6"]), (&json!("20.0.0.9"), &json!("2a00:1:2:3::9")));
}

#[test]
fn a_private_measurement_is_there_for_its_owner_only() {
    let scene = scene();
    let id = scene.private;
    let rest = ["", "results/", "results/?format=txt", "latest/", "skipped/"];
    for path in rest.map(|rest| format!("/api/v2/measurements/{id}/{rest}")) {
        assert_eq!(scene.lab.get_as(&scene.rita, &path).status, 200, "{path}");
        // The owner of the probe is a stranger to the measurement.
        for viewer in [None, Some(&scene.carol)] {
            scene.lab.call("GET", &path, viewer.map(|person| person.key.as_str()), None).refused(404, 104);
        }
    }
    for path in ["/api/v2/measurements/", "/api/v2/measurements/traceroute/", "/api/v2/measurements/?is_public=true"] {
        for viewer in [None, Some(&scene.carol)] {
            let key = viewer.map(|person| person.key.as_str());
            assert!(!scene.lab.call("GET", path, key, None).ids().contains(&id.0), "{path}");
        }
    }
    assert!(scene.lab.get_as(&scene.rita, "/api/v2/measurements/").ids().contains(&id.0));
    assert!(!scene.lab.get_as(&scene.rita, "/api/v2/measurements/?is_public=true").ids().contains(&id.0));
    for method in ["DELETE", "PATCH"] {
        let path = format!("/api/v2/measurements/{id}/");
        let body = (method == "PATCH").then(|| json!({}));
        scene.lab.call(method, &path, Some(&scene.carol.key), body.as_ref()).refused(404, 104);
    }
    let source = json!([{"type": "msm", "value": id, "requested": 1}]);
    let reply = scene.lab.post_as(&scene.carol, "/api/v2/measurements/", &asking("ping", "1.1.1.1", source));
    assert_eq!(reply.refused(400, 102), ["/probes/0/value"], "not even as a source");
}
