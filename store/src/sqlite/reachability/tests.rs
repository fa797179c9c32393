use sonde_protocol::ids::Asn;
use sonde_protocol::result::ipv6::FamilyState;

use super::*;
use crate::conformance::block_on;
use crate::reachability::{MOST_VOTES, Place, Prefix, Run, Silence, Slash24, Slash48, Vote};

const HOUR: Hour = Hour(20_000 * Hour::A_DAY);

/// What a probe in this /48 and this /24 says.
fn record(hour: Hour, net6: [u8; 6], net4: [u8; 3]) -> Record {
    let vote = Vote {
        v6: FamilyState::Native,
        v4: FamilyState::Native,
        has_v6_address: true,
        is_cgnat: false,
        is_few: false,
        definition: 1,
    };
    let at = UnixNanos::from_secs(hour.seconds() + 7);
    let place = Place {
        country: None,
        asn6: Some(Asn(64_500)),
        asn4: None,
        net6: Slash48::from_bytes(net6),
        net4: Slash24::from_bytes(net4),
    };
    Record::of(place, &[Run { at, vote: Ok(vote), difference: None, only_one_failed: (0, 0) }])
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

#[test]
fn no_more_votes_of_a_prefix_are_read_than_one_answer_may() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteReachability::open(dir.path().join("votes.db")).unwrap();
    let end = HOUR.plus(3);
    for hour in HOUR.until(end) {
        // A crowd in one /24, and a probe beside it.
        let mut records: Vec<_> =
            (1..=4).map(|n| (ProbeId(n), record(hour, [0x20, 1, 0, 0, 0, n as u8], [198, 51, 7]))).collect();
        records.push((ProbeId(9), record(hour, [0x20, 1, 0, 0, 0, 9], [198, 51, 8])));
        block_on(store.put(hour, &records)).unwrap();
    }
    let all = prefix("198.51.0.0/16");
    let reading = |within: Prefix, left: usize| {
        let mut reading = Reading::new(&store, within);
        reading.left = left;
        reading
    };
    let refused = reading(all, 14).sums(16, HOUR, end);
    assert!(matches!(refused, Err(StoreError::TooMuch { most: MOST_VOTES, .. })), "{refused:?}");
    assert!(reading(all, 14).series(HOUR, end, 1).is_err(), "all points are one answer");
    assert!(reading(all, 14).series(HOUR, end, Hour::A_DAY).is_err());
    assert_eq!(reading(all, 15).sums(16, HOUR, end).unwrap()[0].1.counts.votes, 15);
    assert_eq!(reading(all, 10).sums(16, HOUR, end.plus(-1)).unwrap()[0].1.counts.votes, 10);
    let one = reading(prefix("198.51.8.0/24"), 3).sums(24, HOUR, end).unwrap();
    assert_eq!(one[0].1.counts.votes, 3, "who asks for few does not pay for the others");
    let parts = reading(prefix("2001::/16"), 15).sums(48, HOUR, end).unwrap();
    assert_eq!(parts.len(), 5);
    assert_eq!(parts[4].0, Cell::Prefix(prefix("2001:0:9::/48")));
}

#[test]
fn votes_of_a_file_of_the_version_before_have_no_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("votes.db");
    let before = Schema { what: "reachability", migrations: &SCHEMA.migrations[..2] };
    let old = before.open(&path).unwrap();
    let whole = record(HOUR, [0x20, 1, 2, 3, 4, 5], [20, 1, 2]);
    let mut bytes = whole.pack(HOUR)[..30].to_vec();
    bytes[0] = 1;
    old.execute("INSERT INTO vote (hour, probe, record) VALUES (?, 1, ?)", params![HOUR.0, bytes]).unwrap();
    drop(old);
    let store = SqliteReachability::open(&path).unwrap();
    let sum = |cells| block_on(store.sums(cells, HOUR, HOUR.plus(1))).unwrap();
    assert_eq!(sum(Cells::One(Cell::World))[0].1.counts.votes, 1);
    assert_eq!(sum(Cells::Prefixes { within: prefix("2001::/16"), length: 48 }), []);
    block_on(store.put(HOUR, &[(ProbeId(1), whole)])).unwrap();
    assert_eq!(sum(Cells::One(Cell::Prefix(prefix("2001:203:405::/48"))))[0].1.counts.votes, 1);
}

/// Is this anywhere in the file, or in the log beside it?
fn is_on_disk(path: &Path, bytes: &[u8]) -> bool {
    let log = path.with_extension("db-wal");
    let files = [std::fs::read(path).unwrap(), std::fs::read(log).unwrap_or_default()];
    files.iter().any(|file| file.windows(bytes.len()).any(|part| part == bytes))
}

#[test]
fn nothing_of_an_erased_probe_stays_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("votes.db");
    let store = SqliteReachability::open(&path).unwrap();
    let (erased, other) = (record(HOUR, *b"\x20erase", [20, 1, 1]), record(HOUR, *b"\x20other", [20, 1, 2]));
    let end = HOUR.plus(60);
    for hour in HOUR.until(end) {
        block_on(store.put(hour, &[(ProbeId(7), erased), (ProbeId(8), other)])).unwrap();
        // Said twice, so that the first is somewhere too.
        block_on(store.put(hour, &[(ProbeId(7), Record { runs: 9, ..erased })])).unwrap();
    }
    assert!(block_on(store.sum_up_a_day(end)).unwrap());
    // In one version that cannot be read any more.
    let damage = "UPDATE vote SET record = x'6320657261736500' WHERE hour = ? AND probe = 7";
    locked(&store.writer).execute(damage, [HOUR.0]).unwrap();
    assert!(is_on_disk(&path, b"\x20erase"));
    block_on(store.erase(ProbeId(7))).unwrap();
    assert!(!is_on_disk(&path, b"\x20erase"));
    assert!(is_on_disk(&path, b"\x20other"));
    let world = block_on(store.sums(Cells::One(Cell::World), HOUR, end)).unwrap();
    assert_eq!((world[0].1.counts.votes, world[0].1.probes), (60, 1));
    assert_eq!(block_on(store.days(Cell::World, HOUR, end)).unwrap()[0].1.probes, 1, "the day's sum as well");
    // And what is too old.
    block_on(store.retain(end.plus(48))).unwrap();
    store.empty_log().unwrap();
    assert!(!is_on_disk(&path, b"\x20other"));
}

#[test]
fn who_asks_for_hours_of_which_nothing_is_known_fills_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteReachability::open(dir.path().join("votes.db")).unwrap();
    let hours = || store.sums.read().unwrap().cube.len();
    let ask = |from: Hour| block_on(store.sums(Cells::Countries, from, from.plus(24))).unwrap();
    for day in 0..50 {
        assert_eq!(ask(HOUR.plus(24 * day)), []);
    }
    assert_eq!(hours(), 0, "before anything was said");
    let silent = Run { at: HOUR.start(), vote: Err(Silence::Offline), difference: None, only_one_failed: (0, 0) };
    block_on(store.put(HOUR, &[(ProbeId(1), Record::of(Place::default(), &[silent]))])).unwrap();
    for day in -50..50 {
        ask(HOUR.plus(24 * day));
    }
    assert!(hours() <= 2 * IN_MEMORY as usize, "{}", hours());
}
