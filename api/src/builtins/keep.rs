//! Keeps the catalog's built-in measurements as the operator's file and the anchors say: when the server starts, when the
//! anchors change, and when their names lead elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sonde_protocol::net::Family;
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Anchor, AnchorFilter, Builtin, ProbeFilter, Reconciled, Slice};
use sonde_store::{Catalog, StoreError};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::anchors::TowardsAnchors;
use super::{BuiltinFile, MAX_ENTRIES};
use crate::Api;
use crate::config::ApiConfig;

/// How often the anchors' names are looked up.
const EVERY: Duration = Duration::from_secs(3600);

/// How soon it is tried again when a name could not be looked up.
const AGAIN: Duration = Duration::from_secs(60);

/// Everything.
const ALL: Slice = Slice { offset: 0, limit: u64::MAX, descending: false };

/// What is known of a host name's addresses of one family.
enum Known {
    /// These, perhaps none.
    Addresses(Vec<IpAddr>),
    /// It was not, or cannot be looked up now.
    Nothing,
}

type Lookups = HashMap<(String, u8), Known>;

impl BuiltinFile {
    /// Makes the built-in measurements be those of the file, without asking anybody: those towards anchors stay as they are, or
    /// stop where there is no such anchor or entry any more.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn reconcile(
        &self,
        catalog: &dyn Catalog,
        config: &ApiConfig,
        http_hosts: &[String],
        now: UnixNanos,
    ) -> Result<Reconciled, StoreError> {
        let anchors = present(catalog).await?;
        let wanted = self.wanted(catalog, config, http_hosts, (&anchors, &Lookups::new()), now).await?;
        catalog.reconcile_builtins(&wanted, now).await
    }

    /// The file's measurements, and those towards the anchors as far as their addresses are known.
    async fn wanted(
        &self,
        catalog: &dyn Catalog,
        config: &ApiConfig,
        http_hosts: &[String],
        (anchors, lookups): (&[Anchor], &Lookups),
        now: UnixNanos,
    ) -> Result<Vec<Builtin>, StoreError> {
        let mut wanted = self.builtins.clone();
        let pairs: Vec<(&Anchor, &TowardsAnchors)> =
            anchors.iter().flat_map(|anchor| self.towards_anchors.iter().map(move |entry| (anchor, entry))).collect();
        for (anchor, entry) in pairs {
            let Some(id) = entry.number(anchor) else {
                tracing::warn!(anchor = %anchor.said.hostname, "no number is left for its built-in measurements");
                continue;
            };
            let before = catalog.measurement(id).await?;
            let before = before.filter(|before| before.stopped_at.is_none()).map(|before| before.asked.resolved);
            let key = (anchor.said.hostname.clone(), entry.family().number());
            let addresses = match (lookups.get(&key), before) {
                (Some(Known::Addresses(found)), _) if found.is_empty() => continue,
                // A name that gives its addresses in another order has not changed.
                (Some(Known::Addresses(found)), Some(before)) if same(found, &before) => before,
                (Some(Known::Addresses(found)), _) => found.clone(),
                (_, Some(before)) => before,
                (_, None) => continue,
            };
            match entry.towards(anchor, &addresses, config, http_hosts, now) {
                Ok(builtin) if wanted.len() < self.builtins.len() + MAX_ENTRIES => wanted.push(builtin),
                Ok(_) => tracing::warn!(
                    anchor = %anchor.said.hostname,
                    most = MAX_ENTRIES,
                    "probes have no room for more built-in measurements towards anchors"
                ),
                Err(why) => tracing::warn!(anchor = %anchor.said.hostname, why, "an anchor cannot be measured"),
            }
        }
        Ok(wanted)
    }
}

async fn present(catalog: &dyn Catalog) -> Result<Vec<Anchor>, StoreError> {
    let mut anchors = catalog.anchors(&AnchorFilter::default(), ALL).await?.items;
    anchors.retain(|anchor| anchor.removed_at.is_none());
    Ok(anchors)
}

fn same(one: &[IpAddr], other: &[IpAddr]) -> bool {
    one.len() == other.len() && one.iter().all(|address| other.contains(address))
}

/// Keeps the measurements towards anchors while the server runs.
pub struct AnchorBuiltins {
    /// What it works with.
    pub api: Api,
    /// The operator's file.
    pub file: BuiltinFile,
}

impl AnchorBuiltins {
    /// Looks whenever `changed` says that anchors came or went, and every hour.
    pub async fn run(self, changed: Arc<Notify>) {
        if self.file.towards_anchors.is_empty() {
            return;
        }
        loop {
            let wait = match self.once().await {
                Ok(true) => EVERY,
                Ok(false) => AGAIN,
                Err(error) => {
                    tracing::error!(%error, "built-in measurements towards anchors cannot be kept");
                    AGAIN
                }
            };
            // A permit is kept while nobody waits: what changed meanwhile is not missed.
            let _ = tokio::time::timeout(wait, changed.notified()).await;
        }
    }

    /// Looks up every anchor, makes the measurements be as they should, and tells the probes. Gives whether every name could be
    /// looked up.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn once(&self) -> Result<bool, StoreError> {
        let (api, now) = (&self.api, self.api.clock.now());
        let anchors = present(&*api.catalog).await?;
        let lookups = self.look_up(&anchors).await;
        let is_whole = !lookups.values().any(|known| matches!(known, Known::Nothing));
        let hosts = api.dispatch.http_hosts().await;
        let known = (anchors.as_slice(), &lookups);
        let wanted = self.file.wanted(&*api.catalog, &api.config, &hosts, known, now).await?;
        let done = api.catalog.reconcile_builtins(&wanted, now).await?;
        if !done.refused.is_empty() {
            tracing::error!(refused = ?done.refused, "built-in measurements would measure something else: nothing is changed");
        } else if done != Reconciled::default() {
            tracing::info!(
                made = ?done.made,
                changed = ?done.changed,
                stopped = ?done.stopped,
                "built-in measurements towards anchors"
            );
            let probes = api.catalog.probes(&ProbeFilter::default(), ALL).await?.items;
            let probes: Vec<_> = probes.iter().map(|probe| probe.id).collect();
            api.dispatch.orders_changed(&probes).await;
        }
        Ok(is_whole)
    }

    /// Each name of each family, once.
    async fn look_up(&self, anchors: &[Anchor]) -> Lookups {
        let families: BTreeMap<u8, Family> =
            self.file.towards_anchors.iter().map(TowardsAnchors::family).map(|af| (af.number(), af)).collect();
        let mut questions = JoinSet::new();
        for anchor in anchors {
            for &family in families.values() {
                let (resolver, name) = (Arc::clone(&self.api.resolver), anchor.said.hostname.clone());
                questions.spawn(async move {
                    let known = match resolver.resolve(&name, family).await {
                        Ok(mut found) => {
                            found.retain(|address| Family::of(*address) == family);
                            found.sort_unstable();
                            found.dedup();
                            Known::Addresses(found)
                        }
                        Err(why) => {
                            tracing::warn!(anchor = name, why, "an anchor's name cannot be looked up");
                            Known::Nothing
                        }
                    };
                    ((name, family.number()), known)
                });
            }
        }
        let mut lookups = Lookups::new();
        while let Some(answer) = questions.join_next().await {
            lookups.extend(answer.ok());
        }
        lookups
    }
}
