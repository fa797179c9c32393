//! What several pages show of IPv6: the number a page is about, a map, a curve, rows of a table.

use crate::ask::path;
use crate::charts::map::{self, Entry};
use crate::charts::series::{self, Curve, Series};
use crate::charts::svg::Svg;
use crate::charts::{number, time, world};
use crate::reachability::{Course, Enough, List, METRICS, Metric, Row, Scope, Sum};
use crate::window::Window;

/// The number that a page is about.
#[derive(Debug, Clone)]
pub(crate) struct Headline {
    /// `72.4 %`
    pub value: String,
    /// What it is.
    pub words: String,
    /// `95 % interval 70–75 %, from 312 probes in 120 networks.`
    pub behind: String,
    /// So few stand behind it that it may mean nothing.
    pub is_few: bool,
}

impl Headline {
    /// Of a figure of a sum; none where nobody voted.
    pub fn new(metric: Metric, sum: &Sum, enough: Enough) -> Option<Self> {
        metric.of(sum)?;
        Some(Self {
            value: metric.text(sum),
            words: metric.words.to_owned(),
            behind: format!("95 % interval {}, from {}.", metric.interval(sum), sum.behind()),
            is_few: !sum.is_plain(enough),
        })
    }
}

/// Another number of the same sum.
#[derive(Debug, Clone)]
pub(crate) struct Card {
    pub title: &'static str,
    pub value: String,
    pub detail: String,
}

/// The figures beside the one that a page is about.
pub(crate) fn cards(sum: &Sum, but: Metric) -> Vec<Card> {
    let others = METRICS.into_iter().filter(|metric| *metric != but && metric.of(sum).is_some());
    let card = |metric: Metric| {
        let value = metric.of(sum);
        let detail = match value {
            Some(value) if metric.is_share() => {
                format!("{} of {} · {}", number::count(value.count), number::count(value.of), metric.interval(sum))
            }
            _ => metric.interval(sum),
        };
        Card { title: metric.title, value: metric.text(sum), detail }
    };
    others.map(card).collect()
}

/// A curve with its table and its files.
#[derive(Debug, Clone)]
pub(crate) struct CourseView {
    pub svg: [Svg; 2],
    pub margins: String,
    pub caption: String,
    pub note: String,
    pub rows: Vec<CourseRow>,
    pub value_title: &'static str,
    pub csv: String,
    pub json: String,
    pub img: String,
    pub unit: &'static str,
}

/// One bucket, as text and for the script that lets one look closer.
#[derive(Debug, Clone)]
pub(crate) struct CourseRow {
    pub at: i64,
    pub iso: String,
    pub human: String,
    /// Where it is between the ends of the axis, 0 to 1.
    pub x: String,
    pub value: String,
    pub low: String,
    pub high: String,
    pub text: String,
    pub interval: String,
    pub behind: String,
    pub is_few: bool,
    pub is_open: bool,
}

/// Reads a curve of the API for a chart.
pub(crate) fn curve(metric: Metric, course: &Course, enough: Enough, now: i64) -> Series {
    let step = course.step_secs();
    let points = course.points.iter().map(|row| metric.point(row, step, enough, now)).collect();
    Series { unit: metric.unit(), from: course.from, to: course.to, step, curves: vec![Curve { class: "v6", points }] }
}

/// A curve as a figure. `query` names the place: `country`, `asn` or nothing.
pub(crate) fn course(
    metric: Metric,
    course: &Course,
    place: &str,
    query: &[(&str, &str)],
    enough: Enough,
    now: i64,
) -> CourseView {
    let chart = curve(metric, course, enough, now);
    let step = course.step_secs();
    let word = if step == 3600 { "hour" } else { "day" };
    let row = |row: &Row| {
        let (value, point) = (metric.of(&row.sum), metric.point(row, step, enough, now));
        let exact = |value: Option<f64>| value.map(|value| format!("{value:.4}")).unwrap_or_default();
        CourseRow {
            at: row.at,
            iso: time::iso(row.at),
            human: time::human_unix(row.at),
            x: format!("{:.4}", chart.part(row.at)),
            value: exact(value.map(|value| value.value)),
            low: exact(value.map(|value| value.low)),
            high: exact(value.map(|value| value.high)),
            text: metric.text(&row.sum),
            interval: metric.interval(&row.sum),
            behind: row.sum.behind(),
            is_few: !point.is_plain,
            is_open: point.is_open,
        }
    };
    let rows: Vec<CourseRow> = course.points.iter().map(row).collect();
    let caption = match (rows.first(), rows.iter().rfind(|row| !row.is_open)) {
        (Some(first), Some(last)) if first.at != last.at => {
            format!("{} in {place}, by {word}: {} at first, {} at last", metric.title, first.text, last.text)
        }
        _ => format!("{} in {place}, by {word}", metric.title),
    };
    let (from, to) = (course.from.to_string(), course.to.to_string());
    let mut all = vec![("step", word), ("from", &from), ("to", &to)];
    all.extend(query);
    let of = |more: &[(&'static str, &'static str)]| {
        path("/api/v2/ipv6/series/", all.iter().copied().chain(more.iter().copied()))
    };
    let window = if step == 3600 { "24h" } else { "7d" };
    let image = [("metric", metric.name), ("t", window)];
    CourseView {
        svg: series::picture(&caption, &chart),
        margins: series::margins(),
        note: format!(
            "The band is the 95 % interval. Open circles: {}. Dashed: the {word} that is not over. {}",
            enough.words(),
            if metric.is_share() { "" } else { "Above zero IPv6 is slower." }
        ),
        caption,
        rows,
        value_title: metric.title,
        csv: of(&[("format", "csv")]),
        json: of(&[]),
        img: path("/img/series.svg", image.iter().chain(query).copied()),
        unit: if metric.is_share() { "share" } else { "ms" },
    }
}

