//! The results in a directory: one SQLite file per UTC day of *arrival*, so that retention is the removal of files.
//!
//! A day's file holds the log (each row some reports of one commit, compressed), where in the log a measurement is, and
//! what arrived that day of range sets, boots and gaps. One append is one transaction in one file; none spans two, which
//! in WAL mode would not be atomic. A probe's range set is the union over all files, the record of a boot the newest in
//! any; both are kept in memory, read when the directory is opened and changed only after a commit.
//!
//! One connection writes; readers have their own, so that neither waits for the other. Every method is done when its
//! future is polled first.
//!
//! Left out as yet: the compaction of log rows into column chunks. Log rows have numbers that are never used again, and
//! readers come to them by way of the index alone, so a run of them can be replaced.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use async_trait::async_trait;
use rusqlite::{Connection, TransactionBehavior};
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Seq};
use sonde_protocol::message::{BootRanges, Gap};
use sonde_protocol::time::UnixNanos;

use super::merge::Merger;
use crate::StoreError;
use crate::results::{Arrivals, Batch, BootRecord, Cursor, ReportPage, ResultQuery, Results, StoredReport, Tally};

mod bookkeeping;
mod day;
mod files;
mod index;
mod known;
mod latest;
mod log;
mod read;
mod retention;
mod tally;

use bookkeeping::Numbered;
use day::Day;
use files::{Files, Span};
use known::Known;

/// The results in a directory of SQLite files. At most one program may have it open, and once.
#[derive(Debug)]
pub struct SqliteResults {
    files: Files,
    known: RwLock<Known>,
    writer: Mutex<Writer>,
}

/// What only one append at a time may use.
#[derive(Debug)]
struct Writer {
    /// The file written last, and what merges its log, which ends first.
    current: Option<(Day, Merger, Connection)>,
    encoder: log::Encoder,
    /// The index's tail is folded when it has become as long.
    tail: u32,
}

impl SqliteResults {
    /// Opens the results in `dir`; makes the directory if there is none. A file that a newer version wrote, or whose range
    /// sets cannot be read, is an error that names it: without them reports could be stored twice. Once it is moved away,
    /// the others open.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        let (files, known) = Files::open(dir.as_ref())?;
        let writer = Writer { current: None, encoder: log::Encoder::new()?, tail: index::TAIL };
        Ok(Self { files, known: RwLock::new(known), writer: Mutex::new(writer) })
    }

    /// Tidies the index up after so many places instead of very many, so that tests see it happen.
    #[must_use]
    pub fn with_short_index_tail(mut self, places: u32) -> Self {
        self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).tail = places;
        self
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // Whoever panicked with it left no transaction open: dropping one rolls it back.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append_batch(&self, batch: &Batch, now: UnixNanos) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer();
        let rows = writer.encoder.rows(&batch.reports)?;
        let first_update = self.known.read().unwrap_or_else(PoisonError::into_inner).next_update();
        let boots: Vec<Numbered> = (first_update..).zip(batch.boots.iter().cloned()).collect();
        let span = rows.iter().flat_map(|row| &row.parts).map(|part| part.span).reduce(Span::with);

        let (day, tail) = (Day::of(now), writer.tail);
        let written = writer.connection(&self.files, day).and_then(|connection| {
            let failed = |error| files::error(day, "append", error);
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
            for row in &rows {
                row.insert(&transaction, now).map_err(failed)?;
            }
            index::fold_if_long(&transaction, tail).map_err(failed)?;
            if let Some(span) = span {
                span.insert(&transaction).map_err(failed)?;
            }
            bookkeeping::add_ranges(&transaction, &batch.ranges).map_err(failed)?;
            bookkeeping::add_boots(&transaction, &boots).map_err(failed)?;
            bookkeeping::add_gaps(&transaction, &batch.gaps).map_err(failed)?;
            transaction.commit().map_err(failed)
        });
        if let Err(error) = written {
            writer.after_failure();
            return Err(error);
        }

        if let Some(span) = span {
            self.files.widen(day, span);
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.add_ranges(&batch.ranges);
        known.add_boots(boots);
        Ok(())
    }
}

impl Writer {
    /// The connection to a day's file.
    fn connection(&mut self, files: &Files, day: Day) -> Result<&mut Connection, StoreError> {
        // Taken out first: the day before is closed (and its log merged into the file) when another begins.
        let (merger, connection) = match self.current.take() {
            Some((current, merger, connection)) if current == day => (merger, connection),
            _ => files.open_for_long(day)?,
        };
        Ok(&mut self.current.insert((day, merger, connection)).2)
    }

    /// The transaction was rolled back; should even that have failed, the file is opened anew next time.
    fn after_failure(&mut self) {
        self.current.take_if(|(_, _, connection)| !connection.is_autocommit());
    }
}

#[async_trait]
impl Results for SqliteResults {
    async fn append(&self, batch: &Batch, now: UnixNanos) -> Result<(), StoreError> {
        self.append_batch(batch, now)
    }

    async fn ranges(&self, probe: ProbeId, boots: &[BootId]) -> Result<Vec<BootRanges>, StoreError> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        Ok(boots.iter().map(|&boot| BootRanges { boot, ranges: known.ranges(probe, boot) }).collect())
    }

    async fn boots(&self, probe: ProbeId) -> Result<Vec<BootRecord>, StoreError> {
        Ok(self.known.read().unwrap_or_else(PoisonError::into_inner).boots(probe))
    }

    /// A page may hold fewer reports than `limit`, even none, and still have a next one: what one call unpacks is bounded.
    async fn scan(&self, query: &ResultQuery, after: Option<&Cursor>, limit: usize) -> Result<ReportPage, StoreError> {
        read::scan(&self.files, query, after, limit)
    }

    async fn latest(
        &self,
        query: &ResultQuery,
        versions: usize,
        expected: Option<usize>,
    ) -> Result<Vec<StoredReport>, StoreError> {
        latest::latest(&self.files, query, versions, expected)
    }

    async fn tally(&self, after: Option<&Cursor>, since: UnixNanos) -> Result<Option<Tally>, StoreError> {
        tally::tally(&self.files, after, since)
    }

    async fn arrivals(
        &self,
        of: &[MeasurementId],
        after: Option<&Cursor>,
        since: UnixNanos,
    ) -> Result<Option<Arrivals>, StoreError> {
        tally::arrivals(&self.files, of, after, since)
    }

    async fn gaps(&self, probe: ProbeId, from: UnixNanos, to: UnixNanos) -> Result<Vec<Gap>, StoreError> {
        read::gaps(&self.files, probe, from, to)
    }

    async fn digests(&self, probe: ProbeId, boot: BootId) -> Result<Vec<(Seq, [u8; 32])>, StoreError> {
        read::digests(&self.files, probe, boot)
    }

    async fn retain(&self, before: UnixNanos) -> Result<(), StoreError> {
        let mut writer = self.writer();
        retention::retain(&self.files, &mut writer, before)
    }
}

#[cfg(test)]
mod tests;
