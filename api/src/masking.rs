//! Which addresses of a result a viewer sees: [`sonde_store::view::AddressMask`] as the JSON writer asks for it, and what
//! has to be known of probes and sessions to make one.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use sonde_protocol::atlas::AddressView;
use sonde_protocol::ids::{ProbeId, SessionId};
use sonde_protocol::result::{MeasurementResult, Outcome};
use sonde_store::StoreError;
use sonde_store::catalog::{Catalog, Probe, ProbeFilter, Slice};
use sonde_store::results::StoredReport;
use sonde_store::view::{AddressMask, Viewer};

/// How many sessions or probes are remembered before all of them are forgotten and asked for again.
const MEMORY: usize = 10_000;

/// A mask as the writer of results asks for it.
pub(crate) struct Masked(pub AddressMask);

impl AddressView for Masked {
    fn from(&self, address: IpAddr) -> IpAddr {
        self.0.own(address)
    }
    fn own(&self, address: IpAddr) -> IpAddr {
        self.0.own(address)
    }
    fn hop(&self, hop: u8, address: IpAddr) -> IpAddr {
        self.0.hop(hop, address)
    }
    fn resolver(&self, address: IpAddr) -> IpAddr {
        self.0.resolver(address)
    }
    fn names(&self) -> bool {
        self.0.is_whole()
    }
}

/// What viewers may see, for as many results as come.
#[derive(Default)]
pub(crate) struct Masks {
    probes: HashMap<ProbeId, Option<Probe>>,
    sessions: HashMap<SessionId, Option<IpAddr>>,
}

impl Masks {
    /// Asks the catalog for what is not known yet of these reports' probes and sessions.
    pub async fn learn<R: Borrow<StoredReport> + Sync>(
        &mut self,
        catalog: &dyn Catalog,
        reports: &[R],
    ) -> Result<(), StoreError> {
        let reports = || reports.iter().map(Borrow::borrow);
        if self.sessions.len() > MEMORY {
            self.sessions.clear();
        }
        if self.probes.len() > MEMORY {
            self.probes.clear();
        }
        let sessions: BTreeSet<SessionId> = reports()
            .map(|report: &StoredReport| report.session)
            .filter(|id| !self.sessions.contains_key(id))
            .collect();
        if !sessions.is_empty() {
            self.sessions.extend(sessions.iter().map(|id| (*id, None)));
            let found = catalog.session_addresses(&Vec::from_iter(sessions)).await?;
            self.sessions.extend(found.into_iter().map(|(id, address)| (id, Some(address))));
        }
        let probes: BTreeSet<ProbeId> =
            reports().map(|report: &StoredReport| report.probe).filter(|id| !self.probes.contains_key(id)).collect();
        if !probes.is_empty() {
            self.probes.extend(probes.iter().map(|id| (*id, None)));
            let slice = Slice { offset: 0, limit: probes.len() as u64, descending: false };
            let filter = ProbeFilter { ids: Some(Vec::from_iter(probes)), ..ProbeFilter::default() };
            let found = catalog.probes(&filter, slice).await?;
            self.probes.extend(found.items.into_iter().map(|probe| (probe.id, Some(probe))));
        }
        Ok(())
    }

    /// The address that a report's session came from.
    pub fn from(&self, report: &StoredReport) -> Option<IpAddr> {
        self.sessions.get(&report.session).copied().flatten()
    }

    /// The probe of a report, if it is known still.
    pub fn probe(&self, report: &StoredReport) -> Option<&Probe> {
        self.probes.get(&report.probe)?.as_ref()
    }

    /// What a viewer sees of this result. Near the probe is what is near any address it is known to have or have had:
    /// those of the session and those the result itself was sent from.
    pub fn mask(&self, viewer: Viewer, report: &StoredReport, result: &MeasurementResult) -> Masked {
        let mut near: Vec<IpAddr> = self.from(report).into_iter().chain(result.src_addr.map(|ip| ip.0)).collect();
        if let Outcome::Dns(dns) = &result.outcome {
            near.extend(dns.responses.iter().filter_map(|response| response.src_addr).map(|ip| ip.0));
        }
        Masked(match self.probe(report) {
            Some(probe) => AddressMask::new(viewer, probe, &near),
            None => AddressMask::of_unknown(report.probe, &near),
        })
    }
}
