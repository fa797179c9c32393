//! A host under test: a healthy one with both families, and the ways in which hosts are otherwise.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use sonde_protocol::bounded::{List, Text};
use sonde_protocol::net::{Family, Ip, Transport};
use sonde_protocol::result::ipv6::*;

pub const REFERENCES: u8 = 4;
pub const MS: u64 = 1_000_000;
pub const V4: Family = Family::V4;
pub const V6: Family = Family::V6;

pub fn ip(text: &str) -> Ip {
    Ip(text.parse::<IpAddr>().unwrap())
}

pub fn reference(af: Family, n: u8) -> Ip {
    ip(&if af == V6 { format!("2a0e:6000:{n}::443") } else { format!("20.60.{n}.44") })
}

fn translated(told: &Nat64Told, v4: Ip) -> Ip {
    let IpAddr::V4(v4) = v4.0 else { panic!("{v4} is not an IPv4 address") };
    Ip(told.prefix().unwrap().embed(v4).into())
}

/// A host under test.
pub struct Host(pub Evidence);

/// The prefix of the translator in these rows.
const PREFIX: &str = "64:ff9b::";
const POOL: &str = "20.64.0.7";

impl Host {
    /// Both families, public addresses, everything works, after a full run.
    pub fn healthy() -> Self {
        let own = |text: &str, length| AddressSeen {
            address: ip(text),
            length,
            interface: Text::cut("eth0"),
            flags: 0x80,
            preferred: None,
            valid: None,
            origin: None,
        };
        let route = |af, gateway: &str| RouteSeen {
            af,
            gateway: Some(ip(gateway)),
            interface: Text::cut("eth0"),
            link: LinkKind::Ether,
            origin: Some(9),
            expires: Some(1700),
            neighbour: Some(Neighbour::Reachable),
            lease: (af == V4).then_some(true),
        };
        let mut host = Self(Evidence {
            targets: List::cut((1..=REFERENCES).map(|n| Target {
                name: Text::cut(format!("r{n}")),
                is_reference: true,
                v4: Some(reference(V4, n)),
                v6: Some(reference(V6, n)),
            })),
            addresses: List::cut([
                own("::1", 128),
                own("127.0.0.1", 8),
                own("fe80::2", 64),
                own("2a0e:5a00:1::2", 64),
                own("20.1.1.2", 24),
            ]),
            routes: Some(List::cut([route(V6, "fe80::1"), route(V4, "20.1.1.1")])),
            icmp: List::cut([V6, V4].map(|af| IcmpSeen {
                af,
                unreachable: Some(true),
                time_exceeded: Some(true),
                echo: Some(true),
                too_big: Some(true),
            })),
            headers: Some(HeadersSeen { fragment_up: Some(true), fragment_down: Some(true), ..HeadersSeen::default() }),
            stability: Some(Stability { prefixes_64: 1, prefixes_48: 1, ..Stability::default() }),
            near_hops: Some(List::cut([NearHop { hop: 2, from: Some(ip("20.9.0.1")) }])),
            selection: Some(Selection {
                bound: List::cut([BoundConnect { src: ip("2a0e:5a00:1::2"), tcp: Attempt::Done(MS) }]),
                ..Selection::default()
            }),
            ..Evidence::default()
        });
        host.resolvers(&["20.53.0.1", "2a0e:5a00:53::1"]);
        for af in Family::BOTH {
            host.works(af);
            host.sizes(af, &[1280, 1400, 1420, 1452, 1460, 1472, 1480, 1492, 1500], &[]);
        }
        host
    }

    pub fn own(af: Family) -> Ip {
        ip(if af == V6 { "2a0e:5a00:1::2" } else { "20.1.1.2" })
    }

