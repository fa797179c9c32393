//! What the machine's tables, name servers and connections said.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;
use serde::ser::SerializeMap;

use super::super::each::Each;
use super::super::{Line, Millis};
use super::name;
use crate::net::{Family, Ip};
use crate::result::ipv6::{
    AddressSeen, Attempt, BoundConnect, Connect, DnsCheck, DnsSaw, DnsSeen, Echo, Evidence, HappyEyeballs, Nat64Seen,
    Pair, RouteSeen, RouterAdvert, Selection, SourceChoice, Trouble,
};
use crate::spec::dns_type_name;

pub(super) fn write<M: SerializeMap>(line: &Line<'_>, map: &mut M, seen: &Evidence) -> Result<(), M::Error> {
    map.serialize_entry("addr", &Each(&seen.addresses, |address| Address::new(line, address)))?;
    map.serialize_entry("route", &seen.routes.as_ref().map(|routes| Each(routes, |route| Route::new(line, route))))?;
    map.serialize_entry("ra", &seen.advert.as_ref().map(|advert| Advert::new(line, advert)))?;
    let resolver = |ip: &Ip| line.ctx.view.resolver(ip.0);
    map.serialize_entry("resolvers", &seen.resolvers.as_ref().map(|all| Each(all, resolver)))?;
    map.serialize_entry("dns", &Each(&seen.dns, |check| Question::new(line, seen, check)))?;
    map.serialize_entry("nat64", &seen.nat64.as_ref().map(|nat64| Nat64::new(line, seen, nat64)))?;
    map.serialize_entry("pair", &Each(&seen.pairs, |pair| PairObject::new(line, seen, pair)))?;
    map.serialize_entry("echo", &Each(&seen.echoes, |echo| EchoObject::new(seen, echo)))?;
    map.serialize_entry("he", &seen.happy_eyeballs.map(Eyeballs::from))?;
    map.serialize_entry("select", &seen.selection.as_ref().map(|selection| Choice::new(line, selection)))?;
    map.serialize_entry("v6_off", &seen.v6_off)
}

/// The network of an own address: what the view leaves of it, cut at its prefix.
fn prefix(address: IpAddr, length: u8) -> String {
    IpNet::new(address, length).map_or_else(|_| format!("{address}/{length}"), |net| format!("{}", net.trunc()))
}

/// What went wrong, in Atlas's manner.
pub(super) fn words(trouble: &Trouble) -> String {
    match (trouble.icmp_type, trouble.icmp_code) {
        (Some(kind), Some(code)) => format!("{} {kind}/{code}", trouble.kind),
        _ => format!("{}", trouble.kind),
    }
}

#[derive(Serialize)]
struct Address<'a> {
    af: u8,
    #[serde(rename = "if")]
    interface: Option<&'a str>,
    class: &'static str,
    prefix: String,
    flags: Vec<&'static str>,
    preferred: Option<u32>,
    valid: Option<u32>,
    proto: Option<u8>,
}

impl<'a> Address<'a> {
    fn new(line: &Line<'_>, seen: &'a AddressSeen) -> Self {
        let set = AddressSeen::FLAGS.into_iter().filter(|(flag, _)| seen.flags & flag != 0);
        Self {
            af: Family::of(seen.address.0).number(),
            interface: line.ctx.view.names().then_some(&*seen.interface),
            class: seen.class().word(),
            prefix: prefix(line.ctx.view.own(seen.address.0), seen.length),
            flags: set.map(|(_, word)| word).collect(),
            preferred: seen.preferred,
            valid: seen.valid,
            proto: seen.origin,
        }
    }
}

#[derive(Serialize)]
struct Route<'a> {
    af: u8,
    gw: Option<IpAddr>,
    #[serde(rename = "if")]
    interface: Option<&'a str>,
    via_kind: &'static str,
    proto: Option<u8>,
    expires: Option<u32>,
    nud: Option<&'static str>,
    lease: Option<bool>,
}

impl<'a> Route<'a> {
    fn new(line: &Line<'_>, seen: &'a RouteSeen) -> Self {
        Self {
            af: seen.af.number(),
            gw: seen.gateway.map(|ip| line.ctx.view.hop(1, ip.0)),
            interface: line.ctx.view.names().then_some(&*seen.interface),
            via_kind: seen.link.word(),
            proto: seen.origin,
            expires: seen.expires,
            nud: seen.neighbour.map(|neighbour| neighbour.word()),
            lease: seen.lease,
        }
    }
}

#[derive(Serialize)]
struct Advert {
    seen: bool,
    m: bool,
    o: bool,
    mtu: Option<u32>,
    rdnss: Option<Vec<IpAddr>>,
    pref64: Option<Vec<Pref64>>,
}

#[derive(Serialize)]
struct Pref64 {
    prefix: String,
    lifetime: u32,
}

