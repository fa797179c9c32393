//! A forgotten password.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lettre::Address;
use sonde_protocol::time::UnixNanos;
use sonde_store::StoreError;
use utoipa_axum::routes;

use super::{BAD_TOKEN, RESET_LIFE_SECS, Texts, accepted, answer, how_to_use, new_secret, object, post};
use crate::Api;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::limits::Allowance;
use crate::password;
use crate::router::Routes;
use crate::secret::{Secret, digest_of};
use crate::web_session::SameOrigin;

pub(super) fn routes(routes: &mut Routes) {
    routes.add(routes!(ask));
    routes.add(routes!(confirm));
}

/// `POST accounts/password-reset/`: asks for a mail by which a new password can be set. The answer is the same whether the
/// address has an account or not.
#[utoipa::path(
    post, path = "/api/v2/accounts/password-reset/", tag = "accounts",
    request_body(content = serde_json::Value, example = json!({"email": "ada@example.net"})),
    responses((status = 202, body = serde_json::Value))
)]
async fn ask(
    State(api): State<Arc<Api>>,
    _: SameOrigin,
    allowance: Allowance,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let mut texts = Texts::of(&body);
    let Some(email) = texts.email() else { return Err(texts.refusal()) };
    if api.mailer.is_none() {
        return Err(ApiError::forbidden(
            "This server sends no mail; ask whoever runs this network for a new password.",
        ));
    }
    allowance.attempt_on(email.as_ref())?;
    allowance.mail_to(email.as_ref())?;
    let token = new_secret()?;
    // After the answer, so that how long it takes tells nothing.
    tokio::spawn(async move {
        if let Err(error) = write_to(&api, &email, &token).await {
            tracing::error!(%error, "a password reset could not be stored");
        }
    });
    Ok(accepted("If this address has an account, a mail says how to go on."))
}

async fn write_to(api: &Api, email: &Address, token: &Secret) -> Result<(), StoreError> {
    let account = api.catalog.account_by_email(email.as_ref()).await?;
    let Some(account) = account.filter(|account| account.disabled_at.is_none()) else { return Ok(()) };
    let now = api.clock.now();
    let expires = UnixNanos(now.0.saturating_add(RESET_LIFE_SECS * 1_000_000_000));
    api.catalog.add_reset(&token.digest(), account.id, now, expires).await?;
    let text = format!(
        "Somebody, probably you, has forgotten the password of your account at a Sonde network.\n\nTo set a new one, open \
         this within an hour:\n\n{}\nIf it was not you, do nothing.\n",
        how_to_use(api, "password-reset", token)
    );
    post(api, email, "A new password", &text);
    Ok(())
}

/// `POST accounts/password-reset/confirm/`: sets a new password by the token from the mail. Every session ends.
#[utoipa::path(
    post, path = "/api/v2/accounts/password-reset/confirm/", tag = "accounts",
    request_body(content = serde_json::Value, example = json!({"token": "from the mail", "password": "at least ten characters"})),
    responses((status = 200, body = serde_json::Value))
)]
async fn confirm(
    State(api): State<Arc<Api>>,
    _: SameOrigin,
    allowance: Allowance,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let mut texts = Texts::of(&body);
    let (token, password) = (texts.token(), texts.new_password("password"));
    let (Some(token), Some(password)) = (token, password) else { return Err(texts.refusal()) };
    allowance.attempt()?;
    let hash = password::hash(password).await?;
    match api.catalog.reset_password(&digest_of(token), &hash, api.clock.now()).await? {
        Some(account) => Ok(answer(StatusCode::OK, object(&account))),
        None => Err(ApiError::body_at("/token", BAD_TOKEN)),
    }
}
