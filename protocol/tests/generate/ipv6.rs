//! Strategies for results of `ipv6`.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use sonde_protocol::net::Ip;
use sonde_protocol::result::ipv6::*;
use sonde_protocol::spec::Ipv6Scope;

use super::{family, ip, list, number, small, text, transport};

fn one<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> + Clone {
    proptest::sample::select(all)
}

fn trouble() -> impl Strategy<Value = Trouble> + Clone {
    (one(TroubleKind::ALL), option::of(any::<u8>()), option::of(any::<u8>()), option::of(ip()))
        .prop_map(|(kind, icmp_type, icmp_code, from)| Trouble { kind, icmp_type, icmp_code, from })
}

fn attempt() -> impl Strategy<Value = Attempt> + Clone {
    prop_oneof![number().prop_map(Attempt::Done), trouble().prop_map(Attempt::Failed)]
}

fn yes() -> impl Strategy<Value = Option<bool>> + Clone {
    option::of(any::<bool>())
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let because = (one(Reason::ALL), option::of(small())).prop_map(|(reason, detail)| Because { reason, detail });
    let settled =
        (one(FamilyState::ALL), list(one(Reason::ALL), 16)).prop_map(|(state, reasons)| Settled { state, reasons });
    (family(), one(FamilyState::ALL), list(because, 16), option::of(settled), small())
        .prop_map(|(af, raw, why, settled, streak)| Verdict { af, raw, why, settled, streak })
}

fn question() -> impl Strategy<Value = DnsCheck> {
    let seen = (number(), small(), any::<(u8, u16)>(), list(ip(), 8), any::<(bool, bool)>()).prop_map(
        |(rt, size, (rcode, flags), addresses, (malformed, signed))| {
            DnsSaw::Answer(DnsSeen { rt, size, rcode, flags, addresses, malformed, signed })
        },
    );
    let saw = prop_oneof![seen, Just(DnsSaw::Timeout), trouble().prop_map(DnsSaw::Failed)];
    let about = (one(Asks::ALL), ip(), one(Asked::ALL), any::<u16>(), transport());
    let how = (option::of(any::<u8>()), option::of(any::<u16>()), any::<(bool, bool)>());
    (about, how, saw).prop_map(|((asks, server, asked, qtype, protocol), (target, size, (dnssec_ok, cd)), saw)| {
        DnsCheck {
            asks,
            server,
            asked,
            qtype,
            protocol,
            target,
            udp_payload_size: size,
            dnssec_ok,
            checking_disabled: cd,
            saw,
        }
    })
}

fn connect() -> impl Strategy<Value = Connect> {
    let attempts = (option::of(attempt()), option::of(attempt()), option::of(attempt()));
    let addresses = (ip(), option::of(ip()), option::of(ip()));
    (family(), addresses, attempts, option::of(small()), option::of(any::<u16>())).prop_map(
        |(af, (dst, src, seen), (tcp, tls, quic), retransmits, mss_seen)| Connect {
            af,
            dst,
            src,
            seen,
            tcp,
            tls,
            quic,
            retransmits,
            mss_seen,
        },
    )
}

fn line() -> impl Strategy<Value = (Vec<AddressSeen>, Option<Vec<RouteSeen>>, Option<RouterAdvert>)> {
    let address = (ip(), any::<(u8, u32)>(), text(), any::<(Option<u32>, Option<u32>, Option<u8>)>()).prop_map(
        |(address, (length, flags), interface, (preferred, valid, origin))| AddressSeen {
            address,
            length,
            interface,
            flags,
            preferred,
            valid,
            origin,
        },
    );
    let what = (one(LinkKind::ALL), any::<(Option<u8>, Option<u32>, Option<bool>)>(), option::of(one(Neighbour::ALL)));
    let route = (family(), option::of(ip()), text(), what).prop_map(
        |(af, gateway, interface, (link, (origin, expires, lease), neighbour))| RouteSeen {
            af,
            gateway,
            interface,
            link,
            origin,
            expires,
            neighbour,
            lease,
        },
    );
    let pref64 =
        (ip(), any::<(u8, u32)>()).prop_map(|(prefix, (length, lifetime))| Pref64 { prefix, length, lifetime });
    let advert = (any::<(bool, bool, bool, Option<u32>, Option<bool>)>(), list(ip(), 8), list(pref64, 3)).prop_map(
        |((seen, managed, other, mtu, heard), resolvers, pref64)| RouterAdvert {
            seen,
            managed,
            other,
            mtu,
            resolvers,
            pref64,
            heard,
        },
    );
    (vec(address.boxed(), 0..4), option::of(vec(route.boxed(), 0..4)), option::of(advert.boxed()))
}

fn nat64() -> impl Strategy<Value = Nat64Seen> {
    let told = (ip(), any::<u8>(), one(PrefixSource::ALL)).prop_map(|(prefix, length, source)| Nat64Told {
        prefix,
        length,
        source,
    });
    let proof = (any::<u8>(), ip(), option::of(ip()), option::of(attempt()), option::of(attempt()))
        .prop_map(|(target, dst, seen, tls, echo)| Nat64Proof { target, dst, seen, tls, echo });
    (list(told, 3), list(proof, 3), yes()).prop_map(|(prefixes, proofs, unadvertised)| Nat64Seen {
        prefixes,
        proofs,
        unadvertised,
    })
}

