//! `/measurements/{id}`: what is measured, by whom, and what was found, now and over time. [`paths`] is the ways of a traceroute,
//! [`of_probe`] what one probe reported.

use askama::Template;
use axum::extract::Path;
use axum::response::IntoResponse;
use serde_json::Value;

use crate::ask::{self, Asker};
use crate::charts::bands::{self, Bands, Bin};
use crate::charts::dots::{self, Dot, Mood};
use crate::charts::map::Entry;
use crate::charts::number::{count, counted, duration_ms, share};
use crate::charts::svg::Svg;
use crate::charts::time;
use crate::choices::Choices;
use crate::page::{Base, Page, Problem};

mod heat_map;
pub(crate) mod live;
pub(crate) mod model;
pub(crate) mod of_probe;
pub(crate) mod paths;
pub(crate) mod range;
mod rows;
pub(crate) mod words;

pub(crate) use heat_map::heat_legend;
use heat_map::heat_map;
use model::{Answers, Measurement, OfProbe, OfProbes, Summary};
use range::{Link, Range};
use rows::{AnswerRow, BinRow, ProbeRow, answer_row, bin_row, probe_row, state_words};
pub(crate) use rows::{ResultRow, result_row};

/// How many probes the table has before all are asked for.
const PROBES_SHOWN: usize = 50;

/// How many of the newest results are shown.
const NEWEST_SHOWN: usize = 25;

/// How many groups of answers are shown.
const ANSWERS_SHOWN: usize = 40;

/// Up to so many probes have a row each in a picture made here; of more a script draws it.
const HEAT_ROWS: usize = 40;

/// The most probes on the map.
const MAX_DOTS: usize = 2_000;

/// Orders of the probes' table.
const ORDERS: [&str; 5] = ["probe", "last", "median", "loss", "state"];

