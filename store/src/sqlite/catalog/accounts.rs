//! Accounts, API keys and join tokens. Secrets come here as digests.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sonde_protocol::ids::AccountId;
use sonde_protocol::time::UnixNanos;

use super::SqliteCatalog;
use crate::StoreError;
use crate::catalog::{Account, Accounts, ApiKey, Digest};

pub(super) fn add(db: &Connection, email: &str, now: UnixNanos) -> rusqlite::Result<Option<Account>> {
    let email = email.to_lowercase();
    let id = db
        .prepare_cached(
            "INSERT INTO account (email, created_at) VALUES (?, ?) ON CONFLICT (email) DO NOTHING RETURNING id",
        )?
        .query_row(params![email, now.0], |row| row.get::<_, i64>(0))
        .optional()?;
    Ok(id.map(|id| Account { id: AccountId(id.cast_unsigned()), email, created_at: now }))
}

pub(super) fn by_email(db: &Connection, email: &str) -> rusqlite::Result<Option<Account>> {
    db.prepare_cached("SELECT id, email, created_at FROM account WHERE email = ?")?
        .query_row([email.to_lowercase()], |row| {
            Ok(Account {
                id: AccountId(row.get::<_, i64>("id")?.cast_unsigned()),
                email: row.get("email")?,
                created_at: UnixNanos(row.get("created_at")?),
            })
        })
        .optional()
}

pub(super) fn add_key(db: &Connection, key: &ApiKey) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO api_key (digest, account, label, created_at, enabled) VALUES (?, ?, ?, ?, ?)")?
        .execute(params![key.digest, key.account.0.cast_signed(), key.label, key.created_at.0, key.enabled])?;
    Ok(())
}

const KEY_COLUMNS: &str = "digest, account, label, created_at, enabled";

fn read_key(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    Ok(ApiKey {
        digest: row.get("digest")?,
        account: AccountId(row.get::<_, i64>("account")?.cast_unsigned()),
        label: row.get("label")?,
        created_at: UnixNanos(row.get("created_at")?),
        enabled: row.get("enabled")?,
    })
}

pub(super) fn key(db: &Connection, digest: &Digest) -> rusqlite::Result<Option<ApiKey>> {
    db.prepare_cached(&format!("SELECT {KEY_COLUMNS} FROM api_key WHERE digest = ?"))?
        .query_row([digest], read_key)
        .optional()
}

pub(super) fn keys(db: &Connection, account: AccountId) -> rusqlite::Result<Vec<ApiKey>> {
    db.prepare_cached(&format!("SELECT {KEY_COLUMNS} FROM api_key WHERE account = ? ORDER BY created_at, digest"))?
        .query_map([account.0.cast_signed()], read_key)?
        .collect()
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

/// Binds the token to the probe's key, unless it is unknown, expired, or another key's. Gives the token's owner.
pub(super) fn use_join_token(
    db: &Connection,
    token: &Digest,
    key: &[u8; 32],
    now: UnixNanos,
) -> rusqlite::Result<Option<AccountId>> {
    db.prepare_cached(
        "UPDATE join_token SET bound_key = ?2
         WHERE digest = ?1 AND expires > ?3 AND (bound_key IS NULL OR bound_key = ?2) RETURNING owner",
    )?
    .query_row(params![token, key, now.0], |row| Ok(AccountId(row.get::<_, i64>(0)?.cast_unsigned())))
    .optional()
}

#[async_trait]
impl Accounts for SqliteCatalog {
    async fn add_account(&self, email: &str, now: UnixNanos) -> Result<Option<Account>, StoreError> {
        self.write("add an account", |t| add(t, email, now))
    }

    async fn account_by_email(&self, email: &str) -> Result<Option<Account>, StoreError> {
        self.read("find an account", |t| by_email(t, email))
    }

    async fn add_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.write("add a key", |t| add_key(t, key))
    }

    async fn key(&self, digest: &Digest) -> Result<Option<ApiKey>, StoreError> {
        self.read("find a key", |t| key(t, digest))
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
