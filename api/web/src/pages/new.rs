//! `/new`: making a measurement. A form that is whole without a script: `GET` shows it (filled in from the query, so that a draft can
//! be linked to), `POST` says what it would cost and who would run it, a second `POST` makes it. With a script the cost is asked for
//! while one writes (`POST /new/estimate`). The API alone judges; its complaints stand at the fields that they are about.
//!
//! A key is read from the form's body and goes to the API in a header; it is in no address and in no page that is sent back.

mod command;
mod fields;
mod request;
mod view;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use askama::Template;
use axum::Json;
use axum::http::header::{CACHE_CONTROL, LOCATION, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use self::request::Request;
use self::view::{Complaint, Filled, NewPage, Preview};
use super::visitor::Visitor;
use crate::ask::{Answer, Asker};
use crate::choices::{Choices, Form};
use crate::page::{Base, Page, Problem};

const ONCE: HeaderName = HeaderName::from_static("idempotency-key");

/// The control that a key is written into.
const KEY: &str = "key";

/// `GET /new`.
pub(super) async fn page(base: Base, asker: Asker, choices: Choices) -> Result<Response, Problem> {
    let visitor = Visitor::of(&asker).await?;
    let request = Request::of(&choices);
    Ok(form(base, &asker, &visitor, choices, &request, Vec::new(), None, StatusCode::OK))
}

/// `POST /new`.
pub(super) async fn send(base: Base, asker: Asker, Form(choices): Form) -> Result<Response, Problem> {
    let visitor = Visitor::of(&asker).await?.or_key(choices.text(KEY));
    let request = Request::of(&choices);
    let creates = choices.one_of("step", &["preview", "create"])? == "create";
    let done = match creates {
        true => create(&asker, &visitor, &choices, &request).await?,
        false => estimate(&asker, &visitor, &request).await?.map(Done::Previewed),
    };
    Ok(match done {
        Ok(Done::Made(ids)) => made(&ids),
        Ok(Done::Previewed(preview)) => {
            form(base, &asker, &visitor, choices, &request, Vec::new(), Some(preview), StatusCode::OK)
        }
        Err(Refused { status, complaints, retry_after }) => {
            let mut response = form(base, &asker, &visitor, choices, &request, complaints, None, status);
            response.headers_mut().extend(retry_after.map(|after| (RETRY_AFTER, after)));
            response
        }
    })
}

/// `POST /new/estimate`: for the script.
pub(super) async fn live(asker: Asker, Form(choices): Form) -> Result<Response, Problem> {
    let visitor = Visitor::of(&asker).await?.or_key(choices.text(KEY));
    let request = Request::of(&choices);
    let (mut preview, mut problems) = (Value::Null, Vec::new());
    if visitor.is_somebody() {
        match estimate(&asker, &visitor, &request).await? {
            Ok(found) => {
                preview = json!({
                    "summary": found.summary(),
                    "reasons": found.reasons,
                    "allowed": found.allowed && found.has_probes(),
                });
            }
            Err(refused) => {
                problems = refused
                    .complaints
                    .iter()
                    .map(|one| json!({ "control": one.control, "words": one.words }))
                    .collect();
            }
        }
    }
    let server = asker.here();
    let sonde = command::sonde(&server, &request.body);
    let body = json!({
        "preview": preview,
        "problems": problems,
        "curl": command::curl(&server, &request.body),
        "sonde": sonde.as_ref().ok(),
        "no_sonde": sonde.err(),
    });
    Ok(([(CACHE_CONTROL, "private, no-store")], Json(body)).into_response())
}

/// What became of a form.
enum Done {
    Previewed(Preview),
    Made(Vec<u64>),
}

/// What the API does not want, and why.
struct Refused {
    status: StatusCode,
    complaints: Vec<Complaint>,
    retry_after: Option<HeaderValue>,
}

async fn estimate(asker: &Asker, visitor: &Visitor, request: &Request) -> Result<Result<Preview, Refused>, Problem> {
    if !visitor.is_somebody() {
        return Ok(Err(nobody()));
    }
    let path = "/api/v2/measurements/estimate/";
    let answer = visitor.ask(asker, Method::POST, path, Some(&request.body), &[]).await?;
    Ok(match answer.status.is_success() {
        true => Ok(Preview::of(&answer.body)),
        false => Err(refused(answer, request)?),
    })
}

async fn create(
    asker: &Asker,
    visitor: &Visitor,
    choices: &Choices,
    request: &Request,
) -> Result<Result<Done, Refused>, Problem> {
    if !visitor.is_somebody() {
        return Ok(Err(nobody()));
    }
    // The probes of the preview, as far as they are still there.
    let request = request.clone().with_seed(choices.text("seed"));
    let once = choices.text("once").map(|once| (ONCE, once));
    let path = "/api/v2/measurements/";
    let answer = visitor.ask(asker, Method::POST, path, Some(&request.body), once.as_slice()).await?;
    if !answer.status.is_success() {
        return refused(answer, &request).map(Err);
    }
    let ids = answer.body["measurements"].as_array().into_iter().flatten().filter_map(Value::as_u64);
    Ok(Ok(Done::Made(ids.collect())))
}

fn nobody() -> Refused {
    let words = "Sign in, or paste an API key that may create measurements.".to_owned();
    let complaint = Complaint { control: Some(KEY.into()), words };
    Refused { status: StatusCode::FORBIDDEN, complaints: vec![complaint], retry_after: None }
}

fn refused(answer: Answer, request: &Request) -> Result<Refused, Problem> {
    if answer.status.is_server_error() {
        return Err(Problem::internal("a measurement", &answer.status));
    }
    let errors = answer.body["error"]["errors"].as_array().cloned().unwrap_or_default();
    let mut complaints: Vec<Complaint> = Vec::new();
    for error in &errors {
        let words = error["detail"].as_str().unwrap_or("This cannot be used.").to_owned();
        let control = error["source"]["pointer"].as_str().and_then(|pointer| request.control(pointer));
        let complaint = Complaint { control, words };
        // Both families have the same fields.
        if !complaints.contains(&complaint) {
            complaints.push(complaint);
        }
    }
    if complaints.is_empty() {
        let control = (answer.status == StatusCode::FORBIDDEN).then(|| KEY.to_owned());
        let words = match answer.words() {
            // Of how a key is sent, which people do not see.
            words if words.contains("Authorization") => "This is not an API key: it looks like a UUID.".to_owned(),
            words => words,
        };
        complaints.push(Complaint { control, words });
    }
    Ok(Refused { status: answer.status, complaints, retry_after: answer.headers.get(RETRY_AFTER).cloned() })
}

/// To what was made: one measurement has its page, several have a list.
fn made(ids: &[u64]) -> Response {
    let target = match ids {
        [one] => format!("/measurements/{one}"),
        _ => format!("/new/made?ids={}", ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",")),
    };
    // Of digits and letters of ours.
    let location = HeaderValue::from_str(&target).unwrap_or(HeaderValue::from_static("/measurements"));
    (StatusCode::SEE_OTHER, [(LOCATION, location)], [(CACHE_CONTROL, "private, no-store")]).into_response()
}