#[derive(Template)]
#[template(path = "measurement.html")]
struct Whole {
    base: Base,
    id: u64,
    title: String,
    description: String,
    status: String,
    mood: &'static str,
    family: &'static str,
    family_name: &'static str,
    in_words: String,
    running: bool,
    general: Vec<(&'static str, String)>,
    definition: Vec<(String, String)>,
    ranges: Vec<Link>,
    start: String,
    stop: String,
    metrics: Vec<Metric>,
    metric: String,
    metric_name: &'static str,
    unit: String,
    summary: Summary,
    finding: String,
    wide: Svg,
    narrow: Svg,
    bins: Vec<BinRow>,
    is_time: bool,
    heat: Option<Svg>,
    heat_url: String,
    summary_json: String,
    summary_csv: String,
    probes_json: String,
    probes_csv: String,
    answers_json: String,
    answers_csv: String,
    results_json: String,
    results_txt: String,
    curl: String,
    command: String,
    answers: Vec<AnswerRow>,
    answers_title: &'static str,
    answers_more: u64,
    map: Option<Svg>,
    map_legend: Vec<Entry>,
    placed: u64,
    probes: Vec<ProbeRow>,
    probes_total: u64,
    all_probes: Option<String>,
    orders: Vec<Order>,
    newest: Vec<ResultRow>,
    paths: Option<Svg>,
    paths_finding: String,
    hops: Vec<paths::HopRow>,
    interval: u64,
}

/// A number that can be looked at instead.
struct Metric {
    name: &'static str,
    query: String,
    is_here: bool,
}

struct Order {
    name: &'static str,
    title: &'static str,
    query: String,
    sort: Option<&'static str>,
}

/// The measurement, if the public may see it.
pub(crate) async fn find(asker: &Asker, id: &str) -> Result<Measurement, Problem> {
    let missing = || Problem::not_found("There is no measurement of that number, or none that is public.");
    let id: u64 = id.parse().map_err(|_| missing())?;
    let found: Option<Value> = asker.find(&format!("/api/v2/measurements/{id}/")).await?;
    found.map(Measurement).ok_or_else(missing)
}

/// `GET /measurements/{id}`.
pub(crate) async fn page(
    base: Base,
    asker: Asker,
    Path(id): Path<String>,
    choices: Choices,
) -> Result<impl IntoResponse, Problem> {
    let measurement = find(&asker, &id).await?;
    let id = measurement.id();
    let range = Range::read(&choices, measurement.over())?;
    let metrics = metrics_of(measurement.kind());
    let names: Vec<&str> = metrics.iter().map(|(name, _)| *name).collect();
    let metric = choices.one_of("metric", &names)?;
    let order = choices.one_of("order", &ORDERS)?;
    let all = choices.one_of("all", &["", "1"])? == "1";

    let mut asked = range.pairs();
    if names.first() != Some(&metric) {
        asked.push(("metric", metric.to_owned()));
    }
    let api = |rest: &str, more: &[(&'static str, String)]| {
        let pairs = asked.iter().chain(more).map(|(name, value)| (*name, value.as_str()));
        ask::path(&format!("/api/v2/measurements/{id}/{rest}"), pairs)
    };
    // The first is kept by the API if it took long; the others are made of it.
    let summary: Summary = asker.read(&api("summary/", &[])).await?;
    let mut probes: OfProbes = asker.read(&api("summary/probes/", &[])).await?;
    let answers: Answers = asker.read(&api("summary/answers/", &[])).await?;
    let newest = newest(&asker, id, &probes.probes).await?;
    let paths = match measurement.kind() {
        "traceroute" => Some(paths::graph(&asker, id, &probes.probes, range.stop).await?),
        _ => None,
    };

    let unit = summary.unit.clone().unwrap_or_default();
    let is_time = unit == "ms";
    let metric_name = metrics.iter().find(|(name, _)| *name == metric).map_or("value", |(_, title)| title);
    let bins: Vec<Bin> = summary.bins.iter().map(model::SummaryBin::bin).collect();
    let finding = finding(&summary, &bins, metric_name, is_time);
    let name = format!("{metric_name} and loss over time. {finding} The table below has every value.");
    let data = Bands { bins: &bins, step: summary.step, unit: &unit, family: measurement.family(), name: &name };
    let (wide, narrow) = (bands::bands(&data, bands::WIDE), bands::bands(&data, bands::NARROW));
    let heat = match probes.probes.len() {
        2..=HEAT_ROWS if is_time && !measurement.is_oneoff() => heat_map(&asker, &api("summary/heat/", &[])).await?,
        _ => None,
    };

    let mut own = range.own_pairs();
    let metric_pair = (names.first() != Some(&metric)).then(|| ("metric", metric.to_owned()));
    let links = range.links(&metric_pair.clone().into_iter().collect::<Vec<_>>(), default_range(&measurement));
    let metric_links = metrics.iter().map(|(name, title)| Metric {
        name: title,
        query: with(&own, &[("metric", (*name).to_owned())]),
        is_here: *name == metric,
    });
    let metric_links = metric_links.collect();
    own.extend(metric_pair);
    let orders = orders(order, &own, metric_name);
    sort(&mut probes.probes, order);
    let (map, placed) = map(&probes.probes);
    let probes_total = probes.probes.len() as u64;
    let all_probes = (!all && probes.probes.len() > PROBES_SHOWN)
        .then(|| with(&own, &[("order", order.to_owned()), ("all", "1".to_owned())]) + "#probes");
    if !all {
        probes.probes.truncate(PROBES_SHOWN);
    }

    let here = asker.here();
    let span_pairs = range_of(&summary);
    let results = |format: &str| {
        let pairs = span_pairs.iter().map(|(name, value)| (*name, value.as_str())).chain([("format", format)]);
        ask::path(&format!("/api/v2/measurements/{id}/results/"), pairs)
    };
    let base = base
        .titled(format!("{} (measurement {id})", measurement.title()))
        .section("/measurements")
        .of(summary.newest.map(time::iso))
        .styles(&["css/measurement.css"])
        .modules(&["js/live.js", "js/bands.js", "js/heat.js", "js/map.js", "js/copy.js"]);
    let (paths, paths_finding, hops) = match paths {
        Some(found) => (Some(found.picture), found.finding, paths::hop_rows(&found.paths)),
        None => (None, String::new(), Vec::new()),
    };
    Ok(Page::public(Whole {
        id,
        title: measurement.title(),
        description: measurement.description().to_owned(),
        status: measurement.status().to_owned(),
        mood: measurement.status_mood(),
        family: measurement.family(),
        family_name: measurement.family_name(),
        in_words: measurement.in_words(),
        running: measurement.is_running(),
        general: general(&measurement),
        definition: measurement.definition(),
        ranges: links,
        start: field_time(summary.start),
        stop: field_time(summary.stop.saturating_add(1)),
        metrics: metric_links,
        metric: metric.to_owned(),
        metric_name,
        finding,
        wide,
        narrow,
        bins: summary.bins.iter().map(|bin| bin_row(bin, is_time)).collect(),
        is_time,
        heat,
        heat_url: api("summary/heat/", &[]),
        summary_json: api("summary/", &[]),
        summary_csv: api("summary/", &[("format", "csv".into())]),
        probes_json: api("summary/probes/", &[]),
        probes_csv: api("summary/probes/", &[("format", "csv".into())]),
        answers_json: api("summary/answers/", &[]),
        answers_csv: api("summary/answers/", &[("format", "csv".into())]),
        curl: format!("curl -sS '{here}{}'", results("json")),
        command: format!(
            "sonde --server {here} results {id} --start {} --stop {}",
            time::iso(summary.start),
            time::iso(summary.stop)
        ),
        results_json: results("json"),
        results_txt: results("txt"),
        answers: answers.answers.iter().take(ANSWERS_SHOWN).map(|group| answer_row(group, &answers)).collect(),
        answers_title: answers_title(measurement.kind()),
        answers_more: answers.left_out + answers.answers.len().saturating_sub(ANSWERS_SHOWN) as u64,
        map,
        map_legend: map_legend(),
        placed,
        probes: probes.probes.iter().map(|of| probe_row(of, is_time)).collect(),
        probes_total,
        all_probes,
        orders,
        newest,
        paths,
        paths_finding,
        hops,
        interval: measurement.0["interval"].as_u64().unwrap_or_default(),
        unit,
        summary,
        base,
    }))
}

/// The numbers of a kind, the usual one first: the API's name and ours.
fn metrics_of(kind: &str) -> &'static [(&'static str, &'static str)] {
    match kind {
        "ping" => {
            &[("rtt", "Round-trip time"), ("rtt_avg", "Mean round-trip time"), ("rtt_max", "Greatest round-trip time")]
        }
        "traceroute" => &[("rtt", "Round-trip time to the target"), ("hops", "Last hop that answered")],
        "dns" => &[("rtt", "Response time")],
        "sslcert" => &[("rtt", "Time until the certificates were there")],
        "http" => &[("rtt", "Time until the response had ended"), ("status", "Status")],
        "ntp" => &[("rtt", "Round-trip time"), ("offset", "Offset of the server’s clock"), ("stratum", "Stratum")],
        "pathmtu" => &[("mtu", "Largest packet that passes")],
        _ => &[("failed", "Runs without a verdict")],
    }
}

/// What the API shows when nobody says.
fn default_range(measurement: &Measurement) -> &'static str {
    match (measurement.is_oneoff(), measurement.is_builtin()) {
        (true, _) => "",
        (false, true) => "1h",
        (false, false) => "1d",
    }
}

