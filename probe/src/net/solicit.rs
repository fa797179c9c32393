//! Asking routers to advertise themselves (RFC 4861, 6.3.7), for what the kernel does not keep and says only when it comes. By a raw
//! ICMPv6 socket, which hears the answers too, also where another program than the kernel handles them; so it wants CAP_NET_RAW,
//! and where that is missing nothing is asked.
//!
//! What answers say is not known here.

use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{MsgFlags, SockaddrStorage, recvmsg};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

use super::control::{Control, SPACE};
use super::sys;

/// A router's advertisement (4.2).
const ADVERT: u8 = 134;

/// All routers of a link.
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// The message (4.1), without the option of the own link-layer address: then the answer goes to all nodes. The kernel fills the
/// checksum in.
const SOLICITATION: [u8; 8] = [133, 0, 0, 0, 0, 0, 0, 0];

/// What proves that a packet has crossed no router (3.1).
const HOP_LIMIT: u8 = 255;

/// How long answers are waited for: a router may take half a second, and advertise no sooner than three seconds after the last time
/// (6.2.6).
const PATIENCE: Duration = Duration::from_secs(4);

/// More does not fit an Ethernet frame.
const BUFFER: usize = 1500;

/// Asks once on each of these links, and hands on the answers as they come, each with the number of its link, until all have
/// answered or the time is over.
///
/// # Errors
/// When the system forbids it.
pub async fn ask(links: &[u32], mut hear: impl FnMut(u32, &[u8])) -> io::Result<()> {
    // Deprecated for types whose descriptor may change, which a `Socket` does not; what replaces it is `unsafe`.
    #[allow(deprecated)]
    let socket = AsyncFd::new(open()?)?;
    let mut silent: Vec<u32> = Vec::new();
    for link in links {
        let to = SocketAddrV6::new(ALL_ROUTERS, 0, 0, *link);
        // A link that has just gone, or has no address of its own yet, takes none.
        if socket.get_ref().send_to(&SOLICITATION, &SocketAddr::V6(to).into()).is_ok() {
            silent.push(*link);
        }
    }
    let end = Instant::now() + PATIENCE;
    let mut buffer = [0; BUFFER];
    while !silent.is_empty() {
        let Ok(ready) = timeout_at(end, socket.readable()).await else { break };
        let mut ready = ready?;
        match ready.try_io(|socket| receive(socket.get_ref(), &mut buffer)) {
            Ok(Ok(Some((link, length)))) => {
                hear(link, buffer.get(..length).unwrap_or_default());
                silent.retain(|one| *one != link);
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(())
}

fn open() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    // The mask names the types to drop.
    let mut drop = [u32::MAX; 8];
    drop[usize::from(ADVERT / 32)] &= !(1 << (ADVERT % 32));
    sys::set(socket.as_fd(), libc::IPPROTO_ICMPV6, sys::ICMPV6_FILTER, drop)?;
    sys::set(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1)?;
    socket.set_nonblocking(true)?;
    socket.set_multicast_hops_v6(HOP_LIMIT.into())?;
    Ok(socket)
}

/// An advertisement that may be believed (6.1.2): its link and length. `None`: something else came.
fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<Option<(u32, usize)>> {
    let mut space = [0_u8; SPACE];
    let mut slices = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
    let from = message.address.as_ref().and_then(|address| address.as_sockaddr_in6().copied());
    let from_link = from.filter(|from| from.ip().is_unicast_link_local()).map(|from| from.scope_id());
    let is_near = Control::read(&message).hop_limit == Some(HOP_LIMIT);
    Ok(from_link.filter(|_| is_near).map(|link| (link, message.bytes)))
}
