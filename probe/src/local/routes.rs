//! One line of the kernel's lists of routes. Pure; a line that is not understood is no route.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

// linux/route.h and linux/ipv6_route.h.
const RTF_UP: u32 = 0x0001;
const RTF_GATEWAY: u32 = 0x0002;
const RTF_REJECT: u32 = 0x0200;

/// Where a packet goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    /// The destinations.
    pub(super) destination: IpNet,
    /// The router; without one they are on a link, or this machine.
    pub(super) gateway: Option<IpAddr>,
    /// The name of the interface.
    pub(super) interface: String,
}

/// A line of `/proc/net/route`:
/// `Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT`.
pub(super) fn parse_v4(line: &str) -> Option<Route> {
    let mut fields = line.split_ascii_whitespace();
    // Blackholes have no interface and no flag that would tell.
    let interface = fields.next()?;
    let destination = address_v4(fields.next()?)?;
    let gateway = address_v4(fields.next()?)?;
    let flags = u32::from_str_radix(fields.next()?, 16).ok()?;
    let mask = address_v4(fields.nth(3)?)?;
    if interface == "*" || flags & RTF_UP == 0 || flags & RTF_REJECT != 0 || destination.is_multicast() {
        return None;
    }
    Some(Route {
        destination: IpNet::V4(Ipv4Net::with_netmask(destination, mask).ok()?.trunc()),
        gateway: (flags & RTF_GATEWAY != 0).then_some(IpAddr::V4(gateway)),
        interface: interface.to_owned(),
    })
}

/// The kernel prints the 32 bits as they lie in memory, as one number of this machine.
fn address_v4(text: &str) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(u32::from_str_radix(text, 16).ok()?.to_ne_bytes()))
}

/// A line of `/proc/net/ipv6_route`:
/// destination, its length, source, its length, next hop, metric, references, use, flags, interface.
pub(super) fn parse_v6(line: &str) -> Option<Route> {
    let mut fields = line.split_ascii_whitespace();
    let destination = address_v6(fields.next()?)?;
    let length = u8::from_str_radix(fields.next()?, 16).ok()?;
    let gateway = address_v6(fields.nth(2)?)?;
    let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
    if flags & RTF_UP == 0 || flags & RTF_REJECT != 0 || destination.is_multicast() {
        return None;
    }
    Some(Route {
        destination: IpNet::V6(Ipv6Net::new(destination, length).ok()?.trunc()),
        gateway: (flags & RTF_GATEWAY != 0).then_some(IpAddr::V6(gateway)),
        interface: fields.next()?.to_owned(),
    })
}

fn address_v6(text: &str) -> Option<Ipv6Addr> {
    (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok().map(Ipv6Addr::from))?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Linux 6.18: a default route, a point-to-point peer, a link, a route over two routers (the kernel lists the
    /// first), one over a next-hop object, a blackhole.
    #[cfg(target_endian = "little")]
    const V4: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
v0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
v0\t0200050A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0
v0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
v0\t006433C6\t030200C0\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0
v0\t006533C6\t070200C0\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0
*\t007100CB\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
";

    /// From Linux 6.18: a prefix on the link, a route over two routers, an unreachable one, link-local on two interfaces,
    /// two default routes, the machine's own addresses, multicast, the end of the table.
    const V6: &str = "\
20010db8000100000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000003 00000000 00000001       v0
20010db8000200000000000000000000 40 00000000000000000000000000000000 00 fe800000000000000000000000000002 00000400 00000001 00000000 00000003       v0
20010db8000200000000000000000000 40 00000000000000000000000000000000 00 fe800000000000000000000000000003 00000400 00000001 00000000 00000003       v0
20010db8000900000000000000000000 30 00000000000000000000000000000000 00 00000000000000000000000000000000 00000400 00000001 00000000 00200200       lo
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001       v1
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001       v0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000009 000001f4 00000001 00000000 00000003       v0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003       v0
00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000003 00000000 80200001       lo
20010db8000100000000000000000005 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001       v0
ff000000000000000000000000000000 08 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000002 00000000 00000001       v1
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

    fn shown(routes: impl Iterator<Item = Route>) -> Vec<String> {
        routes
            .map(|Route { destination, gateway, .. }| match gateway {
                Some(gateway) => format!("{destination} via {gateway}"),
                None => destination.to_string(),
            })
            .collect()
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn ipv4_routes() {
        assert_eq!(
            shown(V4.lines().filter_map(parse_v4)),
            [
                "0.0.0.0/0 via 192.0.2.1",
                "10.5.0.2/32",
                "192.0.2.0/24",
                "198.51.100.0/24 via 192.0.2.3",
                "198.51.101.0/24 via 192.0.2.7",
            ]
        );
    }

    #[test]
    fn ipv6_routes() {
        assert_eq!(
            shown(V6.lines().filter_map(parse_v6)),
            [
                "2001:db8:1::/64",
                "2001:db8:2::/64 via fe80::2",
                "2001:db8:2::/64 via fe80::3",
                "fe80::/64",
                "fe80::/64",
                "::/0 via fe80::9",
                "::/0 via fe80::1",
                "::1/128",
                "2001:db8:1::5/128",
            ]
        );
    }

    #[test]
    fn odd_lines_are_no_routes() {
        for line in [
            "",
            "v0",
            "v0\t00000000\t010200C0",
            "v0\tX\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0",
            "v0\t00000000\t010200C0\t0003\t0\t0\t0\t00FF00FF\t0\t0\t0",
            "v0\t100000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0",
            "v0\t00000000\t010200C0\t0002\t0\t0\t0\t00000000\t0\t0\t0",
        ] {
            assert_eq!(parse_v4(line), None, "{line:?}");
        }
        let zero = "0".repeat(32);
        for line in [
            "".to_owned(),
            format!("{zero} 40"),
            format!("{zero} 81 {zero} 00 {zero} 00000100 00000001 00000000 00000001 v0"),
            format!("{zero} 40 {zero} 00 {zero} 00000100 00000001 00000000 00000000 v0"),
            format!("{zero}0 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001 v0"),
            format!("+{} 40 {zero} 00 {zero} 00000100 00000001 00000000 0000000g v0", "1".repeat(31)),
            "\u{e9}".repeat(16),
        ] {
            assert_eq!(parse_v6(&line), None, "{line:?}");
        }
    }
}
