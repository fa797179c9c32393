//! How often strangers may knock: hellos with a key that no probe has, by network. Pure.
//!
//! A network is a /24 or a /56. Each has so many tries at once, and one more every few seconds; known probes are not counted,
//! so that nobody keeps others out by knocking from their network.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::network_of;

/// Tries that may come at once: a class room of boards that start together.
const BURST: u32 = 64;

/// How long it takes until there is one more. A probe that waits asks once a minute at most.
const REFILL: Duration = Duration::from_secs(2);

/// The most networks that are remembered. Whoever comes when there are more has to come again.
const MAX_NETWORKS: usize = 20_000;

/// What is left of a network's tries.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: u32,
    at: UnixNanos,
}

/// What is left of everybody's tries.
#[derive(Debug, Default)]
pub struct Door {
    networks: HashMap<IpAddr, Bucket>,
}

impl Door {
    /// May somebody at this address try at `now`? It counts as a try.
    pub fn may_knock(&mut self, address: IpAddr, now: UnixNanos) -> bool {
        let network = network_of(address);
        if self.networks.len() >= MAX_NETWORKS && !self.networks.contains_key(&network) {
            self.networks.retain(|_, bucket| bucket.refilled(now).left < BURST);
            if self.networks.len() >= MAX_NETWORKS {
                return false;
            }
        }
        let bucket = self.networks.entry(network).or_insert(Bucket { left: BURST, at: now });
        *bucket = bucket.refilled(now);
        let may = bucket.left > 0;
        bucket.left = bucket.left.saturating_sub(1);
        may
    }
}

impl Bucket {
    fn refilled(self, now: UnixNanos) -> Self {
        let refills = now.since(self.at).as_millis() / REFILL.as_millis();
        let refills = u32::try_from(refills).unwrap_or(u32::MAX);
        match self.left.saturating_add(refills) {
            left if left >= BURST => Self { left: BURST, at: now },
            left => Self { left, at: self.at + REFILL.saturating_mul(refills) },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_network_has_so_many_tries_and_gets_more_with_time() {
        let mut door = Door::default();
        let mut knock = |address: &str, secs| door.may_knock(address.parse().unwrap(), UnixNanos::from_secs(secs));
        for _ in 0..BURST {
            assert!(knock("2001:db8::1", 100));
        }
        assert!(!knock("2001:db8::2", 100), "it is the same /56");
        assert!(!knock("2001:db8::1", 101));
        assert!(knock("2001:db8:0:100::1", 101), "this is another");
        assert!(knock("192.0.2.1", 101));
        assert!(knock("2001:db8::1", 102));
        assert!(!knock("2001:db8::1", 102));
        for _ in 0..BURST {
            assert!(knock("2001:db8::1", 10_000));
        }
        assert!(!knock("2001:db8::1", 10_000), "not more than that at once");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut door = Door::default();
        let now = UnixNanos::from_secs(100);
        let address = |n: usize| IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(n).unwrap() << 8));
        for n in 0..MAX_NETWORKS {
            assert!(door.may_knock(address(n), now));
        }
        assert!(!door.may_knock(address(MAX_NETWORKS), now));
        assert!(door.may_knock(address(7), now));
        assert!(door.may_knock(address(MAX_NETWORKS), now + Duration::from_secs(60)));
        assert_eq!(door.networks.len(), 1 + usize::from(door.networks.contains_key(&address(7))));
    }
}
