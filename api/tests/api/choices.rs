//! Which probes a request chooses: areas, regions, diversity, and choices that can be repeated.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sonde_protocol::ids::{Asn, ProbeId};
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
