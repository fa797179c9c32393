//! Charging: what results cost and probes earn is booked later than it happens, from what is durable, and never twice. A
//! crash between loses nothing either: the next round goes on where the last booking ended.

use std::sync::Arc;
use std::time::Duration;

use sonde_protocol::ids::MeasurementId;
use sonde_store::StoreError;
use sonde_store::catalog::Rates;

use crate::{Api, opt_out};

/// How often it is done.
const EVERY: Duration = Duration::from_secs(60);

/// How often targets of running measurements are asked again.
const ASK_AGAIN: Duration = Duration::from_secs(86_400);

/// One round: books what has arrived since the last one and what probes have earned, and stops periodic measurements of
/// accounts that have less than nothing.
///
/// # Errors
/// When a store fails. What was booked before stays booked, and the next round does the rest.
pub async fn charge(api: &Arc<Api>) -> Result<(), StoreError> {
    let credits = &api.config.policy.credits;
    let (catalog, now) = (&api.catalog, api.clock.now());
    if !credits.enabled {
        return catalog.end_charging().await;
    }
    let mut state = catalog.begin_charging(now).await?;
    while let Some(tally) = api.results.tally(state.cursor.as_ref(), state.since).await? {
        if !catalog.charge(&tally, state.cursor.as_ref(), credits.own_probes_free, now).await? {
            // Somebody else is at it.
            break;
        }
        state.cursor = Some(tally.next);
        // A long backlog must not hold a thread without a pause.
        tokio::task::yield_now().await;
    }
    let rates = Rates { probe: credits.income_per_minute, anchor: credits.anchor_income_per_minute };
    catalog.book_income(rates, now).await?;
    let unpaid = catalog.unpaid_measurements(now).await?;
    if !unpaid.is_empty() {
        tracing::info!(count = unpaid.len(), "stopping measurements of accounts without credits");
        force_stop(api, &unpaid).await?;
    }
    Ok(())
}

/// Stops measurements as the operator does (*Forced to stop*) and tells the probes.
pub(crate) async fn force_stop(api: &Api, ids: &[MeasurementId]) -> Result<(), StoreError> {
    for &id in ids {
        let probes = api.catalog.force_stop_measurement(id, api.clock.now()).await?;
        if !probes.is_empty() {
            api.dispatch.orders_changed(&probes).await;
        }
    }
    Ok(())
}

/// Does so every minute, and once a day looks again whether targets want to be measured. Ends when its task is ended.
pub async fn keep_charging(api: Api) {
    let api = Arc::new(api);
    let mut rounds = tokio::time::interval(EVERY);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut asked = api.clock.steady();
    loop {
        rounds.tick().await;
        if let Err(error) = charge(&api).await {
            tracing::error!(%error, "charging failed; it is tried again");
        }
        if api.clock.steady().saturating_sub(asked) >= ASK_AGAIN {
            asked = api.clock.steady();
            if let Err(error) = opt_out::stop_unwilling(&api).await {
                tracing::error!(%error, "targets could not be asked again");
            }
        }
    }
}
