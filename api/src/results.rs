//! `measurements/{id}/results/` and `…/latest/`: what the probes saw, in RIPE Atlas's JSON.
//!
//! Both answer a bare array (`format=json`) or one object per line (`format=txt`), streamed. Runs that did not take place
//! are no results; they are in [`crate::skipped`].

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::time::UnixNanos;
use sonde_store::StoreError;
use sonde_store::catalog::{Measurement, ProbeFilter, Slice};
use sonde_store::results::{Cursor, ResultQuery, StoredReport};
use sonde_store::view::Viewer;
use utoipa_axum::routes;

use crate::Api;
use crate::auth::Access;
use crate::error::ApiError;
use crate::line;
use crate::masking::Masks;
use crate::measurements::visible;
use crate::params::Params;
use crate::path::Id;
use crate::permission::Permission;
use crate::query::{AllResults, LatestByProbe, LatestResults};
use crate::router::Routes;
use crate::stream::{Pieces, respond};

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(all));
    routes.add(routes!(latest));
    for path in ["measurement-latest", "measurements-latest"] {
        routes.add_at(&format!("/api/v2/{path}/{{id}}/"), routes!(latest_by_probe));
    }
}

/// How many reports are read from the store, and written into one piece of the body, at a time.
const BATCH: usize = 256;

/// The most results per probe that `latest` gives.
const MAX_VERSIONS: usize = 10;

/// How far back `latest` looks when nobody says.
const LOOKBACK_DAYS: i64 = 7;

/// The same for a built-in measurement as a whole: every probe of the network has results of it every few minutes.
const BUILTIN_LOOKBACK_DAYS: i64 = 1;

/// `GET measurements/{id}/results/`: every result, a bare array or one a line.
#[utoipa::path(get, path = "/api/v2/measurements/{id}/results/", tag = "results", params(("id" = u64, Path), AllResults), responses((status = 200, content((serde_json::Value = "application/json"), (String = "text/plain")))))]
pub(crate) async fn all(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
) -> Result<Response, ApiError> {
    let viewer = access.viewer(Permission::GetNonPublicResults, Some(MeasurementId(id)));
    let measurement = visible(&api, viewer, MeasurementId(id)).await?;
    let format = Format::read(&params)?;
    let query = query(&api, &params, measurement.id).await?;
    let reports = Reports::Stored(Walk::new(Arc::clone(&api), query));
    respond(Lines::new(api, measurement, format, reports, viewer), format.content_type()).await
}

/// `GET measurements/{id}/latest/`: the newest results of each probe.
#[utoipa::path(get, path = "/api/v2/measurements/{id}/latest/", tag = "results", params(("id" = u64, Path), LatestResults), responses((status = 200, content((serde_json::Value = "application/json"), (String = "text/plain")))))]
pub(crate) async fn latest(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
) -> Result<Response, ApiError> {
    let viewer = access.viewer(Permission::GetNonPublicResults, Some(MeasurementId(id)));
    let measurement = visible(&api, viewer, MeasurementId(id)).await?;
    let format = Format::read(&params)?;
    let reports = Reports::Ready(newest(&api, &params, measurement.id).await?);
    respond(Lines::new(api, measurement, format, reports, viewer), format.content_type()).await
}

/// `GET measurement-latest/{id}/`, `GET measurements-latest/{id}/`: the older form of `latest`: an object with a list of
/// results for each probe.
#[utoipa::path(get, path = "/api/v2/measurement-latest/{id}/", tag = "results", params(("id" = u64, Path), LatestByProbe), responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn latest_by_probe(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
) -> Result<Response, ApiError> {
    let viewer = access.viewer(Permission::GetNonPublicResults, Some(MeasurementId(id)));
    let measurement = visible(&api, viewer, MeasurementId(id)).await?;
    let reports = Reports::Ready(newest(&api, &params, measurement.id).await?);
    respond(Lines::new(api, measurement, Format::ByProbe, reports, viewer), "application/json").await
}

