//! Votes out of results: whoever reads the sums sees what probes reported, once, where they were.

use std::sync::Arc;

use serde_json::{Value, json};
use sonde_api::derive_votes;
use sonde_protocol::bounded::{List, Text};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::key::PublicKey;
use sonde_protocol::net::Family;
use sonde_protocol::result::ipv6::{
    Attempt, Connect, Evidence, FamilyState, Ipv6Outcome, Pair, Reason, Settled, Target, TroubleKind,
};
use sonde_protocol::result::{Failure, Outcome, Report};
use sonde_protocol::spec::Kind;
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Enrolment, ProbeEdit, Probes};
use sonde_store::reachability::Hour;
use sonde_store::results::StoredReport;
use sonde_store::sqlite::SqliteReachability;

use crate::ipv6::{BUILTIN, ask_everybody, of_outcome, samples};
use crate::lab::{Lab, NOW, asking, ip, result};

/// A settled verdict on IPv6, with IPv4 native.
fn settled(v6: FamilyState) -> Ipv6Outcome {
    let mut outcome = samples::full("2a00:1:2:3::9", "192.168.1.2", "20.0.0.9", "192.168.1.53", "192.168.1.1");
    let mut verdicts: Vec<_> = outcome.verdicts.iter().cloned().collect();
    for (verdict, state) in verdicts.iter_mut().zip([v6, FamilyState::Native]) {
        verdict.raw = state;
        verdict.settled = Some(Settled { state, reasons: List::default() });
    }
    outcome.verdicts = List::cut(verdicts);
    outcome
}

fn run(at: i64, v6: FamilyState) -> Report {
    of_outcome(at, settled(v6))
}

fn derive(lab: &Lab) {
    lab.runtime.block_on(derive_votes(&lab.api, 400)).unwrap();
}

fn report(lab: &Lab, probe: ProbeId, reports: &[Report]) {
    let session = lab.connect(probe, &format!("20.0.{}.9", probe.0), &[]);
    let stored: Vec<StoredReport> = reports.iter().map(|report| lab.stored(probe, session, report)).collect();
    lab.store(stored, Vec::new());
}

fn counts(lab: &Lab, path: &str) -> Value {
    let sum = &lab.get(&format!("/api/v2/ipv6/{path}")).json()["sum"];
    json!([sum["votes"], sum["probes"], sum["works6"]["count"], sum["broken6"]["count"], sum["offline"], sum["runs"]])
}

fn scene() -> (Lab, [ProbeId; 3]) {
    let lab = Lab::new();
    ask_everybody(&lab);
    let anna = lab.person("anna");
    let probes = [(); 3].map(|()| lab.new_probe(&anna));
    for (probe, country) in probes.into_iter().zip(["NL", "NL", "DE"]) {
        let edit = ProbeEdit { country: Some(Some(country.into())), ..ProbeEdit::default() };
        lab.runtime.block_on(lab.catalog.edit_probe(probe, &edit)).unwrap();
    }
    (lab, probes)
}

#[test]
fn what_probes_report_is_what_sums_say() {
    let (lab, [one, two, three]) = scene();
    derive(&lab);
    assert_eq!(counts(&lab, ""), json!([0, 0, 0, 0, 0, 0]));
    report(&lab, one, &[run(NOW - 3000, FamilyState::Native), run(NOW - 2000, FamilyState::Broken)]);
    report(&lab, two, &[run(NOW - 900, FamilyState::Native), run(NOW - 8000, FamilyState::Native)]);
    report(&lab, three, &[of_outcome(NOW - 900, samples::bare())]);
    derive(&lab);
    // The hour began 3,200 s before NOW.
    assert_eq!(counts(&lab, ""), json!([3, 2, 2, 1, 1, 5]));
    assert_eq!(counts(&lab, "countries/NL/"), json!([3, 2, 2, 1, 0, 4]));
    assert_eq!(counts(&lab, "countries/DE/"), json!([0, 0, 0, 0, 1, 1]));

    // Late, and of a later moment of the same hour: it replaces what was said.
    report(&lab, one, &[run(NOW - 1000, FamilyState::Tunnel)]);
    derive(&lab);
    assert_eq!(counts(&lab, ""), json!([3, 2, 3, 0, 1, 6]));
    // Late, and of an earlier moment: it does not.
    report(&lab, one, &[run(NOW - 3100, FamilyState::Broken)]);
    derive(&lab);
    assert_eq!(counts(&lab, ""), json!([3, 2, 3, 0, 1, 7]));
}

