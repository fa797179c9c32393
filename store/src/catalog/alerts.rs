//! Alert rules, and what their owners are to be told.

use async_trait::async_trait;
use sonde_protocol::ids::{AccountId, MeasurementId, ProbeId};
use sonde_protocol::time::UnixNanos;

use super::{Page, Slice};
use crate::StoreError;

/// An alert rule as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAlertRule {
    /// Whose it is.
    pub owner: AccountId,
    /// What it watches.
    pub measurement: MeasurementId,
    /// For people.
    pub description: String,
    /// When it alerts, as JSON. What it means is the API's business.
    pub condition: String,
    /// Where its owner is told.
    pub url: String,
    /// Signs what is sent there.
    pub secret: Vec<u8>,
    /// Is it watched?
    pub enabled: bool,
}

/// An alert rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRule {
    /// Its number.
    pub id: u64,
    /// When it was made.
    pub created_at: UnixNanos,
    /// What was asked for.
    pub asked: NewAlertRule,
    /// How it is.
    pub state: AlertState,
}

/// How a rule is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertState {
    /// Does it alert?
    pub alerting: bool,
    /// Since when that is so; absent before the first alert.
    pub since: Option<UnixNanos>,
    /// The probes that make it alert.
    pub probes: Vec<ProbeId>,
}

/// Something that the owner of a rule is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its number.
    pub id: u64,
    /// Of which rule.
    pub rule: u64,
    /// When it came up.
    pub created_at: UnixNanos,
    /// What is sent.
    pub body: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next; absent when it is over.
    pub next_at: Option<UnixNanos>,
    /// When it arrived; absent when it has not, or never will.
    pub ended_at: Option<UnixNanos>,
    /// What the last attempt gave.
    pub last: Option<String>,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It arrived.
    Arrived(UnixNanos),
    /// It is to be tried again then.
    Again(UnixNanos),
    /// It is given up.
    GivenUp,
    /// It is given up, with everything else for this rule, which is switched off: its receiver wants no more.
    Unwanted,
}

/// Alert rules and their deliveries.
#[async_trait]
pub trait Alerts: Send + Sync {
    /// Makes a rule; `None` when its owner has `most` already.
    async fn add_alert_rule(
        &self,
        rule: &NewAlertRule,
        most: u32,
        now: UnixNanos,
    ) -> Result<Option<AlertRule>, StoreError>;

    /// One rule.
    async fn alert_rule(&self, id: u64) -> Result<Option<AlertRule>, StoreError>;

    /// An account's rules, by id.
    async fn alert_rules(&self, owner: AccountId, slice: Slice) -> Result<Page<AlertRule>, StoreError>;

    /// The rules that are watched, by id: `limit` of them behind the rule `after`.
    async fn watched_alert_rules(&self, after: u64, limit: u64) -> Result<Vec<AlertRule>, StoreError>;

    /// Changes what was asked for, of the same owner's; false when there is no such rule. The state of a rule whose
    /// condition or measurement has changed, or that is switched off, begins anew.
    async fn change_alert_rule(&self, id: u64, asked: &NewAlertRule) -> Result<bool, StoreError>;

    /// Removes a rule of this owner and whatever was to be told; false when there is none.
    async fn remove_alert_rule(&self, owner: AccountId, id: u64) -> Result<bool, StoreError>;

    /// Sets the state of a rule that is still as `rule` says (else nothing is done), and with it what is to be told.
    async fn set_alert_state(
        &self,
        rule: &AlertRule,
        state: &AlertState,
        tell: Option<&str>,
        now: UnixNanos,
    ) -> Result<bool, StoreError>;

    /// Something to be told of this rule, whatever its state.
    async fn add_delivery(&self, rule: u64, body: &str, now: UnixNanos) -> Result<u64, StoreError>;

    /// Deliveries that are due, the oldest first.
    async fn due_deliveries(&self, now: UnixNanos, limit: u64) -> Result<Vec<Delivery>, StoreError>;

    /// Writes down what became of an attempt, in words too.
    async fn attempted(&self, delivery: u64, attempt: Attempt, last: &str) -> Result<(), StoreError>;

    /// What was told of a rule, or is to be, by id.
    async fn deliveries(&self, rule: u64, slice: Slice) -> Result<Page<Delivery>, StoreError>;

    /// Forgets deliveries that are over and older than this.
    async fn forget_deliveries(&self, before: UnixNanos) -> Result<(), StoreError>;
}
