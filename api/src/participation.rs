//! `measurements/{id}/participation-requests/`: probes join a measurement that is there already, or leave it. What the
//! ones that left have measured stays.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_store::catalog::{
    Change, Checked, Measurement, NewMeasurement, NewParticipationRequest, ParticipationRequest, Status, Usage,
};
use sonde_store::view::Viewer;
use utoipa_axum::routes;

use crate::Api;
use crate::admission::{self, Priced};
use crate::auth::Access;
use crate::body::JsonBody;
use crate::datetimes::Datetimes;
use crate::error::{ApiError, Problem};
use crate::here::Here;
use crate::measurements::{own, visible};
use crate::once::{self, IdempotencyKey};
use crate::paging::Paging;
use crate::params::{Params, parse_id};
use crate::path::Id;
use crate::permission::Permission;
use crate::query::{Dated, DatedPages};
use crate::router::{ErrorBody, Routes};
use crate::sources::{self, MAX_PROBES, Source};

/// The most requests in one body, as many as a measurement has sources.
const MAX_REQUESTS: usize = 100;

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(list, change));
    routes.add(routes!(list_of_source));
    routes.add(routes!(show));
}

/// `GET measurements/{id}/participation-requests/`: what was asked of whom.
#[utoipa::path(get, path = "/api/v2/measurements/{id}/participation-requests/", tag = "measurements",
    params(("id" = u64, Path), DatedPages),
    responses((status = 200, body = serde_json::Value)))]
async fn list(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let viewer = access.viewer(Permission::GetMeasurement, Some(MeasurementId(id)));
    page(&api, viewer, MeasurementId(id), None, &params, &here).await
}

/// `GET measurements/{id}/participation-requests/{source}/`: those of one kind of source, such as `area` or `probes`.
#[utoipa::path(get, path = "/api/v2/measurements/{id}/participation-requests/{source}/", tag = "measurements",
    params(("id" = u64, Path), ("source" = String, Path), DatedPages),
    responses((status = 200, body = serde_json::Value)))]
async fn list_of_source(
    State(api): State<Arc<Api>>,
    access: Access,
    Path((id, source)): Path<(String, String)>,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let viewer = access.viewer(Permission::GetMeasurement, parse_id(&id).map(MeasurementId));
    let id = parse_id(&id).ok_or_else(ApiError::not_found)?;
    page(&api, viewer, MeasurementId(id), Some(&source), &params, &here).await
}

async fn page(
    api: &Api,
    viewer: Viewer,
    id: MeasurementId,
    source: Option<&str>,
    params: &Params,
    here: &Here,
) -> Result<Json<Value>, ApiError> {
    visible(api, viewer, id).await?;
    let (paging, datetimes) = (Paging::read(params)?, Datetimes::read(params)?);
    let found = api.catalog.participation_requests(id, source, paging.slice()).await?;
    let results = found.items.iter().map(|request| write(request, datetimes, here)).collect();
    paging.envelope(found.total, results, here).map(Json)
}

/// `GET participation-requests/{id}/`: one request.
#[utoipa::path(get, path = "/api/v2/participation-requests/{id}/", tag = "measurements",
    params(("id" = u64, Path), Dated),
    responses((status = 200, body = serde_json::Value)))]
async fn show(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let viewer = access.viewer(Permission::GetMeasurement, None);
    let request = api.catalog.participation_request(id).await?.ok_or_else(ApiError::not_found)?;
    visible(&api, viewer, request.measurement).await?;
    Ok(Json(write(&request, Datetimes::read(&params)?, &here)))
}

/// A request as JSON.
pub(crate) fn write(request: &ParticipationRequest, datetimes: Datetimes, here: &Here) -> Value {
    let (asked, measurement) = (&request.asked, request.measurement);
    let url = here.api(&format!("participation-requests/{}/", request.id));
    let mut value = json!({
        "id": request.id,
        "self": url,
        "created_at": request.created_at.as_secs(),
        "action": if asked.removes { "remove" } else { "add" },
        "requested": asked.requested,
        "type": asked.source,
        "value": asked.value,
        "tags_include": asked.tags_include,
        "tags_exclude": asked.tags_exclude,
        "measurement": here.api(&format!("measurements/{measurement}/")),
        "measurement_id": measurement,
        // Who came and went is told by the measurement.
        "logs": here.api(&format!("measurements/{measurement}/?optional_fields=participant_logs")),
    });
    if let Some(object) = value.as_object_mut() {
        datetimes.apply(object, &["created_at"]);
    }
    value
}

/// `POST measurements/{id}/participation-requests/`: an array of requests, all of them carried out or none; once, if it has
/// an `Idempotency-Key`.
#[utoipa::path(post, path = "/api/v2/measurements/{id}/participation-requests/", tag = "measurements",
    params(("id" = u64, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = Vec<serde_json::Value>,
    responses((status = 201, body = serde_json::Value), (status = 422, body = ErrorBody, description = "The Idempotency-Key was sent before with another request")))]
