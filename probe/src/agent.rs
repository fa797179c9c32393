//! The probe as a whole: one loop between the session machine, the scheduler, the uplink and the runs.
//!
//! Everything that decides is elsewhere and pure ([`sonde_protocol::session::probe`], [`crate::scheduler`],
//! [`crate::policy`]); this loop moves what they say to where it belongs. It runs on one thread.

use std::collections::HashMap;
use std::fs::File;
use std::future::Future;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use sonde_protocol::address::{Nat64Prefix, Neighbourhood, special};
use sonde_protocol::bounded::Text;
use sonde_protocol::directory::{NetworkFile, SignedDirectory};
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId};
use sonde_protocol::message::RefusedReason;
use sonde_protocol::net::Family;
use sonde_protocol::order::Order;
use sonde_protocol::result::{MeasurementResult, Report, SkipReason, Skipped};
use sonde_protocol::session::ProbeSession;
use sonde_protocol::session::probe::{Action, HelloFacts};
use sonde_protocol::spool::{Lane, NewReport, SpoolLimits};
use sonde_protocol::time::{Nanos, UnixNanos};
use tokio::sync::{mpsc, watch};
use tokio::task::{self, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::config::Config;
use crate::identity::{Identity, StateError};
use crate::local::{AddressWatch, LocalNetwork};
use crate::net::clock::{ClockSource, SystemClock};
use crate::net::{Driver, NetError, Options};
use crate::policy::{Admit as CapsAdmit, Caps, DayUse, Policy};
use crate::reachability;
use crate::resolve::Resolver;
use crate::run::{KINDS, Request, Runner, with_causes};
use crate::scheduler::{Admit, Decision, Scheduler, span_of};
use crate::status::{Status, StatusServer};
use crate::uplink::{self, ConnectError, Link, LinkEvent};
use crate::wall_clock::{WallClock, kernel_clock};

/// Name and version, as hello says them.
pub const SOFTWARE: &str = concat!("sonde-probe/", env!("CARGO_PKG_VERSION"));

/// How long runs that are going on get to end when the probe is stopped.
const FINISH_RUNS: Duration = Duration::from_secs(3);

/// How long the last reports get to become durable when the probe is stopped.
const FINISH_UPLOAD: Duration = Duration::from_secs(5);

/// How long a collector's name may take to resolve.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest sleep, after which the kernel's clock state is looked at again.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Events of a link that may wait for the loop.
const LINK_EVENTS: usize = 64;

/// The least time that a connection may be silent after something was sent before a second one is tried.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// What the probe is started with.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// The network to join.
    pub network: NetworkFile,
    /// The state directory.
    pub state: PathBuf,
    /// What the host has decided.
    pub config: Config,
    /// Writes boot, number and SHA-256 of every report here, before it is sent: for those who want to check the store.
    pub report_log: Option<PathBuf>,
}

