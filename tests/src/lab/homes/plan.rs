//! What a home of the lab is like, and which addresses follow from it. Pure data; nothing here touches the system.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::topology::Family;

/// The well-known prefix (RFC 6052), by which the lab's NAT64 is reached.
pub const NAT64_PREFIX: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// Where the NAT64 takes IPv4 addresses from.
pub const NAT64_POOL: (Ipv4Addr, u8) = (Ipv4Addr::new(20, 64, 0, 0), 24);

/// The relay of 6to4, and border relay of the lab's 6rd.
pub(super) const RELAY: Ipv4Addr = Ipv4Addr::new(20, 88, 0, 1);

/// Its own IPv6 address, and that of the NAT64: routers complain from them.
pub(super) const RELAY6: Ipv6Addr = Ipv6Addr::new(0x2a0e, 0x5a88, 0, 0, 0, 0, 0, 1);
pub(super) const NAT64_ADDRESS: Ipv6Addr = Ipv6Addr::new(0x2a0e, 0x5a65, 0, 0, 0, 0, 0, 1);

/// The prefix of 6to4 (RFC 3056): 16 bits, then the whole IPv4 address.
pub(super) const SIX_TO_FOUR: Ipv6Addr = Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0);

/// The prefix under which the lab's provider makes 6rd prefixes: 32 bits, then the whole IPv4 address.
pub(super) const SIX_RD: Ipv6Addr = Ipv6Addr::new(0x2a01, 0x7700, 0, 0, 0, 0, 0, 0);

/// How a home has IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum V4 {
    /// Not at all.
    None,
    /// The host's address is public.
    Public,
    /// Behind the router's NAT44.
    Nat44,
    /// Behind the router's NAT44 and the provider's, with 100.64.0.0/10 between them (RFC 6598).
    Cgnat,
    /// By translation on the host (RFC 6877).
    ClatOnHost,
    /// Behind NAT44 and translation in the router.
    ClatInRouter,
}

/// How a home has IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum V6 {
    /// Nothing but link-local addresses.
    LinkLocal,
    /// An address and a default route, both set by hand.
    Static,
    /// An address and a default route by router advertisement.
    Advertised,
    /// An address by router advertisement, whose router lifetime is 0.
    AdvertisedNoDefault,
    /// As `Advertised`, and the advertisement tells the NAT64's prefix (RFC 8781).
    Pref64,
    /// A unique local address by router advertisement, whose router lifetime is 0.
    UlaOnly,
    /// A unique local address, and the router translates its prefix (RFC 6296).
    Npt,
    /// The router advertised another prefix before, lost it, and did not say so. It refuses it (RFC 7084, L-14).
    Renumbered,
    /// 6to4 in the router (RFC 3056). Needs `V4::Nat44`.
    SixToFour,
    /// 6rd in the router (RFC 5969). Needs `V4::Nat44`.
    SixRd,
}

impl V6 {
    /// Does the host listen to router advertisements?
    pub(super) const fn is_advertised(self) -> bool {
        matches!(self, Self::Advertised | Self::AdvertisedNoDefault | Self::Pref64 | Self::UlaOnly | Self::Renumbered)
    }
}

/// What becomes of packets to the NAT64's prefix at the home's router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat64 {
    /// There is none, and the router says so.
    Absent,
    /// It works.
    Works,
    /// They vanish.
    Dead,
}

/// A resolver that the provider has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resolver {
    /// Validates and tells the truth.
    Plain,
    /// The same, and makes IPv6 addresses where there are none (RFC 6147).
    Dns64,
    /// Gives an address for names that do not exist.
    Lying,
    /// Keeps AAAA records back.
    Filter,
}

impl Resolver {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Dns64, Self::Lying, Self::Filter];

    /// Its address of a family.
    pub fn address(self, family: Family) -> IpAddr {
        let number = match self {
            Self::Plain => 53,
            Self::Dns64 => 64,
            Self::Lying => 66,
            Self::Filter => 28,
        };
        match family {
            Family::V4 => Ipv4Addr::new(20, 53, 0, number).into(),
            // Decimal digits read as hexadecimal ones: 53 becomes ::53.
            Family::V6 => {
                let number = u16::from(number / 10 * 16 + number % 10);
                Ipv6Addr::new(0x2a0e, 0x5a53, 0, 0, 0, 0, 0, number).into()
            }
        }
    }

    /// The word for it in file names.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Dns64 => "dns64",
            Self::Lying => "lying",
            Self::Filter => "filter",
        }
    }
}

/// What the lying resolver says about names that do not exist.
pub const LIE: Ipv4Addr = Ipv4Addr::new(20, 99, 0, 1);

/// What is wrong with a home's line or router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// IPv6 packets vanish behind the router.
    DropsV6,
    /// The router hears nothing of IPv6 from the LAN, Neighbour Discovery included.
    SilentV6,
    /// The router answers IPv4 questions to port 53 in everybody's name.
    Intercepts,
    /// The line takes 1280 bytes, and the routers at its ends say so.
    Narrow,
    /// IPv6 packets of more bytes than this vanish, in both directions.
    Hole(u16),
    /// "Packet too big" does not come in.
    DropsTooBig,
    /// Nothing gets through in either family.
    Cut,
    /// The line runs through the wire, which can lose packets: see [`super::Homes::set_loss`]. At most one home.
    Wired,
}

