//! `/probes/{id}/own`: what only a probe's owner may know: its addresses, what it says of itself, what its host allows. In the words of
//! the probe's own `status` and `doctor`, as the API's record has them. Never kept by a cache.

use askama::Template;
use axum::extract::Path;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::probe::{nobody, number};
use super::probe_view::{Moment, Probe, now};
use super::visitor::Visitor;
use crate::ask::Asker;
use crate::charts::number::count;
use crate::page::{Base, Page, Problem};

#[derive(Template)]
#[template(path = "probe-own.html")]
struct Own {
    base: Base,
    probe: Probe,
    health: Health,
    board: Option<Board>,
    now: i64,
}

/// The board that it runs on.
#[derive(Deserialize)]
struct Board {
    name: String,
    release: u64,
    stage: String,
    words: String,
    attempts: Vec<Attempt>,
    choice: Choice,
    checked_at: Option<i64>,
}

/// A release that was tried there.
#[derive(Deserialize)]
struct Attempt {
    release: u64,
    outcome: String,
    words: String,
    at: i64,
}

/// What is in force there.
#[derive(Deserialize)]
struct Choice {
    choice: String,
    days: Option<u64>,
    release: Option<u64>,
}

impl Choice {
    fn words(&self) -> String {
        match (self.choice.as_str(), self.days, self.release) {
            ("delay", Some(days), _) => format!("take releases {days} days after they come"),
            ("pin", _, Some(release)) => format!("go to release {release} and stay there"),
            ("follow", ..) => "take releases as they come".to_owned(),
            ("refuse", ..) => "take no release".to_owned(),
            (other, ..) => other.to_owned(),
        }
    }
}

/// How it is.
#[derive(Deserialize)]
struct Health {
    level: String,
    told_at: Option<i64>,
    conditions: Vec<Condition>,
    past: Vec<Condition>,
    host: Option<Host>,
}

/// Something that is wrong, or was.
#[derive(Deserialize)]
struct Condition {
    word: String,
    level: String,
    meaning: String,
    detail: String,
    advice: String,
    since: Option<i64>,
    ended: Option<i64>,
    was_disconnected: bool,
}

/// What its host allows.
#[derive(Deserialize)]
struct Host {
    told_at: i64,
    paused: bool,
    paused_until: Option<i64>,
    packets_per_second: u32,
    bytes_per_day: u64,
    measured_today: u64,
    written_today: u64,
    kinds: Vec<String>,
    hours: Vec<String>,
}

impl Condition {
    /// A class of ours, whatever a newer server calls its levels.
    fn class(&self) -> &'static str {
        match self.level.as_str() {
            "problem" => "problem",
            "warning" => "warning",
            _ => "",
        }
    }
}

impl Own {
    fn moment(&self, seconds: &i64) -> Moment {
        Moment::of(*seconds, self.now)
    }

    /// Bytes in their greatest unit.
    fn bytes(&self, number: &u64) -> String {
        match *number {
            bytes if bytes < 10_000 => format!("{} bytes", count(bytes)),
            bytes if bytes < 10_000_000 => format!("{} kB", count(bytes / 1000)),
            bytes => format!("{} MB", count(bytes / 1_000_000)),
        }
    }
}

/// `GET /probes/{id}/own`.
pub(super) async fn page(base: Base, asker: Asker, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = number(&id)?;
    let visitor = Visitor::of(&asker).await?;
    if !visitor.is_somebody() {
        let location = HeaderValue::from_str(&format!("/sign-in?next=/probes/{id}/own"));
        let location = location.unwrap_or(HeaderValue::from_static("/sign-in"));
        return Ok((StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response());
    }
    let path = format!("/api/v2/probes/{id}/");
    let answer = visitor.ask(&asker, Method::GET, &path, None, &[]).await?;
    let probe: Probe = match answer.status {
        StatusCode::NOT_FOUND => return Err(nobody()),
        StatusCode::OK => serde_json::from_value(answer.body).map_err(|error| Problem::internal(&path, &error))?,
        status if status.is_client_error() => return Err(Problem::bad(&answer.words())),
        status => return Err(Problem::internal(&path, &status)),
    };
    let Some(health) = probe.health.clone() else {
        return Err(Problem::forbidden("This probe is not yours. How a probe is, is for its owner to know."));
    };
    let health = serde_json::from_value(health).map_err(|error| Problem::internal(&path, &error))?;
    // Whoever sees the one sees the other whole.
    let board = probe.board.clone().map(serde_json::from_value).transpose();
    let board = board.map_err(|error| Problem::internal(&path, &error))?;
    let base = base.titled(format!("Probe {id}, for its owner")).section("/probes").styles(&["css/probe.css"]);
    Ok(Page::own(Own { base, probe, health, board, now: now() }).into_response())
}
