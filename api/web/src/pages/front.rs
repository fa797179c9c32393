//! `/`: what the network is and how well IPv6 works now.

use askama::Template;
use axum::response::IntoResponse;

use crate::ask::Asker;
use crate::charts::number::count;
use crate::page::{Base, Page, Problem};

#[derive(Template)]
#[template(path = "front.html")]
struct Front {
    base: Base,
    connected: String,
    probes: String,
    measurements: String,
}

/// `GET /`.
pub(crate) async fn page(base: Base, asker: Asker) -> Result<impl IntoResponse, Problem> {
    let connected = total(&asker, "/api/v2/probes/?status=1&page_size=1").await?;
    let probes = total(&asker, "/api/v2/probes/?page_size=1").await?;
    let measurements = total(&asker, "/api/v2/measurements/?page_size=1").await?;
    Ok(Page::public(Front {
        base,
        connected: count(connected),
        probes: count(probes),
        measurements: count(measurements),
    }))
}

/// How many a list of the API has.
async fn total(asker: &Asker, path: &str) -> Result<u64, Problem> {
    Ok(asker.get(path).await?["count"].as_u64().unwrap_or_default())
}
