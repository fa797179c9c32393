//! `accounts/`: how people get an account and come into it. Ours; Atlas has no such endpoints.
//!
//! Whether a mail address has an account is told to nobody but whoever reads its mail: signing up and asking for a reset
//! give the same answer either way, and what they find out is done after the answer. All of it is for people, with a
//! session and not with keys, and none of it is for pages of other sites ([`SameOrigin`](crate::web_session::SameOrigin)).

use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::{Json, http};
use lettre::Address;
use serde_json::{Map, Value, json};
use sonde_store::catalog::Account;

use crate::Api;
use crate::error::{ApiError, Problem};
use crate::mail_address;
use crate::password;
use crate::router::Routes;
use crate::secret::{self, Secret};
use crate::times::iso;

mod invites;
mod login;
mod me;
mod reset;
mod signup;

/// How long an invitation is good for, in seconds.
pub const INVITE_LIFE_SECS: i64 = 14 * 86_400;

/// How long a password reset is good for, in seconds.
pub const RESET_LIFE_SECS: i64 = 3600;

/// The longest other text of a body in bytes.
const MAX_TEXT: usize = 255;

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    signup::routes(routes);
    login::routes(routes);
    me::routes(routes);
    reset::routes(routes);
    invites::routes(routes);
}

/// The texts of a body; what is wrong with any of them is gathered.
struct Texts<'a> {
    fields: Option<&'a Map<String, Value>>,
    problems: Vec<Problem>,
}

impl<'a> Texts<'a> {
    fn of(body: &'a Value) -> Self {
        let fields = body.as_object();
        let problems = fields.is_none().then(|| Problem::at("", "This must be an object."));
        Self { fields, problems: problems.into_iter().collect() }
    }

    fn refuse(&mut self, name: &str, detail: impl Into<String>) {
        self.problems.push(Problem::at(format!("/{name}"), detail));
    }

    /// A text that may be absent.
    fn optional(&mut self, name: &str) -> Option<&'a str> {
        match self.fields?.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.len() <= MAX_TEXT => Some(text),
            Some(_) => {
                self.refuse(name, format!("Enter a text of at most {MAX_TEXT} bytes."));
                None
            }
        }
    }

    fn required(&mut self, name: &str) -> Option<&'a str> {
        if matches!(self.fields?.get(name), None | Some(Value::Null)) {
            self.refuse(name, "This field is required.");
            return None;
        }
        self.optional(name)
    }

    fn email(&mut self) -> Option<Address> {
        let address = mail_address::parse(self.required("email")?);
        if address.is_none() {
            self.refuse("email", "This is no mail address that this server can send to.");
        }
        address
    }

    /// A new password.
    fn new_password(&mut self, name: &str) -> Option<&'a str> {
        self.password(name, password::MIN_LENGTH)
    }

    /// A password to compare.
    fn old_password(&mut self, name: &str) -> Option<&'a str> {
        self.password(name, 0)
    }

    fn password(&mut self, name: &str, least: usize) -> Option<&'a str> {
        let most = password::MAX_LENGTH;
        match self.fields?.get(name) {
            Some(Value::String(text)) if (least..=most).contains(&text.chars().count()) => return Some(text),
            None | Some(Value::Null) => self.refuse(name, "This field is required."),
            Some(_) => self.refuse(name, format!("Enter a text of {least} to {most} characters.")),
        }
        None
    }

    /// A one-time token.
    fn token(&mut self) -> Option<&'a str> {
        let token = self.required("token")?;
        if token.len() != secret::LENGTH {
            self.refuse("token", BAD_TOKEN);
            return None;
        }
        Some(token)
    }

    /// Nothing is wrong so far.
    fn are_good(&self) -> bool {
        self.problems.is_empty()
    }

    fn refusal(self) -> ApiError {
        ApiError::body(self.problems)
    }
}

const BAD_TOKEN: &str = "This token is unknown, used or expired.";

fn new_secret() -> Result<Secret, ApiError> {
    Secret::new().ok_or_else(ApiError::internal)
}

/// An account as its person sees it.
fn object(account: &Account) -> Value {
    let consent = account.consent.as_ref();
    json!({
        "type": "account",
        "id": account.id.0,
        "email": account.email,
        "created_at": iso(account.created_at),
        "verified_at": account.verified_at.map(iso),
        "consent": consent.map(|consent| json!({ "version": consent.version, "at": iso(consent.at) })),
    })
}

/// An answer that no cache keeps.
fn answer(status: StatusCode, body: Value) -> Response {
    (status, [(CACHE_CONTROL, http::HeaderValue::from_static("no-store"))], Json(body)).into_response()
}

/// Says that something was begun, whatever it was.
fn accepted(detail: &str) -> Response {
    answer(StatusCode::ACCEPTED, json!({ "detail": detail }))
}

/// A token as a mail names it: with a link where the server knows its own address. In the fragment, which browsers send
/// to nobody. Never with the host that a request named: whoever sent it may have named their own.
fn how_to_use(api: &Api, page: &str, token: &Secret) -> String {
    let token = token.text();
    match &api.config.public_url {
        Some(url) => format!("{}/{page}#token={token}\n\nThe token alone: {token}\n", url.trim_end_matches('/')),
        None => format!("The token: {token}\n"),
    }
}

/// Posts a letter where there is mail.
fn post(api: &Api, to: &Address, subject: &str, text: &str) {
    if let Some(mailer) = &api.mailer {
        mailer.post(to.clone(), subject, text);
    }
}
