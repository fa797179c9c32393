//! The SQLite backends pass the conformance suites, and what only files can do wrong is an error that says so.

#![expect(clippy::unwrap_used, reason = "an error must end the test")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use rusqlite::Connection;
use sonde_protocol::ids::{Asn, BootId, MeasurementId, ProbeId, Seq};
use sonde_protocol::key::PublicKey;
use sonde_protocol::seed::Rng;
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Accounts, Admission, ProbeFilter, Probes, Slice};
use sonde_store::conformance::{Draft, Fixture, batch_of, block_on, catalog_suite, reachability_suite, results_suite};
use sonde_store::results::{Cursor, ResultQuery};
use sonde_store::sqlite::{SqliteCatalog, SqliteReachability, SqliteResults};
use sonde_store::{Catalog, Reachability, Results, StoreError};

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait]
impl Fixture<dyn Catalog> for Dir {
    async fn open(&self) -> Arc<dyn Catalog> {
        Arc::new(SqliteCatalog::open(self.0.path().join("catalog.db")).unwrap())
    }
}

#[async_trait]
impl Fixture<dyn Results> for Dir {
    async fn open(&self) -> Arc<dyn Results> {
        Arc::new(SqliteResults::open(self.0.path().join("results")).unwrap())
    }
}

#[async_trait]
impl Fixture<dyn Reachability> for Dir {
    async fn open(&self) -> Arc<dyn Reachability> {
        Arc::new(SqliteReachability::open(self.0.path().join("reachability.db")).unwrap())
    }
}

#[test]
fn the_votes_keep_their_promises() {
    block_on(reachability_suite(Dir::new));
}

#[test]
fn the_catalog_keeps_its_promises() {
    block_on(catalog_suite(Dir::new));
}

#[test]
fn the_results_keep_their_promises() {
    block_on(results_suite(Dir::new));
}

/// Results whose index is tidied up all the time.
struct ShortTail(Dir, u32);

#[async_trait]
impl Fixture<dyn Results> for ShortTail {
    async fn open(&self) -> Arc<dyn Results> {
        Arc::new(SqliteResults::open(self.0.0.path().join("results")).unwrap().with_short_index_tail(self.1))
    }
}

#[test]
fn the_results_keep_their_promises_while_the_index_is_tidied_up() {
    for places in [1, 3, 10] {
        block_on(results_suite(|| ShortTail(Dir::new(), places)));
    }
}

/// Runs SQL on a file behind the store's back.
fn meddle(file: &Path, sql: &str) {
    Connection::open(file).unwrap().execute_batch(sql).unwrap();
}

fn draft(seq: u64, seconds: i64) -> Draft {
    Draft {
        probe: ProbeId(1),
        boot: BootId(7),
        seq: Seq(seq),
        measurement: MeasurementId(1_000_000),
        at: UnixNanos::from_secs(seconds),
        arrived_at: UnixNanos::from_secs(seconds),
        skipped: false,
    }
}

fn append(results: &dyn Results, drafts: &[Draft]) {
    let now = drafts[0].arrived_at;
    block_on(results.append(&batch_of(drafts.iter().map(|draft| draft.stored()).collect()), now)).unwrap();
}

fn everything() -> ResultQuery {
    ResultQuery { measurement: MeasurementId(1_000_000), from: None, to: None, probes: None }
}

fn within(from: i64, to: i64) -> ResultQuery {
    ResultQuery { from: Some(UnixNanos::from_secs(from)), to: Some(UnixNanos::from_secs(to)), ..everything() }
}

/// The error must be one of reading, and name these.
fn assert_names<T: std::fmt::Debug>(outcome: Result<T, StoreError>, names: &[&str]) {
    let error = outcome.unwrap_err();
    assert!(matches!(error, StoreError::Unreadable { .. }), "{error:?}");
    for name in names {
        assert!(error.to_string().contains(name), "{name} in: {error}");
    }
}

#[test]
fn a_newer_versions_files_are_refused_by_name_and_left_alone() {
    let dir = Dir::new();
    let catalog = dir.0.path().join("catalog.db");
    drop(SqliteCatalog::open(&catalog).unwrap());
    meddle(&catalog, "PRAGMA user_version = 99");
    let before = std::fs::read(&catalog).unwrap();
    assert_names(SqliteCatalog::open(&catalog), &["catalog.db", "version 99"]);
    assert_eq!(std::fs::read(&catalog).unwrap(), before);

    let results = dir.0.path().join("results");
    append(&SqliteResults::open(&results).unwrap(), &[draft(1, 0)]);
    append(&SqliteResults::open(&results).unwrap(), &[draft(2, 86_400)]);
    meddle(&results.join("1970-01-02.db"), "PRAGMA user_version = 99");
    assert_names(SqliteResults::open(&results), &["1970-01-02.db", "version 99"]);
}

