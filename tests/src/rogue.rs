//! A collector gone bad, for tests of what a probe refuses by itself: it has the right key and gives any orders it likes.
//!
//! It speaks the protocol correctly (the session is the real one of [`sonde_protocol::session`]), welcomes every probe and
//! keeps every report. It has no catalog, no store and no opinion about what may be measured.

mod rage;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, EndpointConfig, RecvStream, SendStream, ServerConfig, TokioRuntime};
use sonde_collector::Network;
use sonde_protocol::bounded::List;
use sonde_protocol::directory::SignedDirectory;
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Revision};
use sonde_protocol::message::{BootRanges, Down, Frame, MAX_CONTROL_UP, MAX_FRAME, Up, from_cbor, to_cbor};
use sonde_protocol::net::Uplink;
use sonde_protocol::order::{Order, OrdersUpdate};
use sonde_protocol::range_set::RangeSet;
use sonde_protocol::result::Report;
use sonde_protocol::session::CollectorSession;
use sonde_protocol::session::collector::{Admitted, Command, Stored};
use sonde_protocol::time::UnixNanos;
use sonde_protocol::tls::server_config;
use sonde_protocol::wire::{Reader, framed};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

pub use self::rage::Rage;
use crate::lab::Namespace;

/// How much is read from a stream at a time.
const CHUNK: usize = 64 * 1024;

/// The orders for a probe, by the address it comes from.
pub type Orders = BTreeMap<IpAddr, Vec<Order>>;

/// How many orders one message of a [`Flood`] brings, and takes back those of the one before.
const FLOOD_BATCH: u64 = 1500;

/// Orders without end: the same one under ever new numbers, as fast as a probe takes them.
#[derive(Clone)]
pub struct Flood {
    /// The order. Its number is replaced.
    pub order: Order,
    /// How many of them.
    pub count: u64,
    /// Their first number.
    pub first: u64,
}

/// What the collector does beyond giving its orders.
#[derive(Clone, Default)]
enum Manners {
    /// Nothing.
    #[default]
    Plain,
    /// It floods each probe once it has its first orders.
    Flood(Flood),
    /// It says this without end to each probe once it has its first orders; the order is what its orders look like.
    Rage(Rage, Box<Order>),
}

/// What a collector in a rage has said so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raged {
    /// To how many connections.
    pub connections: u64,
    /// Messages that were handed to the transport.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What the collector knows of all its probes.
#[derive(Default)]
struct Memory {
    raged: Raged,
    /// Orders of floods that probes have taken.
    flooded: u64,
    /// Every report so far, with the address its probe came from.
    reports: Vec<(IpAddr, Report)>,
    /// Their numbers.
    durable: BTreeMap<BootId, RangeSet>,
}

/// A running collector. Dropping it ends it.
pub struct Rogue {
    memory: Arc<Mutex<Memory>>,
    endpoint: Endpoint,
    /// Its tasks end with it.
    _runtime: Runtime,
}

impl Rogue {
    /// Listens at `address` inside a namespace with the collector key of `network`.
    ///
    /// # Errors
    /// When the socket or TLS cannot be set up.
    pub fn start(inside: &Namespace, address: SocketAddr, network: &Network, orders: Orders) -> Result<Self> {
        Self::start_with(inside, address, network, orders, Manners::Plain)
    }

    /// The same, and floods each probe once it has its first orders.
    ///
    /// # Errors
    /// When the socket or TLS cannot be set up.
    pub fn start_flooding(
        inside: &Namespace,
        address: SocketAddr,
        network: &Network,
        orders: Orders,
        flood: Flood,
    ) -> Result<Self> {
        Self::start_with(inside, address, network, orders, Manners::Flood(flood))
    }

    /// The same, and says this to each probe without end once it has its first orders.
    ///
    /// # Errors
    /// When the socket or TLS cannot be set up.
    pub fn start_raging(
        inside: &Namespace,
        address: SocketAddr,
        network: &Network,
        rage: Rage,
        order: Order,
    ) -> Result<Self> {
        Self::start_with(inside, address, network, Orders::new(), Manners::Rage(rage, Box::new(order)))
    }

