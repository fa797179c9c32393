//! `Idempotency-Key`: a client that does not know whether its request arrived sends it again with the same key, and it
//! takes effect once. What it made is remembered in the same commit, for a day.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use ring::digest::{SHA256, digest};
use serde_json::Value;
use sonde_protocol::ids::AccountId;
use sonde_store::catalog::{Digest, Once, Remembered};

use crate::Api;
use crate::error::ApiError;

const HEADER: &str = "idempotency-key";

/// The longest key in bytes.
const MAX_KEY: usize = 255;

/// The key of a request, if it has one, and what the request is about.
#[derive(Debug, Clone)]
pub(crate) struct IdempotencyKey {
    key: Result<Option<Digest>, &'static str>,
    path: String,
}

impl FromRequestParts<Arc<Api>> for IdempotencyKey {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Infallible> {
        let OriginalUri(uri) = OriginalUri::from_request_parts(parts, api).await?;
        Ok(Self { key: read(&parts.headers), path: uri.path().trim_end_matches('/').to_owned() })
    }
}

fn read(headers: &HeaderMap) -> Result<Option<Digest>, &'static str> {
    let mut given = headers.get_all(HEADER).iter();
    let Some(key) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err("One Idempotency-Key is expected.");
    }
    let key = key.as_bytes();
    if key.is_empty() || key.len() > MAX_KEY || !key.iter().all(u8::is_ascii_graphic) {
        return Err("An Idempotency-Key has 1 to 255 visible ASCII characters.");
    }
    Ok(Some(sha256(key)))
}

impl IdempotencyKey {
    /// The request of an account with this body; none when it has no key.
    pub fn once(&self, account: AccountId, body: &Value) -> Result<Option<Once>, ApiError> {
        let key = self.key.map_err(ApiError::bad_request)?;
        // A JSON object is written in the order of its keys, so that only its meaning counts.
        let request = sha256(format!("{}\n{body}", self.path).as_bytes());
        Ok(key.map(|key| Once { account, key, request }))
    }
}

/// What the request made when it came before.
pub(crate) async fn before(api: &Api, once: Option<&Once>) -> Result<Option<Vec<u64>>, ApiError> {
    let Some(once) = once else { return Ok(None) };
    match api.catalog.remembered(once, api.clock.now()).await? {
        Some(Remembered::Same(made)) => Ok(Some(made)),
        Some(Remembered::Other) => Err(other_request()),
        None => Ok(None),
    }
}

/// The refusal of a key that came before with something else.
pub(crate) fn other_request() -> ApiError {
    ApiError::unprocessable("This Idempotency-Key was sent before with another request.")
}

fn sha256(bytes: &[u8]) -> Digest {
    let mut out = Digest::default();
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}