#[test]
fn a_file_of_something_else_is_refused() {
    let dir = Dir::new();
    let path = dir.0.path().join("catalog.db");
    std::fs::write(&path, "this is a letter to my aunt, and rather long so that it could be a database".repeat(100))
        .unwrap();
    assert_names(SqliteCatalog::open(&path), &["catalog.db"]);
    let missing = dir.0.path().join("nowhere").join("catalog.db");
    assert!(matches!(SqliteCatalog::open(missing), Err(StoreError::Backend { .. })));
}

#[test]
fn a_damaged_log_row_is_an_error_that_names_it_and_all_else_can_be_read() {
    let dir = Dir::new();
    let path = dir.0.path().join("results");
    let results = SqliteResults::open(&path).unwrap();
    for (seq, seconds) in [(1, 0), (2, 100), (3, 200), (4, 86_400)] {
        append(&results, &[draft(seq, seconds)]);
    }
    drop(results);
    meddle(&path.join("1970-01-01.db"), "UPDATE log SET entries = x'28b52ffd0000' WHERE id = 2");
    let results = SqliteResults::open(&path).unwrap();
    assert_names(block_on(results.scan(&everything(), None, 100)), &["1970-01-01.db", "log row 2"]);
    assert_names(block_on(results.latest(&everything(), 9, None)), &["1970-01-01.db", "log row 2"]);
    assert_names(block_on(results.digests(ProbeId(1), BootId(7))), &["1970-01-01.db", "log row 2"]);
    for (from, to, seq) in [(0, 50, 1), (150, 250, 3), (86_400, 90_000, 4)] {
        let page = block_on(results.scan(&within(from, to), None, 100)).unwrap();
        assert_eq!(page.reports.iter().map(|report| report.seq.0).collect::<Vec<_>>(), [seq]);
    }
    assert_eq!(block_on(results.latest(&everything(), 1, Some(1))).unwrap()[0].seq, Seq(4));
    append(&results, &[draft(5, 300)]);

    drop(results);
    meddle(&path.join("1970-01-01.db"), "DELETE FROM log WHERE id = 3");
    let results = SqliteResults::open(&path).unwrap();
    assert_names(block_on(results.scan(&within(150, 250), None, 100)), &["1970-01-01.db", "log row 3", "missing"]);
}

#[test]
fn flipped_bytes_in_a_day_never_panic_nor_yield_wrong_reports() {
    let dir = Dir::new();
    let path = dir.0.path().join("results");
    let results = SqliteResults::open(&path).unwrap();
    let mut drafts: Vec<Draft> = (1..=200).map(|seq| draft(seq, seq as i64)).collect();
    append(&results, &drafts[..100]);
    append(&results, &drafts[100..]);
    drafts.push(draft(201, 86_400));
    append(&results, &drafts[200..]);
    drop(results);
    let genuine: Vec<_> = drafts.iter().map(|draft| draft.stored()).collect();
    let (file, moved) = (path.join("1970-01-01.db"), dir.0.path().join("moved.db"));
    let good = std::fs::read(&file).unwrap();
    let seed = 0x5eed;
    eprintln!("seed {seed}");
    let mut rng = Rng::new(seed);
    let (mut refused, mut partly, mut whole) = (0, 0, 0);
    for _ in 0..300 {
        let mut bad = good.clone();
        for _ in 0..1 + rng.below(4) {
            let at = rng.below(bad.len() as u64) as usize;
            bad[at] ^= 1 << rng.below(8);
        }
        std::fs::write(&file, &bad).unwrap();
        match SqliteResults::open(&path) {
            // Moved away, it does not keep the others from being read.
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains("1970-01-01.db"), "{error}");
                std::fs::rename(&file, &moved).unwrap();
                let others = SqliteResults::open(&path).unwrap();
                assert_eq!(block_on(others.scan(&everything(), None, 1000)).unwrap().reports, genuine[200..]);
            }
            Ok(results) => {
                match block_on(results.scan(&everything(), None, 1000)) {
                    Ok(page) => {
                        whole += 1;
                        assert!(page.reports.iter().all(|report| genuine.contains(report)));
                    }
                    Err(error) => {
                        partly += 1;
                        assert!(error.to_string().contains("1970-01-01.db"), "{error}");
                    }
                }
                let page = block_on(results.scan(&within(86_400, 90_000), None, 1000)).unwrap();
                assert_eq!(page.reports, genuine[200..]);
                let _ = block_on(results.latest(&everything(), 300, None));
                let _ = block_on(results.digests(ProbeId(1), BootId(7)));
                let _ = block_on(results.gaps(ProbeId(1), UnixNanos(0), UnixNanos(9)));
            }
        }
        for name in ["1970-01-01.db-wal", "1970-01-01.db-shm"] {
            let _ = std::fs::remove_file(path.join(name));
        }
    }
    assert!(refused > 0 && partly > 0 && whole > 0, "{refused} {partly} {whole}");
}

