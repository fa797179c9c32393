//! The probe as a whole: one loop between the session machine, the scheduler, the uplink and the runs.
//!
//! Everything that decides is elsewhere and pure ([`sonde_protocol::session::probe`], [`crate::scheduler`],
//! [`crate::policy`]); this loop moves what they say to where it belongs. It runs on one thread.

mod around;
pub(crate) mod health;
mod host;
mod keeping;
mod key;
mod line;
mod link;
mod looks;
mod own;
mod record;
mod runs;
mod start;
mod updates;

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sonde_protocol::address::{Nat64Prefix, Neighbourhood};
use sonde_protocol::board::{FromSystem, ToSystem};
use sonde_protocol::bounded::Text;
use sonde_protocol::condition::board;
use sonde_protocol::directory::SignedDirectory;
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId};
use sonde_protocol::net::Uplink;
use sonde_protocol::order::{Order, When};
use sonde_protocol::result::{MeasurementResult, SkipReason};
use sonde_protocol::session::ProbeSession;
use sonde_protocol::session::probe::Action;
use sonde_protocol::spool::{Lane, SpoolLimits};
use sonde_protocol::time::{Nanos, UnixNanos};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{self, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use self::around::policy_of;
use self::health::{ClockWatch, Surveying};
use self::keeping::Keeping;
use self::line::Line;
use self::link::QuicAgain;
use self::looks::Looking;
use self::own::Own;
use self::record::Record;
use self::runs::Started;
pub use self::start::{AgentOptions, Start};
use self::start::{ConfigFile, Life};
use crate::condition::Conditions;
use crate::condition::diagnosis::Found;
use crate::config::Config;
use crate::control::{self, Asked};
use crate::identity::{Identity, StateError};
use crate::kept::{KeptPause, Usage};
use crate::local::{AddressWatch, LocalNetwork};
use crate::local_time::LocalTime;
use crate::net::{Driver, NetError, Options};
use crate::page;
use crate::policy::{Caps, Policy};
use crate::resolve::MAX_RESOLVERS;
use crate::run::{KINDS, MAX_QUESTIONS, Runner};
use crate::sandbox::SandboxError;
use crate::scheduler::Scheduler;
use crate::service_manager::{News, ServiceManager};
use crate::spool::Done;
use crate::status::{Status, StatusServer};
use crate::system::System;
use crate::uplink::{ConnectError, Link, LinkEvent};
use crate::wall_clock::WallClock;

/// Name and version, as hello says them.
pub const SOFTWARE: &str = concat!("sonde-probe/", env!("CARGO_PKG_VERSION"));

/// The environment variable in which the board's operating system tells its own version.
pub(crate) const OS_VERSION: &str = "SONDE_OS_VERSION";

/// The one in which it tells what routers have advertised of translators (NAT64).
const OS_NAT64: &str = "SONDE_OS_NAT64";

/// What the probe calls itself towards the network: its program, and on a board that runs nothing else the system too.
fn software(os_version: Option<&str>) -> Text<64> {
    match os_version.filter(|version| !version.is_empty()) {
        Some(version) => Text::cut(format!("{SOFTWARE} {}{version}", board::SYSTEM)),
        None => Text::cut(SOFTWARE),
    }
}

/// How long runs that are going on get to end when the probe is stopped.
const FINISH_RUNS: Duration = Duration::from_secs(3);

/// How long the last reports get to become durable when the probe is stopped.
const FINISH_UPLOAD: Duration = Duration::from_secs(5);

/// The shortest life of a boot that the collector ends: one that ends every boot does not keep the machine busy.
const LEAST_LIFE: Duration = Duration::from_secs(5);

/// The longest sleep, after which the kernel's clock state is looked at again.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The least sleep while a lane has no room; the lane itself wakes the loop when it has.
const BLOCKED_WAIT: Duration = Duration::from_millis(100);

/// Why the probe cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The state directory.
    #[error("the state directory cannot be used")]
    State(#[from] StateError),
    /// The sockets.
    #[error("the network cannot be used")]
    Net(#[from] NetError),
    /// The sandbox.
    #[error("the sandbox cannot be entered (`[sandbox] enabled = false` in sonde.toml switches it off)")]
    Sandbox(#[from] SandboxError),
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
    config_file: Option<ConfigFile>,
    /// Why the file as it is now is not in force.
    config_problem: Option<String>,
    local_time: LocalTime,
    kept_pause: KeptPause,
    usage: Usage,
    commands: mpsc::Receiver<Asked>,
    line: Line,
    record: Record,
    runner: Arc<Runner>,
    policy: watch::Sender<Arc<Policy>>,
    caps: Caps,
    local: LocalNetwork,
    public: Vec<IpAddr>,
    nat64: Vec<Nat64Prefix>,
    /// What a board's system has heard of translators before the probe was there.
    told_nat64: Vec<Nat64Prefix>,
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
    /// What the last connection ran over.
    last_uplink: Option<Uplink>,
    /// While it is TLS: when QUIC is tried again.
    quic_again: Option<QuicAgain>,
    runs: JoinSet<MeasurementResult>,
    /// What each run is, in case it dies, and what it was admitted with.
    started_runs: HashMap<task::Id, Started>,
    /// Where names led that are resolved before each run.
    last_targets: HashMap<MeasurementId, IpAddr>,
    report_log: Option<File>,
    status: StatusServer,
    manager: ServiceManager,
    /// The board's own, where there is one.
    board: System,
    /// The collector of this connection was asked to take the next key.
    asked_for_key: bool,
    /// The next try is not to wait: it is with another key.
    come_back_now: bool,
    /// The collector holds this boot to be over.
    boot_is_over: bool,
    conditions: Conditions,
    /// The machine is a board of ours, whose system keeps the clock.
    on_board: bool,
    clock_watch: ClockWatch,
    own: Own,
    surveying: Option<Surveying>,
    survey_due: Option<Nanos>,
    surveyed_at: Option<Nanos>,
    /// How often a connection has come or gone.
    links: u64,
    keeping: Keeping,
    looking: Looking,
    /// One-offs of which the spool holds a report of an earlier boot: they must not run again.
    reported: BTreeSet<MeasurementId>,
    closing: bool,
    finished: bool,
}

/// Runs the probe until `shutdown` completes and what it has measured is durable or its time is up.
///
/// # Errors
/// When the probe cannot start. Once it runs, nothing ends it but `shutdown`.
pub async fn run(start: Start, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let began = Instant::now();
        match live(&start, shutdown.as_mut()).await? {
            End::Stopped => return Ok(()),
            End::BootIsOver => {
                warn!(
                    "the collector has ended this boot, because another probe came with the same key: beginning anew"
                );
                tokio::select! {
                    () = &mut shutdown => return Ok(()),
                    () = sleep(LEAST_LIFE.saturating_sub(began.elapsed())) => {}
                }
            }
        }
    }
}

/// How a boot ends.
enum End {
    /// The probe was stopped.
    Stopped,
    /// Nothing more that it reports would be kept.
    BootIsOver,
}

/// One boot.
async fn live(start: &Start, mut shutdown: Pin<&mut impl Future<Output = ()>>) -> Result<End, AgentError> {
    let Life { identity, config, resolver, report_log, status, control, page, manager, way } = start.life()?;
    let status =
        StatusServer::new(status, start.sandbox.clone()).map_err(system("the status socket cannot be used"))?;
    let (to_agent, commands) = control::channel();
    if let Some(control) = control {
        control::listen(control, to_agent.clone()).map_err(system("the control socket cannot be used"))?;
    }
    if let Some(page) = page {
        page::serve(page, to_agent, start.local_time.clone()).map_err(system("the page cannot be served"))?;
    }
    let board = System::new(way).map_err(system("the board's system cannot be heard"))?;
    let mut reload = signal(SignalKind::hangup()).map_err(system("SIGHUP cannot be heard"))?;
    let mut watch_addresses = AddressWatch::new().map_err(system("the kernel cannot be asked about addresses"))?;
    let local = LocalNetwork::read().map_err(system("the machine's addresses cannot be read"))?;
    let clock = Arc::clone(&start.clock);
    let started = clock.monotonic();
    let wall = Arc::new(Mutex::new(WallClock::new()));
    let today = clock.realtime().as_secs().div_euclid(86_400);
    let record = Record::open(&start.state, today);
    let usage = Usage::open(&start.state, today);
    let caps = Caps::new(config.limits.clone(), usage.used(), started);
    let limits = &config.limits;
    // One run has as many jobs as it asks resolvers at once; one of ipv6, of which there is one at a time, more.
    let max_jobs = usize::try_from(limits.concurrent).unwrap_or(usize::MAX).saturating_mul(MAX_RESOLVERS);
    let max_jobs = max_jobs.saturating_add(MAX_QUESTIONS);
    let driver_options = Options { packets_per_second: limits.packets_per_second, max_jobs, ..Options::default() };
    let driver = Driver::new(Arc::clone(&clock), driver_options)?;
    let (policy, policy_seen) = watch::channel(Arc::new(policy_of(&config, Neighbourhood::default(), &identity)));
    let runner = Arc::new(Runner::new(driver, clock, wall, resolver, policy_seen));
    runner.tables().note();
    let random = |what| move |_| AgentError::System { what, source: std::io::ErrorKind::Unsupported.into() };
    let boot = BootId(getrandom::u64().map_err(random("no random numbers"))?);
    let seed = getrandom::u64().map_err(random("no random numbers"))?;
    let (keeping, mut restored) = Keeping::open(&start.state, &config.spool, &*start.clock);
    let reported = restored.take_oneoffs();
    let kinds = &config.limits.kinds;
    let looking = Looking::open(&start.state, seed);
    *runner.settling.lock().unwrap_or_else(PoisonError::into_inner) = looking.settling();
    let software = software(std::env::var(OS_VERSION).ok().as_deref());
    let on_board = board::is_board(&software);
    let mut session = ProbeSession::new(boot, SpoolLimits::default(), software, kinds, seed, started);
    session.spool_mut().restore(restored);
    info!(key = %identity.key().public(), network = identity.network_name(), boot = %format!("{:016x}", boot.0), "probe starts");
    let mut agent = Agent {
        identity,
        config,
        config_file: start.config_file.clone(),
        config_problem: None,
        local_time: start.local_time.clone(),
        kept_pause: KeptPause::open(&start.state),
        usage,
        commands,
        line: Line::default(),
        record,
        runner,
        policy,
        caps,
        local,
        public: Vec::new(),
        nat64: Vec::new(),
        told_nat64: around::told_translators(&std::env::var(OS_NAT64).unwrap_or_default()),
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
        last_uplink: None,
        quic_again: None,
        runs: JoinSet::new(),
        started_runs: HashMap::new(),
        last_targets: HashMap::new(),
        report_log,
        status,
        manager,
        board,
        asked_for_key: false,
        come_back_now: false,
        boot_is_over: false,
        conditions: Conditions::new(started),
        on_board,
        clock_watch: ClockWatch::default(),
        own: Own::new(start.state.clone(), started),
        surveying: None,
        survey_due: None,
        surveyed_at: None,
        links: 0,
        keeping,
        looking,
        reported,
        closing: false,
        finished: false,
    };
    agent.note_sandbox(&start.sandbox, started);
    agent.look_around();
    loop {
        agent.advance();
        if agent.boot_is_over {
            // The next boot begins with what the file holds of earlier ones.
            agent.keep_all().await;
            return Ok(End::BootIsOver);
        }
        if agent.finished {
            break;
        }
        tokio::select! {
            () = &mut shutdown => break,
            event = agent.event() => agent.handle(event).await,
            _ = reload.recv() => agent.reload(),
            changed = watch_addresses.changed() => {
                if let Err(error) = changed {
                    warn!(%error, "the kernel's address changes cannot be read");
                    sleep(Duration::from_secs(1)).await;
                }
                agent.look_around();
                agent.in_new_network();
            }
        }
    }
    agent.shut_down().await;
    Ok(End::Stopped)
}

/// What wakes the loop.
enum Event {
    Translators(Vec<Nat64Prefix>),
    Link(Option<LinkEvent>),
    Connected(Result<Link, ConnectError>, Option<SignedDirectory>, mpsc::Receiver<LinkEvent>),
    Run(Result<(task::Id, MeasurementResult), task::Id>),
    Timer,
    Kept(Option<Done>),
    Status,
    Command(Asked),
    Surveyed(Option<Vec<Found>>),
    Disk(Result<Option<Found>, ()>),
    Board(FromSystem),
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
        let surveyed = async {
            match &mut self.surveying {
                Some(surveying) => surveying.done().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            found = surveyed => Event::Surveyed(found),
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
            done = self.keeping.done() => Event::Kept(done),
            found = self.own.looked() => Event::Disk(found),
            said = self.board.hear() => Event::Board(said),
            () = sleep(wait) => Event::Timer,
            () = self.status.ready() => Event::Status,
            Some(asked) = self.commands.recv() => Event::Command(asked),
        }
    }

    /// Do the session's deadlines count? Not while it waits for its first connection; a second one is not its business.
    fn session_has_time(&self) -> bool {
        self.connecting.is_none() || self.link.is_some()
    }

    fn next_wake(&self) -> Duration {
        let now = self.now();
        // A report that is due and has no room on its lane waits for the room, not for the time.
        let blocked = self.link.as_ref().is_some_and(|(link, _)| link.room(Lane::Fresh).is_none());
        let least = if blocked { BLOCKED_WAIT } else { Duration::ZERO };
        let session = self.session.poll_timeout().filter(|_| self.session_has_time());
        let session = session.map(|at| at.since(now).max(least));
        let wall = self.time_of_day();
        let schedule =
            self.scheduler.as_ref().filter(|_| !self.closing && self.policy_is_whole).and_then(Scheduler::next_wake);
        let schedule = schedule.map(|at| at.since(wall));
        let schedule = schedule.map(|due| self.look_before(now, due));
        let silence = self.silent_at().map(|at| at.since(now));
        let quic = self.quic_again_at().map(|at| at.since(now));
        let health = self.health_due().map(|at| at.since(now));
        let keep = self.keep_at().map(|at| at.since(now));
        let manager = self.manager.due().map(|at| at.since(now));
        let own = self.own_due().map(|at| at.since(now));
        let look = self.look_in(now);
        let wakes = [session, schedule, silence, quic, health, keep, own, manager, look];
        wakes.into_iter().flatten().min().unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)
    }

    async fn handle(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Translators(found) => self.translators_found(found, now),
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
                let (planned, day) =
                    self.started_runs.remove(&id).map_or((0, 0), |started| (started.planned_bytes, started.day));
                self.run_ended(result, planned, day);
            }
            Event::Run(Err(id)) => self.run_died(id),
            Event::Timer => {}
            Event::Surveyed(found) => {
                self.surveyed(found, now);
                self.status.note_news();
            }
            Event::Disk(found) => {
                self.disk_seen(found, now);
                self.status.note_news();
            }
            Event::Kept(done) => self.kept(done),
            Event::Board(said) => self.board_says(said),
            Event::Status => {
                // Whoever lays down a key asks then how the probe is.
                self.look_for_next_key();
                self.ask_for_next_key();
                let status = self.status();
                self.status.answer(&status).await;
            }
            Event::Command(asked) => {
                self.command(asked);
                self.status.note_news();
            }
        }
    }

    /// Moves everything as far as it goes without waiting.
    fn advance(&mut self) {
        let now = self.now();
        self.note_kernel_clock(now);
        if self.session.poll_timeout().is_some_and(|at| at <= now) && self.session_has_time() {
            let running = u32::try_from(self.runs.len()).unwrap_or(u32::MAX);
            self.session.handle_timeout(now, running);
        }
        if self.connecting.is_none() && self.link.is_none() && self.session.wants_connection(now) {
            self.session.handle_connecting();
            self.connect();
        }
        self.check_silence(now);
        self.try_quic_again(now);
        self.advance_own(now);
        self.advance_health(now);
        self.tell_board();
        loop {
            let mut busy = false;
            while let Some(action) = self.session.poll_action() {
                self.act(action, now);
                busy = true;
            }
            busy |= self.schedule(now);
            busy |= self.look(now, self.time_of_day());
            if !busy {
                break;
            }
        }
        self.send_frames(now);
        self.keep(false);
        self.tell_manager(now);
    }

    /// Only here, where the loop turns: what the service manager hears proves that it does.
    fn tell_manager(&mut self, now: Nanos) {
        let news = self.status.take_news();
        let clock = self.runner.clock_behind(self.runner.moment());
        if self.manager.wants(news, clock.is_some(), now) {
            let status = self.status();
            self.manager.tell(News { line: &status.line(), state: status.state.name(), clock }, now);
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
                self.note_clock(local, remote, error, now);
            }
            Action::Welcomed { probe, boot_started_at, public_address } => {
                info!(probe_id = %probe, %public_address, "welcomed");
                self.probe = probe;
                let wall = self.time_of_day();
                let scheduler = self.scheduler.get_or_insert_with(|| Scheduler::new(probe, boot_started_at));
                scheduler.connected(wall);
                self.seen_at(public_address);
                self.status.connected(probe, self.last_uplink);
                self.key_is_welcome();
                self.heard(now);
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
                let reported = &self.reported;
                let again =
                    |order: &Order| matches!(order.when, When::Once { .. }) && reported.contains(&order.measurement);
                let added: Vec<Order> = changes.added.into_iter().filter(|order| !again(order)).collect();
                for order in added {
                    let supported = order.spec().is_ok_and(|spec| KINDS.contains(&spec.kind()));
                    let copy = order.clone();
                    let skipped = self.scheduler.as_mut().and_then(|scheduler| scheduler.add(order, supported, wall));
                    self.skip(skipped, Some(&copy), settled);
                }
            }
            Action::Refused { reason, text, claim_code } => {
                self.note_refusal(reason, &text, now);
                self.refused(reason, &text, claim_code);
            }
            Action::Key(notice) => self.key_notice(notice),
            Action::UpdateAnswer(answer) => self.board.say(ToSystem::Answer(answer)),
            Action::UpdateChoice(choice) => self.board.say(ToSystem::Choice(choice)),
            Action::BootIsOver => self.boot_is_over = true,
            Action::Disconnect => {
                self.lost("the collector does not serve this probe just now");
                if std::mem::take(&mut self.come_back_now) {
                    self.session.retry_now(now);
                }
            }
            Action::Finished => self.finished = true,
        }
    }

    fn status(&self) -> Status {
        let mut status = self.status.status(
            &self.identity,
            self.session.spool().depth(),
            self.runs.len(),
            self.session.orders().orders().count(),
            self.shown_conditions(self.now()),
        );
        status.host = self.host_limits();
        status.reachability = self.settled_words();
        status.written_today = self.keeping.written_today(&*self.runner.clock);
        status.spool_trouble = self.keeping.trouble();
        status
    }

    async fn shut_down(&mut self) {
        info!(running = self.runs.len(), spool = self.session.spool().depth(), "stopping");
        self.closing = true;
        self.manager.stopping();
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
        self.abandon_runs(SkipReason::Stopping);
        self.usage.close(self.caps.day_use());
        self.record.write();
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
        if !self.finished {
            let now = self.now();
            self.session.handle_disconnected(now);
            self.keep_all().await;
        }
        info!(spool = self.session.spool().depth(), "stopped");
    }
}
