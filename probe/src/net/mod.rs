//! The socket layer, and the one loop that drives the engines of the packet kinds.
//!
//! [`driver::Driver`] is the entry: it takes a job (a way to make an engine), moves packets, kernel stamps and deadlines
//! between the engine and the sockets on a thread of its own, and gives the outcome back. [`dns_stream`], [`certificates`]
//! and [`http`] run exchanges over a [`stream`] and tell what happened when. [`clock`] is where time comes from.
//!
//! This module must not know about orders, policy or results beyond an engine's outcome: whether an address may be
//! measured is decided before a job is made.

pub mod certificates;
pub mod clock;
mod control;
pub mod datagrams;
mod departures;
pub mod dns_stream;
pub mod driver;
mod event_loop;
#[cfg(test)]
mod honesty;
pub mod http;
pub mod icmp_socket;
pub mod one_peer;
pub mod opening;
mod pace;
pub mod quic_client;
pub mod raw_errors;
mod sequences;
pub mod socket;
pub mod solicit;
mod stamps;
pub mod stream;
mod sys;
pub mod tcp_socket;
pub mod tls;
pub mod udp_socket;

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sonde_protocol::net::Family;
use sonde_protocol::time::Nanos;

pub use driver::{Driver, Finished, Job, Options, RunInfo};
pub use tcp_socket::raw_allowed;
pub(crate) use udp_socket::unspecified;
pub use udp_socket::{source_address, source_over, with_zone, zone_of};

/// Why a job could not be run. What happens to packets on the network is never an error here.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The system does not speak this family.
    #[error("this system has no IPv{family}")]
    NoFamily {
        /// The family.
        family: Family,
    },
    /// No kind of ICMP socket is allowed. An absent cause means that this kind was not wanted.
    #[error(
        "may not open an ICMP socket for IPv{family} (unprivileged: {}; raw: {}): allow the unprivileged one with \
         `sysctl net.ipv4.ping_group_range=\"0 2147483647\"` (it rules IPv6 too), or give this program CAP_NET_RAW",
        cause(.datagram),
        cause(.raw)
    )]
    NoIcmp {
        /// The family.
        family: Family,
        /// Why there is no unprivileged one.
        datagram: Option<io::Error>,
        /// Why there is no raw one.
        raw: Option<io::Error>,
    },
    /// A UDP socket could not be opened.
    #[error("cannot open a UDP socket for IPv{family}")]
    Udp {
        /// The family.
        family: Family,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A raw TCP socket could not be opened.
    #[error("cannot open a raw TCP socket for IPv{family}")]
    Tcp {
        /// The family.
        family: Family,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// IPv6 options headers could not be set.
    #[error("cannot send IPv6 options headers")]
    Options(#[source] io::Error),
    /// As many jobs run as may.
    #[error("too many measurements at once")]
    Busy,
    /// The shared ICMP socket had no room for so many sequence numbers, however long the job waited.
    #[error("no {count} ICMP sequence numbers have become free")]
    Sequences {
        /// How many were asked for.
        count: u16,
    },
    /// The thread of the driver could not be started.
    #[error("cannot start the network thread")]
    Start(#[source] io::Error),
    /// The driver has ended.
    #[error("the network thread has ended")]
    Stopped,
}

/// Why this program may send no pings over a family that the system has; nothing when it may.
pub fn may_not_ping(now: Nanos) -> Option<String> {
    Family::BOTH.into_iter().find_map(|family| {
        match icmp_socket::open::<()>(family, icmp_socket::IcmpMode::default(), 0, now) {
            Err(NetError::NoIcmp { datagram, raw, .. }) => {
                let why = datagram.or(raw).map_or_else(|| "not allowed".into(), |error| error.to_string());
                Some(format!("IPv{family}: {why}"))
            }
            _ => None,
        }
    })
}

/// Lets this process have as many open files as the system allows it: a run over UDP has a socket of its own, and the usual
/// limit of 1024 is for programs that use `select`.
///
/// # Errors
/// When the system refuses.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

fn cause(error: &Option<io::Error>) -> String {
    error.as_ref().map_or_else(|| "not tried".into(), ToString::to_string)
}
