//! Votes on IPv6 reachability in one SQLite file of their own: they are derived from results, are written every minute, and take
//! more room than the catalog, which ought to stay small.
//!
//! The sums of the last hours are kept in memory, and are changed when a vote is, under one lock with its commit; everything else
//! is summed up when it is asked for (`prefixes` always). Every method is done when its future is polled first.
//!
//! What is deleted is overwritten, and [`Reachability::erase`] leaves nothing in the log beside the file either.

mod prefixes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde_json::Value as Json;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::time::UnixNanos;

use self::prefixes::Reading;
use super::merge::Merger;
use super::{Schema, damaged};
use crate::StoreError;
use crate::reachability::{Cell, Cells, Cube, Figures, Hour, Outage, Reachability, Record, State};
use crate::results::Cursor;

const SCHEMA: Schema = Schema {
    what: "reachability",
    migrations: &[
        include_str!("reachability/1.sql"),
        include_str!("reachability/2_outages.sql"),
        include_str!("reachability/3_prefixes.sql"),
    ],
};

/// How many hours before the newest are summed up in memory: what pages show of the last week. Ten thousand probes take half a
/// megabyte an hour.
const IN_MEMORY: i64 = 8 * Hour::A_DAY;

/// How long it is waited for the thread that merges the log, when a probe is erased: so often, so long.
const LOG_WAITS: (u32, Duration) = (200, Duration::from_millis(50));

/// Votes in one SQLite file.
#[derive(Debug)]
pub struct SqliteReachability {
    reader: Mutex<Connection>,
    /// Ends before the writer.
    _merger: Merger,
    writer: Mutex<Connection>,
    /// Locked before the writer is, and for as long.
    sums: RwLock<Sums>,
    /// For errors.
    name: String,
}

/// The sums of hours in memory.
#[derive(Debug, Default)]
struct Sums {
    cube: Cube,
    /// The newest hour of which anything was asked or said.
    newest: Option<Hour>,
}

impl Sums {
    /// Is an hour among those that are kept here? Those that are newer than the newest may be: nothing was said of them. Before
    /// anything was said none is, or whoever asks would fill the memory with hours of nothing.
    fn keeps(&self, hour: Hour) -> bool {
        self.newest.is_some_and(|newest| hour > newest.plus(-IN_MEMORY) && hour <= newest.plus(IN_MEMORY))
    }

    /// Something is known of this hour now.
    fn went_on(&mut self, hour: Hour) {
        if self.newest.is_none_or(|newest| hour > newest) {
            self.newest = Some(hour);
            self.cube.retain(|other| other > hour.plus(-IN_MEMORY));
        }
    }
}

