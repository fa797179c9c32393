//! `keys/`: an account's own keys, and what they may be allowed to do.
//!
//! Keys are stored as digests, so the secret can be shown once only: as the `uuid` of the answer to `POST`. Everywhere else
//! `uuid` is the key's public name, which opens nothing: the UUID made of the first 16 bytes of its digest. That answer has
//! it as `name`.
//!
//! A key makes, changes and removes only keys that may do no more than itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sonde_protocol::ids::MeasurementId;
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{ApiKey, Digest, Grant, MeasurementFilter};
use utoipa_axum::routes;
use uuid::Uuid;

use crate::Api;
use crate::auth::{self, Access};
use crate::body::JsonBody;
use crate::error::{ApiError, Problem};
use crate::here::Here;
use crate::paging::Paging;
use crate::params::Params;
use crate::path::Name;
use crate::permission::{self, Permission};
use crate::query::PagesById;
use crate::router::Routes;
use crate::times::{self, iso};

/// The most keys of an account: more than anybody tells apart, and what a list reads at once.
const MAX_KEYS: usize = 100;

/// The most grants of a key: every permission, and a good many measurements.
const MAX_GRANTS: usize = 200;

/// The longest label in bytes.
const MAX_LABEL: usize = 255;

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(list, make));
    routes.add(routes!(permissions));
    routes.add(routes!(targets));
    routes.add(routes!(show, change, remove));
}

/// `GET keys/`: the account's keys.
#[utoipa::path(get, path = "/api/v2/keys/", tag = "keys", params(PagesById), responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let account = access.may(Permission::ListKeys, None)?;
    let paging = Paging::read(&params)?;
    let keys = api.catalog.keys(account).await?;
    let (total, now) = (keys.len() as u64, api.clock.now());
    let results = paging.cut(keys).iter().map(|key| object(key, now)).collect();
    paging.envelope(total, results, &here).map(Json)
}

/// `POST keys/`: makes a key. `uuid` of the answer is the key, shown this once; `name` is what it is called elsewhere.
#[utoipa::path(post, path = "/api/v2/keys/", tag = "keys", request_body = serde_json::Value, responses((status = 201, body = serde_json::Value)))]
pub(crate) async fn make(
    State(api): State<Arc<Api>>,
    access: Access,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let account = access.may(Permission::CreateKey, None)?;
    let now = api.clock.now();
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| ApiError::internal())?;
    let secret = uuid::Builder::from_random_bytes(bytes).into_uuid();
    let blank = ApiKey {
        digest: auth::digest(secret),
        account,
        label: String::new(),
        created_at: now,
        enabled: true,
        valid_from: None,
        valid_to: None,
        grants: Some(Vec::new()),
    };
    let key = read(&body, blank).map_err(ApiError::body)?;
    within(access.key()?, &key)?;
    if api.catalog.keys(account).await?.len() >= MAX_KEYS {
        return Err(ApiError::body_at("", format!("An account has at most {MAX_KEYS} keys; remove one first.")));
    }
    api.catalog.add_key(&key).await?;
    let mut object = object(&key, now);
    if let Some(fields) = object.as_object_mut() {
        fields.insert("uuid".into(), secret.to_string().into());
        fields.insert("name".into(), public_name(&key.digest).into());
    }
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], Json(object)).into_response())
}

/// `GET keys/{uuid}/`: one key.
#[utoipa::path(get, path = "/api/v2/keys/{uuid}/", tag = "keys", params(("uuid" = String, Path)), responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    access: Access,
    Name(name): Name,
) -> Result<Json<Value>, ApiError> {
    access.may(Permission::GetKey, None)?;
    let key = find(&api, &access, &name).await?;
    Ok(Json(object(&key, api.clock.now())))
}

