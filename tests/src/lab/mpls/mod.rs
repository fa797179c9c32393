//! The `lab-mpls` process: a router in user space whose "time exceeded" carries MPLS labels (RFC 4950), which no router of
//! the kernel does. It forwards both families between its two interfaces and does nothing else: the kernel of its
//! namespace, which itself forwards nothing, resolves addresses and answers what is meant for the router.
//!
//! Frames are read by AF_PACKET and sent by raw sockets. Behind a TUN device, the other way to do this, the kernel in front
//! of it would see the hop limit first and answer in our place. It does not fragment. `message` decides, this moves.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use self::message::{Verdict, judge, too_big};
use super::capture::{control_space, packet_socket, receive};
use super::packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, be16};
use super::sys;
use super::topology::{Family, Link, Node, Router};

mod message;

const ME: Node = Node::Router(Router::Mpls);
/// Its links and what its interfaces there are called, as the table says.
const PORTS: [(Link, &str); 2] = [(Link::JoinMpls, "join"), (Link::MplsD1, "d1")];
/// IP's number for "the header is in the data".
const RAW: i32 = libc::IPPROTO_RAW;
const ETHERNET_HEADER: usize = 14;

/// One of the two sides.
struct Port {
    index: u32,
    name: &'static str,
    link: Link,
}

/// Runs until standard input closes.
pub fn run() -> anyhow::Result<()> {
    let receiver = packet_socket().context("open the receiving socket")?;
    sys::set_packet_option(receiver.as_fd(), sys::PACKET_IGNORE_OUTGOING, 1).context("ignore outgoing frames")?;
    let raw = |domain| Socket::new(domain, Type::RAW, Some(Protocol::from(RAW))).context("open a raw socket");
    let (v4, v6) = (raw(Domain::IPV4)?, raw(Domain::IPV6)?);
    let mut ports = Vec::new();
    for (link, name) in PORTS {
        ports.push(Port { index: nix::net::if_::if_nametoindex(name).context("find an interface")?, name, link });
    }
    let own: Vec<IpAddr> = Family::ALL.into_iter().flat_map(|family| ME.addresses(family)).collect();
    // Late is better than not at all.
    let _ = sys::real_time();
    fcntl(io::stdin(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("make standard input non-blocking")?;

    let (mut buffer, mut control) = (vec![0; 1 << 16], control_space());
    loop {
        let stdin = io::stdin();
        let mut ready =
            [PollFd::new(receiver.as_fd(), PollFlags::POLLIN), PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("wait for frames"),
        }
        if ready[1].any() == Some(true) && matches!(io::stdin().lock().read(&mut [0; 16]), Ok(0)) {
            return Ok(());
        }
        while let Some(frame) = receive(&receiver, &mut buffer, &mut control)? {
            let Some(arrived) = ports.iter().find(|port| port.index == frame.interface_index) else { continue };
            let bytes = buffer.get(..frame.length).unwrap_or(&buffer);
            let is_ip = matches!(be16(bytes, 12), Some(ETHERTYPE_IPV4 | ETHERTYPE_IPV6));
            let Some(packet) = bytes.get(ETHERNET_HEADER..).filter(|_| is_ip) else { continue };
            let family = if packet.first().is_some_and(|byte| byte >> 4 == 4) { Family::V4 } else { Family::V6 };
            let me = ME.address_on(arrived.link, family).context("an address on each link")?;
            let send = |packet: &[u8], dst: IpAddr| {
                let socket = if dst.is_ipv4() { &v4 } else { &v6 };
                socket.send_to(packet, &SockAddr::from(SocketAddr::new(dst, 0)))
            };
            let Verdict::Send { packet: out, dst } = judge(packet, me, &own) else { continue };
            // What else can go wrong is a loss, as at any router.
            if let Err(error) = send(&out, dst)
                && error.raw_os_error() == Some(libc::EMSGSIZE)
                && let Some(mtu) = ports.iter().find(|port| port.index != arrived.index).and_then(mtu)
                && let Some(Verdict::Send { packet: answer, dst }) = too_big(packet, me, mtu)
            {
                let _ = send(&answer, dst);
            }
        }
    }
}

fn mtu(port: &Port) -> Option<u32> {
    let file = Path::new("/sys/class/net").join(port.name).join("mtu");
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}
