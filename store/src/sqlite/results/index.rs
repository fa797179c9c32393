//! The index: where in a day's log a measurement is.
//!
//! One tree, by measurement and time, serves a range of times as well as the newest first. A commit would change a page
//! of it for every measurement in it, many times what the reports take (measured: 6 kB written for each of 80 in a
//! commit). So the places of a row are first noted in one piece, in the *tail*, and many rows' places are folded into the
//! tree together. Readers look at both.

use std::ops::ControlFlow;

use minicbor::Decoder;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sonde_protocol::ids::MeasurementId;
use sonde_protocol::time::UnixNanos;

use super::super::{damaged, refused};
use super::files::Span;
use crate::results::ResultQuery;

/// How many places the tail has at most after a commit. Every reader goes through them: about a millisecond.
pub(super) const TAIL: u32 = 1 << 14;

/// Where a measurement is in a day's log: in this row. Ordered by the time of the newest run there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) max_at: UnixNanos,
    pub(super) log: i64,
}

/// A measurement's part in a log row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) measurement: MeasurementId,
    /// From the first to the last of its runs.
    pub(super) span: Span,
    /// How many reports.
    pub(super) count: u64,
}

/// Notes what is in a new log row.
pub(super) fn add(db: &Connection, log: i64, parts: &[Part]) -> rusqlite::Result<()> {
    let bytes = encode(parts).map_err(refused)?;
    db.prepare_cached("INSERT INTO index_tail (log, count, parts) VALUES (?, ?, ?)")?.execute(params![
        log,
        parts.len() as i64,
        bytes
    ])?;
    Ok(())
}

/// Folds the tail into the tree when it has become as long as `most`.
pub(super) fn fold_if_long(db: &Connection, most: u32) -> rusqlite::Result<()> {
    let length: i64 =
        db.prepare_cached("SELECT coalesce(sum(count), 0) FROM index_tail")?.query_row([], |row| row.get(0))?;
    if length < i64::from(most) {
        return Ok(());
    }
    let mut places = Vec::new();
    each_part(db, |log, part| places.push((part.measurement.0.cast_signed(), part.span.max_at.0, log, part)))?;
    // In the tree's order, so that each of its pages is changed once.
    places.sort_unstable_by_key(|&(measurement, max_at, log, _)| (measurement, max_at, log));
    let mut insert =
        db.prepare_cached("INSERT INTO log_index (measurement, max_at, log, min_at, count) VALUES (?, ?, ?, ?, ?)")?;
    for (measurement, max_at, log, Part { span, count, .. }) in places {
        insert.execute(params![measurement, max_at, log, span.min_at.0, count.cast_signed()])?;
    }
    db.execute("DELETE FROM index_tail", [])?;
    Ok(())
}

