//! `/probes`: which probes there are: search, counts, a map, a table in pages. Every choice is in the address.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::probe_view::{Probe, now};
use crate::ask::{self, Asker};
use crate::charts::dots::{self, Mood};
use crate::charts::map::Entry;
use crate::charts::number::{count, counted};
use crate::charts::places::{self, Place};
use crate::charts::svg::Svg;
use crate::choices::Choices;
use crate::page::{Base, Page, Problem};

/// How many probes are on a page.
const PAGE: u64 = 50;

/// The choices and the API's names for them.
const FILTERS: [(&str, &str); 7] = [
    ("id", "id"),
    ("country", "country_code"),
    ("asn", "asn"),
    ("prefix", "prefix"),
    ("tag", "tags"),
    ("near", "radius"),
    ("status", "status"),
];

/// The states: the choice's word, Atlas's number, words for people.
const STATES: [(&str, &str, &str); 3] =
    [("connected", "1", "connected"), ("disconnected", "2", "disconnected"), ("never", "0", "never connected")];

/// What the table can be sorted by: the choice's word and the API's, which is the same.
const SORTS: [&str; 10] = [
    "id",
    "-id",
    "country_code",
    "-country_code",
    "asn_v4",
    "-asn_v4",
    "status_since",
    "-status_since",
    "first_connected",
    "-first_connected",
];

#[derive(Template)]
#[template(path = "probes.html")]
struct Probes {
    base: Base,
    choices: Choices,
    /// Of this moment.
    now: i64,
    /// What of the choices cannot be used.
    problem: Option<String>,
    total: u64,
    states: Vec<State>,
    probes: Vec<Probe>,
    map: Option<Map>,
    page: u64,
    pages: u64,
    json: String,
}

/// A state with its probes.
struct State {
    words: &'static str,
    count: u64,
    /// To the list of these alone.
    link: String,
    is_chosen: bool,
}

struct Map {
    svg: Svg,
    /// Some dots are several places.
    is_merged: bool,
    legend: Vec<Entry>,
    /// Every place, for whoever goes closer.
    json: String,
    /// Probes without a place.
    unplaced: u64,
}

#[derive(Deserialize)]
struct List {
    count: u64,
    #[serde(default)]
    results: Vec<Probe>,
}

#[derive(Deserialize)]
struct Places {
    placed: u64,
    places: Vec<Place>,
}

impl Probes {
    fn value(&self, name: &str) -> &str {
        self.choices.text(name).unwrap_or_default()
    }

    fn count(&self, number: &u64) -> String {
        count(*number)
    }

    fn probes_in_words(&self, number: &u64) -> String {
        counted(*number, "probe", "probes")
    }

    fn states(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        &STATES
    }

    /// The same list with another choice; an empty value leaves it out. It begins at its first page.
    fn with(&self, name: &str, value: &str) -> String {
        address(&self.choices, name, value)
    }

    /// The heading of a column by which the table can be sorted: where it leads, and how it is sorted now.
    fn sort(&self, key: &str) -> (String, &'static str) {
        let now = self.choices.text("sort").unwrap_or("id");
        let (next, is) = match now.strip_prefix('-') {
            _ if now == key => (format!("-{key}"), "ascending"),
            Some(now) if now == key => (key.to_owned(), "descending"),
            _ => (key.to_owned(), "none"),
        };
        (self.with("sort", &next), is)
    }
}

