//! The probe's shell: what `sonde_probe::agent` does around the machines, in virtual time. Runs take a while and say
//! nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use sonde_probe::scheduler::{Admit, Decision, Scheduler, span_of};
use sonde_probe::spool::format::decode;
use sonde_probe::spool::{Done, Job, Keeper};
use sonde_probe::wall_clock::WallClock;
use sonde_protocol::bounded::{List, Text};
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::message::{Down, MAX_CONTROL, from_cbor, to_cbor};
use sonde_protocol::net::Family;
use sonde_protocol::order::{Order, When};
use sonde_protocol::result::{MeasurementResult, Outcome, PingOutcome, PingReply, Report, SkipReason, Skipped, Timing};
use sonde_protocol::seed::Rng;
use sonde_protocol::session::ProbeSession;
use sonde_protocol::session::probe::{Action, HelloFacts};
use sonde_protocol::spec::Kind;
use sonde_protocol::spool::block::MAX_BLOCK_REPORTS;
use sonde_protocol::spool::{Lane, NewReport, Restored};
use sonde_protocol::time::{Nanos, UnixNanos};
use sonde_protocol::wire::Reader;

use super::collector::Collector;
use super::disk::{Card, Trouble};
use super::link::Stream;
use super::plan::{MS, Plan, S};
use super::world::{Cx, Event};

/// As in the agent, more or less: how long a connection may show no life after something was sent on it.
const SILENCE: Duration = Duration::from_secs(1);
/// As in the agent: how long runs get to end.
const FINISH_RUNS: i64 = 3 * S;
/// As in the agent: how long the last reports get to become durable.
const FINISH_UPLOAD: i64 = 5 * S;
/// As in the agent: the longest sleep.
const LONGEST_SLEEP: i64 = 60 * S;
/// Frames of one lane that the transport takes before it has delivered any.
const WINDOW: usize = 8;

/// A machine that a probe runs on.
pub struct ProbeHost {
    /// Its place among the probes.
    pub index: usize,
    /// Its key.
    pub key: PublicKey,
    /// Its number.
    pub id: ProbeId,
    /// The program, while it runs.
    pub process: Option<Process>,
    lives: u64,
    /// How far CLOCK_REALTIME is off.
    pub kernel_clock: i64,
    synchronised: bool,
    monotonic: i64,
    /// Its disk.
    pub card: Card,
    /// The collector has welcomed it once, so that it can be ordered to do something.
    pub ever_welcomed: bool,
    /// Its control stream is stuck: the next message will not go out.
    pub stuck: bool,
    /// It has a process that is to start at a time already known.
    restarts: bool,
}

/// One start of the program.
pub struct Process {
    life: u64,
    /// Its machine.
    pub session: ProbeSession,
    /// Whoever decides what is written to the disk, and what the disk is doing.
    keeper: Option<Keeper>,
    job: Option<Job>,
    /// One-offs of which the disk holds a report.
    reported: BTreeSet<MeasurementId>,
    scheduler: Option<Scheduler>,
    wall: WallClock,
    started: Nanos,
    link: Option<(u64, Reader)>,
    connecting: Option<u64>,
    attempts: u64,
    heard_at: UnixNanos,
    asked_at: Option<Nanos>,
    runs: BTreeMap<u64, Run>,
    last_run: u64,
    stopping: Option<Stopping>,
    finished: bool,
    wake: i64,
    opened_at: i64,
}

#[derive(Debug)]
struct Run {
    order: Order,
    planned_at: UnixNanos,
    started_at: UnixNanos,
}

/// The phases of a stop.
#[derive(Debug)]
enum Stopping {
    /// Waits for its runs; what comes over the link has to wait.
    Runs(VecDeque<Vec<u8>>, bool),
    /// Waits for its reports to become durable.
    Upload,
}

impl ProbeHost {
    /// A machine that is off.
    pub fn new(index: usize, key: PublicKey, id: ProbeId, plan: &Plan, rng: &mut Rng) -> Self {
        let kernel_clock = rng.below(plan.clock_error.cast_unsigned()).cast_signed();
        let card = if rng.one_in(6) { Card::used(rng) } else { Card::default() };
        Self {
            index,
            key,
            id,
            process: None,
            lives: 0,
            kernel_clock,
            synchronised: plan.kernel_clock,
            monotonic: rng.below(1 << 50).cast_signed(),
            card,
            ever_welcomed: false,
            stuck: false,
            restarts: false,
        }
    }

