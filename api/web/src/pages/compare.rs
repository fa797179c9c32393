//! `/compare?a=&b=`: what differs between two places, and whether the difference is more than chance.

use askama::Template;
use axum::response::IntoResponse;
use serde::Deserialize;

use super::ipv6::{api, course_path, metric};
use super::parts;
use crate::ask::Asker;
use crate::charts::series::{self, Curve};
use crate::charts::svg::Svg;
use crate::charts::{number, world};
use crate::choices::Choices;
use crate::page::{Base, Page, Problem};
use crate::reachability::{Course, Enough, METRICS, Metric, PLAIN_PROBES, Scope, Sum};
use crate::window::{self, Window};

#[derive(Template)]
#[template(path = "compare.html")]
struct ComparePage {
    base: Base,
    a: String,
    b: String,
    metric: Metric,
    metrics: [Metric; 8],
    window: Window,
    found: Option<Found>,
}

/// Two places beside each other.
struct Found {
    heads: [String; 2],
    hrefs: [String; 2],
    behind: [String; 2],
    bias: String,
    verdict: Vec<String>,
    rows: Vec<Beside>,
    caption: String,
    svg: [Svg; 2],
    hours: Vec<[String; 3]>,
    json: String,
}

/// One figure of both.
struct Beside {
    title: &'static str,
    values: [String; 2],
    intervals: [String; 2],
}

/// `/api/v2/ipv6/compare/`.
#[derive(Deserialize)]
struct Compared {
    updated: Option<i64>,
    a: Side,
    b: Side,
    works6: Option<Difference>,
    clean6: Option<Difference>,
}

#[derive(Deserialize)]
struct Side {
    #[serde(default)]
    bias: String,
    #[serde(default)]
    scope: Scope,
    sum: Sum,
}

#[derive(Deserialize)]
struct Difference {
    share: f64,
    low: f64,
    high: f64,
    is_clear: bool,
}

/// A place as it is written in the address.
struct Place {
    token: String,
    name: String,
    href: String,
    /// For `/series/`.
    query: Option<(&'static str, String)>,
}

/// Reads a place: `world`, two letters of a country, or `AS` and a number.
fn place(choices: &Choices, name: &str) -> Result<Option<Place>, Problem> {
    let Some(text) = choices.text(name) else { return Ok(None) };
    if text.eq_ignore_ascii_case("world") {
        return Ok(Some(Place { token: "world".into(), name: "the world".into(), href: "/ipv6".into(), query: None }));
    }
    let asn = text.get(..2).filter(|head| head.eq_ignore_ascii_case("as")).and_then(|_| text.get(2..));
    let asn = asn.filter(|digits| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()));
    if let Some(asn) = asn.and_then(|digits| digits.parse::<u32>().ok()) {
        let (token, href) = (format!("AS{asn}"), format!("/as/{asn}"));
        return Ok(Some(Place { name: token.clone(), token, href, query: Some(("asn", asn.to_string())) }));
    }
    if let Some((territory, code)) = world::find(text).and_then(|territory| Some((territory, territory.code?))) {
        let query = Some(("country", code.to_owned()));
        return Ok(Some(Place {
            token: code.into(),
            name: territory.name.into(),
            href: format!("/country/{code}"),
            query,
        }));
    }
    Err(Problem::bad(&format!(
        "“{name}” is world, the two letters of a country such as DE, or a network such as AS3320."
    )))
}

