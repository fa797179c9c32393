//! `/sign-in`, `/sign-out`, and `/session`, which tells the script of every page whether somebody is signed in. Accounts are the
//! API's: a password goes through to it, and the cookie is the one that it sets.

use askama::Template;
use axum::Json;
use axum::http::header::{CACHE_CONTROL, LOCATION, RETRY_AFTER, SET_COOKIE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::visitor::Visitor;
use crate::ask::{Answer, Asker};
use crate::choices::{Choices, Form};
use crate::page::{Base, Page, Problem};

/// The longest way back.
const MAX_NEXT: usize = 500;

/// The page.
#[derive(Template)]
#[template(path = "sign-in.html")]
struct SignIn {
    base: Base,
    /// Of whom is signed in already.
    signed_in: Option<String>,
    /// As it was written.
    email: String,
    next: String,
    /// What is wrong.
    problem: Option<String>,
}

/// `GET /sign-in`.
pub(super) async fn page(base: Base, asker: Asker, choices: Choices) -> Result<Response, Problem> {
    let visitor = Visitor::of(&asker).await?;
    let next = next(&choices);
    Ok(show(base, visitor.email().map(str::to_owned), String::new(), next, None, StatusCode::OK))
}

/// `POST /sign-in`.
pub(super) async fn send(base: Base, asker: Asker, Form(choices): Form) -> Result<Response, Problem> {
    let next = next(&choices);
    let email = choices.text("email").unwrap_or_default().to_owned();
    let body = json!({ "email": email, "password": choices.raw("password") });
    let answer = asker.own(Method::POST, "/api/v2/accounts/login/", Some(&body), &[]).await?;
    if answer.status.is_server_error() {
        return Err(Problem::internal("accounts/login", &answer.status));
    }
    if !answer.status.is_success() {
        let mut response = show(base, None, email, next, Some(words(&answer)), answer.status);
        response.headers_mut().extend(answer.headers.get(RETRY_AFTER).map(|after| (RETRY_AFTER, after.clone())));
        return Ok(response);
    }
    Ok(go(&next, &answer))
}

/// `POST /sign-out`.
pub(super) async fn sign_out(asker: Asker) -> Result<Response, Problem> {
    let visitor = Visitor::of(&asker).await?;
    let answer = visitor.ask(&asker, Method::POST, "/api/v2/accounts/logout/", None, &[]).await?;
    if answer.status.is_server_error() {
        return Err(Problem::internal("accounts/logout", &answer.status));
    }
    // Whose session has ended already is signed out as well.
    Ok(go("/", &answer))
}

/// `GET /session`.
pub(super) async fn session(asker: Asker) -> Result<impl IntoResponse, Problem> {
    let visitor = Visitor::of(&asker).await?;
    Ok(([(CACHE_CONTROL, "private, no-store")], Json(json!({ "email": visitor.email() }))))
}

fn show(
    base: Base,
    signed_in: Option<String>,
    email: String,
    next: String,
    problem: Option<String>,
    status: StatusCode,
) -> Response {
    let base = base.titled("Sign in").styles(&["css/new.css"]);
    Page::own(SignIn { base, signed_in, email, next, problem }).status(status).into_response()
}

/// On to a page of this site, with the cookies that the API sets.
fn go(path: &str, answer: &Answer) -> Response {
    let location = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    let mut response = (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    for cookie in answer.headers.get_all(SET_COOKIE) {
        headers.append(SET_COOKIE, cookie.clone());
    }
    response
}

/// What the API says, for whoever signs in: its fields are those of the form.
fn words(answer: &Answer) -> String {
    match answer.status {
        StatusCode::BAD_REQUEST => "Enter the mail address and the password of your account.".into(),
        _ => answer.words(),
    }
}

/// Where to go afterwards: a path of this site, and nothing else.
fn next(choices: &Choices) -> String {
    let next = choices.text("next").unwrap_or("/");
    let is_path = next.starts_with('/') && !next.starts_with("//") && next.len() <= MAX_NEXT;
    let is_plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_path && is_plain { next.to_owned() } else { "/".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        let next = |to: &str| {
            next(&Choices::of(crate::ask::path("", [("next", to)]).trim_start_matches('?').as_bytes()).unwrap())
        };
        assert_eq!(next("/new?type=dns"), "/new?type=dns");
        for to in [
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "javascript:alert(1)",
            "/a\r\nSet-Cookie: x=y",
            "",
            "/ä",
        ] {
            assert_eq!(next(to), "/", "{to}");
        }
        assert_eq!(next(&format!("/{}", "a".repeat(MAX_NEXT))), "/");
    }
}
