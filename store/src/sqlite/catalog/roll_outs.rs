//! What becomes of releases on the boards that fetched them.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::time::UnixNanos;

use super::SqliteCatalog;
use crate::StoreError;
use crate::catalog::{Came, Fetched, ReleaseStop, RollOut, RollOutCounts, RollOuts};

/// What became of it, as it is stored.
const fn number(came: Came) -> i64 {
    match came {
        Came::Well => 0,
        Came::Badly => 1,
        Came::NotInstalled => 2,
    }
}

fn came(number: i64) -> Option<Came> {
    [Came::Well, Came::Badly, Came::NotInstalled].into_iter().find(|known| self::number(*known) == number)
}

fn stop(db: &Connection, release: u64) -> rusqlite::Result<Option<ReleaseStop>> {
    db.prepare_cached("SELECT stopped_at, why, resumed_at FROM release_stop WHERE release = ?")?
        .query_row([release.cast_signed()], |row| {
            Ok(ReleaseStop {
                stopped_at: UnixNanos(row.get(0)?),
                why: row.get(1)?,
                resumed_at: row.get::<_, Option<i64>>(2)?.map(UnixNanos),
            })
        })
        .optional()
}

fn one(db: &Connection, release: u64, lost_before: UnixNanos) -> rusqlite::Result<RollOut> {
    let stop = stop(db, release)?;
    let since = stop.as_ref().and_then(|stop| stop.resumed_at).unwrap_or(UnixNanos(i64::MIN));
    let counts = db
        .prepare_cached(
            "SELECT coalesce(sum(came = 0), 0), coalesce(sum(came = 1), 0),
                    coalesce(sum(came IS NULL AND fetched_at < ?3), 0), coalesce(sum(came IS NULL AND fetched_at >= ?3), 0)
             FROM release_fetch WHERE release = ?1 AND fetched_at >= ?2",
        )?
        .query_row(params![release.cast_signed(), since.0, lost_before.0], |row| {
            let count = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
            Ok(RollOutCounts { well: count(0)?, badly: count(1)?, lost: count(2)?, out: count(3)? })
        })?;
    Ok(RollOut { release, counts, stop })
}

#[async_trait]
impl RollOuts for SqliteCatalog {
    async fn release_fetched(&self, release: u64, probe: ProbeId, at: UnixNanos) -> Result<(), StoreError> {
        self.write("record that a board has fetched a release", |t| {
            t.prepare_cached(
                "INSERT INTO release_fetch (release, probe, fetched_at) SELECT ?1, id, ?3 FROM probe WHERE id = ?2
                 ON CONFLICT (release, probe) DO UPDATE SET fetched_at = ?3, came = NULL WHERE came IS NOT 0",
            )?
            .execute(params![release.cast_signed(), probe.0.cast_signed(), at.0])
            .map(drop)
        })
    }

    async fn releases_of(&self, probe: ProbeId) -> Result<Vec<Fetched>, StoreError> {
        self.read("find what a board has fetched", |t| {
            let mut statement = t.prepare_cached(
                "SELECT release, fetched_at, came FROM release_fetch WHERE probe = ? ORDER BY release DESC",
            )?;
            let rows = statement.query_map([probe.0.cast_signed()], |row| {
                Ok(Fetched {
                    release: row.get::<_, i64>(0)?.cast_unsigned(),
                    at: UnixNanos(row.get(1)?),
                    came: row.get::<_, Option<i64>>(2)?.and_then(came),
                })
            })?;
            rows.collect()
        })
    }

    async fn release_came(&self, release: u64, probe: ProbeId, came: Came) -> Result<(), StoreError> {
        self.write("record what became of a release on a board", |t| {
            t.prepare_cached("UPDATE release_fetch SET came = ?3 WHERE release = ?1 AND probe = ?2")?
                .execute(params![release.cast_signed(), probe.0.cast_signed(), number(came)])
                .map(drop)
        })
    }

    async fn roll_outs(&self, lost_before: UnixNanos, limit: u64) -> Result<Vec<RollOut>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read("find how releases do", |t| {
            let mut statement = t.prepare_cached(
                "SELECT release FROM release_fetch UNION SELECT release FROM release_stop ORDER BY release DESC LIMIT ?",
            )?;
            let releases: Vec<i64> =
                statement.query_map([limit], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            releases.into_iter().map(|release| one(t, release.cast_unsigned(), lost_before)).collect()
        })
    }

    async fn roll_out(&self, release: u64, lost_before: UnixNanos) -> Result<RollOut, StoreError> {
        self.read("find how a release does", |t| one(t, release, lost_before))
    }

    async fn stop_release(&self, release: u64, why: &str, at: UnixNanos) -> Result<(), StoreError> {
        self.write("stop a release", |t| {
            t.prepare_cached(
                "INSERT INTO release_stop (release, stopped_at, why) VALUES (?1, ?2, ?3)
                 ON CONFLICT (release) DO UPDATE SET stopped_at = ?2, why = ?3, resumed_at = NULL",
            )?
            .execute(params![release.cast_signed(), at.0, why])
            .map(drop)
        })
    }

    async fn resume_release(&self, release: u64, at: UnixNanos) -> Result<bool, StoreError> {
        self.write("go on with a release", |t| {
            let changed = t
                .prepare_cached("UPDATE release_stop SET resumed_at = ?2 WHERE release = ?1 AND resumed_at IS NULL")?
                .execute(params![release.cast_signed(), at.0])?;
            Ok(changed > 0)
        })
    }
}
