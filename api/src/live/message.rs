//! What goes out to a subscriber: compact JSON, an array of a name and a payload, as Atlas's streams have it.
//!
//! Clients compare the beginning of the text up to the comma, and expect nothing but the names below.

use axum::extract::ws::Utf8Bytes;
use serde_json::{Map, Value, json};

/// The names of messages to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// A result.
    Result,
    /// A probe has come or gone.
    ProbeStatus,
    /// A subscription is there.
    Subscribed,
    /// A subscription is there no more.
    Unsubscribed,
    /// What was there before the subscription has been sent.
    BacklogSent,
    /// Something is wrong, or missing.
    Error,
}

impl Name {
    /// As clients read it.
    pub const fn text(self) -> &'static str {
        match self {
            Name::Result => "atlas_result",
            Name::ProbeStatus => "atlas_probestatus",
            Name::Subscribed => "atlas_subscribed",
            Name::Unsubscribed => "atlas_unsubscribed",
            Name::BacklogSent => "atlas_backlog_sent",
            Name::Error => "atlas_error",
        }
    }
}

/// One message. Made once and shared by all who get it.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    name: Name,
    text: Utf8Bytes,
    /// When what it says was stored, in Unix seconds: where a reader of events can go on later.
    stored_at: Option<i64>,
}

impl Message {
    /// With this JSON as its payload.
    pub fn new(name: Name, payload: &str) -> Self {
        let name_text = name.text();
        Self { name, text: format!("[\"{name_text}\",{payload}]").into(), stored_at: None }
    }

    /// A result, as it was written, and when it was stored.
    pub fn result(line: &str, stored_at: i64) -> Self {
        Self { stored_at: Some(stored_at), ..Self::new(Name::Result, line) }
    }

    /// With this value as its payload.
    pub fn of(name: Name, payload: &Value) -> Self {
        Self::new(name, &payload.to_string())
    }

    /// What a client asked for, said back to it.
    pub fn echo(name: Name, parameters: &Map<String, Value>) -> Self {
        // Of a map of JSON, JSON can always be made.
        Self::new(name, &serde_json::to_string(parameters).unwrap_or_else(|_| "{}".into()))
    }

    /// A fault: what kind, which parameter if it is one, and what in words.
    pub fn error(kind: &str, parameter: Option<&str>, detail: &str) -> Self {
        let mut payload = json!({ "type": kind, "detail": detail });
        if let (Some(payload), Some(parameter)) = (payload.as_object_mut(), parameter) {
            payload.insert("parameter".into(), parameter.into());
        }
        Self::of(Name::Error, &payload)
    }

    /// Here so many messages are missing (`None`: nobody knows how many), because the client did not read them, or because
    /// the server did not keep up.
    pub fn missed(count: Option<u64>) -> Self {
        let detail =
            "Messages were dropped here, because they were not read as fast as they came. The results are there.";
        Self::of(Name::Error, &json!({ "type": "missed", "count": count, "detail": detail }))
    }

    /// Several messages as one, with a list for its payload; `None` of none.
    pub fn joined(messages: &[Message]) -> Option<Self> {
        let last = messages.last()?;
        let payloads: Vec<&str> = messages.iter().map(Message::payload).collect();
        Some(Self { stored_at: last.stored_at, ..Self::new(last.name, &format!("[{}]", payloads.join(","))) })
    }

    /// The whole text.
    pub fn text(&self) -> &Utf8Bytes {
        &self.text
    }

    /// What it is called.
    pub fn name(&self) -> Name {
        self.name
    }

    /// The second element.
    pub fn payload(&self) -> &str {
        let inner = self.text.get(self.name.text().len() + 4..self.text.len() - 1);
        inner.unwrap_or_default()
    }

    /// See the field.
    pub fn stored_at(&self) -> Option<i64> {
        self.stored_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_compact_arrays_of_two() {
        let result = Message::result("{\"msm_id\":5}", 9);
        assert_eq!(result.text().as_str(), "[\"atlas_result\",{\"msm_id\":5}]");
        assert_eq!((result.payload(), result.stored_at()), ("{\"msm_id\":5}", Some(9)));
        let joined = Message::joined(&[result.clone(), result]).unwrap();
        assert_eq!(joined.text().as_str(), "[\"atlas_result\",[{\"msm_id\":5},{\"msm_id\":5}]]");
        assert!(Message::joined(&[]).is_none());
        let error = Message::error("subscribe", Some("msm"), "Enter a number.");
        assert!(error.text().starts_with("[\"atlas_error\",{\""), "{error:?}");
        assert!(Message::echo(Name::BacklogSent, &Map::new()).text().len() >= 24, "goat cuts shorter ones");
    }
}
