//! `measurements/`: listing, showing, changing and stopping. Making them is [`crate::create`], their results are
//! [`crate::results`].

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::Value;
use sonde_protocol::ids::{AccountId, MeasurementId};
use sonde_protocol::spec::Kind;
use sonde_store::catalog::{Measurement, MeasurementEdit, MeasurementFilter};
use sonde_store::view::Viewer;
use utoipa_axum::routes;

use crate::Api;
use crate::auth::Access;
use crate::body::JsonBody;
use crate::create;
use crate::datetimes::Datetimes;
use crate::error::{ApiError, Problem};
use crate::fields::Selection;
use crate::here::Here;
use crate::kinds::OFFERED;
use crate::measurement_filters;
use crate::measurement_object;
use crate::paging::{MAX_SIZE, Paging};
use crate::params::Params;
use crate::path::Id;
use crate::permission::Permission;
use crate::query::{MeasurementList, OneMeasurement};
use crate::reader::Reader;
use crate::router::Routes;

/// The kind that a path such as `measurements/ping/` is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OfKind(pub Kind);

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(list, create::create));
    routes.add(routes!(mine));
    routes.add_at("/api/v2/measurements/my/", routes!(create::create));
    for &kind in OFFERED {
        let (schemas, paths, methods) = routes!(list, create::create);
        let methods = methods.layer(Extension(OfKind(kind)));
        routes.add_at(&format!("/api/v2/measurements/{kind}/"), (schemas, paths, methods));
    }
    routes.add(routes!(show, change, stop));
    routes.add(routes!(private));
}

/// A page is this short when every measurement on it lists its probes.
const PAGE_WITH_PROBES: u64 = 50;

/// `GET measurements/`, `GET measurements/{kind}/`: the measurements that the viewer may see.
#[utoipa::path(get, path = "/api/v2/measurements/", tag = "measurements", params(MeasurementList), responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    access: Access,
    kind: Option<Extension<OfKind>>,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let viewer = access.viewer(Permission::ListMeasurements, None);
    let filter = measurement_filters::read(&params, viewer, kind.map(|Extension(OfKind(kind))| kind), api.clock.now())?;
    page(&api, viewer, filter, &params, &here).await
}

/// `GET measurements/my/`: the account's measurements.
#[utoipa::path(get, path = "/api/v2/measurements/my/", tag = "measurements", params(MeasurementList), responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn mine(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let account = access.may(Permission::ListMeasurements, None)?;
    let viewer = Viewer::Account(account);
    let filter = MeasurementFilter {
        owner: Some(account),
        ..measurement_filters::read(&params, viewer, None, api.clock.now())?
    };
    page(&api, viewer, filter, &params, &here).await
}

async fn page(
    api: &Api,
    viewer: Viewer,
    filter: MeasurementFilter,
    params: &Params,
    here: &Here,
) -> Result<Json<Value>, ApiError> {
    let selection = Selection::read(params);
    let is_long = ["probes", "current_probes", "participant_logs", "participation_requests"];
    let paging = match is_long.iter().any(|field| selection.wants(field)) {
        true => Paging::read_unsorted(params, PAGE_WITH_PROBES)?,
        false => Paging::read_unsorted(params, MAX_SIZE)?,
    };
    let datetimes = Datetimes::read(params)?;
    let found = api.catalog.measurements(&filter, paging.slice()).await?;
    let mut results = Vec::new();
    for measurement in &found.items {
        results.push(measurement_object::write(api, viewer, measurement, &selection, here, datetimes).await?);
    }
    paging.envelope(found.total, results, here).map(Json)
}

/// `GET measurements/{id}/`: one measurement.
#[utoipa::path(get, path = "/api/v2/measurements/{id}/", tag = "measurements", params(("id" = u64, Path), OneMeasurement), responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let viewer = access.viewer(Permission::GetMeasurement, Some(MeasurementId(id)));
    let measurement = visible(&api, viewer, MeasurementId(id)).await?;
    let selection = Selection::read(&params);
    measurement_object::write(&api, viewer, &measurement, &selection, &here, Datetimes::read(&params)?).await.map(Json)
}

/// A measurement that this viewer may know of.
pub(crate) async fn visible(api: &Api, viewer: Viewer, id: MeasurementId) -> Result<Measurement, ApiError> {
    let found = api.catalog.measurement(id).await?;
    found.filter(|measurement| viewer.sees_measurement(measurement)).ok_or_else(ApiError::not_found)
}

