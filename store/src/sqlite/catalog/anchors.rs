//! Anchors.

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::time::UnixNanos;

use super::super::filter::{Filter, numbers};
use super::SqliteCatalog;
use super::probes::tag_probe;
use crate::StoreError;
use crate::catalog::{Anchor, AnchorAdded, AnchorFilter, Anchors, NewAnchor, Page, Slice};

const TAG: &str = "system-anchor";

const COLUMNS: &str = "id, probe, hostname, city, country, company, created_at, removed_at";

fn read(row: &Row<'_>) -> rusqlite::Result<Anchor> {
    Ok(Anchor {
        id: row.get::<_, i64>("id")?.cast_unsigned(),
        said: NewAnchor {
            probe: ProbeId(row.get::<_, i64>("probe")?.cast_unsigned()),
            hostname: row.get("hostname")?,
            city: row.get("city")?,
            country: row.get("country")?,
            company: row.get("company")?,
        },
        created_at: UnixNanos(row.get("created_at")?),
        removed_at: row.get::<_, Option<i64>>("removed_at")?.map(UnixNanos),
    })
}

fn add(db: &Connection, new: &NewAnchor, now: UnixNanos) -> rusqlite::Result<AnchorAdded> {
    let probe = new.probe.0.cast_signed();
    if !db.prepare_cached("SELECT 1 FROM probe WHERE id = ?")?.exists([probe])? {
        return Ok(AnchorAdded::NoSuchProbe);
    }
    let hostname = new.hostname.to_lowercase();
    let taken = "SELECT 1 FROM anchor WHERE removed_at IS NULL AND (probe = ? OR hostname = ?)";
    if db.prepare_cached(taken)?.exists(params![probe, hostname])? {
        return Ok(AnchorAdded::Taken);
    }
    let country = new.country.as_ref().map(|code| code.to_uppercase());
    let id: i64 = db
        .prepare_cached(
            "INSERT INTO anchor (probe, hostname, city, country, company, created_at) VALUES (?, ?, ?, ?, ?, ?)
             RETURNING id",
        )?
        .query_row(params![probe, hostname, new.city, country, new.company, now.0], |row| row.get(0))?;
    tag_probe(db, new.probe, TAG, true)?;
    Ok(AnchorAdded::Made(id.cast_unsigned()))
}

fn remove(db: &Connection, probe: ProbeId, now: UnixNanos) -> rusqlite::Result<Option<String>> {
    tag_probe(db, probe, TAG, false)?;
    db.prepare_cached("UPDATE anchor SET removed_at = ? WHERE probe = ? AND removed_at IS NULL RETURNING hostname")?
        .query_row([now.0, probe.0.cast_signed()], |row| row.get(0))
        .optional()
}

fn list(db: &Connection, filter: &AnchorFilter, slice: Slice) -> rusqlite::Result<Page<Anchor>> {
    let mut conditions = Filter::default();
    if let Some(id) = filter.id {
        conditions.and("id = ?", [Value::from(id.cast_signed())]);
    }
    if let Some(country) = &filter.country {
        conditions.and("country = ?", [Value::from(country.to_uppercase())]);
    }
    if let Some(search) = &filter.search {
        // SQLite folds ASCII only; so does this.
        let words = Value::from(search.to_ascii_lowercase());
        let within =
            "instr(hostname || char(10) || lower(ifnull(city, '')) || char(10) || lower(ifnull(company, '')), ?) > 0";
        conditions.and(within, [words]);
    }
    if let Some(probes) = &filter.probes {
        conditions.and("probe IN (SELECT value FROM json_each(?))", [numbers(probes.iter().map(|probe| probe.0))]);
    }
    conditions.page(db, COLUMNS, "anchor", slice, read)
}

fn measurements(
    db: &Connection,
    measurement: Option<MeasurementId>,
    slice: Slice,
) -> rusqlite::Result<Page<(MeasurementId, u64)>> {
    let mut conditions = Filter::default();
    if let Some(measurement) = measurement {
        conditions.and("id = ?", [Value::from(measurement.0.cast_signed())]);
    }
    let from = "(SELECT measurement.id AS id, anchor.id AS anchor FROM anchor JOIN measurement
        ON target_folded = hostname WHERE removed_at IS NULL AND is_public AND NOT is_oneoff)";
    conditions.page(db, "id, anchor", from, slice, |row| {
        let number = |column| Ok::<_, rusqlite::Error>(row.get::<_, i64>(column)?.cast_unsigned());
        Ok((MeasurementId(number(0)?), number(1)?))
    })
}

#[async_trait]
impl Anchors for SqliteCatalog {
    async fn add_anchor(&self, new: &NewAnchor, now: UnixNanos) -> Result<AnchorAdded, StoreError> {
        self.write("add an anchor", |t| add(t, new, now))
    }

    async fn remove_anchor(&self, probe: ProbeId, now: UnixNanos) -> Result<Option<String>, StoreError> {
        self.write("remove an anchor", |t| remove(t, probe, now))
    }

    async fn anchors(&self, filter: &AnchorFilter, slice: Slice) -> Result<Page<Anchor>, StoreError> {
        self.read("list anchors", |t| list(t, filter, slice))
    }

    async fn anchor_measurements(
        &self,
        measurement: Option<MeasurementId>,
        slice: Slice,
    ) -> Result<Page<(MeasurementId, u64)>, StoreError> {
        self.read("list measurements of anchors", |t| measurements(t, measurement, slice))
    }
}
