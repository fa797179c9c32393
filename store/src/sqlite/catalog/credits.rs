//! The ledger: booking, moving, listing, checking.

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sonde_protocol::ids::{AccountId, MeasurementId};
use sonde_protocol::time::UnixNanos;

use super::super::filter::{Filter, numbers};
use super::super::{damaged, refused};
use super::{SqliteCatalog, charging, quotas};
use crate::StoreError;
use crate::catalog::{
    Charging, CreditEntry, CreditSummary, Credits, EntryKind, Ledger, Once, Page, Rates, Remembered, Slice, Transferred,
};
use crate::results::{Cursor, Tally};

pub(super) fn ledger_number(ledger: Ledger) -> i64 {
    match ledger {
        Ledger::Account(account) => account.0.cast_signed(),
        Ledger::Earned => -1,
        Ledger::Spent => -2,
        Ledger::Granted => -3,
    }
}

const fn kind_number(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Start => 1,
        EntryKind::Grant => 2,
        EntryKind::Transfer => 3,
        EntryKind::Income => 4,
        EntryKind::Expense => 5,
    }
}

fn kind(number: u8) -> rusqlite::Result<EntryKind> {
    let all = [EntryKind::Start, EntryKind::Grant, EntryKind::Transfer, EntryKind::Income, EntryKind::Expense];
    let found = all.into_iter().find(|kind| kind_number(*kind) == number);
    found.ok_or_else(|| damaged(format!("unknown kind of transaction {number}")))
}

/// What is to be booked: from one ledger to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Booking<'a> {
    pub(super) key: &'a str,
    pub(super) kind: EntryKind,
    pub(super) from: Ledger,
    pub(super) to: Ledger,
    pub(super) amount: i64,
    pub(super) measurement: Option<MeasurementId>,
    pub(super) count: u64,
}

/// Books, and adds to what was booked under this key before. The transaction's number.
pub(super) fn book(db: &Connection, booking: Booking<'_>, now: UnixNanos) -> rusqlite::Result<i64> {
    let Booking { key, kind, from, to, amount, measurement, count } = booking;
    if amount < 0 {
        return Err(refused("an amount below zero"));
    }
    let id: i64 = db
        .prepare_cached(
            "INSERT INTO credit_transaction (key, kind, at, changed_at, measurement, count) VALUES (?1, ?2, ?3, ?3, ?4, ?5)
             ON CONFLICT (key) DO UPDATE SET changed_at = ?3, count = count + ?5 RETURNING id",
        )?
        .query_row(
            params![
                key,
                kind_number(kind),
                now.0,
                measurement.map(|id| id.0.cast_signed()),
                i64::try_from(count).map_err(refused)?
            ],
            |row| row.get(0),
        )?;
    // The same amount off one and onto the other: the sum stays zero.
    for (ledger, amount) in [(from, -amount), (to, amount)] {
        let ledger = ledger_number(ledger);
        db.prepare_cached(
            "INSERT INTO credit_line (ledger, transaction_id, amount) VALUES (?, ?, ?)
             ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
        )?
        .execute([ledger, id, amount])?;
        db.prepare_cached(
            "INSERT INTO credit_balance (ledger, balance) VALUES (?, ?)
             ON CONFLICT DO UPDATE SET balance = balance + excluded.balance",
        )?
        .execute([ledger, amount])?;
    }
    Ok(id)
}

/// How much has been counted under a key.
pub(super) fn counted(db: &Connection, key: &str) -> rusqlite::Result<Option<u64>> {
    db.prepare_cached("SELECT count FROM credit_transaction WHERE key = ?")?
        .query_row([key], |row| Ok(row.get::<_, i64>(0)?.cast_unsigned()))
        .optional()
}

/// A key for a transaction that is like no other.
fn fresh_key(db: &Connection, word: &str) -> rusqlite::Result<String> {
    // Numbers are never used twice, so this is the next one's.
    let last: i64 = db
        .prepare_cached("SELECT ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'credit_transaction'), 0)")?
        .query_row([], |row| row.get(0))?;
    Ok(format!("{word} {last}"))
}

pub(super) fn balance(db: &Connection, account: AccountId) -> rusqlite::Result<i64> {
    let found = db
        .prepare_cached("SELECT balance FROM credit_balance WHERE ledger = ?")?
        .query_row([account.0.cast_signed()], |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or(0))
}

fn start_key(account: AccountId) -> String {
    format!("start {account}")
}

