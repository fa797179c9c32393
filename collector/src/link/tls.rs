//! The lanes over one TLS connection ([`sonde_protocol::lanes`]). The API's port takes it and hands it over.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use sonde_protocol::key::PublicKey;
use sonde_protocol::lanes::{MAX_PIECE, Record, RecordReader, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::server::TlsStream;

use super::{Heard, LinkEnd, Piece};

/// A connection that is silent this long is gone, as with QUIC. Probes ping well within it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// How much is read at a time: a record of TLS.
const CHUNK: usize = 16 * 1024;

/// A TLS connection.
pub(crate) struct TlsLink {
    stream: TlsStream<TcpStream>,
    remote: SocketAddr,
    buffer: Vec<u8>,
    reader: RecordReader,
    /// Came with what was read last, and was not asked for yet.
    heard: VecDeque<Heard>,
    heard_at: Instant,
}

fn gone(error: impl std::fmt::Display) -> LinkEnd {
    LinkEnd::Gone(error.to_string())
}

impl TlsLink {
    pub(crate) fn new(stream: TlsStream<TcpStream>, remote: SocketAddr) -> Self {
        Self {
            stream,
            remote,
            buffer: vec![0; CHUNK],
            reader: RecordReader::default(),
            heard: VecDeque::new(),
            heard_at: Instant::now(),
        }
    }

    pub(super) fn peer_key(&self) -> Option<PublicKey> {
        PublicKey::from_spki(self.stream.get_ref().1.peer_certificates()?.first()?)
    }

    pub(super) const fn remote_address(&self) -> SocketAddr {
        self.remote
    }

    pub(super) async fn next(&mut self, lanes: bool) -> Result<Heard, LinkEnd> {
        loop {
            match self.heard.pop_front() {
                // QUIC would leave it unread. A probe that has not been welcomed has no reports to send.
                Some(Heard::Frames(..)) if !lanes => {
                    return Err(LinkEnd::Malformed("reports before the welcome".into()));
                }
                Some(heard) => return Ok(heard),
                None => {}
            }
            let read = timeout_at(self.heard_at + IDLE_TIMEOUT, self.stream.read(&mut self.buffer)).await;
            let n = read.map_err(|_| gone("silent for too long"))?.map_err(gone)?;
            let Some(bytes) = self.buffer.get(..n).filter(|bytes| !bytes.is_empty()) else {
                return Err(gone("the probe ended the connection"));
            };
            self.heard_at = Instant::now();
            self.reader.push(bytes);
            while let Some(record) = self.reader.next_record().map_err(|error| LinkEnd::Malformed(error.to_string()))? {
                let piece = |bytes: &[u8]| Piece::Tls(bytes.to_vec());
                self.heard.push_back(match record {
                    Record::Data(Stream::Control, bytes) => Heard::Control(piece(bytes)),
                    Record::Data(Stream::Fresh, bytes) => Heard::Frames(0, piece(bytes)),
                    Record::Data(Stream::Backlog, bytes) => Heard::Frames(1, piece(bytes)),
                    Record::Ping => Heard::Ping,
                    Record::Pong => continue,
                });
            }
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), LinkEnd> {
        for piece in bytes.chunks(MAX_PIECE) {
            self.stream.write_all(&Record::Data(Stream::Control, piece).to_bytes()).await.map_err(gone)?;
        }
        self.stream.flush().await.map_err(gone)
    }

    pub(super) async fn answer(&mut self) -> Result<(), LinkEnd> {
        self.stream.write_all(&Record::Pong.to_bytes()).await.map_err(gone)?;
        self.stream.flush().await.map_err(gone)
    }

    /// Whatever is still unread when a socket is closed makes the kernel reset the connection, and a reset may overtake the
    /// last words: so read until the probe ends it, too.
    pub(super) async fn finish(&mut self) {
        if self.stream.shutdown().await.is_ok() {
            while self.stream.read(&mut self.buffer).await.is_ok_and(|n| n > 0) {}
        }
    }
}
