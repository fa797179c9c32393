//! The server as a whole: its sockets on every address, and the limits that all of them share.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::libc;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, IdleTimeout, Incoming, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};
use sonde_protocol::reference::MAX_MESSAGE;
use sonde_protocol::tls::{SecretKey, reference_server_config};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::echo::{self, Memory};
use crate::exchange;
use crate::shares::{CELLS, Shares};
use crate::syn::Syn;
use crate::sys;
use crate::tokens::Tokens;

/// How long an exchange may take, handshake included.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(20);

/// Connections at a time.
const MAX_CONNECTIONS: usize = 4096;

/// From how many connections on a QUIC address must first prove that it is real (stateless retry).
const PROVE_FROM: usize = MAX_CONNECTIONS / 2;

/// Connections a second of one neighbourhood; many probes may be behind one address.
const CONNECTIONS_A_SECOND: u64 = 5;
/// As many at once.
const CONNECTIONS_AT_ONCE: u64 = 100;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// How long to wait when no connection can be accepted, as when there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where and how it answers.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its addresses, each by itself: a reply must come from where the request went.
    pub listen: Vec<IpAddr>,
    /// The port of TLS and QUIC; 0 takes free ones.
    pub port: u16,
    /// The port of the echo; 0 takes free ones.
    pub echo_port: u16,
    /// What all echoes together may send, in bytes a second.
    pub echo_bytes: u64,
}

/// What one address listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// TLS over TCP.
    pub tls: SocketAddr,
    /// QUIC.
    pub quic: SocketAddr,
    /// The echo over UDP.
    pub echo: SocketAddr,
}

/// Why it cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No address is named.
    #[error("name at least one address to listen on, of each family if there are both")]
    Nowhere,
    /// An address that stands for all of them.
    #[error("{0} is no address of its own: name each address, so that replies come from where the request went")]
    Unspecified(IpAddr),
    /// The key does not fit TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// No random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// A socket cannot be opened.
    #[error("cannot listen on {address} ({what})")]
    Socket {
        /// Where.
        address: SocketAddr,
        /// For what.
        what: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// What all sockets share.
pub(crate) struct Common {
    begun: Instant,
    pub(crate) tokens: Tokens,
    pub(crate) memory: Mutex<Memory>,
    connections: Mutex<Shares>,
    room: Arc<Semaphore>,
}

impl Common {
    /// Since the beginning.
    pub(crate) fn nanos(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Since the beginning.
    pub(crate) fn seconds(&self) -> u64 {
        self.begun.elapsed().as_secs()
    }

    /// A place for a connection from here, if there is one.
    fn admit(&self, peer: IpAddr) -> Option<OwnedSemaphorePermit> {
        let mut shares = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        shares.take(peer, 1, self.nanos()).then(|| Arc::clone(&self.room).try_acquire_owned().ok()).flatten()
    }
}

/// A running server. Dropping it stops it.
pub struct Reference {
    bound: Vec<Bound>,
    endpoints: Vec<Endpoint>,
    tasks: JoinSet<()>,
}

impl Reference {
    /// Opens every socket of every address, and serves them.
    ///
    /// # Errors
    /// When one of them cannot be opened: then none is.
    pub async fn start(config: &Config, key: &SecretKey) -> Result<Self, StartError> {
        if config.listen.is_empty() {
            return Err(StartError::Nowhere);
        }
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|_| StartError::Random)?;
        let common = Arc::new(Common {
            begun: Instant::now(),
            tokens: Tokens::new(&secret),
            memory: Memory::new(config.echo_bytes),
            connections: Mutex::new(Shares::new(CELLS, CONNECTIONS_A_SECOND, CONNECTIONS_AT_ONCE)),
            room: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        });
        let tls = reference_server_config(key).map_err(|error| StartError::Tls(error.to_string()))?;
        let quic = quic_config(tls.clone())?;
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let mut server = Self { bound: Vec::new(), endpoints: Vec::new(), tasks: JoinSet::new() };
        let mut listeners = Vec::new();
        for &ip in &config.listen {
            if ip.is_unspecified() {
                return Err(StartError::Unspecified(ip));
            }
            listeners.push(Sockets::open(ip, config, &quic)?);
        }
        for sockets in listeners {
            server.bound.push(sockets.bound);
            server.endpoints.push(sockets.quic.clone());
            server.tasks.spawn(accept_tls(sockets.tls, acceptor.clone(), Arc::clone(&common)));
            server.tasks.spawn(accept_quic(sockets.quic, Arc::clone(&common)));
            let (echo, common) = (sockets.echo, Arc::clone(&common));
            server.tasks.spawn(async move {
                if let Err(error) = echo::serve(echo, common).await {
                    warn!(%error, "an echo has ended");
                }
            });
        }
        Ok(server)
    }

    /// Where it listens, address by address in the order of the configuration.
    pub fn bound(&self) -> &[Bound] {
        &self.bound
    }

    /// Ends all connections, and waits until their other ends know.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        for endpoint in &self.endpoints {
            endpoint.close(VarInt::from_u32(0), b"");
            endpoint.wait_idle().await;
        }
    }
}

