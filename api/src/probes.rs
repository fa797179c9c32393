//! `probes/`: who measures, and what owners say of theirs. Addresses and places only as [`sonde_store::view`] allows.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use sonde_protocol::ids::ProbeId;
use sonde_store::catalog::{MeasurementFilter, Probe, ProbeFilter, Ranking, Status};
use sonde_store::view::Viewer;
use utoipa_axum::routes;

use crate::Api;
use crate::auth::Access;
use crate::body::JsonBody;
use crate::datetimes::Datetimes;
use crate::error::ApiError;
use crate::fields::Selection;
use crate::here::Here;
use crate::measurement_filters::visible_to;
use crate::measurement_object;
use crate::paging::{MAX_SIZE, Paging};
use crate::params::Params;
use crate::path::Id;
use crate::permission::Permission;
use crate::probe_edit::{self, Reads};
use crate::probe_filters;
use crate::probe_object::{self, ProbeTag, Told};
use crate::query::{OneProbe, Pages, ProbeList, ProbeMeasurements};
use crate::router::Routes;

/// How many of each the rankings name.
const RANKED: u64 = 100;

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(list));
    routes.add(routes!(mine));
    routes.add(routes!(rankings));
    routes.add(routes!(tags));
    routes.add(routes!(tag));
    routes.add(routes!(show, change, replace));
    routes.add(routes!(measurements));
    routes.add(routes!(tags_of, change_tags));
}

/// `GET probes/`: who measures.
#[utoipa::path(get, path = "/api/v2/probes/", tag = "probes", params(ProbeList), responses((status = 200, body = serde_json::Value)))]
async fn list(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let viewer = access.viewer(Permission::ListProbes, None);
    page(&api, viewer, probe_filters::read(&params, viewer)?, &params, &here).await
}

/// `GET probes/my/`: one's own.
#[utoipa::path(get, path = "/api/v2/probes/my/", tag = "probes", params(ProbeList), responses((status = 200, body = serde_json::Value)))]
async fn mine(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let account = access.may(Permission::ListProbes, None)?;
    let viewer = Viewer::Account(account);
    let filter = ProbeFilter { owner: Some(account), ..probe_filters::read(&params, viewer)? };
    page(&api, viewer, filter, &params, &here).await
}

async fn page(
    api: &Api,
    viewer: Viewer,
    filter: ProbeFilter,
    params: &Params,
    here: &Here,
) -> Result<Json<Value>, ApiError> {
    let (paging, selection) = (Paging::read_unsorted(params, MAX_SIZE)?, Selection::read(params));
    let datetimes = Datetimes::read(params)?;
    let found = api.catalog.probes(&filter, paging.slice()).await?;
    let now = api.clock.now();
    let told = probe_object::told(&*api.catalog, viewer, &found.items).await?;
    let write = |(probe, told): (&Probe, &Told)| probe_object::write(probe, told, viewer, now, &selection, datetimes);
    paging.envelope(found.total, found.items.iter().zip(&told).map(write).collect(), here).map(Json)
}

/// `GET probes/{id}/`: one of them.
#[utoipa::path(get, path = "/api/v2/probes/{id}/", tag = "probes", params(("id" = u64, Path), OneProbe), responses((status = 200, body = serde_json::Value)))]
async fn show(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let viewer = access.viewer(Permission::ListProbes, None);
    one(&api, ProbeId(id), viewer, &params).await
}

pub(crate) async fn find(api: &Api, id: ProbeId) -> Result<Probe, ApiError> {
    api.catalog.probe(id).await?.ok_or_else(ApiError::not_found)
}

async fn one(api: &Api, id: ProbeId, viewer: Viewer, params: &Params) -> Result<Json<Value>, ApiError> {
    let probe = find(api, id).await?;
    let (selection, datetimes) = (Selection::read(params), Datetimes::read(params)?);
    let told = probe_object::told(&*api.catalog, viewer, std::slice::from_ref(&probe)).await?.pop().unwrap_or_default();
    Ok(Json(probe_object::write(&probe, &told, viewer, api.clock.now(), &selection, datetimes)))
}

/// `PATCH probes/{id}/`: its owner says something else of it: `description`, `is_public`, `country_code`, `geometry` or
/// `latitude` and `longitude`, `tags`; and what it wants of a board's `updates`. Other fields are problems.
#[utoipa::path(patch, path = "/api/v2/probes/{id}/", tag = "probes", params(("id" = u64, Path), OneProbe), request_body = serde_json::Value, responses((status = 200, body = serde_json::Value)))]
async fn change(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    edit(&api, &access, ProbeId(id), &body, Reads::Named, &params).await
}

/// `PUT probes/{id}/`: as `PATCH`, with a whole object as it was read: fields that cannot be changed are passed over.
#[utoipa::path(put, path = "/api/v2/probes/{id}/", tag = "probes", params(("id" = u64, Path), OneProbe), request_body = serde_json::Value, responses((status = 200, body = serde_json::Value)))]
async fn replace(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    edit(&api, &access, ProbeId(id), &body, Reads::Object, &params).await
}

