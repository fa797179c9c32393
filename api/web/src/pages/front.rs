//! `/`: how well IPv6 works now, from where one knows, and what one can do here.

use askama::Template;
use axum::response::IntoResponse;

use super::parts::{self, CourseView, Headline, MapView};
use crate::ask::{Asker, path};
use crate::charts::number::count;
use crate::choices::Choices;
use crate::page::{Base, Page, Problem};
use crate::reachability::{Course, Enough, List, METRICS, One, PLAIN_PROBES};
use crate::window::{self, Window};

#[derive(Template)]
#[template(path = "front.html")]
struct Front {
    base: Base,
    window: Window,
    headline: Option<Headline>,
    bias: String,
    map: MapView,
    course: CourseView,
    connected: String,
    probes: String,
    measurements: String,
}

/// `GET /`.
pub(crate) async fn page(base: Base, asker: Asker) -> Result<impl IntoResponse, Problem> {
    let now = window::now();
    let window = Window::read(&Choices::default(), now)?;
    let ([metric, ..], enough) = (METRICS, Enough::new(PLAIN_PROBES));
    let one: One = asker.find("/api/v2/ipv6/").await?.unwrap_or_default();
    let list: List = asker.find("/api/v2/ipv6/countries/").await?.unwrap_or_default();
    let course: Course = asker.find(&path("/api/v2/ipv6/series/", [("step", "day")])).await?.unwrap_or_default();
    let connected = total(&asker, "/api/v2/probes/?status=1&page_size=1").await?;
    let probes = total(&asker, "/api/v2/probes/?page_size=1").await?;
    let measurements = total(&asker, "/api/v2/measurements/?page_size=1").await?;
    Ok(Page::public(Front {
        base: base.of(parts::updated(one.updated)).modules(&["js/chart.js"]),
        headline: Headline::new(metric, &one.sum, enough),
        bias: one.bias,
        map: parts::map(metric, &list, &window, enough),
        course: parts::course(metric, &course, "the world", &[], enough, now),
        window,
        connected: count(connected),
        probes: count(probes),
        measurements: count(measurements),
    }))
}

/// How many a list of the API has.
async fn total(asker: &Asker, path: &str) -> Result<u64, Problem> {
    Ok(asker.get(path).await?["count"].as_u64().unwrap_or_default())
}
