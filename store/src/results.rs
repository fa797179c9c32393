//! The results: what the probes reported, appended durably and read by measurement and time.

use async_trait::async_trait;
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Seq, SessionId};
use sonde_protocol::message::{BootRanges, Gap};
use sonde_protocol::range_set::RangeSet;
use sonde_protocol::time::UnixNanos;

use crate::StoreError;

/// One report as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReport {
    /// Who reported.
    pub probe: ProbeId,
    /// Over which connection; the catalog knows its address.
    pub session: SessionId,
    /// Its boot.
    pub boot: BootId,
    /// Its number within the boot.
    pub seq: Seq,
    /// When it arrived (Atlas: `stored_timestamp`).
    pub arrived_at: UnixNanos,
    /// The measurement, as the report says.
    pub measurement: MeasurementId,
    /// When the run began, or was due if it was skipped (Atlas: `timestamp`).
    pub at: UnixNanos,
    /// The bytes the probe encoded ([`sonde_protocol::result::Report`]).
    pub report: Vec<u8>,
}

/// What is known of one start of a probe's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootRecord {
    /// The probe.
    pub probe: ProbeId,
    /// The boot.
    pub boot: BootId,
    /// When it began.
    pub started_at: UnixNanos,
    /// Every run due before this is accounted for by what is durable.
    pub settled: UnixNanos,
    /// Nothing more will come of it: it said goodbye, or its end lies in a recorded gap.
    pub closed: bool,
}

/// What one commit makes durable: all of it or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Reports, none of them durable yet (the collector has looked at the range sets).
    pub reports: Vec<StoredReport>,
    /// Numbers that become durable with this batch: those of `reports`, and of gaps.
    pub ranges: Vec<(ProbeId, BootRanges)>,
    /// Gaps to record.
    pub gaps: Vec<(ProbeId, Gap)>,
    /// Boots that are new or have changed; the whole record replaces the former.
    pub boots: Vec<BootRecord>,
}

impl Batch {
    /// Is there nothing in it?
    pub fn is_empty(&self) -> bool {
        self.reports.is_empty() && self.ranges.is_empty() && self.gaps.is_empty() && self.boots.is_empty()
    }
}

/// Which reports of one measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultQuery {
    /// The measurement.
    pub measurement: MeasurementId,
    /// `at` is not before this.
    pub from: Option<UnixNanos>,
    /// `at` is before this.
    pub to: Option<UnixNanos>,
    /// Of these probes only; sorted.
    pub probes: Option<Vec<ProbeId>>,
}

/// Where to go on reading: opaque, made by the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub Vec<u64>);

/// Some reports, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportPage {
    /// In no promised order across pages; within a page by arrival.
    pub reports: Vec<StoredReport>,
    /// Where the rest begins; `None` at the end.
    pub next: Option<Cursor>,
}

/// How many results of a measurement arrived from one probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// The measurement, as the reports say.
    pub measurement: MeasurementId,
    /// Who reported.
    pub probe: ProbeId,
    /// How many; skipped runs are none.
    pub results: u64,
}

/// What arrived on one day, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// The UTC day on which all of it arrived, counted from 1970-01-01.
    pub day: i64,
    /// By measurement and probe, each pair once.
    pub counts: Vec<Arrived>,
    /// Where the next tally goes on.
    pub next: Cursor,
}

/// A result that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Came {
    /// The measurement, as the report says.
    pub measurement: MeasurementId,
    /// Who reported.
    pub probe: ProbeId,
    /// When the run began.
    pub at: UnixNanos,
}

/// What came of some measurements on one day, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrivals {
    /// The results; perhaps none.
    pub runs: Vec<Came>,
    /// Where to go on.
    pub next: Cursor,
}

/// The data. Range sets are read and written through it alone, so that they and the reports share one commit.
#[async_trait]
pub trait Results: Send + Sync {
    /// Makes a batch durable. When it returns, a crash of the machine loses nothing of it; when it fails, nothing of it
    /// is there.
    async fn append(&self, batch: &Batch, now: UnixNanos) -> Result<(), StoreError>;

    /// What is durable of these boots; an unknown boot has the empty set.
    async fn ranges(&self, probe: ProbeId, boots: &[BootId]) -> Result<Vec<BootRanges>, StoreError>;

    /// The probe's boots that are not closed, and the one that began last even if it is closed; by start.
    async fn boots(&self, probe: ProbeId) -> Result<Vec<BootRecord>, StoreError>;

    /// Reads a measurement's reports, results and skipped runs alike, about `limit` at a time.
    async fn scan(&self, query: &ResultQuery, after: Option<&Cursor>, limit: usize) -> Result<ReportPage, StoreError>;

    /// The newest `versions` results (not skipped runs) of each probe, by `at`, newest first per probe. `expected` probes
    /// at most have any: a backend may stop looking when it has them all and nothing newer can follow.
    async fn latest(
        &self,
        query: &ResultQuery,
        versions: usize,
        expected: Option<usize>,
    ) -> Result<Vec<StoredReport>, StoreError>;

    /// Counts the durable results that arrived at `since` or later, in the order in which they became durable: a part of
    /// them at a time, each result in exactly one part when every call goes on where the one before ended. `None`: nothing
    /// has arrived since.
    async fn tally(&self, after: Option<&Cursor>, since: UnixNanos) -> Result<Option<Tally>, StoreError>;

    /// Tells which results of these measurements arrived at `since` or later, in the way of [`Results::tally`]: each exactly once
    /// when every call goes on where the one before ended. `None`: nothing has arrived since.
    async fn arrivals(
        &self,
        of: &[MeasurementId],
        after: Option<&Cursor>,
        since: UnixNanos,
    ) -> Result<Option<Arrivals>, StoreError>;

    /// A probe's gaps whose time span touches `from..to`, by start.
    async fn gaps(&self, probe: ProbeId, from: UnixNanos, to: UnixNanos) -> Result<Vec<Gap>, StoreError>;

    /// The number and SHA-256 digest of every durable report of one boot, by number. For checks.
    async fn digests(&self, probe: ProbeId, boot: BootId) -> Result<Vec<(Seq, [u8; 32])>, StoreError>;

    /// Drops what arrived before `before`. Range sets and boots stay.
    async fn retain(&self, before: UnixNanos) -> Result<(), StoreError>;
}

/// The union of `add` into the sets of `all`, by boot.
pub fn merge_ranges(all: &mut Vec<BootRanges>, boot: BootId, add: &RangeSet) {
    match all.iter_mut().find(|known| known.boot == boot) {
        Some(known) => known.ranges.extend(add),
        None => all.push(BootRanges { boot, ranges: add.clone() }),
    }
}
