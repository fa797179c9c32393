//! `/docs/method`: what the numbers mean and do not mean, in the API's own words where it has them.

use askama::Template;
use axum::response::IntoResponse;
use serde::Deserialize;

use crate::ask::Asker;
use crate::page::{Base, Page, Problem};

/// `/api/v2/ipv6/method/`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Method {
    definition: u64,
    rules: Vec<String>,
    shares: Vec<ShareOf>,
    plain: Threshold,
    ranked: Threshold,
    states: Vec<State>,
    reasons: Vec<Reason>,
    bias: String,
}

#[derive(Default, Deserialize)]
struct Threshold {
    probes: u64,
    networks: u64,
}

#[derive(Deserialize)]
struct ShareOf {
    name: String,
    of: String,
    what: String,
}

#[derive(Deserialize)]
struct State {
    word: String,
    #[serde(default)]
    votes: bool,
    #[serde(default)]
    works: bool,
}

#[derive(Deserialize)]
struct Reason {
    word: String,
    sentence: String,
}

#[derive(Template)]
#[template(path = "method.html")]
struct MethodPage {
    base: Base,
    method: Method,
}

/// `GET /docs/method`.
pub(crate) async fn page(base: Base, asker: Asker) -> Result<impl IntoResponse, Problem> {
    let method: Method = asker.find("/api/v2/ipv6/method/").await?.unwrap_or_default();
    Ok(Page::public(MethodPage { base: base.titled("What the numbers mean"), method }))
}
