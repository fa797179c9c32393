//! Measurements as they were asked for, who takes part in them, and lists of them.

use std::collections::BTreeSet;

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value as Json;
use sonde_protocol::bounded::Bytes;
use sonde_protocol::ids::{AccountId, MeasurementId, ProbeId};
use sonde_protocol::net::Family;
use sonde_protocol::spec::{Kind, Spec, Target};
use sonde_protocol::time::UnixNanos;

use super::super::filter::{Filter, numbers};
use super::super::{damaged, refused};
use super::{SqliteCatalog, orders};
use crate::StoreError;
use crate::catalog::{
    Measurement, MeasurementEdit, MeasurementFilter, Measurements, NewMeasurement, ONEOFF_ONGOING_BASE_SECS, Page,
    Participant, Slice, Status,
};

const COLUMNS: &str = "id, group_id, created_at, owner, kind, spec, af, target, resolved, resolve_on_probe, is_oneoff,
    interval, spread, start, start_given, stop, description, is_public, tags, probes_requested, probe_sources,
    stopped_at, participants, settled";

fn read(row: &Row<'_>) -> rusqlite::Result<Measurement> {
    let number: u8 = row.get("kind")?;
    let kind = Kind::from_number(number).ok_or_else(|| damaged(format!("unknown kind of measurement {number}")))?;
    Ok(Measurement {
        id: MeasurementId(row.get::<_, i64>("id")?.cast_unsigned()),
        group: MeasurementId(row.get::<_, i64>("group_id")?.cast_unsigned()),
        created_at: UnixNanos(row.get("created_at")?),
        asked: NewMeasurement {
            owner: AccountId(row.get::<_, i64>("owner")?.cast_unsigned()),
            spec: Spec::from_cbor(kind, &row.get::<_, Vec<u8>>("spec")?).map_err(damaged)?,
            af: family(row.get("af")?)?,
            target: row.get("target")?,
            resolved: serde_json::from_str(&row.get::<_, String>("resolved")?).map_err(damaged)?,
            resolve_on_probe: row.get("resolve_on_probe")?,
            is_oneoff: row.get("is_oneoff")?,
            interval: row.get("interval")?,
            spread: row.get("spread")?,
            start: UnixNanos(row.get("start")?),
            start_given: row.get("start_given")?,
            stop: row.get::<_, Option<i64>>("stop")?.map(UnixNanos),
            description: row.get("description")?,
            is_public: row.get("is_public")?,
            tags: serde_json::from_str(&row.get::<_, String>("tags")?).map_err(damaged)?,
            probes_requested: row.get("probes_requested")?,
            probe_sources: row.get("probe_sources")?,
            probes: Vec::new(),
        },
        stopped_at: row.get::<_, Option<i64>>("stopped_at")?.map(UnixNanos),
        participants: row.get("participants")?,
        settled: row.get("settled")?,
    })
}

pub(super) fn family(number: u8) -> rusqlite::Result<Family> {
    Family::from_number(u64::from(number)).ok_or_else(|| damaged("an address family that is neither 4 nor 6"))
}

/// What could be stored but never be read or ordered again is refused.
fn check(new: &NewMeasurement) -> rusqlite::Result<()> {
    if let Some(problem) = new.spec.problems().first() {
        return Err(refused(format!("{}: {}", problem.field, problem.detail)));
    }
    if Bytes::<4096>::new(new.spec.to_cbor()).is_none() {
        return Err(refused("the definition is too long for an order"));
    }
    match &new.target {
        Some(target) if Target::new(target.as_str()).is_none() => Err(refused("the target is too long")),
        _ => Ok(()),
    }
}

pub(super) fn add(db: &Connection, new: &[NewMeasurement], now: UnixNanos) -> rusqlite::Result<Vec<MeasurementId>> {
    let mut ids: Vec<MeasurementId> = Vec::new();
    let mut chosen = BTreeSet::new();
    for one in new {
        check(one)?;
        let probes: BTreeSet<ProbeId> = one.probes.iter().copied().collect();
        let id = insert(db, one, now, probes.len())?;
        let group = ids.first().copied().unwrap_or(id);
        db.prepare_cached("UPDATE measurement SET group_id = ? WHERE id = ?")?
            .execute([group.0.cast_signed(), id.0.cast_signed()])?;
        let mut join = db.prepare_cached("INSERT INTO participant (measurement, probe, since) VALUES (?, ?, ?)")?;
        for probe in &probes {
            join.execute(params![id.0.cast_signed(), probe.0.cast_signed(), now.0])?;
        }
        ids.push(id);
        chosen.extend(probes);
    }
    orders::changed(db, chosen)?;
    Ok(ids)
}

fn insert(
    db: &Connection,
    new: &NewMeasurement,
    now: UnixNanos,
    participants: usize,
) -> rusqlite::Result<MeasurementId> {
    let addresses: Vec<String> = new.resolved.iter().map(ToString::to_string).collect();
    let id: i64 = db
        .prepare_cached(
            "INSERT INTO measurement (group_id, created_at, owner, kind, spec, af, target, resolved, resolve_on_probe,
                is_oneoff, interval, spread, start, start_given, stop, description, is_public, tags, probes_requested,
                probe_sources, participants, target_folded, description_folded)
             VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        )?
        .query_row(
            params![
                now.0,
                new.owner.0.cast_signed(),
                new.spec.kind().number(),
                new.spec.to_cbor(),
                new.af.number(),
                new.target,
                Json::from(addresses).to_string(),
                new.resolve_on_probe,
                new.is_oneoff,
                new.interval,
                new.spread,
                new.start.0,
                new.start_given,
                new.stop.map(|stop| stop.0),
                new.description,
                new.is_public,
                Json::from(new.tags.as_slice()).to_string(),
                new.probes_requested,
                new.probe_sources,
                i64::try_from(participants).map_err(refused)?,
                new.target.as_deref().map(folded),
                new.description.as_deref().map(folded),
            ],
            |row| row.get(0),
        )?;
    Ok(MeasurementId(id.cast_unsigned()))
}

