//! How much each neighbourhood of the internet may use, in a memory of fixed size. Pure: time is an argument.
//!
//! It is the "virtual scheduling" form of the generic cell rate algorithm (ITU-T I.371): a cell is the moment when its
//! share would be untouched again. Neighbourhoods that fall into one cell share it; which ones do depends on a seed that
//! nobody outside knows, so nobody can aim at another's.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};

/// Cells where there are many neighbourhoods. 512 kB.
pub(crate) const CELLS: usize = 1 << 16;

/// Shares of one thing: connections, or bytes.
pub(crate) struct Shares {
    /// In nanoseconds since the beginning.
    cells: Vec<u64>,
    seed: RandomState,
    /// What one unit costs, in nanoseconds.
    unit: u64,
    /// How far ahead a cell may run, in nanoseconds.
    burst: u64,
}

impl Shares {
    /// `per_second` units a second for each neighbourhood, and `burst` of them at once after a time without any.
    /// With one cell all are one neighbourhood.
    pub(crate) fn new(cells: usize, per_second: u64, burst: u64) -> Self {
        let unit = 1_000_000_000 / per_second.max(1);
        Self { cells: vec![0; cells.max(1)], seed: RandomState::new(), unit, burst: burst.saturating_mul(unit) }
    }

    /// Takes `units` for the neighbourhood of `address`, at `now` nanoseconds since the beginning. `false`: its share is
    /// used up, and nothing was taken.
    pub(crate) fn take(&mut self, address: IpAddr, units: u64, now: u64) -> bool {
        let at = usize::try_from(self.seed.hash_one(neighbourhood(address)) % self.cells.len() as u64).unwrap_or(0);
        let Some(cell) = self.cells.get_mut(at) else { return false };
        let then = (*cell).max(now).saturating_add(units.saturating_mul(self.unit));
        if then - now > self.burst {
            return false;
        }
        *cell = then;
        true
    }
}

/// What is counted as one: a /24 of IPv4, a /56 of IPv6, which is what one customer gets.
fn neighbourhood(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            std::net::Ipv4Addr::new(a, b, c, 0).to_ipv6_mapped()
        }
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 72)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_neighbourhood_gets_its_burst_and_then_its_rate() {
        let mut shares = Shares::new(CELLS, 10, 50);
        let (a, same, other): (IpAddr, IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "192.0.2.254".parse().unwrap(), "192.0.3.1".parse().unwrap());
        assert!(shares.take(a, 50, 0));
        assert!(!shares.take(same, 1, 0), "the neighbour has the same share");
        // Two others, because one may fall into the same of 65,536 cells.
        let others = [other, "198.51.100.1".parse().unwrap()];
        assert!(others.iter().any(|other| shares.take(*other, 1, 0)), "others have their own");
        assert!(shares.take(same, 10, SECOND));
        assert!(!shares.take(a, 1, SECOND));
        assert!(shares.take(a, 50, 100 * SECOND), "rest does not add up to more than the burst");
        assert!(!shares.take(a, 1, 100 * SECOND));
    }

    #[test]
    fn a_customer_of_ipv6_is_one() {
        let of = |text: &str| neighbourhood(text.parse().unwrap());
        assert_eq!(of("2001:db8:0:aa00::1"), of("2001:db8:0:aaff:ffff::1"));
        assert_ne!(of("2001:db8:0:aa00::1"), of("2001:db8:0:ab00::1"));
    }
}
