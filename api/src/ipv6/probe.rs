//! What one probe says: its verdicts now with the words for them, how its last hours and days went, and the evidence of its last
//! run, with the addresses that the viewer may see.
//!
//! Nothing here is more than its results are: they are those of a public measurement.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::result::Outcome;
use sonde_protocol::result::ipv6::{Because, Ipv6Outcome, Verdict};
use sonde_protocol::spec::Kind;
use sonde_store::StoreError;
use sonde_store::catalog::{Catalog, Limit, Measurement, MeasurementFilter, NumberField, Slice};
use sonde_store::reachability::{Hour, Record};
use sonde_store::results::{ResultQuery, StoredReport};
use sonde_store::view::Viewer;

use crate::Api;
use crate::auth::Access;
use crate::error::ApiError;
use crate::line;
use crate::masking::Masks;
use crate::path::Id;
use crate::permission::Permission;
use crate::probes::find;

/// How many hours and days are shown.
const HOURS: i64 = Hour::A_DAY;
const DAYS: i64 = 90;

/// The most built-in measurements of the kind `ipv6`; one is the rule.
const MAX_BUILTINS: u64 = 16;

/// The network's own measurements of the kind, which every probe takes part in.
pub(super) async fn builtins(catalog: &dyn Catalog) -> Result<Vec<Measurement>, StoreError> {
    let first_user = i64::try_from(MeasurementId::FIRST_USER.0).unwrap_or(i64::MAX);
    let filter = MeasurementFilter {
        kind: Some(Kind::Ipv6),
        is_public: Some(true),
        limits: vec![(NumberField::Id, Limit::Below(first_user))],
        ..MeasurementFilter::default()
    };
    let slice = Slice { offset: 0, limit: MAX_BUILTINS, descending: false };
    Ok(catalog.measurements(&filter, slice).await?.items)
}

/// The newest result, and which measurement it is of.
async fn last_run(api: &Api, probe: ProbeId) -> Result<Option<(Measurement, StoredReport)>, ApiError> {
    let mut last: Option<(Measurement, StoredReport)> = None;
    let from = Some(Hour::of(api.clock.now()).plus(-DAYS * Hour::A_DAY).start());
    for measurement in builtins(&*api.catalog).await? {
        let query = ResultQuery { measurement: measurement.id, from, to: None, probes: Some(vec![probe]) };
        let newest = api.results.latest(&query, 1, Some(1)).await?.into_iter().next();
        if let Some(newest) = newest.filter(|newest| last.as_ref().is_none_or(|(_, last)| newest.at > last.at)) {
            last = Some((measurement, newest));
        }
    }
    Ok(last)
}

/// Reasons with their sentences.
fn why(because: &Because) -> Value {
    json!({"reason": because.reason.word(), "detail": because.detail, "sentence": because.reason.sentence()})
}

fn verdict(verdict: &Verdict) -> Value {
    let settled = verdict.settled.as_ref();
    let reasons = settled.map(|settled| {
        let told = |reason| verdict.why.iter().copied().find(|because| because.reason == reason);
        settled.reasons.iter().map(|reason| why(&told(*reason).unwrap_or_else(|| (*reason).into()))).collect::<Vec<_>>()
    });
    json!({
        "af": verdict.af.number(),
        "settled": settled.map(|settled| settled.state.word()),
        "settled_why": reasons.unwrap_or_default(),
        "raw": verdict.raw.word(),
        "raw_why": verdict.why.iter().map(why).collect::<Vec<_>>(),
        "streak": verdict.streak,
    })
}

/// An hour.
fn hour((at, record): &(Hour, Record)) -> Value {
    json!({
        "at": at.seconds(),
        "v6": record.vote.map(|vote| vote.v6.word()),
        "v4": record.vote.map(|vote| vote.v4.word()),
        "silent": record.vote.is_none().then_some(record.silence.word()),
        "runs": record.runs,
        "conclusive": record.conclusive,
        "rtt_difference": record.difference.map(|micros| f64::from(micros) / 1000.0),
    })
}

