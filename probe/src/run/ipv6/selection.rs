//! Which addresses the machine would choose: the source towards a destination, which of two families comes first, and whether
//! each own address leads out.
//!
//! A probe has no resolver of the C library whose order it could look at: it is one static program. So the order is worked out by
//! the rules that the C library follows (RFC 6724, section 6), from the sources that the kernel chooses. A host's own
//! `/etc/gai.conf` is not seen.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use sonde_engine::ipv6::gather::Event;
use sonde_engine::ipv6::plan::CONNECT_TIMEOUT;
use sonde_protocol::net::{Family, Ip};
use sonde_protocol::result::ipv6::{Attempt, BoundConnect, SourceChoice, TroubleKind};

use super::tools::{TCP, Tools};
use crate::net::opening::open;
use crate::net::source_address;

/// The source towards `dst`. Nothing is sent.
pub fn source(tools: &Tools<'_>, dst: IpAddr) {
    let src = source_address(dst).ok().map(Ip);
    tools.tell(Event::Source(SourceChoice { dst: Ip(dst), src }));
}

/// The order of both addresses of one name. Nothing is sent.
pub fn families(tools: &Tools<'_>, v6: IpAddr, v4: IpAddr) {
    let with_source = |dst| (dst, source_address(dst).ok());
    tools.tell(Event::Order(&order(with_source(v6), with_source(v4))));
}

/// A connection from one own address to `dst`.
pub async fn bound(tools: &Tools<'_>, src: Ip, dst: SocketAddr) {
    tools.room(TCP).await;
    let opened = open(tools.clock(), Some(src.0), dst, tools.limit(CONNECT_TIMEOUT)).await;
    let tcp = match opened {
        Ok(opened) => Attempt::Done(opened.took),
        // This machine forbids it, or has the address no more: nothing is known of where it leads.
        Err(error) if is_local(error.trouble.kind) => return,
        Err(error) => Attempt::Failed(error.trouble),
    };
    tools.tell(Event::Bound(BoundConnect { src, tcp }));
}

const fn is_local(kind: TroubleKind) -> bool {
    matches!(kind, TroubleKind::Forbidden | TroubleKind::NoAddress | TroubleKind::Other)
}

/// The default table of policies (RFC 6724, section 2.1): prefix, its length, precedence, label; the longest that matches counts.
const POLICIES: [(Ipv6Addr, u32, u8, u8); 9] = [
    (Ipv6Addr::LOCALHOST, 128, 50, 0),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 35, 4),
    (Ipv6Addr::UNSPECIFIED, 96, 1, 3),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, 5, 5),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 30, 2),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, 1, 12),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, 1, 11),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, 3, 13),
    (Ipv6Addr::UNSPECIFIED, 0, 40, 1),
];

/// Precedence and label of an address.
fn policy(address: IpAddr) -> (u8, u8) {
    let bits = in_v6(address).to_bits();
    let matches = |prefix: &Ipv6Addr, length: u32| (bits ^ prefix.to_bits()).leading_zeros() >= length;
    let found = POLICIES.iter().find(|(prefix, length, ..)| matches(prefix, *length));
    found.map_or((40, 1), |(.., precedence, label)| (*precedence, *label))
}

fn in_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// The scope, as RFC 4291 numbers those of multicast (RFC 6724, 3.1 and 3.2): link-local 2, site-local 5, global 14.
fn scope(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(v4) if v4.is_loopback() || v4.is_link_local() => 2,
        IpAddr::V6(v6) if v6.is_loopback() || v6.is_unicast_link_local() => 2,
        IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfec0 => 5,
        _ => 14,
    }
}

/// A destination and the source that the kernel takes towards it, if there is one.
type Way = (IpAddr, Option<IpAddr>);

/// The families of two destinations, the preferred one first (RFC 6724, section 6: rules 1, 2, 5, 6, 8; the others say nothing of
/// two addresses of different families, or nothing that a program can know).
fn order(one: Way, other: Way) -> [Family; 2] {
    let key = |(dst, src): Way| {
        let Some(src) = src else { return (true, true, true, u8::MAX, u8::MAX) };
        let ((precedence, label), (_, own)) = (policy(dst), policy(src));
        (false, scope(dst) != scope(src), label != own, u8::MAX - precedence, scope(dst))
    };
    let families = [one, other].map(|(dst, _)| Family::of(dst));
    if key(other) < key(one) { [families[1], families[0]] } else { families }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_and_label_are_those_of_the_table() {
        for (address, precedence, label) in [
            ("::1", 50, 0),
            ("2a00:1::1", 40, 1),
            ("192.0.2.1", 35, 4),
            ("10.0.0.1", 35, 4),
            ("2002:c000:201::1", 30, 2),
            ("2001:0:1::1", 5, 5),
            ("2001:db8::1", 40, 1),
            ("fd00::1", 3, 13),
            ("fec0::1", 1, 11),
            ("::192.0.2.1", 1, 3),
        ] {
            assert_eq!(policy(address.parse().unwrap()), (precedence, label), "{address}");
        }
    }

    #[test]
    fn families_come_in_the_order_of_the_rules() {
        let way = |dst: &str, src: &str| (dst.parse().unwrap(), src.parse().ok());
        let far4 = |src| way("198.41.0.4", src);
        for (v6, v4, first) in [
            // Both fit: precedence.
            (way("2a00:1::1", "2a00:9::9"), far4("20.0.0.9"), Family::V6),
            (way("2a00:1::1", "2a00:9::9"), far4("10.0.0.9"), Family::V6),
            // A unique local source does not fit a global destination, whatever the precedence.
            (way("2a00:1::1", "fd00::9"), far4("10.0.0.9"), Family::V4),
            (way("2a00:1::1", "2002:1400:9::9"), far4("10.0.0.9"), Family::V4),
            (way("2002:1400:1::1", "2002:1400:9::9"), far4("20.0.0.9"), Family::V4),
            // Nowhere to send from.
            (way("2a00:1::1", ""), far4("10.0.0.9"), Family::V4),
            (way("2a00:1::1", "2a00:9::9"), far4(""), Family::V6),
            (way("2a00:1::1", "fe80::9"), far4("20.0.0.9"), Family::V4),
            (way("2a00:1::1", "2a00:9::9"), far4("169.254.0.9"), Family::V6),
        ] {
            assert_eq!(order(v6, v4)[0], first, "{v6:?} {v4:?}");
            assert_eq!(order(v4, v6)[0], first, "{v4:?} {v6:?}");
        }
    }
}
