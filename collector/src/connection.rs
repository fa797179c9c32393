//! One probe's connection: a thin loop between QUIC's streams, the session machine, the writer and the catalog.
//!
//! The control stream is the probe's first bidirectional stream; its two unidirectional streams carry frames. Whatever
//! makes no sense ends this connection with a reason and disturbs no other.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream, VarInt};
use ring::digest;
use sonde_protocol::directory::SignedDirectory;
use sonde_protocol::ids::{ProbeId, SessionId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::message::{
    BootRanges, Down, Drain, Frame, Health, Hello, MAX_CONTROL_UP, MAX_FRAME, RefusedReason, Up, from_cbor, to_cbor,
};
use sonde_protocol::session::CollectorSession;
use sonde_protocol::session::collector::{Admitted, Command};
use sonde_protocol::wire::{Reader, framed};
use sonde_store::catalog::{Admission, NewSession};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::ingest::{ToIngest, now};
use crate::intake::ConnectionId;
use crate::server::Shared;

/// How long a new connection may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the probe may take to accept what we send on the control stream.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a refusal may take to arrive before the connection is closed all the same.
const LINGER: Duration = Duration::from_secs(2);

/// Messages that may wait for one connection.
pub(crate) const INBOX: usize = 256;

/// How often a probe's addresses may change during one connection.
const MAX_MOVES: u32 = 256;

/// How much is read from a stream at a time.
const CHUNK: usize = 64 * 1024;

/// Application error codes in QUIC's CONNECTION_CLOSE.
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

/// What others tell a connection.
pub(crate) enum ToConnection {
    /// This is durable.
    Durable(Vec<BootRanges>),
    /// The probe's orders have changed.
    Orders,
    /// There is a newer directory.
    Directory(Arc<SignedDirectory>),
    /// The collector is about to stop.
    Drain(Drain),
    /// The store lost what this connection handed in, or a newer connection of the probe has come.
    Close,
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the connection is gone: {0}")]
    Gone(String),
    #[error("malformed: {0}")]
    Malformed(String),
    #[error("refused")]
    Refused,
    #[error("the collector ends it")]
    Ours,
    #[error("internal: {0}")]
    Internal(String),
}

/// Serves a connection until it ends.
pub(crate) async fn serve(connection: Connection, id: ConnectionId, shared: Arc<Shared>) {
    let Some(key) = peer_key(&connection) else {
        connection.close(VarInt::from_u32(close::MALFORMED), b"no Ed25519 key");
        return;
    };
    let mut served = Served {
        connection,
        id,
        key,
        shared,
        probe: None,
        known: None,
        opened: false,
        moves: 0,
        session: CollectorSession::new(),
    };
    let end = served.run().await;
    let (code, text) = match &end {
        End::Malformed(why) => (close::MALFORMED, why.as_str()),
        End::Internal(_) => (close::INTERNAL, "internal error"),
        End::Refused => (close::REFUSED, "refused"),
        End::Gone(_) | End::Ours => (close::DONE, ""),
    };
    match &end {
        End::Malformed(_) | End::Internal(_) => warn!(key = %served.key.short(), %end, "connection ended"),
        _ => debug!(key = %served.key.short(), %end, "connection ended"),
    }
    served.connection.close(VarInt::from_u32(code), text.as_bytes());
    served.leave().await;
}

fn peer_key(connection: &Connection) -> Option<PublicKey> {
    let identity = connection.peer_identity()?;
    let certificates = identity.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().ok()?;
    PublicKey::from_spki(certificates.first()?)
}

struct Served {
    connection: Connection,
    id: ConnectionId,
    key: PublicKey,
    shared: Arc<Shared>,
    probe: Option<(ProbeId, SessionId)>,
    /// The session as it was recorded.
    known: Option<NewSession>,
    /// The writer knows this connection.
    opened: bool,
    /// How often its addresses have changed.
    moves: u32,
    session: CollectorSession,
}

/// One of the probe's result streams, once it is open.
#[derive(Default)]
struct Lane(Option<(RecvStream, Reader)>);

impl Lane {
    /// The next bytes of the stream; never, while it is not open.
    async fn chunk(&mut self) -> Result<Option<quinn::Chunk>, quinn::ReadError> {
        match &mut self.0 {
            Some((stream, _)) => stream.read_chunk(CHUNK, true).await,
            None => std::future::pending().await,
        }
    }
}

impl Served {
    async fn run(&mut self) -> End {
        let control = timeout(HELLO_TIMEOUT, self.connection.accept_bi()).await;
        let (mut send, mut receive) = match control {
            Ok(Ok(streams)) => streams,
            Ok(Err(error)) => return End::Gone(error.to_string()),
            Err(_) => return End::Malformed("no hello".into()),
        };
        // The writer keeps the one strong end: when it lets go of a connection that does not keep up, this loop ends.
        let (outbox, mut inbox) = mpsc::channel(INBOX);
        let mut outbox = Some(outbox);
        let mut reader = Reader::new(MAX_CONTROL_UP);
        let mut lanes = [Lane::default(), Lane::default()];
        let hello_by = tokio::time::Instant::now() + HELLO_TIMEOUT;
        loop {
            let [first, second] = &mut lanes;
            let open = self.session.is_open();
            let step = tokio::select! {
                chunk = receive.read_chunk(CHUNK, true) => match chunk {
                    Ok(Some(chunk)) => self.control(&mut reader, &chunk.bytes),
                    Ok(None) => Err(End::Gone("control stream ended".into())),
                    Err(error) => Err(End::Gone(error.to_string())),
                },
                chunk = first.chunk(), if open => self.frames(first, chunk),
                chunk = second.chunk(), if open => self.frames(second, chunk),
                stream = self.connection.accept_uni(), if open && (first.0.is_none() || second.0.is_none()) => match stream {
                    Ok(stream) => {
                        let lane = if first.0.is_none() { first } else { second };
                        lane.0 = Some((stream, Reader::new(MAX_FRAME)));
                        Ok(())
                    }
                    Err(error) => Err(End::Gone(error.to_string())),
                },
                message = inbox.recv() => match message {
                    Some(ToConnection::Durable(durable)) => { self.session.handle_durable(durable); Ok(()) }
                    Some(ToConnection::Orders) => self.push_orders().await,
                    Some(ToConnection::Directory(signed)) => { self.session.handle_directory((*signed).clone()); Ok(()) }
                    Some(ToConnection::Drain(drain)) => { self.session.drain(drain); Ok(()) }
                    Some(ToConnection::Close) | None => Err(End::Ours),
                },
                () = tokio::time::sleep_until(hello_by), if !open => Err(End::Malformed("no hello".into())),
            };
            let step = match step {
                Ok(()) => self.follow_address().await,
                Err(end) => Err(end),
            };
            let step = match step {
                Ok(()) => self.commands(&mut send, &mut outbox).await,
                Err(end) => Err(end),
            };
            if let Err(end) = step {
                if matches!(end, End::Refused) {
                    // Let the refusal arrive before the connection goes.
                    let _ = send.finish();
                    let _ = timeout(LINGER, send.stopped()).await;
                }
                return end;
            }
        }
    }

    fn control(&mut self, reader: &mut Reader, bytes: &[u8]) -> Result<(), End> {
        reader.push(bytes);
        while let Some(message) = reader.next_message().map_err(|error| End::Malformed(error.to_string()))? {
            match from_cbor::<Up>(message) {
                Ok(Some(up)) => self.session.handle_message(up, now()),
                Ok(None) => {}
                Err(error) => return Err(End::Malformed(format!("control message: {error}"))),
            }
        }
        Ok(())
    }

    fn frames(&mut self, lane: &mut Lane, chunk: Result<Option<quinn::Chunk>, quinn::ReadError>) -> Result<(), End> {
        let chunk = match chunk {
            Ok(Some(chunk)) => chunk,
            Ok(None) => {
                lane.0 = None;
                return Ok(());
            }
            Err(error) => return Err(End::Gone(error.to_string())),
        };
        let Some((_, reader)) = &mut lane.0 else { return Ok(()) };
        reader.push(&chunk.bytes);
        while let Some(message) = reader.next_message().map_err(|error| End::Malformed(error.to_string()))? {
            match from_cbor::<Frame>(message) {
                Ok(Some(frame)) => self.session.handle_frame(frame),
                Ok(None) => {}
                Err(error) => return Err(End::Malformed(format!("frame: {error}"))),
            }
        }
        Ok(())
    }

    async fn commands(
        &mut self,
        send: &mut SendStream,
        outbox: &mut Option<mpsc::Sender<ToConnection>>,
    ) -> Result<(), End> {
        while let Some(command) = self.session.poll_command() {
            match command {
                Command::Admit(hello) => self.admit(hello, outbox).await?,
                Command::Send(message) => self.send(send, &message).await?,
                Command::Store(stored) => {
                    let Some(who) = self.probe else { return Err(End::Internal("a hand-in before admission".into())) };
                    let take = ToIngest::Take { connection: self.id, who, stored, now: now() };
                    self.shared.ingest.send(take).await.map_err(|_| End::Ours)?;
                }
                Command::Orders => self.push_orders().await?,
                Command::Health(health) => {
                    self.note_addresses(&health).await?;
                    debug!(probe_id = ?self.probe.map(|(probe, _)| probe.0), spool = health.spool_depth, "health");
                }
                Command::Close => return Err(End::Refused),
            }
        }
        Ok(())
    }

    async fn send(&self, stream: &mut SendStream, message: &Down) -> Result<(), End> {
        let bytes = framed(&to_cbor(message));
        match timeout(SEND_TIMEOUT, stream.write_all(&bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(End::Gone(error.to_string())),
            Err(_) => Err(End::Gone("the probe does not read".into())),
        }
    }

    async fn push_orders(&mut self) -> Result<(), End> {
        let Some((probe, _)) = self.probe else { return Ok(()) };
        let orders = self.shared.catalog.orders(probe, now()).await;
        let (revision, orders) = orders.map_err(|error| End::Internal(error.to_string()))?;
        self.session.handle_orders(revision, orders);
        Ok(())
    }

    /// Who is it, what do we have of it, what is it to do?
    async fn admit(&mut self, hello: Hello, outbox: &mut Option<mpsc::Sender<ToConnection>>) -> Result<(), End> {
        let token = hello.token.as_ref().map(|token| {
            let mut bytes = [0; 32];
            bytes.copy_from_slice(digest::digest(&digest::SHA256, token).as_ref());
            bytes
        });
        let internal = |error: sonde_store::StoreError| End::Internal(error.to_string());
        let admission = self.shared.catalog.admit(&self.key, token.as_ref(), now()).await.map_err(internal)?;
        let probe = match admission {
            Admission::Known(probe) => probe,
            Admission::Joined(probe) => {
                info!(probe_id = %probe.id, key = %self.key.short(), "a probe has joined");
                probe
            }
            Admission::UnknownKey => {
                info!(key = %self.key.short(), "an unknown key without a token");
                self.session.refuse(
                    RefusedReason::UnknownKey,
                    "this network does not know the probe's key, and it brought no join token",
                );
                return Ok(());
            }
            Admission::BadToken => {
                info!(key = %self.key.short(), "a token that is unknown, expired or used");
                self.session.refuse(RefusedReason::Token, "the join token is unknown, expired, or used by another key");
                return Ok(());
            }
        };
        let address = self.connection.remote_address().ip().to_canonical();
        let session = NewSession {
            probe: probe.id,
            public_address: address,
            addresses: hello.addresses.iter().map(|ip| ip.0).collect(),
            families: hello.families.iter().copied().collect(),
            software: hello.software.to_string(),
            at: now(),
        };
        let known = self.known.insert(session);
        let session = self.shared.catalog.open_session(known).await.map_err(internal)?;
        self.probe = Some((probe.id, session));
        self.shared.locate(probe.id).await;
        self.shared.has_come(probe.id);
        let Some(outbox) = outbox.take() else { return Err(End::Internal("admitted twice".into())) };
        self.shared.register(probe.id, self.id, outbox.downgrade());
        let open = ToIngest::Open { connection: self.id, probe: probe.id, inbox: outbox };
        self.shared.ingest.send(open).await.map_err(|_| End::Ours)?;
        self.opened = true;
        let (reply, arrived) = oneshot::channel();
        let serial = hello.directory;
        let arrive = ToIngest::Arrive { probe: probe.id, hello: Box::new(hello), now: now(), reply };
        self.shared.ingest.send(arrive).await.map_err(|_| End::Ours)?;
        let Ok(Some(arrived)) = arrived.await else {
            self.session.refuse(RefusedReason::Busy, "the store is not available");
            return Ok(());
        };
        self.shared.settle_delivered(probe.id).await.map_err(internal)?;
        let (revision, orders) = self.shared.catalog.orders(probe.id, now()).await.map_err(internal)?;
        info!(probe_id = %probe.id, address = %address, orders = orders.len(), "connected");
        let admitted = Admitted {
            probe: probe.id,
            durable: arrived.durable,
            boot_started_at: arrived.boot_started_at,
            public_address: address,
            directory: self.shared.directory_newer_than(serial),
            revision,
            orders,
        };
        self.session.handle_admitted(admitted, now());
        Ok(())
    }

    /// Addresses change now and then; a probe that claims it all the time fills the catalog.
    fn count_move(&mut self) -> Result<(), End> {
        self.moves += 1;
        if self.moves > MAX_MOVES {
            Err(End::Malformed("the probe's addresses change too often".into()))
        } else {
            Ok(())
        }
    }

    /// The probe's own addresses have changed: what is known of its families changes with them.
    async fn note_addresses(&mut self, health: &Health) -> Result<(), End> {
        let (Some(addresses), Some((probe, old)), Some(known)) = (&health.addresses, self.probe, &mut self.known)
        else {
            return Ok(());
        };
        let addresses: Vec<_> = addresses.iter().map(|ip| ip.0).collect();
        let families: Vec<_> = health.families.iter().copied().collect();
        if known.addresses == addresses && known.families == families {
            return Ok(());
        }
        *known = NewSession { addresses, families, at: now(), ..known.clone() };
        let known = known.clone();
        self.count_move()?;
        let session = self.shared.catalog.open_session(&known).await;
        let session = session.map_err(|error| End::Internal(error.to_string()))?;
        self.probe = Some((probe, session));
        self.shared.locate(probe).await;
        let closed = self.shared.catalog.close_session(old, now()).await;
        closed.map_err(|error| End::Internal(error.to_string()))
    }

    /// A probe whose address changes keeps its connection (RFC 9000, section 9). What it hands in from then on comes from
    /// the new address, so that is a session of its own; and the probe must learn what it must not measure.
    async fn follow_address(&mut self) -> Result<(), End> {
        let address = self.connection.remote_address().ip().to_canonical();
        let (Some((probe, old)), Some(known)) = (self.probe, &mut self.known) else { return Ok(()) };
        if known.public_address == address {
            return Ok(());
        }
        info!(probe_id = %probe, %address, "the probe has moved");
        *known = NewSession { public_address: address, at: now(), ..known.clone() };
        let known = known.clone();
        self.count_move()?;
        let session = self.shared.catalog.open_session(&known).await;
        let session = session.map_err(|error| End::Internal(error.to_string()))?;
        self.probe = Some((probe, session));
        self.shared.locate(probe).await;
        if let Err(error) = self.shared.catalog.close_session(old, now()).await {
            warn!(probe_id = %probe, %error, "the end of a session could not be recorded");
        }
        self.session.handle_address(address);
        Ok(())
    }

    async fn leave(&self) {
        if let Some((probe, _)) = self.probe {
            self.shared.unregister(probe, self.id);
        }
        let probe = self.probe.map(|(probe, _)| probe).filter(|_| self.opened);
        let _ = self.shared.ingest.send(ToIngest::Closed { connection: self.id, probe }).await;
        if let Some((probe, session)) = self.probe {
            if let Err(error) = self.shared.catalog.close_session(session, now()).await {
                warn!(probe_id = %probe, %error, "the end of a session could not be recorded");
            }
            self.shared.has_gone(probe);
            info!(probe_id = %probe, "disconnected");
        }
    }
}