    fn start_with(
        inside: &Namespace,
        address: SocketAddr,
        network: &Network,
        orders: Orders,
        manners: Manners,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let socket = inside.run(|| UdpSocket::bind(address)).with_context(|| format!("bind {address}"))?;
        let tls = QuicServerConfig::try_from(server_config(network.collector_key(), Uplink::Quic)?)?;
        let config = ServerConfig::with_crypto(Arc::new(tls));
        let endpoint = {
            let _inside = runtime.enter();
            Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime))?
        };
        let memory = Arc::new(Mutex::new(Memory::default()));
        let (shared, orders, listener) = (Arc::clone(&memory), Arc::new(orders), endpoint.clone());
        let directory = network.signed().clone();
        runtime.spawn(async move {
            while let Some(incoming) = listener.accept().await {
                let (memory, orders, directory) = (Arc::clone(&shared), Arc::clone(&orders), directory.clone());
                let manners = manners.clone();
                tokio::spawn(async move {
                    let Ok(connection) = incoming.await else { return };
                    // However it ends, the probe comes again.
                    let _ = Served { connection, orders, directory, memory, manners }.run().await;
                });
            }
        });
        Ok(Self { memory, endpoint, _runtime: runtime })
    }

    /// Every report so far, with the address its probe came from.
    pub fn reports(&self) -> Vec<(IpAddr, Report)> {
        lock(&self.memory).reports.clone()
    }

    /// What of its rage it has said so far.
    pub fn raged(&self) -> Raged {
        lock(&self.memory).raged
    }

    /// How many orders of the flood probes have taken so far.
    pub fn flooded(&self) -> u64 {
        lock(&self.memory).flooded
    }
}

impl Drop for Rogue {
    fn drop(&mut self) {
        self.endpoint.close(0u32.into(), b"");
    }
}

/// One probe's connection.
struct Served {
    connection: Connection,
    orders: Arc<Orders>,
    /// What the root has signed, which is not the collector's to change.
    directory: SignedDirectory,
    memory: Arc<Mutex<Memory>>,
    manners: Manners,
}

impl Served {
    async fn run(self) -> Result<()> {
        let (mut send, mut receive) = self.connection.accept_bi().await?;
        let (to_us, mut frames) = mpsc::channel(16);
        let mut reader = Reader::new(MAX_CONTROL_UP);
        let mut session = CollectorSession::new();
        let mut flooded = 0;
        loop {
            tokio::select! {
                chunk = receive.read_chunk(CHUNK, true) => {
                    reader.push(&chunk?.context("the probe has ended its stream")?.bytes);
                    while let Some(message) = reader.next_message()? {
                        if let Some(up) = from_cbor::<Up>(message)? {
                            if let (Up::OrdersApplied(_), Manners::Rage(rage, order)) = (&up, &self.manners) {
                                return self.rage(*rage, order, &mut send).await;
                            }
                            if let (Up::OrdersApplied(Some(revision)), Manners::Flood(flood)) = (&up, &self.manners)
                                && flooded < flood.count
                            {
                                send.write_all(&framed(&to_cbor(&flood.next(*revision, flooded)))).await?;
                                lock(&self.memory).flooded += if flooded == 0 { 0 } else { FLOOD_BATCH };
                                flooded += FLOOD_BATCH;
                                continue;
                            }
                            session.handle_message(up, now());
                        }
                    }
                }
                stream = self.connection.accept_uni() => {
                    tokio::spawn(read_frames(stream?, to_us.clone()));
                }
                Some(frame) = frames.recv() => session.handle_frame(frame),
            }
            self.commands(&mut session, &mut send).await?;
        }
    }

