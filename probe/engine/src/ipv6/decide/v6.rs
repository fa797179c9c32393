//! The rules for IPv6.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sonde_protocol::net::Family;
use sonde_protocol::result::ipv6::{AddressClass, Because, FamilyState, Reason};

use super::super::facts::{classes, has_address, routes};
use super::{FLAPPING, Reasons, Ruling, View};

const AF: Family = Family::V6;

pub(super) fn decide(view: &View<'_>) -> Ruling {
    let mine = &view.facts.v6;
    if mine.reached == 0 {
        let has_none = match has_address(view.evidence, AF) {
            Some(has_one) => !has_one,
            None => view.is_off(AF),
        };
        return if has_none && !mine.answered { none(view) } else { view.broken(AF) };
    }
    let mut why = view.flags(AF);
    if view.names.none_configured || view.names.gives6 == Some(false) {
        if view.names.none_configured {
            why.add(Reason::NoResolver);
        }
        return why.cause(Reason::DnsOnly).ruling(FamilyState::Broken);
    }
    if view.path.v6.has_hole() {
        why.hole(&view.path.v6);
    }
    let parts = parts(view);
    why.causes.extend(parts);
    if let Some(kind) = tunnel(view) {
        why.add(kind);
        return why.ruling(FamilyState::Tunnel);
    }
    let class = |address: Option<IpAddr>| address.map(AddressClass::of);
    if class(mine.src) == Some(AddressClass::UniqueLocal) && class(mine.seen) == Some(AddressClass::Global) {
        why.add(Reason::Nptv6);
    }
    let state = if why.causes.is_empty() { FamilyState::Native } else { FamilyState::NativePartial };
    why.ruling(state)
}

/// The machine does not have it: how far did it get?
fn none(view: &View<'_>) -> Ruling {
    let mut why = Reasons::default();
    let is_there = |class| classes(view.evidence, AF).any(|one| one == class);
    why.add(if view.evidence.v6_off == Some(true) || (view.evidence.v6_off.is_none() && view.is_off(AF)) {
        Reason::Disabled
    } else if is_there(AddressClass::UniqueLocal) {
        Reason::UlaOnly
    } else if is_there(AddressClass::LinkLocal) {
        Reason::LinkLocalOnly
    } else {
        Reason::NoAddress
    });
    why.ruling(FamilyState::None)
}

fn parts(view: &View<'_>) -> Vec<Because> {
    let mut parts = view.parts(AF);
    for (holds, part) in [
        (view.names.v6_transport_dead, Reason::DnsV6Transport),
        (view.names.aaaa_filter, Reason::AaaaFilter),
        (has_stale_prefix(view), Reason::StalePrefix),
    ] {
        if holds {
            parts.push(part.into());
        }
    }
    if let Some(changes) = view.evidence.stability.map(|stability| stability.changes).filter(|n| *n >= FLAPPING) {
        parts.push(Because { reason: Reason::Flapping, detail: Some(changes) });
    }
    parts
}

/// Some of the machine's addresses lead out, and some do not.
fn has_stale_prefix(view: &View<'_>) -> bool {
    let bound = view.evidence.selection.iter().flat_map(|selection| selection.bound.iter());
    let (works, fails) = bound.fold((0, 0), |(works, fails), one| match one.tcp.is_done() {
        true => (works + 1, fails),
        false => (works, fails + 1),
    });
    works > 0 && fails > 0
}

/// Through which tunnel it goes.
fn tunnel(view: &View<'_>) -> Option<Reason> {
    let src = view.facts.v6.src?;
    match AddressClass::of(src) {
        AddressClass::SixToFour => return Some(Reason::SixToFour),
        AddressClass::Teredo => return Some(Reason::Teredo),
        _ => {}
    }
    if let (IpAddr::V6(own), Some(IpAddr::V4(public))) = (src, view.facts.v4.seen)
        && holds_v4(own, public)
    {
        return Some(Reason::SixRd);
    }
    let first = routes(view.evidence, AF)?.into_iter().next()?;
    first.link.is_tunnel().then_some(Reason::TunnelDevice)
}

/// Do bits 32 to 63 hold the last sixteen bits or more of the IPv4 address, as a 6rd prefix does (RFC 5969, section 4)? What a
/// network's addresses have in common is left out of it, so the beginning may be missing; the end never is.
fn holds_v4(own: Ipv6Addr, public: Ipv4Addr) -> bool {
    let [_, _, high, low, ..] = own.segments();
    let window = (u32::from(high) << 16) | u32::from(low);
    let last = |bits: u32, of: u32| of & (u32::MAX >> (32 - bits));
    let holds = |bits: u32| (0..=32 - bits).any(|shift| last(bits, window >> shift) == last(bits, public.into()));
    // Sixteen bits that are nearly all the same, as of x.y.0.1, stand in many prefixes by chance.
    let ones = last(16, public.into()).count_ones();
    holds(24) || holds(16) && (4..=12).contains(&ones)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_6rd_is_known_by_the_bits_of_the_ipv4_address() {
        let public = Ipv4Addr::new(203, 0, 114, 77);
        for (own, holds) in [
            ("2a01:100:cb00:724d::1", true),
            // Only the last 24 bits, behind a prefix of 40.
            ("2a01:100:5500:724d::1", true),
            ("2a01:100:cb00:7200::1", false),
            ("2a01:100:1:2::724d", false),
            ("2a01:100:1:724d::", true),
        ] {
            assert_eq!(holds_v4(own.parse().unwrap(), public), holds, "{own}");
        }
        assert!(!holds_v4("2a01:100:1:0::1".parse().unwrap(), Ipv4Addr::new(203, 0, 0, 1)));
    }
}
