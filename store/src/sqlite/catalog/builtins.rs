//! Built-in measurements. Who takes part follows from the tags, and from the kinds that hosts allow, and is not kept.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use rusqlite::{Connection, params};
use serde_json::Value as Json;
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::time::UnixNanos;

use super::super::refused;
use super::{SqliteCatalog, measurements};
use crate::StoreError;
use crate::catalog::{Builtin, Builtins, Measurement, NOBODY, NewMeasurement, Participant, Reconciled};

/// The probe `probe.id` takes part in the built-in measurement `builtin.measurement`, which is `measurement.id`.
macro_rules! takes_part {
    () => {
        "builtin.not_by IS NOT probe.id AND (probe.kinds IS NULL OR (probe.kinds >> measurement.kind) & 1) AND NOT EXISTS (SELECT 1 FROM builtin_tag WHERE builtin_tag.measurement = builtin.measurement AND wanted <>
            EXISTS (SELECT 1 FROM probe_tag WHERE probe_tag.probe = probe.id AND probe_tag.tag = builtin_tag.tag))"
    };
}
pub(super) use takes_part;

/// Everybody who takes part now, if it is a built-in measurement.
pub(super) fn participants(db: &Connection, id: MeasurementId) -> rusqlite::Result<Vec<Participant>> {
    db.prepare_cached(concat!(
        "SELECT probe.id, max(since, probe.created_at) FROM builtin JOIN measurement ON measurement.id = builtin.measurement JOIN probe
         WHERE builtin.measurement = ? AND ",
        takes_part!(),
        " ORDER BY probe.id"
    ))?
    .query_map([id.0.cast_signed()], |row| {
        Ok(Participant {
            probe: ProbeId(row.get::<_, i64>(0)?.cast_unsigned()),
            since: UnixNanos(row.get(1)?),
            settled: false,
            left_at: None,
        })
    })?
    .collect()
}

/// Has [`NOBODY`] have an account, which is disabled.
pub(super) fn make_nobody(db: &Connection, now: UnixNanos) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR IGNORE INTO account (id, email, created_at, disabled_at) VALUES (?1, '', ?2, ?2)")?
        .execute(params![NOBODY.0.cast_signed(), now.0])?;
    Ok(())
}

fn reconcile(db: &Connection, wanted: &[Builtin], now: UnixNanos) -> rusqlite::Result<Reconciled> {
    let mut known: BTreeMap<MeasurementId, Measurement> = BTreeMap::new();
    for id in numbers(db)? {
        known.extend(measurements::by_id(db, id)?.map(|measurement| (id, measurement)));
    }
    let mut done = Reconciled::default();
    for one in wanted {
        check(one)?;
        if let Some(what) = known.get(&one.id).and_then(|known| measures_else(&known.asked, &one.asked)) {
            done.refused.push((one.id, what));
        }
    }
    if !done.refused.is_empty() {
        return Ok(done);
    }
    if !wanted.is_empty() {
        make_nobody(db, now)?;
    }
    let mut orders_change = false;
    for one in wanted {
        match known.remove(&one.id) {
            None => {
                measurements::insert(db, Some(one.id), &one.asked, now, 0)?;
                db.execute("UPDATE measurement SET group_id = id WHERE id = ?", [one.id.0.cast_signed()])?;
                db.execute(
                    "INSERT INTO builtin (measurement, since, not_by) VALUES (?, ?, ?)",
                    params![one.id.0.cast_signed(), now.0, not_by(one)],
                )?;
                set_tags(db, one)?;
                orders_change = true;
                done.made.push(one.id);
            }
            Some(old) => {
                let (changes, reorders) = change(db, &old, one, now)?;
                orders_change |= reorders;
                done.changed.extend(changes.then_some(one.id));
            }
        }
    }
    for old in known.into_values().filter(|old| old.stopped_at.is_none()) {
        db.execute("UPDATE measurement SET stopped_at = ? WHERE id = ?", [now.0, old.id.0.cast_signed()])?;
        orders_change = true;
        done.stopped.push(old.id);
    }
    if orders_change {
        db.execute("UPDATE probe SET order_revision = order_revision + 1", [])?;
    }
    Ok(done)
}

fn numbers(db: &Connection) -> rusqlite::Result<Vec<MeasurementId>> {
    db.prepare_cached("SELECT measurement FROM builtin ORDER BY measurement")?
        .query_map([], |row| Ok(MeasurementId(row.get::<_, i64>(0)?.cast_unsigned())))?
        .collect()
}