    /// The kernel's clock.
    const fn realtime(&self, cx: &Cx) -> UnixNanos {
        UnixNanos(cx.epoch + cx.now + self.kernel_clock)
    }

    const fn now(&self, cx: &Cx) -> Nanos {
        Nanos(self.monotonic + cx.now)
    }

    fn time_of_day(&self, cx: &Cx) -> UnixNanos {
        let realtime = self.realtime(cx);
        self.process.as_ref().map_or(realtime, |process| process.wall.now(self.now(cx), realtime))
    }

    /// The link that it uses.
    pub fn link(&self) -> Option<u64> {
        Some(self.process.as_ref()?.link.as_ref()?.0)
    }

    /// Has it been connected for a while, without much waiting?
    pub fn is_at_ease(&self, now: i64) -> bool {
        self.process.as_ref().is_some_and(|process| {
            process.session.is_open() && process.opened_at + 15 * S <= now && process.session.spool().depth() < 200
        })
    }

    /// Starts the program.
    pub fn start(&mut self, cx: &mut Cx) {
        if self.process.is_some() {
            return;
        }
        self.lives += 1;
        self.restarts = false;
        let boot = BootId(cx.rng.next_u64());
        let seed = cx.rng.next_u64();
        let now = self.now(cx);
        let mut session = ProbeSession::new(boot, cx.plan.spool, Text::cut("simulated"), &[Kind::Ping], seed, now);
        let (keeper, mut restored) = self.open_disk(cx);
        let reported = restored.take_oneoffs();
        session.spool_mut().restore(restored);
        let mut wall = WallClock::new();
        wall.kernel_state(self.synchronised, Some(Duration::from_millis(10)), now);
        cx.truth.boots.entry((self.index, boot)).or_default().began = UnixNanos(cx.epoch + cx.now);
        cx.truth.order_of_boots.entry(self.index).or_default().push(boot);
        cx.note(|| format!("probe {} ({}) starts boot {:016x}", self.index, self.id, boot.0));
        self.process = Some(Process {
            life: self.lives,
            session,
            keeper,
            job: None,
            reported,
            scheduler: None,
            wall,
            started: now,
            link: None,
            connecting: None,
            attempts: 0,
            heard_at: UnixNanos(i64::MIN),
            asked_at: None,
            runs: BTreeMap::new(),
            last_run: 0,
            stopping: None,
            finished: false,
            wake: i64::MIN,
            opened_at: i64::MAX / 2,
        });
        self.advance(cx);
    }

    /// Kills the program, or cuts the power. False when there was none.
    pub fn crash(&mut self, cx: &mut Cx, power: bool) -> bool {
        let Some(process) = self.process.take() else { return false };
        cx.note(|| format!("probe {} is killed, its power cut: {power}", self.index));
        if power {
            self.card.power_cut(process.job.as_ref(), &mut cx.rng);
        } else if let Some(job) = process.job.filter(|_| cx.rng.one_in(2)) {
            // What the kernel was told it does.
            job.perform(&mut self.card);
        }
        if let Some((link, _)) = process.link {
            cx.probe_leaves(link, false);
        }
        self.restarts = true;
        true
    }

    /// Asks the program to stop. False when there is none, or when it was asked already.
    pub fn begin_stop(&mut self, cx: &mut Cx, restart: bool) -> bool {
        let (settled, wall) = (self.settled(), self.time_of_day(cx));
        let index = self.index;
        let Some(process) = self.process.as_mut().filter(|process| process.stopping.is_none()) else { return false };
        cx.note(|| format!("probe {index} is asked to stop"));
        process.stopping = Some(Stopping::Runs(VecDeque::new(), false));
        self.restarts = restart;
        if let Some(scheduler) = &mut process.scheduler {
            scheduler.disconnected(process.heard_at);
        }
        let stopped = process.scheduler.as_mut().map(|scheduler| scheduler.stop(wall)).unwrap_or_default();
        let life = process.life;
        for skipped in stopped {
            let order = self.process.as_ref().and_then(|p| p.session.orders().get(skipped.measurement)).cloned();
            self.skip(cx, Some(skipped), order.as_ref(), settled);
        }
        cx.schedule(FINISH_RUNS, Event::RunsOver(index, life));
        self.runs_may_be_over(cx);
        true
    }

