//! The UDP socket of a QUIC client, which hears one peer: whatever comes from another address or port is dropped in the kernel,
//! before any parser. A stranger who finds the port finds nobody at home.
//!
//! Not by `connect(2)`, which would do that too: it binds the socket to the address that the machine has at that moment, and a
//! connection is to survive when that changes. The peer of a client never changes (RFC 9000, section 9), so the filter does not
//! either; each attempt to reach a collector has a socket of its own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use nix::libc;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tracing::warn;

/// `SKF_NET_OFF` (linux/filter.h): from here on offsets count from the IP header; a UDP socket's begin at the UDP header.
const IP_HEADER: u32 = 0xfff0_0000;

/// The source address in an IPv4 header (RFC 791) and in an IPv6 header (RFC 8200).
const SOURCE_V4: u32 = 12;
const SOURCE_V6: u32 = 8;

/// A socket for datagrams to and from `peer`, bound to a port of the system's choice. An IPv4 address that is written as an IPv6
/// one is one of IPv4 here: see [`peer_of`].
///
/// # Errors
/// When the system has no such socket.
pub fn open(peer: SocketAddr) -> io::Result<UdpSocket> {
    let (domain, any): (Domain, IpAddr) = match peer {
        SocketAddr::V4(_) => (Domain::IPV4, Ipv4Addr::UNSPECIFIED.into()),
        SocketAddr::V6(_) => (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if peer.is_ipv6() {
        // In packets of the other family the filter would look at the wrong places.
        socket.set_only_v6(true)?;
    }
    // Before the socket has a port, so that nothing has come yet.
    let filter: Vec<SockFilter> =
        only_from(peer).iter().map(|one| SockFilter::new(one.code, one.jt, one.jf, one.k)).collect();
    if let Err(error) = socket.attach_filter(&filter) {
        warn!(%error, "the kernel does not filter what strangers send to the probe's connection: it drops that by itself");
    }
    socket.bind(&SocketAddr::new(any, 0).into())?;
    Ok(socket.into())
}

/// The address as the kernel shows it in packets: `::ffff:192.0.2.1` is 192.0.2.1.
pub fn peer_of(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), address.port()),
        // As it was: it may have a zone.
        IpAddr::V6(_) => address,
    }
}

