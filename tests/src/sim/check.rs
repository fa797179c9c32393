//! Compares what the store has with what really happened.

use std::collections::{BTreeMap, BTreeSet};

use ring::digest::{SHA256, digest};
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Seq};
use sonde_protocol::message::{Gap, GapReason};
use sonde_protocol::order::When;
use sonde_protocol::range_set::RangeSet;
use sonde_protocol::result::Report;
use sonde_protocol::schedule::Runs;
use sonde_protocol::time::UnixNanos;
use sonde_store::Results;
use sonde_store::conformance::block_on;
use sonde_store::results::{ResultQuery, StoredReport};

use super::plan::S;
use super::truth::{Ordered, Truth};
use super::world::World;

/// How far two starts of a probe can disagree about the time, so that both ran what was due between.
const CLOCKS_APART: i64 = 6 * S;

/// The most that the collector's machine may print of itself at the end, per boot there was.
const TEXT_PER_BOOT: usize = 4000;

/// What became of the runs that were due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Runs that were due.
    pub due: u64,
    /// Stored as results.
    pub results: u64,
    /// Reported as skipped, and not stored as results.
    pub skipped: u64,
    /// Neither, but in a gap.
    pub gaps: u64,
    /// None of these: the order had ended before the probe, which was away, could hear of it.
    pub unheard: u64,
    /// One-offs with a result.
    pub oneoffs: u64,
    /// What took place, by name.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Summary {
    /// Both together.
    pub fn add(&mut self, other: &Summary) {
        self.due += other.due;
        self.results += other.results;
        self.skipped += other.skipped;
        self.gaps += other.gaps;
        self.unheard += other.unheard;
        self.oneoffs += other.oneoffs;
        for (what, count) in &other.counts {
            *self.counts.entry(what).or_default() += count;
        }
    }
}

/// What the store has of one probe.
struct Held {
    /// How far the probe's clock and the collector's can be apart.
    clock_error: i64,
    index: usize,
    gaps: Vec<Gap>,
    /// When its last boot began: everything due before must be accounted for.
    horizon: UnixNanos,
}

/// Compares. Gives what became of the runs, and every broken promise.
pub fn check(world: &mut World) -> (Summary, Vec<String>) {
    let cx = &mut world.cx;
    let results = cx.results.clone();
    let mut failures: Vec<String> = cx.truth.failures.iter().cloned().collect();
    let mut summary = Summary { counts: cx.truth.faults.clone(), ..Summary::default() };
    let mut held = BTreeMap::new();
    let stored = everything(&*results, &cx.truth);
    for probe in &world.probes {
        let gaps = block_on(results.gaps(probe.id, UnixNanos(i64::MIN), UnixNanos(i64::MAX))).expect("gaps");
        let records = block_on(results.boots(probe.id)).expect("boots");
        let boots = cx.truth.order_of_boots.get(&probe.index).cloned().unwrap_or_default();
        let Some(last) = records.iter().max_by_key(|record| record.started_at) else {
            failures.push(format!("probe {} has no boot in the store", probe.index));
            continue;
        };
        if records.len() != 1 || Some(&last.boot) != boots.last() || last.closed {
            failures.push(format!("probe {}: open boots at the end: {records:?}", probe.index));
        }
        for gap in gaps.iter().filter(|gap| gap.from > gap.to) {
            failures.push(format!("a gap ends before it begins: {gap:?}"));
        }
        for &boot in &boots {
            let is_last = Some(&boot) == boots.last();
            let of_boot: Vec<&StoredReport> =
                stored.values().flatten().filter(|report| report.probe == probe.id && report.boot == boot).collect();
            let ranges = block_on(results.ranges(probe.id, &[boot])).expect("ranges").remove(0).ranges;
            check_boot(&cx.truth, (probe.index, boot), is_last, (&of_boot, &ranges), &gaps, &mut failures);
        }
        held.insert(
            probe.id,
            Held { clock_error: 2 * cx.plan.clock_error, index: probe.index, gaps, horizon: last.started_at },
        );
    }
    for ((measurement, probe), ordered) in &cx.truth.orders {
        let Some(held) = held.get(probe) else { continue };
        let all = stored.get(measurement).map(Vec::as_slice).unwrap_or_default();
        let reports: Vec<&StoredReport> = all.iter().filter(|report| report.probe == *probe).collect();
        check_order(&cx.truth, ordered, *probe, &reports, held, &mut summary, &mut failures);
    }
    if let Some(collector) = world.collector.as_ref().filter(|_| !cx.plan.hostile) {
        let text = format!("{:?}", collector.intake).len();
        if text > TEXT_PER_BOOT * (1 + cx.truth.boots.len()) {
            failures.push(format!("the intake holds {text} characters at the end"));
        }
    }
    (summary, failures)
}

