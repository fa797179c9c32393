//! `measurements/{id}/metrics/`, which Atlas does not have: a public measurement's numbers for Prometheus.
//!
//! Counters count from when somebody first asked for them: what ran during the last hour, and from then on whatever comes. They
//! begin anew when the server does, or when nobody asked for long and others did; Prometheus's `rate()` and `increase()` know that.
//! A result that comes more than an hour after its run, as after a probe's long disconnection, is not counted: who watches a graph
//! asks about now. Nothing here shows an address of a probe, and private measurements are nobody's business here, not even their
//! owner's: what a monitoring system has read it shows to everybody who may look at it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::Measurement;
use sonde_store::results::ResultQuery;
use sonde_store::view::Viewer;
use utoipa_axum::routes;

use crate::Api;
use crate::error::ApiError;
use crate::measurements::visible;
use crate::params::Params;
use crate::path::Id;
use crate::query::Metrics;
use crate::results::Walk;
use crate::router::Routes;

mod counts;
pub(crate) mod text;

use counts::Counts;

/// How far back runs are counted.
const WINDOW: Duration = Duration::from_secs(3600);

/// How many reports are to be read for one answer at most, about; a measurement of more has a shorter window. Reading as many
/// takes about a second.
const MAX_REPORTS: u64 = 50_000;

/// The probes that are supposed to take part in a built-in measurement, since nobody counts them.
const BUILTIN_PROBES: u64 = 10_000;

/// The most probes that have a line of their own: each is several series in somebody's Prometheus.
const MAX_PROBES: u32 = 500;

/// How many measurements are remembered at a time. The one that was not asked for the longest goes first.
const MAX_REMEMBERED: usize = 256;

/// Adds the path of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(metrics));
}

/// What is counted of one measurement. One reads the store at a time.
type Shared = Arc<tokio::sync::Mutex<Counts>>;

/// What is counted, by measurement.
#[derive(Debug, Default)]
pub(crate) struct Exporter {
    remembered: Mutex<BTreeMap<MeasurementId, (UnixNanos, Shared)>>,
}

impl Exporter {
    /// The counts of a measurement, new ones if nobody has asked for it yet.
    fn of(&self, id: MeasurementId, now: UnixNanos) -> Shared {
        // Nobody panics with it.
        let mut all = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_REMEMBERED && !all.contains_key(&id) {
            let oldest = all.iter().min_by_key(|(_, (asked, _))| *asked).map(|(id, _)| *id);
            oldest.and_then(|oldest| all.remove(&oldest));
        }
        let (asked, counts) = all.entry(id).or_default();
        *asked = now;
        Arc::clone(counts)
    }
}

/// How far back the runs of a measurement are counted.
fn window(measurement: &Measurement) -> Duration {
    let probes = if measurement.id.is_builtin() { BUILTIN_PROBES } else { u64::from(measurement.participants) };
    let Some(interval) = measurement.asked.interval.map(u64::from).filter(|interval| *interval > 0) else {
        return WINDOW;
    };
    let affordable = (MAX_REPORTS * interval).checked_div(probes).unwrap_or(u64::MAX);
    // The last run of each probe must be in it, and a probe that lost its connection for a moment.
    Duration::from_secs(affordable.min(WINDOW.as_secs()).max(2 * interval.min(WINDOW.as_secs())))
}

/// `GET measurements/{id}/metrics/`: counters and a histogram in the text format of Prometheus.
#[utoipa::path(get, path = "/api/v2/measurements/{id}/metrics/", tag = "results", params(("id" = u64, Path), Metrics), responses((status = 200, content_type = "text/plain", body = String)))]
pub(crate) async fn metrics(
    State(api): State<Arc<Api>>,
    Extension(exporter): Extension<Arc<Exporter>>,
    Id(id): Id,
    params: Params,
) -> Result<Response, ApiError> {
    let by_probe = match params.get("by") {
        None => false,
        Some("probe") => true,
        Some(_) => return Err(ApiError::parameter("by", "Only `probe` is known.")),
    };
    let measurement = visible(&api, Viewer::Public, MeasurementId(id)).await?;
    if by_probe && (measurement.id.is_builtin() || measurement.participants > MAX_PROBES) {
        return Err(ApiError::parameter("by", format!("This is for measurements with at most {MAX_PROBES} probes.")));
    }
    let now = api.clock.now();
    let from = now - window(&measurement);
    // A probe may report what it likes under any number; only what was asked of it is a result.
    let probes = match measurement.id.is_builtin() {
        true => None,
        false => {
            let parts = api.catalog.participants(measurement.id).await?;
            let mut probes: Vec<ProbeId> = parts.into_iter().map(|part| part.probe).collect();
            probes.sort_unstable();
            Some(probes)
        }
    };
    let counts = exporter.of(measurement.id, now);
    let mut counts = counts.lock().await;
    let query = ResultQuery { measurement: measurement.id, from: Some(from), to: None, probes };
    let mut walk = Walk::new(Arc::clone(&api), query);
    while let Some(page) = walk.next().await? {
        page.iter().for_each(|stored| counts.add(stored));
        // Others want this thread, too.
        tokio::task::yield_now().await;
    }
    counts.forget(from);
    let body = counts.write(&measurement, by_probe);
    Ok(([(CONTENT_TYPE, text::CONTENT_TYPE), (CACHE_CONTROL, "no-store")], body).into_response())
}
