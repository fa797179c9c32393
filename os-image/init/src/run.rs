//! What PID 1 does once it has settings and state: keeps the network, the probe and the clock, buries the dead, and ends in order when it
//! is told to.

use std::io;
use std::path::Path;
use std::time::Duration;

use ipnet::Ipv6Net;
use rustix::process::{WaitOptions, wait};
use sonde_protocol::board::UpdateChoice;
use sonde_update::moment::Moment;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::board::Board;
use crate::boot::look_for_devices;
use crate::clock::{self, Action};
use crate::console::uptime;
use crate::hardening;
use crate::modules::Modules;
use crate::net::{self, Condition};
use crate::notify::{self, Notify, Told};
use crate::probe::{self, Probe};
use crate::release::Release;
use crate::settings::Settings;
use crate::slots::memory::Memory;
use crate::state::{self, State};
use crate::step::{Step, StepName};
use crate::supervise::{Order, Supervision};
use crate::trial::Trial;
use crate::uevent::Uevents;
use crate::update::keep::Keep;
use crate::update::plan::{Image, Plan};
use crate::update::{self, Places, Updates};

/// The probe has this long to keep what it has not delivered.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Devices that appear later than this after the network's link get no driver.
const GRACE: Duration = Duration::from_secs(30);

/// The network is tried again after this.
const NET_AGAIN: Duration = Duration::from_secs(10);

/// How often the time is kept, and how often the card is looked at.
const KEEP_TIME: Duration = Duration::from_secs(3600);
const LOOK_AT_CARD: Duration = Duration::from_secs(60);

/// Drivers for devices that come late.
#[derive(Debug)]
pub struct Hotplug {
    /// The modules.
    pub modules: Modules,
    /// Where one hears of them.
    pub uevents: Uevents,
}

/// Runs until somebody wants an end. Gives whether the board is to be switched off.
///
/// # Errors
/// When the system gives no sockets or signals.
pub async fn run(
    board: Board,
    release: Release,
    settings: Settings,
    state: Option<State>,
    hotplug: Hotplug,
    trial: Trial,
) -> io::Result<bool> {
    let (tell, mut network) = watch::channel(Condition::default());
    tokio::spawn(keep_network(board.clone(), settings.net.clone(), tell));
    let notify = Notify::open(notify::SOCKET.as_ref())?;
    let mut children = signal(SignalKind::child())?;
    let (mut restart, mut off) = (signal(SignalKind::terminate())?, signal(SignalKind::user_defined2())?);
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let updates = begin_updates(&board, &release, settings.updates, state.is_some(), &trial)?;
    let mut keeper = Keeper {
        board,
        release,
        raw: settings.raw,
        translators: Vec::new(),
        state,
        hotplug: Some(hotplug),
        probe: None,
        rules: Supervision::default(),
        may_start: false,
        link_since: None,
        clock_known: false,
        reached: false,
        trial,
        updates,
        wants_restart: false,
        stopping: false,
        kept_time: uptime(),
        looked: uptime(),
    };
    loop {
        tokio::select! {
            told = notify.hear() => keeper.hear(&told),
            _ = children.recv() => keeper.bury(),
            Ok(()) = network.changed() => keeper.network(&network.borrow_and_update().clone()),
            () = heard(keeper.hotplug.as_ref()) => keeper.devices(),
            _ = ticks.tick() => {
                keeper.tick();
                if keeper.wants_restart {
                    break;
                }
            }
            () = keeper.trial.failed() => break,
            why = keeper.updates.restart() => {
                keeper.board.console.say("updates", &format!("the board starts again {why}"));
                break;
            }
            _ = restart.recv() => break,
            _ = off.recv() => {
                keeper.stop(&mut children).await;
                return Ok(true);
            }
        }
    }
    keeper.stop(&mut children).await;
    Ok(false)
}

/// Updates are looked for from now on, as soon as the card and the probe are there.
fn begin_updates(
    board: &Board,
    release: &Release,
    choice: Option<UpdateChoice>,
    has_state: bool,
    trial: &Trial,
) -> io::Result<Updates> {
    let image = Image {
        number: release.number,
        name: release.name.clone(),
        architecture: std::env::consts::ARCH,
        root: update::root(update::ROOT.as_ref()),
        built: Moment(release.built.as_secs().try_into().unwrap_or(0)),
    };
    let seed = getrandom::u64().map_err(|_| io::ErrorKind::Unsupported)?;
    let places = Places {
        keep: has_state.then(|| Keep::new(update::keep::FOLDER.as_ref())),
        memory: Memory::of_this_board(),
        key: Path::new(state::PROBE).join(state::KEY),
    };
    let console = board.console.clone();
    let plan = Plan::new(image, choice, seed);
    Ok(Updates::start(plan, places, trial.standing(), uptime, move |text| console.say("updates", text)))
}

