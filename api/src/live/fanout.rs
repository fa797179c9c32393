//! The one task behind all streams: takes what the bus tells, writes each result once for each view that somebody needs,
//! and puts it into the queues of those whom it is for.
//!
//! What may not be seen does not come this far: a result counts only if its probe takes part in its measurement, a private
//! measurement's only for those with its owner's key, and addresses are as [`crate::masking`] says.

use std::cell::OnceCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::result::MeasurementResult;
use sonde_protocol::spec::Kind;
use sonde_store::StoreError;
use sonde_store::bus::{Heard, Listener, ProbeStatus, Published};
use sonde_store::catalog::{ApiKey, Digest, Measurement};
use sonde_store::results::StoredReport;
use sonde_store::view::Viewer;

use super::hub::{Hub, List};
use super::message::{Message, Name};
use super::subscription::{ReportName, Subscription, name_of, viewer};
use crate::line;
use crate::masking::Masks;
use crate::probe_object;

/// After how many deliveries others get a turn.
const TURN: usize = 1000;

/// How many measurements are remembered before all are forgotten and asked for again.
const MEMORY: usize = 1000;

/// How long a key counts as good without a look.
const KEY_TIME: Duration = Duration::from_secs(5);

/// The number of the built-in measurement that Atlas gives connections.
const CONNECTION: u64 = 7000;

/// Hands out what the bus tells until either the bus or the hub is gone.
pub(crate) async fn run(hub: Weak<Hub>, mut listener: Box<dyn Listener>) {
    let mut fanout = Fanout::default();
    while let Some(heard) = listener.next().await {
        let Some(hub) = hub.upgrade() else { return };
        match heard {
            Heard::Event(event) => match &*event {
                Published::Reports(reports) => fanout.reports(&hub, reports).await,
                Published::Status(status) => status_changed(&hub, status).await,
            },
            Heard::Missed(events) => {
                tracing::warn!(events, "the streams do not keep up; every subscriber is told");
                hub.miss();
            }
        }
    }
}

/// What the task remembers.
#[derive(Default)]
struct Fanout {
    measurements: HashMap<MeasurementId, Known>,
    keys: HashMap<Digest, (Duration, Option<ApiKey>)>,
}

/// What is known of a measurement. What is public stays so, and who took part once stays in the list.
struct Known {
    measurement: Measurement,
    probes: HashSet<ProbeId>,
}

/// A result and who may want it.
struct Task<'a> {
    report: &'a StoredReport,
    result: MeasurementResult,
    lists: Vec<List>,
}

/// What one subscriber gets of one event.
type Bundle = (Arc<Subscription>, Vec<(ReportName, Message)>);

impl Fanout {
    async fn reports(&mut self, hub: &Hub, reports: &[StoredReport]) {
        let lists = hub.find(reports.iter().map(|report| (report.measurement, report.probe)));
        let wanted = reports.iter().zip(lists).filter(|(_, lists)| !lists.is_empty());
        let tasks: Vec<Task<'_>> =
            wanted.filter_map(|(report, lists)| Some(Task { report, result: line::read(report)?, lists })).collect();
        if tasks.is_empty() {
            return;
        }
        let now = hub.api.clock.steady();
        let masks = match self.learn(hub, &tasks, now).await {
            Ok(masks) => masks,
            Err(error) => {
                tracing::error!(%error, "the catalog failed under the streams; who waits for results is told");
                for task in &tasks {
                    let subscriptions = task.lists.iter().flat_map(|list| list.iter());
                    subscriptions.filter(|it| fits(it, task)).for_each(|subscription| subscription.miss(Some(1)));
                }
                return;
            }
        };
        // What comes as a list is put together over the whole event; all else goes out at once.
        let mut bundles: HashMap<usize, Bundle> = HashMap::new();
        let mut turn = 0;
        for task in &tasks {
            turn += self.hand_out(task, &masks, now, &mut bundles);
            if turn >= TURN {
                turn = 0;
                deliver(&mut bundles, now);
                tokio::task::yield_now().await;
            }
        }
        deliver(&mut bundles, now);
    }

