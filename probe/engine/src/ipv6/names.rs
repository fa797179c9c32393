//! What the answers about names say together: filters, lies, interception, DNS64 (RFC 4074, RFC 6147). The truth is in the
//! signed directory: a name of a reference's zone leads to that reference.

use alloc::vec::Vec;
use core::net::IpAddr;

use sonde_protocol::address::Nat64Prefix;
use sonde_protocol::net::Family;
use sonde_protocol::result::ipv6::{
    Asked, Asks, Dns64Dnssec, DnsCheck, DnsSaw, DnsSeen, Evidence, NamesSeen, Nat64Told, PrefixSource,
};

/// The response codes that matter here (RFC 1035, 4.1.1).
const NOERROR: u8 = 0;
const SERVFAIL: u8 = 2;

/// What the rules need to know about names.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    /// The machine has no resolver at all.
    pub none_configured: bool,
    /// A resolver told the IPv6 address of a name with both; absent: nobody was asked.
    pub gives6: Option<bool>,
    /// The same of the IPv4 address.
    pub gives4: Option<bool>,
    /// A resolver told the IPv4 address and kept the IPv6 one back.
    pub aaaa_filter: bool,
    /// Resolvers at IPv6 addresses are silent, others are not.
    pub v6_transport_dead: bool,
    /// For results.
    pub seen: NamesSeen,
}

impl Names {
    /// Reads the answers.
    pub fn new(evidence: &Evidence) -> Self {
        let own = || evidence.dns.iter().filter(|check| check.asks == Asks::OwnResolver);
        let gives = |qtype: u16| {
            let mut asked = own().filter(|check| is(check, Asked::Ds, qtype)).peekable();
            asked.peek().is_some().then(|| asked.any(|check| evidence.tells_truth(check)))
        };
        let resolvers = resolvers(evidence);
        let aaaa_filter = resolvers.iter().any(|resolver| {
            let told = |qtype| {
                let mut asked =
                    own().filter(|check| check.server.0 == *resolver && is(check, Asked::Ds, qtype)).peekable();
                asked.peek().is_some().then(|| asked.any(|check| evidence.tells_truth(check)))
            };
            told(DnsCheck::A) == Some(true) && told(DnsCheck::AAAA) == Some(false)
        });
        let (of_v6, of_v4): (Vec<&DnsCheck>, Vec<&DnsCheck>) =
            own().partition(|check| Family::of(check.server.0) == Family::V6);
        let answers = |checks: &[&DnsCheck]| checks.iter().any(|check| check.answer().is_some());
        Self {
            none_configured: evidence.resolvers.as_ref().is_some_and(|resolvers| resolvers.is_empty()),
            gives6: gives(DnsCheck::AAAA),
            gives4: gives(DnsCheck::A),
            aaaa_filter,
            v6_transport_dead: !of_v6.is_empty() && !answers(&of_v6) && answers(&of_v4),
            seen: NamesSeen {
                lying: lying(evidence),
                intercepted4: intercepted(evidence, Family::V4),
                intercepted6: intercepted(evidence, Family::V6),
                v6ns: reaches_v6ns(evidence),
                synthesis: synthesis(evidence),
                dns64: dns64(evidence),
            },
        }
    }
}

fn is(check: &DnsCheck, asked: Asked, qtype: u16) -> bool {
    check.asked == asked && check.qtype == qtype
}

/// The resolvers that were asked.
fn resolvers(evidence: &Evidence) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> =
        evidence.dns.iter().filter(|check| check.asks == Asks::OwnResolver).map(|check| check.server.0).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The prefixes that the network tells of.
pub(super) fn prefixes(evidence: &Evidence) -> impl Iterator<Item = (Nat64Told, Nat64Prefix)> + '_ {
    let told = evidence.nat64.iter().flat_map(|nat64| nat64.prefixes.iter());
    told.filter_map(|told| told.prefix().map(|prefix| (*told, prefix)))
}

fn is_synthetic(evidence: &Evidence, address: IpAddr) -> bool {
    match address {
        IpAddr::V6(v6) => prefixes(evidence).any(|(_, prefix)| prefix.contains(v6)),
        IpAddr::V4(_) => false,
    }
}

