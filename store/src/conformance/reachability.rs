//! Votes: what was said last counts, and sums are those of all votes counted anew.

use std::collections::BTreeMap;

use sonde_protocol::bounded::Text;
use sonde_protocol::ids::{Asn, ProbeId};
use sonde_protocol::net::Family;
use sonde_protocol::result::ipv6::FamilyState;
use sonde_protocol::seed::Rng;
use sonde_protocol::time::UnixNanos;

use super::Fixture;
use crate::Reachability;
use crate::reachability::{
    Cell, Cells, Country, Cube, Figures, Hour, Outage, Place, Prefix, Record, Run, Silence, Slash24, Slash48, Tally,
    Vote,
};
use crate::results::Cursor;

/// Midnight.
const FIRST: Hour = Hour(20_000 * Hour::A_DAY);

/// Any vote of an hour, as the seed has it.
fn any(rng: &mut Rng, hour: Hour) -> Record {
    const STATES: [FamilyState; 4] =
        [FamilyState::Native, FamilyState::NativePartial, FamilyState::Broken, FamilyState::None];
    let state = STATES.get(usize::try_from(rng.below(4)).unwrap()).copied().unwrap();
    let vote = Vote {
        v6: state,
        v4: FamilyState::Native,
        has_v6_address: state != FamilyState::None,
        is_cgnat: rng.one_in(3),
        is_few: false,
        definition: 1,
    };
    let country = ["NL", "DE"].get(usize::try_from(rng.below(2)).unwrap()).and_then(|name| name.parse().ok());
    let byte = |rng: &mut Rng| u8::try_from(rng.below(3)).unwrap();
    let place = Place {
        country,
        asn6: Some(Asn(64_500 + u32::try_from(rng.below(5)).unwrap())),
        asn4: None,
        net6: Slash48::from_bytes([0x20, 1, 0xd, 0xb8, byte(rng), 255 * byte(rng).min(1)]).filter(|_| !rng.one_in(6)),
        net4: Slash24::from_bytes([198, 51, byte(rng)]).filter(|_| !rng.one_in(6)),
    };
    let run = Run {
        at: UnixNanos::from_secs(hour.seconds() + i64::try_from(rng.below(3600)).unwrap()),
        vote: if rng.one_in(6) { Err(Silence::Offline) } else { Ok(vote) },
        difference: Some(i32::try_from(rng.below(9000)).unwrap()),
        only_one_failed: (0, 1),
    };
    Record::of(place, &[run])
}

pub(super) async fn what_was_said_last_counts(place: &impl Fixture<dyn Reachability>) {
    let store = place.open().await;
    let mut rng = Rng::new(1);
    let empty = store.state().await.unwrap();
    assert_eq!((empty.revision, empty.newest), (0, None));
    let (one, two) = (any(&mut rng, FIRST), any(&mut rng, FIRST));
    store.put(FIRST, &[(ProbeId(1), one), (ProbeId(2), two)]).await.unwrap();
    let first = store.state().await.unwrap();
    assert!(first.revision > 0 && first.newest == [one, two].map(|record| record.said_at).into_iter().max());
    store.put(FIRST, &[(ProbeId(2), two)]).await.unwrap();
    assert_eq!(store.state().await.unwrap(), first, "the same again changes nothing");
    assert_eq!(store.votes(FIRST).await.unwrap(), [(ProbeId(1), one), (ProbeId(2), two)]);
    let next = FIRST.plus(1);
    let (other, later) = (any(&mut rng, FIRST), any(&mut rng, next));
    store.put(FIRST, &[(ProbeId(2), other)]).await.unwrap();
    store.put(next, &[(ProbeId(2), later)]).await.unwrap();
    drop(store);
    let store = place.open().await;
    assert_eq!(store.votes(FIRST).await.unwrap(), [(ProbeId(1), one), (ProbeId(2), other)]);
    let of_two = store.votes_of(ProbeId(2), FIRST.plus(-9), FIRST.plus(9)).await.unwrap();
    assert_eq!(of_two, [(FIRST, other), (next, later)]);
    assert_eq!(store.votes_of(ProbeId(2), FIRST.plus(1), FIRST.plus(1)).await.unwrap(), []);
    let newest = store.newest(FIRST, next.plus(1)).await.unwrap();
    assert_eq!(newest, [(ProbeId(1), FIRST, one), (ProbeId(2), next, later)]);
    let state = store.state().await.unwrap();
    assert_eq!((state.epoch, state.revision > first.revision), (first.epoch, true));

    assert_eq!(store.outages(FIRST).await.unwrap(), None, "nobody has looked");
    store.set_outages(FIRST, &[]).await.unwrap();
    let out = ["r1", "r2"].map(|name| Outage::new(Text::cut(name), Family::V6));
    store.set_outages(next, &out).await.unwrap();
    assert_eq!(
        (store.outages(FIRST).await.unwrap(), store.outages(next).await.unwrap()),
        (Some(vec![]), Some(out.into()))
    );

    assert_eq!(store.progress().await.unwrap(), None);
    store.set_progress(&Cursor(vec![1, u64::MAX])).await.unwrap();
    drop(store);
    assert_eq!(place.open().await.progress().await.unwrap(), Some(Cursor(vec![1, u64::MAX])));
}

