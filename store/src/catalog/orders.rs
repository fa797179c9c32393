//! Orders: what a probe is to do now.

use async_trait::async_trait;
use sonde_protocol::ids::{MeasurementId, ProbeId, Revision};
use sonde_protocol::order::Order;
use sonde_protocol::time::UnixNanos;

use crate::StoreError;

/// What a probe is to do, and what changes it.
#[async_trait]
pub trait Orders: Send + Sync {
    /// Stops a measurement. Gives the probes whose orders changed by it; empty when it was over already.
    async fn stop_measurement(&self, id: MeasurementId, now: UnixNanos) -> Result<Vec<ProbeId>, StoreError>;

    /// As [`Orders::stop_measurement`], by the operator: it counts as forced to stop.
    async fn force_stop_measurement(&self, id: MeasurementId, now: UnixNanos) -> Result<Vec<ProbeId>, StoreError>;

    /// A probe's orders at `now` and their revision: every participation in a measurement that is neither stopped nor
    /// past its end, one-offs only until settled, and the built-in ones. The revision is kept per probe and grows with every change that
    /// `add_measurements`, `stop_measurement` and `settle_oneoffs` make.
    async fn orders(&self, probe: ProbeId, now: UnixNanos) -> Result<(Revision, Vec<Order>), StoreError>;

    /// Records that one-offs have their result, or the reason why there is none, from these probes. Idempotent; pairs
    /// that are no one-off participation are ignored. Gives the probes whose orders changed.
    async fn settle_oneoffs(&self, pairs: &[(MeasurementId, ProbeId)]) -> Result<Vec<ProbeId>, StoreError>;
}