/// The sockets of one address.
struct Sockets {
    bound: Bound,
    tls: TcpListener,
    quic: Endpoint,
    echo: Socket,
}

impl Sockets {
    fn open(ip: IpAddr, config: &Config, quic: &ServerConfig) -> Result<Self, StartError> {
        let failed = |address, what| move |source| StartError::Socket { address, what, source };
        let (main, echo) = (SocketAddr::new(ip, config.port), SocketAddr::new(ip, config.echo_port));
        let tls = listen(main).map_err(failed(main, "TLS"))?;
        let quic = endpoint(main, quic.clone()).map_err(failed(main, "QUIC"))?;
        let socket = echo::open(echo).map_err(failed(echo, "echo"))?;
        let bound = Bound {
            tls: tls.local_addr().map_err(failed(main, "TLS"))?,
            quic: quic.local_addr().map_err(failed(main, "QUIC"))?,
            echo: socket.local_addr().map_err(failed(echo, "echo"))?.as_socket().unwrap_or(echo),
        };
        Ok(Self { bound, tls, quic, echo: socket })
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    // The SYN from its IP header on. A kernel without it leaves `mss` and `hop_limit` untold.
    if let Err(error) = sys::set(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_SAVE_SYN, 1) {
        warn!(%error, "what SYNs said cannot be told");
    }
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn quic_config(mut tls: rustls::ServerConfig) -> Result<ServerConfig, StartError> {
    tls.max_early_data_size = 0;
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| StartError::Tls(error.to_string()))?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(MAX_MESSAGE as u32 * 2))
        .receive_window(VarInt::from_u32(MAX_MESSAGE as u32 * 2))
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(None)
        .max_idle_timeout(IdleTimeout::try_from(EXCHANGE_TIMEOUT).ok());
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    config.migration(false);
    Ok(config)
}

fn endpoint(address: SocketAddr, config: ServerConfig) -> io::Result<Endpoint> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Endpoint::new(EndpointConfig::default(), Some(config), socket.into(), Arc::new(TokioRuntime))
}

async fn accept_tls(listener: TcpListener, acceptor: TlsAcceptor, common: Arc<Common>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(permit) = common.admit(peer.ip()) else { continue };
        let (acceptor, common) = (acceptor.clone(), Arc::clone(&common));
        connections.spawn(async move {
            let _permit = permit;
            match timeout(EXCHANGE_TIMEOUT, serve_tls(stream, peer, acceptor, common)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%peer, %error, "an exchange over TLS failed"),
                Err(_) => debug!(%peer, "an exchange over TLS took too long"),
            }
        });
    }
}

async fn serve_tls(stream: TcpStream, peer: SocketAddr, acceptor: TlsAcceptor, common: Arc<Common>) -> io::Result<()> {
    let syn = sys::saved_syn(stream.as_fd()).map(|bytes| Syn::parse(&bytes)).unwrap_or_default();
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    let token = common.tokens.issue(peer.ip(), common.seconds());
    exchange::answer(&mut stream, peer, syn, token).await
}

async fn accept_quic(endpoint: Endpoint, common: Arc<Common>) {
    let mut connections = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        while connections.try_join_next().is_some() {}
        let peer = incoming.remote_address();
        let taken = MAX_CONNECTIONS - common.room.available_permits();
        if taken >= PROVE_FROM && !incoming.remote_address_validated() && incoming.may_retry() {
            let _ = incoming.retry();
            continue;
        }
        let Some(permit) = common.admit(peer.ip()) else {
            incoming.ignore();
            continue;
        };
        let common = Arc::clone(&common);
        connections.spawn(async move {
            let _permit = permit;
            match timeout(EXCHANGE_TIMEOUT, serve_quic(incoming, common)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%peer, %error, "an exchange over QUIC failed"),
                Err(_) => debug!(%peer, "an exchange over QUIC took too long"),
            }
        });
    }
}

async fn serve_quic(incoming: Incoming, common: Arc<Common>) -> io::Result<()> {
    let connection = incoming.await?;
    let peer = connection.remote_address();
    let (send, receive) = connection.accept_bi().await?;
    let token = common.tokens.issue(peer.ip(), common.seconds());
    exchange::answer(&mut tokio::io::join(receive, send), peer, Syn::default(), token).await?;
    // The asker closes; until then what it has not acknowledged may have to be sent again.
    connection.closed().await;
    Ok(())
}
