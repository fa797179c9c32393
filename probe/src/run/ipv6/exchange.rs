//! One exchange with a reference server: TLS or QUIC with exactly its key, a question, and what the server saw. What the answers
//! mean is not known here.
//!
//! [`ask`] is the whole of it over TLS, for whoever wants the token of the echo or bulk both ways; [`secure`] and
//! [`Session::ask`] are its steps.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, VarInt};
use rustls::pki_types::ServerName;
use sonde_protocol::key::PublicKey;
use sonde_protocol::reference::{Ask, MAX_MESSAGE, Seen};
use sonde_protocol::result::ipv6::{Attempt, Trouble, TroubleKind};
use sonde_protocol::tls::reference_client_config;
use sonde_protocol::wire::{Reader, framed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::net::clock::ClockSource;
use crate::net::opening::{open, trouble};
use crate::net::quic_client;

/// Bytes read at once.
const CHUNK: usize = 4096;

/// TLS alerts by which a key is refused (RFC 8446, section 6): bad_certificate to access_denied, as QUIC's codes have them
/// (RFC 9001, section 4.8).
const KEY_ALERTS: std::ops::RangeInclusive<u64> = 0x12a..=0x131;

/// A connection on which the server has shown that it has its key.
#[derive(Debug)]
pub struct Session(Box<TlsStream<TcpStream>>);

/// Does the handshake of TLS 1.3 over an open connection, with the one key. The caller sets the deadline.
///
/// # Errors
/// When it fails; [`TroubleKind::WrongKey`] when somebody else answers.
pub async fn secure(tcp: TcpStream, dst: IpAddr, key: PublicKey) -> Result<Session, Trouble> {
    let config = reference_client_config(key).map_err(|error| tls_trouble(&error))?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(ServerName::from(dst), tcp);
    connecting.await.map(|tls| Session(Box::new(tls))).map_err(|error| words(&error))
}

impl Session {
    /// Asks, and reads what the server saw. The caller sets the deadline.
    ///
    /// # Errors
    /// When the connection breaks or what comes makes no sense.
    pub async fn ask(mut self, ask: &Ask) -> Result<Seen, Trouble> {
        let failed = |error: io::Error| words(&error);
        // Writing into memory cannot fail.
        let question = framed(&minicbor::to_vec(ask).unwrap_or_default());
        self.0.write_all(&question).await.map_err(failed)?;
        self.0.flush().await.map_err(failed)?;
        let mut reader = Reader::new(MAX_MESSAGE);
        let mut chunk = vec![0; CHUNK];
        let seen = loop {
            match reader.next_message() {
                Ok(Some(message)) => {
                    break minicbor::decode(message).map_err(|_| TroubleKind::Malformed)?;
                }
                Ok(None) => {}
                Err(_) => return Err(TroubleKind::Malformed.into()),
            }
            match self.0.read(&mut chunk).await.map_err(failed)? {
                0 => return Err(TroubleKind::Reset.into()),
                length => reader.push(chunk.get(..length).unwrap_or_default()),
            }
        };
        // The server waits for our farewell; that it gets lost harms nobody.
        let _ = self.0.shutdown().await;
        Ok(seen)
    }
}

/// The whole exchange over TLS within `limit`: connection, handshake, question, answer.
///
/// # Errors
/// The step that failed, in its words.
pub async fn ask(
    clock: &dyn ClockSource,
    dst: SocketAddr,
    key: PublicKey,
    ask: &Ask,
    limit: Duration,
) -> Result<Seen, Trouble> {
    let exchange = async {
        let opened = open(clock, None, dst, limit).await.map_err(|error| error.trouble)?;
        secure(opened.stream, dst.ip(), key).await?.ask(ask).await
    };
    timeout(limit, exchange).await.unwrap_or_else(|_| Err(TroubleKind::Timeout.into()))
}

/// A QUIC handshake with the key, within `limit`.
pub async fn quic(clock: &dyn ClockSource, dst: SocketAddr, key: PublicKey, limit: Duration) -> Attempt {
    let began = clock.monotonic();
    match timeout(limit, shake_hands(dst, key)).await {
        Ok(Ok(())) => Attempt::Done(u64::try_from(clock.monotonic().since(began).as_nanos()).unwrap_or(u64::MAX)),
        Ok(Err(trouble)) => Attempt::Failed(trouble),
        Err(_) => Attempt::Failed(TroubleKind::Timeout.into()),
    }
}

async fn shake_hands(dst: SocketAddr, key: PublicKey) -> Result<(), Trouble> {
    let config = reference_client_config(key).map_err(|error| tls_trouble(&error))?;
    let crypto = QuicClientConfig::try_from(config).map_err(|_| TroubleKind::Other)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(quic_client::transport()));
    // Datagrams are only sent by a task of the endpoint's, whose errors nobody hears: without a way it would look like silence.
    crate::net::source_address(dst.ip()).map_err(|error| trouble(&error))?;
    let endpoint = quic_client::endpoint(dst, None).map_err(|error| trouble(&error))?;
    let name = dst.ip().to_string();
    let connecting = endpoint.connect_with(config, dst, &name).map_err(|_| TroubleKind::Other)?;
    let connection = connecting.await.map_err(|error| quic_trouble(&error))?;
    connection.close(VarInt::from_u32(0), b"");
    Ok(())
}

