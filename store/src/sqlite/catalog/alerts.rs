//! Alert rules and their deliveries.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sonde_protocol::ids::{AccountId, MeasurementId, ProbeId};
use sonde_protocol::time::UnixNanos;

use super::SqliteCatalog;
use crate::StoreError;
use crate::catalog::{AlertRule, AlertState, Alerts, Attempt, Delivery, NewAlertRule, Page, Slice};

const RULE: &str = "id, account, measurement, created_at, description, condition, url, secret, enabled, alerting, since, \
                    probes";

fn read_rule(row: &Row<'_>) -> rusqlite::Result<AlertRule> {
    let probes: String = row.get("probes")?;
    let probes = probes.split(',').filter_map(|id| id.parse().ok()).map(ProbeId);
    Ok(AlertRule {
        id: row.get::<_, i64>("id")?.cast_unsigned(),
        created_at: UnixNanos(row.get("created_at")?),
        asked: NewAlertRule {
            owner: AccountId(row.get::<_, i64>("account")?.cast_unsigned()),
            measurement: MeasurementId(row.get::<_, i64>("measurement")?.cast_unsigned()),
            description: row.get("description")?,
            condition: row.get("condition")?,
            url: row.get("url")?,
            secret: row.get("secret")?,
            enabled: row.get("enabled")?,
        },
        state: AlertState {
            alerting: row.get("alerting")?,
            since: row.get::<_, Option<i64>>("since")?.map(UnixNanos),
            probes: probes.collect(),
        },
    })
}

fn read_delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        id: row.get::<_, i64>("id")?.cast_unsigned(),
        rule: row.get::<_, i64>("rule")?.cast_unsigned(),
        created_at: UnixNanos(row.get("created_at")?),
        body: row.get("body")?,
        attempts: row.get("attempts")?,
        next_at: row.get::<_, Option<i64>>("next_at")?.map(UnixNanos),
        ended_at: row.get::<_, Option<i64>>("ended_at")?.map(UnixNanos),
        last: row.get("last")?,
    })
}

fn by_id(db: &Connection, id: u64) -> rusqlite::Result<Option<AlertRule>> {
    db.prepare_cached(&format!("SELECT {RULE} FROM alert_rule WHERE id = ?"))?
        .query_row([id.cast_signed()], read_rule)
        .optional()
}

