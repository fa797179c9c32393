//! What the API says of a measurement, in the shape of the page. What is missing is empty and nothing fails: a page of a newer server's
//! measurement shows what it can.

use serde::Deserialize;
use serde_json::Value;

use crate::charts::bands::{Bin, Quantiles};
use crate::charts::loss::Outcome;
use crate::charts::number::{count, counted, span};

/// A measurement.
#[derive(Debug, Clone)]
pub(crate) struct Measurement(pub Value);

impl Measurement {
    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.0["id"].as_u64().unwrap_or_default()
    }

    /// `ping` …
    pub fn kind(&self) -> &str {
        self.text("type")
    }

    /// What its owner says of it.
    pub fn description(&self) -> &str {
        self.text("description")
    }

    /// `v6` or `v4`: the colour.
    pub fn family(&self) -> &'static str {
        if self.0["af"] == 6 { "v6" } else { "v4" }
    }

    /// `IPv6`.
    pub fn family_name(&self) -> &'static str {
        if self.0["af"] == 6 { "IPv6" } else { "IPv4" }
    }

    /// Atlas's word for its state.
    pub fn status(&self) -> &str {
        self.0["status"]["name"].as_str().unwrap_or("unknown")
    }

    /// How its state is shown.
    pub fn status_mood(&self) -> &'static str {
        match self.0["status"]["id"].as_u64() {
            Some(2) => "good",
            Some(6..) => "bad",
            Some(0 | 1) => "warn",
            _ => "",
        }
    }

    /// Is there more to come?
    pub fn is_running(&self) -> bool {
        matches!(self.0["status"]["id"].as_u64(), Some(0..=2))
    }

    /// When it ended, if it has.
    pub fn over(&self) -> Option<i64> {
        if self.is_running() { None } else { self.0["stop_time"].as_i64().or(self.0["status"]["when"].as_i64()) }
    }

    /// Once, or again and again?
    pub fn is_oneoff(&self) -> bool {
        self.0["is_oneoff"] == true
    }

    /// One that the operator has every probe run.
    pub fn is_builtin(&self) -> bool {
        self.0["participant_count"].is_null()
    }

    /// What is measured, in a few words: `example.net`, `AAAA example.net`.
    pub fn subject(&self) -> String {
        let target = self.text("target");
        if self.kind() == "dns" {
            let question = format!("{} {}", self.text("query_type"), self.text("query_argument"));
            return match (target.is_empty(), self.0["use_probe_resolver"] == true) {
                (true, _) | (_, true) => format!("{question} by the probes’ own resolvers"),
                _ => format!("{question} at {target}"),
            };
        }
        if target.is_empty() { "the network’s references".to_owned() } else { target.to_owned() }
    }

    /// `ping to example.net`.
    pub fn title(&self) -> String {
        let preposition = match self.kind() {
            "dns" | "ipv6" => "of",
            "sslcert" | "http" | "ntp" => "from",
            _ => "to",
        };
        format!("{} {preposition} {}", self.kind(), self.subject())
    }

    /// What is done, by whom, how often: a sentence or two.
    pub fn in_words(&self) -> String {
        let who = match (self.0["participant_count"].as_u64(), self.is_running()) {
            (Some(probes), true) => counted(probes, "probe", "probes"),
            (Some(probes), false) => format!("{} had", counted(probes, "probe", "probes")),
            (None, _) => "Every probe of the network".to_owned(),
        };
        let number = |name: &str| self.0[name].as_u64();
        let packets = number("packets").map(|packets| counted(packets, "packet", "packets"));
        let what = match self.kind() {
            "ping" => format!(
                "{} of {} bytes to {}",
                packets.map_or_else(|| "send echo requests".to_owned(), |packets| format!("send {packets}")),
                number("size").map_or_else(|| "some".to_owned(), count),
                self.subject()
            ),
            "traceroute" => format!(
                "trace the path to {} with {}",
                self.subject(),
                match self.text("protocol") {
                    "" => "packets",
                    protocol => protocol,
                }
            ),
            "dns" => format!("ask for {}", self.subject()),
            "sslcert" => format!("ask {} for its certificates", self.subject()),
            "http" => format!("ask {} for a page", self.subject()),
            "ntp" => format!("ask {} for the time", self.subject()),
            "pathmtu" => format!("look for the largest packet that reaches {}", self.subject()),
            "ipv6" => "compare IPv6 and IPv4 towards the network’s references".to_owned(),
            _ => format!("measure {}", self.subject()),
        };
        let how_often = match self.0["interval"].as_i64() {
            Some(interval) => format!(", every {}", span(interval)),
            None => ", once".to_owned(),
        };
        let who = who.strip_suffix(" had").map_or(who.clone(), |probes| format!("{probes} took part. They were to"));
        let is_one = who.starts_with("1 probe") || who.starts_with("Every");
        format!("{who} {}{how_often}, over {}.", singular(&what, is_one && self.is_running()), self.family_name())
    }

    /// Every member of the definition that is of its kind, for a table.
    pub fn definition(&self) -> Vec<(String, String)> {
        let Some(object) = self.0.as_object() else { return Vec::new() };
        object
            .iter()
            .filter(|(name, value)| !GENERAL.contains(&name.as_str()) && !value.is_null())
            .map(|(name, value)| (name.clone(), plain(value)))
            .collect()
    }
}

/// `send` → `sends`, where one probe does it.
fn singular(what: &str, is_one: bool) -> String {
    match what.split_once(' ') {
        Some((verb, rest)) if is_one => format!("{verb}s {rest}"),
        _ => what.to_owned(),
    }
}

