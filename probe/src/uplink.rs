//! The connection to a collector: three lanes on one side, channels on the other. It knows how to carry messages and
//! nothing of what they mean.
//!
//! [`connect`] tries every address of every collector, a moment apart, and keeps the first that answers with a key of the
//! directory: QUIC first, and where that is not answered the same lanes over TLS and TCP, because some networks block UDP.
//! [`Link`] then carries the lanes; a lane takes one frame at a time, so that what waits waits in the spool.

mod addresses;
mod quic;
mod tls;
mod translated;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use sonde_protocol::directory::SignedDirectory;
use sonde_protocol::key::PublicKey;
use sonde_protocol::message::{Down, Frame, Up, from_cbor};
use sonde_protocol::net::Uplink;
use sonde_protocol::spool::Lane;
use sonde_protocol::tls::{SecretKey, client_config, directory_client_config};
use sonde_protocol::wire::Reader;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::debug;

pub use self::addresses::Addresses;
use self::quic::QuicLine;
use self::tls::TlsLine;
pub(crate) use self::translated::through_translators;
use crate::condition::facts::Quic;

/// A connection that is silent this long is gone.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Keeps the mapping of a NAT alive.
const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// How long one address may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an address has the field to itself before the next one is tried as well (RFC 8305 calls for 250 ms).
const STAGGER: Duration = Duration::from_millis(250);
/// How long QUIC has the field to itself: three losses of its first packet (RFC 9002, section 6.2.2: 1 s, then twice that).
const QUIC_AHEAD: Duration = Duration::from_secs(3);
/// The same where the last connection needed TLS.
const QUIC_AHEAD_IN_VAIN: Duration = Duration::from_millis(500);
/// How long the last words may take to arrive.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The most addresses tried at once.
const MAX_ADDRESSES: usize = 16;

/// What happens on a link.
#[derive(Debug)]
pub enum LinkEvent {
    /// The collector says something.
    Message(Box<Down>),
    /// A lane can take another frame.
    LaneFree,
    /// The link is gone, for this reason.
    Closed(String),
}

/// Why no collector could be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No name resolved, and there is no literal.
    #[error("no address of a collector is known: {0}")]
    NoAddress(String),
    /// Nobody answered.
    #[error("no collector answers ({0})")]
    NoAnswer(String),
    /// Somebody answered with a key that the directory does not have.
    #[error("the collector's key is not in this network's directory")]
    WrongKey,
    /// TLS cannot be set up here.
    #[error("TLS cannot be set up: {0}")]
    Local(String),
}

/// A live connection. Dropping it closes it.
pub struct Link {
    line: Line,
    /// Absent once the link is being closed.
    control: Option<mpsc::Sender<Up>>,
    /// Ends when everything said on the control stream has arrived.
    said: Option<JoinHandle<()>>,
    fresh: mpsc::Sender<Frame>,
    backlog: mpsc::Sender<Frame>,
    _tasks: JoinSet<()>,
}

enum Line {
    Quic(QuicLine),
    Tls(TlsLine),
}

/// Tries the addresses, a moment apart; the first that answers with one of `keys` wins. `last` is what the last connection
/// ran over, if there was one.
pub async fn connect(
    key: &SecretKey,
    keys: &[PublicKey],
    addresses: &Addresses,
    last: Option<Uplink>,
    events: mpsc::Sender<LinkEvent>,
) -> Result<Link, ConnectError> {
    let by_quic = async {
        let tls = client_config(key, keys, Uplink::Quic).map_err(local)?;
        let connection = quic::race(tls, &addresses.quic).await?;
        debug!(collector = %connection.remote_address(), "connected by QUIC");
        quic::open(connection, events.clone()).await
    };
    let by_tls = async {
        let tls = client_config(key, keys, Uplink::Tls).map_err(local)?;
        let stream = tls::race(tls, &addresses.tls).await?;
        debug!(collector = ?stream.get_ref().0.peer_addr().ok(), "connected by TLS");
        tls::open(stream, events.clone())
    };
    let ahead = if last == Some(Uplink::Tls) { QUIC_AHEAD_IN_VAIN } else { QUIC_AHEAD };
    in_turn(by_quic, (!addresses.tls.is_empty()).then_some(by_tls), ahead).await
}

