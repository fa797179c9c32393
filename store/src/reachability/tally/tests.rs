use std::collections::BTreeMap;

use sonde_protocol::seed::Rng;
use sonde_protocol::time::UnixNanos;

use super::super::record::{Run, Vote};
use super::*;

const STATES: [FamilyState; 5] =
    [FamilyState::Native, FamilyState::NativePartial, FamilyState::Tunnel, FamilyState::Broken, FamilyState::None];
const STATES4: [FamilyState; 4] =
    [FamilyState::Native, FamilyState::Nat64, FamilyState::Nat64Dns64, FamilyState::Xlat464];

fn pick<T: Copy>(rng: &mut Rng, all: &[T]) -> T {
    all[usize::try_from(rng.below(all.len() as u64)).unwrap()]
}

fn run(rng: &mut Rng) -> Run {
    let vote = Vote {
        v6: pick(rng, &STATES),
        v4: pick(rng, &STATES4),
        has_v6_address: rng.one_in(2),
        is_cgnat: rng.one_in(3),
        is_few: rng.one_in(9),
        definition: 1,
    };
    Run {
        at: UnixNanos::from_secs(i64::try_from(rng.below(3600)).unwrap()),
        vote: Some(vote).filter(|_| !rng.one_in(5)),
        difference: Some(i32::try_from(rng.below(40)).unwrap() - 20).filter(|_| !rng.one_in(4)),
        only_one_failed: (u32::try_from(rng.below(3)).unwrap(), 1),
    }
}

/// The same numbers, counted from all records at once and as plainly as can be.
#[derive(Debug, PartialEq)]
struct Plain {
    counts: [u64; 11],
    networks: Option<(usize, usize)>,
    quantiles: Option<(i32, i32)>,
}

fn plainly<'a>(records: impl Iterator<Item = &'a Record>) -> Plain {
    let records: Vec<&Record> = records.collect();
    let voters: Vec<(&Record, Vote)> = records.iter().filter_map(|record| Some((*record, record.vote?))).collect();
    let of = |holds: fn(Vote) -> bool| voters.iter().filter(|(_, vote)| holds(*vote)).count() as u64;
    let mut networks: BTreeMap<Asn, Vec<bool>> = BTreeMap::new();
    for (record, vote) in &voters {
        if let Some(asn) = record.network() {
            networks.entry(asn).or_default().push(vote.v6.works());
        }
    }
    let working = networks.values().filter(|all| all.iter().filter(|works| **works).count() * 2 > all.len()).count();
    let mut differences: Vec<i32> = voters.iter().filter_map(|(record, _)| record.difference()).collect();
    differences.sort_unstable();
    let quantile = |share: f64| differences[(share * (differences.len() - 1) as f64).floor() as usize];
    Plain {
        counts: [
            voters.len() as u64,
            (records.len() - voters.len()) as u64,
            records.iter().map(|record| u64::from(record.runs)).sum(),
            of(|vote| matches!(vote.v6, FamilyState::Native | FamilyState::NativePartial | FamilyState::Tunnel)),
            of(|vote| vote.v6 == FamilyState::Native),
            of(|vote| vote.v6 == FamilyState::Broken && vote.has_v6_address),
            of(|vote| vote.has_v6_address),
            of(|vote| matches!(vote.v4, FamilyState::Nat64 | FamilyState::Nat64Dns64)),
            of(|vote| vote.v4 == FamilyState::Xlat464),
            of(|vote| vote.is_cgnat),
            of(|vote| vote.is_few),
        ],
        networks: (!networks.is_empty()).then_some((networks.len(), working)),
        quantiles: (!differences.is_empty()).then(|| (quantile(0.5), quantile(0.9))),
    }
}

fn told(tally: &Tally) -> Plain {
    let t = tally;
    Plain {
        counts: [
            t.votes,
            t.silent,
            t.runs,
            t.works6,
            t.clean6,
            t.broken6,
            t.with_address6,
            t.nat64,
            t.xlat,
            t.cgnat,
            t.few,
        ],
        networks: t.networks(|_| 1.0).map(|networks| (networks.count, networks.working)),
        quantiles: t.quantile(0.5).zip(t.quantile(0.9)),
    }
}

