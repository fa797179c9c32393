//! Whole runs: a plan carried out on a network that exists only here, its events gathered and decided.

use alloc::format;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use sonde_protocol::address::Nat64Prefix;
use sonde_protocol::bounded::Text;
use sonde_protocol::directory::Reference;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::key::PublicKey;
use sonde_protocol::net::{Family, Ip, Transport};
use sonde_protocol::result::ipv6::*;
use sonde_protocol::spec::{Ipv6Scope, Ipv6Spec};
use sonde_protocol::time::UnixNanos;

use super::decide::{Decision, decide};
use super::gather::{Event, Gather, Inventory, Step};
use super::plan::{Check, Planned, Question, Setting, at_once, connections, first, next, packets, targets};
use super::search::{Fate, Search};
use crate::dns::{QueryContext, query};

fn ip(text: &str) -> Ip {
    Ip(text.parse::<IpAddr>().unwrap())
}

fn references(count: u8) -> Vec<Reference> {
    let one = |n: u8| Reference {
        name: Text::cut(format!("r{n}")),
        key: PublicKey([n; 32]),
        v4: Some(ip(&format!("20.60.{n}.44"))),
        v6: Some(ip(&format!("2a0e:6000:{n}::443"))),
        tls: Some(443),
        quic: Some(443),
        echo: Some(8334),
        closed: Some(8335),
        narrow: Some(ip(&format!("2a0e:6000:{n}:1::1"))),
        zone: Some(Text::cut("ref.example.net")),
    };
    (0..count).map(one).collect()
}

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct World {
    v4: bool,
    v6: bool,
    /// The resolver is a DNS64, and there is a translator.
    nat64: bool,
    /// Packets over IPv6 that are longer vanish.
    hole: Option<u32>,
}

const PREFIX: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);
const HEALTHY: World = World { v4: true, v6: true, nat64: false, hole: None };

impl World {
    fn reaches(self, dst: IpAddr) -> bool {
        match dst {
            IpAddr::V4(_) => self.v4,
            IpAddr::V6(v6) if v6.segments()[0] == 0x64 => self.nat64,
            IpAddr::V6(_) => self.v6,
        }
    }

    fn inventory(self) -> Inventory {
        let own = |text: &str, length| AddressSeen {
            address: ip(text),
            length,
            interface: Text::cut("eth0"),
            flags: 0,
            preferred: None,
            valid: None,
            origin: None,
        };
        let route = |af, gateway: &str| RouteSeen {
            af,
            gateway: Some(ip(gateway)),
            interface: Text::cut("eth0"),
            link: LinkKind::Ether,
            origin: None,
            expires: None,
            neighbour: None,
            lease: None,
        };
        let mut inventory = Inventory { routes: Some(Vec::new()), ..Inventory::default() };
        inventory.addresses.push(own("::1", 128));
        let families =
            [(self.v6, Family::V6, "2a0e:5a00:1::2", "fe80::1"), (self.v4, Family::V4, "20.1.1.2", "20.1.1.1")];
        for (_, af, address, gateway) in families.into_iter().filter(|(is_there, ..)| *is_there) {
            inventory.addresses.push(own(address, if af == Family::V6 { 64 } else { 24 }));
            inventory.routes.iter_mut().for_each(|routes| routes.push(route(af, gateway)));
        }
        let resolver = if self.v6 { "2a0e:5a00:53::1" } else { "20.53.0.1" };
        inventory.resolvers = Some(Vec::from([ip(resolver).0]));
        inventory
    }

