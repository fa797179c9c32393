//! `/ipv6`: one figure of all countries at some time: the map, the sorted table, the curve. Every choice is in the address.

use askama::Template;
use axum::response::IntoResponse;

use super::parts::{self, Card, CourseView, Headline, MapView, PlaceRow, SORTS};
use crate::ask::{Asker, path};
use crate::choices::Choices;
use crate::page::{Base, Page, Problem};
use crate::reachability::{Course, Enough, List, METRICS, Metric, One, PLAIN_PROBES};
use crate::window::{self, Window};

/// The highest threshold that one can choose.
const MOST: u64 = 1000;

#[derive(Template)]
#[template(path = "ipv6.html")]
struct Ipv6 {
    base: Base,
    metric: Metric,
    metrics: [Metric; 8],
    window: Window,
    before: Option<String>,
    after: Option<String>,
    least: u64,
    sort: &'static str,
    headline: Option<Headline>,
    bias: String,
    cards: Vec<Card>,
    map: MapView,
    rows: Vec<PlaceRow>,
    course: CourseView,
}

impl Ipv6 {
    /// The address with one choice changed; for templates.
    fn with(&self, name: &str, value: &str) -> String {
        let least = self.least.to_string();
        let all = [("metric", self.metric.name), ("t", &self.window.text), ("min", &least), ("sort", self.sort)];
        path("/ipv6", all.map(|(known, now)| (known, if known == name { value } else { now })))
    }

    /// For a column's head; for templates.
    fn direction(&self, sort: &str) -> &'static str {
        match (self.sort == sort, sort) {
            (false, _) => "none",
            (true, "name") => "ascending",
            (true, _) => "descending",
        }
    }
}

/// Reads `metric`.
pub(crate) fn metric(choices: &Choices) -> Result<Metric, Problem> {
    let name = choices.one_of("metric", &METRICS.map(|metric| metric.name))?;
    Metric::find(name).ok_or_else(|| Problem::internal("metric", &name))
}

/// Reads `min`: from how many probes on a share is shown plainly.
pub(crate) fn least(choices: &Choices) -> Result<u64, Problem> {
    Ok(choices.number("min", 1, MOST)?.unwrap_or(PLAIN_PROBES))
}

/// A path of the API with a window and more.
pub(crate) fn api(place: &str, window: &Window, more: &[(&str, &str)]) -> String {
    let query = window.query();
    path(place, query.iter().map(|(name, value)| (*name, value.as_str())).chain(more.iter().copied()))
}

/// The path of the curve beside a window.
pub(crate) fn course_path(window: &Window, place: &[(&str, &str)]) -> String {
    let (from, to, step) = window.course();
    let (from, to) = (from.to_string(), to.to_string());
    let query = [("from", from.as_str()), ("to", to.as_str()), ("step", step)];
    path("/api/v2/ipv6/series/", query.into_iter().chain(place.iter().copied()))
}

/// `GET /ipv6`.
pub(crate) async fn page(base: Base, asker: Asker, choices: Choices) -> Result<impl IntoResponse, Problem> {
    let now = window::now();
    let (metric, window, least) = (metric(&choices)?, Window::read(&choices, now)?, least(&choices)?);
    let enough = Enough::new(least);
    let sort = choices.one_of("sort", &SORTS)?;
    let one: One = asker.find(&api("/api/v2/ipv6/", &window, &[])).await?.unwrap_or_default();
    let list: List = asker.find(&api("/api/v2/ipv6/countries/", &window, &[])).await?.unwrap_or_default();
    let course: Course = asker.find(&course_path(&window, &[])).await?.unwrap_or_default();
    let (before, after) = window.neighbours(now);
    Ok(Page::public(Ipv6 {
        base: base.titled(metric.title).section("/ipv6").of(parts::updated(one.updated)).modules(&["js/chart.js"]),
        metrics: METRICS,
        before,
        after,
        headline: Headline::new(metric, &one.sum, enough),
        bias: one.bias,
        cards: parts::cards(&one.sum, metric),
        map: parts::map(metric, &list, &window, enough),
        rows: parts::rows(metric, &list.results, sort, enough),
        course: parts::course(metric, &course, "the world", &[], enough, now),
        metric,
        window,
        least,
        sort,
    }))
}