/// Members of a measurement that are the same for all kinds, and told elsewhere on the page.
const GENERAL: [&str; 35] = [
    "id",
    "type",
    "status",
    "af",
    "description",
    "creation_time",
    "start_time",
    "stop_time",
    "interval",
    "is_oneoff",
    "is_public",
    "is_all_scheduled",
    "in_wifi_group",
    "participant_count",
    "probes_requested",
    "probes_scheduled",
    "group",
    "group_id",
    "target",
    "target_ip",
    "target_asn",
    "target_prefix",
    "resolved_ips",
    "result",
    "estimated_results_per_day",
    "tags",
    "credits_per_result",
    "user_id",
    "bill_to_user_id",
    "probes",
    "probe_sources",
    "current_probes",
    "participation_requests",
    "participant_logs",
    "is_active",
];

/// A value as people read it.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `summary/`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Summary {
    pub metric: String,
    pub unit: Option<String>,
    pub start: i64,
    pub stop: i64,
    pub step: i64,
    pub newest: Option<i64>,
    pub approximate: bool,
    pub probes: u64,
    pub results: u64,
    pub failed: u64,
    pub sent: u64,
    pub received: u64,
    pub skipped: u64,
    pub bins: Vec<SummaryBin>,
}

/// A bin of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SummaryBin {
    pub start: i64,
    pub complete: bool,
    pub state: String,
    pub probes: u64,
    pub results: u64,
    pub failed: u64,
    pub sent: u64,
    pub received: u64,
    pub min: Option<f64>,
    pub p25: Option<f64>,
    pub median: Option<f64>,
    pub p75: Option<f64>,
    pub max: Option<f64>,
}

impl SummaryBin {
    /// For the picture.
    pub fn bin(&self) -> Bin {
        let values = match (self.min, self.p25, self.median, self.p75, self.max) {
            (Some(min), Some(p25), Some(median), Some(p75), Some(max)) => {
                Some(Quantiles { min, p25, median, p75, max })
            }
            _ => None,
        };
        let outcome = match self.state.as_str() {
            "answered" | "lost" => Outcome::Asked { sent: self.sent, received: self.received },
            "failed" => Outcome::Failed,
            _ => Outcome::NotMeasured,
        };
        Bin { start: self.start, complete: self.complete, values, outcome }
    }
}

/// `summary/probes/`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OfProbes {
    pub count: u64,
    pub left_out: bool,
    pub probes: Vec<OfProbe>,
}

/// A probe of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OfProbe {
    pub prb_id: u64,
    pub state: String,
    pub results: u64,
    pub sent: u64,
    pub received: u64,
    pub loss: Option<f64>,
    pub median: Option<f64>,
    pub last_timestamp: Option<i64>,
    pub last_state: Option<String>,
    pub last_value: Option<f64>,
    pub asn: Option<u64>,
    pub country_code: Option<String>,
    pub latitude: Option<f64>,
    pub longitude: Option<f64>,
}

/// `summary/answers/`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Answers {
    pub left_out: u64,
    pub answers: Vec<AnswerGroup>,
}

/// A group of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AnswerGroup {
    pub text: String,
    pub count: u64,
    pub probes: u64,
    pub first: i64,
    pub last: i64,
    pub answer: Value,
}

/// `paths/`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Paths {
    pub time: i64,
    pub newest: Option<i64>,
    pub by: String,
    pub probes: u64,
    pub reached: u64,
    pub target: String,
    pub nodes: Vec<PathNode>,
    pub edges: Vec<PathEdge>,
    pub left_out: u64,
}

/// A node of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PathNode {
    pub id: u64,
    pub kind: String,
    pub layer: u64,
    pub label: String,
    pub asn: Option<u64>,
    pub probes: u64,
    pub ends: u64,
    pub rtt: Option<f64>,
}

/// An edge of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PathEdge {
    pub from: u64,
    pub to: u64,
    pub probes: u64,
    pub silent: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn definitions_are_sentences() {
        let ping =
            Measurement(json!({"id": 1, "type": "ping", "target": "example.net", "af": 6, "packets": 3, "size": 48,
            "interval": 240, "participant_count": 12, "status": {"id": 2, "name": "Ongoing"}}));
        assert_eq!(ping.in_words(), "12 probes send 3 packets of 48 bytes to example.net, every 4 min, over IPv6.");
        assert_eq!((ping.title(), ping.over()), ("ping to example.net".into(), None));
        let names: Vec<String> = ping.definition().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["packets", "size"]);
        let dns = Measurement(json!({"type": "dns", "query_type": "AAAA", "query_argument": "example.net", "af": 4,
            "use_probe_resolver": true, "participant_count": 1, "status": {"id": 2}}));
        assert_eq!(dns.in_words(), "1 probe asks for AAAA example.net by the probes’ own resolvers, once, over IPv4.");
        let over = Measurement(
            json!({"type": "traceroute", "target": "192.0.2.1", "af": 4, "interval": 900, "protocol": "UDP",
            "participant_count": 2, "status": {"id": 4, "when": 99}, "stop_time": 90}),
        );
        assert_eq!(
            over.in_words(),
            "2 probes took part. They were to trace the path to 192.0.2.1 with UDP, every 15 min, over IPv4."
        );
        assert_eq!(over.over(), Some(90));
    }

    #[test]
    fn what_is_missing_is_empty() {
        let odd = Measurement(json!({"type": 7, "status": "x", "participant_count": "many"}));
        assert!(!odd.title().is_empty() && !odd.in_words().is_empty());
        let summary: Summary = serde_json::from_value(json!({"bins": [{}], "new": 1})).unwrap();
        assert_eq!(summary.bins[0].bin().outcome, Outcome::NotMeasured);
    }
}