/// Whether a new start helps a file system that cannot be written, `up` after the last start: soon if the probe does not work either, and
/// not where it was made anew and went bad at once.
fn helps(up: Duration, reached: bool, remade: bool) -> bool {
    let patience = if reached { Duration::from_secs(600) } else { Duration::from_secs(120) };
    up >= if remade { Duration::from_secs(86_400) } else { patience }
}

async fn heard(hotplug: Option<&Hotplug>) {
    match hotplug {
        Some(hotplug) => hotplug.uevents.wait().await,
        None => std::future::pending().await,
    }
}

async fn keep_network(board: Board, settings: net::Settings, tell: watch::Sender<Condition>) {
    loop {
        let Err(error) = net::run(settings.clone(), tell.clone()).await;
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        board.fails(StepName::Link, text);
        sleep(NET_AGAIN).await;
    }
}

#[derive(Debug)]
struct Keeper {
    board: Board,
    release: Release,
    raw: bool,
    /// What routers have advertised of NAT64.
    translators: Vec<Ipv6Net>,
    state: Option<State>,
    /// Until modules are closed.
    hotplug: Option<Hotplug>,
    probe: Option<Probe>,
    rules: Supervision,
    /// The packet filter stands and there was an address.
    may_start: bool,
    link_since: Option<Duration>,
    clock_known: bool,
    reached: bool,
    trial: Trial,
    updates: Updates,
    /// A new start would help.
    wants_restart: bool,
    /// The probe has been asked to end.
    stopping: bool,
    kept_time: Duration,
    looked: Duration,
}

impl Keeper {
    fn tick(&mut self) {
        let now = uptime();
        self.supervise(now);
        self.board.turned(self.rules.is_well(now));
        if let Some(state) = &mut self.state
            && let Err(error) = state.keep_key()
        {
            self.board.fails(
                StepName::State,
                format!("the copy of the probe's key cannot be written: {error}; put the image on another card"),
            );
        }
        if now.saturating_sub(self.looked) >= LOOK_AT_CARD {
            self.looked = now;
            self.look_at_card(now);
        }
        if now.saturating_sub(self.kept_time) >= KEEP_TIME {
            self.keep_time();
        }
        if self.link_since.is_some_and(|since| now.saturating_sub(since) >= GRACE) && self.hotplug.take().is_some() {
            let text = match hardening::close_modules() {
                Ok(()) => "no more are loaded until the next start".into(),
                Err(error) => format!("loading cannot be switched off: {error}"),
            };
            self.board.console.say("modules", &text);
            // Their files are gone.
            self.board.console.say("memory", &memory_in_use());
        }
    }

    /// A file system that the kernel has stopped writing to is made anew at the next start, so the board starts again by itself, but never
    /// again and again: a card that goes bad so soon after that is to be replaced.
    fn look_at_card(&mut self, now: Duration) {
        let Some(state) = self.state.as_ref().filter(|_| State::has_gone_bad()) else { return };
        if helps(now, self.reached, state.remade) {
            self.board.fails(
                StepName::State,
                "the card can only be read any more: the board starts again to make the state anew",
            );
            self.wants_restart = true;
        } else {
            self.board.fails(StepName::State, "the card can only be read any more: put the image on another card");
        }
    }

    fn supervise(&mut self, now: Duration) {
        match self.rules.poll(now) {
            Order::Start if self.may_start => {
                match Probe::start(self.raw, &self.release.to_string(), &self.translators, &self.board.console) {
                    Ok((probe, channel)) => {
                        self.probe = Some(probe);
                        self.updates.probe(channel);
                        self.rules.started(now);
                        self.board
                            .tell(StepName::Probe, Step::Waiting(format!("started as process {}", probe.number())));
                    }
                    Err(error) => {
                        let pause = self.rules.ended(now);
                        self.board.fails(
                            StepName::Probe,
                            format!("cannot be started: {error}; again in {} s", pause.as_secs()),
                        );
                    }
                }
            }
            Order::Kill => {
                self.board.fails(StepName::Probe, "it hangs and is ended");
                if let Some(probe) = self.probe {
                    probe.kill();
                }
            }
            _ => {}
        }
    }

