//! The HTTP/1.1 server around the router, over TCP and over TLS, with the limits that a public port needs: a bounded number
//! of connections, a time limit for the handshake and for headers (and so for idle connections), and one for clients that
//! stop reading.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use crate::here::OverTls;

/// The most connections at a time; more wait in the kernel's queue. WebSockets are not among them: they have a limit of
/// their own ([`crate::LimitsConfig`]).
pub(crate) const MAX_CONNECTIONS: u32 = 4096;

/// How long a client may take for the TLS handshake: a few round trips.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// How long a client may take to send a request's header, and how long it may be idle between two requests.
const HEADER_TIME: Duration = Duration::from_secs(30);

/// How long a client may leave what was sent unread before the kernel gives up on it (RFC 5482).
const STALL_TIME: Duration = Duration::from_secs(60);

/// How long answers that have begun may take after the shutdown.
const GRACE: Duration = Duration::from_secs(10);

/// After how much silence the kernel asks whether a client is still there, and how often it asks again (RFC 9293, 3.8.4).
/// Live streams may be silent for hours, and nothing else notices that the other end is gone.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(20));

/// How long accepting pauses when the machine has no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Somebody else on the same port, who is asked for by the name of another protocol in the TLS handshake (ALPN, RFC 7301).
pub trait Neighbour: Send + Sync {
    /// Is this protocol the neighbour's?
    fn speaks(&self, alpn: &[u8]) -> bool;

    /// Takes the connection over, before anything was answered. Must not block; the connection is not counted here any more.
    fn take(&self, handshake: StartHandshake<TcpStream>, peer: SocketAddr);
}

/// What a listener does before HTTP begins.
#[derive(Clone)]
struct Tls {
    config: Arc<ServerConfig>,
    neighbour: Option<Arc<dyn Neighbour>>,
}

/// A socket that clients come to.
pub struct Listener {
    socket: TcpListener,
    tls: Option<Tls>,
}

impl Listener {
    /// One for HTTPS.
    pub fn tls(socket: TcpListener, config: Arc<ServerConfig>) -> Self {
        Self { socket, tls: Some(Tls { config, neighbour: None }) }
    }

    /// One for HTTPS and for somebody else.
    pub fn shared(socket: TcpListener, config: Arc<ServerConfig>, neighbour: Arc<dyn Neighbour>) -> Self {
        Self { socket, tls: Some(Tls { config, neighbour: Some(neighbour) }) }
    }
}

impl Tls {
    /// The established connection; `None` when it is the neighbour's.
    async fn accept(self, stream: TcpStream, peer: SocketAddr) -> io::Result<Option<TlsStream<TcpStream>>> {
        let handshake = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        if let Some(neighbour) = self.neighbour {
            let names = handshake.client_hello().alpn();
            if names.is_some_and(|mut names| names.any(|name| neighbour.speaks(name))) {
                neighbour.take(handshake, peer);
                return Ok(None);
            }
        }
        handshake.into_stream(self.config).await.map(Some)
    }
}

impl From<TcpListener> for Listener {
    /// One for HTTP.
    fn from(socket: TcpListener) -> Self {
        Self { socket, tls: None }
    }
}

/// In a request's extensions: for what goes on after its request, as streams do.
#[derive(Debug, Clone)]
pub(crate) struct Serving {
    stopping: watch::Receiver<()>,
    /// As long as there is one, the stop waits, though not for ever.
    _unfinished: mpsc::Sender<()>,
}

impl Serving {
    /// Waits until the server stops. May be asked again and again.
    pub async fn stopped(&mut self) {
        // Nothing is ever sent: an error means that the sender is gone, and that the server stops.
        while self.stopping.changed().await.is_ok() {}
    }
}

/// Answers requests on every listener until `shutdown` completes; then begins nothing new, and gives what has begun ten
/// seconds. Dropping the future stops accepting, too.
pub async fn serve(listeners: Vec<impl Into<Listener>>, router: Router, shutdown: impl Future<Output = ()> + Send) {
    let (stop, stopping) = watch::channel(());
    let (unfinished, mut finished) = mpsc::channel(1);
    let serving = Serving { stopping, _unfinished: unfinished };
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
    let mut acceptors = JoinSet::new();
    for listener in listeners {
        acceptors.spawn(accept(listener.into(), router.clone(), Arc::clone(&permits), serving.clone()));
    }
    drop(serving);
    shutdown.await;
    // Connections notice that the sender is gone.
    drop(stop);
    acceptors.shutdown().await;
    // All permits are back when the last connection is done, and all senders gone when the last stream is.
    let all_done = async {
        let _ = permits.acquire_many(MAX_CONNECTIONS).await;
        finished.recv().await
    };
    let _ = tokio::time::timeout(GRACE, all_done).await;
}

async fn accept(listener: Listener, router: Router, permits: Arc<Semaphore>, serving: Serving) {
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let (stream, peer) = match listener.socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (router, mut serving, tls) = (router.clone(), serving.clone(), listener.tls.clone());
        tokio::spawn(async move {
            prepare(&stream);
            match tls {
                None => converse(stream, peer, None, router, serving).await,
                Some(tls) => {
                    // Nobody waits for an answer yet: a stop ends handshakes at once.
                    let handshake = tokio::time::timeout(HANDSHAKE_TIME, tls.accept(stream, peer));
                    let done = tokio::select! { done = handshake => done, () = serving.stopped() => return };
                    match done {
                        Ok(Ok(Some(stream))) => converse(stream, peer, Some(OverTls), router, serving).await,
                        Ok(Ok(None)) => {}
                        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                        Err(_) => tracing::debug!("a TLS handshake took too long"),
                    }
                }
            }
            drop(permit);
        });
    }
}

/// Sets what a connection needs. No option is vital: without them answers are a little later, or a client that is stalled or
/// gone stays longer.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&KEEPALIVE);
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(STALL_TIME));
}

/// One connection, until either side ends it.
async fn converse<S>(stream: S, peer: SocketAddr, over_tls: Option<OverTls>, router: Router, mut serving: Serving)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Handlers learn who is at the other end, and how they came. Not by a layer of the router: that would copy every route for
    // every connection, megabytes of them.
    let router = TowerToHyperService::new(router);
    let for_requests = serving.clone();
    let router = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(for_requests.clone());
        if let Some(over_tls) = over_tls {
            request.extensions_mut().insert(over_tls);
        }
        router.call(request)
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
    let connection = server.serve_connection(TokioIo::new(stream), router).with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        done = &mut connection => return report(done),
        () = serving.stopped() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, connection).await.map(report);
}

/// What ends a connection early is the client's doing (or the abort of a body that failed) and no news.
fn report(done: Result<(), hyper::Error>) {
    if let Err(error) = done {
        tracing::debug!(%error, "a connection ended early");
    }
}
