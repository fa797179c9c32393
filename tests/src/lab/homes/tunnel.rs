//! IPv6 in IPv4 (RFC 4213), for 6to4 and 6rd: a thread between a TUN device and a raw socket. Not every kernel has the device
//! `sit`, which does the same.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::Homes;
use super::draft::{RELAY_NODE, TUNNEL_MTU, router};
use super::plan::{RELAY, SIX_RD, SIX_TO_FOUR, V6, v4_in};
use crate::lab::sys;

/// IP's number for IPv6 inside.
const IN_IPV4: i32 = 41;

/// Where the destination is in an IPv6 header.
const DESTINATION: std::ops::Range<usize> = 24..40;

/// A thread that ends when this is dropped.
#[derive(Debug)]
pub(super) struct Helper {
    /// Its other end closes with it, which the thread sees.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Helper {
    /// Runs `body` with what tells it to stop: readable when it is to.
    pub(super) fn start(body: impl FnOnce(UnixStream) + Send + 'static) -> anyhow::Result<Self> {
        let (stop, told) = UnixStream::pair().context("a pair of sockets")?;
        Ok(Self { stop: Some(stop), thread: Some(thread::spawn(move || body(told))) })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say but that it panicked, which the runner has shown.
            let _ = thread.join();
        }
    }
}

impl Homes {
    pub(super) fn start_tunnels(&mut self) -> anyhow::Result<()> {
        let device = |name: &str| format!("tuntap add dev {name} mode tun\nlink set dev {name} mtu {TUNNEL_MTU} up\n");
        let ways = format!("route add {SIX_TO_FOUR}/16 dev tun\nroute add {SIX_RD}/32 dev tun\n");
        self.namespace(RELAY_NODE).feed("ip", &["-batch", "-"], &(device("tun") + &ways))?;
        let mut started = vec![self.tunnel(RELAY_NODE, "tun")?];
        for plan in &self.plans {
            if matches!(plan.v6, V6::SixToFour | V6::SixRd) {
                started.push(self.tunnel(&router(plan.name), "tunnel")?);
            }
        }
        self.helpers.extend(started);
        Ok(())
    }

    fn tunnel(&self, node: &str, device: &str) -> anyhow::Result<Helper> {
        let is_relay = node == RELAY_NODE;
        let (tun, socket) = self.namespace(node).run(|| -> anyhow::Result<_> {
            let tun = sys::attach_tun(device).context("attach to a TUN device")?;
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IN_IPV4))).context("a raw socket")?;
            if is_relay {
                socket.bind(&SocketAddr::new(RELAY.into(), 0).into()).context("the relay's address")?;
            }
            socket.set_nonblocking(true)?;
            Ok((tun, socket))
        })?;
        Helper::start(move |told| carry(tun, &socket, &told))
    }
}

/// Carries packets both ways until it is told to stop. What cannot be sent is lost, as on any line.
fn carry(mut tun: File, mut socket: &Socket, told: &UnixStream) {
    let mut buffer = [0; 2048];
    loop {
        let mut ready = [tun.as_fd(), socket.as_fd(), told.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        if poll(&mut ready, PollTimeout::NONE).is_err() || ready[2].any() == Some(true) {
            return;
        }
        while let Ok(length) = tun.read(&mut buffer) {
            let packet = &buffer[..length];
            if let Some(to) = other_end(packet) {
                let _ = socket.send_to(packet, &SockAddr::from(SocketAddr::new(IpAddr::V4(to), 0)));
            }
        }
        loop {
            match socket.read(&mut buffer) {
                Ok(length) => {
                    // A raw socket gives the IPv4 header too.
                    let header = usize::from(buffer[0] & 0xf) * 4;
                    if let Some(packet) = buffer.get(header..length) {
                        let _ = tun.write(packet);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }
}

/// The IPv4 address of the tunnel's other end: in the destination's prefix, else the relay.
fn other_end(packet: &[u8]) -> Option<Ipv4Addr> {
    if packet.first()? >> 4 != 6 {
        return None;
    }
    let destination: [u8; 16] = packet.get(DESTINATION)?.try_into().ok()?;
    let destination = Ipv6Addr::from(destination);
    Some(match destination.segments() {
        [0x2002, ..] => v4_in(destination, 16),
        [a, b, ..] if [a, b] == [SIX_RD.segments()[0], SIX_RD.segments()[1]] => v4_in(destination, 32),
        // Link-local and multicast packets of the kernel's have no place in the tunnel.
        [first, ..] if first >= 0xfe80 => return None,
        _ => RELAY,
    })
}
