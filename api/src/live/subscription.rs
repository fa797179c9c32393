//! One subscription: what it is for, and how it begins without a hole and without a repeat.
//!
//! With a backlog, what is new is held back until what was stored before has been sent; then what is in both is sent once.
//! Results are told apart by probe, boot and number, which is their name for ever.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Seq};
use sonde_store::catalog::ApiKey;
use sonde_store::results::StoredReport;
use sonde_store::view::Viewer;

use super::message::Message;
use super::outbox::{MAX_BYTES, MAX_MESSAGES, Outbox, lock};
use super::wanted::Wanted;
use crate::permission::{self, Permission};

/// How long it is remembered what the backlog had: a result can be found in the store a moment before it is told.
const REMEMBERED: Duration = Duration::from_secs(600);

/// A report's name for ever.
pub(crate) type ReportName = (ProbeId, BootId, Seq);

/// The name of a report.
pub(crate) fn name_of(report: &StoredReport) -> ReportName {
    (report.probe, report.boot, report.seq)
}

/// What a viewer with this key, or without one, may see of a measurement's results.
pub(crate) fn viewer(key: Option<&ApiKey>, measurement: MeasurementId) -> Viewer {
    match key {
        Some(key) if permission::may(key, Permission::GetNonPublicResults, Some(measurement)) => {
            Viewer::Account(key.account)
        }
        _ => Viewer::Public,
    }
}

/// A subscription of a client.
pub(crate) struct Subscription {
    /// What it is for.
    pub wanted: Wanted,
    /// The key that the client came with.
    pub key: Option<ApiKey>,
    outbox: Arc<Outbox>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What came while the backlog was being sent; `None` when it has been.
    held: Option<Held>,
    /// What the backlog had, as far as it may come once more.
    sent: HashSet<ReportName>,
    /// Until when that is remembered.
    remembered_until: Duration,
}

#[derive(Default)]
struct Held {
    messages: Vec<(ReportName, Message)>,
    bytes: usize,
    missed: u64,
}

impl Subscription {
    /// A new one, not yet registered. If it wants a backlog it holds back what comes until [`Subscription::go_live`].
    pub fn new(wanted: Wanted, key: Option<ApiKey>, outbox: Arc<Outbox>) -> Self {
        let held = wanted.backlog.then(Held::default);
        Self { wanted, key, outbox, state: Mutex::new(State { held, ..State::default() }) }
    }

    /// In which form this client gets a message: only some fields of it, perhaps. `json` is its payload.
    pub fn shaped(&self, message: &Message, json: impl FnOnce() -> Value) -> Message {
        let Some(fields) = &self.wanted.fields else { return message.clone() };
        let mut json = json();
        if let Some(object) = json.as_object_mut() {
            object.retain(|field, _| fields.contains(field));
        }
        match message.stored_at() {
            Some(stored_at) => Message::result(&json.to_string(), stored_at),
            None => Message::of(message.name(), &json),
        }
    }

    /// Results that have just been stored together, at `now`.
    pub fn results(&self, messages: Vec<(ReportName, Message)>, now: Duration) {
        let mut state = lock(&self.state);
        if let Some(held) = &mut state.held {
            held.take(messages);
            return;
        }
        if now >= state.remembered_until && !state.sent.is_empty() {
            state.sent = HashSet::new();
        }
        let fresh = messages.into_iter().filter(|(name, _)| state.sent.is_empty() || !state.sent.remove(name));
        let fresh: Vec<Message> = fresh.map(|(_, message)| message).collect();
        if self.wanted.buffering && fresh.len() > 1 {
            Message::joined(&fresh).into_iter().for_each(|joined| self.outbox.push(joined));
        } else {
            fresh.into_iter().for_each(|message| self.outbox.push(message));
        }
    }

    /// Something that has no name and is in no backlog.
    pub fn other(&self, message: Message) {
        self.outbox.push(message);
    }

