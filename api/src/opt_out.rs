//! Targets that do not want to be measured say so in the DNS: a TXT record `v=sonde1 deny` under `_sonde.` before their
//! name, or before the reverse name of their address. `docs/target-owners.md` describes it for them.
//!
//! Asked are the name itself and the one above it, and of an address itself and its /24 or /48. A name that does not
//! resolve, or whose servers do not answer in time, has not said anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use sonde_protocol::ids::MeasurementId;
use sonde_store::StoreError;
use sonde_store::catalog::{MeasurementFilter, NewMeasurement, Slice, Status};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Api;
use crate::charging::force_stop;
use crate::error::{ApiError, Problem};

/// How long all questions of a request may take together.
const MAX_TIME: Duration = Duration::from_secs(1);

/// How many questions of a request are under way at the same time.
const AT_ONCE: usize = 32;

/// How many running measurements are looked at in one go.
const PART: u64 = 500;

/// Refuses measurements of targets that have said no.
pub(crate) async fn check(api: &Arc<Api>, new: &[NewMeasurement]) -> Result<(), ApiError> {
    let unwilling = unwilling(api, new).await;
    let problems = unwilling.into_iter().map(|(index, place)| {
        let detail = format!("The target's owner does not want to be measured: a TXT record at {place} says so.");
        Problem::at(format!("/definitions/{index}/target"), detail)
    });
    let problems: Vec<Problem> = problems.collect();
    if problems.is_empty() { Ok(()) } else { Err(ApiError::body(problems)) }
}

/// Stops periodic measurements whose targets have said no since they were made.
///
/// # Errors
/// When the catalog fails.
pub async fn stop_unwilling(api: &Arc<Api>) -> Result<(), StoreError> {
    let now = api.clock.now();
    let mut last = 0;
    loop {
        let filter = MeasurementFilter {
            is_oneoff: Some(false),
            status: Some((vec![Status::Specified, Status::Scheduled, Status::Ongoing], now)),
            limits: vec![(sonde_store::catalog::NumberField::Id, sonde_store::catalog::Limit::Above(last))],
            ..MeasurementFilter::default()
        };
        let slice = Slice { offset: 0, limit: PART, descending: false };
        let running = api.catalog.measurements(&filter, slice).await?.items;
        let Some(newest) = running.last() else { return Ok(()) };
        last = newest.id.0.cast_signed();
        let (ids, asked): (Vec<MeasurementId>, Vec<NewMeasurement>) =
            running.into_iter().map(|running| (running.id, running.asked)).unzip();
        let unwilling = unwilling(api, &asked).await;
        let stop: Vec<MeasurementId> = unwilling.keys().filter_map(|index| ids.get(*index).copied()).collect();
        if !stop.is_empty() {
            tracing::info!(?stop, "stopping measurements whose targets do not want to be measured");
            force_stop(api, &stop).await?;
        }
    }
}

/// Which of these have said no, and where.
pub(crate) async fn unwilling(api: &Arc<Api>, new: &[NewMeasurement]) -> BTreeMap<usize, String> {
    if !api.config.policy.targets.opt_out {
        return BTreeMap::new();
    }
    let places: Vec<BTreeSet<String>> = new.iter().map(|new| places(new, &api.config.allow_targets)).collect();
    let all: BTreeSet<String> = places.iter().flatten().cloned().collect();
    let denied = denied(api, all).await;
    let found = places.iter().enumerate();
    found.filter_map(|(index, places)| Some((index, places.intersection(&denied).next()?.clone()))).collect()
}

/// The places where somebody has said no; those that cannot be asked in time count as silent.
async fn denied(api: &Arc<Api>, places: BTreeSet<String>) -> BTreeSet<String> {
    let (mut questions, slots) = (JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
    for place in places {
        let (api, slots) = (Arc::clone(api), Arc::clone(&slots));
        questions.spawn(async move {
            let _slot = slots.acquire_owned().await.ok()?;
            let texts = api.resolver.texts(&place).await.ok()?;
            texts.iter().any(|text| denies(text)).then_some(place)
        });
    }
    let mut denied = BTreeSet::new();
    // Whoever is still being asked then is asked no more: the set is dropped.
    let _ = tokio::time::timeout(MAX_TIME, async {
        while let Some(answer) = questions.join_next().await {
            denied.extend(answer.ok().flatten());
        }
    })
    .await;
    denied
}

/// Where a measurement's target could say no: names without a dot at the end.
fn places(new: &NewMeasurement, allowed: &[IpNet]) -> BTreeSet<String> {
    let mut places = BTreeSet::new();
    let is_own = |address: &IpAddr| allowed.iter().any(|net| net.contains(address));
    if let Some(target) = &new.target
        && target.parse::<IpAddr>().is_err()
        && !(new.resolved.iter().any(is_own))
    {
        let name = target.trim_end_matches('.').to_ascii_lowercase();
        // Not the names of whole registries: above the last two labels nobody speaks for the target.
        if let Some((_, parent)) = name.split_once('.').filter(|(_, parent)| parent.contains('.')) {
            places.insert(format!("_sonde.{parent}"));
        }
        places.insert(format!("_sonde.{name}"));
    }
    for address in new.resolved.iter().filter(|address| !is_own(address)) {
        places.extend(reverse(*address));
    }
    places
}

/// The reverse names of an address and of its /24 or /48.
fn reverse(address: IpAddr) -> [String; 2] {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            let network = format!("{c}.{b}.{a}.in-addr.arpa");
            [format!("_sonde.{d}.{network}"), format!("_sonde.{network}")]
        }
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let name = |nibbles: u32| {
                let labels = (32 - nibbles..32).map(|nibble| format!("{:x}.", (bits >> (4 * nibble)) & 0xf));
                format!("_sonde.{}ip6.arpa", labels.collect::<String>())
            };
            [name(32), name(12)]
        }
    }
}

/// Does a record say no? `v=sonde1` comes first; words that are unknown today are for later.
fn denies(text: &str) -> bool {
    let mut words = text.split([' ', ';']).filter(|word| !word.is_empty());
    words.next().is_some_and(|version| version.eq_ignore_ascii_case("v=sonde1"))
        && words.any(|word| word.eq_ignore_ascii_case("deny"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_record_says() {
        for no in ["v=sonde1 deny", "V=Sonde1  Deny", "v=sonde1; deny", "v=sonde1 later=1 deny"] {
            assert!(denies(no), "{no}");
        }
        for silent in ["", "deny", "v=sonde1", "v=sonde2 deny", "v=sonde1 denying", "v=spf1 -all", "deny v=sonde1"] {
            assert!(!denies(silent), "{silent}");
        }
    }

    #[test]
    fn reverse_names() {
        assert_eq!(
            reverse("192.0.2.7".parse().unwrap()),
            ["_sonde.7.2.0.192.in-addr.arpa", "_sonde.2.0.192.in-addr.arpa"]
        );
        let [address, network] = reverse("2001:db8:1:2::abcd".parse().unwrap());
        assert_eq!(network, "_sonde.1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
        let zeros = "0.".repeat(12);
        assert_eq!(address, format!("_sonde.d.c.b.a.{zeros}2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"));
    }
}