    fn runs_may_be_over(&mut self, cx: &mut Cx) {
        let Some(process) = &self.process else { return };
        if process.runs.is_empty() && matches!(process.stopping, Some(Stopping::Runs(..))) {
            self.begin_upload(cx);
        }
    }

    /// The runs have had their time.
    pub fn runs_over(&mut self, cx: &mut Cx, life: u64) {
        let Some(process) = self.process.as_mut().filter(|process| process.life == life) else { return };
        if matches!(process.stopping, Some(Stopping::Runs(..))) {
            for run in std::mem::take(&mut process.runs).into_values() {
                self.give_up(cx, run.order.measurement, run.planned_at);
            }
            self.begin_upload(cx);
        }
    }

    fn give_up(&mut self, cx: &mut Cx, measurement: MeasurementId, planned_at: UnixNanos) {
        let settled = self.settled();
        if let Some(scheduler) = self.process.as_mut().and_then(|process| process.scheduler.as_mut()) {
            scheduler.finished(measurement);
        }
        let skipped = Skipped { measurement, planned_at, runs: 1, reason: SkipReason::Stopping };
        self.skip(cx, Some(skipped), None, settled);
    }

    fn begin_upload(&mut self, cx: &mut Cx) {
        let at = self.settled();
        let (index, now) = (self.index, self.now(cx));
        let Some(process) = &mut self.process else { return };
        let Some(Stopping::Runs(held, lost)) = process.stopping.replace(Stopping::Upload) else { return };
        process.session.close(at);
        process.session.retry_now(now);
        let life = process.life;
        cx.note(|| format!("probe {index} says that it stopped at {at}"));
        cx.schedule(FINISH_UPLOAD, Event::UploadOver(index, life));
        self.advance(cx);
        for bytes in held {
            if let Some(link) = self.link() {
                self.receive(cx, life, link, &bytes);
            }
        }
        if lost {
            self.lost(cx);
            self.advance(cx);
        }
    }

    /// The last reports have had their time.
    pub fn upload_over(&mut self, cx: &mut Cx, life: u64) {
        if self.process.as_ref().is_some_and(|process| process.life == life) {
            self.exit(cx);
        }
    }

    fn exit(&mut self, cx: &mut Cx) {
        if self.process.as_ref().is_some_and(|process| !process.finished) {
            self.keep_all(cx);
        }
        let Some(process) = self.process.take() else { return };
        let spool = process.session.spool();
        cx.note(|| format!("probe {} ends, {} reports left", self.index, spool.depth()));
        if process.finished {
            cx.truth.boots.entry((self.index, spool.boot())).or_default().stopped = true;
            if !spool.is_settled() {
                cx.truth.failures.insert(format!("probe {} says goodbye with reports left", self.index));
            }
        } else if cx.healing && !self.restarts {
            cx.truth.failures.insert(format!("probe {} cannot end cleanly though nothing is wrong", self.index));
        }
        if let Some((link, _)) = process.link {
            // The link is closed once everything that was said has arrived.
            let stream_ends = 3 * cx.plan.delay + S;
            cx.schedule(stream_ends, Event::CollectorNotices(link));
            if let Some(link) = cx.links.get_mut(&link) {
                link.cut_down = true;
            }
        }
        if self.restarts {
            // As long as the last words may take, and then some; or they arrive late.
            let down = if cx.rng.one_in(8) { cx.between(50 * MS, S) } else { cx.between(2 * S, 30 * S) };
            cx.schedule(down, Event::ProbeStarts(self.index));
        }
    }

    /// It wanted to be woken now.
    pub fn wake(&mut self, cx: &mut Cx, life: u64) {
        let now = cx.now;
        if self.process.as_ref().is_some_and(|process| process.life == life && process.wake == now) {
            self.advance(cx);
        }
    }

