//! The tags of measurements: `measurements/tags/`, `measurements/my-tags/` and `measurements/{id}/tags/`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};
use sonde_protocol::ids::{AccountId, MeasurementId};
use sonde_store::catalog::{MeasurementEdit, MeasurementFilter, Slice};
use sonde_store::view::Viewer;
use utoipa_axum::routes;

use crate::Api;
use crate::auth::Access;
use crate::body::{AnyBody, JsonBody};
use crate::error::ApiError;
use crate::here::Here;
use crate::measurement_filters::visible_to;
use crate::measurements::{own, stop_all, visible};
use crate::paging::Paging;
use crate::params::{Params, parse_id};
use crate::path::Id;
use crate::permission::Permission;
use crate::query::{Pages, TagList};
use crate::reader::{MAX_TAGS, Reader};
use crate::router::Routes;

/// How many measurements are read at a time.
const BATCH: u64 = 1000;

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(list));
    routes.add(routes!(list_mine));
    routes.add(routes!(show_mine));
    routes.add(routes!(stop_mine));
    routes.add(routes!(of_measurement, add));
    routes.add(routes!(one_of_measurement, remove));
}

/// `GET measurements/tags/`: the tags of all measurements that the viewer may see.
#[utoipa::path(get, path = "/api/v2/measurements/tags/", tag = "measurements",
    params(TagList),
    responses((status = 200, body = serde_json::Value)))]
async fn list(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let viewer = access.viewer(Permission::ListMeasurements, None);
    page(&api, viewer, None, &params, &here).await
}

/// `GET measurements/my-tags/`: those of one's own measurements.
#[utoipa::path(get, path = "/api/v2/measurements/my-tags/", tag = "measurements",
    params(TagList),
    responses((status = 200, body = serde_json::Value)))]
async fn list_mine(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let account = access.may(Permission::ListMeasurements, None)?;
    page(&api, Viewer::Account(account), Some(account), &params, &here).await
}

async fn page(
    api: &Api,
    viewer: Viewer,
    owner: Option<AccountId>,
    params: &Params,
    here: &Here,
) -> Result<Json<Value>, ApiError> {
    let paging = Paging::read_unsorted(params, crate::paging::MAX_SIZE)?;
    let prefix = params.get("tag__startswith").unwrap_or_default().to_ascii_lowercase();
    let found = api.catalog.measurement_tags(visible_to(viewer), owner, &prefix, paging.slice()).await?;
    let results = found.items.iter().map(|(tag, count)| json!({ "tag": tag, "measurements_count": count })).collect();
    paging.envelope(found.total, results, here).map(Json)
}

/// `GET measurements/my-tags/{tag}/`: one's own measurements with a tag.
#[utoipa::path(get, path = "/api/v2/measurements/my-tags/{tag}/", tag = "measurements", params(("tag" = String, Path)),
    responses((status = 200, body = serde_json::Value)))]
async fn show_mine(
    State(api): State<Arc<Api>>,
    access: Access,
    Path(tag): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let account = access.may(Permission::ListMeasurements, None)?;
    let tag = tag.to_ascii_lowercase();
    let ids = tagged(&api, account, &tag).await?;
    Ok(Json(json!({ "tag": tag, "measurements_count": ids.len(), "measurements": ids })))
}

/// `POST measurements/my-tags/{tag}/stop/`: stops them; no body is needed.
#[utoipa::path(post, path = "/api/v2/measurements/my-tags/{tag}/stop/", tag = "measurements",
    params(("tag" = String, Path)), responses((status = 200, body = serde_json::Value)))]
async fn stop_mine(
    State(api): State<Arc<Api>>,
    access: Access,
    Path(tag): Path<String>,
    _: AnyBody,
) -> Result<Json<Value>, ApiError> {
    let account = access.may(Permission::StopMeasurement, None)?;
    let ids = tagged(&api, account, &tag.to_ascii_lowercase()).await?;
    let stopped = stop_all(api, ids).await?;
    Ok(Json(json!({ "measurements": stopped })))
}

/// One's own measurements with a tag; 404 when there is none.
async fn tagged(api: &Api, account: AccountId, tag: &str) -> Result<Vec<MeasurementId>, ApiError> {
    let filter = MeasurementFilter { owner: Some(account), tags: vec![tag.to_owned()], ..MeasurementFilter::default() };
    let mut ids: Vec<MeasurementId> = Vec::new();
    loop {
        let slice = Slice { offset: ids.len() as u64, limit: BATCH, descending: false };
        let page = api.catalog.measurements(&filter, slice).await?;
        ids.extend(page.items.iter().map(|measurement| measurement.id));
        if (page.items.len() as u64) < BATCH {
            break;
        }
    }
    if ids.is_empty() { Err(ApiError::not_found()) } else { Ok(ids) }
}

