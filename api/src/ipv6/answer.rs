//! How sums are answered: as JSON or a table, to be kept by caches, and remembered here until a vote changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::{Extension, FromRequestParts};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use sonde_protocol::time::UnixNanos;
use sonde_store::reachability::Hour;

use super::cell::CellObject;
use super::span::Span;
use crate::Api;
use crate::error::ApiError;
use crate::etag;
use crate::here::Here;
use crate::params::Params;

/// How many answers are remembered before all are forgotten, and how long in bytes each of them may be: sixteen megabytes in all.
const REMEMBERED: usize = 64;
const REMEMBERED_BYTES: usize = 256 * 1024;

/// For how many seconds an answer is good, and for how many more it may be shown while a newer one is fetched.
const FRESH: &str = "public, max-age=60, stale-while-revalidate=300";

/// The same of days that are over.
const FRESH_LONG: &str = "public, max-age=86400, stale-while-revalidate=300";

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Csv,
}

impl Format {
    /// Reads `format`.
    pub fn read(params: &Params) -> Result<Self, ApiError> {
        match params.get("format") {
            None | Some("json") => Ok(Self::Json),
            Some("csv") => Ok(Self::Csv),
            Some(_) => Err(ApiError::parameter("format", "Formats are json and csv.")),
        }
    }
}

/// What an answer says.
#[derive(Debug, Clone)]
pub(super) struct Body {
    content_type: &'static str,
    bytes: Bytes,
    /// It is about days that are over.
    is_over: bool,
}

impl Body {
    /// An object.
    pub fn json(value: &Value) -> Self {
        Self { content_type: "application/json", bytes: value.to_string().into(), is_over: false }
    }

    /// A table (RFC 4180). No value has a comma or a quotation mark: they are numbers, and words of ours.
    pub fn csv(columns: &[&str], rows: impl IntoIterator<Item = (Vec<String>, CellObject)>) -> Self {
        let mut text = [columns, &CellObject::COLUMNS].concat().join(",") + "\r\n";
        for (names, cell) in rows {
            text += &[names, cell.values()].concat().join(",");
            text += "\r\n";
        }
        Self { content_type: "text/csv; charset=utf-8", bytes: text.into(), is_over: false }
    }

    /// Text in Prometheus's form.
    pub fn metrics(text: String) -> Self {
        Self { content_type: "text/plain; version=0.0.4; charset=utf-8", bytes: text.into(), is_over: false }
    }

    /// It is about this time.
    pub fn about(self, span: Span, now: UnixNanos) -> Self {
        Self { is_over: span.is_over(now), ..self }
    }
}

/// Answers that were made already, by their address, each with the tag of what it was made of.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<HashMap<String, (String, Body)>>);

impl Memory {
    fn find(&self, url: &str, tag: &str) -> Option<Body> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(url).filter(|(of, _)| of == tag).map(|(_, body)| body.clone())
    }

    fn keep(&self, url: String, tag: &str, body: &Body) {
        if body.bytes.len() > REMEMBERED_BYTES || url.len() > 1024 {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(url, (tag.to_owned(), body.clone()));
    }
}

/// A request for sums.
pub(super) struct Asked {
    params: Params,
    here: Here,
    headers: HeaderMap,
    memory: Arc<Memory>,
}

impl FromRequestParts<Arc<Api>> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let Ok(params) = Params::from_request_parts(parts, api).await;
        let Ok(here) = Here::from_request_parts(parts, api).await;
        let memory = Extension::<Arc<Memory>>::from_request_parts(parts, api).await;
        let Extension(memory) = memory.map_err(|_| ApiError::internal())?;
        Ok(Self { params, here, headers: parts.headers.clone(), memory })
    }
}

impl Asked {
    /// Where it was asked.
    pub fn here(&self) -> &Here {
        &self.here
    }

    /// Answers with what `make` says of the query, unless whoever asks has it, or it was made before and is still true.
    pub async fn answer(
        &self,
        api: &Api,
        make: impl AsyncFnOnce(&Params) -> Result<Body, ApiError>,
    ) -> Result<Response, ApiError> {
        let (state, now) = (api.reachability.state().await?, api.clock.now());
        // What an answer says depends on the votes, on the hour, on how networks are called, and on this program.
        let (version, names) = (env!("CARGO_PKG_VERSION"), api.places.names_version());
        let tag = format!("\"{:x}-{}-{}-{names:x}-{version}\"", state.epoch, state.revision, Hour::of(now).0);
        if etag::is_known(&self.headers, &tag) {
            // Only what exists has a tag, and a query that is wrong never had one.
            return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag.as_str()), (CACHE_CONTROL, FRESH)]).into_response());
        }
        let url = self.here.url();
        let body = match self.memory.find(&url, &tag) {
            Some(body) => body,
            None => {
                let body = make(&self.params).await?;
                self.memory.keep(url, &tag, &body);
                body
            }
        };
        let fresh = if body.is_over { FRESH_LONG } else { FRESH };
        let headers = [(CONTENT_TYPE, body.content_type), (ETAG, tag.as_str()), (CACHE_CONTROL, fresh)];
        Ok((headers, body.bytes).into_response())
    }
}
