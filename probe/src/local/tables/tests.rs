//! Messages as the kernel writes them, byte by byte, and what becomes of them.

use netlink_packet_core::Parseable as _;

use super::*;

/// An attribute, padded.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap();
    let mut bytes = [&length.to_ne_bytes(), &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn octets(text: &str) -> Vec<u8> {
    match text.parse().unwrap() {
        IpAddr::V4(v4) => v4.octets().into(),
        IpAddr::V6(v6) => v6.octets().into(),
    }
}

fn links() -> Links {
    let link = |name: &str, kind| Link { name: name.into(), kind, up: true, loopback: false, v6: None };
    Links::from([(2, link("eth0", LinkKind::Ether)), (3, link("wg0", LinkKind::Wireguard))])
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

fn address_of(family: u8, length: u8, attributes: &[Vec<u8>]) -> AddressSeen {
    let header = [&[family, length, 0x80, 0][..], &2_u32.to_ne_bytes()].concat();
    let message = AddressMessage::parse(&[header, attributes.concat()].concat()).unwrap();
    address(&message, &links()).unwrap()
}

#[test]
fn an_address_has_its_flags_its_times_and_where_it_came_from() {
    let times: Vec<u8> = [1800_u32, 7200, 1, 2].iter().flat_map(|number| number.to_ne_bytes()).collect();
    let seen = address_of(
        AF_INET6,
        64,
        &[
            attribute(1, &octets("2a00:1::9")),
            attribute(6, &times),
            attribute(8, &0x901_u32.to_ne_bytes()),
            attribute(11, &[2]),
            // One that no library knows.
            attribute(99, &[7; 5]),
        ],
    );
    assert_eq!((seen.address.0, seen.length, &*seen.interface), ("2a00:1::9".parse().unwrap(), 64, "eth0"));
    assert_eq!((seen.flags, seen.preferred, seen.valid, seen.origin), (0x901, Some(1800), Some(7200), Some(2)));

    // Point to point: ours is the second; eight bits of flags are in the header; no times are for ever.
    let times = [0xff; 16];
    let seen = address_of(
        AF_INET,
        32,
        &[attribute(1, &octets("10.0.0.1")), attribute(2, &octets("20.0.0.9")), attribute(6, &times)],
    );
    assert_eq!((seen.address.0, seen.flags), ("20.0.0.9".parse().unwrap(), 0x80));
    assert_eq!((seen.preferred, seen.valid, seen.origin), (None, None, None));
}

fn route_of(family: u8, length: u8, table: u8, kind: u8, attributes: &[Vec<u8>]) -> Vec<DefaultRoute> {
    let header = vec![family, length, 0, 0, table, 9, 0, kind, 0, 0, 0, 0];
    let message = RouteMessage::parse(&[header, attributes.concat()].concat()).unwrap();
    default_routes(&message, &links())
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_ne_bytes())
}

#[test]
fn a_default_route_is_told_with_its_router_and_its_end() {
    let expires: Vec<u8> = [0_u32, 0, 170_050, 0, 0, 0, 0, 0].iter().flat_map(|number| number.to_ne_bytes()).collect();
    let attributes = [
        number(15, 254),
        number(4, 2),
        attribute(5, &octets("fe80::1")),
        number(6, 1024),
        attribute(12, &expires),
        attribute(20, &[1]),
    ];
    let routes = route_of(AF_INET6, 0, 254, 1, &attributes);
    assert_eq!(routes.len(), 1);
    let DefaultRoute { seen, index, rank } = &routes[0];
    assert_eq!(
        (seen.gateway, &*seen.interface, seen.link),
        (Some(Ip("fe80::1".parse().unwrap())), "eth0", LinkKind::Ether)
    );
    assert_eq!((seen.origin, seen.expires, seen.af), (Some(9), Some(1700), Family::V6));
    assert_eq!((*index, *rank), (2, (1024, 0)));

    // No router on a tunnel; half of the internet is a way out as well; an expired one has no time left.
    let over: Vec<u8> =
        [0_u32, 0, (-5_i32).cast_unsigned(), 0, 0, 0, 0, 0].iter().flat_map(|n| n.to_ne_bytes()).collect();
    let half = route_of(AF_INET, 1, 51, 1, &[attribute(1, &octets("128.0.0.0")), number(4, 3), attribute(12, &over)]);
    assert_eq!((half[0].seen.gateway, half[0].seen.link, half[0].seen.expires), (None, LinkKind::Wireguard, Some(0)));
    // IPv4 over a router that is known by its IPv6 address (RFC 5549).
    let via = [&10_u16.to_ne_bytes()[..], &octets("fe80::2")].concat();
    let mixed = route_of(AF_INET, 0, 254, 1, &[number(4, 2), attribute(18, &via)]);
    assert_eq!(mixed[0].seen.gateway, Some(Ip("fe80::2".parse().unwrap())));
}

#[test]
fn several_routers_are_several_routes_and_dead_ones_none() {
    let hop = |index: u32, flags: u8, router: &str| {
        let via = attribute(5, &octets(router));
        let length = u16::try_from(8 + via.len()).unwrap();
        [&length.to_ne_bytes()[..], &[flags, 0], &index.to_ne_bytes(), &via].concat()
    };
    let hops = [hop(2, 0, "fe80::1"), hop(3, 0, "fe80::2"), hop(2, 1, "fe80::3")].concat();
    let routes = route_of(AF_INET6, 0, 254, 1, &[attribute(9, &hops)]);
    let found: Vec<_> =
        routes.iter().map(|route| (&*route.seen.interface, route.seen.gateway.unwrap().0.to_string())).collect();
    assert_eq!(found, [("eth0", "fe80::1".into()), ("wg0", "fe80::2".into())]);
}

#[test]
fn what_is_no_way_to_the_internet_is_none() {
    let over = [number(4, 2)];
    for (family, length, table, kind, dst) in [
        (AF_INET6, 64, 254, 1, "2a00:1::"),
        // "unreachable" is what Linux has where it has no route.
        (AF_INET6, 0, 254, 7, "::"),
        (AF_INET6, 10, 254, 1, "fe80::"),
        (AF_INET6, 8, 255, 1, "ff00::"),
        (AF_INET6, 7, 254, 1, "fc00::"),
        (AF_INET, 0, 255, 1, "0.0.0.0"),
        (AF_INET, 8, 254, 1, "30.0.0.0"),
    ] {
        let attributes = [&[attribute(1, &octets(dst))], &over[..]].concat();
        assert!(route_of(family, length, table, kind, &attributes).is_empty(), "{dst}/{length}");
    }
}

#[test]
fn links_are_told_by_driver_hardware_and_name() {
    for (name, sort, hardware, kind) in [
        ("eth0", "", 1, LinkKind::Ether),
        ("v0", "veth", 1, LinkKind::Ether),
        ("wlan0", "", 1, LinkKind::Ether),
        ("ppp0", "ppp", 512, LinkKind::Ppp),
        ("he-ipv6", "sit", 776, LinkKind::Sit),
        ("wg0", "wireguard", 65_534, LinkKind::Wireguard),
        ("tun0", "tun", 65_534, LinkKind::Tun),
        ("clat", "tun", 65_534, LinkKind::Clat),
        ("gre1", "gre", 778, LinkKind::Gre),
        ("lo", "", 772, LinkKind::Other),
    ] {
        assert_eq!(link_kind(name, sort, hardware), kind, "{name}");
    }
}

#[test]
fn what_ipv6_knows_of_a_link_is_read() {
    let header = [&[0, 0, 1, 0][..], &2_u32.to_ne_bytes(), &0x1043_u32.to_ne_bytes(), &[0; 4]].concat();
    // disable_ipv6 is the 27th number of the link's settings.
    let mut settings = vec![0; 27 * 4];
    settings[26 * 4..].copy_from_slice(&1_u32.to_ne_bytes());
    let inet6 = [number(1, 0x8000_00f0), attribute(2, &settings), number(9, 1492)].concat();
    let families = attribute(26, &attribute(10, &inet6));
    let bytes = [header, attribute(3, b"eth0\0"), families].concat();
    let (index, link) = link(&LinkMessage::parse(&bytes).unwrap());
    assert_eq!((index, link.name.as_str(), link.kind, link.up), (2, "eth0", LinkKind::Ether, true));
    let seen = LinkV6 { disabled: true, advert_seen: true, managed: true, other: true, mtu: Some(1492) };
    assert_eq!(link.v6, Some(seen));
}

#[test]
fn a_neighbour_is_found_by_link_and_address() {
    let of = |state: u16| {
        let header = [&[AF_INET6, 0, 0, 0][..], &2_u32.to_ne_bytes(), &state.to_ne_bytes(), &[0, 1]].concat();
        NeighbourMessage::parse(&[header, attribute(1, &octets("fe80::1"))].concat()).unwrap()
    };
    let router: IpAddr = "fe80::1".parse().unwrap();
    for (state, expected) in
        [(2, Neighbour::Reachable), (0x20, Neighbour::Failed), (1, Neighbour::Incomplete), (0, Neighbour::Unknown)]
    {
        assert_eq!(neighbour(&of(state), 2, router), Some(expected));
    }
    assert_eq!(neighbour(&of(2), 3, router), None);
    assert_eq!(neighbour(&of(2), 2, "fe80::2".parse().unwrap()), None);
}
