//! Joining and leaving, groups and tags.

use std::collections::BTreeSet;

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use sonde_protocol::ids::{AccountId, MeasurementId, ProbeId};
use sonde_protocol::time::UnixNanos;

use super::super::filter::Filter;
use super::{SqliteCatalog, measurements, orders};
use crate::StoreError;
use crate::catalog::{
    Change, Changed, NewParticipationRequest, Page, ParticipantEvent, Participation, ParticipationRequest, Slice,
};

/// The requests that a new measurement was made with, and those who came first.
pub(super) fn record_first(db: &Connection, id: MeasurementId) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO participation_request
            (measurement, created_at, removes, requested, type, value, tags_include, tags_exclude)
         SELECT measurement.id, created_at, 0, CAST(ifnull(value ->> 'requested', 0) AS INTEGER),
            CAST(ifnull(value ->> 'type', '') AS TEXT), CAST(ifnull(value ->> 'value', '') AS TEXT),
            CAST(ifnull(value ->> 'tags_include', '') AS TEXT), CAST(ifnull(value ->> 'tags_exclude', '') AS TEXT)
         FROM measurement, json_each(measurement.probe_sources) WHERE measurement.id = ? ORDER BY key",
    )?
    .execute([id.0.cast_signed()])?;
    Ok(())
}

/// `Ok(None)` comes before anything is written.
pub(super) fn change(
    db: &Connection,
    id: MeasurementId,
    asked: Change<'_>,
    now: UnixNanos,
) -> rusqlite::Result<Option<Changed>> {
    let Change { requests, join, leave, most } = asked;
    let Some(measurement) = measurements::by_id(db, id)? else { return Ok(None) };
    let mut present: BTreeSet<ProbeId> = measurements::participants(db, id)?
        .into_iter()
        .filter(|part| part.left_at.is_none())
        .map(|part| part.probe)
        .collect();
    present.retain(|probe| !leave.contains(probe));
    present.extend(join);
    if present.len() > most as usize {
        return Ok(None);
    }
    let number = id.0.cast_signed();
    let mut ids = Vec::new();
    for request in requests {
        let id: i64 = db
            .prepare_cached(
                "INSERT INTO participation_request
                    (measurement, created_at, removes, requested, type, value, tags_include, tags_exclude)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            )?
            .query_row(
                params![
                    number,
                    now.0,
                    request.removes,
                    request.requested,
                    request.source,
                    request.value,
                    request.tags_include,
                    request.tags_exclude
                ],
                |row| row.get(0),
            )?;
        ids.push(id.cast_unsigned());
    }
    let mut changed = BTreeSet::new();
    for &probe in leave {
        if remove(db, number, probe, now)? {
            changed.insert(probe);
        }
    }
    for &probe in join {
        if add(db, number, probe, measurement.asked.is_oneoff, now)? {
            changed.insert(probe);
        }
    }
    orders::changed(db, changed.iter().copied())?;
    Ok(Some((ids, changed.into_iter().collect())))
}

/// A probe leaves. A one-off waits for it no longer.
fn remove(db: &Connection, measurement: i64, probe: ProbeId, now: UnixNanos) -> rusqlite::Result<bool> {
    let probe = probe.0.cast_signed();
    let was_settled: Option<bool> = db
        .prepare_cached("SELECT settled FROM participant WHERE measurement = ? AND probe = ? AND left_at IS NULL")?
        .query_row([measurement, probe], |row| row.get(0))
        .optional()?;
    let Some(was_settled) = was_settled else { return Ok(false) };
    db.prepare_cached(
        "UPDATE participant SET left_at = ?1,
            settled = settled OR (SELECT is_oneoff FROM measurement WHERE id = ?2) WHERE measurement = ?2 AND probe = ?3",
    )?
    .execute([now.0, measurement, probe])?;
    db.prepare_cached(
        "UPDATE measurement SET departed = departed + 1, settled = settled + (is_oneoff AND NOT ?) WHERE id = ?",
    )?
    .execute(params![was_settled, measurement])?;
    log(db, measurement, probe, now, false)?;
    Ok(true)
}

