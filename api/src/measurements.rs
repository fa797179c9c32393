//! `measurements/`: listing, showing, changing and stopping. Making them is [`crate::create`], their results are
//! [`crate::results`].

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::Value;
use sonde_protocol::ids::{AccountId, MeasurementId};
use sonde_protocol::net::Family;
use sonde_protocol::spec::Kind;
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Measurement, MeasurementEdit, MeasurementFilter, Status};
use sonde_store::view::Viewer;
use utoipa_axum::routes;

use crate::Api;
use crate::auth::Access;
use crate::body::JsonBody;
use crate::create;
use crate::error::{ApiError, Problem};
use crate::fields::Selection;
use crate::here::Here;
use crate::measurement_object;
use crate::paging::Paging;
use crate::params::Params;
use crate::path::Id;
use crate::permission::Permission;
use crate::reader::Reader;
use crate::router::Routes;

/// The kind that a path such as `measurements/ping/` is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OfKind(pub Kind);

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(list, create::create));
    routes.add(routes!(mine));
    for kind in Kind::ALL {
        let (schemas, paths, methods) = routes!(list, create::create);
        let methods = methods.layer(Extension(OfKind(kind)));
        routes.add_at(&format!("/api/v2/measurements/{kind}/"), (schemas, paths, methods));
    }
    routes.add(routes!(show, change, stop));
}

/// A page is this short when every measurement on it lists its probes.
const PAGE_WITH_PROBES: u64 = 50;

/// The longest text that is searched for, in bytes.
const MAX_SEARCH: usize = 200;

/// Atlas's filters that the catalog has no answer to yet.
const NOT_YET: &[&str] = &[
    "id__lt",
    "id__lte",
    "id__gt",
    "id__gte",
    "start_time",
    "stop_time",
    "interval",
    "protocol",
    "target",
    "target_ip",
    "target_asn",
    "target_address",
    "target_name",
    "description",
    "tags",
    "current_probes",
    "group",
    "group_id",
];

/// States that Atlas has and a measurement here is never in. Asking for them finds nothing.
const OTHER_STATES: &[(u8, &str)] =
    &[(5, "Forced to stop"), (7, "Failed"), (8, "Denied"), (8, "Archived"), (9, "Canceled")];

/// `GET measurements/` and `GET measurements/{kind}/`.
#[utoipa::path(get, path = "/api/v2/measurements/", tag = "measurements", responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    access: Access,
    kind: Option<Extension<OfKind>>,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let viewer = access.viewer(Permission::ListMeasurements, None);
    let filter = filter(&params, viewer, kind.map(|Extension(OfKind(kind))| kind), api.clock.now())?;
    page(&api, viewer, filter, &params, &here).await
}

/// `GET measurements/my/`.
#[utoipa::path(get, path = "/api/v2/measurements/my/", tag = "measurements", responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn mine(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let account = access.may(Permission::ListMeasurements, None)?;
    let viewer = Viewer::Account(account);
    let filter = MeasurementFilter { owner: Some(account), ..filter(&params, viewer, None, api.clock.now())? };
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
    let paging = match selection.wants("probes") {
        true => Paging::read_at_most(params, PAGE_WITH_PROBES)?,
        false => Paging::read(params)?,
    };
    let found = api.catalog.measurements(&filter, paging.slice()).await?;
    let mut results = Vec::new();
    for measurement in &found.items {
        results.push(measurement_object::write(api, viewer, measurement, &selection, here).await?);
    }
    paging.envelope(found.total, results, here).map(Json)
}

