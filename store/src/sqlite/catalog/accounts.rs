//! Accounts, API keys and join tokens. Secrets come here as digests.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sonde_protocol::ids::{AccountId, MeasurementId};
use sonde_protocol::time::UnixNanos;

use super::SqliteCatalog;
use crate::StoreError;
use crate::catalog::{Account, Accounts, ApiKey, Consent, Digest, Grant, Page, Slice};

const COLUMNS: &str = "id, email, created_at, verified_at, consent, consented_at, disabled_at";

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Account> {
    let time = |name: &str| row.get::<_, Option<i64>>(name).map(|at| at.map(UnixNanos));
    let consent: (Option<String>, Option<UnixNanos>) = (row.get("consent")?, time("consented_at")?);
    Ok(Account {
        id: AccountId(row.get::<_, i64>("id")?.cast_unsigned()),
        email: row.get("email")?,
        created_at: UnixNanos(row.get("created_at")?),
        verified_at: time("verified_at")?,
        consent: consent.0.zip(consent.1).map(|(version, at)| Consent { version, at }),
        disabled_at: time("disabled_at")?,
    })
}

pub(super) fn add(db: &Connection, email: &str, now: UnixNanos) -> rusqlite::Result<Option<Account>> {
    db.prepare_cached(&format!(
        "INSERT INTO account (email, created_at) VALUES (?, ?) ON CONFLICT (email) DO NOTHING RETURNING {COLUMNS}"
    ))?
    .query_row(params![email.to_lowercase(), now.0], read)
    .optional()
}

pub(super) fn by_email(db: &Connection, email: &str) -> rusqlite::Result<Option<Account>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM account WHERE email = ?"))?
        .query_row([email.to_lowercase()], read)
        .optional()
}

pub(super) fn by_id(db: &Connection, id: AccountId) -> rusqlite::Result<Option<Account>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM account WHERE id = ?"))?
        .query_row([id.0.cast_signed()], read)
        .optional()
}

fn list(db: &Connection, slice: Slice) -> rusqlite::Result<Page<Account>> {
    let total: i64 = db.query_row("SELECT count(*) FROM account", [], |row| row.get(0))?;
    let order = if slice.descending { "DESC" } else { "ASC" };
    let bound = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let items = db
        .prepare_cached(&format!("SELECT {COLUMNS} FROM account ORDER BY id {order} LIMIT ? OFFSET ?"))?
        .query_map([bound(slice.limit), bound(slice.offset)], read)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Page { total: total.cast_unsigned(), items })
}

fn set_disabled(db: &Connection, id: AccountId, since: Option<UnixNanos>) -> rusqlite::Result<bool> {
    let id = id.0.cast_signed();
    let changed = db
        .prepare_cached("UPDATE account SET disabled_at = ? WHERE id = ?")?
        .execute(params![since.map(|at| at.0), id])?;
    if since.is_some() {
        db.prepare_cached("DELETE FROM web_session WHERE account = ?")?.execute([id])?;
        db.prepare_cached("DELETE FROM password_reset WHERE account = ?")?.execute([id])?;
    }
    Ok(changed > 0)
}

pub(super) fn add_key(db: &Connection, key: &ApiKey) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO api_key (digest, account, label, created_at, enabled, valid_from, valid_to, everything)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        key.digest,
        key.account.0.cast_signed(),
        key.label,
        key.created_at.0,
        key.enabled,
        key.valid_from.map(|at| at.0),
        key.valid_to.map(|at| at.0),
        key.grants.is_none(),
    ])?;
    add_grants(db, key)
}

fn add_grants(db: &Connection, key: &ApiKey) -> rusqlite::Result<()> {
    let mut insert =
        db.prepare_cached("INSERT INTO key_grant (digest, position, permission, measurement) VALUES (?, ?, ?, ?)")?;
    for (position, grant) in (0_i64..).zip(key.grants.iter().flatten()) {
        let measurement = grant.measurement.map(|id| id.0.cast_signed());
        insert.execute(params![key.digest, position, grant.permission, measurement])?;
    }
    Ok(())
}

pub(super) fn change_key(db: &Connection, key: &ApiKey) -> rusqlite::Result<bool> {
    let changed = db
        .prepare_cached(
            "UPDATE api_key SET label = ?3, enabled = ?4, valid_from = ?5, valid_to = ?6, everything = ?7
             WHERE digest = ?1 AND account = ?2",
        )?
        .execute(params![
            key.digest,
            key.account.0.cast_signed(),
            key.label,
            key.enabled,
            key.valid_from.map(|at| at.0),
            key.valid_to.map(|at| at.0),
            key.grants.is_none(),
        ])?;
    if changed == 0 {
        return Ok(false);
    }
    db.prepare_cached("DELETE FROM key_grant WHERE digest = ?")?.execute([key.digest])?;
    add_grants(db, key)?;
    Ok(true)
}

pub(super) fn remove_key(db: &Connection, account: AccountId, digest: &Digest) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "DELETE FROM key_grant WHERE digest = (SELECT digest FROM api_key WHERE digest = ? AND account = ?)",
    )?
    .execute(params![digest, account.0.cast_signed()])?;
    let removed = db
        .prepare_cached("DELETE FROM api_key WHERE digest = ? AND account = ?")?
        .execute(params![digest, account.0.cast_signed()])?;
    Ok(removed > 0)
}

const KEY_COLUMNS: &str = "digest, account, label, created_at, enabled, valid_from, valid_to, everything";

