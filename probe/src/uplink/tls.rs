//! The lanes over one TLS connection ([`sonde_protocol::lanes`]), for networks that block UDP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::ServerName;
use sonde_protocol::directory::MAX_DIRECTORY;
use sonde_protocol::key::PublicKey;
use sonde_protocol::lanes::{MAX_PIECE, Record, RecordReader, Stream};
use sonde_protocol::message::{Frame, MAX_CONTROL, Up, to_cbor};
use sonde_protocol::wire::{Reader, framed};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{CONNECT_TIMEOUT, ConnectError, IDLE_TIMEOUT, KEEP_ALIVE, Line, Link, LinkEvent, guard, hear, staggered};

/// How long the collector may be silent after something was sent, which always ends with a ping. TCP does not tell what has
/// arrived, and what waits in the kernel's buffer goes first: on a thin line that takes its time.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much is read at a time: a record of TLS.
const CHUNK: usize = 16 * 1024;

/// A TLS connection.
pub(super) struct TlsLine {
    remote: SocketAddr,
    key: Option<PublicKey>,
    received: Arc<AtomicU64>,
}

impl TlsLine {
    pub(super) const fn remote(&self) -> SocketAddr {
        self.remote
    }

    pub(super) const fn key(&self) -> Option<PublicKey> {
        self.key
    }

    /// Reads that gave something.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(super) const fn patience(&self) -> Duration {
        PATIENCE
    }
}

pub(super) async fn race(
    tls: rustls::ClientConfig,
    addresses: &[SocketAddr],
) -> Result<TlsStream<TcpStream>, ConnectError> {
    let tls = Arc::new(tls);
    staggered(addresses, |address| attempt(tls.clone(), address)).await
}

async fn attempt(tls: Arc<rustls::ClientConfig>, address: SocketAddr) -> Result<TlsStream<TcpStream>, ConnectError> {
    let failed = |why: &dyn std::fmt::Display| ConnectError::NoAnswer(format!("{address}: {why}"));
    let shake = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        // Raw public keys have no name; the name is sent nowhere.
        TlsConnector::from(tls).connect(ServerName::IpAddress(address.ip().into()), stream).await
    };
    match timeout(CONNECT_TIMEOUT, shake).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if is_refusal_of_key(&error) => Err(ConnectError::WrongKey),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(failed(&"no answer")),
    }
}

/// Our verifier has refused the collector's key. Whatever else goes wrong in the handshake, such as a web server that does
/// not know the protocol, says nothing of the network's keys.
fn is_refusal_of_key(error: &std::io::Error) -> bool {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::InvalidCertificate(_)))
}

/// Gives what whoever answers first has to say.
pub(super) async fn fetch_directory(
    tls: rustls::ClientConfig,
    addresses: &[SocketAddr],
) -> Result<Vec<u8>, ConnectError> {
    let stream = race(tls, addresses).await?;
    let mut bytes = Vec::new();
    // One byte more than allowed, and it does not decode.
    let mut limited = stream.take(u64::try_from(MAX_DIRECTORY + 1024).unwrap_or(u64::MAX));
    match timeout(CONNECT_TIMEOUT, limited.read_to_end(&mut bytes)).await {
        Ok(Ok(_)) => Ok(bytes),
        Ok(Err(error)) => Err(ConnectError::NoAnswer(error.to_string())),
        Err(_) => Err(ConnectError::NoAnswer("time-out".into())),
    }
}

pub(super) fn open(stream: TlsStream<TcpStream>, events: mpsc::Sender<LinkEvent>) -> Result<Link, ConnectError> {
    let (tcp, tls) = stream.get_ref();
    let remote = tcp.peer_addr().map_err(|error| ConnectError::NoAnswer(error.to_string()))?;
    let key = tls.peer_certificates().and_then(|list| PublicKey::from_spki(list.first()?));
    let received = Arc::new(AtomicU64::new(0));
    let (reading, writing) = split(stream);
    // Control messages of a probe are few and small.
    let (control, messages) = mpsc::channel(64);
    let (fresh, fresh_frames) = mpsc::channel(1);
    let (backlog, backlog_frames) = mpsc::channel(1);
    let (pong, pings) = mpsc::channel(1);
    let ended = Arc::new(Notify::new());
    let mut tasks = JoinSet::new();
    let ear = Ear { stream: reading, events: events.clone(), received: received.clone(), pong, ended: ended.clone() };
    tasks.spawn(guard(ear.listen(), events.clone()));
    let mouth = Mouth { stream: writing, messages, frames: [fresh_frames, backlog_frames], pings, ended };
    let said = tokio::spawn(guard(mouth.speak(events.clone()), events));
    let line = Line::Tls(TlsLine { remote, key, received });
    Ok(Link { line, control: Some(control), said: Some(said), fresh, backlog, _tasks: tasks })
}

