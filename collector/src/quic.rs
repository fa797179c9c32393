//! QUIC's settings for very many mostly silent connections, and the keys that let it survive a restart.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use ring::{hkdf, hmac};
use socket2::{Domain, Protocol, Socket, Type};
use sonde_protocol::net::Uplink;
use sonde_protocol::tls::{SecretKey, server_config};

use crate::network::QuicSecret;

/// A connection that is silent this long is gone. Probes send keep-alives well within it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// How often a stateless reset may be sent: a probe that still speaks to our predecessor learns at once that it is dead.
const MIN_RESET_INTERVAL: Duration = Duration::from_micros(100);

/// Buffers of the one UDP socket: thousands of probes may arrive in the same instant.
const SOCKET_BUFFER: usize = 16 << 20;

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(2))
        .stream_receive_window(VarInt::from_u32(64 * 1024))
        .receive_window(VarInt::from_u32(128 * 1024))
        .send_window(64 * 1024)
        .crypto_buffer_size(8 * 1024)
        .datagram_receive_buffer_size(None)
        // Probes' packets are small; searching for a larger MTU costs memory and handshake time.
        .mtu_discovery_config(None)
        .max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT).ok());
    transport
}

/// Why QUIC cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// The keys do not fit TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// The socket cannot be opened.
    #[error("cannot listen on {address}")]
    Socket {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// The server's side with this collector key. Also used to change the key of a running endpoint.
pub fn server(key: &SecretKey, secret: &QuicSecret) -> Result<ServerConfig, QuicError> {
    let tls = server_config(key, Uplink::Quic).map_err(|error| QuicError::Tls(error.to_string()))?;
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| QuicError::Tls(error.to_string()))?;
    let token_key = hkdf::Salt::new(hkdf::HKDF_SHA256, b"sonde retry token").extract(&secret.0);
    let mut config = ServerConfig::new(Arc::new(crypto), Arc::new(token_key));
    config.transport_config(Arc::new(transport()));
    Ok(config)
}

/// Opens the endpoint. Its reset and connection-id keys come from `secret`, so that after a crash the next process can tell
/// our probes that their connections are gone.
pub fn endpoint(address: SocketAddr, server: ServerConfig, secret: &QuicSecret) -> Result<Endpoint, QuicError> {
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, &[b"reset", &secret.0[..]].concat());
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    let cid_key = secret.0.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    config
        .min_reset_interval(MIN_RESET_INTERVAL)
        .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(cid_key)));
    let socket = socket(address).map_err(|source| QuicError::Socket { address, source })?;
    Endpoint::new(config, Some(server), socket, Arc::new(TokioRuntime))
        .map_err(|source| QuicError::Socket { address, source })
}

fn socket(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // One socket serves both families.
        socket.set_only_v6(false)?;
    }
    // The system may give less: then it is less.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}
