//! Which machines the lab has, how they are joined and which addresses they carry: one table, from which set-up, routes
//! and the truth about paths are all derived. Pure data; nothing here touches the system.
//!
//! ```text
//! dual ─┐ LAN
//! neighbour ┴─ home ══╗                        ╔══ server
//! next-door ── (same /56)                      ╠══ dns
//! v4only ═════════════╬══ r1 ══ r2 ════════════╣
//! v6only ═════════════╣                        ╚══ r3 ══ target
//! nat ── natgw ═══════╝
//! ```
//!
//! `═` are links through the wire (delay, loss), `─` are plain ones. The graph is a tree, so every path is unique. The long
//! path behind r2, which a lab has on request and which forks, is in `long_path`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

mod long_path;

pub use long_path::{Branch, MPLS_LABELS, MplsLabel};

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, IPv4 first.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// A machine at the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// Where collector and API live; dual stack.
    Server,
    /// What is measured; dual stack, several addresses.
    Target,
    /// The lab's DNS server; dual stack.
    Dns,
    /// A probe with both families.
    Dual,
    /// A probe with IPv4; IPv6 is on but has only a link-local address, so that sending fails with ENETUNREACH.
    V4Only,
    /// A probe with IPv6 alone.
    V6Only,
    /// A probe at a private IPv4 address behind NAT44; IPv6 is off by sysctl, so that sending fails with EADDRNOTAVAIL.
    Nat,
    /// Another household machine in the same /64 and the same IPv4 subnet as `Dual`.
    Neighbour,
    /// A machine in the same /56 as `Dual`, in another /64.
    NextDoor,
    /// A target at the end of the long path; dual stack. Only in labs with `long_path`.
    Far,
}

impl Host {
    /// Every host.
    pub const ALL: [Self; 10] = [
        Self::Server,
        Self::Target,
        Self::Dns,
        Self::Dual,
        Self::V4Only,
        Self::V6Only,
        Self::Nat,
        Self::Neighbour,
        Self::NextDoor,
        Self::Far,
    ];

    /// Whether it belongs to the long path.
    pub const fn is_on_long_path(self) -> bool {
        matches!(self, Self::Far)
    }

    /// The word for it in namespace names and under `lab.example`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Target => "target",
            Self::Dns => "dns",
            Self::Dual => "dual",
            Self::V4Only => "v4only",
            Self::V6Only => "v6only",
            Self::Nat => "nat",
            Self::Neighbour => "neighbour",
            Self::NextDoor => "next-door",
            Self::Far => "far",
        }
    }

    /// Its addresses of a family, the main one first; empty if it has none.
    pub fn addresses(self, family: Family) -> Vec<IpAddr> {
        Node::Host(self).addresses(family)
    }

    /// Its main address of a family.
    pub fn address(self, family: Family) -> Option<IpAddr> {
        self.addresses(family).first().copied()
    }

    /// The address under which the others see it: its own, or that of the NAT in front of it.
    pub fn public_address(self, family: Family) -> Option<IpAddr> {
        match self {
            Self::Nat => Node::Router(Router::NatGateway).address_on(Link::NatR1, family),
            other => other.address(family),
        }
    }
}

/// A machine that forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Router {
    /// The home router of `Dual`, `Neighbour` and `NextDoor`.
    Home,
    /// The NAT44 router of `Nat`; it runs a DNS server for its LAN.
    NatGateway,
    /// The access router of all probes.
    R1,
    /// The middle; server and DNS hang here.
    R2,
    /// The router in front of the target.
    R3,
    /// Where the long path forks: it chooses a branch by flow, ECMP.
    Fork,
    /// The first router of branch A.
    A1,
    /// The second one of branch A.
    A2,
    /// The first router of branch B.
    B1,
    /// The second one of branch B.
    B2,
    /// Where the branches meet; its way back is branch A.
    Join,
    /// The router in user space (`lab-mpls`), whose ICMP errors carry MPLS labels.
    Mpls,
    /// The last but one of the long path.
    D1,
    /// The router in front of `Far`.
    D2,
}

impl Router {
    /// Every router.
    pub const ALL: [Self; 14] = [
        Self::Home,
        Self::NatGateway,
        Self::R1,
        Self::R2,
        Self::R3,
        Self::Fork,
        Self::A1,
        Self::A2,
        Self::B1,
        Self::B2,
        Self::Join,
        Self::Mpls,
        Self::D1,
        Self::D2,
    ];

    /// Whether it belongs to the long path.
    pub const fn is_on_long_path(self) -> bool {
        !matches!(self, Self::Home | Self::NatGateway | Self::R1 | Self::R2 | Self::R3)
    }

