//! What system tags are made of: how probes' own resolvers answer, and when the probes were there.

use async_trait::async_trait;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::Family;
use sonde_protocol::time::UnixNanos;

use super::Measurement;
use crate::StoreError;

/// How a probe's own resolvers answered once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolverEvidence {
    /// The probe.
    pub probe: ProbeId,
    /// Addresses of this family were asked for.
    pub family: Family,
    /// When.
    pub at: UnixNanos,
    /// They gave some.
    pub works: bool,
}

/// When a probe was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// The probe.
    pub probe: ProbeId,
    /// When it was first connected.
    pub first_connected: UnixNanos,
    /// Its sessions, by their beginning.
    pub sessions: Vec<SessionSpan>,
    /// Sessions that began before this were too many to be told ([`MOST_SESSIONS`]); absent when all are there.
    pub cut_before: Option<UnixNanos>,
}

/// From when to when a session was open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSpan {
    /// When it began.
    pub from: UnixNanos,
    /// When it ended; absent while it is open.
    pub to: Option<UnixNanos>,
    /// The families that worked, as far as is known.
    pub families: Vec<Family>,
}

/// A system tag that a probe gets or loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagChange {
    /// The probe.
    pub probe: ProbeId,
    /// The tag.
    pub tag: &'static str,
    /// It gets it.
    pub has: bool,
}

/// How many sessions of a probe are told, the newest: for ninety days one each six minutes. A probe that connects again and again
/// must not cost whoever looks at it.
pub const MOST_SESSIONS: u64 = 20_000;

/// What system tags are made of.
#[async_trait]
pub trait Evidence: Send + Sync {
    /// Measurements that ask the probes' own resolvers (dns by them, names looked up before every run) and may have been
    /// running after `since`; `limit` at most, the newest.
    async fn resolving_measurements(&self, since: UnixNanos, limit: u64) -> Result<Vec<Measurement>, StoreError>;

    /// Records how resolvers answered, and forgets what is older than `forget`. The newest of each probe and family decides
    /// on `system-resolves-a-correctly` and `system-resolves-aaaa-correctly`; `system-dns-problem-suspected` is for
    /// those of whom the newest of either says that they do not.
    async fn record_resolvers(&self, evidence: &[ResolverEvidence], forget: UnixNanos) -> Result<(), StoreError>;

    /// When the probes that were ever connected were there after `since`; `limit` probes at most, with higher numbers than
    /// `after`, by number.
    async fn presence(&self, after: Option<ProbeId>, limit: u64, since: UnixNanos)
    -> Result<Vec<Presence>, StoreError>;

    /// Gives and takes tags.
    async fn change_tags(&self, changes: &[TagChange]) -> Result<(), StoreError>;
}
