//! `keys/`: an account's own keys.
//!
//! Keys are stored as digests, so the secret cannot be shown again. What stands here as `uuid` is a stable name of the key:
//! the UUID made of the first 16 bytes of its digest. It opens nothing.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use sonde_store::catalog::{ApiKey, Digest};
use utoipa_axum::routes;
use uuid::Uuid;

use crate::Api;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::here::Here;
use crate::paging::Paging;
use crate::params::Params;
use crate::router::Routes;
use crate::times::iso;

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(list));
}

/// What every key may do; there are no narrower keys yet.
const PERMISSIONS: [&str; 2] = ["measurements.create_measurement", "keys.list_keys"];

/// `GET keys/`.
#[utoipa::path(get, path = "/api/v2/keys/", tag = "keys", responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Caller(account): Caller,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let paging = Paging::read(&params)?;
    let keys = api.catalog.keys(account).await?;
    let total = keys.len() as u64;
    let results = paging.cut(keys).iter().map(object).collect();
    paging.envelope(total, results, &here).map(Json)
}

fn object(key: &ApiKey) -> Value {
    json!({
        "uuid": public_name(&key.digest),
        "valid_from": null,
        "valid_to": null,
        "enabled": key.enabled,
        "is_active": key.enabled,
        "created_at": iso(key.created_at),
        "label": key.label,
        "grants": PERMISSIONS.map(|permission| json!({ "permission": permission, "target": null })),
        "type": "key",
    })
}

/// The name of a key that may be shown.
fn public_name(digest: &Digest) -> String {
    let head = digest.first_chunk().copied().unwrap_or_default();
    Uuid::from_bytes(head).to_string()
}
