//! What an account has and does, and requests that take effect once.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value as Json;
use sonde_protocol::ids::{AccountId, MeasurementId};
use sonde_protocol::time::UnixNanos;

use super::super::damaged;
use super::super::filter::address_key;
use super::measurements::{self, IS_RUNNING, folded, status_values};
use super::{SqliteCatalog, credits, participation};
use crate::StoreError;
use crate::catalog::{
    Change, Changed, Check, Checked, NewMeasurement, ONCE_SECS, ONEOFF_BURST_SECS, Once, Price, Quotas, Remembered,
    TargetUse, Usage,
};

const HOUR_NANOS: i64 = 3_600_000_000_000;

/// Measurements that are neither stopped nor past their end, by an index. Bound: now.
const OPEN: &str = "stopped_at IS NULL AND ifnull(stop, 9223372036854775807) > ?";

pub(super) fn recall(db: &Connection, once: &Once, now: UnixNanos) -> rusqlite::Result<Option<Remembered>> {
    let oldest = now.0.saturating_sub(ONCE_SECS * 1_000_000_000);
    let found: Option<([u8; 32], String)> = db
        .prepare_cached("SELECT request, made FROM once WHERE account = ? AND key = ? AND at > ?")?
        .query_row(params![once.account.0.cast_signed(), once.key, oldest], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((request, made)) = found else { return Ok(None) };
    if request != once.request {
        return Ok(Some(Remembered::Other));
    }
    serde_json::from_str(&made).map(|made| Some(Remembered::Same(made))).map_err(damaged)
}

pub(super) fn remember(db: &Connection, once: &Once, made: &[u64], now: UnixNanos) -> rusqlite::Result<()> {
    let oldest = now.0.saturating_sub(ONCE_SECS * 1_000_000_000);
    db.prepare_cached("DELETE FROM once WHERE at <= ?")?.execute([oldest])?;
    db.prepare_cached("INSERT OR REPLACE INTO once (account, key, request, made, at) VALUES (?, ?, ?, ?, ?)")?
        .execute(params![once.account.0.cast_signed(), once.key, once.request, Json::from(made).to_string(), now.0])?;
    Ok(())
}

/// What one-offs of the last hour, or that begin later, may still cost.
pub(super) fn reserved(db: &Connection, account: AccountId, now: UnixNanos) -> rusqlite::Result<i64> {
    db.prepare_cached(
        "SELECT ifnull(sum(max(0, credits * participants - ifnull(
            (SELECT sum(-amount) FROM credit_transaction CROSS JOIN credit_line
                ON transaction_id = credit_transaction.id AND ledger = ?1
             WHERE credit_transaction.measurement = measurement.id), 0))), 0)
         FROM measurement JOIN measurement_price ON measurement_price.measurement = measurement.id
         WHERE owner = ?1 AND start > ?2 AND is_oneoff = 1 AND (stopped_at IS NULL OR stopped_at > start)
            AND credits > 0",
    )?
    .query_row([account.0.cast_signed(), now.0.saturating_sub(HOUR_NANOS)], |row| row.get(0))
}

fn usage(db: &Connection, account: AccountId, new: &[NewMeasurement], now: UnixNanos) -> rusqlite::Result<Usage> {
    let owner = account.0.cast_signed();
    let [a, b, c, d] = status_values(now);
    let number = |row: &rusqlite::Row<'_>, n: usize| Ok::<_, rusqlite::Error>(row.get::<_, i64>(n)?.cast_unsigned());
    let running: (u64, u64, u64) = db
        .prepare_cached(&format!(
            "SELECT count(*), ifnull(sum(results), 0), ifnull(sum(results * ifnull(credits, 0)), 0) FROM
                (SELECT id, CASE WHEN is_oneoff THEN 0
                    ELSE (participants - departed) * 86400 / max(1, interval) END AS results
                 FROM measurement WHERE owner = ? AND {OPEN} AND {IS_RUNNING})
             LEFT JOIN measurement_price ON measurement = id"
        ))?
        .query_row(params![owner, now.0, a, b, c, d], |row| Ok((number(row, 0)?, number(row, 1)?, number(row, 2)?)))?;
    let oneoffs: (u64, u64) = db
        .prepare_cached(
            "SELECT ifnull(sum(participants), 0), ifnull(sum(participants * ifnull(credits, 0)), 0)
             FROM measurement LEFT JOIN measurement_price ON measurement = id
             WHERE owner = ? AND start > ? AND is_oneoff = 1 AND (stopped_at IS NULL OR stopped_at > start)",
        )?
        .query_row([owner, now.0.saturating_sub(24 * HOUR_NANOS)], |row| Ok((number(row, 0)?, number(row, 1)?)))?;
    Ok(Usage {
        balance: credits::balance(db, account)?,
        reserved: reserved(db, account, now)?,
        measurements: running.0,
        results_per_day: running.1.saturating_add(oneoffs.0),
        credits_per_day: running.2.saturating_add(oneoffs.1),
        targets: new.iter().map(|new| target(db, account, new, now)).collect::<rusqlite::Result<_>>()?,
    })
}

