//! Probes that come by TLS over TCP, for where UDP is blocked. The collector has no TCP port of its own: whoever has one
//! (the API's) reads the first message of the handshake, and hands over what [`is_for_collector`].

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use sonde_protocol::message::{ALPN_DIRECTORY, ALPN_TLS};
use sonde_protocol::net::Uplink;
use sonde_protocol::tls::{SecretKey, server_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::connection;
use crate::link::{Link, TlsLink};
use crate::quic::QuicError;
use crate::server::Shared;

/// The most connections at a time, handshakes included. It is the exception, and dearer than QUIC: 50 kB each.
const MAX_CONNECTIONS: u32 = 8192;

/// How long the rest of a handshake may take, and how long the directory may take to be read.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the kernel lets what was sent stay unacknowledged (RFC 5482): the other end is gone then.
const STALL_TIME: Duration = Duration::from_secs(60);

/// After how much silence the kernel asks by itself. Probes ping more often than that, unless they are gone.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(20));

/// Is this name of a protocol (ALPN, RFC 7301) one of the collector's?
pub fn is_for_collector(alpn: &[u8]) -> bool {
    alpn == ALPN_TLS || alpn == ALPN_DIRECTORY
}

/// The connections over TLS, and with which key new ones are met.
pub(crate) struct Guests {
    config: Mutex<Arc<ServerConfig>>,
    room: Arc<Semaphore>,
}

impl Guests {
    pub(crate) fn new(key: &SecretKey) -> Result<Self, QuicError> {
        Ok(Self { config: Mutex::new(config(key)?), room: Arc::new(Semaphore::new(MAX_CONNECTIONS as usize)) })
    }

    /// From now on new connections meet this key.
    pub(crate) fn set_key(&self, key: &SecretKey) -> Result<(), QuicError> {
        let config = config(key)?;
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Lets nobody in any more, and waits until the last has gone.
    pub(crate) async fn all_gone(&self) {
        // Waiting for all places means that nobody else gets one. An error means the same.
        let _ = self.room.acquire_many(MAX_CONNECTIONS).await;
        self.room.close();
    }
}

fn config(key: &SecretKey) -> Result<Arc<ServerConfig>, QuicError> {
    server_config(key, Uplink::Tls).map(Arc::new).map_err(|error| QuicError::Tls(error.to_string()))
}

/// Serves the connection in a task of its own.
pub(crate) fn take(handshake: StartHandshake<TcpStream>, remote: SocketAddr, shared: Arc<Shared>) {
    let Ok(permit) = shared.tls.room.clone().try_acquire_owned() else {
        debug!(%remote, "no room for another connection over TLS");
        return;
    };
    tokio::spawn(serve(handshake, remote, shared, permit));
}

async fn serve(
    handshake: StartHandshake<TcpStream>,
    remote: SocketAddr,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
) {
    let config = Arc::clone(&shared.tls.config.lock().unwrap_or_else(PoisonError::into_inner));
    let stream = match timeout(HANDSHAKE_TIMEOUT, handshake.into_stream(config)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            debug!(%remote, %error, "handshake failed");
            return;
        }
        Err(_) => return,
    };
    prepare(stream.get_ref().0);
    if stream.get_ref().1.alpn_protocol() == Some(ALPN_DIRECTORY) {
        let _ = timeout(HANDSHAKE_TIMEOUT, give(stream, &shared.signed_directory())).await;
        return;
    }
    let id = shared.new_connection();
    connection::serve(Link::Tls(Box::new(TlsLink::new(stream, remote))), id, shared).await;
}

/// None of these is vital: without them a peer that is gone stays longer.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&KEEPALIVE);
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(STALL_TIME));
}

/// Gives the directory, and waits until it was taken. What the other end says is not for anybody.
async fn give(mut stream: TlsStream<TcpStream>, directory: &[u8]) -> std::io::Result<()> {
    stream.write_all(directory).await?;
    stream.shutdown().await?;
    let mut nothing = [0; 512];
    while stream.read(&mut nothing).await? > 0 {}
    Ok(())
}
