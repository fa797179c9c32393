//! The collector as a whole: the endpoints, the registry of connected probes, and what others may ask of it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::{Endpoint, Incoming, VarInt};
use sonde_protocol::board::UpdateChoice;
use sonde_protocol::directory::{Reference, SignedDirectory};
use sonde_protocol::identity::KeyNotice;
use sonde_protocol::ids::{BootId, ProbeId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::message::{ALPN_DIRECTORY, Drain, to_cbor};
use sonde_protocol::order::When;
use sonde_store::bus::{ProbeStatus, Published};
use sonde_store::places::{self, Places};
use sonde_store::results::ResultQuery;
use sonde_store::{Bus, Catalog, Results, StoreError};
use tokio::net::TcpStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::StartHandshake;
use tracing::{debug, info, warn};

use crate::clones::{Clones, Verdict};
use crate::connection::{self, ToConnection};
use crate::door::Door;
use crate::ingest::{Ingest, ToIngest, now};
use crate::intake::ConnectionId;
use crate::link::{Link, QuicLink, close};
use crate::network::{Network, NetworkError};
use crate::quic::{self, QuicError};
use crate::releases::watch::Watch;
use crate::releases::{Releases, ReleasesConfig};
use crate::tls::{self, Guests};

/// How many handshakes may be under way. Beyond it an address must first prove that it is real (stateless retry).
const HANDSHAKES: usize = 500;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// How many connections of probes that wait to be let in are kept. Whoever is more comes back once a minute.
const MAX_WAITING: usize = 1000;

/// Where and how the collector listens, and whom it takes.
#[derive(Debug, Clone)]
pub struct CollectorConfig {
    /// UDP addresses.
    pub listen: Vec<SocketAddr>,
    /// What becomes of probes without a token.
    pub enrol: Enrol,
    /// Where boards' updates lie.
    pub releases: ReleasesConfig,
}

/// What becomes of probes that bring no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enrol {
    /// They are refused.
    Closed,
    /// They wait until an account claims them.
    Claim,
    /// They are served, a few from each network, and count when somebody claims them or vouches for them.
    Open,
}

