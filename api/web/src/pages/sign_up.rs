//! `/sign-up`, `/verify` and `/password-reset`: how one gets an account, and comes into it again. Accounts are the API's; these are its
//! forms for people. A mail leads here with a token in the address's fragment, which browsers send to nobody: a script puts it
//! into the form, and without one it is pasted.

use askama::Template;
use axum::http::header::RETRY_AFTER;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::ask::{Answer, Asker};
use crate::choices::{Choices, Form};
use crate::page::{Base, Page, Problem};

/// Who may sign up, as the API says it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Rules {
    /// `open`, `invite` or `closed`
    signup: String,
    /// The version of the terms that one agrees to.
    consent: String,
    /// `mail` or `operator`: who sees to it that a mail address is one's own.
    verification: String,
}

impl Rules {
    async fn ask(asker: &Asker) -> Result<Self, Problem> {
        Ok(asker.find("/api/v2/accounts/signup/").await?.unwrap_or_default())
    }

    fn sends_mail(&self) -> bool {
        self.verification == "mail"
    }
}

/// What came of a form.
#[derive(Debug, Clone, Default)]
struct Outcome {
    /// What is wrong.
    problem: Option<String>,
    /// What was done, and how it goes on.
    done: Option<String>,
}

#[derive(Template)]
#[template(path = "sign-up.html")]
struct SignUp {
    base: Base,
    rules: Rules,
    email: String,
    invite: String,
    outcome: Outcome,
    /// The account is there already.
    is_made: bool,
}

#[derive(Template)]
#[template(path = "verify.html")]
struct Verify {
    base: Base,
    outcome: Outcome,
}

#[derive(Template)]
#[template(path = "password-reset.html")]
struct Reset {
    base: Base,
    rules: Rules,
    email: String,
    outcome: Outcome,
    /// The password is set.
    is_set: bool,
}

/// `GET /sign-up`.
pub(super) async fn page(base: Base, asker: Asker, choices: Choices) -> Result<Response, Problem> {
    let rules = Rules::ask(&asker).await?;
    let invite = choices.text("invite").unwrap_or_default().to_owned();
    let base = dressed(base, "Sign up");
    let page = SignUp { base, rules, email: String::new(), invite, outcome: Outcome::default(), is_made: false };
    Ok(Page::own(page).into_response())
}

/// `POST /sign-up`.
pub(super) async fn send(base: Base, asker: Asker, Form(choices): Form) -> Result<Response, Problem> {
    let rules = Rules::ask(&asker).await?;
    let field = |name: &str| choices.text(name).map(str::to_owned);
    let (email, invite) = (field("email").unwrap_or_default(), field("invite"));
    let body = json!({
        "email": email,
        "password": choices.raw("password"),
        "consent": field("consent").unwrap_or_default(),
        "invite": invite,
    });
    let answer = asker.own(Method::POST, "/api/v2/accounts/signup/", Some(&body), &[]).await?;
    let is_made = answer.status == StatusCode::CREATED;
    let outcome = match is_made {
        true => Outcome { done: Some("Your account is there.".into()), problem: None },
        false => outcome(&answer)?,
    };
    let base = dressed(base, "Sign up");
    let page = SignUp { base, rules, email, invite: invite.unwrap_or_default(), outcome, is_made };
    Ok(answered(page, &answer))
}

/// `GET /verify`.
pub(super) async fn verify(base: Base) -> Response {
    Page::own(Verify { base: dressed(base, "Your account"), outcome: Outcome::default() }).into_response()
}

/// `POST /verify`.
pub(super) async fn send_token(base: Base, asker: Asker, Form(choices): Form) -> Result<Response, Problem> {
    let body = json!({ "token": choices.text("token").unwrap_or_default().trim() });
    let answer = asker.own(Method::POST, "/api/v2/accounts/verify/", Some(&body), &[]).await?;
    let outcome = match answer.status.is_success() {
        true => Outcome { done: Some("Your account is there.".into()), problem: None },
        false => outcome(&answer)?,
    };
    Ok(answered(Verify { base: dressed(base, "Your account"), outcome }, &answer))
}

/// `GET /password-reset`.
pub(super) async fn reset(base: Base, asker: Asker) -> Result<Response, Problem> {
    let rules = Rules::ask(&asker).await?;
    let base = dressed(base, "A new password");
    let page = Reset { base, rules, email: String::new(), outcome: Outcome::default(), is_set: false };
    Ok(Page::own(page).into_response())
}

/// `POST /password-reset`: asks for a mail, or sets the password by the token from it.
pub(super) async fn send_reset(base: Base, asker: Asker, Form(choices): Form) -> Result<Response, Problem> {
    let rules = Rules::ask(&asker).await?;
    let email = choices.text("email").unwrap_or_default().to_owned();
    let token = choices.text("token");
    let (path, body) = match token {
        Some(token) => (
            "/api/v2/accounts/password-reset/confirm/",
            json!({ "token": token.trim(), "password": choices.raw("password") }),
        ),
        None => ("/api/v2/accounts/password-reset/", json!({ "email": email })),
    };
    let answer = asker.own(Method::POST, path, Some(&body), &[]).await?;
    let is_set = token.is_some() && answer.status.is_success();
    let outcome = match is_set {
        true => Outcome {
            done: Some("The new password counts from now on, and every session has ended.".into()),
            problem: None,
        },
        false => outcome(&answer)?,
    };
    let base = dressed(base, "A new password");
    Ok(answered(Reset { base, rules, email, outcome, is_set }, &answer))
}

fn dressed(base: Base, title: &str) -> Base {
    base.titled(title).styles(&["css/new.css"]).modules(&["js/token.js"])
}

/// What the API has done or what it says is wrong.
fn outcome(answer: &Answer) -> Result<Outcome, Problem> {
    if answer.status.is_server_error() {
        return Err(Problem::internal("accounts", &answer.status));
    }
    if answer.status.is_success() {
        let done = answer.body["detail"].as_str().unwrap_or("It is done.").to_owned();
        return Ok(Outcome { done: Some(done), problem: None });
    }
    Ok(Outcome { problem: Some(problems(answer)), done: None })
}

/// Each problem with the name of its field.
fn problems(answer: &Answer) -> String {
    let label = |problem: &Value| match problem["source"]["pointer"].as_str() {
        Some("/email") => "Mail address: ",
        Some("/password") => "Password: ",
        Some("/consent") => "Terms: ",
        Some("/invite") => "Invitation: ",
        Some("/token") => "Token: ",
        _ => "",
    };
    let each = answer.body["error"]["errors"].as_array().into_iter().flatten();
    let each: Vec<String> =
        each.filter_map(|problem| Some(format!("{}{}", label(problem), problem["detail"].as_str()?))).collect();
    if each.is_empty() { answer.words() } else { each.join(" ") }
}

/// The page with the status of what was asked.
fn answered<T: Template>(page: T, answer: &Answer) -> Response {
    let mut response = Page::own(page).status(answer.status).into_response();
    response.headers_mut().extend(answer.headers.get(RETRY_AFTER).map(|after| (RETRY_AFTER, after.clone())));
    response
}
