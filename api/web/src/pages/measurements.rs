//! `/measurements`: which public measurements there are.

use askama::Template;
use axum::response::IntoResponse;
use serde_json::Value;

use super::measurement::model::Measurement;
use crate::ask::{self, Asker};
use crate::charts::number::{count, counted, span};
use crate::choices::Choices;
use crate::page::{Base, Page, Problem};

/// How many are on a page.
const PAGE_SIZE: u64 = 50;

/// The last page that is shown: the database would count the others for nobody.
const MAX_PAGE: u64 = 2_000;

/// Kinds, first the choice of all.
const KINDS: [&str; 9] = ["", "ping", "traceroute", "dns", "sslcert", "http", "ntp", "pathmtu", "ipv6"];

/// States: the word in the URL, what people read, Atlas's numbers.
const STATES: [(&str, &str, &str); 4] = [
    ("", "in any state", ""),
    ("running", "running", "2"),
    ("scheduled", "to come", "0,1"),
    ("over", "over", "4,5,6,7,8,9"),
];

#[derive(Template)]
#[template(path = "measurements.html")]
struct Measurements {
    base: Base,
    search: String,
    kinds: Vec<Choice>,
    states: Vec<Choice>,
    families: Vec<Choice>,
    found: String,
    rows: Vec<Row>,
    previous: Option<String>,
    next: Option<String>,
    page: u64,
    pages: u64,
    json: String,
}

/// An option of a list.
struct Choice {
    value: &'static str,
    name: &'static str,
    is_chosen: bool,
}

struct Row {
    id: u64,
    kind: String,
    subject: String,
    description: String,
    status: String,
    mood: &'static str,
    family: String,
    probes: String,
    every: String,
    since: i64,
}

impl Row {
    fn of(object: Value) -> Self {
        let measurement = Measurement(object);
        let object = &measurement.0;
        Self {
            id: measurement.id(),
            kind: measurement.kind().to_owned(),
            subject: measurement.subject(),
            description: measurement.description().to_owned(),
            status: measurement.status().to_owned(),
            mood: measurement.status_mood(),
            family: measurement.family_name().to_owned(),
            probes: object["participant_count"].as_u64().map_or_else(|| "all".to_owned(), count),
            every: object["interval"].as_i64().map_or_else(|| "once".to_owned(), span),
            since: object["start_time"].as_i64().unwrap_or_default(),
        }
    }
}

/// `GET /measurements`.
pub(crate) async fn page(base: Base, asker: Asker, choices: Choices) -> Result<impl IntoResponse, Problem> {
    let kind = choices.one_of("type", &KINDS)?;
    let states: Vec<&str> = STATES.iter().map(|(word, ..)| *word).collect();
    let state = choices.one_of("status", &states)?;
    let family = choices.one_of("af", &["", "6", "4"])?;
    let page = choices.number("page", 1, MAX_PAGE)?.unwrap_or(1);
    let search = choices.text("search").unwrap_or_default();
    let numbers = STATES.iter().find(|(word, ..)| *word == state).map(|(_, _, numbers)| *numbers).unwrap_or_default();

    let mut asked = vec![("sort", "-id"), ("search", search), ("type", kind), ("status", numbers), ("af", family)];
    asked.retain(|(_, value)| !value.is_empty());
    let (page_text, size) = (page.to_string(), PAGE_SIZE.to_string());
    let paged = [("page", page_text.as_str()), ("page_size", size.as_str())];
    let list = asker.get(&ask::path("/api/v2/measurements/", asked.iter().copied().chain(paged))).await?;
    let total = list["count"].as_u64().unwrap_or_default();
    let rows = list["results"].as_array().cloned().unwrap_or_default();

    let mut chosen = vec![("search", search), ("type", kind), ("status", state), ("af", family)];
    chosen.retain(|(_, value)| !value.is_empty());
    let to = |page: u64| {
        let page = page.to_string();
        ask::path("/measurements", chosen.iter().copied().chain([("page", page.as_str())]))
    };
    let pages = total.div_ceil(PAGE_SIZE).clamp(1, MAX_PAGE);
    let choice = |value: &'static str, name: &'static str, now: &str| Choice { value, name, is_chosen: value == now };
    let base = base.titled("Measurements").section("/measurements");
    Ok(Page::public(Measurements {
        base,
        search: search.to_owned(),
        kinds: KINDS.iter().map(|word| choice(word, if word.is_empty() { "any kind" } else { word }, kind)).collect(),
        states: STATES.iter().map(|(word, name, _)| choice(word, name, state)).collect(),
        families: vec![choice("", "both families", family), choice("6", "IPv6", family), choice("4", "IPv4", family)],
        found: counted(total, "measurement", "measurements"),
        rows: rows.into_iter().map(Row::of).collect(),
        previous: (page > 1).then(|| to(page - 1)),
        next: (page < pages).then(|| to(page + 1)),
        page,
        pages,
        json: ask::path("/api/v2/measurements/", asked.iter().copied()),
    }))
}
