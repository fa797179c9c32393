//! The lanes over QUIC: the probe's first bidirectional stream is control, its two unidirectional streams carry frames.

use std::net::SocketAddr;

use quinn::{Connection, RecvStream, SendStream, VarInt};
use sonde_protocol::key::PublicKey;

use super::{FRAME_LANES, Heard, LinkEnd, Piece};

/// How much is read from a stream at a time.
const CHUNK: usize = 64 * 1024;

/// A QUIC connection.
pub(crate) struct QuicLink {
    connection: Connection,
    control: Option<(SendStream, RecvStream)>,
    lanes: [Option<RecvStream>; FRAME_LANES],
}

fn gone(error: impl std::fmt::Display) -> LinkEnd {
    LinkEnd::Gone(error.to_string())
}

/// The next bytes of a lane; never, while it is not open.
async fn chunk(lane: &mut Option<RecvStream>) -> Result<Option<quinn::Chunk>, quinn::ReadError> {
    match lane {
        Some(stream) => stream.read_chunk(CHUNK, true).await,
        None => std::future::pending().await,
    }
}

impl QuicLink {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, control: None, lanes: [None, None] }
    }

    pub(super) fn peer_key(&self) -> Option<PublicKey> {
        let identity = self.connection.peer_identity()?;
        let certificates = identity.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().ok()?;
        PublicKey::from_spki(certificates.first()?)
    }

    pub(super) fn remote_address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    pub(super) async fn open(&mut self) -> Result<(), LinkEnd> {
        self.control = Some(self.connection.accept_bi().await.map_err(gone)?);
        Ok(())
    }

    pub(super) async fn next(&mut self, open: bool) -> Result<Heard, LinkEnd> {
        let Some((_, control)) = &mut self.control else { return Err(gone("no control stream")) };
        let [first, second] = &mut self.lanes;
        let free = [&*first, &*second].iter().position(|lane| lane.is_none());
        tokio::select! {
            chunk = control.read_chunk(CHUNK, true) => match chunk {
                Ok(Some(chunk)) => Ok(Heard::Control(Piece::Quic(chunk))),
                Ok(None) => Err(gone("control stream ended")),
                Err(error) => Err(gone(error)),
            },
            chunk = chunk(first), if open => self.heard(0, chunk),
            chunk = chunk(second), if open => self.heard(1, chunk),
            stream = self.connection.accept_uni(), if open && free.is_some() => {
                let stream = stream.map_err(gone)?;
                let lane = free.unwrap_or_default();
                if let Some(place) = self.lanes.get_mut(lane) {
                    *place = Some(stream);
                }
                // It has carried nothing yet.
                Ok(Heard::LaneEnded(lane))
            }
        }
    }

    fn heard(&mut self, lane: usize, chunk: Result<Option<quinn::Chunk>, quinn::ReadError>) -> Result<Heard, LinkEnd> {
        match chunk {
            Ok(Some(chunk)) => Ok(Heard::Frames(lane, Piece::Quic(chunk))),
            Ok(None) => {
                if let Some(place) = self.lanes.get_mut(lane) {
                    *place = None;
                }
                Ok(Heard::LaneEnded(lane))
            }
            Err(error) => Err(gone(error)),
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), LinkEnd> {
        let Some((control, _)) = &mut self.control else { return Err(gone("no control stream")) };
        control.write_all(bytes).await.map_err(gone)
    }

    pub(super) async fn finish(&mut self) {
        if let Some((control, _)) = &mut self.control
            && control.finish().is_ok()
        {
            let _ = control.stopped().await;
        }
    }

    pub(super) fn close(&self, code: u32, why: &str) {
        self.connection.close(VarInt::from_u32(code), why.as_bytes());
    }
}
