//! A look at the network: who answers whom. It writes facts down and judges nothing. Asked are this machine's routers, its
//! resolvers and the network's collectors, each with a handful of packets; nobody else.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sonde_protocol::address::Nat64Prefix;
use sonde_protocol::key::PublicKey;
use sonde_protocol::net::{Family, Uplink};
use sonde_protocol::tls::SecretKey;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::facts::{Asked, CollectorFacts, Facts, FamilyFacts, Leads, NameFacts, Ping, Quic, ResolverFacts};
use crate::local::{LocalNetwork, interface_number};
use crate::reachability;
use crate::resolve::{ResolveError, Resolver};
use crate::uplink::{self, through_translators};

/// What resolvers are asked for: the name that probes ask for anyway (RFC 7050). That it is known does not matter.
const QUESTION: &str = "ipv4only.arpa";

/// How long a resolver may take.
const RESOLVE_LIMIT: Duration = Duration::from_secs(4);

/// How long a TCP connection to a resolver may take.
const TCP_LIMIT: Duration = Duration::from_secs(2);

/// How long a handshake may take.
const QUIC_LIMIT: Duration = Duration::from_secs(4);

/// The most addresses of collectors that are tried.
const MAX_COLLECTORS: usize = 8;

/// The largest packet of a QUIC handshake over IPv6, and a little: what must pass for a connection (RFC 9000, section 14.1).
pub const HANDSHAKE: usize = 1252;

/// What most links carry.
pub const USUAL: usize = 1500;

/// Sizes that are tried when a large packet vanishes: Ethernet, PPPoE, tunnels, IPv6's least, and what is left of it.
const SIZES: [usize; 7] = [1492, 1480, 1400, 1280, 1200, 1000, 576];

/// Whom to look for.
#[derive(Debug, Clone, Default)]
pub struct Asking {
    /// The collectors' addresses, `host:port`; absent when no network is known.
    pub endpoints: Option<Vec<String>>,
    /// The keys that a collector may have.
    pub keys: Vec<PublicKey>,
    /// The translators of a line without IPv4.
    pub translators: Vec<Nat64Prefix>,
    /// Where a collector was reached last.
    pub remembered: Option<SocketAddr>,
    /// Where one is connected to now.
    pub connected: Option<(SocketAddr, Uplink)>,
    /// The size of a large packet in bytes; absent when nobody wants to know.
    pub large: Option<usize>,
}

/// Looks. `key` is shown to whoever answers, and need not be the probe's.
pub async fn survey(asking: &Asking, key: &SecretKey, resolver: &Resolver) -> Facts {
    let local = LocalNetwork::read().unwrap_or_default();
    let links: Vec<(String, bool)> = local.links().map(|(name, up)| (name.to_owned(), up)).collect();
    let endpoints = asking.endpoints.clone().unwrap_or_default();
    let ((resolvers, names), families) = tokio::join!(names(&endpoints, resolver, &local), families(&local));
    let mut addresses: Vec<SocketAddr> = by_quic(asking).into_iter().collect();
    let named = names.iter().flat_map(|(name, port)| match &name.leads {
        Leads::To(to) => to.iter().map(|ip| SocketAddr::new(*ip, *port)).collect(),
        Leads::Nowhere | Leads::Unknown => Vec::new(),
    });
    addresses.extend(endpoints.iter().filter_map(|endpoint| endpoint.parse::<SocketAddr>().ok()));
    addresses.extend(named);
    addresses.extend(asking.remembered);
    let mut addresses = through_translators(&addresses, &asking.translators);
    let mut seen = BTreeSet::new();
    // One family of two may have no way out: what fails at home says nothing of the other end.
    addresses.retain(|address| local.has_route(Family::of(address.ip())) && seen.insert(*address));
    addresses.truncate(MAX_COLLECTORS);
    let mut asked = JoinSet::new();
    for (place, address) in addresses.into_iter().enumerate() {
        let (asking, key) = (asking.clone(), key.clone());
        asked.spawn(async move { (place, collector(address, &asking, &key).await) });
    }
    let mut collectors = asked.join_all().await;
    collectors.sort_by_key(|(place, _)| *place);
    Facts {
        links,
        families,
        resolvers,
        network: asking.endpoints.is_some(),
        by_tls: asking.connected.is_some_and(|(_, uplink)| uplink == Uplink::Tls),
        names: names.into_iter().map(|(name, _)| name).collect(),
        collectors: collectors.into_iter().map(|(_, facts)| facts).collect(),
    }
}

/// Where a collector is connected to by QUIC.
fn by_quic(asking: &Asking) -> Option<SocketAddr> {
    asking.connected.filter(|(_, uplink)| *uplink == Uplink::Quic).map(|(address, _)| address)
}