#[test]
fn a_tally_kept_up_is_the_same_as_one_counted_anew() {
    let seed = std::env::var("SONDE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(11);
    eprintln!("SONDE_SEED={seed}");
    let mut rng = Rng::new(seed);
    let mut hours: Vec<(Tally, BTreeMap<u64, Record>)> = vec![Default::default(), Default::default()];
    for step in 0..4000 {
        let hour = usize::try_from(rng.below(2)).unwrap();
        let (tally, records) = &mut hours[hour];
        let probe = rng.below(60);
        let place = || Record::new(None, Some(Asn(64_500 + u32::try_from(probe % 7).unwrap())), Some(Asn(1)));
        let record = records.entry(probe).or_insert_with(place);
        if record.runs > 0 {
            tally.remove(record);
        }
        record.add(&run(&mut rng));
        tally.add(record);
        if step % 97 == 0 {
            assert_eq!(told(tally), plainly(records.values()), "step {step}");
        }
    }
    let [(mut both, first), (other, second)] = <[_; 2]>::try_from(hours).unwrap();
    both.merge(&other);
    assert_eq!(told(&both), plainly(first.values().chain(second.values())));
    // Taken out again, nothing stays.
    first.values().chain(second.values()).for_each(|record| both.remove(record));
    assert_eq!(both, Tally::default());
}

fn record(asn: u32, v6: FamilyState, at: i64) -> Record {
    let vote =
        Vote { v6, v4: FamilyState::Native, has_v6_address: true, is_cgnat: false, is_few: false, definition: 1 };
    let mut record = Record::new(None, Some(Asn(asn)), None);
    record.add(&Run { at: UnixNanos::from_secs(at), vote: Some(vote), difference: None, only_one_failed: (0, 0) });
    record
}

#[test]
fn a_probe_votes_as_in_its_last_run_whatever_order_they_come_in() {
    let mut late = record(1, FamilyState::Broken, 3000);
    let early = record(1, FamilyState::Native, 10).vote;
    late.add(&Run { at: UnixNanos::from_secs(10), vote: early, difference: None, only_one_failed: (0, 0) });
    late.add(&Run { at: UnixNanos::from_secs(3500), vote: None, difference: Some(5), only_one_failed: (1, 0) });
    assert_eq!((late.vote.map(|vote| vote.v6), late.runs, late.conclusive), (Some(FamilyState::Broken), 3, 2));
    assert_eq!(late.difference(), Some(5));
}

#[test]
fn a_share_says_how_much_it_can_bear() {
    let mut tally = Tally::default();
    let mut seen = Vec::new();
    for n in 0..40_u32 {
        tally.add(&record(n % 6, FamilyState::Native, 1));
        seen.push(tally.certainty());
    }
    let plain = seen.iter().position(|certainty| *certainty == Certainty::Plain);
    let ranked = seen.iter().position(|certainty| *certainty == Certainty::Ranked);
    assert_eq!((plain, ranked), (Some(4), Some(29)));
    let mut one_network = Tally::default();
    (0..100).for_each(|_| one_network.add(&record(1, FamilyState::Native, 1)));
    assert_eq!(one_network.certainty(), Certainty::Hatched, "a hundred probes of one network are one");
}

#[test]
fn networks_weigh_as_they_are_asked_to() {
    let mut tally = Tally::default();
    for (asn, state) in
        [(1, FamilyState::Native), (1, FamilyState::Native), (2, FamilyState::Broken), (3, FamilyState::Native)]
    {
        tally.add(&record(asn, state, 1));
    }
    let equal = tally.networks(|_| 1.0).unwrap();
    assert_eq!((equal.count, equal.working), (3, 2));
    assert!((equal.share - 2.0 / 3.0).abs() < 1e-9 && (equal.effective - 3.0).abs() < 1e-9);
    let by_users = tally.networks(|asn| if asn == Asn(2) { 8.0 } else { 1.0 }).unwrap();
    assert!((by_users.share - 0.2).abs() < 1e-9 && by_users.effective < 2.0, "{by_users:?}");
    assert_eq!(Tally::default().networks(|_| 1.0), None);
    assert_eq!(Tally::default().interval(0), None);
}
