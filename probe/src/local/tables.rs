//! The kernel's messages about links, addresses, routes and neighbours, in the words of a result of the kind `ipv6`. Pure; what
//! a message does not say stays absent.
//!
//! Numbers are those of `linux/rtnetlink.h`, `linux/if_addr.h`, `linux/if_arp.h` and `linux/ipv6_route.h`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, Inet6IfaceFlags, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteNextHopFlags, RoutePreference, RouteType, RouteVia,
};
use sonde_protocol::bounded::Text;
use sonde_protocol::net::{Family, Ip};
use sonde_protocol::result::ipv6::{AddressSeen, LinkKind, Neighbour, RouteSeen};

use super::{WIDE_V4, WIDE_V6};

/// "For ever" as a lifetime.
const FOR_EVER: u32 = u32::MAX;

/// The kernel tells lifetimes of routes in hundredths of a second (`USER_HZ`).
const USER_HZ: u32 = 100;

/// `RT_TABLE_LOCAL`, which says what this machine itself is.
const TABLE_LOCAL: u32 = 255;

/// `ARPHRD_…`.
const ETHER: u16 = 1;
const PPP: u16 = 512;
const SIT: u16 = 776;
const GRE: u16 = 778;
const GRE6: u16 = 823;
/// What has no header of its own: WireGuard, and what programs make (`tun`).
const NO_HEADER: u16 = 65_534;

/// A link, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) kind: LinkKind,
    pub(super) up: bool,
    pub(super) loopback: bool,
    /// Absent where the link does not speak IPv6.
    pub(super) v6: Option<LinkV6>,
}

/// What IPv6 knows of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LinkV6 {
    pub(super) disabled: bool,
    pub(super) advert_seen: bool,
    pub(super) managed: bool,
    pub(super) other: bool,
    pub(super) mtu: Option<u32>,
}

/// The links, by their numbers.
pub(super) type Links = BTreeMap<u32, Link>;

/// A link and its number.
pub(super) fn link(message: &LinkMessage) -> (u32, Link) {
    let flags = message.header.flags;
    let (mut name, mut sort, mut v6) = (String::new(), String::new(), None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name.clone_from(text),
            LinkAttribute::LinkInfo(infos) => {
                let kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
                sort = kind.unwrap_or_default();
            }
            LinkAttribute::AfSpecUnspec(families) => {
                v6 = families.iter().find_map(|family| match family {
                    AfSpecUnspec::Inet6(attributes) => Some(link_v6(attributes)),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let link = Link {
        kind: link_kind(&name, &sort, message.header.link_layer_type.into()),
        name,
        up: flags.contains(LinkFlags::Up),
        loopback: flags.contains(LinkFlags::Loopback),
        v6,
    };
    (message.header.index, link)
}

fn link_v6(attributes: &[AfSpecInet6]) -> LinkV6 {
    let mut v6 = LinkV6::default();
    for attribute in attributes {
        match attribute {
            AfSpecInet6::Flags(flags) => {
                v6.advert_seen = flags.contains(Inet6IfaceFlags::RaRcvd);
                v6.managed = flags.contains(Inet6IfaceFlags::RaManaged);
                v6.other = flags.contains(Inet6IfaceFlags::Otherconf);
            }
            AfSpecInet6::RaMtu(mtu) => v6.mtu = Some(*mtu).filter(|mtu| *mtu > 0),
            AfSpecInet6::DevConf(conf) => v6.disabled = conf.disable_ipv6 != 0,
            _ => {}
        }
    }
    v6
}

/// What a link is, by its driver's name (`sort`), else by the sort of its hardware.
fn link_kind(name: &str, sort: &str, hardware: u16) -> LinkKind {
    // Translators are `tun` devices; only their name tells them from a VPN.
    if name.starts_with("clat") {
        return LinkKind::Clat;
    }
    match sort {
        "wireguard" => LinkKind::Wireguard,
        "tun" | "xfrm" | "vti" | "vti6" | "ipip" | "ip6tnl" => LinkKind::Tun,
        "sit" => LinkKind::Sit,
        "gre" | "gretap" | "ip6gre" | "ip6gretap" => LinkKind::Gre,
        "ppp" => LinkKind::Ppp,
        _ => match hardware {
            ETHER => LinkKind::Ether,
            PPP => LinkKind::Ppp,
            SIT => LinkKind::Sit,
            GRE | GRE6 => LinkKind::Gre,
            NO_HEADER => LinkKind::Tun,
            _ => LinkKind::Other,
        },
    }
}

/// The name of a link by its number, cut to what a result holds; empty when it is not known.
fn name_of(links: &Links, index: u32) -> Text<16> {
    Text::cut(links.get(&index).map_or("", |link| link.name.as_str()))
}

/// An address of the machine.
pub(super) fn address(message: &AddressMessage, links: &Links) -> Option<AddressSeen> {
    let (mut any, mut own, mut flags) = (None, None, u32::from(message.header.flags.bits()));
    let (mut preferred, mut valid, mut origin) = (FOR_EVER, FOR_EVER, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(address) => any = Some(*address),
            // On a link to one other machine the first is the other end's.
            AddressAttribute::Local(address) => own = Some(*address),
            AddressAttribute::Flags(all) => flags = all.bits(),
            AddressAttribute::CacheInfo(times) => (preferred, valid) = (times.ifa_preferred, times.ifa_valid),
            AddressAttribute::Protocol(protocol) => origin = Some(u8::from(*protocol)),
            _ => {}
        }
    }
    let lifetime = |seconds| Some(seconds).filter(|seconds| *seconds != FOR_EVER);
    Some(AddressSeen {
        address: Ip(own.or(any)?),
        length: message.header.prefix_len,
        interface: name_of(links, message.header.index),
        flags,
        preferred: lifetime(preferred),
        valid: lifetime(valid),
        origin,
    })
}

/// A default route, and what it is worth beside others: the least comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DefaultRoute {
    pub(super) seen: RouteSeen,
    /// The number of its interface.
    pub(super) index: u32,
    /// The metric, then the preference that the router claims (RFC 4191).
    pub(super) rank: (u32, u8),
}

/// The ways to the internet that a route is: none, if it is another one, and several, if it leads over several routers.
pub(super) fn default_routes(message: &RouteMessage, links: &Links) -> Vec<DefaultRoute> {
    let Some((af, wide)) = family(message.header.address_family) else { return Vec::new() };
    let (mut metric, mut rank, mut expires, mut table) =
        (0, RoutePreference::Medium, None, message.header.table.into());
    let mut hops: Vec<(u32, Option<IpAddr>)> = Vec::new();
    let (mut index, mut gateway) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(number) => index = Some(*number),
            RouteAttribute::Gateway(address) => gateway = gateway.or(ip(address)),
            RouteAttribute::Via(via) => gateway = gateway.or(ip_of_via(via)),
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Preference(preference) => rank = *preference,
            // 0 is never, and a negative one is over already.
            RouteAttribute::CacheInfo(info) if info.expires != 0 => {
                expires = Some(u32::try_from(info.expires.cast_signed()).unwrap_or(0) / USER_HZ);
            }
            RouteAttribute::MultiPath(all) => {
                let alive = all.iter().filter(|hop| !hop.flags.contains(RouteNextHopFlags::Dead));
                hops.extend(alive.map(|hop| {
                    let via = hop.attributes.iter().find_map(|attribute| match attribute {
                        RouteAttribute::Gateway(address) => ip(address),
                        RouteAttribute::Via(via) => ip_of_via(via),
                        _ => None,
                    });
                    (hop.interface_index, via)
                }));
            }
            _ => {}
        }
    }
    let is_way_out = message.header.destination_prefix_length < wide
        && message.header.source_prefix_length == 0
        && message.header.kind == RouteType::Unicast
        && table != TABLE_LOCAL
        // `fe80::/10` and `ff00::/8` of every link are wide too.
        && !destination(message).is_some_and(is_local);
    if !is_way_out {
        return Vec::new();
    }
    if hops.is_empty() {
        hops.extend(index.map(|index| (index, gateway)));
    }
    let rank = match rank {
        RoutePreference::High => 0,
        RoutePreference::Low => 2,
        _ => 1,
    };
    let route = |(index, gateway): (u32, Option<IpAddr>)| DefaultRoute {
        seen: RouteSeen {
            af,
            gateway: gateway.map(Ip),
            interface: name_of(links, index),
            link: links.get(&index).map_or(LinkKind::Other, |link| link.kind),
            origin: Some(message.header.protocol.into()),
            expires,
            neighbour: None,
            lease: None,
        },
        index,
        rank: (metric, rank),
    };
    hops.into_iter().map(route).collect()
}

