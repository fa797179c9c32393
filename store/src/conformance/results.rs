//! What is durable after an append, and what retention leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Seq, SessionId};
use sonde_protocol::message::{BootRanges, Gap, GapReason};
use sonde_protocol::net::Family;
use sonde_protocol::range_set::RangeSet;
use sonde_protocol::result::{MeasurementResult, Outcome, PingOutcome, Report, SkipReason, Skipped, Timing};
use sonde_protocol::time::UnixNanos;

use super::{Fixture, at};
use crate::Results;
use crate::results::{Batch, BootRecord, ResultQuery, StoredReport};

/// What tells the reports of a check apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draft {
    /// Who reports.
    pub probe: ProbeId,
    /// Its boot.
    pub boot: BootId,
    /// Its number.
    pub seq: Seq,
    /// The measurement.
    pub measurement: MeasurementId,
    /// When the run began.
    pub at: UnixNanos,
    /// When the report arrived.
    pub arrived_at: UnixNanos,
    /// It says that a run was skipped.
    pub skipped: bool,
}

impl Draft {
    /// The report, with bytes that a probe could have sent.
    pub fn stored(self) -> StoredReport {
        let Draft { probe, boot, seq, measurement, at, arrived_at, skipped } = self;
        let report = match skipped {
            true => Report::Skipped(Skipped { measurement, planned_at: at, runs: 1, reason: SkipReason::Paused }),
            false => Report::Result(MeasurementResult {
                measurement,
                planned_at: at,
                started_at: at,
                ended_at: at,
                timing: Timing::default(),
                af: Family::V6,
                dst_name: None,
                dst_addr: None,
                src_addr: None,
                time_to_resolve: None,
                interval: Some(240),
                outcome: Outcome::Ping(PingOutcome { sent: seq.0 as u32, ..PingOutcome::default() }),
            }),
        };
        let session = SessionId(probe.0 + 10);
        StoredReport { probe, session, boot, seq, arrived_at, measurement, at, report: report.to_cbor() }
    }
}

/// A batch of reports with their numbers, as a collector makes it.
pub fn batch_of(reports: Vec<StoredReport>) -> Batch {
    let mut sets: BTreeMap<(ProbeId, BootId), RangeSet> = BTreeMap::new();
    for report in &reports {
        sets.entry((report.probe, report.boot)).or_default().insert(report.seq..=report.seq);
    }
    let ranges = sets.into_iter().map(|((probe, boot), ranges)| (probe, BootRanges { boot, ranges })).collect();
    Batch { reports, ranges, ..Batch::default() }
}

/// The measurement of most checks.
pub(super) const MEASUREMENT: MeasurementId = MeasurementId(1_000_001);
/// Seconds in a day.
pub(super) const DAY: i64 = 86_400;

/// Probe 1's report `seq` of a run at `seconds`, which arrives at once.
pub(super) fn draft(seq: u64, seconds: i64) -> Draft {
    Draft {
        probe: ProbeId(1),
        boot: BootId(0xfeed_feed_feed_feed),
        seq: Seq(seq),
        measurement: MEASUREMENT,
        at: at(seconds),
        arrived_at: at(seconds),
        skipped: false,
    }
}

/// Appends these reports, at the time the last one arrived.
pub(super) async fn append(results: &Arc<dyn Results>, drafts: &[Draft]) {
    let now = drafts.iter().map(|draft| draft.arrived_at).max().unwrap();
    results.append(&batch_of(drafts.iter().map(|draft| draft.stored()).collect()), now).await.unwrap();
}

/// Every report of a query, over as many pages as it takes.
pub(super) async fn all(results: &Arc<dyn Results>, query: &ResultQuery, limit: usize) -> Vec<StoredReport> {
    let mut page = results.scan(query, None, limit).await.unwrap();
    let mut reports = page.reports;
    while let Some(cursor) = page.next {
        assert!(reports.len() < 100_000, "a scan ends");
        page = results.scan(query, Some(&cursor), limit).await.unwrap();
        assert!(page.reports.is_sorted_by_key(|report| report.arrived_at), "within a page by arrival");
        reports.extend(page.reports);
    }
    reports
}