    /// A lane may have room.
    pub fn lane_free(&mut self, cx: &mut Cx, life: u64, link: u64) {
        if self.link() == Some(link) && self.process.as_ref().is_some_and(|process| process.life == life) {
            self.advance(cx);
        }
    }

    /// A run ends.
    pub fn run_ends(&mut self, cx: &mut Cx, life: u64, run: u64) {
        let ended_at = self.time_of_day(cx);
        let Some(process) = self.process.as_mut().filter(|process| process.life == life) else { return };
        let Some(Run { order, planned_at, started_at }) = process.runs.remove(&run) else { return };
        let interval = order.interval();
        let result = MeasurementResult {
            measurement: order.measurement,
            planned_at,
            started_at,
            ended_at,
            timing: Timing::default(),
            af: Family::V6,
            dst_name: order.target,
            dst_addr: None,
            src_addr: None,
            time_to_resolve: None,
            interval,
            outcome: Outcome::Ping(PingOutcome {
                size: 48,
                sent: 3,
                replies: List::cut((0..cx.rng.below(4)).map(|_| PingReply::Timeout)),
            }),
        };
        if let Some(scheduler) = &mut process.scheduler {
            scheduler.finished(order.measurement);
        }
        let settled = self.settled();
        let span = (planned_at, planned_at + Duration::from_nanos(1));
        self.push(cx, &Report::Result(result), span, settled, interval.is_none());
        if self.process.as_ref().is_some_and(|process| matches!(process.stopping, Some(Stopping::Runs(..)))) {
            self.runs_may_be_over(cx);
        } else {
            self.advance(cx);
        }
    }

    /// An attempt to connect ends.
    pub fn connected(&mut self, cx: &mut Cx, collector: &mut Option<Collector>, life: u64, attempt: u64) {
        let now = self.now(cx);
        let facts_now = self.time_of_day(cx);
        let index = self.index;
        let Some(process) = self.process.as_mut().filter(|process| process.life == life) else { return };
        if process.connecting != Some(attempt) {
            return;
        }
        process.connecting = None;
        let failed = cx.mishap(8);
        match collector.as_mut().filter(|collector| !failed && !collector.draining) {
            Some(collector) => {
                let id = cx.connect((index, life), collector.life);
                collector.accept(id, self.key);
                if let Some((old, _)) = process.link.replace((id, Reader::new(MAX_CONTROL))) {
                    cx.probe_leaves(old, true);
                    if let Some(scheduler) = &mut process.scheduler {
                        scheduler.disconnected(process.heard_at);
                    }
                    process.session.handle_disconnected(now);
                    process.session.handle_connecting();
                }
                cx.note(|| format!("probe {index} has link {id}"));
                process.asked_at = None;
                let facts = HelloFacts {
                    uptime: now.since(process.started),
                    now: facts_now,
                    clock_synchronised: process.wall.is_known(),
                    addresses: vec![],
                    families: vec![Family::V6],
                    token: None,
                    directory: 0,
                    conditions: vec![],
                };
                process.session.handle_connected(facts, now);
            }
            None if process.link.is_none() => self.after_link(cx),
            // The old connection may yet come back to life; if not, this is tried again.
            None => process.asked_at = process.asked_at.map(|_| now),
        }
        self.advance(cx);
    }

    /// The transport says that a link is gone.
    pub fn notices(&mut self, cx: &mut Cx, link: u64) {
        if self.link() != Some(link) {
            return;
        }
        if let Some(Stopping::Runs(_, lost)) = self.process.as_mut().and_then(|process| process.stopping.as_mut()) {
            *lost = true;
            return;
        }
        self.lost(cx);
        self.advance(cx);
    }

    fn lost(&mut self, cx: &mut Cx) {
        if let Some((link, _)) = self.process.as_mut().and_then(|process| process.link.take()) {
            cx.note(|| format!("probe {} gives up link {link}", self.index));
            cx.probe_leaves(link, true);
            self.after_link(cx);
        }
    }

