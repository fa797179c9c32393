//! What the server keeps true by itself, besides what probes and people make it do: where probes are, their system tags, votes on
//! IPv6, and an index for searches.

use std::sync::Arc;
use std::time::Duration;

use sonde_api::{Api, Clock, PlaceFiles, SystemClock};
use sonde_store::places::locate_all;
use sonde_store::system_tags::SystemTags;
use sonde_store::{Catalog, Results};
use tokio::runtime::Handle;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

/// How often it is looked what probes did.
const TAGS: Duration = Duration::from_secs(30);

/// How often the texts of new measurements come into the index.
const TEXTS: Duration = Duration::from_secs(30);

/// How often new results become votes.
const VOTES: Duration = Duration::from_secs(60);

/// Applies the tables of places to all probes, now and whenever they change.
pub async fn keep_places(catalog: Arc<dyn Catalog>, places: Arc<PlaceFiles>) {
    loop {
        let (catalog, tables) = (catalog.clone(), places.clone());
        match aside(async move { locate_all(&*catalog, &*tables).await }).await {
            Some(Ok(changed)) if changed > 0 => info!(probes = changed, "the tables of places had news of probes"),
            Some(Err(error)) => warn!(%error, "the tables of places could not be applied"),
            _ => {}
        }
        places.changed().await;
    }
}

/// Keeps system tags as results and sessions say.
pub async fn keep_tags(catalog: Arc<dyn Catalog>, results: Arc<dyn Results>) {
    let mut tags = SystemTags::default();
    let mut beat = tokio::time::interval(TAGS);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let (catalog, results) = (catalog.clone(), results.clone());
        let look = async move {
            let looked = tags.refresh(&*catalog, &*results, SystemClock.now()).await;
            (tags, looked)
        };
        let Some((same, looked)) = aside(look).await else { return };
        tags = same;
        if let Err(error) = looked {
            warn!(%error, "system tags could not be looked after");
        }
    }
}

/// Makes the texts of new measurements quick to search.
pub async fn keep_texts(catalog: Arc<dyn Catalog>) {
    let mut beat = tokio::time::interval(TEXTS);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        loop {
            let catalog = catalog.clone();
            match aside(async move { catalog.index_texts().await }).await {
                // After an update there are very many; others want to write, too.
                Some(Ok(true)) => tokio::task::yield_now().await,
                Some(Ok(false)) => break,
                Some(Err(error)) => {
                    warn!(%error, "the texts of measurements could not be indexed");
                    break;
                }
                None => return,
            }
        }
    }
}

/// Keeps the votes on IPv6 as results say, for so many days.
pub async fn keep_votes(api: Api, keep_days: u32) {
    let mut beat = tokio::time::interval(VOTES);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let api = api.clone();
        match aside(async move { sonde_api::derive_votes(&api, keep_days).await }).await {
            Some(Ok(())) => {}
            Some(Err(error)) => warn!(%error, "votes on IPv6 could not be derived from results; it is tried again"),
            None => return,
        }
    }
}

/// Does something long on a thread of its own: the embedded stores work while they are polled. `None`: it panicked, or the
/// server ends.
async fn aside<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(work)).await.ok()
}