async fn edit(
    api: &Api,
    access: &Access,
    id: ProbeId,
    body: &Value,
    reads: Reads,
    params: &Params,
) -> Result<Json<Value>, ApiError> {
    let account = access.may(Permission::UpdateProbe, None)?;
    if find(api, id).await?.owner != account {
        return Err(ApiError::forbidden("You do not have permission to perform this action."));
    }
    let edit = probe_edit::read(body, reads).map_err(ApiError::body)?;
    api.catalog.edit_probe(id, &edit).await?;
    if let Some(choice) = edit.updates {
        api.dispatch.updates_chosen(id, choice).await;
    }
    // A country that is not said any more is the tables' again.
    sonde_store::places::locate(&*api.catalog, &*api.places, id).await?;
    one(api, id, Viewer::Account(account), params).await
}

/// `GET probes/{id}/tags/`: those of one probe.
#[utoipa::path(get, path = "/api/v2/probes/{id}/tags/", tag = "probes", params(("id" = u64, Path)), responses((status = 200, body = Vec<ProbeTag>)))]
async fn tags_of(State(api): State<Arc<Api>>, _: Access, Id(id): Id) -> Result<Json<Vec<ProbeTag>>, ApiError> {
    let probe = find(&api, ProbeId(id)).await?;
    Ok(Json(probe.tags.iter().map(|slug| ProbeTag::of(slug)).collect()))
}

/// `PATCH probes/{id}/tags/`: other tags of its owner's, as a list or as `{"tags": …}`. System tags stay.
#[utoipa::path(patch, path = "/api/v2/probes/{id}/tags/", tag = "probes", params(("id" = u64, Path), OneProbe), request_body = serde_json::Value, responses((status = 200, body = serde_json::Value)))]
async fn change_tags(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    let body = match body {
        Value::Array(tags) => json!({ "tags": tags }),
        Value::Object(fields) if !fields.contains_key("tags") => {
            return Err(ApiError::body_at("/tags", "This field is required."));
        }
        other => other,
    };
    edit(&api, &access, ProbeId(id), &body, Reads::Named, &params).await
}

/// `GET probes/{id}/measurements/`: what runs on it, as far as the viewer may know.
#[utoipa::path(get, path = "/api/v2/probes/{id}/measurements/", tag = "probes",
    params(("id" = u64, Path), ProbeMeasurements),
    responses((status = 200, body = serde_json::Value)))]
async fn measurements(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let probe = find(&api, ProbeId(id)).await?;
    let viewer = access.viewer(Permission::ListMeasurements, None);
    let filter = MeasurementFilter {
        visible_to: visible_to(viewer),
        current_probes: Some(vec![probe.id]),
        status: Some((vec![Status::Ongoing], api.clock.now())),
        ..MeasurementFilter::default()
    };
    let (paging, selection) = (Paging::read(&params)?, Selection::read(&params));
    let datetimes = Datetimes::read(&params)?;
    let found = api.catalog.measurements(&filter, paging.slice()).await?;
    let mut results = Vec::new();
    for measurement in &found.items {
        results.push(measurement_object::write(&api, viewer, measurement, &selection, &here, datetimes).await?);
    }
    paging.envelope(found.total, results, &here).map(Json)
}

/// `GET probes/tags/`: every tag that a probe has.
#[utoipa::path(get, path = "/api/v2/probes/tags/", tag = "probes",
    params(Pages),
    responses((status = 200, body = serde_json::Value)))]
async fn tags(State(api): State<Arc<Api>>, _: Access, params: Params, here: Here) -> Result<Json<Value>, ApiError> {
    let paging = Paging::read_unsorted(&params, MAX_SIZE)?;
    let found = api.catalog.probe_tags(paging.slice()).await?;
    let write = |(slug, _): &(String, u64)| json!(ProbeTag::of(slug));
    paging.envelope(found.total, found.items.iter().map(write).collect(), &here).map(Json)
}

/// `GET probes/tags/{slug}/`: one of them.
#[utoipa::path(get, path = "/api/v2/probes/tags/{slug}/", tag = "probes", params(("slug" = String, Path)), responses((status = 200, body = ProbeTag)))]
async fn tag(State(api): State<Arc<Api>>, _: Access, Path(slug): Path<String>) -> Result<Json<ProbeTag>, ApiError> {
    let filter = ProbeFilter { tags: vec![slug.to_ascii_lowercase()], ..ProbeFilter::default() };
    let none = sonde_store::catalog::Slice { offset: 0, limit: 0, descending: false };
    match api.catalog.probes(&filter, none).await?.total {
        0 => Err(ApiError::not_found()),
        _ => Ok(Json(ProbeTag::of(&slug.to_ascii_lowercase()))),
    }
}

/// `GET probes/rankings/`: the ASes, networks and countries with the most connected probes, each with how many.
#[utoipa::path(get, path = "/api/v2/probes/rankings/", tag = "probes", responses((status = 200, body = serde_json::Value)))]
async fn rankings(State(api): State<Arc<Api>>, _: Access) -> Result<Json<Value>, ApiError> {
    let mut rankings = serde_json::Map::new();
    for (name, ranking) in [
        ("asn4", Ranking::AsnV4),
        ("asn6", Ranking::AsnV6),
        ("prefix4", Ranking::NetworkV4),
        ("prefix6", Ranking::NetworkV6),
        ("country", Ranking::Country),
    ] {
        let ranked = api.catalog.probe_ranking(ranking, RANKED).await?;
        // The number of an AS as a number.
        let key = |key: &str| key.parse::<u32>().map_or_else(|_| json!(key), |number| json!(number));
        let pairs = ranked.iter().map(|(name, count)| json!([key(name), count])).collect();
        rankings.insert(name.to_owned(), Value::Array(pairs));
    }
    Ok(Json(Value::Object(rankings)))
}