/// Why the probe cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The state directory.
    #[error("the state directory cannot be used")]
    State(#[from] StateError),
    /// The sockets.
    #[error("the network cannot be used")]
    Net(#[from] NetError),
    /// Something of the system's.
    #[error("{what}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> AgentError {
    move |source| AgentError::System { what, source }
}

type Connecting = Pin<Box<dyn Future<Output = (Result<Link, ConnectError>, Option<SignedDirectory>)> + Send>>;

struct Agent {
    identity: Identity,
    config: Config,
    runner: Arc<Runner>,
    policy: watch::Sender<Arc<Policy>>,
    caps: Caps,
    local: LocalNetwork,
    public: Vec<IpAddr>,
    nat64: Vec<Nat64Prefix>,
    /// The question to the resolver about translators. Nothing is measured before the first answer.
    asking_nat64: Option<task::JoinHandle<Vec<Nat64Prefix>>>,
    policy_is_whole: bool,
    session: ProbeSession,
    scheduler: Option<Scheduler>,
    probe: ProbeId,
    started: Nanos,
    link: Option<(Link, mpsc::Receiver<LinkEvent>)>,
    connecting: Option<(Connecting, mpsc::Receiver<LinkEvent>)>,
    /// When the collector last said something: what it ordered some time before that has arrived.
    heard_at: UnixNanos,
    /// When something was sent that the other end must at least acknowledge, and how many datagrams had come by then.
    asked: Option<(Nanos, u64)>,
    runs: JoinSet<MeasurementResult>,
    /// What each run is, in case it dies.
    started_runs: HashMap<task::Id, (MeasurementId, UnixNanos)>,
    /// Where names led that are resolved before each run.
    last_targets: HashMap<MeasurementId, IpAddr>,
    report_log: Option<File>,
    status: StatusServer,
    closing: bool,
    finished: bool,
}

/// Runs the probe until `shutdown` completes and what it has measured is durable or its time is up.
///
/// # Errors
/// When the probe cannot start. Once it runs, nothing ends it but `shutdown`.
pub async fn run(options: AgentOptions, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
    let identity = Identity::open(&options.state, options.network)?;
    let status = StatusServer::listen(&options.state).map_err(system("the status socket cannot be opened"))?;
    let mut watch_addresses = AddressWatch::new().map_err(system("the kernel cannot be asked about addresses"))?;
    let local = LocalNetwork::read().map_err(system("the machine's addresses cannot be read"))?;
    let report_log = match &options.report_log {
        Some(path) => {
            let log = File::options().create(true).append(true).open(path);
            Some(log.map_err(system("the report log cannot be opened"))?)
        }
        None => None,
    };
    let clock: Arc<dyn ClockSource> = Arc::new(SystemClock);
    let started = clock.monotonic();
    let wall = Arc::new(Mutex::new(WallClock::new()));
    let resolver = Resolver::new(&options.config.policy);
    let caps = Caps::new(options.config.limits.clone(), DayUse::default(), started);
    let driver_options = Options { packets_per_second: options.config.limits.packets_per_second, ..Options::default() };
    let driver = Driver::new(clock.clone(), driver_options)?;
    let (policy, policy_seen) = watch::channel(Arc::new(policy_of(&options.config, Neighbourhood::default())));
    let runner = Arc::new(Runner::new(driver, clock, wall, resolver, policy_seen));
    let random = |what| move |_| AgentError::System { what, source: std::io::ErrorKind::Unsupported.into() };
    let boot = BootId(getrandom::u64().map_err(random("no random numbers"))?);
    let seed = getrandom::u64().map_err(random("no random numbers"))?;
    let session = ProbeSession::new(boot, SpoolLimits::default(), Text::cut(SOFTWARE), &KINDS, seed, started);
    info!(key = %identity.key().public(), network = identity.network_name(), boot = %format!("{:016x}", boot.0), "probe starts");
    let mut agent = Agent {
        identity,
        config: options.config,
        runner,
        policy,
        caps,
        local,
        public: Vec::new(),
        nat64: Vec::new(),
        asking_nat64: None,
        policy_is_whole: false,
        session,
        scheduler: None,
        probe: ProbeId(0),
        started,
        link: None,
        connecting: None,
        heard_at: UnixNanos(i64::MIN),
        asked: None,
        runs: JoinSet::new(),
        started_runs: HashMap::new(),
        last_targets: HashMap::new(),
        report_log,
        status,
        closing: false,
        finished: false,
    };
    agent.look_around();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        agent.advance();
        if agent.finished {
            break;
        }
        tokio::select! {
            () = &mut shutdown => break,
            event = agent.event() => agent.handle(event).await,
            changed = watch_addresses.changed() => {
                if let Err(error) = changed {
                    warn!(%error, "the kernel's address changes cannot be read");
                    sleep(Duration::from_secs(1)).await;
                }
                agent.look_around();
            }
        }
    }
    agent.shut_down().await;
    Ok(())
}

