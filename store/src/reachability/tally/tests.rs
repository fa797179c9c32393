use std::collections::BTreeMap;

use sonde_protocol::seed::Rng;
use sonde_protocol::time::UnixNanos;

use super::super::cell::Country;
use super::super::figures::Certainty;
use super::super::hour::Hour;
use super::super::prefix::{Slash24, Slash48};
use super::super::record::{Place, Run, Vote};
use super::*;

const STATES: [FamilyState; 5] =
    [FamilyState::Native, FamilyState::NativePartial, FamilyState::Tunnel, FamilyState::Broken, FamilyState::None];
const STATES4: [FamilyState; 4] =
    [FamilyState::Native, FamilyState::Nat64, FamilyState::Nat64Dns64, FamilyState::Xlat464];
const SILENCES: [Silence; 3] = [Silence::Unsettled, Silence::Offline, Silence::Inconclusive];

fn pick<T: Copy>(rng: &mut Rng, all: &[T]) -> T {
    all[usize::try_from(rng.below(all.len() as u64)).unwrap()]
}

/// The seed of a test, as it was printed or a fixed one.
pub(in crate::reachability) fn seed() -> u64 {
    let seed = std::env::var("SONDE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(11);
    eprintln!("SONDE_SEED={seed}");
    seed
}

/// Any run of an hour.
pub(in crate::reachability) fn run(rng: &mut Rng, hour: Hour) -> Run {
    let vote = Vote {
        v6: pick(rng, &STATES),
        v4: pick(rng, &STATES4),
        has_v6_address: rng.one_in(2),
        is_cgnat: rng.one_in(3),
        is_few: rng.one_in(9),
        definition: 1,
    };
    Run {
        at: UnixNanos::from_secs(hour.seconds() + i64::try_from(rng.below(3600)).unwrap()),
        vote: if rng.one_in(5) { Err(pick(rng, &SILENCES)) } else { Ok(vote) },
        difference: Some(i32::try_from(rng.below(40)).unwrap() - 20).filter(|_| !rng.one_in(4)),
        only_one_failed: (u32::try_from(rng.below(3)).unwrap(), 1),
    }
}

/// What these runs say together, somewhere.
pub(in crate::reachability) fn record_of(rng: &mut Rng, runs: &[Run]) -> Record {
    let countries = ["NL", "DE", "BR"].map(|country| country.parse::<Country>().ok());
    let asn = |rng: &mut Rng| Some(Asn(64_500 + u32::try_from(rng.below(7)).unwrap())).filter(|_| !rng.one_in(6));
    let byte = |rng: &mut Rng| u8::try_from(rng.below(4)).unwrap();
    let place = Place {
        country: pick(rng, &countries).filter(|_| !rng.one_in(8)),
        asn6: asn(rng),
        asn4: asn(rng),
        net6: Slash48::from_bytes([0x20, 1, 0, 0, byte(rng), byte(rng)]).filter(|_| !rng.one_in(5)),
        net4: Slash24::from_bytes([20, byte(rng), byte(rng)]).filter(|_| !rng.one_in(5)),
    };
    Record::of(place, runs)
}

/// The same numbers, counted from all records at once and as plainly as can be.
#[derive(Debug, PartialEq)]
struct Plain {
    counts: [u64; 13],
    probes: usize,
    networks: Option<(usize, usize)>,
    quantiles: Option<(i32, i32)>,
}

type Records = BTreeMap<(i64, u64), Record>;

fn plainly<'a>(records: impl Iterator<Item = (&'a (i64, u64), &'a Record)> + Clone) -> Plain {
    let voters: Vec<(u64, &Record, Vote)> =
        records.clone().filter_map(|((_, probe), record)| Some((*probe, record, record.vote?))).collect();
    let of = |holds: fn(Vote) -> bool| voters.iter().filter(|(_, _, vote)| holds(*vote)).count() as u64;
    let silent = |why: Silence| {
        records.clone().filter(|(_, record)| record.vote.is_none() && record.silence == why).count() as u64
    };
    let mut networks: BTreeMap<Asn, Vec<bool>> = BTreeMap::new();
    for (_, record, vote) in &voters {
        if let Some(asn) = record.place.network() {
            networks.entry(asn).or_default().push(vote.v6.works());
        }
    }
    let working = networks.values().filter(|all| all.iter().filter(|works| **works).count() * 2 > all.len()).count();
    let mut differences: Vec<i32> = voters.iter().filter_map(|(_, record, _)| record.difference).collect();
    differences.sort_unstable();
    let quantile = |share: f64| differences[(share * (differences.len() - 1) as f64).floor() as usize];
    let mut probes: Vec<u64> = voters.iter().map(|(probe, _, _)| *probe).collect();
    probes.sort_unstable();
    probes.dedup();
    Plain {
        counts: [
            voters.len() as u64,
            silent(Silence::Unsettled),
            silent(Silence::Offline),
            silent(Silence::Inconclusive),
            records.clone().map(|(_, record)| u64::from(record.runs)).sum(),
            of(|vote| matches!(vote.v6, FamilyState::Native | FamilyState::NativePartial | FamilyState::Tunnel)),
            of(|vote| vote.v6 == FamilyState::Native),
            of(|vote| vote.v6 == FamilyState::Broken && vote.has_v6_address),
            of(|vote| vote.has_v6_address),
            of(|vote| matches!(vote.v4, FamilyState::Nat64 | FamilyState::Nat64Dns64)),
            of(|vote| vote.v4 == FamilyState::Xlat464),
            of(|vote| vote.is_cgnat),
            of(|vote| vote.is_few),
        ],
        probes: probes.len(),
        networks: (!networks.is_empty()).then_some((networks.len(), working)),
        quantiles: (!differences.is_empty()).then(|| (quantile(0.5), quantile(0.9))),
    }
}

