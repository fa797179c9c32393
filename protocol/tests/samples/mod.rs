//! Results of `ipv6` with everything in them that may be there, for the golden files and for the check of the CDDL.

use std::net::IpAddr;

use sonde_protocol::bounded::{List, Text};
use sonde_protocol::net::{Family, Ip, Transport};
use sonde_protocol::result::ipv6::*;
use sonde_protocol::spec::Ipv6Scope;

fn ip(text: &str) -> Ip {
    Ip(text.parse::<IpAddr>().expect("it is an address"))
}

/// A full run on a host with both families, behind a hole; its own addresses, resolver and routers are those given.
pub fn full(own6: &str, own4: &str, seen4: &str, resolver: &str, router: &str) -> Ipv6Outcome {
    let hole = |reason, detail| Because { reason, detail };
    let why = [
        Reason::Mtu.into(),
        hole(Reason::HoleUp, Some(1492)),
        hole(Reason::Loss, Some(12)),
        Reason::PtbFiltered.into(),
    ];
    let reasons = List::cut([Reason::Mtu, Reason::HoleUp]);
    let v6 = Verdict {
        af: Family::V6,
        raw: FamilyState::NativePartial,
        why: List::cut(why),
        settled: Some(Settled { state: FamilyState::NativePartial, reasons }),
        streak: 3,
    };
    let v4 = Verdict {
        af: Family::V4,
        raw: FamilyState::Native,
        why: List::cut([Reason::Nat44.into()]),
        settled: None,
        streak: 1,
    };
    Ipv6Outcome {
        definition: DEFINITION,
        scope: Ipv6Scope::Full,
        trigger: Trigger::Confirm,
        verdicts: List::cut([v6, v4]),
        evidence: evidence(own6, own4, seen4, resolver, router),
        names: NamesSeen {
            lying: Some(false),
            intercepted4: Some(true),
            intercepted6: Some(false),
            v6ns: Some(true),
            synthesis: Some(true),
            dns64: Some(Dns64Dnssec::Right),
        },
        path: PathFacts {
            v6: FamilyPath {
                mtu: Some(1492),
                hole_up: Some(1492),
                hole_down: Some(1400),
                below_1280: true,
                too_big_filtered: Some(true),
                fragments_lost: Some(false),
            },
            v4: FamilyPath::default(),
        },
    }
}

/// A light run of a host that has nothing: all that may be absent is.
pub fn bare() -> Ipv6Outcome {
    let verdict = |af| Verdict { af, raw: FamilyState::Offline, why: List::default(), settled: None, streak: 1 };
    Ipv6Outcome {
        definition: DEFINITION,
        scope: Ipv6Scope::Light,
        trigger: Trigger::Timer,
        verdicts: List::cut(Family::BOTH.map(verdict)),
        evidence: Evidence::default(),
        names: NamesSeen::default(),
        path: PathFacts::default(),
    }
}