/// Why the collector cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// QUIC cannot be set up.
    #[error(transparent)]
    Quic(#[from] QuicError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The writer's thread cannot be started.
    #[error("the writer's thread cannot be started")]
    Thread(#[source] std::io::Error),
}

/// A connection, and where it is told things.
type Inbox = (ConnectionId, mpsc::WeakSender<ToConnection>);

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) results: Arc<dyn Results>,
    pub(crate) ingest: Ingest,
    places: Arc<dyn Places>,
    network: Mutex<Network>,
    probes: Mutex<HashMap<ProbeId, Vec<Inbox>>>,
    bus: Arc<dyn Bus>,
    /// How many sessions of each probe the catalog has as open.
    sessions: Mutex<HashMap<ProbeId, usize>>,
    next_connection: AtomicU64,
    pub(crate) tls: Guests,
    pub(crate) enrol: Enrol,
    door: Mutex<Door>,
    clones: Mutex<Clones>,
    /// Connections of probes that wait to be let in.
    waiting: Mutex<HashMap<PublicKey, Inbox>>,
    pub(crate) releases: Arc<Releases>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// A number for one more connection.
    pub(crate) fn new_connection(&self) -> ConnectionId {
        ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed))
    }

    /// The directory as bytes, for anybody.
    pub(crate) fn signed_directory(&self) -> Vec<u8> {
        to_cbor(lock(&self.network).signed())
    }

    /// A probe's newest connection is the one that is told things.
    pub(crate) fn register(&self, probe: ProbeId, id: ConnectionId, inbox: mpsc::WeakSender<ToConnection>) {
        lock(&self.probes).entry(probe).or_default().push((id, inbox));
    }

    /// The connection is no more.
    pub(crate) fn unregister(&self, probe: ProbeId, id: ConnectionId) {
        let mut probes = lock(&self.probes);
        let Some(connections) = probes.get_mut(&probe) else { return };
        connections.retain(|(known, _)| *known != id);
        if connections.is_empty() {
            probes.remove(&probe);
        }
    }

    /// May a stranger at this address try to come in?
    pub(crate) fn may_knock(&self, address: IpAddr) -> bool {
        lock(&self.door).may_knock(address, now())
    }

    /// Keeps a connection of a probe that waits. False: there are too many.
    pub(crate) fn wait(&self, key: PublicKey, id: ConnectionId, inbox: mpsc::WeakSender<ToConnection>) -> bool {
        let mut waiting = lock(&self.waiting);
        let fits = waiting.len() < MAX_WAITING || waiting.contains_key(&key);
        if fits {
            waiting.insert(key, (id, inbox));
        }
        fits
    }

    /// The connection waits no more.
    pub(crate) fn end_waiting(&self, key: &PublicKey, id: ConnectionId) {
        let mut waiting = lock(&self.waiting);
        if waiting.get(key).is_some_and(|(known, _)| *known == id) {
            waiting.remove(key);
        }
    }

    /// What is to be done with a boot of a known probe. Connections that it supersedes are ended; when there are two machines
    /// with one key, the one that is served is told.
    pub(crate) fn judge(&self, probe: ProbeId, id: ConnectionId, boot: BootId) -> Verdict {
        let verdict = lock(&self.clones).arrive(probe, id, boot, now());
        match &verdict {
            Verdict::Serve { supersedes, .. } => {
                self.tell(probe, |known| supersedes.contains(&known).then_some(ToConnection::Close))
            }
            Verdict::TurnAway => self.tell(probe, |_| Some(ToConnection::Key(KeyNotice::Duplicate))),
        }
        verdict
    }

    /// A connection that was judged is no more.
    pub(crate) fn forget(&self, probe: ProbeId, id: ConnectionId) {
        lock(&self.clones).leave(probe, id, now());
    }

    /// Tells connections of a probe what there is for each. One that is full learns of it when it comes back.
    fn tell(&self, probe: ProbeId, what: impl Fn(ConnectionId) -> Option<ToConnection>) {
        for (id, inbox) in lock(&self.probes).get(&probe).into_iter().flatten() {
            if let (Some(message), Some(inbox)) = (what(*id), inbox.upgrade()) {
                let _ = inbox.try_send(message);
            }
        }
    }

    /// Records where a probe's addresses come from; without it the probe is served all the same.
    pub(crate) async fn locate(&self, probe: ProbeId) {
        if let Err(error) = places::locate(&*self.catalog, &*self.places, probe).await {
            warn!(probe_id = %probe, %error, "where the probe is could not be recorded");
        }
    }

    /// The catalog knows of a session of the probe. The first one means that it has come.
    pub(crate) fn has_come(&self, probe: ProbeId) {
        let mut sessions = lock(&self.sessions);
        let open = sessions.entry(probe).or_default();
        *open += 1;
        if *open == 1 {
            self.publish_status(probe, true);
        }
    }

    /// The catalog knows that a session of the probe has ended. The last one means that it has gone.
    pub(crate) fn has_gone(&self, probe: ProbeId) {
        let mut sessions = lock(&self.sessions);
        let Some(open) = sessions.get_mut(&probe) else { return };
        *open -= 1;
        if *open == 0 {
            sessions.remove(&probe);
            self.publish_status(probe, false);
        }
    }

    /// Called under the lock of `sessions`, so that a probe's comings and goings are told in their order.
    fn publish_status(&self, probe: ProbeId, connected: bool) {
        let controller = lock(&self.network).collector_key().public().short();
        self.bus.publish(Arc::new(Published::Status(ProbeStatus { probe, connected, at: now(), controller })));
    }

    fn newest(&self, probe: ProbeId) -> Option<mpsc::Sender<ToConnection>> {
        lock(&self.probes).get(&probe)?.last().and_then(|(_, inbox)| inbox.upgrade())
    }

    fn all(&self) -> Vec<mpsc::Sender<ToConnection>> {
        lock(&self.probes).values().flatten().filter_map(|(_, inbox)| inbox.upgrade()).collect()
    }

    pub(crate) fn directory_newer_than(&self, serial: u64) -> Option<SignedDirectory> {
        let network = lock(&self.network);
        (network.directory().serial > serial).then(|| network.signed().clone())
    }

    fn orders_changed(&self, probes: &[ProbeId]) {
        for &probe in probes {
            if let Some(inbox) = self.newest(probe) {
                // If the connection is gone, the next one brings the orders. One that is full does not keep the others, or
                // whoever made the change, waiting: either it reads on, or it ends for not doing so.
                if let Err(TrySendError::Full(message)) = inbox.try_send(ToConnection::Orders) {
                    tokio::spawn(async move { inbox.send(message).await });
                }
            }
        }
    }

    /// One-offs whose result became durable while nobody could record it, because the collector was killed just then.
    pub(crate) async fn settle_delivered(&self, probe: ProbeId) -> Result<(), StoreError> {
        let (_, orders) = self.catalog.orders(probe, now()).await?;
        let mut pairs = Vec::new();
        for order in orders.iter().filter(|order| matches!(order.when, When::Once { .. })) {
            let query = ResultQuery { measurement: order.measurement, from: None, to: None, probes: Some(vec![probe]) };
            let mut page = self.results.scan(&query, None, 1).await?;
            while let (true, Some(next)) = (page.reports.is_empty(), page.next.take()) {
                page = self.results.scan(&query, Some(&next), 1).await?;
            }
            if !page.reports.is_empty() {
                pairs.push((order.measurement, probe));
            }
        }
        if !pairs.is_empty() {
            self.catalog.settle_oneoffs(&pairs).await?;
        }
        Ok(())
    }
}

