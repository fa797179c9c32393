//! Who is calling: the API key, as `Authorization: Key <uuid>` or `?key=<uuid>`. Keys are kept as digests only, and are
//! never logged.
//!
//! A handler that takes [`Access`] asks it for the permission that it needs.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use sonde_protocol::ids::{AccountId, MeasurementId};
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{ApiKey, Digest};
use sonde_store::view::Viewer;
use uuid::Uuid;

use crate::Api;
use crate::error::ApiError;
use crate::params::Params;
use crate::permission::{self, Permission};

const NO_KEY: &str = "Authentication credentials were not provided.";

/// The key that was sent, if one was. A key that is no good is refused, not ignored.
#[derive(Debug, Clone)]
pub(crate) struct Access(Option<ApiKey>);

impl Access {
    /// The account, if the key may do this with this measurement (with all of them when none is named).
    pub fn may(&self, permission: Permission, measurement: Option<MeasurementId>) -> Result<AccountId, ApiError> {
        let key = self.key()?;
        if permission::may(key, permission, measurement) {
            return Ok(key.account);
        }
        let name = permission.name();
        Err(ApiError::forbidden(&format!("The provided API key does not have the permission {name} for this.")))
    }

    /// Who looks: the account, if the key may do this, else the public.
    pub fn viewer(&self, permission: Permission, measurement: Option<MeasurementId>) -> Viewer {
        match &self.0 {
            Some(key) if permission::may(key, permission, measurement) => Viewer::Account(key.account),
            _ => Viewer::Public,
        }
    }

    /// The key; refused without one.
    pub fn key(&self) -> Result<&ApiKey, ApiError> {
        self.0.as_ref().ok_or_else(|| ApiError::forbidden(NO_KEY))
    }
}

impl FromRequestParts<Arc<Api>> for Access {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let Some(secret) = secret(parts).await? else { return Ok(Access(None)) };
        let Some(key) = api.catalog.key(&digest(secret)).await? else {
            return Err(ApiError::forbidden("The provided API key does not exist"));
        };
        usable(&key, api.clock.now()).map_err(ApiError::forbidden)?;
        Ok(Access(Some(key)))
    }
}

/// Can the key be used now? If not, why.
pub(crate) fn usable(key: &ApiKey, now: UnixNanos) -> Result<(), &'static str> {
    if !key.enabled {
        return Err("The provided API key is disabled");
    }
    if key.valid_from.is_some_and(|from| now < from) {
        return Err("The provided API key is not valid yet");
    }
    if key.valid_to.is_some_and(|to| now >= to) {
        return Err("The provided API key has expired");
    }
    Ok(())
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
