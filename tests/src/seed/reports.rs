//! What the invented probes reported during the day: encoded as probes do it and appended as the collector does it, hour by hour.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sonde_protocol::bounded::Text;
use sonde_protocol::ids::{ProbeId, Seq};
use sonde_protocol::message::BootRanges;
use sonde_protocol::net::Ip;
use sonde_protocol::range_set::RangeSet;
use sonde_protocol::result::{Load, MeasurementResult, Outcome, Report, SkipReason, Skipped, StampSource, Timing};
use sonde_protocol::seed::{Rng, mix};
use sonde_protocol::time::UnixNanos;
use sonde_store::conformance::block_on;
use sonde_store::results::{Batch, BootRecord, Results, StoredReport};
use sonde_store::sqlite::SqliteResults;

use super::Options;
use super::measurements::Planned;
use super::outcomes::Outcomes;
use super::probes::Invented;

const HOUR: Duration = Duration::from_secs(3600);

/// How many reports are appended together: as many as a busy collector gathers while the commit before runs.
const BATCH: usize = 4000;

/// One run in so many does not take place.
const SKIPPED: u64 = 400;

/// Appends the reports of the last day. Gives how many they are.
pub fn append(results: &SqliteResults, options: &Options, probes: &[Invented], planned: &[Planned]) -> Result<u64> {
    let outcomes = Outcomes::new()?;
    let mut last: BTreeMap<ProbeId, u64> = BTreeMap::new();
    for hour in (0..24_u32).rev() {
        let from = options.until - HOUR * (hour + 1);
        // The last hour has its end, so that a one-off of just now is in it.
        let to = if hour == 0 { options.until + Duration::from_nanos(1) } else { options.until - HOUR * hour };
        let mut reports = Vec::new();
        for one in planned {
            for probe in one.members.iter().filter_map(|place| probes.get(*place)) {
                let due = one.due(probe.id, from, to).into_iter().filter(|at| probe.is_there(*at));
                reports.extend(due.map(|at| report(&outcomes, options, one, probe, at)));
            }
        }
        // A probe numbers its reports as they are made.
        reports.sort_by_key(|report| (report.arrived_at, report.probe));
        for report in &mut reports {
            let seq = last.entry(report.probe).or_default();
            *seq += 1;
            report.seq = Seq(*seq);
        }
        for part in reports.chunks(BATCH) {
            let now = part.last().context("a chunk is not empty")?.arrived_at;
            let batch = Batch { reports: part.to_vec(), ranges: ranges(part), ..Batch::default() };
            block_on(results.append(&batch, now))?;
        }
    }
    let boot = |probe: &Invented| BootRecord {
        probe: probe.id,
        boot: probe.boot,
        started_at: options.until - Duration::from_secs(86_500),
        settled: probe.spans.last().map_or(options.until, |(_, to)| *to),
        closed: false,
    };
    let boots = probes.iter().filter(|probe| last.contains_key(&probe.id)).map(boot).collect();
    block_on(results.append(&Batch { boots, ..Batch::default() }, options.until))?;
    Ok(last.values().sum())
}

/// The numbers of these reports, by probe.
fn ranges(reports: &[StoredReport]) -> Vec<(ProbeId, BootRanges)> {
    let mut all: BTreeMap<ProbeId, BootRanges> = BTreeMap::new();
    for report in reports {
        let of = all.entry(report.probe).or_insert(BootRanges { boot: report.boot, ranges: RangeSet::new() });
        of.ranges.insert(report.seq..=report.seq);
    }
    all.into_iter().collect()
}

fn report(outcomes: &Outcomes, options: &Options, planned: &Planned, probe: &Invented, due: UnixNanos) -> StoredReport {
    let mut rng = Rng::new(
        mix(options.seed ^ planned.id.0.rotate_left(40) ^ probe.id.0.rotate_left(20)) ^ mix(due.as_secs() as u64),
    );
    let started_at = due + Duration::from_micros(200 + rng.below(4000));
    let (report, ended_at) = if planned.interval.is_some() && rng.one_in(SKIPPED) {
        let reasons = [SkipReason::QuietLine, SkipReason::Limit, SkipReason::Overlap, SkipReason::NoRoute];
        let reason = reasons.get(rng.below(4) as usize).copied().unwrap_or(SkipReason::Other);
        (Report::Skipped(Skipped { measurement: planned.id, planned_at: due, runs: 1, reason }), due)
    } else {
        let (outcome, took) = outcomes.of(planned, probe, started_at, options.until, &mut rng);
        let ended_at = started_at + took;
        (Report::Result(result(planned, probe, due, started_at, ended_at, outcome, &mut rng)), ended_at)
    };
    StoredReport {
        probe: probe.id,
        session: probe.session,
        boot: probe.boot,
        seq: Seq(0),
        arrived_at: ended_at + Duration::from_millis(60 + rng.below(1400)),
        measurement: planned.id,
        at: if matches!(report, Report::Skipped(_)) { due } else { started_at },
        report: report.to_cbor(),
    }
}

fn result(
    planned: &Planned,
    probe: &Invented,
    planned_at: UnixNanos,
    started_at: UnixNanos,
    ended_at: UnixNanos,
    outcome: Outcome,
    rng: &mut Rng,
) -> MeasurementResult {
    let load = Load { runs: 0, packets_per_second: 3, load_average: Some(u32::try_from(rng.below(90)).unwrap_or(0)) };
    let is_resolved = !matches!(outcome, Outcome::Failed(_, _));
    MeasurementResult {
        measurement: planned.id,
        planned_at,
        started_at,
        ended_at,
        timing: Timing {
            source: StampSource::Kernel,
            last_sync: Some(40),
            clock_error: Some(1_500_000),
            rtt_error: Some(12_000),
            load: Some(load),
        },
        af: planned.af,
        dst_name: planned.target.map(|target| Text::cut(target.name)),
        dst_addr: planned.target.filter(|_| is_resolved).map(|target| Ip(target.address(planned.af))),
        src_addr: probe.source(planned.af).map(Ip),
        time_to_resolve: None,
        interval: planned.interval,
        outcome,
    }
}
