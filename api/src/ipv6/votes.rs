//! Votes, from results: what probes report of the network's own `ipv6` measurements becomes one record a probe and hour.
//!
//! A record is made anew of all the results of its hour whenever one of them comes, in whatever order, so that it does not matter
//! how often that is done: what was read twice, or before a crash, changes nothing. Which results are new says [`Results::arrivals`].
//!
//! When an hour is over, it is looked once which references were out in it; the hour's records are then made again without them.
//!
//! [`Results::arrivals`]: sonde_store::Results::arrivals

use std::collections::{BTreeMap, BTreeSet};

use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::result::{MeasurementResult, Outcome};
use sonde_protocol::time::UnixNanos;
use sonde_store::StoreError;
use sonde_store::catalog::{Probe, ProbeFilter, Slice};
use sonde_store::reachability::{Hour, Looks, Outage, Place, Record, Run, Slash24, Slash48};
use sonde_store::results::{Cursor, ResultQuery};

use super::probe::builtins;
use crate::{Api, line};

/// A day is summed up so many hours after its end: until then probes that were away for a while have delivered.
const SUMMED_UP_AFTER: i64 = 3;

/// So many seconds after the end of an hour most of its results are there, and it can be looked for references that were out.
const DELIVERED_AFTER_SECS: i64 = 600;

/// For how many hours it is made up for where the server was down.
const LOOKED_BACK: i64 = 3;

/// How many results are read at a time.
const PAGE: usize = 1024;

/// How far a probe's clock may be ahead. What claims to be later says nothing of any hour.
const AHEAD: i64 = 1;

/// One round: reads what has arrived since the last one, sums up days that are over, and forgets votes that are older than so many
/// days, from the last that probes said on.
///
/// # Errors
/// When a store fails. What was kept before stays, and the next round does the rest.
pub async fn derive_votes(api: &Api, keep_days: u32) -> Result<(), StoreError> {
    let now = Hour::of(api.clock.now());
    let newest = api.reachability.state().await?.newest.map(Hour::of);
    // A clock that is wrong by years would make everything too old, for good: what probes said last is asked as well.
    let today = newest.map_or(now, |newest| now.min(newest.plus(Hour::A_DAY)));
    let oldest = today.plus(-i64::from(keep_days) * Hour::A_DAY).day();
    // One that has gone back does not make what was said before the future.
    let latest = newest.map_or(now.plus(AHEAD), |newest| newest.max(now.plus(AHEAD)));
    let measurements: Vec<MeasurementId> =
        builtins(&*api.catalog).await?.iter().map(|measurement| measurement.id).collect();
    // What is read while there is none would be missed by one that is made later.
    if !measurements.is_empty() {
        read_on(api, &measurements, oldest, latest).await?;
        look_for_outages(api, &measurements).await?;
    }
    while api.reachability.sum_up_a_day(now.plus(-SUMMED_UP_AFTER)).await? {
        tokio::task::yield_now().await;
    }
    api.reachability.retain(oldest).await
}