    /// An address that lies on none of its links, from which it answers after [`Lab::set_other_address`].
    ///
    /// [`Lab::set_other_address`]: super::Lab::set_other_address
    pub fn other_address(self, family: Family) -> IpAddr {
        let number = self as u8 + 1;
        match family {
            Family::V4 => Ipv4Addr::new(20, 99, 0, number).into(),
            Family::V6 => Ipv6Addr::new(0x2a0e, 0x5a00, 0x99, 0, 0, 0, 0, number.into()).into(),
        }
    }

    /// The word for it in namespace names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::NatGateway => "natgw",
            Self::R1 => "r1",
            Self::R2 => "r2",
            Self::R3 => "r3",
            Self::Fork => "fork",
            Self::A1 => "a1",
            Self::A2 => "a2",
            Self::B1 => "b1",
            Self::B2 => "b2",
            Self::Join => "join",
            Self::Mpls => "mpls",
            Self::D1 => "d1",
            Self::D2 => "d2",
        }
    }
}

/// Anything that has a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// A host.
    Host(Host),
    /// A router.
    Router(Router),
    /// The namespace in which the wire process moves frames; no addresses.
    Wire,
}

impl From<Host> for Node {
    fn from(host: Host) -> Self {
        Self::Host(host)
    }
}

impl From<Router> for Node {
    fn from(router: Router) -> Self {
        Self::Router(router)
    }
}

impl Node {
    /// Every node of a lab, with or without the long path.
    pub fn all(long_path: bool) -> Vec<Self> {
        let hosts = Host::ALL.into_iter().map(Self::Host);
        let all = hosts.chain(Router::ALL.into_iter().map(Self::Router)).chain([Self::Wire]);
        all.filter(|node| long_path || !node.is_on_long_path()).collect()
    }

    /// Whether it belongs to the long path.
    pub const fn is_on_long_path(self) -> bool {
        match self {
            Self::Host(host) => host.is_on_long_path(),
            Self::Router(router) => router.is_on_long_path(),
            Self::Wire => false,
        }
    }

    /// The word for it in namespace names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host(host) => host.name(),
            Self::Router(router) => router.name(),
            Self::Wire => "wire",
        }
    }

    /// All its addresses of a family, in the order of the table.
    pub fn addresses(self, family: Family) -> Vec<IpAddr> {
        segments(true).flat_map(|segment| segment.addresses(self, family)).collect()
    }

    /// Its address on one link.
    pub fn address_on(self, link: Link, family: Family) -> Option<IpAddr> {
        let segment = segments(true).find(|segment| segment.link == Some(link))?;
        segment.addresses(self, family).first().copied()
    }
}

/// A link that runs through the wire, named by its ends, the one nearer to the probes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it: the two ends")]
pub enum Link {
    HomeR1,
    V4OnlyR1,
    V6OnlyR1,
    NatR1,
    R1R2,
    R2R3,
    R2Server,
    R2Dns,
    R3Target,
    R2Fork,
    ForkA1,
    ForkB1,
    A1A2,
    B1B2,
    A2Join,
    B2Join,
    JoinMpls,
    MplsD1,
    D1D2,
    D2Far,
}

impl Link {
    /// Every link, in the order of their numbers.
    pub const ALL: [Self; 20] = [
        Self::HomeR1,
        Self::V4OnlyR1,
        Self::V6OnlyR1,
        Self::NatR1,
        Self::R1R2,
        Self::R2R3,
        Self::R2Server,
        Self::R2Dns,
        Self::R3Target,
        Self::R2Fork,
        Self::ForkA1,
        Self::ForkB1,
        Self::A1A2,
        Self::B1B2,
        Self::A2Join,
        Self::B2Join,
        Self::JoinMpls,
        Self::MplsD1,
        Self::D1D2,
        Self::D2Far,
    ];

    /// Whether it belongs to the long path.
    pub const fn is_on_long_path(self) -> bool {
        self as u8 >= Self::R2Fork as u8
    }

    /// The nodes at its ends, the one named first first.
    pub fn ends(self) -> [Node; 2] {
        let segment = segments(true).find(|segment| segment.link == Some(self)).expect("every link is in the table");
        match segment.ports {
            [first, second] => [first.node, second.node],
            _ => unreachable!("a link has two ends"),
        }
    }

