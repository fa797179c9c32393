//! Random histories of a store of results against a model that is too simple to be wrong.

#![expect(clippy::unwrap_used, reason = "an error must end the test")]

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Seq};
use sonde_protocol::range_set::RangeSet;
use sonde_protocol::time::UnixNanos;
use sonde_store::Results;
use sonde_store::conformance::{Draft, batch_of, block_on};
use sonde_store::results::{BootRecord, ResultQuery, StoredReport};
use sonde_store::sqlite::SqliteResults;

const DAY: i64 = 86_400 * 1_000_000_000;
const FIRST: i64 = 20_000 * DAY;

/// What happens to the store.
#[derive(Debug, Clone)]
enum Step {
    /// Reports arrive: probe, measurement, how many nanoseconds late, skipped; after the clock moved so far.
    Append { passed: i64, reports: Vec<(u64, u64, i64, bool)> },
    /// A boot's record changes.
    Boot { probe: u64, boot: u64, settled: i64, closed: bool },
    /// The program starts anew.
    Reopen,
    /// Days before this many days ago go.
    Retain(i64),
    /// Somebody reads.
    Read { query: ResultQuery, limit: usize, versions: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let lateness = prop_oneof![Just(0), 0..DAY, 0..4 * DAY];
    let report = (0..4u64, 0..3u64, lateness, prop::bool::weighted(0.2));
    // Now and then the clock goes back.
    let passed = prop_oneof![4 => 0..DAY / 3, 1 => -DAY..0];
    let time = || prop::option::of((-4..14i64, 0..DAY).prop_map(|(day, rest)| UnixNanos(FIRST + day * DAY + rest)));
    let probes = prop::option::of(prop::collection::btree_set((0..5u64).prop_map(ProbeId), 0..4));
    let query = (0..3u64, time(), time(), probes).prop_map(|(measurement, from, to, probes)| ResultQuery {
        measurement: MeasurementId(measurement),
        from,
        to,
        probes: probes.map(|probes| probes.into_iter().collect()),
    });
    prop_oneof![
        8 => (passed, vec(report, 1..12)).prop_map(|(passed, reports)| Step::Append { passed, reports }),
        2 => (0..4u64, 0..4u64, 0..100i64, any::<bool>())
            .prop_map(|(probe, boot, settled, closed)| Step::Boot { probe, boot, settled, closed }),
        1 => Just(Step::Reopen),
        1 => (1..5i64).prop_map(Step::Retain),
        4 => (query, 1..30usize, 0..4usize)
            .prop_map(|(query, limit, versions)| Step::Read { query, limit, versions }),
    ]
}

#[derive(Default)]
struct Model {
    /// With the day of the append.
    reports: Vec<(i64, StoredReport)>,
    ranges: BTreeMap<ProbeId, RangeSet>,
    boots: BTreeMap<ProbeId, BTreeMap<BootId, BootRecord>>,
    next: BTreeMap<ProbeId, u64>,
}

impl Model {
    fn matching(&self, query: &ResultQuery) -> Vec<StoredReport> {
        let of_query = |report: &&StoredReport| {
            report.measurement == query.measurement
                && query.from.is_none_or(|from| report.at >= from)
                && query.to.is_none_or(|to| report.at < to)
                && query.probes.as_ref().is_none_or(|probes| probes.contains(&report.probe))
        };
        sorted(self.reports.iter().map(|(_, report)| report).filter(of_query).cloned().collect())
    }