/// The list of what was made together.
#[derive(Template)]
#[template(path = "made.html")]
struct Made {
    base: Base,
    ids: Vec<u64>,
}

/// `GET /new/made`: links to several measurements that were made together.
pub(super) async fn list(base: Base, choices: Choices) -> Result<impl IntoResponse, Problem> {
    let ids: Option<Vec<u64>> = choices.text("ids").unwrap_or_default().split(',').map(|id| id.parse().ok()).collect();
    let ids =
        ids.filter(|ids| ids.len() <= 100).ok_or_else(|| Problem::bad("“ids” are numbers with commas between."))?;
    Ok(Page::public(Made { base: base.titled("Measurements made").section("/new"), ids }))
}

#[allow(clippy::too_many_arguments, reason = "they are what the page consists of")]
fn form(
    base: Base,
    asker: &Asker,
    visitor: &Visitor,
    choices: Choices,
    request: &Request,
    complaints: Vec<Complaint>,
    preview: Option<Preview>,
    status: StatusCode,
) -> Response {
    let server = asker.here();
    let (sonde, no_sonde) = match command::sonde(&server, &request.body) {
        Ok(line) => (line, ""),
        Err(why) => (String::new(), why),
    };
    let base = Base {
        summary: "Make a measurement: what it costs and which probes run it is shown before.".into(),
        ..base.titled("Make a measurement").section("/new").modules(&["js/new.js"]).styles(&["css/new.css"])
    };
    let page = NewPage {
        base,
        email: visitor.email().map(str::to_owned),
        once: choices
            .text("once")
            .filter(|_| preview.is_some() || !complaints.is_empty())
            .map_or_else(once, str::to_owned),
        curl: command::curl(&server, &request.body),
        sonde,
        no_sonde,
        preview,
        form: Filled::new(choices, complaints),
    };
    Page::own(page).status(status).into_response()
}

/// A name for what a form will make, so that sending it twice makes it once. It need not be secret: the API looks at it beside the
/// account.
fn once() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("web-{:x}-{:x}", now.as_nanos(), COUNT.fetch_add(1, Ordering::Relaxed))
}
