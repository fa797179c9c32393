//! Logging in and out, and the sessions that come of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{SET_COOKIE, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Digest, WebSession};
use utoipa_axum::routes;
use uuid::Uuid;

use super::{Texts, answer, new_secret, object};
use crate::Api;
use crate::auth::Access;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::here::Here;
use crate::limits::Allowance;
use crate::paging::Paging;
use crate::params::Params;
use crate::password;
use crate::path::Name;
use crate::query::PagesById;
use crate::router::Routes;
use crate::times::iso;
use crate::web_session::{self, SameOrigin};

/// How many sessions an account may have; the oldest ends when there is one more.
const MAX_SESSIONS: u32 = 50;

/// How much of a browser's name is kept, in characters.
const MAX_USER_AGENT: usize = 200;

pub(super) fn routes(routes: &mut Routes) {
    routes.add(routes!(log_in));
    routes.add(routes!(log_out));
    routes.add(routes!(list, end_others));
    routes.add(routes!(end));
}

/// The head of a request, for the cookie that the answer sets.
struct Head(Parts);

impl<S: Sync> FromRequestParts<S> for Head {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let (mut head, ()) = Request::new(()).into_parts();
        head.headers = parts.headers.clone();
        head.extensions = parts.extensions.clone();
        Ok(Head(head))
    }
}

/// `POST accounts/login/`: begins a session. The answer sets its cookie; `csrf_token` is what every later request that
/// changes something has to show in `X-CSRF-Token`.
#[utoipa::path(
    post, path = "/api/v2/accounts/login/", tag = "accounts",
    request_body(content = serde_json::Value, example = json!({"email": "ada@example.net", "password": "at least ten characters"})),
    responses((status = 200, body = serde_json::Value))
)]
async fn log_in(
    State(api): State<Arc<Api>>,
    _: SameOrigin,
    allowance: Allowance,
    Head(head): Head,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let mut texts = Texts::of(&body);
    let (email, password) = (texts.email(), texts.old_password("password"));
    let (Some(email), Some(password)) = (email, password) else { return Err(texts.refusal()) };
    allowance.attempt_on(email.as_ref())?;
    let account = api.catalog.account_by_email(email.as_ref()).await?;
    let hash = match &account {
        Some(account) => api.catalog.password(account.id).await?,
        None => None,
    };
    // Takes as long for an account that is not there.
    let is_right = password::is_right(password, hash).await?;
    let Some(account) = account.filter(|_| is_right) else {
        return Err(ApiError::forbidden("The mail address or the password is wrong."));
    };

    let (token, now) = (new_secret()?, api.clock.now());
    let session = WebSession {
        token: token.digest(),
        account: account.id,
        created_at: now,
        last_used: now,
        expires: UnixNanos(now.0.saturating_add(web_session::LIFE_SECS * 1_000_000_000)),
        user_agent: user_agent(&head.headers),
    };
    if !api.catalog.begin_session(&session, MAX_SESSIONS).await? {
        return Err(ApiError::forbidden("This account is disabled; ask whoever runs this network."));
    }
    let body = json!({ "account": object(&account), "csrf_token": web_session::csrf_of(token.text()) });
    Ok(with_cookie(answer(StatusCode::OK, body), &web_session::give(&head, &api, &token)))
}

/// What the browser calls itself, as far as it is text that can be shown.
fn user_agent(headers: &HeaderMap) -> String {
    let name = headers.get(USER_AGENT).and_then(|name| name.to_str().ok()).unwrap_or_default();
    name.chars().filter(|c| !c.is_control()).take(MAX_USER_AGENT).collect()
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    // A cookie of ours is plain ASCII.
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// `POST accounts/logout/`: ends the session; 204.
#[utoipa::path(post, path = "/api/v2/accounts/logout/", tag = "accounts", responses((status = 204)))]
async fn log_out(State(api): State<Arc<Api>>, access: Access, Head(head): Head) -> Result<Response, ApiError> {
    let own = access.session()?;
    api.catalog.end_session(own.session.account, &own.session.token).await?;
    Ok(with_cookie(StatusCode::NO_CONTENT.into_response(), &web_session::take_away(&head, &api)))
}

/// `GET accounts/sessions/`: where the account is logged in.
#[utoipa::path(get, path = "/api/v2/accounts/sessions/", tag = "accounts", params(PagesById), responses((status = 200, body = serde_json::Value)))]
async fn list(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let own = access.session()?;
    let paging = Paging::read(&params)?;
    let sessions = api.catalog.web_sessions(own.session.account, api.clock.now()).await?;
    let total = sessions.len() as u64;
    let part = paging.cut(sessions);
    let results = part.iter().map(|session| {
        json!({
            "type": "session",
            "id": public_name(&session.token),
            "created_at": iso(session.created_at),
            "last_used_at": iso(session.last_used),
            "expires_at": iso(session.expires),
            "user_agent": session.user_agent,
            "is_current": session.token == own.session.token,
        })
    });
    paging.envelope(total, results.collect(), &here).map(Json)
}

/// `DELETE accounts/sessions/`: ends every session but this one; 204.
#[utoipa::path(delete, path = "/api/v2/accounts/sessions/", tag = "accounts", responses((status = 204)))]
async fn end_others(State(api): State<Arc<Api>>, access: Access) -> Result<StatusCode, ApiError> {
    let own = access.session()?;
    api.catalog.end_sessions(own.session.account, Some(&own.session.token)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE accounts/sessions/{id}/`: ends one; 204.
#[utoipa::path(delete, path = "/api/v2/accounts/sessions/{id}/", tag = "accounts", params(("id" = String, Path)), responses((status = 204)))]
async fn end(State(api): State<Arc<Api>>, access: Access, Name(name): Name) -> Result<StatusCode, ApiError> {
    let account = access.session()?.session.account;
    let sessions = api.catalog.web_sessions(account, api.clock.now()).await?;
    let Some(session) = sessions.iter().find(|session| public_name(&session.token) == name.to_ascii_lowercase()) else {
        return Err(ApiError::not_found());
    };
    match api.catalog.end_session(account, &session.token).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::not_found()),
    }
}

/// The name of a session that may be shown: it opens nothing.
fn public_name(digest: &Digest) -> String {
    Uuid::from_bytes(digest.first_chunk().copied().unwrap_or_default()).to_string()
}