/// The newest reports that `versions`, `lookback_days` and the rest ask for, those of a probe together.
async fn newest(api: &Api, params: &Params, measurement: MeasurementId) -> Result<Vec<StoredReport>, ApiError> {
    let versions = params.parsed("versions")?.unwrap_or(1);
    if !(1..=MAX_VERSIONS).contains(&versions) {
        return Err(ApiError::parameter("versions", format!("Enter a number between 1 and {MAX_VERSIONS}.")));
    }
    let named = params.ids("probe_ids")?.is_some();
    let lookback = if measurement.is_builtin() && !named { BUILTIN_LOOKBACK_DAYS } else { LOOKBACK_DAYS };
    let from = match (params.parsed::<u32>("lookback_days")?.map_or(lookback, i64::from), named) {
        (0, false) => return Err(ApiError::parameter("lookback_days", "0, for unlimited, needs probe_ids.")),
        (0, true) => None,
        (days, _) => Some(UnixNanos::from_secs(api.clock.now().as_secs().saturating_sub(days * 86_400))),
    };
    let probes = taking_part(api, measurement, params).await?;
    let expected = match &probes {
        Some(probes) => probes.len(),
        None => {
            let count = Slice { offset: 0, limit: 0, descending: false };
            let all = api.catalog.probes(&ProbeFilter::default(), count).await?.total;
            usize::try_from(all).unwrap_or(usize::MAX)
        }
    };
    let query = ResultQuery { measurement, from, to: None, probes };
    Ok(api.results.latest(&query, versions, Some(expected)).await?)
}

/// Which reports `start`, `stop` (both inclusive) and `probe_ids` ask for.
pub(crate) async fn query(api: &Api, params: &Params, measurement: MeasurementId) -> Result<ResultQuery, ApiError> {
    let from = params.time("start")?.map(UnixNanos::from_secs);
    let to = params.time("stop")?.map(|stop| UnixNanos::from_secs(stop.saturating_add(1)));
    let probes = taking_part(api, measurement, params).await?;
    Ok(ResultQuery { measurement, from, to, probes })
}

/// The probes that take part, or did, among those that are asked for. A probe may report what it likes under any number;
/// only what was asked of it is a result. Built-in measurements are everybody's: `None` is all.
pub(crate) async fn taking_part(
    api: &Api,
    measurement: MeasurementId,
    params: &Params,
) -> Result<Option<Vec<ProbeId>>, ApiError> {
    let named = params.ids("probe_ids")?;
    let anchors_only = either(params, ["anchors-only", "anchors_only"])?;
    let public_only = either(params, ["public-only", "public_only"])?;
    if measurement.is_builtin() && !anchors_only && !public_only {
        return Ok(named.map(|ids| ids.into_iter().map(ProbeId).collect()));
    }
    let parts = api.catalog.participants(measurement).await?;
    let mut probes: Vec<ProbeId> = parts.into_iter().map(|part| part.probe).collect();
    probes.sort_unstable();
    if let Some(named) = named {
        probes.retain(|probe| named.binary_search(&probe.0).is_ok());
    }
    if anchors_only || public_only {
        let ids = Some(probes.clone());
        // Public is a probe that shows its addresses to everybody, as the field `is_public` of its object says.
        let (is_anchor, is_public) = (anchors_only.then_some(true), public_only.then_some(true));
        let filter = ProbeFilter { ids, is_anchor, is_public, ..ProbeFilter::default() };
        let all = Slice { offset: 0, limit: probes.len() as u64, descending: false };
        probes = api.catalog.probes(&filter, all).await?.items.iter().map(|probe| probe.id).collect();
    }
    Ok(Some(probes))
}

/// A flag that clients spell in two ways.
fn either(params: &Params, names: [&str; 2]) -> Result<bool, ApiError> {
    let mut set = false;
    for name in names {
        set |= params.flag(name)? == Some(true);
    }
    Ok(set)
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// One array.
    Json,
    /// One object per line.
    Text,
    /// One object with a list for each probe. Those of a probe follow each other.
    ByProbe,
}

