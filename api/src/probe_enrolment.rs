//! `probes/claim/`, `probes/pending/` and `probes/{id}/rebind/`, which Atlas has not: how a probe that waits becomes
//! somebody's, and how a probe whose key is lost gets the key of its new board.
//!
//! A claim code is a secret that the probe shows to whoever stands before it. Naming one counts as an attempt, for the account
//! and for the address, so that nobody finds one by trying.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use sonde_protocol::identity::{ClaimCode, ClaimCodeError};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::key::PublicKey;
use sonde_store::catalog::{Claimed, Probe, Rebound, Waiting};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::Api;
use crate::auth::Access;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::here::Here;
use crate::limits::Allowance;
use crate::paging::Paging;
use crate::params::Params;
use crate::path::Id;
use crate::permission::Permission;
use crate::probes::find;
use crate::query::PagesById;
use crate::reader::Reader;
use crate::router::Routes;
use crate::times::iso;

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(claim));
    routes.add(routes!(pending));
    routes.add(routes!(turn_away));
    routes.add(routes!(rebind));
}

/// A probe that waits to be let in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PendingProbe)]
struct PendingProbe {
    /// `PendingProbe`.
    r#type: &'static str,
    /// By which it is claimed, turned away, or put in another's place.
    claim_code: String,
    /// Its public key.
    key: String,
    /// The beginning of the key, as the probe shows it beside the code.
    fingerprint: String,
    /// The address that it was last seen at.
    address: String,
    /// Name and version of its software.
    software: String,
    /// Since when it waits with this code.
    since: String,
    /// When it was last seen.
    last_seen: String,
    /// When the code ends; a probe that still waits then gets another.
    expires_at: String,
}

impl PendingProbe {
    fn of(waiting: &Waiting) -> Self {
        Self {
            r#type: "PendingProbe",
            claim_code: waiting.code.to_string(),
            key: waiting.key.to_string(),
            fingerprint: waiting.key.short(),
            address: waiting.address.to_string(),
            software: waiting.software.clone(),
            since: iso(waiting.since),
            last_seen: iso(waiting.last_seen),
            expires_at: iso(waiting.expires),
        }
    }
}

/// What a claim gave.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ClaimedProbe)]
struct ClaimedProbe {
    /// The probe's number.
    id: u64,
    /// Its public key.
    key: String,
    /// The beginning of the key: compare it with what the probe shows.
    fingerprint: String,
    /// Which terms the account agreed to by claiming it; absent where it had agreed before.
    consent_version: Option<String>,
    /// When.
    consented_at: Option<String>,
}

impl ClaimedProbe {
    fn of(probe: &Probe, key: &PublicKey) -> Self {
        Self {
            id: probe.id.0,
            key: key.to_string(),
            fingerprint: key.short(),
            consent_version: probe.consent.as_ref().map(|consent| consent.version.clone()),
            consented_at: probe.consent.as_ref().map(|consent| iso(consent.at)),
        }
    }
}

/// The claim code of a body, and the key that its probe shows, if it is named.
fn read(body: &Value) -> Result<(ClaimCode, Option<PublicKey>), ApiError> {
    let mut problems = Vec::new();
    let mut read = (None, None);
    if let Some(mut fields) = Reader::new(body, String::new(), &mut problems) {
        match fields.value("code") {
            None => fields.required("code"),
            Some(_) => {
                if let Some(text) = fields.text::<32>("code") {
                    match text.parse() {
                        Ok(code) => read.0 = Some(code),
                        Err(ClaimCodeError) => fields.problem("code", format!("Not a claim code: {ClaimCodeError}.")),
                    }
                }
            }
        }
        if fields.value("key").is_some()
            && let Some(text) = fields.text::<64>("key")
        {
            match text.parse() {
                Ok(key) => read.1 = Some(key),
                Err(error) => fields.problem("key", format!("Not a key: {error}.")),
            }
        }
    }
    match read {
        (Some(code), key) if problems.is_empty() => Ok((code, key)),
        _ => Err(ApiError::body(problems)),
    }
}

fn unknown() -> ApiError {
    ApiError::body_at(
        "/code",
        "No probe waits for you with this code. A code ends after a day and is good once; the probe shows the present one.",
    )
}

