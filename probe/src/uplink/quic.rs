//! The lanes as streams of one QUIC connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, IdleTimeout, RecvStream, SendStream, TokioRuntime,
    TransportConfig, VarInt,
};
use sonde_protocol::directory::MAX_DIRECTORY;
use sonde_protocol::key::PublicKey;
use sonde_protocol::message::{Frame, MAX_CONTROL, Up, to_cbor};
use sonde_protocol::wire::{Reader, framed};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{CONNECT_TIMEOUT, ConnectError, IDLE_TIMEOUT, KEEP_ALIVE, Line, Link, LinkEvent, guard, hear, staggered};
use crate::net::one_peer;
use crate::run::with_causes;

/// A QUIC connection.
pub(super) struct QuicLine(Connection);

/// Gives what whoever answers first has to say on one unidirectional stream.
pub(super) async fn fetch_directory(
    tls: rustls::ClientConfig,
    addresses: &[SocketAddr],
) -> Result<Vec<u8>, ConnectError> {
    let connection = race(tls, addresses).await?;
    let read = async {
        let mut stream = connection.accept_uni().await.map_err(|error| error.to_string())?;
        stream.read_to_end(MAX_DIRECTORY + 1024).await.map_err(|error| error.to_string())
    };
    let bytes = timeout(CONNECT_TIMEOUT, read).await.map_err(|_| ConnectError::NoAnswer("time-out".into()))?;
    connection.close(VarInt::from_u32(0), b"");
    bytes.map_err(ConnectError::NoAnswer)
}

/// The key of whoever answers.
pub(super) async fn whose_key(
    tls: rustls::ClientConfig,
    address: SocketAddr,
) -> Result<Option<PublicKey>, ConnectError> {
    let line = QuicLine(race(tls, &[address]).await?);
    line.close();
    Ok(line.key())
}

pub(super) async fn race(tls: rustls::ClientConfig, addresses: &[SocketAddr]) -> Result<Connection, ConnectError> {
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| ConnectError::Local(error.to_string()))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport()));
    staggered(addresses, |address| attempt(config.clone(), address)).await
}

async fn attempt(config: ClientConfig, address: SocketAddr) -> Result<Connection, ConnectError> {
    let address = one_peer::peer_of(address);
    let failed = |error: &dyn std::fmt::Display| ConnectError::NoAnswer(format!("{address}: {error}"));
    let endpoint = one_peer::open(address)
        .and_then(|socket| Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime)));
    let endpoint = endpoint.map_err(|error| failed(&error))?;
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

pub(super) async fn open(connection: Connection, events: mpsc::Sender<LinkEvent>) -> Result<Link, ConnectError> {
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
    let line = Line::Quic(QuicLine(connection));
    Ok(Link { line, control: Some(control), said: Some(said), fresh, backlog, _tasks: tasks })
}

impl QuicLine {
    pub(super) fn remote(&self) -> SocketAddr {
        self.0.remote_address()
    }

    pub(super) fn key(&self) -> Option<PublicKey> {
        let identity = self.0.peer_identity()?;
        let certificates = identity.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().ok()?;
        PublicKey::from_spki(certificates.first()?)
    }

    /// Datagrams.
    pub(super) fn received(&self) -> u64 {
        self.0.stats().udp_rx.datagrams
    }

    /// Three probe time-outs (RFC 9002, section 6.2.1, with the usual variation of a quarter of the round trip and 25 ms of
    /// delayed acknowledgement).
    pub(super) fn patience(&self) -> Duration {
        (self.0.rtt() * 2 + Duration::from_millis(25)) * 3
    }

    pub(super) fn close(&self) {
        self.0.close(VarInt::from_u32(0), b"");
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
            Ok(Some(chunk)) => {
                if !hear(&mut reader, &chunk.bytes, &events).await? {
                    return Ok(());
                }
            }
            Ok(None) => return Err("the collector ended the connection".into()),
            Err(error) => return Err(with_causes(&error)),
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