/// `GET /compare`.
pub(crate) async fn page(base: Base, asker: Asker, choices: Choices) -> Result<impl IntoResponse, Problem> {
    let now = window::now();
    let (metric, window) = (metric(&choices)?, Window::read(&choices, now)?);
    let (a, b) = (place(&choices, "a")?, place(&choices, "b")?);
    let (text_a, text_b) =
        (choices.text("a").unwrap_or_default().to_owned(), choices.text("b").unwrap_or("world").to_owned());
    let (mut updated, mut found) = (None, None);
    if let (Some(a), Some(b)) = (a, b) {
        let asked = api("/api/v2/ipv6/compare/", &window, &[("a", &a.token), ("b", &b.token)]);
        let compared: Compared = asker.read(&asked).await?;
        let mut courses = Vec::new();
        for place in [&a, &b] {
            let query: Vec<(&str, &str)> = place.query.iter().map(|(name, value)| (*name, value.as_str())).collect();
            courses.push(asker.find::<Course>(&course_path(&window, &query)).await?.unwrap_or_default());
        }
        updated = compared.updated;
        found = Some(beside(metric, [a, b], &compared, &courses, now, asked));
    }
    Ok(Page::public(ComparePage {
        base: base.titled("Compare two places").section("/ipv6").of(parts::updated(updated)),
        a: text_a,
        b: text_b,
        metrics: METRICS,
        metric,
        window,
        found,
    }))
}

fn beside(
    metric: Metric,
    places: [Place; 2],
    compared: &Compared,
    courses: &[Course],
    now: i64,
    json: String,
) -> Found {
    let sums = [&compared.a.sum, &compared.b.sum];
    let names = [compared.a.scope.called(&places[0].name), compared.b.scope.called(&places[1].name)];
    let of = |title: &str, difference: &Option<Difference>| {
        let Some(Difference { share, low, high, is_clear }) = difference else {
            return format!("{title}: one of them has no votes in this time.");
        };
        let (more, size) = (if *share >= 0.0 { "more" } else { "less" }, share.abs() * 100.0);
        let points = |value: f64| format!("{:+.1}", value * 100.0).replace('-', "−");
        let judgement = if *is_clear { "That is more than chance." } else { "That may be chance." };
        format!(
            "{title}: {size:.1} points {more} in {} than in {} (95 % interval {} to {}). {judgement}",
            names[0],
            names[1],
            points(*low),
            points(*high)
        )
    };
    let verdict = vec![of("IPv6 works", &compared.works6), of("IPv6 without fault", &compared.clean6)];
    let row = |metric: Metric| Beside {
        title: metric.title,
        values: sums.map(|sum| metric.text(sum)),
        intervals: sums.map(|sum| metric.interval(sum)),
    };
    let enough = Enough::new(PLAIN_PROBES).alone();
    let mut curves = courses.iter().map(|course| parts::curve(metric, course, enough, now));
    let mut both = curves.next().unwrap_or_else(|| parts::curve(metric, &Course::default(), enough, now));
    // The second place has the other colour and dashes; these are not families here, and the legend says so.
    both.curves.extend(curves.flat_map(|second| second.curves).map(|curve| Curve { class: "second", ..curve }));
    let caption = format!("{}: {} (solid) and {} (dashed)", metric.title, names[0], names[1]);
    Found {
        svg: series::picture(&caption, &both),
        hours: hours(metric, courses),
        caption,
        hrefs: places.map(|place| place.href),
        behind: sums.map(Sum::behind),
        bias: compared.a.bias.clone(),
        verdict,
        rows: METRICS.into_iter().map(row).collect(),
        heads: names.each_ref().map(|name| if name == "the world" { "World".to_owned() } else { name.clone() }),
        json,
    }
}

/// Both curves as rows: the time, and what was measured in each place.
fn hours(metric: Metric, courses: &[Course]) -> Vec<[String; 3]> {
    let mut rows = std::collections::BTreeMap::<i64, [String; 2]>::new();
    for (side, course) in courses.iter().take(2).enumerate() {
        for point in &course.points {
            let row = rows.entry(point.at).or_insert_with(|| ["–".into(), "–".into()]);
            if let Some(cell) = row.get_mut(side) {
                *cell =
                    format!("{} ({})", metric.text(&point.sum), number::counted(point.sum.probes, "probe", "probes"));
            }
        }
    }
    rows.into_iter().map(|(at, [one, other])| [crate::charts::time::human_unix(at), one, other]).collect()
}
