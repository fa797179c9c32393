//! A UDP socket for one engine: not connected, so that an answer from another address is seen as what it is; one source
//! port for its whole life, so that all its packets are one flow.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsFd;

use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};
use sonde_protocol::net::Family;
use sonde_protocol::time::Nanos;

use super::socket::{Kind, PacketSocket};
use super::{NetError, sys};

/// Opens a UDP socket with this source port, or with one of the system's choice when there is no wish or it is taken.
pub fn open<T: Copy>(family: Family, port: Option<u16>, now: Nanos) -> Result<PacketSocket<T>, NetError> {
    let open = || {
        let domain = match family {
            Family::V4 => Domain::IPV4,
            Family::V6 => Domain::IPV6,
        };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if family == Family::V6 {
            socket.set_only_v6(true)?;
        }
        let bind = |port| socket.bind(&SocketAddr::new(unspecified(family), port).into());
        port.map_or_else(|| bind(0), |port| bind(port).or_else(|_| bind(0)))?;
        PacketSocket::new(socket, family, Kind::Udp, now)
    };
    open().map_err(|source: io::Error| match source.raw_os_error() {
        Some(libc::EAFNOSUPPORT) => NetError::NoFamily { family },
        _ => NetError::Udp { family, source },
    })
}

/// A socket that does nothing but ask for stamps of arrivals, which switches them on for the whole system as long as it
/// lives. `None` where the kernel has none.
pub(super) fn stamping_switched_on() -> Option<Socket> {
    let socket = [Domain::IPV4, Domain::IPV6]
        .into_iter()
        .find_map(|domain| Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).ok())?;
    let flags = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
    sys::set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPING, flags).ok()?;
    Some(socket)
}

/// The address this host would send from towards `dst`. Sends nothing.
///
/// # Errors
/// When there is no route or no address of the family.
pub fn source_address(dst: IpAddr) -> io::Result<IpAddr> {
    source_over(dst, 0)
}

/// The same; `zone` is the number of the link on which a link-local `dst` is.
///
/// # Errors
/// When there is no route or no address of the family.
pub fn source_over(dst: IpAddr, zone: u32) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind(SocketAddr::new(unspecified(Family::of(dst)), 0))?;
    // Any port but 0 does; 9 is "discard".
    socket.connect(with_zone(dst, 9, zone))?;
    Ok(socket.local_addr()?.ip())
}

/// An address and port, with the number of the link on which a link-local address is.
pub fn with_zone(address: IpAddr, port: u16, zone: u32) -> SocketAddr {
    match address {
        IpAddr::V4(_) => SocketAddr::new(address, port),
        IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, zone).into(),
    }
}

/// The number of the link on which an address is that is one there alone; 0 of every other.
pub const fn zone_of(address: &SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(v6) => v6.scope_id(),
    }
}

/// The address of nobody in particular.
pub(crate) fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}
