//! `/probes/{id}`: one probe, as everybody may see it: how it is, where, when it was there, how IPv6 works for it, what it runs. What
//! only its owner may know is on a page of its own (`probe_own`).

use askama::Template;
use axum::extract::Path;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::Value;

use super::probe_ipv6::Ipv6;
use super::probe_view::{Probe, now};
use crate::ask::{self, Asker};
use crate::charts::number::{counted, share, span};
use crate::charts::strip::{self, Step};
use crate::charts::svg::Svg;
use crate::charts::time::{human_unix, iso, tick};
use crate::page::{Base, Page, Problem};

/// How many measurements of each sort are listed.
const LISTED: &str = "100";

#[derive(Template)]
#[template(path = "probe.html")]
struct ProbePage {
    base: Base,
    probe: Probe,
    /// Of this moment.
    now: i64,
    ipv6: Option<Ipv6>,
    windows: Vec<Window>,
    ordered: List,
    builtins: List,
}

/// When it was connected, over one window.
struct Window {
    /// `24 hours`.
    title: &'static str,
    /// In a sentence.
    finding: String,
    svg: Svg,
    rows: Vec<Row>,
    json: String,
}

/// A step of it as a row of a table.
struct Row {
    iso: String,
    when: String,
    what: String,
}

#[derive(Deserialize)]
struct Uptime {
    start: i64,
    now: i64,
    step: i64,
    first_connected: Option<i64>,
    connected: Vec<Option<i64>>,
    connected_seconds: i64,
    counted_seconds: i64,
}

#[derive(Deserialize)]
struct List {
    count: u64,
    results: Vec<Measurement>,
}

/// What it runs.
#[derive(Deserialize)]
struct Measurement {
    id: u64,
    r#type: String,
    target: Option<String>,
    af: Option<u8>,
    description: Option<String>,
    interval: Option<u32>,
}

impl List {
    fn words(&self) -> String {
        counted(self.count, "measurement", "measurements")
    }
}

impl Measurement {
    /// `every 4 min`.
    fn pace(&self) -> String {
        self.interval.map_or_else(|| "once".to_owned(), |interval| format!("every {}", span(interval.into())))
    }

    fn what(&self) -> &str {
        self.target.as_deref().unwrap_or("its own resolvers")
    }
}

/// `GET /probes/{id}`.
pub(super) async fn page(base: Base, asker: Asker, Path(id): Path<String>) -> Result<impl IntoResponse, Problem> {
    let id = number(&id)?;
    let api = format!("/api/v2/probes/{id}/");
    let probe: Option<Probe> = asker.find(&api).await?;
    let probe = probe.ok_or_else(nobody)?;
    let mut windows = Vec::new();
    for (title, name) in [("90 days", "90d"), ("24 hours", "24h")] {
        let json = format!("{api}uptime/?window={name}");
        windows.push(window(title, &asker.read(&json).await?, json));
    }
    // Of a server that has no such measurement there is nothing to tell.
    let ipv6: Option<Value> = asker.find(&format!("/api/v2/ipv6/probes/{id}/")).await?;
    let ipv6 = ipv6.map(|answer| Ipv6::of(&answer, now()));
    let listed = [("page_size", LISTED), ("sort", "-id")];
    let ordered: List = asker.read(&ask::path(&format!("{api}measurements/"), listed)).await?;
    // Everybody runs those of the network, so they are not in its list.
    let builtins = ask::path(
        "/api/v2/measurements/",
        [("id__lt", "1000000"), ("status", "2"), ("page_size", LISTED), ("sort", "id")],
    );
    let builtins: List = asker.read(&builtins).await?;
    let base = Base {
        summary: format!("Probe {id}: {}.", probe.state(&now())),
        ..base.titled(format!("Probe {id}")).section("/probes").styles(&["css/probe.css"])
    };
    Ok(Page::public(ProbePage { base, probe, now: now(), ipv6, windows, ordered, builtins }))
}

/// The number of a probe in an address.
pub(super) fn number(text: &str) -> Result<u64, Problem> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    // Larger than any number that the API takes is no probe's.
    text.parse().ok().filter(|id| digits && *id <= i64::MAX as u64).ok_or_else(nobody)
}

pub(super) fn nobody() -> Problem {
    Problem::not_found("There is no probe of this number.")
}

