//! Who is calling: the API key, as `Authorization: Key <uuid>` or `?key=<uuid>`, or else the session of a cookie
//! (`web_session`). Keys are kept as digests only, and are never logged. A session may do everything that its account may.
//!
//! A handler that takes [`Access`] asks it for the permission that it needs. What is between a person and their account
//! (password, sessions, invitations) asks for [`Access::session`], which no key is.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use sonde_protocol::ids::{AccountId, MeasurementId};
use sonde_protocol::time::UnixNanos;
use sonde_store::StoreError;
use sonde_store::catalog::{ApiKey, Digest, WebSession};
use sonde_store::view::Viewer;
use uuid::Uuid;

use crate::Api;
use crate::error::ApiError;
use crate::limits::Allowance;
use crate::params::Params;
use crate::permission::{self, Permission};
use crate::web_session::{self, Own};

const NO_KEY: &str = "Authentication credentials were not provided.";

/// The key or the session that was sent, if one was. A key that is no good is refused, not ignored.
#[derive(Debug, Clone)]
pub(crate) struct Access(Option<Held>);

/// What the caller holds.
#[derive(Debug, Clone)]
struct Held {
    /// The key; for a session, one that stands for it and may do everything.
    key: ApiKey,
    session: Option<Own>,
}

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
            Some(Held { key, .. }) if permission::may(key, permission, measurement) => Viewer::Account(key.account),
            _ => Viewer::Public,
        }
    }

    /// The key, or what stands for a session; refused without one.
    pub fn key(&self) -> Result<&ApiKey, ApiError> {
        self.0.as_ref().map(|held| &held.key).ok_or_else(|| ApiError::forbidden(NO_KEY))
    }

    /// The session; refused without one.
    pub fn session(&self) -> Result<&Own, ApiError> {
        self.key()?;
        let session = self.0.as_ref().and_then(|held| held.session.as_ref());
        session.ok_or_else(|| ApiError::forbidden("This is for people who are logged in, not for API keys."))
    }
}

impl FromRequestParts<Arc<Api>> for Access {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let held = match secret(parts).await? {
            Some(secret) => Held { key: find_key(api, secret).await?, session: None },
            None => match web_session::find(parts, api).await? {
                Some(own) => Held { key: stand_in(&own.session), session: Some(own) },
                None => return Ok(Access(None)),
            },
        };
        Allowance::from_request_parts(parts, api).await?.account(held.key.account)?;
        Ok(Access(Some(held)))
    }
}

async fn find_key(api: &Api, secret: Uuid) -> Result<ApiKey, ApiError> {
    let Some(key) = api.catalog.key(&digest(secret)).await? else {
        return Err(ApiError::forbidden("The provided API key does not exist"));
    };
    usable(&key, api.clock.now()).map_err(ApiError::forbidden)?;
    Ok(key)
}

/// What a caller came with ([`Access::key`]), as it is now; `None` when it is no good any more.
pub(crate) async fn again(api: &Api, held: &ApiKey) -> Result<Option<ApiKey>, StoreError> {
    let now = api.clock.now();
    if let Some(key) = api.catalog.key(&held.digest).await? {
        return Ok(Some(key).filter(|key| usable(key, now).is_ok()));
    }
    let session = api.catalog.web_session(&held.digest, now).await?;
    Ok(session.as_ref().map(stand_in))
}

/// A key that may do what the account may, with no end: a key that a session makes outlives it.
fn stand_in(session: &WebSession) -> ApiKey {
    ApiKey {
        digest: session.token,
        account: session.account,
        label: String::new(),
        created_at: session.created_at,
        enabled: true,
        valid_from: None,
        valid_to: None,
        grants: None,
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