impl SqliteReachability {
    /// Opens the votes at `path`; makes the file if there is none. A newer version's is refused as unreadable.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let (merger, mut writer) = SCHEMA.open_for_long(path)?;
        let name = path.display().to_string();
        let failed = |error| SCHEMA.error("open", &name, error);
        // A vote says where its probe was: what is deleted must not stay in pages that are free.
        writer.query_row("PRAGMA secure_delete = ON", [], |_| Ok(())).map_err(failed)?;
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        if state(&transaction).optional().map_err(failed)?.is_none() {
            let epoch = getrandom::u64().map_err(|error| StoreError::backend("draw a number", error))?;
            let insert = "INSERT INTO state (one, epoch, revision) VALUES (1, ?, 0)";
            transaction.execute(insert, [epoch.cast_signed()]).map_err(failed)?;
        }
        let newest: Option<i64> =
            transaction.query_row("SELECT max(hour) FROM vote", [], |row| row.get(0)).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        let reader = Mutex::new(SCHEMA.open_to_read(path)?);
        let sums = RwLock::new(Sums { cube: Cube::default(), newest: newest.map(Hour) });
        Ok(Self { reader, _merger: merger, writer: Mutex::new(writer), sums, name })
    }

    fn read<T>(
        &self,
        step: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut connection = locked(&self.reader);
        let done = connection.transaction().and_then(|transaction| work(&transaction));
        done.map_err(|error| SCHEMA.error(step, &self.name, error))
    }

    fn write<T>(
        &self,
        step: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut connection = locked(&self.writer);
        let done = connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|transaction| {
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        });
        done.map_err(|error| SCHEMA.error(step, &self.name, error))
    }

    /// Shows the sums of these hours: those in memory, or else sums that are made for this.
    fn with_sums<T>(&self, from: Hour, to: Hour, look: impl Fn(&Cube) -> T) -> Result<T, StoreError> {
        {
            let sums = self.sums.read().unwrap_or_else(PoisonError::into_inner);
            if from.until(to).all(|hour| sums.cube.has(hour)) {
                return Ok(look(&sums.cube));
            }
        }
        let mut sums = self.sums.write().unwrap_or_else(PoisonError::into_inner);
        if !from.until(to).all(|hour| sums.keeps(hour)) {
            drop(sums);
            let mut cube = Cube::default();
            self.load(&mut cube, from, to)?;
            return Ok(look(&cube));
        }
        self.load(&mut sums.cube, from, to)?;
        Ok(look(&sums.cube))
    }

    /// Loads the hours that are not there yet.
    fn load(&self, cube: &mut Cube, from: Hour, to: Hour) -> Result<(), StoreError> {
        let missing: Vec<Hour> = from.until(to).filter(|hour| !cube.has(*hour)).collect();
        self.read("sum votes up", |t| {
            for hour in missing {
                cube.load(hour, &votes(t, hour)?);
            }
            Ok(())
        })
    }

    /// Merges the log beside the file and cuts it off: it still has what was written before.
    fn empty_log(&self) -> Result<(), StoreError> {
        // Who reads would hold the log back.
        let (_reader, writer) = (locked(&self.reader), locked(&self.writer));
        let (times, pause) = LOG_WAITS;
        for _ in 0..times {
            let is_busy: bool = writer
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
                .map_err(|error| SCHEMA.error("empty the log", &self.name, error))?;
            if !is_busy {
                return Ok(());
            }
            // SQLite itself does not wait for another thread that merges.
            thread::sleep(pause);
        }
        Err(StoreError::backend("empty the log", "another program is reading the file"))
    }

    fn change(&self, hour: Hour, changes: Vec<(ProbeId, Option<Record>)>) -> Result<(), StoreError> {
        let mut sums = self.sums.write().unwrap_or_else(PoisonError::into_inner);
        let changed = self.write("record votes", |t| {
            let mut changed = Vec::new();
            if hour < kept_from(t)? {
                return Ok(changed);
            }
            for (probe, after) in changes {
                let before = vote(t, hour, probe)?;
                if before == after {
                    continue;
                }
                let (number, id) = (hour.0, probe.0.cast_signed());
                match &after {
                    Some(record) => t
                        .prepare_cached("INSERT OR REPLACE INTO vote (hour, probe, record) VALUES (?, ?, ?)")?
                        .execute(params![number, id, record.pack(hour)])?,
                    None => t.prepare_cached("DELETE FROM vote WHERE hour = ? AND probe = ?")?.execute([number, id])?,
                };
                changed.push((probe, before, after));
            }
            if !changed.is_empty() {
                let newest = changed.iter().filter_map(|(_, _, after)| after.as_ref()).map(|after| after.said_at).max();
                count_up(t, newest)?;
                forget_day(t, hour)?;
            }
            Ok(changed)
        })?;
        for (probe, before, after) in changed {
            sums.cube.change(hour, probe, before.as_ref(), after.as_ref());
            if after.is_some() {
                sums.went_on(hour);
            }
        }
        Ok(())
    }
}

