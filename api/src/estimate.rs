//! `measurements/estimate/`: what measurements would cost, before anything is made.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use utoipa_axum::routes;

use crate::Api;
use crate::admission::{self, Priced};
use crate::auth::Access;
use crate::body::JsonBody;
use crate::create;
use crate::error::ApiError;
use crate::permission::Permission;
use crate::router::Routes;

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(estimate));
}

/// `POST measurements/estimate/`: takes what `POST measurements/` takes and says what it would cost, and whether it would be
/// allowed. Nothing is made. Probes are chosen anew when it is, unless `probe_sources` of the answer is sent as `probes`: its seeds
/// choose `probe_ids` again, as long as the same probes are there.
#[utoipa::path(post, path = "/api/v2/measurements/estimate/", tag = "measurements", request_body = serde_json::Value,
    responses((status = 200, body = serde_json::Value)))]
async fn estimate(
    State(api): State<Arc<Api>>,
    access: Access,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    let account = access.may(Permission::CreateMeasurement, None)?;
    let priced = Priced::of(&api, create::prepare(&api, (&access, account), None, &body).await?).await?;
    admission::open_ledger(&api, account).await?;
    let usage = api.catalog.usage(account, &priced.new, api.clock.now()).await?;
    let reasons = priced.against(&api, &usage);
    // Written by this server, so it reads; the same for all.
    let probe_sources: Value =
        priced.new.first().and_then(|new| serde_json::from_str(&new.probe_sources).ok()).unwrap_or_default();
    let costs = priced.asked(&api).costs();
    let measurements = priced.new.iter().zip(&priced.prices).zip(costs).map(|((new, price), cost)| {
        json!({
            "type": new.spec.kind().name(),
            "target": new.target,
            "probes": new.probes.len(),
            "probe_ids": new.probes,
            "credits_per_result": price.credits,
            "estimated_results_per_day": cost.results_per_day,
            "credits_per_day": cost.credits_per_day,
            "total": cost.total,
        })
    });
    Ok(Json(json!({
        "measurements": measurements.collect::<Vec<_>>(),
        "probe_sources": probe_sources,
        "balance": usage.balance,
        "reserved": usage.reserved,
        "allowed": reasons.is_empty(),
        "reasons": reasons,
    })))
}
