//! What is wrong with probes.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use sonde_protocol::condition::Condition;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::message::{HostState, from_cbor, to_cbor};
use sonde_protocol::time::UnixNanos;

use super::SqliteCatalog;
use crate::StoreError;
use crate::catalog::{Healths, ProbeHealth, ToldCondition, ToldHost, merge_health};

fn known(db: &Connection, probe: ProbeId) -> rusqlite::Result<ProbeHealth> {
    let id = probe.0.cast_signed();
    let (told_at, host, host_at) = db
        .prepare_cached("SELECT health_at, host_state, host_state_at FROM probe WHERE id = ?")?
        .query_row([id], |row| {
            Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<Vec<u8>>>(1)?, row.get::<_, Option<i64>>(2)?))
        })
        .optional()?
        .unwrap_or_default();
    // One that cannot be read is as good as none: the probe tells again within the hour.
    let host = host
        .zip(host_at)
        .and_then(|(bytes, at)| Some(ToldHost { told_at: UnixNanos(at), state: from_cbor(&bytes).ok()?? }));
    let conditions = db
        .prepare_cached(
            "SELECT word, since, ended, detail, cut_off FROM probe_condition WHERE probe = ?
             ORDER BY ended IS NOT NULL, ended DESC, since DESC, word",
        )?
        .query_map([id], |row| {
            Ok(ToldCondition {
                word: row.get(0)?,
                since: UnixNanos(row.get(1)?),
                ended: row.get::<_, Option<i64>>(2)?.map(UnixNanos),
                detail: row.get(3)?,
                cut_off: row.get(4)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(ProbeHealth { told_at: told_at.map(UnixNanos), conditions, host })
}

fn record(db: &Connection, probe: ProbeId, told: &[Condition], now: UnixNanos) -> rusqlite::Result<()> {
    let id = probe.0.cast_signed();
    if db.prepare_cached("UPDATE probe SET health_at = ? WHERE id = ?")?.execute(params![now.0, id])? == 0 {
        return Ok(());
    }
    let before = known(db, probe)?.conditions;
    let after = merge_health(&before, told, now);
    if before == after {
        return Ok(());
    }
    db.prepare_cached("DELETE FROM probe_condition WHERE probe = ?")?.execute([id])?;
    let mut insert = db.prepare_cached(
        "INSERT INTO probe_condition (probe, word, since, ended, detail, cut_off) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )?;
    for one in after {
        let ended = one.ended.map(|ended| ended.0);
        insert.execute(params![id, one.word, one.since.0, ended, one.detail, one.cut_off])?;
    }
    Ok(())
}

#[async_trait]
impl Healths for SqliteCatalog {
    async fn record_health(&self, probe: ProbeId, told: &[Condition], now: UnixNanos) -> Result<(), StoreError> {
        self.write("record what is wrong with a probe", |t| record(t, probe, told, now))
    }

    async fn record_host(&self, probe: ProbeId, state: &HostState, now: UnixNanos) -> Result<(), StoreError> {
        let bytes = to_cbor(state);
        self.write("record what a probe's host allows", |t| {
            t.prepare_cached("UPDATE probe SET host_state = ?, host_state_at = ? WHERE id = ?")?
                .execute(params![bytes, now.0, probe.0.cast_signed()])
                .map(drop)
        })
    }

    async fn health(&self, probes: &[ProbeId]) -> Result<Vec<ProbeHealth>, StoreError> {
        self.read("find what is wrong with probes", |t| probes.iter().map(|&probe| known(t, probe)).collect())
    }
}