    fn after_link(&mut self, cx: &Cx) {
        let now = self.now(cx);
        let Some(process) = &mut self.process else { return };
        process.asked_at = None;
        if let Some(scheduler) = &mut process.scheduler {
            scheduler.disconnected(process.heard_at);
        }
        process.session.handle_disconnected(now);
    }

    /// Bytes of the control stream.
    pub fn receive(&mut self, cx: &mut Cx, life: u64, link: u64, bytes: &[u8]) {
        let now = self.now(cx);
        let Some(process) = self.process.as_mut().filter(|process| process.life == life) else { return };
        let Some((_, reader)) = process.link.as_mut().filter(|(known, _)| *known == link) else { return };
        if let Some(Stopping::Runs(held, _)) = &mut process.stopping {
            held.push_back(bytes.to_vec());
            return;
        }
        reader.push(bytes);
        let mut messages = Vec::new();
        while let Some(message) = reader.next_message().expect("the collector's messages are not too long") {
            messages.extend(from_cbor::<Down>(message).expect("the collector's messages make sense"));
        }
        for message in messages {
            let wall = self.time_of_day(cx);
            let Some(process) = &mut self.process else { return };
            if process.link.as_ref().is_none_or(|(known, _)| *known != link) {
                return;
            }
            cx.note(|| format!("probe {} hears {message:?}", self.index));
            let boot = process.session.spool().boot();
            let durable = match &message {
                Down::Ack(durable) if process.session.is_open() => &durable[..],
                Down::Welcome(welcome) => &welcome.durable[..],
                _ => &[],
            };
            let truth = cx.truth.boots.entry((self.index, boot)).or_default();
            for known in durable.iter().filter(|known| known.boot == boot) {
                truth.acknowledged.extend(&known.ranges);
            }
            process.heard_at = wall;
            if let Down::Orders(update) = &message {
                for order in update.add.iter() {
                    let delivered = cx.truth.delivered.entry((order.measurement, self.id)).or_default();
                    delivered.push((boot, UnixNanos(cx.epoch + cx.now)));
                }
            }
            process.session.handle_message(message, now);
            self.advance(cx);
        }
    }

    /// Moves everything as far as it goes without waiting.
    pub fn advance(&mut self, cx: &mut Cx) {
        if self.process.as_ref().is_none_or(|process| matches!(process.stopping, Some(Stopping::Runs(..)))) {
            return;
        }
        let now = self.now(cx);
        let Some(process) = &mut self.process else { return };
        process.wall.kernel_state(self.synchronised, Some(Duration::from_millis(10)), now);
        if process.session.poll_timeout().is_some_and(|at| at <= now) && process.connecting.is_none() {
            let running = u32::try_from(process.runs.len()).unwrap_or(u32::MAX);
            process.session.handle_timeout(now, running);
        }
        if process.connecting.is_none() && process.link.is_none() && process.session.wants_connection(now) {
            process.session.handle_connecting();
            self.connect(cx);
        }
        let Some(process) = &mut self.process else { return };
        if process.connecting.is_none() && process.asked_at.is_some_and(|at| at + SILENCE <= now) {
            // The transport's own acknowledgements are a sign of life.
            let link = process.link.as_ref().and_then(|(link, _)| cx.links.get(link));
            if link.is_some_and(|link| link.is_alive(cx.now)) {
                process.asked_at = None;
            } else {
                process.asked_at = Some(now);
                cx.note(|| format!("probe {} hears nothing and tries a second connection", self.index));
                self.connect(cx);
            }
        }
        for turn in 0.. {
            assert!(turn < 1000, "the probe's machines go round in circles");
            let mut busy = false;
            while let Some(action) = self.process.as_mut().and_then(|process| process.session.poll_action()) {
                self.act(cx, action);
                busy = true;
            }
            busy |= self.schedule(cx);
            if !busy {
                break;
            }
        }
        self.send_frames(cx);
        self.keep(cx);
        self.check_bounds(cx);
        let Some(process) = &self.process else { return };
        let busy = process.link.is_some() || process.connecting.is_some() || !process.session.spool().is_settled();
        let gave_up = process.stopping.is_some() && !busy;
        if process.finished || gave_up {
            return self.exit(cx);
        }
        self.sleep(cx);
    }