/// What wakes the loop.
enum Event {
    Translators(Vec<Nat64Prefix>),
    Link(Option<LinkEvent>),
    Connected(Result<Link, ConnectError>, Option<SignedDirectory>, mpsc::Receiver<LinkEvent>),
    Run(Result<(task::Id, MeasurementResult), task::Id>),
    Timer,
    Status,
}

impl Agent {
    fn now(&self) -> Nanos {
        self.runner.clock.monotonic()
    }

    fn time_of_day(&self) -> UnixNanos {
        self.runner.time_of_day(self.runner.moment())
    }

    /// Waits for the next thing that happens. Dropping the future loses nothing.
    async fn event(&mut self) -> Event {
        let wait = self.next_wake();
        let link = async {
            match &mut self.link {
                Some((_, events)) => events.recv().await,
                None => std::future::pending().await,
            }
        };
        let connecting = async {
            match &mut self.connecting {
                Some((connecting, _)) => connecting.as_mut().await,
                None => std::future::pending().await,
            }
        };
        let translators = async {
            match &mut self.asking_nat64 {
                Some(asking) => asking.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            found = translators => {
                self.asking_nat64 = None;
                Event::Translators(found.unwrap_or_default())
            }
            event = link => Event::Link(event),
            (result, directory) = connecting => {
                let events = self.connecting.take().map(|(_, events)| events);
                // It was there a moment ago; without it the link's events would have no reader.
                let events = events.unwrap_or_else(|| mpsc::channel(1).1);
                Event::Connected(result, directory, events)
            }
            Some(done) = self.runs.join_next_with_id() => Event::Run(done.map_err(|error| error.id())),
            () = sleep(wait) => Event::Timer,
            () = self.status.ready() => Event::Status,
        }
    }

    fn next_wake(&self) -> Duration {
        let now = self.now();
        let session = self.session.poll_timeout().filter(|_| self.connecting.is_none()).map(|at| at.since(now));
        let wall = self.time_of_day();
        let schedule =
            self.scheduler.as_ref().filter(|_| !self.closing && self.policy_is_whole).and_then(Scheduler::next_wake);
        let schedule = schedule.map(|at| at.since(wall));
        let silence = self.silent_at().map(|at| at.since(now));
        [session, schedule, silence].into_iter().flatten().min().unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)
    }