/// A built-in measurement that is none would be somebody's, or would never end as it should.
fn check(one: &Builtin) -> rusqlite::Result<()> {
    let asked = &one.asked;
    let is_fit = one.id.is_builtin()
        && asked.owner == NOBODY
        && asked.is_public
        && !asked.is_oneoff
        && asked.stop.is_none()
        && asked.probes.is_empty()
        && asked.group.is_none();
    if is_fit { Ok(()) } else { Err(refused(format!("{} is no built-in measurement", one.id))) }
}

/// What of it would measure something else.
fn measures_else(old: &NewMeasurement, new: &NewMeasurement) -> Option<&'static str> {
    if old.spec.kind() != new.spec.kind() {
        return Some("type");
    }
    if old.af != new.af {
        return Some("af");
    }
    if old.target != new.target {
        return Some("target");
    }
    (old.spec != new.spec).then_some("definition")
}

/// Brings one up to date: has it changed at all, and have its orders?
fn change(db: &Connection, old: &Measurement, new: &Builtin, now: UnixNanos) -> rusqlite::Result<(bool, bool)> {
    let (was, asked, id) = (&old.asked, &new.asked, new.id.0.cast_signed());
    let tags = (BTreeSet::from_iter(&new.include), BTreeSet::from_iter(&new.exclude));
    let before = tags_of(db, new.id)?;
    let reorders = old.stopped_at.is_some()
        || (was.interval, was.spread, was.resolve_on_probe) != (asked.interval, asked.spread, asked.resolve_on_probe)
        || was.resolved != asked.resolved
        || (BTreeSet::from_iter(&before.0), BTreeSet::from_iter(&before.1)) != tags
        || not_by_before(db, new.id)? != not_by(new);
    let changes =
        reorders || was.description != asked.description || was.tags != asked.tags || was.origin != asked.origin;
    if !changes {
        return Ok((false, false));
    }
    measurements::edit(
        db,
        new.id,
        &crate::catalog::MeasurementEdit {
            description: Some(asked.description.clone()),
            tags: Some(asked.tags.clone()),
            ..Default::default()
        },
    )?;
    if reorders {
        let addresses: Vec<String> = asked.resolved.iter().map(ToString::to_string).collect();
        db.execute(
            "UPDATE measurement SET stopped_at = NULL, forced = 0, interval = ?, spread = ?, resolve_on_probe = ?,
                resolved = ?, address_key = ?, probe_sources = ? WHERE id = ?",
            params![
                asked.interval,
                asked.spread,
                asked.resolve_on_probe,
                Json::from(addresses).to_string(),
                measurements::first_key(asked),
                asked.probe_sources,
                id
            ],
        )?;
        db.execute("UPDATE builtin SET since = ?, not_by = ? WHERE measurement = ?", params![now.0, not_by(new), id])?;
        db.execute("DELETE FROM builtin_tag WHERE measurement = ?", [id])?;
        set_tags(db, new)?;
    }
    db.execute(
        "UPDATE measurement SET target_asn = ?, target_prefix = ? WHERE id = ?",
        params![
            asked.origin.as_ref().map(|origin| origin.asn.0),
            asked.origin.as_ref().and_then(|origin| origin.prefix.as_deref()),
            id
        ],
    )?;
    Ok((true, reorders))
}

fn not_by(one: &Builtin) -> Option<i64> {
    one.not_by.map(|probe| probe.0.cast_signed())
}

fn not_by_before(db: &Connection, id: MeasurementId) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT not_by FROM builtin WHERE measurement = ?")?
        .query_row([id.0.cast_signed()], |row| row.get(0))
}

fn set_tags(db: &Connection, one: &Builtin) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached("INSERT INTO builtin_tag VALUES (?, ?, ?)")?;
    let wanted = BTreeSet::from_iter(&one.include).into_iter().map(|tag| (tag, true));
    let unwanted = BTreeSet::from_iter(&one.exclude).into_iter().map(|tag| (tag, false));
    for (tag, is_wanted) in wanted.chain(unwanted) {
        insert.execute(params![one.id.0.cast_signed(), tag, is_wanted])?;
    }
    Ok(())
}

/// The tags that probes have, and those that they do not have.
fn tags_of(db: &Connection, id: MeasurementId) -> rusqlite::Result<(Vec<String>, Vec<String>)> {
    let mut statement = db.prepare_cached("SELECT tag, wanted FROM builtin_tag WHERE measurement = ?")?;
    let mut rows = statement.query([id.0.cast_signed()])?;
    let (mut include, mut exclude) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        if row.get(1)? { include.push(row.get(0)?) } else { exclude.push(row.get(0)?) }
    }
    Ok((include, exclude))
}

#[async_trait]
impl Builtins for SqliteCatalog {
    async fn reconcile_builtins(&self, wanted: &[Builtin], now: UnixNanos) -> Result<Reconciled, StoreError> {
        self.write("reconcile built-in measurements", |t| reconcile(t, wanted, now))
    }
}
