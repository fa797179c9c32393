//! Keys that wait, probes that are nobody's, and other keys for probes.

use std::net::IpAddr;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sonde_protocol::identity::ClaimCode;
use sonde_protocol::ids::{AccountId, ProbeId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::time::UnixNanos;

use super::super::damaged;
use super::super::filter::Filter;
use super::{SqliteCatalog, probes};
use crate::StoreError;
use crate::catalog::{
    CLAIM_CODE_LIFE, Claimed, Enrolment, Knock, Knocked, MAX_UNVOUCHED_OF_NETWORK, MAX_WAITING, MAX_WAITING_OF_NETWORK,
    NOBODY, Page, Probe, Rebound, Slice, TURNED_AWAY_FOR, UNVOUCHED_COUNTS_FOR, Waiting, network_of,
};

const COLUMNS: &str = "key, code, owner, address, software, since, last_seen, expires";

fn read(row: &Row<'_>) -> rusqlite::Result<Waiting> {
    Ok(Waiting {
        key: PublicKey(row.get("key")?),
        code: row.get::<_, String>("code")?.parse().map_err(damaged)?,
        owner: row.get::<_, Option<i64>>("owner")?.map(|id| AccountId(id.cast_unsigned())),
        address: row.get::<_, String>("address")?.parse().map_err(damaged)?,
        software: row.get("software")?,
        since: UnixNanos(row.get("since")?),
        last_seen: UnixNanos(row.get("last_seen")?),
        expires: UnixNanos(row.get("expires")?),
    })
}

fn count(db: &Connection, sql: &str, values: impl rusqlite::Params) -> rusqlite::Result<u64> {
    Ok(db.prepare_cached(sql)?.query_row(values, |row| row.get::<_, i64>(0))?.unsigned_abs())
}

fn exists(db: &Connection, sql: &str, key: &PublicKey) -> rusqlite::Result<bool> {
    db.prepare_cached(sql)?.exists([key.0])
}

fn knock(db: &Connection, knock: &Knock) -> rusqlite::Result<Knocked> {
    db.prepare_cached("DELETE FROM waiting_key WHERE expires <= ?")?.execute([knock.at.0])?;
    let address = knock.address.to_canonical();
    let network = network_of(address).to_string();
    if exists(db, "SELECT 1 FROM waiting_key WHERE key = ? AND turned_away", &knock.key)? {
        return Ok(Knocked::TurnedAway);
    }
    let is_new = !exists(db, "SELECT 1 FROM waiting_key WHERE key = ?", &knock.key)?;
    if is_new && !exists(db, "SELECT 1 FROM probe WHERE key = ?", &knock.key)? {
        let of_network = count(db, "SELECT count(*) FROM waiting_key WHERE network = ?", [&network])?;
        if of_network >= MAX_WAITING_OF_NETWORK || count(db, "SELECT count(*) FROM waiting_key", [])? >= MAX_WAITING {
            return Ok(Knocked::Full);
        }
    }
    db.prepare_cached(&format!(
        "INSERT INTO waiting_key (key, code, owner, address, network, software, since, last_seen, expires)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8)
         ON CONFLICT (key) DO UPDATE SET owner = coalesce(excluded.owner, owner), address = excluded.address,
            network = excluded.network, software = excluded.software, last_seen = excluded.last_seen
         RETURNING {COLUMNS}"
    ))?
    .query_row(
        params![
            knock.key.0,
            knock.code.letters(),
            knock.owner.map(|owner| owner.0.cast_signed()),
            address.to_string(),
            network,
            knock.software,
            knock.at.0,
            (knock.at + CLAIM_CODE_LIFE).0
        ],
        read,
    )
    .map(Knocked::Waits)
}

fn join_open(db: &Connection, key: &PublicKey, from: IpAddr, at: UnixNanos) -> rusqlite::Result<Option<Probe>> {
    let network = network_of(from).to_string();
    let since = at - UNVOUCHED_COUNTS_FOR;
    let there = count(
        db,
        "SELECT count(*) FROM probe WHERE vouched = 0 AND joined_from = ? AND coalesce(last_connected, created_at) > ?",
        params![network, since.0],
    )?;
    if there >= MAX_UNVOUCHED_OF_NETWORK {
        return Ok(None);
    }
    super::builtins::make_nobody(db, at)?;
    db.prepare_cached("INSERT INTO probe (key, owner, created_at, vouched, joined_from) VALUES (?, ?, ?, 0, ?)")?
        .execute(params![key.0, NOBODY.0.cast_signed(), at.0, network])?;
    probes::by_key(db, key)
}

fn waiting_keys(
    db: &Connection,
    owner: Option<AccountId>,
    slice: Slice,
    now: UnixNanos,
) -> rusqlite::Result<Page<Waiting>> {
    let mut filter = Filter::default();
    filter.and("NOT turned_away AND expires > ?", [rusqlite::types::Value::from(now.0)]);
    if let Some(owner) = owner {
        filter.and("owner = ?", [rusqlite::types::Value::from(owner.0.cast_signed())]);
    }
    filter.order_by("since", slice.descending, []);
    filter.page(db, &format!("{COLUMNS}, key AS id"), "waiting_key", slice, read)
}

/// Whoever waits with this code for the account, or for anybody.
fn by_code(
    db: &Connection,
    code: &ClaimCode,
    account: Option<AccountId>,
    now: UnixNanos,
) -> rusqlite::Result<Option<Waiting>> {
    let found = db
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM waiting_key WHERE code = ? AND expires > ? AND NOT turned_away"
        ))?
        .query_row(params![code.letters(), now.0], read)
        .optional()?;
    Ok(found.filter(|waiting| waiting.owner.is_none() || account.is_none() || waiting.owner == account))
}