    /// Everything answers over a family.
    pub fn works(&mut self, af: Family) {
        for target in 0..REFERENCES {
            let connect = Connect {
                af,
                dst: reference(af, target + 1),
                src: Some(Self::own(af)),
                seen: Some(Self::own(af)),
                tcp: Some(Attempt::Done(20 * MS)),
                tls: Some(Attempt::Done(41 * MS)),
                quic: Some(Attempt::Done(40 * MS)),
                retransmits: Some(0),
                mss_seen: Some(1440),
            };
            self.connect(target, connect);
            for protocol in [Transport::Icmp, Transport::Udp] {
                let echo = Echo { target, af, protocol, sent: 3, received: 3, rtt: Some(20 * MS), trouble: None };
                self.0.echoes.push(echo).unwrap();
            }
        }
    }

    pub fn connect(&mut self, target: u8, connect: Connect) {
        let mut pairs = core::mem::take(&mut self.0.pairs).into_vec();
        match pairs.iter_mut().find(|pair| pair.target == target) {
            Some(pair) => pair.connects.push(connect).unwrap(),
            None => pairs.push(Pair { target, gap: MS, connects: List::cut([connect]) }),
        }
        self.0.pairs = List::new(pairs).unwrap();
    }

    pub fn each_connect(&mut self, af: Family, change: impl Fn(u8, &mut Connect)) {
        let pairs = core::mem::take(&mut self.0.pairs).into_iter().map(|pair| {
            let connects = pair.connects.iter().cloned().map(|mut connect| {
                if connect.af == af {
                    change(pair.target, &mut connect);
                }
                connect
            });
            Pair { connects: List::cut(connects.collect::<Vec<_>>()), ..pair }
        });
        self.0.pairs = List::cut(pairs);
    }

    pub fn each_echo(&mut self, af: Family, change: impl Fn(&mut Echo)) {
        let echoes = core::mem::take(&mut self.0.echoes).into_iter().map(|mut echo| {
            if echo.af == af {
                change(&mut echo);
            }
            echo
        });
        self.0.echoes = List::cut(echoes);
    }

    /// Nothing comes back over a family, for this reason.
    pub fn dead(&mut self, af: Family, trouble: impl Into<Trouble>) {
        let failed = Some(Attempt::Failed(trouble.into()));
        self.each_connect(af, |_, connect| {
            *connect = Connect { seen: None, tcp: failed, tls: None, quic: failed, mss_seen: None, ..connect.clone() };
        });
        self.each_echo(af, |echo| echo.received = 0);
        self.0.sizes = List::cut(self.0.sizes.iter().filter(|sizes| sizes.af != af).cloned().collect::<Vec<_>>());
    }

    /// Connections open and no TLS comes through.
    pub fn hangs(&mut self, af: Family) {
        let failed = Some(Attempt::Failed(TroubleKind::Timeout.into()));
        self.each_connect(af, |_, connect| {
            *connect = Connect { seen: None, tls: failed, quic: failed, ..connect.clone() }
        });
    }

    /// The machine does not have a family: no address, no route.
    pub fn without(&mut self, af: Family) {
        let keep = |address: &AddressSeen| {
            let class = address.class();
            Family::of(address.address.0) != af || matches!(class, AddressClass::Loopback | AddressClass::LinkLocal)
        };
        self.0.addresses =
            List::cut(self.0.addresses.iter().filter(|address| keep(address)).cloned().collect::<Vec<_>>());
        self.no_route(af);
        let resolvers: Vec<IpAddr> = self.0.resolvers.iter().flatten().map(|ip| ip.0).collect();
        let left: Vec<String> =
            resolvers.into_iter().filter(|one| Family::of(*one) != af).map(|one| one.to_string()).collect();
        self.resolvers(&left.iter().map(String::as_str).collect::<Vec<_>>());
    }

    pub fn no_route(&mut self, af: Family) {
        self.0.routes = self.0.routes.take().map(|routes| List::cut(routes.into_iter().filter(|route| route.af != af)));
        self.dead(af, TroubleKind::NoRoute);
    }

    pub fn address(&mut self, text: &str) {
        let own = AddressSeen {
            address: ip(text),
            length: 64,
            interface: Text::cut("eth0"),
            flags: 0,
            preferred: Some(1800),
            valid: Some(1800),
            origin: Some(2),
        };
        self.0.addresses.push(own).unwrap();
    }

