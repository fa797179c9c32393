//! The bell: an rtnetlink socket that hears of every change of links, addresses and routes.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};
use tokio::io::unix::AsyncFd;

/// What it listens to (rtnetlink(7)).
const GROUPS: libc::c_int = libc::RTMGRP_LINK
    | libc::RTMGRP_IPV4_IFADDR
    | libc::RTMGRP_IPV4_ROUTE
    | libc::RTMGRP_IPV6_IFADDR
    | libc::RTMGRP_IPV6_ROUTE;

/// The most messages one call takes off the socket, so that a storm cannot hold it for ever.
const DRAIN: usize = 10_000;

/// Tells that addresses, links or routes have changed. What has changed is for [`super::LocalNetwork::read`] to find out,
/// which is simpler than following the messages, and right even when some were lost.
#[derive(Debug)]
pub struct AddressWatch {
    socket: AsyncFd<OwnedFd>,
}

impl AddressWatch {
    /// Starts listening, in the network namespace of the calling thread. Begin before the first read, so that no change
    /// falls between.
    ///
    /// # Errors
    /// When the system forbids the socket.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new() -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS as u32))?;
        // Deprecated for types whose descriptor may change, which an `OwnedFd` does not; what replaces it is `unsafe`.
        #[allow(deprecated)]
        Ok(Self { socket: AsyncFd::new(socket)? })
    }

    /// Waits until something has changed since the last call. Several changes in a row count as one when they are there
    /// together. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// When the socket cannot be read, which does not pass by itself.
    pub async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.socket.readable().await?;
            let Drained { any, emptied } = drain(ready.get_inner())?;
            if emptied {
                ready.clear_ready();
            }
            if any {
                return Ok(());
            }
        }
    }
}

struct Drained {
    any: bool,
    emptied: bool,
}

/// Takes what is there off the socket, unread.
fn drain(socket: &OwnedFd) -> io::Result<Drained> {
    let mut any = false;
    for _ in 0..DRAIN {
        // One byte is enough: the rest of a message is thrown away with it.
        match recv(socket.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT) {
            // ENOBUFS: there were more messages than room. They were changes all the same.
            Ok(_) | Err(Errno::ENOBUFS) => any = true,
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(Drained { any, emptied: true }),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Drained { any, emptied: false })
}