/// A home: a host, and its router at the provider's line.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// In names of namespaces and interfaces; at most 12 bytes.
    pub name: &'static str,
    /// Its IPv4.
    pub v4: V4,
    /// Its IPv6.
    pub v6: V6,
    /// What its `resolv.conf` names.
    pub resolvers: &'static [(Resolver, Family)],
    /// What it has of NAT64.
    pub nat64: Nat64,
    /// What is wrong.
    pub faults: &'static [Fault],
}

/// A truthful resolver, over both families.
pub const BOTH: &[(Resolver, Family)] = &[(Resolver::Plain, Family::V4), (Resolver::Plain, Family::V6)];

impl Plan {
    /// A home as it should be, with both families.
    pub const fn dual(name: &'static str) -> Self {
        Self { name, v4: V4::Public, v6: V6::Static, resolvers: BOTH, nat64: Nat64::Absent, faults: &[] }
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}

/// A home's addresses, from its place among all machines at the core.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place(pub(super) u8);

impl Place {
    /// The core's and the machine's address on the line between them, a /30.
    pub(super) fn line(self) -> [Ipv4Addr; 2] {
        [1, 2].map(|last| Ipv4Addr::new(20, 200, self.0, last))
    }

    /// The home's public IPv4 network is a /24: the router's address, the host's.
    pub(super) fn lan4(self, v4: V4) -> [Ipv4Addr; 2] {
        let is_public = matches!(v4, V4::Public);
        [1, 2]
            .map(|last| if is_public { Ipv4Addr::new(20, 201, self.0, last) } else { Ipv4Addr::new(192, 168, 1, last) })
    }

    /// The home's /48.
    pub(super) fn prefix48(self) -> Ipv6Addr {
        Ipv6Addr::new(0x2a0e, 0x5a01, 0x1000 | u16::from(self.0), 0, 0, 0, 0, 0)
    }

    /// The /48 that it had before.
    pub(super) fn old_prefix48(self) -> Ipv6Addr {
        Ipv6Addr::new(0x2a0e, 0x5a01, 0x2000 | u16::from(self.0), 0, 0, 0, 0, 0)
    }

    /// The network of the LAN, a /64.
    pub(super) fn lan6(self, v6: V6) -> Ipv6Addr {
        match v6 {
            V6::UlaOnly | V6::Npt => Ipv6Addr::new(0xfd5a, 0x1000 | u16::from(self.0), 0x77, 1, 0, 0, 0, 0),
            V6::SixToFour => with_v4(SIX_TO_FOUR, 16, self.line()[1]),
            V6::SixRd => with_v4(SIX_RD, 32, self.line()[1]),
            _ => self.prefix48(),
        }
    }

    /// The translator's own /64 within the home's /48.
    pub(super) fn clat6(self) -> Ipv6Addr {
        part(self.prefix48(), 3, 0xc)
    }
}

/// The address with this last part.
pub(super) fn at(prefix: Ipv6Addr, last: u16) -> Ipv6Addr {
    part(prefix, 7, last)
}

fn part(prefix: Ipv6Addr, place: usize, value: u16) -> Ipv6Addr {
    let mut segments = prefix.segments();
    if let Some(segment) = segments.get_mut(place) {
        *segment = value;
    }
    segments.into()
}

/// An IPv4 address behind so many bits of a prefix.
pub(super) fn with_v4(prefix: Ipv6Addr, bits: u32, v4: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(prefix.to_bits() | u128::from(v4.to_bits()) << (96 - bits))
}

/// The IPv4 address that [`with_v4`] put there.
pub(super) fn v4_in(address: Ipv6Addr, bits: u32) -> Ipv4Addr {
    // Cutting to 32 bits is the purpose.
    Ipv4Addr::from_bits((address.to_bits() >> (96 - bits)) as u32)
}

/// The reference of this number, 0 to 3, each in a network of its own.
pub(super) fn reference(number: usize, family: Family) -> IpAddr {
    // There are four of them.
    let number = u8::try_from(number).unwrap_or(u8::MAX);
    match family {
        Family::V4 => Ipv4Addr::new(20, 101 + number, 0, 10).into(),
        Family::V6 => Ipv6Addr::new(0x2a0e, 0x5a11 + u16::from(number), 1, 0, 0, 0, 0, 0x10).into(),
    }
}

/// The address behind the narrow link of the first reference.
pub(super) const NARROW: Ipv6Addr = Ipv6Addr::new(0x2a0e, 0x5a11, 2, 0, 0, 0, 0, 1);

/// The name server of the references' zone.
pub(super) fn authority(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(20, 54, 0, 53).into(),
        Family::V6 => Ipv6Addr::new(0x2a0e, 0x5a54, 0, 0, 0, 0, 0, 0x53).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_find_the_ipv4_address_again() {
        let v4 = Ipv4Addr::new(20, 201, 7, 2);
        let six_to_four = with_v4(SIX_TO_FOUR, 16, v4);
        assert_eq!(six_to_four.to_string(), "2002:14c9:702::");
        assert_eq!(v4_in(at(six_to_four, 1), 16), v4);
        let place = Place(9);
        assert_eq!(place.lan6(V6::SixRd).to_string(), "2a01:7700:14c8:902::");
        assert_eq!(v4_in(at(place.lan6(V6::SixRd), 2), 32), place.line()[1]);
        assert_eq!(with_v4(NAT64_PREFIX, 96, v4).to_string(), "64:ff9b::14c9:702");
    }
}
