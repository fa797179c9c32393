//! Probes, their sessions, and how they join.

use std::net::IpAddr;

use async_trait::async_trait;
use sonde_protocol::board::UpdateChoice;
use sonde_protocol::ids::{AccountId, Asn, ProbeId, SessionId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::net::{Family, Uplink};
use sonde_protocol::spec::Kind;
use sonde_protocol::time::UnixNanos;

use super::{Consent, Digest, Page, ProbeFilter, Slice};
use crate::StoreError;

/// What became of a probe's key at the door.
#[derive(Debug, Clone, PartialEq)]
pub enum Admission {
    /// The key is known.
    Known(Box<Probe>),
    /// A token let it join just now.
    Joined(Box<Probe>),
    /// Unknown key without a token.
    UnknownKey,
    /// The token is unknown or expired.
    BadToken,
    /// The token is this account's, and another key has used it.
    UsedToken(AccountId),
    /// The key was this probe's until then, and is nobody's now.
    Replaced {
        /// The probe.
        probe: ProbeId,
        /// When it got another key.
        at: UnixNanos,
    },
}

/// A probe.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// Its number.
    pub id: ProbeId,
    /// Its key.
    pub key: PublicKey,
    /// Whose it is; [`super::NOBODY`]'s in an open network until somebody claims it.
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
    /// The owner has said the country.
    pub country_given: bool,
    /// Latitude and longitude in degrees, where known.
    pub place: Option<(f64, f64)>,
    /// Name and version of its software.
    pub software: Option<String>,
    /// What its last connection ran over.
    pub uplink: Option<Uplink>,
    /// Kinds that its host allows, by number, as it last told; absent when it did not tell.
    pub kinds: Option<Vec<Kind>>,
    /// Tag slugs, system tags included, sorted.
    pub tags: Vec<String>,
    /// The operator has made it an anchor.
    pub is_anchor: bool,
    /// Seconds connected in all, without the present connection.
    pub total_uptime: u64,
    /// Somebody stands for it: its owner, or the operator. Others are measured with only by their number and count in no sum.
    pub vouched: bool,
    /// What its owner agreed to when claiming it; absent when it came by a token.
    pub consent: Option<Consent>,
    /// When another probe with the same key was last noticed.
    pub duplicate_at: Option<UnixNanos>,
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
    /// Kinds that its host allows; absent when it does not tell.
    pub kinds: Option<Vec<Kind>>,
    /// Name and version of its software.
    pub software: String,
    /// What its connection runs over.
    pub uplink: Uplink,
    /// When.
    pub at: UnixNanos,
}

/// What an owner changes of a probe.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProbeEdit {
    /// Another description, or none any more.
    pub description: Option<Option<String>>,
    /// Everybody may see the exact addresses and the place, or not.
    pub address_is_public: Option<bool>,
    /// The country, upper case, from now on whatever the operator's files say; or that of those files again.
    pub country: Option<Option<String>>,
    /// Latitude and longitude, or none any more.
    pub place: Option<Option<(f64, f64)>>,
    /// The owner's tags; system tags stay as they are.
    pub tags: Option<Vec<String>>,
    /// What the owner of a board wants of updates.
    pub updates: Option<UpdateChoice>,
}

/// Where a probe's addresses come from, as the operator's files say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeOrigin {
    /// The probe.
    pub probe: ProbeId,
    /// The ASes of its addresses by family, unless nobody can know.
    pub asns: Option<(Option<Asn>, Option<Asn>)>,
    /// The country, upper case, unless nobody can know. What the owner has said stays.
    pub country: Option<Option<String>>,
}

/// A place on the public grid ([`crate::view::snapped`]), and who is there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GridPlace {
    /// Latitude and longitude in degrees.
    pub place: (f64, f64),
    /// How many of its probes are connected.
    pub connected: u64,
    /// How many there are.
    pub probes: u64,
}

/// What connected probes are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranking {
    /// The AS by IPv4.
    AsnV4,
    /// The AS by IPv6.
    AsnV6,
    /// The /24.
    NetworkV4,
    /// The /48.
    NetworkV6,
    /// The country.
    Country,
}

/// Probes and their sessions.
#[async_trait]
pub trait Probes: Send + Sync {
    /// Says what a probe's key is at the door. A valid token that nobody has used, or this key, makes an unknown key a
    /// probe of the token's owner and is bound to this key from then on. Once that key has another place, the token says
    /// whose probe it would be, no more.
    async fn admit(&self, key: &PublicKey, token: Option<&Digest>, now: UnixNanos) -> Result<Admission, StoreError>;

    /// One probe.
    async fn probe(&self, id: ProbeId) -> Result<Option<Probe>, StoreError>;

    /// Some probes, in the order that the filter names.
    async fn probes(&self, filter: &ProbeFilter, slice: Slice) -> Result<Page<Probe>, StoreError>;

    /// Where the probes of a filter are, as everybody may know it, by latitude and longitude; its order does not count. Probes
    /// whose place nobody knows are left out.
    async fn probe_places(&self, filter: &ProbeFilter) -> Result<Vec<GridPlace>, StoreError>;

    /// Records that a probe has connected, with its addresses, and gives the session its number. An address family that
    /// the probe shows a global address of (seen from outside, or own), or says it has a way out by, gets the tags
    /// `system-ipvN-works` and `system-ipvN-capable`; the others lose them. Own addresses that are private or local
    /// give `system-ipv4-rfc1918` and `system-ipv6-ula`. A probe takes part in no built-in measurement of a kind that its
    /// host does not allow.
    async fn open_session(&self, session: &NewSession) -> Result<SessionId, StoreError>;

    /// Records that a session has ended. The probe counts as disconnected only if it has no newer session.
    async fn close_session(&self, session: SessionId, at: UnixNanos) -> Result<(), StoreError>;

    /// Ends every session that is still open, at the start of a collector that has none.
    async fn close_all_sessions(&self, at: UnixNanos) -> Result<(), StoreError>;

    /// The addresses that sessions came from. Unknown ones are left out.
    async fn session_addresses(&self, sessions: &[SessionId]) -> Result<Vec<(SessionId, IpAddr)>, StoreError>;

    /// Changes what its owner says of a probe. Nothing happens when there is none.
    async fn edit_probe(&self, id: ProbeId, edit: &ProbeEdit) -> Result<(), StoreError>;

    /// Records where probes' addresses come from.
    async fn set_origins(&self, origins: &[ProbeOrigin]) -> Result<(), StoreError>;

    /// The tags in use, sorted, each with the number of probes that have it.
    async fn probe_tags(&self, slice: Slice) -> Result<Page<(String, u64)>, StoreError>;

    /// What the most connected probes have in common, and how many they are; by number, then by name.
    async fn probe_ranking(&self, by: Ranking, limit: u64) -> Result<Vec<(String, u64)>, StoreError>;
}