/// Makes votes of what has arrived, of hours from `oldest` on, to `latest`.
async fn read_on(api: &Api, measurements: &[MeasurementId], oldest: Hour, latest: Hour) -> Result<(), StoreError> {
    let mut progress = api.reachability.progress().await?;
    while let Some(arrivals) = api.results.arrivals(measurements, progress.as_ref(), oldest.start()).await? {
        let mut touched: BTreeMap<Hour, BTreeSet<ProbeId>> = BTreeMap::new();
        for run in &arrivals.runs {
            let hour = Hour::of(run.at);
            if hour >= oldest && hour <= latest {
                touched.entry(hour).or_default().insert(run.probe);
            }
        }
        for (hour, probes) in touched {
            let out = api.reachability.outages(hour).await?.unwrap_or_default();
            vote(api, measurements, hour, &probes.into_iter().collect::<Vec<_>>(), &out).await?;
        }
        api.reachability.set_progress(&arrivals.next).await?;
        progress = Some(arrivals.next);
        // A long backlog must not hold a thread without a pause.
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Looks which references were out in the hours that have ended lately, once for each.
async fn look_for_outages(api: &Api, measurements: &[MeasurementId]) -> Result<(), StoreError> {
    let end = Hour::of(UnixNanos::from_secs(api.clock.now().as_secs() - DELIVERED_AFTER_SECS));
    for hour in end.plus(-LOOKED_BACK).until(end) {
        if api.reachability.outages(hour).await?.is_some() {
            continue;
        }
        let (before, now) = (looks(api, measurements, hour.plus(-1)).await?, looks(api, measurements, hour).await?);
        let out = now.outages(&before);
        if !out.is_empty() {
            let names: Vec<&str> = out.iter().map(|out| out.target.as_str()).collect();
            tracing::warn!(hour = hour.seconds(), references = ?names, "references were out: many probes lost them at once");
            let voters: Vec<ProbeId> = api.reachability.votes(hour).await?.iter().map(|(probe, _)| *probe).collect();
            vote(api, measurements, hour, &voters, &out).await?;
        }
        api.reachability.set_outages(hour, &out).await?;
    }
    Ok(())
}

/// What all probes reached in an hour.
async fn looks(api: &Api, measurements: &[MeasurementId], hour: Hour) -> Result<Looks, StoreError> {
    let mut looks = Looks::default();
    read(api, measurements, hour, None, |probe, at, result| {
        if let Outcome::Ipv6(outcome) = &result.outcome {
            looks.add(probe, at, &outcome.evidence);
        }
    })
    .await?;
    Ok(looks)
}

/// Shows the results of an hour, of these probes or of all.
async fn read(
    api: &Api,
    measurements: &[MeasurementId],
    hour: Hour,
    probes: Option<&[ProbeId]>,
    mut show: impl FnMut(ProbeId, UnixNanos, &MeasurementResult) + Send,
) -> Result<(), StoreError> {
    for measurement in measurements {
        let query = ResultQuery {
            measurement: *measurement,
            from: Some(hour.start()),
            to: Some(hour.plus(1).start()),
            probes: probes.map(<[ProbeId]>::to_vec),
        };
        let mut after: Option<Cursor> = None;
        loop {
            let page = api.results.scan(&query, after.as_ref(), PAGE).await?;
            for stored in &page.reports {
                if let Some(result) = line::read(stored) {
                    show(stored.probe, stored.at, &result);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// Makes the records of these probes' hour, in which these references were out.
async fn vote(
    api: &Api,
    measurements: &[MeasurementId],
    hour: Hour,
    probes: &[ProbeId],
    out: &[Outage],
) -> Result<(), StoreError> {
    let mut runs: BTreeMap<ProbeId, Vec<Run>> = BTreeMap::new();
    read(api, measurements, hour, Some(probes), |probe, at, result| {
        runs.entry(probe).or_default().push(run(result, at, out));
    })
    .await?;
    let known: BTreeMap<ProbeId, Record> = api.reachability.votes(hour).await?.into_iter().collect();
    let filter = ProbeFilter { ids: Some(probes.to_vec()), ..ProbeFilter::default() };
    let all = Slice { offset: 0, limit: probes.len() as u64, descending: false };
    let mut records = Vec::new();
    // Who is not in the catalog any more says nothing, nor does anybody for whom nobody stands.
    for probe in api.catalog.probes(&filter, all).await?.items.iter().filter(|probe| probe.vouched) {
        let (before, runs) = (known.get(&probe.id), runs.get(&probe.id).map(Vec::as_slice).unwrap_or_default());
        // A vote that was made elsewhere stays there when something of that hour comes late.
        let place = before.map_or_else(|| place(probe), |before| before.place);
        let record = Record::of(place, runs);
        // The results of long ago may be partly gone.
        if record.runs > 0 && before.is_none_or(|before| record.runs >= before.runs) {
            records.push((probe.id, record));
        }
    }
    api.reachability.put(hour, &records).await
}

fn run(result: &MeasurementResult, at: UnixNanos, out: &[Outage]) -> Run {
    match &result.outcome {
        Outcome::Ipv6(outcome) => Run::of(at, outcome, out),
        _ => Run::failed(at),
    }
}

/// Where a probe is now.
fn place(probe: &Probe) -> Place {
    let country = probe.country.as_deref().and_then(|country| country.parse().ok());
    Place {
        country,
        asn6: probe.asn_v6,
        asn4: probe.asn_v4,
        net6: probe.address_v6.and_then(Slash48::of),
        net4: probe.address_v4.and_then(Slash24::of),
    }
}
