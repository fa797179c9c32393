//! Tries out what a probe needs, and writes down what the system says. It decides nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockaddrStorage, getsockname};
use socket2::{Domain, Protocol, Socket, Type};
use sonde_engine::{Channel, Token, Transmit};
use sonde_protocol::net::Family;

use super::Doctor;
use super::judge::{ClockSeen, Opened, PingSockets, ProbeSeen, Reached, ResolverAnswer, ResolverSeen, Seen, Stamps};
use crate::identity::kept_directory;
use crate::local::LocalNetwork;
use crate::net::clock::{StampConverter, SystemClock};
use crate::net::socket::{Arrival, SCRATCH};
use crate::net::udp_socket;
use crate::reachability::answers_ping;
use crate::resolve::{ResolveError, Resolver};
use crate::run::with_causes;
use crate::status;
use crate::wall_clock::kernel_clock;

/// Who may open ping sockets: first and last group.
const GROUP_RANGE: &str = "/proc/sys/net/ipv4/ping_group_range";

/// What resolvers are asked for: the name that probes ask for anyway (RFC 7050). That it is known does not matter.
const QUESTION: &str = "ipv4only.arpa";

/// How long a resolver may take.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);

/// How long a packet from this machine to itself may take.
const LOOPBACK_LIMIT: Duration = Duration::from_secs(1);

/// How many collectors' addresses are tried.
const MAX_REACHED: usize = 16;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

pub(super) async fn look(doctor: &Doctor) -> Seen {
    let resolver = Resolver::new(&doctor.config.policy);
    let local = LocalNetwork::read().unwrap_or_default();
    let routes = FAMILIES.map(|family| (family, local.has_route(family)));
    let mut targets = Vec::new();
    for target in &doctor.targets {
        targets.extend(reach(target, &resolver, &FAMILIES).await);
    }
    Seen {
        sockets: FAMILIES.map(ping_sockets).to_vec(),
        group_range: group_range(),
        group: nix::unistd::getegid().as_raw(),
        program: std::env::current_exe().map_or_else(|_| "sonde-probe".into(), |path| path.display().to_string()),
        stamps: stamps(),
        routes: routes.to_vec(),
        clock: match kernel_clock() {
            Ok(clock) if clock.synchronised => ClockSeen::Synchronised(clock.max_error),
            Ok(_) => ClockSeen::NotSynchronised,
            Err(error) => ClockSeen::Unknown(error.to_string()),
        },
        resolvers: resolvers(&resolver).await,
        probe: doctor.state.as_ref().map(|state| match status::ask(state) {
            Ok(status) => ProbeSeen::Running { state: status.state, line: status.line(), key_note: status.key_note },
            Err(_) => ProbeSeen::NotRunning,
        }),
        collectors: collectors(doctor, &resolver, &routes).await,
        targets,
    }
}

fn ping_sockets(family: Family) -> PingSockets {
    let (domain, protocol) = match family {
        Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
        Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
    };
    let open = |kind| match Socket::new(domain, kind, Some(protocol)) {
        Ok(_) => Opened::Yes,
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => Opened::NoFamily,
        Err(error) => Opened::No(error.to_string()),
    };
    PingSockets { family, unprivileged: open(Type::DGRAM), raw: open(Type::RAW) }
}

fn group_range() -> Option<(u32, u32)> {
    let text = std::fs::read_to_string(GROUP_RANGE).ok()?;
    let mut fields = text.split_ascii_whitespace().map(str::parse);
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}

/// Sends a packet from a socket of ours to itself, and sees whether it comes with stamps.
fn stamps() -> Stamps {
    let to_self = |family| stamps_over(family).unwrap_or_default();
    let v4 = to_self(Family::V4);
    if v4 == Stamps::default() { to_self(Family::V6) } else { v4 }
}

