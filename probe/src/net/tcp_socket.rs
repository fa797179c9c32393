//! A raw TCP socket for one engine: SYNs out with any hop limit, what comes back to their port in, ICMP errors by the error
//! queue. It needs CAP_NET_RAW.
//!
//! The source port is held by a TCP socket that is bound and does nothing else: no connection of this machine gets the
//! port meanwhile, and the kernel, which finds nobody who listens or waits there, refuses whatever connection a target
//! opens. So nothing stays half open at the target.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::libc;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use sonde_engine::tcp::{self, Segment, Start};
use sonde_protocol::net::Family;
use sonde_protocol::time::Nanos;

use super::NetError;
use super::socket::{Kind, PacketSocket};
use super::udp_socket::source_address;

/// What is the same in all segments of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpFlow {
    /// Our address.
    pub src: IpAddr,
    /// Our port.
    pub source_port: u16,
    /// The target's port.
    pub port: u16,
}

impl TcpFlow {
    /// The segment with source port and checksum.
    pub(super) fn fill(&self, dst: IpAddr, segment: &[u8]) -> Vec<u8> {
        let mut segment = segment.to_vec();
        tcp::fill(&mut segment, self.src, dst, self.source_port);
        segment
    }

    /// Whether a segment that arrived is of this flow. The kernel's filter has looked, but not at what came before it.
    pub(super) fn is_answer(&self, segment: &[u8]) -> bool {
        Segment::parse(segment)
            .is_some_and(|segment| (segment.source_port, segment.destination_port) == (self.port, self.source_port))
    }

    /// Whether the segment that an ICMP error quotes is of this flow: a raw socket is told of everybody's.
    pub(super) fn is_quoted(&self, quoted: &[u8]) -> bool {
        Start::parse(quoted)
            .is_some_and(|start| (start.source_port, start.destination_port) == (self.source_port, self.port))
    }
}

/// Opens one for segments to a port of `dst`, from `wanted` or, when that is not free, from a port of the system's choice.
pub fn open<T: Copy>(dst: IpAddr, wanted: Option<u16>, port: u16, now: Nanos) -> Result<PacketSocket<T>, NetError> {
    let family = Family::of(dst);
    let open = || {
        let src = source_address(dst)?;
        let (reserved, source_port) = reserve(src, wanted)?;
        let socket = Socket::new(domain(family), Type::RAW, Some(Protocol::TCP))?;
        socket.attach_filter(&port_filter(family, port, source_port))?;
        // The checksum is over this address, so the kernel may choose no other.
        socket.bind(&SocketAddr::new(src, 0).into())?;
        let flow = TcpFlow { src, source_port, port };
        PacketSocket::new(socket, family, Kind::TcpRaw(flow), now).map(|socket| socket.keeping(reserved))
    };
    open().map_err(|source: io::Error| match source.raw_os_error() {
        Some(libc::EAFNOSUPPORT) => NetError::NoFamily { family },
        _ => NetError::Tcp { family, source },
    })
}

/// Whether this process may open raw sockets. Sends nothing.
///
/// # Errors
/// Why not: without CAP_NET_RAW the system's "Operation not permitted".
pub fn raw_allowed(family: Family) -> io::Result<()> {
    Socket::new(domain(family), Type::RAW, Some(Protocol::TCP)).map(drop)
}

fn domain(family: Family) -> Domain {
    match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    }
}

/// A TCP socket bound to a port, and the port. Runs to different targets may have the same one: their segments differ in
/// the address, and those to one target in their sequence numbers.
fn reserve(src: IpAddr, wanted: Option<u16>) -> io::Result<(Socket, u16)> {
    let bind = |port| {
        let socket = Socket::new(domain(Family::of(src)), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(src, port).into())?;
        let bound = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidData)?;
        Ok((socket, bound.port()))
    };
    match wanted.map(bind) {
        Some(Ok(reserved)) => Ok(reserved),
        Some(Err(_)) | None => bind(0),
    }
}

/// A classic BPF program that lets segments from one port to another pass. It sees the packet from the IP header on for
/// IPv4, from the TCP header on for IPv6.
fn port_filter(family: Family, from: u16, to: u16) -> Vec<SockFilter> {
    let statement = |code: u32, value: u32| SockFilter::new(code as u16, 0, 0, value);
    let mut program = match family {
        Family::V4 => vec![
            statement(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0), // x = length of the IP header
            statement(libc::BPF_LD | libc::BPF_W | libc::BPF_IND, 0),
        ],
        Family::V6 => vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)],
    };
    let ports = (u32::from(from) << 16) | u32::from(to);
    program.push(SockFilter::new((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, 0, 1, ports));
    program.push(statement(libc::BPF_RET | libc::BPF_K, u32::MAX));
    program.push(statement(libc::BPF_RET | libc::BPF_K, 0));
    program
}
