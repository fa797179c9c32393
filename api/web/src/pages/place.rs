//! `/country/{CC}` and `/as/{asn}`: how IPv6 is in one place, in which networks, from how many probes.

use askama::Template;
use axum::extract::Path;
use axum::response::IntoResponse;

use super::ipv6::{api, course_path, least, metric};
use super::parts::{self, Card, CourseView, Headline, PlaceRow, SORTS};
use crate::ask::{Asker, path};
use crate::charts::{number, world};
use crate::choices::Choices;
use crate::page::{Base, Page, Problem};
use crate::reachability::{Course, Enough, List, METRICS, Metric, One};
use crate::window::{self, Window};

/// How many networks of a country are shown; the API has them all.
const SHOWN: &str = "200";

#[derive(Template)]
#[template(path = "place.html")]
struct PlacePage {
    base: Base,
    /// `Germany`, `AS3320`
    name: String,
    /// The page's own path.
    here: String,
    /// For `/compare`.
    token: String,
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
    course: CourseView,
    networks: Option<Networks>,
    silent: String,
    failed: Option<String>,
    probes_href: String,
    badge: String,
    json: String,
}

/// The networks of a country.
struct Networks {
    rows: Vec<PlaceRow>,
    /// How many are not shown.
    more: u64,
    csv: String,
    json: String,
}

impl PlacePage {
    /// The address with one choice changed; for templates.
    fn with(&self, name: &str, value: &str) -> String {
        let least = self.least.to_string();
        let all = [("metric", self.metric.name), ("t", &self.window.text), ("min", &least), ("sort", self.sort)];
        path(&self.here, all.map(|(known, now)| (known, if known == name { value } else { now })))
    }
}

/// `GET /country/{CC}`.
pub(crate) async fn country(
    base: Base,
    asker: Asker,
    choices: Choices,
    Path(code): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let unknown =
        || Problem::not_found("There is no country with this code. Codes are the two letters of ISO 3166, such as DE.");
    let territory = world::find(&code).ok_or_else(unknown)?;
    let code = territory.code.ok_or_else(unknown)?;
    let place = Place {
        name: territory.name.to_owned(),
        here: format!("/country/{code}"),
        token: code.to_owned(),
        api: format!("/api/v2/ipv6/countries/{code}/"),
        query: ("country", code.to_owned()),
        probes: path("/probes", [("country", code)]),
    };
    show(base, asker, choices, place, Some(code)).await
}

/// `GET /as/{asn}`.
pub(crate) async fn network(
    base: Base,
    asker: Asker,
    choices: Choices,
    Path(asn): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let digits = asn.strip_prefix("AS").or_else(|| asn.strip_prefix("as")).unwrap_or(&asn);
    let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
    let number = digits.parse::<u32>().ok().filter(|_| is_number);
    let asn =
        number.ok_or_else(|| Problem::not_found("That is no number of a network (AS), such as 3320."))?.to_string();
    let place = Place {
        name: format!("AS{asn}"),
        here: format!("/as/{asn}"),
        token: format!("AS{asn}"),
        api: format!("/api/v2/ipv6/networks/{asn}/"),
        query: ("asn", asn.clone()),
        probes: path("/probes", [("asn", asn.as_str())]),
    };
    show(base, asker, choices, place, None).await
}

/// What differs between a country and a network.
struct Place {
    name: String,
    here: String,
    token: String,
    api: String,
    query: (&'static str, String),
    probes: String,
}

async fn show(
    base: Base,
    asker: Asker,
    choices: Choices,
    place: Place,
    country: Option<&str>,
) -> Result<Page<PlacePage>, Problem> {
    let now = window::now();
    let (metric, window, least) = (metric(&choices)?, Window::read(&choices, now)?, least(&choices)?);
    let enough = if country.is_some() { Enough::new(least) } else { Enough::new(least).alone() };
    let sort = choices.one_of("sort", &SORTS)?;
    let one: One = asker.find(&api(&place.api, &window, &[])).await?.unwrap_or_default();
    let name = one.scope.called(&place.name);
    let query = [(place.query.0, place.query.1.as_str())];
    let course: Course = asker.find(&course_path(&window, &query)).await?.unwrap_or_default();
    let networks = match country {
        None => None,
        Some(code) => {
            let of =
                |more: &[(&str, &str)]| api("/api/v2/ipv6/networks/", &window, &[&[("country", code)], more].concat());
            let asked = of(&[("sort", "-probes"), ("page_size", SHOWN)]);
            let list: List = asker.find(&asked).await?.unwrap_or_default();
            let rows = parts::rows(metric, &list.results, sort, enough);
            let more = list.count.saturating_sub(rows.len() as u64);
            Some(Networks { rows, more, csv: of(&[("format", "csv")]), json: of(&[]) })
        }
    };
    let (before, after) = window.neighbours(now);
    let sum = &one.sum;
    let title = format!("IPv6 in {name}");
    Ok(Page::public(PlacePage {
        base: base.titled(title).section("/ipv6").of(parts::updated(one.updated)).modules(&["js/chart.js"]),
        headline: Headline::new(metric, sum, enough),
        cards: parts::cards(sum, metric),
        course: parts::course(metric, &course, &place.name, &query, enough, now),
        silent: silent(sum.offline, sum.inconclusive, sum.unsettled),
        failed: failed(sum.only_v6_failed, sum.only_v4_failed),
        badge: path("/img/badge.svg", query),
        json: api(&place.api, &window, &[]),
        bias: one.bias,
        metrics: METRICS,
        name,
        here: place.here,
        token: place.token,
        probes_href: place.probes,
        metric,
        window,
        before,
        after,
        least,
        sort,
        networks,
    }))
}

/// What did not vote, and why.
fn silent(offline: u64, inconclusive: u64, unsettled: u64) -> String {
    let hours = |count| number::counted(count, "hour", "hours");
    format!(
        "Hours of probes that are in no share: {} offline, {} without a usable reference, {} not settled yet.",
        hours(offline),
        number::count(inconclusive),
        number::count(unsettled)
    )
}

/// Connections that one family alone failed to make.
fn failed(only_v6: u64, only_v4: u64) -> Option<String> {
    (only_v6 + only_v4 > 0).then(|| {
        let times = |count| number::counted(count, "time", "times");
        format!("Of two connections begun together, only IPv6 failed {}, only IPv4 {}.", times(only_v6), times(only_v4))
    })
}
