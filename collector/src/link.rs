//! What one probe's three lanes run over: QUIC's streams, or TLS over TCP for probes behind something that blocks UDP.
//!
//! It carries bytes and knows nothing of what they mean. Whoever serves the connection reads with [`Link::next`] and writes
//! with [`Link::send`].

mod quic;
mod tls;

use std::net::SocketAddr;
use std::ops::Deref;

use sonde_protocol::key::PublicKey;
use sonde_protocol::net::Uplink;

pub(crate) use self::quic::QuicLink;
pub(crate) use self::tls::TlsLink;

/// How many lanes carry frames: fresh and backlog.
pub(crate) const FRAME_LANES: usize = 2;

/// Application error codes in QUIC's CONNECTION_CLOSE. TLS has no place for them: there the connection just ends.
pub(crate) mod close {
    /// All is well: drained, said goodbye, or replaced by a newer connection.
    pub(crate) const DONE: u32 = 0;
    /// What the probe sent makes no sense.
    pub(crate) const MALFORMED: u32 = 1;
    /// The collector cannot go on with this connection.
    pub(crate) const INTERNAL: u32 = 2;
    /// The probe was refused; the control stream says why.
    pub(crate) const REFUSED: u32 = 3;
}

/// Why nothing more comes.
#[derive(Debug)]
pub(crate) enum LinkEnd {
    /// The connection is gone.
    Gone(String),
    /// What came makes no sense.
    Malformed(String),
}

/// What came.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Bytes of the control stream.
    Control(Piece),
    /// Bytes of a lane of frames.
    Frames(usize, Piece),
    /// A lane has ended; another stream may take its place.
    LaneEnded(usize),
    /// The probe asks whether this end is alive: [`Link::answer`].
    Ping,
}

/// Bytes as they came.
#[derive(Debug)]
pub(crate) enum Piece {
    Quic(::quinn::Chunk),
    Tls(Vec<u8>),
}

impl Deref for Piece {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Piece::Quic(chunk) => &chunk.bytes,
            Piece::Tls(bytes) => bytes,
        }
    }
}

/// One probe's connection.
pub(crate) enum Link {
    Quic(QuicLink),
    Tls(Box<TlsLink>),
}

impl Link {
    /// The probe's key, as the handshake has proved it.
    pub(crate) fn peer_key(&self) -> Option<PublicKey> {
        match self {
            Link::Quic(link) => link.peer_key(),
            Link::Tls(link) => link.peer_key(),
        }
    }

    /// Where the probe is seen now.
    pub(crate) fn remote_address(&self) -> SocketAddr {
        match self {
            Link::Quic(link) => link.remote_address(),
            Link::Tls(link) => link.remote_address(),
        }
    }

    /// What it runs over.
    pub(crate) const fn uplink(&self) -> Uplink {
        match self {
            Link::Quic(_) => Uplink::Quic,
            Link::Tls(_) => Uplink::Tls,
        }
    }

    /// Waits for the control stream.
    pub(crate) async fn open(&mut self) -> Result<(), LinkEnd> {
        match self {
            Link::Quic(link) => link.open().await,
            Link::Tls(_) => Ok(()),
        }
    }

    /// The next that comes; of the lanes only when `lanes` is set, which is not before the probe is admitted. Dropping the
    /// future loses nothing.
    pub(crate) async fn next(&mut self, lanes: bool) -> Result<Heard, LinkEnd> {
        match self {
            Link::Quic(link) => link.next(lanes).await,
            Link::Tls(link) => link.next(lanes).await,
        }
    }

    /// Writes to the control stream. What was written in part when the future is dropped is lost, and so is the connection.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), LinkEnd> {
        match self {
            Link::Quic(link) => link.send(bytes).await,
            Link::Tls(link) => link.send(bytes).await,
        }
    }

    /// Answers [`Heard::Ping`].
    pub(crate) async fn answer(&mut self) -> Result<(), LinkEnd> {
        match self {
            Link::Quic(_) => Ok(()),
            Link::Tls(link) => link.answer().await,
        }
    }

    /// Says nothing more, and waits until all that was said has arrived.
    pub(crate) async fn finish(&mut self) {
        match self {
            Link::Quic(link) => link.finish().await,
            Link::Tls(link) => link.finish().await,
        }
    }

    /// Ends the connection.
    pub(crate) fn close(&self, code: u32, why: &str) {
        match self {
            Link::Quic(link) => link.close(code, why),
            // Dropping it is all that there is.
            Link::Tls(_) => {}
        }
    }
}