type All = BTreeMap<(Hour, ProbeId), Record>;

/// All votes of these hours, counted anew.
fn anew(all: &All, cells: Cells, from: Hour, to: Hour) -> Vec<(Cell, Figures)> {
    if let Some((within, length)) = cells.prefixes() {
        return anew_by_prefix(all, within, length, from, to);
    }
    let mut cube = Cube::default();
    for hour in from.until(to) {
        let records: Vec<_> = all
            .range((hour, ProbeId(0))..(hour.plus(1), ProbeId(0)))
            .map(|((_, probe), record)| (*probe, *record))
            .collect();
        cube.load(hour, &records);
    }
    cube.figures(cells, from, to)
}

/// The same by prefix.
fn anew_by_prefix(all: &All, within: Prefix, length: u8, from: Hour, to: Hour) -> Vec<(Cell, Figures)> {
    let mut parts: BTreeMap<Prefix, Vec<(ProbeId, &Record)>> = BTreeMap::new();
    for ((hour, probe), record) in all {
        if from <= *hour && *hour < to && within.holds(&record.place) {
            let address = match within.af() {
                Family::V6 => record.place.net6.unwrap().address().into(),
                Family::V4 => record.place.net4.unwrap().address().into(),
            };
            parts.entry(Prefix::new(address, length).unwrap()).or_default().push((*probe, record));
        }
    }
    parts.into_iter().map(|(prefix, records)| (Cell::Prefix(prefix), Tally::of(records).figures(|_| 1.0))).collect()
}

pub(super) async fn sums_are_those_of_all_votes(place: &impl Fixture<dyn Reachability>) {
    let mut store = place.open().await;
    let seed = 7;
    let (mut rng, mut all) = (Rng::new(seed), All::new());
    let dutch: Country = "NL".parse().unwrap();
    let cells = [
        Cells::One(Cell::World),
        Cells::One(Cell::Country(dutch)),
        Cells::One(Cell::Network(Asn(64_502))),
        Cells::Countries,
        Cells::Networks,
        Cells::NetworksIn(dutch),
        Cells::One(Cell::Prefix("2001:db8:100::/40".parse().unwrap())),
        Cells::One(Cell::Prefix("198.51.2.0/24".parse().unwrap())),
        Cells::Prefixes { within: Prefix::all(Family::V6), length: 48 },
        Cells::Prefixes { within: "2001:db8::/36".parse().unwrap(), length: 40 },
        Cells::Prefixes { within: Prefix::all(Family::V4), length: 99 },
    ];
    let days = 12;
    for step in 0..400_i64 {
        let hour = match rng.below(8) {
            // Late, and now and then very late.
            0 => FIRST.plus(i64::try_from(rng.below(24 * days)).unwrap()),
            _ => FIRST.plus(step * days.cast_signed() * 24 / 400),
        };
        let records: Vec<_> = (0..rng.below(5)).map(|_| (ProbeId(1 + rng.below(9)), any(&mut rng, hour))).collect();
        store.put(hour, &records).await.unwrap();
        all.extend(records.into_iter().map(|(probe, record)| ((hour, probe), record)));
        if step % 50 == 20 {
            drop(store);
            store = place.open().await;
        }
        if step % 40 == 7 {
            store.sum_up_a_day(hour).await.unwrap();
        }
        let from = FIRST.plus(i64::try_from(rng.below(24 * days)).unwrap());
        let to = from.plus(i64::try_from(rng.below(50)).unwrap());
        for cells in cells {
            let what = format!("seed {seed}, step {step}: {cells:?} from {from:?} to {to:?}");
            assert_eq!(store.sums(cells, from, to).await.unwrap(), anew(&all, cells, from, to), "{what}");
        }
    }
    for cells in cells {
        let Cells::One(cell) = cells else { continue };
        let (from, to) = (FIRST.plus(-3), FIRST.plus(24 * 12));
        let expected: Vec<_> = (0..12_i64)
            .map(|day| FIRST.plus(24 * day))
            .filter_map(|day| anew(&all, cells, day, day.plus(24)).pop().map(|(_, figures)| (day, figures)))
            .collect();
        assert_eq!(store.days(cell, from, to).await.unwrap(), expected);
        let expected: Vec<_> = from
            .until(to)
            .filter_map(|hour| anew(&all, cells, hour, hour.plus(1)).pop().map(|(_, figures)| (hour, figures)))
            .collect();
        assert_eq!(store.hours(cell, from, to).await.unwrap(), expected);
    }
}