/// The interface and router that the kernel takes towards an address, as it answers that question.
pub(super) fn way(message: &RouteMessage) -> Option<(u32, Option<IpAddr>)> {
    let index = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(number) => Some(*number),
        _ => None,
    })?;
    let gateway = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(via) => ip_of_via(via),
        _ => None,
    });
    (message.header.kind == RouteType::Unicast).then_some((index, gateway))
}

/// The question for that.
pub(super) fn way_to(dst: IpAddr) -> RouteMessage {
    let mut message = routes_of(Family::of(dst));
    message.header.destination_prefix_length = if dst.is_ipv4() { 32 } else { 128 };
    message.attributes.push(RouteAttribute::Destination(dst.into()));
    message
}

/// The question for all routes of a family.
pub(super) fn routes_of(af: Family) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader { address_family: address_family(af), ..RouteHeader::default() };
    message
}

/// What the kernel knows of a neighbour on a link.
pub(super) fn neighbour(message: &NeighbourMessage, index: u32, address: IpAddr) -> Option<Neighbour> {
    let wanted = match address {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    };
    let is_it =
        |attribute: &NeighbourAttribute| matches!(attribute, NeighbourAttribute::Destination(dst) if *dst == wanted);
    let state = u8::try_from(u16::from(message.header.state)).ok()?;
    (message.header.ifindex == index && message.attributes.iter().any(is_it)).then(|| Neighbour::from_number(state))
}

/// As rtnetlink calls it.
pub(super) const fn address_family(af: Family) -> AddressFamily {
    match af {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// A family, and up to which length a prefix of it is a way to the internet.
const fn family(family: AddressFamily) -> Option<(Family, u8)> {
    match family {
        AddressFamily::Inet => Some((Family::V4, WIDE_V4)),
        AddressFamily::Inet6 => Some((Family::V6, WIDE_V6)),
        _ => None,
    }
}

fn destination(message: &RouteMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip(address),
        _ => None,
    })
}

const fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_multicast(),
        IpAddr::V6(v6) => v6.is_multicast() || v6.is_unicast_link_local() || v6.is_unique_local(),
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) if *v6 != Ipv6Addr::UNSPECIFIED => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn ip_of_via(via: &RouteVia) -> Option<IpAddr> {
    match via {
        RouteVia::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteVia::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
