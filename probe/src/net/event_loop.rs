//! One loop for all packet kinds: it waits for sockets, deadlines and commands, and moves packets between the sockets and
//! the engines. It sleeps until something is due; an idle probe is not woken.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Read;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use socket2::Socket;
use sonde_engine::{Channel, Needs, Token, Transmit};
use sonde_protocol::net::Family;
use sonde_protocol::result::{Outcome, Why};
use sonde_protocol::time::Nanos;

use super::clock::{ClockSource, Moment, StampConverter};
use super::driver::{AnyEngine, Command, Finished, Job, JobId, MakeEngine, Options, Reply, RunInfo};
use super::icmp_socket::IcmpMode;
use super::pace::Pace;
use super::raw_errors::RawErrors;
use super::sequences::SequenceBlocks;
use super::socket::{Arrival, PacketSocket, SCRATCH};
use super::stamps::StampLedger;
use super::{NetError, icmp_socket, tcp_socket, udp_socket};

/// How long to wait at least for a deadline that has passed already although the engine was just told the time. An engine
/// that never moves its deadline costs some wake-ups then, not the processor.
const OVERDUE: Duration = Duration::from_micros(100);

/// How long a job waits for ICMP sequence numbers at most. A thousand pings and a hundred traceroutes a minute have room by
/// far; with the largest definitions of both the numbers are used up, and the next jobs begin later, as numbers come back.
const NUMBERS_WAIT: Duration = Duration::from_secs(30);

/// Names a packet of any job.
type Tag = (JobId, Token);

pub(super) struct EventLoop {
    clock: StampConverter,
    options: Options,
    commands: mpsc::Receiver<Command>,
    wake: UnixStream,
    v4: Shared,
    v6: Shared,
    jobs: BTreeMap<JobId, Running>,
    /// Jobs for which no sequence numbers were free, in the order in which they came.
    waiting: VecDeque<Waiting>,
    /// When which engine wants to be called; one entry a job at most, as in [`Running::deadline`].
    deadlines: BTreeSet<(Nanos, JobId)>,
    /// Jobs that may have something to send or to say, in turn.
    ready: VecDeque<JobId>,
    /// Of all that this process sends.
    pace: Arc<Pace>,
    scratch: Vec<u8>,
    /// Keeps the kernel's stamping of arrivals switched on: it takes effect some time after the first socket asks for it,
    /// so the first answers to a new socket would come without.
    _stamps_on: Option<Socket>,
}

/// What all jobs of a family share.
struct Shared {
    /// The ICMP socket.
    socket: Option<PacketSocket<Tag>>,
    sequences: SequenceBlocks<JobId>,
    /// As long as a job has a use for it, where it may be opened.
    raw_errors: Option<RawErrors>,
}

/// A job that waits for sequence numbers.
struct Waiting {
    id: JobId,
    job: Job<MakeEngine>,
    reply: Reply,
    until: Nanos,
}

/// A job under way.
struct Running {
    family: Family,
    engine: Box<dyn AnyEngine>,
    needs: Needs,
    /// Its own socket, when it does not use the shared one.
    own: Option<PacketSocket<Tag>>,
    reply: Reply,
    started_at: Moment,
    src_addr: Option<IpAddr>,
    stamps: StampLedger,
    deadline: Option<Nanos>,
    queued: bool,
}

/// A socket of a job's own for packets like this one.
fn own_socket(family: Family, needs: Needs, transmit: &Transmit, now: Nanos) -> Result<PacketSocket<Tag>, NetError> {
    let socket = match transmit.channel {
        // The unprivileged one knows no options headers.
        Channel::Icmp => icmp_socket::open(family, IcmpMode::Raw, random(), now)?,
        Channel::Udp { .. } => udp_socket::open(family, needs.source_port, now)?,
        Channel::Tcp { source_port, port } => tcp_socket::open(transmit.dst, source_port, port, now)?,
    };
    socket.set_options(needs).map_err(NetError::Options)?;
    Ok(socket)
}

/// Something to wait for.
#[derive(Clone, Copy)]
enum Source {
    Wake,
    Icmp(Family),
    Own(JobId),
}

impl EventLoop {
    pub(super) fn new(
        clock: Arc<dyn ClockSource>,
        options: Options,
        commands: mpsc::Receiver<Command>,
        wake: UnixStream,
        pace: Arc<Pace>,
    ) -> Self {
        let clock = StampConverter::new(clock);
        let shared =
            || Shared { socket: None, sequences: SequenceBlocks::new(random(), options.quarantine), raw_errors: None };
        Self {
            v4: shared(),
            v6: shared(),
            clock,
            commands,
            wake,
            jobs: BTreeMap::new(),
            waiting: VecDeque::new(),
            deadlines: BTreeSet::new(),
            ready: VecDeque::new(),
            pace,
            scratch: vec![0; SCRATCH],
            _stamps_on: udp_socket::stamping_switched_on(),
            options,
        }
    }

