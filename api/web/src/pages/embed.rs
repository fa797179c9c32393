//! `/embed/{map,series,probe}`: the same pictures as pages for frames on other sites. No cookie is read, nothing can be sent, and a
//! link leads back.

use askama::Template;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::img::Place;
use super::ipv6::{api, course_path, least, metric};
use super::parts;
use crate::ask::{Asker, path};
use crate::charts::map::Entry;
use crate::charts::svg::Svg;
use crate::charts::{map as charts, series as curves, time, world};
use crate::choices::Choices;
use crate::page::{Base, Page, Problem};
use crate::reachability::{Course, Enough, List};
use crate::window::{self, Window};

/// Any site may frame it; it may load our styles and the script that sets the colours, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'none'; base-uri 'none'; \
    frame-ancestors *; require-trusted-types-for 'script'; trusted-types 'none'";

#[derive(Template)]
#[template(path = "embed.html")]
struct Embed {
    base: Base,
    title: String,
    about: String,
    svgs: Vec<Svg>,
    legend: Vec<Entry>,
    facts: Vec<(&'static str, String)>,
    /// Where the whole page is.
    href: String,
}

fn framed(embed: Embed) -> Response {
    ([(CONTENT_SECURITY_POLICY, POLICY)], Page::public(embed)).into_response()
}

/// `GET /embed/map`.
pub(crate) async fn map(base: Base, asker: Asker, choices: Choices) -> Result<Response, Problem> {
    let now = window::now();
    let (metric, window, least) = (metric(&choices)?, Window::read(&choices, now)?, least(&choices)?);
    let enough = Enough::new(least);
    let list: List = asker.find(&api("/api/v2/ipv6/countries/", &window, &[])).await?.unwrap_or_default();
    let find = |code: &str| list.results.iter().find(|row| row.country_code.as_deref() == Some(code));
    let title = parts::finding(metric, &list, &window);
    let svg = charts::map(&title, metric.family(), |code| Some(metric.country(&find(code)?.sum, enough)));
    let least = least.to_string();
    Ok(framed(Embed {
        base: base.of(parts::updated(list.updated)),
        title,
        about: "Of our probes: volunteers', not a sample of users.".into(),
        svgs: vec![svg],
        legend: charts::legend(metric.family(), metric.splits(), metric.legend_unit(), &enough.words()),
        facts: Vec::new(),
        href: path("/ipv6", [("metric", metric.name), ("t", &window.text), ("min", &least)]),
    }))
}

/// `GET /embed/series`.
pub(crate) async fn series(base: Base, asker: Asker, choices: Choices) -> Result<Response, Problem> {
    let now = window::now();
    let (metric, window, place) = (metric(&choices)?, Window::read(&choices, now)?, Place::read(&choices)?);
    let enough = place.enough(least(&choices)?);
    let course: Course = asker.find(&course_path(&window, &place.query())).await?.unwrap_or_default();
    let title = format!("{} in {}, by {}", metric.title, course.scope.called(&place.name), course.step);
    let svgs = curves::picture(&title, &parts::curve(metric, &course, enough, now));
    Ok(framed(Embed {
        base: base.of(parts::updated(course.updated)),
        about: format!("The band is the 95 % interval; open circles: {}. Times are UTC.", enough.words()),
        svgs: svgs.to_vec(),
        legend: Vec::new(),
        facts: Vec::new(),
        href: path(&place.href, [("metric", metric.name), ("t", &window.text)]),
        title,
    }))
}

/// What is shown of `/api/v2/probes/{id}/`.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct ProbeObject {
    country_code: Option<String>,
    asn_v4: Option<u32>,
    asn_v6: Option<u32>,
    status: Status,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    name: String,
    since: Option<String>,
}

/// What is shown of `/api/v2/ipv6/probes/{id}/`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Verdicts {
    verdict: Vec<Verdict>,
    last_run: Option<i64>,
}

#[derive(Deserialize)]
struct Verdict {
    af: u64,
    settled: Option<String>,
}

/// `GET /embed/probe?id=`.
pub(crate) async fn probe(base: Base, asker: Asker, choices: Choices) -> Result<Response, Problem> {
    let id = choices.number::<u64>("id", 1, u64::MAX)?.ok_or_else(|| Problem::bad("“id” is the number of a probe."))?;
    let probe: ProbeObject = asker.read(&format!("/api/v2/probes/{id}/")).await?;
    let said: Verdicts = asker.find(&format!("/api/v2/ipv6/probes/{id}/")).await?.unwrap_or_default();
    let since = probe.status.since.as_deref().map(|since| format!(" since {}", time::human(since))).unwrap_or_default();
    let network = probe.asn_v6.or(probe.asn_v4).map_or_else(|| "not known".to_owned(), |asn| format!("AS{asn}"));
    let mut facts = vec![
        ("State", format!("{}{since}", probe.status.name)),
        ("Country", probe.country_code.as_deref().map_or("not known", world::name).to_owned()),
        ("Network", network),
    ];
    for verdict in said.verdict {
        let family = if verdict.af == 6 { "IPv6" } else { "IPv4" };
        facts.push((family, verdict.settled.unwrap_or_else(|| "not settled yet".to_owned())));
    }
    Ok(framed(Embed {
        base: base.of(said.last_run.map(time::iso)),
        title: format!("Probe {id}"),
        about: String::new(),
        svgs: Vec::new(),
        legend: Vec::new(),
        facts,
        href: format!("/probes/{id}"),
    }))
}
