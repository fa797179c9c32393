//! Measurements as they were asked for, their state, and who takes part.

use std::net::IpAddr;

use async_trait::async_trait;
use sonde_protocol::ids::{AccountId, MeasurementId, ProbeId};
use sonde_protocol::net::Family;
use sonde_protocol::spec::{Kind, Spec};
use sonde_protocol::time::UnixNanos;

use super::{Page, Slice};
use crate::StoreError;

/// A measurement as somebody asked for it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMeasurement {
    /// Whose it is.
    pub owner: AccountId,
    /// What to measure.
    pub spec: Spec,
    /// The family.
    pub af: Family,
    /// The target as asked for; absent for dns with the probes' own resolvers.
    pub target: Option<String>,
    /// The target's addresses of the family, when the server resolved them.
    pub resolved: Vec<IpAddr>,
    /// The probe resolves before every run.
    pub resolve_on_probe: bool,
    /// Once, or again and again.
    pub is_oneoff: bool,
    /// Seconds between runs; absent for a one-off.
    pub interval: Option<u32>,
    /// Seconds over which probes are spread.
    pub spread: Option<u32>,
    /// When it begins.
    pub start: UnixNanos,
    /// The start was asked for; otherwise a one-off begins as soon as an order is there.
    pub start_given: bool,
    /// When it ends; for a one-off, when it expires.
    pub stop: Option<UnixNanos>,
    /// For people.
    pub description: Option<String>,
    /// Everybody may see it.
    pub is_public: bool,
    /// Tag slugs.
    pub tags: Vec<String>,
    /// How many probes were asked for, over all sources.
    pub probes_requested: u32,
    /// The sources as asked for, in JSON, kept for the record.
    pub probe_sources: String,
    /// The probes chosen.
    pub probes: Vec<ProbeId>,
}

/// A measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// Its number.
    pub id: MeasurementId,
    /// The first measurement of those made together.
    pub group: MeasurementId,
    /// When it was made.
    pub created_at: UnixNanos,
    /// What was asked for (`probes` is empty here; see [`Catalog::participants`]).
    pub asked: NewMeasurement,
    /// When it was stopped by hand.
    pub stopped_at: Option<UnixNanos>,
    /// How many probes take or took part.
    pub participants: u32,
    /// How many of a one-off's probes have delivered their result, or the reason why there is none.
    pub settled: u32,
}

/// Which measurements; every condition must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeasurementFilter {
    /// One of these.
    pub ids: Option<Vec<MeasurementId>>,
    /// This account's.
    pub owner: Option<AccountId>,
    /// Public, or this account's. Set by [`crate::view::Viewer`].
    pub visible_to: Option<Option<AccountId>>,
    /// Of this kind.
    pub kind: Option<Kind>,
    /// Of this family.
    pub af: Option<Family>,
    /// One-off or not.
    pub is_oneoff: Option<bool>,
    /// In one of these states at the given time.
    pub status: Option<(Vec<Status>, UnixNanos)>,
    /// This text is in the description or the target (any case).
    pub search: Option<String>,
}

/// What an owner changes of a measurement that is there already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeasurementEdit {
    /// Another description, or none any more.
    pub description: Option<Option<String>>,
    /// Everybody may see it, or not.
    pub is_public: Option<bool>,
}

/// A measurement's state (Atlas's numbers and names).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Made, not yet looked at.
    Specified,
    /// Begins later.
    Scheduled,
    /// Running.
    Ongoing,
    /// Over, by time or by hand.
    Stopped,
    /// No probe fits.
    NoSuitableProbes,
}

impl Status {
    /// Every state.
    pub const ALL: [Status; 5] =
        [Status::Specified, Status::Scheduled, Status::Ongoing, Status::Stopped, Status::NoSuitableProbes];

    /// Atlas's number.
    pub const fn number(self) -> u8 {
        match self {
            Status::Specified => 0,
            Status::Scheduled => 1,
            Status::Ongoing => 2,
            Status::Stopped => 4,
            Status::NoSuitableProbes => 6,
        }
    }

    /// Atlas's name, case and spaces included.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Specified => "Specified",
            Status::Scheduled => "Scheduled",
            Status::Ongoing => "Ongoing",
            Status::Stopped => "Stopped",
            Status::NoSuitableProbes => "No suitable probes",
        }
    }
}

/// How long a one-off counts as ongoing at least: clients look at its state first some time after they made it, and take
/// anything but ongoing for a failure.
pub const ONEOFF_ONGOING_BASE_SECS: i64 = 30;

/// How long a one-off may take at most before its orders expire, in seconds.
pub const ONEOFF_EXPIRY_SECS: i64 = 900;

impl Measurement {
    /// Its state at `now`, and since when (absent while it is ongoing or before).
    pub fn status(&self, now: UnixNanos) -> (Status, Option<UnixNanos>) {
        if self.participants == 0 {
            return (Status::NoSuitableProbes, Some(self.created_at));
        }
        if let Some(at) = self.stopped_at {
            return (Status::Stopped, Some(at));
        }
        if now < self.asked.start {
            return (Status::Scheduled, None);
        }
        if self.asked.is_oneoff && self.settled >= self.participants {
            let seconds = ONEOFF_ONGOING_BASE_SECS + i64::from(self.asked.probes_requested) / 4;
            let end = UnixNanos::from_secs(self.asked.start.as_secs() + seconds);
            if now >= end {
                return (Status::Stopped, Some(end));
            }
        }
        match self.asked.stop {
            Some(stop) if now >= stop => (Status::Stopped, Some(stop)),
            _ => (Status::Ongoing, None),
        }
    }
}

/// A probe's part in a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Participant {
    /// The probe.
    pub probe: ProbeId,
    /// Since when.
    pub since: UnixNanos,
    /// A one-off's result, or the reason why there is none, is durable.
    pub settled: bool,
}

/// Measurements and who takes part in them.
#[async_trait]
pub trait Measurements: Send + Sync {
    /// Makes measurements together, with their participants; the first one's number is the group of all. Each chosen
    /// probe's order revision grows by one. Numbers start at [`MeasurementId::FIRST_USER`].
    async fn add_measurements(&self, new: &[NewMeasurement], now: UnixNanos) -> Result<Vec<MeasurementId>, StoreError>;

    /// One measurement.
    async fn measurement(&self, id: MeasurementId) -> Result<Option<Measurement>, StoreError>;

    /// Some measurements, by id.
    async fn measurements(&self, filter: &MeasurementFilter, slice: Slice) -> Result<Page<Measurement>, StoreError>;

    /// Who takes part in a measurement, by probe id.
    async fn participants(&self, id: MeasurementId) -> Result<Vec<Participant>, StoreError>;

    /// Changes what is said of a measurement; what it measures stays. Nothing happens when there is none.
    async fn edit_measurement(&self, id: MeasurementId, edit: &MeasurementEdit) -> Result<(), StoreError>;
}