/// A running collector.
pub struct Collector {
    shared: Arc<Shared>,
    endpoints: Vec<Endpoint>,
    tasks: JoinSet<()>,
    writer: Option<std::thread::JoinHandle<()>>,
}

/// A handle for those who tell the collector things; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    endpoints: Vec<Endpoint>,
}

impl Collector {
    /// Starts it: listens, writes what comes to `results`, and tells the `bus`. `places` says where probes are connected from.
    pub async fn start(
        config: &CollectorConfig,
        catalog: Arc<dyn Catalog>,
        results: Arc<dyn Results>,
        bus: Arc<dyn Bus>,
        places: Arc<dyn Places>,
        network: Network,
    ) -> Result<Self, StartError> {
        catalog.close_all_sessions(now()).await?;
        let watch = Watch::open(Arc::clone(&catalog)).await?;
        let releases = Arc::new(Releases::new(&config.releases, watch));
        let mut endpoints = Vec::new();
        for &address in &config.listen {
            let server = quic::server(network.collector_key(), network.quic_secret())?;
            endpoints.push(quic::endpoint(address, server, network.quic_secret())?);
        }
        let guests = Guests::new(network.collector_key())?;
        let (oneoffs, settled) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Handle::current();
        let (ingest, writer) =
            Ingest::start(results.clone(), bus.clone(), oneoffs, runtime).map_err(StartError::Thread)?;
        let shared = Arc::new(Shared {
            catalog,
            results,
            ingest,
            places,
            network: Mutex::new(network),
            probes: Mutex::default(),
            bus,
            sessions: Mutex::default(),
            next_connection: AtomicU64::new(1),
            tls: guests,
            enrol: config.enrol,
            door: Mutex::default(),
            clones: Mutex::default(),
            waiting: Mutex::default(),
            releases: Arc::clone(&releases),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(settle(shared.clone(), settled));
        tasks.spawn(async move { releases.watch.run().await });
        for endpoint in &endpoints {
            info!(address = ?endpoint.local_addr().ok(), "collector listens");
            tasks.spawn(accept(endpoint.clone(), shared.clone()));
        }
        Ok(Self { shared, endpoints, tasks, writer: Some(writer) })
    }

    /// Where it listens.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.endpoints.iter().filter_map(|endpoint| endpoint.local_addr().ok()).collect()
    }

    /// A handle.
    pub fn handle(&self) -> Handle {
        Handle { shared: self.shared.clone(), endpoints: self.endpoints.clone() }
    }

    /// Stops: asks the probes to come back later, spread over a time, makes durable what they had sent, and ends.
    pub async fn stop(mut self, drain: Drain, patience: Duration) {
        for inbox in self.shared.all() {
            let _ = inbox.try_send(ToConnection::Drain(drain));
        }
        let drained = async {
            for endpoint in &self.endpoints {
                endpoint.set_server_config(None);
                endpoint.wait_idle().await;
            }
            self.shared.tls.all_gone().await;
        };
        if timeout(patience, drained).await.is_err() {
            for endpoint in &self.endpoints {
                endpoint.close(VarInt::from_u32(close::DONE), b"stopping");
            }
        }
        let _ = self.shared.ingest.send(ToIngest::Stop).await;
        if let Some(writer) = self.writer.take() {
            // The thread ends at Stop; joining it blocks no longer than the last commit.
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
        let _ = self.shared.catalog.close_all_sessions(now()).await;
        self.tasks.abort_all();
    }
}

impl Handle {
    /// These probes' orders have changed in the catalog: push them.
    pub async fn orders_changed(&self, probes: &[ProbeId]) {
        self.shared.orders_changed(probes);
    }

    /// Takes over a TCP connection that asks for the collector by the name of its protocol ([`tls::is_for_collector`]).
    pub fn take_tls(&self, handshake: StartHandshake<TcpStream>, remote: SocketAddr) {
        tls::take(handshake, remote, self.shared.clone());
    }

    /// The key has become this probe's: whoever waits with it comes in at once.
    pub fn key_admitted(&self, key: &PublicKey, probe: ProbeId) {
        let notice = || ToConnection::Key(KeyNotice::Admitted);
        if let Some(inbox) = lock(&self.shared.waiting).get(key).and_then(|(_, inbox)| inbox.upgrade()) {
            let _ = inbox.try_send(notice());
        }
        self.shared.tell(probe, |_| Some(notice()));
    }

    /// The probe has another key: connections that came with the old one end.
    pub fn key_replaced(&self, probe: ProbeId) {
        self.shared.tell(probe, |_| Some(ToConnection::Close));
    }

    /// The owner of a probe wants something else of updates. A board that is not connected learns of it when it comes.
    pub fn updates_chosen(&self, probe: ProbeId, choice: UpdateChoice) {
        self.shared.tell(probe, |_| Some(ToConnection::Choice(choice)));
    }

    /// Goes on with a release that was stopped. `false`: it is not.
    pub async fn resume_release(&self, release: u64) -> Result<bool, StoreError> {
        self.shared.releases.watch.resume(release).await
    }

    /// How many probes are connected.
    pub fn connected(&self) -> usize {
        lock(&self.shared.probes).len()
    }

    /// Reads the network under its lock.
    pub fn with_network<T>(&self, read: impl FnOnce(&Network) -> T) -> T {
        read(&lock(&self.shared.network))
    }

    /// Gives the collector a new key and tells the probes. Connections stay; new ones meet the new key.
    pub fn rotate(&self) -> Result<PublicKey, NetworkError> {
        let (key, server) = {
            let mut network = lock(&self.shared.network);
            let key = network.rotate()?;
            if self.shared.tls.set_key(network.collector_key()).is_err() {
                return Err(NetworkError::Refused("the new key does not fit TLS"));
            }
            (key, quic::server(network.collector_key(), network.quic_secret()))
        };
        let server = server.map_err(|_| NetworkError::Refused("the new key does not fit TLS"))?;
        self.publish();
        for endpoint in &self.endpoints {
            endpoint.set_server_config(Some(server.clone()));
        }
        Ok(key)
    }

    /// Signs the directory anew and tells the probes.
    pub fn sign(&self) -> Result<(), NetworkError> {
        lock(&self.shared.network).sign(|_| ())?;
        self.publish();
        Ok(())
    }

    /// Takes a collector's key out of the directory and tells the probes.
    pub fn revoke(&self, key: PublicKey) -> Result<(), NetworkError> {
        lock(&self.shared.network).revoke(key)?;
        self.publish();
        Ok(())
    }

    /// Lists a host for http measurements and tells the probes. `false`: it was listed.
    pub fn allow_http(&self, host: &str) -> Result<bool, NetworkError> {
        let is_new = lock(&self.shared.network).allow_http(host)?;
        if is_new {
            self.publish();
        }
        Ok(is_new)
    }

    /// Takes a host off that list and tells the probes, which end what they are asking it.
    pub fn forbid_http(&self, host: &str) -> Result<(), NetworkError> {
        lock(&self.shared.network).forbid_http(host)?;
        self.publish();
        Ok(())
    }

    /// Lists a reference server, or replaces the one with its name, and tells the probes. `false`: there was one.
    pub fn add_reference(&self, reference: Reference) -> Result<bool, NetworkError> {
        let is_new = lock(&self.shared.network).add_reference(reference)?;
        self.publish();
        Ok(is_new)
    }

    /// Takes a reference server off the list and tells the probes.
    pub fn remove_reference(&self, name: &str) -> Result<(), NetworkError> {
        lock(&self.shared.network).remove_reference(name)?;
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        let signed = Arc::new(lock(&self.shared.network).signed().clone());
        for inbox in self.shared.all() {
            // A connection whose inbox is full learns of it in its next welcome.
            let _ = inbox.try_send(ToConnection::Directory(signed.clone()));
        }
    }
}

/// Records settled one-offs, and takes their orders back.
async fn settle(
    shared: Arc<Shared>,
    mut settled: mpsc::UnboundedReceiver<Vec<(sonde_protocol::ids::MeasurementId, ProbeId)>>,
) {
    while let Some(mut pairs) = settled.recv().await {
        while let Ok(more) = settled.try_recv() {
            pairs.extend(more);
        }
        match shared.catalog.settle_oneoffs(&pairs).await {
            Ok(probes) => shared.orders_changed(&probes),
            // The probe's next hello finds them.
            Err(error) => warn!(%error, "settled one-offs could not be recorded"),
        }
    }
}

async fn accept(endpoint: Endpoint, shared: Arc<Shared>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let mut connections = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            Some(_) = connections.join_next() => continue,
        };
        let Some(incoming) = incoming else { break };
        let Ok(permit) = handshakes.clone().try_acquire_owned() else {
            // Costs us no memory: whoever is real comes back with the token.
            if incoming.remote_address_validated() {
                incoming.refuse();
            } else if let Err(error) = incoming.retry() {
                debug!(%error, "retry not possible");
            }
            continue;
        };
        let id = shared.new_connection();
        let shared = shared.clone();
        connections.spawn(async move {
            if let Some(connection) = handshake(incoming, &shared).await {
                drop(permit);
                connection::serve(Link::Quic(QuicLink::new(connection)), id, shared).await;
            }
        });
    }
}

/// The established connection of a probe; `None` when there is none, or when only the directory was asked for.
async fn handshake(incoming: Incoming, shared: &Shared) -> Option<quinn::Connection> {
    let remote = incoming.remote_address();
    let connection = match timeout(HANDSHAKE_TIMEOUT, incoming).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            debug!(%remote, %error, "handshake failed");
            return None;
        }
        Err(_) => return None,
    };
    let data = connection.handshake_data()?.downcast::<quinn::crypto::rustls::HandshakeData>().ok()?;
    if data.protocol.as_deref() != Some(ALPN_DIRECTORY) {
        return Some(connection);
    }
    let signed = shared.signed_directory();
    let give = async {
        let mut stream = connection.open_uni().await.ok()?;
        stream.write_all(&signed).await.ok()?;
        stream.finish().ok()?;
        // Whoever has read it ends the connection. Ended from here, it would take along what the other end has not read yet,
        // and a stream that it has not even accepted.
        Some(connection.closed().await)
    };
    let _ = timeout(HANDSHAKE_TIMEOUT, give).await;
    connection.close(VarInt::from_u32(close::DONE), b"");
    None
}
