//! What is around the machine: its addresses, the translators on its line, the kernel's clock; and the policy they make.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use sonde_protocol::address::{Neighbourhood, special};
use sonde_protocol::net::Family;
use sonde_protocol::time::Nanos;
use tracing::{debug, warn};

use super::Agent;
use crate::config::Config;
use crate::identity::Identity;
use crate::local::LocalNetwork;
use crate::policy::{HttpHosts, Policy};

impl Agent {
    /// Reads what is near the machine, and makes the policy from it.
    pub(super) fn look_around(&mut self) {
        match LocalNetwork::read() {
            Ok(local) => self.local = local,
            Err(error) => warn!(%error, "the machine's addresses cannot be read"),
        }
        self.runner.tables().note();
        self.note_around();
        // What was known of translators stays in force until the resolver has answered.
        self.publish_policy();
        let runner = self.runner.clone();
        if let Some(before) =
            self.asking_nat64.replace(tokio::spawn(async move { runner.resolver.nat64_prefixes().await }))
        {
            before.abort();
        }
        let now = self.now();
        self.session.retry_now(now);
        self.want_survey(now);
        let running = u32::try_from(self.runs.len()).unwrap_or(u32::MAX);
        let (own, families) = (self.own_addresses(), self.families());
        self.session.addresses_changed(&own, &families, running);
    }

    /// Others see us there, so it is the host's own address too.
    pub(super) fn seen_at(&mut self, address: IpAddr) {
        if !self.public.contains(&address) {
            // One per family: an older one is nobody's business any more.
            self.public.retain(|known| Family::of(*known) != Family::of(address));
            self.public.push(address);
            self.publish_policy();
        }
    }

    /// The machine's addresses as far as they are anybody else's business.
    pub(super) fn own_addresses(&self) -> Vec<IpAddr> {
        self.local.own().filter(|own| special(*own, &[]).is_none()).collect()
    }

    /// Families with an address and a route to the internet.
    pub(super) fn families(&self) -> Vec<Family> {
        Family::BOTH.into_iter().filter(|family| self.local.has_route(*family)).collect()
    }

    pub(super) fn publish_policy(&mut self) {
        let near = self.local.neighbourhood(&self.public, &self.nat64, self.config.policy.site_prefix);
        self.policy.send_replace(Arc::new(policy_of(&self.config, near, &self.identity)));
    }

    pub(super) fn note_kernel_clock(&self, now: Nanos) {
        let mut wall = self.runner.wall.lock().unwrap_or_else(PoisonError::into_inner);
        match self.runner.clock.kernel() {
            Ok(kernel) => wall.kernel_state(kernel.synchronised, kernel.max_error, now),
            Err(error) => debug!(%error, "the kernel does not tell how its clock is"),
        }
    }
}

pub(super) fn policy_of(config: &Config, neighbourhood: Neighbourhood, identity: &Identity) -> Policy {
    let http_hosts = HttpHosts::Listed(identity.http_hosts());
    let references = identity.references();
    Policy { exceptions: config.policy.allow.clone(), neighbourhood, http_hosts, references }
}