    fn check_bounds(&self, cx: &mut Cx) {
        let Some(process) = &self.process else { return };
        let spool = process.session.spool();
        // A block that was read is held whole until it is sent.
        let block = if process.keeper.is_some() { MAX_BLOCK_REPORTS } else { 0 };
        let held = if process.keeper.is_some() { spool.in_memory() as u64 } else { spool.depth() };
        if held > (cx.plan.spool.reports + block) as u64 {
            cx.truth.failures.insert(format!("probe {} holds {held} reports", self.index));
        }
    }

    /// Opens the disk and reads what it holds. Without it the probe goes on in memory.
    fn open_disk(&mut self, cx: &mut Cx) -> (Option<Keeper>, Restored) {
        let Some(capacity) = cx.plan.disk else { return (None, Restored::default()) };
        if self.card.trouble == Some(Trouble::Unreadable) {
            cx.truth.spoiled.insert(self.index);
        }
        let realtime = self.realtime(cx);
        match Keeper::open(&mut self.card, capacity, realtime) {
            Ok((keeper, restored)) => (Some(keeper), restored),
            Err(error) => {
                cx.note(|| format!("probe {} has no disk: {error}", self.index));
                (None, Restored::default())
            }
        }
    }

    /// Begins what is to be done to the disk, if it is idle.
    fn keep(&mut self, cx: &mut Cx) {
        let (index, now, realtime) = (self.index, self.now(cx), self.realtime(cx));
        let Some(process) = self.process.as_mut().filter(|process| process.job.is_none()) else { return };
        let Some(keeper) = &mut process.keeper else { return };
        process.job = keeper.poll(process.session.spool_mut(), now, realtime, false);
        if process.job.is_some() {
            let takes = cx.between(MS / 10, cx.plan.disk_delay);
            cx.schedule(takes, Event::DiskDone(index, process.life));
        }
    }

    /// The disk is done with its job.
    pub fn disk_done(&mut self, cx: &mut Cx, life: u64) {
        if self.process.as_ref().is_some_and(|process| process.life == life) {
            self.perform(cx);
            self.advance(cx);
        }
    }

    /// Does the job that was begun, and tells whoever decides.
    fn perform(&mut self, cx: &mut Cx) {
        let (now, realtime) = (self.now(cx), self.realtime(cx));
        let Some(process) = &mut self.process else { return };
        let (Some(job), Some(keeper)) = (process.job.take(), &mut process.keeper) else { return };
        let done = job.perform(&mut self.card);
        match (&job, &done) {
            (Job::Write(_, bytes), Done::Finished(Ok(()))) => {
                let (_, block) = decode(bytes).expect("what is written can be read");
                let kept = &mut cx.truth.boots.entry((self.index, block.boot)).or_default().kept;
                block.reports.iter().for_each(|report| kept.insert(report.seq..=report.seq));
                cx.truth.count("blocks written");
            }
            (Job::Read(..), Done::Read(Ok(_))) => cx.truth.count("blocks read"),
            (Job::Clear, Done::Finished(Ok(()))) => cx.truth.count("disks emptied"),
            _ => cx.truth.count("jobs of disks that failed"),
        }
        keeper.done(process.session.spool_mut(), done, now, realtime);
    }

    /// The boot ends: whatever is in memory alone goes to the disk, as far as it can be written.
    fn keep_all(&mut self, cx: &mut Cx) {
        let (now, realtime) = (self.now(cx), self.realtime(cx));
        if let Some(process) = &mut self.process {
            process.session.handle_disconnected(now);
        }
        loop {
            let was_busy = self.process.as_ref().is_some_and(|process| process.job.is_some());
            self.perform(cx);
            let Some(process) = &mut self.process else { return };
            let Some(keeper) = &mut process.keeper else { return };
            if was_busy && keeper.trouble().is_some() {
                return;
            }
            if !process.session.spool().wants_keeping() {
                return;
            }
            process.job = keeper.poll(process.session.spool_mut(), now, realtime, true);
            if process.job.is_none() {
                return;
            }
        }
    }

