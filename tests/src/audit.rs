//! The promise, checked from outside: what the probes' own logs say, what the store holds, and what was due.
//!
//! Every report that a probe has numbered is stored once, byte for byte, or its number lies in a gap. Every due time of
//! every measurement has one result, or lies in one skipped record, or in the span of a gap. Every one-off has one result
//! or one reason. Due times are computed here from the measurements as the catalog has them, so nothing that a probe or
//! a collector says about them is taken for granted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use data_encoding::HEXLOWER;
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Seq};
use sonde_protocol::message::Gap;
use sonde_protocol::range_set::RangeSet;
use sonde_protocol::result::{Outcome, Report, SkipReason};
use sonde_protocol::schedule::{Runs, phase};
use sonde_protocol::time::UnixNanos;
use sonde_store::Results;
use sonde_store::catalog::Measurements;
use sonde_store::catalog::{Measurement, MeasurementFilter, Participant, Slice};
use sonde_store::results::ResultQuery;
use sonde_store::sqlite::catalog::SqliteCatalog;
use sonde_store::sqlite::results::SqliteResults;

/// How many problems are shown at most.
const SHOWN: usize = 20;

/// One probe to be checked.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its number.
    pub probe: ProbeId,
    /// Its own log of its reports.
    pub log: PathBuf,
    /// When it was asked to end: what was due later is not asked for.
    pub until: UnixNanos,
}

/// What was found, all of it in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Boots that have reported anything.
    pub boots: usize,
    /// Reports in the probes' logs.
    pub logged: usize,
    /// Reports in the store.
    pub stored: usize,
    /// Due times of periodic measurements.
    pub due: usize,
    /// Due times with a result.
    pub results: usize,
    /// Due times reported as skipped, by reason.
    pub skipped: BTreeMap<&'static str, usize>,
    /// Due times with neither, in the span of a gap.
    pub in_gaps: usize,
    /// Gaps recorded, by reason.
    pub gaps: BTreeMap<&'static str, usize>,
    /// One-offs times their probes.
    pub oneoffs: usize,
    /// Runs of ipv6 that were not due: the probe looked by itself.
    pub looks: usize,
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} boots; {} reports logged, {} stored; {} due times: {} results, skipped {:?}, {} in gaps; gaps {:?}; {} one-offs",
            self.boots,
            self.logged,
            self.stored,
            self.due,
            self.results,
            self.skipped,
            self.in_gaps,
            self.gaps,
            self.oneoffs
        )
    }
}

/// The system's clock.
pub fn now() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Checks everything in the data directory of a server that does not run.
///
/// # Errors
/// Names what is not as promised.
pub fn check(data: &Path, subjects: &[Subject]) -> Result<Findings> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let catalog = SqliteCatalog::open(data.join("catalog.db"))?;
        let results = SqliteResults::open(data.join("results"))?;
        let mut audit = Audit { results, findings: Findings::default(), problems: Vec::new() };
        let measurements = measurements(&catalog).await?;
        for subject in subjects {
            let gaps = audit.results.gaps(subject.probe, UnixNanos(i64::MIN), UnixNanos(i64::MAX)).await?;
            for gap in &gaps {
                *audit.findings.gaps.entry(gap.reason.name()).or_default() += 1;
            }
            let stored = audit.numbers(subject, &gaps).await?;
            let read = audit.due_times(subject, &gaps, &measurements).await?;
            if stored != read {
                audit.problem(subject, format!("{} reports by number, {} by measurement", stored.len(), read.len()));
            }
        }
        audit.outcome()
    })
}

async fn measurements(catalog: &SqliteCatalog) -> Result<Vec<(Measurement, Vec<Participant>)>> {
    let slice = Slice { offset: 0, limit: 100_000, descending: false };
    let page = catalog.measurements(&MeasurementFilter::default(), slice).await?;
    let mut all = Vec::new();
    for measurement in page.items {
        let participants = catalog.participants(measurement.id).await?;
        all.push((measurement, participants));
    }
    Ok(all)
}

struct Audit {
    results: SqliteResults,
    findings: Findings,
    problems: Vec<String>,
}

/// A report's name.
type Number = (BootId, Seq);

