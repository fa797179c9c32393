//! Anchors and who measures them.

use serde_json::{Value, json};
use sonde_protocol::ids::{Asn, ProbeId};
use sonde_store::catalog::{AnchorAdded, Anchors, NewAnchor, ProbeEdit, ProbeOrigin, Probes};

use crate::lab::{Lab, Person, asking, golden, worldwide};

fn anchor(lab: &Lab, probe: ProbeId, hostname: &str, country: &str) -> u64 {
    let new = NewAnchor {
        probe,
        hostname: hostname.into(),
        city: Some("Utrecht".into()),
        country: Some(country.into()),
        company: Some("Example".into()),
    };
    let origin = ProbeOrigin { probe, asns: Some((Some(Asn(64_500)), None)), country: None };
    lab.runtime.block_on(async {
        lab.catalog.set_origins(&[origin]).await.unwrap();
        match lab.catalog.add_anchor(&new, lab.api.clock.now()).await.unwrap() {
            AnchorAdded::Made(id) => id,
            other => panic!("{other:?}"),
        }
    })
}

/// Anna's anchor `good.example` and a former one of Ben's.
fn world() -> (Lab, Person, ProbeId, [u64; 2]) {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let probe = lab.probe(&anna, "20.0.0.9", &[]);
    let edit = ProbeEdit { place: Some(Some((52.0907, 5.1214))), ..ProbeEdit::default() };
    lab.runtime.block_on(lab.catalog.edit_probe(probe, &edit)).unwrap();
    let first = anchor(&lab, probe, "good.example", "NL");
    let former = lab.probe(&ben, "20.1.0.9", &["2a00:1:2:3::9"]);
    let second = anchor(&lab, former, "former.example", "DE");
    lab.runtime.block_on(lab.catalog.remove_anchor(former, lab.api.clock.now())).unwrap();
    (lab, anna, probe, [first, second])
}

#[test]
fn lists_and_filters_of_anchors() {
    let (lab, anna, probe, [first, second]) = world();
    let none: [u64; 0] = [];
    for (query, expected) in [
        ("", &[first, second][..]),
        ("country=nl", &[first]),
        ("search=FORMER", &[second]),
        ("search=utrecht", &[first, second]),
        ("as_v4=64500", &[first]),
        ("as_v6=64500", &none),
        ("sort=-id", &[second, first]),
        // Its address is not public.
        ("ip_v4=20.0.0.9", &none),
    ] {
        assert_eq!(lab.get(&format!("/api/v2/anchors/?{query}")).ids(), expected, "{query}");
    }
    assert_eq!(lab.get_as(&anna, "/api/v2/anchors/?ip_v4=20.0.0.9").ids(), [first]);
    for (query, place) in [("as_v4=x", "as_v4"), ("ip_v4=2a00::1", "ip_v4"), ("ip_v6=x", "ip_v6")] {
        assert_eq!(lab.get(&format!("/api/v2/anchors/?{query}")).refused(400, 104), [place], "{query}");
    }
    lab.get("/api/v2/anchors/999/").refused(404, 104);
    let get = |path: String| lab.get(&path).json();
    golden(
        "anchor.json",
        &json!({
            "owner": lab.get_as(&anna, &format!("/api/v2/anchors/{first}/")).json(),
            "others": get(format!("/api/v2/anchors/{first}/")),
            "former": get(format!("/api/v2/anchors/{second}/")),
        }),
    );
    assert_eq!(lab.get("/api/v2/probes/?is_anchor=true").ids(), [probe.0]);
    assert_eq!(get(format!("/api/v2/probes/{probe}/"))["is_anchor"], true);
}

#[test]
fn measurements_of_anchors() {
    let (lab, anna, _, [first, _]) = world();
    let ask = |target: &str, is_oneoff: bool, is_public: bool| {
        let mut body = asking("ping", target, worldwide(1));
        body["is_oneoff"] = json!(is_oneoff);
        body["definitions"][0]["is_public"] = json!(is_public);
        lab.measure(&anna, &body).0
    };
    let mesh = ask("good.example", false, true);
    ask("good.example", true, true);
    ask("good.example", false, false);
    ask("1.1.1.1", false, true);
    assert_eq!(lab.get("/api/v2/anchor-measurements/").ids(), [mesh]);
    let shown = lab.get(&format!("/api/v2/anchor-measurements/{mesh}/")).json();
    let base = format!("http://{}/api/v2", lab.address);
    assert_eq!(
        shown,
        json!({"id": mesh, "type": "AnchorMeasurement", "measurement": format!("{base}/measurements/{mesh}/"),
            "target": format!("{base}/anchors/{first}/")})
    );
    let whole = lab.get("/api/v2/anchor-measurements/?include=target,measurement").json()["results"][0].clone();
    assert_eq!((&whole["target"]["hostname"], &whole["measurement"]["id"]), (&json!("good.example"), &json!(mesh)));
    assert_eq!(whole["target"]["ip_v4"], Value::Null);
    lab.get(&format!("/api/v2/anchor-measurements/{}/", mesh + 1)).refused(404, 104);
}

#[test]
fn results_of_anchors_only() {
    let (lab, anna, probe, _) = world();
    let other = lab.probe(&anna, "20.2.0.9", &[]);
    let id = lab.measure(&anna, &asking("traceroute", "1.1.1.1", worldwide(9)));
    let session = lab.connect(probe, "20.0.0.9", &[]);
    let report = crate::lab::path(id, crate::lab::NOW + 1, "192.168.1.2", "1.1.1.1", &[]);
    lab.store(vec![lab.stored(probe, session, &report), lab.stored(other, session, &report)], Vec::new());
    let results = |query: &str| -> Vec<u64> {
        let found = lab.get(&format!("/api/v2/measurements/{id}/results/?{query}")).json();
        found.as_array().unwrap().iter().map(|result| result["prb_id"].as_u64().unwrap()).collect()
    };
    assert_eq!(results("").len(), 2);
    assert_eq!(results("anchors-only=true"), [probe.0]);
    assert_eq!(results("anchors-only=true&public-only=true"), [0; 0]);
}