    fn latest(
        &self,
        query: &ResultQuery,
        versions: usize,
        is_skipped: impl Fn(&StoredReport) -> bool,
    ) -> Vec<(u64, i64)> {
        let mut newest = Vec::new();
        for probe in (0..5).map(ProbeId) {
            let of_probe =
                self.matching(query).into_iter().filter(|report| report.probe == probe && !is_skipped(report));
            let mut times: Vec<i64> = of_probe.map(|report| report.at.0).collect();
            times.sort_by_key(|&at| std::cmp::Reverse(at));
            newest.extend(times.into_iter().take(versions).map(|at| (probe.0, at)));
        }
        newest
    }
}

fn sorted(mut reports: Vec<StoredReport>) -> Vec<StoredReport> {
    reports.sort_by_key(|report| (report.probe, report.seq));
    reports
}

const BOOT: BootId = BootId(77);

/// A skipped run has its measurement as the first key of what is not a result.
fn is_skipped(report: &StoredReport) -> bool {
    report.report.get(1) == Some(&1)
}

fn read(results: &SqliteResults, model: &Model, query: &ResultQuery, limit: usize, versions: usize) {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = block_on(results.scan(query, after.as_ref(), limit)).unwrap();
        assert!(page.reports.is_sorted_by_key(|report| report.arrived_at));
        found.extend(page.reports);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(sorted(found), model.matching(query), "{query:?}");
    let expected = model.latest(query, versions, is_skipped);
    for hint in [None, Some(4)] {
        let latest = block_on(results.latest(query, versions, hint)).unwrap();
        let mut latest: Vec<(u64, i64)> = latest.iter().map(|report| (report.probe.0, report.at.0)).collect();
        latest.sort_by_key(|&(probe, at)| (probe, std::cmp::Reverse(at)));
        assert_eq!(latest, expected, "{query:?}");
    }
}

fn run(steps: Vec<Step>, tail: u32) {
    let dir = tempfile::tempdir().unwrap();
    let open = || SqliteResults::open(dir.path()).unwrap().with_short_index_tail(tail);
    let mut results = open();
    let mut model = Model::default();
    let mut now = FIRST;
    for step in steps {
        match step {
            Step::Append { passed, reports } => {
                now += passed;
                let drafts = reports.into_iter().map(|(probe, measurement, late, skipped)| {
                    let seq = model.next.entry(ProbeId(probe)).or_insert(1);
                    *seq += 1;
                    Draft {
                        probe: ProbeId(probe),
                        boot: BOOT,
                        seq: Seq(*seq),
                        measurement: MeasurementId(measurement),
                        at: UnixNanos(now - late),
                        arrived_at: UnixNanos(now - *seq as i64 % 5),
                        skipped,
                    }
                });
                let batch = batch_of(drafts.map(|draft| draft.stored()).collect());
                block_on(results.append(&batch, UnixNanos(now))).unwrap();
                model.reports.extend(batch.reports.into_iter().map(|report| (now.div_euclid(DAY), report)));
                for (probe, ranges) in batch.ranges {
                    model.ranges.entry(probe).or_default().extend(&ranges.ranges);
                }
            }
            Step::Boot { probe, boot, settled, closed } => {
                let (probe, boot) = (ProbeId(probe), BootId(boot));
                let started_at = UnixNanos(FIRST + boot.0 as i64);
                let record = BootRecord { probe, boot, started_at, settled: UnixNanos(settled), closed };
                model.boots.entry(probe).or_default().insert(boot, record.clone());
                let batch = sonde_store::results::Batch { boots: vec![record], ..Default::default() };
                block_on(results.append(&batch, UnixNanos(now))).unwrap();
            }
            Step::Reopen => {
                drop(results);
                results = open();
            }
            Step::Retain(days) => {
                let before = now - days * DAY;
                block_on(results.retain(UnixNanos(before))).unwrap();
                model.reports.retain(|(day, _)| (day + 1) * DAY > before);
            }
            Step::Read { query, limit, versions } => read(&results, &model, &query, limit, versions),
        }
    }
    for results in [results, open()] {
        for measurement in (0..3).map(MeasurementId) {
            read(&results, &model, &ResultQuery { measurement, from: None, to: None, probes: None }, 7, 2);
        }
        for probe in (0..4).map(ProbeId) {
            let expected = model.ranges.get(&probe).cloned().unwrap_or_default();
            assert_eq!(block_on(results.ranges(probe, &[BOOT])).unwrap()[0].ranges, expected);
            let digests = block_on(results.digests(probe, BOOT)).unwrap();
            let seqs: Vec<Seq> = digests.iter().map(|(seq, _)| *seq).collect();
            let mut expected: Vec<Seq> = model
                .reports
                .iter()
                .filter(|(_, report)| report.probe == probe)
                .map(|(_, report)| report.seq)
                .collect();
            expected.sort();
            assert_eq!(seqs, expected);
            let boots: Vec<BootRecord> =
                model.boots.get(&probe).map(|b| b.values().cloned().collect()).unwrap_or_default();
            let last = boots.len().saturating_sub(1);
            let expected: Vec<BootRecord> = boots
                .into_iter()
                .enumerate()
                .filter(|(i, record)| !record.closed || *i == last)
                .map(|(_, r)| r)
                .collect();
            assert_eq!(block_on(results.boots(probe)).unwrap(), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_random_history_reads_as_the_model_does(steps in vec(step(), 1..40), tail in 1..40u32) {
        run(steps, tail);
    }
}
