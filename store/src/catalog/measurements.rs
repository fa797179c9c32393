//! Measurements as they were asked for, their state, and who takes part.

use std::net::IpAddr;

use async_trait::async_trait;
use sonde_protocol::ids::{AccountId, Asn, MeasurementId, ProbeId};
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
    /// The group of an earlier measurement of the same owner that it joins; otherwise those made together are one.
    pub group: Option<MeasurementId>,
    /// Where the target's first address comes from, as far as anybody knows.
    pub origin: Option<Origin>,
    /// Probes that stay away are replaced.
    pub top_up: Option<TopUp>,
    /// Hours after which the server looks the target's name up again. Only of what is periodic and has `resolved`.
    pub target_update_hours: Option<u32>,
}

/// When a probe that stays away is replaced, and by whom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TopUp {
    /// After so many days.
    pub days_off: u32,
    /// By one that has at least this share of network and country in common with it: between 0 and 1.
    pub similarity: f64,
}

/// Where an address comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The AS that announces it.
    pub asn: Asn,
    /// The prefix that it announces.
    pub prefix: Option<String>,
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
    /// What was asked for (`probes` is empty here; see `participants`).
    pub asked: NewMeasurement,
    /// When it was stopped by hand.
    pub stopped_at: Option<UnixNanos>,
    /// It was the operator who stopped it.
    pub forced: bool,
    /// How many probes take or took part; not counted for those that are built-in.
    pub participants: u32,
    /// How many of them have left.
    pub departed: u32,
    /// Why it stays at its addresses since its target's name was last looked up.
    pub target_update_error: Option<String>,
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
    /// Everybody may see it, or not.
    pub is_public: Option<bool>,
    /// In this group.
    pub group: Option<MeasurementId>,
    /// Numbers within limits.
    pub limits: Vec<(NumberField, Limit)>,
    /// Texts, in any case.
    pub texts: Vec<(TextField, TextMatch, String)>,
    /// The target's first address is in this network, of so many bits.
    pub target_in: Option<(IpAddr, u8)>,
    /// The target's first address is announced by one of these.
    pub target_asn: Option<Vec<Asn>>,
    /// It has all of these tags.
    pub tags: Vec<String>,
    /// One of these takes part now; in a user's measurement.
    pub current_probes: Option<Vec<ProbeId>>,
    /// Its probes are replaced when they stay away, or not.
    pub tops_up: Option<bool>,
    /// In which order, each perhaps descending; by id at last. Empty: as the slice says.
    pub order: Vec<(MeasurementOrder, bool)>,
}

/// A number that measurements have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberField {
    /// Its own.
    Id,
    /// When it begins, in seconds.
    Start,
    /// When it ends or ended, in seconds; none for a one-off that is not over at the given time.
    Stop(UnixNanos),
    /// Seconds between runs; none for a one-off.
    Interval,
}

/// What a number has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit<T = i64> {
    /// Smaller.
    Below(T),
    /// Smaller or equal.
    AtMost(T),
    /// Greater.
    Above(T),
    /// Greater or equal.
    AtLeast(T),
    /// One of these.
    OneOf(Vec<T>),
}

/// A text that measurements have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextField {
    /// The target as asked for.
    Target,
    /// The description.
    Description,
    /// ICMP, UDP or TCP, where the kind has a choice.
    Protocol,
}

/// How a text is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextMatch {
    /// Whole.
    Is,
    /// Anywhere.
    Contains,
    /// At the beginning.
    StartsWith,
    /// At the end.
    EndsWith,
}

/// What a list is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeasurementOrder {
    /// The number.
    Id,
    /// When it begins.
    Start,
    /// When it ends or ended, at the given time.
    Stop(UnixNanos),
    /// Periodic ones first.
    IsOneoff,
    /// Seconds between runs.
    Interval,
    /// The kind's name.
    Kind,
    /// The family.
    Af,
    /// The number of the state at the given time.
    StatusNumber(UnixNanos),
    /// The name of the state at the given time.
    StatusName(UnixNanos),
}

/// What an owner changes of a measurement that is there already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeasurementEdit {
    /// Another description, or none any more.
    pub description: Option<Option<String>>,
    /// Everybody may see it, or not.
    pub is_public: Option<bool>,
    /// Other tags.
    pub tags: Option<Vec<String>>,
    /// One tag more, if it has not got it; whatever else changes at the same time.
    pub add_tag: Option<String>,
    /// One tag less, likewise.
    pub remove_tag: Option<String>,
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
    /// The operator ended it.
    ForcedToStop,
    /// No probe fits.
    NoSuitableProbes,
    /// It could not be carried out.
    Failed,
    /// It was not allowed.
    Denied,
    /// It was taken back before it began.
    Canceled,
}

impl Status {
    /// Every state.
    pub const ALL: [Status; 9] = [
        Status::Specified,
        Status::Scheduled,
        Status::Ongoing,
        Status::Stopped,
        Status::ForcedToStop,
        Status::NoSuitableProbes,
        Status::Failed,
        Status::Denied,
        Status::Canceled,
    ];

    /// Atlas's number.
    pub const fn number(self) -> u8 {
        match self {
            Status::Specified => 0,
            Status::Scheduled => 1,
            Status::Ongoing => 2,
            Status::Stopped => 4,
            Status::ForcedToStop => 5,
            Status::NoSuitableProbes => 6,
            Status::Failed => 7,
            Status::Denied => 8,
            Status::Canceled => 9,
        }
    }

    /// Atlas's name, case and spaces included.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Specified => "Specified",
            Status::Scheduled => "Scheduled",
            Status::Ongoing => "Ongoing",
            Status::Stopped => "Stopped",
            Status::ForcedToStop => "Forced to stop",
            Status::NoSuitableProbes => "No suitable probes",
            Status::Failed => "Failed",
            Status::Denied => "Denied",
            Status::Canceled => "Canceled",
        }
    }

    /// Nothing more comes of it.
    pub const fn is_over(self) -> bool {
        !matches!(self, Status::Specified | Status::Scheduled | Status::Ongoing)
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
        if self.participants == 0 && !self.id.is_builtin() {
            return (Status::NoSuitableProbes, Some(self.created_at));
        }
        if let Some(at) = self.stopped_at {
            return (if self.forced { Status::ForcedToStop } else { Status::Stopped }, Some(at));
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
    /// When it left; its results stay.
    pub left_at: Option<UnixNanos>,
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

    /// Makes the texts of some of the newest measurements quick to search; true when more of them wait for it. A search finds
    /// them before as well, only not as quickly.
    async fn index_texts(&self) -> Result<bool, StoreError>;
}
