//! Every hop of a single run is who it should be: with labels, silent, or answering from elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use sonde_tests::lab::{CapturedPacket, Family, Flow, HopTruth, Host, Lab, MPLS_LABELS, Node, Router, WireLog};
use sonde_tests::scene::say;

use crate::{Case, hops, long_path, measure};

/// Packets per hop.
const PACKETS: usize = 3;
/// What a time loses at most where a result has three decimals of a millisecond.
const TO_MICROSECONDS: Duration = Duration::from_nanos(500);

/// The path that the packets of one run took, told by where the wire carried them and, once more, by the fork's kernel.
pub(crate) fn path_taken(
    lab: &Lab,
    log: &WireLog,
    host: Host,
    case: Case,
    is_run: impl Fn(&Flow) -> bool,
) -> Vec<HopTruth> {
    let flows: BTreeSet<Flow> = log
        .matching(|frame| frame.ip.is_some_and(|ip| case.sends(host, &ip) && is_run(&Flow::of(&ip))))
        .filter_map(|record| Some(Flow::of(&record.summary.ip?)))
        .collect();
    let [flow] = Vec::from_iter(flows).try_into().unwrap_or_else(|flows| panic!("{case}: not one flow: {flows:?}"));
    let branches = log.branches(|frame| frame.ip.is_some_and(|ip| case.sends(host, &ip) && Flow::of(&ip) == flow));
    let branch = lab.branch(&flow).unwrap();
    assert_eq!(branches, BTreeSet::from([branch]), "{case}: {flow:?}");
    lab.path_over(branch, host, Host::Far, case.family)
}

/// As a result shows the labels of the router that writes them.
fn labels() -> Value {
    let label = |(nth, label): (usize, sonde_tests::lab::MplsLabel)| json!({"exp": label.exp, "label": label.label, "s": u8::from(nth == MPLS_LABELS.len()), "ttl": label.ttl});
    let labels: Vec<Value> = (1..).zip(MPLS_LABELS).map(label).collect();
    json!({"version": 2, "rfc4884": 1, "obj": [{"class": 1, "type": 1, "mpls": labels}]})
}

/// Holds a result against the path that its packets took.
fn check(case: Case, result: &Value, path: &[HopTruth], silent: &[Router]) {
    let seen = hops(result);
    assert_eq!(seen.len(), path.len(), "{case}: {result}");
    for (hop, answers) in path.iter().zip(seen) {
        assert_eq!(answers.len(), PACKETS, "{case}, {}: {answers:?}", hop.node.name());
        for answer in answers {
            if matches!(hop.node, Node::Router(router) if silent.contains(&router)) {
                assert_eq!(*answer, json!({"x": "*"}), "{case}, {}", hop.node.name());
                continue;
            }
            assert_eq!(answer["from"], hop.address.to_string(), "{case}: {result}");
            let ms = answer["rtt"].as_f64().unwrap_or_else(|| panic!("{case}: no time in {answer}"));
            let rtt = Duration::from_nanos((ms * 1e6).round() as u64) + TO_MICROSECONDS;
            assert!(rtt >= hop.rtt_floor(), "{case}, {}: {rtt:?} < {:?}", hop.node.name(), hop.rtt_floor());
            assert!(answer.get("err").is_none() && answer.get("late").is_none(), "{case}: {answer}");
            let expected = if hop.node == Node::Router(Router::Mpls) { labels() } else { Value::Null };
            assert_eq!(answer["icmpext"], expected, "{case}, {}", hop.node.name());
        }
    }
}

#[test]
fn every_hop_is_who_it_should_be() {
    let Some(lab) = long_path() else { return };
    let packets = PACKETS.to_string();
    for case in Case::all() {
        let single = if case.family == Family::V4 { Host::V4Only } else { Host::V6Only };
        for host in [Host::Dual, single] {
            lab.clear_wire_log().unwrap();
            let capture = lab.capture(host).unwrap();
            let result = measure(&lab, host, case, &["--packets", &packets, "--paris", "16"]);
            let captured = capture.stop().unwrap();
            let path = path_taken(&lab, &lab.wire_log().unwrap(), host, case, |_| true);
            check(case, &result, &path, &[]);
            say(&first_replies(case, host, &captured, &path, &result));
        }
    }
}

#[test]
fn silent_hops_are_stars_and_an_address_on_no_link_is_shown_as_it_is() {
    let Some(lab) = long_path() else { return };
    let packets = PACKETS.to_string();
    // The first of a path, one of each branch, two in a row.
    let silent = [Router::Home, Router::A2, Router::B2, Router::D1, Router::D2];
    let elsewhere = [Router::R2, Router::A1, Router::B1, Router::Join];
    silent.iter().for_each(|router| lab.set_silent(*router, true).unwrap());
    elsewhere.iter().for_each(|router| lab.set_other_address(*router, true).unwrap());
    for case in Case::all() {
        lab.clear_wire_log().unwrap();
        let result = measure(&lab, Host::Dual, case, &["--packets", &packets, "--response-timeout", "1000"]);
        let path = path_taken(&lab, &lab.wire_log().unwrap(), Host::Dual, case, |_| true);
        assert_eq!(path[2].address, Router::R2.other_address(case.family));
        check(case, &result, &path, &silent);
    }
}

/// A line about how long it took until every hop had answered once, from the first packet on, as seen outside the program.
fn first_replies(case: Case, host: Host, captured: &[CapturedPacket], path: &[HopTruth], result: &Value) -> String {
    let is_sent = |packet: &&CapturedPacket| packet.left() && packet.summary.ip.is_some_and(|ip| case.sends(host, &ip));
    let begun = captured.iter().find(is_sent).unwrap().at;
    let mut first: BTreeMap<IpAddr, i64> = BTreeMap::new();
    for packet in captured.iter().filter(|packet| !packet.outgoing && packet.at >= begun) {
        if let Some(src) = packet.summary.src() {
            first.entry(src).or_insert(packet.at - begun);
        }
    }
    let last = path.iter().map(|hop| first[&hop.address]).max().unwrap();
    let rtts = hops(result).into_iter().flatten().filter_map(|answer| answer["rtt"].as_f64());
    let largest = rtts.fold(0.0, f64::max);
    let ms = last as f64 / 1e6;
    format!(
        "{case} from {}: {} hops, largest RTT {largest:.1} ms, all had answered after {ms:.1} ms ({:.2} times as long)",
        host.name(),
        path.len(),
        ms / largest
    )
}