    /// Takes note of processes that have ended, its own and those that nobody else waits for.
    fn bury(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if let Some(probe) = self.probe.take_if(|probe| probe.is(pid)) {
                // What it had started.
                probe.kill();
                if self.stopping {
                    continue;
                }
                let pause = self.rules.ended(uptime());
                let again = format!("{}; started again in {} s", probe::how(status), pause.as_secs());
                self.board.fails(StepName::Probe, again);
                self.board.tell(StepName::Collector, Step::Waiting(String::new()));
                self.trial.reached(false);
            }
        }
    }

    fn network(&mut self, condition: &Condition) {
        for (name, step) in [
            (StepName::Link, &condition.link),
            (StepName::Address, &condition.address),
            (StepName::Resolver, &condition.resolver),
            (StepName::Filter, &condition.filter),
        ] {
            self.board.tell(name, step.clone());
        }
        if condition.link.is_ok() && self.link_since.is_none() {
            self.link_since = Some(uptime());
        }
        self.translators.clone_from(&condition.translators);
        // Never before the filter: it is one of the probe's walls.
        if condition.filter.is_ok() && condition.address.is_ok() && !self.may_start {
            self.may_start = true;
            self.supervise(uptime());
        }
    }

    fn devices(&mut self) {
        if let Some(hotplug) = &mut self.hotplug {
            look_for_devices(&self.board, &mut hotplug.modules);
        }
    }

    fn hear(&mut self, told: &Told) {
        if self.probe.is_none() || told.stopping {
            return;
        }
        if told.alive {
            self.rules.heard(uptime());
            self.board.tell_as(StepName::Probe, Step::Ok("runs".into()), "runs");
        }
        if let (Some(status), Some(state)) = (&told.status, &told.state) {
            let step = match state.as_str() {
                "connected" => Step::Ok(status.clone()),
                "connecting" | "waiting" => Step::Waiting(status.clone()),
                _ => Step::Failed(status.clone()),
            };
            let reached = step.is_ok();
            // One that waits to be let in has reached it too.
            self.trial.reached(reached || state == "waiting");
            self.board.tell_as(StepName::Collector, step, state);
            if reached && !std::mem::replace(&mut self.reached, true) {
                self.board.console.say("memory", &memory_in_use());
            }
        }
        if let Some((behind, error)) = told.clock {
            self.told_clock(behind, error);
        }
    }

    fn told_clock(&mut self, behind: i64, error: Duration) {
        let now = clock::now();
        let first = !self.clock_known;
        let action = clock::decide(now, behind, error, self.release.built, first);
        let done = match action {
            Action::Keep => Ok(()),
            Action::Set(right) => clock::set(right),
            Action::Slew(nanoseconds) => clock::slew(nanoseconds),
            Action::Refuse => {
                let text = format!(
                    "the collector's time cannot be right: it is {} ms off {}",
                    behind / 1_000_000,
                    clock::show(now)
                );
                self.board.tell_as(StepName::Clock, Step::Failed(text), "refused");
                return;
            }
        };
        if let Err(error) = done {
            self.board.fails(StepName::Clock, format!("the clock cannot be set: {error}"));
            return;
        }
        self.clock_known = true;
        if let Some(right) = clock::right(now, behind) {
            self.updates.time(right, uptime());
        }
        let text = format!("{}, it was {} ms off", clock::show(clock::now()), behind / 1_000_000);
        if let (Action::Set(_), false) = (action, first) {
            self.board.console.say("clock", &format!("set again: {text}"));
        }
        self.board.tell_as(StepName::Clock, Step::Ok(text), "known");
        if first {
            self.keep_time();
        }
    }

    fn keep_time(&mut self) {
        self.kept_time = uptime();
        if self.state.is_some() {
            // Without it the next start begins at an older time, which is no harm.
            let _ = clock::keep(clock::now());
        }
    }

    /// Ends the probe in order.
    async fn stop(&mut self, children: &mut Signal) {
        let Some(probe) = self.probe else { return self.keep_time() };
        self.board.console.say("stop", "the probe keeps what it has not delivered");
        self.stopping = true;
        probe.ask_to_end();
        let _ = timeout(LAST_WORDS, async {
            while self.probe.is_some() {
                children.recv().await;
                self.bury();
            }
        })
        .await;
        if let Some(probe) = self.probe {
            probe.kill();
        }
        if let Some(state) = &mut self.state {
            let _ = state.keep_key();
        }
        self.keep_time();
    }
}

/// How much memory is in use, of how much.
fn memory_in_use() -> String {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let mib = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_start_matches(':').trim().strip_suffix(" kB")?.parse::<u64>().ok()? / 1024)
    };
    match mib("MemTotal").zip(mib("MemAvailable")) {
        Some((total, available)) => format!("{} MB in use of {total} MB", total.saturating_sub(available)),
        None => "cannot be read".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_does_not_start_again_and_again_for_a_card_that_is_dying() {
        let s = Duration::from_secs;
        for (up, reached, remade, expected) in [
            (60, false, false, false),
            (120, false, false, true),
            (120, true, false, false),
            (600, true, false, true),
            (600, false, true, false),
            (86_399, true, true, false),
            (86_400, true, true, true),
        ] {
            assert_eq!(helps(s(up), reached, remade), expected, "{up} {reached} {remade}");
        }
    }
}
