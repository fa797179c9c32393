//! `measurements/{id}/skipped/`, which Atlas does not have: the runs that were due and did not take place, and the gaps in
//! what the probes' processes reported. Together with the results they account for every due run.
//!
//! `{"results":[{"prb_id","planned","runs","reason"}…],"gaps":[{"prb_id","from","to","reason"}…]}`, times in Unix seconds;
//! `start`, `stop` and `probe_ids` narrow it as they narrow results.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::result::Report;
use sonde_protocol::time::UnixNanos;
use sonde_store::StoreError;
use utoipa_axum::routes;

use crate::Api;
use crate::auth::Access;
use crate::error::ApiError;
use crate::measurements::visible;
use crate::params::Params;
use crate::path::Id;
use crate::permission::Permission;
use crate::query::SkippedRuns;
use crate::results::{Walk, query};
use crate::router::Routes;
use crate::stream::{Pieces, respond};

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(list));
}

/// About how many bytes a piece has.
const PIECE: usize = 64 * 1024;

/// `GET measurements/{id}/skipped/`: the runs that did not take place, and the gaps.
#[utoipa::path(get, path = "/api/v2/measurements/{id}/skipped/", tag = "results", params(("id" = u64, Path), SkippedRuns), responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
) -> Result<Response, ApiError> {
    let viewer = access.viewer(Permission::GetNonPublicResults, Some(MeasurementId(id)));
    let measurement = visible(&api, viewer, MeasurementId(id)).await?;
    let query = query(&api, &params, measurement.id).await?;
    let now = api.clock.now();
    let from = query.from.unwrap_or(measurement.asked.start);
    let to = query.to.or(measurement.stopped_at).or(measurement.asked.stop).unwrap_or(now).min(now).max(from);
    let probes = query.probes.clone().unwrap_or_default();
    let walk = Walk::new(Arc::clone(&api), query);
    let head = b"{\"results\":[";
    let pieces = Account { api, stage: Stage::Runs(walk), probes: probes.into_iter(), from, to, head, written: 0 };
    respond(pieces, "application/json").await
}

enum Stage {
    Runs(Walk),
    Gaps,
    Done,
}

struct Account {
    api: Arc<Api>,
    stage: Stage,
    probes: std::vec::IntoIter<ProbeId>,
    from: UnixNanos,
    to: UnixNanos,
    /// What the body begins with; empty once it is written.
    head: &'static [u8],
    /// How many elements the list that is being written has.
    written: usize,
}

impl Account {
    fn element(&mut self, out: &mut Vec<u8>, element: &Value) {
        if self.written > 0 {
            out.extend_from_slice(b",\n");
        }
        self.written += 1;
        out.extend_from_slice(element.to_string().as_bytes());
    }
}

impl Pieces for Account {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let mut piece = std::mem::take(&mut self.head).to_vec();
        loop {
            match &mut self.stage {
                Stage::Runs(walk) => match walk.next().await? {
                    Some(page) => {
                        for stored in page {
                            if let Ok(Report::Skipped(skipped)) = Report::from_cbor(&stored.report) {
                                let element = json!({
                                    "prb_id": stored.probe,
                                    "planned": skipped.planned_at.as_secs(),
                                    "runs": skipped.runs,
                                    "reason": skipped.reason.name(),
                                });
                                self.element(&mut piece, &element);
                            }
                        }
                    }
                    None => {
                        piece.extend_from_slice(b"],\"gaps\":[");
                        self.written = 0;
                        self.stage = Stage::Gaps;
                    }
                },
                Stage::Gaps => match self.probes.next() {
                    Some(probe) => {
                        for gap in self.api.results.gaps(probe, self.from, self.to).await? {
                            let element = json!({
                                "prb_id": probe,
                                "from": gap.from.as_secs(),
                                "to": gap.to.as_secs(),
                                "reason": gap.reason.name(),
                            });
                            self.element(&mut piece, &element);
                        }
                    }
                    None => {
                        piece.extend_from_slice(b"]}");
                        self.stage = Stage::Done;
                        return Ok(Some(piece));
                    }
                },
                Stage::Done => return Ok(None),
            }
            if piece.len() > PIECE {
                return Ok(Some(piece));
            }
        }
    }
}
