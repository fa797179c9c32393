//! Reading what arrived in the order of the log, so that everything is counted or told once.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::time::UnixNanos;

use super::day::Day;
use super::files::Files;
use super::log::{Entry, Row};
use crate::StoreError;
use crate::results::{Arrivals, Arrived, Came, Cursor, Tally};

/// How many bytes (before compression) one call unpacks, and a row: no caller is held for long.
const TALLY_BYTES: usize = 16 << 20;

/// Where reading has come to: the last row it has read.
fn position(cursor: &Cursor) -> Result<(Day, i64), StoreError> {
    let &[day, log] = cursor.0.as_slice() else {
        return Err(StoreError::Unreadable { what: "cursor", why: format!("{} numbers", cursor.0.len()) });
    };
    Ok((Day(day.cast_signed()), log.cast_signed()))
}

/// Some rows of one day.
struct Part<T> {
    day: Day,
    found: T,
    next: Cursor,
}

pub(super) fn tally(files: &Files, after: Option<&Cursor>, since: UnixNanos) -> Result<Option<Tally>, StoreError> {
    type Counts = BTreeMap<(MeasurementId, ProbeId), u64>;
    let part = go_on(files, after, since, |row, counts: &mut Counts| {
        let mut own = Counts::new();
        if read(row, since, |entry| *own.entry((entry.measurement, entry.probe)).or_default() += 1) {
            own.into_iter().for_each(|(key, results)| *counts.entry(key).or_default() += results);
        }
    })?;
    Ok(part.map(|Part { day, found, next }| {
        let counts = found.into_iter();
        let counts = counts.map(|((measurement, probe), results)| Arrived { measurement, probe, results });
        Tally { day: day.0, counts: counts.collect(), next }
    }))
}

pub(super) fn arrivals(
    files: &Files,
    of: &[MeasurementId],
    after: Option<&Cursor>,
    since: UnixNanos,
) -> Result<Option<Arrivals>, StoreError> {
    let part = go_on(files, after, since, |row, runs: &mut Vec<Came>| {
        let mut own = Vec::new();
        let is_whole = read(row, since, |entry| {
            if of.contains(&entry.measurement) {
                own.push(Came { measurement: entry.measurement, probe: entry.probe, at: entry.at });
            }
        });
        if is_whole {
            runs.append(&mut own);
        }
    })?;
    Ok(part.map(|Part { found, next, .. }| Arrivals { runs: found, next }))
}

/// Rows have ascending numbers that are never used again, and days follow each other. What a clock that was set back over
/// midnight makes arrive on a day that is behind already is not read.
fn go_on<T: Default>(
    files: &Files,
    after: Option<&Cursor>,
    since: UnixNanos,
    mut take: impl FnMut(&Row, &mut T),
) -> Result<Option<Part<T>>, StoreError> {
    let (first, behind) = match after {
        Some(cursor) => position(cursor)?,
        None => (Day::of(since), i64::MIN),
    };
    for day in files.all().into_iter().filter(|day| *day >= first) {
        let behind = if day == first { behind } else { i64::MIN };
        if let Some(part) = go_on_in(files, day, behind, &mut take)? {
            return Ok(Some(part));
        }
    }
    Ok(None)
}

fn go_on_in<T: Default>(
    files: &Files,
    day: Day,
    mut behind: i64,
    take: &mut impl FnMut(&Row, &mut T),
) -> Result<Option<Part<T>>, StoreError> {
    let Some(mut reader) = files.reader(day)? else { return Ok(None) };
    let (mut found, mut unpacked, mut is_any) = (T::default(), 0_usize, false);
    while unpacked < TALLY_BYTES {
        let flow = reader.read("read what arrived", |db| {
            let Some(row) = Row::after(db, behind)? else { return Ok(ControlFlow::Break(())) };
            (behind, is_any) = (row.id(), true);
            unpacked = unpacked.saturating_add(row.size());
            take(&row, &mut found);
            Ok(ControlFlow::Continue(()))
        })?;
        if flow.is_break() {
            break;
        }
    }
    let next = Cursor(vec![day.0.cast_unsigned(), behind.cast_unsigned()]);
    Ok(is_any.then_some(Part { day, found, next }))
}

/// Shows the results of a row. A row that cannot be read counts as empty (false): whoever reads results hears of it, and counting must
/// not stop for ever.
fn read(row: &Row, since: UnixNanos, mut show: impl FnMut(&Entry<'_>)) -> bool {
    let done = row.unpack(|entry| {
        if entry.is_result && entry.arrived_at >= since {
            show(&entry);
        }
    });
    if let Err(error) = &done {
        tracing::warn!(%error, "results that cannot be read are not counted");
    }
    done.is_ok()
}