#[test]
fn what_is_derived_again_changes_nothing() {
    let (mut lab, [one, two, _]) = scene();
    for hour in 0..30 {
        report(
            &lab,
            one,
            &[run(NOW - 3600 * hour - 10, FamilyState::Native), run(NOW - 3600 * hour, FamilyState::Broken)],
        );
        report(&lab, two, &[run(NOW - 3600 * hour - 5, FamilyState::NativePartial)]);
    }
    derive(&lab);
    let all = |lab: &Lab| -> Vec<_> {
        let (first, last) = (Hour::of_seconds(NOW).plus(-40), Hour::of_seconds(NOW).plus(2));
        let votes = |hour| lab.runtime.block_on(lab.api.reachability.votes(hour)).unwrap();
        first.until(last).map(votes).collect()
    };
    let before = all(&lab);
    assert!(before.iter().filter(|votes| votes.len() == 2).count() >= 30);
    let state = lab.runtime.block_on(lab.api.reachability.state()).unwrap();
    // As if it had ended before it could say how far it had come: from the beginning once more.
    let start = sonde_store::results::Cursor(vec![0, 0]);
    lab.runtime.block_on(lab.api.reachability.set_progress(&start)).unwrap();
    derive(&lab);
    assert_eq!(lab.runtime.block_on(lab.api.reachability.state()).unwrap(), state);
    // The file is lost: it is made again of the results.
    let anew = SqliteReachability::open(lab.data().join("anew.db")).unwrap();
    lab.api.reachability = Arc::new(anew);
    derive(&lab);
    assert_eq!(all(&lab), before);
}

#[test]
fn only_what_was_asked_of_those_who_count_is_a_vote() {
    let (lab, [one, two, _]) = scene();
    let rita = lab.person("rita");
    // The same in a measurement of somebody's, and a result of another kind under the number.
    let own =
        lab.measure(&rita, &asking("ping", "20.1.2.3", json!([{"type": "probes", "value": one.0, "requested": 1}])));
    let foreign = match run(NOW - 900, FamilyState::Native) {
        Report::Result(mut run) => {
            run.measurement = own;
            Report::Result(run)
        }
        other => other,
    };
    report(&lab, one, &[foreign]);
    let far = [run(NOW + 90_000, FamilyState::Native), run(0, FamilyState::Native), run(-5, FamilyState::Native)];
    report(&lab, two, &far);
    derive(&lab);
    assert_eq!(counts(&lab, ""), json!([0, 0, 0, 0, 0, 0]), "neither the future nor what is too old");

    let why = Failure::Unsupported(Text::cut("not in this version"));
    let failed = Outcome::Failed(why, Kind::Ipv6.number());
    let failed = result(BUILTIN, NOW - 900, "192.168.1.2", "20.1.1.1", failed);
    report(&lab, two, &[failed]);
    derive(&lab);
    let world = lab.get("/api/v2/ipv6/").json();
    assert_eq!((&world["sum"]["inconclusive"], &world["sum"]["votes"]), (&json!(1), &json!(0)));
}

#[test]
fn who_is_vouched_for_by_nobody_has_no_vote_until_somebody_does() {
    let (lab, _) = scene();
    let now = UnixNanos::from_secs(NOW - 5000);
    let joined = lab.catalog.join_open(&PublicKey([99; 32]), "20.9.9.9".parse().unwrap(), now);
    let stranger = lab.runtime.block_on(joined).unwrap().unwrap().id;
    report(&lab, stranger, &[run(NOW - 900, FamilyState::Native)]);
    derive(&lab);
    assert_eq!(counts(&lab, ""), json!([0, 0, 0, 0, 0, 0]));
    assert!(lab.runtime.block_on(lab.catalog.vouch(stranger)).unwrap());
    report(&lab, stranger, &[run(NOW - 100, FamilyState::Native)]);
    derive(&lab);
    assert_eq!(counts(&lab, ""), json!([1, 1, 1, 0, 0, 2]), "all of that hour");
}

/// A run that reaches four references over both families, but for one over IPv6 if it is `down`.
fn reaching(at: i64, down: Option<usize>) -> Report {
    let target = |n: usize| Target {
        name: Text::cut(format!("r{n}")),
        is_reference: true,
        v4: Some(ip("20.1.1.1")),
        v6: Some(ip("2a00:9::1")),
    };
    let connect = |af, dst: &str, works: bool| Connect {
        af,
        dst: ip(dst),
        src: None,
        seen: None,
        tcp: Some(if works { Attempt::Done(2_000_000) } else { Attempt::Failed(TroubleKind::Timeout.into()) }),
        tls: works.then_some(Attempt::Done(4_000_000)),
        quic: None,
        retransmits: None,
        mss_seen: None,
    };
    let pair = |n: usize| {
        let both = [connect(Family::V6, "2a00:9::1", down != Some(n)), connect(Family::V4, "20.1.1.1", true)];
        Pair { target: n as u8, gap: 0, connects: List::cut(both) }
    };
    let mut outcome = settled(if down.is_some() { FamilyState::NativePartial } else { FamilyState::Native });
    let mut verdicts: Vec<_> = outcome.verdicts.iter().cloned().collect();
    verdicts[0].settled = verdicts[0]
        .settled
        .clone()
        .map(|settled| Settled { reasons: List::cut(down.map(|_| Reason::SomeDestinations)), ..settled });
    outcome.verdicts = List::cut(verdicts);
    outcome.evidence =
        Evidence { targets: List::cut((0..4).map(target)), pairs: List::cut((0..4).map(pair)), ..Evidence::default() };
    of_outcome(at, outcome)
}

