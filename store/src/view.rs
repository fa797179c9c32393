//! Who is looking, and therefore what they see. One type decides for every output: endpoint, stream, export.
//!
//! Three views. The *owner* of a probe sees it whole; the *operator* sees everything; everybody else, the *public*, sees
//! network prefixes instead of addresses (/24, /48), places snapped to a fixed grid of about 10 km, and no private
//! measurement.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sonde_protocol::address::special;
use sonde_protocol::ids::{AccountId, ProbeId};

use crate::catalog::{Measurement, Probe};

/// Who is looking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Viewer {
    /// Anybody.
    #[default]
    Public,
    /// Somebody with a key of this account.
    Account(AccountId),
    /// Whoever runs the server.
    Operator,
}

impl Viewer {
    /// The account, if one is known.
    pub const fn account(self) -> Option<AccountId> {
        match self {
            Viewer::Account(account) => Some(account),
            Viewer::Public | Viewer::Operator => None,
        }
    }

    /// May this viewer know that the measurement exists?
    pub fn sees_measurement(self, measurement: &Measurement) -> bool {
        match self {
            Viewer::Operator => true,
            Viewer::Account(account) => measurement.asked.is_public || measurement.asked.owner == account,
            Viewer::Public => measurement.asked.is_public,
        }
    }

    /// Is this what only the probe's owner and the operator may know, such as how it is? Whoever shows the addresses to
    /// everybody does not show that.
    pub fn sees_health(self, probe: &Probe) -> bool {
        match self {
            Viewer::Operator => true,
            Viewer::Account(account) => probe.owner == account,
            Viewer::Public => false,
        }
    }

    /// May this viewer see the probe's addresses and place whole?
    pub fn sees_whole(self, probe: &Probe) -> bool {
        match self {
            Viewer::Operator => true,
            Viewer::Account(account) => probe.owner == account || probe.address_is_public,
            Viewer::Public => probe.address_is_public,
        }
    }
}

/// What a viewer sees of the addresses that one probe's results hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressMask {
    whole: bool,
    /// Addresses inside whose /24 or /48 nothing is shown whole: the probe's own.
    own: Vec<IpAddr>,
}

impl AddressMask {
    /// For `viewer` looking at `probe`, whose results came from the addresses `seen`.
    pub fn new(viewer: Viewer, probe: &Probe, seen: &[IpAddr]) -> Self {
        let own: HashSet<IpAddr> = seen.iter().copied().chain(probe.address_v4).chain(probe.address_v6).collect();
        Self { whole: viewer.sees_whole(probe), own: own.into_iter().collect() }
    }

    /// For results of a probe that nobody knows any more: nothing of its own is shown whole.
    pub fn of_unknown(_probe: ProbeId, seen: &[IpAddr]) -> Self {
        Self { whole: false, own: seen.to_vec() }
    }

    /// Is nothing hidden?
    pub const fn is_whole(&self) -> bool {
        self.whole
    }

    /// An address of the probe itself, or of its private resolver.
    pub fn own(&self, address: IpAddr) -> IpAddr {
        if self.whole { address } else { network(address) }
    }

    /// The address of a hop: shown whole unless it is the first, special, or inside the probe's own network.
    pub fn hop(&self, hop: u8, address: IpAddr) -> IpAddr {
        if !self.whole && (hop == 1 || self.is_near(address)) { network(address) } else { address }
    }

    /// A resolver of the probe's own: shown whole only when it is a public service outside the probe's network.
    pub fn resolver(&self, address: IpAddr) -> IpAddr {
        if !self.whole && self.is_near(address) { network(address) } else { address }
    }

    fn is_near(&self, address: IpAddr) -> bool {
        special(address, &[]).is_some() || self.own.iter().any(|&own| network(own) == network(address))
    }
}

/// The /24 or /48 of an address, as its first address.
pub fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & 0xffff_ff00)),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 80))),
    }
}

/// A place snapped to a fixed grid of 0.1 degrees of latitude, about 11 km; meridians are as far apart. Fixed, so that
/// looking again tells nothing more.
pub fn snapped((latitude, longitude): (f64, f64)) -> (f64, f64) {
    let snap = |degrees: f64, step: f64| ((degrees / step).round() * step * 1e4).round() / 1e4;
    let latitude = snap(latitude, 0.1).clamp(-90.0, 90.0);
    // Toward the poles a degree of longitude is shorter: widen the step so that a cell stays about as wide.
    let step = 0.1 / latitude.to_radians().cos().max(0.05);
    (latitude, snap(longitude, step).clamp(-180.0, 180.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask() -> AddressMask {
        AddressMask { whole: false, own: vec!["20.0.0.9".parse().unwrap(), "2a00:1:2:3::9".parse().unwrap()] }
    }

    #[test]
    fn what_the_public_sees_of_a_path() {
        let hop = |n, text: &str| mask().hop(n, text.parse().unwrap()).to_string();
        assert_eq!(hop(1, "20.9.9.9"), "20.9.9.0", "the first hop is the host's router");
        assert_eq!(hop(2, "192.168.7.1"), "192.168.7.0");
        assert_eq!(hop(3, "20.0.0.77"), "20.0.0.0", "inside the probe's own /24");
        assert_eq!(hop(3, "2a00:1:2:ffff::1"), "2a00:1:2::");
        assert_eq!(hop(4, "20.9.9.9"), "20.9.9.9");
    }

    #[test]
    fn a_public_resolver_is_shown_and_a_private_one_is_not() {
        assert_eq!(mask().resolver("9.9.9.9".parse().unwrap()).to_string(), "9.9.9.9");
        assert_eq!(mask().resolver("192.168.1.1".parse().unwrap()).to_string(), "192.168.1.0");
    }

    #[test]
    fn places_are_snapped_to_a_grid_that_stays() {
        assert_eq!(snapped((52.3731, 4.8922)), snapped((52.3702, 4.8951)));
        assert_eq!(snapped((0.04, 0.04)), (0.0, 0.0));
        let (latitude, longitude) = snapped((89.99, 179.99));
        assert!((-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude));
    }
}
