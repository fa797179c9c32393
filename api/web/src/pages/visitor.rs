//! Who looks at a page of one's own: an account by its session's cookie, or whoever shows an API key. Public pages do not ask.

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderName, Method, StatusCode};
use serde_json::Value;

use crate::ask::{Answer, Asker};
use crate::page::Problem;

/// The header that the API wants beside a cookie from whoever changes something.
const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");

/// The longest key that goes on to the API, which knows what keys look like.
const MAX_KEY: usize = 100;

/// By what the API knows the visitor.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Visitor {
    /// By nothing.
    Nobody,
    /// By the cookie of a session.
    Session {
        /// The account's mail address.
        email: String,
        /// The session's second secret.
        csrf: String,
    },
    /// By a key.
    Key(String),
}

impl Visitor {
    /// Whose session the request's cookie is of.
    pub async fn of(asker: &Asker) -> Result<Self, Problem> {
        if !asker.shows_something() {
            return Ok(Self::Nobody);
        }
        let answer = asker.own(Method::GET, "/api/v2/accounts/me/", None, &[]).await?;
        let text = |field: &str| answer.body[field].as_str().map(str::to_owned);
        match (answer.status, text("email"), text("csrf_token")) {
            (StatusCode::OK, Some(email), Some(csrf)) => Ok(Self::Session { email, csrf }),
            (status, ..) if status.is_server_error() => Err(Problem::internal("accounts/me", &status)),
            // Whose session has ended still has its cookie.
            _ => Ok(Self::Nobody),
        }
    }

    /// By the key of a form's field instead, if there is one.
    pub fn or_key(self, key: Option<&str>) -> Self {
        match key {
            Some(key) => Self::Key(key.to_owned()),
            None => self,
        }
    }

    /// The account's mail address.
    pub fn email(&self) -> Option<&str> {
        match self {
            Self::Session { email, .. } => Some(email),
            _ => None,
        }
    }

    /// Is anybody there?
    pub fn is_somebody(&self) -> bool {
        *self != Self::Nobody
    }

    /// Asks the API for something that changes things, or that only the visitor may see.
    pub async fn ask(
        &self,
        asker: &Asker,
        method: Method,
        path: &str,
        body: Option<&Value>,
        more: &[(HeaderName, &str)],
    ) -> Result<Answer, Problem> {
        let mut headers = more.to_vec();
        let authorization;
        match self {
            Self::Nobody => {}
            Self::Session { csrf, .. } => headers.push((CSRF, csrf)),
            Self::Key(key) if key.len() <= MAX_KEY && key.bytes().all(|byte| byte.is_ascii_graphic()) => {
                authorization = format!("Key {key}");
                headers.push((AUTHORIZATION, &authorization));
            }
            // Not to be sent in a header at all. The API refuses it in words.
            Self::Key(_) => headers.push((AUTHORIZATION, "Key -")),
        }
        asker.own(method, path, body, &headers).await
    }
}