/// Everything of a measurement.
pub(super) fn everything(measurement: MeasurementId) -> ResultQuery {
    ResultQuery { measurement, from: None, to: None, probes: None }
}

/// The reports in an order of their own, to compare what has none.
pub(super) fn sorted(mut reports: Vec<StoredReport>) -> Vec<StoredReport> {
    reports.sort_by_key(|report| (report.probe, report.boot, report.seq));
    reports
}

fn set(ranges: &[(u64, u64)]) -> RangeSet {
    let mut set = RangeSet::new();
    for &(first, last) in ranges {
        set.insert(Seq(first)..=Seq(last));
    }
    set
}

fn gap(boot: u64, from: i64, to: i64) -> Gap {
    Gap { boot: BootId(boot), first: Seq(1), last: None, reason: GapReason::Crash, from: at(from), to: at(to) }
}

pub(super) async fn an_empty_store_knows_nothing(place: &impl Fixture<dyn Results>) {
    for _ in 0..2 {
        let results = place.open().await;
        let empty = BootRanges { boot: BootId(7), ranges: RangeSet::new() };
        assert_eq!(results.ranges(ProbeId(1), &[BootId(7)]).await.unwrap(), [empty]);
        assert_eq!(results.boots(ProbeId(1)).await.unwrap(), []);
        let page = results.scan(&everything(MEASUREMENT), None, 10).await.unwrap();
        assert_eq!((page.reports, page.next), (vec![], None));
        assert_eq!(results.latest(&everything(MEASUREMENT), 1, None).await.unwrap(), []);
        assert_eq!(results.gaps(ProbeId(1), at(0), at(DAY)).await.unwrap(), []);
        assert_eq!(results.digests(ProbeId(1), BootId(7)).await.unwrap(), []);
        results.retain(at(0)).await.unwrap();
        results.append(&Batch::default(), at(0)).await.unwrap();
    }
}

pub(super) async fn what_was_appended_is_there_and_stays(place: &impl Fixture<dyn Results>) {
    let results = place.open().await;
    let drafts: Vec<Draft> = (1..=20)
        .map(|seq| Draft {
            probe: ProbeId(seq % 3),
            measurement: MeasurementId(MEASUREMENT.0 + seq % 2),
            skipped: seq % 5 == 0,
            ..draft(seq, seq as i64)
        })
        .collect();
    let reports: Vec<StoredReport> = drafts.iter().map(|draft| draft.stored()).collect();
    let mut batch = batch_of(reports.clone());
    let record =
        BootRecord { probe: ProbeId(1), boot: draft(1, 0).boot, started_at: at(-5), settled: at(20), closed: false };
    batch.boots.push(record.clone());
    batch.gaps.push((ProbeId(1), gap(3, -9, -5)));
    results.append(&batch, at(20)).await.unwrap();
    let check = async |results: &Arc<dyn Results>| {
        for parity in 0..2 {
            let measurement = MeasurementId(MEASUREMENT.0 + parity);
            let expected = reports.iter().filter(|report| report.measurement == measurement).cloned().collect();
            assert_eq!(sorted(all(results, &everything(measurement), 100).await), sorted(expected));
        }
        for probe in (0..3).map(ProbeId) {
            let mut of_probe: Vec<_> = reports.iter().filter(|report| report.probe == probe).collect();
            of_probe.sort_by_key(|report| report.seq);
            let boot = record.boot;
            let ranges = results.ranges(probe, &[boot]).await.unwrap();
            let numbers: Vec<u64> =
                ranges[0].ranges.ranges().flat_map(|range| range.start().0..=range.end().0).collect();
            assert_eq!(numbers, of_probe.iter().map(|report| report.seq.0).collect::<Vec<_>>());
            let digests: Vec<(Seq, [u8; 32])> = of_probe
                .iter()
                .map(|report| (report.seq, digest(&SHA256, &report.report).as_ref().try_into().unwrap()))
                .collect();
            assert_eq!(results.digests(probe, boot).await.unwrap(), digests);
        }
        assert_eq!(results.boots(ProbeId(1)).await.unwrap(), std::slice::from_ref(&record));
        assert_eq!(results.gaps(ProbeId(1), at(-9), at(0)).await.unwrap(), [gap(3, -9, -5)]);
    };
    check(&results).await;
    drop(results);
    check(&place.open().await).await;
    assert_eq!(place.open().await.digests(ProbeId(1), BootId(3)).await.unwrap(), [], "a gap is no report");
}