/// Days, each with the state of IPv6 that most of its hours had, and the worst.
fn days(hours: &[(Hour, Record)]) -> Vec<Value> {
    let mut days: BTreeMap<Hour, Vec<&Record>> = BTreeMap::new();
    for (hour, record) in hours {
        days.entry(hour.day()).or_default().push(record);
    }
    let day = |(at, records): (&Hour, &Vec<&Record>)| {
        let states: Vec<_> = records.iter().filter_map(|record| Some(record.vote?.v6)).collect();
        let count = |state| states.iter().filter(|other| **other == state).count();
        let most = states.iter().copied().max_by_key(|state| (count(*state), state.badness()));
        json!({
            "at": at.seconds(),
            "votes": states.len(),
            "silent": records.len() - states.len(),
            "works6": states.iter().filter(|state| state.works()).count(),
            "v6": most.map(|state| state.word()),
            "worst": states.iter().copied().max_by_key(|state| state.badness()).map(|state| state.word()),
        })
    };
    days.iter().map(day).collect()
}

/// The result as its viewer sees it.
async fn evidence(
    api: &Api,
    viewer: Viewer,
    measurement: &Measurement,
    stored: &StoredReport,
) -> Result<(Value, Option<Ipv6Outcome>), ApiError> {
    let Some(result) = line::read(stored) else { return Ok((Value::Null, None)) };
    let mut masks = Masks::default();
    masks.learn(&*api.catalog, &[stored]).await?;
    let mut text = Vec::new();
    line::write(&mut text, viewer, &masks, measurement, stored, &result);
    let written = serde_json::from_slice(&text).unwrap_or(Value::Null);
    let outcome = match result.outcome {
        Outcome::Ipv6(outcome) => Some(outcome),
        _ => None,
    };
    Ok((written, outcome.map(|outcome| *outcome)))
}

/// `GET ipv6/probes/{id}/`: what one probe says: its verdicts with the words for them, its last 24 hours and 90 days, and its last
/// run. An hour without a vote says why it is silent; hours and days of which nothing is known are left out.
#[utoipa::path(get, path = "/api/v2/ipv6/probes/{id}/", tag = "ipv6", params(("id" = u64, Path)), responses((status = 200, body = serde_json::Value)))]
pub(super) async fn probe(State(api): State<Arc<Api>>, access: Access, Id(id): Id) -> Result<Response, ApiError> {
    let viewer = access.viewer(Permission::ListProbes, None);
    let probe = find(&api, ProbeId(id)).await?;
    let now = Hour::of(api.clock.now()).plus(1);
    let hours = api.reachability.votes_of(probe.id, now.day().plus((1 - DAYS) * Hour::A_DAY), now).await?;
    let lately: Vec<Value> = hours.iter().filter(|(hour, _)| *hour >= now.plus(-HOURS)).map(self::hour).collect();
    let last = match last_run(&api, probe.id).await? {
        None => None,
        Some((measurement, stored)) => {
            let (written, outcome) = evidence(&api, viewer, &measurement, &stored).await?;
            Some((stored.at.as_secs(), written, outcome))
        }
    };
    let verdicts = last
        .as_ref()
        .and_then(|(_, _, outcome)| outcome.as_ref())
        .map(|outcome| outcome.verdicts.iter().map(verdict).collect::<Vec<_>>());
    let body = json!({
        "id": probe.id.0,
        "country_code": probe.country,
        "asn_v4": probe.asn_v4.map(|asn| asn.0),
        "asn_v6": probe.asn_v6.map(|asn| asn.0),
        // Others count in no sum.
        "counts": probe.vouched,
        "last_run": last.as_ref().map(|(at, _, _)| *at),
        "definition": last.as_ref().and_then(|(_, _, outcome)| outcome.as_ref()).map(|outcome| outcome.definition),
        "verdict": verdicts.unwrap_or_default(),
        "hours": lately,
        "days": days(&hours),
        "evidence": last.map(|(_, written, _)| written),
    });
    let mut response = Json(body).into_response();
    // Its owner sees more of the same address.
    let fresh = if viewer == Viewer::Public { "public, max-age=60" } else { "private, no-store" };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(fresh));
    Ok(response)
}