fn forget(db: &Connection, key: &PublicKey) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM waiting_key WHERE key = ?")?.execute([key.0])?;
    Ok(())
}

fn claim(
    db: &Connection,
    code: &ClaimCode,
    meant: Option<&PublicKey>,
    account: AccountId,
    consent: &str,
    now: UnixNanos,
) -> rusqlite::Result<Claimed> {
    let Some(waiting) = by_code(db, code, Some(account), now)? else { return Ok(Claimed::Unknown) };
    if meant.is_some_and(|meant| *meant != waiting.key) {
        return Ok(Claimed::OtherKey);
    }
    forget(db, &waiting.key)?;
    // In an open network it is a probe already, and nobody's.
    let taken = db
        .prepare_cached(
            "INSERT INTO probe (key, owner, created_at, consent, consented_at) VALUES (?1, ?2, ?4, ?3, ?4)
             ON CONFLICT (key) DO UPDATE SET owner = ?2, vouched = 1, consent = ?3, consented_at = ?4 WHERE owner = ?5",
        )?
        .execute(params![waiting.key.0, account.0.cast_signed(), consent, now.0, NOBODY.0.cast_signed()])?;
    Ok(match probes::by_key(db, &waiting.key)?.filter(|_| taken == 1) {
        Some(probe) => Claimed::Yours(Box::new(probe)),
        None => Claimed::Unknown,
    })
}

fn rebind(
    db: &Connection,
    id: ProbeId,
    code: &ClaimCode,
    meant: Option<&PublicKey>,
    now: UnixNanos,
) -> rusqlite::Result<Rebound> {
    let Some(probe) = probes::by_id(db, id)? else { return Ok(Rebound::Unknown) };
    let Some(waiting) = by_code(db, code, Some(probe.owner), now)? else { return Ok(Rebound::Unknown) };
    if meant.is_some_and(|meant| *meant != waiting.key) {
        return Ok(Rebound::OtherKey);
    }
    let other = probes::by_key(db, &waiting.key)?;
    // The key of another's probe is not to be had, nor this probe's own again.
    if other.as_ref().is_some_and(|other| other.owner != NOBODY || other.id == id) {
        return Ok(Rebound::Unknown);
    }
    forget(db, &waiting.key)?;
    retire(db, id, &probe.key, false, now)?;
    let emptied = other.map(|other| other.id);
    if let Some(emptied) = emptied {
        // What it was is the old key's now, with which nobody comes in.
        let emptied = emptied.0.cast_signed();
        db.execute("UPDATE probe SET key = randomblob(32) WHERE id = ?", [emptied])?;
        set_key(db, id, &waiting.key)?;
        db.execute("UPDATE probe SET key = ? WHERE id = ?", params![probe.key.0, emptied])?;
    } else {
        set_key(db, id, &waiting.key)?;
    }
    Ok(Rebound::Done { key: waiting.key, emptied })
}