    /// Writes one result and gives it to those whom it is for; to how many.
    fn hand_out(&self, task: &Task<'_>, masks: &Masks, now: Duration, bundles: &mut HashMap<usize, Bundle>) -> usize {
        let Some(known) = self.measurements.get(&task.report.measurement) else { return 0 };
        if !known.probes.contains(&task.report.probe) {
            return 0;
        }
        let views =
            Views { task, masks, measurement: &known.measurement, public: View::default(), owner: View::default() };
        let mut count = 0;
        for subscription in task.lists.iter().flat_map(|list| list.iter()) {
            if !fits(subscription, task) {
                continue;
            }
            let viewer = viewer(self.key(subscription), task.report.measurement);
            if !viewer.sees_measurement(&known.measurement) {
                continue;
            }
            let Some(message) = views.message(viewer, subscription) else { continue };
            count += 1;
            let named = (name_of(task.report), message);
            if subscription.wanted.buffering {
                let bundle = bundles.entry(Arc::as_ptr(subscription).addr());
                bundle.or_insert_with(|| (Arc::clone(subscription), Vec::new())).1.push(named);
            } else {
                subscription.results(vec![named], now);
            }
        }
        count
    }

    /// The subscriber's key, as long as it is good.
    fn key(&self, subscription: &Subscription) -> Option<&ApiKey> {
        let key = subscription.key.as_ref()?;
        self.keys.get(&key.digest)?.1.as_ref()
    }

    /// Asks the catalog for what has to be known of these results.
    async fn learn(&mut self, hub: &Hub, tasks: &[Task<'_>], now: Duration) -> Result<Masks, StoreError> {
        let catalog = &*hub.api.catalog;
        if self.measurements.len() > MEMORY {
            self.measurements.clear();
        }
        let mut wanted: HashMap<MeasurementId, HashSet<ProbeId>> = HashMap::new();
        for task in tasks {
            wanted.entry(task.report.measurement).or_default().insert(task.report.probe);
        }
        for (id, probes) in wanted {
            let known = self.measurements.get(&id);
            if known.is_some_and(|known| known.measurement.asked.is_public && probes.is_subset(&known.probes)) {
                continue;
            }
            self.measurements.remove(&id);
            let Some(measurement) = catalog.measurement(id).await? else { continue };
            let probes = catalog.participants(id).await?.into_iter().map(|part| part.probe).collect();
            self.measurements.insert(id, Known { measurement, probes });
        }
        self.learn_keys(hub, tasks, now).await?;
        // Asked anew for each event: an owner who hides an address, hides it from the next result on.
        let mut masks = Masks::default();
        let reports: Vec<&StoredReport> = tasks.iter().map(|task| task.report).collect();
        masks.learn(catalog, &reports).await?;
        Ok(masks)
    }

    async fn learn_keys(&mut self, hub: &Hub, tasks: &[Task<'_>], now: Duration) -> Result<(), StoreError> {
        self.keys.retain(|_, (looked_at, _)| now.saturating_sub(*looked_at) < KEY_TIME);
        let mut lists: Vec<&List> = tasks.iter().flat_map(|task| &task.lists).collect();
        lists.sort_unstable_by_key(|list| Arc::as_ptr(list));
        lists.dedup_by_key(|list| Arc::as_ptr(list));
        let keys = lists.into_iter().flat_map(|list| list.iter()).filter_map(|subscription| subscription.key.as_ref());
        for key in keys {
            if let Entry::Vacant(unknown) = self.keys.entry(key.digest) {
                unknown.insert((now, hub.good_key(key).await?));
            }
        }
        Ok(())
    }
}

fn fits(subscription: &Subscription, task: &Task<'_>) -> bool {
    let kind = Kind::from_number(task.result.outcome.kind_number());
    subscription.wanted.filter.fits(task.report.measurement, task.report.probe, kind)
}

fn deliver(bundles: &mut HashMap<usize, Bundle>, now: Duration) {
    for (_, (subscription, messages)) in bundles.drain() {
        subscription.results(messages, now);
    }
}

/// One result as one kind of viewer sees it, written when it is first wanted.
#[derive(Default)]
struct View {
    message: OnceCell<Message>,
    json: OnceCell<Value>,
}

/// One result as everybody sees it, and as the probe's owner does.
struct Views<'a> {
    task: &'a Task<'a>,
    masks: &'a Masks,
    measurement: &'a Measurement,
    public: View,
    owner: View,
}

impl Views<'_> {
    /// What this subscriber gets, if it passes the filter.
    fn message(&self, viewer: Viewer, subscription: &Subscription) -> Option<Message> {
        // Only the probe's owner may see more than the public, so two forms are enough, however many keys there are.
        let is_owner = self.masks.probe(self.task.report).is_some_and(|probe| Some(probe.owner) == viewer.account());
        let (view, viewer) = if is_owner { (&self.owner, viewer) } else { (&self.public, Viewer::Public) };
        let message = view.message.get_or_init(|| write(self.masks, self.measurement, self.task, viewer));
        let json = || view.json.get_or_init(|| serde_json::from_str(message.payload()).unwrap_or_default());
        let filter = &subscription.wanted.filter;
        if filter.looks_inside() && !filter.fits_inside(json()) {
            return None;
        }
        Some(subscription.shaped(message, || json().clone()))
    }
}

