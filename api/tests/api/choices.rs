//! Which probes a request chooses: areas, regions, diversity, and choices that can be repeated.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sonde_protocol::ids::{Asn, ProbeId};
use sonde_protocol::spec::Kind;
use sonde_store::catalog::{ProbeEdit, ProbeOrigin, Probes};

use crate::lab::{Lab, Person, asking};

/// A connected probe in a country and a network.
fn probe(lab: &Lab, owner: &Person, country: &str, asn: u32) -> u64 {
    let probe = lab.probe(owner, "20.0.0.9", &[]);
    let edit = ProbeEdit { country: Some(Some(country.into())), ..ProbeEdit::default() };
    let origin = ProbeOrigin { probe, asns: Some((Some(Asn(asn)), None)), country: None };
    lab.runtime.block_on(async {
        lab.catalog.edit_probe(probe, &edit).await.unwrap();
        lab.catalog.set_origins(&[origin]).await.unwrap();
    });
    probe.0
}

/// The probes that a source chooses, and the source as it is recorded.
fn chosen(lab: &Lab, owner: &Person, source: &Value) -> (BTreeSet<u64>, Value) {
    let id = lab.measure(owner, &asking("ping", "1.1.1.1", json!([source])));
    let object = lab.get(&format!("/api/v2/measurements/{id}/?optional_fields=probes,probe_sources")).json();
    let probes = object["probes"].as_array().unwrap().iter().map(|probe| probe["id"].as_u64().unwrap());
    (probes.collect(), object["probe_sources"][0].clone())
}

#[test]
fn areas_and_regions_are_countries() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let [nl, us, jp, au, za] = ["NL", "US", "JP", "AU", "ZA"].map(|country| probe(&lab, &anna, country, 64_500));
    for (kind, value, expected) in [
        ("area", "WW", &[nl, us, jp, au, za][..]),
        ("area", "West", &[us]),
        ("area", "North-Central", &[nl]),
        ("area", "south-central", &[za]),
        ("area", "North-East", &[jp]),
        ("area", "South-East", &[au]),
        ("region", "europe", &[nl]),
        ("region", "western_europe", &[nl]),
        ("region", "northern_europe", &[]),
        ("region", "apnic", &[jp, au]),
        ("region", "eu27", &[nl]),
        ("region", "Southern-Africa", &[za]),
        ("asn", "64500", &[nl, us, jp, au, za]),
    ] {
        let (probes, _) = chosen(&lab, &anna, &json!({"type": kind, "value": value, "requested": 9}));
        assert_eq!(probes, expected.iter().copied().collect(), "{kind} {value}");
    }
}

#[test]
fn a_diverse_choice_has_one_of_each_country_first() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let dutch: Vec<u64> = (0..20).map(|n| probe(&lab, &anna, "NL", if n < 18 { 64_500 } else { 64_501 + n })).collect();
    let others = ["DE", "AU", "US"].map(|country| probe(&lab, &anna, country, 64_600));
    for _ in 0..3 {
        let source = json!({"type": "area", "value": "WW", "requested": 6, "diversity": true});
        let (probes, recorded) = chosen(&lab, &anna, &source);
        assert!(others.iter().all(|other| probes.contains(other)), "{probes:?}");
        assert!(dutch[18..].iter().all(|other| probes.contains(other)), "each network: {probes:?}");
        assert_eq!(recorded["diversity"], true);
    }
}

#[test]
fn a_choice_is_repeated_by_its_seed() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    for n in 0..30 {
        probe(&lab, &anna, "NL", 64_500 + n);
    }
    let source = json!({"type": "area", "value": "WW", "requested": 5});
    let (first, recorded) = chosen(&lab, &anna, &source);
    let seed = recorded["seed"].as_u64().unwrap();
    lab.set_clock(crate::lab::NOW + 1);
    let (other, _) = chosen(&lab, &anna, &source);
    assert_ne!(first, other, "chance decides anew");
    let mut again = source;
    again["seed"] = json!(seed);
    let (same, recorded) = chosen(&lab, &anna, &again);
    assert_eq!((same, &recorded["seed"]), (first.clone(), &json!(seed)));
    // Also without those that are gone, as far as they were not chosen.
    let gone =
        lab.runtime.block_on(lab.catalog.probe(ProbeId(*other.difference(&first).next().unwrap()))).unwrap().unwrap();
    lab.disconnect(gone.connection.unwrap().session);
    assert_eq!(chosen(&lab, &anna, &again).0, first);
}

#[test]
fn a_probe_is_chosen_for_no_kind_that_its_host_has_switched_off() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let silent = probe(&lab, &anna, "NL", 64_500);
    let pings = lab.probe_allowing(&anna, &[Kind::Ping, Kind::Dns]).0;
    let traces = lab.probe_allowing(&anna, &[Kind::Traceroute]).0;
    let shown = |id: u64| lab.get(&format!("/api/v2/probes/{id}/")).json();
    assert_eq!(shown(pings)["kinds"], json!(["ping", "dns"]));
    assert_eq!(shown(silent).get("kinds"), None, "it does not tell");

    let object = |id: &Value| {
        lab.get(&format!("/api/v2/measurements/{id}/?fields=probes,status,participant_count,probes_requested")).json()
    };
    let of = |object: &Value| -> BTreeSet<u64> {
        object["probes"].as_array().unwrap().iter().map(|probe| probe["id"].as_u64().unwrap()).collect()
    };
    let everywhere = json!({"type": "area", "value": "WW", "requested": 9});
    assert_eq!(chosen(&lab, &anna, &everywhere).0, [silent, pings].into(), "a ping");
    let named = json!({"type": "probes", "value": format!("{pings},{traces}")});
    assert_eq!(chosen(&lab, &anna, &named).0, [pings].into(), "also those that are named");

    // One request, several kinds: each by those who may.
    let mut body = asking("ping", "1.1.1.1", json!([everywhere]));
    body["definitions"].as_array_mut().unwrap().push(json!({"type": "traceroute", "af": 4, "target": "1.1.1.1"}));
    body["is_oneoff"] = json!(false);
    let made = lab.post_as(&anna, "/api/v2/measurements/", &body).json()["measurements"].clone();
    assert_eq!([of(&object(&made[0])), of(&object(&made[1]))], [[silent, pings].into(), [silent, traces].into()]);

    // None is left.
    let alone = asking("traceroute", "1.1.1.1", json!([{"type": "probes", "value": pings.to_string()}]));
    let alone = lab.post_as(&anna, "/api/v2/measurements/", &alone).json()["measurements"][0].clone();
    let alone = object(&alone);
    assert_eq!(alone["status"]["name"], "No suitable probes");
    assert_eq!((&alone["participant_count"], &alone["probes_requested"]), (&json!(0), &json!(1)));

    // Joining later is no way around it, and neither is another measurement's choice.
    let url = format!("/api/v2/measurements/{}/participation-requests/", made[1]);
    for source in [json!({"type": "probes", "value": pings.to_string()}), json!({"type": "msm", "value": made[0]})] {
        let mut add = source;
        add["action"] = json!("add");
        add["requested"] = json!(5);
        assert_eq!(lab.post_as(&anna, &url, &json!([add])).status, 201);
        assert_eq!(of(&object(&made[1])), [silent, traces].into(), "{add}");
    }
}
