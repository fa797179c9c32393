//! The writer: one thread that gathers what connections hand in and commits it, batch after batch.
//!
//! A group commit without a timer: while one batch is on its way to the disk the next one gathers, and it starts when the
//! last is done. Who handed something in learns of it when it is durable.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;

use sonde_protocol::ids::{MeasurementId, ProbeId, SessionId};
use sonde_protocol::message::{BootRanges, Hello};
use sonde_protocol::session::collector::Stored;
use sonde_protocol::time::UnixNanos;
use sonde_store::bus::Published;
use sonde_store::{Bus, Results};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use crate::admission::arrive;
use crate::connection::ToConnection;
use crate::intake::{ConnectionId, Intake};

/// How many hand-ins may wait. Beyond that connections wait, and QUIC's flow control makes the probes wait.
const QUEUE: usize = 1024;

/// How many hand-ins go into one batch at most, so that acknowledgements are not late under load.
const BATCH: usize = 4096;

/// What a probe's arrival gave.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// When its boot began.
    pub boot_started_at: UnixNanos,
    /// What is durable of the boots that its hello lists.
    pub durable: Vec<BootRanges>,
}

pub(crate) enum ToIngest {
    /// A probe said hello. Answered when what follows from it is durable.
    Arrive { probe: ProbeId, hello: Box<Hello>, now: UnixNanos, reply: oneshot::Sender<Option<Arrived>> },
    /// A connection of a probe that will hand in, and where its acknowledgements go.
    Open { connection: ConnectionId, probe: ProbeId, inbox: mpsc::Sender<ToConnection> },
    /// A hand-in.
    Take { connection: ConnectionId, who: (ProbeId, SessionId), stored: Stored, now: UnixNanos },
    /// A connection has ended. `probe` if it was ever opened here.
    Closed { connection: ConnectionId, probe: Option<ProbeId> },
    /// Ends the thread after everything before it is committed.
    Stop,
}

/// The queue to the writer.
#[derive(Clone)]
pub(crate) struct Ingest {
    queue: mpsc::Sender<ToIngest>,
}

impl Ingest {
    /// Starts the thread. `bus` hears of every durable report, `oneoffs` of those that may settle a one-off.
    pub(crate) fn start(
        results: Arc<dyn Results>,
        bus: Arc<dyn Bus>,
        oneoffs: mpsc::UnboundedSender<Vec<(MeasurementId, ProbeId)>>,
        runtime: Handle,
    ) -> std::io::Result<(Self, thread::JoinHandle<()>)> {
        let (queue, inbox) = mpsc::channel(QUEUE);
        let writer = Writer {
            results,
            bus,
            oneoffs,
            runtime,
            intake: Intake::default(),
            connections: HashMap::new(),
            open: HashMap::new(),
        };
        let thread = thread::Builder::new().name("ingest".into()).spawn(move || writer.run(inbox))?;
        Ok((Self { queue }, thread))
    }

    /// Hands something in; `Err` when the writer has ended.
    pub(crate) async fn send(&self, message: ToIngest) -> Result<(), Gone> {
        self.queue.send(message).await.map_err(|_| Gone)
    }
}

/// The writer has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gone;

struct Writer {
    results: Arc<dyn Results>,
    bus: Arc<dyn Bus>,
    oneoffs: mpsc::UnboundedSender<Vec<(MeasurementId, ProbeId)>>,
    runtime: Handle,
    intake: Intake,
    connections: HashMap<ConnectionId, mpsc::Sender<ToConnection>>,
    /// How many connections each probe has.
    open: HashMap<ProbeId, usize>,
}

impl Writer {
    fn run(mut self, mut inbox: mpsc::Receiver<ToIngest>) {
        let mut arrivals = Vec::new();
        let mut stopping = false;
        while !stopping {
            let Some(first) = inbox.blocking_recv() else { break };
            let mut next = Some(first);
            let mut taken = 0;
            while let Some(message) = next {
                stopping |= matches!(message, ToIngest::Stop);
                self.handle(message, &mut arrivals);
                taken += 1;
                next = if taken < BATCH && !stopping { inbox.try_recv().ok() } else { None };
            }
            self.commit(&mut arrivals);
        }
        info!("the writer has ended");
    }