impl Audit {
    fn problem(&mut self, subject: &Subject, text: impl fmt::Display) {
        self.problems.push(format!("probe {}: {text}", subject.probe));
    }

    fn outcome(self) -> Result<Findings> {
        if self.problems.is_empty() {
            return Ok(self.findings);
        }
        let shown: Vec<&str> = self.problems.iter().take(SHOWN).map(String::as_str).collect();
        bail!("{} problems; the first:\n{}\n{}", self.problems.len(), shown.join("\n"), self.findings)
    }

    /// Compares the probe's log with the store, number by number. Gives what is stored.
    async fn numbers(&mut self, subject: &Subject, gaps: &[Gap]) -> Result<BTreeSet<Number>> {
        let logged = read_log(&subject.log)?;
        let mut boots: BTreeSet<BootId> = logged.keys().map(|(boot, _)| *boot).collect();
        self.findings.boots += boots.len();
        self.findings.logged += logged.len();
        let records = self.results.boots(subject.probe).await?;
        for record in records.iter().filter(|record| !record.closed) {
            self.problem(subject, format_args!("boot {:016x} is not closed", record.boot.0));
        }
        boots.extend(records.iter().map(|record| record.boot));
        let mut stored = BTreeSet::new();
        for boot in boots {
            for (seq, digest) in self.results.digests(subject.probe, boot).await? {
                let name = format!("report {:016x} {seq}", boot.0);
                match logged.get(&(boot, seq)) {
                    Some(own) if *own == digest => {}
                    Some(_) => {
                        self.problem(subject, format!("{name} is stored with other bytes than it was made with"))
                    }
                    None => self.problem(subject, format!("{name} is stored and was never made")),
                }
                if !stored.insert((boot, seq)) {
                    self.problem(subject, format!("{name} is stored twice"));
                }
            }
            let ranges = self.results.ranges(subject.probe, &[boot]).await?;
            let set = ranges.first().map(|known| known.ranges.clone()).unwrap_or_default();
            if set != RangeSet::of(Seq(1)..=Seq(u64::MAX)) {
                self.problem(subject, format!("the numbers of boot {:016x} do not close: {set:?}", boot.0));
            }
        }
        self.findings.stored += stored.len();
        for (boot, seq) in logged.keys().filter(|number| !stored.contains(number)) {
            let lost = |gap: &Gap| {
                gap.boot == *boot && gap.first.0 > 0 && gap.first <= *seq && gap.last.is_none_or(|last| *seq <= last)
            };
            if !gaps.iter().any(lost) {
                self.problem(subject, format!("report {:016x} {seq} is neither stored nor in a gap", boot.0));
            }
        }
        Ok(stored)
    }

    /// Compares what was due with what was reported. Gives what was read.
    async fn due_times(
        &mut self,
        subject: &Subject,
        gaps: &[Gap],
        measurements: &[(Measurement, Vec<Participant>)],
    ) -> Result<BTreeSet<Number>> {
        let mut read = BTreeSet::new();
        for (measurement, participants) in measurements {
            let reports = self.reports(subject.probe, measurement.id).await?;
            for (number, _) in &reports {
                if !read.insert(*number) {
                    self.problem(subject, format!("{number:?} is read twice"));
                }
            }
            let Some(part) = participants.iter().find(|part| part.probe == subject.probe) else {
                if !reports.is_empty() {
                    self.problem(subject, format!("reports of {}, in which it takes no part", measurement.id));
                }
                continue;
            };
            if measurement.asked.is_oneoff {
                self.findings.oneoffs += 1;
                if reports.len() != 1 {
                    self.problem(subject, format!("{} reports of the one-off {}", reports.len(), measurement.id));
                }
                if !part.settled {
                    self.problem(subject, format!("the one-off {} is not settled", measurement.id));
                }
            } else {
                self.periodic(subject, gaps, measurement, part, &reports);
            }
        }
        Ok(read)
    }

    async fn reports(&self, probe: ProbeId, measurement: MeasurementId) -> Result<Vec<(Number, Report)>> {
        let query = ResultQuery { measurement, from: None, to: None, probes: Some(vec![probe]) };
        let mut reports = Vec::new();
        let mut after = None;
        loop {
            let page = self.results.scan(&query, after.as_ref(), 1000).await?;
            for stored in page.reports {
                reports.push(((stored.boot, stored.seq), Report::from_cbor(&stored.report)?));
            }
            after = page.next;
            if after.is_none() {
                return Ok(reports);
            }
        }
    }