/// Every report of every measurement there was.
fn everything(results: &dyn Results, truth: &Truth) -> BTreeMap<MeasurementId, Vec<StoredReport>> {
    let mut all = BTreeMap::new();
    for (measurement, _) in truth.orders.keys() {
        all.entry(*measurement).or_insert_with(|| {
            let query = ResultQuery { measurement: *measurement, from: None, to: None, probes: None };
            let mut reports = Vec::new();
            let mut after = None;
            loop {
                let page = block_on(results.scan(&query, after.as_ref(), 10_000)).expect("a scan");
                reports.extend(page.reports);
                after = page.next;
                if after.is_none() {
                    return reports;
                }
            }
        });
    }
    all
}

/// Everything that has a number is stored once with its bytes, or in a gap; nothing acknowledged is missing; what is over
/// is closed.
fn check_boot(
    truth: &Truth,
    (index, boot): (usize, BootId),
    is_last: bool,
    (stored, ranges): (&[&StoredReport], &RangeSet),
    gaps: &[Gap],
    failures: &mut Vec<String>,
) {
    let Some(known) = truth.boots.get(&(index, boot)) else { return };
    let mut fail = |what: String| failures.push(format!("probe {index}, boot {:016x}: {what}", boot.0));
    let in_gap = |seq: u64| {
        let of_boot = gaps.iter().filter(|gap| gap.boot == boot && gap.first.0 > 0);
        of_boot.into_iter().any(|gap| gap.first.0 <= seq && gap.last.is_none_or(|last| seq <= last.0))
    };
    let mut seen = BTreeSet::new();
    for report in stored {
        let seq = report.seq;
        let hash = digest(&SHA256, &report.report);
        if !seen.insert(seq.0) {
            fail(format!("number {seq} is stored twice"));
        }
        match known.pushed.get(&seq.0) {
            None => fail(format!("number {seq} was never used and yet is stored")),
            Some(pushed) if pushed != hash.as_ref() => fail(format!("number {seq} is stored with other bytes")),
            Some(_) => {}
        }
    }
    let last = known.pushed.keys().next_back().copied().unwrap_or(0);
    if !truth.spoiled.contains(&index) {
        let full = |seq: u64| {
            let holds = |gap: &&Gap| gap.first.0 <= seq && gap.last.is_none_or(|last| seq <= last.0);
            let of_boot = gaps.iter().filter(|gap| gap.boot == boot && gap.reason == GapReason::SpoolFull);
            of_boot.filter(|gap| gap.first.0 > 0).any(|gap| holds(&gap))
        };
        for &seq in known.pushed.keys().filter(|seq| known.kept.contains(Seq(**seq))) {
            if !is_last && !seen.contains(&seq) && !full(seq) {
                fail(format!("number {seq} was on the disk and is not stored"));
            }
        }
    }
    if known.acknowledged.last().is_some_and(|seq| seq.0 > last) {
        fail(format!("numbers up to {:?} were acknowledged, and only {last} were used", known.acknowledged.last()));
    }
    for &seq in known.pushed.keys().filter(|seq| !seen.contains(seq)) {
        if known.acknowledged.contains(Seq(seq)) && !in_gap(seq) {
            fail(format!("number {seq} was acknowledged and is neither stored nor in a gap"));
        } else if !is_last && !in_gap(seq) {
            fail(format!("number {seq} is neither stored nor in a gap"));
        }
    }
    let closed = *ranges == RangeSet::of(Seq(1)..=Seq(u64::MAX));
    if !is_last && !closed && (known.welcomed || !ranges.is_empty()) {
        fail(format!("it is over, and its set is {ranges:?}"));
    }
    if is_last && ranges.contains(Seq(u64::MAX)) {
        fail("it lives, and counts as over".into());
    }
}