fn with(own: &[(&'static str, String)], more: &[(&'static str, String)]) -> String {
    ask::path("", own.iter().chain(more).map(|(name, value)| (*name, value.as_str())))
}

/// `start` and `stop` of the summary, for whoever downloads the same.
fn range_of(summary: &Summary) -> [(&'static str, String); 2] {
    [("start", summary.start.to_string()), ("stop", summary.stop.to_string())]
}

/// As a field for a date and a time of day has it.
fn field_time(seconds: i64) -> String {
    time::iso(seconds).get(..16).unwrap_or_default().to_owned()
}

/// What the picture shows, in a sentence or two.
fn finding(summary: &Summary, bins: &[Bin], metric_name: &str, is_time: bool) -> String {
    if summary.results == 0 {
        return "Nothing was measured in this time.".to_owned();
    }
    let mut medians: Vec<f64> = bins.iter().filter_map(|bin| bin.values).map(|of| of.median).collect();
    medians.sort_by(f64::total_cmp);
    let middle = medians.get(medians.len().saturating_sub(1) / 2).copied();
    let lost = summary.sent.saturating_sub(summary.received);
    let part = share(lost as f64 / summary.sent.max(1) as f64, summary.sent);
    let unit = summary.unit.as_deref().unwrap_or_default();
    let first = match middle {
        Some(middle) => format!("{metric_name}: about {}.", value_text(middle, is_time, unit)),
        None => "No request was answered.".to_owned(),
    };
    let failed = match summary.failed {
        0 => String::new(),
        failed => format!(" {} could not be carried out.", counted(failed, "run", "runs")),
    };
    format!(
        "{first} {part} of {} lost, in {} of {}.{failed}",
        counted(summary.sent, "request was", "requests were"),
        counted(summary.results, "result", "results"),
        counted(summary.probes, "probe", "probes")
    )
}

fn value_text(value: f64, is_time: bool, unit: &str) -> String {
    match (is_time, unit) {
        (true, _) => duration_ms(value),
        (false, "") => format!("{}", (value * 100.0).round() / 100.0),
        (false, unit) => format!("{} {unit}", (value * 100.0).round() / 100.0),
    }
}

/// What the dots of the map mean.
fn map_legend() -> Vec<Entry> {
    let meanings = ["answered", "lost", "failed", ""].map(|state| {
        let (words, mood) = state_words(state);
        (Mood::read(mood), words)
    });
    dots::legend(&meanings)
}

/// Where the probes are whose place is known, and how many those are.
fn map(probes: &[OfProbe]) -> (Option<Svg>, u64) {
    let dots = probes.iter().filter_map(|of| {
        let (state, mood) = state_words(&of.state);
        let words = format!("probe {}: {state}", of.prb_id);
        Some(Dot { latitude: of.latitude?, longitude: of.longitude?, probes: 1, mood: Mood::read(mood), words })
    });
    let dots: Vec<Dot> = dots.take(MAX_DOTS).collect();
    let name = format!("Map of {}; the table below has their states.", counted(dots.len() as u64, "probe", "probes"));
    ((!dots.is_empty()).then(|| dots::draw(&name, &dots)), dots.len() as u64)
}

fn sort(probes: &mut [OfProbe], order: &str) {
    let last = f64::NEG_INFINITY;
    match order {
        "last" => probes.sort_by_key(|of| std::cmp::Reverse(of.last_timestamp)),
        "median" => probes.sort_by(|a, b| b.median.unwrap_or(last).total_cmp(&a.median.unwrap_or(last))),
        "loss" => probes.sort_by(|a, b| b.loss.unwrap_or(last).total_cmp(&a.loss.unwrap_or(last))),
        "state" => {
            probes.sort_by(|a, b| (b.state != "answered").cmp(&(a.state != "answered")).then(a.state.cmp(&b.state)))
        }
        _ => probes.sort_by_key(|of| of.prb_id),
    }
}

fn orders(now: &str, own: &[(&'static str, String)], metric_name: &'static str) -> Vec<Order> {
    let titles = ["Probe", "Newest result", metric_name, "Lost", "State"];
    let all = ORDERS.iter().zip(titles).map(|(name, title)| Order {
        name,
        title,
        query: with(own, &[("order", (*name).to_owned())]) + "#probes",
        sort: (*name == now).then_some(if *name == "probe" { "ascending" } else { "descending" }),
    });
    all.collect()
}

fn answers_title(kind: &str) -> &'static str {
    match kind {
        "dns" => "Answers",
        "sslcert" => "Certificates",
        "http" => "Responses",
        "ntp" => "What the server says of itself",
        "pathmtu" => "Sizes",
        "ipv6" => "Verdicts",
        _ => "What came of the runs",
    }
}

/// What is true of every kind.
fn general(measurement: &Measurement) -> Vec<(&'static str, String)> {
    let object = &measurement.0;
    let text = |name: &str| object[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let moment = |name: &str| object[name].as_i64().map(time::human_unix);
    let list = |name: &str| {
        let all: Vec<&str> = object[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        (!all.is_empty()).then(|| all.join(", "))
    };
    let target_is_name = object["target"] != object["target_ip"];
    let rows = [
        ("Target", text("target")),
        ("Address", text("target_ip").filter(|_| target_is_name)),
        ("Network", object["target_asn"].as_u64().map(|asn| format!("AS{asn}"))),
        ("Begins", moment("start_time")),
        ("Ends", moment("stop_time")),
        (
            "Probes",
            object["probes_requested"].as_u64().map(|asked| {
                let present = object["participant_count"].as_u64().unwrap_or_default();
                format!("{} of {} asked for", count(present), count(asked))
            }),
        ),
        ("Tags", list("tags")),
        ("Made", moment("creation_time")),
    ];
    rows.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The newest result of each of the probes that reported last.
async fn newest(asker: &Asker, id: u64, probes: &[OfProbe]) -> Result<Vec<ResultRow>, Problem> {
    let mut by_time: Vec<&OfProbe> = probes.iter().filter(|of| of.last_timestamp.is_some()).collect();
    by_time.sort_by_key(|of| std::cmp::Reverse(of.last_timestamp));
    let ids: Vec<String> = by_time.iter().take(NEWEST_SHOWN).map(|of| of.prb_id.to_string()).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids = ids.join(",");
    // Unlimited, which the API allows of named probes: what is over may be long over.
    let query = [("probe_ids", ids.as_str()), ("lookback_days", "0")];
    let results = asker.get(&ask::path(&format!("/api/v2/measurements/{id}/latest/"), query)).await?;
    let mut rows: Vec<ResultRow> = results.as_array().into_iter().flatten().map(result_row).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.at));
    Ok(rows)
}