    fn periodic(
        &mut self,
        subject: &Subject,
        gaps: &[Gap],
        measurement: &Measurement,
        part: &Participant,
        reports: &[(Number, Report)],
    ) {
        let (asked, id) = (&measurement.asked, measurement.id);
        let interval = asked.interval.unwrap_or(1);
        let step = Duration::from_secs(u64::from(interval));
        let runs = Runs::Periodic {
            first: asked.start + phase(id, subject.probe, asked.spread.unwrap_or(0).min(interval)),
            interval: step,
            stop: asked.stop,
        };
        let mut said: BTreeMap<UnixNanos, Vec<Option<SkipReason>>> = BTreeMap::new();
        for (_, report) in reports {
            match report {
                // Nobody waits for a look, so it is in nobody's account; but it is stored once like every report.
                Report::Result(result)
                    if matches!(result.outcome, Outcome::Ipv6(_))
                        && runs.first_at_or_after(result.planned_at) != Some(result.planned_at) =>
                {
                    self.findings.looks += 1;
                }
                Report::Result(result) => said.entry(result.planned_at).or_default().push(None),
                Report::Skipped(skipped) => {
                    for n in 0..skipped.runs {
                        said.entry(skipped.planned_at + step * n).or_default().push(Some(skipped.reason));
                    }
                }
            }
        }
        for (at, what) in &said {
            if runs.first_at_or_after(*at) != Some(*at) || *at < part.since {
                self.problem(subject, format!("{id} was not due at {at}, but there is {what:?}"));
            }
        }
        let until = measurement.stopped_at.map_or(subject.until, |stopped| stopped.min(subject.until));
        let mut due = runs.first_at_or_after(part.since).filter(|at| *at < until);
        while let Some(at) = due {
            self.findings.due += 1;
            match said.get(&at).map_or(&[][..], Vec::as_slice) {
                [None] => self.findings.results += 1,
                [Some(reason)] => *self.findings.skipped.entry(reason.name()).or_default() += 1,
                [] if gaps.iter().any(|gap| gap.from <= at && at < gap.to) => self.findings.in_gaps += 1,
                [] => {
                    let near = near(gaps, at);
                    self.problem(subject, format!("{id} was due at {at}: no result, not skipped, in no gap; {near}"));
                }
                both => self.problem(subject, format!("{id} was due at {at} and has {both:?}")),
            }
            due = runs.next_after(at).filter(|at| *at < until);
        }
    }
}

/// The gaps before and after a moment, for whoever wonders why none holds it.
fn near(gaps: &[Gap], at: UnixNanos) -> String {
    let words =
        |gap: Option<&Gap>| gap.map_or("none".into(), |gap| format!("{} {}..{}", gap.reason.name(), gap.from, gap.to));
    let before = gaps.iter().filter(|gap| gap.to <= at).max_by_key(|gap| gap.to);
    let after = gaps.iter().filter(|gap| gap.from > at).min_by_key(|gap| gap.from);
    format!("gap before: {}, after: {}", words(before), words(after))
}

/// A probe's log: a line a report with boot, number and SHA-256. Within a boot the numbers have no holes.
fn read_log(path: &Path) -> Result<BTreeMap<Number, [u8; 32]>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut logged = BTreeMap::new();
    let mut last: BTreeMap<BootId, u64> = BTreeMap::new();
    for line in text.lines() {
        let [boot, seq, hash] = line.split(' ').collect::<Vec<_>>()[..] else { bail!("{line:?} is no line of a log") };
        let (boot, seq) = (BootId(u64::from_str_radix(boot, 16)?), seq.parse()?);
        let hash = HEXLOWER.decode(hash.as_bytes())?.try_into();
        let hash: [u8; 32] = hash.map_err(|_| anyhow::anyhow!("{line:?} has no SHA-256"))?;
        ensure!(seq == last.insert(boot, seq).unwrap_or(0) + 1, "the log of boot {:016x} has a hole at {seq}", boot.0);
        logged.insert((boot, Seq(seq)), hash);
    }
    Ok(logged)
}