    fn sleep(&mut self, cx: &mut Cx) {
        let (now, wall) = (self.now(cx), self.time_of_day(cx));
        let (index, Some(process)) = (self.index, &mut self.process) else { return };
        let session = process.session.poll_timeout().filter(|_| process.connecting.is_none()).map(|at| at.since(now));
        let schedule = process.scheduler.as_ref().filter(|_| process.stopping.is_none());
        let schedule = schedule.and_then(Scheduler::next_wake).map(|at| at.since(wall));
        let silence = process.asked_at.map(|at| (at + SILENCE).since(now));
        let keeper = process.keeper.as_ref().filter(|_| process.job.is_none());
        let keep = keeper.and_then(|keeper| keeper.poll_timeout(process.session.spool())).map(|at| at.since(now));
        let wait = [session, schedule, silence, keep].into_iter().flatten().min();
        let wait = wait.map_or(LONGEST_SLEEP, |wait| (wait.as_nanos() as i64).min(LONGEST_SLEEP));
        // Timers are a little late.
        let at = cx.now + wait + cx.rng.below(2 * MS as u64) as i64;
        if process.wake <= cx.now || at < process.wake {
            process.wake = at;
            cx.schedule_at(at, Event::Wake(index, process.life));
        }
    }

    fn connect(&mut self, cx: &mut Cx) {
        let index = self.index;
        let Some(process) = &mut self.process else { return };
        process.attempts += 1;
        process.connecting = Some(process.attempts);
        let takes = if cx.mishap(10) { cx.between(S, 10 * S) } else { cx.between(2 * MS, 2 * cx.plan.delay) };
        cx.schedule(takes, Event::Connected(index, process.life, process.attempts));
    }

    fn act(&mut self, cx: &mut Cx, action: Action) {
        let now = self.now(cx);
        let Some(process) = &mut self.process else { return };
        match action {
            Action::Send(message) => {
                let Some((link, _)) = process.link else { return };
                if std::mem::take(&mut self.stuck) && !cx.healing {
                    cx.truth.count("stuck control streams");
                    return self.lost(cx);
                }
                cx.note(|| format!("probe {} says {message:?}", self.index));
                cx.send(link, Stream::Up, &to_cbor(&message));
                process.asked_at.get_or_insert(now);
            }
            Action::Clock { local, remote, error } => process.wall.sample(local, remote, error),
            Action::Welcomed { probe, boot_started_at, .. } => {
                let boot = process.session.spool().boot();
                process.opened_at = cx.now;
                self.ever_welcomed = true;
                cx.truth.boots.entry((self.index, boot)).or_default().welcomed = true;
                let wall = self.time_of_day(cx);
                let Some(process) = &mut self.process else { return };
                process.scheduler.get_or_insert_with(|| Scheduler::new(probe, boot_started_at)).connected(wall);
            }
            Action::Orders(changes) => {
                let wall = self.time_of_day(cx);
                let settled = self.settled();
                for id in changes.removed {
                    let scheduler = self.process.as_mut().and_then(|process| process.scheduler.as_mut());
                    let Some((order, skipped)) = scheduler.and_then(|scheduler| scheduler.remove(id, wall)) else {
                        continue;
                    };
                    for skipped in skipped {
                        self.skip(cx, Some(skipped), Some(&order), settled);
                    }
                }
                let reported = self.process.as_ref().map(|process| process.reported.clone()).unwrap_or_default();
                let again =
                    |order: &Order| matches!(order.when, When::Once { .. }) && reported.contains(&order.measurement);
                for order in changes.added.into_iter().filter(|order| !again(order)) {
                    let copy = order.clone();
                    let scheduler = self.process.as_mut().and_then(|process| process.scheduler.as_mut());
                    let skipped = scheduler.and_then(|scheduler| scheduler.add(order, true, wall));
                    self.skip(cx, skipped, Some(&copy), settled);
                }
            }
            Action::Disconnect => self.lost(cx),
            Action::Finished => process.finished = true,
            // One probe has one process at a time: nobody else ends its boot.
            Action::BootIsOver => panic!("the collector ended a boot that goes on"),
            Action::Refused { .. }
            | Action::Directory(_)
            | Action::SeenAt(_)
            | Action::Key(_)
            | Action::UpdateAnswer(_)
            | Action::UpdateChoice(_) => {}
        }
    }