fn evidence(own6: &str, own4: &str, seen4: &str, resolver: &str, router: &str) -> Evidence {
    let target = |name: &str, is_reference, n: u8| Target {
        name: Text::cut(name),
        is_reference,
        v4: Some(ip(&format!("192.0.2.{n}"))),
        v6: Some(ip(&format!("2001:db8:1::{n}"))),
    };
    let bare = Target { v4: None, v6: None, ..target("t1", false, 9) };
    let refused = Trouble { kind: TroubleKind::Icmp, icmp_type: Some(1), icmp_code: Some(5), from: Some(ip(router)) };
    let failed = Some(Attempt::Failed(TroubleKind::Timeout.into()));
    let done = |ms: u64| Some(Attempt::Done(ms * 1_000_000));
    let connect6 = Connect {
        af: Family::V6,
        dst: ip("2001:db8:1::1"),
        src: Some(ip(own6)),
        seen: Some(ip(own6)),
        tcp: done(20),
        tls: done(41),
        quic: done(40),
        retransmits: Some(0),
        mss_seen: Some(1432),
    };
    let connect4 = Connect {
        af: Family::V4,
        dst: ip("192.0.2.1"),
        src: Some(ip(own4)),
        seen: Some(ip(seen4)),
        tcp: failed,
        tls: None,
        quic: Some(Attempt::Failed(refused)),
        retransmits: None,
        mss_seen: None,
    };
    Evidence {
        targets: List::cut([target("r1", true, 1), bare]),
        addresses: List::cut([
            address(own6, 64),
            AddressSeen { preferred: None, valid: None, origin: None, ..address(own4, 24) },
        ]),
        routes: Some(List::cut([
            RouteSeen {
                af: Family::V6,
                gateway: Some(ip("fe80::1")),
                interface: Text::cut("eth0"),
                link: LinkKind::Ether,
                origin: Some(9),
                expires: Some(1700),
                neighbour: Some(Neighbour::Permanent),
                lease: Some(false),
            },
            RouteSeen {
                af: Family::V4,
                gateway: None,
                interface: Text::cut("ppp0"),
                link: LinkKind::Ppp,
                origin: None,
                expires: None,
                neighbour: None,
                lease: None,
            },
        ])),
        advert: Some(RouterAdvert {
            seen: true,
            managed: false,
            other: true,
            mtu: Some(1500),
            resolvers: List::cut([ip(resolver)]),
            pref64: List::cut([Pref64 { prefix: ip("64:ff9b::"), length: 96, lifetime: 1800 }]),
            heard: Some(true),
        }),
        resolvers: Some(List::cut([ip(resolver)])),
        dns: List::cut(questions(resolver)),
        nat64: Some(Nat64Seen {
            prefixes: List::cut([Nat64Told { prefix: ip("64:ff9b::"), length: 96, source: PrefixSource::Router }]),
            proofs: List::cut([
                Nat64Proof {
                    target: 0,
                    dst: ip("64:ff9b::c000:201"),
                    seen: Some(ip(seen4)),
                    tls: done(30),
                    echo: done(21),
                },
                Nat64Proof { target: 0, dst: ip("64:ff9b::c000:201"), seen: None, tls: failed, echo: None },
            ]),
            unadvertised: Some(false),
        }),
        pairs: List::cut([Pair { target: 0, gap: 400_000, connects: List::cut([connect6, connect4]) }]),
        echoes: List::cut([
            Echo {
                target: 0,
                af: Family::V6,
                protocol: Transport::Icmp,
                sent: 3,
                received: 3,
                rtt: Some(20_000_000),
                trouble: None,
            },
            Echo {
                target: 0,
                af: Family::V4,
                protocol: Transport::Udp,
                sent: 3,
                received: 0,
                rtt: None,
                trouble: Some(refused),
            },
        ]),
        happy_eyeballs: Some(HappyEyeballs {
            dns6: Some(4_100_000),
            dns4: Some(4_000_000),
            connect6: Some(20_000_000),
            connect4: Some(20_000_001),
            failed6: Some(1),
            failed4: Some(5_000_000_000),
            winner: Some(Family::V6),
            margin: Some(-2_000_000),
        }),
        selection: Some(Selection {
            order: List::cut(Family::BOTH),
            sources: List::cut([
                SourceChoice { dst: ip("2001:db8:1::1"), src: Some(ip(own6)) },
                SourceChoice { dst: ip("fd12::1"), src: None },
            ]),
            bound: List::cut([
                BoundConnect { src: ip(own6), tcp: Attempt::Done(1_000_000) },
                BoundConnect { src: ip(own6), tcp: Attempt::Failed(refused) },
            ]),
        }),
        sizes: List::cut([sizes()]),
        headers: Some(HeadersSeen {
            fragment_up: Some(true),
            fragment_down: Some(true),
            destination: Some(true),
            hop_by_hop: Some(false),
            large_dns: Some(true),
        }),
        icmp: List::cut([
            IcmpSeen {
                af: Family::V6,
                unreachable: Some(true),
                time_exceeded: Some(true),
                echo: Some(true),
                too_big: Some(false),
            },
            IcmpSeen { af: Family::V4, unreachable: None, time_exceeded: None, echo: None, too_big: None },
        ]),
        near_hops: Some(List::cut([NearHop { hop: 1, from: Some(ip(router)) }, NearHop { hop: 2, from: None }])),
        stability: Some(Stability { prefixes_64: 1, prefixes_48: 1, route_gaps: 0, changes: 0 }),
        v6_off: Some(false),
        errors: List::cut([Text::cut("no privilege for options headers")]),
    }
}

fn address(own: &str, length: u8) -> AddressSeen {
    AddressSeen {
        address: ip(own),
        length,
        interface: Text::cut("eth0"),
        flags: 0x01 | AddressSeen::DEPRECATED,
        preferred: Some(1800),
        valid: Some(3600),
        origin: Some(2),
    }
}

fn questions(resolver: &str) -> [DnsCheck; 3] {
    let seen = DnsSeen {
        rt: 4_100_000,
        size: 80,
        rcode: 0,
        flags: 0x8180,
        // The reference's own, and one that the resolver made up.
        addresses: List::cut([ip("2001:db8:1::1"), ip(resolver)]),
        malformed: false,
        signed: true,
    };
    let check = DnsCheck {
        asks: Asks::OwnResolver,
        server: ip(resolver),
        asked: Asked::Ds,
        qtype: DnsCheck::AAAA,
        protocol: Transport::Udp,
        target: Some(0),
        udp_payload_size: Some(1232),
        dnssec_ok: false,
        checking_disabled: false,
        saw: DnsSaw::Answer(seen),
    };
    let silent =
        DnsCheck { asked: Asked::Nx, dnssec_ok: true, checking_disabled: true, saw: DnsSaw::Timeout, ..check.clone() };
    let refused = DnsCheck {
        asks: Asks::RootServer,
        server: ip("198.41.0.4"),
        asked: Asked::Root,
        qtype: 6,
        protocol: Transport::Tcp,
        target: None,
        udp_payload_size: None,
        saw: DnsSaw::Failed(TroubleKind::Refused.into()),
        ..check.clone()
    };
    [check, silent, refused]
}

fn sizes() -> SizesSeen {
    let passed = SizeTry { size: 1492, sent: 1, lost: 0, controls_lost: 0, too_big: None };
    let too_big = Some(TooBig { from: Some(ip("2001:db8::9")), mtu: Some(1492) });
    let lost = SizeTry { size: 1500, sent: 4, lost: 4, controls_lost: 1, too_big };
    let unnamed = SizeTry { too_big: Some(TooBig { from: None, mtu: None }), ..lost.clone() };
    SizesSeen {
        target: 0,
        af: Family::V6,
        up: List::cut([lost, passed.clone()]),
        down: List::cut([passed, unnamed]),
        bulk_up: Some(Attempt::Failed(TroubleKind::Timeout.into())),
        bulk_down: Some(Attempt::Done(90_000_000)),
    }
}