fn retire(db: &Connection, probe: ProbeId, key: &PublicKey, rotated: bool, now: UnixNanos) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO retired_key (key, probe, at, rotated) VALUES (?, ?, ?, ?)")?
        .execute(params![key.0, probe.0.cast_signed(), now.0, rotated])?;
    Ok(())
}

/// With another key nobody else has it.
fn set_key(db: &Connection, probe: ProbeId, key: &PublicKey) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE probe SET key = ?2, duplicate_at = NULL WHERE id = ?1")?
        .execute(params![probe.0.cast_signed(), key.0])?;
    Ok(())
}

fn rotate(db: &Connection, id: ProbeId, old: &PublicKey, new: &PublicKey, now: UnixNanos) -> rusqlite::Result<bool> {
    let Some(probe) = probes::by_id(db, id)? else { return Ok(false) };
    if probe.key == *new {
        return exists(db, "SELECT 1 FROM retired_key WHERE key = ?", old);
    }
    const TAKEN: &str = "SELECT 1 FROM probe WHERE key = ?1 UNION ALL SELECT 1 FROM retired_key WHERE key = ?1
        UNION ALL SELECT 1 FROM waiting_key WHERE key = ?1";
    if probe.key != *old || exists(db, TAKEN, new)? {
        return Ok(false);
    }
    retire(db, id, old, true, now)?;
    set_key(db, id, new)?;
    forget(db, old)?;
    Ok(true)
}

#[async_trait]
impl Enrolment for SqliteCatalog {
    async fn knock(&self, asked: &Knock) -> Result<Knocked, StoreError> {
        self.write("have a key wait", |t| knock(t, asked))
    }

    async fn join_open(&self, key: &PublicKey, address: IpAddr, at: UnixNanos) -> Result<Option<Probe>, StoreError> {
        self.write("take in a probe", |t| join_open(t, key, address, at))
    }

    async fn waiting_keys(
        &self,
        owner: Option<AccountId>,
        slice: Slice,
        now: UnixNanos,
    ) -> Result<Page<Waiting>, StoreError> {
        self.read("list waiting keys", |t| waiting_keys(t, owner, slice, now))
    }

    async fn claim(
        &self,
        code: &ClaimCode,
        meant: Option<&PublicKey>,
        account: AccountId,
        consent: &str,
        now: UnixNanos,
    ) -> Result<Claimed, StoreError> {
        self.write("claim a probe", |t| claim(t, code, meant, account, consent, now))
    }

    async fn turn_away(
        &self,
        code: &ClaimCode,
        owner: Option<AccountId>,
        now: UnixNanos,
    ) -> Result<Option<PublicKey>, StoreError> {
        self.write("turn a key away", |t| {
            // What waits for anybody is not one account's to turn away.
            let found = by_code(t, code, owner, now)?.filter(|waiting| owner.is_none() || waiting.owner == owner);
            let Some(waiting) = found else { return Ok(None) };
            t.prepare_cached("UPDATE waiting_key SET turned_away = 1, expires = ?2 WHERE key = ?1")?
                .execute(params![waiting.key.0, (now + TURNED_AWAY_FOR).0])?;
            Ok(Some(waiting.key))
        })
    }

    async fn rebind(
        &self,
        probe: ProbeId,
        code: &ClaimCode,
        meant: Option<&PublicKey>,
        now: UnixNanos,
    ) -> Result<Rebound, StoreError> {
        self.write("rebind a probe", |t| rebind(t, probe, code, meant, now))
    }

    async fn rotate(
        &self,
        probe: ProbeId,
        old: &PublicKey,
        new: &PublicKey,
        now: UnixNanos,
    ) -> Result<bool, StoreError> {
        self.write("change a probe's key", |t| rotate(t, probe, old, new, now))
    }

    async fn vouch(&self, probe: ProbeId) -> Result<bool, StoreError> {
        self.write("vouch for a probe", |t| {
            let sql = "UPDATE probe SET vouched = 1 WHERE id = ?";
            Ok(t.prepare_cached(sql)?.execute([probe.0.cast_signed()])? == 1)
        })
    }

    async fn note_duplicate(&self, probe: ProbeId, at: UnixNanos) -> Result<(), StoreError> {
        self.write("note a copied key", |t| {
            t.prepare_cached("UPDATE probe SET duplicate_at = ?2 WHERE id = ?1")?
                .execute(params![probe.0.cast_signed(), at.0])?;
            Ok(())
        })
    }
}
