//! From facts to words: what is the cause, and what only its consequence? Pure.
//!
//! The way from here to the collector is walked outwards, link, address, route, router, internet; where it ends for both
//! families, that is the cause and nothing behind it is named. Beyond that names, families and the collector are judged by
//! what still works beside them.

use std::net::IpAddr;

use sonde_protocol::address::special;
use sonde_protocol::condition::Word;
use sonde_protocol::net::Family;

use super::facts::{Asked, CollectorFacts, Facts, Leads, Ping, Quic, ResolverFacts, Udp};

/// A word that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The word.
    pub word: Word,
    /// For people. May be empty.
    pub detail: String,
}

fn found(word: Word, detail: impl Into<String>) -> Found {
    Found { word, detail: detail.into() }
}

/// Is it for a survey of the network to say whether this word holds?
pub const fn is_surveyed(word: Word) -> bool {
    matches!(
        word,
        Word::LinkDown
            | Word::NoAddress
            | Word::NoRoute
            | Word::GatewaySilent
            | Word::NoInternet
            | Word::UdpBlocked
            | Word::MtuHole
            | Word::NoResolver
            | Word::DnsSilent
            | Word::DnsFails
            | Word::DnsWrong
            | Word::Ipv4Broken
            | Word::Ipv6Broken
            | Word::WrongKey
            | Word::NoCollector
            | Word::CollectorSilent
    )
}

