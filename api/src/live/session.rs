//! One client, however it is connected: what it says, and what it hears, in order.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Map, Value};
use sonde_store::catalog::ApiKey;

use super::backlog::{self, Backlog, Step};
use super::hub::Hub;
use super::message::{Message, Name};
use super::outbox::Outbox;
use super::subscription::Subscription;
use super::wanted::{StreamType, Unusable, Wanted};
use crate::limits::Caller;

/// How many subscriptions one client may have.
pub(crate) const MAX_SUBSCRIPTIONS: usize = 64;

/// How many live messages a client gets between two pages of a backlog.
const BETWEEN_PAGES: usize = 256;

/// How many answers may wait for a client before nothing more is read of what it says.
const MAX_REPLIES: usize = 16;

/// One client.
pub(crate) struct Session {
    hub: Arc<Hub>,
    key: Option<ApiKey>,
    caller: Caller,
    outbox: Arc<Outbox>,
    replies: VecDeque<Message>,
    backlogs: VecDeque<Backlog>,
    subscriptions: Vec<Arc<Subscription>>,
}

impl Session {
    /// One that came with this key, or without.
    pub fn new(hub: Arc<Hub>, key: Option<ApiKey>, caller: Caller) -> Self {
        let outbox = hub.outbox();
        let (replies, backlogs, subscriptions) = (VecDeque::new(), VecDeque::new(), Vec::new());
        Self { hub, key, caller, outbox, replies, backlogs, subscriptions }
    }

    /// Can it be answered, or are there too many answers that it has not taken?
    pub fn may_speak(&self) -> bool {
        self.replies.len() < MAX_REPLIES
    }

    /// The client has said something: an array of a name and a payload.
    pub fn hear(&mut self, text: &str) {
        if self.hub.limits.charge(&self.caller).is_err() {
            return self.complain("rate", None, "Too many messages within a minute; this one was not heard.");
        }
        match serde_json::from_str::<(String, Value)>(text) {
            Ok((name, Value::Object(parameters))) => match name.as_str() {
                "atlas_subscribe" => {
                    if let Err(Unusable { parameter, detail }) = self.subscribe(&parameters, None) {
                        self.complain("subscribe", Some(parameter), &detail);
                    }
                }
                "atlas_unsubscribe" => self.unsubscribe(&parameters),
                _ => self.complain("message", None, "Messages are atlas_subscribe and atlas_unsubscribe."),
            },
            _ => self.complain("message", None, "A message is an array of its name and an object of parameters."),
        }
    }

    /// What the client sent cannot be a message.
    pub fn complain(&mut self, kind: &str, parameter: Option<&str>, detail: &str) {
        self.replies.push_back(Message::error(kind, parameter, detail));
    }

    /// Subscribes. With `since` (Unix seconds), what was stored at that time or later comes first.
    pub fn subscribe(&mut self, parameters: &Map<String, Value>, since: Option<i64>) -> Result<(), Unusable> {
        let mut wanted = Wanted::read(parameters)?;
        wanted.backlog |= since.is_some();
        // The same once more begins anew; nothing comes twice for it.
        self.take_out(|known| known.is_same(&wanted));
        if self.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            let detail = format!("One connection can have {MAX_SUBSCRIPTIONS} subscriptions.");
            return Err(Unusable { parameter: "streamType", detail });
        }
        let has_backlog = wanted.backlog;
        let subscription = Arc::new(Subscription::new(wanted, self.key.clone(), Arc::clone(&self.outbox)));
        self.hub.register(&subscription);
        self.replies.push_back(Message::echo(Name::Subscribed, parameters));
        if has_backlog {
            let end = backlog::end(parameters);
            self.backlogs.push_back(Backlog::new(&self.hub, Arc::clone(&subscription), end, since));
        }
        self.subscriptions.push(subscription);
        Ok(())
    }

    /// Ends the subscriptions with these parameters, all of a stream when nothing else is said, or all.
    fn unsubscribe(&mut self, parameters: &Map<String, Value>) {
        match Wanted::read(parameters) {
            Ok(wanted) => {
                let is_all = wanted == Wanted::everything(wanted.stream);
                self.take_out(|known| if is_all { known.stream == wanted.stream } else { known.is_same(&wanted) });
            }
            Err(_) if parameters.is_empty() => self.take_out(|_| true),
            Err(Unusable { parameter, detail }) => {
                return self.complain("unsubscribe", Some(parameter), &detail);
            }
        }
        self.replies.push_back(Message::echo(Name::Unsubscribed, parameters));
    }

    fn take_out(&mut self, is_meant: impl Fn(&Wanted) -> bool) {
        self.subscriptions.retain(|subscription| {
            let goes = is_meant(&subscription.wanted);
            if goes {
                self.hub.unregister(subscription);
            }
            !goes
        });
        self.backlogs.retain(|backlog| !is_meant(&backlog.subscription.wanted));
    }

    /// Waits for what the client is to hear next. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Message {
        loop {
            if let Some(message) = self.replies.pop_front() {
                return message;
            }
            let Some(backlog) = self.backlogs.front_mut() else { return self.outbox.next().await };
            match backlog.next(&self.hub).await {
                Step::Some(messages) => self.replies.extend(messages),
                Step::End(messages) => {
                    self.replies.extend(messages);
                    self.backlogs.pop_front();
                }
            }
            // Other subscriptions go on meanwhile.
            let live = std::iter::from_fn(|| self.outbox.try_next()).take(BETWEEN_PAGES);
            self.replies.extend(live);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for subscription in &self.subscriptions {
            self.hub.unregister(subscription);
        }
    }
}

impl Wanted {
    /// All of a stream.
    fn everything(stream: StreamType) -> Self {
        Self { stream, filter: Default::default(), fields: None, buffering: false, backlog: false }
    }
}