/// Shows the places that can have something of the query, in order, from the first one behind `behind`.
pub(super) fn ascending(
    db: &Connection,
    query: &ResultQuery,
    behind: Option<Place>,
    mut show: impl FnMut(Place) -> rusqlite::Result<ControlFlow<()>>,
) -> rusqlite::Result<ControlFlow<()>> {
    let Some((first, last)) = bounds(query) else { return Ok(ControlFlow::Continue(())) };
    let tail = tail(db, query)?;
    let mut unfolded = tail.into_iter().filter(|place| behind.is_none_or(|behind| *place > behind)).peekable();
    let behind = behind.unwrap_or(Place { max_at: UnixNanos(i64::MIN), log: i64::MIN });
    let mut statement = db.prepare_cached(
        "SELECT max_at, log FROM log_index
         WHERE measurement = ?1 AND (max_at, log) > (?2, ?3) AND max_at >= ?4 AND min_at <= ?5 ORDER BY max_at, log",
    )?;
    let measurement = query.measurement.0.cast_signed();
    let mut rows = statement.query(params![measurement, behind.max_at.0, behind.log, first, last])?;
    loop {
        let folded = rows.next()?.map(read).transpose()?;
        while let Some(place) = unfolded.next_if(|place| folded.is_none_or(|folded| *place < folded)) {
            if show(place)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        let Some(place) = folded else { return Ok(ControlFlow::Continue(())) };
        if show(place)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}

/// The newest place below `before` that can have something of the query. `tail` may be of an earlier look at the file:
/// what has been folded since is found in either.
pub(super) fn newest_below(
    db: &Connection,
    query: &ResultQuery,
    before: Place,
    tail: &[Place],
) -> rusqlite::Result<Option<Place>> {
    let Some((first, last)) = bounds(query) else { return Ok(None) };
    let folded = db
        .prepare_cached(
            "SELECT max_at, log FROM log_index
             WHERE measurement = ?1 AND (max_at, log) < (?2, ?3) AND max_at >= ?4 AND min_at <= ?5
             ORDER BY max_at DESC, log DESC LIMIT 1",
        )?
        .query_row(params![query.measurement.0.cast_signed(), before.max_at.0, before.log, first, last], read)
        .optional()?;
    let unfolded = tail.get(..tail.partition_point(|place| *place < before)).and_then(<[Place]>::last);
    Ok(folded.max(unfolded.copied()))
}

/// The places in the tail that can have something of the query, in order.
pub(super) fn tail(db: &Connection, query: &ResultQuery) -> rusqlite::Result<Vec<Place>> {
    let mut places = Vec::new();
    each_part(db, |log, part| {
        if part.measurement == query.measurement && part.span.touches(query.from, query.to) {
            places.push(Place { max_at: part.span.max_at, log });
        }
    })?;
    places.sort_unstable();
    Ok(places)
}

/// The bounds of a query for SQL: `max_at` is not below the first, `min_at` not above the second.
fn bounds(query: &ResultQuery) -> Option<(i64, i64)> {
    let last = match query.to {
        Some(to) => to.0.checked_sub(1)?,
        None => i64::MAX,
    };
    Some((query.from.map_or(i64::MIN, |from| from.0), last))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Place> {
    Ok(Place { max_at: UnixNanos(row.get(0)?), log: row.get(1)? })
}

/// CBOR, flat: measurement, first and last run, count, and so on.
fn encode(parts: &[Part]) -> Result<Vec<u8>, minicbor::encode::Error<std::convert::Infallible>> {
    let mut encoder = minicbor::Encoder::new(Vec::new());
    encoder.array(4 * parts.len() as u64)?;
    for Part { measurement, span, count } in parts {
        encoder.u64(measurement.0)?.i64(span.min_at.0)?.i64(span.max_at.0)?.u64(*count)?;
    }
    Ok(encoder.into_writer())
}

/// Shows every part in the tail, with the number of its row.
fn each_part(db: &Connection, mut show: impl FnMut(i64, Part)) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached("SELECT log, parts FROM index_tail")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let log: i64 = row.get(0)?;
        let parts = decode(row.get_ref(1)?.as_blob()?, |part| show(log, part));
        parts.map_err(|error| damaged(format!("index of log row {log}: {error}")))?;
    }
    Ok(())
}

fn decode(bytes: &[u8], mut show: impl FnMut(Part)) -> Result<(), minicbor::decode::Error> {
    let mut decoder = Decoder::new(bytes);
    let count = decoder.array()?.filter(|count| count % 4 == 0);
    for _ in 0..count.ok_or_else(|| minicbor::decode::Error::message("parts have four numbers"))? / 4 {
        let measurement = MeasurementId(decoder.u64()?);
        let span = Span { min_at: UnixNanos(decoder.i64()?), max_at: UnixNanos(decoder.i64()?) };
        show(Part { measurement, span, count: decoder.u64()? });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_and_garbage_is_an_error() {
        let span = Span { min_at: UnixNanos(i64::MIN), max_at: UnixNanos(i64::MAX) };
        let parts = [Part { measurement: MeasurementId(u64::MAX), span, count: 7 }; 3];
        let mut found = Vec::new();
        decode(&encode(&parts).unwrap(), |part| found.push(part)).unwrap();
        assert_eq!(found, parts);
        for bytes in [&b""[..], &[0x83, 1, 2, 3], &[0x84, 1, 2, 3], &[0x9b, 255, 255, 255, 255, 255, 255, 255, 252, 1]]
        {
            decode(bytes, |_| {}).unwrap_err();
        }
    }
}