    /// Runs until told to stop. Jobs under way are dropped then, which their owners see.
    pub(super) fn run(mut self) {
        loop {
            if self.obey().is_break() {
                return;
            }
            self.start_waiting();
            self.fire();
            self.transmit();
            match self.wait() {
                Ok(sources) => sources.into_iter().for_each(|source| self.read(source)),
                Err(error) => {
                    tracing::error!(%error, "cannot wait for sockets; the network thread ends");
                    return;
                }
            }
        }
    }

    fn obey(&mut self) -> std::ops::ControlFlow<()> {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Start { id, job, reply }) => {
                    let until = self.clock.now() + NUMBERS_WAIT;
                    self.start(Waiting { id, job, reply, until });
                }
                Ok(Command::Cancel(id)) => {
                    self.waiting.retain(|waiting| waiting.id != id);
                    drop(self.remove(id));
                }
                Ok(Command::Pace(per_second)) => {
                    self.pace.set(per_second, self.options.burst, self.clock.now());
                }
                Err(mpsc::TryRecvError::Empty) => return std::ops::ControlFlow::Continue(()),
                Ok(Command::Stop) | Err(mpsc::TryRecvError::Disconnected) => {
                    return std::ops::ControlFlow::Break(());
                }
            }
        }
    }

    /// Starts a job, or lets it wait until there are sequence numbers for it.
    fn start(&mut self, job: Waiting) {
        let Waiting { id, job: Job { family, sequences, make }, reply, until } = job;
        match self.reserve(id, family, sequences) {
            Ok(first) => {
                let started_at = self.clock.moment();
                let engine = make(first, started_at);
                let needs = engine.needs();
                let shared = self.shared(family);
                if needs.error_details && shared.raw_errors.is_none() {
                    // Without it results say less.
                    shared.raw_errors = RawErrors::open(family).ok();
                }
                let running = Running {
                    family,
                    engine,
                    needs,
                    own: None,
                    reply,
                    started_at,
                    src_addr: None,
                    stamps: StampLedger::default(),
                    deadline: None,
                    queued: true,
                };
                self.jobs.insert(id, running);
                self.ready.push_back(id);
            }
            Err(NetError::Sequences { .. }) if self.clock.now() < until => {
                self.waiting.push_back(Waiting { id, job: Job { family, sequences, make }, reply, until });
            }
            // Who has gone does not need to know.
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Starts those that waited, as far as there are numbers for them now.
    fn start_waiting(&mut self) {
        if self.waiting_until().is_some_and(|at| at <= self.clock.now()) {
            for job in std::mem::take(&mut self.waiting) {
                self.start(job);
            }
        }
    }

    /// When to look at those that wait: numbers become free, or the patience of one ends.
    fn waiting_until(&self) -> Option<Nanos> {
        let of = |waiting: &Waiting| {
            let shared = match waiting.job.family {
                Family::V4 => &self.v4,
                Family::V6 => &self.v6,
            };
            shared.sequences.free_at().map_or(waiting.until, |at| at.min(waiting.until))
        };
        self.waiting.iter().map(of).min()
    }

    /// Room, the ICMP socket, and sequence numbers for a new job.
    fn reserve(&mut self, id: JobId, family: Family, count: u16) -> Result<u16, NetError> {
        if self.jobs.len() + self.waiting.len() >= self.options.max_jobs {
            return Err(NetError::Busy);
        }
        if count == 0 {
            return Ok(0);
        }
        let now = self.clock.now();
        let mode = self.options.icmp;
        let shared = self.shared(family);
        if shared.socket.is_none() {
            shared.socket = Some(icmp_socket::open(family, mode, random(), now)?);
        }
        shared.sequences.reserve(id, count, now).ok_or(NetError::Sequences { count })
    }

    fn shared(&mut self, family: Family) -> &mut Shared {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// Takes a job out, ended or cancelled.
    fn remove(&mut self, id: JobId) -> Option<Running> {
        let job = self.jobs.remove(&id)?;
        if let Some(at) = job.deadline {
            self.deadlines.remove(&(at, id));
        }
        let now = self.clock.now();
        self.shared(job.family).sequences.release(id, now);
        let is_needed = |other: &Running| other.family == job.family && other.needs.error_details;
        if job.needs.error_details && !self.jobs.values().any(is_needed) {
            self.shared(job.family).raw_errors = None;
        }
        Some(job)
    }

    /// Tells the time to every engine whose deadline has come.
    fn fire(&mut self) {
        let now = self.clock.now();
        while let Some(&(at, id)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            if let Some(job) = self.jobs.get_mut(&id) {
                job.deadline = None;
                job.engine.handle_timeout(now);
                self.enqueue(id);
            }
        }
    }

    /// The engine of this job was called: it may have something to send or to say.
    fn enqueue(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        // While it waits for its turn its deadline is void: it may be due because of the very packet that waits.
        if let Some(at) = job.deadline.take() {
            self.deadlines.remove(&(at, id));
        }
        if !job.queued {
            job.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Lets the jobs send in turn, one packet each, as far as the pace allows; those without a packet may end or sleep. No more
    /// than a burst at a time: where sending takes longer than the pace asks for, the sockets have to be read all the same.
    fn transmit(&mut self) {
        let mut left = self.options.burst.max(1);
        while let Some(id) = self.ready.pop_front() {
            if left == 0 || !self.pace.ready(self.clock.now()) {
                self.ready.push_front(id);
                return;
            }
            match self.send_one(id) {
                Ok(true) => {
                    left -= 1;
                    self.ready.push_back(id);
                }
                Ok(false) => self.settle(id),
                Err(error) => {
                    if let Some(job) = self.remove(id) {
                        drop(job.reply.send(Err(error)));
                    }
                }
            }
        }
    }

    /// Sends the next packet of a job; `false` when it has none now.
    fn send_one(&mut self, id: JobId) -> Result<bool, NetError> {
        let now = self.clock.now();
        let Some(job) = self.jobs.get_mut(&id) else { return Ok(false) };
        let Some(transmit) = job.engine.poll_transmit(now) else { return Ok(false) };
        self.pace.take(now);
        let shared = match job.family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        };
        let uses_own = transmit.channel != Channel::Icmp || job.needs.options();
        if uses_own && job.own.is_none() {
            job.own = Some(own_socket(job.family, job.needs, &transmit, now)?);
        }
        let (socket, sequence) = match transmit.channel {
            Channel::Icmp => {
                let sequence = icmp_socket::sequence(job.family, &transmit.payload);
                // An engine may use its own numbers only, or it would get others' replies.
                let is_own = sequence.and_then(|sequence| shared.sequences.owner(sequence)) == Some(id);
                let socket = if uses_own { job.own.as_mut() } else { shared.socket.as_mut() };
                (socket.filter(|_| is_own), sequence)
            }
            Channel::Udp { .. } | Channel::Tcp { .. } => (job.own.as_mut(), None),
        };
        if job.src_addr.is_none() {
            job.src_addr = udp_socket::source_over(transmit.dst, job.needs.link).ok();
        }
        let Transmit { token, .. } = transmit;
        match socket {
            None => job.engine.handle_send_error(token, now, Why::cut("sequence number of another measurement")),
            Some(socket) => match socket.send(&self.clock, &transmit, (id, token)) {
                Ok(left) => {
                    job.stamps.sent(token, sequence, socket.stamping(), left.error);
                    job.engine.handle_sent(token, left.at);
                }
                Err(Errno::EMSGSIZE) => job.engine.handle_too_long(token, self.clock.now()),
                Err(error) => job.engine.handle_send_error(token, self.clock.now(), Why::cut(error.desc())),
            },
        }
        Ok(true)
    }

    /// A job with nothing to send: it has ended, or sleeps until its deadline.
    fn settle(&mut self, id: JobId) {
        let now = self.clock.now();
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.queued = false;
        let stamp_due = job.stamps.wait_until().filter(|until| *until > now);
        if stamp_due.is_none()
            && let Some(outcome) = job.engine.poll_outcome()
        {
            return self.finish(id, outcome);
        }
        let deadline = job.engine.poll_timeout().into_iter().chain(stamp_due).min();
        if let Some(at) = deadline {
            let at = if at <= now { now + OVERDUE } else { at };
            job.deadline = Some(at);
            self.deadlines.insert((at, id));
        }
    }

    fn finish(&mut self, id: JobId, outcome: Outcome) {
        if let Some(job) = self.remove(id) {
            let info = RunInfo {
                started_at: job.started_at,
                ended_at: self.clock.moment(),
                source: job.stamps.source(),
                rtt_error: job.stamps.rtt_error(),
                src_addr: job.src_addr,
            };
            drop(job.reply.send(Ok(Finished { outcome, engine: job.engine, info })));
        }
    }

    /// Sleeps until a socket has something, the next deadline, or the next packet may go; gives what is ready.
    fn wait(&self) -> nix::Result<Vec<Source>> {
        let pace = (!self.ready.is_empty()).then(|| self.pace.next());
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let until = [deadline, pace, self.waiting_until()].into_iter().flatten().min();
        self.clock.look();
        let timeout = until.map(|until| TimeSpec::from_duration(until.since(self.clock.now())));

        let mut sources = vec![Source::Wake];
        // Errors (stamps are among them) are always waited for, asked or not.
        let mut fds = vec![PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        for (family, shared) in [(Family::V4, &self.v4), (Family::V6, &self.v6)] {
            if let Some(socket) = &shared.socket {
                sources.push(Source::Icmp(family));
                fds.push(PollFd::new(socket.as_fd(), PollFlags::POLLIN));
            }
        }
        for (id, job) in &self.jobs {
            if let Some(socket) = &job.own {
                sources.push(Source::Own(*id));
                fds.push(PollFd::new(socket.as_fd(), PollFlags::POLLIN));
            }
        }
        match ppoll(&mut fds, timeout, None) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
        let ready = sources.into_iter().zip(&fds).filter(|(_, fd)| fd.any().unwrap_or(true));
        Ok(ready.map(|(source, _)| source).collect())
    }

    fn read(&mut self, source: Source) {
        let mut arrivals = Vec::new();
        match source {
            Source::Wake => {
                // Commands are looked for on every round; the bytes only wake.
                let _ = (&self.wake).read(&mut self.scratch);
                return;
            }
            Source::Icmp(family) => {
                let shared = match family {
                    Family::V4 => &mut self.v4,
                    Family::V6 => &mut self.v6,
                };
                if let Some(socket) = &mut shared.socket {
                    socket.receive(&self.clock, &mut self.scratch, &mut arrivals);
                }
            }
            Source::Own(id) => {
                if let Some(socket) = self.jobs.get_mut(&id).and_then(|job| job.own.as_mut()) {
                    socket.receive(&self.clock, &mut self.scratch, &mut arrivals);
                }
            }
        }
        self.add_details(source, &mut arrivals);
        for arrival in arrivals {
            self.deliver(source, arrival);
        }
    }

    /// Adds to ICMP errors what a raw socket has seen of them, where there is one.
    fn add_details(&mut self, source: Source, arrivals: &mut [Arrival<Tag>]) {
        let (family, port) = match source {
            Source::Wake => return,
            Source::Icmp(family) => (family, None),
            Source::Own(id) => match self.jobs.get(&id) {
                Some(job) => (job.family, job.own.as_ref().and_then(PacketSocket::udp_port)),
                None => return,
            },
        };
        let shared = match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        };
        let Some(raw) = &mut shared.raw_errors else { return };
        raw.drain(&mut self.scratch);
        for arrival in arrivals {
            if let Arrival::IcmpError { event, .. } = arrival {
                event.details = raw.details(event, port).unwrap_or(event.details);
            }
        }
    }

    /// Gives an arrival to the engine it belongs to; what belongs to none (a late reply, a stranger's) is dropped.
    fn deliver(&mut self, source: Source, arrival: Arrival<Tag>) {
        let now = self.clock.now();
        let (owner, sequence) = match &arrival {
            Arrival::Stamp { tag: (id, _), .. } => (Some(*id), None),
            Arrival::Datagram { bytes, .. } => self.owner(source, bytes),
            Arrival::IcmpError { event, .. } => self.owner(source, &event.quoted),
        };
        let Some((id, job)) = owner.and_then(|id| Some((id, self.jobs.get_mut(&id)?))) else { return };
        match arrival {
            Arrival::Stamp { tag: (_, token), left } => {
                job.stamps.stamped(token, left.error);
                job.engine.handle_sent(token, left.at);
            }
            Arrival::Datagram { meta, kernel, error, bytes } => {
                job.stamps.received(sequence, kernel, error, now);
                job.engine.handle_datagram(&meta, &bytes);
            }
            Arrival::IcmpError { event, kernel, error } => {
                job.stamps.received(sequence, kernel, error, now);
                job.engine.handle_icmp_error(&event);
            }
        }
        self.enqueue(id);
    }

    /// Whose packet an ICMP message answers or quotes, by its sequence number; on a job's own socket all is its own.
    fn owner(&self, source: Source, message: &[u8]) -> (Option<JobId>, Option<u16>) {
        let (family, shared) = match source {
            Source::Icmp(Family::V4) => (Family::V4, &self.v4),
            Source::Icmp(Family::V6) => (Family::V6, &self.v6),
            Source::Own(id) => return (Some(id), None),
            Source::Wake => return (None, None),
        };
        let sequence = icmp_socket::sequence(family, message);
        (sequence.and_then(|sequence| shared.sequences.owner(sequence)), sequence)
    }
}

/// A random start for sequence numbers and identifiers, so that those of the process before are not hit. Where there is no
/// randomness, any number does.
fn random() -> u16 {
    let mut bytes = [0; 2];
    let _ = getrandom::fill(&mut bytes);
    u16::from_ne_bytes(bytes)
}