/// What reads.
struct Ear {
    stream: ReadHalf<TlsStream<TcpStream>>,
    events: mpsc::Sender<LinkEvent>,
    received: Arc<AtomicU64>,
    /// The collector has asked whether we are there.
    pong: mpsc::Sender<()>,
    /// Nothing more comes.
    ended: Arc<Notify>,
}

impl Ear {
    async fn listen(mut self) -> Result<(), String> {
        let mut buffer = vec![0; CHUNK];
        let (mut records, mut reader) = (RecordReader::default(), Reader::new(MAX_CONTROL));
        loop {
            let read = timeout(IDLE_TIMEOUT, self.stream.read(&mut buffer)).await;
            let Ok(Ok(n @ 1..)) = read else {
                self.ended.notify_one();
                return Err(match read {
                    Ok(Ok(_)) => "the collector ended the connection".into(),
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "the collector was silent for too long".into(),
                });
            };
            self.received.fetch_add(1, Ordering::Relaxed);
            records.push(buffer.get(..n).unwrap_or_default());
            while let Some(record) = records.next_record().map_err(|error| error.to_string())? {
                match record {
                    Record::Data(Stream::Control, bytes) => {
                        if !hear(&mut reader, bytes, &self.events).await? {
                            return Ok(());
                        }
                    }
                    // One answer for many questions is enough.
                    Record::Ping => drop(self.pong.try_send(())),
                    Record::Pong => {}
                    Record::Data(Stream::Fresh | Stream::Backlog, _) => {
                        return Err("the collector sends reports".into());
                    }
                }
            }
        }
    }
}

/// What writes: control before fresh before backlog, a piece at a time.
struct Mouth {
    stream: WriteHalf<TlsStream<TcpStream>>,
    messages: mpsc::Receiver<Up>,
    /// Fresh, backlog.
    frames: [mpsc::Receiver<Frame>; 2],
    pings: mpsc::Receiver<()>,
    ended: Arc<Notify>,
}

/// A frame on its way, and how much of it was written.
type Begun = Option<(Vec<u8>, usize)>;

impl Mouth {
    async fn speak(mut self, events: mpsc::Sender<LinkEvent>) -> Result<(), String> {
        let mut begun: [Begun; 2] = [None, None];
        let mut ping_at = Instant::now() + KEEP_ALIVE;
        loop {
            let [fresh, backlog] = &mut self.frames;
            let [fresh_begun, backlog_begun] = &mut begun;
            let records = tokio::select! {
                biased;
                message = self.messages.recv() => match message {
                    Some(message) => in_records(&framed(&to_cbor(&message))),
                    None => break,
                },
                Some(()) = self.pings.recv() => Record::Pong.to_bytes(),
                Some(()) = next(fresh, fresh_begun) => piece(fresh_begun, Stream::Fresh),
                Some(()) = next(backlog, backlog_begun) => piece(backlog_begun, Stream::Backlog),
                () = sleep_until(ping_at) => Record::Ping.to_bytes(),
            };
            self.stream.write_all(&records).await.map_err(|error| error.to_string())?;
            self.stream.flush().await.map_err(|error| error.to_string())?;
            ping_at = Instant::now() + KEEP_ALIVE;
            for lane in &mut begun {
                if lane.as_ref().is_some_and(|(bytes, written)| *written >= bytes.len()) {
                    *lane = None;
                    if events.send(LinkEvent::LaneFree).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
        // Nobody says anything more. What has arrived is known when the collector has closed its side, too.
        if self.stream.shutdown().await.is_ok() {
            self.ended.notified().await;
        }
        Ok(())
    }
}

/// Makes sure that a frame of the lane has begun; `None` when no more will come.
async fn next(frames: &mut mpsc::Receiver<Frame>, begun: &mut Begun) -> Option<()> {
    if begun.is_none() {
        *begun = Some((framed(&to_cbor(&frames.recv().await?)), 0));
    }
    Some(())
}

/// The next piece of a frame. The last one asks whether the collector is there, so that its silence can be noticed.
fn piece(begun: &mut Begun, stream: Stream) -> Vec<u8> {
    let Some((bytes, written)) = begun else { return Vec::new() };
    let rest = bytes.get(*written..).unwrap_or_default();
    let now = rest.get(..MAX_PIECE).unwrap_or(rest);
    let mut records = Record::Data(stream, now).to_bytes();
    *written += now.len();
    if *written >= bytes.len() {
        records.extend(Record::Ping.to_bytes());
    }
    records
}

/// A control message.
fn in_records(bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(MAX_PIECE).flat_map(|piece| Record::Data(Stream::Control, piece).to_bytes()).collect()
}
