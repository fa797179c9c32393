//! The rows: how a host differs from a healthy one, and what must be said of it.

use alloc::vec::Vec;

use sonde_protocol::bounded::{List, Text};
use sonde_protocol::net::{Family, Transport};
use sonde_protocol::result::ipv6::*;

use super::host::{Host, V4, V6, ip, reference};

/// Name, difference, IPv6, IPv4.
pub type Row = (&'static str, fn(&mut Host), &'static str, &'static str);

/// The hosts of the lab.
pub const LAB: &[Row] = &[
    ("dual stack, public v4", |_| {}, "native", "native (public)"),
    ("v4 only", |h| h.without(V6), "none (link_local_only)", "native (public)"),
    (
        "v6 only, NAT64 and DNS64",
        |h| {
            h.without(V4);
            h.nat64(PrefixSource::Dns, true);
            h.synthesis();
        },
        "native",
        "nat64+dns64",
    ),
    (
        "v6 only, PREF64, no DNS64",
        |h| {
            h.without(V4);
            h.nat64(PrefixSource::Router, true);
        },
        "native",
        "nat64",
    ),
    ("... and a CLAT on the host", |h| h.clat(), "native", "464xlat"),
    (
        "... and a CLAT in the router",
        |h| {
            h.nat64(PrefixSource::Router, true);
            h.seen_as(V4, "192.168.1.2", "20.64.0.99");
            h.sizes(V4, &[1280, 1480], &[]);
        },
        "native",
        "464xlat",
    ),
    (
        "DNS64, NAT64 dead",
        |h| {
            h.without(V4);
            h.nat64(PrefixSource::Dns, false);
            h.synthesis();
        },
        "native",
        "broken: nat64",
    ),
    (
        "CLAT on the host, NAT64 dead",
        |h| {
            h.clat();
            h.dead(V4, TroubleKind::Timeout);
            h.nat64(PrefixSource::Dns, false);
        },
        "native",
        "broken: nat64",
    ),
    ("GUA, upstream drops", |h| h.dead(V6, TroubleKind::Timeout), "broken: filtered", "native (public)"),
    ("GUA, RA lifetime 0", |h| h.no_route(V6), "broken: no-route", "native (public)"),
    (
        "gateway silent",
        |h| {
            h.dead(V6, TroubleKind::Timeout);
            h.each_route(V6, |r| r.neighbour = Some(Neighbour::Failed));
        },
        "broken: no-neighbour",
        "native (public)",
    ),
    (
        "lying resolver",
        |h| {
            h.answers(Asked::Nx, DnsCheck::A, |seen| {
                seen.rcode = 0;
                seen.addresses = List::cut([ip("20.99.0.1")]);
            });
        },
        "native +lying-resolver",
        "native (public) +lying-resolver",
    ),
    (
        "AAAA filtered",
        |h| {
            for asked in [Asked::Ds, Asked::V6, Asked::V6Ns] {
                h.answers(asked, DnsCheck::AAAA, |seen| seen.addresses = List::default());
            }
        },
        "broken: dns-only",
        "native (public)",
    ),
    (
        "DNS intercepted",
        |h| h.answer(Asks::Nobody, reference(V4, 2), Asked::Ds, DnsCheck::A, 0, None),
        "native",
        "native (public) +intercepted",
    ),
    ("MTU 1280, PTB sent", |h| h.too_big(V6, 1280), "native", "native (public)"),
    ("black hole above 1280", |h| h.sizes(V6, &[1280], &[1400, 1500]), "native-partial: mtu", "native (public)"),
    (
        "... and no TLS",
        |h| {
            h.sizes(V6, &[1280], &[1400, 1500]);
            h.hangs(V6);
        },
        "broken: mtu",
        "native (public)",
    ),
    (
        "PTB dropped at home, path 1500",
        |h| {
            h.0.icmp = List::cut(
                h.0.icmp.iter().map(|icmp| IcmpSeen { too_big: Some(icmp.af == V4), ..*icmp }).collect::<Vec<_>>(),
            );
        },
        "native +ptb-filtered",
        "native (public)",
    ),
    ("NAT44", |h| h.seen_as(V4, "192.168.1.2", "20.1.1.2"), "native", "native (nat44)"),
    (
        "100.64 outside",
        |h| {
            h.seen_as(V4, "192.168.1.2", "20.1.1.2");
            h.0.near_hops = Some(List::cut([NearHop { hop: 2, from: Some(ip("100.64.0.1")) }]));
        },
        "native",
        "native (cgnat)",
    ),
    (
        "ULA only",
        |h| {
            h.without(V6);
            h.address("fd00:1::2");
        },
        "none (ula_only)",
        "native (public)",
    ),
    (
        "... with NPTv6",
        |h| {
            h.0.addresses = List::cut(
                h.0.addresses.iter().filter(|a| a.class() != AddressClass::Global).cloned().collect::<Vec<_>>(),
            );
            h.address("fd00:1::2");
            h.seen_as(V6, "fd00:1::2", "2a0e:5a00:1::2");
        },
        "native +nptv6",
        "native (public)",
    ),
    ("RA without DNS", |h| h.resolvers(&["20.53.0.1"]), "native", "native (public)"),
    ("... v6 only", |h| h.without_names_and_v4(), "broken: dns-only", "none (no_address)"),
    (
        "renumbered, old prefix left",
        |h| {
            h.address("2a0e:5a00:9::2");
            let refused = BoundConnect { src: ip("2a0e:5a00:9::2"), tcp: Attempt::Failed(Host::icmp(1, 5)) };
            if let Some(selection) = &mut h.0.selection {
                selection.bound.push(refused).unwrap();
            }
        },
        "native-partial: stale-prefix",
        "native (public)",
    ),
    ("6to4", |h| h.seen_as(V6, "2002:1401:102::2", "2002:1401:102::2"), "tunnel (6to4)", "native (public)"),
    ("6rd", |h| h.seen_as(V6, "2a01:7700:1401:102::2", "2a01:7700:1401:102::2"), "tunnel (6rd)", "native (public)"),
    (
        "both cut",
        |h| {
            h.dead(V6, TroubleKind::Timeout);
            h.dead(V4, TroubleKind::Timeout);
        },
        "offline",
        "offline",
    ),
];

/// The lines of the table that no host of the lab stands for, and its edges.
pub const LINES: &[Row] = &[
    (
        "IPv6 switched off",
        |h| {
            h.without(V6);
            h.0.v6_off = Some(true);
        },
        "none (disabled)",
        "native (public)",
    ),
    (
        "ENETUNREACH though there is a route",
        |h| h.dead(V6, TroubleKind::NoRoute),
        "broken: no-route",
        "native (public)",
    ),
    ("a router forbids", |h| h.dead(V6, Host::icmp(1, 1)), "broken: filtered (admin)", "native (public)"),
    ("a router knows no way", |h| h.dead(V6, Host::icmp(1, 0)), "broken: filtered (upstream)", "native (public)"),
    ("a router refuses the source", |h| h.dead(V6, Host::icmp(1, 5)), "broken: filtered (source)", "native (public)"),
    ("echoes pass, no connection", |h| h.hangs(V6), "broken: filtered", "native (public)"),
    (
        "1280 is too long",
        |h| {
            h.sizes(V6, &[1200], &[1280, 1500]);
            h.hangs(V6);
        },
        "broken: mtu +below-1280",
        "native (public)",
    ),
    (
        "1280 is too long, and 1200",
        |h| {
            h.sizes(V6, &[], &[1200, 1280]);
            h.hangs(V6);
        },
        "broken: mtu +below-1280",
        "native (public)",
    ),
    (
        "where long packets vanish, what else is long says nothing",
        |h| {
            h.sizes(V6, &[1280], &[1400, 1500]);
            h.0.icmp = List::cut(
                h.0.icmp.iter().map(|icmp| IcmpSeen { too_big: Some(icmp.af == V4), ..*icmp }).collect::<Vec<_>>(),
            );
            let lost = Some(false);
            h.0.headers = Some(HeadersSeen { fragment_up: lost, fragment_down: lost, ..HeadersSeen::default() });
        },
        "native-partial: mtu",
        "native (public)",
    ),
    ("Teredo", |h| h.seen_as(V6, "2001:0:1401:102::2", "2001:0:1401:102::2"), "tunnel (teredo)", "native (public)"),
    ("a tunnel device", |h| h.each_route(V6, |r| r.link = LinkKind::Sit), "tunnel (device)", "native (public)"),
    (
        "a virtual private network",
        |h| h.each_route(V6, |r| r.link = LinkKind::Wireguard),
        "tunnel (device) +vpn",
        "native (public)",
    ),
    ("two of four references", |h| h.fails_towards(V6, 2), "native-partial: some-destinations", "native (public)"),
    ("three of four are enough", |h| h.fails_towards(V6, 1), "native", "native (public)"),
    ("third parties fail", |h| h.others([true, false, false]), "native-partial: some-destinations", "native (public)"),
    ("one third party fails", |h| h.others([true, true, false]), "native", "native (public)"),
    (
        "UDP to port 443 blocked",
        |h| h.each_connect(V6, |_, c| c.quic = Some(Attempt::Failed(TroubleKind::Timeout.into()))),
        "native-partial: udp443",
        "native (public)",
    ),
    ("no QUIC anywhere is no fault", |h| h.each_connect(V6, |_, c| c.quic = None), "native", "native (public)"),
    ("half is lost", |h| h.each_echo(V6, |echo| echo.received = 1), "native-partial: loss", "native (public)"),
    (
        "one of 24 is lost",
        |h| {
            h.each_echo(V6, |echo| {
                if echo.target == 0 && echo.protocol == Transport::Udp {
                    echo.received = 2
                }
            })
        },
        "native",
        "native (public)",
    ),
    (
        "echoes are filtered, which is no loss",
        |h| {
            h.each_echo(V6, |echo| {
                if echo.protocol == Transport::Icmp {
                    echo.received = 0
                }
            })
        },
        "native",
        "native (public)",
    ),
    (
        "resolver silent over IPv6",
        |h| {
            h.each_dns(|check| {
                if Family::of(check.server.0) == V6 {
                    check.saw = DnsSaw::Timeout
                }
            })
        },
        "native-partial: dns-v6-transport",
        "native (public)",
    ),
    (
        "one of two resolvers filters AAAA",
        |h| {
            h.each_dns(|check| {
                if (Family::of(check.server.0), check.asked, check.qtype) == (V6, Asked::Ds, DnsCheck::AAAA) {
                    check.saw = DnsSaw::Timeout
                }
            })
        },
        "native-partial: aaaa-filter",
        "native (public)",
    ),
    (
        "a AAAA of four bytes",
        |h| {
            h.answers(Asked::Ds, DnsCheck::AAAA, |seen| {
                seen.addresses = List::default();
                seen.malformed = true;
            })
        },
        "broken: dns-only",
        "native (public)",
    ),
    (
        "flapping",
        |h| h.0.stability = Some(Stability { changes: 3, ..Stability::default() }),
        "native-partial: flapping",
        "native (public)",
    ),
    (
        "several parts",
        |h| {
            h.sizes(V6, &[1280, 1400], &[1500]);
            h.each_connect(V6, |_, c| c.quic = Some(Attempt::Failed(TroubleKind::Timeout.into())));
        },
        "native-partial: mtu, udp443",
        "native (public)",
    ),
    (
        "connections hang, though UDP passes",
        |h| {
            let hang = Some(Attempt::Failed(TroubleKind::Timeout.into()));
            h.0.sizes = List::cut(
                h.0.sizes
                    .iter()
                    .cloned()
                    .map(|s| if s.af == V6 { SizesSeen { bulk_down: hang, ..s } } else { s })
                    .collect::<Vec<_>>(),
            );
        },
        "native-partial: mtu",
        "native (public)",
    ),
    (
        "pieces do not arrive",
        |h| h.0.headers = Some(HeadersSeen { fragment_down: Some(false), ..HeadersSeen::default() }),
        "native +fragments-lost",
        "native (public)",
    ),
    (
        "4in6 (DS-Lite)",
        |h| {
            h.seen_as(V4, "192.0.0.2", "20.7.0.1");
            h.sizes(V4, &[1280, 1460], &[]);
        },
        "native",
        "4in6",
    ),
    (
        "4in6 without an own end",
        |h| {
            h.each_route(V4, |r| {
                r.lease = Some(false);
                r.neighbour = None;
            });
            h.seen_as(V4, "192.168.1.2", "20.7.0.1");
            h.sizes(V4, &[1280, 1460], &[]);
        },
        "native",
        "4in6",
    ),
    (
        "no prefix, no 464XLAT",
        |h| {
            h.seen_as(V4, "192.168.1.2", "20.64.0.99");
            h.sizes(V4, &[1280, 1480], &[]);
        },
        "native",
        "native (nat44)",
    ),
    (
        "IPv6-mostly: NAT64 beside IPv4",
        |h| {
            h.nat64(PrefixSource::Router, true);
            h.seen_as(V4, "192.168.1.2", "20.1.1.2");
        },
        "native",
        "native (nat44)",
    ),
    (
        "path not looked at",
        |h| {
            h.seen_as(V4, "10.0.0.2", "20.1.1.2");
            h.0.near_hops = None;
        },
        "native",
        "native (nat44) +cgnat-unknown",
    ),
    ("IPv4 filtered", |h| h.dead(V4, TroubleKind::Timeout), "native", "broken: filtered"),
    ("IPv4 forbidden", |h| h.dead(V4, Host::icmp(3, 13)), "native", "broken: filtered (admin)"),
    ("no route for IPv4", |h| h.no_route(V4), "native", "broken: no-route"),
    (
        "IPv4 router silent",
        |h| {
            h.dead(V4, TroubleKind::Timeout);
            h.each_route(V4, |r| r.neighbour = Some(Neighbour::Incomplete));
        },
        "native",
        "broken: no-neighbour",
    ),
    (
        "DHCP gave up",
        |h| {
            h.without(V4);
            h.0.addresses
                .push(AddressSeen {
                    address: ip("169.254.3.4"),
                    length: 16,
                    interface: Text::cut("eth0"),
                    flags: 0x80,
                    preferred: None,
                    valid: None,
                    origin: None,
                })
                .unwrap();
        },
        "native",
        "none (link_local_only)",
    ),
    (
        "no resolver answers",
        |h| h.each_dns(|check| check.saw = DnsSaw::Timeout),
        "broken: dns-only",
        "broken: dns-only",
    ),
    (
        "a reference that is down counts for nothing",
        |h| {
            for af in Family::BOTH {
                h.fails_towards(af, 1);
            }
        },
        "native",
        "native (public)",
    ),
    (
        "two references left",
        |h| {
            for af in Family::BOTH {
                h.fails_towards(af, 2);
            }
        },
        "native +few-references",
        "native (public) +few-references",
    ),
    ("no reference at all", |h| h.0.pairs = List::default(), "inconclusive", "inconclusive"),
    (
        "only echoes answer, in both",
        |h| {
            h.hangs(V6);
            h.hangs(V4);
        },
        "inconclusive +few-references",
        "inconclusive +few-references",
    ),
    (
        "tentative is not an address",
        |h| {
            h.no_route(V6);
            h.0.addresses = List::cut(
                h.0.addresses
                    .iter()
                    .cloned()
                    .map(|a| {
                        if a.class() == AddressClass::Global {
                            AddressSeen { flags: AddressSeen::TENTATIVE, ..a }
                        } else {
                            a
                        }
                    })
                    .collect::<Vec<_>>(),
            );
        },
        "none (link_local_only)",
        "native (public)",
    ),
    (
        "privileges missing: not tested is not failed",
        |h| {
            h.0.headers = None;
            h.0.icmp = List::default();
            h.0.sizes = List::default();
            h.0.selection = None;
            h.0.near_hops = None;
            h.0.stability = None;
            h.0.echoes = List::default();
        },
        "native",
        "native (public)",
    ),
    (
        "tables could not be read",
        |h| {
            h.0.addresses = List::default();
            h.0.routes = None;
            h.0.resolvers = None;
            h.0.dns = List::default();
        },
        "native",
        "native (public)",
    ),
];