fn add(db: &Connection, measurement: i64, probe: ProbeId, is_oneoff: bool, now: UnixNanos) -> rusqlite::Result<bool> {
    let probe = probe.0.cast_signed();
    let left_at: Option<Option<i64>> = db
        .prepare_cached("SELECT left_at FROM participant WHERE measurement = ? AND probe = ?")?
        .query_row([measurement, probe], |row| row.get(0))
        .optional()?;
    match left_at {
        Some(None) => return Ok(false),
        Some(Some(_)) if is_oneoff => return Ok(false),
        Some(Some(_)) => {
            db.prepare_cached("UPDATE participant SET left_at = NULL, since = ? WHERE measurement = ? AND probe = ?")?
                .execute([now.0, measurement, probe])?;
            db.prepare_cached("UPDATE measurement SET departed = departed - 1 WHERE id = ?")?.execute([measurement])?;
        }
        None => {
            db.prepare_cached("INSERT INTO participant (measurement, probe, since) VALUES (?, ?, ?)")?.execute([
                measurement,
                probe,
                now.0,
            ])?;
            db.prepare_cached("UPDATE measurement SET participants = participants + 1 WHERE id = ?")?
                .execute([measurement])?;
        }
    }
    log(db, measurement, probe, now, true)?;
    Ok(true)
}

fn log(db: &Connection, measurement: i64, probe: i64, at: UnixNanos, joined: bool) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO participant_log (measurement, probe, at, joined) VALUES (?, ?, ?, ?)")?
        .execute(params![measurement, probe, at.0, joined])?;
    Ok(())
}

const REQUEST: &str = "id, measurement, created_at, removes, requested, type, value, tags_include, tags_exclude";

fn request(row: &Row<'_>) -> rusqlite::Result<ParticipationRequest> {
    Ok(ParticipationRequest {
        id: row.get::<_, i64>("id")?.cast_unsigned(),
        measurement: MeasurementId(row.get::<_, i64>("measurement")?.cast_unsigned()),
        created_at: UnixNanos(row.get("created_at")?),
        asked: NewParticipationRequest {
            removes: row.get("removes")?,
            requested: row.get("requested")?,
            source: row.get("type")?,
            value: row.get("value")?,
            tags_include: row.get("tags_include")?,
            tags_exclude: row.get("tags_exclude")?,
        },
    })
}

/// The first participants are not in the log: they came when the measurement was made, and what the log says of them
/// begins with their leaving, if anything.
fn events(db: &Connection, id: MeasurementId) -> rusqlite::Result<Vec<ParticipantEvent>> {
    db.prepare_cached(
        "SELECT probe, (SELECT created_at FROM measurement WHERE id = ?1), 1 FROM participant
            WHERE measurement = ?1 AND NOT ifnull((SELECT joined FROM participant_log AS log
                WHERE log.measurement = ?1 AND log.probe = participant.probe ORDER BY id LIMIT 1), 0)
         UNION ALL SELECT * FROM (SELECT probe, at, joined FROM participant_log WHERE measurement = ?1 ORDER BY id)",
    )?
    .query_map([id.0.cast_signed()], |row| {
        Ok(ParticipantEvent {
            probe: ProbeId(row.get::<_, i64>(0)?.cast_unsigned()),
            at: UnixNanos(row.get(1)?),
            joined: row.get(2)?,
        })
    })?
    .collect()
}

/// The condition of [`crate::catalog::MeasurementFilter::visible_to`].
fn visible(visible_to: Option<Option<AccountId>>) -> (&'static str, Option<Value>) {
    match visible_to {
        Some(Some(account)) => ("(is_public OR owner = ?)", Some(Value::from(account.0.cast_signed()))),
        Some(None) => ("is_public", None),
        None => ("1", None),
    }
}