    pub fn each_route(&mut self, af: Family, change: impl Fn(&mut RouteSeen)) {
        self.0.routes = self.0.routes.take().map(|routes| {
            List::cut(routes.into_iter().map(|mut route| {
                if route.af == af {
                    change(&mut route);
                }
                route
            }))
        });
    }

    /// The machine's resolvers, which tell the truth.
    pub fn resolvers(&mut self, resolvers: &[&str]) {
        self.0.resolvers = Some(List::cut(resolvers.iter().map(|text| ip(text))));
        self.0.dns = List::default();
        for resolver in resolvers {
            for (asked, v4, v6) in [
                (Asked::Ds, true, true),
                (Asked::V4, true, false),
                (Asked::V6, false, true),
                (Asked::V6Ns, false, true),
                (Asked::Nx, false, false),
            ] {
                for (qtype, there) in [(DnsCheck::A, v4), (DnsCheck::AAAA, v6)] {
                    let address = reference(if qtype == DnsCheck::A { V4 } else { V6 }, 1);
                    let rcode = if asked == Asked::Nx { 3 } else { 0 };
                    self.answer(Asks::OwnResolver, ip(resolver), asked, qtype, rcode, there.then_some(address));
                }
            }
        }
    }

    pub fn answer(&mut self, asks: Asks, server: Ip, asked: Asked, qtype: u16, rcode: u8, address: Option<Ip>) {
        let seen =
            DnsSeen { rt: 4 * MS, size: 80, rcode, flags: 0x8180, addresses: List::cut(address), ..DnsSeen::default() };
        let check = DnsCheck {
            asks,
            server,
            asked,
            qtype,
            protocol: Transport::Udp,
            target: Some(0),
            udp_payload_size: Some(1232),
            dnssec_ok: false,
            checking_disabled: false,
            saw: DnsSaw::Answer(seen),
        };
        self.0.dns.push(check).unwrap();
    }

    pub fn each_dns(&mut self, change: impl Fn(&mut DnsCheck)) {
        self.0.dns = List::cut(core::mem::take(&mut self.0.dns).into_iter().map(|mut check| {
            change(&mut check);
            check
        }));
    }

    /// Answers to these questions are changed.
    pub fn answers(&mut self, asked: Asked, qtype: u16, change: impl Fn(&mut DnsSeen)) {
        self.each_dns(|check| {
            if (check.asked, check.qtype) == (asked, qtype)
                && let DnsSaw::Answer(seen) = &mut check.saw
            {
                change(seen);
            }
        });
    }

    /// What passes, and what vanishes, both ways.
    pub fn sizes(&mut self, af: Family, pass: &[u32], vanish: &[u32]) {
        let one = |size, lost| SizeTry { size, sent: 4, lost, controls_lost: 0, too_big: None };
        let tries = || pass.iter().map(|size| one(*size, 0)).chain(vanish.iter().map(|size| one(*size, 4)));
        let others = self.0.sizes.iter().filter(|sizes| sizes.af != af).cloned();
        let seen = SizesSeen {
            target: 0,
            af,
            up: List::cut(tries()),
            down: List::cut(tries()),
            bulk_up: Some(Attempt::Done(MS)),
            bulk_down: Some(Attempt::Done(MS)),
        };
        self.0.sizes = List::cut(others.chain([seen]).collect::<Vec<_>>());
    }

    /// Somebody says that this is what fits.
    pub fn too_big(&mut self, af: Family, mtu: u32) {
        self.sizes(af, &[1280, mtu], &[1500]);
        self.0.sizes = List::cut(
            self.0
                .sizes
                .iter()
                .cloned()
                .map(|sizes| {
                    let told = |tries: &[SizeTry]| {
                        List::cut(tries.iter().map(|one| SizeTry {
                            too_big: (!one.passed()).then_some(TooBig { from: Some(ip("2a0e:1::1")), mtu: Some(mtu) }),
                            ..*one
                        }))
                    };
                    if sizes.af == af {
                        SizesSeen { up: told(&sizes.up), down: told(&sizes.down), ..sizes }
                    } else {
                        sizes
                    }
                })
                .collect::<Vec<_>>(),
        );
    }

