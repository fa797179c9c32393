//! `/status`: is it you or us? What the API answers now, and where one is seen from.

use askama::Template;
use axum::response::IntoResponse;

use crate::ask::Asker;
use crate::charts::{number, time};
use crate::page::{Base, Page, Problem};
use crate::reachability::One;
use crate::window;

#[derive(Template)]
#[template(path = "status.html")]
struct StatusPage {
    base: Base,
    checks: Vec<Check>,
    is_well: bool,
}

struct Check {
    what: &'static str,
    is_well: bool,
    words: String,
}

/// How old the newest vote may be before it is worth a word, in seconds: votes are of hours.
const STALE: i64 = 2 * 3600;

/// `GET /status`. It is made anew for everybody who asks: a kept one would tell of another time.
pub(crate) async fn page(base: Base, asker: Asker) -> Result<impl IntoResponse, Problem> {
    let now = window::now();
    let connected = asker.get("/api/v2/probes/?status=1&page_size=1").await;
    let probes = match &connected {
        Ok(list) => {
            number::counted(list["count"].as_u64().unwrap_or_default(), "probe is connected.", "probes are connected.")
        }
        Err(problem) => problem.words.clone(),
    };
    let votes = asker.find::<One>("/api/v2/ipv6/").await;
    let newest = votes.as_ref().ok().and_then(|one| one.as_ref()?.updated);
    let (is_fresh, age) = match newest {
        None => (true, "No probe has said anything yet.".to_owned()),
        Some(at) => {
            (now - at <= STALE, format!("The newest is of {}, {} ago.", time::human_unix(at), number::span(now - at)))
        }
    };
    let checks = vec![
        Check {
            what: "The site",
            is_well: true,
            words: format!("It answers, and its clock says {}.", time::human_unix(now)),
        },
        Check { what: "The API and the probes", is_well: connected.is_ok(), words: probes },
        Check { what: "Votes on IPv6", is_well: votes.is_ok() && is_fresh, words: age },
    ];
    let is_well = checks.iter().all(|check| check.is_well);
    Ok(Page::own(StatusPage { base: base.titled("Status"), checks, is_well }))
}