impl Advert {
    fn new(line: &Line<'_>, seen: &RouterAdvert) -> Self {
        // What was not heard is not known; what was heard once may still hold.
        let is_known = |is_empty: bool| !is_empty || seen.heard != Some(false);
        let resolvers = seen.resolvers.iter().map(|ip| line.ctx.view.resolver(ip.0));
        let prefixes = seen
            .pref64
            .iter()
            .map(|one| Pref64 { prefix: prefix(line.ctx.view.own(one.prefix.0), one.length), lifetime: one.lifetime });
        Self {
            seen: seen.seen,
            m: seen.managed,
            o: seen.other,
            mtu: seen.mtu,
            rdnss: is_known(seen.resolvers.is_empty()).then(|| resolvers.collect()),
            pref64: is_known(seen.pref64.is_empty()).then(|| prefixes.collect()),
        }
    }
}

#[derive(Serialize)]
struct Question {
    af: u8,
    asks: &'static str,
    dst_addr: IpAddr,
    dst_port: &'static str,
    proto: &'static str,
    qname: &'static str,
    qtype: String,
    #[serde(rename = "do")]
    dnssec_ok: bool,
    cd: bool,
    edns: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Answer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(rename = "match")]
    matches: Option<bool>,
}

#[derive(Serialize)]
struct Answer {
    rt: Millis,
    size: u32,
    rcode: u8,
    aa: bool,
    ra: bool,
    ad: bool,
    addr: Vec<IpAddr>,
    signed: bool,
    malformed: bool,
}

impl Question {
    fn new(line: &Line<'_>, evidence: &Evidence, check: &DnsCheck) -> Self {
        use crate::result::ipv6::{Asked, Asks};
        let server = check.server.0;
        let is_own = matches!(check.asks, Asks::OwnResolver);
        let is_address = matches!(check.qtype, DnsCheck::A | DnsCheck::AAAA);
        let has_truth = is_address && matches!(check.asked, Asked::Ds | Asked::V4 | Asked::V6 | Asked::V6Ns);
        Self {
            af: Family::of(server).number(),
            asks: check.asks.word(),
            dst_addr: if is_own { line.ctx.view.resolver(server) } else { server },
            dst_port: "53",
            proto: check.protocol.name(),
            qname: check.asked.word(),
            qtype: dns_type_name(check.qtype),
            dnssec_ok: check.dnssec_ok,
            cd: check.checking_disabled,
            edns: check.udp_payload_size,
            result: check.answer().map(|seen| Answer::new(line, evidence, seen)),
            error: match &check.saw {
                DnsSaw::Answer(_) => None,
                DnsSaw::Timeout => Some("timeout".into()),
                DnsSaw::Failed(trouble) => Some(words(trouble)),
            },
            matches: (has_truth && check.answer().is_some()).then(|| evidence.tells_truth(check)),
        }
    }
}

impl Answer {
    fn new(line: &Line<'_>, evidence: &Evidence, seen: &DnsSeen) -> Self {
        // A resolver that makes addresses up may name the host's own network.
        let is_known = |ip: &Ip| evidence.targets.iter().any(|target| [target.v4, target.v6].contains(&Some(*ip)));
        let shown = |ip: &Ip| if is_known(ip) { ip.0 } else { line.ctx.view.resolver(ip.0) };
        Self {
            rt: Millis(seen.rt),
            size: seen.size,
            rcode: seen.rcode,
            aa: seen.has(DnsSeen::AUTHORITATIVE),
            ra: seen.has(DnsSeen::RECURSION_AVAILABLE),
            ad: seen.has(DnsSeen::AUTHENTIC),
            addr: seen.addresses.iter().map(shown).collect(),
            signed: seen.signed,
            malformed: seen.malformed,
        }
    }
}

#[derive(Serialize)]
struct Nat64<'a> {
    source: &'static str,
    prefix: Vec<String>,
    works: Option<bool>,
    seen_addr: Option<IpAddr>,
    unadvertised: Option<bool>,
    result: Vec<Proof<'a>>,
}

#[derive(Serialize)]
struct Proof<'a> {
    dst_name: &'a str,
    ttls: Option<Millis>,
    echo: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    err: Option<String>,
}

impl<'a> Nat64<'a> {
    fn new(line: &Line<'_>, evidence: &'a Evidence, seen: &Nat64Seen) -> Self {
        let tried = seen.proofs.iter().filter_map(|proof| proof.tls.as_ref());
        Self {
            source: seen.prefixes.first().map_or("none", |told| told.source.word()),
            prefix: seen.prefixes.iter().map(|told| prefix(line.ctx.view.own(told.prefix.0), told.length)).collect(),
            works: tried.clone().next().is_some().then(|| tried.clone().any(Attempt::is_done)),
            seen_addr: seen.proofs.iter().find_map(|proof| proof.seen).map(|ip| line.ctx.view.own(ip.0)),
            unadvertised: seen.unadvertised,
            result: seen
                .proofs
                .iter()
                .map(|proof| Proof {
                    dst_name: name(evidence, proof.target),
                    ttls: time(proof.tls.as_ref()),
                    echo: time(proof.echo.as_ref()),
                    err: proof.tls.as_ref().and_then(Attempt::trouble).map(words),
                })
                .collect(),
        }
    }
}

