//! `credits/transfers/`: credits from one account to another.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use sonde_store::catalog::{EntryKind, Transferred};
use utoipa_axum::routes;

use crate::Api;
use crate::admission;
use crate::auth::Access;
use crate::body::JsonBody;
use crate::credits;
use crate::error::{ApiError, Problem};
use crate::here::Here;
use crate::once::{self, IdempotencyKey};
use crate::params::Params;
use crate::permission::Permission;
use crate::query::DatedPages;
use crate::reader::Reader;
use crate::router::{ErrorBody, Routes};

/// The most credits at once: no sum of such comes near what a number can hold.
const MAX_AMOUNT: u64 = 1_000_000_000_000;

/// The most bytes of a mail address.
const MAX_MAIL: usize = 254;

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(list, transfer));
    // The old name.
    routes.add_at("/api/v2/credits/transfer/", routes!(transfer));
}

/// `GET credits/transfers/`: what the account gave and was given.
#[utoipa::path(get, path = "/api/v2/credits/transfers/", tag = "credits",
    params(DatedPages),
    responses((status = 200, body = serde_json::Value)))]
async fn list(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    credits::list(&api, &access, &[EntryKind::Transfer], &params, &here).await
}

/// `POST credits/transfers/`: gives `amount` credits to the account of the mail address `recipient`; all or nothing, and
/// once if it has an `Idempotency-Key`.
#[utoipa::path(post, path = "/api/v2/credits/transfers/", tag = "credits", request_body = serde_json::Value,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = serde_json::Value), (status = 422, body = ErrorBody, description = "The Idempotency-Key was sent before with another request")))]
async fn transfer(
    State(api): State<Arc<Api>>,
    access: Access,
    key: IdempotencyKey,
    here: Here,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let account = access.may(Permission::TransferCredits, None)?;
    let once = key.once(account, &body)?;
    let (recipient, amount) = read(&body).map_err(ApiError::body)?;
    let answer = |id: u64| {
        let url = here.api(&format!("credits/transactions/{id}/"));
        let value = json!({ "id": id, "transaction": url, "recipient": recipient, "amount": amount });
        (StatusCode::CREATED, Json(value))
    };
    if let Some(&[id]) = once::before(&api, once.as_ref()).await?.as_deref() {
        return Ok(answer(id));
    }
    admission::open_ledger(&api, account).await?;
    let to = match api.catalog.account_by_email(&recipient).await? {
        Some(to) if to.id != account => to.id,
        Some(_) => return Err(ApiError::body_at("/recipient", "These credits are yours already.")),
        None => return Err(ApiError::body_at("/recipient", "There is no account with this mail address.")),
    };
    admission::open_ledger(&api, to).await?;
    match api.catalog.transfer(account, to, amount, once.as_ref(), api.clock.now()).await? {
        Transferred::Done(id) => Ok(answer(id)),
        Transferred::Overdrawn(free) => {
            Err(ApiError::body_at("/amount", format!("You have {free} credits to give away.")))
        }
        Transferred::OtherRequest => Err(once::other_request()),
    }
}

fn read(body: &Value) -> Result<(String, u64), Vec<Problem>> {
    let mut problems = Vec::new();
    let (mut recipient, mut amount) = (None, None);
    if let Some(mut fields) = Reader::new(body, String::new(), &mut problems) {
        for field in ["recipient", "amount"] {
            if fields.value(field).is_none() {
                fields.required(field);
            }
        }
        recipient = fields.text::<MAX_MAIL>("recipient").map(|text| text.as_str().to_lowercase());
        if let Some(number) = fields.integer("amount") {
            amount = u64::try_from(number).ok().filter(|amount| (1..=MAX_AMOUNT).contains(amount));
            if amount.is_none() {
                fields.problem("amount", format!("Ensure this value is between 1 and {MAX_AMOUNT}."));
            }
        }
    }
    match (recipient, amount) {
        (Some(recipient), Some(amount)) if problems.is_empty() => Ok((recipient, amount)),
        _ => Err(problems),
    }
}
