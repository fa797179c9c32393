//! Orders from a collector that has the network's key and uses it to look into the homes of volunteers. The probe carries
//! out what may be measured and reports everything else as forbidden.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sonde_collector::Network;
use sonde_protocol::bounded::{Bytes, List, Text};
use sonde_protocol::ids::MeasurementId;
use sonde_protocol::net::{Family as Af, Ip, Transport};
use sonde_protocol::order::{Order, When};
use sonde_protocol::result::{DnsReply, Failure, MeasurementResult, Outcome, PingReply, Report};
use sonde_protocol::spec::{DnsSpec, HttpSpec, PingSpec, Spec, SslcertSpec, Target, TracerouteSpec};
use sonde_protocol::time::UnixNanos;
use sonde_tests::lab::{Family, Host, Lab, LabOptions};
use sonde_tests::rogue::{Orders, Rogue};
use sonde_tests::scene::{self, RAW_SOCKETS, collector_addresses, unhurried};
use sonde_tests::world::{Place, Probe, wait_for};

use crate::{FORBIDDEN_QUESTION, HOSTS, Proof, near, record, resolver_of, special, target};

/// The name of a host's n-th forbidden address.
fn name_of(host: Host, n: usize) -> String {
    format!("trap-{n}.{}.lab.example", host.name())
}

/// How long after it is made the first order begins: the probes have to start and connect first.
const HEAD_START: Duration = Duration::from_secs(3);

/// From one order's start to the next one's.
const PACE: Duration = Duration::from_millis(4);

/// How an order hides or shows what it is after.
#[derive(Debug, Clone, Copy)]
enum Disguise {
    /// Openly.
    None,
    /// Only the target's text has the address.
    InText,
    /// So too, and the addresses are public ones that the probe is to ignore.
    ResolveText,
    /// The text is a public address.
    BehindPublicText,
    /// A name that the probe resolves.
    Name,
    /// The order says the other family.
    OtherFamily,
}

const DISGUISES: [Disguise; 6] = [
    Disguise::None,
    Disguise::InText,
    Disguise::ResolveText,
    Disguise::BehindPublicText,
    Disguise::Name,
    Disguise::OtherFamily,
];

/// What the report of an order has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The run failed as not allowed.
    NotAllowed,
    /// The one resolver was not asked, since that is not allowed.
    ResolverNotAllowed,
    /// The target answered.
    Answer,
}

/// Every kind of packet.
fn specs() -> Vec<Spec> {
    let traceroute = |protocol| TracerouteSpec { protocol, packets: 1, max_hops: 3, ..TracerouteSpec::default() };
    let dns = |protocol| DnsSpec { protocol, query_argument: Text::cut(FORBIDDEN_QUESTION), ..DnsSpec::default() };
    vec![
        Spec::Ping(PingSpec { packets: 1, ..PingSpec::default() }),
        Spec::Traceroute(traceroute(Transport::Udp)),
        Spec::Traceroute(traceroute(Transport::Icmp)),
        Spec::Dns(dns(Transport::Udp)),
        Spec::Dns(dns(Transport::Tcp)),
        Spec::Dns(DnsSpec { tls: true, port: 853, ..dns(Transport::Udp) }),
        Spec::Dns(DnsSpec { https: true, port: 443, ..dns(Transport::Udp) }),
        Spec::Dns(DnsSpec { quic: true, port: 853, ..dns(Transport::Udp) }),
        Spec::Sslcert(SslcertSpec::default()),
        Spec::Http(HttpSpec::default()),
    ]
}

fn now() -> UnixNanos {
    UnixNanos(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap())
}

/// A one-off that asks openly.
fn order(spec: &Spec, address: IpAddr) -> Order {
    let now = now();
    Order {
        measurement: MeasurementId(0),
        kind: spec.kind().number(),
        spec: Bytes::new(spec.to_cbor()).unwrap(),
        af: Af::of(address),
        target: Some(Target::cut(address.to_string())),
        addresses: List::cut([Ip(address)]),
        resolve_on_probe: false,
        when: When::Once { start: None, expires: now + Duration::from_secs(3600) },
        ordered_at: now,
    }
}

fn disguised(order: Order, disguise: Disguise, address: IpAddr, name: &str) -> Order {
    let public = target(Family::of(address));
    match disguise {
        Disguise::None => order,
        Disguise::InText => Order { addresses: List::default(), ..order },
        Disguise::ResolveText => Order { addresses: List::cut([Ip(public)]), resolve_on_probe: true, ..order },
        Disguise::BehindPublicText => Order { target: Some(Target::cut(public.to_string())), ..order },
        Disguise::Name => {
            Order { target: Some(Target::cut(name)), addresses: List::default(), resolve_on_probe: true, ..order }
        }
        Disguise::OtherFamily => Order { af: if order.af == Af::V4 { Af::V6 } else { Af::V4 }, ..order },
    }
}

