//! The HTTP/1.1 server around the router, with the limits that a public port needs: a bounded number of connections, a
//! time limit for headers (and so for idle connections), and one for clients that stop reading.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// The most connections at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: u32 = 4096;

/// How long a client may take to send a request's header, and how long it may be idle between two requests.
const HEADER_TIME: Duration = Duration::from_secs(30);

/// How long a client may leave what was sent unread before the kernel gives up on it (RFC 5482).
const STALL_TIME: Duration = Duration::from_secs(60);

/// How long answers that have begun may take after the shutdown.
const GRACE: Duration = Duration::from_secs(10);

/// How long accepting pauses when the machine has no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers requests on every listener until `shutdown` completes; then begins nothing new, and gives what has begun ten
/// seconds. Dropping the future stops accepting, too.
pub async fn serve(listeners: Vec<TcpListener>, router: Router, shutdown: impl Future<Output = ()> + Send) {
    let (stop, stopping) = watch::channel(());
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
    let mut acceptors = JoinSet::new();
    for listener in listeners {
        acceptors.spawn(accept(listener, router.clone(), Arc::clone(&permits), stopping.clone()));
    }
    drop(stopping);
    shutdown.await;
    // Connections notice that the sender is gone.
    drop(stop);
    acceptors.shutdown().await;
    // All permits are back when the last connection is done.
    let _ = tokio::time::timeout(GRACE, permits.acquire_many(MAX_CONNECTIONS)).await;
}

async fn accept(listener: TcpListener, router: Router, permits: Arc<Semaphore>, stopping: watch::Receiver<()>) {
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (router, stopping) = (router.clone(), stopping.clone());
        tokio::spawn(async move {
            converse(stream, peer, router, stopping).await;
            drop(permit);
        });
    }
}

/// One connection, until either side ends it.
async fn converse(stream: TcpStream, peer: SocketAddr, router: Router, mut stopping: watch::Receiver<()>) {
    // Neither option is vital: without them answers are a little later, or a stalled client stays a little longer.
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(STALL_TIME));

    // Handlers learn from it who is at the other end.
    let router = router.layer(Extension(ConnectInfo(peer)));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
    let connection = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).with_upgrades();
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