fn limits(slice: Slice) -> [Value; 2] {
    [slice.limit, slice.offset].map(|number| Value::from(i64::try_from(number).unwrap_or(i64::MAX)))
}

fn listed<T>(
    db: &Connection,
    select: &str,
    order: &str,
    mut values: Vec<Value>,
    slice: Slice,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Page<T>> {
    let total: i64 = db
        .prepare_cached(&format!("SELECT count(*) FROM ({select})"))?
        .query_row(params_from_iter(&values), |row| row.get(0))?;
    values.extend(limits(slice));
    let direction = if slice.descending { "DESC" } else { "ASC" };
    let items = db
        .prepare_cached(&format!("{select} ORDER BY {order} {direction} LIMIT ? OFFSET ?"))?
        .query_map(params_from_iter(&values), read)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Page { total: total.cast_unsigned(), items })
}

#[async_trait]
impl Participation for SqliteCatalog {
    async fn change_participation(
        &self,
        id: MeasurementId,
        change: Change<'_>,
        now: UnixNanos,
    ) -> Result<Option<Changed>, StoreError> {
        self.write("change who takes part", |t| self::change(t, id, change, now))
    }

    async fn participation_requests(
        &self,
        id: MeasurementId,
        source: Option<&str>,
        slice: Slice,
    ) -> Result<Page<ParticipationRequest>, StoreError> {
        let mut conditions = Filter::default();
        conditions.and("measurement = ?", [Value::from(id.0.cast_signed())]);
        if let Some(source) = source {
            conditions.and("type = ? COLLATE NOCASE", [Value::from(source.to_owned())]);
        }
        self.read("list participation requests", |t| {
            conditions.page(t, REQUEST, "participation_request", slice, request)
        })
    }

    async fn participation_request(&self, id: u64) -> Result<Option<ParticipationRequest>, StoreError> {
        self.read("find a participation request", |t| {
            t.prepare_cached(&format!("SELECT {REQUEST} FROM participation_request WHERE id = ?"))?
                .query_row([id.cast_signed()], request)
                .optional()
        })
    }

    async fn participant_log(&self, id: MeasurementId) -> Result<Vec<ParticipantEvent>, StoreError> {
        self.read("list who came and went", |t| events(t, id))
    }

    async fn measurement_groups(
        &self,
        visible_to: Option<Option<AccountId>>,
        slice: Slice,
    ) -> Result<Page<MeasurementId>, StoreError> {
        let (condition, value) = visible(visible_to);
        let select = format!(
            "SELECT DISTINCT group_id FROM measurement WHERE {condition} AND group_id >= {}",
            MeasurementId::FIRST_USER
        );
        self.read("list groups", |t| {
            listed(t, &select, "group_id", value.into_iter().collect(), slice, |row| {
                Ok(MeasurementId(row.get::<_, i64>(0)?.cast_unsigned()))
            })
        })
    }

    async fn measurement_tags(
        &self,
        visible_to: Option<Option<AccountId>>,
        owner: Option<AccountId>,
        prefix: &str,
        slice: Slice,
    ) -> Result<Page<(String, u64)>, StoreError> {
        let (condition, value) = visible(visible_to);
        let mut values: Vec<Value> = [prefix, prefix].map(|text| Value::from(text.to_owned())).into();
        values.extend(value);
        values.extend(owner.map(|owner| Value::from(owner.0.cast_signed())));
        let owned = if owner.is_some() { "AND owner = ?" } else { "" };
        let select = format!(
            "SELECT tag, count(*) FROM measurement_tag JOIN measurement ON measurement.id = measurement_tag.measurement
             WHERE substr(tag, 1, length(?)) = ? AND {condition} {owned} GROUP BY tag"
        );
        self.read("list tags of measurements", |t| {
            listed(t, &select, "tag", values, slice, |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned())))
        })
    }
}
