//! A TLS handshake as [`sonde_engine::sslcert`] plans it: as far as the server's certificates, and what happened when.
//!
//! The TLS client is driven by hand over the socket, so that each arrival has its time and what was learned before a
//! failure is kept. Times are this program's own clock after the read.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, PeerIncompatible};
use sonde_engine::sslcert::{Event, MAX_BYTES, Plan, Step};
use sonde_protocol::result::Why;
use sonde_protocol::time::Nanos;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::clock::ClockSource;
use super::stream::{connect, own_address, words};
use super::tls::Witness;

/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

/// What there is to tell.
#[derive(Debug, Default)]
pub struct Told {
    /// In the order in which it happened.
    pub events: Vec<Event>,
    /// The probe's own address, once connected.
    pub src: Option<IpAddr>,
}

/// Runs `plan` towards `dst` to its end: the certificates are there, something failed, or the deadline passed.
pub async fn fetch(
    clock: &dyn ClockSource,
    plan: &Plan,
    dst: IpAddr,
    (config, witness): (ClientConfig, Witness),
    name: ServerName<'static>,
) -> Told {
    let mut told = Told::default();
    let left: Duration = plan.deadline().since(clock.monotonic());
    let run = async {
        let connected = connect(SocketAddr::new(dst, plan.port), None).await;
        let tcp = connected.map_err(|error| Event::Failed(Step::Connect, words(&error)))?;
        told.events.push(Event::Connected(clock.monotonic()));
        told.src = own_address(&tcp);
        let tls = ClientConnection::new(Arc::new(config), name).map_err(|error| Event::Incompatible(why(&error)))?;
        Handshake { clock, tcp, tls, witness, told: &mut told, has_hello: false, has_certificates: false }.run().await
    };
    // What has happened until the deadline counts, so the events outlive the future that collects them.
    let end = match tokio::time::timeout(left, run).await {
        Ok(end) => end.err(),
        Err(_) => Some(Event::TimedOut),
    };
    told.events.extend(end);
    told
}

struct Handshake<'a> {
    clock: &'a dyn ClockSource,
    tcp: TcpStream,
    tls: ClientConnection,
    witness: Witness,
    told: &'a mut Told,
    has_hello: bool,
    has_certificates: bool,
}

impl Handshake<'_> {
    async fn run(mut self) -> Result<(), Event> {
        let failed = |error| Event::Failed(Step::Exchange, words(&error));
        let mut buffer = vec![0; CHUNK];
        let mut total = 0;
        loop {
            let out = self.outgoing();
            self.tcp.write_all(&out).await.map_err(failed)?;
            let length = self.tcp.read(&mut buffer).await.map_err(failed)?;
            let at = self.clock.monotonic();
            let data = buffer.get(..length).unwrap_or_default();
            let Some(first) = data.first() else { return Err(Event::Closed) };
            if total == 0 {
                self.told.events.push(Event::FirstByte(*first));
            }
            total += length;
            if total > MAX_BYTES {
                return Err(Event::TooMuch);
            }
            let taken = self.take(at, data);
            if taken.is_err() || self.has_certificates {
                // A word of farewell (or rustls's alert), if there is room for it; nobody waits for that.
                self.tls.send_close_notify();
                let farewell = self.outgoing();
                let _ = self.tcp.try_write(&farewell);
                return taken;
            }
            if !self.tls.is_handshaking() {
                return Err(Event::Certificates { at, certificates: Vec::new() });
            }
        }
    }

    /// What TLS wants sent now.
    fn outgoing(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        // Memory takes every byte.
        while self.tls.wants_write() && self.tls.write_tls(&mut out).is_ok_and(|written| written > 0) {}
        out
    }

    /// Gives bytes that came at `at` to TLS and notes what it has learned, also when it then fails.
    fn take(&mut self, at: Nanos, data: &[u8]) -> Result<(), Event> {
        let mut rest = data;
        while !rest.is_empty() && !self.has_certificates {
            let fed = self.tls.read_tls(&mut rest);
            let processed = self.tls.process_new_packets();
            self.note(at);
            if let Err(error) = processed {
                return Err(event_of(&error));
            }
            if !fed.is_ok_and(|length| length > 0) {
                return Err(Event::Bad(Why::cut("a message is too long")));
            }
        }
        Ok(())
    }

    fn note(&mut self, at: Nanos) {
        if let (false, Some(version), Some(suite)) =
            (self.has_hello, self.tls.protocol_version(), self.tls.negotiated_cipher_suite())
        {
            self.has_hello = true;
            self.told.events.push(Event::Hello { version: version.into(), cipher: suite.suite().into() });
        }
        if let (false, Some(shown)) = (self.has_certificates, self.witness.shown()) {
            self.has_certificates = true;
            if self.witness.was_asked() {
                self.told.events.push(Event::ClientCertificateWanted);
            }
            self.told.events.push(Event::Certificates { at, certificates: shown.certificates });
        }
    }
}

fn event_of(error: &rustls::Error) -> Event {
    match error {
        rustls::Error::AlertReceived(description) => Event::Alert((*description).into()),
        rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig | PeerIncompatible::ServerDoesNotSupportTls12Or13,
        ) => Event::Incompatible(Why::cut("the server chose a version of TLS before 1.2")),
        rustls::Error::PeerIncompatible(_) => Event::Incompatible(why(error)),
        _ => Event::Bad(why(error)),
    }
}

fn why(error: &rustls::Error) -> Why {
    Why::cut(error.to_string())
}