    /// The word for it in interface names (with `-a` or `-b` at most 15 bytes).
    pub const fn name(self) -> &'static str {
        match self {
            Self::HomeR1 => "home-r1",
            Self::V4OnlyR1 => "v4only-r1",
            Self::V6OnlyR1 => "v6only-r1",
            Self::NatR1 => "nat-r1",
            Self::R1R2 => "r1-r2",
            Self::R2R3 => "r2-r3",
            Self::R2Server => "r2-server",
            Self::R2Dns => "r2-dns",
            Self::R3Target => "r3-target",
            Self::R2Fork => "r2-fork",
            Self::ForkA1 => "fork-a1",
            Self::ForkB1 => "fork-b1",
            Self::A1A2 => "a1-a2",
            Self::B1B2 => "b1-b2",
            Self::A2Join => "a2-join",
            Self::B2Join => "b2-join",
            Self::JoinMpls => "join-mpls",
            Self::MplsD1 => "mpls-d1",
            Self::D1D2 => "d1-d2",
            Self::D2Far => "d2-far",
        }
    }

    /// The delay it has in a fresh lab, one way, in microseconds.
    pub const fn default_delay_us(self) -> u64 {
        match self {
            Self::HomeR1 => 1_000,
            Self::V4OnlyR1 => 1_500,
            Self::V6OnlyR1 => 2_000,
            Self::NatR1 => 2_500,
            Self::R1R2 => 3_000,
            Self::R2R3 => 5_000,
            Self::R2Server | Self::R2Dns => 500,
            Self::R3Target => 1_000,
            Self::ForkA1 | Self::A1A2 | Self::A2Join | Self::MplsD1 | Self::D2Far => 1_000,
            Self::ForkB1 | Self::B1B2 | Self::B2Join => 1_500,
            Self::R2Fork | Self::D1D2 => 2_000,
            Self::JoinMpls => 3_000,
        }
    }
}

/// One of the two ways across a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// From the end named first to the other: away from the probes.
    Forward,
    /// Towards the probes.
    Backward,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Forward, Self::Backward];
}

/// A network that several nodes share.
pub(super) struct Segment {
    /// Set if it runs through the wire; then it has exactly two ports, the first-named end first.
    pub(super) link: Option<Link>,
    /// Behind NAT: nobody outside has a route to it.
    pub(super) private: bool,
    pub(super) v4: Option<(Ipv4Addr, u8)>,
    pub(super) v6: Option<Ipv6Addr>,
    pub(super) ports: &'static [Port],
}

/// Where a node touches a segment.
pub(super) struct Port {
    pub(super) node: Node,
    pub(super) interface: &'static str,
    /// Last part of its addresses; 10 is `.10` and `::10`. The first one is the main address.
    pub(super) suffixes: &'static [u8],
}

/// The length of every IPv6 prefix in the lab.
pub(super) const V6_PREFIX_LENGTH: u8 = 64;

impl Segment {
    pub(super) fn has(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4.is_some(),
            Family::V6 => self.v6.is_some(),
        }
    }

    pub(super) fn port(&self, node: Node) -> Option<&Port> {
        self.ports.iter().find(|port| port.node == node)
    }

    /// The node's addresses here.
    pub(super) fn addresses(&self, node: Node, family: Family) -> Vec<IpAddr> {
        let suffixes = self.port(node).map_or(&[][..], |port| port.suffixes);
        suffixes.iter().filter_map(|suffix| self.address(*suffix, family)).collect()
    }

    fn address(&self, suffix: u8, family: Family) -> Option<IpAddr> {
        Some(match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(self.v4?.0.to_bits() | u32::from(suffix))),
            // Decimal digits read as hexadecimal ones: 53 becomes ::53.
            Family::V6 => {
                IpAddr::V6(Ipv6Addr::from_bits(self.v6?.to_bits() | u128::from(suffix / 10 * 16 + suffix % 10)))
            }
        })
    }

    /// The prefix in text, for a route.
    pub(super) fn prefix(&self, family: Family) -> Option<String> {
        Some(match family {
            Family::V4 => self.v4.map(|(network, length)| format!("{network}/{length}"))?,
            Family::V6 => format!("{}/{V6_PREFIX_LENGTH}", self.v6?),
        })
    }
}

const fn v4(a: u8, b: u8, c: u8, length: u8) -> Option<(Ipv4Addr, u8)> {
    Some((Ipv4Addr::new(a, b, c, 0), length))
}

const fn v6(third: u16, fourth: u16) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::new(0x2a0e, 0x5a00, third, fourth, 0, 0, 0, 0))
}

const fn host(host: Host, suffixes: &'static [u8]) -> Port {
    Port { node: Node::Host(host), interface: "eth0", suffixes }
}

const fn router(router: Router, interface: &'static str, suffix: &'static [u8; 1]) -> Port {
    Port { node: Node::Router(router), interface, suffixes: suffix }
}