fn target(db: &Connection, account: AccountId, new: &NewMeasurement, now: UnixNanos) -> rusqlite::Result<TargetUse> {
    let Some(name) = new.target.as_deref().map(folded) else { return Ok(TargetUse::default()) };
    let [a, b, c, d] = status_values(now);
    let alike: i64 = db
        .prepare_cached(&format!(
            "SELECT count(*) FROM measurement WHERE owner = ? AND {OPEN} AND kind = ? AND target_folded = ?
                AND is_oneoff = ? AND {IS_RUNNING}"
        ))?
        .query_row(
            params![account.0.cast_signed(), now.0, new.spec.kind().number(), name, new.is_oneoff, a, b, c, d],
            |row| row.get(0),
        )?;
    let alike = alike.cast_unsigned();
    let Some(&address) = new.resolved.first() else {
        // Who resolves on the probes is counted by the name: nobody here knows the addresses.
        let address_packets = packets(db, "", Only::Name(&name), now)?;
        return Ok(TargetUse { alike, address_packets, network_packets: 0.0 });
    };
    let key = address_key(address);
    let network = key.get(..if address.is_ipv4() { 7 } else { 13 }).unwrap_or_default();
    Ok(TargetUse {
        alike,
        address_packets: packets(db, network, Only::Address(&key), now)?,
        network_packets: packets(db, network, Only::All, now)?,
    })
}

/// Which measurements of a network.
enum Only<'a> {
    All,
    Address(&'a str),
    Name(&'a str),
}

/// Packets a second to a network (the column `network_key`; the empty one is of those whose addresses nobody knows).
fn packets(db: &Connection, network: &str, only: Only<'_>, now: UnixNanos) -> rusqlite::Result<f64> {
    let burst = i64::from(ONEOFF_BURST_SECS);
    let (condition, value) = match only {
        Only::All => ("?4 = ''", ""),
        Only::Address(key) => ("address_key = ?4", key),
        Only::Name(name) => ("target_folded = ?4", name),
    };
    db.prepare_cached(&format!(
        "SELECT total(CASE WHEN is_oneoff THEN packets * participants / {burst}.0
            ELSE packets * (participants - departed) * 1.0 / max(1, interval) END)
         FROM measurement JOIN measurement_price ON measurement = id
         WHERE network_key = ? AND {OPEN} AND (NOT is_oneoff OR start > ?) AND {condition}"
    ))?
    .query_row(params![network, now.0, now.0.saturating_sub(burst * 1_000_000_000), value], |row| row.get(0))
}

fn set_prices(db: &Connection, ids: &[MeasurementId], prices: &[Price]) -> rusqlite::Result<()> {
    let mut insert =
        db.prepare_cached("INSERT INTO measurement_price (measurement, credits, packets) VALUES (?, ?, ?)")?;
    for (id, price) in ids.iter().zip(prices) {
        insert.execute(params![id.0.cast_signed(), price.credits, price.packets])?;
    }
    Ok(())
}

/// What a request with a key has come to before, if it has: its numbers, or that the key was another's.
fn before<T>(
    db: &Connection,
    once: Option<&Once>,
    now: UnixNanos,
    made: impl FnOnce(Vec<u64>) -> T,
) -> rusqlite::Result<Option<Checked<T>>> {
    Ok(match once.map(|once| recall(db, once, now)).transpose()?.flatten() {
        Some(Remembered::Same(numbers)) => Some(Checked::Done(made(numbers))),
        Some(Remembered::Other) => Some(Checked::OtherRequest),
        None => None,
    })
}

#[async_trait]
impl Quotas for SqliteCatalog {
    async fn usage(&self, account: AccountId, new: &[NewMeasurement], now: UnixNanos) -> Result<Usage, StoreError> {
        self.read("sum up what runs", |t| usage(t, account, new, now))
    }

    async fn add_checked_measurements(
        &self,
        new: &[NewMeasurement],
        prices: &[Price],
        check: Check<'_>,
        once: Option<&Once>,
        now: UnixNanos,
    ) -> Result<Checked<Vec<MeasurementId>>, StoreError> {
        self.write("add measurements", |t| {
            let ids = |numbers: Vec<u64>| numbers.into_iter().map(MeasurementId).collect();
            if let Some(done) = before(t, once, now, ids)? {
                return Ok(done);
            }
            if let Some(first) = new.first() {
                let against = check(&usage(t, first.owner, new, now)?);
                if !against.is_empty() {
                    return Ok(Checked::Refused(against));
                }
            }
            let ids = measurements::add(t, new, now)?;
            set_prices(t, &ids, prices)?;
            if let Some(once) = once {
                remember(t, once, &Vec::from_iter(ids.iter().map(|id| id.0)), now)?;
            }
            Ok(Checked::Done(ids))
        })
    }

    async fn change_checked_participation(
        &self,
        id: MeasurementId,
        change: Change<'_>,
        as_new: &NewMeasurement,
        check: Check<'_>,
        once: Option<&Once>,
        now: UnixNanos,
    ) -> Result<Checked<Option<Changed>>, StoreError> {
        self.write("change who takes part", |t| {
            if let Some(done) = before(t, once, now, |numbers| Some((numbers, Vec::new())))? {
                return Ok(done);
            }
            if !change.join.is_empty() {
                let against = check(&usage(t, as_new.owner, std::slice::from_ref(as_new), now)?);
                if !against.is_empty() {
                    return Ok(Checked::Refused(against));
                }
            }
            let changed = participation::change(t, id, change, now)?;
            if let (Some((ids, _)), Some(once)) = (&changed, once) {
                remember(t, once, ids, now)?;
            }
            Ok(Checked::Done(changed))
        })
    }

    async fn remembered(&self, once: &Once, now: UnixNanos) -> Result<Option<Remembered>, StoreError> {
        self.read("recall a request", |t| recall(t, once, now))
    }

    async fn price(&self, id: MeasurementId) -> Result<Option<Price>, StoreError> {
        self.read("find a price", |t| {
            t.prepare_cached("SELECT credits, packets FROM measurement_price WHERE measurement = ?")?
                .query_row([id.0.cast_signed()], |row| Ok(Price { credits: row.get(0)?, packets: row.get(1)? }))
                .optional()
        })
    }
}