pub(super) fn edit(db: &Connection, id: MeasurementId, edit: &MeasurementEdit) -> rusqlite::Result<()> {
    let id = id.0.cast_signed();
    if let Some(description) = &edit.description {
        db.prepare_cached("UPDATE measurement SET description = ?, description_folded = ? WHERE id = ?")?
            .execute(params![description, description.as_deref().map(folded), id])?;
    }
    if let Some(is_public) = edit.is_public {
        db.prepare_cached("UPDATE measurement SET is_public = ? WHERE id = ?")?.execute(params![is_public, id])?;
    }
    Ok(())
}

/// Lower case character by character, so that a part of a text folds to a part of the folded text.
fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

pub(super) fn by_id(db: &Connection, id: MeasurementId) -> rusqlite::Result<Option<Measurement>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM measurement WHERE id = ?"))?
        .query_row([id.0.cast_signed()], read)
        .optional()
}

/// The rule of [`Measurement::status`] in SQL, which must give the same state for every row and time; the conformance
/// suite compares them. Bound: now, now in seconds, [`ONEOFF_ONGOING_BASE_SECS`], now, the states.
///
/// Comparing seconds is the same as comparing nanoseconds here, since that end is at a whole second. SQLite's division
/// rounds towards zero, the protocol's down; the comparison with 0 makes up for it.
const HAS_STATUS: &str = "CASE
    WHEN participants = 0 THEN 6
    WHEN stopped_at IS NOT NULL THEN 4
    WHEN ? < start THEN 1
    WHEN is_oneoff AND settled >= participants
        AND ? >= start / 1000000000 - (start % 1000000000 < 0) + ? + probes_requested / 4 THEN 4
    WHEN stop IS NOT NULL AND ? >= stop THEN 4
    ELSE 2 END IN (SELECT value FROM json_each(?))";

pub(super) fn list(db: &Connection, filter: &MeasurementFilter, slice: Slice) -> rusqlite::Result<Page<Measurement>> {
    let mut conditions = Filter::default();
    if let Some(ids) = &filter.ids {
        conditions.and("id IN (SELECT value FROM json_each(?))", [numbers(ids.iter().map(|id| id.0))]);
    }
    if let Some(owner) = filter.owner {
        conditions.and("owner = ?", [Value::from(owner.0.cast_signed())]);
    }
    match filter.visible_to {
        Some(Some(account)) => conditions.and("is_public OR owner = ?", [Value::from(account.0.cast_signed())]),
        Some(None) => conditions.and("is_public", []),
        None => {}
    }
    if let Some(kind) = filter.kind {
        conditions.and("kind = ?", [Value::from(kind.number())]);
    }
    if let Some(af) = filter.af {
        conditions.and("af = ?", [Value::from(af.number())]);
    }
    if let Some(is_oneoff) = filter.is_oneoff {
        conditions.and("is_oneoff = ?", [Value::from(is_oneoff)]);
    }
    if let Some((states, now)) = &filter.status {
        conditions.and(
            HAS_STATUS,
            [
                Value::from(now.0),
                Value::from(now.as_secs()),
                Value::from(ONEOFF_ONGOING_BASE_SECS),
                Value::from(now.0),
                numbers(states.iter().map(|&state: &Status| u64::from(state.number()))),
            ],
        );
    }
    if let Some(text) = &filter.search {
        let text = folded(text);
        conditions.and(
            "instr(target_folded, ?) > 0 OR instr(description_folded, ?) > 0",
            [Value::from(text.clone()), Value::from(text)],
        );
    }
    conditions.page(db, COLUMNS, "measurement", slice, read)
}

pub(super) fn participants(db: &Connection, id: MeasurementId) -> rusqlite::Result<Vec<Participant>> {
    db.prepare_cached("SELECT probe, since, settled FROM participant WHERE measurement = ? ORDER BY probe")?
        .query_map([id.0.cast_signed()], |row| {
            Ok(Participant {
                probe: ProbeId(row.get::<_, i64>(0)?.cast_unsigned()),
                since: UnixNanos(row.get(1)?),
                settled: row.get(2)?,
            })
        })?
        .collect()
}

#[async_trait]
impl Measurements for SqliteCatalog {
    async fn add_measurements(&self, new: &[NewMeasurement], now: UnixNanos) -> Result<Vec<MeasurementId>, StoreError> {
        self.write("add measurements", |t| add(t, new, now))
    }

    async fn measurement(&self, id: MeasurementId) -> Result<Option<Measurement>, StoreError> {
        self.read("find a measurement", |t| by_id(t, id))
    }

    async fn measurements(&self, filter: &MeasurementFilter, slice: Slice) -> Result<Page<Measurement>, StoreError> {
        self.read("list measurements", |t| list(t, filter, slice))
    }

    async fn participants(&self, id: MeasurementId) -> Result<Vec<Participant>, StoreError> {
        self.read("list participants", |t| participants(t, id))
    }

    async fn edit_measurement(&self, id: MeasurementId, edit: &MeasurementEdit) -> Result<(), StoreError> {
        self.write("edit a measurement", |t| self::edit(t, id, edit))
    }
}
