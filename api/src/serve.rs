//! The HTTP/1.1 server around the router, over TCP and over TLS, with the limits that a public port needs: a bounded number
//! of connections, a time limit for the handshake and for headers (and so for idle connections), and one for clients that
//! stop reading.

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
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::here::OverTls;

/// The most connections at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: u32 = 4096;

/// How long a client may take for the TLS handshake: a few round trips.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// How long a client may take to send a request's header, and how long it may be idle between two requests.
const HEADER_TIME: Duration = Duration::from_secs(30);

/// How long a client may leave what was sent unread before the kernel gives up on it (RFC 5482).
const STALL_TIME: Duration = Duration::from_secs(60);

/// How long answers that have begun may take after the shutdown.
const GRACE: Duration = Duration::from_secs(10);

/// How long accepting pauses when the machine has no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that clients come to.
pub struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Listener {
    /// One for HTTPS.
    pub fn tls(socket: TcpListener, config: Arc<ServerConfig>) -> Self {
        Self { socket, tls: Some(config.into()) }
    }
}

impl From<TcpListener> for Listener {
    /// One for HTTP.
    fn from(socket: TcpListener) -> Self {
        Self { socket, tls: None }
    }
}

/// Answers requests on every listener until `shutdown` completes; then begins nothing new, and gives what has begun ten
/// seconds. Dropping the future stops accepting, too.
pub async fn serve(listeners: Vec<impl Into<Listener>>, router: Router, shutdown: impl Future<Output = ()> + Send) {
    let (stop, stopping) = watch::channel(());
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
    let mut acceptors = JoinSet::new();
    for listener in listeners {
        acceptors.spawn(accept(listener.into(), router.clone(), Arc::clone(&permits), stopping.clone()));
    }
    drop(stopping);
    shutdown.await;
    // Connections notice that the sender is gone.
    drop(stop);
    acceptors.shutdown().await;
    // All permits are back when the last connection is done.
    let _ = tokio::time::timeout(GRACE, permits.acquire_many(MAX_CONNECTIONS)).await;
}

async fn accept(listener: Listener, router: Router, permits: Arc<Semaphore>, stopping: watch::Receiver<()>) {
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
        let (router, mut stopping, tls) = (router.clone(), stopping.clone(), listener.tls.clone());
        tokio::spawn(async move {
            prepare(&stream);
            match tls {
                None => converse(stream, peer, None, router, stopping).await,
                Some(tls) => {
                    // Nobody waits for an answer yet: a stop ends handshakes at once.
                    let handshake = tokio::time::timeout(HANDSHAKE_TIME, tls.accept(stream));
                    let done = tokio::select! { done = handshake => done, _ = stopping.changed() => return };
                    match done {
                        Ok(Ok(stream)) => converse(stream, peer, Some(OverTls), router, stopping).await,
                        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                        Err(_) => tracing::debug!("a TLS handshake took too long"),
                    }
                }
            }
            drop(permit);
        });
    }
}

/// Sets what a connection needs. Neither option is vital: without them answers are a little later, or a stalled client stays
/// a little longer.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(STALL_TIME));
}

/// One connection, until either side ends it.
async fn converse<S>(
    stream: S,
    peer: SocketAddr,
    over_tls: Option<OverTls>,
    router: Router,
    mut stopping: watch::Receiver<()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Handlers learn who is at the other end, and how they came. Not by a layer of the router: that would copy every route for
    // every connection, megabytes of them.
    let router = TowerToHyperService::new(router);
    let router = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
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
        // An error means that the sender is gone: the server stops.
        _ = stopping.changed() => {}
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
