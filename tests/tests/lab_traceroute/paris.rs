//! Flow variations: runs of one measurement with the same number take the same way, also at another time, and that is the
//! way that the fork has for this flow; sixteen of them see both branches. Asked by `POST`, read back from `results/`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sonde_tests::lab::{Branch, Family, Flow, HopTruth, Host, Node};
use sonde_tests::scene::{self, Scene};

use crate::truth::path_taken;
use crate::{Case, Transport, hops, long_path};

/// Seconds between runs; each takes the next variation.
const INTERVAL: u32 = 1;
/// Flow variations.
const VARIATIONS: u16 = 16;
/// Every variation comes at least twice.
const RUNS: usize = 2 * VARIATIONS as usize + 1;
/// UDP's destination ports are this plus the variation.
const UDP_BASE: u16 = 33_434;
/// TCP's source ports are.
const TCP_BASE: u16 = 20_480;

/// Whether packets of this flow are of a variation. All of ICMP's are one flow for a router that looks at ports.
fn is_of(case: Case, flow: &Flow, variation: u16) -> bool {
    match (case.transport, flow.ports) {
        (Transport::Udp, Some((_, dst))) => dst == UDP_BASE + variation,
        (Transport::Tcp, Some((src, _))) => src == TCP_BASE + variation,
        (Transport::Icmp, None) => true,
        _ => false,
    }
}

#[test]
fn a_variation_has_one_path_and_sixteen_see_both_branches() {
    let Some(lab) = long_path() else { return };
    let scene = Scene::start(&lab, &[Host::Dual]).unwrap();
    lab.clear_wire_log().unwrap();
    let cases: Vec<Case> = Case::all().collect();
    let definition = |case: &Case| {
        json!({
            "type": "traceroute", "af": if case.family == Family::V4 { 4 } else { 6 }, "target": case.dst(),
            "protocol": case.transport.name(), "packets": 1, "paris": VARIATIONS, "interval": INTERVAL,
            "description": format!("{case}"),
        })
    };
    let definitions: Vec<Value> = cases.iter().map(definition).collect();
    let ids = scene.owner.measure(&json!(definitions), &scene.source(&[Host::Dual]), false).unwrap();
    let results: Vec<Vec<Value>> = ids.iter().map(|id| scene.owner.wait_results(*id, RUNS).unwrap()).collect();
    let log = lab.wire_log().unwrap();

    for (case, results) in cases.into_iter().zip(&results) {
        let mut by_variation: BTreeMap<u16, BTreeSet<Vec<String>>> = BTreeMap::new();
        for result in results {
            scene::record(&format!("paris {case}"), result, false).unwrap();
            let variation = u16::try_from(result["paris_id"].as_u64().unwrap()).unwrap();
            let answers = hops(result).into_iter().map(|answers| {
                assert_eq!(answers.len(), 1, "{result}");
                answers[0]["from"].as_str().unwrap_or_else(|| panic!("no answer: {result}")).to_owned()
            });
            by_variation.entry(variation).or_default().insert(answers.collect());
        }
        assert!(by_variation.keys().copied().eq(1..=VARIATIONS), "{case}: {:?}", by_variation.keys());
        let mut taken = BTreeSet::new();
        for (variation, seen) in by_variation {
            let path = path_taken(&lab, &log, Host::Dual, case, |flow| is_of(case, flow, variation));
            let expected: Vec<String> = path.iter().map(|hop| hop.address.to_string()).collect();
            assert_eq!(seen, BTreeSet::from([expected]), "{case}, variation {variation}");
            taken.insert(branch(&path));
        }
        if case.transport != Transport::Icmp {
            assert_eq!(taken, BTreeSet::from(Branch::ALL), "{case}");
        }
    }
}

fn branch(path: &[HopTruth]) -> Branch {
    let is_on = |branch: &Branch| path.iter().any(|hop| hop.node == Node::Router(branch.routers()[0]));
    Branch::ALL.into_iter().find(is_on).unwrap()
}
