//! Reading back: a measurement's time range page by page, a probe's gaps, digests for checks.

use std::ops::ControlFlow;

use ring::digest::{SHA256, digest};
use rusqlite::Connection;
use sonde_protocol::ids::{BootId, ProbeId, Seq};
use sonde_protocol::message::Gap;
use sonde_protocol::time::UnixNanos;

use super::bookkeeping;
use super::day::Day;
use super::files::{Files, unreadable};
use super::index::{self, Place};
use super::log::{Entry, Row};
use crate::StoreError;
use crate::results::{Cursor, ReportPage, ResultQuery, StoredReport};

/// How many bytes (before compression) one page unpacks at most, and a row. A query that finds little in much comes back
/// in between, so that no caller is held for long.
const PAGE_BYTES: usize = 16 << 20;

/// Is the entry what the query asks for?
pub(super) fn matches(query: &ResultQuery, entry: &Entry<'_>) -> bool {
    entry.measurement == query.measurement
        && query.from.is_none_or(|from| entry.at >= from)
        && query.to.is_none_or(|to| entry.at < to)
        && query.probes.as_ref().is_none_or(|probes| probes.binary_search(&entry.probe).is_ok())
}

/// The log row at a place of the index.
pub(super) fn row_at(db: &Connection, place: Place) -> rusqlite::Result<Row> {
    Row::find(db, place.log)?.ok_or_else(|| super::super::damaged(format!("log row {} is missing", place.log)))
}

/// Where a scan has come to: the last place it has read. Every place has a position of its own that never changes, so
/// that what was there when the scan began comes exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    day: Day,
    place: Place,
}

impl Position {
    fn cursor(self) -> Cursor {
        Cursor(vec![self.day.0.cast_unsigned(), self.place.max_at.0.cast_unsigned(), self.place.log.cast_unsigned()])
    }

    fn of(cursor: &Cursor) -> Result<Self, StoreError> {
        let &[day, max_at, log] = cursor.0.as_slice() else {
            return Err(StoreError::Unreadable { what: "cursor", why: format!("{} numbers", cursor.0.len()) });
        };
        let place = Place { max_at: UnixNanos(max_at.cast_signed()), log: log.cast_signed() };
        Ok(Self { day: Day(day.cast_signed()), place })
    }
}

/// A page in the making.
struct Page<'q> {
    query: &'q ResultQuery,
    limit: usize,
    reports: Vec<StoredReport>,
    unpacked: usize,
    last: Option<Position>,
}

/// Reads by day of arrival, within a day by the time of the runs.
pub(super) fn scan(
    files: &Files,
    query: &ResultQuery,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<ReportPage, StoreError> {
    let after = after.map(Position::of).transpose()?;
    let mut page = Page { query, limit: limit.max(1), reports: Vec::new(), unpacked: 0, last: None };
    let mut next = None;
    for (day, _) in files.touching(query.from, query.to) {
        if after.is_some_and(|after| day < after.day) {
            continue;
        }
        let behind = after.filter(|after| after.day == day).map(|after| after.place);
        if page.read_day(files, day, behind)?.is_break() {
            next = page.last.map(Position::cursor);
            break;
        }
    }
    page.reports.sort_by_key(|report| report.arrived_at);
    Ok(ReportPage { reports: page.reports, next })
}

impl Page<'_> {
    /// Breaks when there is more to read than the page may hold.
    fn read_day(&mut self, files: &Files, day: Day, behind: Option<Place>) -> Result<ControlFlow<()>, StoreError> {
        let Some(mut reader) = files.reader(day)? else { return Ok(ControlFlow::Continue(())) };
        let mut damage = Ok(());
        let flow = reader.read("read results", |db| {
            index::ascending(db, self.query, behind, |place| {
                if self.reports.len() >= self.limit || self.unpacked >= PAGE_BYTES {
                    return Ok(ControlFlow::Break(()));
                }
                let row = row_at(db, place)?;
                self.unpacked = self.unpacked.saturating_add(row.size());
                self.last = Some(Position { day, place });
                damage = row.unpack(|entry| {
                    if matches(self.query, &entry) {
                        self.reports.push(entry.to_stored());
                    }
                });
                Ok(if damage.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })
        })?;
        damage.map_err(|why| unreadable(day, &why))?;
        Ok(flow)
    }
}

pub(super) fn gaps(files: &Files, probe: ProbeId, from: UnixNanos, to: UnixNanos) -> Result<Vec<Gap>, StoreError> {
    let mut gaps = Vec::new();
    for day in files.all() {
        if let Some(mut reader) = files.reader(day)? {
            gaps.extend(reader.read("read gaps", |db| bookkeeping::gaps(db, probe, from, to))?);
        }
    }
    gaps.sort_by_key(|gap| gap.from);
    Ok(gaps)
}

/// Reads every log row of the days on which something of the boot arrived.
pub(super) fn digests(files: &Files, probe: ProbeId, boot: BootId) -> Result<Vec<(Seq, [u8; 32])>, StoreError> {
    let mut found = Vec::new();
    for day in files.all() {
        let Some(mut reader) = files.reader(day)? else { continue };
        if !reader.read("read range sets", |db| bookkeeping::has_ranges(db, probe, boot))? {
            continue;
        }
        let mut behind = i64::MIN;
        while let Some(row) = reader.read("read the log", |db| Row::after(db, behind))? {
            behind = row.id();
            let unpacked = row.unpack(|entry| {
                if entry.probe == probe && entry.boot == boot {
                    let bytes = digest(&SHA256, entry.report);
                    found.push((entry.seq, bytes.as_ref().try_into().expect("a SHA-256 digest has 32 bytes")));
                }
            });
            unpacked.map_err(|why| unreadable(day, &why))?;
        }
    }
    found.sort();
    Ok(found)
}
