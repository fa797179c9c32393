//! What browsers load beside a page: styles, scripts, the icon. The program carries them, compressed when it was built.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};

use crate::page::Problem;
use crate::site::App;

/// A digest of all assets; part of their addresses, so that a change of any gives all of them new ones.
const VERSION: &str = env!("SONDE_WEB_VERSION");

/// One file of `assets/`.
struct Asset {
    /// Its path there.
    name: &'static str,
    plain: &'static [u8],
    gzip: Option<&'static [u8]>,
    brotli: Option<&'static [u8]>,
}

/// Made by `build.rs`, in the order of names.
static TABLE: &[Asset] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// Where assets come from.
#[derive(Debug)]
pub(crate) struct Assets {
    /// Read from here, each time anew, while they are worked on.
    folder: Option<PathBuf>,
}

impl Assets {
    /// From the program, or from a folder.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }
}

/// The address of an asset. One that does not exist is a mistake of ours, which a test of all templates finds.
pub(crate) fn url(name: &str) -> String {
    debug_assert!(find(name).is_some(), "there is no asset {name}");
    format!("/assets/{VERSION}/{name}")
}

/// `GET /assets/{version}/{name}`.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    Path((version, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let missing = || Problem::not_found("There is no such file.");
    let asset = find(&name).ok_or_else(missing)?;
    let kind = [(CONTENT_TYPE, content_type(asset.name))];
    if let Some(folder) = &app.assets.folder {
        // Only names of the table, so that no path leads out of the folder. It may block: this is for whoever works on assets.
        let bytes = std::fs::read(folder.join(asset.name)).map_err(|_| missing())?;
        return Ok((kind, [(CACHE_CONTROL, "no-store")], bytes).into_response());
    }
    // A page of the version before asks for what it knew, and gets what there is.
    let keep = if version == VERSION { "public, max-age=31536000, immutable" } else { "no-cache" };
    let (bytes, encoding) = negotiate(asset, &headers);
    let encoding = encoding.map(|name| [(CONTENT_ENCODING, HeaderValue::from_static(name))]);
    let fixed: [(HeaderName, &str); 2] = [(CACHE_CONTROL, keep), (VARY, "accept-encoding")];
    Ok((kind, fixed, encoding.into_iter().flatten().collect::<HeaderMap>(), bytes).into_response())
}

fn find(name: &str) -> Option<&'static Asset> {
    let at = TABLE.binary_search_by(|asset| asset.name.cmp(name)).ok()?;
    TABLE.get(at)
}

fn negotiate(asset: &Asset, headers: &HeaderMap) -> (&'static [u8], Option<&'static str>) {
    let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let accepted: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    let takes = |name: &str| {
        let with_weight = accepted.iter().filter_map(|entry| Some((entry.split(';').next()?.trim(), *entry)));
        with_weight.into_iter().any(|(known, entry)| known.eq_ignore_ascii_case(name) && !is_refused(entry))
    };
    match (asset.brotli, asset.gzip) {
        (Some(bytes), _) if takes("br") => (bytes, Some("br")),
        (_, Some(bytes)) if takes("gzip") => (bytes, Some("gzip")),
        _ => (asset.plain, None),
    }
}

/// `br;q=0`
fn is_refused(entry: &str) -> bool {
    let weight = entry.split(';').skip(1).find_map(|part| part.trim().strip_prefix("q="));
    weight.and_then(|weight| weight.parse::<f32>().ok()).is_some_and(|weight| weight <= 0.0)
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml; charset=utf-8",
        "json" => "application/json",
        "png" => "image/png",
        _ => "text/plain; charset=utf-8",
    }
}
