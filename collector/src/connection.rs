//! One probe's connection: a thin loop between the link's lanes, the session machine, the writer and the catalog.
//!
//! Whatever makes no sense ends this connection with a reason and disturbs no other.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ring::digest;
use sonde_protocol::board::{BoardState, UpdateAnswer, UpdateAsk, UpdateChoice};
use sonde_protocol::condition::Conditions;
use sonde_protocol::directory::SignedDirectory;
use sonde_protocol::identity::{ClaimCode, KeyNotice};
use sonde_protocol::ids::{ProbeId, SessionId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::message::{
    BootRanges, Down, Drain, Frame, Health, Hello, HostState, MAX_CONTROL_UP, MAX_FRAME, RefusedReason, Up, from_cbor,
    to_cbor,
};
use sonde_protocol::session::CollectorSession;
use sonde_protocol::session::collector::{Admitted, Command};
use sonde_protocol::time::UnixNanos;
use sonde_protocol::wire::{Reader, framed};
use sonde_store::catalog::{Admission, Board, NOBODY, NewSession};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::clones::Verdict;
use crate::enrol;
use crate::ingest::{ToIngest, now};
use crate::intake::ConnectionId;
use crate::link::{FRAME_LANES, Heard, Link, LinkEnd, Piece, close};
use crate::releases::pace::{self, Questions};
use crate::releases::{Asker, later};
use crate::server::Shared;

/// How long a new connection may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the probe may take to accept what we send on the control stream.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a refusal may take to arrive before the connection is closed all the same.
const LINGER: Duration = Duration::from_secs(2);

/// How long a probe that waits to be let in may stay. It comes back sooner by itself.
const WAIT: Duration = Duration::from_secs(900);

/// Messages that may wait for one connection.
pub(crate) const INBOX: usize = 256;

/// How often a probe's addresses may change during one connection.
const MAX_MOVES: u32 = 256;

/// How often within [`TELL_WINDOW`] a probe may tell what is wrong with it: twice as often as ours does.
const MAX_TELLS: u32 = 150;

/// How often what a board tells of itself is written at most: a probe gone bad wears no disk.
const BOARD_EVERY: Duration = Duration::from_secs(15);

/// See [`MAX_TELLS`].
const TELL_WINDOW: Duration = Duration::from_secs(3600);

/// What others tell a connection.
pub(crate) enum ToConnection {
    /// This is durable.
    Durable(Vec<BootRanges>),
    /// The probe's orders have changed.
    Orders,
    /// Something about the probe's key.
    Key(KeyNotice),
    /// There is a newer directory.
    Directory(Arc<SignedDirectory>),
    /// The owner wants something else of updates.
    Choice(UpdateChoice),
    /// The collector is about to stop.
    Drain(Drain),
    /// The store lost what this connection handed in, or a newer connection of the probe has come.
    Close,
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
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

impl From<LinkEnd> for End {
    fn from(end: LinkEnd) -> Self {
        match end {
            LinkEnd::Gone(why) => End::Gone(why),
            LinkEnd::Malformed(why) => End::Malformed(why),
        }
    }
}

/// Serves a connection until it ends.
pub(crate) async fn serve(link: Link, id: ConnectionId, shared: Arc<Shared>) {
    let Some(key) = link.peer_key() else {
        link.close(close::MALFORMED, "no Ed25519 key");
        return;
    };
    let mut served = Served {
        link,
        id,
        key,
        shared,
        probe: None,
        known: None,
        opened: false,
        moves: 0,
        code: None,
        judged: None,
        told: (now(), 0),
        questions: Questions::new(now()),
        answer: None,
        board: BoardTold { is_one: false, vouched: false, waits: None, next: tokio::time::Instant::now() },
        choice: None,
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
    served.link.close(code, text);
    served.leave().await;
}

/// What a probe told of the board that it runs on.
struct BoardTold {
    /// It is a board: it has told how it stands, now or before.
    is_one: bool,
    /// Somebody stands for it.
    vouched: bool,
    /// Told, and not recorded yet.
    waits: Option<BoardState>,
    /// When something may be recorded again.
    next: tokio::time::Instant,
}

/// The answer to a question about updates, once it is there; never while nothing was asked.
async fn arrived(answer: &mut Option<oneshot::Receiver<UpdateAnswer>>) -> Option<UpdateAnswer> {
    match answer {
        Some(answer) => answer.await.ok(),
        None => std::future::pending().await,
    }
}

pub(crate) struct Served {
    pub(crate) link: Link,
    pub(crate) id: ConnectionId,
    pub(crate) key: PublicKey,
    pub(crate) shared: Arc<Shared>,
    pub(crate) probe: Option<(ProbeId, SessionId)>,
    /// The session as it was recorded.
    pub(crate) known: Option<NewSession>,
    /// The writer knows this connection.
    opened: bool,
    /// How often its addresses have changed.
    moves: u32,
    /// The code by which somebody makes the probe theirs, as it was told last; of a probe that is nobody's.
    pub(crate) code: Option<ClaimCode>,
    /// The probe that it was judged as, be it served or turned away.
    judged: Option<ProbeId>,
    /// Since when, and how often since, it has told what is wrong with it.
    told: (UnixNanos, u32),
    /// What its board has asked about updates.
    questions: Questions,
    /// Brings the answer to the question that is open.
    answer: Option<oneshot::Receiver<UpdateAnswer>>,
    board: BoardTold,
    /// What the owner wants of updates, while that has to be told.
    choice: Option<UpdateChoice>,
    pub(crate) session: CollectorSession,
}

impl Served {
    async fn run(&mut self) -> End {
        match timeout(HELLO_TIMEOUT, self.link.open()).await {
            Ok(Ok(())) => {}
            Ok(Err(end)) => return end.into(),
            Err(_) => return End::Malformed("no hello".into()),
        }
        // The writer keeps the one strong end: when it lets go of a connection that does not keep up, this loop ends.
        let (outbox, mut inbox) = mpsc::channel(INBOX);
        let mut outbox = Some(outbox);
        let mut reader = Reader::new(MAX_CONTROL_UP);
        let mut lanes = [Reader::new(MAX_FRAME), Reader::new(MAX_FRAME)];
        let began = tokio::time::Instant::now();
        loop {
            let (open, waits) = (self.session.is_open(), self.session.is_waiting());
            let patience = if waits { WAIT } else { HELLO_TIMEOUT };
            let step = tokio::select! {
                heard = self.link.next(open) => match heard {
                    Ok(heard) => self.hear(heard, &mut reader, &mut lanes).await,
                    Err(end) => Err(end.into()),
                },
                message = inbox.recv() => match message {
                    Some(ToConnection::Durable(durable)) => { self.session.handle_durable(durable); Ok(()) }
                    Some(ToConnection::Orders) => self.push_orders().await,
                    Some(ToConnection::Key(notice)) => {
                        if notice == KeyNotice::Admitted {
                            self.code = None;
                        }
                        self.session.notify(notice);
                        Ok(())
                    }
                    Some(ToConnection::Directory(signed)) => { self.session.handle_directory((*signed).clone()); Ok(()) }
                    Some(ToConnection::Choice(choice)) => {
                        self.choice = Some(choice).filter(|_| self.board.is_one);
                        Ok(())
                    }
                    Some(ToConnection::Drain(drain)) => { self.session.drain(drain); Ok(()) }
                    Some(ToConnection::Close) | None => Err(End::Ours),
                },
                answer = arrived(&mut self.answer) => {
                    self.answer = None;
                    match answer {
                        Some(answer) => self.send(&Down::UpdateAnswer(answer)).await,
                        None => Ok(()),
                    }
                }
                () = tokio::time::sleep_until(self.board.next), if self.board.waits.is_some() => self.keep_board().await,
                () = tokio::time::sleep_until(began + patience), if !open => {
                    Err(if waits { End::Ours } else { End::Malformed("no hello".into()) })
                }
            };
            let step = match step {
                Ok(()) => self.follow_address().await,
                Err(end) => Err(end),
            };
            let step = match step {
                Ok(()) => self.commands(&mut outbox).await,
                Err(end) => Err(end),
            };
            if let Err(end) = step {
                if matches!(end, End::Refused) {
                    // Let the refusal arrive before the connection goes.
                    let _ = timeout(LINGER, self.link.finish()).await;
                }
                return end;
            }
        }
    }

    async fn hear(&mut self, heard: Heard, control: &mut Reader, lanes: &mut [Reader; FRAME_LANES]) -> Result<(), End> {
        match heard {
            Heard::Control(piece) => self.control(control, &piece),
            Heard::Frames(lane, piece) => {
                let Some(reader) = lanes.get_mut(lane) else { return Ok(()) };
                self.frames(reader, &piece)
            }
            Heard::LaneEnded(lane) => {
                if let Some(reader) = lanes.get_mut(lane) {
                    *reader = Reader::new(MAX_FRAME);
                }
                Ok(())
            }
            Heard::Ping => match timeout(SEND_TIMEOUT, self.link.answer()).await {
                Ok(answered) => Ok(answered?),
                Err(_) => Err(End::Gone("the probe does not read".into())),
            },
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

    fn frames(&mut self, reader: &mut Reader, piece: &Piece) -> Result<(), End> {
        reader.push(piece);
        while let Some(message) = reader.next_message().map_err(|error| End::Malformed(error.to_string()))? {
            match from_cbor::<Frame>(message) {
                Ok(Some(frame)) => self.session.handle_frame(frame),
                Ok(None) => {}
                Err(error) => return Err(End::Malformed(format!("frame: {error}"))),
            }
        }
        Ok(())
    }

    async fn commands(&mut self, outbox: &mut Option<mpsc::Sender<ToConnection>>) -> Result<(), End> {
        while let Some(command) = self.session.poll_command() {
            match command {
                Command::Admit(hello) => self.admit(hello, outbox).await?,
                Command::Send(message) => self.send(&message).await?,
                Command::Store(stored) => {
                    let Some(who) = self.probe else { return Err(End::Internal("a hand-in before admission".into())) };
                    let take = ToIngest::Take { connection: self.id, who, stored, now: now() };
                    self.shared.ingest.send(take).await.map_err(|_| End::Ours)?;
                }
                Command::Orders => self.push_orders().await?,
                Command::Health(health) => {
                    self.note_addresses(&health).await?;
                    if self.code.is_some() {
                        // A code ends after a day.
                        self.tell_code().await?;
                    }
                    self.note_health(health.conditions.as_ref(), health.host.as_ref()).await?;
                    debug!(probe_id = ?self.probe.map(|(probe, _)| probe.0), spool = health.spool_depth, "health");
                }
                Command::Rotate(rotation) => self.rotate(&rotation).await?,
                Command::UpdateAsk(ask) => self.asked(ask).await?,
                Command::Board(state) => self.board_told(state).await?,
                Command::Close => return Err(End::Refused),
            }
        }
        if let Some(choice) = self.choice.take() {
            self.send(&Down::UpdateChoice(choice)).await?;
        }
        Ok(())
    }

    /// A board tells how it stands. The first time it learns what its owner wants.
    async fn board_told(&mut self, state: BoardState) -> Result<(), End> {
        let Some((probe, _)) = self.probe else { return Ok(()) };
        if !self.board.is_one {
            self.board.is_one = true;
            self.choice = Some(self.known_board(probe).await?.choice.unwrap_or_default());
        }
        self.board.waits = Some(state);
        if self.board.next <= tokio::time::Instant::now() { self.keep_board().await } else { Ok(()) }
    }

    /// Records what a board told last, and what that says of releases that it fetched.
    async fn keep_board(&mut self) -> Result<(), End> {
        let (Some((probe, _)), Some(state)) = (self.probe, self.board.waits.take()) else { return Ok(()) };
        self.board.next = tokio::time::Instant::now() + BOARD_EVERY;
        let internal = |error: sonde_store::StoreError| End::Internal(error.to_string());
        self.shared.catalog.record_board(probe, &state, now()).await.map_err(internal)?;
        if self.board.vouched {
            self.shared.releases.watch.told(probe, &state).await.map_err(internal)?;
        }
        Ok(())
    }

    async fn known_board(&self, probe: ProbeId) -> Result<Board, End> {
        let found = self.shared.catalog.boards(&[probe]).await;
        Ok(found.map_err(|error| End::Internal(error.to_string()))?.pop().unwrap_or_default())
    }

    async fn send(&mut self, message: &Down) -> Result<(), End> {
        let bytes = framed(&to_cbor(message));
        match timeout(SEND_TIMEOUT, self.link.send(&bytes)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(End::Gone("the probe does not read".into())),
        }
    }

    /// A board's system wants a piece of a file. One question is open at a time; the answer comes when its turn has come.
    async fn asked(&mut self, ask: UpdateAsk) -> Result<(), End> {
        let Some((probe, _)) = self.probe else { return Ok(()) };
        let refusal = match self.questions.ask(now()) {
            pace::Verdict::End => return Err(End::Malformed("the board asks for updates too often".into())),
            pace::Verdict::Later(seconds) => Some(later(seconds, "too many questions")),
            pace::Verdict::Answer => self.answer.is_some().then(|| later(1, "one question at a time")),
        };
        if let Some(said) = refusal {
            return self.send(&Down::UpdateAnswer(UpdateAnswer { id: ask.id, said })).await;
        }
        let (answer, arrives) = oneshot::channel();
        self.answer = Some(arrives);
        let releases = self.shared.releases.clone();
        let asker = Asker { probe, counts: self.board.vouched, place: self.id.0 };
        tokio::spawn(async move {
            let said = releases.answer(asker, &ask).await;
            // Whoever asked may be gone.
            let _ = answer.send(UpdateAnswer { id: ask.id, said });
        });
        Ok(())
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
            Admission::Known(probe) => *probe,
            Admission::Joined(probe) => {
                info!(probe_id = %probe.id, key = %self.key.short(), "a probe has joined");
                *probe
            }
            Admission::UnknownKey => match self.stranger(None, &hello, outbox.as_ref()).await? {
                Some(probe) => probe,
                None => return Ok(()),
            },
            Admission::UsedToken(owner) => {
                self.stranger(Some(owner), &hello, outbox.as_ref()).await?;
                return Ok(());
            }
            Admission::BadToken => {
                info!(key = %self.key.short(), "a token that is unknown or expired");
                self.session.refuse(RefusedReason::Token, "the join token is unknown or expired");
                return Ok(());
            }
            Admission::Replaced { probe, .. } => {
                info!(probe_id = %probe, key = %self.key.short(), "a key that its probe does not use any more");
                self.session.refuse(RefusedReason::KeyReplaced, &enrol::replaced(probe));
                return Ok(());
            }
        };
        self.judged = Some(probe.id);
        let is_duplicate = match self.shared.judge(probe.id, self.id, hello.boot) {
            Verdict::Serve { is_duplicate, .. } => is_duplicate,
            Verdict::TurnAway => {
                warn!(probe_id = %probe.id, "another probe has the same key");
                self.shared.catalog.note_duplicate(probe.id, now()).await.map_err(internal)?;
                self.session.refuse(RefusedReason::DuplicateKey, enrol::DUPLICATE);
                return Ok(());
            }
        };
        let address = self.address();
        let session = NewSession {
            probe: probe.id,
            public_address: address,
            addresses: hello.addresses.iter().map(|ip| ip.0).collect(),
            families: hello.families.iter().copied().collect(),
            kinds: hello.allowed_kinds(),
            software: hello.software.to_string(),
            uplink: self.link.uplink(),
            at: now(),
        };
        let known = self.known.insert(session);
        let session = self.shared.catalog.open_session(known).await.map_err(internal)?;
        self.probe = Some((probe.id, session));
        self.note_health(hello.conditions.as_ref(), None).await?;
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
        self.board.vouched = probe.vouched;
        let board = self.known_board(probe.id).await?;
        if board.told.is_some() {
            self.board.is_one = true;
            self.choice = Some(board.choice.unwrap_or_default());
        }
        if is_duplicate {
            self.session.notify(KeyNotice::Duplicate);
        }
        if probe.owner == NOBODY {
            self.tell_code().await?;
        }
        Ok(())
    }

    /// The address that the probe is seen at.
    pub(crate) fn address(&self) -> IpAddr {
        self.link.remote_address().ip().to_canonical()
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

    /// The probe has told what is wrong with it, or what its host allows.
    async fn note_health(&mut self, told: Option<&Conditions>, host: Option<&HostState>) -> Result<(), End> {
        let Some((probe, _)) = self.probe.filter(|_| told.is_some() || host.is_some()) else { return Ok(()) };
        let now = now();
        let (since, count) = self.told;
        self.told = if now.since(since) > TELL_WINDOW { (now, 1) } else { (since, count + 1) };
        if self.told.1 > MAX_TELLS {
            return Err(End::Malformed("the probe tells too often what is wrong with it".into()));
        }
        let internal = |error: sonde_store::StoreError| End::Internal(error.to_string());
        if let Some(told) = told {
            self.shared.catalog.record_health(probe, told, now).await.map_err(internal)?;
        }
        if let Some(host) = host {
            self.shared.catalog.record_host(probe, host, now).await.map_err(internal)?;
        }
        Ok(())
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
        let address = self.address();
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

    async fn leave(&mut self) {
        // What a board said just before it started again is what matters most.
        if let Err(end) = self.keep_board().await {
            warn!(key = %self.key.short(), %end, "how a board stands could not be recorded");
        }
        self.shared.end_waiting(&self.key, self.id);
        if let Some(probe) = self.judged {
            self.shared.forget(probe, self.id);
        }
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
