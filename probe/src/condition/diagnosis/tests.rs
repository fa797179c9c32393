use std::net::SocketAddr;

use super::super::facts::{FamilyFacts, NameFacts};
use super::*;

const NAME: &str = "collector.example.net";
const V4: &str = "20.20.1.10:8333";
const V6: &str = "[2a00:20::10]:8333";

fn resolver(ip: &str, near: bool) -> ResolverFacts {
    let address = SocketAddr::new(ip.parse().unwrap(), 53);
    ResolverFacts { address, near, answer: Asked::Answers, tcp: None, ping: Ping::NotTried }
}

fn collector(address: &str) -> CollectorFacts {
    let facts = CollectorFacts::new(address.parse().unwrap());
    CollectorFacts { quic: Quic::Ours, ping: Ping::Answers, large: Ping::Answers, ..facts }
}

/// All is well, in both families; the resolvers are beyond the router.
fn well() -> Facts {
    let family = |gateway: &str| FamilyFacts {
        address: true,
        route: true,
        gateways: vec![(gateway.parse().unwrap(), Ping::Answers)],
    };
    let addresses = [V4, V6].map(|text| text.parse::<SocketAddr>().unwrap().ip());
    Facts {
        links: vec![("eth0".into(), true), ("wlan0".into(), false)],
        families: [family("20.1.1.1"), family("fe80::1")],
        resolvers: vec![resolver("20.53.1.1", false), resolver("2a00:53::1", false)],
        network: true,
        by_tls: false,
        names: vec![NameFacts { name: NAME.into(), leads: Leads::To(addresses.into()) }],
        collectors: vec![collector(V4), collector(V6)],
    }
}

fn silence(one: &mut CollectorFacts) {
    *one = CollectorFacts {
        quic: Quic::Silent,
        ping: Ping::Silent,
        udp: Udp::Nothing,
        ..CollectorFacts::new(one.address)
    };
}

fn hush(one: &mut ResolverFacts) {
    (one.answer, one.tcp, one.ping) = (Asked::Silent, Some(false), Ping::Silent);
}

/// Nothing beyond the router answers over a family.
fn cut(facts: &mut Facts, family: Family) {
    facts.collectors.iter_mut().filter(|one| Family::of(one.address.ip()) == family).for_each(silence);
    facts.resolvers.iter_mut().filter(|one| Family::of(one.address.ip()) == family).for_each(hush);
}

/// Nobody says where the collectors are, and no address is remembered.
fn forget(facts: &mut Facts, leads: Leads) {
    facts.names[0].leads = leads;
    facts.collectors.clear();
}

/// What happens to the network, and the words for it.
type Case = (&'static str, fn(&mut Facts), &'static [Word]);