/// `GET /probes`.
pub(super) async fn page(base: Base, asker: Asker, choices: Choices) -> Result<Response, Problem> {
    let kept = choices.clone();
    let filters = filters(&kept)?;
    let sort = choices.one_of("sort", &SORTS)?;
    let page = choices.number("page", 1, 1_000_000)?.unwrap_or(1);
    let page_text = page.to_string();
    let mut query = filters.clone();
    query.extend([("sort", sort), ("page_size", "50"), ("page", &page_text)]);
    let path = |name: &str, query: &[(&str, &str)]| ask::path(&format!("/api/v2/probes/{name}"), query.iter().copied());
    let base = Base {
        summary: "The probes of this network: where they are, in which networks, how long they have been connected."
            .into(),
        ..base.titled("Probes").section("/probes").styles(&["css/probe.css"]).modules(&["js/map.js"])
    };
    let mut shown = Probes {
        base,
        now: now(),
        problem: None,
        total: 0,
        states: Vec::new(),
        probes: Vec::new(),
        map: None,
        page,
        pages: 1,
        json: path("", &filters),
        choices,
    };
    let list: List = match asker.read(&path("", &query)).await {
        // What was written into the form stays in it.
        Err(problem) if problem.status == StatusCode::BAD_REQUEST => {
            shown.problem = Some(problem.words);
            return Ok(Page::public(shown).status(StatusCode::BAD_REQUEST).into_response());
        }
        Err(problem) if problem.status == StatusCode::NOT_FOUND => {
            return Err(Problem::not_found("The list has no such page."));
        }
        found => found?,
    };
    let others: Vec<(&str, &str)> = filters.iter().copied().filter(|(name, _)| *name != "status").collect();
    for (word, number, words) in STATES {
        let mut query = others.clone();
        query.extend([("status", number), ("page_size", "0")]);
        let is_chosen = shown.choices.text("status") == Some(word);
        shown.states.push(State {
            words,
            count: asker.read::<List>(&path("", &query)).await?.count,
            link: address(&shown.choices, "status", if is_chosen { "" } else { word }),
            is_chosen,
        });
    }
    let json = path("places/", &filters);
    let places: Places = asker.read(&json).await?;
    let (svg, is_merged) = places::draw("Where the probes are", &places.places);
    let legend = dots::legend(&[(Mood::Good, "somebody is connected"), (Mood::Gone, "nobody is connected")]);
    let unplaced = list.count.saturating_sub(places.placed);
    shown.map = (places.placed > 0).then_some(Map { svg, is_merged, legend, json, unplaced });
    shown.total = list.count;
    shown.pages = list.count.div_ceil(PAGE).max(1);
    shown.probes = list.results;
    Ok(Page::public(shown).into_response())
}

/// The choices as the API's parameters.
fn filters(choices: &Choices) -> Result<Vec<(&'static str, &str)>, Problem> {
    let mut filters = Vec::new();
    for (name, parameter) in FILTERS {
        let Some(value) = choices.text(name) else { continue };
        let value = match name {
            "status" => {
                let known = STATES.iter().find(|(word, ..)| *word == value).map(|(_, number, _)| *number);
                known.ok_or_else(|| Problem::bad("“status” is one of: connected, disconnected, never."))?
            }
            _ => value,
        };
        filters.push((parameter, value));
    }
    Ok(filters)
}

/// The list's address with another choice.
fn address(choices: &Choices, name: &str, value: &str) -> String {
    let kept = FILTERS.iter().map(|(name, _)| *name).chain(["sort"]).filter(|known| *known != name);
    let mut pairs: Vec<(&str, &str)> = kept.filter_map(|known| Some((known, choices.text(known)?))).collect();
    if !value.is_empty() {
        pairs.push((name, value));
    }
    ask::path("/probes", pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_become_the_apis_parameters_and_addresses() {
        let choices = Choices::of(b"country=nl&tag=home&status=never&page=3&other=x&near=").unwrap();
        assert_eq!(filters(&choices).unwrap(), [("country_code", "nl"), ("tags", "home"), ("status", "0")]);
        assert_eq!(address(&choices, "page", "2"), "/probes?country=nl&tag=home&status=never&page=2");
        assert_eq!(address(&choices, "status", ""), "/probes?country=nl&tag=home");
        assert_eq!(address(&Choices::of(b"tag=a%26b").unwrap(), "sort", "-id"), "/probes?tag=a%26b&sort=-id");
        filters(&Choices::of(b"status=1").unwrap()).unwrap_err();
    }
}
