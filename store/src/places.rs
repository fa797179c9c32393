//! Where addresses come from: their origin AS, with its name, and their country. Who knows that (files of the operator's) is behind
//! [`Places`]; what it means for probes is here.

use std::net::IpAddr;
use std::sync::Arc;

use sonde_protocol::ids::{Asn, ProbeId};

use crate::catalog::{Origin, Probe, ProbeFilter, ProbeOrigin, Slice};
use crate::{Catalog, StoreError};

/// Knows where addresses come from.
pub trait Places: Send + Sync {
    /// Are there tables of ASes? Without, nothing that is known otherwise is forgotten.
    fn has_origins(&self) -> bool;

    /// Are there tables of countries?
    fn has_countries(&self) -> bool;

    /// Who announces the address, and in which prefix.
    fn origin(&self, address: IpAddr) -> Option<Origin>;

    /// ISO 3166 code of the country, upper case.
    fn country(&self, address: IpAddr) -> Option<String>;

    /// The name of an AS, for people.
    fn network_name(&self, _: Asn) -> Option<Arc<str>> {
        None
    }

    /// Another number whenever names may have changed; 0 without any.
    fn names_version(&self) -> u64 {
        0
    }
}

/// Knows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nowhere;

impl Places for Nowhere {
    fn has_origins(&self) -> bool {
        false
    }

    fn has_countries(&self) -> bool {
        false
    }

    fn origin(&self, _: IpAddr) -> Option<Origin> {
        None
    }

    fn country(&self, _: IpAddr) -> Option<String> {
        None
    }
}

/// How many probes are looked at between two commits.
const BATCH: u64 = 500;

/// What the tables say of a probe, if that is not what is recorded.
pub fn news(probe: &Probe, places: &dyn Places) -> Option<ProbeOrigin> {
    let asn = |address: Option<IpAddr>| address.and_then(|address| places.origin(address)).map(|origin| origin.asn);
    let asns = (asn(probe.address_v4), asn(probe.address_v6));
    let asns = Some(asns).filter(|asns| places.has_origins() && *asns != (probe.asn_v4, probe.asn_v6));
    let addresses = [probe.address_v4, probe.address_v6].into_iter().flatten();
    let country = (places.has_countries() && !probe.country_given)
        .then(|| addresses.into_iter().find_map(|address| places.country(address)))
        .filter(|country| *country != probe.country);
    (asns.is_some() || country.is_some()).then_some(ProbeOrigin { probe: probe.id, asns, country })
}

/// Records where one probe's addresses come from.
pub async fn locate(catalog: &dyn Catalog, places: &dyn Places, probe: ProbeId) -> Result<(), StoreError> {
    if !places.has_origins() && !places.has_countries() {
        return Ok(());
    }
    let Some(probe) = catalog.probe(probe).await? else { return Ok(()) };
    match news(&probe, places) {
        Some(news) => catalog.set_origins(&[news]).await,
        None => Ok(()),
    }
}

/// Records where all probes' addresses come from, after the tables have changed. Gives how many probes that was news for.
pub async fn locate_all(catalog: &dyn Catalog, places: &dyn Places) -> Result<usize, StoreError> {
    let mut changed = 0;
    if !places.has_origins() && !places.has_countries() {
        return Ok(changed);
    }
    let mut offset = 0;
    loop {
        let slice = Slice { offset, limit: BATCH, descending: false };
        let probes = catalog.probes(&ProbeFilter::default(), slice).await?.items;
        let news: Vec<ProbeOrigin> = probes.iter().filter_map(|probe| news(probe, places)).collect();
        if !news.is_empty() {
            catalog.set_origins(&news).await?;
        }
        changed += news.len();
        offset += probes.len() as u64;
        if (probes.len() as u64) < BATCH {
            return Ok(changed);
        }
    }
}
