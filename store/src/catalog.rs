//! The catalog: who and what. One trait per subject; [`Catalog`] is all of them together.
//!
//! Methods are atomic: they take effect whole or not at all, and are durable when they return.

mod accounts;
mod alerts;
mod anchors;
mod boards;
mod builtins;
mod credits;
mod enrolment;
mod evidence;
mod health;
mod measurements;
mod orders;
mod participation;
mod people;
mod probe_filter;
mod probes;
mod quotas;
mod roll_outs;
mod target_updates;

pub use accounts::{Account, Accounts, ApiKey, Consent, Grant};
pub use alerts::{AlertRule, AlertState, Alerts, Attempt, Delivery, NewAlertRule};
pub use anchors::{Anchor, AnchorAdded, AnchorFilter, Anchors, NewAnchor};
pub use boards::{Board, BoardCount, Boards, ToldBoard};
pub use builtins::{Builtin, Builtins, NOBODY, Reconciled};
pub use credits::{Charging, CreditEntry, CreditSummary, Credits, EntryKind, Ledger, Rates, Transferred};
pub use enrolment::{
    CLAIM_CODE_LIFE, Claimed, Enrolment, Knock, Knocked, MAX_UNVOUCHED_OF_NETWORK, MAX_WAITING, MAX_WAITING_OF_NETWORK,
    Rebound, TURNED_AWAY_FOR, UNVOUCHED_COUNTS_FOR, Waiting, network_of,
};
pub use evidence::{Evidence, MOST_SESSIONS, Presence, ResolverEvidence, SessionSpan, TagChange};
pub use health::{Healths, ProbeHealth, ToldCondition, ToldHost, merge as merge_health};
pub use measurements::{
    Limit, Measurement, MeasurementEdit, MeasurementFilter, MeasurementOrder, Measurements, NewMeasurement,
    NumberField, ONEOFF_EXPIRY_SECS, ONEOFF_ONGOING_BASE_SECS, Origin, Participant, Status, TextField, TextMatch,
    TopUp,
};
pub use orders::Orders;
pub use participation::{
    Change, Changed, NewParticipationRequest, ParticipantEvent, Participation, ParticipationRequest,
};
pub use people::{Confirmed, Invite, Invited, People, SignUp, SignedUp, WebSession};
pub use probe_filter::{Circle, Coordinate, ProbeFilter, ProbeNumber, ProbeOrder, ProbeState};
pub use probes::{Admission, Connection, GridPlace, NewSession, Probe, ProbeEdit, ProbeOrigin, Probes, Ranking};
pub use quotas::{Check, Checked, ONCE_SECS, ONEOFF_BURST_SECS, Once, Price, Quotas, Remembered, TargetUse, Usage};
pub use roll_outs::{Came, Fetched, LOST_AFTER, ReleaseStop, RollOut, RollOutCounts, RollOuts, lost_before};
pub use target_updates::{TargetUpdate, TargetUpdates};

/// A SHA-256 digest. Secrets (API keys, join tokens) are stored as their digests only.
pub type Digest = [u8; 32];

/// A part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// How many to leave out.
    pub offset: u64,
    /// How many at most.
    pub limit: u64,
    /// Descending by id instead of ascending.
    pub descending: bool,
}

/// A part of a list, and how long the whole is.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// How many there are in all.
    pub total: u64,
    /// Those asked for.
    pub items: Vec<T>,
}

/// Who and what: every subject of the catalog. Whatever implements the subjects is a catalog.
pub trait Catalog:
    Accounts
    + People
    + Probes
    + Enrolment
    + Measurements
    + Builtins
    + Orders
    + Participation
    + Evidence
    + Healths
    + Anchors
    + Alerts
    + Credits
    + Quotas
    + TargetUpdates
    + Boards
    + RollOuts
{
}

impl<T> Catalog for T where
    T: Accounts
        + People
        + Probes
        + Enrolment
        + Measurements
        + Builtins
        + Orders
        + Participation
        + Evidence
        + Healths
        + Anchors
        + Alerts
        + Credits
        + Quotas
        + TargetUpdates
        + Boards
        + RollOuts
        + ?Sized
{
}