fn stamps_over(family: Family) -> io::Result<Stamps> {
    let clock = StampConverter::new(Arc::new(SystemClock));
    // Stamps of arrivals begin some time after the first socket has asked for them, so a few packets may come without.
    let mut socket = udp_socket::open::<()>(family, None, clock.now()).map_err(io::Error::other)?;
    let name: SockaddrStorage = getsockname(socket.as_fd().as_raw_fd())?;
    let port = match family {
        Family::V4 => name.as_sockaddr_in().map(|address| address.port()),
        Family::V6 => name.as_sockaddr_in6().map(|address| address.port()),
    };
    let port = port.ok_or_else(|| io::Error::other("a socket without a port"))?;
    let dst: IpAddr = match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    let packet = Transmit {
        token: Token(0),
        dst,
        channel: Channel::Udp { port },
        hop_limit: None,
        traffic_class: 0,
        dont_fragment: false,
        payload: b"sonde".to_vec(),
    };
    let begun = Instant::now();
    let mut stamps = Stamps::default();
    let mut scratch = vec![0; SCRATCH];
    while stamps != (Stamps { departure: true, arrival: true }) && begun.elapsed() < LOOPBACK_LIMIT {
        socket.send(&clock, &packet, ())?;
        poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::from(10_u8))?;
        let mut arrivals = Vec::new();
        socket.receive(&clock, &mut scratch, &mut arrivals);
        for arrival in arrivals {
            match arrival {
                Arrival::Stamp { .. } => stamps.departure = true,
                Arrival::Datagram { kernel, .. } => stamps.arrival |= kernel,
                Arrival::IcmpError { .. } => {}
            }
        }
    }
    Ok(stamps)
}

async fn resolvers(resolver: &Resolver) -> Vec<ResolverSeen> {
    let mut seen = Vec::new();
    for address in resolver.own_resolvers() {
        let answer = match Resolver::of_servers(&[address]).addresses(QUESTION, Family::V4, RESOLVE_LIMIT).await {
            Ok(_) | Err(ResolveError::NoSuchName | ResolveError::NoAddress(_)) => ResolverAnswer::Answers,
            Err(ResolveError::Refused(code)) => ResolverAnswer::Error(code.to_string()),
            Err(ResolveError::Timeout) => ResolverAnswer::No("no answer in time".into()),
            Err(error) => ResolverAnswer::No(with_causes(&error)),
        };
        seen.push(ResolverSeen { address, answer });
    }
    seen
}

/// Pings the collectors of the network that was named, over the families that this machine has.
async fn collectors(doctor: &Doctor, resolver: &Resolver, routes: &[(Family, bool)]) -> Option<Vec<Reached>> {
    let newest = doctor.state.as_ref().and_then(|state| kept_directory(state).ok().flatten());
    let collectors = match (newest, doctor.network.as_ref().or(doctor.config.network.as_ref())) {
        (Some(directory), _) => directory.collectors.iter().cloned().collect(),
        (None, Some(network)) => network.collectors.clone(),
        (None, None) => return None,
    };
    let families: Vec<Family> = routes.iter().filter(|(_, has)| *has).map(|(family, _)| *family).collect();
    let mut reached: Vec<Reached> = Vec::new();
    for endpoint in collectors.iter().flat_map(|collector| collector.addresses.iter()) {
        let host = match endpoint.parse::<SocketAddr>() {
            Ok(address) => address.ip().to_string(),
            Err(_) => endpoint.rsplit_once(':').map_or(endpoint.as_str(), |(host, _)| host).to_owned(),
        };
        // One host may be named with several ports.
        if reached.len() < MAX_REACHED && !reached.iter().any(|one| one.name == host) {
            reached.extend(reach(&host, resolver, &families).await);
        }
    }
    Some(reached)
}

/// Pings a host at its first address in each of these families; a literal of another family is left out.
async fn reach(name: &str, resolver: &Resolver, families: &[Family]) -> Vec<Reached> {
    let reached = |address, answer| Reached { name: name.to_owned(), address, answer };
    let literal = name.parse::<IpAddr>().ok();
    let (mut found, mut failed) = (Vec::new(), None);
    for &family in families {
        if literal.is_some_and(|literal| Family::of(literal) != family) {
            continue;
        }
        match resolver.addresses(name, family, RESOLVE_LIMIT).await {
            Ok((addresses, _)) => found.extend(addresses.first().copied()),
            Err(error) => failed = Some(with_causes(&error)),
        }
    }
    let mut all = Vec::new();
    for address in found {
        all.push(reached(Some(address), answers_ping(address).await));
    }
    match failed {
        Some(why) if all.is_empty() => vec![reached(None, Err(why))],
        _ => all,
    }
}