    async fn handle(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Translators(found) => {
                self.nat64 = found;
                self.policy_is_whole = true;
                self.publish_policy();
            }
            Event::Link(Some(LinkEvent::Message(message))) => {
                self.heard_at = self.time_of_day();
                self.session.handle_message(*message, now);
            }
            Event::Link(Some(LinkEvent::LaneFree)) => {}
            Event::Link(Some(LinkEvent::Closed(why))) => self.lost(&why),
            Event::Link(None) => self.lost("the connection ended"),
            Event::Connected(result, directory, events) => {
                self.connected(result, events).await;
                // Only now does the session wait, so that news can end the waiting.
                if let Some(directory) = directory {
                    self.accept_directory(&directory);
                }
            }
            Event::Run(Ok((id, result))) => {
                self.started_runs.remove(&id);
                self.run_ended(result);
            }
            Event::Run(Err(id)) => self.run_died(id),
            Event::Timer => {}
            Event::Status => {
                let status = self.status();
                self.status.answer(&status).await;
            }
        }
    }

    /// Moves everything as far as it goes without waiting.
    fn advance(&mut self) {
        let now = self.now();
        self.note_kernel_clock(now);
        if self.session.poll_timeout().is_some_and(|at| at <= now) && self.connecting.is_none() {
            let running = u32::try_from(self.runs.len()).unwrap_or(u32::MAX);
            self.session.handle_timeout(now, running);
        }
        if self.connecting.is_none() && self.link.is_none() && self.session.wants_connection(now) {
            self.session.handle_connecting();
            self.connect();
        }
        self.check_silence(now);
        loop {
            let mut busy = false;
            while let Some(action) = self.session.poll_action() {
                self.act(action, now);
                busy = true;
            }
            busy |= self.schedule(now);
            if !busy {
                break;
            }
        }
        self.send_frames(now);
    }

    fn note_kernel_clock(&self, now: Nanos) {
        let mut wall = self.runner.wall.lock().unwrap_or_else(PoisonError::into_inner);
        match kernel_clock() {
            Ok(kernel) => wall.kernel_state(kernel.synchronised, kernel.max_error, now),
            Err(error) => debug!(%error, "the kernel does not tell how its clock is"),
        }
    }

    fn act(&mut self, action: Action, now: Nanos) {
        match action {
            Action::Send(message) => {
                let Some((link, _)) = &self.link else { return };
                if link.send(message) {
                    self.asked.get_or_insert((now, link.received()));
                } else {
                    self.lost("the control stream is stuck");
                }
            }
            Action::Clock { local, remote, error } => {
                self.runner.wall.lock().unwrap_or_else(PoisonError::into_inner).sample(local, remote, error);
            }
            Action::Welcomed { probe, boot_started_at, public_address } => {
                info!(probe_id = %probe, %public_address, "welcomed");
                self.probe = probe;
                let wall = self.time_of_day();
                let scheduler = self.scheduler.get_or_insert_with(|| Scheduler::new(probe, boot_started_at));
                scheduler.connected(wall);
                self.seen_at(public_address);
                self.status.connected(probe);
            }
            Action::SeenAt(public_address) => self.seen_at(public_address),
            Action::Directory(directory) => self.accept_directory(&directory),
            Action::Orders(changes) => {
                let wall = self.time_of_day();
                let settled = self.settled();
                for id in changes.removed {
                    self.last_targets.remove(&id);
                    let gone = self.scheduler.as_mut().and_then(|scheduler| scheduler.remove(id, wall));
                    let Some((order, skipped)) = gone else { continue };
                    for skipped in skipped {
                        self.skip(Some(skipped), Some(&order), settled);
                    }
                }
                for order in changes.added {
                    let supported = order.spec().is_ok_and(|spec| KINDS.contains(&spec.kind()));
                    let copy = order.clone();
                    let skipped = self.scheduler.as_mut().and_then(|scheduler| scheduler.add(order, supported, wall));
                    self.skip(skipped, Some(&copy), settled);
                }
            }
            Action::Refused(reason, text) => {
                warn!(?reason, %text, "the collector refuses this probe");
                self.status.refused(&refusal(reason, &text));
            }
            Action::Disconnect => self.lost("the collector does not serve this probe just now"),
            Action::Finished => self.finished = true,
        }
    }

    /// Starts what is due. True when anything was done.
    fn schedule(&mut self, now: Nanos) -> bool {
        if self.closing || !self.policy_is_whole {
            return false;
        }
        let wall = self.time_of_day();
        let settled = self.settled();
        let Some(scheduler) = &mut self.scheduler else { return false };
        // The day of the host's byte budget is by the machine's clock: no collector has a say in it.
        let realtime = self.runner.clock.realtime();
        let (caps, last) = (&mut self.caps, &self.last_targets);
        let decisions = scheduler.poll(wall, |order| admit(caps, last, order, now, (wall, realtime)));
        let busy = !decisions.is_empty();
        for decision in decisions {
            match decision {
                Decision::Start { order, planned_at } => self.start(&order, planned_at),
                Decision::Skip(skipped) => {
                    let order = self.session.orders().get(skipped.measurement).cloned();
                    self.skip(Some(skipped), order.as_ref(), settled);
                }
            }
        }
        busy
    }

    fn start(&mut self, order: &Order, planned_at: UnixNanos) {
        let Ok(spec) = order.spec() else {
            // The scheduler was told that it is not supported.
            return;
        };
        let request = Request {
            measurement: order.measurement,
            spec,
            af: order.af,
            target: order.target.clone(),
            addresses: if order.resolve_on_probe {
                Vec::new()
            } else {
                order.addresses.iter().map(|ip| ip.0).collect()
            },
            planned_at,
            interval: order.interval(),
        };
        debug!(measurement_id = %order.measurement, "run starts");
        let (runner, probe) = (self.runner.clone(), self.probe);
        let handle = self.runs.spawn(async move { runner.run(probe, &request).await });
        self.started_runs.insert(handle.id(), (order.measurement, planned_at));
    }

    /// A run that panicked is a bug; it must not take the probe, or the measurement's later runs, with it.
    fn run_died(&mut self, id: task::Id) {
        let Some((measurement, planned_at)) = self.started_runs.remove(&id) else { return };
        warn!(measurement_id = %measurement, "a run died");
        self.give_up(measurement, planned_at, SkipReason::Other);
    }

    fn give_up(&mut self, measurement: MeasurementId, planned_at: UnixNanos, reason: SkipReason) {
        self.caps.release();
        let settled = self.settled();
        if let Some(scheduler) = &mut self.scheduler {
            scheduler.finished(measurement);
        }
        self.skip(Some(Skipped { measurement, planned_at, runs: 1, reason }), None, settled);
    }

    fn run_ended(&mut self, result: MeasurementResult) {
        let id = result.measurement;
        self.caps.release();
        if let (Some(dst), true) = (result.dst_addr, self.session.orders().get(id).is_some_and(|o| o.resolve_on_probe))
        {
            self.last_targets.insert(id, dst.0);
        }
        let (planned_at, urgent) = (result.planned_at, result.interval.is_none());
        // What is settled counts this run as done only from its own report on.
        if let Some(scheduler) = &mut self.scheduler {
            scheduler.finished(id);
        }
        let settled = self.settled();
        self.push(&Report::Result(result), (planned_at, planned_at + Duration::from_nanos(1)), settled, urgent);
    }

    /// What the scheduler has settled. Taken before decisions are asked for, because the reports of all of them are pushed
    /// one after the other, and each may claim only what is pushed before it.
    fn settled(&self) -> UnixNanos {
        // Only as far as the collector was heard: a line may be dead for long before that is noticed.
        self.scheduler.as_ref().map_or(UnixNanos(i64::MIN), |scheduler| scheduler.settled(self.heard_at))
    }

    fn skip(&mut self, skipped: Option<Skipped>, order: Option<&Order>, settled: UnixNanos) {
        let Some(skipped) = skipped else { return };
        debug!(measurement_id = %skipped.measurement, runs = skipped.runs, reason = skipped.reason.name(), "skipped");
        let span = span_of(&skipped, order);
        let urgent = order.is_some_and(|order| order.interval().is_none());
        self.push(&Report::Skipped(skipped), span, settled, urgent);
    }

    fn push(&mut self, report: &Report, (from, to): (UnixNanos, UnixNanos), settled: UnixNanos, urgent: bool) {
        let bytes = report.to_cbor();
        if let Some(log) = &mut self.report_log {
            let seq = self.session.spool().last().0 + 1;
            let hash = HEXLOWER.encode(digest(&SHA256, &bytes).as_ref());
            // One write, so that a line is there whole or not at all.
            let line = format!("{:016x} {seq} {hash}\n", self.session.spool().boot().0);
            if let Err(error) = log.write_all(line.as_bytes()) {
                warn!(%error, "the report log cannot be written");
            }
        }
        self.session.push_report(NewReport { bytes, from, to, settled, urgent }, self.now());
    }

    fn send_frames(&mut self, now: Nanos) {
        let mut sent = false;
        if let Some((link, _)) = &self.link {
            for lane in [Lane::Fresh, Lane::Backlog] {
                while let Some(room) = link.room(lane) {
                    let Some(frame) = self.session.poll_frame(lane, now) else { break };
                    room.send(frame);
                    sent = true;
                }
            }
        }
        if sent && let (None, Some((link, _))) = (self.asked, &self.link) {
            self.asked = Some((now, link.received()));
        }
    }

    /// When the link's silence is long enough to be suspicious.
    fn silent_at(&self) -> Option<Nanos> {
        let ((at, _), (link, _)) = (self.asked?, self.link.as_ref()?);
        Some(at + link.patience().max(LEAST_PATIENCE)).filter(|_| self.connecting.is_none())
    }

    /// A collector that has gone without a word is found out by a second connection sooner than by the time-out of the
    /// first. The first to answer wins.
    fn check_silence(&mut self, now: Nanos) {
        let (Some(at), Some((_, before)), Some((link, _))) = (self.silent_at(), self.asked, &self.link) else { return };
        if at > now {
            return;
        }
        let received = link.received();
        if received > before {
            // It lives. That what was sent is not durable yet is the collector's business.
            self.asked = None;
        } else {
            info!("the collector is silent: trying a second connection");
            self.asked = Some((now, received));
            self.connect();
        }
    }

    fn connect(&mut self) {
        let (events, receiver) = mpsc::channel(LINK_EVENTS);
        let (key, keys) = (self.identity.key().clone(), self.identity.collector_keys());
        let endpoints: Vec<String> = self
            .identity
            .collectors()
            .iter()
            .flat_map(|c| c.addresses.iter().map(|a| a.to_string()).collect::<Vec<_>>())
            .collect();
        let runner = self.runner.clone();
        self.status.connecting();
        let attempt = async move {
            let addresses = match resolve_endpoints(&runner.resolver, &endpoints).await {
                Ok(addresses) => addresses,
                Err(error) => return (Err(error), None),
            };
            match uplink::connect(&key, &keys, &addresses, events).await {
                // All keys may have changed while this probe was away: the directory, signed by the root, says so.
                Err(ConnectError::WrongKey) => {
                    let directory = uplink::fetch_directory(&key, &addresses).await.ok();
                    (Err(ConnectError::WrongKey), directory)
                }
                Err(ConnectError::NoAnswer(why)) => {
                    let why = reachability::explain(&addresses, &why).await;
                    (Err(ConnectError::NoAnswer(why)), None)
                }
                other => (other, None),
            }
        };
        self.connecting = Some((Box::pin(attempt), receiver));
    }

    async fn connected(&mut self, result: Result<Link, ConnectError>, events: mpsc::Receiver<LinkEvent>) {
        let now = self.now();
        match result {
            Ok(link) => {
                if self.link.take().is_some() {
                    // The second connection answered first: the old one is given up.
                    self.session.handle_disconnected(now);
                    self.session.handle_connecting();
                }
                debug!(collector = %link.remote(), "connected");
                self.link = Some((link, events));
                self.asked = None;
                let synchronised = {
                    let wall = self.runner.wall.lock().unwrap_or_else(PoisonError::into_inner);
                    wall.is_known()
                };
                let facts = HelloFacts {
                    uptime: now.since(self.started),
                    now: self.time_of_day(),
                    clock_synchronised: synchronised,
                    addresses: self.own_addresses(),
                    families: self.families(),
                    token: self.identity.token(),
                    directory: self.identity.serial(),
                };
                self.session.handle_connected(facts, now);
            }
            Err(error) => {
                if self.link.is_some() {
                    // The old connection may yet come back to life; if not, this is tried again.
                    self.asked = self.asked.map(|(_, before)| (now, before));
                    return;
                }
                info!(%error, "no connection");
                self.status.disconnected(&error.to_string());
                self.after_link(now);
            }
        }
    }

    fn lost(&mut self, why: &str) {
        if self.link.take().is_some() {
            info!(why, "connection lost");
            self.status.disconnected(why);
            let now = self.now();
            self.after_link(now);
        }
    }

    fn after_link(&mut self, now: Nanos) {
        self.asked = None;
        if let Some(scheduler) = &mut self.scheduler {
            scheduler.disconnected(self.heard_at);
        }
        self.session.handle_disconnected(now);
    }

    fn accept_directory(&mut self, directory: &SignedDirectory) {
        match self.identity.accept(directory) {
            Ok(true) => {
                info!(serial = self.identity.serial(), "a newer directory of the network");
                let now = self.now();
                self.session.retry_now(now);
                let keys = self.identity.collector_keys();
                if self.link.as_ref().is_some_and(|(link, _)| link.key().is_none_or(|key| !keys.contains(&key))) {
                    self.lost("the collector's key was revoked");
                }
            }
            Ok(false) => {}
            Err(error) => warn!(error = %with_causes(&error), "a directory is not accepted"),
        }
    }

    /// Reads what is near the machine, and makes the policy from it.
    fn look_around(&mut self) {
        match LocalNetwork::read() {
            Ok(local) => self.local = local,
            Err(error) => warn!(%error, "the machine's addresses cannot be read"),
        }
        // What was known of translators stays in force until the resolver has answered.
        self.publish_policy();
        let runner = self.runner.clone();
        if let Some(before) =
            self.asking_nat64.replace(tokio::spawn(async move { runner.resolver.nat64_prefixes().await }))
        {
            before.abort();
        }
        let now = self.now();
        self.session.retry_now(now);
        let running = u32::try_from(self.runs.len()).unwrap_or(u32::MAX);
        let (own, families) = (self.own_addresses(), self.families());
        self.session.addresses_changed(&own, &families, running);
    }

    /// Others see us there, so it is the host's own address too.
    fn seen_at(&mut self, address: IpAddr) {
        if !self.public.contains(&address) {
            // One per family: an older one is nobody's business any more.
            self.public.retain(|known| Family::of(*known) != Family::of(address));
            self.public.push(address);
            self.publish_policy();
        }
    }

    /// The machine's addresses as far as they are anybody else's business.
    fn own_addresses(&self) -> Vec<IpAddr> {
        self.local.own().filter(|own| special(*own, &[]).is_none()).collect()
    }

    /// Families with an address and a route to the internet.
    fn families(&self) -> Vec<Family> {
        Family::BOTH.into_iter().filter(|family| self.local.has_route(*family)).collect()
    }

    fn publish_policy(&mut self) {
        let near = self.local.neighbourhood(&self.public, &self.nat64, self.config.policy.site_prefix);
        self.policy.send_replace(Arc::new(policy_of(&self.config, near)));
    }

    fn status(&self) -> Status {
        self.status.status(
            &self.identity,
            self.session.spool().depth(),
            self.runs.len(),
            self.session.orders().orders().count(),
        )
    }

    async fn shut_down(&mut self) {
        info!(running = self.runs.len(), spool = self.session.spool().depth(), "stopping");
        self.closing = true;
        let (settled, wall) = (self.settled(), self.time_of_day());
        if let Some(scheduler) = &mut self.scheduler {
            // Orders that may still be on their way are not waited for.
            scheduler.disconnected(self.heard_at);
        }
        let stopped = self.scheduler.as_mut().map(|scheduler| scheduler.stop(wall)).unwrap_or_default();
        for skipped in stopped {
            let order = self.session.orders().get(skipped.measurement).cloned();
            self.skip(Some(skipped), order.as_ref(), settled);
        }
        let _ = timeout(FINISH_RUNS, async {
            while let Some(done) = self.runs.join_next_with_id().await {
                self.handle(Event::Run(done.map_err(|error| error.id()))).await;
            }
        })
        .await;
        self.abandon_runs();
        // Not now, but up to where everything is accounted for: the gap until the next start begins there.
        let at = self.settled();
        self.session.close(at);
        // What is not durable now is lost: no time to wait for a better moment.
        let now = self.now();
        self.session.retry_now(now);
        let finish = async {
            while !self.finished
                && (self.link.is_some() || self.connecting.is_some() || !self.session.spool().is_settled())
            {
                self.advance();
                if self.finished {
                    break;
                }
                let event = self.event().await;
                self.handle(event).await;
            }
        };
        let _ = timeout(FINISH_UPLOAD, finish).await;
        if let Some((link, _)) = self.link.take() {
            link.close().await;
        }
        info!(spool = self.session.spool().depth(), "stopped");
    }

    /// Runs that did not end in time become skipped ones.
    fn abandon_runs(&mut self) {
        self.runs.abort_all();
        for (measurement, planned_at) in std::mem::take(&mut self.started_runs).into_values() {
            self.give_up(measurement, planned_at, SkipReason::Stopping);
        }
    }
}

