//! A disk that is really full: what was acknowledged is there, what failed is not, and with room again it goes on.
//!
//! The disk is a small one in memory, mounted in a mount namespace of the test's own that ends with it. Where the system
//! allows no such thing, the test says so and passes.

#![expect(clippy::unwrap_used, reason = "an error must end the test")]

use std::path::Path;
use std::process::Command;

use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Seq};
use sonde_protocol::seed::Rng;
use sonde_protocol::time::UnixNanos;
use sonde_store::Results;
use sonde_store::catalog::Accounts;
use sonde_store::conformance::{Draft, batch_of, block_on};
use sonde_store::results::{Batch, ResultQuery};
use sonde_store::sqlite::{SqliteCatalog, SqliteResults};

const DISK: &str = "SONDE_FULL_DISK";

/// Mounts the disk and starts this test program's child on it.
const ON_A_SMALL_DISK: &str = r#"mount -t tmpfs -o size=4m tmpfs "$SONDE_FULL_DISK" || exit 77
exec "$0" --exact child_on_a_small_disk --nocapture"#;

#[test]
fn a_full_disk_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let on_disk = |flags: &str| {
        let mut command = Command::new("unshare");
        command.args([flags, "sh", "-c", ON_A_SMALL_DISK]).arg(std::env::current_exe().unwrap()).env(DISK, dir.path());
        command.output().ok().filter(|output| output.status.code() != Some(77))
    };
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let Some(output) = on_disk(if is_root { "-m" } else { "-Urm" }) else {
        eprintln!("not tested: this system mounts no disk for us");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    if !said.contains("running 1 test") {
        eprintln!("not tested: this system gives us no namespace: {complained}");
        return;
    }
    assert!(output.status.success() && complained.contains("the disk was full"), "{said}{complained}");
}

fn batch(n: u64, rng: &mut Rng) -> Batch {
    let reports = (1..=20).map(|k| {
        let at = UnixNanos::from_secs(n as i64);
        let (probe, boot, measurement) = (ProbeId(1), BootId(1), MeasurementId(1_000_000));
        let draft = Draft { probe, boot, seq: Seq(n * 20 + k), measurement, at, arrived_at: at, skipped: false };
        let mut stored = draft.stored();
        stored.report = (0..100).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
        stored
    });
    batch_of(reports.collect())
}

/// Exactly these batches are there.
fn check(results: &SqliteResults, batches: &[u64]) {
    let query = ResultQuery { measurement: MeasurementId(1_000_000), from: None, to: None, probes: None };
    let (mut seqs, mut after) = (Vec::new(), None);
    loop {
        let page = block_on(results.scan(&query, after.as_ref(), 1000)).unwrap();
        seqs.extend(page.reports.iter().map(|report| report.seq.0));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    seqs.sort_unstable();
    let expected: Vec<u64> = batches.iter().flat_map(|n| (1..=20).map(move |k| n * 20 + k)).collect();
    assert_eq!(seqs, expected);
    let ranges = block_on(results.ranges(ProbeId(1), &[BootId(1)])).unwrap();
    let numbers: Vec<u64> = ranges[0].ranges.ranges().flat_map(|range| range.start().0..=range.end().0).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn child_on_a_small_disk() {
    let Some(disk) = std::env::var_os(DISK) else { return };
    let disk = Path::new(&disk);
    let (ballast, path, catalog) = (disk.join("ballast"), disk.join("results"), disk.join("catalog.db"));
    std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let catalog = SqliteCatalog::open(catalog).unwrap();
    let results = SqliteResults::open(&path).unwrap();
    let mut rng = Rng::new(11);
    let mut there = Vec::new();
    let mut n = 0;
    loop {
        n += 1;
        match block_on(results.append(&batch(n, &mut rng), UnixNanos::from_secs(1))) {
            Ok(()) => there.push(n),
            Err(_) => break,
        }
    }
    assert!(there.len() > 20, "{there:?}");
    check(&results, &there);
    let mut accounts = 0;
    let email = |n: i32| format!("{n}@{}.example.net", "long".repeat(1000));
    while block_on(catalog.add_account(&email(accounts), UnixNanos(0))).is_ok() {
        accounts += 1;
    }
    assert!(block_on(catalog.account_by_email(&email(accounts))).unwrap().is_none());
    for _ in 0..3 {
        block_on(results.append(&batch(999, &mut rng), UnixNanos::from_secs(1))).unwrap_err();
    }
    check(&results, &there);
    eprintln!("the disk was full after {} batches and {accounts} accounts", there.len());

    std::fs::remove_file(ballast).unwrap();
    for n in 1000..1010 {
        block_on(results.append(&batch(n, &mut rng), UnixNanos::from_secs(1))).unwrap();
        there.push(n);
    }
    check(&results, &there);
    assert!(block_on(catalog.add_account(&email(accounts), UnixNanos(0))).unwrap().is_some());
    drop(results);
    check(&SqliteResults::open(&path).unwrap(), &there);
}
