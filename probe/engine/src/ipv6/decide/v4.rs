//! The rules for IPv4, which has more than one way to work.

use core::net::IpAddr;

use sonde_protocol::net::Family;
use sonde_protocol::result::ipv6::{AddressClass, Attempt, FamilyState, LinkKind, Nat64Proof, Reason, RouteSeen};

use super::super::facts::{classes, has_address, routes};
use super::super::names::prefixes;
use super::{Reasons, Ruling, View};

const AF: Family = Family::V4;

/// What a translator takes off the path MTU: the difference of the headers' lengths.
const TRANSLATED: u32 = 20;

/// What IPv4 inside IPv6 takes off: a whole IPv6 header.
const ENCAPSULATED: u32 = 40;

pub(super) fn decide(view: &View<'_>) -> Ruling {
    if view.facts.v4.reached > 0 {
        return reached(view);
    }
    // A translator of the machine's own leads nowhere else.
    let is_translated = |route: &&RouteSeen| route.link == LinkKind::Clat;
    let only_by_translation = routes(view.evidence, AF).is_some_and(|routes| routes.iter().all(is_translated));
    if only_by_translation && let Some(ruling) = through_nat64(view) {
        return ruling;
    }
    let has_none = match has_address(view.evidence, AF) {
        Some(has_one) => !has_one,
        None => view.is_off(AF),
    };
    if has_none && !view.facts.v4.answered {
        let mut why = Reasons::default();
        let is_link_local = classes(view.evidence, AF).any(|class| class == AddressClass::LinkLocal);
        why.add(if is_link_local { Reason::LinkLocalOnly } else { Reason::NoAddress });
        return why.ruling(FamilyState::None);
    }
    view.broken(AF)
}

/// An IPv4 socket reaches references: over what?
fn reached(view: &View<'_>) -> Ruling {
    let mut why = view.flags(AF);
    let marks = Marks::new(view);
    if prefixes(view.evidence).next().is_some()
        && (marks.own_end || marks.same_pool && (marks.translated || marks.rootless))
    {
        return why.ruling(FamilyState::Xlat464);
    }
    if marks.encapsulated && (marks.own_end || marks.rootless) {
        return why.ruling(FamilyState::FourInSix);
    }
    if view.names.none_configured || view.names.gives4 == Some(false) {
        if view.names.none_configured {
            why.add(Reason::NoResolver);
        }
        return why.cause(Reason::DnsOnly).ruling(FamilyState::Broken);
    }
    if view.path.v4.has_hole() {
        why.hole(&view.path.v4);
    }
    why.causes.extend(view.parts(AF));
    let kind = kind_of_nat(view);
    why.others.splice(0..0, kind.into_iter().map(Into::into));
    if kind == Some(Reason::Nat44) && view.evidence.near_hops.is_none() {
        why.add(Reason::CgnatUnknown);
    }
    if view.evidence.nat64.as_ref().is_some_and(|nat64| nat64.unadvertised == Some(true)) {
        why.add(Reason::Nat64Unadvertised);
    }
    let state = if why.causes.is_empty() { FamilyState::Native } else { FamilyState::NativePartial };
    why.ruling(state)
}

/// There is no way for IPv4 packets; is there one by translation?
fn through_nat64(view: &View<'_>) -> Option<Ruling> {
    let nat64 = view.evidence.nat64.as_ref()?;
    prefixes(view.evidence).next()?;
    let mut proofs = nat64.proofs.iter().peekable();
    proofs.peek()?;
    let why = view.flags(AF);
    if proofs.any(works) {
        let synthesis = view.names.seen.synthesis == Some(true);
        return Some(why.ruling(if synthesis { FamilyState::Nat64Dns64 } else { FamilyState::Nat64 }));
    }
    (view.facts.v6.reached > 0).then(|| why.cause(Reason::Nat64Dead).ruling(FamilyState::Broken))
}

fn works(proof: &Nat64Proof) -> bool {
    proof.tls.as_ref().is_some_and(Attempt::is_done)
}

/// What shows that IPv4 packets leave the line as something else (464XLAT and its kin).
struct Marks {
    /// H1: the machine's own IPv4 end of a translator or tunnel.
    own_end: bool,
    /// H2: the own IPv4 socket and the NAT64 are seen from the same pool.
    same_pool: bool,
    /// H3: what passes is by a translation less than over IPv6.
    translated: bool,
    /// What passes is by a header less.
    encapsulated: bool,
    /// H4: a default route without a router behind it and without a lease.
    rootless: bool,
}

impl Marks {
    fn new(view: &View<'_>) -> Self {
        let own = view.facts.v4.src.map(AddressClass::of);
        let routes = routes(view.evidence, AF).unwrap_or_default();
        let first = routes.first();
        let shorter = match (view.path.v6.mtu, view.path.v4.mtu) {
            (Some(v6), Some(v4)) => v6.checked_sub(v4),
            _ => None,
        };
        let proofs = view.evidence.nat64.iter().flat_map(|nat64| nat64.proofs.iter()).filter(|proof| works(proof));
        let mut pools = proofs.filter_map(|proof| proof.seen).map(|ip| pool(ip.0));
        let mine = view.facts.v4.seen.map(pool);
        Self {
            own_end: own == Some(AddressClass::Continuity) || first.is_some_and(|route| route.link == LinkKind::Clat),
            same_pool: mine.is_some() && pools.any(|theirs| Some(theirs) == mine),
            translated: shorter == Some(TRANSLATED),
            encapsulated: shorter == Some(ENCAPSULATED),
            rootless: first.is_some_and(|route| {
                route.lease == Some(false) && route.neighbour.is_none_or(|neighbour| neighbour.is_gone())
            }),
        }
    }
}

/// The /24 of an address. Pools are larger; but what is in one /24 is of one.
fn pool(address: IpAddr) -> Option<[u8; 3]> {
    match address {
        IpAddr::V4(v4) => v4.octets().first_chunk().copied(),
        IpAddr::V6(_) => None,
    }
}

/// Whose address others see. `None`: no reference told.
fn kind_of_nat(view: &View<'_>) -> Option<Reason> {
    let (src, seen) = (view.facts.v4.src?, view.facts.v4.seen?);
    if src == seen {
        return Some(Reason::Public);
    }
    // Some virtual private networks number their own links from the shared space.
    let is_vpn = routes(view.evidence, AF).iter().flatten().next().is_some_and(|route| route.link.is_vpn());
    let is_shared = |address: IpAddr| AddressClass::of(address) == AddressClass::Shared;
    let hops = view.evidence.near_hops.iter().flatten();
    let mut near = hops.filter(|hop| (2..=4).contains(&hop.hop)).filter_map(|hop| hop.from).map(|ip| ip.0);
    let is_cgnat = !is_vpn && (is_shared(src) || near.any(is_shared));
    Some(if is_cgnat { Reason::Cgnat } else { Reason::Nat44 })
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_pool_is_a_24() {
        let v4 = |last| IpAddr::V4(Ipv4Addr::new(198, 51, 100, last));
        assert_eq!(pool(v4(1)), pool(v4(200)));
        assert_eq!(pool(IpAddr::V6(core::net::Ipv6Addr::LOCALHOST)), None);
    }
}
