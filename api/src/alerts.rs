//! `alerts/`, which Atlas does not have: rules that watch a measurement and tell their owner by webhook when it goes wrong
//! and when it is well again.
//!
//! The endpoints are here; when a rule alerts is [`condition`], what is sent and when again [`webhook`], the task that does
//! both [`watch`].

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sonde_protocol::ids::{AccountId, MeasurementId};
use sonde_protocol::spec::Kind;
use sonde_store::catalog::{AlertRule, Delivery, NewAlertRule};
use utoipa_axum::routes;

use crate::Api;
use crate::auth::Access;
use crate::body::{AnyBody, JsonBody};
use crate::egress::Destination;
use crate::error::ApiError;
use crate::here::Here;
use crate::measurements::visible;
use crate::paging::Paging;
use crate::params::Params;
use crate::path::Id;
use crate::permission::Permission;
use crate::query::PagesById;
use crate::reader::Reader;
use crate::router::Routes;
use crate::times::iso;
use sonde_store::view::Viewer;

mod condition;
mod watch;
mod webhook;

use condition::Condition;
pub use watch::Watch;

/// The most rules of an account.
const MAX_RULES: u32 = 100;

/// The most test messages of a rule that wait at once.
const MAX_WAITING: usize = 20;

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(list, make));
    routes.add(routes!(show, change, remove));
    routes.add(routes!(deliveries));
    routes.add(routes!(test));
}

/// `GET alerts/`: the account's rules.
#[utoipa::path(get, path = "/api/v2/alerts/", tag = "alerts", params(PagesById), responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let account = access.may(Permission::ListAlerts, None)?;
    let paging = Paging::read(&params)?;
    let found = api.catalog.alert_rules(account, paging.slice()).await?;
    paging.envelope(found.total, found.items.iter().map(object).collect(), &here).map(Json)
}

/// `POST alerts/`: makes a rule. `secret` of the answer signs what is sent (Standard Webhooks); it is shown this once.
#[utoipa::path(post, path = "/api/v2/alerts/", tag = "alerts", request_body = serde_json::Value, responses((status = 201, body = serde_json::Value)))]
pub(crate) async fn make(
    State(api): State<Arc<Api>>,
    access: Access,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let account = access.may(Permission::ManageAlerts, None)?;
    let mut secret = vec![0; webhook::SECRET];
    getrandom::fill(&mut secret).map_err(|_| ApiError::internal())?;
    let shown = webhook::shown(&secret);
    let new = read(&api, &access, account, &body, None, secret).await?;
    let made = api.catalog.add_alert_rule(&new, MAX_RULES, api.clock.now()).await?;
    let made = made.ok_or_else(|| {
        ApiError::body_at("", format!("An account has at most {MAX_RULES} alert rules; remove one first."))
    })?;
    let mut object = object(&made);
    if let Some(fields) = object.as_object_mut() {
        fields.insert("secret".into(), shown.into());
    }
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], Json(object)).into_response())
}

/// `GET alerts/{id}/`: one rule, and how it is.
#[utoipa::path(get, path = "/api/v2/alerts/{id}/", tag = "alerts", params(("id" = u64, Path)), responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn show(State(api): State<Arc<Api>>, access: Access, Id(id): Id) -> Result<Json<Value>, ApiError> {
    let account = access.may(Permission::ListAlerts, None)?;
    own(&api, account, id).await.map(|rule| Json(object(&rule)))
}

/// `PATCH alerts/{id}/`: changes the fields that are given. The state of a rule that watches something else begins anew.
#[utoipa::path(patch, path = "/api/v2/alerts/{id}/", tag = "alerts", params(("id" = u64, Path)), request_body = serde_json::Value, responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn change(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    let account = access.may(Permission::ManageAlerts, None)?;
    let old = own(&api, account, id).await?;
    let secret = old.asked.secret.clone();
    let new = read(&api, &access, account, &body, Some(&old), secret).await?;
    if !api.catalog.change_alert_rule(id, &new).await? {
        return Err(ApiError::not_found());
    }
    own(&api, account, id).await.map(|rule| Json(object(&rule)))
}

/// `DELETE alerts/{id}/`: removes it, and what it still has to tell; 204.
#[utoipa::path(delete, path = "/api/v2/alerts/{id}/", tag = "alerts", params(("id" = u64, Path)), responses((status = 204)))]
pub(crate) async fn remove(State(api): State<Arc<Api>>, access: Access, Id(id): Id) -> Result<StatusCode, ApiError> {
    let account = access.may(Permission::ManageAlerts, None)?;
    match api.catalog.remove_alert_rule(account, id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::not_found()),
    }
}

/// `GET alerts/{id}/deliveries/`: what was sent in the last 30 days, or is to be, and what came of it.
#[utoipa::path(get, path = "/api/v2/alerts/{id}/deliveries/", tag = "alerts", params(("id" = u64, Path), PagesById), responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn deliveries(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let account = access.may(Permission::ListAlerts, None)?;
    let rule = own(&api, account, id).await?;
    let paging = Paging::read(&params)?;
    let found = api.catalog.deliveries(rule.id, paging.slice()).await?;
    paging.envelope(found.total, found.items.iter().map(delivery).collect(), &here).map(Json)
}

