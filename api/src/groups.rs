//! `measurements/groups/`: measurements that were made together, and those that joined them with `group_id`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use sonde_protocol::ids::{AccountId, MeasurementId};
use sonde_store::catalog::{Measurement, MeasurementFilter, Slice};
use sonde_store::view::Viewer;
use utoipa_axum::routes;

use crate::Api;
use crate::auth::Access;
use crate::error::{ApiError, Problem};
use crate::here::Here;
use crate::measurement_filters::visible_to;
use crate::measurements::stop_all;
use crate::paging::Paging;
use crate::params::Params;
use crate::path::Id;
use crate::permission::Permission;
use crate::query::PagesById;
use crate::reader::integer;
use crate::router::Routes;

/// How many members of a group are shown, and are read at a time: ten requests' worth.
const MEMBERS: u64 = 1000;

/// A page of groups is this short, because each lists its members.
const PAGE: u64 = 50;

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(list));
    routes.add(routes!(show, stop));
}

/// `GET measurements/groups/`: measurements that belong together.
#[utoipa::path(get, path = "/api/v2/measurements/groups/", tag = "measurements",
    params(PagesById),
    responses((status = 200, body = serde_json::Value)))]
async fn list(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let viewer = access.viewer(Permission::ListMeasurements, None);
    let paging = Paging::read_at_most(&params, PAGE)?;
    let found = api.catalog.measurement_groups(visible_to(viewer), paging.slice()).await?;
    let mut results = Vec::new();
    for &group in &found.items {
        let members = members(&api, viewer, group, 0).await?;
        results.push(write(group, &members, &here));
    }
    paging.envelope(found.total, results, &here).map(Json)
}

/// `GET measurements/groups/{id}/`: one group.
#[utoipa::path(get, path = "/api/v2/measurements/groups/{id}/", tag = "measurements", params(("id" = u64, Path)),
    responses((status = 200, body = serde_json::Value)))]
async fn show(State(api): State<Arc<Api>>, access: Access, Id(id): Id, here: Here) -> Result<Json<Value>, ApiError> {
    let viewer = access.viewer(Permission::GetMeasurement, None);
    let members = members(&api, viewer, MeasurementId(id), 0).await?;
    if members.is_empty() || MeasurementId(id).is_builtin() {
        return Err(ApiError::not_found());
    }
    Ok(Json(write(MeasurementId(id), &members, &here)))
}

/// `DELETE measurements/groups/{id}/`: stops all of them, 204.
#[utoipa::path(delete, path = "/api/v2/measurements/groups/{id}/", tag = "measurements", params(("id" = u64, Path)),
    responses((status = 204)))]
async fn stop(State(api): State<Arc<Api>>, access: Access, Id(id): Id) -> Result<StatusCode, ApiError> {
    let account = access.may(Permission::StopMeasurement, None)?;
    let (viewer, mut all) = (Viewer::Account(account), Vec::new());
    loop {
        let more = members(&api, viewer, MeasurementId(id), all.len() as u64).await?;
        if more.iter().any(|member| member.asked.owner != account) {
            return Err(ApiError::forbidden("You do not have permission to perform this action."));
        }
        let last = (more.len() as u64) < MEMBERS;
        all.extend(more.into_iter().map(|member| member.id));
        if last {
            break;
        }
    }
    if all.is_empty() {
        return Err(ApiError::not_found());
    }
    stop_all(api, all).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn members(api: &Api, viewer: Viewer, group: MeasurementId, offset: u64) -> Result<Vec<Measurement>, ApiError> {
    let filter =
        MeasurementFilter { group: Some(group), visible_to: visible_to(viewer), ..MeasurementFilter::default() };
    let slice = Slice { offset, limit: MEMBERS, descending: false };
    Ok(api.catalog.measurements(&filter, slice).await?.items)
}

fn write(group: MeasurementId, members: &[Measurement], here: &Here) -> Value {
    let measurements: Vec<Value> = members
        .iter()
        .map(|member| json!({ "id": member.id, "url": here.api(&format!("measurements/{}/", member.id)) }))
        .collect();
    json!({
        "id": group,
        "type": "group",
        "url": here.api(&format!("measurements/groups/{group}/")),
        "measurements": measurements,
    })
}

/// The groups that the definitions of a request join: `group_id` of each, or of the whole request. It has to be a group of
/// the same owner.
pub(crate) async fn joined(
    api: &Api,
    account: AccountId,
    body: &Value,
) -> Result<Vec<Option<MeasurementId>>, ApiError> {
    let definitions = body.get("definitions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let (mut groups, mut problems) = (Vec::new(), Vec::new());
    for (index, definition) in definitions.iter().enumerate() {
        let own = definition.get("group_id").filter(|value| !value.is_null());
        let (pointer, value) = match own {
            Some(value) => (format!("/definitions/{index}/group_id"), Some(value)),
            None => ("/group_id".to_owned(), body.get("group_id").filter(|value| !value.is_null())),
        };
        let Some(value) = value else {
            groups.push(None);
            continue;
        };
        let group = integer(value).and_then(|id| u64::try_from(id).ok()).map(MeasurementId);
        let members = match group {
            Some(group) => members(api, Viewer::Account(account), group, 0).await?,
            None => Vec::new(),
        };
        if members.is_empty() || members.iter().any(|member| member.asked.owner != account) {
            problems.push(Problem::at(pointer, "This is not the number of a group of yours."));
        }
        groups.push(group);
    }
    problems.dedup();
    if problems.is_empty() { Ok(groups) } else { Err(ApiError::body(problems)) }
}