fn policy_of(config: &Config, neighbourhood: Neighbourhood) -> Policy {
    Policy { exceptions: config.policy.allow.clone(), neighbourhood, http_hosts: Vec::new() }
}

fn admit(
    caps: &mut Caps,
    last: &HashMap<MeasurementId, IpAddr>,
    order: &Order,
    now: Nanos,
    (wall, realtime): (UnixNanos, UnixNanos),
) -> Admit {
    let Ok(spec) = order.spec() else { return Admit::Never(SkipReason::Unsupported) };
    // A name that is resolved before each run most likely leads where it led last time.
    let target = order.addresses.first().map(|ip| ip.0).filter(|_| !order.resolve_on_probe);
    let addresses: Vec<IpAddr> = target.or_else(|| last.get(&order.measurement).copied()).into_iter().collect();
    match caps.admit(now, realtime, &spec, &addresses) {
        CapsAdmit::Now => Admit::Now,
        CapsAdmit::Later(at) => Admit::Later(wall + at.since(now)),
        CapsAdmit::Never(reason) => Admit::Never(reason),
    }
}

fn refusal(reason: RefusedReason, text: &str) -> String {
    let advice = match reason {
        RefusedReason::UnknownKey => "ask the network's operator for a network.toml with a join token",
        RefusedReason::Token => "ask the network's operator for a new join token",
        RefusedReason::Version => "update this probe",
        RefusedReason::Busy => "it will be tried again",
        RefusedReason::Malformed => "please report this",
    };
    format!("{text}; {advice}")
}