/// `PUT keys/{uuid}/`: changes the fields that are given.
#[utoipa::path(put, path = "/api/v2/keys/{uuid}/", tag = "keys", params(("uuid" = String, Path)), request_body = serde_json::Value, responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn change(
    State(api): State<Arc<Api>>,
    access: Access,
    Name(name): Name,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    access.may(Permission::UpdateKey, None)?;
    let old = find(&api, &access, &name).await?;
    within_grants(access.key()?, &old)?;
    let new = read(&body, old).map_err(ApiError::body)?;
    within(access.key()?, &new)?;
    match api.catalog.change_key(&new).await? {
        true => Ok(Json(object(&new, api.clock.now()))),
        false => Err(ApiError::not_found()),
    }
}

/// `DELETE keys/{uuid}/`: removes it; 204.
#[utoipa::path(delete, path = "/api/v2/keys/{uuid}/", tag = "keys", params(("uuid" = String, Path)), responses((status = 204)))]
pub(crate) async fn remove(
    State(api): State<Arc<Api>>,
    access: Access,
    Name(name): Name,
) -> Result<StatusCode, ApiError> {
    let account = access.may(Permission::DeleteKey, None)?;
    let key = find(&api, &access, &name).await?;
    within_grants(access.key()?, &key)?;
    match api.catalog.remove_key(account, &key.digest).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::not_found()),
    }
}

/// `GET keys/permissions/`: every permission there is.
#[utoipa::path(get, path = "/api/v2/keys/permissions/", tag = "keys", params(PagesById), responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn permissions(params: Params, here: Here) -> Result<Json<Value>, ApiError> {
    let paging = Paging::read(&params)?;
    let total = Permission::ALL.len() as u64;
    let part = paging.cut(Permission::ALL.to_vec());
    let results = part.iter().map(|permission| {
        json!({ "permission": permission.name(), "has_targets": permission.has_targets(), "type": "permission" })
    });
    paging.envelope(total, results.collect(), &here).map(Json)
}

/// `GET keys/permissions/{permission}/targets/`: the account's measurements, for which alone it may be granted.
#[utoipa::path(get, path = "/api/v2/keys/permissions/{permission}/targets/", tag = "keys", params(("permission" = String, Path), PagesById), responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn targets(
    State(api): State<Arc<Api>>,
    access: Access,
    Name(name): Name,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let permission = Permission::named(&name).ok_or_else(ApiError::not_found)?;
    let account = access.may(Permission::ListMeasurements, None)?;
    let paging = Paging::read(&params)?;
    if !permission.has_targets() {
        return paging.envelope(0, Vec::new(), &here).map(Json);
    }
    let filter =
        MeasurementFilter { owner: Some(account), visible_to: Some(Some(account)), ..MeasurementFilter::default() };
    let found = api.catalog.measurements(&filter, paging.slice()).await?;
    let results = found.items.iter().map(|one| json!({ "type": "measurement", "id": one.id.0 })).collect();
    paging.envelope(found.total, results, &here).map(Json)
}

/// The account's key of this public name.
async fn find(api: &Api, access: &Access, name: &str) -> Result<ApiKey, ApiError> {
    let keys = api.catalog.keys(access.key()?.account).await?;
    keys.into_iter().find(|key| public_name(&key.digest) == name.to_ascii_lowercase()).ok_or_else(ApiError::not_found)
}

fn within_grants(holder: &ApiKey, key: &ApiKey) -> Result<(), ApiError> {
    if permission::covers(holder, key.grants.as_deref()) {
        return Ok(());
    }
    Err(ApiError::forbidden("The provided API key may do less than that key, and so cannot give or change it."))
}

/// Refuses what would make a key reach further than the one that makes it: in what it may do, or in time.
fn within(holder: &ApiKey, key: &ApiKey) -> Result<(), ApiError> {
    within_grants(holder, key)?;
    match (holder.valid_to, key.valid_to) {
        (Some(end), to) if to.is_none_or(|to| to > end) => {
            let detail = format!("This must not be later than {}, the end of the key that asks.", iso(end));
            Err(ApiError::body_at("/valid_to", detail))
        }
        _ => Ok(()),
    }
}