fn time(attempt: Option<&Attempt>) -> Option<Millis> {
    attempt.and_then(Attempt::time).map(Millis)
}

#[derive(Serialize)]
struct PairObject<'a> {
    dst_name: &'a str,
    /// The families in the order in which they began.
    order: String,
    gap: Millis,
    result: Vec<ConnectObject>,
}

#[derive(Serialize)]
struct ConnectObject {
    af: u8,
    dst_addr: IpAddr,
    src_addr: Option<IpAddr>,
    seen_addr: Option<IpAddr>,
    ttc: Option<Millis>,
    ttls: Option<Millis>,
    tquic: Option<Millis>,
    retrans: Option<u32>,
    mss_seen: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    err: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quic_err: Option<String>,
}

impl<'a> PairObject<'a> {
    fn new(line: &Line<'_>, evidence: &'a Evidence, pair: &Pair) -> Self {
        Self {
            dst_name: name(evidence, pair.target),
            order: pair.connects.iter().map(|connect| format!("{}", connect.af)).collect(),
            gap: Millis(pair.gap),
            result: pair.connects.iter().map(|connect| ConnectObject::new(line, connect)).collect(),
        }
    }
}

impl ConnectObject {
    fn new(line: &Line<'_>, seen: &Connect) -> Self {
        let failed = |step: &str, attempt: &Option<Attempt>| {
            attempt.as_ref().and_then(Attempt::trouble).map(|trouble| format!("{step}: {}", words(trouble)))
        };
        Self {
            af: seen.af.number(),
            dst_addr: seen.dst.0,
            src_addr: seen.src.map(|ip| line.ctx.view.own(ip.0)),
            seen_addr: seen.seen.map(|ip| line.ctx.view.own(ip.0)),
            ttc: time(seen.tcp.as_ref()),
            ttls: time(seen.tls.as_ref()),
            tquic: time(seen.quic.as_ref()),
            retrans: seen.retransmits,
            mss_seen: seen.mss_seen,
            err: failed("connect", &seen.tcp).or_else(|| failed("TLS", &seen.tls)),
            quic_err: failed("QUIC", &seen.quic),
        }
    }
}

#[derive(Serialize)]
struct EchoObject<'a> {
    dst_name: &'a str,
    af: u8,
    proto: &'static str,
    sent: u32,
    rcvd: u32,
    min: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    err: Option<String>,
}

impl<'a> EchoObject<'a> {
    fn new(evidence: &'a Evidence, seen: &Echo) -> Self {
        Self {
            dst_name: name(evidence, seen.target),
            af: seen.af.number(),
            proto: seen.protocol.name(),
            sent: seen.sent,
            rcvd: seen.received,
            min: seen.rtt.map(Millis),
            err: seen.trouble.as_ref().map(words),
        }
    }
}

#[derive(Serialize)]
struct Eyeballs {
    d6: Option<Millis>,
    d4: Option<Millis>,
    c6: Option<Millis>,
    c4: Option<Millis>,
    f6: Option<Millis>,
    f4: Option<Millis>,
    winner: Option<u8>,
    margin: Option<f64>,
}

impl From<HappyEyeballs> for Eyeballs {
    fn from(seen: HappyEyeballs) -> Self {
        let ms = |nanos: Option<u64>| nanos.map(Millis);
        Self {
            d6: ms(seen.dns6),
            d4: ms(seen.dns4),
            c6: ms(seen.connect6),
            c4: ms(seen.connect4),
            f6: ms(seen.failed6),
            f4: ms(seen.failed4),
            winner: seen.winner.map(Family::number),
            margin: seen.margin.map(|nanos| nanos as f64 / 1e6),
        }
    }
}

#[derive(Serialize)]
struct Choice {
    gai: String,
    src: Vec<Source>,
    bound: Vec<Bound>,
}

#[derive(Serialize)]
struct Source {
    dst: IpAddr,
    src_addr: Option<IpAddr>,
}

#[derive(Serialize)]
struct Bound {
    src_addr: IpAddr,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    err: Option<String>,
}

impl Choice {
    fn new(line: &Line<'_>, seen: &Selection) -> Self {
        let own = |ip: Ip| line.ctx.view.own(ip.0);
        Self {
            gai: seen.order.iter().map(|af| format!("{af}")).collect(),
            src: seen
                .sources
                .iter()
                .map(|SourceChoice { dst, src }| Source { dst: dst.0, src_addr: src.map(own) })
                .collect(),
            bound: seen
                .bound
                .iter()
                .map(|BoundConnect { src, tcp }| Bound {
                    src_addr: own(*src),
                    ok: tcp.is_done(),
                    err: tcp.trouble().map(words),
                })
                .collect(),
        }
    }
}