/// A classic BPF program that lets datagrams from one address and port pass.
fn only_from(peer: SocketAddr) -> Vec<libc::sock_filter> {
    let instruction = |code: u32, jf, k| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let half = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
    let word = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    // What is loaded, from where, and what it has to be.
    let mut checks = vec![(half, 0, u32::from(peer.port()))];
    match peer.ip() {
        IpAddr::V4(address) => checks.push((word, IP_HEADER + SOURCE_V4, address.to_bits())),
        IpAddr::V6(address) => {
            let octets = address.octets();
            let (words, _) = octets.as_chunks::<4>();
            let places = (IP_HEADER + SOURCE_V6..).step_by(4);
            checks.extend(words.iter().zip(places).map(|(bytes, place)| (word, place, u32::from_be_bytes(*bytes))));
        }
    }
    let mut program = Vec::new();
    let mut left = checks.len();
    for (load, place, value) in checks {
        left -= 1;
        program.push(instruction(load, 0, place));
        // Past the other checks, two instructions each, and past the word that accepts.
        let to_the_end = u8::try_from(2 * left + 1).unwrap_or(u8::MAX);
        program.push(instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, to_the_end, value));
    }
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, u32::MAX));
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0));
    program
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// How many datagrams the kernel has dropped for the socket on this port (the last column of `/proc/net/udp`).
    fn drops(socket: &UdpSocket) -> u64 {
        let local = socket.local_addr().unwrap();
        let table = if local.is_ipv4() { "udp" } else { "udp6" };
        let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap();
        let port = format!(":{:04X}", local.port());
        let line = text.lines().find(|line| line.split_whitespace().nth(1).is_some_and(|at| at.ends_with(&port)));
        line.and_then(|line| line.split_whitespace().last()).and_then(|last| last.parse().ok()).unwrap()
    }

    /// The peer is heard, and of the strangers not one datagram reaches the socket. Loopback delivers before `send_to` returns, so
    /// nothing has to be waited for.
    fn hears_its_peer_only(peer: &str, strangers: &[&str]) {
        let peer = UdpSocket::bind(peer).unwrap();
        let address = peer.local_addr().unwrap();
        let socket = open(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let home = SocketAddr::new(address.ip(), socket.local_addr().unwrap().port());
        for (number, stranger) in strangers.iter().enumerate() {
            // With the same port at another address, or any port at the same.
            let place = stranger.replace("PORT", &address.port().to_string());
            let stranger = UdpSocket::bind(&place).unwrap();
            for text in [&b"let me in"[..], b""] {
                stranger.send_to(text, home).unwrap();
            }
            assert_eq!(drops(&socket), 2 * (number as u64 + 1), "{place} to {home}");
        }
        let mut heard = [0; 64];
        assert_eq!(socket.recv_from(&mut heard).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        peer.send_to(b"welcome", home).unwrap();
        assert_eq!(socket.recv_from(&mut heard).unwrap(), (7, address));
        assert_eq!(&heard[..7], b"welcome");
        socket.send_to(b"hello", address).unwrap();
        assert_eq!(peer.recv_from(&mut heard).unwrap().0, 5);
        assert_eq!(drops(&socket), 2 * strangers.len() as u64);
    }

    #[test]
    fn a_stranger_does_not_reach_the_socket_over_ipv4() {
        hears_its_peer_only("127.0.0.1:0", &["127.0.0.1:0", "127.0.0.2:PORT", "127.1.0.1:PORT", "127.0.0.3:0"]);
    }

    #[test]
    fn a_stranger_does_not_reach_the_socket_over_ipv6() {
        if UdpSocket::bind("[::1]:0").is_err() {
            return eprintln!("SKIPPED: no IPv6 here");
        }
        hears_its_peer_only("[::1]:0", &["[::1]:0"]);
    }

    /// What the program does with a datagram of this source: the test that the machine's one IPv6 address on loopback cannot be.
    fn accepts(program: &[libc::sock_filter], source: SocketAddr) -> bool {
        let load = |place: u32, length: u32| -> u32 {
            let ip = match source.ip() {
                IpAddr::V4(v4) => [&[0; 12][..], &v4.octets()].concat(),
                IpAddr::V6(v6) => [&[0; 8][..], &v6.octets()].concat(),
            };
            let (bytes, at) = match place.checked_sub(IP_HEADER) {
                Some(at) => (ip, at),
                None => (source.port().to_be_bytes().to_vec(), place),
            };
            let bytes = &bytes[at as usize..(at + length) as usize];
            bytes.iter().fold(0, |sum, byte| (sum << 8) | u32::from(*byte))
        };
        let (mut at, mut register) = (0, 0);
        loop {
            let raw = &program[at];
            at += 1;
            let code = u32::from(raw.code);
            match code & 0x07 {
                libc::BPF_LD => register = load(raw.k, if code & 0x18 == libc::BPF_H { 2 } else { 4 }),
                libc::BPF_JMP => at += usize::from(if register == raw.k { raw.jt } else { raw.jf }),
                libc::BPF_RET => return raw.k != 0,
                other => panic!("class {other}"),
            }
        }
    }

    #[test]
    fn every_part_of_address_and_port_counts() {
        for peer in ["192.0.2.7:8333", "[2001:db8:1:2:3:4:5:6]:443", "[fe80::1%3]:9", "[::1]:65535"] {
            let peer: SocketAddr = peer.parse().unwrap();
            let program = only_from(peer);
            assert!(accepts(&program, peer), "{peer}");
            let mut others =
                vec![SocketAddr::new(peer.ip(), peer.port() ^ 1), SocketAddr::new(peer.ip(), peer.port() ^ 0x100)];
            let bits = if peer.is_ipv4() { 32 } else { 128 };
            others.extend((0..bits).map(|bit| {
                let ip: IpAddr = match peer.ip() {
                    IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() ^ (1 << bit)).into(),
                    IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() ^ (1 << bit)).into(),
                };
                SocketAddr::new(ip, peer.port())
            }));
            for other in others {
                assert!(!accepts(&program, other), "{other} passes for {peer}");
            }
        }
    }

    #[test]
    fn an_ipv4_address_in_the_clothes_of_ipv6_is_one_of_ipv4() {
        let of = |text: &str| peer_of(text.parse().unwrap()).to_string();
        assert_eq!(of("[::ffff:192.0.2.1]:443"), "192.0.2.1:443");
        assert_eq!(of("[2001:db8::1]:443"), "[2001:db8::1]:443");
        assert_eq!(of("[fe80::1%3]:443"), "[fe80::1%3]:443");
    }
}
