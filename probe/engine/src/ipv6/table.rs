//! The decision table as a test: one row for each line of it, and one for each host of the lab. A row says how a host differs
//! from a healthy one with both families, and what must be said of it.

mod host;
mod lossy;
mod rows;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use sonde_protocol::bounded::List;
use sonde_protocol::net::Ip;
use sonde_protocol::result::ipv6::*;

use self::host::{Host, V4, V6};
use self::rows::{LAB, LINES};
use super::decide::{Ruling, decide};

/// `state: causes (kinds) +flags`.
fn words(ruling: &Ruling) -> String {
    let of = |role| ruling.why.iter().map(|one| one.reason).filter(move |reason| reason.role() == role);
    let join = |role, with: &str| of(role).map(Reason::word).collect::<Vec<_>>().join(with);
    let mut text = ruling.state.word().to_string();
    for (role, before, between, behind) in
        [(ReasonRole::Cause, ": ", ", ", ""), (ReasonRole::Sub, " (", ", ", ")"), (ReasonRole::Flag, " +", " +", "")]
    {
        if of(role).next().is_some() {
            text += &format!("{before}{}{behind}", join(role, between));
        }
    }
    text
}

#[test]
fn every_line_of_the_table_and_every_host_of_the_lab() {
    let mut wrong = Vec::new();
    for (name, change, v6, v4) in LAB.iter().chain(LINES) {
        let mut host = Host::healthy();
        change(&mut host);
        let decision = decide(&host.0, &PathFacts::default(), &[]);
        let said = (words(&decision.v6), words(&decision.v4));
        if (said.0.as_str(), said.1.as_str()) != (*v6, *v4) {
            wrong.push(format!("{name}: {said:?} instead of {:?}", (v6, v4)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_light_run_goes_by_what_full_ones_found_on_the_path() {
    let mut host = Host::healthy();
    host.0.sizes = List::default();
    let path = PathFacts { v6: FamilyPath { hole_up: Some(1400), ..FamilyPath::default() }, ..PathFacts::default() };
    let decision = decide(&host.0, &path, &[]);
    assert_eq!(words(&decision.v6), "native-partial: mtu");
    assert!(decision.v6.why.contains(&Because { reason: Reason::HoleUp, detail: Some(1400) }));
    assert_eq!(decision.path, path);
}

#[test]
fn references_that_are_known_to_be_ill_do_not_count() {
    let mut host = Host::healthy();
    host.fails_towards(V6, 2);
    let decision = decide(&host.0, &PathFacts::default(), &["r1", "r2"]);
    assert_eq!(words(&decision.v6), "native +few-references");
}

#[test]
fn how_a_dns64_treats_those_who_check_signatures() {
    let right = DnsSeen { signed: true, flags: 0x81a0, ..DnsSeen::default() };
    let made_up = |seen: &DnsSeen| {
        let translated = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0x143c, 0x12c);
        DnsSeen { addresses: List::cut([Ip(translated.into())]), ..seen.clone() }
    };
    let servfail = DnsSeen { rcode: 2, ..DnsSeen::default() };
    let bogus_taken = DnsSeen::default();
    for (validating, checking, bogus, how) in [
        (made_up(&right), right.clone(), servfail.clone(), Dns64Dnssec::Right),
        (made_up(&right), made_up(&right), servfail.clone(), Dns64Dnssec::SynthWithCd),
        (made_up(&right), DnsSeen::default(), servfail.clone(), Dns64Dnssec::StripsSignatures),
        (made_up(&right), right.clone(), bogus_taken, Dns64Dnssec::NoValidation),
        (servfail.clone(), right.clone(), servfail.clone(), Dns64Dnssec::Servfail),
    ] {
        let mut host = Host::healthy();
        host.without(V4);
        host.nat64(PrefixSource::Dns, true);
        host.synthesis();
        let one = host.0.dns.first().cloned().unwrap();
        for (asked, checking_disabled, seen) in
            [(Asked::V4, false, validating), (Asked::V4, true, checking), (Asked::Bogus, false, bogus)]
        {
            let saw = DnsSaw::Answer(seen);
            let check =
                DnsCheck { asked, qtype: DnsCheck::AAAA, dnssec_ok: true, checking_disabled, saw, ..one.clone() };
            host.0.dns.push(check).unwrap();
        }
        let decision = decide(&host.0, &PathFacts::default(), &[]);
        assert_eq!(decision.names.dns64, Some(how));
        assert_eq!(words(&decision.v4).contains("dns64-breaks-dnssec"), how != Dns64Dnssec::Right, "{how}");
    }
}