#[test]
fn what_a_crash_in_retention_leaves_is_cleared_and_strangers_files_are_let_be() {
    let dir = Dir::new();
    let path = dir.0.path().join("results");
    append(&SqliteResults::open(&path).unwrap(), &[draft(1, 86_400)]);
    for name in ["1970-01-01.db-wal", "1970-01-01.db-shm", "notes.txt", "1970-02-31.db", "backup.db"] {
        std::fs::write(path.join(name), "left behind").unwrap();
    }
    let results = SqliteResults::open(&path).unwrap();
    append(&results, &[draft(2, 0)]);
    assert_eq!(block_on(results.scan(&everything(), None, 100)).unwrap().reports.len(), 2);
    drop(results);
    for name in ["notes.txt", "1970-02-31.db", "backup.db"] {
        assert_eq!(std::fs::read_to_string(path.join(name)).unwrap(), "left behind");
    }
    assert!(path.join("1970-01-01.db").exists() && path.join("1970-01-02.db").exists());
}

#[test]
fn retention_removes_the_files() {
    let dir = Dir::new();
    let path = dir.0.path().join("results");
    let results = SqliteResults::open(&path).unwrap();
    for day in 0..4 {
        append(&results, &[draft(day as u64 + 1, day * 86_400)]);
        block_on(results.scan(&everything(), None, 100)).unwrap();
    }
    // The middle of a day: it is not over.
    block_on(results.retain(UnixNanos::from_secs(2 * 86_400 + 43_200))).unwrap();
    let names = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut days: Vec<String> = names.map(|name| name[..10].to_owned()).collect();
    days.sort();
    days.dedup();
    assert_eq!(days, ["1970-01-03", "1970-01-04"]);
    assert_eq!(block_on(results.ranges(ProbeId(1), &[BootId(7)])).unwrap()[0].ranges.len(), 4);
}

/// Says that something is over, also when it ends in a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn days_come_and_go_beside_readers() {
    let dir = Dir::new();
    let results = SqliteResults::open(dir.0.path()).unwrap().with_short_index_tail(3);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for limit in [2, 1000] {
            let (results, done) = (&results, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let mut page = block_on(results.scan(&everything(), None, limit)).unwrap();
                    while let Some(cursor) = page.next {
                        page = block_on(results.scan(&everything(), Some(&cursor), limit)).unwrap();
                    }
                    block_on(results.latest(&everything(), 2, Some(1))).unwrap();
                    block_on(results.gaps(ProbeId(1), UnixNanos(0), UnixNanos(i64::MAX))).unwrap();
                }
            });
        }
        let _over = Over(&done);
        for n in 0..200 {
            append(&results, &[draft(n as u64 + 1, n * 86_400 / 4)]);
            block_on(results.retain(UnixNanos::from_secs((n / 4 - 2) * 86_400))).unwrap();
        }
    });
    assert_eq!(block_on(results.ranges(ProbeId(1), &[BootId(7)])).unwrap()[0].ranges.len(), 200);
    assert_eq!(block_on(results.scan(&everything(), None, 1000)).unwrap().reports.len(), 12);
}

#[test]
fn a_cursor_that_is_not_ours_is_an_error() {
    let dir = Dir::new();
    let results = SqliteResults::open(dir.0.path()).unwrap();
    append(&results, &[draft(1, 0)]);
    for numbers in [vec![], vec![1], vec![1, 2, 3, 4]] {
        assert_names(block_on(results.scan(&everything(), Some(&Cursor(numbers)), 10)), &["cursor"]);
    }
    let far = Cursor(vec![i64::MAX as u64, u64::MAX, u64::MAX]);
    assert_eq!(block_on(results.scan(&everything(), Some(&far), 10)).unwrap().reports, []);
}

