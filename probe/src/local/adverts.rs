//! Listens for what routers advertise beside addresses and routes ([`sonde_protocol::adverts`]).
//!
//! The kernel passes the options on when an advertisement comes and never again; so this listens from the start on. Joining needs
//! no privilege. Where a program handles advertisements and the kernel does not (`accept_ra` is 0), nothing may be heard. Routers can be
//! asked to speak: [`crate::net::solicit`].

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};
use sonde_protocol::adverts::{GROUP, Heard};
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;
use tracing::warn;

use crate::net::clock::ClockSource;

/// A message has one option, and an option 2040 bytes at most.
const BUFFER: usize = 4096;

/// Listens as long as it lives.
#[derive(Debug)]
pub(super) struct Adverts {
    heard: Arc<Mutex<Heard>>,
    listener: AbortHandle,
}

impl Adverts {
    /// Begins to listen, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the system forbids the socket.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(super) fn start(clock: Arc<dyn ClockSource>) -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUP))?;
        // Deprecated for types whose descriptor may change, which an `OwnedFd` does not; what replaces it is `unsafe`.
        #[allow(deprecated)]
        let socket = AsyncFd::new(socket)?;
        let heard = Arc::<Mutex<Heard>>::default();
        let memory = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            if let Err(error) = listen(&socket, &memory, &*clock).await {
                warn!(%error, "what routers advertise is not heard any more");
            }
        });
        Ok(Self { heard, listener: task.abort_handle() })
    }

    /// What was heard so far.
    pub(super) fn heard<T>(&self, look: impl FnOnce(&mut Heard) -> T) -> T {
        look(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Adverts {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn listen(socket: &AsyncFd<OwnedFd>, heard: &Mutex<Heard>, clock: &dyn ClockSource) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut ready = socket.readable().await?;
        match recv(ready.get_inner().as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.hear(buffer.get(..length).unwrap_or_default(), clock.monotonic());
            }
            Err(Errno::EAGAIN) => ready.clear_ready(),
            // More came than there was room for; the router says it again.
            Err(Errno::EINTR | Errno::ENOBUFS) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