/// `GET measurements/{id}/tags/`: the measurement's tags.
#[utoipa::path(get, path = "/api/v2/measurements/{id}/tags/", tag = "measurements", params(("id" = u64, Path), Pages),
    responses((status = 200, body = serde_json::Value)))]
async fn of_measurement(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let viewer = access.viewer(Permission::GetMeasurement, Some(MeasurementId(id)));
    let tags = visible(&api, viewer, MeasurementId(id)).await?.asked.tags;
    let paging = Paging::read_unsorted(&params, crate::paging::MAX_SIZE)?;
    let total = tags.len() as u64;
    let results = paging.cut(tags).into_iter().map(|tag| json!({ "tag": tag })).collect();
    paging.envelope(total, results, &here).map(Json)
}

/// `POST measurements/{id}/tags/` with `{"tag": "…"}`. One that is there already stays.
#[utoipa::path(post, path = "/api/v2/measurements/{id}/tags/", tag = "measurements", params(("id" = u64, Path)),
    request_body = serde_json::Value, responses((status = 201, body = serde_json::Value)))]
async fn add(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let account = access.may(Permission::UpdateMeasurement, Some(MeasurementId(id)))?;
    let measurement = own(&api, account, MeasurementId(id)).await?;
    let mut problems = Vec::new();
    let mut named = Vec::new();
    if let Some(mut fields) = Reader::new(&body, String::new(), &mut problems) {
        named = fields.slugs("tag");
        if named.len() != 1 && !fields.is_bad("tag") {
            fields.required("tag");
        }
    }
    let tags = measurement.asked.tags;
    let tag = named.pop().unwrap_or_default();
    if !tags.contains(&tag) && tags.len() >= MAX_TAGS {
        problems.push(crate::error::Problem::at("/tag", format!("At most {MAX_TAGS} tags can be named.")));
    }
    if !problems.is_empty() {
        return Err(ApiError::body(problems));
    }
    let edit = MeasurementEdit { add_tag: Some(tag.clone()), ..MeasurementEdit::default() };
    api.catalog.edit_measurement(measurement.id, &edit).await?;
    Ok((StatusCode::CREATED, Json(json!({ "tag": tag }))))
}

/// `GET measurements/{id}/tags/{tag}/`: 404 when it does not have it.
#[utoipa::path(get, path = "/api/v2/measurements/{id}/tags/{tag}/", tag = "measurements",
    params(("id" = u64, Path), ("tag" = String, Path)), responses((status = 200, body = serde_json::Value)))]
async fn one_of_measurement(
    State(api): State<Arc<Api>>,
    access: Access,
    Path((id, tag)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let viewer = access.viewer(Permission::GetMeasurement, parse_id(&id).map(MeasurementId));
    let id = parse_id(&id).ok_or_else(ApiError::not_found)?;
    let measurement = visible(&api, viewer, MeasurementId(id)).await?;
    let tag = tag.to_ascii_lowercase();
    if measurement.asked.tags.contains(&tag) { Ok(Json(json!({ "tag": tag }))) } else { Err(ApiError::not_found()) }
}

/// `DELETE measurements/{id}/tags/{tag}/`: 204.
#[utoipa::path(delete, path = "/api/v2/measurements/{id}/tags/{tag}/", tag = "measurements",
    params(("id" = u64, Path), ("tag" = String, Path)), responses((status = 204)))]
async fn remove(
    State(api): State<Arc<Api>>,
    access: Access,
    Path((id, tag)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let account = access.may(Permission::UpdateMeasurement, parse_id(&id).map(MeasurementId))?;
    let id = parse_id(&id).ok_or_else(ApiError::not_found)?;
    let measurement = own(&api, account, MeasurementId(id)).await?;
    let tag = tag.to_ascii_lowercase();
    if !measurement.asked.tags.contains(&tag) {
        return Err(ApiError::not_found());
    }
    let edit = MeasurementEdit { remove_tag: Some(tag), ..MeasurementEdit::default() };
    api.catalog.edit_measurement(measurement.id, &edit).await?;
    Ok(StatusCode::NO_CONTENT)
}