fn locked(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    // Work that panicked was rolled back when its transaction was dropped, so the connection is good.
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unpacked(hour: Hour, bytes: &[u8]) -> rusqlite::Result<Record> {
    Record::unpack(hour, bytes).ok_or_else(|| damaged(format!("a vote of hour {} in another form", hour.0)))
}

fn vote(db: &Connection, hour: Hour, probe: ProbeId) -> rusqlite::Result<Option<Record>> {
    let found: Option<Vec<u8>> = db
        .prepare_cached("SELECT record FROM vote WHERE hour = ? AND probe = ?")?
        .query_row([hour.0, probe.0.cast_signed()], |row| row.get(0))
        .optional()?;
    found.map(|bytes| unpacked(hour, &bytes)).transpose()
}

fn votes(db: &Connection, hour: Hour) -> rusqlite::Result<Vec<(ProbeId, Record)>> {
    db.prepare_cached("SELECT probe, record FROM vote WHERE hour = ? ORDER BY probe")?
        .query_map([hour.0], |row| {
            let record = row.get_ref(1)?.as_blob().map_err(damaged)?;
            Ok((ProbeId(row.get::<_, i64>(0)?.cast_unsigned()), unpacked(hour, record)?))
        })?
        .collect()
}

fn state(db: &Connection) -> rusqlite::Result<State> {
    db.prepare_cached("SELECT epoch, revision, newest FROM state")?.query_row([], |row| {
        Ok(State {
            epoch: row.get::<_, i64>(0)?.cast_unsigned(),
            revision: row.get::<_, i64>(1)?.cast_unsigned(),
            newest: row.get::<_, Option<i64>>(2)?.map(UnixNanos),
        })
    })
}

/// Something has changed; `newest` is the newest that was said.
fn count_up(db: &Connection, newest: Option<UnixNanos>) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE state SET revision = revision + 1, newest = nullif(max(ifnull(newest, ?2), ifnull(?1, ?2)), ?2)",
    )?
    .execute(params![newest.map(|newest| newest.0), i64::MIN])
    .map(drop)
}

/// The first hour whose votes are kept.
fn kept_from(db: &Connection) -> rusqlite::Result<Hour> {
    db.prepare_cached("SELECT kept_from FROM state")?.query_row([], |row| row.get(0).map(Hour))
}

/// The sums of the hour's day are not those of its votes any more.
fn forget_day(db: &Connection, hour: Hour) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM summed_up WHERE day = ?")?.execute([hour.day().0]).map(drop)
}

/// What a cell is called in the file.
fn name(cell: Cell) -> String {
    match cell {
        Cell::World => String::new(),
        Cell::Country(country) => country.to_string(),
        Cell::Network(asn) => asn.0.to_string(),
        Cell::Prefix(prefix) => prefix.to_string(),
    }
}

fn is_summed_up(db: &Connection, day: Hour) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT EXISTS (SELECT 1 FROM summed_up WHERE day = ?)")?.query_row([day.0], |row| row.get(0))
}

fn day_sum(db: &Connection, cell: &str, day: Hour) -> rusqlite::Result<Option<Figures>> {
    let found: Option<Vec<u8>> = db
        .prepare_cached("SELECT figures FROM day_sum WHERE cell = ? AND day = ?")?
        .query_row(params![cell, day.0], |row| row.get(0))
        .optional()?;
    found.map(|bytes| minicbor::decode(&bytes).map_err(|error| damaged(error.to_string()))).transpose()
}

#[async_trait]
impl Reachability for SqliteReachability {
    async fn put(&self, hour: Hour, records: &[(ProbeId, Record)]) -> Result<(), StoreError> {
        self.change(hour, records.iter().map(|(probe, record)| (*probe, Some(*record))).collect())
    }

    async fn votes(&self, hour: Hour) -> Result<Vec<(ProbeId, Record)>, StoreError> {
        self.read("find votes", |t| votes(t, hour))
    }

    async fn votes_of(&self, probe: ProbeId, from: Hour, to: Hour) -> Result<Vec<(Hour, Record)>, StoreError> {
        self.read("find a probe's votes", |t| {
            let all = from.until(to).map(|hour| Ok(vote(t, hour, probe)?.map(|record| (hour, record))));
            all.filter_map(Result::transpose).collect()
        })
    }

