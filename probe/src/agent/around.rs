//! What is around the machine: its addresses, the translators on its line, the kernel's clock; and the policy they make.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use sonde_protocol::address::{Nat64Prefix, Neighbourhood, special};
use sonde_protocol::net::Family;
use sonde_protocol::time::Nanos;
use tracing::{debug, warn};

use super::Agent;
use crate::config::Config;
use crate::identity::Identity;
use crate::local::LocalNetwork;
use crate::policy::{HttpHosts, Policy};
use crate::resolve::{MAX_NAT64, may_translate};

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

    /// Who reaches IPv4 for a machine that has none: as the line's resolvers show them (RFC 7050), and as its routers advertise them
    /// (RFC 8781).
    pub(super) fn translators(&self) -> Vec<Nat64Prefix> {
        if self.local.has_route(Family::V4) {
            return Vec::new();
        }
        let mut all = self.nat64.clone();
        all.extend(self.told_nat64.iter().filter(|told| !self.nat64.contains(told)));
        let advert = self.runner.tables().advertised();
        for told in advert.iter().flat_map(|advert| advert.pref64.iter()) {
            let IpAddr::V6(prefix) = told.prefix.0 else { continue };
            let prefix = Nat64Prefix::from_parts(prefix, told.length).filter(|prefix| may_translate(prefix.net()));
            all.extend(prefix.filter(|prefix| !all.contains(prefix)));
        }
        all.truncate(MAX_NAT64);
        all
    }

    /// The resolvers have shown which translators there are.
    pub(super) fn translators_found(&mut self, found: Vec<Nat64Prefix>, now: Nanos) {
        let is_news = self.nat64 != found;
        self.nat64 = found;
        self.policy_is_whole = true;
        self.publish_policy();
        if is_news && !self.translators().is_empty() {
            // A collector with IPv4 alone may be reached by them; a try without them goes nowhere for ten seconds.
            if self.connecting.is_some() && self.link.is_none() {
                self.connect();
            }
            self.session.retry_now(now);
        }
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

/// What a board's system says of the line's translators: prefixes with commas between them. What makes no sense is nothing.
pub(super) fn told_translators(text: &str) -> Vec<Nat64Prefix> {
    let prefixes = text.split(',').filter_map(|net| net.trim().parse().ok()).filter(|net| may_translate(*net));
    prefixes.filter_map(Nat64Prefix::new).take(MAX_NAT64).collect()
}

pub(super) fn policy_of(config: &Config, neighbourhood: Neighbourhood, identity: &Identity) -> Policy {
    let http_hosts = HttpHosts::Listed(identity.http_hosts());
    let references = identity.references();
    Policy { exceptions: config.policy.allow.clone(), neighbourhood, http_hosts, references }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_translation_may_be_is_a_translator_believed() {
        let told = |text| told_translators(text).iter().map(|one| one.net().to_string()).collect::<Vec<_>>();
        assert_eq!(told("64:ff9b::/96, 2001:db8:64::/48"), ["64:ff9b::/96", "2001:db8:64::/48"]);
        for nonsense in ["", ",", "x", "64:ff9b::", "10.0.0.0/8", "fd00::/96", "2002::/96", "2001:db8::/97", "::/0"] {
            assert_eq!(told(nonsense), [""; 0], "{nonsense}");
        }
        assert_eq!(told(&"64:ff9b::/96,".repeat(1000)).len(), MAX_NAT64);
    }
}
