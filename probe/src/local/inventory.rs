//! What the machine's own tables say, for a run of the kind `ipv6`: addresses, default routes, what routers advertise, and how
//! often all that changes. Over rtnetlink, which needs no privilege; reading sends nothing.
//!
//! Limits: where systemd-networkd or NetworkManager handles advertisements, the kernel knows nothing of their M and O bits, nor
//! of resolvers and NAT64 prefixes in them; that one came is then told by the default route it made.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use nix::libc;
use socket2::{Domain, Socket, Type};
use sonde_engine::ipv6::gather::Inventory;
use sonde_protocol::bounded::List;
use sonde_protocol::net::Family;
use sonde_protocol::result::ipv6::{AddressSeen, LinkKind, Neighbour, RouteSeen, RouterAdvert};

use tracing::debug;

use super::adverts::Adverts;
use super::interface_number;
use super::netlink::{dump, one};
use super::stability::Changes;
use super::tables::{self, DefaultRoute, Link, Links};
use crate::net::clock::ClockSource;
use crate::net::solicit;

/// `RTPROT_RA` and `RTPROT_DHCP` (linux/rtnetlink.h).
const FROM_ADVERT: u8 = 9;
const FROM_DHCP: u8 = 16;

/// On so many links routers are asked to advertise themselves at most.
const MAX_ASKED: usize = 4;

/// Two addresses of root name servers. The kernel is asked which way leads there; nothing is sent.
const FAR_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4));
const FAR_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30));

/// Reads the tables, and remembers what they do not.
#[derive(Debug)]
pub struct Tables {
    adverts: Option<Adverts>,
    /// Routers were asked to advertise themselves.
    asked: AtomicBool,
    changes: Mutex<Changes>,
    clock: Arc<dyn ClockSource>,
}

impl Tables {
    /// Begins to listen to what routers advertise, in the network namespace of the calling thread. Where that is forbidden it
    /// goes without.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(clock: Arc<dyn ClockSource>) -> Self {
        let adverts = Adverts::start(Arc::clone(&clock)).ok();
        Self { adverts, asked: AtomicBool::new(false), changes: Mutex::default(), clock }
    }

    /// The tables now. `resolvers` are the machine's, as who reads their list says.
    ///
    /// What cannot be read is absent: see [`Inventory`].
    pub fn read(&self, resolvers: Option<Vec<IpAddr>>) -> Inventory {
        let now = self.clock.monotonic();
        let links = links().unwrap_or_default();
        let addresses = addresses(&links).unwrap_or_default();
        let routes = Family::BOTH.map(|af| default_routes(af, &links));
        let [v4, v6] = match routes {
            [Ok(v4), Ok(v6)] => [Some(v4), Some(v6)],
            // A system without IPv6 has no table of its routes.
            [Ok(v4), Err(_)] if !has_v6() => [Some(v4), Some(Vec::new())],
            [v4, v6] => [v4.ok(), v6.ok()],
        };
        let advert = self.advert(&links, v6.as_deref().unwrap_or_default());
        let routes = match (v6, v4) {
            (Some(v6), Some(v4)) => {
                let all = v6.into_iter().chain(v4).map(|route| with_lease(route.seen, &addresses));
                Some(all.collect::<Vec<RouteSeen>>())
            }
            _ => None,
        };
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(routes) = &routes {
            changes.note(&addresses, routes, now);
        }
        let v6_off = is_v6_off(&links, routes.as_deref().unwrap_or_default());
        Inventory { addresses, routes, advert, resolvers, v6_off, stability: changes.counts(now) }
    }

    /// Asks the routers to advertise themselves, and waits some seconds for that. Without CAP_NET_RAW it asks nobody, and what only
    /// an advertisement tells stays unknown until one comes. `again`: also when this process has asked before.
    pub async fn solicit(&self, again: bool) {
        let Some(adverts) = &self.adverts else { return };
        if self.asked.swap(true, Ordering::Relaxed) && !again {
            return;
        }
        let links = links().unwrap_or_default();
        let routes = default_routes(Family::V6, &links).unwrap_or_default();
        let ways_out: BTreeSet<u32> = routes.iter().map(|route| route.index).collect();
        let speaks = |(index, link): &(&u32, &Link)| {
            is_real(link) && !is_off(link) && (ways_out.is_empty() || ways_out.contains(index))
        };
        let asked: Vec<u32> = links.iter().filter(speaks).map(|(index, _)| *index).take(MAX_ASKED).collect();
        let heard = |link, message: &[u8]| {
            let now = self.clock.monotonic();
            adverts.heard(|heard| heard.advert(link, message, now));
        };
        if let Err(error) = solicit::ask(&asked, heard).await {
            debug!(%error, "routers are not asked to advertise themselves");
        }
    }

    /// What the router advertises, by what was heard until now.
    pub fn advertised(&self) -> Option<RouterAdvert> {
        let links = links().ok()?;
        let routes = default_routes(Family::V6, &links).unwrap_or_default();
        self.advert(&links, &routes)
    }

    /// Looks only whether prefixes or default routes have changed. To be called whenever the kernel says that something has.
    pub fn note(&self) {
        let links = links().unwrap_or_default();
        if let (Ok(addresses), Ok(routes)) = (addresses(&links), default_routes(Family::V6, &links)) {
            let routes: Vec<RouteSeen> = routes.into_iter().map(|route| route.seen).collect();
            let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
            changes.note(&addresses, &routes, self.clock.monotonic());
        }
    }

    /// What the router on the link of the preferred route advertises; without a route, that of any link where one came.
    fn advert(&self, links: &Links, routes: &[DefaultRoute]) -> Option<RouterAdvert> {
        let now = self.clock.monotonic();
        let came = |(_, link): &(&u32, &Link)| link.v6.is_some_and(|v6| v6.advert_seen);
        let index = routes.first().map(|route| route.index);
        let index = index.or_else(|| links.iter().find(came).map(|(index, _)| *index));
        // Nobody advertises anything; where IPv6 is spoken, that is a finding.
        let speaks = |link: &Link| is_real(link) && !is_off(link);
        let nothing = || RouterAdvert { heard: Some(false), ..RouterAdvert::default() };
        let Some(index) = index else { return links.values().any(speaks).then(nothing) };
        let v6 = links.get(&index)?.v6?;
        let by_route = routes.iter().any(|route| route.index == index && route.seen.origin == Some(FROM_ADVERT));
        let (resolvers, pref64, heard) = match &self.adverts {
            Some(adverts) => {
                adverts.heard(|heard| (heard.resolvers(index, now), heard.prefixes(index, now), heard.has_heard(index)))
            }
            None => Default::default(),
        };
        Some(RouterAdvert {
            seen: v6.advert_seen || by_route || heard,
            managed: v6.managed,
            other: v6.other,
            mtu: v6.mtu,
            resolvers: List::cut(resolvers),
            pref64: List::cut(pref64),
            heard: Some(heard),
        })
    }
}

