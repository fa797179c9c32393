//! Orders: what a probe is to do now, their revision, and what changes them.

use std::collections::BTreeSet;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sonde_protocol::bounded::{Bytes, List};
use sonde_protocol::ids::{MeasurementId, ProbeId, Revision};
use sonde_protocol::net::Ip;
use sonde_protocol::order::{Order, When};
use sonde_protocol::spec::{Kind, MAX_DEFAULT_SPREAD, Target};
use sonde_protocol::time::UnixNanos;

use super::super::damaged;
use super::super::filter::numbers;
use super::builtins::takes_part;
use super::{SqliteCatalog, measurements};
use crate::StoreError;
use crate::catalog::{ONEOFF_EXPIRY_SECS, Orders};

/// Records that the orders of these probes changed.
pub(super) fn changed(db: &Connection, probes: impl IntoIterator<Item = ProbeId>) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE probe SET order_revision = order_revision + 1 WHERE id IN (SELECT value FROM json_each(?))",
    )?
    .execute([numbers(probes.into_iter().map(|probe| probe.0))])?;
    Ok(())
}

/// When nothing of a measurement is to be done any more; a one-off without an end has one nevertheless.
fn end(is_oneoff: bool, start: UnixNanos, stop: Option<UnixNanos>) -> Option<UnixNanos> {
    let expires = UnixNanos(start.0.saturating_add(UnixNanos::from_secs(ONEOFF_EXPIRY_SECS).0));
    stop.or(is_oneoff.then_some(expires))
}

/// What a probe was chosen for, and what all do. Bound: the probe, and now.
const ORDERS: &str = concat!(
    "SELECT measurement.id AS id, kind, spec, af, target, resolved, resolve_on_probe, is_oneoff, interval, spread, start,
        start_given, stop, since
     FROM participant JOIN measurement ON measurement.id = participant.measurement
     WHERE participant.probe = ?1 AND participant.settled = 0 AND left_at IS NULL AND stopped_at IS NULL
        AND (stop IS NULL OR stop > ?2)
     UNION ALL
     SELECT measurement.id, kind, spec, af, target, resolved, resolve_on_probe, is_oneoff, interval, spread, start,
        start_given, stop, max(since, probe.created_at)
     FROM builtin JOIN measurement ON measurement.id = builtin.measurement JOIN probe ON probe.id = ?1
     WHERE stopped_at IS NULL AND ",
    takes_part!(),
    " ORDER BY id"
);

pub(super) fn of_probe(db: &Connection, probe: ProbeId, now: UnixNanos) -> rusqlite::Result<(Revision, Vec<Order>)> {
    let revision = db
        .prepare_cached("SELECT order_revision FROM probe WHERE id = ?")?
        .query_row([probe.0.cast_signed()], |row| row.get::<_, i64>(0))
        .optional()?;
    // Nobody has revision 0: the probe is unknown.
    let Some(revision) = revision else { return Ok((Revision(0), Vec::new())) };
    let mut statement = db.prepare_cached(ORDERS)?;
    let mut rows = statement.query(params![probe.0.cast_signed(), now.0])?;
    let mut orders = Vec::new();
    while let Some(row) = rows.next()? {
        orders.extend(read(row, now)?);
    }
    Ok((Revision(revision.cast_unsigned()), orders))
}