const fn segment(
    link: Option<Link>,
    v4: Option<(Ipv4Addr, u8)>,
    v6: Option<Ipv6Addr>,
    ports: &'static [Port],
) -> Segment {
    Segment { link, private: false, v4, v6, ports }
}

/// The networks of a lab, with or without the long path.
pub(super) fn segments(long_path: bool) -> impl Iterator<Item = &'static Segment> {
    let more: &[Segment] = if long_path { long_path::SEGMENTS } else { &[] };
    SEGMENTS.iter().chain(more)
}

/// The lab without the long path. Addresses look public, since the probe refuses others; no namespace has a way out.
static SEGMENTS: &[Segment] = &[
    // The household: 2a0e:5a00:100:aa00::/56.
    segment(
        None,
        v4(20, 10, 1, 24),
        v6(0x100, 0xaa00),
        &[router(Router::Home, "lan", &[1]), host(Host::Dual, &[10]), host(Host::Neighbour, &[11])],
    ),
    segment(
        None,
        v4(20, 10, 2, 24),
        v6(0x100, 0xaa01),
        &[router(Router::Home, "lan2", &[1]), host(Host::NextDoor, &[10])],
    ),
    segment(
        Some(Link::HomeR1),
        v4(20, 1, 1, 24),
        v6(0, 1),
        &[router(Router::Home, "wan", &[2]), router(Router::R1, "home", &[1])],
    ),
    // Probes directly at the access router.
    segment(
        Some(Link::V4OnlyR1),
        v4(20, 11, 1, 24),
        None,
        &[host(Host::V4Only, &[10]), router(Router::R1, "v4only", &[1])],
    ),
    segment(
        Some(Link::V6OnlyR1),
        None,
        v6(0x101, 0xbb00),
        &[host(Host::V6Only, &[10]), router(Router::R1, "v6only", &[1])],
    ),
    // The NAT household.
    Segment {
        link: None,
        private: true,
        v4: v4(192, 168, 7, 24),
        v6: None,
        ports: &[router(Router::NatGateway, "lan", &[1]), host(Host::Nat, &[10])],
    },
    segment(
        Some(Link::NatR1),
        v4(20, 12, 1, 24),
        None,
        &[router(Router::NatGateway, "wan", &[2]), router(Router::R1, "nat", &[1])],
    ),
    // The core.
    segment(
        Some(Link::R1R2),
        v4(20, 1, 2, 24),
        v6(0, 2),
        &[router(Router::R1, "r2", &[1]), router(Router::R2, "r1", &[2])],
    ),
    segment(
        Some(Link::R2R3),
        v4(20, 1, 3, 24),
        v6(0, 3),
        &[router(Router::R2, "r3", &[1]), router(Router::R3, "r2", &[2])],
    ),
    // What the probes talk to.
    segment(
        Some(Link::R2Server),
        v4(20, 20, 1, 24),
        v6(0x200, 1),
        &[router(Router::R2, "server", &[1]), host(Host::Server, &[10, 11])],
    ),
    segment(
        Some(Link::R2Dns),
        v4(20, 21, 1, 24),
        v6(0x201, 1),
        &[router(Router::R2, "dns", &[1]), host(Host::Dns, &[53])],
    ),
    segment(
        Some(Link::R3Target),
        v4(20, 30, 1, 24),
        v6(0x300, 1),
        &[router(Router::R3, "target", &[1]), host(Host::Target, &[10, 11, 12])],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_is_in_the_table_once_with_two_ends_and_a_name_that_fits() {
        for link in Link::ALL {
            let segments: Vec<_> = segments(true).filter(|segment| segment.link == Some(link)).collect();
            assert_eq!(segments.len(), 1, "{link:?}");
            assert_eq!(segments[0].ports.len(), 2, "{link:?}");
            assert!(link.name().len() + 2 <= 15, "{link:?}");
            assert_eq!(link.ends().iter().any(|end| end.is_on_long_path()), link.is_on_long_path(), "{link:?}");
        }
    }

    #[test]
    fn addresses_read_as_written() {
        assert_eq!(Host::Dns.address(Family::V4), Some("20.21.1.53".parse().unwrap()));
        assert_eq!(Host::Dns.address(Family::V6), Some("2a0e:5a00:201:1::53".parse().unwrap()));
        assert_eq!(Host::Target.addresses(Family::V4).len(), 3);
        assert_eq!(Host::V4Only.address(Family::V6), None);
        assert_eq!(Host::Nat.public_address(Family::V4), Some("20.12.1.2".parse().unwrap()));
    }
}
