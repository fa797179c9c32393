//! Probes that stay away are replaced, where a measurement asks for it (Atlas: `auto_topup`). Once an hour: whoever has been
//! disconnected for so many days leaves, and a connected probe from the measurement's own sources joins that has enough
//! in common with it. Nobody leaves without a replacement, and the measurement's log of participants shows both.
//!
//! What two probes have in common is Sonde's own reading of Atlas's `auto_topup_prb_similarity`: half is the country, half
//! the AS of the measurement's family. What is known of neither counts as the same.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::Family;
use sonde_protocol::seed::mix;
use sonde_protocol::spec::Limits;
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Change, Measurement, MeasurementFilter, Probe, ProbeFilter, Slice, Status, TopUp};
use sonde_store::view::Viewer;

use crate::Api;
use crate::error::ApiError;
use crate::reader::Reader;
use crate::sources::{self, MAX_PROBES};

/// Days until a probe is replaced: Atlas's range and default.
const DAYS_OFF: Limits = Limits { name: "auto_topup_prb_days_off", default: 7, min: 1, max: 30 };

/// How much a replacement has in common, unless it is said.
const SIMILARITY: f64 = 0.5;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(3600);

/// How many measurements are read from the catalog at a time.
const BATCH: u64 = 200;

/// The most requests of a measurement whose sources are looked at.
const MAX_REQUESTS: u64 = 500;

/// Reads what a definition says of it.
pub(crate) fn read(fields: &mut Reader<'_>) -> Option<TopUp> {
    let wanted = fields.flag("auto_topup").unwrap_or(false);
    let days_off = fields.number(DAYS_OFF);
    let field = "auto_topup_prb_similarity";
    let similarity = match fields.value(field) {
        None => SIMILARITY,
        Some(Value::Number(number)) => number.as_f64().unwrap_or(f64::NAN),
        Some(Value::String(text)) => text.trim().parse().unwrap_or(f64::NAN),
        Some(_) => f64::NAN,
    };
    if !(0.0..=1.0).contains(&similarity) {
        fields.problem(field, "A number between 0 and 1 is required.");
        return None;
    }
    wanted.then_some(TopUp { days_off, similarity })
}

/// One field of it, as a measurement's object shows it on request.
pub(crate) fn field(top_up: Option<TopUp>, name: &str) -> Value {
    match name {
        "auto_topup" => json!(top_up.is_some()),
        "auto_topup_prb_days_off" => json!(top_up.map(|top_up| top_up.days_off)),
        _ => json!(top_up.map(|top_up| top_up.similarity)),
    }
}

/// The names of these fields.
pub(crate) const FIELDS: &[&str] = &["auto_topup", DAYS_OFF.name, "auto_topup_prb_similarity"];

/// Replaces probes for as long as it runs.
#[derive(Clone)]
pub struct Replacements(pub Api);

impl Replacements {
    /// Looks once an hour.
    pub async fn run(self) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.once().await;
        }
    }

    /// Looks at every measurement that asks for it. One that fails is looked at again next time, and keeps no other waiting.
    pub async fn once(&self) {
        let api = &self.0;
        let now = api.clock.now();
        let filter = MeasurementFilter {
            status: Some((vec![Status::Ongoing], now)),
            tops_up: Some(true),
            ..MeasurementFilter::default()
        };
        let mut offset = 0;
        loop {
            let slice = Slice { offset, limit: BATCH, descending: false };
            let found = match api.catalog.measurements(&filter, slice).await {
                Ok(page) => page.items,
                Err(error) => {
                    tracing::error!(%error, "measurements whose probes are replaced cannot be listed");
                    return;
                }
            };
            for measurement in &found {
                match replace(api, measurement, now).await {
                    Ok(0) => {}
                    Ok(count) => {
                        tracing::info!(measurement_id = %measurement.id, count, "probes that stayed away replaced")
                    }
                    Err(error) => {
                        tracing::warn!(measurement_id = %measurement.id, ?error, "no probe could be replaced")
                    }
                }
            }
            offset += BATCH;
            if (found.len() as u64) < BATCH {
                return;
            }
        }
    }
}

/// Gives how many were replaced.
async fn replace(api: &Api, measurement: &Measurement, now: UnixNanos) -> Result<usize, ApiError> {
    let asked = &measurement.asked;
    let Some(top_up) = asked.top_up else { return Ok(0) };
    let parts = api.catalog.participants(measurement.id).await?;
    let present: HashSet<ProbeId> = parts.iter().filter(|part| part.left_at.is_none()).map(|part| part.probe).collect();
    let mut away = by_id(api, present.iter().copied().collect()).await?;
    away.retain(|probe| is_away(probe, top_up.days_off, now));
    if away.is_empty() {
        return Ok(0);
    }
    let mut others = HashSet::new();
    for source in recorded_sources(api, measurement).await? {
        let viewer = Viewer::Account(asked.owner);
        let fitting = sources::all_of(api, viewer, &source, asked.af, asked.spec.kind()).await?;
        others.extend(fitting.into_iter().filter(|probe| !present.contains(probe)));
    }
    let mut candidates = by_id(api, others.into_iter().collect()).await?;
    candidates.retain(|probe| probe.connection.is_some_and(|connection| connection.connected));
    let pairs = pairs(&away, candidates, top_up.similarity, asked.af, now.0.unsigned_abs());
    if pairs.is_empty() {
        return Ok(0);
    }
    let (leave, join): (Vec<ProbeId>, Vec<ProbeId>) = pairs.into_iter().unzip();
    let change = Change { requests: &[], join: &join, leave: &leave, most: MAX_PROBES };
    let Some((_, changed)) = api.catalog.change_participation(measurement.id, change, now).await? else {
        return Ok(0);
    };
    api.dispatch.orders_changed(&changed).await;
    Ok(join.len())
}