/// `POST probes/claim/`: makes the probe that waits with this code the account's, and records that the account agrees to the
/// present terms. The probe is served at once. `key` may name the key that the probe shows: then no other is claimed.
#[utoipa::path(
    post, path = "/api/v2/probes/claim/", tag = "probes",
    request_body(content = serde_json::Value, example = json!({"code": "7KQM-X2HD"})),
    responses((status = 201, body = ClaimedProbe))
)]
async fn claim(
    State(api): State<Arc<Api>>,
    access: Access,
    allowance: Allowance,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<ClaimedProbe>), ApiError> {
    let account = access.may(Permission::UpdateProbe, None)?;
    let (code, key) = read(&body)?;
    allowance.guess(account)?;
    let consent = &api.config.accounts.consent_version;
    match api.catalog.claim(&code, key.as_ref(), account, consent, api.clock.now()).await? {
        Claimed::Yours(probe) => {
            tracing::info!(probe_id = %probe.id, %account, key = %probe.key.short(), "a probe is claimed");
            api.dispatch.key_admitted(&probe.key, probe.id).await;
            Ok((StatusCode::CREATED, Json(ClaimedProbe::of(&probe, &probe.key))))
        }
        Claimed::OtherKey => Err(ApiError::body_at("/key", "The probe that waits with this code has another key.")),
        Claimed::Unknown => Err(unknown()),
    }
}

/// `GET probes/pending/`: probes that came with a join token of the account which another probe had used before. They wait
/// until they are claimed, turned away, or given the place of an older one.
#[utoipa::path(get, path = "/api/v2/probes/pending/", tag = "probes", params(PagesById), responses((status = 200, body = serde_json::Value)))]
async fn pending(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let account = access.may(Permission::ListProbes, None)?;
    let paging = Paging::read(&params)?;
    let found = api.catalog.waiting_keys(Some(account), paging.slice(), api.clock.now()).await?;
    let results = found.items.iter().map(|waiting| json!(PendingProbe::of(waiting))).collect();
    paging.envelope(found.total, results, &here).map(Json)
}

/// `DELETE probes/pending/{code}/`: turns a probe away that waits for the account; it is not let in for 30 days.
#[utoipa::path(delete, path = "/api/v2/probes/pending/{code}/", tag = "probes", params(("code" = String, Path)), responses((status = 204)))]
async fn turn_away(
    State(api): State<Arc<Api>>,
    access: Access,
    allowance: Allowance,
    Path(code): Path<String>,
) -> Result<StatusCode, ApiError> {
    let account = access.may(Permission::UpdateProbe, None)?;
    let code = code.parse().map_err(|ClaimCodeError| ApiError::not_found())?;
    allowance.guess(account)?;
    match api.catalog.turn_away(&code, Some(account), api.clock.now()).await? {
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => Err(ApiError::not_found()),
    }
}

/// `POST probes/{id}/rebind/`: gives a probe of the account the key that waits with this code, as of a new board in the place
/// of a dead one. Number, history and tags stay; the old key is refused from then on.
#[utoipa::path(
    post, path = "/api/v2/probes/{id}/rebind/", tag = "probes", params(("id" = u64, Path)),
    request_body(content = serde_json::Value, example = json!({"code": "7KQM-X2HD"})),
    responses((status = 200, body = ClaimedProbe))
)]
async fn rebind(
    State(api): State<Arc<Api>>,
    access: Access,
    allowance: Allowance,
    Id(id): Id,
    JsonBody(body): JsonBody,
) -> Result<Json<ClaimedProbe>, ApiError> {
    let account = access.may(Permission::UpdateProbe, None)?;
    let probe = find(&api, ProbeId(id)).await?;
    if probe.owner != account {
        return Err(ApiError::forbidden("You do not have permission to perform this action."));
    }
    let (code, key) = read(&body)?;
    allowance.guess(account)?;
    match api.catalog.rebind(probe.id, &code, key.as_ref(), api.clock.now()).await? {
        Rebound::Done { key, emptied } => {
            tracing::info!(probe_id = %probe.id, %account, key = %key.short(), "a probe has the key of another board");
            for changed in emptied.into_iter().chain([probe.id]) {
                api.dispatch.key_replaced(changed).await;
            }
            api.dispatch.key_admitted(&key, probe.id).await;
            Ok(Json(ClaimedProbe::of(&probe, &key)))
        }
        Rebound::OtherKey => Err(ApiError::body_at("/key", "The probe that waits with this code has another key.")),
        Rebound::Unknown => Err(unknown()),
    }
}