/// Asks whoever answers for the network's newest directory. What comes back proves nothing until it is opened with a root
/// key.
pub async fn fetch_directory(key: &SecretKey, addresses: &Addresses) -> Result<SignedDirectory, ConnectError> {
    let config = || directory_client_config(key).map_err(local);
    let by_quic = async { quic::fetch_directory(config()?, &addresses.quic).await };
    let by_tls = async { tls::fetch_directory(config()?, &addresses.tls).await };
    let bytes = in_turn(by_quic, (!addresses.tls.is_empty()).then_some(by_tls), QUIC_AHEAD).await?;
    minicbor::decode(&bytes).map_err(|error| ConnectError::NoAnswer(error.to_string()))
}

/// Who answers at an address by QUIC: a collector with one of `keys`, somebody else, or nobody within `limit`? A connection
/// for the directory, which a collector gives to anybody, and which is closed at once.
pub async fn who_answers(key: &SecretKey, keys: &[PublicKey], address: SocketAddr, limit: Duration) -> Quic {
    let Ok(tls) = directory_client_config(key) else { return Quic::NotTried };
    match timeout(limit, quic::whose_key(tls, address)).await {
        Ok(Ok(Some(key))) if keys.contains(&key) => Quic::Ours,
        Ok(Ok(_) | Err(ConnectError::WrongKey)) => Quic::OtherKey,
        Ok(Err(_)) | Err(_) => Quic::Silent,
    }
}

fn local(error: rustls::Error) -> ConnectError {
    ConnectError::Local(error.to_string())
}

/// The first of two ways that leads somewhere; the second begins when the first has failed, or after a time.
async fn in_turn<T>(
    first: impl Future<Output = Result<T, ConnectError>>,
    second: Option<impl Future<Output = Result<T, ConnectError>>>,
    ahead: Duration,
) -> Result<T, ConnectError> {
    let Some(second) = second else { return first.await };
    let begin = Notify::new();
    let first = async {
        let result = first.await;
        if result.is_err() {
            begin.notify_one();
        }
        result
    };
    let second = async {
        let _ = timeout(ahead, begin.notified()).await;
        second.await
    };
    let (mut first, mut second) = (std::pin::pin!(first), std::pin::pin!(second));
    tokio::select! {
        result = &mut first => match result {
            // A collector was reached, and nothing is blocked.
            Err(ConnectError::WrongKey) => Err(ConnectError::WrongKey),
            Err(error) => second.await.map_err(|other| both(error, other)),
            done => done,
        },
        result = &mut second => match result {
            Err(error) => first.await.map_err(|other| both(other, error)),
            done => done,
        },
    }
}

/// What to say when neither way leads to a collector.
fn both(quic: ConnectError, tls: ConnectError) -> ConnectError {
    match (quic, tls) {
        (ConnectError::NoAnswer(quic), ConnectError::NoAnswer(tls)) => {
            ConnectError::NoAnswer(format!("{quic}; by TLS {tls}"))
        }
        (ConnectError::WrongKey, _) | (_, ConnectError::WrongKey) => ConnectError::WrongKey,
        (quic, _) => quic,
    }
}

/// Tries each address, each a moment after the one before.
async fn staggered<T: Send + 'static, F: Future<Output = Result<T, ConnectError>> + Send + 'static>(
    addresses: &[SocketAddr],
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<T, ConnectError> {
    let mut tries = JoinSet::new();
    let mut wrong_key = false;
    let mut last = String::from("no address");
    for (n, &address) in addresses.iter().take(MAX_ADDRESSES).enumerate() {
        let delay = STAGGER * u32::try_from(n).unwrap_or(0);
        let attempt = attempt(address);
        tries.spawn(async move {
            sleep(delay).await;
            attempt.await
        });
    }
    while let Some(done) = tries.join_next().await {
        match done {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(ConnectError::WrongKey)) => wrong_key = true,
            Ok(Err(ConnectError::NoAnswer(why))) => last = why,
            Ok(Err(error)) => last = error.to_string(),
            Err(error) => last = error.to_string(),
        }
    }
    Err(if wrong_key { ConnectError::WrongKey } else { ConnectError::NoAnswer(last) })
}

impl Link {
    /// Who is at the other end.
    pub fn remote(&self) -> SocketAddr {
        match &self.line {
            Line::Quic(line) => line.remote(),
            Line::Tls(line) => line.remote(),
        }
    }

