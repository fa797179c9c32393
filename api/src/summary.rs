//! `measurements/{id}/summary/`, which Atlas does not have: what all probes saw over a time, in bins, and the same by probe and by
//! answer. It is what a page or a dashboard draws, and a few kilobytes where the results are hundreds of thousands.
//!
//! One pass over the reports ([`fold`]) serves four paths: the bins themselves; `probes/`, each probe's newest and usual number;
//! `answers/`, what was said, counted; `heat/`, a byte for each probe and bin. The number is a [`Metric`], of a ping the least
//! round-trip time of each result. A bin in which nobody reported (`none`), one in which every request was lost (`lost`) and one in
//! which no run could be carried out (`failed`) are three things and never zero.
//!
//! `start` and `stop` are inclusive, as for results, and default to the last day; `start` is moved back to where a bin begins.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use data_encoding::BASE64;
use serde_json::{Map, Value, json};
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::net::Family;
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Measurement, Probe, ProbeFilter, Slice};
use sonde_store::results::ResultQuery;
use sonde_store::view::Viewer;
use utoipa_axum::routes;

use crate::Api;
use crate::auth::Access;
use crate::csv::Csv;
use crate::error::ApiError;
use crate::etag;
use crate::measurements::visible;
use crate::metric::Metric;
use crate::params::Params;
use crate::path::Id;
use crate::permission::Permission;
use crate::probe_object::place;
use crate::query::{MeasurementHeat, MeasurementSummary};
use crate::results::{Walk, query};
use crate::router::Routes;

mod answers;
mod fold;
mod heat;
mod kept;
mod values;
mod window;

pub(crate) use kept::Summaries;

use fold::{Counts, Fold, Summary};
use kept::Subject;
use values::Quantiles;
use window::Window;

/// How many bins there are when nobody says: a day that begins within a quarter of an hour has 97 of them.
const BINS: usize = 100;

/// The most bins.
pub(crate) const MAX_BINS: usize = 500;

/// How far back when nobody says.
const DAY: i64 = 86_400;

/// The same for a built-in measurement as a whole, which every probe of the network runs every few minutes.
const HOUR: i64 = 3_600;

/// How many reports are read from the store at a time.
const BATCH: usize = 2_048;

/// The most reports that one summary is made of: some seconds of work.
const MAX_REPORTS: u64 = 3_000_000;

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(bins));
    routes.add(routes!(probes));
    routes.add(routes!(answers));
    routes.add(routes!(heat_map));
}

/// What is asked for, and the answer before it is written.
struct Asked {
    viewer: Viewer,
    measurement: Measurement,
    summary: Arc<Summary>,
    fresh_for: Duration,
    now: i64,
}

/// `GET measurements/{id}/summary/`: numbers of all probes in bins of time.
#[utoipa::path(get, path = "/api/v2/measurements/{id}/summary/", tag = "results", params(("id" = u64, Path), MeasurementSummary), responses((status = 200, content((serde_json::Value = "application/json"), (String = "text/csv")))))]
pub(crate) async fn bins(
    State(api): State<Arc<Api>>,
    Extension(summaries): Extension<Arc<Summaries>>,
    access: Access,
    Id(id): Id,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let form = Form::read(&params)?;
    let asked = ask(&api, &summaries, &access, id, &params).await?;
    let window = asked.summary.window;
    let rows = (0..).zip(&asked.summary.bins).map(|(number, bin)| {
        let begin = window.begin(number);
        let mut row = Map::new();
        row.insert("start".into(), begin.into());
        row.insert("complete".into(), (begin.saturating_add(window.step) <= asked.now).into());
        row.insert("state".into(), bin.counts.state().into());
        row.insert("probes".into(), bin.probes.into());
        counts(&mut row, bin.counts);
        quantiles(&mut row, bin.values);
        row
    });
    let rows = rows.collect();
    let mut head = asked.head();
    let with_results = asked.summary.probes.iter().filter(|of| of.counts.results > 0).count();
    head.insert("probes".into(), with_results.into());
    counts(&mut head, asked.summary.total);
    head.insert("skipped".into(), asked.summary.skipped.into());
    Ok(asked.respond(&headers, form, head, "bins", rows))
}