    /// The answer of a resolver that tells the truth, as bytes.
    fn answer(self, question: &Question, reference: &Reference) -> Vec<u8> {
        let context = QueryContext { probe_id: ProbeId(0), id: 7, random: 1, time: UnixNanos(0) };
        let mut message = query(&question.spec(), &context).unwrap().bytes().to_vec();
        let (IpAddr::V4(v4), IpAddr::V6(v6)) = (reference.v4.unwrap().0, reference.v6.unwrap().0) else { panic!() };
        let prefix = Nat64Prefix::from_parts(PREFIX, 96).unwrap();
        let synthetic = |v4: Ipv4Addr| Vec::from(prefix.embed(v4).octets());
        let made_up = self.nat64 && !question.checking_disabled;
        let data = match (question.asked, question.qtype) {
            (Asked::Ds | Asked::V4 | Asked::V6Ns, DnsCheck::A) => Some(Vec::from(v4.octets())),
            (Asked::Ds | Asked::V6 | Asked::V6Ns, DnsCheck::AAAA) => Some(Vec::from(v6.octets())),
            (Asked::V4, DnsCheck::AAAA) if made_up => Some(synthetic(v4)),
            (Asked::Ipv4Only, DnsCheck::AAAA) if made_up => Some(synthetic(Ipv4Addr::new(192, 0, 0, 170))),
            _ => None,
        };
        // Only the question stays of the query; an answer with recursion, and a pointer to the name.
        let end = message.iter().skip(12).position(|byte| *byte == 0).unwrap() + 12 + 5;
        message.truncate(end);
        message[2..4].copy_from_slice(&[0x81, if question.asked == Asked::Nx { 0x83 } else { 0x80 }]);
        message[6..12].copy_from_slice(&[0, u8::from(data.is_some()), 0, 0, 0, 0]);
        if let Some(data) = data {
            message.extend([0xc0, 12]);
            message.extend(question.qtype.to_be_bytes());
            message.extend([0, 1, 0, 0, 1, 44, 0]);
            message.push(data.len().try_into().unwrap());
            message.extend(data);
        }
        message
    }

    /// Carries out one check.
    fn happen(self, gather: &mut Gather, check: &Check, references: &[Reference]) {
        let done = |dst: IpAddr| match self.reaches(dst) {
            true => Attempt::Done(20_000_000),
            false => Attempt::Failed(TroubleKind::Timeout.into()),
        };
        // A handshake has full segments.
        let whole = |dst: IpAddr| match self.hole {
            Some(_) if Family::of(dst) == Family::V6 => Attempt::Failed(TroubleKind::Timeout.into()),
            _ => done(dst),
        };
        match check {
            Check::Neighbour { gateway, .. } => gather.handle(Event::Neighbour(*gateway, Neighbour::Reachable)),
            Check::Ask(question) if question.asks == Asks::Nobody => gather.handle(Event::NoAnswer(question, None)),
            Check::Ask(question) => {
                gather.handle(Event::Answer(question, 4_000_000, &self.answer(question, &references[0])));
            }
            Check::Pair(pair) => {
                for dst in &pair.to {
                    let af = Family::of(*dst);
                    gather.handle(Event::Began(pair.target, Ip(*dst), 1_000));
                    gather.handle(Event::Ended(pair.target, af, Step::Tcp, done(*dst)));
                    if self.reaches(*dst) {
                        gather.handle(Event::Ended(pair.target, af, Step::Tls, whole(*dst)));
                    }
                    gather.handle(Event::Ended(pair.target, af, Step::Quic, whole(*dst)));
                    let own = ip(if af == Family::V6 { "2a0e:5a00:1::2" } else { "20.1.1.2" });
                    gather.handle(Event::Local(pair.target, af, Some(own), Some(0)));
                    if whole(*dst).is_done() {
                        gather.handle(Event::Told(pair.target, af, own, Some(1440)));
                    }
                }
            }
            Check::Echo(echo) => {
                let received = if self.reaches(echo.dst) { 3 } else { 0 };
                let protocol = if echo.port.is_some() { Transport::Udp } else { Transport::Icmp };
                let (target, af) = (echo.target, Family::of(echo.dst));
                gather.handle(Event::Echo(Echo { target, af, protocol, sent: 3, received, rtt: None, trouble: None }));
            }
            Check::Bound { src, dst, .. } => gather.handle(Event::Bound(BoundConnect { src: *src, tcp: done(*dst) })),
            Check::Source(dst) => gather.handle(Event::Source(SourceChoice { dst: Ip(*dst), src: None })),
            Check::Nat64(plan) => {
                let tls = Some(done(plan.dst));
                let seen = self.nat64.then(|| ip("20.64.0.7"));
                gather.handle(Event::Nat64(Nat64Proof {
                    target: plan.target,
                    dst: Ip(plan.dst),
                    seen,
                    tls,
                    echo: tls,
                }));
            }
            Check::Sizes(plan) => {
                let way = || {
                    let mut search = Search::new();
                    while let Some(size) = search.next_size() {
                        let arrived = self.hole.is_none_or(|most| size <= most) || Family::of(plan.dst) == Family::V4;
                        search.handle(Fate { arrived, control_arrived: true, too_big: None });
                    }
                    search.into_tries()
                };
                let (target, af) = (plan.target, Family::of(plan.dst));
                let sizes = SizesSeen { target, af, up: way(), down: way(), bulk_up: None, bulk_down: None };
                gather.handle(Event::Sizes(sizes));
            }
            Check::Narrow(..) => gather.handle(Event::Icmp(IcmpSeen {
                af: Family::V6,
                unreachable: None,
                time_exceeded: None,
                echo: None,
                too_big: Some(true),
            })),
            Check::Closed(dst, _) => gather.handle(Event::Icmp(IcmpSeen {
                af: Family::of(*dst),
                unreachable: Some(true),
                time_exceeded: None,
                echo: None,
                too_big: None,
            })),
            Check::Order { .. } => gather.handle(Event::Order(&[Family::V6, Family::V4])),
            Check::Fragments(_) | Check::HopLimit(..) | Check::Headers(..) | Check::NearHops(_) => {}
        }
    }

