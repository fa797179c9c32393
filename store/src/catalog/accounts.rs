//! Accounts, API keys, join tokens.

use async_trait::async_trait;
use sonde_protocol::ids::{AccountId, MeasurementId};
use sonde_protocol::time::UnixNanos;

use super::{Digest, Page, Slice};
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
    /// When somebody first showed that they read its mail; absent when the operator made it and nobody has.
    pub verified_at: Option<UnixNanos>,
    /// What its person agreed to.
    pub consent: Option<Consent>,
    /// Since when it is of no use: its keys and sessions are as if they were not there.
    pub disabled_at: Option<UnixNanos>,
}

/// An agreement to the network's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// Which terms.
    pub version: String,
    /// When.
    pub at: UnixNanos,
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
    /// From when it is good; since ever when absent.
    pub valid_from: Option<UnixNanos>,
    /// From when on it is not good any more; never when absent.
    pub valid_to: Option<UnixNanos>,
    /// What it may do; everything when absent.
    pub grants: Option<Vec<Grant>>,
}

/// One thing that a key may do. What the names mean is the API's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The permission's name.
    pub permission: String,
    /// With this measurement only.
    pub measurement: Option<MeasurementId>,
}

/// Accounts, their keys, and the tokens by which probes join.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Makes an account without a password, as the operator does; `None` when the mail address has one already. The address
    /// is compared in lower case.
    async fn add_account(&self, email: &str, now: UnixNanos) -> Result<Option<Account>, StoreError>;

    /// The account of a mail address.
    async fn account_by_email(&self, email: &str) -> Result<Option<Account>, StoreError>;

    /// The account of this number.
    async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError>;

    /// A part of all accounts.
    async fn accounts(&self, slice: Slice) -> Result<Page<Account>, StoreError>;

    /// Disables an account, or, without a time, enables it again; false when there is none. Disabling ends its web sessions
    /// and forgets its password resets.
    async fn set_disabled(&self, id: AccountId, since: Option<UnixNanos>) -> Result<bool, StoreError>;

    /// Stores an API key.
    async fn add_key(&self, key: &ApiKey) -> Result<(), StoreError>;

    /// The key with this digest, unless its account is disabled.
    async fn key(&self, digest: &Digest) -> Result<Option<ApiKey>, StoreError>;

    /// Replaces everything about a key but its account and the time it was made; false when the account has no such key.
    async fn change_key(&self, key: &ApiKey) -> Result<bool, StoreError>;

    /// Removes a key; false when the account has no such key.
    async fn remove_key(&self, account: AccountId, digest: &Digest) -> Result<bool, StoreError>;

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