/// The socket addresses of collectors: literals as they are, names in both families, IPv6 first and then in turn.
async fn resolve_endpoints(resolver: &Resolver, endpoints: &[String]) -> Result<Vec<SocketAddr>, ConnectError> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    let mut why = String::from("the directory lists none");
    for endpoint in endpoints {
        if let Ok(literal) = endpoint.parse::<SocketAddr>() {
            addresses.push(literal);
            continue;
        }
        let Some((name, port)) = endpoint.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)))
        else {
            why = format!("{endpoint} is not host:port");
            continue;
        };
        let (v6, v4) = tokio::join!(
            resolver.addresses(name, Family::V6, RESOLVE_TIMEOUT),
            resolver.addresses(name, Family::V4, RESOLVE_TIMEOUT)
        );
        if let (Err(error), Err(_)) = (&v4, &v6) {
            why = format!("{name}: {}", with_causes(error));
        }
        let list = |found: Result<(Vec<IpAddr>, Duration), _>| found.map(|(list, _)| list).unwrap_or_default();
        let (v6, v4) = (list(v6), list(v4));
        for n in 0..v6.len().max(v4.len()) {
            addresses.extend([&v6, &v4].into_iter().filter_map(|list| Some(SocketAddr::new(*list.get(n)?, port))));
        }
    }
    if addresses.is_empty() { Err(ConnectError::NoAddress(why)) } else { Ok(addresses) }
}