/// What the kernel knows of a neighbour on an interface now.
///
/// # Errors
/// When the table cannot be read.
pub fn neighbour(interface: &str, address: IpAddr) -> io::Result<Neighbour> {
    let Some(index) = interface_number(interface) else { return Err(io::ErrorKind::NotFound.into()) };
    let mut request = NeighbourMessage::default();
    request.header.family = tables::address_family(Family::of(address));
    let found = dump(RouteNetlinkMessage::GetNeighbour(request))?.into_iter().find_map(|message| match message {
        RouteNetlinkMessage::NewNeighbour(message) => tables::neighbour(&message, index, address),
        _ => None,
    });
    Ok(found.unwrap_or(Neighbour::Unknown))
}

fn links() -> io::Result<Links> {
    let messages = dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    let links = messages.iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewLink(message) => Some(tables::link(message)),
        _ => None,
    });
    Ok(links.collect())
}

fn addresses(links: &Links) -> io::Result<Vec<AddressSeen>> {
    let messages = dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    let found = messages.iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewAddress(message) => tables::address(message, links),
        _ => None,
    });
    let mut found: Vec<AddressSeen> = found.collect();
    // A result holds some of them only: those that lead out come first, links of containers and the loopback last.
    found.sort_by_key(|address| (address.class().is_usable(), address.address.0.is_ipv6()));
    found.reverse();
    Ok(found)
}

/// The ways to the internet of a family, each once, the one that the kernel takes first.
fn default_routes(af: Family, links: &Links) -> io::Result<Vec<DefaultRoute>> {
    let messages = dump(RouteNetlinkMessage::GetRoute(tables::routes_of(af)))?;
    let mut routes: Vec<DefaultRoute> = messages
        .iter()
        .flat_map(|message| match message {
            RouteNetlinkMessage::NewRoute(message) => tables::default_routes(message, links),
            _ => Vec::new(),
        })
        .collect();
    let taken = one(RouteNetlinkMessage::GetRoute(tables::way_to(if af == Family::V4 { FAR_V4 } else { FAR_V6 })));
    let taken = match taken {
        Ok(Some(RouteNetlinkMessage::NewRoute(message))) => tables::way(&message),
        // No way leads there, which is no error.
        _ => None,
    };
    let is_taken = |route: &DefaultRoute| Some((route.index, route.seen.gateway.map(|ip| ip.0))) == taken;
    routes.sort_by_key(|route| (!is_taken(route), route.rank));
    let mut seen: Vec<(u32, Option<_>)> = Vec::new();
    routes.retain(|route| {
        let key = (route.index, route.seen.gateway);
        let is_new = !seen.contains(&key);
        seen.push(key);
        is_new
    });
    Ok(routes)
}

