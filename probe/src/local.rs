//! What is near this machine: its own addresses, what is on its links, its routers; and a bell that rings when any of that
//! changes. From the kernel, in the network namespace of the calling thread: `getifaddrs(3)`, `/proc/net/route`,
//! `/proc/net/ipv6_route` (proc(5)) and rtnetlink(7).
//!
//! Limits: of IPv4 the kernel lists the main routing table only, and of a route over several routers the first. What other
//! tables reach over a link of their own is known by the addresses on that link. IPv6 lists all tables.
//!
//! What a run of the kind `ipv6` reads more of the same is in [`inventory`].
//!
//! This module reads and reports. What may be measured is for [`crate::policy`] to say.

pub mod adverts;
pub mod inventory;
mod netlink;
mod routes;
mod stability;
mod tables;
pub mod traffic;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nameindex};
use nix::sys::socket::SockaddrStorage;
use sonde_protocol::address::{Nat64Prefix, Neighbourhood};
use sonde_protocol::net::Family;

use routes::Route;
pub use watch::AddressWatch;

/// Where the routes are. `/proc/net` itself would show the namespace of the process's first thread.
const ROUTES_V4: &str = "/proc/thread-self/net/route";
const ROUTES_V6: &str = "/proc/thread-self/net/ipv6_route";

/// A route to this much of the address space or more is a way to the internet, not a link: a default route, or one of the
/// halves of it that VPNs like to use. Shorter prefixes than these are meant.
const WIDE_V4: u8 = 8;
const WIDE_V6: u8 = 16;

/// What is near the machine at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LocalNetwork {
    own: BTreeSet<IpAddr>,
    on_link: BTreeSet<IpNet>,
    gateways: BTreeSet<IpAddr>,
    /// The routers on the way to the internet, each with the interface where it is.
    ways_out: BTreeSet<(IpAddr, String)>,
    /// The interfaces but loopback, and whether they have a link.
    links: BTreeMap<String, bool>,
    /// Ways to the internet, IPv4 and IPv6.
    wide_route: [bool; 2],
    /// The interfaces that these lead over.
    uplinks: BTreeSet<String>,
    /// The router that the first of them names.
    first_hop: Option<IpAddr>,
}