pub(super) async fn a_large_batch_is_whole(place: &impl Fixture<dyn Results>) {
    let results = place.open().await;
    // Bytes that do not compress, so that the store has to hold them.
    let mut rng = sonde_protocol::seed::Rng::new(1);
    let mut reports: Vec<StoredReport> = (1..=5_000).map(|seq| draft(seq, seq as i64 % 100).stored()).collect();
    for report in reports.iter_mut().step_by(500) {
        report.report =
            (0..sonde_protocol::result::MAX_REPORT / 8).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
    }
    results.append(&batch_of(reports.clone()), at(100)).await.unwrap();
    assert_eq!(sorted(all(&results, &everything(MEASUREMENT), 700).await), reports);
    drop(results);
    let results = place.open().await;
    assert_eq!(sorted(all(&results, &everything(MEASUREMENT), 100_000).await), reports);
    assert_eq!(results.digests(ProbeId(1), draft(1, 0).boot).await.unwrap().len(), 5_000);
}

pub(super) async fn reports_are_kept_as_they_came(place: &impl Fixture<dyn Results>) {
    let results = place.open().await;
    let extreme = StoredReport {
        probe: ProbeId(u64::MAX),
        session: SessionId(u64::MAX),
        boot: BootId(u64::MAX),
        seq: Seq(u64::MAX),
        arrived_at: UnixNanos(i64::MAX),
        measurement: MeasurementId(u64::MAX),
        at: UnixNanos(i64::MIN),
        report: vec![],
    };
    let odd = StoredReport { seq: Seq(1), at: UnixNanos(i64::MAX), report: vec![0xff; 40], ..extreme.clone() };
    results.append(&batch_of(vec![extreme.clone(), odd.clone()]), at(0)).await.unwrap();
    drop(results);
    let results = place.open().await;
    let query = everything(MeasurementId(u64::MAX));
    assert_eq!(sorted(all(&results, &query, 10).await), [odd, extreme]);
    assert_eq!(results.latest(&query, 9, None).await.unwrap(), [], "neither can be read as a result");
    assert_eq!(results.digests(ProbeId(u64::MAX), BootId(u64::MAX)).await.unwrap().len(), 2);
    assert_eq!(results.ranges(ProbeId(u64::MAX), &[BootId(u64::MAX)]).await.unwrap()[0].ranges.len(), 2);
}

pub(super) async fn range_sets_are_united(place: &impl Fixture<dyn Results>) {
    let results = place.open().await;
    let (one, two) = (BootId(1), BootId(u64::MAX));
    for (seconds, probe, boot, numbers) in [
        (0, 1, one, &[(1, 5), (9, 9)][..]),
        (1, 1, one, &[(6, 6)]),
        (DAY, 1, one, &[(7, 8)]),
        (DAY, 1, two, &[(4, 4)]),
        (2 * DAY, 2, one, &[(1, 100)]),
        // The clock went back.
        (2, 1, one, &[(20, u64::MAX)]),
    ] {
        let ranges = vec![(ProbeId(probe), BootRanges { boot, ranges: set(numbers) })];
        results.append(&Batch { ranges, ..Batch::default() }, at(seconds)).await.unwrap();
    }
    let check = async |results: &Arc<dyn Results>| {
        let found = results.ranges(ProbeId(1), &[two, BootId(5), one]).await.unwrap();
        let expected = [(two, set(&[(4, 4)])), (BootId(5), set(&[])), (one, set(&[(1, 9), (20, u64::MAX)]))];
        assert_eq!(found, expected.map(|(boot, ranges)| BootRanges { boot, ranges }));
        assert_eq!(results.ranges(ProbeId(2), &[one]).await.unwrap()[0].ranges, set(&[(1, 100)]));
    };
    check(&results).await;
    drop(results);
    check(&place.open().await).await;
}

