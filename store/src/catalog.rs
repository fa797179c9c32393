//! The catalog: accounts, keys, probes, measurements and who takes part in them.

use std::net::IpAddr;

use async_trait::async_trait;
use sonde_protocol::ids::{AccountId, Asn, MeasurementId, ProbeId, Revision, SessionId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::net::Family;
use sonde_protocol::order::Order;
use sonde_protocol::spec::{Kind, Spec};
use sonde_protocol::time::UnixNanos;

use crate::StoreError;

/// A SHA-256 digest. Secrets (API keys, join tokens) are stored as their digests only.
pub type Digest = [u8; 32];

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

/// What became of a probe's key at the door.
#[derive(Debug, Clone, PartialEq)]
pub enum Admission {
    /// The key is known.
    Known(Box<Probe>),
    /// A token let it join just now.
    Joined(Box<Probe>),
    /// Unknown key without a token.
    UnknownKey,
    /// The token is unknown, expired, or bound to another key.
    BadToken,
}

/// A probe.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// Its number.
    pub id: ProbeId,
    /// Its key.
    pub key: PublicKey,
    /// Whose it is.
    pub owner: AccountId,
    /// When it joined.
    pub created_at: UnixNanos,
    /// For people; given by the owner.
    pub description: Option<String>,
    /// Is it connected, and since when is that so; `None` before the first connection.
    pub connection: Option<Connection>,
    /// When it was first connected.
    pub first_connected: Option<UnixNanos>,
    /// When it was last seen.
    pub last_connected: Option<UnixNanos>,
    /// Public address by family, as the collector saw it or as it told by its own global addresses.
    pub address_v4: Option<IpAddr>,
    /// See `address_v4`.
    pub address_v6: Option<IpAddr>,
    /// The owner lets everybody see the exact addresses.
    pub address_is_public: bool,
    /// Origin AS by family, where known.
    pub asn_v4: Option<Asn>,
    /// See `asn_v4`.
    pub asn_v6: Option<Asn>,
    /// ISO 3166 country code, upper case, where known.
    pub country: Option<String>,
    /// Latitude and longitude in degrees, where known.
    pub place: Option<(f64, f64)>,
    /// Name and version of its software.
    pub software: Option<String>,
    /// Tag slugs, system tags included, sorted.
    pub tags: Vec<String>,
    /// Seconds connected in all, without the present connection.
    pub total_uptime: u64,
}

/// A probe's present or last state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Is it connected now?
    pub connected: bool,
    /// Since when.
    pub since: UnixNanos,
    /// The session that is open, or was last.
    pub session: SessionId,
}

/// A probe's connection as it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// The probe.
    pub probe: ProbeId,
    /// The address it was seen from.
    pub public_address: IpAddr,
    /// Its own addresses, as it tells.
    pub addresses: Vec<IpAddr>,
    /// Families that it says it has an address and a route to the internet for, be it behind a translator.
    pub families: Vec<Family>,
    /// Name and version of its software.
    pub software: String,
    /// When.
    pub at: UnixNanos,
}

/// Which probes; every condition must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProbeFilter {
    /// One of these.
    pub ids: Option<Vec<ProbeId>>,
    /// This account's.
    pub owner: Option<AccountId>,
    /// Connected now, or not.
    pub connected: Option<bool>,
    /// Atlas status: never connected.
    pub never_connected: Option<bool>,
    /// In this country (any case).
    pub country: Option<String>,
    /// In this AS, by either family.
    pub asn: Option<Asn>,
    /// Has all these tags.
    pub tags: Vec<String>,
    /// Has none of these tags.
    pub without_tags: Vec<String>,
}

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

/// Who and what. Methods are atomic: they take effect whole or not at all, and are durable when they return.
#[async_trait]
pub trait Catalog: Send + Sync {
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

    /// Says what a probe's key is at the door. A valid token that nobody has used, or this key, makes an unknown key a
    /// probe of the token's owner and is bound to this key from then on.
    async fn admit(&self, key: &PublicKey, token: Option<&Digest>, now: UnixNanos) -> Result<Admission, StoreError>;

    /// One probe.
    async fn probe(&self, id: ProbeId) -> Result<Option<Probe>, StoreError>;

    /// Some probes, by id.
    async fn probes(&self, filter: &ProbeFilter, slice: Slice) -> Result<Page<Probe>, StoreError>;

    /// Records that a probe has connected, with its addresses, and gives the session its number. An address family that
    /// the probe shows a global address of (seen from outside, or own), or says it has a way out by, gets the tags
    /// `system-ipvN-works` and `system-ipvN-capable`; the others lose them.
    async fn open_session(&self, session: &NewSession) -> Result<SessionId, StoreError>;

    /// Records that a session has ended. The probe counts as disconnected only if it has no newer session.
    async fn close_session(&self, session: SessionId, at: UnixNanos) -> Result<(), StoreError>;

    /// Ends every session that is still open, at the start of a collector that has none.
    async fn close_all_sessions(&self, at: UnixNanos) -> Result<(), StoreError>;

    /// The addresses that sessions came from. Unknown ones are left out.
    async fn session_addresses(&self, sessions: &[SessionId]) -> Result<Vec<(SessionId, IpAddr)>, StoreError>;

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

    /// Stops a measurement. Gives the probes whose orders changed by it; empty when it was over already.
    async fn stop_measurement(&self, id: MeasurementId, now: UnixNanos) -> Result<Vec<ProbeId>, StoreError>;

    /// A probe's orders at `now` and their revision: every participation in a measurement that is neither stopped nor
    /// past its end, one-offs only until settled. The revision is kept per probe and grows with every change that
    /// [`Catalog::add_measurements`], [`Catalog::stop_measurement`] and [`Catalog::settle_oneoffs`] make.
    async fn orders(&self, probe: ProbeId, now: UnixNanos) -> Result<(Revision, Vec<Order>), StoreError>;

    /// Records that one-offs have their result, or the reason why there is none, from these probes. Idempotent; pairs
    /// that are no one-off participation are ignored. Gives the probes whose orders changed.
    async fn settle_oneoffs(&self, pairs: &[(MeasurementId, ProbeId)]) -> Result<Vec<ProbeId>, StoreError>;
}
