//! Host names that lead elsewhere while they are measured (Atlas: `target_update_hours`). The server looks a periodic
//! measurement's target up again every so many hours and gives the probes the new addresses.
//!
//! The checks are those of a new measurement: no special address, no owner who says no, no more packets to an address than
//! all may send together. Somebody could otherwise point many names at one victim later. What does not pass stays at the
//! addresses that it has, and its owner sees why; only who says no is left alone at once.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sonde_protocol::spec::Limits;
use sonde_protocol::time::UnixNanos;
use sonde_store::StoreError;
use sonde_store::catalog::{Measurement, NewMeasurement, Origin, TargetUpdate};

use crate::charging::force_stop;
use crate::policy::{self, Asked};
use crate::reader::Reader;
use crate::{Api, opt_out, target};

/// Atlas's range. Nobody's target is looked up again unless it is asked for.
const HOURS: Limits = Limits { name: "target_update_hours", default: 24, min: 22, max: 720 };

/// Time between two looks at what is due.
const EVERY: Duration = Duration::from_secs(300);

/// How soon a name is looked up again that gave nothing to be measured.
const AGAIN: Duration = Duration::from_secs(3600);

/// How many measurements are read from the catalog at a time.
const BATCH: u64 = 100;

/// Reads what a definition says of it.
pub(crate) fn read(fields: &mut Reader<'_>) -> Option<u32> {
    fields.number_in(HOURS)
}

/// Looks targets up again for as long as it runs.
#[derive(Clone)]
pub struct TargetUpdates(pub Api);

impl TargetUpdates {
    /// Looks every few minutes.
    pub async fn run(self) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if let Err(error) = self.once().await {
                tracing::error!(%error, "targets could not be looked up again; it is tried again");
            }
        }
    }

    /// Looks up whatever is due.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn once(&self) -> Result<(), StoreError> {
        let api = Arc::new(self.0.clone());
        let now = api.clock.now();
        loop {
            let due = api.catalog.targets_due(now, BATCH).await?;
            for measurement in &due {
                look_up(&api, measurement, now).await?;
            }
            // Each is due later now, so the next are others.
            if (due.len() as u64) < BATCH {
                return Ok(());
            }
        }
    }
}

async fn look_up(api: &Arc<Api>, measurement: &Measurement, now: UnixNanos) -> Result<(), StoreError> {
    let id = measurement.id;
    let hours = u64::from(measurement.asked.target_update_hours.unwrap_or(HOURS.default));
    let (update, again) = match find(api, measurement).await {
        Ok(Found::SaysNo) => {
            tracing::info!(measurement_id = %id, "a target does not want to be measured where it is now");
            return force_stop(api, &[id]).await;
        }
        Ok(Found::At(addresses, origin)) => (TargetUpdate::Found(addresses, origin), Duration::from_secs(hours * 3600)),
        Err(why) => {
            tracing::info!(measurement_id = %id, why, "a target stays at its addresses");
            (TargetUpdate::Stays(why), AGAIN)
        }
    };
    let probes = api.catalog.update_target(id, &update, now + again, now).await?;
    if !probes.is_empty() {
        tracing::info!(measurement_id = %id, "a target has other addresses");
        api.dispatch.orders_changed(&probes).await;
    }
    Ok(())
}

/// Where a name leads.
enum Found {
    /// To these addresses, which may be measured.
    At(Vec<IpAddr>, Option<Origin>),
    /// To somebody who does not want to be measured.
    SaysNo,
}

/// Where the target is to be measured from now on; the error is for its owner.
async fn find(api: &Arc<Api>, measurement: &Measurement) -> Result<Found, String> {
    let asked = &measurement.asked;
    let name = target::host_name(asked.target.as_deref().unwrap_or_default())?;
    let found = target::resolve(&*api.resolver, &name, asked.af, &api.config.allow_targets).await?;
    if found.len() == asked.resolved.len() && found.iter().all(|address| asked.resolved.contains(address)) {
        // Nothing new is measured, so nothing is checked; a name's addresses come in any order.
        return Ok(Found::At(asked.resolved.clone(), asked.origin.clone()));
    }
    let origin = found.first().and_then(|&address| api.places.origin(address));
    let mut moved = NewMeasurement { resolved: found.clone(), ..asked.clone() };
    if !opt_out::unwilling(api, std::slice::from_ref(&moved)).await.is_empty() {
        return Ok(Found::SaysNo);
    }
    let failed = |_: StoreError| "The limits of its new address could not be looked at.".to_owned();
    let parts = api.catalog.participants(measurement.id).await.map_err(failed)?;
    moved.probes = parts.into_iter().filter(|part| part.left_at.is_none()).map(|part| part.probe).collect();
    let usage = api.catalog.usage(asked.owner, std::slice::from_ref(&moved), api.clock.now()).await.map_err(failed)?;
    let price = policy::price(&api.config.policy.credits, &asked.spec, asked.is_oneoff);
    let moving = Asked {
        new: std::slice::from_ref(&moved),
        prices: &[price],
        paid: &[0],
        allowed: &api.config.allow_targets,
        is_change: true,
    };
    match policy::against_targets(&api.config.policy, &moving, &usage).into_iter().next() {
        Some(reason) => Err(reason),
        None => Ok(Found::At(found, origin)),
    }
}