#[test]
fn probes_are_found_by_what_only_an_operator_can_set_as_yet() {
    let dir = Dir::new();
    let path = dir.0.path().join("catalog.db");
    let catalog = SqliteCatalog::open(&path).unwrap();
    let ada = block_on(catalog.add_account("ada@example.net", UnixNanos(0))).unwrap().unwrap().id;
    for n in 1..=3 {
        block_on(catalog.add_join_token(&[n; 32], ada, UnixNanos(0), UnixNanos(9))).unwrap();
        block_on(catalog.admit(&PublicKey([n; 32]), Some(&[n; 32]), UnixNanos(1))).unwrap();
    }
    meddle(
        &path,
        "UPDATE probe SET country = 'NL', asn_v4 = 64500, latitude = 52.3, longitude = 4.9 WHERE id = 1;
         UPDATE probe SET country = 'DE', asn_v6 = 4294967295, description = 'attic', address_is_public = 1 WHERE id = 2;",
    );
    let slice = Slice { offset: 0, limit: 10, descending: false };
    let list = |filter: ProbeFilter| block_on(catalog.probes(&filter, slice)).unwrap().items;
    let ids = |filter| list(filter).iter().map(|probe| probe.id.0).collect::<Vec<_>>();
    assert_eq!(ids(ProbeFilter { countries: Some(vec!["nl".into()]), ..ProbeFilter::default() }), [1]);
    assert_eq!(ids(ProbeFilter { countries: Some(vec!["DE".into()]), ..ProbeFilter::default() }), [2]);
    assert_eq!(ids(ProbeFilter { asns: vec![(None, vec![Asn(64_500)])], ..ProbeFilter::default() }), [1]);
    assert_eq!(ids(ProbeFilter { asns: vec![(None, vec![Asn(u32::MAX)])], ..ProbeFilter::default() }), [2]);
    let both = ProbeFilter {
        asns: vec![(None, vec![Asn(64_500)])],
        countries: Some(vec!["DE".into()]),
        ..ProbeFilter::default()
    };
    assert_eq!(ids(both), [0; 0]);
    let probes = list(ProbeFilter::default());
    assert_eq!((probes[0].place, probes[0].asn_v4, probes[0].asn_v6), (Some((52.3, 4.9)), Some(Asn(64_500)), None));
    assert_eq!((probes[1].description.as_deref(), probes[1].address_is_public), (Some("attic"), true));

    meddle(&path, "UPDATE probe SET address_v4 = 'nonsense' WHERE id = 3");
    assert_names(block_on(catalog.probe(ProbeId(3))), &["catalog"]);
    assert!(block_on(catalog.probe(ProbeId(1))).unwrap().is_some());
}

#[test]
fn one_of_many_wins_a_token_and_everybody_is_heard() {
    let dir = Dir::new();
    let catalog = SqliteCatalog::open(dir.0.path().join("catalog.db")).unwrap();
    let ada = block_on(catalog.add_account("ada@example.net", UnixNanos(0))).unwrap().unwrap().id;
    block_on(catalog.add_join_token(&[1; 32], ada, UnixNanos(0), UnixNanos(9))).unwrap();
    let joined: usize = std::thread::scope(|scope| {
        let catalog = &catalog;
        let threads: Vec<_> = (0..8)
            .map(|n| {
                scope.spawn(move || {
                    let outcome = block_on(catalog.admit(&PublicKey([n; 32]), Some(&[1; 32]), UnixNanos(1))).unwrap();
                    usize::from(matches!(outcome, Admission::Joined(_)))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(joined, 1);
}

#[test]
fn many_threads_append_and_read_at_once() {
    let dir = Dir::new();
    let results = SqliteResults::open(dir.0.path()).unwrap().with_short_index_tail(5);
    const EACH: u64 = 60;
    std::thread::scope(|scope| {
        for probe in 1..=4u64 {
            let results = &results;
            scope.spawn(move || {
                for seq in 1..=EACH {
                    let draft = Draft { probe: ProbeId(probe), ..draft(seq, (seq as i64 % 3) * 86_400 + seq as i64) };
                    append(results, &[draft]);
                    // What was acknowledged is there for everybody at once.
                    let query = ResultQuery { probes: Some(vec![ProbeId(probe)]), ..everything() };
                    let mut found = 0;
                    let mut page = block_on(results.scan(&query, None, 25)).unwrap();
                    loop {
                        found += page.reports.len() as u64;
                        let Some(cursor) = page.next else { break };
                        page = block_on(results.scan(&query, Some(&cursor), 25)).unwrap();
                    }
                    assert_eq!(found, seq);
                    assert_eq!(block_on(results.ranges(ProbeId(probe), &[BootId(7)])).unwrap()[0].ranges.len(), seq);
                }
            });
        }
    });
    let latest = block_on(results.latest(&everything(), 1, Some(4))).unwrap();
    assert_eq!(latest.len(), 4);
}