/// A map with its legend and its files.
#[derive(Debug, Clone)]
pub(crate) struct MapView {
    pub svg: Svg,
    pub caption: String,
    pub legend: Vec<Entry>,
    pub csv: String,
    pub json: String,
    pub img: String,
}

/// The map of a figure.
pub(crate) fn map(metric: Metric, list: &List, window: &Window, enough: Enough) -> MapView {
    let caption = finding(metric, list, window);
    let find = |code: &str| list.results.iter().find(|row| row.country_code.as_deref() == Some(code));
    let query = window.query();
    let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let least_text = enough.probes.to_string();
    let image = [("metric", metric.name), ("t", &window.text), ("min", &least_text)];
    MapView {
        svg: map::map(&caption, metric.family(), |code| Some(metric.country(&find(code)?.sum, enough))),
        caption,
        legend: map::legend(metric.family(), metric.splits(), metric.legend_unit(), &enough.words()),
        csv: path("/api/v2/ipv6/countries/", query.iter().copied().chain([("format", "csv")])),
        json: path("/api/v2/ipv6/countries/", query.iter().copied()),
        img: path("/img/map.svg", image),
    }
}

/// What a map shows, in a sentence: the countries at either end, of those that may be ranked.
pub(crate) fn finding(metric: Metric, list: &List, window: &Window) -> String {
    let begin = format!("{} by country, {}", metric.title, window.words());
    let mut ranked: Vec<(&Row, f64)> = list
        .results
        .iter()
        .filter(|row| row.sum.ranked)
        .filter_map(|row| Some((row, metric.of(&row.sum)?.value)))
        .collect();
    ranked.sort_by(|one, other| other.1.total_cmp(&one.1));
    let words = |(row, _): &(&Row, f64)| {
        let name = row.country_code.as_deref().map(world::name).unwrap_or_default();
        format!("{name} {}", metric.text(&row.sum))
    };
    let text = match ranked.as_slice() {
        [first, .., last] => format!("{begin}: from {} to {}", words(last), words(first)),
        [only] => format!("{begin}: {}", words(only)),
        [] => begin,
    };
    // The sign stays with its number.
    text.replace(" %", "\u{a0}%")
}

/// A row of the table of countries or networks.
#[derive(Debug, Clone)]
pub(crate) struct PlaceRow {
    /// Its place among those that are ranked.
    pub rank: String,
    pub name: String,
    pub href: String,
    pub value: String,
    pub interval: String,
    pub probes: String,
    pub networks: String,
    pub is_few: bool,
}

/// What a table is sorted by, as in the address.
pub(crate) const SORTS: [&str; 3] = ["share", "probes", "name"];

/// Rows in the order asked for; by share those that are not ranked follow those that are.
pub(crate) fn rows(metric: Metric, list: &[Row], sort: &str, enough: Enough) -> Vec<PlaceRow> {
    let name = |row: &Row| match (&row.country_code, row.asn) {
        (Some(code), _) => world::name(code).to_owned(),
        (None, Some(asn)) => Scope { name: row.name.clone() }.called(&format!("AS{asn}")),
        (None, None) => String::new(),
    };
    let value = |row: &Row| metric.of(&row.sum).map_or(f64::NEG_INFINITY, |value| value.value);
    let mut sorted: Vec<&Row> = list.iter().collect();
    match sort {
        "name" => sorted.sort_by_key(|row| (row.asn, name(row))),
        "probes" => sorted.sort_by_key(|row| std::cmp::Reverse(row.sum.probes)),
        _ => sorted.sort_by(|one, other| {
            let rank = other.sum.ranked.cmp(&one.sum.ranked);
            rank.then_with(|| value(other).total_cmp(&value(one))).then(other.sum.probes.cmp(&one.sum.probes))
        }),
    }
    let mut rank = 0;
    let row = |row: &Row| {
        let is_ranked = sort == "share" && row.sum.ranked && metric.of(&row.sum).is_some();
        rank += usize::from(is_ranked);
        PlaceRow {
            rank: if is_ranked { rank.to_string() } else { "–".to_owned() },
            name: name(row),
            href: match (&row.country_code, row.asn) {
                (Some(code), _) => format!("/country/{code}"),
                (None, Some(asn)) => format!("/as/{asn}"),
                (None, None) => "/ipv6".to_owned(),
            },
            value: metric.text(&row.sum),
            interval: metric.interval(&row.sum),
            probes: number::count(row.sum.probes),
            networks: number::count(row.sum.networks),
            is_few: !row.sum.is_plain(if row.asn.is_some() { enough.alone() } else { enough }),
        }
    };
    sorted.into_iter().map(row).collect()
}

/// The time of the newest vote, for the foot of a page.
pub(crate) fn updated(seconds: Option<i64>) -> Option<String> {
    seconds.map(time::iso)
}