    /// A whole run: what was planned in the second step, the evidence, and what it says.
    fn run(self, scope: Ipv6Scope) -> (Vec<Planned>, Evidence, Decision) {
        let references = references(4);
        let inventory = self.inventory();
        let (addresses, routes) = (inventory.addresses.clone(), inventory.routes.clone().unwrap());
        let resolvers = inventory.resolvers.clone().unwrap();
        let setting = Setting {
            references: &references,
            others: &[],
            resolvers: &resolvers,
            addresses: &addresses,
            routes: &routes,
            scope,
            seed: 7,
        };
        let mut gather = Gather::new(targets(&setting), inventory);
        let begins = first(&setting);
        assert_eq!(gather.connections_ended(), 0);
        for planned in &begins {
            self.happen(&mut gather, &planned.check, &references);
        }
        assert_eq!(gather.connections_ended(), connections(&begins), "all of them end");
        let evidence = gather.evidence();
        let follows: Vec<Planned> = at_once(&setting, &evidence).into_iter().chain(next(&setting, &evidence)).collect();
        for planned in &follows {
            self.happen(&mut gather, &planned.check, &references);
        }
        let evidence = gather.evidence();
        let decision = decide(&evidence, &PathFacts::default(), &[]);
        (follows, evidence, decision)
    }
}

#[test]
fn whole_runs_say_what_the_network_is() {
    use FamilyState::{Broken, Nat64Dns64, Native, None as Nothing};
    let v6_only = World { v4: false, nat64: true, ..HEALTHY };
    let hole = World { hole: Some(1400), ..HEALTHY };
    for (world, scope, v6, v4) in [
        (HEALTHY, Ipv6Scope::Light, Native, Native),
        (HEALTHY, Ipv6Scope::Full, Native, Native),
        (v6_only, Ipv6Scope::Light, Native, Nat64Dns64),
        (World { v6: false, ..HEALTHY }, Ipv6Scope::Light, Nothing, Native),
        (hole, Ipv6Scope::Light, Broken, Native),
        (hole, Ipv6Scope::Full, Broken, Native),
    ] {
        let (_, evidence, decision) = world.run(scope);
        assert_eq!((decision.v6.state, decision.v4.state), (v6, v4), "{world:?} {scope:?}: {decision:?}");
        assert!(evidence.errors.is_empty());
        if v6 == Broken {
            assert_eq!(decision.v6.why.first().map(|one| one.reason), Some(Reason::Mtu));
        }
    }
}

#[test]
fn what_several_checks_tell_of_one_thing_is_put_together() {
    let (_, evidence, _) = HEALTHY.run(Ipv6Scope::Full);
    let seen = evidence.icmp.iter().find(|icmp| icmp.af == Family::V6).unwrap();
    assert_eq!((seen.unreachable, seen.too_big, seen.time_exceeded), (Some(true), Some(true), None));
    assert_eq!(evidence.icmp.len(), 2);
    // The text is not in this world's zone, but an empty answer came whole.
    assert_eq!(evidence.headers.unwrap().large_dns, Some(true));
}

#[test]
fn sizes_are_tried_at_once_where_connections_hang() {
    let sizes = |follows: &[Planned]| follows.iter().filter(|one| matches!(one.check, Check::Sizes(_))).count();
    let (follows, ..) = HEALTHY.run(Ipv6Scope::Light);
    assert!(follows.is_empty(), "{follows:?}");
    let (follows, evidence, _) = World { hole: Some(1400), ..HEALTHY }.run(Ipv6Scope::Light);
    assert_eq!(sizes(&follows), 2, "of the family that hangs, towards two references");
    assert!(follows.iter().all(|one| one.at < Duration::from_secs(1)), "a light run has no time to lose: {follows:?}");
    assert!(evidence.sizes.iter().all(|sizes| sizes.af == Family::V6));
}

