//! A measurement as JSON: RIPE Atlas's object, every field of it present.

use serde_json::{Map, Value, json};
use sonde_protocol::time::UnixNanos;
use sonde_store::StoreError;
use sonde_store::catalog::{Measurement, Slice, Status};
use sonde_store::view::Viewer;

use crate::Api;
use crate::datetimes::Datetimes;
use crate::error::ApiError;
use crate::fields::Selection;
use crate::here::Here;
use crate::kinds;
use crate::participation;
use crate::policy;
use crate::top_up;

/// The most requests for participation that the object holds, the newest; their own list has them all.
const MAX_REQUESTS: u64 = 500;

/// The fields that are times.
const TIMES: &[&str] = &["creation_time", "start_time", "stop_time", "status.when"];

/// What nobody counts of built-in measurements.
const NOT_OF_BUILTINS: &[&str] =
    &["group", "group_id", "participant_count", "probes_requested", "probes_scheduled", "estimated_results_per_day"];

/// The object, as `viewer` sees it, with the fields that were asked for.
pub(crate) async fn write(
    api: &Api,
    viewer: Viewer,
    measurement: &Measurement,
    selection: &Selection,
    here: &Here,
    datetimes: Datetimes,
) -> Result<Value, ApiError> {
    let mut object = plain(measurement, viewer, api.clock.now(), here);
    let price = policy::price(&api.config.policy.credits, &measurement.asked.spec, measurement.asked.is_oneoff);
    object.insert("credits_per_result".into(), price.credits.into());
    if selection.wants("probes") {
        object.insert("probes".into(), probes(api, measurement, here, false).await?);
    }
    if selection.wants("current_probes") {
        object.insert("current_probes".into(), probes(api, measurement, here, true).await?);
    }
    if selection.wants("participation_requests") {
        let slice = Slice { offset: 0, limit: MAX_REQUESTS, descending: true };
        let requests = api.catalog.participation_requests(measurement.id, None, slice).await?.items;
        let requests = requests.iter().rev().map(|request| participation::write(request, datetimes, here));
        object.insert("participation_requests".into(), requests.collect());
    }
    if selection.wants("participant_logs") {
        let events = api.catalog.participant_log(measurement.id).await?;
        let events = events.iter().map(|event| {
            let mut log = json!({
                "prb_id": event.probe,
                "timestamp": event.at.as_secs(),
                "action": if event.joined { "join" } else { "leave" },
            });
            if let Some(log) = log.as_object_mut() {
                datetimes.apply(log, &["timestamp"]);
            }
            log
        });
        object.insert("participant_logs".into(), events.collect());
    }
    if selection.wants("probe_sources") {
        // What is stored was written by us; were it damaged, it would show as an empty list.
        let sources = serde_json::from_str(&measurement.asked.probe_sources).unwrap_or_else(|_| json!([]));
        object.insert("probe_sources".into(), sources);
    }
    if selection.wants("is_active") {
        let (status, _) = measurement.status(api.clock.now());
        object.insert("is_active".into(), (!status.is_over()).into());
    }
    for name in top_up::FIELDS.iter().filter(|name| selection.wants(name)) {
        object.insert((*name).to_owned(), top_up::field(measurement.asked.top_up, name));
    }
    if selection.wants("target_update_hours") {
        object.insert("target_update_hours".into(), json!(measurement.asked.target_update_hours));
    }
    if selection.wants("target_update_error") && sees_owner(viewer, measurement) {
        object.insert("target_update_error".into(), json!(measurement.target_update_error));
    }
    datetimes.apply(&mut object, TIMES);
    Ok(selection.apply(object))
}

/// The probes that take part; of a one-off perhaps only those that have not answered yet. blaeu takes the length of this list for the number of results to wait for.
async fn probes(api: &Api, measurement: &Measurement, here: &Here, now_only: bool) -> Result<Value, StoreError> {
    if measurement.id.is_builtin() {
        // Everybody, which is a long list that says nothing.
        return Ok(Value::Null);
    }
    let mut parts = api.catalog.participants(measurement.id).await?;
    parts.retain(|part| part.left_at.is_none() && (!now_only || !part.settled));
    let probes =
        parts.iter().map(|part| json!({ "id": part.probe, "url": here.api(&format!("probes/{}/", part.probe)) }));
    Ok(probes.collect())
}

/// Only the owner and the operator learn whose it is, and what is wrong with its target.
fn sees_owner(viewer: Viewer, measurement: &Measurement) -> bool {
    viewer == Viewer::Operator || viewer.account() == Some(measurement.asked.owner)
}

fn plain(measurement: &Measurement, viewer: Viewer, now: UnixNanos, here: &Here) -> Map<String, Value> {
    let asked = &measurement.asked;
    let (status, since) = measurement.status(now);
    let seconds = |at: Option<UnixNanos>| at.map(UnixNanos::as_secs);
    let stop = match (asked.is_oneoff, status) {
        (_, Status::Stopped | Status::ForcedToStop) => seconds(since),
        // A one-off's stop is when its orders expire, which is nobody's business outside.
        (true, _) => None,
        (false, _) => seconds(asked.stop),
    };
    let present = measurement.participants.saturating_sub(measurement.departed);
    let per_day = match asked.interval {
        Some(interval) => u64::from(present) * 86_400 / u64::from(interval.max(1)),
        None => u64::from(present),
    };
    let general = json!({
        "id": measurement.id,
        "type": asked.spec.kind().name(),
        "status": { "id": status.number(), "name": status.name(), "when": seconds(since) },
        "af": asked.af.number(),
        "description": asked.description,
        "creation_time": measurement.created_at.as_secs(),
        "start_time": asked.start.as_secs(),
        "stop_time": stop,
        "interval": asked.interval,
        "spread": asked.spread,
        "is_oneoff": asked.is_oneoff,
        "is_public": asked.is_public,
        "is_all_scheduled": present >= asked.probes_requested,
        "in_wifi_group": false,
        "resolve_on_probe": asked.resolve_on_probe,
        "participant_count": present,
        "probes_requested": asked.probes_requested,
        "probes_scheduled": present,
        "group": here.api(&format!("measurements/groups/{}/", measurement.group)),
        "group_id": measurement.group,
        "target": asked.target,
        "target_ip": asked.resolved.first(),
        "target_asn": asked.origin.as_ref().map(|origin| origin.asn),
        "target_prefix": asked.origin.as_ref().and_then(|origin| origin.prefix.as_deref()),
        "resolved_ips": if asked.resolved.is_empty() { Value::Null } else { json!(asked.resolved) },
        "result": here.api(&format!("measurements/{}/results/", measurement.id)),
        "estimated_results_per_day": per_day,
        "tags": asked.tags,
    });
    let mut object = match general {
        Value::Object(object) => object,
        _ => Map::new(),
    };
    object.extend(kinds::write(&asked.spec));
    if measurement.id.is_builtin() {
        for field in NOT_OF_BUILTINS {
            object.insert((*field).to_owned(), Value::Null);
        }
        object.insert("is_all_scheduled".into(), true.into());
    }
    if sees_owner(viewer, measurement) {
        object.insert("user_id".into(), json!(asked.owner));
        object.insert("bill_to_user_id".into(), json!(asked.owner));
    }
    object
}