    fn handle(&mut self, message: ToIngest, arrivals: &mut Vec<(oneshot::Sender<Option<Arrived>>, Arrived)>) {
        match message {
            ToIngest::Arrive { probe, hello, now, reply } => match self.arrive(probe, &hello, now) {
                Some(arrived) => arrivals.push((reply, arrived)),
                None => {
                    let _ = reply.send(None);
                }
            },
            ToIngest::Open { connection, probe, inbox } => {
                self.connections.insert(connection, inbox);
                *self.open.entry(probe).or_default() += 1;
            }
            ToIngest::Take { connection, who, stored, now } => {
                if !self.intake.take(connection, who, stored, now) {
                    self.close(connection);
                }
            }
            ToIngest::Closed { connection, probe } => {
                self.connections.remove(&connection);
                self.depart(probe);
            }
            ToIngest::Stop => {}
        }
    }

    fn arrive(&mut self, probe: ProbeId, hello: &Hello, now: UnixNanos) -> Option<Arrived> {
        let read = self.runtime.block_on(async {
            let known = self.results.boots(probe).await?;
            let boots: Vec<_> =
                known.iter().map(|record| record.boot).chain(hello.boots.iter().map(|spooled| spooled.boot)).collect();
            let durable = self.results.ranges(probe, &boots).await?;
            Ok::<_, sonde_store::StoreError>((known, durable))
        });
        match read {
            Ok((mut known, mut durable)) => {
                // What is gathered is durable before the answer goes out.
                self.intake.refresh(probe, &mut known, &mut durable);
                let arrival = arrive(probe, hello, &known, &durable, now);
                self.intake.arrive(probe, &known, &durable, arrival.batch);
                let listed = |ranges: &&BootRanges| hello.boots.iter().any(|spooled| spooled.boot == ranges.boot);
                let durable = durable.iter().filter(listed).cloned().collect();
                Some(Arrived { boot_started_at: arrival.boot_started_at, durable })
            }
            Err(error) => {
                error!(probe_id = %probe, %error, "the store cannot be read");
                None
            }
        }
    }

    fn commit(&mut self, arrivals: &mut Vec<(oneshot::Sender<Option<Arrived>>, Arrived)>) {
        if self.intake.wants_commit() {
            let (mut batch, receipts) = self.intake.begin_commit();
            let outcome =
                if batch.is_empty() { Ok(()) } else { self.runtime.block_on(self.results.append(&batch, now())) };
            if let Err(error) = outcome {
                // Nothing was acknowledged: ended connections make the probes send it again.
                error!(%error, reports = batch.reports.len(), "a batch could not be made durable");
                self.intake.failed();
                for (reply, _) in arrivals.drain(..) {
                    let _ = reply.send(None);
                }
                for (_, inbox) in self.connections.drain() {
                    let _ = inbox.try_send(ToConnection::Close);
                }
                return;
            }
            self.intake.committed(&batch);
            if !batch.reports.is_empty() {
                self.bus.publish(Arc::new(Published::Reports(std::mem::take(&mut batch.reports))));
            }
            for (connection, durable) in receipts.acks {
                self.tell(connection, ToConnection::Durable(durable));
            }
            if !receipts.oneoffs.is_empty() {
                // The receiver ends only with the collector.
                let _ = self.oneoffs.send(receipts.oneoffs);
            }
        }
        for (reply, arrived) in arrivals.drain(..) {
            let _ = reply.send(Some(arrived));
        }
    }

    /// Counted here and not by the connections: a new one may have opened before the end of the old one is known.
    fn depart(&mut self, probe: Option<ProbeId>) {
        let Some(probe) = probe else { return };
        let left = self.open.get(&probe).map_or(0, |open| open.saturating_sub(1));
        if left == 0 {
            self.open.remove(&probe);
            self.intake.depart(probe);
        } else {
            self.open.insert(probe, left);
        }
    }

    fn tell(&mut self, connection: ConnectionId, message: ToConnection) {
        if let Some(inbox) = self.connections.get(&connection) {
            // A connection that does not read its inbox is stuck; dropping the inbox ends it.
            if inbox.try_send(message).is_err() {
                self.connections.remove(&connection);
            }
        }
    }

    fn close(&mut self, connection: ConnectionId) {
        self.tell(connection, ToConnection::Close);
        self.connections.remove(&connection);
    }
}

/// The system's wall clock.
pub(crate) fn now() -> UnixNanos {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