/// Reads the filters of a list.
fn filter(params: &Params, viewer: Viewer, kind: Option<Kind>, now: UnixNanos) -> Result<MeasurementFilter, ApiError> {
    params.refuse(NOT_YET)?;
    let ids = match params.ids("id__in")? {
        None => params.ids("id")?,
        some => some,
    };
    let mut filter = MeasurementFilter {
        ids: ids.map(|ids| ids.into_iter().map(MeasurementId).collect()),
        visible_to: match viewer {
            Viewer::Operator => None,
            Viewer::Account(account) => Some(Some(account)),
            Viewer::Public => Some(None),
        },
        kind,
        is_oneoff: params.flag("is_oneoff")?,
        status: statuses(params)?.map(|states| (states, now)),
        ..MeasurementFilter::default()
    };
    match params.get("type") {
        None => {}
        // Nobody here has such measurements.
        Some("wifi") => filter.ids = Some(Vec::new()),
        Some(name) => match name.to_ascii_lowercase().parse() {
            Ok(named) if kind.is_none_or(|kind| kind == named) => filter.kind = Some(named),
            Ok(_) => filter.ids = Some(Vec::new()),
            Err(()) => return Err(ApiError::parameter("type", "This is not a type of measurement.")),
        },
    }
    if let Some(number) = params.parsed("af")? {
        let family = Family::from_number(number);
        filter.af = Some(family.ok_or_else(|| ApiError::parameter("af", "The address family is 4 or 6."))?);
    }
    match params.flag("is_public")? {
        None => {}
        Some(true) => filter.visible_to = Some(None),
        Some(false) => return Err(ApiError::parameter("is_public", "This filter is not offered yet by this server.")),
    }
    if params.flag("mine")? == Some(true) {
        let account =
            viewer.account().ok_or_else(|| ApiError::forbidden("Authentication credentials were not provided."))?;
        filter.owner = Some(account);
    }
    if let Some(text) = params.get("search") {
        if text.len() > MAX_SEARCH {
            return Err(ApiError::parameter("search", format!("Enter at most {MAX_SEARCH} bytes.")));
        }
        filter.search = Some(text.to_owned());
    }
    Ok(filter)
}

/// The states that `status` or `status__in` name, by number or by name in any case.
fn statuses(params: &Params) -> Result<Option<Vec<Status>>, ApiError> {
    for parameter in ["status__in", "status"] {
        let Some(words) = params.csv(parameter) else { continue };
        let mut states = Vec::new();
        for word in words {
            let is = |number: u8, name: &str| word == number.to_string() || word.eq_ignore_ascii_case(name);
            match Status::ALL.into_iter().find(|status| is(status.number(), status.name())) {
                Some(status) => states.push(status),
                None if OTHER_STATES.iter().any(|(number, name)| is(*number, name)) => {}
                None => return Err(ApiError::parameter(parameter, "This is not a status.")),
            }
        }
        return Ok(Some(states));
    }
    Ok(None)
}

/// `GET measurements/{id}/`.
#[utoipa::path(get, path = "/api/v2/measurements/{id}/", tag = "measurements", params(("id" = u64, Path)), responses((status = 200, body = serde_json::Value)))]
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
    measurement_object::write(&api, viewer, &measurement, &selection, &here).await.map(Json)
}

/// A measurement that this viewer may know of.
pub(crate) async fn visible(api: &Api, viewer: Viewer, id: MeasurementId) -> Result<Measurement, ApiError> {
    let found = api.catalog.measurement(id).await?;
    found.filter(|measurement| viewer.sees_measurement(measurement)).ok_or_else(ApiError::not_found)
}

/// A measurement of this account: 404 when it may not know of it, 403 when it is another's.
async fn own(api: &Api, account: AccountId, id: MeasurementId) -> Result<Measurement, ApiError> {
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
    // In a task of its own, so that a client that goes away cannot part the commit from the news of it.
    let stopping = tokio::spawn(async move {
        let probes = api.catalog.stop_measurement(measurement.id, api.clock.now()).await?;
        if !probes.is_empty() {
            api.dispatch.orders_changed(&probes).await;
        }
        Ok::<_, ApiError>(StatusCode::NO_CONTENT)
    });
    stopping.await.map_err(|_| ApiError::internal())?
}

/// `PATCH measurements/{id}/`: another description; and a private measurement becomes public, never the other way round,
/// because others may have its results already. Fields that cannot be changed are problems, not ignored.
#[utoipa::path(patch, path = "/api/v2/measurements/{id}/", tag = "measurements", params(("id" = u64, Path)), request_body = serde_json::Value, responses((status = 200, body = serde_json::Value)))]
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
    measurement_object::write(&api, viewer, &changed, &Selection::read(&params), &here).await.map(Json)
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
        let names = body.as_object().into_iter().flat_map(|object| object.keys());
        for name in names.filter(|name| !matches!(name.as_str(), "description" | "is_public")) {
            fields.problem(name, "This field cannot be changed.");
        }
    }
    if problems.is_empty() { Ok(edit) } else { Err(problems) }
}