/// An address for a name that does not exist, or an IPv6 address outside every prefix for a name that has none.
fn lying(evidence: &Evidence) -> Option<bool> {
    let mut tested = false;
    for check in evidence.dns.iter().filter(|check| check.asks == Asks::OwnResolver) {
        let Some(seen) = check.answer() else { continue };
        let lies = match check.asked {
            Asked::Nx => !seen.addresses.is_empty() && !seen.addresses.iter().all(|ip| is_synthetic(evidence, ip.0)),
            Asked::V4 if check.qtype == DnsCheck::AAAA => {
                seen.addresses.iter().any(|ip| !is_synthetic(evidence, ip.0) && !is_embedding(evidence, check, ip.0))
            }
            _ => continue,
        };
        tested = true;
        if lies {
            return Some(true);
        }
    }
    tested.then_some(false)
}

/// Does the address hold the reference's IPv4 address where a prefix that nobody told of would have it? A resolver that the
/// host has chosen may know one.
fn is_embedding(evidence: &Evidence, check: &DnsCheck, address: IpAddr) -> bool {
    let target = check.target.and_then(|index| evidence.target(index));
    let (Some(IpAddr::V4(truth)), IpAddr::V6(v6)) = (target.and_then(|target| target.v4).map(|ip| ip.0), address)
    else {
        return false;
    };
    LENGTHS.into_iter().filter_map(|length| Nat64Prefix::from_parts(v6, length)).any(|p| p.embedded(v6) == Some(truth))
}

/// The lengths of prefixes that RFC 6052 allows.
const LENGTHS: [u8; 6] = [96, 64, 56, 48, 40, 32];

/// An answer with recursion and without authority, from where none is to be had: of a root server, or of a reference, where at
/// most a server of its own zone runs.
fn intercepted(evidence: &Evidence, af: Family) -> Option<bool> {
    let mut tested = false;
    for check in evidence.dns.iter().filter(|check| Family::of(check.server.0) == af) {
        let by_another = |seen: &DnsSeen| seen.has(DnsSeen::RECURSION_AVAILABLE) && !seen.has(DnsSeen::AUTHORITATIVE);
        let is_intercepted = match (check.asks, &check.saw) {
            (Asks::Nobody | Asks::RootServer, DnsSaw::Answer(seen)) => by_another(seen),
            (Asks::Nobody, _) => false,
            _ => continue,
        };
        tested = true;
        if is_intercepted {
            return Some(true);
        }
    }
    tested.then_some(false)
}

fn reaches_v6ns(evidence: &Evidence) -> Option<bool> {
    let own = evidence.dns.iter().filter(|check| check.asks == Asks::OwnResolver && check.asked == Asked::V6Ns);
    let mut own = own.peekable();
    own.peek().is_some().then(|| own.any(|check| evidence.tells_truth(check)))
}

/// Does a resolver make an IPv6 address for the name that has an IPv4 one alone?
fn synthesis(evidence: &Evidence) -> Option<bool> {
    let asked = |check: &&DnsCheck| check.asks == Asks::OwnResolver && is(check, Asked::V4, DnsCheck::AAAA);
    let mut answers = evidence.dns.iter().filter(asked).filter_map(DnsCheck::answer).peekable();
    match answers.peek() {
        Some(_) => Some(answers.any(|seen| seen.addresses.iter().any(|ip| is_synthetic(evidence, ip.0)))),
        // Without a zone to ask about: a prefix that was learned from a resolver says the same.
        None => prefixes(evidence).any(|(told, _)| told.source == PrefixSource::Dns).then_some(true),
    }
}

/// How the DNS64 treats those who check signatures, from the AAAA of the signed name `v4` with DO and CD set or not.
fn dns64(evidence: &Evidence) -> Option<Dns64Dnssec> {
    if synthesis(evidence) != Some(true) {
        return None;
    }
    let own = |asked, dnssec_ok, checking_disabled| {
        let fits = move |check: &&DnsCheck| {
            check.asks == Asks::OwnResolver
                && is(check, asked, DnsCheck::AAAA)
                && (check.dnssec_ok, check.checking_disabled) == (dnssec_ok, checking_disabled)
        };
        evidence.dns.iter().filter(fits).find_map(DnsCheck::answer)
    };
    let validating = own(Asked::V4, true, false)?;
    let checking = own(Asked::V4, true, true)?;
    let bogus = own(Asked::Bogus, true, false);
    Some(if !checking.addresses.is_empty() {
        Dns64Dnssec::SynthWithCd
    } else if validating.rcode == SERVFAIL {
        Dns64Dnssec::Servfail
    } else if !checking.signed {
        Dns64Dnssec::StripsSignatures
    } else if bogus.is_some_and(|seen| seen.rcode == NOERROR) {
        Dns64Dnssec::NoValidation
    } else {
        Dns64Dnssec::Right
    })
}