#[test]
fn a_reference_that_is_down_is_nobodys_loss() {
    let lab = Lab::new();
    ask_everybody(&lab);
    let anna = lab.person("anna");
    let probes = [(); 6].map(|()| lab.new_probe(&anna));
    for (n, probe) in probes.into_iter().enumerate() {
        // One of them lacked another one the hour before.
        let before = if n == 0 { Some(3) } else { None };
        report(&lab, probe, &[reaching(NOW - 3000 - 3600, before), reaching(NOW - 3000, Some(2))]);
    }
    let clean = |lab: &Lab| {
        derive(lab);
        let (from, to) = (NOW - 3200, NOW + 400);
        let sum = lab.get(&format!("/api/v2/ipv6/?from={from}&to={to}")).json()["sum"].clone();
        json!([sum["votes"], sum["clean6"]["count"], sum["only_v6_failed"]])
    };
    assert_eq!(clean(&lab), json!([6, 0, 6]), "the hour is not over");
    lab.set_clock(NOW + 400 + 700);
    assert_eq!(clean(&lab), json!([6, 6, 0]));
    // What comes later is judged likewise.
    report(&lab, probes[1], &[reaching(NOW - 200, Some(2)), reaching(NOW - 100, Some(1))]);
    assert_eq!(clean(&lab), json!([6, 5, 1]));
}

#[test]
fn a_clock_that_is_wrong_for_a_while_forgets_nothing() {
    let (lab, [one, two, _]) = scene();
    report(&lab, one, &[run(NOW - 900, FamilyState::Native)]);
    derive(&lab);
    for wrong in [NOW + 20 * 365 * 86_400, 86_400] {
        lab.set_clock(wrong);
        derive(&lab);
    }
    // Some hours back: what comes in is no more of the future than what was there.
    lab.set_clock(NOW - 5 * 3600);
    report(&lab, two, &[run(NOW - 800, FamilyState::Native), run(NOW - 700, FamilyState::Native)]);
    derive(&lab);
    lab.set_clock(NOW);
    assert_eq!(counts(&lab, ""), json!([2, 2, 2, 0, 0, 3]));
    report(&lab, one, &[run(NOW - 100, FamilyState::Broken)]);
    derive(&lab);
    assert_eq!(counts(&lab, ""), json!([2, 2, 1, 1, 0, 4]));
}

#[test]
fn a_vote_counts_in_the_public_networks_of_its_probe() {
    let (lab, [one, two, _]) = scene();
    report(&lab, two, &[run(NOW - 900, FamilyState::Native)]);
    let session = lab.connect(one, "20.7.1.9", &["2a00:1:2:3::9"]);
    let stored = lab.stored(one, session, &run(NOW - 900, FamilyState::Broken));
    lab.store(vec![stored], Vec::new());
    derive(&lab);
    let of_one = json!([1, 1, 0, 1, 0, 1]);
    assert_eq!(counts(&lab, "prefixes/2a00:1::/32/"), of_one);
    assert_eq!(counts(&lab, "prefixes/20.7.1.0/24/"), of_one);
    assert_eq!(counts(&lab, "prefixes/20.0.0.0/8/"), json!([2, 2, 1, 1, 0, 2]));
    let list = lab.get("/api/v2/ipv6/prefixes/");
    assert_eq!(list.json()["results"][0]["prefix"], "2a00:1:2::/48");
    assert!(!list.text.contains("2a00:1:2:3"), "{list:?}");
    // It moves; what it said stays where it was said.
    lab.connect(one, "20.8.1.9", &["2a00:9:2:3::9"]);
    lab.set_clock(NOW + 800);
    report(&lab, two, &[run(NOW + 500, FamilyState::Native)]);
    derive(&lab);
    assert_eq!(counts(&lab, "prefixes/2a00:1::/32/"), of_one);
    assert_eq!(counts(&lab, "prefixes/2a00:9::/32/"), json!([0, 0, 0, 0, 0, 0]));
}

#[test]
fn a_vote_stays_where_it_was_made() {
    let (lab, [one, ..]) = scene();
    report(&lab, one, &[run(NOW - 900, FamilyState::Native)]);
    derive(&lab);
    let edit = ProbeEdit { country: Some(Some("FR".into())), ..ProbeEdit::default() };
    lab.runtime.block_on(lab.catalog.edit_probe(one, &edit)).unwrap();
    lab.set_clock(NOW + 800);
    report(&lab, one, &[run(NOW - 850, FamilyState::Native), run(NOW + 500, FamilyState::Native)]);
    derive(&lab);
    assert_eq!(counts(&lab, "countries/NL/"), json!([1, 1, 1, 0, 0, 2]));
    assert_eq!(counts(&lab, "countries/FR/"), json!([1, 1, 1, 0, 0, 1]));
    assert_eq!(counts(&lab, ""), json!([2, 1, 2, 0, 0, 3]), "and is one probe in the world");
}
