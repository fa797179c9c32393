//! Counting what arrived, in the order of the log, so that everything is counted once.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::time::UnixNanos;

use super::day::Day;
use super::files::Files;
use super::log::Row;
use crate::StoreError;
use crate::results::{Arrived, Cursor, Tally};

/// How many bytes (before compression) one call unpacks, and a row: no caller is held for long.
const TALLY_BYTES: usize = 16 << 20;

/// Where counting has come to: the last row it has read.
fn position(cursor: &Cursor) -> Result<(Day, i64), StoreError> {
    let &[day, log] = cursor.0.as_slice() else {
        return Err(StoreError::Unreadable { what: "cursor", why: format!("{} numbers", cursor.0.len()) });
    };
    Ok((Day(day.cast_signed()), log.cast_signed()))
}

/// Rows have ascending numbers that are never used again, and days follow each other. What a clock that was set back over
/// midnight makes arrive on a day that is behind already is not counted.
pub(super) fn tally(files: &Files, after: Option<&Cursor>, since: UnixNanos) -> Result<Option<Tally>, StoreError> {
    let (first, behind) = match after {
        Some(cursor) => position(cursor)?,
        None => (Day::of(since), i64::MIN),
    };
    for day in files.all().into_iter().filter(|day| *day >= first) {
        let behind = if day == first { behind } else { i64::MIN };
        if let Some(found) = tally_day(files, day, behind, since)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn tally_day(files: &Files, day: Day, mut behind: i64, since: UnixNanos) -> Result<Option<Tally>, StoreError> {
    let Some(mut reader) = files.reader(day)? else { return Ok(None) };
    let (mut counts, mut unpacked, mut found) = (BTreeMap::new(), 0_usize, false);
    while unpacked < TALLY_BYTES {
        let flow = reader.read("count what arrived", |db| {
            let Some(row) = Row::after(db, behind)? else { return Ok(ControlFlow::Break(())) };
            (behind, found) = (row.id(), true);
            unpacked = unpacked.saturating_add(row.size());
            count(&row, since, &mut counts);
            Ok(ControlFlow::Continue(()))
        })?;
        if flow.is_break() {
            break;
        }
    }
    if !found {
        return Ok(None);
    }
    let counts = counts.into_iter().map(|((measurement, probe), results)| Arrived { measurement, probe, results });
    let next = Cursor(vec![day.0.cast_unsigned(), behind.cast_unsigned()]);
    Ok(Some(Tally { day: day.0, counts: counts.collect(), next }))
}

/// A row that cannot be read counts as empty: whoever reads results hears of it, and counting must not stop for ever.
fn count(row: &Row, since: UnixNanos, counts: &mut BTreeMap<(MeasurementId, ProbeId), u64>) {
    let mut own: BTreeMap<(MeasurementId, ProbeId), u64> = BTreeMap::new();
    let read = row.unpack(|entry| {
        if entry.is_result && entry.arrived_at >= since {
            *own.entry((entry.measurement, entry.probe)).or_default() += 1;
        }
    });
    match read {
        Ok(()) => own.into_iter().for_each(|(key, results)| *counts.entry(key).or_default() += results),
        Err(error) => tracing::warn!(%error, "results that cannot be read are not counted"),
    }
}