/// `GET measurements/{id}/summary/probes/`: the same by probe, those that take part and have no results included.
#[utoipa::path(get, path = "/api/v2/measurements/{id}/summary/probes/", tag = "results", params(("id" = u64, Path), MeasurementSummary), responses((status = 200, content((serde_json::Value = "application/json"), (String = "text/csv")))))]
pub(crate) async fn probes(
    State(api): State<Arc<Api>>,
    Extension(summaries): Extension<Arc<Summaries>>,
    access: Access,
    Id(id): Id,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let form = Form::read(&params)?;
    let asked = ask(&api, &summaries, &access, id, &params).await?;
    let known = catalogued(&api, &asked.summary).await?;
    let af = asked.measurement.asked.af;
    let rows = asked.summary.probes.iter().map(|of| {
        let probe = known.get(&of.probe);
        let mut row = Map::new();
        row.insert("prb_id".into(), json!(of.probe));
        row.insert("state".into(), of.counts.state().into());
        counts(&mut row, of.counts);
        row.insert("loss".into(), json!(of.counts.loss().map(rounded)));
        quantiles(&mut row, of.values);
        row.insert("last_timestamp".into(), json!(of.last.map(|last| last.at)));
        row.insert("last_state".into(), json!(of.last.map(|last| last.counts.state())));
        row.insert("last_value".into(), json!(of.last.and_then(|last| last.value).map(rounded)));
        let asn = probe.and_then(|probe| if af == Family::V6 { probe.asn_v6 } else { probe.asn_v4 });
        row.insert("asn".into(), json!(asn));
        row.insert("country_code".into(), json!(probe.and_then(|probe| probe.country.as_deref())));
        let place = probe.and_then(|probe| place(probe, asked.viewer));
        row.insert("latitude".into(), json!(place.map(|place| place.0)));
        row.insert("longitude".into(), json!(place.map(|place| place.1)));
        row
    });
    let rows: Vec<Map<String, Value>> = rows.collect();
    let mut head = asked.head();
    head.insert("count".into(), rows.len().into());
    head.insert("left_out".into(), asked.summary.probes_left_out.into());
    Ok(asked.respond(&headers, form, head, "probes", rows))
}

/// `GET measurements/{id}/summary/answers/`: what was answered, counted.
#[utoipa::path(get, path = "/api/v2/measurements/{id}/summary/answers/", tag = "results", params(("id" = u64, Path), MeasurementSummary), responses((status = 200, content((serde_json::Value = "application/json"), (String = "text/csv")))))]
pub(crate) async fn answers(
    State(api): State<Arc<Api>>,
    Extension(summaries): Extension<Arc<Summaries>>,
    access: Access,
    Id(id): Id,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let form = Form::read(&params)?;
    let asked = ask(&api, &summaries, &access, id, &params).await?;
    let rows = asked.summary.answers.iter().filter_map(|group| group.as_object().cloned());
    let rows: Vec<Map<String, Value>> = rows.collect();
    let mut head = asked.head();
    head.insert("count".into(), rows.len().into());
    head.insert("left_out".into(), asked.summary.answers_left_out.into());
    Ok(asked.respond(&headers, form, head, "answers", rows))
}

/// `GET measurements/{id}/summary/heat/`: a byte for each probe and bin.
#[utoipa::path(get, path = "/api/v2/measurements/{id}/summary/heat/", tag = "results", params(("id" = u64, Path), MeasurementHeat), responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn heat_map(
    State(api): State<Arc<Api>>,
    Extension(summaries): Extension<Arc<Summaries>>,
    access: Access,
    Id(id): Id,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let asked = ask(&api, &summaries, &access, id, &params).await?;
    let mut head = asked.head();
    let codes = json!({
        "none": heat::NOTHING, "failed": heat::FAILED, "lost": heat::LOST, "first": heat::FIRST, "least": heat::LEAST,
        "factor": heat::FACTOR,
    });
    head.insert("bins".into(), asked.summary.window.bins.into());
    head.insert("codes".into(), codes);
    head.insert("probes".into(), asked.summary.probes.iter().map(|of| json!(of.probe)).collect());
    let cells: Vec<u8> = asked.summary.probes.iter().flat_map(|of| of.heat.iter().copied()).collect();
    head.insert("cells".into(), BASE64.encode(&cells).into());
    let body = Value::Object(head).to_string().into_bytes();
    Ok(etag::respond(&headers, asked.viewer, body, "application/json", asked.fresh_for))
}