pub(super) async fn a_boots_newest_record_counts(place: &impl Fixture<dyn Results>) {
    let results = place.open().await;
    let record = |boot: u64, started: i64, settled: i64, closed: bool| BootRecord {
        probe: ProbeId(1),
        boot: BootId(boot),
        started_at: at(started),
        settled: at(settled),
        closed,
    };
    let append = async |results: &Arc<dyn Results>, now: i64, boots: Vec<BootRecord>| {
        results.append(&Batch { boots, ..Batch::default() }, at(now)).await.unwrap();
    };
    append(&results, DAY, vec![record(1, 0, 0, false), record(2, 50, 50, false)]).await;
    append(&results, DAY, vec![BootRecord { probe: ProbeId(2), ..record(1, 0, 0, false) }]).await;
    assert_eq!(results.boots(ProbeId(1)).await.unwrap(), [record(1, 0, 0, false), record(2, 50, 50, false)]);
    append(&results, 2 * DAY, vec![record(1, 0, 10, false), record(1, 0, 20, false)]).await;
    assert_eq!(results.boots(ProbeId(1)).await.unwrap()[0], record(1, 0, 20, false));
    // The clock went back two days: what was written last counts all the same.
    append(&results, 0, vec![record(1, 0, 40, true)]).await;
    assert_eq!(results.boots(ProbeId(1)).await.unwrap(), [record(2, 50, 50, false)], "closed, and not the last");
    drop(results);
    let results = place.open().await;
    assert_eq!(results.boots(ProbeId(1)).await.unwrap(), [record(2, 50, 50, false)]);
    append(&results, 0, vec![record(2, 50, 60, true)]).await;
    assert_eq!(results.boots(ProbeId(1)).await.unwrap(), [record(2, 50, 60, true)], "the one that began last");
    append(&results, 0, vec![record(3, 20, 60, false)]).await;
    let expected = [record(3, 20, 60, false), record(2, 50, 60, true)];
    assert_eq!(results.boots(ProbeId(1)).await.unwrap(), expected, "by start");
    drop(results);
    let results = place.open().await;
    assert_eq!(results.boots(ProbeId(1)).await.unwrap(), expected);
    assert_eq!(results.boots(ProbeId(2)).await.unwrap().len(), 1);
}

pub(super) async fn gaps_by_their_time_span(place: &impl Fixture<dyn Results>) {
    let results = place.open().await;
    let append = async |now: i64, probe: u64, gap: &Gap| {
        let gaps = vec![(ProbeId(probe), gap.clone())];
        results.append(&Batch { gaps, ..Batch::default() }, at(now)).await.unwrap();
    };
    let dropped = Gap { last: Some(Seq(9)), reason: GapReason::SpoolFull, ..gap(2, 100, 200) };
    let (crash, instant) = (gap(1, 300, 400), gap(3, 250, 250));
    append(0, 1, &crash).await;
    append(DAY, 1, &dropped).await;
    append(DAY, 1, &instant).await;
    append(0, 2, &gap(9, 0, 1000)).await;
    drop(results);
    let results = place.open().await;
    let cases: [(i64, i64, &[&Gap]); 8] = [
        (0, 1000, &[&dropped, &instant, &crash]),
        (0, 100, &[]),
        (0, 101, &[&dropped]),
        (199, 250, &[&dropped]),
        (200, 300, &[&instant]),
        (250, 301, &[&instant, &crash]),
        (399, 1000, &[&crash]),
        (400, 1000, &[]),
    ];
    for (from, to, expected) in cases {
        let found = results.gaps(ProbeId(1), at(from), at(to)).await.unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{from}..{to}");
    }
}

