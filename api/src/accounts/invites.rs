//! Invitations: where people come in by invitation, everybody may invite a few.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Invite, Invited};
use utoipa_axum::routes;

use super::{INVITE_LIFE_SECS, Texts, answer, how_to_use, new_secret, post};
use crate::Api;
use crate::auth::Access;
use crate::body::JsonBody;
use crate::config::Signup;
use crate::error::ApiError;
use crate::here::Here;
use crate::limits::Allowance;
use crate::paging::Paging;
use crate::params::Params;
use crate::query::PagesById;
use crate::router::Routes;
use crate::times::iso;

pub(super) fn routes(routes: &mut Routes) {
    routes.add(routes!(list, make));
}

/// `GET accounts/invites/`: whom the account has invited.
#[utoipa::path(get, path = "/api/v2/accounts/invites/", tag = "accounts", params(PagesById), responses((status = 200, body = serde_json::Value)))]
async fn list(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let account = access.session()?.session.account;
    let paging = Paging::read(&params)?;
    let invites = api.catalog.invites(account).await?;
    let (total, now) = (invites.len() as u64, api.clock.now());
    let results = paging.cut(invites).iter().map(|invite| object(invite, now)).collect();
    paging.envelope(total, results, &here).map(Json)
}

/// `POST accounts/invites/`: invites somebody. `token` of the answer is the invitation, shown this once; where there is
/// mail it is sent to them, too.
#[utoipa::path(
    post, path = "/api/v2/accounts/invites/", tag = "accounts",
    request_body(content = serde_json::Value, example = json!({"email": "bob@example.net"})),
    responses((status = 201, body = serde_json::Value))
)]
async fn make(
    State(api): State<Arc<Api>>,
    access: Access,
    allowance: Allowance,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let account = access.session()?.session.account;
    let rules = &api.config.accounts;
    if rules.signup != Signup::Invite {
        return Err(ApiError::forbidden("This network does not take people by invitation."));
    }
    let mut texts = Texts::of(&body);
    let Some(email) = texts.email() else { return Err(texts.refusal()) };
    allowance.mail_to(email.as_ref())?;
    let (token, now) = (new_secret()?, api.clock.now());
    let invite = Invite {
        token: token.digest(),
        inviter: Some(account),
        email: email.to_string(),
        created_at: now,
        expires: UnixNanos(now.0.saturating_add(INVITE_LIFE_SECS * 1_000_000_000)),
        used_by: None,
    };
    let max = rules.invites_per_account;
    if api.catalog.invite(&invite, max).await? == Invited::TooMany {
        return Err(ApiError::forbidden(&format!("An account may invite {max} people, and this one has.")));
    }
    let text = format!(
        "Somebody who has an account at a Sonde network invites you to it.\n\nTo sign up, open this within two weeks:\n\n{}\n",
        how_to_use(&api, "signup", &token)
    );
    post(&api, &email, "An invitation", &text);
    let mut object = object(&invite, now);
    if let Some(fields) = object.as_object_mut() {
        fields.insert("token".into(), token.text().into());
    }
    Ok(answer(StatusCode::CREATED, object))
}

fn object(invite: &Invite, now: UnixNanos) -> Value {
    json!({
        "type": "invite",
        "email": invite.email,
        "created_at": iso(invite.created_at),
        "expires_at": iso(invite.expires),
        "is_used": invite.used_by.is_some(),
        "is_active": invite.used_by.is_none() && now < invite.expires,
    })
}
