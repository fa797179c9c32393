//! `measurements/{id}/status-check`: does the newest result of every probe look well? For monitoring systems that poll
//! (Icinga, Nagios); only for ping, as Atlas has it.
//!
//! Per probe `{"alert","last","last_packet_loss","source","all"}`: `last` is the mean RTT of the newest result in
//! milliseconds (null when nothing came back), `all` those of the last `lookback` results, newest first, shown when the
//! probe alerts or `show_all` is set. A probe alerts when it lost more than `max_packet_loss` percent, or when `last` is
//! more than `median_rtt_threshold` above the median of `all`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderName;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::result::{MeasurementResult, Report};
use sonde_protocol::spec::Kind;
use sonde_store::catalog::{Measurement, Probe, ProbeFilter, Slice};
use sonde_store::results::ResultQuery;
use utoipa_axum::routes;

use crate::Api;
use crate::auth::Access;
use crate::error::ApiError;
use crate::measurements::visible;
use crate::metric::Metric;
use crate::params::Params;
use crate::path::Id;
use crate::permission::Permission;
use crate::query::StatusCheck;
use crate::router::Routes;

/// The most probes that are looked at (Atlas).
const MAX_PROBES: usize = 1024;

/// The most results per probe that are looked at.
const MAX_LOOKBACK: usize = 100;

const GLOBAL_ALERT: HeaderName = HeaderName::from_static("x-ripe-atlas-global-alert");

/// Adds the path of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(check));
}

/// What is well, as the query says.
struct Bounds {
    max_packet_loss: f64,
    show_all: bool,
    permitted_total_alerts: u64,
    lookback: usize,
    median_rtt_threshold: Option<f64>,
}

impl Bounds {
    fn read(params: &Params) -> Result<Self, ApiError> {
        let max_packet_loss = number(params, "max_packet_loss")?.unwrap_or(75.0);
        if max_packet_loss > 100.0 {
            return Err(ApiError::parameter("max_packet_loss", "Enter a percentage from 0 to 100."));
        }
        let lookback = params.parsed("lookback")?.unwrap_or(1);
        if !(1..=MAX_LOOKBACK).contains(&lookback) {
            return Err(ApiError::parameter("lookback", format!("Enter a number between 1 and {MAX_LOOKBACK}.")));
        }
        Ok(Self {
            max_packet_loss,
            show_all: params.flag("show_all")?.unwrap_or(false),
            permitted_total_alerts: params.parsed("permitted_total_alerts")?.unwrap_or(0),
            lookback,
            median_rtt_threshold: number(params, "median_rtt_threshold")?,
        })
    }
}

/// A number that is not negative.
fn number(params: &Params, name: &str) -> Result<Option<f64>, ApiError> {
    let number: Option<f64> = params.parsed(name)?;
    match number {
        Some(number) if !number.is_finite() || number < 0.0 => {
            Err(ApiError::parameter(name, "Enter a number that is not negative."))
        }
        number => Ok(number),
    }
}

/// `GET measurements/{id}/status-check`: whether every probe's newest result looks well.
#[utoipa::path(get, path = "/api/v2/measurements/{id}/status-check/", tag = "results", params(("id" = u64, Path), StatusCheck), responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn check(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
) -> Result<Response, ApiError> {
    let viewer = access.viewer(Permission::GetNonPublicResults, Some(MeasurementId(id)));
    let measurement = visible(&api, viewer, MeasurementId(id)).await?;
    let bounds = Bounds::read(&params)?;
    if measurement.asked.spec.kind() != Kind::Ping {
        return Err(ApiError::bad_request("Status checks are for ping measurements only."));
    }
    let mut probes: Vec<ProbeId> =
        api.catalog.participants(measurement.id).await?.into_iter().map(|part| part.probe).collect();
    probes.sort_unstable();
    probes.truncate(MAX_PROBES);
    let expected = Some(probes.len());
    let filter = ProbeFilter { ids: Some(probes.clone()), ..ProbeFilter::default() };
    let all = Slice { offset: 0, limit: MAX_PROBES as u64, descending: false };
    let known = api.catalog.probes(&filter, all).await?.items;
    let query = ResultQuery { measurement: measurement.id, from: None, to: None, probes: Some(probes) };
    let stored = api.results.latest(&query, bounds.lookback, expected).await?;

    let (mut states, mut total) = (Map::new(), 0);
    for reports in stored.chunk_by(|one, next| one.probe == next.probe) {
        let results: Vec<MeasurementResult> = reports
            .iter()
            .filter_map(|stored| match Report::from_cbor(&stored.report) {
                Ok(Report::Result(result)) => Some(result),
                _ => None,
            })
            .collect();
        let Some(probe) = reports.first().map(|stored| stored.probe) else { continue };
        let Some((alert, mut state)) = judge(&results, &bounds) else { continue };
        total += u64::from(alert);
        let found = known.binary_search_by_key(&probe, |known| known.id).ok().and_then(|index| known.get(index));
        state.insert("source".into(), source(&measurement, found).into());
        states.insert(probe.to_string(), state.into());
    }
    let global = total > bounds.permitted_total_alerts;
    let body = json!({ "global_alert": global, "total_alerts": total, "probes": states });
    Ok(([(GLOBAL_ALERT, if global { "1" } else { "0" })], Json(body)).into_response())
}

/// Does a probe alert, and what is shown of it; its results newest first.
fn judge(results: &[MeasurementResult], bounds: &Bounds) -> Option<(bool, Map<String, Value>)> {
    let newest = results.first()?;
    let loss = Metric::Loss.of(newest).unwrap_or(100.0);
    let all: Vec<Option<f64>> = results.iter().map(|result| Metric::RttAvg.of(result)).collect();
    let last = all.first().copied().flatten();
    let is_late = match (bounds.median_rtt_threshold, last, median(all.iter().copied().flatten().collect())) {
        (Some(threshold), Some(last), Some(median)) => last - median > threshold,
        _ => false,
    };
    let alert = loss > bounds.max_packet_loss || is_late;
    let mut state = Map::new();
    state.insert("alert".into(), alert.into());
    state.insert("last".into(), last.into());
    state.insert("last_packet_loss".into(), loss.into());
    if alert || bounds.show_all {
        state.insert("all".into(), all.into());
    }
    Some((alert, state))
}

fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_unstable_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    let upper = *numbers.get(middle)?;
    let lower = if numbers.len().is_multiple_of(2) { *numbers.get(middle - 1)? } else { upper };
    Some(f64::midpoint(lower, upper))
}

/// Why the probe takes part: the only source there was, else the country it is in.
fn source(measurement: &Measurement, probe: Option<&Probe>) -> String {
    let sources: Vec<Value> = serde_json::from_str(&measurement.asked.probe_sources).unwrap_or_default();
    if let [only] = &sources[..]
        && let (Some(kind), Some(value)) = (only["type"].as_str(), only["value"].as_str())
        && kind != "probes"
    {
        let mut letters = kind.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase()).into_iter();
        return first.chain(letters).chain(": ".chars()).chain(value.chars()).collect();
    }
    match probe.and_then(|probe| probe.country.as_ref()) {
        Some(country) => format!("Country: {country}"),
        None => "Probes".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