/// What is wrong, the first to be repaired first.
pub fn diagnose(facts: &Facts) -> Vec<Found> {
    let mut all = match way_out(facts) {
        Some(cause) => vec![cause],
        None => beyond(facts),
    };
    all.sort_by_key(|one| one.word);
    all
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// Families with an address and a route.
fn usable(facts: &Facts) -> Vec<Family> {
    Family::BOTH.into_iter().filter(|family| facts.family(*family).route).collect()
}

/// Something beyond this machine's links answers over the family.
fn reaches(facts: &Facts, family: Family) -> bool {
    let resolver = |one: &ResolverFacts| {
        !one.near && (one.answer != Asked::Silent || one.tcp == Some(true) || one.ping == Ping::Answers)
    };
    collectors_of(facts, family).any(CollectorFacts::answers) || resolvers_of(facts, family).any(resolver)
}

fn collectors_of(facts: &Facts, family: Family) -> impl Iterator<Item = &CollectorFacts> {
    facts.collectors.iter().filter(move |one| Family::of(one.address.ip()) == family)
}

fn resolvers_of(facts: &Facts, family: Family) -> impl Iterator<Item = &ResolverFacts> {
    facts.resolvers.iter().filter(move |one| Family::of(one.address.ip()) == family)
}

/// Somebody beyond this machine's links was asked over the family.
fn asked(facts: &Facts, family: Family) -> bool {
    let tried = |one: &CollectorFacts| one.quic != Quic::NotTried || one.ping != Ping::NotTried;
    // A resolver alone may be what is broken.
    let resolver = resolvers_of(facts, family).any(|one| !one.near) && gateway_is_silent(facts, family);
    collectors_of(facts, family).any(tried) || resolver
}

/// All routers of the family were asked, and none answers.
fn gateway_is_silent(facts: &Facts, family: Family) -> bool {
    let gateways = &facts.family(family).gateways;
    let near_answers = resolvers_of(facts, family).any(|one| one.near && one.answer != Asked::Silent);
    !gateways.is_empty() && gateways.iter().all(|(_, ping)| *ping == Ping::Silent) && !near_answers
}

/// Where the way to the internet ends, for both families.
fn way_out(facts: &Facts) -> Option<Found> {
    if !facts.links.is_empty() && facts.links.iter().all(|(_, up)| !up) || facts.links.is_empty() {
        let names = list(facts.links.iter().map(|(name, _)| name));
        return Some(found(Word::LinkDown, if names.is_empty() { "there is no interface".into() } else { names }));
    }
    if facts.families.iter().all(|family| !family.address) {
        return Some(found(Word::NoAddress, "neither IPv4 nor IPv6"));
    }
    if facts.by_tls {
        return None;
    }
    let usable = usable(facts);
    if usable.is_empty() {
        let with = Family::BOTH.into_iter().filter(|family| facts.family(*family).address);
        return Some(found(Word::NoRoute, format!("although there is an address of {}", list(with.map(named)))));
    }
    if usable.iter().any(|family| reaches(facts, *family)) {
        return None;
    }
    if usable.iter().all(|family| gateway_is_silent(facts, *family)) {
        let gateways = usable.iter().flat_map(|family| facts.family(*family).gateways.iter().map(|(ip, _)| ip));
        return Some(found(Word::GatewaySilent, list(gateways)));
    }
    // With nobody to ask but resolvers, it is they who are known to be silent.
    let tried: Vec<IpAddr> = facts.collectors.iter().map(|one| one.address.ip()).collect();
    (!tried.is_empty()).then(|| found(Word::NoInternet, format!("tried {}", list(tried))))
}

fn named(family: Family) -> String {
    format!("IPv{family}")
}

fn beyond(facts: &Facts) -> Vec<Found> {
    let mut all = Vec::new();
    let broken = broken_families(facts);
    for &family in &broken {
        let word = if family == Family::V4 { Word::Ipv4Broken } else { Word::Ipv6Broken };
        all.push(found(word, how_broken(facts, family)));
    }
    let collector = if facts.network { unreached(facts) } else { hole(facts) };
    // Where no UDP passes, resolvers are silent too: that is the same thing.
    if collector.as_ref().is_none_or(|one| one.word != Word::UdpBlocked) {
        all.extend(names(facts, &broken));
    }
    // A name that leads astray is the cause when nobody is found where it leads.
    let astray =
        all.iter().any(|one| matches!(one.word, Word::DnsWrong | Word::DnsSilent | Word::DnsFails | Word::NoResolver));
    all.extend(collector.filter(|one| !(astray && matches!(one.word, Word::CollectorSilent | Word::NoCollector))));
    all
}

fn broken_families(facts: &Facts) -> Vec<Family> {
    let usable = usable(facts);
    let other_works = |family: Family| usable.iter().any(|other| *other != family && reaches(facts, *other));
    let broken = |family: &Family| asked(facts, *family) && !reaches(facts, *family) && other_works(*family);
    usable.iter().copied().filter(broken).collect()
}

fn how_broken(facts: &Facts, family: Family) -> String {
    let gateways = &facts.family(family).gateways;
    let router = match gateways.first() {
        Some((gateway, Ping::Answers)) => format!("the router {gateway} answers, nothing beyond it does"),
        Some((gateway, Ping::Silent)) => format!("not even the router {gateway} answers"),
        _ => String::new(),
    };
    let tried = list(collectors_of(facts, family).map(|one| one.address.ip()));
    match (router.is_empty(), tried.is_empty()) {
        (false, _) => router,
        (true, false) => format!("tried {tried}"),
        (true, true) => String::new(),
    }
}

/// What resolvers do wrong.
fn names(facts: &Facts, broken: &[Family]) -> Option<Found> {
    if facts.resolvers.is_empty() {
        return Some(found(Word::NoResolver, ""));
    }
    // Those of a family that does not work at all say nothing of DNS.
    let counts = |one: &&ResolverFacts| !broken.contains(&Family::of(one.address.ip()));
    let counted: Vec<&ResolverFacts> = facts.resolvers.iter().filter(counts).collect();
    let addresses = || list(counted.iter().map(|one| one.address.ip()));
    if !counted.iter().any(|one| one.answer == Asked::Answers) {
        if counted.is_empty() {
            let all = list(facts.resolvers.iter().map(|one| one.address.ip()));
            return Some(found(Word::DnsSilent, format!("{all}: all of them are of a family that does not work")));
        }
        let errors = counted.iter().filter_map(|one| match &one.answer {
            Asked::Error(why) => Some(format!("{}: {why}", one.address.ip())),
            _ => None,
        });
        let errors = list(errors);
        return Some(match errors.is_empty() {
            true if counted.iter().any(|one| one.tcp == Some(true)) => {
                found(Word::DnsSilent, format!("{}, over UDP; over TCP there is an answer", addresses()))
            }
            true => found(Word::DnsSilent, addresses()),
            false => found(Word::DnsFails, errors),
        });
    }
    facts.names.iter().find_map(|name| wrong(facts, &name.name, &name.leads))
}

/// Is what the resolvers say of a collector's name wrong?
fn wrong(facts: &Facts, name: &str, leads: &Leads) -> Option<Found> {
    let addresses = match leads {
        Leads::Nowhere => return Some(found(Word::DnsWrong, format!("{name}: there is no such name, they say"))),
        Leads::Unknown => return None,
        Leads::To(addresses) => addresses,
    };
    let there = facts.collectors.iter().filter(|one| addresses.contains(&one.address.ip()));
    if there.clone().any(|one| matches!(one.quic, Quic::Ours | Quic::NotTried)) {
        return None;
    }
    let said = list(addresses.iter());
    if let Some(really) = facts.collectors.iter().find(|one| one.quic == Quic::Ours) {
        let really = really.address.ip();
        return Some(found(Word::DnsWrong, format!("{name} is {said}, they say; the collector is at {really}")));
    }
    let nonsense = addresses.iter().all(|address| special(*address, &[]).is_some());
    nonsense.then(|| {
        found(Word::DnsWrong, format!("{name} is {said}, they say; nobody on the internet has such an address"))
    })
}

/// Large packets vanish, small ones do not.
fn hole(facts: &Facts) -> Option<Found> {
    let hole = facts.collectors.iter().find(|one| one.ping == Ping::Answers && one.large == Ping::Silent)?;
    let largest = hole.largest.map(|size| format!("; the largest that came back had {size} bytes")).unwrap_or_default();
    Some(found(Word::MtuHole, format!("on the way to {}{largest}", hole.address.ip())))
}

/// Why no collector is reached; or, when one is, why large packets are not to be trusted.
fn unreached(facts: &Facts) -> Option<Found> {
    if facts.collectors.iter().any(|one| one.quic == Quic::Ours) {
        return hole(facts);
    }
    if let Some(other) = facts.collectors.iter().find(|one| one.quic == Quic::OtherKey) {
        return Some(found(Word::WrongKey, other.address.to_string()));
    }
    if let Some(hole) = hole(facts) {
        return Some(hole);
    }
    if facts.by_tls {
        let tried = list(facts.collectors.iter().map(|one| one.address));
        return (!tried.is_empty())
            .then(|| found(Word::UdpBlocked, format!("{tried} by UDP; over TCP the collector answers")));
    }
    if facts.collectors.is_empty() && facts.names.is_empty() {
        return Some(found(Word::NoCollector, ""));
    }
    let tcp_alone = |one: &&ResolverFacts| one.answer == Asked::Silent && one.tcp == Some(true);
    if !facts.resolvers.is_empty()
        && facts.resolvers.iter().all(|one| one.answer == Asked::Silent)
        && let Some(resolver) = facts.resolvers.iter().find(tcp_alone)
    {
        let (ip, tried) = (resolver.address.ip(), list(facts.collectors.iter().map(|one| one.address)));
        let detail = format!("the resolver {ip} answers over TCP alone");
        return Some(found(
            Word::UdpBlocked,
            if tried.is_empty() { detail } else { format!("{detail}; tried {tried}") },
        ));
    }
    let alive: Vec<&CollectorFacts> = facts.collectors.iter().filter(|one| one.answers()).collect();
    let addresses = |these: &[&CollectorFacts]| list(these.iter().map(|one| one.address));
    if alive.iter().any(|one| one.udp == Udp::Passes) {
        return Some(found(
            Word::CollectorSilent,
            format!("{}: its host answers, the program does not", addresses(&alive)),
        ));
    }
    if !alive.is_empty() {
        return Some(found(
            Word::UdpBlocked,
            format!("{} answers a ping, but nothing that comes by UDP", addresses(&alive)),
        ));
    }
    if facts.collectors.is_empty() {
        // Its names lead nowhere, which is said already.
        return Some(found(Word::NoCollector, list(facts.names.iter().map(|name| &name.name))));
    }
    Some(found(Word::CollectorSilent, list(facts.collectors.iter().map(|one| one.address))))
}

#[cfg(test)]
mod tests;