pub(super) async fn retention_drops_what_arrived_before(place: &impl Fixture<dyn Results>) {
    let results = place.open().await;
    for day in 0..4i64 {
        let draft = draft(day as u64 + 1, day * DAY + 10);
        let mut batch = batch_of(vec![draft.stored()]);
        let started_at = at(0);
        batch.boots.push(BootRecord {
            probe: draft.probe,
            boot: draft.boot,
            started_at,
            settled: draft.at,
            closed: false,
        });
        batch.gaps.push((draft.probe, gap(5, day * DAY, day * DAY + 1)));
        results.append(&batch, draft.arrived_at).await.unwrap();
    }
    // A run of the first day whose report came late goes when it came.
    append(&results, &[Draft { arrived_at: at(2 * DAY + 11), ..draft(5, 11) }]).await;
    // The second time a crash may have come in between: it must do no harm.
    for _ in 0..2 {
        results.retain(at(2 * DAY)).await.unwrap();
    }
    let check = async |results: &Arc<dyn Results>| {
        let seqs: Vec<u64> =
            sorted(all(results, &everything(MEASUREMENT), 10).await).iter().map(|report| report.seq.0).collect();
        assert_eq!(seqs, [3, 4, 5]);
        let latest = results.latest(&everything(MEASUREMENT), 9, None).await.unwrap();
        assert_eq!(latest.iter().map(|report| report.seq.0).collect::<Vec<_>>(), [4, 3, 5]);
        assert_eq!(results.ranges(ProbeId(1), &[draft(1, 0).boot]).await.unwrap()[0].ranges, set(&[(1, 5)]));
        assert_eq!(results.boots(ProbeId(1)).await.unwrap()[0].settled, at(3 * DAY + 10));
        assert_eq!(results.gaps(ProbeId(1), at(0), at(9 * DAY)).await.unwrap().len(), 2);
        assert_eq!(results.digests(ProbeId(1), draft(1, 0).boot).await.unwrap().len(), 3);
    };
    check(&results).await;
    drop(results);
    let results = place.open().await;
    check(&results).await;
    append(&results, &[draft(6, 4 * DAY)]).await;
    assert_eq!(all(&results, &everything(MEASUREMENT), 10).await.len(), 4, "it goes on");
}

pub(super) async fn retention_of_everything_keeps_the_range_sets(place: &impl Fixture<dyn Results>) {
    let results = place.open().await;
    append(&results, &[draft(1, 0), draft(2, 1)]).await;
    append(&results, &[draft(3, DAY)]).await;
    let closed = BootRecord { probe: ProbeId(1), boot: BootId(9), started_at: at(0), settled: at(1), closed: true };
    results.append(&Batch { boots: vec![closed.clone()], ..Batch::default() }, at(DAY)).await.unwrap();
    results.retain(at(9 * DAY)).await.unwrap();
    assert_eq!(all(&results, &everything(MEASUREMENT), 10).await, []);
    append(&results, &[draft(4, 9 * DAY + 5)]).await;
    drop(results);
    let results = place.open().await;
    results.retain(at(20 * DAY)).await.unwrap();
    drop(results);
    let results = place.open().await;
    assert_eq!(all(&results, &everything(MEASUREMENT), 10).await, []);
    assert_eq!(results.ranges(ProbeId(1), &[draft(1, 0).boot]).await.unwrap()[0].ranges, set(&[(1, 4)]));
    assert_eq!(results.boots(ProbeId(1)).await.unwrap(), [closed]);
}
