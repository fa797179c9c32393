//! The simplest tools to see who reaches whom: one echo, one packet with a small hop limit. For the lab's own start and
//! for tests that need a second opinion; they use raw sockets, so they need root, and measure from user space.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::packet::{ICMP, ICMPV6, IpSummary, be16, parse_ip, quoted};

/// The answer to an echo request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EchoReply {
    /// The identifier that the request had, to find it in a log.
    pub id: u16,
    /// From before the send to after the receive.
    pub rtt: Duration,
}

/// An ICMP error about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpError {
    /// Who sent it.
    pub from: IpAddr,
    /// ICMP or ICMPv6 type.
    pub icmp_type: u8,
    /// Its code.
    pub icmp_code: u8,
}

impl IcmpError {
    /// Whether the hop limit ran out (time exceeded).
    pub fn is_hop_limit(&self) -> bool {
        self.icmp_type == if self.from.is_ipv4() { 11 } else { 3 }
    }

    /// Whether the destination has nobody at that port (port unreachable).
    pub fn is_port(&self) -> bool {
        (self.icmp_type, self.icmp_code) == if self.from.is_ipv4() { (3, 3) } else { (1, 4) }
    }
}

/// Sends one echo request and waits for its answer; `None` if none came in time. Fails if it cannot even be sent.
pub fn ping(dst: IpAddr, seq: u16, timeout: Duration) -> io::Result<Option<EchoReply>> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    let id = u16::from_be_bytes(id);
    let (request, reply) = if dst.is_ipv4() { (8, 0) } else { (128, 129) };
    let mut packet = vec![request, 0, 0, 0];
    packet.extend(id.to_be_bytes());
    packet.extend(seq.to_be_bytes());
    packet.extend(b"sonde lab");
    if dst.is_ipv4() {
        let sum = checksum(&packet).to_be_bytes();
        packet.splice(2..4, sum);
    }
    let socket = icmp_socket(dst)?;
    let begin = Instant::now();
    socket.send_to(&packet, (dst, 0))?;
    let answer = wait(&socket, begin + timeout, |from, icmp| {
        let is_it =
            from == dst && icmp.first() == Some(&reply) && be16(icmp, 4) == Some(id) && be16(icmp, 6) == Some(seq);
        is_it.then(|| EchoReply { id, rtt: begin.elapsed() })
    })?;
    Ok(answer)
}

/// Sends one empty UDP packet with this hop limit and waits for the ICMP error about it; `None` if none came in time.
pub fn udp_hop(dst: SocketAddr, hop_limit: u8, timeout: Duration) -> io::Result<Option<IcmpError>> {
    let errors = icmp_socket(dst.ip())?;
    let unspecified: IpAddr = if dst.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((unspecified, 0))?;
    let src_port = socket.local_addr()?.port();
    let options = socket2::SockRef::from(&socket);
    if dst.is_ipv4() {
        options.set_ttl_v4(hop_limit.into())?;
    } else {
        options.set_unicast_hops_v6(hop_limit.into())?;
    }
    let begin = Instant::now();
    socket.send_to(&[], dst)?;
    let protocol = if dst.is_ipv4() { ICMP } else { ICMPV6 };
    let is_it = |ip: IpSummary| ip.dst == dst.ip() && ip.dst_port == Some(dst.port()) && ip.src_port == Some(src_port);
    wait(&errors, begin + timeout, |from, icmp| {
        quoted(protocol, icmp).filter(|ip| is_it(*ip))?;
        Some(IcmpError { from, icmp_type: *icmp.first()?, icmp_code: *icmp.get(1)? })
    })
}

/// A raw socket for the family of `dst`. As a `UdpSocket`, whose methods work on any socket with IP addresses.
fn icmp_socket(dst: IpAddr) -> io::Result<UdpSocket> {
    let (domain, protocol) =
        if dst.is_ipv4() { (Domain::IPV4, Protocol::ICMPV4) } else { (Domain::IPV6, Protocol::ICMPV6) };
    Ok(Socket::new(domain, Type::RAW, Some(protocol))?.into())
}

/// Shows arriving ICMP messages, from their header on, to `pick` until it takes one or time is up.
fn wait<T>(socket: &UdpSocket, deadline: Instant, pick: impl Fn(IpAddr, &[u8]) -> Option<T>) -> io::Result<Option<T>> {
    let mut buffer = [0; 2048];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        let (length, from) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) =>
            {
                continue;
            }
            Err(error) => return Err(error),
        };
        let bytes = buffer.get(..length).unwrap_or(&buffer);
        // Only IPv4's raw sockets deliver the IP header.
        let icmp = if from.is_ipv4() { parse_ip(bytes).map(|(_, icmp)| icmp) } else { Some(bytes) };
        if let Some(found) = icmp.and_then(|icmp| pick(from.ip(), icmp)) {
            return Ok(Some(found));
        }
    }
}

/// The Internet checksum (RFC 1071).
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u32::from(*byte) << 8);
    let mut sum = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum::<u32>() + last;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_rfcs_example() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[0x01]), !0x0100);
    }
}
