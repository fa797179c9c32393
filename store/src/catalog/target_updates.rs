//! Targets whose names are looked up again while they are measured.

use std::net::IpAddr;

use async_trait::async_trait;
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::time::UnixNanos;

use super::{Measurement, Origin};
use crate::StoreError;

/// What came of looking a target's name up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetUpdate {
    /// These addresses, all of which may be measured, and where the first of them comes from.
    Found(Vec<IpAddr>, Option<Origin>),
    /// None that may be measured now, and why.
    Stays(String),
}

/// Targets that are looked up every so many hours ([`super::NewMeasurement::target_update_hours`]).
#[async_trait]
pub trait TargetUpdates: Send + Sync {
    /// Periodic measurements that are not over, have participants, and whose target's name is to be looked up; those that wait
    /// the longest first.
    async fn targets_due(&self, now: UnixNanos, limit: u64) -> Result<Vec<Measurement>, StoreError>;

    /// Records what was found; `again` is when the name is to be looked up next. With other addresses than before the
    /// orders of all present participants change: gives these. The same in another order are the same.
    async fn update_target(
        &self,
        id: MeasurementId,
        update: &TargetUpdate,
        again: UnixNanos,
        now: UnixNanos,
    ) -> Result<Vec<ProbeId>, StoreError>;
}
