//! Accounts, API keys, join tokens.

use async_trait::async_trait;
use sonde_protocol::ids::AccountId;
use sonde_protocol::time::UnixNanos;

use super::Digest;
use crate::StoreError;

/// A person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub id: AccountId,
    /// Lower-cased mail address; unique.
    pub email: String,
    /// When it was made.
    pub created_at: UnixNanos,
}

/// An API key as stored: without the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Digest of the 16 bytes of the key's UUID.
    pub digest: Digest,
    /// Whose it is.
    pub account: AccountId,
    /// For people.
    pub label: String,
    /// When it was made.
    pub created_at: UnixNanos,
    /// Can it be used?
    pub enabled: bool,
}

/// Accounts, their keys, and the tokens by which probes join.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Makes an account; `None` when the mail address has one already. The address is compared in lower case.
    async fn add_account(&self, email: &str, now: UnixNanos) -> Result<Option<Account>, StoreError>;

    /// The account of a mail address.
    async fn account_by_email(&self, email: &str) -> Result<Option<Account>, StoreError>;

    /// Stores an API key.
    async fn add_key(&self, key: &ApiKey) -> Result<(), StoreError>;

    /// The key with this digest.
    async fn key(&self, digest: &Digest) -> Result<Option<ApiKey>, StoreError>;

    /// An account's keys.
    async fn keys(&self, account: AccountId) -> Result<Vec<ApiKey>, StoreError>;

    /// Stores a join token for probes of `owner`.
    async fn add_join_token(
        &self,
        token: &Digest,
        owner: AccountId,
        now: UnixNanos,
        expires: UnixNanos,
    ) -> Result<(), StoreError>;
}