async fn families(local: &LocalNetwork) -> [FamilyFacts; 2] {
    let of = async |family| {
        let mut asked = JoinSet::new();
        for (gateway, interface) in local.ways_out(family).take(2) {
            let scope = interface_number(interface).unwrap_or(0);
            asked.spawn(async move { (gateway, reachability::small(gateway, scope).await) });
        }
        let gateways = asked.join_all().await;
        FamilyFacts { address: local.has_address(family), route: local.has_route(family), gateways }
    };
    let (v4, v6) = tokio::join!(of(Family::V4), of(Family::V6));
    [v4, v6]
}

/// The resolvers, and where the collectors' names lead by what they say, each with its port.
async fn names(
    endpoints: &[String],
    resolver: &Resolver,
    local: &LocalNetwork,
) -> (Vec<ResolverFacts>, Vec<(NameFacts, u16)>) {
    let mut asked = JoinSet::new();
    for (place, address) in resolver.own_resolvers().into_iter().enumerate() {
        let near = local.is_near(address.ip());
        asked.spawn(async move { (place, one_resolver(address, near).await) });
    }
    let mut resolvers = asked.join_all().await;
    resolvers.sort_by_key(|(place, _)| *place);
    let mut found = Vec::new();
    let names = endpoints.iter().filter(|endpoint| endpoint.parse::<SocketAddr>().is_err());
    for endpoint in names.take(MAX_COLLECTORS) {
        let Some((name, port)) = endpoint.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)))
        else {
            continue;
        };
        let (v4, v6) = tokio::join!(
            resolver.addresses(name, Family::V4, RESOLVE_LIMIT),
            resolver.addresses(name, Family::V6, RESOLVE_LIMIT)
        );
        let denied = |answer: &Result<_, ResolveError>| {
            matches!(answer, Err(ResolveError::NoSuchName | ResolveError::NoAddress(_) | ResolveError::NotAName))
        };
        let leads = match (denied(&v4) && denied(&v6), v4, v6) {
            (true, ..) => Leads::Nowhere,
            (_, Err(_), Err(_)) => Leads::Unknown,
            (_, v4, v6) => {
                let of = |answer: Result<(Vec<IpAddr>, Duration), _>| answer.map(|(list, _)| list).unwrap_or_default();
                Leads::To(of(v4).into_iter().chain(of(v6)).collect())
            }
        };
        found.push((NameFacts { name: name.to_owned(), leads }, port));
    }
    (resolvers.into_iter().map(|(_, facts)| facts).collect(), found)
}

async fn one_resolver(address: SocketAddr, near: bool) -> ResolverFacts {
    let answer = match Resolver::of_servers(&[address]).addresses(QUESTION, Family::V4, RESOLVE_LIMIT).await {
        Ok(_) | Err(ResolveError::NoSuchName | ResolveError::NoAddress(_)) => Asked::Answers,
        Err(ResolveError::Refused(code)) => Asked::Error(code.to_string()),
        Err(_) => Asked::Silent,
    };
    if answer != Asked::Silent {
        return ResolverFacts { address, near, answer, tcp: None, ping: Ping::NotTried };
    }
    let scope = if let SocketAddr::V6(v6) = address { v6.scope_id() } else { 0 };
    let (tcp, ping) =
        tokio::join!(timeout(TCP_LIMIT, TcpStream::connect(address)), reachability::small(address.ip(), scope));
    ResolverFacts { address, near, answer, tcp: Some(matches!(tcp, Ok(Ok(_)))), ping }
}

async fn collector(address: SocketAddr, asking: &Asking, key: &SecretKey) -> CollectorFacts {
    let ip = address.ip();
    let mut facts = CollectorFacts::new(address);
    let connected = by_quic(asking) == Some(address);
    let quic = async {
        if connected { Quic::Ours } else { uplink::who_answers(key, &asking.keys, address, QUIC_LIMIT).await }
    };
    (facts.quic, facts.ping) = tokio::join!(quic, reachability::small(ip, 0));
    let silent = facts.quic == Quic::Silent;
    let size = asking.large.or(silent.then_some(HANDSHAKE));
    if let Some(size) = size.filter(|_| facts.ping == Ping::Answers && !connected) {
        facts.large = reachability::large(ip, size).await;
        if facts.large == Ping::Silent {
            facts.largest = largest(ip, size).await;
        }
    }
    if silent {
        facts.udp = reachability::udp(ip).await;
    }
    facts
}

/// The largest of the sizes below `size` that comes back.
async fn largest(host: IpAddr, size: usize) -> Option<usize> {
    let mut asked = JoinSet::new();
    for smaller in SIZES.into_iter().filter(|smaller| *smaller < size) {
        asked.spawn(async move { (smaller, reachability::large(host, smaller).await) });
    }
    let answers = asked.join_all().await;
    answers.into_iter().filter(|(_, ping)| *ping == Ping::Answers).map(|(size, _)| size).max()
}
