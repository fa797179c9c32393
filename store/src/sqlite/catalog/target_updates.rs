//! Targets whose names are looked up again.

use std::collections::BTreeSet;

use async_trait::async_trait;
use rusqlite::{Connection, params};
use serde_json::Value as Json;
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::time::UnixNanos;

use super::super::filter::address_key;
use super::{SqliteCatalog, measurements, orders};
use crate::StoreError;
use crate::catalog::{Measurement, TargetUpdate, TargetUpdates};

fn due(db: &Connection, now: UnixNanos, limit: u64) -> rusqlite::Result<Vec<Measurement>> {
    let ids: Vec<i64> = db
        .prepare_cached(
            "SELECT id FROM measurement INDEXED BY measurement_target_update
             WHERE target_update_at IS NOT NULL AND stopped_at IS NULL AND target_update_at <= ?1
                AND (stop IS NULL OR stop > ?1) AND participants > departed
             ORDER BY target_update_at LIMIT ?2",
        )?
        .query_map(params![now.0, i64::try_from(limit).unwrap_or(i64::MAX)], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let found = ids.into_iter().map(|id| measurements::by_id(db, MeasurementId(id.cast_unsigned())));
    Ok(found.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().flatten().collect())
}

fn update(
    db: &Connection,
    id: MeasurementId,
    update: &TargetUpdate,
    again: UnixNanos,
    now: UnixNanos,
) -> rusqlite::Result<Vec<ProbeId>> {
    let Some(measurement) = measurements::by_id(db, id)? else { return Ok(Vec::new()) };
    let number = id.0.cast_signed();
    let error = match update {
        TargetUpdate::Found(..) => None,
        TargetUpdate::Stays(why) => Some(why),
    };
    db.prepare_cached("UPDATE measurement SET target_update_at = ?, target_update_error = ? WHERE id = ?")?
        .execute(params![again.0, error, number])?;
    let TargetUpdate::Found(addresses, origin) = update else { return Ok(Vec::new()) };
    // Names that have several addresses give them in another order each time.
    let is_same = BTreeSet::from_iter(addresses) == BTreeSet::from_iter(&measurement.asked.resolved);
    if is_same || measurement.stopped_at.is_some() {
        return Ok(Vec::new());
    }
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    db.prepare_cached(
        "UPDATE measurement SET resolved = ?, address_key = ?, target_asn = ?, target_prefix = ? WHERE id = ?",
    )?
    .execute(params![
        Json::from(texts).to_string(),
        addresses.first().map_or_else(String::new, |&first| address_key(first)),
        origin.as_ref().map(|origin| origin.asn.0),
        origin.as_ref().and_then(|origin| origin.prefix.as_deref()),
        number
    ])?;
    // An order is told from an earlier one by its time.
    db.prepare_cached("UPDATE participant SET since = ? WHERE measurement = ? AND left_at IS NULL")?
        .execute([now.0, number])?;
    let present = measurements::participants(db, id)?.into_iter().filter(|part| part.left_at.is_none());
    let probes: Vec<ProbeId> = present.map(|part| part.probe).collect();
    orders::changed(db, probes.iter().copied())?;
    Ok(probes)
}

#[async_trait]
impl TargetUpdates for SqliteCatalog {
    async fn targets_due(&self, now: UnixNanos, limit: u64) -> Result<Vec<Measurement>, StoreError> {
        self.read("list targets to look up", |t| due(t, now, limit))
    }

    async fn update_target(
        &self,
        id: MeasurementId,
        update: &TargetUpdate,
        again: UnixNanos,
        now: UnixNanos,
    ) -> Result<Vec<ProbeId>, StoreError> {
        self.write("update a target", |t| self::update(t, id, update, again, now))
    }
}