fn write(masks: &Masks, measurement: &Measurement, task: &Task<'_>, viewer: Viewer) -> Message {
    result_message(masks, measurement, task.report, &task.result, viewer)
}

/// A result as a message.
pub(crate) fn result_message(
    masks: &Masks,
    measurement: &Measurement,
    report: &StoredReport,
    result: &MeasurementResult,
    viewer: Viewer,
) -> Message {
    let mut line = Vec::new();
    line::write(&mut line, viewer, masks, measurement, report, result);
    // The writer writes JSON, which is UTF-8.
    Message::result(&String::from_utf8_lossy(&line), report.arrived_at.as_secs())
}

/// Tells those who want to know that a probe has come or gone, as the public sees it.
async fn status_changed(hub: &Hub, status: &ProbeStatus) {
    let subscriptions = hub.statuses();
    let fits = |subscription: &Subscription| {
        let filter = &subscription.wanted.filter;
        filter.fits(MeasurementId(CONNECTION), status.probe, None)
    };
    if !subscriptions.iter().any(|subscription| fits(subscription)) {
        return;
    }
    let (asn, prefix) = match hub.api.catalog.probe(status.probe).await {
        Ok(probe) => probe.map_or((None, None), |probe| {
            let by_v4 = probe.address_v4.is_some();
            let (asn, address) =
                if by_v4 { (probe.asn_v4, probe.address_v4) } else { (probe.asn_v6, probe.address_v6) };
            (asn, address.map(probe_object::prefix))
        }),
        Err(error) => {
            tracing::error!(%error, "the catalog failed under the stream of probes");
            (None, None)
        }
    };
    let json = json!({
        "msm_id": CONNECTION,
        "prb_id": status.probe,
        "timestamp": status.at.as_secs(),
        "type": "connection",
        "event": if status.connected { "connect" } else { "disconnect" },
        "controller": status.controller,
        "asn": asn,
        "prefix": prefix,
    });
    let message = Message::of(Name::ProbeStatus, &json);
    for subscription in subscriptions.iter().filter(|subscription| fits(subscription)) {
        if subscription.wanted.filter.fits_inside(&json) {
            subscription.other(subscription.shaped(&message, || json.clone()));
        }
    }
}
