//! What a router advertises, as a real kernel passes it on: addresses, routes, resolvers, NAT64 prefixes, and their end.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use sonde_engine::ipv6::gather::Inventory;
use sonde_probe::local::interface_number;
use sonde_probe::local::inventory::{Tables, neighbour};
use sonde_probe::net::clock::SystemClock;
use sonde_protocol::net::{Family, Ip};
use sonde_protocol::result::ipv6::{AddressClass, LinkKind, Neighbour, Pref64};

use super::lab::{Router, in_namespace, ip, sysctl};

/// How long the kernels may take to have their addresses ready.
const PATIENCE: Duration = Duration::from_secs(20);

const RESOLVER: Ipv6Addr = Ipv6Addr::new(0x2a00, 1, 2, 3, 0, 0, 0, 0x53);
const PREFIX: Ipv6Addr = Ipv6Addr::new(0x2a00, 1, 2, 3, 0, 0, 0, 0);
const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// A router advertisement (RFC 4861, 4.2) with M and O set, an MTU, a prefix, a resolver and a NAT64 prefix, the router and the last two
/// of which are good for so many seconds.
fn advertisement(seconds: u16) -> Vec<u8> {
    let lifetime = seconds.to_be_bytes();
    let header = [&[134, 0, 0, 0, 64, 0xc0][..], &lifetime, &[0; 8]].concat();
    let mtu = [&[5, 1, 0, 0][..], &1480_u32.to_be_bytes()].concat();
    let times = [7200_u32, 1800].map(u32::to_be_bytes).concat();
    let prefix = [&[3, 4, 64, 0xc0][..], &times, &[0; 4], &PREFIX.octets()].concat();
    let resolver = [&[25, 3, 0, 0, 0, 0][..], &lifetime, &RESOLVER.octets()].concat();
    let nat64 = [&[38, 2][..], &(seconds & !7).to_be_bytes(), &NAT64.octets()[..12]].concat();
    [header, mtu, prefix, resolver, nat64].concat()
}

/// Sends it to all nodes of the link, from the router's link-local address; that may not be ready yet.
fn advertise(seconds: u16) {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).expect("a raw socket");
    socket.set_multicast_hops_v6(255).expect("hops");
    let link = interface_number("down0").expect("the router's link");
    socket.set_multicast_if_v6(link).expect("a link");
    let all_nodes = SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 0, 0, link);
    let _ = socket.send_to(&advertisement(seconds), &all_nodes.into());
}

/// Advertises until the tables say what is waited for.
async fn until(router: &Router, tables: &Tables, seconds: u16, is_there: impl Fn(&Inventory) -> bool) -> Inventory {
    let begun = Instant::now();
    loop {
        router.call(move || advertise(seconds));
        // Lets the listener read what has come.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let inventory = tables.read(None);
        if is_there(&inventory) {
            return inventory;
        }
        assert!(begun.elapsed() < PATIENCE, "{inventory:?}");
    }
}

#[test]
fn what_a_router_advertises_is_known_until_it_takes_it_back() {
    in_namespace(async || {
        let router = Router::new();
        ip("-6 route del default via fd00::2");
        for (path, value) in [("accept_ra", "2"), ("dad_transmits", "0"), ("use_tempaddr", "0")] {
            sysctl(&format!("ipv6/conf/up0/{path}"), value);
        }
        let tables = Tables::new(Arc::new(SystemClock));
        assert!(tables.read(None).advert.is_some_and(|advert| !advert.seen));

        let told = |inventory: &Inventory| {
            let advert = inventory.advert.as_ref();
            let has_address =
                inventory.addresses.iter().any(|one| one.class() == AddressClass::Global && one.is_usable());
            has_address && advert.is_some_and(|advert| !advert.pref64.is_empty() && !advert.resolvers.is_empty())
        };
        let inventory = until(&router, &tables, 600, told).await;
        let advert = inventory.advert.expect("it is there");
        assert!(advert.seen && advert.managed && advert.other, "{advert:?}");
        assert_eq!(&*advert.resolvers, [Ip(RESOLVER.into())]);
        let Pref64 { prefix, length, lifetime } = advert.pref64[0];
        assert_eq!((prefix, length, (590..=600).contains(&lifetime)), (Ip(NAT64.into()), 96, true), "{lifetime}");
        // Since Linux 6.3 the kernel tells the MTU that was advertised.
        assert!(advert.mtu.is_none_or(|mtu| mtu == 1480), "{advert:?}");
        let own = inventory.addresses.iter().find(|one| one.class() == AddressClass::Global).expect("it is there");
        assert_eq!((own.length, &*own.interface), (64, "up0"));
        assert!(own.preferred.is_some_and(|left| (1790..=1800).contains(&left)), "{own:?}");
        assert!(own.valid.is_some_and(|left| (7190..=7200).contains(&left)), "{own:?}");
        assert!(own.origin.is_none_or(|origin| origin == 2), "{own:?}");
        let routes = inventory.routes.expect("they can be read");
        let route = routes.iter().find(|route| route.af == Family::V6).expect("it is there");
        assert_eq!((route.link, route.origin, &*route.interface), (LinkKind::Ether, Some(9), "up0"));
        assert!(route.expires.is_some_and(|left| (590..=600).contains(&left)), "{route:?}");
        let gateway = route.gateway.expect("a router").0;
        assert_eq!(AddressClass::of(gateway), AddressClass::LinkLocal);
        assert_ne!(neighbour("up0", gateway).expect("the table can be read"), Neighbour::Failed);
        let before = inventory.stability.expect("it was looked at").changes;

        let taken_back = |inventory: &Inventory| {
            let routes = inventory.routes.as_deref().unwrap_or_default();
            routes.iter().all(|route| route.af == Family::V4)
                && inventory
                    .advert
                    .as_ref()
                    .is_some_and(|advert| advert.pref64.is_empty() && advert.resolvers.is_empty())
        };
        let inventory = until(&router, &tables, 0, taken_back).await;
        let stability = inventory.stability.expect("it was looked at");
        assert_eq!((stability.route_gaps, stability.prefixes_64), (1, 1), "{stability:?}");
        assert!(stability.changes > before, "{stability:?}");
        assert_eq!(inventory.v6_off, Some(false));

        sysctl("ipv6/conf/all/disable_ipv6", "1");
        assert_eq!(tables.read(None).v6_off, Some(true));
    });
}
