//! Where subscriptions are registered, and found again by what they are for: ten thousand that are about other measurements
//! cost nothing.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_store::StoreError;
use sonde_store::catalog::ApiKey;

use super::fanout;
use super::outbox::{Outbox, lock};
use super::seats::Seats;
use super::subscription::Subscription;
use super::wanted::StreamType;
use crate::Api;
use crate::auth;
use crate::limits::Limits;

/// Subscriptions. Shared, so that a look takes no copy; who changes one that is being looked at makes a new one.
pub(crate) type List = Arc<Vec<Arc<Subscription>>>;

/// What all streams share.
pub(crate) struct Hub {
    /// The API.
    pub api: Arc<Api>,
    /// How often clients may ask.
    pub limits: Arc<Limits>,
    /// How many streams there may be.
    pub seats: Seats,
    registry: Mutex<Registry>,
    waiting_bytes: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Registry {
    is_listening: bool,
    /// Each subscription to results is in one of three places.
    by_measurement: HashMap<MeasurementId, List>,
    by_probe: HashMap<ProbeId, List>,
    others: List,
    statuses: List,
}

impl Registry {
    fn list(&mut self, subscription: &Subscription) -> &mut List {
        let filter = &subscription.wanted.filter;
        match (subscription.wanted.stream, filter.measurement, filter.probe) {
            (StreamType::ProbeStatus, _, _) => &mut self.statuses,
            (StreamType::Result, Some(measurement), _) => self.by_measurement.entry(measurement).or_default(),
            (StreamType::Result, None, Some(probe)) => self.by_probe.entry(probe).or_default(),
            (StreamType::Result, None, None) => &mut self.others,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        let maps = self.by_measurement.values().chain(self.by_probe.values());
        maps.chain([&self.others, &self.statuses]).flat_map(|list| list.iter())
    }
}

impl Hub {
    /// Without subscriptions. It begins to listen to the bus when the first one comes.
    pub fn new(api: Arc<Api>, limits: Arc<Limits>) -> Self {
        let seats = Seats::new(&api.config.limits);
        Self { api, limits, seats, registry: Mutex::default(), waiting_bytes: Arc::default() }
    }

    /// A queue for a new client.
    pub fn outbox(&self) -> Arc<Outbox> {
        Arc::new(Outbox::new(Arc::clone(&self.waiting_bytes)))
    }

    /// The key (or what stands for a session) that a client came with, as it is now; `None` when it is no good any more.
    pub async fn good_key(&self, key: &ApiKey) -> Result<Option<ApiKey>, StoreError> {
        auth::again(&self.api, key).await
    }

    /// Registers a subscription: what is published from now on comes to it.
    pub fn register(self: &Arc<Self>, subscription: &Arc<Subscription>) {
        let mut registry = lock(&self.registry);
        if !registry.is_listening {
            registry.is_listening = true;
            tokio::spawn(fanout::run(Arc::downgrade(self), self.api.bus.subscribe()));
        }
        Arc::make_mut(registry.list(subscription)).push(Arc::clone(subscription));
    }

    /// Takes a subscription out.
    pub fn unregister(&self, subscription: &Arc<Subscription>) {
        let mut registry = lock(&self.registry);
        let list = registry.list(subscription);
        Arc::make_mut(list).retain(|known| !Arc::ptr_eq(known, subscription));
        if list.is_empty() {
            let filter = &subscription.wanted.filter;
            match (subscription.wanted.stream, filter.measurement, filter.probe) {
                (StreamType::Result, Some(measurement), _) => drop(registry.by_measurement.remove(&measurement)),
                (StreamType::Result, None, Some(probe)) => drop(registry.by_probe.remove(&probe)),
                _ => {}
            }
        }
    }

    /// Who may want each of these results; a look at each subscription's filter is left to the caller.
    pub fn find(&self, reports: impl Iterator<Item = (MeasurementId, ProbeId)>) -> Vec<Vec<List>> {
        let registry = lock(&self.registry);
        let others = Some(&registry.others).filter(|list| !list.is_empty());
        let lists = reports.map(|(measurement, probe)| {
            let lists = [registry.by_measurement.get(&measurement), registry.by_probe.get(&probe), others];
            lists.into_iter().flatten().cloned().collect()
        });
        lists.collect()
    }

    /// Who wants to know which probes come and go.
    pub fn statuses(&self) -> List {
        Arc::clone(&lock(&self.registry).statuses)
    }

    /// Everybody has missed something, nobody knows what.
    pub fn miss(&self) {
        lock(&self.registry).all().for_each(|subscription| subscription.miss(None));
    }
}
