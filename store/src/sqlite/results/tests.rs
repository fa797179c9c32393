//! What can be seen from inside only: appends that fail half-way, and readers of files that are removed.

use rusqlite::Connection;
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Seq};
use sonde_protocol::message::{Gap, GapReason};
use sonde_protocol::seed::Rng;
use sonde_protocol::time::UnixNanos;

use super::*;
use crate::conformance::{Draft, batch_of, block_on};

const MEASUREMENT: MeasurementId = MeasurementId(1_000_000);
const DAY: i64 = 86_400;

fn draft(seq: u64, seconds: i64) -> Draft {
    Draft {
        probe: ProbeId(1),
        boot: BootId(7),
        seq: Seq(seq),
        measurement: MEASUREMENT,
        at: UnixNanos::from_secs(seconds),
        arrived_at: UnixNanos::from_secs(seconds),
        skipped: false,
    }
}

fn append(results: &SqliteResults, seq: u64, seconds: i64) {
    block_on(results.append(&batch_of(vec![draft(seq, seconds).stored()]), UnixNanos::from_secs(seconds))).unwrap();
}

fn seqs(results: &SqliteResults) -> Vec<u64> {
    let query = ResultQuery { measurement: MEASUREMENT, from: None, to: None, probes: None };
    let page = block_on(results.scan(&query, None, 10_000)).unwrap();
    assert_eq!(page.next, None);
    let mut seqs: Vec<u64> = page.reports.iter().map(|report| report.seq.0).collect();
    seqs.sort_unstable();
    seqs
}

/// Everything that one batch can change.
fn state(results: &SqliteResults) -> (Vec<u64>, Vec<BootRanges>, Vec<BootRecord>, Vec<Gap>) {
    let (probe, end) = (ProbeId(1), UnixNanos(i64::MAX));
    let ranges = block_on(results.ranges(probe, &[BootId(7)])).unwrap();
    let gaps = block_on(results.gaps(probe, UnixNanos(0), end)).unwrap();
    (seqs(results), ranges, block_on(results.boots(probe)).unwrap(), gaps)
}

#[test]
fn an_append_that_finds_the_disk_full_changes_nothing_and_the_next_one_works() {
    let dir = tempfile::tempdir().unwrap();
    // The large batch folds the index, too.
    let results = SqliteResults::open(dir.path()).unwrap().with_short_index_tail(3);
    append(&results, 1, 0);
    let before = state(&results);

    // A batch of everything, of many pages: it is tried with one page more each time, so that it fails everywhere.
    let mut rng = Rng::new(3);
    let mut reports: Vec<StoredReport> = (2..=300).map(|seq| draft(seq, 5).stored()).collect();
    for report in &mut reports {
        report.measurement = MeasurementId(MEASUREMENT.0 + report.seq.0 % 3);
        report.report = (0..40).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
    }
    let mut batch = batch_of(reports);
    let (probe, boot) = (ProbeId(1), BootId(7));
    let time = UnixNanos::from_secs(5);
    for n in 0..200 {
        batch.boots.push(BootRecord { probe, boot: BootId(n), started_at: time, settled: time, closed: n == 3 });
        let gap = Gap { boot, first: Seq(n), last: None, reason: GapReason::Crash, from: time, to: time };
        batch.gaps.push((probe, gap));
        batch.ranges.push((ProbeId(n + 2), BootRanges { boot, ranges: batch.ranges[0].1.ranges.clone() }));
    }
    let limit = |pages: i64| {
        let writer = results.writer();
        let (.., connection) = writer.current.as_ref().unwrap();
        connection.query_row("PRAGMA max_page_count = 1", [], |row| row.get::<_, i64>(0)).unwrap();
        let now: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        connection
            .query_row(&format!("PRAGMA max_page_count = {}", now + pages), [], |row| row.get::<_, i64>(0))
            .unwrap();
    };
    let mut failures = 0;
    loop {
        limit(failures);
        match block_on(results.append(&batch, time)) {
            Ok(()) => break,
            Err(error) => assert!(error.to_string().contains("1970-01-01.db"), "{error}"),
        }
        assert_eq!(state(&results), before, "after {failures} more pages");
        failures += 1;
    }
    assert!(failures > 20, "{failures}");
    let after = state(&results);
    assert_eq!(after.0.len(), 1 + 299 / 3 + 1);
    assert_eq!((after.1[0].ranges.len(), after.2.len(), after.3.len()), (300, 199, 200));
    limit(1_000_000);
    append(&results, 301, 6);
    drop(results);
    let again = state(&SqliteResults::open(dir.path()).unwrap());
    assert_eq!(again.1[0].ranges.len(), 301);
    assert_eq!((again.2, again.3), (after.2, after.3));
}

#[test]
fn a_day_that_is_removed_while_it_is_read_does_no_harm_to_its_successor() {
    let dir = tempfile::tempdir().unwrap();
    let results = SqliteResults::open(dir.path()).unwrap();
    append(&results, 1, 0);
    append(&results, 2, DAY);
    let mut reader = results.files.reader(Day(0)).unwrap().unwrap();
    block_on(results.retain(UnixNanos::from_secs(DAY))).unwrap();
    assert_eq!(seqs(&results), [2]);
    let count = |db: &Connection| db.query_row("SELECT count(*) FROM log", [], |row| row.get::<_, i64>(0));
    assert_eq!(reader.read("count", count).unwrap(), 1, "who reads it already may go on");
    // The clock goes back: a file of the same name is made, and its log is beside it when the old one is closed.
    append(&results, 3, 10);
    append(&results, 4, 20);
    drop(reader);
    assert_eq!(seqs(&results), [2, 3, 4]);
    append(&results, 5, 30);
    drop(results);
    let results = SqliteResults::open(dir.path()).unwrap();
    assert_eq!(seqs(&results), [2, 3, 4, 5]);
    assert_eq!(block_on(results.ranges(ProbeId(1), &[BootId(7)])).unwrap()[0].ranges.len(), 5);
}

#[test]
fn connections_are_few() {
    let dir = tempfile::tempdir().unwrap();
    let results = SqliteResults::open(dir.path()).unwrap();
    for day in 0..40 {
        append(&results, day as u64 + 1, day * DAY);
    }
    assert_eq!(seqs(&results).len(), 40);
    let open =
        std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let files =
        open.filter(|path| path.starts_with(dir.path()) && path.extension().is_some_and(|end| end == "db")).count();
    // The readers' and the writer's.
    assert!(files <= 5, "{files} files of results are open");
}