#[test]
fn happy_eyeballs_and_translators_are_in_the_evidence() {
    let (_, evidence, _) = HEALTHY.run(Ipv6Scope::Light);
    let eyeballs = evidence.happy_eyeballs.unwrap();
    assert_eq!((eyeballs.winner, eyeballs.margin), (Some(Family::V6), Some(250_000_000)));
    assert!(evidence.nat64.unwrap().prefixes.is_empty());
    let (follows, evidence, decision) = World { v4: false, nat64: true, ..HEALTHY }.run(Ipv6Scope::Light);
    let told = evidence.nat64.unwrap();
    assert_eq!(
        told.prefixes.to_vec(),
        [Nat64Told { prefix: Ip(PREFIX.into()), length: 96, source: PrefixSource::Dns }]
    );
    assert_eq!((follows.len(), told.proofs.len()), (3, 3));
    assert_eq!(decision.names.synthesis, Some(true));
}

#[test]
fn a_plan_keeps_within_its_packets_and_its_time_whatever_the_directory_lists() {
    let references = references(64);
    let other = |n: u8| Target {
        name: Text::cut(format!("t{n}")),
        is_reference: false,
        v4: Some(ip(&format!("20.70.{n}.1"))),
        v6: Some(ip(&format!("2a0e:7000:{n}::1"))),
    };
    let others: Vec<Target> = (0..40).map(other).collect();
    let resolvers: Vec<IpAddr> = (0..40).map(|n| IpAddr::from([20, 53, 0, n])).collect();
    let inventory = HEALTHY.inventory();
    let addresses: Vec<AddressSeen> = (0..60)
        .map(|n| AddressSeen { address: ip(&format!("2a0e:5a00:{n}::2")), ..inventory.addresses[1].clone() })
        .collect();
    let routes = inventory.routes.clone().unwrap();
    for (scope, deadline) in [(Ipv6Scope::Light, super::plan::DEADLINES.0), (Ipv6Scope::Full, super::plan::DEADLINES.1)]
    {
        for seed in 0..20 {
            let setting = Setting {
                references: &references,
                others: &others,
                resolvers: &resolvers,
                addresses: &addresses,
                routes: &routes,
                scope,
                seed,
            };
            let checks = first(&setting);
            let most = Ipv6Spec { scope }.packets_at_most();
            assert!(packets(&checks) <= most, "seed {seed}: {} of {most}", packets(&checks));
            assert!(checks.iter().all(|one| one.at + Duration::from_secs(5) < deadline), "seed {seed}");
            assert!(targets(&setting).len() <= MAX_TARGETS);
            let asks = checks.iter().filter(|one| matches!(one.check, Check::Ask(_))).count();
            assert!(asks <= MAX_DNS_CHECKS, "{asks}");
            for planned in &checks {
                if let Check::Ask(question) = &planned.check {
                    assert_eq!(sonde_protocol::spec::Spec::Dns(question.spec()).problems(), []);
                }
            }
            assert_eq!(first(&setting), checks, "the same seed plans the same");
        }
    }
}

#[test]
fn a_network_without_references_plans_nothing_towards_them_and_says_so() {
    let inventory = HEALTHY.inventory();
    let setting = Setting {
        references: &[],
        others: &[],
        resolvers: &[],
        addresses: &[],
        routes: &[],
        scope: Ipv6Scope::Full,
        seed: 1,
    };
    assert_eq!(first(&setting), []);
    let gather = Gather::new(targets(&setting), inventory);
    assert_eq!(next(&setting, &gather.evidence()), []);
    let decision = decide(&gather.evidence(), &PathFacts::default(), &[]);
    assert_eq!(decision.v6.state, FamilyState::Inconclusive);
}

#[test]
fn events_of_what_was_not_planned_change_nothing() {
    let mut gather = Gather::new(Vec::new(), Inventory::default());
    for n in 0..=255 {
        gather.handle(Event::Began(n, ip("20.60.1.44"), 0));
        gather.handle(Event::Ended(n, Family::V6, Step::Tls, Attempt::Done(1)));
        gather.handle(Event::FailedAfter(n, Family::V6, 1));
        let echo = Echo {
            target: n,
            af: Family::V4,
            protocol: Transport::Udp,
            sent: 1,
            received: 0,
            rtt: None,
            trouble: None,
        };
        gather.handle(Event::Echo(echo));
    }
    let evidence = gather.evidence();
    assert!(evidence.pairs.is_empty() && evidence.echoes.len() <= 128);
}