    async fn newest(&self, from: Hour, to: Hour) -> Result<Vec<(ProbeId, Hour, Record)>, StoreError> {
        self.read("find the newest votes", |t| {
            let mut newest = BTreeMap::new();
            for hour in from.until(to) {
                newest.extend(votes(t, hour)?.into_iter().map(|(probe, record)| (probe, (hour, record))));
            }
            Ok(newest.into_iter().map(|(probe, (hour, record))| (probe, hour, record)).collect())
        })
    }

    async fn sums(&self, cells: Cells, from: Hour, to: Hour) -> Result<Vec<(Cell, Figures)>, StoreError> {
        if let Some((within, length)) = cells.prefixes() {
            return Reading::new(self, within).sums(length, from, to);
        }
        self.with_sums(from, to, |cube| cube.figures(cells, from, to))
    }

    async fn hours(&self, cell: Cell, from: Hour, to: Hour) -> Result<Vec<(Hour, Figures)>, StoreError> {
        if let Cell::Prefix(prefix) = cell {
            return Reading::new(self, prefix).series(from, to, 1);
        }
        let of_hour = |cube: &Cube, hour: Hour| {
            let figures = cube.figures(Cells::One(cell), hour, hour.plus(1));
            figures.into_iter().next().map(|(_, figures)| (hour, figures))
        };
        self.with_sums(from, to, |cube| from.until(to).filter_map(|hour| of_hour(cube, hour)).collect())
    }

    async fn days(&self, cell: Cell, from: Hour, to: Hour) -> Result<Vec<(Hour, Figures)>, StoreError> {
        let first = if from.day() == from { from } else { from.day().plus(Hour::A_DAY) };
        if let Cell::Prefix(prefix) = cell {
            return Reading::new(self, prefix).series(first, to, Hour::A_DAY);
        }
        let (mut found, cell_name) = (Vec::new(), name(cell));
        for day in first.until(to).step_by(Hour::A_DAY.unsigned_abs() as usize) {
            let known = self.read("find a day's sums", |t| {
                let is_there = is_summed_up(t, day)?;
                Ok((is_there, day_sum(t, &cell_name, day)?))
            })?;
            let figures = match known {
                (true, figures) => figures,
                (false, _) => {
                    let sums = self.sums(Cells::One(cell), day, day.plus(Hour::A_DAY)).await?;
                    sums.into_iter().next().map(|(_, figures)| figures)
                }
            };
            found.extend(figures.map(|figures| (day, figures)));
        }
        Ok(found)
    }

    async fn sum_up_a_day(&self, before: Hour) -> Result<bool, StoreError> {
        let day = self.read("find a day to sum up", |t| {
            // From one day to the next, so that nobody looks at every vote.
            let mut after = i64::MIN;
            loop {
                let next: Option<i64> = t
                    .prepare_cached("SELECT min(hour) FROM vote WHERE hour >= ?")?
                    .query_row([after], |row| row.get(0))?;
                let Some(day) = next.map(|hour| Hour(hour).day()) else { return Ok(None) };
                let end = day.plus(Hour::A_DAY);
                if end > before {
                    return Ok(None);
                }
                if !is_summed_up(t, day)? {
                    return Ok(Some(day));
                }
                after = end.0;
            }
        })?;
        let Some(day) = day else { return Ok(false) };
        // Held until the sums are written, so that no vote comes in between.
        let sums = self.sums.write().unwrap_or_else(PoisonError::into_inner);
        let end = day.plus(Hour::A_DAY);
        let mut cube = Cube::default();
        self.load(&mut cube, day, end)?;
        self.write("sum a day up", |t| {
            t.prepare_cached("INSERT INTO summed_up (day) VALUES (?)")?.execute([day.0])?;
            let mut insert = t.prepare_cached("INSERT INTO day_sum (cell, day, figures) VALUES (?, ?, ?)")?;
            for cells in [Cells::One(Cell::World), Cells::Countries, Cells::Networks] {
                for (cell, figures) in cube.figures(cells, day, end) {
                    let bytes = minicbor::to_vec(figures).map_err(|error| super::refused(error.to_string()))?;
                    insert.execute(params![name(cell), day.0, bytes])?;
                }
            }
            Ok(())
        })?;
        drop(sums);
        Ok(true)
    }

