//! `/img/{map,series,badge}.svg`: pictures for other sites, by their address alone. A window that moves (`t=24h`) makes a picture
//! that stays new; a fixed hour or day one that stays as it is.

use axum::http::HeaderName;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::ipv6::{api, course_path, least, metric};
use super::parts;
use crate::ask::Asker;
use crate::charts::map as charts;
use crate::charts::picture::{self, Words};
use crate::charts::svg::Svg;
use crate::charts::{time, world};
use crate::choices::Choices;
use crate::page::{Base, PUBLIC, Problem};
use crate::reachability::{Course, Enough, List, Metric, One};
use crate::window::{self, Window};

/// A picture that somebody opens by itself is no page of ours: it may have its own style and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";

/// Pages of other sites may show it.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// A day that is over hardly changes any more.
const CLOSED: &str = "public, max-age=86400, stale-while-revalidate=300";

/// How long after its end something may still come, in seconds.
const LATE: i64 = 3 * 3600;

fn answer(svg: &Svg, window: &Window, now: i64) -> Response {
    let cache = if !window.slides && window.to + LATE < now { CLOSED } else { PUBLIC };
    let headers = [
        (CONTENT_TYPE, "image/svg+xml; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (RESOURCE_POLICY, "cross-origin"),
        (CACHE_CONTROL, cache),
    ];
    (headers, svg.to_string()).into_response()
}

/// What a picture is of: the world, a country, or a network.
pub(super) struct Place {
    /// `the world`, `Germany`, `AS3320`
    pub name: String,
    /// Where its page is.
    pub href: String,
    /// Of its sum in the API.
    path: String,
    /// For the series.
    query: Vec<(&'static str, String)>,
}

impl Place {
    /// Reads `country` or `asn`.
    pub fn read(choices: &Choices) -> Result<Self, Problem> {
        let asn = choices.number::<u32>("asn", 0, u32::MAX)?;
        match (choices.text("country"), asn) {
            (None, None) => {
                let (name, href, path) = ("the world".into(), "/ipv6".into(), "/api/v2/ipv6/".into());
                Ok(Self { name, href, path, query: Vec::new() })
            }
            (None, Some(asn)) => Ok(Self {
                name: format!("AS{asn}"),
                href: format!("/as/{asn}"),
                path: format!("/api/v2/ipv6/networks/{asn}/"),
                query: vec![("asn", asn.to_string())],
            }),
            (Some(code), None) => {
                let territory = world::find(code).and_then(|territory| Some((territory.name, territory.code?)));
                let wrong = || Problem::bad("“country” is the two letters of a country, such as DE.");
                let (name, code) = territory.ok_or_else(wrong)?;
                Ok(Self {
                    name: name.to_owned(),
                    href: format!("/country/{code}"),
                    path: format!("/api/v2/ipv6/countries/{code}/"),
                    query: vec![("country", code.to_owned())],
                })
            }
            (Some(_), Some(_)) => Err(Problem::bad("Choose a country or an AS, not both.")),
        }
    }

    /// For [`course_path`] and addresses of pictures.
    pub fn query(&self) -> Vec<(&str, &str)> {
        self.query.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    /// A network is alone by nature.
    pub fn enough(&self, least: u64) -> Enough {
        let enough = Enough::new(least);
        if self.query.iter().any(|(name, _)| *name == "asn") { enough.alone() } else { enough }
    }
}

fn source(base: &Base, asker: &Asker, updated: Option<i64>) -> String {
    let of = updated.map_or_else(|| "no data yet".to_owned(), |at| format!("data of {}", time::human_unix(at)));
    format!("{} · {} · {of} · our probes are volunteers', not a sample of users", base.network, asker.here())
}

/// `GET /img/map.svg`.
pub(crate) async fn map(base: Base, asker: Asker, choices: Choices) -> Result<Response, Problem> {
    let now = window::now();
    let (metric, window, enough) = (metric(&choices)?, Window::read(&choices, now)?, Enough::new(least(&choices)?));
    let list: List = asker.find(&api("/api/v2/ipv6/countries/", &window, &[])).await?.unwrap_or_default();
    let probes = list.results.iter().map(|row| row.sum.probes).sum();
    let words = Words {
        title: parts::finding(metric, &list, &window),
        about: format!(
            "{} in {}. Hatched: {}.",
            crate::charts::number::counted(probes, "probe", "probes"),
            crate::charts::number::counted(list.results.len() as u64, "country", "countries"),
            enough.words()
        ),
        source: source(&base, &asker, list.updated),
    };
    let find = |code: &str| list.results.iter().find(|row| row.country_code.as_deref() == Some(code));
    let legend = charts::meanings(metric.splits(), metric.legend_unit(), "few");
    let svg = picture::map(&words, metric.family(), &legend, |code| Some(metric.country(&find(code)?.sum, enough)));
    Ok(answer(&svg, &window, now))
}

/// `GET /img/series.svg`.
pub(crate) async fn series(base: Base, asker: Asker, choices: Choices) -> Result<Response, Problem> {
    let now = window::now();
    let (metric, window, place) = (metric(&choices)?, Window::read(&choices, now)?, Place::read(&choices)?);
    let enough = place.enough(least(&choices)?);
    let course: Course = asker.find(&course_path(&window, &place.query())).await?.unwrap_or_default();
    let most = course.points.iter().map(|row| &row.sum).max_by_key(|sum| sum.probes);
    let words = Words {
        title: format!("{} in {}", metric.title, course.scope.called(&place.name)),
        about: format!(
            "{} to {}, by {}. {} The band is the 95 % interval; open circles: {}.",
            time::human_unix(course.from),
            time::human_unix(course.to),
            course.step,
            most.map(|sum| format!("At most {}.", sum.behind())).unwrap_or_default(),
            enough.words()
        ),
        source: source(&base, &asker, course.updated),
    };
    let svg = picture::curve(&words, &parts::curve(metric, &course, enough, now));
    Ok(answer(&svg, &window, now))
}

/// `GET /img/badge.svg`.
pub(crate) async fn badge(asker: Asker, choices: Choices) -> Result<Response, Problem> {
    let now = window::now();
    let (metric, window, place) = (metric(&choices)?, Window::read(&choices, now)?, Place::read(&choices)?);
    let one: One = asker.find(&api(&place.path, &window, &[])).await?.unwrap_or_default();
    let svg =
        picture::badge(&label(metric, &place), &value(metric, &one), !one.sum.is_plain(place.enough(least(&choices)?)));
    Ok(answer(&svg, &window, now))
}

fn label(metric: Metric, place: &Place) -> String {
    if place.query.is_empty() { metric.title.to_owned() } else { format!("{} · {}", metric.title, place.name) }
}

fn value(metric: Metric, one: &One) -> String {
    match metric.of(&one.sum) {
        None => "no probe".to_owned(),
        Some(_) => format!("{} of {}", metric.text(&one.sum), one.sum.probes),
    }
}
