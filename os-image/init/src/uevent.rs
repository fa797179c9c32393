//! Word from the kernel that a device has come or gone. What it says is not read: whoever hears it looks again.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The group to which the kernel itself speaks.
const KERNEL: u32 = 1;

/// A socket that hears the kernel.
#[derive(Debug)]
pub struct Uevents(AsyncFd<OwnedFd>);

impl Uevents {
    /// Opens it. Within a runtime.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT))?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL))?;
        // An `OwnedFd` stays the same descriptor, which is what the safe constructor cannot know of every type.
        #[allow(deprecated)]
        Ok(Self(AsyncFd::with_interest(socket, Interest::READABLE)?))
    }

    /// Waits until something has been said, and hears all of it.
    pub async fn wait(&self) {
        loop {
            let Ok(mut ready) = self.0.readable().await else { return std::future::pending().await };
            let mut heard = false;
            // A socket that has lost some has said something too.
            while let Ok(_) | Err(Errno::NOBUFS) = recv(self.0.get_ref(), &mut [0; 64][..], RecvFlags::TRUNC) {
                heard = true;
            }
            ready.clear_ready();
            if heard {
                return;
            }
        }
    }
}