async fn change(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    key: IdempotencyKey,
    JsonBody(body): JsonBody,
) -> Result<(axum::http::StatusCode, Json<Value>), ApiError> {
    let account = access.may(Permission::UpdateMeasurement, Some(MeasurementId(id)))?;
    let measurement = own(&api, account, MeasurementId(id)).await?;
    let once = key.once(account, &body)?;
    let answer = |ids: Vec<u64>| (axum::http::StatusCode::CREATED, Json(json!({ "request_ids": ids })));
    if let Some(ids) = once::before(&api, once.as_ref()).await? {
        return Ok(answer(ids));
    }
    let now = api.clock.now();
    let asked = read(body)?;
    if matches!(measurement.status(now).0, Status::Stopped | Status::ForcedToStop) {
        return Err(ApiError::body_at("", "The measurement is over."));
    }
    let joining: Vec<_> = asked.iter().filter(|one| !one.removes).map(|one| &one.source).collect();
    sources::check_seen(&api, &access, joining).await?;
    let (join, leave) = choose(&api, &measurement, &asked, Viewer::Account(account)).await?;
    let records: Vec<NewParticipationRequest> =
        asked.iter().map(|one| NewParticipationRequest { removes: one.removes, ..one.source.request() }).collect();
    let priced = Priced::joining(&api, NewMeasurement { probes: join.clone(), ..measurement.asked }).await?;
    admission::open_ledger(&api, account).await?;
    // In a task of its own, so that a client that goes away cannot part the commit from the news of it.
    let changing = tokio::spawn(async move {
        let change = Change { requests: &records, join: &join, leave: &leave, most: MAX_PROBES };
        let check = |usage: &Usage| priced.against(&api, usage);
        let Some(as_new) = priced.new.first() else { return Err(ApiError::internal()) };
        let (catalog, id) = (&api.catalog, measurement.id);
        let done = catalog.change_checked_participation(id, change, as_new, &check, once.as_ref(), now).await?;
        let (ids, probes) = match done {
            Checked::Done(Some(changed)) => changed,
            Checked::Done(None) => {
                return Err(ApiError::body_at("", format!("A measurement has at most {MAX_PROBES} probes.")));
            }
            Checked::Refused(reasons) => return Err(admission::refusal(reasons)),
            Checked::OtherRequest => return Err(once::other_request()),
        };
        if !probes.is_empty() {
            api.dispatch.orders_changed(&probes).await;
        }
        Ok::<_, ApiError>(ids)
    });
    Ok(answer(changing.await.map_err(|_| ApiError::internal())??))
}

/// One request of a body.
struct Asked {
    removes: bool,
    source: Source,
}

/// Reads the array, or a single request that stands alone.
fn read(body: Value) -> Result<Vec<Asked>, ApiError> {
    let mut items = match body {
        Value::Array(items) => items,
        one @ Value::Object(_) => vec![one],
        _ => return Err(ApiError::body_at("", "A list of requests is expected.")),
    };
    if items.is_empty() || items.len() > MAX_REQUESTS {
        return Err(ApiError::body_at("", format!("Between 1 and {MAX_REQUESTS} requests are expected.")));
    }
    let mut problems = Vec::new();
    let mut actions = Vec::new();
    for (index, item) in items.iter_mut().enumerate() {
        let word = item.get("action").and_then(Value::as_str).map(str::to_ascii_lowercase);
        let removes = match word.as_deref() {
            Some("add") => false,
            Some("remove") => true,
            _ => {
                problems.push(Problem::at(format!("/{index}/action"), "Enter add or remove."));
                continue;
            }
        };
        let is_probes =
            item.get("type").and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("probes"));
        if removes && !is_probes {
            problems.push(Problem::at(format!("/{index}/type"), "Only probes can be removed, by their numbers."));
        }
        actions.push(removes);
        // goat's names of the tags.
        if let Some(object) = item.as_object_mut() {
            for (old, new) in [("include", "tags_include"), ("exclude", "tags_exclude")] {
                if let Some(tags) = object.remove(old) {
                    object.insert(new.to_owned(), tags);
                }
            }
        }
    }
    let (sources, more) = sources::read_each(&items);
    problems.extend(more);
    if !problems.is_empty() {
        return Err(ApiError::body(problems));
    }
    Ok(actions.into_iter().zip(sources).map(|(removes, source)| Asked { removes, source }).collect())
}

/// Who joins, and who leaves.
async fn choose(
    api: &Api,
    measurement: &Measurement,
    asked: &[Asked],
    viewer: Viewer,
) -> Result<(Vec<ProbeId>, Vec<ProbeId>), ApiError> {
    let parts = api.catalog.participants(measurement.id).await?;
    // Whoever is there, and of a one-off whoever was there, is no candidate again.
    let stays = |probe: &ProbeId| {
        parts.iter().any(|part| part.probe == *probe && (part.left_at.is_none() || measurement.asked.is_oneoff))
    };
    let seed = sources::new_seed(api.clock.now());
    let (mut join, mut leave): (Vec<ProbeId>, Vec<ProbeId>) = (Vec::new(), Vec::new());
    for one in asked {
        if one.removes {
            let named = one.source.named().iter().filter(|probe| parts.iter().any(|part| part.probe == **probe));
            leave.extend(named.take(one.source.requested as usize));
            continue;
        }
        let taken = |probe: &ProbeId| stays(probe) || join.contains(probe);
        let what = (measurement.asked.af, measurement.asked.spec.kind());
        let found = sources::choose_others(api, viewer, &one.source, what, seed, taken).await?;
        join.extend(found);
    }
    Ok((join, leave))
}