/// The key with the fields that a body gives. Unknown fields are ignored as everywhere.
fn read(body: &Value, mut key: ApiKey) -> Result<ApiKey, Vec<Problem>> {
    let Some(fields) = body.as_object() else { return Err(vec![Problem::at("", "This must be an object.")]) };
    let mut problems = Vec::new();
    match fields.get("label") {
        None => {}
        Some(Value::Null) => key.label = String::new(),
        Some(Value::String(label)) if label.len() <= MAX_LABEL => key.label.clone_from(label),
        Some(_) => problems.push(Problem::at("/label", format!("Enter a text of at most {MAX_LABEL} bytes."))),
    }
    match fields.get("enabled") {
        None | Some(Value::Null) => {}
        Some(Value::Bool(enabled)) => key.enabled = *enabled,
        Some(_) => problems.push(Problem::at("/enabled", "Enter true or false.")),
    }
    for (name, place) in [("valid_from", &mut key.valid_from), ("valid_to", &mut key.valid_to)] {
        match fields.get(name) {
            None => {}
            Some(Value::Null) => *place = None,
            Some(value) => match times::read(value) {
                Some(at) => *place = Some(at),
                None => problems.push(Problem::at(format!("/{name}"), "Enter a time: unix seconds or ISO 8601.")),
            },
        }
    }
    if key.valid_from.zip(key.valid_to).is_some_and(|(from, to)| from >= to) {
        problems.push(Problem::at("/valid_to", "This must be later than valid_from."));
    }
    match fields.get("grants") {
        // A new key starts without any, so that nobody makes a master key by leaving something out.
        None => {}
        Some(Value::Array(grants)) if grants.len() <= MAX_GRANTS => {
            let read = grants.iter().enumerate().filter_map(|(index, value)| grant(value, index, &mut problems));
            key.grants = Some(read.collect());
        }
        Some(_) => problems.push(Problem::at("/grants", format!("Enter a list of at most {MAX_GRANTS} grants."))),
    }
    if problems.is_empty() { Ok(key) } else { Err(problems) }
}

fn grant(value: &Value, index: usize, problems: &mut Vec<Problem>) -> Option<Grant> {
    let named = value.get("permission").and_then(Value::as_str).and_then(Permission::named);
    let Some(permission) = named else {
        problems.push(Problem::at(format!("/grants/{index}/permission"), "This is not one of keys/permissions/."));
        return None;
    };
    let measurement = match value.get("target") {
        None | Some(Value::Null) => None,
        Some(target) => {
            let is_measurement = target.get("type").and_then(Value::as_str) == Some("measurement");
            let id = target.get("id").and_then(Value::as_u64).filter(|id| i64::try_from(*id).is_ok());
            let Some(id) = id.filter(|_| is_measurement && permission.has_targets()) else {
                let detail =
                    "Enter null, or where the permission has targets {\"type\": \"measurement\", \"id\": number}.";
                problems.push(Problem::at(format!("/grants/{index}/target"), detail));
                return None;
            };
            Some(MeasurementId(id))
        }
    };
    Some(Grant { permission: permission.name().into(), measurement })
}

fn object(key: &ApiKey, now: UnixNanos) -> Value {
    let all = || Permission::ALL.map(|one| json!({ "permission": one.name(), "target": null })).to_vec();
    let grants = key.grants.as_ref().map_or_else(all, |grants| {
        let one = |grant: &Grant| {
            let target = grant.measurement.map(|id| json!({ "type": "measurement", "id": id.0 }));
            json!({ "permission": grant.permission, "target": target })
        };
        grants.iter().map(one).collect()
    });
    json!({
        "uuid": public_name(&key.digest),
        "valid_from": key.valid_from.map(iso),
        "valid_to": key.valid_to.map(iso),
        "enabled": key.enabled,
        "is_active": auth::usable(key, now).is_ok(),
        "created_at": iso(key.created_at),
        "label": key.label,
        "grants": grants,
        "type": "key",
    })
}

/// The name of a key that may be shown.
fn public_name(digest: &Digest) -> String {
    let head = digest.first_chunk().copied().unwrap_or_default();
    Uuid::from_bytes(head).to_string()
}