impl Format {
    fn read(params: &Params) -> Result<Self, ApiError> {
        match params.get("format") {
            None | Some("json") => Ok(Format::Json),
            Some("txt") => Ok(Format::Text),
            Some(_) => Err(ApiError::parameter("format", "Formats are json and txt.")),
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Format::Json | Format::ByProbe => "application/json",
            Format::Text => "text/plain; charset=utf-8",
        }
    }
}

/// Stored reports, a page at a time.
pub(crate) struct Walk {
    api: Arc<Api>,
    query: ResultQuery,
    after: Option<Cursor>,
    done: bool,
    batch: usize,
}

impl Walk {
    /// From the beginning.
    pub fn new(api: Arc<Api>, query: ResultQuery) -> Self {
        Self::in_batches(api, query, BATCH)
    }

    /// The same, about so many reports at a time.
    pub fn in_batches(api: Arc<Api>, query: ResultQuery, batch: usize) -> Self {
        Self { api, query, after: None, done: false, batch }
    }

    /// The next page, which may be empty; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<StoredReport>>, StoreError> {
        if self.done {
            return Ok(None);
        }
        let page = self.api.results.scan(&self.query, self.after.as_ref(), self.batch).await?;
        self.done = page.next.is_none();
        self.after = page.next;
        Ok(Some(page.reports))
    }
}

/// Where the reports come from.
enum Reports {
    /// From the store as they are needed.
    Stored(Walk),
    /// They are here already.
    Ready(Vec<StoredReport>),
}

impl Reports {
    async fn next(&mut self) -> Result<Option<Vec<StoredReport>>, StoreError> {
        match self {
            Reports::Stored(walk) => walk.next().await,
            Reports::Ready(reports) if reports.is_empty() => Ok(None),
            Reports::Ready(reports) => {
                let rest = reports.split_off(reports.len().min(BATCH));
                Ok(Some(std::mem::replace(reports, rest)))
            }
        }
    }
}

/// The body: every result as one line.
struct Lines {
    api: Arc<Api>,
    measurement: Measurement,
    format: Format,
    reports: Reports,
    viewer: Viewer,
    masks: Masks,
    /// Whose result was written last?
    begun: Option<ProbeId>,
    ended: bool,
}

impl Lines {
    fn new(api: Arc<Api>, measurement: Measurement, format: Format, reports: Reports, viewer: Viewer) -> Self {
        Self { api, measurement, format, reports, viewer, masks: Masks::default(), begun: None, ended: false }
    }

    fn write(&mut self, out: &mut Vec<u8>, stored: &StoredReport) {
        let Some(result) = line::read(stored) else { return };
        match self.format {
            Format::Json => out.extend_from_slice(if self.begun.is_some() { b",\n" } else { b"[" }),
            Format::ByProbe if self.begun == Some(stored.probe) => out.extend_from_slice(b",\n"),
            Format::ByProbe => {
                let before = if self.begun.is_some() { "],\n" } else { "{" };
                out.extend_from_slice(format!("{before}\"{}\":[", stored.probe).as_bytes());
            }
            Format::Text => {}
        }
        self.begun = Some(stored.probe);
        line::write(out, self.viewer, &self.masks, &self.measurement, stored, &result);
        if self.format == Format::Text {
            out.push(b'\n');
        }
    }

    fn end(&self) -> &'static [u8] {
        match (self.format, self.begun.is_some()) {
            (Format::ByProbe, true) => b"]}",
            (Format::ByProbe, false) => b"{}",
            (Format::Json, true) => b"]",
            (Format::Json, false) => b"[]",
            (Format::Text, _) => b"",
        }
    }
}

impl Pieces for Lines {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let mut piece = Vec::new();
        while piece.is_empty() && !self.ended {
            match self.reports.next().await? {
                Some(page) => {
                    self.masks.learn(&*self.api.catalog, &page).await?;
                    for stored in &page {
                        self.write(&mut piece, stored);
                    }
                }
                None => {
                    self.ended = true;
                    piece.extend_from_slice(self.end());
                }
            }
        }
        Ok((!piece.is_empty()).then_some(piece))
    }
}