/// `POST alerts/{id}/test/`: sends a message of the type `alert.test`; 202 and its delivery.
#[utoipa::path(post, path = "/api/v2/alerts/{id}/test/", tag = "alerts", params(("id" = u64, Path)), responses((status = 202, body = serde_json::Value)))]
pub(crate) async fn test(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    _: AnyBody,
) -> Result<Response, ApiError> {
    let account = access.may(Permission::ManageAlerts, None)?;
    let rule = own(&api, account, id).await?;
    let newest = sonde_store::catalog::Slice { offset: 0, limit: MAX_WAITING as u64, descending: true };
    let waiting = api.catalog.deliveries(id, newest).await?.items;
    if waiting.iter().filter(|delivery| delivery.next_at.is_some()).count() >= MAX_WAITING {
        return Err(ApiError::bad_request(
            "So many messages of this rule wait already that there is no need of one more.",
        ));
    }
    let now = api.clock.now();
    let body = watch::message(&rule, &rule.state, "test", false, now);
    let number = api.catalog.add_delivery(id, &body, now).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": webhook::name(number) }))).into_response())
}

/// A rule of this account; another's is none.
async fn own(api: &Api, account: AccountId, id: u64) -> Result<AlertRule, ApiError> {
    let found = api.catalog.alert_rule(id).await?;
    found.filter(|rule| rule.asked.owner == account).ok_or_else(ApiError::not_found)
}

/// What a body asks for, over what there is already.
async fn read(
    api: &Api,
    access: &Access,
    owner: AccountId,
    body: &Value,
    old: Option<&AlertRule>,
    secret: Vec<u8>,
) -> Result<NewAlertRule, ApiError> {
    let mut problems = Vec::new();
    let Some(mut fields) = Reader::new(body, String::new(), &mut problems) else {
        return Err(ApiError::body(problems));
    };
    let measurement = match (fields.value("measurement"), old) {
        (Some(_), _) => fields.integer("measurement").and_then(|id| u64::try_from(id).ok()).map(MeasurementId),
        (None, Some(old)) => Some(old.asked.measurement),
        (None, None) => {
            fields.required("measurement");
            None
        }
    };
    // The kind says which metrics there are.
    let kind = match measurement {
        None => None,
        Some(id) => match visible(api, viewer(access, owner, id), id).await {
            Ok(measurement) => Some(measurement.asked.spec.kind()),
            Err(error) if error.is_not_found() => {
                fields.problem("measurement", "There is no such measurement.");
                None
            }
            Err(error) => return Err(error),
        },
    };
    let before = old.and_then(|old| Condition::parse(&old.asked.condition, kind.unwrap_or(Kind::Ping)));
    let condition = kind.and_then(|kind| Condition::read(&mut fields, before.as_ref(), kind));
    let url = match (fields.value("url"), old) {
        (Some(_), _) => {
            let text = fields.text::<2048>("url").map(|text| text.as_str().to_owned());
            match text.as_deref().map(|text| Destination::read(text, &api.config.webhook_allow)) {
                Some(Err(why)) => {
                    fields.problem("url", why);
                    None
                }
                _ => text,
            }
        }
        (None, Some(old)) => Some(old.asked.url.clone()),
        (None, None) => {
            fields.required("url");
            None
        }
    };
    let description = match (fields.value("description"), old) {
        (Some(_), _) => fields.text::<512>("description").map(|text| text.as_str().to_owned()),
        (None, old) => Some(old.map_or_else(String::new, |old| old.asked.description.clone())),
    };
    let enabled = fields.flag("enabled").unwrap_or_else(|| old.is_none_or(|old| old.asked.enabled));
    match (measurement, condition, url, description) {
        (Some(measurement), Some(condition), Some(url), Some(description)) if problems.is_empty() => {
            let condition = condition.write().to_string();
            Ok(NewAlertRule { owner, measurement, description, condition, url, secret, enabled })
        }
        _ => Err(ApiError::body(problems)),
    }
}

/// A rule tells of results, so the key must be good for reading those of a private measurement.
fn viewer(access: &Access, owner: AccountId, id: MeasurementId) -> Viewer {
    match access.viewer(Permission::GetNonPublicResults, Some(id)) {
        Viewer::Public => Viewer::Public,
        _ => Viewer::Account(owner),
    }
}

fn object(rule: &AlertRule) -> Value {
    let condition: Value = serde_json::from_str(&rule.asked.condition).unwrap_or_default();
    let part = |field: &str| condition.get(field).cloned().unwrap_or_default();
    json!({
        "id": rule.id,
        "type": "alert",
        "measurement": rule.asked.measurement,
        "description": rule.asked.description,
        "metric": part("metric"),
        "operator": part("operator"),
        "threshold": part("threshold"),
        "probes": part("probes"),
        "runs": part("runs"),
        "of": part("of"),
        "url": rule.asked.url,
        "enabled": rule.asked.enabled,
        "created_at": iso(rule.created_at),
        "state": {
            "alerting": rule.state.alerting,
            "since": rule.state.since.map(iso),
            "probes": rule.state.probes,
        },
    })
}

fn delivery(delivery: &Delivery) -> Value {
    let state = match (delivery.ended_at, delivery.next_at) {
        (Some(_), _) => "delivered",
        (None, Some(_)) => "waiting",
        (None, None) => "given up",
    };
    let body: Value = serde_json::from_str(&delivery.body).unwrap_or_default();
    json!({
        "id": webhook::name(delivery.id),
        "created_at": iso(delivery.created_at),
        "state": state,
        "attempts": delivery.attempts,
        "next_at": delivery.next_at.map(iso),
        "delivered_at": delivery.ended_at.map(iso),
        "last_answer": delivery.last,
        "message": body,
    })
}
