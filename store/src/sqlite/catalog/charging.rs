//! What results cost and probes earn.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value as Json;
use sonde_protocol::ids::{AccountId, MeasurementId};
use sonde_protocol::time::UnixNanos;

use super::super::{damaged, refused};
use super::credits::{Booking, book, counted};
use super::measurements::{IS_RUNNING, status_values};
use crate::catalog::{Charging, EntryKind, Ledger, NOBODY, Rates};
use crate::results::{Cursor, Tally};

const MINUTE_NANOS: i64 = 60_000_000_000;
const DAY_SECS: u64 = 86_400;

fn state(db: &Connection) -> rusqlite::Result<Option<Charging>> {
    let found: Option<(i64, Option<String>)> = db
        .prepare_cached("SELECT since, cursor FROM charging")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((since, cursor)) = found else { return Ok(None) };
    let cursor = cursor.map(|text| serde_json::from_str(&text).map(Cursor).map_err(damaged)).transpose()?;
    Ok(Some(Charging { since: UnixNanos(since), cursor }))
}

pub(super) fn begin(db: &Connection, now: UnixNanos) -> rusqlite::Result<Charging> {
    if let Some(state) = state(db)? {
        return Ok(state);
    }
    db.execute("INSERT INTO charging (one, since) VALUES (1, ?)", [now.0])?;
    db.execute(
        &format!("INSERT OR REPLACE INTO probe_income SELECT id, {CONNECTED} / {MINUTE_NANOS} FROM probe"),
        [now.0],
    )?;
    Ok(Charging { since: now, cursor: None })
}

/// What a day's results of one measurement cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    owner: AccountId,
    credits: u32,
    results: u64,
    /// How many it could have on a day.
    most: u64,
}

/// By measurement.
pub(super) type Costs = BTreeMap<MeasurementId, Cost>;

/// Only what a participant reports counts, and what somebody pays for.
pub(super) fn costs(db: &Connection, tally: &Tally, own_probes_free: bool) -> rusqlite::Result<Costs> {
    let mut find = db.prepare_cached(
        "SELECT measurement.owner, credits, is_oneoff, interval, participants, probe.owner
         FROM measurement_price JOIN measurement ON measurement.id = measurement_price.measurement
            JOIN participant ON participant.measurement = measurement.id AND participant.probe = ?2
            JOIN probe ON probe.id = participant.probe
         WHERE measurement_price.measurement = ?1 AND credits > 0",
    )?;
    let mut costs = Costs::new();
    for arrived in &tally.counts {
        let found = find
            .query_row([arrived.measurement.0.cast_signed(), arrived.probe.0.cast_signed()], |row| {
                let participants = u64::from(row.get::<_, u32>(4)?);
                let runs = match row.get::<_, bool>(2)? {
                    true => 1,
                    false => DAY_SECS / u64::from(row.get::<_, Option<u32>>(3)?.unwrap_or(1).max(1)) + 1,
                };
                let owner = row.get::<_, i64>(0)?;
                let is_own = row.get::<_, Option<i64>>(5)? == Some(owner);
                let cost = Cost {
                    owner: AccountId(owner.cast_unsigned()),
                    credits: row.get(1)?,
                    results: 0,
                    most: participants.saturating_mul(runs),
                };
                Ok((cost, is_own))
            })
            .optional()?;
        let Some((cost, is_own)) = found else { continue };
        if !(is_own && own_probes_free) {
            costs.entry(arrived.measurement).or_insert(cost).results += arrived.results;
        }
    }
    Ok(costs)
}