/// A measurement of this account: 404 when it may not know of it, 403 when it is another's or built-in.
pub(crate) async fn own(api: &Api, account: AccountId, id: MeasurementId) -> Result<Measurement, ApiError> {
    let measurement = visible(api, Viewer::Account(account), id).await?;
    if measurement.asked.owner != account {
        return Err(ApiError::forbidden("You do not have permission to perform this action."));
    }
    Ok(measurement)
}

/// `DELETE measurements/{id}/`: stops it, 204. One that is over already stays as it is.
#[utoipa::path(delete, path = "/api/v2/measurements/{id}/", tag = "measurements", params(("id" = u64, Path)), responses((status = 204)))]
pub(crate) async fn stop(State(api): State<Arc<Api>>, access: Access, Id(id): Id) -> Result<StatusCode, ApiError> {
    let account = access.may(Permission::StopMeasurement, Some(MeasurementId(id)))?;
    let measurement = own(&api, account, MeasurementId(id)).await?;
    stop_all(api, vec![measurement.id]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Stops measurements and tells the probes. Gives those that were not over already.
pub(crate) async fn stop_all(api: Arc<Api>, ids: Vec<MeasurementId>) -> Result<Vec<MeasurementId>, ApiError> {
    // In a task of its own, so that a client that goes away cannot part the commit from the news of it.
    let stopping = tokio::spawn(async move {
        let now = api.clock.now();
        let mut stopped = Vec::new();
        for id in ids {
            let state = api.catalog.measurement(id).await?.map(|measurement| measurement.status(now).0);
            let runs = state.is_some_and(|state| !state.is_over());
            let probes = api.catalog.stop_measurement(id, now).await?;
            if !probes.is_empty() {
                api.dispatch.orders_changed(&probes).await;
            }
            if runs {
                stopped.push(id);
            }
        }
        Ok::<_, ApiError>(stopped)
    });
    stopping.await.map_err(|_| ApiError::internal())?
}

/// `GET measurements/{id}/private/`: what its owner sees, and nobody else.
#[utoipa::path(get, path = "/api/v2/measurements/{id}/private/", tag = "measurements", params(("id" = u64, Path), OneMeasurement), responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn private(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let account = access.may(Permission::GetMeasurement, Some(MeasurementId(id)))?;
    let measurement = own(&api, account, MeasurementId(id)).await?;
    let selection = Selection::read(&params);
    measurement_object::write(
        &api,
        Viewer::Account(account),
        &measurement,
        &selection,
        &here,
        Datetimes::read(&params)?,
    )
    .await
    .map(Json)
}

/// `PATCH measurements/{id}/`: another description, other tags; and a private measurement becomes public, never the other way round,
/// because others may have its results already. Fields that cannot be changed are problems, not ignored.
#[utoipa::path(patch, path = "/api/v2/measurements/{id}/", tag = "measurements", params(("id" = u64, Path), OneMeasurement), request_body = serde_json::Value, responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn change(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
    here: Here,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    let account = access.may(Permission::UpdateMeasurement, Some(MeasurementId(id)))?;
    let measurement = own(&api, account, MeasurementId(id)).await?;
    let edit = edit(&body, measurement.asked.is_public).map_err(ApiError::body)?;
    api.catalog.edit_measurement(measurement.id, &edit).await?;
    let viewer = Viewer::Account(account);
    let changed = visible(&api, viewer, measurement.id).await?;
    measurement_object::write(&api, viewer, &changed, &Selection::read(&params), &here, Datetimes::read(&params)?)
        .await
        .map(Json)
}

fn edit(body: &Value, was_public: bool) -> Result<MeasurementEdit, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut edit = MeasurementEdit::default();
    if let Some(mut fields) = Reader::new(body, String::new(), &mut problems) {
        if body.get("description").is_some() {
            let description = fields.text::<{ crate::definition::MAX_DESCRIPTION }>("description");
            edit.description = Some(description.map(|text| text.as_str().to_owned()));
        }
        match fields.flag("is_public") {
            Some(false) if was_public => fields.problem("is_public", "A public measurement cannot become private."),
            is_public => edit.is_public = is_public,
        }
        if body.get("tags").is_some() {
            edit.tags = Some(fields.slugs("tags"));
        }
        let names = body.as_object().into_iter().flat_map(|object| object.keys());
        for name in names.filter(|name| !matches!(name.as_str(), "description" | "is_public" | "tags")) {
            fields.problem(name, "This field cannot be changed.");
        }
    }
    if problems.is_empty() { Ok(edit) } else { Err(problems) }
}
