//! One's own account.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use utoipa_axum::routes;

use super::{Texts, answer, object, post};
use crate::Api;
use crate::auth::Access;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::limits::Allowance;
use crate::mail_address;
use crate::password;
use crate::router::Routes;
use crate::web_session::Own;

pub(super) fn routes(routes: &mut Routes) {
    routes.add(routes!(show, change));
}

/// `GET accounts/me/`: the account behind the session, and the session's `csrf_token`.
#[utoipa::path(get, path = "/api/v2/accounts/me/", tag = "accounts", responses((status = 200, body = serde_json::Value)))]
async fn show(State(api): State<Arc<Api>>, access: Access) -> Result<Response, ApiError> {
    me(&api, access.session()?).await
}

async fn me(api: &Api, own: &Own) -> Result<Response, ApiError> {
    let account = api.catalog.account(own.session.account).await?.ok_or_else(ApiError::not_found)?;
    let mut object = object(&account);
    if let Some(fields) = object.as_object_mut() {
        fields.insert("csrf_token".into(), own.csrf.clone().into());
    }
    Ok(answer(StatusCode::OK, object))
}

/// `PATCH accounts/me/`: changes the password, which needs the old one. Every other session ends.
#[utoipa::path(
    patch, path = "/api/v2/accounts/me/", tag = "accounts",
    request_body(content = serde_json::Value, example = json!({"old_password": "the one so far", "password": "at least ten characters"})),
    responses((status = 200, body = serde_json::Value))
)]
async fn change(
    State(api): State<Arc<Api>>,
    access: Access,
    allowance: Allowance,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let own = access.session()?;
    let mut texts = Texts::of(&body);
    let (old, new) = (texts.old_password("old_password"), texts.new_password("password"));
    let (Some(old), Some(new)) = (old, new) else { return Err(texts.refusal()) };
    let account = api.catalog.account(own.session.account).await?.ok_or_else(ApiError::not_found)?;
    allowance.attempt_on(&account.email)?;
    let hash = api.catalog.password(account.id).await?;
    if !password::is_right(old, hash).await? {
        return Err(ApiError::body_at("/old_password", "This is not the password."));
    }
    let hash = password::hash(new).await?;
    api.catalog.change_password(account.id, &hash, Some(&own.session.token)).await?;
    if let Some(email) = mail_address::parse(&account.email) {
        let text = "The password of your account at a Sonde network was changed, and you were logged out everywhere \
                    else.\n\nIf it was not you, ask for a new password at once.\n";
        post(&api, &email, "Your password was changed", text);
    }
    me(&api, own).await
}