async fn by_id(api: &Api, ids: Vec<ProbeId>) -> Result<Vec<Probe>, ApiError> {
    let slice = Slice { offset: 0, limit: ids.len() as u64, descending: false };
    let filter = ProbeFilter { ids: Some(ids), ..ProbeFilter::default() };
    Ok(api.catalog.probes(&filter, slice).await?.items)
}

/// Where the measurement's probes came from, those that were added later too.
async fn recorded_sources(api: &Api, measurement: &Measurement) -> Result<Vec<sources::Source>, ApiError> {
    let slice = Slice { offset: 0, limit: MAX_REQUESTS, descending: false };
    let requests = api.catalog.participation_requests(measurement.id, None, slice).await?.items;
    let records: Vec<Value> = requests
        .into_iter()
        .filter(|request| !request.asked.removes)
        .map(|request| {
            json!({
                "type": request.asked.source,
                "value": request.asked.value,
                "requested": request.asked.requested,
                "tags_include": request.asked.tags_include,
                "tags_exclude": request.asked.tags_exclude,
            })
        })
        .collect();
    // What was accepted once and is not any more is no source.
    Ok(sources::read_each(&records).0)
}

/// It has been disconnected for so long, or never came.
fn is_away(probe: &Probe, days: u32, now: UnixNanos) -> bool {
    let since = match &probe.connection {
        Some(connection) if connection.connected => return false,
        Some(connection) => connection.since,
        None => probe.created_at,
    };
    now.as_secs() - since.as_secs() >= i64::from(days) * 86_400
}

/// How much two probes have in common, between 0 and 1.
fn similarity(one: &Probe, other: &Probe, family: Family) -> f64 {
    let asn = |probe: &Probe| match family {
        Family::V4 => probe.asn_v4,
        Family::V6 => probe.asn_v6,
    };
    (f64::from(u8::from(one.country == other.country)) + f64::from(u8::from(asn(one) == asn(other)))) / 2.0
}

/// Who leaves, and who comes instead: the candidate that has most in common, chosen by lot among equals.
fn pairs(away: &[Probe], mut candidates: Vec<Probe>, least: f64, family: Family, seed: u64) -> Vec<(ProbeId, ProbeId)> {
    candidates.sort_unstable_by_key(|probe| (mix(seed ^ mix(probe.id.0)), probe.id));
    let mut pairs = Vec::new();
    for probe in away {
        let mut best: Option<(usize, f64)> = None;
        for (index, candidate) in candidates.iter().enumerate() {
            let common = similarity(probe, candidate, family);
            if common >= least && best.is_none_or(|(_, most)| common > most) {
                best = Some((index, common));
            }
        }
        if let Some((index, _)) = best {
            pairs.push((probe.id, candidates.remove(index).id));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use sonde_protocol::ids::{AccountId, Asn};
    use sonde_protocol::key::PublicKey;

    use super::*;

    fn probe(id: u64, country: &str, asn: u32) -> Probe {
        Probe {
            id: ProbeId(id),
            key: PublicKey([0; 32]),
            owner: AccountId(1),
            created_at: UnixNanos(0),
            description: None,
            connection: None,
            first_connected: None,
            last_connected: None,
            address_v4: None,
            address_v6: None,
            address_is_public: false,
            asn_v4: Some(Asn(asn)),
            asn_v6: None,
            country: Some(country.into()),
            country_given: false,
            place: None,
            software: None,
            kinds: None,
            uplink: None,
            tags: Vec::new(),
            is_anchor: false,
            total_uptime: 0,
            vouched: true,
            consent: None,
            duplicate_at: None,
        }
    }

    #[test]
    fn the_candidate_that_has_most_in_common_comes() {
        let away = [probe(1, "NL", 64500), probe(2, "DE", 64501), probe(3, "FR", 64502)];
        let others = || vec![probe(11, "NL", 1), probe(12, "NL", 64500), probe(13, "AT", 64501), probe(14, "US", 2)];
        let chosen = |least| {
            let pairs = pairs(&away, others(), least, Family::V4, 7);
            pairs.into_iter().map(|(leaves, joins)| (leaves.0, joins.0)).collect::<Vec<_>>()
        };
        assert_eq!(chosen(1.0), [(1, 12)]);
        assert_eq!(chosen(0.5), [(1, 12), (2, 13)]);
        assert_eq!(chosen(0.0)[..2], [(1, 12), (2, 13)]);
        assert_eq!(chosen(0.0).len(), 3, "anybody will do");
    }
}