/// The order in a row, unless it is past its end.
fn read(row: &Row<'_>, now: UnixNanos) -> rusqlite::Result<Option<Order>> {
    let kind: u8 = row.get("kind")?;
    let start = UnixNanos(row.get("start")?);
    let stop = row.get::<_, Option<i64>>("stop")?.map(UnixNanos);
    let is_oneoff: bool = row.get("is_oneoff")?;
    let end = end(is_oneoff, start, stop);
    if end.is_some_and(|end| end <= now) {
        return Ok(None);
    }
    let when = match (is_oneoff, end) {
        (true, Some(expires)) => {
            let start_given: bool = row.get("start_given")?;
            When::Once { start: start_given.then_some(start), expires }
        }
        _ => {
            let named: Option<u32> = row.get("interval")?;
            let interval = named.or_else(|| Kind::from_number(kind).map(Kind::default_interval)).unwrap_or(1).max(1);
            let spread: Option<u32> = row.get("spread")?;
            When::Periodic { start, interval, spread: spread.unwrap_or((interval / 2).min(MAX_DEFAULT_SPREAD)), stop }
        }
    };
    let resolve_on_probe: bool = row.get("resolve_on_probe")?;
    let resolved: Vec<std::net::IpAddr> = match resolve_on_probe {
        true => Vec::new(),
        false => serde_json::from_str(&row.get::<_, String>("resolved")?).map_err(damaged)?,
    };
    let target = match row.get::<_, Option<String>>("target")? {
        Some(target) => Some(Target::new(target).ok_or_else(|| damaged("a target that is too long"))?),
        None => None,
    };
    Ok(Some(Order {
        measurement: MeasurementId(row.get::<_, i64>("id")?.cast_unsigned()),
        kind,
        spec: Bytes::new(row.get::<_, Vec<u8>>("spec")?).ok_or_else(|| damaged("a definition that is too long"))?,
        af: measurements::family(row.get("af")?)?,
        target,
        addresses: List::cut(resolved.into_iter().map(Ip)),
        resolve_on_probe,
        when,
        ordered_at: UnixNanos(row.get("since")?),
    }))
}

fn stop(db: &Connection, id: MeasurementId, forced: bool, now: UnixNanos) -> rusqlite::Result<Vec<ProbeId>> {
    let Some(measurement) = measurements::by_id(db, id)? else { return Ok(Vec::new()) };
    if measurement.status(now).0.is_over() {
        return Ok(Vec::new());
    }
    db.prepare_cached("UPDATE measurement SET stopped_at = ?, forced = ? WHERE id = ?")?.execute(params![
        now.0,
        forced,
        id.0.cast_signed()
    ])?;
    let asked = &measurement.asked;
    if end(asked.is_oneoff, asked.start, asked.stop).is_some_and(|end| end <= now) {
        return Ok(Vec::new());
    }
    let probes: Vec<ProbeId> = measurements::participants(db, id)?
        .into_iter()
        .filter(|participant| !participant.settled && participant.left_at.is_none())
        .map(|participant| participant.probe)
        .collect();
    changed(db, probes.iter().copied())?;
    Ok(probes)
}

pub(super) fn settle(db: &Connection, pairs: &[(MeasurementId, ProbeId)]) -> rusqlite::Result<Vec<ProbeId>> {
    let mut probes = BTreeSet::new();
    for &(measurement, probe) in pairs {
        let settled = db
            .prepare_cached(
                "UPDATE participant SET settled = 1 WHERE measurement = ?1 AND probe = ?2 AND settled = 0
                    AND EXISTS (SELECT 1 FROM measurement WHERE id = ?1 AND is_oneoff)",
            )?
            .execute([measurement.0.cast_signed(), probe.0.cast_signed()])?;
        if settled == 0 {
            continue;
        }
        let had_order: bool = db
            .prepare_cached("UPDATE measurement SET settled = settled + 1 WHERE id = ? RETURNING stopped_at IS NULL")?
            .query_row([measurement.0.cast_signed()], |row| row.get(0))?;
        if had_order {
            probes.insert(probe);
        }
    }
    changed(db, probes.iter().copied())?;
    Ok(probes.into_iter().collect())
}

#[async_trait]
impl Orders for SqliteCatalog {
    async fn stop_measurement(&self, id: MeasurementId, now: UnixNanos) -> Result<Vec<ProbeId>, StoreError> {
        self.write("stop a measurement", |t| stop(t, id, false, now))
    }

    async fn force_stop_measurement(&self, id: MeasurementId, now: UnixNanos) -> Result<Vec<ProbeId>, StoreError> {
        self.write("force a measurement to stop", |t| stop(t, id, true, now))
    }

    async fn orders(&self, probe: ProbeId, now: UnixNanos) -> Result<(Revision, Vec<Order>), StoreError> {
        self.read("list orders", |t| of_probe(t, probe, now))
    }

    async fn settle_oneoffs(&self, pairs: &[(MeasurementId, ProbeId)]) -> Result<Vec<ProbeId>, StoreError> {
        self.write("settle one-offs", |t| settle(t, pairs))
    }
}