    async fn state(&self) -> Result<State, StoreError> {
        self.read("look how votes stand", |t| state(t))
    }

    async fn progress(&self) -> Result<Option<Cursor>, StoreError> {
        self.read("look how far results are read", |t| {
            let text: Option<String> = t.query_row("SELECT progress FROM state", [], |row| row.get(0))?;
            text.map(|text| serde_json::from_str(&text).map(Cursor).map_err(damaged)).transpose()
        })
    }

    async fn set_progress(&self, cursor: &Cursor) -> Result<(), StoreError> {
        let cursor = Json::from(cursor.0.as_slice()).to_string();
        self.write("record how far results are read", |t| {
            t.prepare_cached("UPDATE state SET progress = ?")?.execute([&cursor]).map(drop)
        })
    }

    async fn outages(&self, hour: Hour) -> Result<Option<Vec<Outage>>, StoreError> {
        self.read("look which references were out", |t| {
            let found: Option<Vec<u8>> = t
                .prepare_cached("SELECT out FROM outage WHERE hour = ?")?
                .query_row([hour.0], |row| row.get(0))
                .optional()?;
            found.map(|bytes| minicbor::decode(&bytes).map_err(|error| damaged(error.to_string()))).transpose()
        })
    }

    async fn set_outages(&self, hour: Hour, out: &[Outage]) -> Result<(), StoreError> {
        self.write("record which references were out", |t| {
            let bytes = minicbor::to_vec(out).map_err(|error| super::refused(error.to_string()))?;
            t.prepare_cached("INSERT OR REPLACE INTO outage (hour, out) VALUES (?, ?)")?
                .execute(params![hour.0, bytes])
                .map(drop)
        })
    }

    async fn erase(&self, probe: ProbeId) -> Result<(), StoreError> {
        let id = probe.0.cast_signed();
        let mut sums = self.sums.write().unwrap_or_else(PoisonError::into_inner);
        // Records are not looked at, so that what cannot be read goes as well.
        let hours: BTreeSet<Hour> = self.write("erase a probe's votes", |t| {
            let hours: BTreeSet<Hour> = t
                .prepare_cached("SELECT hour FROM vote WHERE probe = ?")?
                .query_map([id], |row| row.get(0).map(Hour))?
                .collect::<rusqlite::Result<_>>()?;
            for day in hours.iter().map(|hour| hour.day()).collect::<BTreeSet<_>>() {
                forget_day(t, day)?;
            }
            if t.prepare_cached("DELETE FROM vote WHERE probe = ?")?.execute([id])? > 0 {
                count_up(t, None)?;
            }
            Ok(hours)
        })?;
        // They are summed up anew when they are asked for.
        sums.cube.retain(|hour| !hours.contains(&hour));
        drop(sums);
        self.empty_log()
    }

    async fn retain(&self, before: Hour) -> Result<(), StoreError> {
        let before = before.day();
        self.write("forget what is too old", |t| {
            t.prepare_cached("DELETE FROM outage WHERE hour < ?")?.execute([before.0])?;
            // Nothing is written where nothing changes: this is asked every minute.
            t.prepare_cached("UPDATE state SET kept_from = ?1 WHERE kept_from < ?1")?.execute([before.0]).map(drop)
        })?;
        // A day at a time, so that nobody waits for many, and no log of them grows.
        loop {
            let mut sums = self.sums.write().unwrap_or_else(PoisonError::into_inner);
            let is_gone = self.write("forget old votes", |t| {
                let first: Option<i64> =
                    t.prepare_cached("SELECT min(hour) FROM vote")?.query_row([], |row| row.get(0))?;
                let Some(first) = first.map(Hour).filter(|first| *first < before) else { return Ok(true) };
                let end = first.day().plus(Hour::A_DAY);
                t.prepare_cached("DELETE FROM vote WHERE hour < ?")?.execute([end.0])?;
                count_up(t, None)?;
                Ok(false)
            })?;
            sums.cube.retain(|hour| hour >= before);
            if is_gone {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
