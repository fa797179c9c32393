//! Anchors: well-connected probes that are also targets. The operator says which.

use async_trait::async_trait;
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::time::UnixNanos;

use super::{Page, Slice};
use crate::StoreError;

/// A probe that is to be an anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAnchor {
    /// The probe.
    pub probe: ProbeId,
    /// Its host name, lower case.
    pub hostname: String,
    /// Where it stands.
    pub city: Option<String>,
    /// ISO 3166 code of where it stands, upper case.
    pub country: Option<String>,
    /// Who has it.
    pub company: Option<String>,
}

/// An anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Its number.
    pub id: u64,
    /// What the operator said.
    pub said: NewAnchor,
    /// When it was made one.
    pub created_at: UnixNanos,
    /// When it ceased to be one.
    pub removed_at: Option<UnixNanos>,
}

/// Which anchors; every condition must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnchorFilter {
    /// This one.
    pub id: Option<u64>,
    /// In this country (any case).
    pub country: Option<String>,
    /// This text is in the host name, the city or the company (any case).
    pub search: Option<String>,
    /// These probes.
    pub probes: Option<Vec<ProbeId>>,
}

/// What became of a wish to make an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnchorAdded {
    /// Made, with this number.
    Made(u64),
    /// There is no such probe.
    NoSuchProbe,
    /// The probe is an anchor already, or the host name is another's.
    Taken,
}

/// Anchors.
#[async_trait]
pub trait Anchors: Send + Sync {
    /// Makes a probe an anchor; it gets the tag `system-anchor`.
    async fn add_anchor(&self, new: &NewAnchor, now: UnixNanos) -> Result<AnchorAdded, StoreError>;

    /// A probe is no anchor any more. The host name it had; `None` when it was none.
    async fn remove_anchor(&self, probe: ProbeId, now: UnixNanos) -> Result<Option<String>, StoreError>;

    /// Some anchors, by number, those of former times included.
    async fn anchors(&self, filter: &AnchorFilter, slice: Slice) -> Result<Page<Anchor>, StoreError>;

    /// The public periodic measurements that have a present anchor's host name for their target, with the anchor's
    /// number; by measurement.
    async fn anchor_measurements(
        &self,
        measurement: Option<MeasurementId>,
        slice: Slice,
    ) -> Result<Page<(MeasurementId, u64)>, StoreError>;
}
