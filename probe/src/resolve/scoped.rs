//! tokio for hickory-resolver, with the zone of a link-local resolver, which hickory's own configuration has no place for.
//! Routers announce resolvers like `fe80::1%eth0` (RFC 8106), and a link-local address without its zone leads nowhere.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hickory_resolver::net::runtime::{DnsUdpSocket, RuntimeProvider, TokioHandle, TokioRuntimeProvider, TokioTime};
use tokio::net::UdpSocket;

type Pending<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// tokio, and where the resolver really is.
#[derive(Clone)]
pub(super) struct ScopedRuntime {
    tokio: TokioRuntimeProvider,
    resolver: SocketAddr,
}

impl ScopedRuntime {
    pub(super) fn new(resolver: SocketAddr) -> Self {
        Self { tokio: TokioRuntimeProvider::new(), resolver }
    }
}

impl RuntimeProvider for ScopedRuntime {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = ScopedUdp;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.tokio.create_handle()
    }

    fn connect_tcp(
        &self,
        _server: SocketAddr,
        local: Option<SocketAddr>,
        limit: Option<Duration>,
    ) -> Pending<Self::Tcp> {
        self.tokio.connect_tcp(self.resolver, local, limit)
    }

    fn bind_udp(&self, local: SocketAddr, _server: SocketAddr) -> Pending<Self::Udp> {
        let resolver = self.resolver;
        Box::pin(async move { Ok(ScopedUdp { socket: UdpSocket::bind(local).await?, resolver }) })
    }
}

/// A UDP socket that sends to one resolver and nowhere else.
pub(super) struct ScopedUdp {
    socket: UdpSocket,
    resolver: SocketAddr,
}

impl DnsUdpSocket for ScopedUdp {
    type Time = TokioTime;

    fn poll_recv_from(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        DnsUdpSocket::poll_recv_from(&self.socket, cx, buffer)
    }

    fn poll_send_to(&self, cx: &mut Context<'_>, bytes: &[u8], _to: SocketAddr) -> Poll<io::Result<usize>> {
        DnsUdpSocket::poll_send_to(&self.socket, cx, bytes, self.resolver)
    }
}