/// How a step is drawn: class and height.
fn form(connected: Option<i64>, step: i64) -> (&'static str, f64) {
    match connected {
        None => ("not-yet", 0.06),
        Some(seconds) if seconds >= step => ("up", 1.0),
        Some(0) => ("gone", 0.22),
        Some(_) => ("part", 0.62),
    }
}

fn window(title: &'static str, uptime: &Uptime, json: String) -> Window {
    let mut steps = Vec::new();
    let mut rows = Vec::new();
    for (index, connected) in uptime.connected.iter().enumerate() {
        let from = uptime.start.saturating_add(uptime.step.saturating_mul(index as i64));
        // The last goes on, and the first may have begun before the probe came.
        let begin = uptime.first_connected.map_or(from, |first| first.max(from));
        let length = (from + uptime.step).min(uptime.now).saturating_sub(begin).max(1);
        let (class, height) = form(*connected, length);
        let when = if uptime.step >= 86_400 { tick(from, uptime.step) } else { human_unix(from) };
        let what = match connected {
            None => "not yet here".to_owned(),
            Some(seconds) if *seconds >= length => "connected".to_owned(),
            Some(0) => "not connected".to_owned(),
            Some(seconds) => format!("connected {} of {}", span(*seconds), span(length)),
        };
        steps.push(Step { class, height, title: format!("{when}: {what}") });
        if connected.is_some() {
            rows.push(Row { iso: iso(from), when, what });
        }
    }
    rows.reverse();
    let part = match uptime.counted_seconds {
        0 => None,
        counted => Some(uptime.connected_seconds as f64 / counted as f64),
    };
    let share = part.map(|part| share(part, count_of(uptime)));
    let since = match uptime.first_connected {
        Some(first) if first > uptime.start => format!(", counted from its first connection on {}", human_unix(first)),
        _ => String::new(),
    };
    let finding = match &share {
        None => format!("It was not there in the last {title}."),
        Some(share) => format!("Connected {share} of the last {title}{since}."),
    };
    Window { title, svg: strip::draw(&finding, &steps, &labels(uptime)), finding, rows, json }
}

/// A share of time is of many seconds, never of few things.
fn count_of(uptime: &Uptime) -> u64 {
    uptime.counted_seconds.unsigned_abs().max(100)
}

/// Words under some of the steps.
fn labels(uptime: &Uptime) -> Vec<(usize, String)> {
    let every = if uptime.step >= 86_400 { 15 } else { 16 };
    let label = |index: usize| {
        let from = uptime.start.saturating_add(uptime.step.saturating_mul(index as i64));
        (index, tick(from, uptime.step))
    };
    (0..uptime.connected.len()).step_by(every).map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uptime(connected: Vec<Option<i64>>) -> Uptime {
        let total: i64 = connected.iter().flatten().sum();
        Uptime {
            start: 1_760_000_400,
            now: 1_760_000_400 + 900 * 4 - 500,
            step: 900,
            first_connected: Some(1_760_000_400 + 1000),
            connected,
            connected_seconds: total,
            counted_seconds: 2100,
        }
    }

    #[test]
    fn each_state_has_a_height_of_its_own() {
        let forms = [None, Some(0), Some(1), Some(900)].map(|connected| form(connected, 900));
        for (one, other) in forms.iter().zip(&forms[1..]) {
            assert!(one.1 < other.1 && one.0 != other.0, "{one:?} {other:?}");
        }
    }

    #[test]
    fn a_window_in_words() {
        // Came 100 s into the second step and stayed; left in the third; the fourth is 400 s old.
        let window = window("24 hours", &uptime(vec![None, Some(800), Some(450), Some(0)]), String::new());
        assert!(window.finding.contains("59.5 %"), "{}", window.finding);
        assert!(window.finding.contains("counted from its first connection"), "{}", window.finding);
        let words: Vec<&str> = window.rows.iter().map(|row| row.what.as_str()).collect();
        assert_eq!(words, ["not connected", "connected 7 min of 15 min", "connected"], "the newest first");
        assert!(window.svg.as_str().contains("not yet here"));
        let never = Uptime { first_connected: None, counted_seconds: 0, ..uptime(vec![None; 4]) };
        let window = super::window("24 hours", &never, String::new());
        assert_eq!(window.rows.len(), 0);
        assert!(!window.finding.contains('%'), "{}", window.finding);
    }

    #[test]
    fn numbers_of_probes() {
        assert_eq!(number("17").unwrap(), 17);
        for text in ["", "x", "-1", "+1", "1.5", "99999999999999999999", "9223372036854775808"] {
            number(text).unwrap_err();
        }
    }
}
