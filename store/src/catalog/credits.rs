//! Credits: a double-entry ledger. What one ledger gains another loses, so the sum over all is always zero.

use async_trait::async_trait;
use sonde_protocol::ids::{AccountId, MeasurementId};
use sonde_protocol::time::UnixNanos;

use super::quotas::Once;
use super::{Page, Slice};
use crate::StoreError;
use crate::results::{Cursor, Tally};

/// Whose credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ledger {
    /// A person's.
    Account(AccountId),
    /// Where what probes earn comes from.
    Earned,
    /// Where what measurements cost goes.
    Spent,
    /// Where what the operator gives comes from.
    Granted,
}

/// Why credits changed hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A new account begins with some.
    Start,
    /// The operator gave them.
    Grant,
    /// From one person to another.
    Transfer,
    /// What probes earned, on one day.
    Income,
    /// What a measurement cost, on one day.
    Expense,
}

/// One transaction as an account sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreditEntry {
    /// The transaction's number.
    pub id: u64,
    /// Why.
    pub kind: EntryKind,
    /// When it began.
    pub at: UnixNanos,
    /// When something was added to it last: those of one day grow.
    pub changed_at: UnixNanos,
    /// What the account gained, or lost when it is below zero.
    pub amount: i64,
    /// What cost it.
    pub measurement: Option<MeasurementId>,
    /// Results of an expense, minutes of an income.
    pub count: u64,
    /// Whose gain was the loss.
    pub other: Option<AccountId>,
}

/// What an account has, and what happened to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CreditSummary {
    /// What it has.
    pub balance: i64,
    /// What its measurements have cost since the time asked for.
    pub spent: i64,
    /// Their results since then that cost something.
    pub results: u64,
    /// When something was taken last.
    pub last_debited: Option<UnixNanos>,
    /// When something came last.
    pub last_credited: Option<UnixNanos>,
}

/// How far charging has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charging {
    /// What came before this costs nothing.
    pub since: UnixNanos,
    /// The last tally that was charged went on here.
    pub cursor: Option<Cursor>,
}

/// What a connected minute earns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// A probe's.
    pub probe: u32,
    /// An anchor's (a probe with the tag `system-anchor`).
    pub anchor: u32,
}

/// What came of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transferred {
    /// It was made, now or when the same request came before: the transaction's number.
    Done(u64),
    /// There is not enough; this much is.
    Overdrawn(i64),
    /// The key of the request came before, with another request.
    OtherRequest,
}

/// The ledger. Amounts are never below zero where callers give them.
#[async_trait]
pub trait Credits: Send + Sync {
    /// What an account has.
    async fn balance(&self, account: AccountId) -> Result<i64, StoreError>;

    /// Gives an account what new ones begin with, once; false when it has had it.
    async fn grant_start(&self, account: AccountId, amount: u64, now: UnixNanos) -> Result<bool, StoreError>;

    /// Gives an account credits.
    async fn grant(&self, account: AccountId, amount: u64, now: UnixNanos) -> Result<u64, StoreError>;

    /// Moves credits from one account to another, unless the giver would have less than nothing, or less than its one-offs
    /// of the last hour may still cost.
    async fn transfer(
        &self,
        from: AccountId,
        to: AccountId,
        amount: u64,
        once: Option<&Once>,
        now: UnixNanos,
    ) -> Result<Transferred, StoreError>;

    /// An account's transactions of these kinds (all when none is named), by number.
    async fn credit_entries(
        &self,
        account: AccountId,
        kinds: &[EntryKind],
        slice: Slice,
    ) -> Result<Page<CreditEntry>, StoreError>;

    /// One transaction of an account.
    async fn credit_entry(&self, account: AccountId, id: u64) -> Result<Option<CreditEntry>, StoreError>;

    /// What an account has, and what its measurements cost on the UTC day `now` is in.
    async fn credit_summary(&self, account: AccountId, now: UnixNanos) -> Result<CreditSummary, StoreError>;

    /// How far charging has come; begins with what comes from now on if it has not begun. What probes have earned before
    /// is not credited either.
    async fn begin_charging(&self, now: UnixNanos) -> Result<Charging, StoreError>;

    /// Forgets how far charging has come: nothing is charged until it begins again.
    async fn end_charging(&self) -> Result<(), StoreError>;

    /// Books what a tally's results cost to the owners of their measurements, by the price each was made at, and moves on to
    /// the tally's end; both or neither. `after` is where the tally began: when charging has moved on meanwhile, nothing
    /// happens and false comes back. A measurement's results of one day are one transaction. Nobody is charged for results
    /// of probes that were not asked, for more results than were asked for, or, if `own_probes_free`, for own probes'.
    async fn charge(
        &self,
        tally: &Tally,
        after: Option<&Cursor>,
        own_probes_free: bool,
        now: UnixNanos,
    ) -> Result<bool, StoreError>;

    /// Books what connected probes have earned their owners since it was booked last, by whole minutes. Gives the amount.
    async fn book_income(&self, rates: Rates, now: UnixNanos) -> Result<u64, StoreError>;

    /// Running measurements that cost something, of accounts that have less than nothing.
    async fn unpaid_measurements(&self, now: UnixNanos) -> Result<Vec<MeasurementId>, StoreError>;

    /// What is wrong with the ledger: transactions whose sum is not zero, balances that are not their transactions' sum.
    /// Empty when all is well.
    async fn check_ledger(&self) -> Result<Vec<String>, StoreError>;
}