    /// Says it until the probe, or the end of the test, closes the connection. What the probe says is not heard any more.
    async fn rage(&self, rage: Rage, order: &Order, send: &mut SendStream) -> Result<()> {
        lock(&self.memory).raged.connections += 1;
        for n in 0.. {
            let bytes = rage.bytes(n, order, &self.directory);
            send.write_all(&bytes).await?;
            let raged = &mut lock(&self.memory).raged;
            raged.messages += 1;
            raged.bytes += bytes.len() as u64;
        }
        Ok(())
    }

    async fn commands(&self, session: &mut CollectorSession, send: &mut SendStream) -> Result<()> {
        while let Some(command) = session.poll_command() {
            match command {
                Command::Admit(hello) => session.handle_admitted(self.admitted(hello.uptime), now()),
                Command::Send(message) => send.write_all(&framed(&to_cbor(&message))).await?,
                Command::Store(Stored::Frame(frame)) => {
                    let ranges = self.keep(&frame);
                    session.handle_durable(vec![BootRanges { boot: frame.boot, ranges }]);
                }
                Command::Close => anyhow::bail!("the session is over"),
                Command::Store(_)
                | Command::Orders
                | Command::Health(_)
                | Command::Rotate(_)
                | Command::UpdateAsk(_)
                | Command::Board(_) => {}
            }
        }
        Ok(())
    }

    fn admitted(&self, uptime: u64) -> Admitted {
        let address = self.address();
        let durable = lock(&self.memory).durable.clone();
        Admitted {
            probe: ProbeId(1),
            durable: durable.into_iter().map(|(boot, ranges)| BootRanges { boot, ranges }).collect(),
            boot_started_at: UnixNanos(now().0.saturating_sub(i64::try_from(uptime).unwrap_or(0))),
            public_address: address,
            directory: Some(self.directory.clone()),
            revision: match self.manners {
                // After a storm, none that it may have used.
                Manners::Plain => Revision(1 << 40),
                Manners::Flood(_) => Revision(1),
                // Another for each connection, so that the probe says each time that it has its orders.
                Manners::Rage(..) => Revision((2 + lock(&self.memory).raged.connections) << 20),
            },
            orders: self.orders.get(&address).cloned().unwrap_or_default(),
        }
    }

    /// Keeps the reports and gives all numbers of the boot so far.
    fn keep(&self, frame: &Frame) -> RangeSet {
        let address = self.address();
        let mut memory = lock(&self.memory);
        let Memory { reports, durable, .. } = &mut *memory;
        let durable = durable.entry(frame.boot).or_default();
        for (seq, bytes) in frame.numbered() {
            // Sent again, if the acknowledgement was lost.
            if durable.contains(seq) {
                continue;
            }
            durable.insert(seq..=seq);
            let report = Report::from_cbor(bytes).expect("a probe writes whole reports");
            reports.push((address, report));
        }
        durable.clone()
    }

    fn address(&self) -> IpAddr {
        self.connection.remote_address().ip().to_canonical()
    }
}

impl Flood {
    /// The next message for a probe that has this revision and so many orders of the flood behind it.
    fn next(&self, revision: Revision, behind: u64) -> Down {
        let numbers = |from: u64| (from..from + FLOOD_BATCH).map(MeasurementId);
        let add = numbers(self.first + behind).map(|measurement| Order { measurement, ..self.order.clone() });
        let remove = if behind == 0 { List::default() } else { List::cut(numbers(self.first + behind - FLOOD_BATCH)) };
        let (base, revision) = (Some(revision), Revision(revision.0 + 1));
        Down::Orders(OrdersUpdate { base, revision, add: List::cut(add), remove })
    }
}

/// Passes on the frames of one lane until it ends.
async fn read_frames(mut stream: RecvStream, to: mpsc::Sender<Frame>) -> Result<()> {
    let mut reader = Reader::new(MAX_FRAME);
    while let Some(chunk) = stream.read_chunk(CHUNK, true).await? {
        reader.push(&chunk.bytes);
        while let Some(message) = reader.next_message()? {
            if let Some(frame) = from_cbor::<Frame>(message)? {
                to.send(frame).await?;
            }
        }
    }
    Ok(())
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
