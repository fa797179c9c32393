//! What was acknowledged survives `kill -9` whole, and nothing is half there.
//!
//! The test starts itself again as a child that appends and says so, kills it at a random moment, and looks at what is
//! left. This shows that the transactions are right; a power cut, which the flushes are for, cannot be made here.

#![expect(clippy::unwrap_used, reason = "an error must end the test")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Seq};
use sonde_protocol::message::{Gap, GapReason};
use sonde_protocol::seed::Rng;
use sonde_protocol::time::UnixNanos;
use sonde_store::Results;
use sonde_store::conformance::{Draft, batch_of, block_on};
use sonde_store::results::{Batch, BootRecord, ResultQuery};
use sonde_store::sqlite::SqliteResults;

const DIR: &str = "SONDE_CRASH_DIR";
const FIRST: &str = "SONDE_CRASH_FIRST";
const MEASUREMENT: MeasurementId = MeasurementId(1_000_000);
const PROBES: u64 = 3;
/// Batches in a day, and days that are kept.
const DAILY: u64 = 12;
const KEPT: u64 = 3;

fn time(batch: u64) -> UnixNanos {
    UnixNanos::from_secs((batch * 86_400 / DAILY) as i64)
}

fn boot(probe: u64) -> BootId {
    BootId(u64::MAX - probe)
}

/// How many reports each probe has in a batch, and the number of the first.
fn shape(batch: u64) -> (u64, u64) {
    (1 + batch % 40, batch * 40 + 1)
}

/// Batch `n`: reports, range sets, a gap and a boot of every probe.
fn batch(n: u64) -> Batch {
    let (count, first) = shape(n);
    let mut reports = Vec::new();
    for probe in 1..=PROBES {
        for seq in first..first + count {
            let (at, arrived_at) = (UnixNanos(time(n).0 - seq as i64 % 7), time(n));
            let (probe, boot, seq) = (ProbeId(probe), boot(probe), Seq(seq));
            reports.push(Draft { probe, boot, seq, measurement: MEASUREMENT, at, arrived_at, skipped: false }.stored());
        }
    }
    let mut batch = batch_of(reports);
    for probe in 1..=PROBES {
        let (id, boot) = (ProbeId(probe), boot(probe));
        batch.gaps.push((
            id,
            Gap {
                boot,
                first: Seq(n),
                last: None,
                reason: GapReason::Crash,
                from: time(n),
                to: UnixNanos(time(n).0 + 1),
            },
        ));
        batch.boots.push(BootRecord { probe: id, boot, started_at: time(0), settled: time(n), closed: false });
    }
    batch
}

/// What was made durable before the day that `batch` is in may be gone if it is this old.
fn kept_from(batch: u64) -> u64 {
    (batch / DAILY).saturating_sub(KEPT) * DAILY
}

#[test]
fn child_that_appends_until_it_is_killed() {
    let (Some(dir), Ok(first)) = (std::env::var_os(DIR), std::env::var(FIRST)) else { return };
    let results = SqliteResults::open(dir).unwrap().with_short_index_tail(4);
    for n in first.parse::<u64>().unwrap().. {
        block_on(results.append(&batch(n), time(n))).unwrap();
        // Fails when nobody listens any more, and so ends the child.
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nacknowledged {n}").unwrap();
        out.flush().unwrap();
        drop(out);
        if n % 5 == 0 {
            block_on(results.retain(time(kept_from(n)))).unwrap();
        }
    }
}

/// Lets a child append from `first`, kills it, and gives the last batch that it acknowledged.
fn append_and_kill(dir: &Path, first: u64, rng: &mut Rng) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_appends_until_it_is_killed", "--nocapture"])
        .env(DIR, dir)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = lines.filter_map(|line| line.unwrap().strip_prefix("acknowledged ")?.parse::<u64>().ok());
    let mut last = acknowledged.by_ref().take(rng.below(40) as usize).last();
    // A moment that no line tells.
    for _ in 0..rng.below(2_000_000) {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    last = acknowledged.last().or(last);
    last
}

/// Checks everything up to the last durable batch, and gives its number.
fn check(dir: &Path, acknowledged: Option<u64>) -> Option<u64> {
    let results = SqliteResults::open(dir).unwrap();
    let durable = block_on(results.boots(ProbeId(1))).unwrap().first().map(|record| record.settled);
    let durable = durable.map(|settled| (0..).find(|&n| time(n) == settled).unwrap());
    assert!(durable >= acknowledged, "{acknowledged:?} was acknowledged, {durable:?} is durable");
    // What was not acknowledged may be there, but then whole, and there is at most one such batch.
    assert!(durable <= Some(acknowledged.map_or(0, |n| n + 1)), "{durable:?} of {acknowledged:?}");
    let last = durable?;

    let query = ResultQuery { measurement: MEASUREMENT, from: None, to: None, probes: None };
    let mut page = block_on(results.scan(&query, None, 100_000)).unwrap();
    let mut found = std::mem::take(&mut page.reports);
    while let Some(cursor) = page.next.take() {
        page = block_on(results.scan(&query, Some(&cursor), 100_000)).unwrap();
        found.append(&mut page.reports);
    }
    found.sort_by_key(|report| (report.probe, report.seq));
    // The last retention may not have come to pass.
    let oldest = found.iter().map(|report| (report.seq.0 - 1) / 40).min().unwrap();
    assert!(oldest <= kept_from(last) && oldest % DAILY == 0, "{oldest}");
    let mut expected: Vec<_> = (oldest..=last).flat_map(|n| batch(n).reports).collect();
    expected.sort_by_key(|report| (report.probe, report.seq));
    assert!(found == expected, "batches {oldest} to {last} are not exactly what was appended");

    for probe in 1..=PROBES {
        let (id, boot) = (ProbeId(probe), boot(probe));
        let mut expected = sonde_protocol::range_set::RangeSet::new();
        for n in 0..=last {
            let (count, first) = shape(n);
            expected.insert(Seq(first)..=Seq(first + count - 1));
        }
        assert_eq!(block_on(results.ranges(id, &[boot])).unwrap()[0].ranges, expected, "range sets outlive retention");
        let boots = block_on(results.boots(id)).unwrap();
        assert_eq!(boots.iter().map(|record| record.settled).collect::<Vec<_>>(), [time(last)]);
        let gaps = block_on(results.gaps(id, UnixNanos(i64::MIN), UnixNanos(i64::MAX))).unwrap();
        assert_eq!(gaps.iter().map(|gap| gap.first.0).collect::<Vec<_>>(), (oldest..=last).collect::<Vec<_>>());
        assert_eq!(block_on(results.digests(id, boot)).unwrap().len() as u64 * PROBES, found.len() as u64);
    }
    Some(last)
}

#[test]
fn acknowledged_batches_survive_kills_whole() {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).unwrap();
    let seed = u64::from_le_bytes(seed);
    eprintln!("seed {seed}");
    let mut rng = Rng::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut last = None;
    for _ in 0..15 {
        let acknowledged = append_and_kill(dir.path(), last.map_or(0, |n: u64| n + 1), &mut rng);
        last = check(dir.path(), acknowledged.or(last));
    }
    assert!(last > Some(KEPT * DAILY), "{last:?}");
}
