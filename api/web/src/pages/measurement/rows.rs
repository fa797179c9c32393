//! Rows of a measurement's tables: from what the API says to what stands in a cell.

use serde_json::Value;

use super::model::{AnswerGroup, Answers, OfProbe, SummaryBin};
use crate::charts::number::{count, ms, share, span};
use crate::charts::time;

/// A bin of time.
pub(super) struct BinRow {
    pub start: i64,
    pub state: &'static str,
    pub probes: String,
    pub median: String,
    pub range: String,
    pub lost: String,
    pub results: String,
}

/// What several results said alike.
pub(super) struct AnswerRow {
    pub text: String,
    pub count: String,
    pub part: String,
    pub probes: String,
    pub last: i64,
    pub more: Vec<(&'static str, String)>,
    pub mood: &'static str,
}

/// A probe that takes part.
pub(super) struct ProbeRow {
    pub id: u64,
    pub asn: Option<u64>,
    pub country: String,
    pub state: &'static str,
    pub mood: &'static str,
    pub last: String,
    pub median: String,
    pub lost: String,
    pub when: Option<i64>,
}

/// One of the newest results.
pub(crate) struct ResultRow {
    /// When it began, in Unix seconds.
    pub at: i64,
    /// Whose.
    pub probe: u64,
    /// What it says.
    pub text: String,
    /// How that is.
    pub mood: &'static str,
}

/// A number in a column of its kind.
pub(super) fn cell(value: Option<f64>, is_time: bool) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if is_time => ms(value),
        Some(value) => format!("{}", (value * 100.0).round() / 100.0),
    }
}

/// A state of the API in words, and how it is shown.
pub(super) fn state_words(state: &str) -> (&'static str, &'static str) {
    match state {
        "answered" => ("answered", "good"),
        "lost" => ("all lost", "bad"),
        "failed" => ("not carried out", "warn"),
        _ => ("not measured", ""),
    }
}

pub(super) fn bin_row(bin: &SummaryBin, is_time: bool) -> BinRow {
    let range = match (bin.min, bin.max) {
        (Some(min), Some(max)) => format!("{} – {}", cell(Some(min), is_time), cell(Some(max), is_time)),
        _ => "–".to_owned(),
    };
    BinRow {
        start: bin.start,
        state: state_words(&bin.state).0,
        probes: count(bin.probes),
        median: cell(bin.median, is_time),
        range,
        lost: lost_text(bin.sent, bin.received),
        results: count(bin.results),
    }
}

/// `3 of 120 (2.5 %)`.
fn lost_text(sent: u64, received: u64) -> String {
    let lost = sent.saturating_sub(received);
    match sent {
        0 => "–".to_owned(),
        _ => format!("{} of {} ({})", count(lost), count(sent), share(lost as f64 / sent as f64, sent)),
    }
}

pub(super) fn probe_row(of: &OfProbe, is_time: bool) -> ProbeRow {
    let (state, mood) = state_words(of.last_state.as_deref().unwrap_or(&of.state));
    ProbeRow {
        id: of.prb_id,
        asn: of.asn,
        country: of.country_code.clone().unwrap_or_default(),
        state,
        mood,
        last: cell(of.last_value, is_time),
        median: cell(of.median, is_time),
        lost: lost_text(of.sent, of.received),
        when: of.last_timestamp,
    }
}

pub(super) fn answer_row(group: &AnswerGroup, all: &Answers) -> AnswerRow {
    let total: u64 = all.answers.iter().map(|group| group.count).sum::<u64>() + all.left_out;
    let mut more = Vec::new();
    let answer = &group.answer;
    let moment = |name: &str| answer[name].as_i64().map(time::human_unix);
    let text = |name: &str| answer[name].as_str().map(str::to_owned);
    let list = |name: &str| {
        let all: Vec<&str> = answer[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        (!all.is_empty()).then(|| all.join(", "))
    };
    let told: [(&'static str, Option<String>); 6] = [
        ("Names", list("names")),
        ("Subject", text("subject")),
        ("Issuer", text("issuer")),
        ("Valid from", moment("not_before")),
        ("Valid until", moment("not_after")),
        ("SHA-256", text("sha256")),
    ];
    more.extend(told.into_iter().filter_map(|(name, value)| Some((name, value?))));
    if let Some(until) = answer["not_after"].as_i64() {
        let left = until.saturating_sub(group.last);
        let words = if left < 0 {
            format!("it had been over for {}", span(-left))
        } else {
            format!("{} were left", span(left))
        };
        more.push(("When last seen", words));
    }
    let is_bad = answer["failed"].is_string() || answer["not_after"].as_i64().is_some_and(|until| until < group.last);
    AnswerRow {
        text: group.text.clone(),
        count: count(group.count),
        part: share(group.count as f64 / total.max(1) as f64, total),
        probes: count(group.probes),
        last: group.last,
        more,
        mood: if is_bad { "bad" } else { "" },
    }
}

/// One result in a line.
pub(crate) fn result_row(result: &Value) -> ResultRow {
    let said = super::words::words(result);
    ResultRow {
        at: result["timestamp"].as_i64().unwrap_or_default(),
        probe: result["prb_id"].as_u64().unwrap_or_default(),
        text: said.text,
        mood: said.mood,
    }
}