/// The orders for the probe on a host and what is to become of each.
fn orders(lab: &Lab, host: Host) -> Vec<(Order, Expected)> {
    let mut orders = Vec::new();
    for (n, address) in special().into_iter().chain(near(lab, host)).enumerate() {
        for spec in specs() {
            for disguise in DISGUISES {
                let order = disguised(order(&spec, address), disguise, address, &name_of(host, n));
                orders.push((order, Expected::NotAllowed));
            }
        }
    }
    // The home router's other doors: its resolver may be asked, and nothing else of it.
    for protocol in [Transport::Udp, Transport::Tcp] {
        let query_argument = Text::cut(FORBIDDEN_QUESTION);
        let spec = DnsSpec { protocol, port: 80, query_argument, use_probe_resolver: true, ..DnsSpec::default() };
        let order = Order { target: None, addresses: List::default(), ..order(&Spec::Dns(spec), target(Family::V4)) };
        orders.push((order, Expected::ResolverNotAllowed));
    }
    // Nor its pages, by HTTPS.
    let query_argument = Text::cut(FORBIDDEN_QUESTION);
    let https = DnsSpec { https: true, port: 443, query_argument, use_probe_resolver: true, ..DnsSpec::default() };
    let pages = order(&Spec::Dns(https), target(Family::V4));
    let pages = Order { target: None, addresses: List::default(), ..pages };
    orders.push((pages, Expected::ResolverNotAllowed));
    for family in Family::ALL.into_iter().filter(|family| host.address(*family).is_some()) {
        orders.push((order(&specs()[0], target(family)), Expected::Answer));
    }
    // One after the other: thousands at the same moment keep a probe that is not optimised so busy that it sees the answers of
    // its resolver too late, and then a run fails for that and not for its target.
    let begin = now() + HEAD_START;
    for (id, (order, _)) in (1..).zip(&mut orders) {
        order.measurement = MeasurementId(id);
        let start = Some(begin + PACE * id as u32);
        order.when = When::Once { start, expires: begin + Duration::from_secs(3600) };
    }
    orders
}

/// Holds a result against what it should be.
fn check(host: Host, order: &Order, expected: Expected, result: &MeasurementResult) {
    let is_right = match (&result.outcome, expected) {
        (Outcome::Failed(Failure::NotAllowed, kind), Expected::NotAllowed) => *kind == order.kind,
        (Outcome::Dns(dns), Expected::ResolverNotAllowed) => {
            !dns.responses.is_empty() && dns.responses.iter().all(|one| one.outcome == DnsReply::NotAllowed)
        }
        (Outcome::Ping(ping), Expected::Answer) => matches!(ping.replies.first(), Some(PingReply::Reply(_))),
        _ => false,
    };
    assert!(is_right, "{host:?}: {order:?}\ngave {result:?}\nexpected {expected:?}");
}

#[test]
fn a_collector_with_the_right_key_gets_no_packet_out_either() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    for host in HOSTS {
        let addresses = special().into_iter().chain(near(&lab, host)).enumerate();
        let lines: String = addresses.map(|(n, address)| record(&name_of(host, n), address)).collect();
        lab.add_to_zone(resolver_of(host), &lines).unwrap();
    }
    let proof = Proof::begin(&lab);
    let folder = tempfile::tempdir().unwrap();
    let address: SocketAddr = collector_addresses()[0];
    let network = Network::open_or_create(&folder.path().join("network"), "bad", &[address.to_string()]).unwrap();
    let expected: BTreeMap<Host, Vec<(Order, Expected)>> =
        HOSTS.into_iter().map(|host| (host, orders(&lab, host))).collect();
    let seen_from = |host: Host| host.public_address(Family::V4).unwrap();
    let given: Orders = expected
        .iter()
        .map(|(host, orders)| (seen_from(*host), orders.iter().map(|(order, _)| order.clone()).collect()))
        .collect();
    let rogue = Rogue::start(lab.host(Host::Server), address, &network, given).unwrap();

    let mut probes = Vec::new();
    for host in HOSTS {
        let dir = folder.path().join(host.name());
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("network.toml"), toml::to_string(&network.network_file(None)).unwrap()).unwrap();
        probes.push(Probe::start(Place::In(lab.host(host)), &dir, &unhurried(RAW_SOCKETS)).unwrap());
    }
    let count: usize = expected.values().map(Vec::len).sum();
    let reports = wait_for("a report about every order", || {
        let reports = rogue.reports();
        Ok((reports.len() >= count).then_some(reports))
    });
    let reports = reports.unwrap_or_else(|error| panic!("{error}: {} of {count}", rogue.reports().len()));
    assert_eq!(reports.len(), count, "one report an order");

    for (host, orders) in &expected {
        let own: BTreeMap<MeasurementId, &Report> = reports
            .iter()
            .filter(|(from, _)| *from == seen_from(*host))
            .map(|(_, report)| (report.measurement(), report))
            .collect();
        for (order, expected) in orders {
            match own.get(&order.measurement) {
                Some(Report::Result(result)) => check(*host, order, *expected, result),
                other => panic!("{host:?}: {order:?}\ngave {other:?}"),
            }
        }
    }
    proof.conclude();
    drop(probes);
}
