//! Tries out what a probe needs, and writes down what the system says. It decides nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockaddrStorage, getsockname};
use socket2::{Domain, Protocol, Socket, Type};
use sonde_engine::{Channel, Token, Transmit};
use sonde_protocol::directory::Collector;
use sonde_protocol::net::{Family, Uplink};
use sonde_protocol::tls::SecretKey;

use super::Doctor;
use super::judge::{ClockSeen, Opened, PingSockets, ProbeSeen, Reached, Seen, Stamps};
use crate::agent::OS_VERSION;
use crate::condition::diagnosis::Found;
use crate::condition::disk;
use crate::condition::facts::Facts;
use crate::condition::survey::{Asking, USUAL, survey};
use crate::identity::{kept_collector, kept_directory};
use crate::kept;
use crate::local::LocalNetwork;
use crate::net::clock::{StampConverter, SystemClock};
use crate::net::socket::{Arrival, SCRATCH};
use crate::net::udp_socket;
use crate::reachability::answers_ping;
use crate::resolve::Resolver;
use crate::run::with_causes;
use crate::status;
use crate::wall_clock::kernel_clock;

/// Who may open ping sockets: first and last group.
const GROUP_RANGE: &str = "/proc/sys/net/ipv4/ping_group_range";

/// How long the name of a target may take to resolve.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);

/// How long a packet from this machine to itself may take.
const LOOPBACK_LIMIT: Duration = Duration::from_secs(1);

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

pub(super) async fn look(doctor: &Doctor) -> Seen {
    let resolver = Resolver::new(&doctor.config.policy);
    let mut targets = Vec::new();
    for target in &doctor.targets {
        targets.extend(reach(target, &resolver, &FAMILIES).await);
    }
    let running = doctor.state.as_ref().map(|state| status::ask(state));
    let mut facts = network(doctor, &resolver).await;
    // Where it gets through over TCP alone, silence is not the collector's.
    facts.by_tls = matches!(&running, Some(Ok(status)) if status.uplink.as_deref() == Some(Uplink::Tls.name()));
    Seen {
        sockets: FAMILIES.map(ping_sockets).to_vec(),
        group_range: group_range(),
        group: nix::unistd::getegid().as_raw(),
        program: std::env::current_exe().map_or_else(|_| "sonde-probe".into(), |path| path.display().to_string()),
        stamps: stamps(),
        facts,
        now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs()),
        on_board: std::env::var_os(OS_VERSION).is_some(),
        clock: match kernel_clock() {
            Ok(clock) if clock.synchronised => ClockSeen::Synchronised(clock.max_error),
            Ok(_) => ClockSeen::NotSynchronised,
            Err(error) => ClockSeen::Unknown(error.to_string()),
        },
        probe: running.as_ref().map(|asked| match asked {
            Ok(status) => ProbeSeen::Running(Box::new(status.clone())),
            Err(_) => ProbeSeen::NotRunning,
        }),
        sandbox: running.as_ref().and_then(|asked| asked.as_ref().ok()).map(|status| status.sandbox.clone()),
        settled: doctor.state.as_deref().map(|state| kept::verdict::kept(state).memory).unwrap_or_default(),
        disk: match (&doctor.state, &running) {
            (Some(state), Some(Err(_))) => disk_of(state),
            _ => None,
        },
        targets,
    }
}

/// What is wrong with the disk of a state directory. That it is not there, or is somebody else's, says nothing of the disk.
fn disk_of(state: &Path) -> Option<Found> {
    let is_ours = rustix::fs::access(state, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
    let says_nothing = is_ours.is_err_and(|errno| errno != rustix::io::Errno::ROFS);
    if says_nothing { None } else { disk::look(state) }
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

/// Looks at the network, and for the collectors of the one that was named.
async fn network(doctor: &Doctor, resolver: &Resolver) -> Facts {
    let newest = doctor.state.as_ref().and_then(|state| kept_directory(state).ok().flatten());
    let collectors: Option<Vec<Collector>> = match (newest, doctor.network.as_ref().or(doctor.config.network.as_ref()))
    {
        (Some(directory), _) => Some(directory.collectors.iter().cloned().collect()),
        (None, Some(network)) => Some(network.collectors.clone()),
        (None, None) => None,
    };
    let endpoints = |collectors: &Vec<Collector>| {
        collectors.iter().flat_map(|one| one.addresses.iter().map(ToString::to_string)).collect()
    };
    let has_v4 = LocalNetwork::read().is_ok_and(|local| local.has_route(Family::V4));
    let asking = Asking {
        endpoints: collectors.as_ref().map(endpoints),
        keys: collectors.iter().flatten().map(|one| one.key).collect(),
        translators: if has_v4 { Vec::new() } else { resolver.nat64_prefixes().await },
        remembered: doctor.state.as_ref().and_then(|state| kept_collector(state)),
        connected: None,
        large: Some(USUAL),
    };
    // The probe's own key is nobody's business here: a collector tells anybody where the collectors are.
    match SecretKey::generate() {
        Ok(key) => survey(&asking, &key, resolver).await,
        Err(_) => Facts::default(),
    }
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