/// Reads the query, and the reports unless that has been done just now.
async fn ask(
    api: &Arc<Api>,
    summaries: &Summaries,
    access: &Access,
    id: u64,
    params: &Params,
) -> Result<Asked, ApiError> {
    let viewer = access.viewer(Permission::GetNonPublicResults, Some(MeasurementId(id)));
    let measurement = visible(api, viewer, MeasurementId(id)).await?;
    let metric = metric(params, &measurement)?;
    let query = query(api, params, measurement.id).await?;
    let now = api.clock.now().as_secs();
    let window = window(params, &measurement, &query, now)?;
    let subject = Subject { measurement: measurement.id, window, metric, probes: query.probes.clone() };
    let (summary, fresh_for) = match summaries.find(&subject, api.clock.steady()) {
        Some(kept) => kept,
        None => make(api, summaries, subject).await?,
    };
    Ok(Asked { viewer, measurement, summary, fresh_for, now })
}

async fn make(api: &Arc<Api>, summaries: &Summaries, subject: Subject) -> Result<(Arc<Summary>, Duration), ApiError> {
    // It is never closed.
    let _turn = summaries.turns.acquire().await.map_err(|_| ApiError::internal())?;
    // Whoever had the turn before may have made the same.
    if let Some(kept) = summaries.find(&subject, api.clock.steady()) {
        return Ok(kept);
    }
    let (from, to) = (UnixNanos::from_secs(subject.window.start), UnixNanos::from_secs(subject.window.end));
    let probes = subject.probes.clone();
    let query = ResultQuery { measurement: subject.measurement, from: Some(from), to: Some(to), probes };
    let mut walk = Walk::in_batches(Arc::clone(api), query, BATCH);
    let mut fold = Fold::new(subject.window, subject.metric);
    while let Some(page) = walk.next().await? {
        page.iter().for_each(|stored| fold.add(stored));
        if fold.reports() > MAX_REPORTS {
            let detail =
                format!("These are more than {MAX_REPORTS} results. Ask for less time, or for some probe_ids.");
            return Err(ApiError::parameter("start", detail));
        }
        // Others have their turn between two batches.
        tokio::task::yield_now().await;
    }
    let summary = Arc::new(fold.finish(subject.probes.as_deref().unwrap_or_default()));
    let fresh_for = summaries.keep(subject, &summary, api.clock.steady());
    Ok((summary, fresh_for))
}

/// Which number: `metric`, or what the kind is about.
fn metric(params: &Params, measurement: &Measurement) -> Result<Metric, ApiError> {
    let kind = measurement.asked.spec.kind();
    let usable = |metric: &Metric| metric.is_of(kind) && *metric != Metric::Age;
    match params.get("metric") {
        Some(name) => Metric::named(name).filter(usable).ok_or_else(|| {
            let all: Vec<&str> = Metric::ALL.into_iter().filter(usable).map(Metric::name).collect();
            ApiError::parameter("metric", format!("Of {} there are: {}.", kind.name(), all.join(", ")))
        }),
        None => Ok([Metric::Rtt, Metric::Mtu].into_iter().find(usable).unwrap_or(Metric::Failed)),
    }
}

/// From when to when, in how many bins.
fn window(params: &Params, measurement: &Measurement, query: &ResultQuery, now: i64) -> Result<Window, ApiError> {
    let bins = params.parsed("bins")?.unwrap_or(BINS);
    if !(1..=MAX_BINS).contains(&bins) {
        return Err(ApiError::parameter("bins", format!("Enter a number between 1 and {MAX_BINS}.")));
    }
    let asked = &measurement.asked;
    let over = measurement.stopped_at.or(asked.stop.filter(|_| !asked.is_oneoff)).map(UnixNanos::as_secs);
    let last = query.to.map_or_else(|| over.unwrap_or(now).min(now).saturating_add(1), UnixNanos::as_secs);
    let whole = measurement.id.is_builtin() && query.probes.is_none();
    // A one-off's results are all of about its beginning, however long ago.
    let day_before = last.saturating_sub(if whole { HOUR } else { DAY });
    let first =
        if asked.is_oneoff { asked.start.as_secs() } else { day_before.max(asked.start.as_secs().min(last - 1)) };
    let first = query.from.map_or(first, UnixNanos::as_secs);
    if first >= last {
        return Err(ApiError::parameter("start", "It is after `stop`."));
    }
    // Shorter than its interval, bins would be empty that are not.
    let least = asked.interval.map_or(1, i64::from);
    let mut window = Window::new(first, last, bins, least);
    if query.to.is_none() {
        // Nothing comes behind it, and so the next one who asks means the same.
        window.end = window.begin(window.bins);
    }
    Ok(window)
}