impl LocalNetwork {
    /// Asks the kernel.
    ///
    /// # Errors
    /// When the addresses or the IPv4 routes cannot be read. A system without IPv6 has no IPv6 routes, which is no error.
    pub fn read() -> io::Result<Self> {
        let mut local = Self::default();
        for interface in getifaddrs()? {
            if !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK) {
                let up = interface.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING);
                local.links.insert(interface.interface_name.clone(), up);
            }
            // The netmask of a point-to-point link is about the other end, which has a route.
            let linked = !interface.flags.contains(InterfaceFlags::IFF_POINTOPOINT);
            if let Some(address) = interface.address.as_ref().and_then(ip) {
                local.add_address(address, interface.netmask.as_ref().and_then(ip).filter(|_| linked));
            }
        }
        for line in BufReader::new(File::open(ROUTES_V4)?).lines() {
            local.add_route(routes::parse_v4(&line?));
        }
        match File::open(ROUTES_V6) {
            Ok(file) => {
                for line in BufReader::new(file).lines() {
                    local.add_route(routes::parse_v6(&line?));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(local)
    }

    /// The machine's own addresses, loopback and link-local ones too, sorted.
    pub fn own(&self) -> impl Iterator<Item = IpAddr> {
        self.own.iter().copied()
    }

    /// Does this family have an address to send from and a route to the internet? Says nothing about one destination,
    /// which may be on a link or this machine: for that, ask for the source address towards it.
    pub fn has_route(&self, family: Family) -> bool {
        self.wide_route[index(family)] && self.has_address(family)
    }

    /// Does this family have an address that is more than local?
    pub fn has_address(&self, family: Family) -> bool {
        let usable = |address: &IpAddr| match address {
            IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
            IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
        };
        self.own.iter().any(|own| Family::of(*own) == family && usable(own))
    }

    /// The routers of a family on the way to the internet, and the interface where each is.
    pub fn ways_out(&self, family: Family) -> impl Iterator<Item = (IpAddr, &str)> {
        let of_family = self.ways_out.iter().filter(move |(gateway, _)| Family::of(*gateway) == family);
        of_family.map(|(gateway, interface)| (*gateway, interface.as_str()))
    }

    /// The interfaces but loopback, by name, and whether they have a link.
    pub fn links(&self) -> impl Iterator<Item = (&str, bool)> {
        self.links.iter().map(|(name, up)| (name.as_str(), *up))
    }

    /// Is the address on a link of this machine, or its own?
    pub fn is_near(&self, address: IpAddr) -> bool {
        self.own.contains(&address) || self.on_link.iter().any(|net| net.contains(&address))
    }

    /// The interfaces over which this machine reaches the internet.
    pub const fn uplinks(&self) -> &BTreeSet<String> {
        &self.uplinks
    }

    /// The router on the way to the internet, where it can be asked.
    pub const fn first_hop(&self) -> Option<IpAddr> {
        self.first_hop
    }

    /// This with what others know: the addresses the probe is seen from, the NAT64 prefixes of the line, and how much
    /// around its own IPv6 addresses is the host's network.
    pub fn neighbourhood(&self, public: &[IpAddr], nat64: &[Nat64Prefix], site_prefix: u8) -> Neighbourhood {
        Neighbourhood {
            own: self.own.iter().copied().collect(),
            on_link: self.on_link.iter().copied().collect(),
            gateways: self.gateways.iter().copied().collect(),
            public: public.to_vec(),
            nat64: nat64.to_vec(),
            site_prefix,
        }
    }

    fn add_address(&mut self, address: IpAddr, mask: Option<IpAddr>) {
        self.own.insert(address);
        let net = match (address, mask) {
            (IpAddr::V4(address), Some(IpAddr::V4(mask))) => Ipv4Net::with_netmask(address, mask).ok().map(IpNet::V4),
            (IpAddr::V6(address), Some(IpAddr::V6(mask))) => Ipv6Net::with_netmask(address, mask).ok().map(IpNet::V6),
            _ => None,
        };
        // A mask of nothing would put the whole internet on the link.
        self.on_link.extend(net.filter(|net| net.prefix_len() > 0).map(|net| net.trunc()));
    }

    fn add_route(&mut self, route: Option<Route>) {
        let Some(route) = route else { return };
        let wide = match route.destination {
            IpNet::V4(net) => net.prefix_len() < WIDE_V4,
            IpNet::V6(net) => net.prefix_len() < WIDE_V6,
        };
        match route.gateway {
            Some(gateway) => {
                self.gateways.insert(gateway);
                if wide {
                    self.ways_out.insert((gateway, route.interface.clone()));
                }
            }
            None if !wide => {
                self.on_link.insert(route.destination);
            }
            None => {}
        }
        if wide {
            self.wide_route[index(Family::of(route.destination.addr()))] = true;
            // A link-local router would need its interface named to be reached.
            let reachable = |hop: &IpAddr| !matches!(hop, IpAddr::V6(v6) if v6.is_unicast_link_local());
            self.first_hop = self.first_hop.or(route.gateway.filter(reachable));
            self.uplinks.insert(route.interface);
        }
    }
}

const fn index(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

/// The number of an interface. By rtnetlink: the other way, `if_nametoindex`, takes a Unix socket, which the sandbox refuses.
pub fn interface_number(name: &str) -> Option<u32> {
    let all = if_nameindex().ok()?;
    all.iter().find(|interface| interface.name().to_bytes() == name.as_bytes()).map(|interface| interface.index())
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(addresses: &[(&str, &str)], routes: &[(&str, &str)]) -> LocalNetwork {
        let mut local = LocalNetwork::default();
        for (address, mask) in addresses {
            local.add_address(address.parse().unwrap(), mask.parse().ok());
        }
        for (destination, gateway) in routes {
            let (destination, gateway) = (destination.parse().unwrap(), gateway.parse().ok());
            local.add_route(Some(Route { destination, gateway, interface: "v0".into() }));
        }
        local
    }

    #[test]
    fn this_machine_can_be_read() {
        let local = LocalNetwork::read().unwrap();
        assert_eq!(LocalNetwork::read().unwrap(), local);
    }

    #[test]
    fn the_way_to_the_internet_is_not_a_link_even_without_a_router() {
        // A dial-up line; a VPN that covers everything by halves; a real link beside them.
        let local = local(
            &[("20.0.0.9", "255.255.255.255"), ("2a00:1::9", "ffff:ffff:ffff:ffff::")],
            &[("0.0.0.0/0", ""), ("0.0.0.0/1", ""), ("128.0.0.0/1", ""), ("2000::/3", ""), ("30.0.0.0/8", "")],
        );
        let near = local.neighbourhood(&[], &[], 56);
        let nets: Vec<_> = near.on_link.iter().map(ToString::to_string).collect();
        assert_eq!(nets, ["20.0.0.9/32", "30.0.0.0/8", "2a00:1::/64"]);
        assert!(local.has_route(Family::V4) && local.has_route(Family::V6));
    }

    #[test]
    fn a_family_needs_a_wide_route_and_an_address() {
        let gateway = [("0.0.0.0/0", "20.0.0.1"), ("::/0", "fe80::1")];
        assert!(local(&[("20.0.0.9", "")], &gateway).has_route(Family::V4));
        assert!(!local(&[("127.0.0.1", ""), ("169.254.1.1", "")], &gateway).has_route(Family::V4));
        assert!(!local(&[("20.0.0.9", ""), ("::1", ""), ("fe80::9", "")], &gateway).has_route(Family::V6));
        assert!(!local(&[("2a00:1::9", "")], &[("2a00:2::/32", "fe80::1")]).has_route(Family::V6));
        let found = local(&[], &[("::/0", "fe80::1"), ("0.0.0.0/0", "20.0.0.1"), ("30.0.0.0/8", "20.0.0.2")]);
        assert_eq!(found.first_hop(), "20.0.0.1".parse().ok());
        assert!(found.uplinks().contains("v0") && local(&[], &[("30.0.0.0/24", "")]).uplinks().is_empty());
    }

    #[test]
    fn the_neighbourhood_has_what_others_know_too() {
        let nat64 = Nat64Prefix::new("64:ff9b:1::/96".parse().unwrap()).unwrap();
        let public = "21.0.0.1".parse().unwrap();
        let near = local(&[("10.0.0.9", "255.255.255.0")], &[("0.0.0.0/0", "10.0.0.1")]).neighbourhood(
            &[public],
            &[nat64],
            48,
        );
        assert_eq!(near.own, ["10.0.0.9".parse::<IpAddr>().unwrap()]);
        assert_eq!(near.on_link, ["10.0.0.0/24".parse::<IpNet>().unwrap()]);
        assert_eq!(near.gateways, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!((near.public, near.nat64, near.site_prefix), (vec![public], vec![nat64], 48));
    }
}