/// Has the order ended before the probe, which was away, could hear of it? Nobody told it of the run then, and nobody says
/// why there is nothing. An earlier start of the probe may have had the order; then this one was surely the one that was
/// alive when the run was due, however wrong its clock.
fn ended_unheard(truth: &Truth, ordered: &Ordered, held: &Held, probe: ProbeId, due: UnixNanos) -> bool {
    let index = held.index;
    let has_stop = matches!(ordered.order.when, When::Periodic { stop: Some(_), .. });
    if !has_stop && ordered.stopped_at.is_none() {
        return false;
    }
    let boots = truth.order_of_boots.get(&index).map(Vec::as_slice).unwrap_or_default();
    let began = |boot: &BootId| truth.boots.get(&(index, *boot)).map(|boot| boot.began);
    let alive = boots.iter().rfind(|boot| began(boot).is_some_and(|began| began <= due));
    let delivered = truth.delivered.get(&(ordered.order.measurement, probe)).map(Vec::as_slice).unwrap_or_default();
    let surely = alive.and_then(began).is_some_and(|began| began.0 + held.clock_error < due.0);
    delivered.iter().all(|(boot, at)| (surely || at.0 + CLOCKS_APART < due.0) && Some(boot) != alive)
}

/// Every due run of an order is accounted for.
fn check_order(
    truth: &Truth,
    ordered: &Ordered,
    probe: ProbeId,
    reports: &[&StoredReport],
    held: &Held,
    summary: &mut Summary,
    failures: &mut Vec<String>,
) {
    let order = &ordered.order;
    let measurement = order.measurement;
    let mut fail = |what: String| failures.push(format!("measurement {measurement}, probe {probe}: {what}"));
    let mut results: BTreeMap<UnixNanos, Vec<BootId>> = BTreeMap::new();
    let mut skipped: BTreeSet<UnixNanos> = BTreeSet::new();
    for stored in reports {
        match Report::from_cbor(&stored.report) {
            Ok(Report::Result(result)) => results.entry(result.planned_at).or_default().push(stored.boot),
            Ok(Report::Skipped(skip)) => {
                let interval = i64::from(order.interval().unwrap_or(0)) * S;
                skipped.extend((0..i64::from(skip.runs)).map(|n| UnixNanos(skip.planned_at.0 + n * interval)));
            }
            Err(error) => fail(format!("a stored report cannot be read: {error}")),
        }
    }
    let in_gap = |due: UnixNanos| held.gaps.iter().any(|gap| gap.from <= due && due < gap.to);
    match Runs::of(order, probe) {
        Runs::Once { at, expires } => {
            let count: usize = results.values().map(Vec::len).sum();
            summary.oneoffs += count as u64;
            if count > 1 {
                fail(format!("a one-off with {count} results: {results:?}"));
            }
            let over = expires <= held.horizon || ordered.stopped_at.is_some() || at.0 >= held.horizon.0 - 10 * S;
            let dropped = held
                .gaps
                .iter()
                .any(|gap| gap.reason == GapReason::SpoolFull && gap.from <= at.max(order.ordered_at) && at < gap.to);
            if count == 0 && skipped.is_empty() && !over && !dropped {
                fail(format!("a one-off due {at}, until {expires}, came to nothing"));
            }
        }
        runs @ Runs::Periodic { .. } => {
            // The probe's clock may not have come to what was due when the collector's said stop.
            let end =
                ordered.stopped_at.map_or(held.horizon, |at| UnixNanos(at.0 - held.clock_error).min(held.horizon));
            let mut next = runs.first_at_or_after(order.ordered_at);
            while let Some(due) = next.filter(|&due| due < end) {
                next = runs.next_after(due);
                summary.due += 1;
                let by = results.get(&due);
                if by.is_some() {
                    summary.results += 1;
                } else if skipped.contains(&due) {
                    summary.skipped += 1;
                } else if in_gap(due) {
                    summary.gaps += 1;
                } else if ended_unheard(truth, ordered, held, probe, due) {
                    summary.unheard += 1;
                } else {
                    fail(format!("the run due {due} is not accounted for"));
                }
            }
            for (due, boots) in results.iter().filter(|(_, boots)| boots.len() > 1) {
                let different: BTreeSet<_> = boots.iter().collect();
                let began = |boot: &BootId| truth.boots.iter().find(|((_, b), _)| b == boot).map(|(_, b)| b.began);
                let latest = boots.iter().filter_map(began).max().unwrap_or(UnixNanos(0));
                if different.len() < boots.len() || due.0 > latest.0 + CLOCKS_APART {
                    fail(format!("the run due {due} has {} results", boots.len()));
                }
            }
        }
    }
}
