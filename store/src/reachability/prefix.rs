//! Prefixes of addresses, which votes can be summed up by.
//!
//! Of a probe's addresses no more is kept with its votes than everybody may see ([`crate::view`]): its /48 of IPv6, its /24 of IPv4.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sonde_protocol::net::Family;

use super::record::Place;
use crate::view;

/// The /48 that an IPv6 address is in. The first of all, `::/48`, is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slash48([u8; 6]);

/// The /24 that an IPv4 address is in. The first of all, `0.0.0.0/24`, is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slash24([u8; 3]);

impl Slash48 {
    /// That of an address; `None` when it is not of IPv6, or nobody's.
    pub fn of(address: IpAddr) -> Option<Self> {
        let IpAddr::V6(address) = view::network(address) else { return None };
        Self::from_bytes(*address.octets().first_chunk()?)
    }

    /// From its bytes.
    pub fn from_bytes(bytes: [u8; 6]) -> Option<Self> {
        (bytes != [0; 6]).then_some(Self(bytes))
    }

    /// Its bytes.
    pub const fn bytes(self) -> [u8; 6] {
        self.0
    }

    /// The first address in it.
    pub const fn address(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        Ipv6Addr::from_octets([a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }
}

impl Slash24 {
    /// That of an address; `None` when it is not of IPv4, or nobody's.
    pub fn of(address: IpAddr) -> Option<Self> {
        let IpAddr::V4(address) = view::network(address) else { return None };
        Self::from_bytes(*address.octets().first_chunk()?)
    }

    /// From its bytes.
    pub fn from_bytes(bytes: [u8; 3]) -> Option<Self> {
        (bytes != [0; 3]).then_some(Self(bytes))
    }

    /// Its bytes.
    pub const fn bytes(self) -> [u8; 3] {
        self.0
    }

    /// The first address in it.
    pub const fn address(self) -> Ipv4Addr {
        let [a, b, c] = self.0;
        Ipv4Addr::new(a, b, c, 0)
    }
}

/// A prefix no longer than what is kept of a probe's address of its family: /48 of IPv6, /24 of IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(IpNet);

impl Prefix {
    /// The length of the longest of a family.
    pub const fn longest(af: Family) -> u8 {
        match af {
            Family::V6 => 48,
            Family::V4 => 24,
        }
    }

    /// All addresses of a family.
    pub fn all(af: Family) -> Self {
        Self(match af {
            Family::V6 => IpNet::V6(Ipv6Net::default()),
            Family::V4 => IpNet::V4(Ipv4Net::default()),
        })
    }

    /// The prefix of this length that an address is in; `None` when it would be longer than [`Prefix::longest`].
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let net = IpNet::new(address, length).ok()?.trunc();
        (length <= Self::longest(Family::of(address))).then_some(Self(net))
    }

    /// The family.
    pub fn af(self) -> Family {
        Family::of(self.0.addr())
    }

    /// How many bits of it are given.
    pub fn length(self) -> u8 {
        self.0.prefix_len()
    }

    /// Is a probe in it that is at this place?
    pub fn holds(self, place: &Place) -> bool {
        self.address_at(place).is_some_and(|address| self.0.contains(&address))
    }

    /// The prefix of `length` that a probe at this place is in, if it is in this one.
    pub fn part_with(self, place: &Place, length: u8) -> Option<Self> {
        let address = self.address_at(place).filter(|address| self.0.contains(address))?;
        Self::new(address, length)
    }

    /// Where a probe at this place is in the family.
    fn address_at(self, place: &Place) -> Option<IpAddr> {
        match self.af() {
            Family::V6 => place.net6.map(|net| net.address().into()),
            Family::V4 => place.net4.map(|net| net.address().into()),
        }
    }

    /// The first and the last /48 or /24 in it, as bytes.
    pub(crate) fn ends(self) -> (Vec<u8>, Vec<u8>) {
        let cut = |address: IpAddr| match address {
            IpAddr::V6(address) => address.octets().into_iter().take(6).collect(),
            IpAddr::V4(address) => address.octets().into_iter().take(3).collect(),
        };
        (cut(self.0.network()), cut(self.0.broadcast()))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// It is no prefix, or one that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a prefix is an address and a length, of at most 48 bits for IPv6 and 24 for IPv4")]
pub struct NotAPrefix;

impl FromStr for Prefix {
    type Err = NotAPrefix;

    /// Bits behind the prefix are taken for zero.
    fn from_str(text: &str) -> Result<Self, NotAPrefix> {
        let net: IpNet = text.parse().map_err(|_| NotAPrefix)?;
        Self::new(net.addr(), net.prefix_len()).ok_or(NotAPrefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(v6: &str, v4: &str) -> Place {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        Place { net6: Slash48::of(address(v6)), net4: Slash24::of(address(v4)), ..Place::default() }
    }

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_probe_is_in_the_prefixes_around_its_address() {
        let place = at("2001:db8:77:1::9", "198.51.100.9");
        for (text, holds) in [
            ("2001:db8:77::/48", true),
            ("2001:db8::/32", true),
            ("2000::/8", true),
            ("2001:db8:78::/48", false),
            ("2001:db9::/32", false),
            ("198.51.100.0/24", true),
            ("198.51.101.0/24", false),
            ("198.0.0.0/8", true),
        ] {
            assert_eq!(prefix(text).holds(&place), holds, "{text}");
        }
        assert_eq!(prefix("2001:db8::/32").part_with(&place, 40), Some(prefix("2001:db8::/40")));
        assert_eq!(prefix("2001:db8::/32").part_with(&place, 48), Some(prefix("2001:db8:77::/48")));
        assert_eq!(prefix("2001:db9::/32").part_with(&place, 48), None);
        let nowhere = Place::default();
        assert!(!Prefix::all(Family::V6).holds(&nowhere) && !Prefix::all(Family::V4).holds(&nowhere));
        assert_eq!((Slash48::of("::1".parse().unwrap()), Slash24::of("0.0.0.7".parse().unwrap())), (None, None));
        assert_eq!(Slash48::of("192.0.2.1".parse().unwrap()), None);
    }

    #[test]
    fn what_is_longer_than_what_is_kept_is_no_prefix() {
        assert_eq!(prefix("2001:db8:77:1::/40").to_string(), "2001:db8::/40", "bits behind it are cut off");
        for bad in ["", "2001:db8::", "2001:db8::/49", "192.0.2.0/25", "192.0.2.0/-1", "::/129", "x/8", "1.2.3/8"] {
            assert_eq!(bad.parse::<Prefix>(), Err(NotAPrefix), "{bad}");
        }
    }

    #[test]
    fn ends_are_those_of_what_is_kept() {
        let ends = |text: &str| prefix(text).ends();
        assert_eq!(ends("2001:db8::/32"), (vec![0x20, 1, 0x0d, 0xb8, 0, 0], vec![0x20, 1, 0x0d, 0xb8, 255, 255]));
        assert_eq!(ends("2001:db8:77::/48").0, ends("2001:db8:77::/48").1);
        assert_eq!(ends("198.51.0.0/16"), (vec![198, 51, 0], vec![198, 51, 255]));
    }
}