    fn schedule(&mut self, cx: &mut Cx) -> bool {
        let wall = self.time_of_day(cx);
        let settled = self.settled();
        let Some(process) = self.process.as_mut().filter(|process| process.stopping.is_none()) else { return false };
        let Some(scheduler) = &mut process.scheduler else { return false };
        let busy_one_in = cx.plan.busy;
        let (rng, healing) = (&mut cx.rng, cx.healing);
        let decisions = scheduler.poll(wall, |_| match rng.one_in(busy_one_in) && !healing {
            true if rng.one_in(4) => Admit::Never(SkipReason::Limit),
            true => Admit::Later(UnixNanos(wall.0 + rng.below(20 * S as u64) as i64)),
            false => Admit::Now,
        });
        let busy = !decisions.is_empty();
        for decision in decisions {
            match decision {
                Decision::Start { order, planned_at } => self.start_run(cx, *order, planned_at, wall),
                Decision::Skip(skipped) => {
                    let order =
                        self.process.as_ref().and_then(|p| p.session.orders().get(skipped.measurement)).cloned();
                    self.skip(cx, Some(skipped), order.as_ref(), settled);
                }
            }
        }
        busy
    }

    fn start_run(&mut self, cx: &mut Cx, order: Order, planned_at: UnixNanos, started_at: UnixNanos) {
        let index = self.index;
        let Some(process) = &mut self.process else { return };
        process.last_run += 1;
        let takes = cx.between(MS, cx.plan.run);
        cx.schedule(takes, Event::RunEnds(index, process.life, process.last_run));
        cx.note(|| format!("probe {index} runs {} due {planned_at}", order.measurement));
        process.runs.insert(process.last_run, Run { order, planned_at, started_at });
    }

    fn settled(&self) -> UnixNanos {
        let Some(process) = &self.process else { return UnixNanos(i64::MIN) };
        let scheduler = process.scheduler.as_ref();
        scheduler.map_or(UnixNanos(i64::MIN), |scheduler| scheduler.settled(process.heard_at))
    }

    fn skip(&mut self, cx: &mut Cx, skipped: Option<Skipped>, order: Option<&Order>, settled: UnixNanos) {
        let Some(skipped) = skipped else { return };
        let span = span_of(&skipped, order);
        let urgent = order.is_some_and(|order| order.interval().is_none());
        self.push(cx, &Report::Skipped(skipped), span, settled, urgent);
    }

    fn push(
        &mut self,
        cx: &mut Cx,
        report: &Report,
        (from, to): (UnixNanos, UnixNanos),
        settled: UnixNanos,
        urgent: bool,
    ) {
        let (index, now) = (self.index, self.now(cx));
        let Some(process) = &mut self.process else { return };
        let bytes = report.to_cbor();
        let boot = process.session.spool().boot();
        let seq = process.session.push_report(NewReport { bytes: bytes.clone(), from, to, settled, urgent }, now);
        cx.truth.pushed(index, boot, seq.0, &bytes);
        cx.note(|| {
            let what = match report {
                Report::Result(result) => format!("result of {} due {}", result.measurement, result.planned_at),
                Report::Skipped(skipped) => format!("{skipped:?}"),
            };
            format!("probe {index} reports {seq}: {what}, settled {settled}")
        });
    }

    fn send_frames(&mut self, cx: &mut Cx) {
        let (index, now) = (self.index, self.now(cx));
        let Some(process) = &mut self.process else { return };
        let Some((link, _)) = process.link else { return };
        let mut sent = false;
        for (lane, stream) in [(Lane::Fresh, Stream::Fresh), (Lane::Backlog, Stream::Backlog)] {
            while cx.links.get(&link).is_some_and(|link| link.waiting[stream as usize] < WINDOW) {
                let Some(frame) = process.session.poll_frame(lane, now) else { break };
                cx.note(|| {
                    format!(
                        "probe {index} sends {lane:?} {}+{} settled {}",
                        frame.first,
                        frame.reports.len(),
                        frame.settled
                    )
                });
                cx.send(link, stream, &to_cbor(&frame));
                sent = true;
            }
        }
        if sent {
            process.asked_at.get_or_insert(now);
        }
    }
}