/// The probes of a summary that are known still.
async fn catalogued(api: &Api, summary: &Summary) -> Result<HashMap<ProbeId, Probe>, ApiError> {
    let ids: Vec<ProbeId> = summary.probes.iter().map(|of| of.probe).collect();
    let slice = Slice { offset: 0, limit: ids.len() as u64, descending: false };
    let filter = ProbeFilter { ids: Some(ids), ..ProbeFilter::default() };
    let found = api.catalog.probes(&filter, slice).await?;
    Ok(found.items.into_iter().map(|probe| (probe.id, probe)).collect())
}

impl Asked {
    /// What every form of it begins with.
    fn head(&self) -> Map<String, Value> {
        let Summary { window, metric, is_approximate, probes, .. } = &*self.summary;
        let newest = probes.iter().filter_map(|of| of.last).map(|last| last.at).max();
        let head = json!({
            "id": self.measurement.id,
            "type": self.measurement.asked.spec.kind().name(),
            "metric": metric.name(),
            "unit": metric.unit(),
            "start": window.start,
            "stop": window.end.saturating_sub(1),
            "step": window.step,
            "newest": newest,
            "approximate": is_approximate,
        });
        match head {
            Value::Object(head) => head,
            _ => Map::new(),
        }
    }

    fn respond(
        &self,
        headers: &HeaderMap,
        form: Form,
        mut head: Map<String, Value>,
        name: &str,
        rows: Vec<Map<String, Value>>,
    ) -> Response {
        let (body, content_type) = match form {
            Form::Json => {
                head.insert(name.into(), rows.into_iter().map(Value::Object).collect());
                (Value::Object(head).to_string().into_bytes(), "application/json")
            }
            Form::Csv => (table(name, &rows), "text/csv; charset=utf-8"),
        };
        etag::respond(headers, self.viewer, body, content_type, self.fresh_for)
    }
}

/// The rows as a table; what is an object in a row is left to JSON.
fn table(name: &str, rows: &[Map<String, Value>]) -> Vec<u8> {
    let columns: Vec<&str> = match name {
        "answers" => vec!["text", "count", "probes", "first", "last"],
        "probes" => PROBE_COLUMNS.to_vec(),
        _ => BIN_COLUMNS.to_vec(),
    };
    let mut csv = Csv::new(columns.iter().copied());
    for row in rows {
        csv.row(columns.iter().map(|column| match row.get(*column) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }));
    }
    csv.into_bytes()
}

/// Columns of the bins, as they stand in the JSON.
const BIN_COLUMNS: [&str; 13] = [
    "start", "complete", "state", "probes", "results", "failed", "sent", "received", "min", "p25", "median", "p75",
    "max",
];

/// Columns of the probes.
const PROBE_COLUMNS: [&str; 19] = [
    "prb_id",
    "state",
    "results",
    "failed",
    "sent",
    "received",
    "loss",
    "min",
    "p25",
    "median",
    "p75",
    "max",
    "last_timestamp",
    "last_state",
    "last_value",
    "asn",
    "country_code",
    "latitude",
    "longitude",
];

fn counts(row: &mut Map<String, Value>, counts: Counts) {
    row.insert("results".into(), counts.results.into());
    row.insert("failed".into(), counts.failed.into());
    row.insert("sent".into(), counts.sent.into());
    row.insert("received".into(), counts.received.into());
}

fn quantiles(row: &mut Map<String, Value>, values: Option<Quantiles>) {
    let each = |of: fn(Quantiles) -> f64| json!(values.map(|values| rounded(of(values))));
    row.insert("min".into(), each(|values| values.min));
    row.insert("p25".into(), each(|values| values.p25));
    row.insert("median".into(), each(|values| values.median));
    row.insert("p75".into(), each(|values| values.p75));
    row.insert("max".into(), each(|values| values.max));
}

/// To a nanosecond, where it is milliseconds.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Csv,
}

impl Form {
    fn read(params: &Params) -> Result<Self, ApiError> {
        match params.get("format") {
            None | Some("json") => Ok(Form::Json),
            Some("csv") => Ok(Form::Csv),
            Some(_) => Err(ApiError::parameter("format", "Formats are json and csv.")),
        }
    }
}
