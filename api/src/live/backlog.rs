//! What was there before a subscription: the results of its measurement in the last hour, or all of a one-off.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::spec::Kind;
use sonde_protocol::time::UnixNanos;
use sonde_store::StoreError;
use sonde_store::catalog::Measurement;
use sonde_store::results::{ResultQuery, StoredReport};
use sonde_store::view::Viewer;

use super::fanout::result_message;
use super::hub::Hub;
use super::message::{Message, Name};
use super::subscription::{ReportName, Subscription, name_of, viewer};
use crate::line;
use crate::masking::Masks;
use crate::results::Walk;

/// How far back it reaches for periodic measurements, in seconds.
const REACH_SECS: i64 = 3600;

/// How many results it has at most. Beyond them it ends and says so.
const MAX_RESULTS: usize = 100_000;

/// How long before the subscription a result may have arrived to be remembered: only what arrived just now can be told once
/// more. In seconds.
const RECENT_SECS: i64 = 600;

/// A backlog on its way.
pub(crate) struct Backlog {
    /// Whose.
    pub subscription: Arc<Subscription>,
    /// What the client is told at the end.
    end: Message,
    /// Only what was stored at this time (Unix seconds) or later.
    since: Option<i64>,
    state: State,
    masks: Masks,
    sent: HashSet<ReportName>,
    count: usize,
    recent: UnixNanos,
}

enum State {
    New,
    /// Boxed, because most subscriptions have none.
    Reading(Box<Reading>),
    Over,
}

struct Reading {
    measurement: Measurement,
    viewer: Viewer,
    walk: Walk,
    /// Read but not yet written.
    page: Option<Vec<StoredReport>>,
}

/// What a step of the backlog gave.
pub(crate) enum Step {
    /// These are next, perhaps none.
    Some(Vec<Message>),
    /// That was all. The last messages.
    End(Vec<Message>),
}

impl Backlog {
    /// Nothing is read yet. `end` is sent when all is.
    pub fn new(hub: &Hub, subscription: Arc<Subscription>, end: Message, since: Option<i64>) -> Self {
        let recent = UnixNanos::from_secs(hub.api.clock.now().as_secs().saturating_sub(RECENT_SECS));
        let (masks, sent) = (Masks::default(), HashSet::new());
        Self { subscription, end, since, state: State::New, masks, sent, count: 0, recent }
    }

    /// The next results. Dropping the future loses nothing.
    pub async fn next(&mut self, hub: &Hub) -> Step {
        match self.step(hub).await {
            Ok(Some(messages)) => Step::Some(messages),
            Ok(None) => self.over(hub, vec![self.end.clone()]),
            Err(error) => {
                tracing::error!(%error, "the store failed under a stream's backlog");
                let detail = "The server could not read all that was there before.";
                self.over(hub, vec![Message::error("backlog", None, detail), self.end.clone()])
            }
        }
    }

    fn over(&mut self, hub: &Hub, messages: Vec<Message>) -> Step {
        self.state = State::Over;
        self.subscription.go_live(std::mem::take(&mut self.sent), hub.api.clock.steady());
        Step::End(messages)
    }

    async fn step(&mut self, hub: &Hub) -> Result<Option<Vec<Message>>, StoreError> {
        match &mut self.state {
            State::Over => return Ok(None),
            State::New => {
                let reading = begin(hub, &self.subscription).await?;
                self.state = reading.map_or(State::Over, |reading| State::Reading(Box::new(reading)));
                return Ok(Some(Vec::new()));
            }
            State::Reading(reading) => {
                if reading.page.is_none() {
                    let Some(page) = reading.walk.next().await? else { return Ok(None) };
                    reading.page = Some(page);
                }
                if let Some(page) = &reading.page {
                    self.masks.learn(&*hub.api.catalog, page).await?;
                }
            }
        }
        Ok(Some(self.write()))
    }

    /// Writes the page that is there.
    fn write(&mut self) -> Vec<Message> {
        let State::Reading(reading) = &mut self.state else { return Vec::new() };
        let mut messages = Vec::new();
        let mut cut = None;
        for report in reading.page.take().unwrap_or_default() {
            if self.since.is_some_and(|since| report.arrived_at.as_secs() < since) {
                continue;
            }
            if self.count == MAX_RESULTS {
                let detail =
                    format!("There were more than {MAX_RESULTS} results before; the others are at the endpoint.");
                cut = Some(Message::error("backlog", None, &detail));
                break;
            }
            let Some(message) = one(&self.subscription, &self.masks, reading, &report) else { continue };
            self.count += 1;
            messages.push(message);
            if report.arrived_at >= self.recent {
                self.sent.insert(name_of(&report));
            }
        }
        if self.subscription.wanted.buffering && messages.len() > 1 {
            messages = Message::joined(&messages).into_iter().collect();
        }
        if cut.is_some() {
            self.state = State::Over;
        }
        messages.extend(cut);
        messages
    }
}

/// Begins to read; `None` when there is nothing to read, or nothing that this client may see.
async fn begin(hub: &Hub, subscription: &Subscription) -> Result<Option<Reading>, StoreError> {
    let catalog = &*hub.api.catalog;
    let Some(id) = subscription.wanted.filter.measurement else { return Ok(None) };
    let key = match &subscription.key {
        // The client may have come with it long ago.
        Some(key) => hub.good_key(key).await?,
        None => None,
    };
    let viewer = viewer(key.as_ref(), id);
    let Some(measurement) = catalog.measurement(id).await?.filter(|it| viewer.sees_measurement(it)) else {
        return Ok(None);
    };
    let mut probes: Vec<ProbeId> = catalog.participants(id).await?.into_iter().map(|part| part.probe).collect();
    probes.retain(|probe| subscription.wanted.filter.probe.is_none_or(|wanted| wanted == *probe));
    probes.sort_unstable();
    let reach = UnixNanos::from_secs(hub.api.clock.now().as_secs().saturating_sub(REACH_SECS));
    let from = (!measurement.asked.is_oneoff).then_some(reach);
    let query = ResultQuery { measurement: id, from, to: None, probes: Some(probes) };
    Ok(Some(Reading { measurement, viewer, walk: Walk::new(Arc::clone(&hub.api), query), page: None }))
}

/// One result as this client gets it, if it passes the filter.
fn one(subscription: &Subscription, masks: &Masks, reading: &Reading, report: &StoredReport) -> Option<Message> {
    let result = line::read(report)?;
    let filter = &subscription.wanted.filter;
    let kind = Kind::from_number(result.outcome.kind_number());
    if !filter.fits(report.measurement, report.probe, kind) {
        return None;
    }
    let message = result_message(masks, &reading.measurement, report, &result, reading.viewer);
    let json = || serde_json::from_str::<Value>(message.payload()).unwrap_or_default();
    if filter.looks_inside() && !filter.fits_inside(&json()) {
        return None;
    }
    Some(subscription.shaped(&message, json))
}

/// What a client is told when its backlog has been sent.
pub(crate) fn end(parameters: &serde_json::Map<String, Value>) -> Message {
    Message::echo(Name::BacklogSent, parameters)
}