fn grant(db: &Connection, account: AccountId, amount: u64, now: UnixNanos, is_start: bool) -> rusqlite::Result<u64> {
    let (kind, key) = match is_start {
        true => (EntryKind::Start, start_key(account)),
        false => (EntryKind::Grant, fresh_key(db, "grant")?),
    };
    let (from, to) = (Ledger::Granted, Ledger::Account(account));
    let amount = i64::try_from(amount).map_err(refused)?;
    let booking = Booking { key: &key, kind, from, to, amount, measurement: None, count: 0 };
    Ok(book(db, booking, now)?.cast_unsigned())
}

fn transfer(
    db: &Connection,
    from: AccountId,
    to: AccountId,
    amount: u64,
    once: Option<&Once>,
    now: UnixNanos,
) -> rusqlite::Result<Transferred> {
    match once.map(|once| quotas::recall(db, once, now)).transpose()?.flatten() {
        Some(Remembered::Same(made)) => {
            let id = made.first().ok_or_else(|| damaged("a transfer that made nothing"))?;
            return Ok(Transferred::Done(*id));
        }
        Some(Remembered::Other) => return Ok(Transferred::OtherRequest),
        None => {}
    }
    let free = balance(db, from)?.saturating_sub(quotas::reserved(db, from, now)?);
    let amount = i64::try_from(amount).map_err(refused)?;
    if amount > free {
        return Ok(Transferred::Overdrawn(free.max(0)));
    }
    let key = fresh_key(db, "transfer")?;
    let (giver, taker) = (Ledger::Account(from), Ledger::Account(to));
    let kind = EntryKind::Transfer;
    let booking = Booking { key: &key, kind, from: giver, to: taker, amount, measurement: None, count: 0 };
    let id = book(db, booking, now)?.cast_unsigned();
    if let Some(once) = once {
        quotas::remember(db, once, &[id], now)?;
    }
    Ok(Transferred::Done(id))
}

const ENTRY: &str = "id, kind, at, changed_at, measurement, count, amount,
    (SELECT other.ledger FROM credit_line AS other WHERE other.transaction_id = id AND other.ledger > 0
        AND other.ledger <> credit_line.ledger) AS other";
const ENTRIES: &str = "credit_line JOIN credit_transaction ON credit_transaction.id = credit_line.transaction_id";

fn entry(row: &Row<'_>) -> rusqlite::Result<CreditEntry> {
    Ok(CreditEntry {
        id: row.get::<_, i64>("id")?.cast_unsigned(),
        kind: kind(row.get("kind")?)?,
        at: UnixNanos(row.get("at")?),
        changed_at: UnixNanos(row.get("changed_at")?),
        amount: row.get("amount")?,
        measurement: row.get::<_, Option<i64>>("measurement")?.map(|id| MeasurementId(id.cast_unsigned())),
        count: row.get::<_, i64>("count")?.cast_unsigned(),
        other: row.get::<_, Option<i64>>("other")?.map(|id| AccountId(id.cast_unsigned())),
    })
}

fn summary(db: &Connection, account: AccountId, now: UnixNanos) -> rusqlite::Result<CreditSummary> {
    let number = account.0.cast_signed();
    let midnight = now.as_secs().div_euclid(86_400).saturating_mul(86_400_000_000_000);
    let (spent, results) = db
        .prepare_cached(
            "SELECT ifnull(sum(-amount), 0), ifnull(sum(count), 0) FROM credit_transaction JOIN credit_line
                ON credit_line.transaction_id = credit_transaction.id AND ledger = ?1
             WHERE kind = 5 AND at >= ?2",
        )?
        .query_row([number, midnight], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned())))?;
    let last = |sign: &str| {
        db.prepare_cached(&format!(
            "SELECT max(changed_at) FROM credit_line JOIN credit_transaction ON credit_transaction.id = transaction_id
             WHERE ledger = ? AND amount {sign} 0"
        ))?
        .query_row([number], |row| Ok(row.get::<_, Option<i64>>(0)?.map(UnixNanos)))
    };
    let (last_debited, last_credited) = (last("<")?, last(">")?);
    Ok(CreditSummary { balance: balance(db, account)?, spent, results, last_debited, last_credited })
}