    /// So many results never came this far.
    pub fn miss(&self, count: Option<u64>) {
        self.outbox.miss(count);
    }

    /// The backlog has been sent, and had these: what was held back follows, and from now on everything at once.
    pub fn go_live(&self, sent: HashSet<ReportName>, now: Duration) {
        let mut state = lock(&self.state);
        state.sent = sent;
        state.remembered_until = now.saturating_add(REMEMBERED);
        let Some(held) = state.held.take() else { return };
        for (name, message) in held.messages {
            if !state.sent.remove(&name) {
                self.outbox.push(message);
            }
        }
        self.outbox.miss(Some(held.missed));
    }
}

impl Held {
    fn take(&mut self, messages: Vec<(ReportName, Message)>) {
        for (name, message) in messages {
            let size = message.text().len();
            if self.missed == 0 && self.messages.len() < MAX_MESSAGES && self.bytes + size <= MAX_BYTES {
                self.bytes += size;
                self.messages.push((name, message));
            } else {
                self.missed += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn subscription(parameters: Value) -> (Subscription, Arc<Outbox>) {
        let outbox = Arc::new(Outbox::new(Arc::default()));
        let wanted = Wanted::read(parameters.as_object().unwrap()).unwrap();
        (Subscription::new(wanted, None, Arc::clone(&outbox)), outbox)
    }

    fn message(number: u64) -> (ReportName, Message) {
        ((ProbeId(1), BootId(1), Seq(number)), Message::result(&number.to_string(), 0))
    }

    fn payloads(outbox: &Outbox) -> Vec<String> {
        std::iter::from_fn(|| outbox.try_next()).map(|message| message.payload().to_owned()).collect()
    }

    const START: Duration = Duration::from_secs(1000);

    #[test]
    fn what_is_in_the_backlog_and_new_comes_once() {
        let (subscription, outbox) = subscription(json!({"streamType": "result", "sendBacklog": true}));
        subscription.results(vec![message(2), message(3)], START);
        assert_eq!(payloads(&outbox).len(), 0, "held back");
        subscription.go_live([1, 2, 4].map(|number| message(number).0).into(), START);
        assert_eq!(payloads(&outbox), ["3"]);
        subscription.results(vec![message(4), message(5)], START);
        assert_eq!(payloads(&outbox), ["5"], "4 was in the store before it was told");
        subscription.results(vec![message(6)], START + REMEMBERED);
        assert_eq!(payloads(&outbox), ["6"]);
        assert!(lock(&subscription.state).sent.is_empty(), "memory is given back");
    }

    #[test]
    fn stored_together_comes_together_if_wanted() {
        let (subscription, outbox) = subscription(json!({"streamType": "result", "buffering": true}));
        subscription.results(vec![message(1), message(2)], START);
        subscription.results(vec![message(3)], START);
        assert_eq!(payloads(&outbox), ["[1,2]", "3"]);
    }

    #[test]
    fn only_the_fields_that_are_wanted() {
        let (subscription, _) = subscription(json!({"streamType": "result", "acceptedFields": ["prb_id", "none"]}));
        let whole = Message::result("{\"msm_id\":1,\"prb_id\":2}", 7);
        let shaped = subscription.shaped(&whole, || json!({"msm_id": 1, "prb_id": 2}));
        assert_eq!((shaped.payload(), shaped.stored_at()), ("{\"prb_id\":2}", Some(7)));
    }

    #[test]
    fn a_backlog_that_takes_too_long_loses_what_is_new_and_says_so() {
        let (subscription, outbox) = subscription(json!({"streamType": "result", "sendBacklog": true}));
        let all = (0..MAX_MESSAGES as u64 + 5).map(message).collect();
        subscription.results(all, START);
        subscription.go_live(HashSet::new(), START);
        let payloads = payloads(&outbox);
        assert_eq!(payloads.len(), MAX_MESSAGES + 1);
        assert!(payloads.last().unwrap().contains("\"count\":5"), "{:?}", payloads.last());
    }
}