    /// The network tells of a translator, and it works or not.
    pub fn nat64(&mut self, source: PrefixSource, works: bool) {
        let told = Nat64Told { prefix: ip(PREFIX), length: 96, source };
        let proof = |target: u8| Nat64Proof {
            target,
            dst: translated(&told, reference(V4, target + 1)),
            seen: works.then(|| ip(POOL)),
            tls: Some(if works { Attempt::Done(MS) } else { Attempt::Failed(TroubleKind::Timeout.into()) }),
            echo: None,
        };
        self.0.nat64 = Some(Nat64Seen {
            prefixes: List::cut([told]),
            proofs: List::cut([proof(0), proof(1)]),
            unadvertised: None,
        });
    }

    /// The resolvers make IPv6 addresses of IPv4 ones.
    pub fn synthesis(&mut self) {
        let translated = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0x143c, 0x12c);
        self.answers(Asked::V4, DnsCheck::AAAA, |seen| seen.addresses = List::cut([Ip(translated.into())]));
    }

    pub fn icmp(kind: u8, code: u8) -> Trouble {
        Trouble { kind: TroubleKind::Icmp, icmp_type: Some(kind), icmp_code: Some(code), from: Some(ip("2a0e:1::1")) }
    }

    /// IPv4 by a translator on the machine itself.
    pub fn clat(&mut self) {
        self.without(V4);
        self.nat64(PrefixSource::Router, true);
        self.0
            .addresses
            .push(AddressSeen {
                address: ip("192.0.0.1"),
                length: 29,
                interface: Text::cut("clat"),
                flags: 0x80,
                preferred: None,
                valid: None,
                origin: None,
            })
            .unwrap();
        let mut routes = self.0.routes.take().unwrap_or_default();
        routes
            .push(RouteSeen {
                af: V4,
                gateway: None,
                interface: Text::cut("clat"),
                link: LinkKind::Clat,
                origin: None,
                expires: None,
                neighbour: None,
                lease: None,
            })
            .unwrap();
        self.0.routes = Some(routes);
        self.0.pairs = List::cut(
            self.0
                .pairs
                .iter()
                .map(|pair| Pair {
                    connects: List::cut(pair.connects.iter().filter(|one| one.af == V6).cloned().collect::<Vec<_>>()),
                    ..*pair
                })
                .collect::<Vec<_>>(),
        );
        self.works(V4);
        self.seen_as(V4, "192.0.0.1", POOL);
    }

    pub fn seen_as(&mut self, af: Family, src: &str, seen: &str) {
        self.each_connect(af, |_, connect| {
            connect.src = Some(ip(src));
            connect.seen = Some(ip(seen));
        });
    }

    pub fn without_names_and_v4(&mut self) {
        self.without(V4);
        self.resolvers(&[]);
    }

    pub fn fails_towards(&mut self, af: Family, references: u8) {
        let failed = Some(Attempt::Failed(TroubleKind::Timeout.into()));
        self.each_connect(af, |target, connect| {
            if target < references {
                *connect = Connect { tcp: failed, tls: None, quic: None, seen: None, ..connect.clone() };
            }
        });
    }

    /// Three third parties, all reached over IPv4, and over IPv6 as it says.
    pub fn others(&mut self, over_v6: [bool; 3]) {
        for (n, reached) in (REFERENCES..).zip(over_v6) {
            self.0
                .targets
                .push(Target {
                    name: Text::cut(format!("t{n}")),
                    is_reference: false,
                    v4: Some(reference(V4, n + 1)),
                    v6: Some(reference(V6, n + 1)),
                })
                .unwrap();
            for af in Family::BOTH {
                let tcp =
                    if reached || af == V4 { Attempt::Done(MS) } else { Attempt::Failed(TroubleKind::Timeout.into()) };
                let connect = Connect {
                    af,
                    dst: reference(af, n + 1),
                    src: None,
                    seen: None,
                    tcp: Some(tcp),
                    tls: None,
                    quic: None,
                    retransmits: None,
                    mss_seen: None,
                };
                self.connect(n, connect);
            }
        }
    }
}