/// A key whose grants, unless it may do everything, are still to be read.
fn read_key(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    Ok(ApiKey {
        digest: row.get("digest")?,
        account: AccountId(row.get::<_, i64>("account")?.cast_unsigned()),
        label: row.get("label")?,
        created_at: UnixNanos(row.get("created_at")?),
        enabled: row.get("enabled")?,
        valid_from: row.get::<_, Option<i64>>("valid_from")?.map(UnixNanos),
        valid_to: row.get::<_, Option<i64>>("valid_to")?.map(UnixNanos),
        grants: (!row.get::<_, bool>("everything")?).then(Vec::new),
    })
}

fn with_grants(db: &Connection, mut key: ApiKey) -> rusqlite::Result<ApiKey> {
    if let Some(grants) = &mut key.grants {
        *grants = db
            .prepare_cached("SELECT permission, measurement FROM key_grant WHERE digest = ? ORDER BY position")?
            .query_map([key.digest], |row| {
                let measurement = row.get::<_, Option<i64>>("measurement")?;
                Ok(Grant {
                    permission: row.get("permission")?,
                    measurement: measurement.map(|id| MeasurementId(id.cast_unsigned())),
                })
            })?
            .collect::<rusqlite::Result<_>>()?;
    }
    Ok(key)
}

pub(super) fn key(db: &Connection, digest: &Digest) -> rusqlite::Result<Option<ApiKey>> {
    let key = db
        .prepare_cached(&format!(
            "SELECT {KEY_COLUMNS} FROM api_key WHERE digest = ?
             AND account IN (SELECT id FROM account WHERE disabled_at IS NULL)"
        ))?
        .query_row([digest], read_key)
        .optional()?;
    key.map(|key| with_grants(db, key)).transpose()
}

pub(super) fn keys(db: &Connection, account: AccountId) -> rusqlite::Result<Vec<ApiKey>> {
    let keys: Vec<ApiKey> = db
        .prepare_cached(&format!("SELECT {KEY_COLUMNS} FROM api_key WHERE account = ? ORDER BY created_at, digest"))?
        .query_map([account.0.cast_signed()], read_key)?
        .collect::<rusqlite::Result<_>>()?;
    keys.into_iter().map(|key| with_grants(db, key)).collect()
}

pub(super) fn add_join_token(
    db: &Connection,
    token: &Digest,
    owner: AccountId,
    now: UnixNanos,
    expires: UnixNanos,
) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO join_token (digest, owner, created_at, expires) VALUES (?, ?, ?, ?)")?
        .execute(params![token, owner.0.cast_signed(), now.0, expires.0])?;
    Ok(())
}

/// What a join token is worth to a key.
pub(super) enum TokenUse {
    /// It is bound to this key, and this account's.
    Good(AccountId),
    /// It is this account's, and bound to another key.
    Used(AccountId),
    /// It is unknown or expired.
    Bad,
}

/// Binds the token to the probe's key, unless it is unknown, expired, or another key's.
pub(super) fn use_join_token(
    db: &Connection,
    token: &Digest,
    key: &[u8; 32],
    now: UnixNanos,
) -> rusqlite::Result<TokenUse> {
    let found = db
        .prepare_cached(
            "UPDATE join_token SET bound_key = coalesce(bound_key, ?2) WHERE digest = ?1 AND expires > ?3
             RETURNING owner, bound_key = ?2",
        )?
        .query_row(params![token, key, now.0], |row| {
            Ok((AccountId(row.get::<_, i64>(0)?.cast_unsigned()), row.get::<_, bool>(1)?))
        })
        .optional()?;
    Ok(match found {
        Some((owner, true)) => TokenUse::Good(owner),
        Some((owner, false)) => TokenUse::Used(owner),
        None => TokenUse::Bad,
    })
}

#[async_trait]
impl Accounts for SqliteCatalog {
    async fn add_account(&self, email: &str, now: UnixNanos) -> Result<Option<Account>, StoreError> {
        self.write("add an account", |t| add(t, email, now))
    }

    async fn account_by_email(&self, email: &str) -> Result<Option<Account>, StoreError> {
        self.read("find an account", |t| by_email(t, email))
    }

    async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.read("find an account", |t| by_id(t, id))
    }

    async fn accounts(&self, slice: Slice) -> Result<Page<Account>, StoreError> {
        self.read("list accounts", |t| list(t, slice))
    }

    async fn set_disabled(&self, id: AccountId, since: Option<UnixNanos>) -> Result<bool, StoreError> {
        self.write("disable an account", |t| set_disabled(t, id, since))
    }

    async fn add_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.write("add a key", |t| add_key(t, key))
    }

    async fn key(&self, digest: &Digest) -> Result<Option<ApiKey>, StoreError> {
        self.read("find a key", |t| key(t, digest))
    }

    async fn change_key(&self, key: &ApiKey) -> Result<bool, StoreError> {
        self.write("change a key", |t| change_key(t, key))
    }

    async fn remove_key(&self, account: AccountId, digest: &Digest) -> Result<bool, StoreError> {
        self.write("remove a key", |t| remove_key(t, account, digest))
    }

    async fn keys(&self, account: AccountId) -> Result<Vec<ApiKey>, StoreError> {
        self.read("list keys", |t| keys(t, account))
    }

    async fn add_join_token(
        &self,
        token: &Digest,
        owner: AccountId,
        now: UnixNanos,
        expires: UnixNanos,
    ) -> Result<(), StoreError> {
        self.write("add a join token", |t| add_join_token(t, token, owner, now, expires))
    }
}
