//! The connection to a collector: QUIC streams on one side, channels on the other. It knows how to carry messages and
//! nothing of what they mean.
//!
//! [`connect`] tries every address of every collector, a moment apart, and keeps the first that answers with a key of the
//! directory. [`Link`] then carries three lanes; a lane takes one frame at a time, so that what waits waits in the spool.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, IdleTimeout, RecvStream, SendStream, TransportConfig, VarInt};
use sonde_protocol::directory::{MAX_DIRECTORY, SignedDirectory};
use sonde_protocol::key::PublicKey;
use sonde_protocol::message::{Down, Frame, MAX_CONTROL, Up, from_cbor, to_cbor};
use sonde_protocol::spool::Lane;
use sonde_protocol::tls::{SecretKey, client_config, directory_client_config};
use sonde_protocol::wire::{Reader, framed};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::run::with_causes;

/// A connection that is silent this long is gone.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Keeps the mapping of a NAT alive.
const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// How long one address may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an address has the field to itself before the next one is tried as well (RFC 8305 calls for 250 ms).
const STAGGER: Duration = Duration::from_millis(250);
/// How long the last words may take to arrive.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The most addresses tried at once.
const MAX_ADDRESSES: usize = 16;

/// What happens on a link.
#[derive(Debug)]
pub enum LinkEvent {
    /// The collector says something.
    Message(Box<Down>),
    /// A lane can take another frame.
    LaneFree,
    /// The link is gone, for this reason.
    Closed(String),
}

/// Why no collector could be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No name resolved, and there is no literal.
    #[error("no address of a collector is known: {0}")]
    NoAddress(String),
    /// Nobody answered.
    #[error("no collector answers ({0})")]
    NoAnswer(String),
    /// Somebody answered with a key that the directory does not have.
    #[error("the collector's key is not in this network's directory")]
    WrongKey,
    /// QUIC cannot be set up here.
    #[error("QUIC cannot be set up: {0}")]
    Local(String),
}

/// A live connection. Dropping it closes it.
pub struct Link {
    connection: Connection,
    /// Absent once the link is being closed.
    control: Option<mpsc::Sender<Up>>,
    /// Ends when everything said on the control stream has arrived.
    said: Option<JoinHandle<()>>,
    fresh: mpsc::Sender<Frame>,
    backlog: mpsc::Sender<Frame>,
    _tasks: JoinSet<()>,
}

/// Tries the addresses, a moment apart; the first that answers with one of `keys` wins.
pub async fn connect(
    key: &SecretKey,
    keys: &[PublicKey],
    addresses: &[SocketAddr],
    events: mpsc::Sender<LinkEvent>,
) -> Result<Link, ConnectError> {
    let local = |error: &dyn std::fmt::Display| ConnectError::Local(error.to_string());
    let tls = client_config(key, keys).map_err(|error| local(&error))?;
    let connection = race(tls, addresses).await?;
    debug!(collector = %connection.remote_address(), "connected");
    Link::open(connection, events).await
}

/// Asks whoever answers for the network's newest directory. What comes back proves nothing until it is opened with a root
/// key.
pub async fn fetch_directory(key: &SecretKey, addresses: &[SocketAddr]) -> Result<SignedDirectory, ConnectError> {
    let tls = directory_client_config(key).map_err(|error| ConnectError::Local(error.to_string()))?;
    let connection = race(tls, addresses).await?;
    let read = async {
        let mut stream = connection.accept_uni().await.map_err(|error| error.to_string())?;
        stream.read_to_end(MAX_DIRECTORY + 1024).await.map_err(|error| error.to_string())
    };
    let bytes = timeout(CONNECT_TIMEOUT, read).await.map_err(|_| ConnectError::NoAnswer("time-out".into()))?;
    connection.close(VarInt::from_u32(0), b"");
    let bytes = bytes.map_err(ConnectError::NoAnswer)?;
    minicbor::decode(&bytes).map_err(|error| ConnectError::NoAnswer(error.to_string()))
}

async fn race(tls: rustls::ClientConfig, addresses: &[SocketAddr]) -> Result<Connection, ConnectError> {
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| ConnectError::Local(error.to_string()))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport()));
    let mut tries = JoinSet::new();
    let mut wrong_key = false;
    let mut last = String::from("no address");
    let mut rest = addresses.iter().copied().take(MAX_ADDRESSES).enumerate();
    for (n, address) in &mut rest {
        let config = config.clone();
        let delay = STAGGER * u32::try_from(n).unwrap_or(0);
        tries.spawn(async move {
            sleep(delay).await;
            attempt(config, address).await
        });
    }
    while let Some(done) = tries.join_next().await {
        match done {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(ConnectError::WrongKey)) => wrong_key = true,
            Ok(Err(ConnectError::NoAnswer(why))) => last = why,
            Ok(Err(error)) => last = error.to_string(),
            Err(error) => last = error.to_string(),
        }
    }
    Err(if wrong_key { ConnectError::WrongKey } else { ConnectError::NoAnswer(last) })
}

async fn attempt(config: ClientConfig, address: SocketAddr) -> Result<Connection, ConnectError> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let failed = |error: &dyn std::fmt::Display| ConnectError::NoAnswer(format!("{address}: {error}"));
    let endpoint = Endpoint::client(SocketAddr::new(any, 0)).map_err(|error| failed(&error))?;
    // Raw public keys have no name; the name is sent nowhere.
    let connecting = endpoint.connect_with(config, address, "collector").map_err(|error| failed(&error))?;
    match timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(quinn::ConnectionError::TransportError(error))) if is_crypto_error(error.code) => {
            Err(ConnectError::WrongKey)
        }
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(failed(&"no answer")),
    }
}

