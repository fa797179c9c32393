//! DNS over QUIC (RFC 9250): one stream of a connection of its own, on a socket of its own.

use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, VarInt};
use sonde_engine::dns::{StreamEvent, StreamPlan, StreamStep};
use sonde_protocol::result::Why;

use super::{Failed, Notes};
use crate::net::stream::words;
use crate::net::{quic_client, tls, with_zone};
use crate::run::with_causes;

/// What RFC 9250, 4.1.1 has servers speak.
const ALPN: &[u8] = b"doq";
/// DOQ_NO_ERROR (RFC 9250, 4.3).
const NO_ERROR: VarInt = VarInt::from_u32(0);

pub(super) async fn converse(plan: &StreamPlan, notes: &mut Notes) -> Result<(), Failed> {
    let config = tls::client(notes.clock.clone(), &[&rustls::version::TLS13], &[ALPN]).map_err(|e| e.to_string());
    let crypto = config.and_then(|(config, _)| QuicClientConfig::try_from(config).map_err(|e| e.to_string()));
    let mut config = ClientConfig::new(Arc::new(crypto.map_err(|why| (StreamStep::Handshake, Why::cut(why)))?));
    config.transport_config(Arc::new(quic_client::transport()));
    let server = with_zone(plan.dst, plan.port, plan.zone);
    let endpoint =
        quic_client::endpoint(server, plan.hop_limit).map_err(|error| (StreamStep::Connect, words(&error)))?;

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