/// A lease shows by the route's origin, or by an address that is good for a while. That there is none is certain only on a
/// link without a router, where nobody asks for one.
fn with_lease(route: RouteSeen, addresses: &[AddressSeen]) -> RouteSeen {
    if route.af == Family::V6 {
        return route;
    }
    let on_link = |one: &&AddressSeen| one.interface == route.interface && one.address.0.is_ipv4();
    let is_leased =
        route.origin == Some(FROM_DHCP) || addresses.iter().filter(on_link).any(|address| address.valid.is_some());
    let lease = match (is_leased, route.gateway) {
        (true, _) => Some(true),
        (false, None) if route.link != LinkKind::Ppp => Some(false),
        (false, _) => None,
    };
    RouteSeen { lease, ..route }
}

/// Is IPv6 switched off where the way to the internet is, or, without one, everywhere? `None`: there is no link.
fn is_v6_off(links: &Links, routes: &[RouteSeen]) -> Option<bool> {
    if !has_v6() {
        return Some(true);
    }
    let real = || links.values().filter(|link| is_real(link));
    let is_way_out = |link: &&Link| routes.iter().any(|route| *route.interface == *link.name);
    let mut ways_out = real().filter(is_way_out).peekable();
    if ways_out.peek().is_some() {
        return Some(ways_out.all(is_off));
    }
    let mut real = real().peekable();
    real.peek().is_some().then(|| real.all(is_off))
}

const fn is_real(link: &Link) -> bool {
    link.up && !link.loopback
}

fn is_off(link: &Link) -> bool {
    link.v6.is_none_or(|v6| v6.disabled)
}

/// Does the system know the family at all?
fn has_v6() -> bool {
    match Socket::new(Domain::IPV6, Type::DGRAM, None) {
        Err(error) => error.raw_os_error() != Some(libc::EAFNOSUPPORT),
        Ok(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use sonde_protocol::bounded::Text;
    use sonde_protocol::net::Ip;

    use super::*;

    #[test]
    fn a_lease_is_told_when_it_shows() {
        let route = |gateway: Option<&str>, link, origin| RouteSeen {
            af: Family::V4,
            gateway: gateway.map(|text| Ip(text.parse().unwrap())),
            interface: Text::cut("eth0"),
            link,
            origin,
            expires: None,
            neighbour: None,
            lease: None,
        };
        let address = |valid| AddressSeen {
            address: Ip("192.168.1.9".parse().unwrap()),
            length: 24,
            interface: Text::cut("eth0"),
            flags: 0,
            preferred: valid,
            valid,
            origin: None,
        };
        let gateway = Some("192.168.1.1");
        for (route, valid, lease) in [
            (route(gateway, LinkKind::Ether, Some(FROM_DHCP)), None, Some(true)),
            (route(gateway, LinkKind::Ether, Some(3)), Some(3600), Some(true)),
            (route(gateway, LinkKind::Ether, Some(3)), None, None),
            (route(None, LinkKind::Clat, Some(4)), None, Some(false)),
            (route(None, LinkKind::Ppp, Some(3)), None, None),
        ] {
            assert_eq!(with_lease(route, &[address(valid)]).lease, lease);
        }
    }

    #[test]
    fn ipv6_is_off_where_the_way_out_has_none() {
        let link = |name: &str, disabled| Link {
            name: name.into(),
            kind: LinkKind::Ether,
            up: name != "down0",
            loopback: name == "lo",
            v6: Some(tables::LinkV6 { disabled, ..tables::LinkV6::default() }),
        };
        let route = |interface: &str| RouteSeen {
            af: Family::V4,
            gateway: None,
            interface: Text::cut(interface),
            link: LinkKind::Ether,
            origin: None,
            expires: None,
            neighbour: None,
            lease: None,
        };
        let (lo, eth0, docker0) = ((1, link("lo", false)), (2, link("eth0", true)), (3, link("docker0", false)));
        let all = Links::from([lo.clone(), eth0, docker0]);
        assert_eq!(is_v6_off(&all, &[route("eth0")]), Some(true), "a bridge of containers is no way out");
        assert_eq!(is_v6_off(&all, &[route("docker0")]), Some(false));
        assert_eq!(is_v6_off(&all, &[]), Some(false));
        assert_eq!(is_v6_off(&Links::from([lo, (4, link("down0", true))]), &[]), None);
    }

    #[tokio::test]
    async fn this_machine_can_be_read() {
        let tables = Tables::new(Arc::new(crate::net::clock::SystemClock));
        let inventory = tables.read(None);
        let own =
            inventory.addresses.iter().map(|address| address.address.0).collect::<std::collections::BTreeSet<_>>();
        let known: std::collections::BTreeSet<IpAddr> = super::super::LocalNetwork::read().unwrap().own().collect();
        assert!(inventory.addresses.iter().all(|address| !address.interface.is_empty()));
        assert_eq!(own, known);
        assert!(inventory.routes.is_some() && inventory.stability.is_some());
    }
}
