//! How people come in: sign-ups, invitations, passwords, web sessions. Secrets come here as digests, passwords as the PHC
//! strings of a slow hash.
//!
//! A sign-up is no account: it waits for whoever reads the address's mail, and several may wait for one address. The one
//! that is confirmed becomes the account, with its own password; so nobody can prepare an account for somebody else's
//! address and wait until they confirm it.

use std::fmt;

use async_trait::async_trait;
use sonde_protocol::ids::AccountId;
use sonde_protocol::time::UnixNanos;

use super::{Account, Digest};
use crate::StoreError;

/// Somebody asks for an account.
#[derive(Clone, PartialEq, Eq)]
pub struct SignUp {
    /// Of the token that confirms it.
    pub token: Digest,
    /// The mail address; compared in lower case.
    pub email: String,
    /// PHC string.
    pub password: String,
    /// The terms that were agreed to, at `created_at`.
    pub consent: String,
    /// The invitation that was shown.
    pub invite: Option<Digest>,
    /// When.
    pub created_at: UnixNanos,
    /// From when on it cannot be confirmed any more.
    pub expires: UnixNanos,
}

impl fmt::Debug for SignUp {
    /// Without the password, even though it is a hash: this may come into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { email, created_at, expires, .. } = self;
        let mut debug = f.debug_struct("SignUp");
        debug.field("email", email).field("created_at", created_at).field("expires", expires).finish_non_exhaustive()
    }
}

/// What became of a [`SignUp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedUp {
    /// It waits to be confirmed.
    Waiting {
        /// The invitation was the operator's, who knows whose address it is.
        vouched: bool,
    },
    /// The address has an account.
    Taken,
    /// The invitation is unknown, used, expired, or for another address.
    BadInvite,
    /// Too many wait, for this address or in all.
    Full,
}

/// What became of a confirmation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmed {
    /// The account was made.
    Made(Account),
    /// Nothing waits for this token, or not any more.
    Unknown,
    /// Another account has used the invitation meanwhile; the sign-up is gone.
    InviteUsed,
}

/// An invitation: lets one address sign up, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// Of its token.
    pub token: Digest,
    /// Who invites; the operator when absent.
    pub inviter: Option<AccountId>,
    /// Whom; compared in lower case.
    pub email: String,
    /// When.
    pub created_at: UnixNanos,
    /// From when on it is not good any more.
    pub expires: UnixNanos,
    /// The account that came of it.
    pub used_by: Option<AccountId>,
}

/// What became of an [`Invite`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invited {
    /// It is good.
    Made,
    /// The inviter has made as many as may be.
    TooMany,
}

/// A person's session with the API, by a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSession {
    /// Of the cookie's token.
    pub token: Digest,
    /// Whose.
    pub account: AccountId,
    /// When it began.
    pub created_at: UnixNanos,
    /// When it was last used, roughly.
    pub last_used: UnixNanos,
    /// When it ends.
    pub expires: UnixNanos,
    /// What the browser calls itself, for its owner to recognise it by.
    pub user_agent: String,
}

/// How people come in. What has expired is as if it were not there, and is removed by and by.
#[async_trait]
pub trait People: Send + Sync {
    /// Lets a sign-up wait, at most `per_address` for one address and `in_all`. What was wrong with an invitation is said
    /// before whether the address is taken.
    async fn sign_up(&self, sign_up: &SignUp, per_address: u32, in_all: u32) -> Result<SignedUp, StoreError>;

    /// Makes the account that a sign-up asks for, uses its invitation up, and forgets every other one for the address.
    async fn confirm(&self, token: &Digest, now: UnixNanos) -> Result<Confirmed, StoreError>;

    /// The sign-ups that wait, the newest first, at most `limit`; those of one address when it is given.
    async fn waiting(&self, email: Option<&str>, now: UnixNanos, limit: u32) -> Result<Vec<SignUp>, StoreError>;

    /// Stores an invitation unless its inviter has made `max` already; the operator may make any number.
    async fn invite(&self, invite: &Invite, max: u32) -> Result<Invited, StoreError>;

    /// The invitations that an account has made, the oldest first, also those that have expired.
    async fn invites(&self, inviter: AccountId) -> Result<Vec<Invite>, StoreError>;

    /// An account's password as a PHC string, if it has one.
    async fn password(&self, account: AccountId) -> Result<Option<String>, StoreError>;

    /// Changes the password, ends every session of the account but `keep`, and forgets its resets.
    async fn change_password(
        &self,
        account: AccountId,
        password: &str,
        keep: Option<&Digest>,
    ) -> Result<(), StoreError>;

    /// Stores a token that lets its holder set the account's password once.
    async fn add_reset(
        &self,
        token: &Digest,
        account: AccountId,
        now: UnixNanos,
        expires: UnixNanos,
    ) -> Result<(), StoreError>;

    /// Sets a password by such a token, as [`People::change_password`] does without keeping a session, and marks the
    /// account as verified. `None` when the token is not good or the account is disabled.
    async fn reset_password(
        &self,
        token: &Digest,
        password: &str,
        now: UnixNanos,
    ) -> Result<Option<Account>, StoreError>;

    /// Begins a session; the account's oldest ones end where there would be more than `max`. False when the account is
    /// disabled or unknown.
    async fn begin_session(&self, session: &WebSession, max: u32) -> Result<bool, StoreError>;

    /// The session of this token.
    async fn web_session(&self, token: &Digest, now: UnixNanos) -> Result<Option<WebSession>, StoreError>;

    /// Notes that a session was used.
    async fn touch_session(&self, token: &Digest, now: UnixNanos) -> Result<(), StoreError>;

    /// An account's sessions, the oldest first.
    async fn web_sessions(&self, account: AccountId, now: UnixNanos) -> Result<Vec<WebSession>, StoreError>;

    /// Ends a session; false when the account has none such.
    async fn end_session(&self, account: AccountId, token: &Digest) -> Result<bool, StoreError>;

    /// Ends every session of an account but `keep`.
    async fn end_sessions(&self, account: AccountId, keep: Option<&Digest>) -> Result<(), StoreError>;
}