pub(super) async fn days_stay_when_votes_go(place: &impl Fixture<dyn Reachability>) {
    let store = place.open().await;
    let mut rng = Rng::new(2);
    let [yesterday, today] = [FIRST, FIRST.plus(24)];
    for hour in [yesterday, yesterday.plus(5), today] {
        let records: Vec<_> = (1..6).map(|n| (ProbeId(n), any(&mut rng, hour))).collect();
        store.put(hour, &records).await.unwrap();
    }
    let days = store.days(Cell::World, yesterday, today.plus(1)).await.unwrap();
    assert_eq!(days.iter().map(|(day, _)| *day).collect::<Vec<_>>(), [yesterday, today]);
    assert!(store.sum_up_a_day(today.plus(23)).await.unwrap());
    assert!(!store.sum_up_a_day(today.plus(23)).await.unwrap(), "today has not ended");
    assert_eq!(store.days(Cell::World, yesterday, today.plus(1)).await.unwrap(), days);
    let before = store.state().await.unwrap();
    store.retain(today.plus(3)).await.unwrap();
    assert!(store.state().await.unwrap().revision > before.revision);
    assert_eq!(store.votes(yesterday).await.unwrap(), []);
    assert_eq!(store.votes(today).await.unwrap().len(), 5, "a day is kept whole");
    assert_eq!(store.days(Cell::World, yesterday, today.plus(1)).await.unwrap(), days);
    store.put(yesterday, &[(ProbeId(1), any(&mut rng, yesterday))]).await.unwrap();
    assert_eq!(store.votes(yesterday).await.unwrap(), [], "what comes too late changes nothing");
    assert_eq!(store.days(Cell::World, yesterday, today.plus(1)).await.unwrap(), days);
}

pub(super) async fn who_is_erased_has_never_said_anything(place: &impl Fixture<dyn Reachability>) {
    let store = place.open().await;
    let mut rng = Rng::new(3);
    let mut all = All::new();
    for hour in FIRST.until(FIRST.plus(30)) {
        let records: Vec<_> = (1..4).map(|n| (ProbeId(n), any(&mut rng, hour))).collect();
        store.put(hour, &records).await.unwrap();
        all.extend(records.into_iter().map(|(probe, record)| ((hour, probe), record)));
    }
    assert!(store.sum_up_a_day(FIRST.plus(30)).await.unwrap());
    let whole = store.sums(Cells::Networks, FIRST, FIRST.plus(30)).await.unwrap();
    assert_eq!(whole, anew(&all, Cells::Networks, FIRST, FIRST.plus(30)));
    store.erase(ProbeId(2)).await.unwrap();
    store.erase(ProbeId(77)).await.unwrap();
    all.retain(|(_, probe), _| *probe != ProbeId(2));
    for store in [store, place.open().await] {
        assert_eq!(store.votes_of(ProbeId(2), FIRST, FIRST.plus(30)).await.unwrap(), []);
        let rest = store.sums(Cells::Networks, FIRST, FIRST.plus(30)).await.unwrap();
        assert_eq!(rest, anew(&all, Cells::Networks, FIRST, FIRST.plus(30)));
        let day = store.days(Cell::World, FIRST, FIRST.plus(1)).await.unwrap();
        let expected = anew(&all, Cells::One(Cell::World), FIRST, FIRST.plus(24)).pop().map(|(_, figures)| figures);
        assert_eq!(day.first().map(|(_, figures)| *figures), expected);
    }
}