fn check(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut sums = db.prepare(
        "SELECT id, total(amount), count(amount) FROM credit_transaction LEFT JOIN credit_line ON transaction_id = id
         GROUP BY id HAVING total(amount) <> 0 OR count(amount) <> 2",
    )?;
    let bad = sums.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, f64>(1)?, row.get::<_, i64>(2)?)))?;
    for row in bad {
        let (id, sum, lines) = row?;
        wrong.push(format!("transaction {id} has {lines} lines, and their sum is {sum}"));
    }
    let mut balances = db.prepare(
        "SELECT ledger, sum(balance), sum(lines) FROM (
            SELECT ledger, balance, 0 AS lines FROM credit_balance
            UNION ALL SELECT ledger, 0, sum(amount) FROM credit_line GROUP BY ledger)
         GROUP BY ledger HAVING sum(balance) <> sum(lines)",
    )?;
    let bad =
        balances.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))?;
    for row in bad {
        let (ledger, balance, lines) = row?;
        wrong.push(format!("ledger {ledger} says {balance}, and its transactions add up to {lines}"));
    }
    Ok(wrong)
}

#[async_trait]
impl Credits for SqliteCatalog {
    async fn balance(&self, account: AccountId) -> Result<i64, StoreError> {
        self.read("read a balance", |t| balance(t, account))
    }

    async fn grant_start(&self, account: AccountId, amount: u64, now: UnixNanos) -> Result<bool, StoreError> {
        if self.read("read a ledger", |t| counted(t, &start_key(account)))?.is_some() {
            return Ok(false);
        }
        self.write("give first credits", |t| match counted(t, &start_key(account))? {
            Some(_) => Ok(false),
            None => grant(t, account, amount, now, true).map(|_| true),
        })
    }

    async fn grant(&self, account: AccountId, amount: u64, now: UnixNanos) -> Result<u64, StoreError> {
        self.write("give credits", |t| grant(t, account, amount, now, false))
    }

    async fn transfer(
        &self,
        from: AccountId,
        to: AccountId,
        amount: u64,
        once: Option<&Once>,
        now: UnixNanos,
    ) -> Result<Transferred, StoreError> {
        self.write("transfer credits", |t| transfer(t, from, to, amount, once, now))
    }

    async fn credit_entries(
        &self,
        account: AccountId,
        kinds: &[EntryKind],
        slice: Slice,
    ) -> Result<Page<CreditEntry>, StoreError> {
        let mut conditions = Filter::default();
        conditions.and("ledger = ?", [Value::from(account.0.cast_signed())]);
        if !kinds.is_empty() {
            let kinds = numbers(kinds.iter().map(|kind| u64::from(kind_number(*kind))));
            conditions.and("kind IN (SELECT value FROM json_each(?))", [kinds]);
        }
        self.read("list transactions", |t| conditions.page(t, ENTRY, ENTRIES, slice, entry))
    }

    async fn credit_entry(&self, account: AccountId, id: u64) -> Result<Option<CreditEntry>, StoreError> {
        self.read("find a transaction", |t| {
            t.prepare_cached(&format!("SELECT {ENTRY} FROM {ENTRIES} WHERE ledger = ? AND id = ?"))?
                .query_row([account.0.cast_signed(), id.cast_signed()], entry)
                .optional()
        })
    }

    async fn credit_summary(&self, account: AccountId, now: UnixNanos) -> Result<CreditSummary, StoreError> {
        self.read("sum up an account", |t| summary(t, account, now))
    }

    async fn begin_charging(&self, now: UnixNanos) -> Result<Charging, StoreError> {
        self.write("begin to charge", |t| charging::begin(t, now))
    }

    async fn end_charging(&self) -> Result<(), StoreError> {
        self.write("end charging", |t| t.execute("DELETE FROM charging", []).map(drop))
    }

    async fn charge(
        &self,
        tally: &Tally,
        after: Option<&Cursor>,
        own_probes_free: bool,
        now: UnixNanos,
    ) -> Result<bool, StoreError> {
        // What takes long only reads: it holds nobody up.
        let costs = self.read("price results", |t| charging::costs(t, tally, own_probes_free))?;
        self.write("charge results", |t| charging::charge(t, tally, after, &costs, now))
    }

    async fn book_income(&self, rates: Rates, now: UnixNanos) -> Result<u64, StoreError> {
        self.write("book income", |t| charging::income(t, rates, now))
    }

    async fn unpaid_measurements(&self, now: UnixNanos) -> Result<Vec<MeasurementId>, StoreError> {
        self.read("find unpaid measurements", |t| charging::unpaid(t, now))
    }

    async fn check_ledger(&self) -> Result<Vec<String>, StoreError> {
        self.read("check the ledger", |t| check(t))
    }
}