const CASES: &[Case] = &[
    ("nothing", |_| {}, &[]),
    ("the cable is out", |f| f.links[0].1 = false, &[Word::LinkDown]),
    ("there is no interface at all", |f| f.links.clear(), &[Word::LinkDown]),
    (
        "no address",
        |f| f.families.iter_mut().for_each(|family| (family.address, family.route) = (false, false)),
        &[Word::NoAddress],
    ),
    ("no route", |f| f.families.iter_mut().for_each(|family| family.route = false), &[Word::NoRoute]),
    (
        "one family alone, and it works",
        |f| {
            (f.families[1].address, f.families[1].route) = (false, false);
            f.collectors.pop();
            f.resolvers.pop();
        },
        &[],
    ),
    (
        "a dead router",
        |f| {
            Family::BOTH.into_iter().for_each(|family| cut(f, family));
            f.families.iter_mut().for_each(|family| family.gateways[0].1 = Ping::Silent);
        },
        &[Word::GatewaySilent],
    ),
    (
        "a router that answers no ping, and all works",
        |f| f.families.iter_mut().for_each(|family| family.gateways[0].1 = Ping::Silent),
        &[],
    ),
    ("nothing beyond the router", |f| Family::BOTH.into_iter().for_each(|family| cut(f, family)), &[Word::NoInternet]),
    (
        "silent resolvers, and nobody else is known",
        |f| {
            f.resolvers.iter_mut().for_each(hush);
            forget(f, Leads::Unknown);
        },
        &[Word::DnsSilent],
    ),
    (
        "silent resolvers, and the collector where it was",
        |f| {
            f.resolvers.iter_mut().for_each(hush);
            f.names[0].leads = Leads::Unknown;
        },
        &[Word::DnsSilent],
    ),
    ("one resolver of two is silent", |f| hush(&mut f.resolvers[0]), &[]),
    (
        "errors",
        |f| {
            f.resolvers.iter_mut().for_each(|one| one.answer = Asked::Error("REFUSED".into()));
            forget(f, Leads::Unknown);
        },
        &[Word::DnsFails],
    ),
    ("no resolver", |f| f.resolvers.clear(), &[Word::NoResolver]),
    ("the name is denied", |f| forget(f, Leads::Nowhere), &[Word::DnsWrong]),
    (
        "the name leads into the house",
        |f| {
            let lie: SocketAddr = "192.168.1.1:8333".parse().unwrap();
            f.names[0].leads = Leads::To(vec![lie.ip()]);
            f.collectors = vec![CollectorFacts { ping: Ping::Answers, ..collector("192.168.1.1:8333") }];
            f.collectors[0].quic = Quic::Silent;
            f.collectors[0].udp = Udp::Passes;
        },
        &[Word::DnsWrong],
    ),
    (
        "the name leads elsewhere, the collector is where it was",
        |f| {
            let lie: SocketAddr = "20.30.1.10:8333".parse().unwrap();
            f.names[0].leads = Leads::To(vec![lie.ip()]);
            f.collectors.push(CollectorFacts {
                quic: Quic::Silent,
                ping: Ping::Answers,
                ..collector("20.30.1.10:8333")
            });
        },
        &[Word::DnsWrong],
    ),
    ("IPv4 is broken", |f| cut(f, Family::V4), &[Word::Ipv4Broken]),
    ("IPv6 is broken", |f| cut(f, Family::V6), &[Word::Ipv6Broken]),
    (
        "UDP is blocked, also to the resolvers",
        |f| {
            f.resolvers.iter_mut().for_each(|one| {
                hush(one);
                one.tcp = Some(true);
                one.ping = Ping::Answers;
            });
            forget(f, Leads::Unknown);
        },
        &[Word::UdpBlocked],
    ),
    (
        "UDP is blocked, but the resolver is at home",
        |f| {
            f.resolvers = vec![resolver("20.1.1.1", true)];
            f.collectors.iter_mut().for_each(|one| (one.quic, one.udp) = (Quic::Silent, Udp::Nothing));
        },
        &[Word::UdpBlocked],
    ),
    (
        "UDP is blocked, and the collector connected to over TCP",
        |f| {
            f.by_tls = true;
            f.collectors.iter_mut().for_each(|one| (one.quic, one.udp) = (Quic::Silent, Udp::Nothing));
        },
        &[Word::UdpBlocked],
    ),
    (
        "the handshake's packets vanish",
        |f| {
            f.collectors.iter_mut().for_each(|one| {
                (one.quic, one.large, one.largest, one.udp) = (Quic::Silent, Ping::Silent, Some(1200), Udp::Passes);
            });
        },
        &[Word::MtuHole],
    ),
    ("large packets vanish, but not the handshake's", |f| f.collectors[1].large = Ping::Silent, &[Word::MtuHole]),
    (
        "the collector's program is down",
        |f| f.collectors.iter_mut().for_each(|one| (one.quic, one.udp) = (Quic::Silent, Udp::Passes)),
        &[Word::CollectorSilent],
    ),
    ("the collector's host is down", |f| f.collectors.iter_mut().for_each(silence), &[Word::CollectorSilent]),
    ("somebody else answers", |f| f.collectors.iter_mut().for_each(|one| one.quic = Quic::OtherKey), &[Word::WrongKey]),
    (
        "a network without a collector",
        |f| {
            f.names.clear();
            f.collectors.clear();
        },
        &[Word::NoCollector],
    ),
    (
        "no network is named",
        |f| {
            f.network = false;
            f.names.clear();
            f.collectors.clear();
        },
        &[],
    ),
];

#[test]
fn each_network_has_its_words_and_no_others() {
    for (what, happen, expected) in CASES {
        let mut facts = well();
        happen(&mut facts);
        let words: Vec<Word> = diagnose(&facts).into_iter().map(|one| one.word).collect();
        assert_eq!(words, *expected, "{what}");
        assert!(words.iter().all(|word| is_surveyed(*word)), "{what}");
    }
}

#[test]
fn details_name_who_is_meant() {
    let mut facts = well();
    cut(&mut facts, Family::V4);
    facts.families[0].gateways[0].1 = Ping::Silent;
    assert_eq!(diagnose(&facts)[0].detail, "not even the router 20.1.1.1 answers");
    let mut facts = well();
    facts.names[0].leads = Leads::To(vec!["20.30.1.10".parse().unwrap()]);
    let lie = CollectorFacts { quic: Quic::Silent, ..collector("20.30.1.10:8333") };
    facts.collectors.push(lie);
    let said = format!("{NAME} is 20.30.1.10, they say; the collector is at 20.20.1.10");
    assert_eq!(diagnose(&facts)[0].detail, said);
}
