//! `credits/`: what an account has, earned and spent. Giving some away is [`crate::transfers`].

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use sonde_protocol::ids::AccountId;
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{CreditEntry, EntryKind, ProbeFilter, Slice};
use utoipa_axum::routes;

use crate::Api;
use crate::admission;
use crate::auth::Access;
use crate::datetimes::Datetimes;
use crate::error::ApiError;
use crate::here::Here;
use crate::paging::Paging;
use crate::params::Params;
use crate::path::Id;
use crate::permission::Permission;
use crate::query::{Dated, DatedPages};
use crate::router::Routes;
use crate::times;

const MINUTES_A_DAY: u64 = 1440;
const DAY_SECS: i64 = 86_400;

/// The tag of anchors.
const ANCHOR: &str = "system-anchor";

/// The fields of a transaction that are times.
const TIMES: &[&str] = &["created_at", "changed_at"];

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(show));
    routes.add(routes!(income));
    routes.add(routes!(expenses));
    routes.add(routes!(transactions));
    routes.add(routes!(transaction));
}

/// `GET credits/`: what the account has.
#[utoipa::path(get, path = "/api/v2/credits/", tag = "credits", responses((status = 200, body = serde_json::Value)))]
async fn show(State(api): State<Arc<Api>>, access: Access, here: Here) -> Result<Json<Value>, ApiError> {
    let account = access.may(Permission::GetCreditInfo, None)?;
    admission::open_ledger(&api, account).await?;
    let (now, policy) = (api.clock.now(), &api.config.policy);
    let summary = api.catalog.credit_summary(account, now).await?;
    let spending = api.catalog.usage(account, &[], now).await?.credits_per_day;
    let earning = match policy.credits.enabled {
        true => earning(&api, account).await?,
        false => 0,
    };
    let change = i128::from(earning) - i128::from(spending);
    let runs_out = (change < 0).then(|| i128::from(summary.balance.max(0)) * i128::from(DAY_SECS) / -change);
    // Without the zone, as Atlas writes it here.
    let date = |at: UnixNanos| times::iso(at).trim_end_matches('Z').to_owned();
    Ok(Json(json!({
        "current_balance": summary.balance,
        "credit_checked": policy.credits.enabled,
        "max_daily_credits": policy.quotas.credits_per_day,
        "estimated_daily_income": earning,
        "estimated_daily_expenditure": spending,
        "estimated_daily_balance": i64::try_from(change).unwrap_or(i64::MIN),
        "calculation_time": date(now),
        "estimated_runout_seconds": runs_out.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX)),
        "past_day_measurement_results": summary.results,
        "past_day_credits_spent": summary.spent,
        "last_date_debited": summary.last_debited.map(date),
        "last_date_credited": summary.last_credited.map(date),
        "income_items": here.api("credits/income-items/"),
        "expense_items": here.api("credits/expense-items/"),
        "transactions": here.api("credits/transactions/"),
    })))
}

/// What the account's probes that are connected now earn in a day.
async fn earning(api: &Api, account: AccountId) -> Result<u64, ApiError> {
    let count = async |tags: Vec<String>| {
        let filter = ProbeFilter { owner: Some(account), connected: Some(true), tags, ..ProbeFilter::default() };
        let slice = Slice { offset: 0, limit: 0, descending: false };
        api.catalog.probes(&filter, slice).await.map(|page| page.total)
    };
    let (all, anchors) = (count(Vec::new()).await?, count(vec![ANCHOR.into()]).await?);
    let credits = &api.config.policy.credits;
    let minute = all.saturating_sub(anchors).saturating_mul(u64::from(credits.income_per_minute))
        + anchors.saturating_mul(u64::from(credits.anchor_income_per_minute));
    Ok(minute.saturating_mul(MINUTES_A_DAY))
}

/// `GET credits/income-items/`: what the account's probes earned, an item a day.
#[utoipa::path(get, path = "/api/v2/credits/income-items/", tag = "credits",
    params(DatedPages),
    responses((status = 200, body = serde_json::Value)))]
async fn income(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    list(&api, &access, &[EntryKind::Income], &params, &here).await
}

/// `GET credits/expense-items/`: what measurements cost, an item a measurement and day.
#[utoipa::path(get, path = "/api/v2/credits/expense-items/", tag = "credits",
    params(DatedPages),
    responses((status = 200, body = serde_json::Value)))]
async fn expenses(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    list(&api, &access, &[EntryKind::Expense], &params, &here).await
}

/// `GET credits/transactions/`: everything that changed the account's credits.
#[utoipa::path(get, path = "/api/v2/credits/transactions/", tag = "credits",
    params(DatedPages),
    responses((status = 200, body = serde_json::Value)))]
async fn transactions(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    list(&api, &access, &[], &params, &here).await
}

/// `GET credits/transactions/{id}/`.
#[utoipa::path(get, path = "/api/v2/credits/transactions/{id}/", tag = "credits", params(("id" = u64, Path), Dated),
    responses((status = 200, body = serde_json::Value)))]
async fn transaction(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let account = access.may(Permission::GetCreditInfo, None)?;
    let entry = api.catalog.credit_entry(account, id).await?.ok_or_else(ApiError::not_found)?;
    Ok(Json(write(&entry, Datetimes::read(&params)?, &here)))
}

/// A page of an account's transactions of some kinds.
pub(crate) async fn list(
    api: &Api,
    access: &Access,
    kinds: &[EntryKind],
    params: &Params,
    here: &Here,
) -> Result<Json<Value>, ApiError> {
    let account = access.may(Permission::GetCreditInfo, None)?;
    let (paging, datetimes) = (Paging::read(params)?, Datetimes::read(params)?);
    admission::open_ledger(api, account).await?;
    let found = api.catalog.credit_entries(account, kinds, paging.slice()).await?;
    let results = found.items.iter().map(|entry| write(entry, datetimes, here)).collect();
    paging.envelope(found.total, results, here).map(Json)
}

/// A transaction as the account sees it: `amount` is what it gained, below zero what it lost.
pub(crate) fn write(entry: &CreditEntry, datetimes: Datetimes, here: &Here) -> Value {
    let kind = match entry.kind {
        EntryKind::Start => "start",
        EntryKind::Grant => "grant",
        EntryKind::Transfer => "transfer",
        EntryKind::Income => "income",
        EntryKind::Expense => "expense",
    };
    let of = |wanted: EntryKind, value: Value| if entry.kind == wanted { value } else { Value::Null };
    let mut value = json!({
        "id": entry.id,
        "type": "transaction",
        "self": here.api(&format!("credits/transactions/{}/", entry.id)),
        "kind": kind,
        "amount": entry.amount,
        "created_at": entry.at.as_secs(),
        "changed_at": entry.changed_at.as_secs(),
        "minutes": of(EntryKind::Income, entry.count.into()),
        "results": of(EntryKind::Expense, entry.count.into()),
        "measurement_id": entry.measurement,
        "measurement": entry.measurement.map(|id| here.api(&format!("measurements/{id}/"))),
        "other_user_id": entry.other,
    });
    if let Some(object) = value.as_object_mut() {
        datetimes.apply(object, TIMES);
    }
    value
}
