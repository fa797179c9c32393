//! The only way the API speaks to the collector: "look at these probes' orders again", "which hosts does the network's
//! directory list?", "this key is this probe's now", and "this is what a board's owner wants". In one process a function call, between processes a message.

use async_trait::async_trait;
use sonde_protocol::board::UpdateChoice;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::key::PublicKey;

/// Brings changed orders to the probes that are connected.
#[async_trait]
pub trait Dispatch: Send + Sync {
    /// The orders of these probes have changed in the catalog, durably. A probe that is not connected here gets them
    /// when it next connects, so there is nothing to report back.
    async fn orders_changed(&self, probes: &[ProbeId]);

    /// The hosts that the network's signed directory lists for http measurements. The probes refuse all others.
    async fn http_hosts(&self) -> Vec<String>;

    /// This key has become this probe's, durably. If a probe waits with it, or is served as nobody's, it is told.
    async fn key_admitted(&self, key: &PublicKey, probe: ProbeId);

    /// The probe has another key, durably. Connections with the old one are ended.
    async fn key_replaced(&self, probe: ProbeId);

    /// The owner of a board wants something else of updates, durably. If the board is connected, it is told.
    async fn updates_chosen(&self, probe: ProbeId, choice: UpdateChoice);
}

/// For an API without a collector beside it: probes learn of new orders when they connect, and no host is listed for http.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDispatch;

#[async_trait]
impl Dispatch for NoDispatch {
    async fn orders_changed(&self, _probes: &[ProbeId]) {}

    async fn http_hosts(&self) -> Vec<String> {
        Vec::new()
    }

    async fn key_admitted(&self, _key: &PublicKey, _probe: ProbeId) {}

    async fn key_replaced(&self, _probe: ProbeId) {}

    async fn updates_chosen(&self, _probe: ProbeId, _choice: UpdateChoice) {}
}