fn quic_trouble(error: &ConnectionError) -> Trouble {
    let kind = match error {
        ConnectionError::TransportError(error) if KEY_ALERTS.contains(&u64::from(error.code)) => TroubleKind::WrongKey,
        ConnectionError::TransportError(_) | ConnectionError::VersionMismatch => TroubleKind::Malformed,
        ConnectionError::ConnectionClosed(_) | ConnectionError::ApplicationClosed(_) => TroubleKind::Refused,
        ConnectionError::Reset => TroubleKind::Reset,
        ConnectionError::TimedOut => TroubleKind::Timeout,
        _ => TroubleKind::Other,
    };
    kind.into()
}

/// The words for what went wrong with TLS, or under it.
fn words(error: &io::Error) -> Trouble {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    tls.map_or_else(|| trouble(error), tls_trouble)
}

fn tls_trouble(error: &rustls::Error) -> Trouble {
    match error {
        rustls::Error::InvalidCertificate(_) => TroubleKind::WrongKey.into(),
        _ => TroubleKind::Malformed.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use sonde_protocol::bounded::Bytes;
    use sonde_protocol::reference::MAX_PADDING;
    use sonde_protocol::tls::SecretKey;
    use sonde_reference::{Config, Reference};

    use super::*;
    use crate::net::clock::SystemClock;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A reference on loopback, and its key.
    async fn reference() -> (Reference, PublicKey) {
        let key = SecretKey::generate().unwrap();
        let listen = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let config = Config { listen, port: 0, echo_port: 0, echo_bytes: 1_000_000 };
        (Reference::start(&config, &key).await.unwrap(), key.public())
    }

    #[tokio::test]
    async fn the_reference_tells_whom_it_saw_and_takes_bulk_both_ways() {
        let (server, key) = reference().await;
        for bound in server.bound() {
            let padding = Bytes::new(vec![0; MAX_PADDING]).unwrap();
            let question = Ask { padding, want: u16::try_from(MAX_PADDING).unwrap() };
            let seen = ask(&SystemClock, bound.tls, key, &question, LIMIT).await.unwrap();
            assert_eq!((seen.src.0, seen.padding.len()), (bound.tls.ip(), MAX_PADDING));
            assert!(quic(&SystemClock, bound.quic, key, LIMIT).await.is_done());
        }
        server.stop().await;
    }

    #[tokio::test]
    async fn somebody_elses_key_and_a_closed_port_are_what_they_are() {
        let (server, _) = reference().await;
        let other = SecretKey::generate().unwrap().public();
        for bound in server.bound() {
            let wrong = ask(&SystemClock, bound.tls, other, &Ask::default(), LIMIT).await.unwrap_err();
            assert_eq!(wrong.kind, TroubleKind::WrongKey);
            let wrong = quic(&SystemClock, bound.quic, other, LIMIT).await;
            assert_eq!(wrong.trouble().map(|trouble| trouble.kind), Some(TroubleKind::WrongKey));
        }
        let closed: Vec<SocketAddr> = server.bound().iter().map(|bound| bound.tls).collect();
        server.stop().await;
        for dst in closed {
            let refused = ask(&SystemClock, dst, other, &Ask::default(), LIMIT).await.unwrap_err();
            assert_eq!(refused.kind, TroubleKind::Refused);
        }
    }

    #[tokio::test]
    async fn who_takes_the_connection_and_says_nothing_is_not_waited_for() {
        let mute = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let key = SecretKey::generate().unwrap().public();
        let limit = Duration::from_millis(50);
        let silent = ask(&SystemClock, mute.local_addr().unwrap(), key, &Ask::default(), limit).await.unwrap_err();
        assert_eq!(silent.kind, TroubleKind::Timeout);
    }
}
