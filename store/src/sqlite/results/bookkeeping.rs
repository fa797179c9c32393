//! Range sets, boots and gaps in a day's file.

use minicbor::Decoder;
use rusqlite::{Connection, OptionalExtension, params};
use sonde_protocol::ids::{BootId, ProbeId, Seq};
use sonde_protocol::message::{BootRanges, Gap};
use sonde_protocol::range_set::RangeSet;
use sonde_protocol::time::UnixNanos;

use super::super::damaged;
use crate::results::BootRecord;

/// A boot's record and its place among all updates of boots, in whatever file: the greatest number is the newest. The
/// clock may go back, and with it the file that is written to.
pub(super) type Numbered = (i64, BootRecord);

/// Adds numbers to the sets in this file.
pub(super) fn add_ranges(db: &Connection, ranges: &[(ProbeId, BootRanges)]) -> rusqlite::Result<()> {
    let mut select = db.prepare_cached("SELECT numbers FROM ranges WHERE probe = ? AND boot = ?")?;
    let mut upsert = db.prepare_cached("INSERT OR REPLACE INTO ranges (probe, boot, numbers) VALUES (?, ?, ?)")?;
    for (probe, BootRanges { boot, ranges }) in ranges {
        let key = [probe.0.cast_signed(), boot.0.cast_signed()];
        let stored = select.query_row(key, |row| decode_ranges(row.get_ref(0)?.as_blob()?)).optional()?;
        let mut set = stored.unwrap_or_default();
        set.extend(ranges);
        let bytes = minicbor::to_vec(&set).map_err(super::super::refused)?;
        upsert.execute(params![key[0], key[1], bytes])?;
    }
    Ok(())
}

/// The sets in this file.
pub(super) fn ranges(db: &Connection) -> rusqlite::Result<Vec<(ProbeId, BootRanges)>> {
    db.prepare("SELECT probe, boot, numbers FROM ranges")?
        .query_map([], |row| {
            let probe = ProbeId(row.get::<_, i64>(0)?.cast_unsigned());
            let boot = BootId(row.get::<_, i64>(1)?.cast_unsigned());
            Ok((probe, BootRanges { boot, ranges: decode_ranges(row.get_ref(2)?.as_blob()?)? }))
        })?
        .collect()
}

/// Does this file have numbers of the boot?
pub(super) fn has_ranges(db: &Connection, probe: ProbeId, boot: BootId) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM ranges WHERE probe = ? AND boot = ?")?
        .exists([probe.0.cast_signed(), boot.0.cast_signed()])
}

/// Reads the CBOR of a range set. The protocol's own reader refuses sets of very many ranges, as no message may have them;
/// what has become durable must be readable whatever it is.
fn decode_ranges(bytes: &[u8]) -> rusqlite::Result<RangeSet> {
    let mut decoder = Decoder::new(bytes);
    let count = decoder.array().map_err(damaged)?.filter(|count| count % 2 == 0);
    let mut set = RangeSet::new();
    for _ in 0..count.ok_or_else(|| damaged("a range set has pairs"))? / 2 {
        let first = Seq(decoder.u64().map_err(damaged)?);
        let last = Seq(decoder.u64().map_err(damaged)?);
        if first > last || set.last().is_some_and(|before| before >= first) {
            return Err(damaged("a range set is ascending"));
        }
        set.insert(first..=last);
    }
    Ok(set)
}

/// Writes records of boots into this file, where they are newer than what it has.
pub(super) fn add_boots(db: &Connection, boots: &[Numbered]) -> rusqlite::Result<()> {
    let mut upsert = db.prepare_cached(
        "INSERT INTO boots (probe, boot, updated, started_at, settled, closed) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET updated = excluded.updated, started_at = excluded.started_at,
            settled = excluded.settled, closed = excluded.closed
         WHERE excluded.updated > boots.updated",
    )?;
    for (updated, BootRecord { probe, boot, started_at, settled, closed }) in boots {
        let (probe, boot) = (probe.0.cast_signed(), boot.0.cast_signed());
        upsert.execute(params![probe, boot, updated, started_at.0, settled.0, closed])?;
    }
    Ok(())
}

/// The records in this file.
pub(super) fn boots(db: &Connection) -> rusqlite::Result<Vec<Numbered>> {
    db.prepare("SELECT updated, probe, boot, started_at, settled, closed FROM boots")?
        .query_map([], |row| {
            let record = BootRecord {
                probe: ProbeId(row.get::<_, i64>(1)?.cast_unsigned()),
                boot: BootId(row.get::<_, i64>(2)?.cast_unsigned()),
                started_at: UnixNanos(row.get(3)?),
                settled: UnixNanos(row.get(4)?),
                closed: row.get(5)?,
            };
            Ok((row.get(0)?, record))
        })?
        .collect()
}

pub(super) fn add_gaps(db: &Connection, gaps: &[(ProbeId, Gap)]) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached("INSERT INTO gaps (probe, from_at, to_at, gap) VALUES (?, ?, ?, ?)")?;
    for (probe, gap) in gaps {
        let bytes = minicbor::to_vec(gap).map_err(super::super::refused)?;
        insert.execute(params![probe.0.cast_signed(), gap.from.0, gap.to.0, bytes])?;
    }
    Ok(())
}

/// The gaps in this file whose span touches `from..to`. A gap of no length counts where it begins.
pub(super) fn gaps(db: &Connection, probe: ProbeId, from: UnixNanos, to: UnixNanos) -> rusqlite::Result<Vec<Gap>> {
    db.prepare_cached(
        "SELECT gap FROM gaps WHERE probe = ?1 AND from_at < ?3 AND (to_at > ?2 OR from_at >= ?2) ORDER BY id",
    )?
    .query_map(params![probe.0.cast_signed(), from.0, to.0], |row| {
        minicbor::decode(row.get_ref(0)?.as_blob()?).map_err(damaged)
    })?
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_very_many_ranges_stays_readable() {
        let mut set = RangeSet::new();
        for n in 0..3 * sonde_protocol::range_set::MAX_RANGES as u64 {
            set.insert(Seq(2 * n)..=Seq(2 * n));
        }
        assert_eq!(decode_ranges(&minicbor::to_vec(&set).unwrap()).unwrap(), set);
    }

    #[test]
    fn garbage_instead_of_a_set_is_an_error() {
        for bytes in
            [&b""[..], &[0x81, 1], &[0x82, 2, 1], &[0x84, 1, 2, 2, 3], &[0x9b, 255, 255, 255, 255, 255, 255, 255, 254]]
        {
            decode_ranges(bytes).unwrap_err();
        }
    }
}
