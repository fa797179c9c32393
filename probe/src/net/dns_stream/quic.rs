//! DNS over QUIC (RFC 9250): one stream of a connection of its own, on a socket of its own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, EndpointConfig, TokioRuntime, TransportConfig, VarInt};
use sonde_engine::dns::{StreamEvent, StreamPlan, StreamStep};
use sonde_protocol::result::Why;

use super::{Failed, Notes};
use crate::net::stream::words;
use crate::net::{one_peer, tls};
use crate::run::with_causes;

/// What RFC 9250, 4.1.1 has servers speak.
const ALPN: &[u8] = b"doq";
/// The most that a server may send before we take it: a little more than the longest message.
const WINDOW: u32 = 68 * 1024;
/// DOQ_NO_ERROR (RFC 9250, 4.3).
const NO_ERROR: VarInt = VarInt::from_u32(0);

pub(super) async fn converse(plan: &StreamPlan, notes: &mut Notes) -> Result<(), Failed> {
    let config = tls::client(notes.clock.clone(), &[&rustls::version::TLS13], &[ALPN]).map_err(|e| e.to_string());
    let crypto = config.and_then(|(config, _)| QuicClientConfig::try_from(config).map_err(|e| e.to_string()));
    let mut config = ClientConfig::new(Arc::new(crypto.map_err(|why| (StreamStep::Handshake, Why::cut(why)))?));
    config.transport_config(Arc::new(transport()));
    let endpoint = endpoint(plan).map_err(|error| (StreamStep::Connect, words(&error)))?;

    let server = SocketAddr::new(plan.dst, plan.port);
    let connecting = endpoint.connect_with(config, server, &plan.server_name);
    let connecting = connecting.map_err(|error| (StreamStep::Handshake, Why::cut(with_causes(&error))))?;
    let connection = connecting.await.map_err(|error| (StreamStep::Handshake, Why::cut(with_causes(&error))))?;
    // QUIC is never anything but TLS 1.3; which cipher suite it has taken, the library does not tell.
    let version = Some(u16::from(rustls::ProtocolVersion::TLSv1_3));
    notes.events.push(StreamEvent::Secured { at: notes.now(), version, cipher: None });

    let (mut send, mut receive) =
        connection.open_bi().await.map_err(|error| (StreamStep::Send, Why::cut(with_causes(&error))))?;
    send.write_all(&plan.request).await.map_err(|error| (StreamStep::Send, Why::cut(with_causes(&error))))?;
    // The end of the stream is the end of the query (RFC 9250, 4.2). It fails when the stream is gone, which reading tells.
    let _ = send.finish();
    notes.sent();

    let mut reader = plan.reader();
    loop {
        let chunk = receive.read_chunk(super::CHUNK, true).await;
        let chunk = chunk.map_err(|error| (StreamStep::Read, Why::cut(with_causes(&error))))?;
        let Some(chunk) = chunk.filter(|chunk| !chunk.bytes.is_empty()) else {
            notes.closed();
            break;
        };
        notes.bytes(&chunk.bytes);
        if reader.push(&chunk.bytes) {
            break;
        }
    }
    connection.close(NO_ERROR, b"");
    Ok(())
}

/// A client of its own, so that no port, key or path is shared with another exchange.
fn endpoint(plan: &StreamPlan) -> std::io::Result<Endpoint> {
    let socket = one_peer::open(SocketAddr::new(plan.dst, plan.port))?;
    let options = socket2::SockRef::from(&socket);
    match (plan.hop_limit, plan.dst) {
        (Some(limit), IpAddr::V4(_)) => options.set_ttl_v4(limit.into())?,
        (Some(limit), IpAddr::V6(_)) => options.set_unicast_hops_v6(limit.into())?,
        (None, _) => {}
    }
    Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .datagram_receive_buffer_size(None)
        // The definition's time-out ends it, and no packet leaves that is not for the query.
        .max_idle_timeout(None)
        .mtu_discovery_config(None);
    transport
}
