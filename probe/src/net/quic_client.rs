//! A QUIC client for one exchange with one server: a socket of its own, so that no port, key or path is shared with another
//! exchange, and a transport that sends nothing which the exchange does not need.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{Endpoint, EndpointConfig, TokioRuntime, TransportConfig, VarInt};

use super::one_peer;

/// The most that a server may send before we take it: a little more than the longest message of DNS.
const WINDOW: u32 = 68 * 1024;

/// A client towards this server; `hop_limit` is the system's own when absent.
///
/// # Errors
/// When the system has no such socket.
pub fn endpoint(server: SocketAddr, hop_limit: Option<u8>) -> std::io::Result<Endpoint> {
    let socket = one_peer::open(server)?;
    let options = socket2::SockRef::from(&socket);
    match (hop_limit, server) {
        (Some(limit), SocketAddr::V4(_)) => options.set_ttl_v4(limit.into())?,
        (Some(limit), SocketAddr::V6(_)) => options.set_unicast_hops_v6(limit.into())?,
        (None, _) => {}
    }
    Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))
}

/// How such a client speaks.
pub fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .datagram_receive_buffer_size(None)
        // Whoever asks has a time-out that ends it, and no packet leaves that is not for the exchange.
        .max_idle_timeout(None)
        .mtu_discovery_config(None);
    transport
}