fn sizes() -> impl Strategy<Value = SizesSeen> {
    let too_big = (option::of(ip()), option::of(small())).prop_map(|(from, mtu)| TooBig { from, mtu });
    let size = (small(), any::<(u8, u8, u8)>(), option::of(too_big))
        .prop_map(|(size, (sent, lost, controls_lost), too_big)| SizeTry { size, sent, lost, controls_lost, too_big });
    let bulk = (option::of(attempt()), option::of(attempt()));
    (any::<u8>(), family(), list(size.clone(), 16), list(size, 4), bulk)
        .prop_map(|(target, af, up, down, (bulk_up, bulk_down))| SizesSeen { target, af, up, down, bulk_up, bulk_down })
}

fn selection() -> impl Strategy<Value = Selection> {
    let source = (ip(), option::of(ip())).prop_map(|(dst, src)| SourceChoice { dst, src });
    let bound = (ip(), attempt()).prop_map(|(src, tcp)| BoundConnect { src, tcp });
    (list(family(), 8), list(source, 3), list(bound, 3)).prop_map(|(order, sources, bound)| Selection {
        order,
        sources,
        bound,
    })
}

fn happy() -> impl Strategy<Value = HappyEyeballs> {
    let times = proptest::array::uniform6(option::of(number()));
    (times, option::of(family()), any::<Option<i64>>()).prop_map(
        |([dns6, dns4, connect6, connect4, failed6, failed4], winner, margin)| HappyEyeballs {
            dns6,
            dns4,
            connect6,
            connect4,
            failed6,
            failed4,
            winner,
            margin,
        },
    )
}

fn evidence() -> impl Strategy<Value = Evidence> {
    use sonde_protocol::bounded::List;
    let target = (text(), any::<bool>(), option::of(ip()), option::of(ip()))
        .prop_map(|(name, is_reference, v4, v6)| Target { name, is_reference, v4, v6 });
    let pair = (any::<u8>(), number(), list(connect().boxed(), 2)).prop_map(|(target, gap, connects)| Pair {
        target,
        gap,
        connects,
    });
    let echo = (any::<u8>(), family(), transport(), small(), small(), option::of(number()), option::of(trouble()))
        .prop_map(|(target, af, protocol, sent, received, rtt, trouble)| Echo {
            target,
            af,
            protocol,
            sent,
            received,
            rtt,
            trouble,
        });
    let headers = proptest::array::uniform5(yes()).prop_map(|[up, down, destination, hop_by_hop, large_dns]| {
        HeadersSeen { fragment_up: up, fragment_down: down, destination, hop_by_hop, large_dns }
    });
    let icmp =
        (family(), proptest::array::uniform4(yes())).prop_map(|(af, [unreachable, time_exceeded, echo, too_big])| {
            IcmpSeen { af, unreachable, time_exceeded, echo, too_big }
        });
    let hop = (any::<u8>(), option::of(ip())).prop_map(|(hop, from): (u8, Option<Ip>)| NearHop { hop, from });
    let stability = any::<[u32; 4]>().prop_map(|[prefixes_64, prefixes_48, route_gaps, changes]| Stability {
        prefixes_64,
        prefixes_48,
        route_gaps,
        changes,
    });
    let names = (list(target.boxed(), 6), line().boxed(), option::of(list(ip(), 8)), list(question().boxed(), 6));
    let reach = (
        option::of(nat64().boxed()),
        list(pair.boxed(), 5),
        list(echo.boxed(), 5),
        option::of(happy().boxed()),
        option::of(selection().boxed()),
    );
    let path = (
        list(sizes().boxed(), 3),
        option::of(headers.boxed()),
        list(icmp.boxed(), 2),
        option::of(list(hop, 4)),
        option::of(stability),
    );
    (names.boxed(), reach.boxed(), path.boxed(), yes(), list(text(), 3)).prop_map(
        |(
            (targets, (addresses, routes, advert), resolvers, dns),
            (nat64, pairs, echoes, happy_eyeballs, selection),
            (sizes, headers, icmp, near_hops, stability),
            v6_off,
            errors,
        )| Evidence {
            targets,
            addresses: List::cut(addresses),
            routes: routes.map(List::cut),
            advert,
            resolvers,
            dns,
            nat64,
            pairs,
            echoes,
            happy_eyeballs,
            selection,
            sizes,
            headers,
            icmp,
            near_hops,
            stability,
            v6_off,
            errors,
        },
    )
}

/// Any result of `ipv6`.
pub fn outcome() -> BoxedStrategy<Ipv6Outcome> {
    let names = (proptest::array::uniform5(yes()), option::of(one(Dns64Dnssec::ALL))).prop_map(
        |([lying, intercepted4, intercepted6, v6ns, synthesis], dns64)| NamesSeen {
            lying,
            intercepted4,
            intercepted6,
            v6ns,
            synthesis,
            dns64,
        },
    );
    let path = (proptest::array::uniform3(option::of(small())), any::<bool>(), yes(), yes()).prop_map(
        |([mtu, hole_up, hole_down], below_1280, too_big_filtered, fragments_lost)| FamilyPath {
            mtu,
            hole_up,
            hole_down,
            below_1280,
            too_big_filtered,
            fragments_lost,
        },
    );
    let paths = (path.clone(), path).prop_map(|(v6, v4)| PathFacts { v6, v4 });
    let scope = prop_oneof![Just(Ipv6Scope::Light), Just(Ipv6Scope::Full)];
    (
        any::<u16>(),
        scope,
        one(Trigger::ALL),
        list(verdict().boxed(), 2),
        evidence().boxed(),
        names.boxed(),
        paths.boxed(),
    )
        .prop_map(|(definition, scope, trigger, verdicts, evidence, names, path)| Ipv6Outcome {
            definition,
            scope,
            trigger,
            verdicts,
            evidence,
            names,
            path,
        })
        .boxed()
}