/// TLS alert `access_denied` and its kin arrive as QUIC's CRYPTO_ERROR (RFC 9001, section 4.8); our own verifier's refusal
/// is `bad_certificate`-like.
fn is_crypto_error(code: quinn::TransportErrorCode) -> bool {
    (0x100..0x200).contains(&u64::from(code))
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .stream_receive_window(VarInt::from_u32(256 * 1024))
        .receive_window(VarInt::from_u32(512 * 1024))
        .send_window(256 * 1024)
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(None)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT).ok());
    transport
}

impl Link {
    async fn open(connection: Connection, events: mpsc::Sender<LinkEvent>) -> Result<Self, ConnectError> {
        let (send, receive) = connection.open_bi().await.map_err(|error| ConnectError::NoAnswer(error.to_string()))?;
        let mut tasks = JoinSet::new();
        // Control messages of a probe are few and small.
        let (control, outgoing) = mpsc::channel(64);
        let said = tokio::spawn(guard(write_control(send, outgoing), events.clone()));
        tasks.spawn(guard(read_control(receive, events.clone()), events.clone()));
        let mut lane = || {
            let (sender, frames) = mpsc::channel(1);
            tasks.spawn(guard(write_frames(connection.clone(), frames, events.clone()), events.clone()));
            sender
        };
        let (fresh, backlog) = (lane(), lane());
        Ok(Self { connection, control: Some(control), said: Some(said), fresh, backlog, _tasks: tasks })
    }

    /// Who is at the other end.
    pub fn remote(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// The collector's key.
    pub fn key(&self) -> Option<PublicKey> {
        let identity = self.connection.peer_identity()?;
        let certificates = identity.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().ok()?;
        PublicKey::from_spki(certificates.first()?)
    }

    /// How many datagrams have come. While the number grows the other end lives, however long its answer takes.
    pub fn received(&self) -> u64 {
        self.connection.stats().udp_rx.datagrams
    }

    /// How long the other end may be silent after something was sent: three probe time-outs (RFC 9002, section 6.2.1, with
    /// the usual variation of a quarter of the round trip and 25 ms of delayed acknowledgement).
    pub fn patience(&self) -> Duration {
        (self.connection.rtt() * 2 + Duration::from_millis(25)) * 3
    }

    /// Sends a control message; `false` when too many wait, which means that the link is stuck.
    pub fn send(&self, message: Up) -> bool {
        self.control.as_ref().is_some_and(|control| control.try_send(message).is_ok())
    }

    /// Room for one frame on a lane, if there is any.
    pub fn room(&self, lane: Lane) -> Option<mpsc::Permit<'_, Frame>> {
        let sender = match lane {
            Lane::Fresh => &self.fresh,
            Lane::Backlog => &self.backlog,
        };
        sender.try_reserve().ok()
    }

    /// Ends the link when the collector has everything that was said, or after a moment without an answer.
    pub async fn close(mut self) {
        self.control = None;
        if let Some(said) = &mut self.said {
            let _ = timeout(CLOSE_TIMEOUT, said).await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(said) = &self.said {
            said.abort();
        }
        self.connection.close(VarInt::from_u32(0), b"");
    }
}

/// Reports why a task of the link ended, unless it ended because the link was dropped.
async fn guard(task: impl Future<Output = Result<(), String>>, events: mpsc::Sender<LinkEvent>) {
    if let Err(why) = task.await {
        let _ = events.send(LinkEvent::Closed(why)).await;
    }
}

async fn write_control(mut stream: SendStream, mut messages: mpsc::Receiver<Up>) -> Result<(), String> {
    while let Some(message) = messages.recv().await {
        stream.write_all(&framed(&to_cbor(&message))).await.map_err(|error| with_causes(&error))?;
    }
    // Nobody says anything more. The end is not told before it has arrived.
    if stream.finish().is_ok() {
        let _ = stream.stopped().await;
    }
    Ok(())
}

async fn read_control(mut stream: RecvStream, events: mpsc::Sender<LinkEvent>) -> Result<(), String> {
    let mut reader = Reader::new(MAX_CONTROL);
    loop {
        match stream.read_chunk(64 * 1024, true).await {
            Ok(Some(chunk)) => reader.push(&chunk.bytes),
            Ok(None) => return Err("the collector ended the connection".into()),
            Err(error) => return Err(with_causes(&error)),
        }
        while let Some(message) = reader.next_message().map_err(|error| error.to_string())? {
            match from_cbor::<Down>(message) {
                Ok(Some(down)) => {
                    if events.send(LinkEvent::Message(Box::new(down))).await.is_err() {
                        return Ok(());
                    }
                }
                Ok(None) => {}
                Err(error) => return Err(format!("the collector's message makes no sense: {error}")),
            }
        }
    }
}

async fn write_frames(
    connection: Connection,
    mut frames: mpsc::Receiver<Frame>,
    events: mpsc::Sender<LinkEvent>,
) -> Result<(), String> {
    // The stream is opened with its first frame: many connections never need their backlog lane.
    let mut stream = None;
    while let Some(frame) = frames.recv().await {
        if stream.is_none() {
            stream = Some(connection.open_uni().await.map_err(|error| with_causes(&error))?);
        }
        if let Some(stream) = &mut stream {
            stream.write_all(&framed(&to_cbor(&frame))).await.map_err(|error| with_causes(&error))?;
        }
        if events.send(LinkEvent::LaneFree).await.is_err() {
            break;
        }
    }
    Ok(())
}
