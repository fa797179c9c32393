//! A probe's record as the API gives it, in the words of pages: the list and the probe's own page say the same.

use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;

use crate::charts::number::span;
use crate::charts::time::{human_unix, iso};

/// The record, as far as pages need it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Probe {
    pub id: u64,
    pub prefix_v4: Option<String>,
    pub prefix_v6: Option<String>,
    pub asn_v4: Option<u32>,
    pub asn_v6: Option<u32>,
    pub country_code: Option<String>,
    pub total_uptime: u64,
    pub first_connected: Option<i64>,
    pub last_connected: Option<i64>,
    pub geometry: Option<Geometry>,
    pub is_anchor: bool,
    pub is_public: bool,
    pub is_vouched: bool,
    pub status: Status,
    pub status_since: Option<i64>,
    pub tags: Vec<Tag>,
    pub software: Option<String>,
    pub kinds: Option<Vec<String>>,
    /// For whoever may see them.
    pub address_v4: Option<String>,
    pub address_v6: Option<String>,
    pub description: Option<String>,
    pub uplink: Option<String>,
    pub duplicate_key_seen: Option<i64>,
    pub health: Option<Value>,
    pub board: Option<Value>,
}

/// Its state by Atlas's number.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Status {
    id: u8,
}

/// Where it is: longitude, latitude.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Geometry {
    coordinates: [f64; 2],
}

/// A tag.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Tag {
    pub name: String,
    pub slug: String,
}

/// A time, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment {
    pub iso: String,
    pub words: String,
    /// `3 days ago`.
    pub ago: String,
}

impl Moment {
    /// Of seconds since 1970, seen from now.
    pub fn of(seconds: i64, now: i64) -> Self {
        Self {
            iso: iso(seconds),
            words: human_unix(seconds),
            ago: format!("{} ago", span(now.saturating_sub(seconds))),
        }
    }
}

impl Moment {
    /// The day alone: `9 Oct 2025`.
    pub fn day(&self) -> &str {
        self.words.split_once(',').map_or(&self.words, |(day, _)| day)
    }
}

/// The time, in seconds since 1970.
pub(super) fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

impl Probe {
    /// The class of its badge.
    pub fn badge(&self) -> &'static str {
        match self.status.id {
            1 => "good",
            0 => "",
            _ => "bad",
        }
    }

    /// `disconnected for 3 days`.
    pub fn state(&self, now: &i64) -> String {
        let word = match self.status.id {
            0 => return "never connected".into(),
            1 => "connected",
            _ => "disconnected",
        };
        match self.status_since {
            Some(since) => format!("{word} for {}", span(now.saturating_sub(since))),
            None => word.into(),
        }
    }

    /// Since when it is in its state.
    pub fn since(&self, now: &i64) -> Option<Moment> {
        self.status_since.map(|since| Moment::of(since, *now))
    }

    /// When it first came.
    pub fn first(&self, now: &i64) -> Option<Moment> {
        self.first_connected.map(|at| Moment::of(at, *now))
    }

    /// When it was last seen.
    pub fn last(&self, now: &i64) -> Option<Moment> {
        self.last_connected.map(|at| Moment::of(at, *now))
    }

    /// How long it was connected in all.
    pub fn uptime(&self) -> String {
        span(i64::try_from(self.total_uptime).unwrap_or(i64::MAX))
    }

    /// `52.4° N, 4.92° E`.
    pub fn place(&self) -> Option<String> {
        let [longitude, latitude] = self.geometry?.coordinates;
        let part = |degrees: f64, positive, negative| {
            let side = if degrees < 0.0 { negative } else { positive };
            format!("{:.2}° {side}", degrees.abs())
        };
        Some(format!("{}, {}", part(latitude, 'N', 'S'), part(longitude, 'E', 'W')))
    }

    /// The tags that its owner gave.
    pub fn own_tags(&self) -> impl Iterator<Item = &Tag> {
        self.tags.iter().filter(|tag| !tag.slug.starts_with("system-"))
    }

    /// The tags that the network gave.
    pub fn system_tags(&self) -> impl Iterator<Item = &Tag> {
        self.tags.iter().filter(|tag| tag.slug.starts_with("system-"))
    }
}

impl Tag {
    /// Without the word that says whose it is, which the page says beside it.
    pub fn short(&self) -> &str {
        self.name.strip_prefix("system: ").unwrap_or(&self.name)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A probe with nothing unusual.
    pub fn object(id: u64) -> Value {
        json!({"id": id, "type": "Probe", "address_v4": null, "address_v6": null, "prefix_v4": "20.0.0.0/24",
            "prefix_v6": null, "asn_v4": 64500, "asn_v6": null, "country_code": "NL", "description": null,
            "firmware_version": 6000, "total_uptime": 500, "first_connected": 1_759_999_500, "last_connected": 1_759_999_500,
            "geometry": {"type": "Point", "coordinates": [4.9169, -52.4]}, "is_anchor": false, "is_public": false,
            "is_vouched": true, "duplicate_key_seen": null, "status": {"id": 2, "name": "Disconnected", "since": null},
            "status_since": 1_759_999_500, "tags": [{"name": "system: IPv4 Works", "slug": "system-ipv4-works"},
            {"name": "<b>home", "slug": "home"}], "software": "sonde-probe 0.1.0"})
    }

    #[test]
    fn a_record_in_words() {
        let probe: Probe = serde_json::from_value(object(7)).unwrap();
        let now = 1_759_999_500 + 3 * 86_400;
        assert_eq!((probe.state(&now).as_str(), probe.badge()), ("disconnected for 3 days", "bad"));
        assert_eq!(probe.place().as_deref(), Some("52.40° S, 4.92° E"));
        assert_eq!(probe.since(&now).unwrap().ago, "3 days ago");
        assert_eq!(probe.own_tags().map(|tag| tag.slug.as_str()).collect::<Vec<_>>(), ["home"]);
        assert_eq!(probe.system_tags().map(Tag::short).collect::<Vec<_>>(), ["IPv4 Works"]);
        let mut never = object(8);
        for field in
            ["prefix_v4", "asn_v4", "first_connected", "last_connected", "geometry", "status_since", "software"]
        {
            never[field] = Value::Null;
        }
        never["status"]["id"] = json!(0);
        let never: Probe = serde_json::from_value(never).unwrap();
        assert_eq!((never.state(&now), never.place(), never.last(&now)), ("never connected".into(), None, None));
    }
}