fn told(tally: &Tally) -> Plain {
    let figures = tally.figures(|_| 1.0);
    let t = figures.counts;
    Plain {
        counts: [
            t.votes,
            t.unsettled,
            t.offline,
            t.inconclusive,
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
        probes: figures.probes as usize,
        networks: figures.networks.map(|networks| (networks.count as usize, networks.working as usize)),
        quantiles: figures.differences.map(|differences| (differences.median, differences.ninth_tenth)),
    }
}

#[test]
fn a_tally_kept_up_is_the_same_as_one_counted_anew() {
    let mut rng = Rng::new(seed());
    let mut tallies = [Tally::default(), Tally::default()];
    let mut records = Records::new();
    let of_hour = |records: &Records, hour: i64| -> Records {
        records.iter().filter(|((at, _), _)| *at == hour).map(|(key, record)| (*key, *record)).collect()
    };
    for step in 0..4000 {
        let hour = i64::from(rng.one_in(2));
        let tally = &mut tallies[hour as usize];
        let probe = rng.below(60);
        let runs: Vec<Run> = (0..=rng.below(4)).map(|_| run(&mut rng, Hour(hour))).collect();
        let record = record_of(&mut rng, &runs);
        if let Some(before) = records.insert((hour, probe), record) {
            tally.remove(ProbeId(probe), &before);
        }
        tally.add(ProbeId(probe), &record);
        if step % 97 == 0 {
            assert_eq!(told(tally), plainly(of_hour(&records, hour).iter()), "step {step}");
        }
    }
    let both = Tally::total(&tallies);
    assert_eq!(told(&both), plainly(records.iter()));
    assert_eq!(both, Tally::of(records.iter().map(|((_, probe), record)| (ProbeId(*probe), record))));
    // Taken out again, nothing stays.
    let mut rest = both;
    records.iter().for_each(|((_, probe), record)| rest.remove(ProbeId(*probe), record));
    assert_eq!(rest, Tally::default());
}

fn vote(v6: FamilyState) -> Vote {
    Vote { v6, v4: FamilyState::Native, has_v6_address: true, is_cgnat: false, is_few: false, definition: 1 }
}

fn at(seconds: i64, vote: Result<Vote, Silence>) -> Run {
    Run { at: UnixNanos::from_secs(seconds), vote, difference: None, only_one_failed: (0, 0) }
}

fn record(asn: u32, v6: FamilyState) -> Record {
    Record::of(Place { asn6: Some(Asn(asn)), ..Place::default() }, &[at(1, Ok(vote(v6)))])
}

#[test]
fn a_probe_votes_as_in_its_last_run_whatever_order_they_come_in() {
    let late = at(3000, Ok(vote(FamilyState::Broken)));
    let early = at(10, Ok(vote(FamilyState::Native)));
    let silent = Run { difference: Some(5), only_one_failed: (1, 0), ..at(3500, Err(Silence::Offline)) };
    for runs in [[late, early, silent], [silent, early, late], [early, silent, late]] {
        let record = Record::of(Place::default(), &runs);
        assert_eq!(record.vote.map(|vote| vote.v6), Some(FamilyState::Broken));
        assert_eq!((record.runs, record.conclusive, record.said_at.as_secs()), (3, 2, 3000));
        assert_eq!((record.difference, record.only_one_failed), (Some(5), (1, 0)));
    }
    let record = Record::of(Place::default(), &[at(9, Err(Silence::Offline)), at(5, Err(Silence::Unsettled))]);
    assert_eq!((record.vote, record.silence, record.said_at.as_secs()), (None, Silence::Offline, 9));
}

#[test]
fn a_share_says_how_much_it_can_bear() {
    let mut tally = Tally::default();
    let mut seen = Vec::new();
    for n in 0..40_u32 {
        tally.add(ProbeId(n.into()), &record(n % 6, FamilyState::Native));
        seen.push(tally.figures(|_| 1.0).certainty());
    }
    let plain = seen.iter().position(|certainty| *certainty == Certainty::Plain);
    let ranked = seen.iter().position(|certainty| *certainty == Certainty::Ranked);
    assert_eq!((plain, ranked), (Some(4), Some(29)));
    let mut one_network = Tally::default();
    (0..100).for_each(|n| one_network.add(ProbeId(n), &record(1, FamilyState::Native)));
    let certainty = one_network.figures(|_| 1.0).certainty();
    assert_eq!(certainty, Certainty::Hatched, "a hundred probes of one network are one");
}

#[test]
fn a_day_of_few_probes_is_no_more_certain_than_an_hour_of_them() {
    let hour = Tally::of(
        [1, 2, 3, 4]
            .map(|n| (ProbeId(n), record(n as u32, FamilyState::Native)))
            .iter()
            .map(|(probe, record)| (*probe, record)),
    );
    let day = Tally::total(vec![&hour; 24]).figures(|_| 1.0);
    let hour = hour.figures(|_| 1.0);
    assert_eq!((day.counts.votes, day.probes, day.certainty()), (96, 4, Certainty::Hatched));
    let of = |figures: &super::Figures| figures.share(figures.counts.works6, figures.counts.votes).unwrap().interval;
    assert_eq!(of(&day), of(&hour));
}

#[test]
fn networks_weigh_as_they_are_asked_to() {
    let mut tally = Tally::default();
    let states =
        [(1, FamilyState::Native), (1, FamilyState::Native), (2, FamilyState::Broken), (3, FamilyState::Native)];
    for (n, (asn, state)) in (0..).zip(states) {
        tally.add(ProbeId(n), &record(asn, state));
    }
    let equal = tally.figures(|_| 1.0).networks.unwrap();
    assert_eq!((equal.count, equal.working), (3, 2));
    assert!((equal.share - 2.0 / 3.0).abs() < 1e-9 && (equal.effective - 3.0).abs() < 1e-9);
    let by_users = tally.figures(|asn| if asn == Asn(2) { 8.0 } else { 1.0 }).networks.unwrap();
    assert!((by_users.share - 0.2).abs() < 1e-9 && by_users.effective < 2.0, "{by_users:?}");
    assert_eq!(Tally::default().figures(|_| 1.0), Figures::default());
    assert_eq!(Figures::default().share(0, 0), None);
}