fn add(db: &Connection, rule: &NewAlertRule, most: u32, now: UnixNanos) -> rusqlite::Result<Option<AlertRule>> {
    let owner = rule.owner.0.cast_signed();
    let count: u32 =
        db.prepare_cached("SELECT count(*) FROM alert_rule WHERE account = ?")?.query_row([owner], |row| row.get(0))?;
    if count >= most {
        return Ok(None);
    }
    let id: i64 = db
        .prepare_cached(
            "INSERT INTO alert_rule (account, measurement, created_at, description, condition, url, secret, enabled)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        )?
        .query_row(
            params![
                owner,
                rule.measurement.0.cast_signed(),
                now.0,
                rule.description,
                rule.condition,
                rule.url,
                rule.secret,
                rule.enabled
            ],
            |row| row.get(0),
        )?;
    by_id(db, id.cast_unsigned())
}

fn change(db: &Connection, id: u64, asked: &NewAlertRule) -> rusqlite::Result<bool> {
    let Some(old) = by_id(db, id)?.filter(|old| old.asked.owner == asked.owner) else { return Ok(false) };
    db.prepare_cached(
        "UPDATE alert_rule SET measurement = ?, description = ?, condition = ?, url = ?, secret = ?, enabled = ?
         WHERE id = ?",
    )?
    .execute(params![
        asked.measurement.0.cast_signed(),
        asked.description,
        asked.condition,
        asked.url,
        asked.secret,
        asked.enabled,
        id.cast_signed()
    ])?;
    let same = old.asked.measurement == asked.measurement && old.asked.condition == asked.condition && asked.enabled;
    if !same {
        set(db, id, &AlertState::default())?;
    }
    Ok(true)
}

fn set(db: &Connection, id: u64, state: &AlertState) -> rusqlite::Result<()> {
    let probes: Vec<String> = state.probes.iter().map(|probe| probe.0.to_string()).collect();
    db.prepare_cached("UPDATE alert_rule SET alerting = ?, since = ?, probes = ? WHERE id = ?")?.execute(params![
        state.alerting,
        state.since.map(|since| since.0),
        probes.join(","),
        id.cast_signed()
    ])?;
    Ok(())
}

fn remove(db: &Connection, owner: AccountId, id: u64) -> rusqlite::Result<bool> {
    if by_id(db, id)?.is_none_or(|rule| rule.asked.owner != owner) {
        return Ok(false);
    }
    db.prepare_cached("DELETE FROM alert_delivery WHERE rule = ?")?.execute([id.cast_signed()])?;
    db.prepare_cached("DELETE FROM alert_rule WHERE id = ?")?.execute([id.cast_signed()])?;
    Ok(true)
}

fn tell(db: &Connection, rule: u64, body: &str, now: UnixNanos) -> rusqlite::Result<u64> {
    let id: i64 = db
        .prepare_cached(
            "INSERT INTO alert_delivery (rule, created_at, body, next_at) VALUES (?, ?, ?, ?) RETURNING id",
        )?
        .query_row(params![rule.cast_signed(), now.0, body, now.0], |row| row.get(0))?;
    Ok(id.cast_unsigned())
}

fn attempted(db: &Connection, delivery: u64, attempt: Attempt, last: &str) -> rusqlite::Result<()> {
    let (next_at, ended_at) = match attempt {
        Attempt::Again(at) => (Some(at.0), None),
        Attempt::Arrived(at) => (None, Some(at.0)),
        Attempt::GivenUp | Attempt::Unwanted => (None, None),
    };
    db.prepare_cached(
        "UPDATE alert_delivery SET attempts = attempts + 1, next_at = ?, ended_at = ?, last = ? WHERE id = ?",
    )?
    .execute(params![next_at, ended_at, last, delivery.cast_signed()])?;
    if attempt == Attempt::Unwanted {
        let rule = "(SELECT rule FROM alert_delivery WHERE id = ?)";
        db.prepare_cached(&format!("UPDATE alert_rule SET enabled = 0, alerting = 0, probes = '' WHERE id = {rule}"))?
            .execute([delivery.cast_signed()])?;
        db.prepare_cached(&format!("UPDATE alert_delivery SET next_at = NULL WHERE rule = {rule}"))?
            .execute([delivery.cast_signed()])?;
    }
    Ok(())
}

fn page<T>(
    db: &Connection,
    (columns, table, owner): (&str, &str, &str),
    of: u64,
    slice: Slice,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Page<T>> {
    let of = of.cast_signed();
    let total: i64 = db
        .prepare_cached(&format!("SELECT count(*) FROM {table} WHERE {owner} = ?"))?
        .query_row([of], |row| row.get(0))?;
    let order = if slice.descending { "DESC" } else { "ASC" };
    let sql = format!("SELECT {columns} FROM {table} WHERE {owner} = ? ORDER BY id {order} LIMIT ? OFFSET ?");
    let items = db
        .prepare_cached(&sql)?
        .query_map([of, slice.limit.cast_signed(), slice.offset.cast_signed()], read)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Page { total: total.cast_unsigned(), items })
}

#[async_trait]
impl Alerts for SqliteCatalog {
    async fn add_alert_rule(
        &self,
        rule: &NewAlertRule,
        most: u32,
        now: UnixNanos,
    ) -> Result<Option<AlertRule>, StoreError> {
        self.write("add an alert rule", |db| add(db, rule, most, now))
    }

    async fn alert_rule(&self, id: u64) -> Result<Option<AlertRule>, StoreError> {
        self.read("read an alert rule", |db| by_id(db, id))
    }

    async fn alert_rules(&self, owner: AccountId, slice: Slice) -> Result<Page<AlertRule>, StoreError> {
        self.read("list alert rules", |db| page(db, (RULE, "alert_rule", "account"), owner.0, slice, read_rule))
    }

    async fn watched_alert_rules(&self, after: u64, limit: u64) -> Result<Vec<AlertRule>, StoreError> {
        self.read("list alert rules", |db| {
            db.prepare_cached(&format!("SELECT {RULE} FROM alert_rule WHERE enabled AND id > ? ORDER BY id LIMIT ?"))?
                .query_map([after.cast_signed(), limit.cast_signed()], read_rule)?
                .collect()
        })
    }

    async fn change_alert_rule(&self, id: u64, asked: &NewAlertRule) -> Result<bool, StoreError> {
        self.write("change an alert rule", |db| change(db, id, asked))
    }

    async fn remove_alert_rule(&self, owner: AccountId, id: u64) -> Result<bool, StoreError> {
        self.write("remove an alert rule", |db| remove(db, owner, id))
    }

    async fn set_alert_state(
        &self,
        rule: &AlertRule,
        state: &AlertState,
        body: Option<&str>,
        now: UnixNanos,
    ) -> Result<bool, StoreError> {
        self.write("set the state of an alert rule", |db| {
            if by_id(db, rule.id)?.as_ref() != Some(rule) {
                return Ok(false);
            }
            set(db, rule.id, state)?;
            if let Some(body) = body {
                tell(db, rule.id, body, now)?;
            }
            Ok(true)
        })
    }

    async fn add_delivery(&self, rule: u64, body: &str, now: UnixNanos) -> Result<u64, StoreError> {
        self.write("add a delivery", |db| tell(db, rule, body, now))
    }

    async fn due_deliveries(&self, now: UnixNanos, limit: u64) -> Result<Vec<Delivery>, StoreError> {
        self.read("list deliveries", |db| {
            db.prepare_cached("SELECT * FROM alert_delivery WHERE next_at <= ? ORDER BY next_at, id LIMIT ?")?
                .query_map([now.0, limit.cast_signed()], read_delivery)?
                .collect()
        })
    }

    async fn attempted(&self, delivery: u64, attempt: Attempt, last: &str) -> Result<(), StoreError> {
        self.write("write down a delivery", |db| attempted(db, delivery, attempt, last))
    }

    async fn deliveries(&self, rule: u64, slice: Slice) -> Result<Page<Delivery>, StoreError> {
        self.read("list deliveries", |db| page(db, ("*", "alert_delivery", "rule"), rule, slice, read_delivery))
    }

    async fn forget_deliveries(&self, before: UnixNanos) -> Result<(), StoreError> {
        self.write("forget deliveries", |db| {
            db.prepare_cached("DELETE FROM alert_delivery WHERE next_at IS NULL AND created_at < ?")?
                .execute([before.0])?;
            Ok(())
        })
    }
}
