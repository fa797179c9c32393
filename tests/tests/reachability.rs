//! Sums of votes, kept up while votes come early, late and again, are those of all votes counted plainly.

use std::collections::BTreeMap;

use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::Family;
use sonde_protocol::seed::Rng;
use sonde_store::Reachability;
use sonde_store::conformance::block_on;
use sonde_store::reachability::{Cell, Cells, Hour, Prefix, Record};
use sonde_store::sqlite::SqliteReachability;
use sonde_tests::votes::{Crowd, compare, large_country, plainly, plainly_by_prefix};

#[test]
fn sums_kept_up_are_those_of_a_plain_count() {
    let seed = std::env::var("SONDE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(2026);
    eprintln!("SONDE_SEED={seed}");
    let mut rng = Rng::new(seed);
    let (crowd, first) = (Crowd::new(seed, 200), Hour(20_000 * Hour::A_DAY));
    let last = first.plus(30);
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteReachability::open(dir.path().join("votes.db")).unwrap();
    let mut all: BTreeMap<(Hour, ProbeId), Record> = BTreeMap::new();
    // Each hour in three parts, those of different hours mixed, and then much of it once more and differently.
    for round in 0..4_u64 {
        for hour in first.until(last) {
            let part = |probe: &ProbeId| round == 3 || probe.0 % 3 == round;
            let hour = if round < 3 { hour } else { first.plus(i64::try_from(rng.below(30)).unwrap()) };
            let mut records = crowd.records(hour, round);
            records.retain(|(probe, _)| part(probe) && (round < 3 || rng.one_in(4)));
            block_on(store.put(hour, &records)).unwrap();
            all.extend(records.into_iter().map(|(probe, record)| ((hour, probe), record)));
            if round == 1 {
                // It is in memory from now on.
                block_on(store.sums(Cells::Countries, hour, hour.plus(1))).unwrap();
            }
        }
    }
    assert!(all.len() > 5000);
    for (from, to) in [(first, last), (first.plus(3), first.plus(4)), (first.plus(5), first.plus(29))] {
        let votes: Vec<_> =
            all.range((from, ProbeId(0))..(to, ProbeId(0))).map(|((_, probe), record)| (*probe, *record)).collect();
        let plain = plainly(&votes);
        for cells in [Cells::One(Cell::World), Cells::Countries, Cells::Networks] {
            let sums = block_on(store.sums(cells, from, to)).unwrap();
            assert_eq!(compare(&plain, &sums), Vec::<String>::new(), "seed {seed}, {cells:?} from {from:?} to {to:?}");
        }
        let by_prefix = Cells::Prefixes { within: Prefix::all(Family::V6), length: 32 };
        let sums = block_on(store.sums(by_prefix, from, to)).unwrap();
        let plain = plainly_by_prefix(&votes);
        assert_eq!(compare(&plain, &sums), Vec::<String>::new(), "seed {seed}, prefixes from {from:?} to {to:?}");
        let (one, _) = sums[0];
        let alone = block_on(store.sums(Cells::One(one), from, to)).unwrap();
        assert_eq!((alone.len(), alone[0]), (1, sums[0]));
        let country = large_country().unwrap();
        let there: Vec<_> = votes.iter().filter(|(_, record)| record.place.country == Some(country)).copied().collect();
        let sums = block_on(store.sums(Cells::NetworksIn(country), from, to)).unwrap();
        assert_eq!(compare(&plainly(&there), &sums), Vec::<String>::new(), "seed {seed}, networks of {country}");
    }
    assert!(block_on(store.sum_up_a_day(first.plus(24))).unwrap());
    let day: Vec<_> = all.range(..(first.plus(24), ProbeId(0))).map(|((_, probe), record)| (*probe, *record)).collect();
    let days = block_on(store.days(Cell::World, first, first.plus(1))).unwrap();
    let sums: Vec<_> = days.into_iter().map(|(_, figures)| (Cell::World, figures)).collect();
    assert_eq!(compare(&plainly(&day), &sums), Vec::<String>::new());
}