    /// What it runs over.
    pub const fn uplink(&self) -> Uplink {
        match self.line {
            Line::Quic(_) => Uplink::Quic,
            Line::Tls(_) => Uplink::Tls,
        }
    }

    /// The collector's key.
    pub fn key(&self) -> Option<PublicKey> {
        match &self.line {
            Line::Quic(line) => line.key(),
            Line::Tls(line) => line.key(),
        }
    }

    /// How often something has come. While the number grows the other end lives, however long its answer takes.
    pub fn received(&self) -> u64 {
        match &self.line {
            Line::Quic(line) => line.received(),
            Line::Tls(line) => line.received(),
        }
    }

    /// How long the other end may be silent after something was sent.
    pub fn patience(&self) -> Duration {
        match &self.line {
            Line::Quic(line) => line.patience(),
            Line::Tls(line) => line.patience(),
        }
    }

    /// Sends a control message; `false` when too many wait, which means that the link is stuck.
    pub fn send(&self, message: Up) -> bool {
        self.control.as_ref().is_some_and(|control| control.try_send(message).is_ok())
    }

    /// Room for one frame on a lane, if there is any.
    pub fn room(&self, lane: Lane) -> Option<mpsc::Permit<'_, Frame>> {
        let sender = match lane {
            Lane::Fresh => &self.fresh,
            Lane::Backlog => &self.backlog,
        };
        sender.try_reserve().ok()
    }

    /// Ends the link when the collector has everything that was said, or after a moment without an answer.
    pub async fn close(mut self) {
        self.control = None;
        if let Some(said) = &mut self.said {
            let _ = timeout(CLOSE_TIMEOUT, said).await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(said) = &self.said {
            said.abort();
        }
        if let Line::Quic(line) = &self.line {
            line.close();
        }
    }
}

/// Reports why a task of the link ended, unless it ended because the link was dropped.
async fn guard(task: impl Future<Output = Result<(), String>>, events: mpsc::Sender<LinkEvent>) {
    if let Err(why) = task.await {
        let _ = events.send(LinkEvent::Closed(why)).await;
    }
}

/// Takes bytes of the control stream and tells of the messages in them. `false`: nobody listens any more.
async fn hear(reader: &mut Reader, bytes: &[u8], events: &mpsc::Sender<LinkEvent>) -> Result<bool, String> {
    reader.push(bytes);
    while let Some(message) = reader.next_message().map_err(|error| error.to_string())? {
        match from_cbor::<Down>(message) {
            Ok(Some(down)) => {
                if events.send(LinkEvent::Message(Box::new(down))).await.is_err() {
                    return Ok(false);
                }
            }
            Ok(None) => {}
            Err(error) => return Err(format!("the collector's message makes no sense: {error}")),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Way = Result<&'static str, ConnectError>;

    fn failed(why: &str) -> Way {
        Err(ConnectError::NoAnswer(why.into()))
    }

    /// A way that ends at once, after the others had their turn, or never.
    async fn way(result: Option<Way>, later: bool) -> Way {
        if later {
            sleep(Duration::from_millis(1)).await;
        }
        match result {
            Some(result) => result,
            None => std::future::pending().await,
        }
    }

    #[tokio::test]
    async fn the_second_way_waits_for_the_first_to_fail_or_to_take_long() {
        let (at_once, never) = (Duration::ZERO, Duration::from_secs(1_000_000));
        let cases = [
            ("the first answers", way(Some(Ok("first")), true), way(Some(Ok("second")), false), never, Ok("first")),
            ("the first is slow", way(None, false), way(Some(Ok("second")), false), at_once, Ok("second")),
            ("the first fails", way(Some(failed("a")), true), way(Some(Ok("second")), true), never, Ok("second")),
            ("the second fails", way(Some(Ok("first")), true), way(Some(failed("b")), false), at_once, Ok("first")),
            ("both fail", way(Some(failed("a")), false), way(Some(failed("b")), false), never, failed("a; by TLS b")),
            (
                "a wrong key",
                way(Some(Err(ConnectError::WrongKey)), false),
                way(Some(Ok("second")), false),
                never,
                Err(ConnectError::WrongKey),
            ),
        ];
        for (case, first, second, ahead, expected) in cases {
            assert_eq!(in_turn(first, Some(second), ahead).await, expected, "{case}");
        }
    }
}
