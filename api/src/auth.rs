//! Who is calling: the API key, as `Authorization: Key <uuid>` or `?key=<uuid>`. Keys are kept as digests only, and are
//! never logged.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use sonde_protocol::ids::AccountId;
use sonde_store::catalog::Digest;
use sonde_store::view::Viewer;
use uuid::Uuid;

use crate::Api;
use crate::error::ApiError;
use crate::params::Params;

/// Whoever is looking: an account when a key was sent, else the public. A key that is no good is refused, not ignored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who(pub Viewer);

/// An account; without a key the request is refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller(pub AccountId);

impl FromRequestParts<Arc<Api>> for Who {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let Some(secret) = secret(parts).await? else { return Ok(Who(Viewer::Public)) };
        match api.catalog.key(&digest(secret)).await? {
            Some(key) if key.enabled => Ok(Who(Viewer::Account(key.account))),
            Some(_) => Err(ApiError::forbidden("The provided API key is disabled")),
            None => Err(ApiError::forbidden("The provided API key does not exist")),
        }
    }
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let Who(viewer) = Who::from_request_parts(parts, api).await?;
        viewer.account().map(Caller).ok_or_else(|| ApiError::forbidden("Authentication credentials were not provided."))
    }
}

/// The key that was sent. The header goes before the parameter.
async fn secret(parts: &mut Parts) -> Result<Option<Uuid>, ApiError> {
    if let Some(header) = parts.headers.get(AUTHORIZATION) {
        let key = header.to_str().ok().and_then(|text| text.trim().split_once(' '));
        let key = key.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("key"));
        let key = key.and_then(|(_, key)| Uuid::try_parse(key.trim()).ok());
        return key
            .map(Some)
            .ok_or_else(|| ApiError::forbidden("The Authorization header is not of the form: Key <uuid>"));
    }
    let Ok(params) = Params::from_request_parts(parts, &()).await;
    match params.get("key") {
        None => Ok(None),
        Some(key) => match Uuid::try_parse(key) {
            Ok(key) => Ok(Some(key)),
            Err(_) => Err(ApiError::forbidden("The provided API key does not exist")),
        },
    }
}

/// What the catalog knows a key by: SHA-256 of the 16 bytes of its UUID. The key is random in 122 bits, so a plain hash
/// is as good as a slow one.
pub fn digest(key: Uuid) -> Digest {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    let mut bytes = Digest::default();
    bytes.copy_from_slice(digest.as_ref());
    bytes
}