pub(super) fn charge(
    db: &Connection,
    tally: &Tally,
    after: Option<&Cursor>,
    costs: &Costs,
    now: UnixNanos,
) -> rusqlite::Result<bool> {
    if state(db)?.is_none_or(|state| state.cursor.as_ref() != after) {
        return Ok(false);
    }
    for (&measurement, cost) in costs {
        let key = format!("expense {measurement} {}", tally.day);
        let left = cost.most.saturating_sub(counted(db, &key)?.unwrap_or(0));
        let results = cost.results.min(left);
        if results == 0 {
            continue;
        }
        let amount = i64::try_from(results.saturating_mul(u64::from(cost.credits))).map_err(refused)?;
        let booking = Booking {
            key: &key,
            kind: EntryKind::Expense,
            from: Ledger::Account(cost.owner),
            to: Ledger::Spent,
            amount,
            measurement: Some(measurement),
            count: results,
        };
        book(db, booking, now)?;
    }
    let cursor = Json::from(tally.next.0.as_slice()).to_string();
    db.prepare_cached("UPDATE charging SET cursor = ?")?.execute([cursor])?;
    Ok(true)
}

/// How long a probe has been connected in all, in nanoseconds, at the time `?1`.
const CONNECTED: &str = "(uptime + CASE WHEN connected = 1 THEN max(0, ?1 - connection_since) ELSE 0 END)";

/// Minutes and credits of one owner.
#[derive(Default)]
struct Earned {
    minutes: u64,
    credits: u64,
}

pub(super) fn income(db: &Connection, rates: Rates, now: UnixNanos) -> rusqlite::Result<u64> {
    if state(db)?.is_none() {
        return Ok(0);
    }
    let found: Vec<(i64, Option<i64>, i64, i64, bool)> = db
        .prepare_cached(&format!(
            "SELECT id, owner, {CONNECTED} / {MINUTE_NANOS} AS connected_minutes, ifnull(minutes, 0) AS booked,
                EXISTS (SELECT 1 FROM probe_tag WHERE probe_tag.probe = probe.id AND tag = 'system-anchor')
             FROM probe LEFT JOIN probe_income ON probe_income.probe = probe.id WHERE connected_minutes > booked"
        ))?
        .query_map([now.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut earned: BTreeMap<i64, Earned> = BTreeMap::new();
    for (probe, owner, minutes, booked, is_anchor) in found {
        db.prepare_cached("INSERT OR REPLACE INTO probe_income (probe, minutes) VALUES (?, ?)")?
            .execute([probe, minutes])?;
        // What is nobody's earns nothing.
        let Some(owner) = owner.filter(|owner| *owner != NOBODY.0.cast_signed()) else { continue };
        let minutes = minutes.saturating_sub(booked).unsigned_abs();
        let rate = if is_anchor { rates.anchor } else { rates.probe };
        let sum = earned.entry(owner).or_default();
        sum.minutes += minutes;
        sum.credits = sum.credits.saturating_add(minutes.saturating_mul(u64::from(rate)));
    }
    let day = now.as_secs().div_euclid(DAY_SECS.cast_signed());
    let mut total = 0;
    for (owner, Earned { minutes, credits }) in earned {
        if credits == 0 {
            continue;
        }
        let account = AccountId(owner.cast_unsigned());
        let booking = Booking {
            key: &format!("income {account} {day}"),
            kind: EntryKind::Income,
            from: Ledger::Earned,
            to: Ledger::Account(account),
            amount: i64::try_from(credits).map_err(refused)?,
            measurement: None,
            count: minutes,
        };
        book(db, booking, now)?;
        total += credits;
    }
    Ok(total)
}

pub(super) fn unpaid(db: &Connection, now: UnixNanos) -> rusqlite::Result<Vec<MeasurementId>> {
    let [a, b, c, d] = status_values(now);
    db.prepare_cached(&format!(
        "SELECT id FROM credit_balance JOIN measurement ON owner = ledger
            JOIN measurement_price ON measurement_price.measurement = measurement.id
         WHERE balance < 0 AND ledger > 0 AND credits > 0 AND NOT is_oneoff
            AND stopped_at IS NULL AND ifnull(stop, 9223372036854775807) > ? AND {IS_RUNNING} ORDER BY id"
    ))?
    .query_map(params![now.0, a, b, c, d], |row| Ok(MeasurementId(row.get::<_, i64>(0)?.cast_unsigned())))?
    .collect()
}
