//! An exchange of dns over a connection, as the engines' plan says: connect, shake hands, send, read, and what happened
//! when. What it means is decided by [`sonde_engine::dns::stream_response`].
//!
//! Every exchange has a connection of its own and nothing is resumed, so that its times are those of a stranger who comes
//! for the first time. Times are this program's own clock around the system calls; an exchange over a connection has no
//! packets of ours that could be stamped.

mod https;
mod quic;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sonde_engine::dns::{StreamEvent, StreamPlan, StreamStep};
use sonde_protocol::result::Why;
use sonde_protocol::spec::DnsCarrier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::clock::ClockSource;
use super::stream::{self, Stream, words};
use super::{tls, with_zone};

/// Bytes read at once.
const CHUNK: usize = 4096;

/// A step that failed, and the system's words.
type Failed = (StreamStep, Why);

/// Runs `plan` to its end: the answer is whole, the connection closed or failed, or the deadline passed. Reads no more
/// than one message, whatever the server sends.
pub async fn exchange(clock: &Arc<dyn ClockSource>, plan: &StreamPlan) -> Vec<StreamEvent> {
    let mut notes = Notes { clock: clock.clone(), events: Vec::new() };
    let left: Duration = plan.deadline.since(clock.monotonic());
    // What has happened until the deadline counts, so the events outlive the future that collects them.
    let end = match tokio::time::timeout(left, converse(plan, &mut notes)).await {
        Ok(Ok(())) => None,
        Ok(Err((step, why))) => Some(StreamEvent::Failed { at: notes.now(), step, why }),
        Err(_) => Some(StreamEvent::TimedOut(notes.now())),
    };
    notes.events.extend(end);
    notes.events
}

/// What has happened so far.
struct Notes {
    clock: Arc<dyn ClockSource>,
    events: Vec<StreamEvent>,
}

impl Notes {
    fn now(&self) -> sonde_protocol::time::Nanos {
        self.clock.monotonic()
    }

    fn sent(&mut self) {
        self.events.push(StreamEvent::Sent(self.now()));
    }

    fn closed(&mut self) {
        self.events.push(StreamEvent::Closed(self.now()));
    }

    /// A server that sends byte by byte makes many of these, but no more than the message has bytes.
    fn bytes(&mut self, data: &[u8]) {
        self.events.push(StreamEvent::Bytes { at: self.now(), data: data.to_vec() });
    }
}

async fn converse(plan: &StreamPlan, notes: &mut Notes) -> Result<(), Failed> {
    match plan.carrier {
        DnsCarrier::Udp | DnsCarrier::Tcp => {
            let stream = connect(plan, notes).await?;
            framed(plan, notes, stream).await
        }
        DnsCarrier::Tls => {
            // Servers that know the name "dot" speak it without being asked to as well (RFC 7858, 3.1).
            let (stream, _) = secure(plan, notes, &[]).await?;
            framed(plan, notes, stream).await
        }
        DnsCarrier::Https => {
            let (stream, taken) = secure(plan, notes, &[https::ALPN]).await?;
            if taken != https::ALPN {
                return Err((StreamStep::Handshake, Why::cut("the server does not speak HTTP/2")));
            }
            https::converse(plan, notes, stream).await
        }
        DnsCarrier::Quic => quic::converse(plan, notes).await,
    }
}

/// Opens the TCP connection.
async fn connect(plan: &StreamPlan, notes: &mut Notes) -> Result<TcpStream, Failed> {
    let opened = stream::connect(with_zone(plan.dst, plan.port, plan.zone), plan.hop_limit).await;
    let stream = opened.map_err(|error| (StreamStep::Connect, words(&error)))?;
    notes.events.push(StreamEvent::Connected { at: notes.now(), src: stream::own_address(&stream) });
    Ok(stream)
}

/// Opens the TCP connection and TLS on it, offering these protocols. Gives also which of them the server took.
async fn secure(plan: &StreamPlan, notes: &mut Notes, alpn: &[&[u8]]) -> Result<(Stream, Vec<u8>), Failed> {
    let refused = |why: String| (StreamStep::Handshake, Why::cut(why));
    let name = stream::server_name(&plan.server_name);
    let name = name.ok_or_else(|| refused(format!("{} is no name of a server", plan.server_name)))?;
    let config = tls::client(notes.clock.clone(), rustls::ALL_VERSIONS, alpn);
    let (config, _) = config.map_err(|error| refused(error.to_string()))?;
    let tcp = connect(plan, notes).await?;
    let secured = stream::secure(tcp, Arc::new(config), name).await;
    let secured = secured.map_err(|error| (StreamStep::Handshake, words(&error)))?;
    let at = notes.now();
    let Stream::Tls(session) = &secured else { return Err(refused("there is no TLS".into())) };
    let session = session.get_ref().1;
    notes.events.push(StreamEvent::Secured {
        at,
        version: session.protocol_version().map(u16::from),
        cipher: session.negotiated_cipher_suite().map(|suite| suite.suite().into()),
    });
    let taken = session.alpn_protocol().unwrap_or_default().to_vec();
    Ok((secured, taken))
}

/// Sends the query and reads the answer, both behind their lengths.
async fn framed(
    plan: &StreamPlan,
    notes: &mut Notes,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<(), Failed> {
    let at_step = |step| move |error: io::Error| (step, words(&error));
    stream.write_all(&plan.request).await.map_err(at_step(StreamStep::Send))?;
    stream.flush().await.map_err(at_step(StreamStep::Send))?;
    notes.sent();

    let mut reader = plan.reader();
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = match stream.read(&mut chunk).await {
            // TLS calls it so when the connection ends without a farewell.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            other => other.map_err(at_step(StreamStep::Read))?,
        };
        let data = chunk.get(..length).unwrap_or_default();
        if data.is_empty() {
            notes.closed();
            return Ok(());
        }
        notes.bytes(data);
        if reader.push(data) {
            return Ok(());
        }
    }
}
