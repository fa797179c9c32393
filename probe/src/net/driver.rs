//! The driver's handle: give it a job, await the outcome. The work is done on a thread of its own (`event_loop`),
//! so that the queues of the sockets are emptied promptly whatever the async workers do.

use std::any::Any;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sonde_engine::Engine;
use sonde_protocol::net::Family;
use sonde_protocol::result::{Outcome, StampSource};
use sonde_protocol::time::Nanos;
use tokio::sync::oneshot;

use super::NetError;
use super::clock::{ClockSource, Moment};
use super::event_loop::EventLoop;
use super::icmp_socket::IcmpMode;
use super::pace::Pace;

/// Settings of a driver.
#[derive(Debug, Clone)]
pub struct Options {
    /// Packets a second that this process sends at most, over all jobs.
    pub packets_per_second: u32,
    /// Packets that may go at once after a silence.
    pub burst: u32,
    /// Jobs that may run, or wait for ICMP sequence numbers, at once.
    pub max_jobs: usize,
    /// Which ICMP sockets to use.
    pub icmp: IcmpMode,
    /// How long ICMP sequence numbers stay unused after a job, so that late replies do not reach the next one.
    pub quarantine: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            packets_per_second: 1_000,
            burst: 32,
            max_jobs: 512,
            icmp: IcmpMode::Auto,
            quarantine: Duration::from_secs(10),
        }
    }
}

/// One run of one engine.
pub struct Job<F> {
    /// The family of all its packets.
    pub family: Family,
    /// How many ICMP sequence numbers it needs ([`sonde_engine::icmp::sequences_needed`]); 0 when it sends no ICMP.
    pub sequences: u16,
    /// Makes the engine when the run begins, on the driver's thread, given the first of its sequence numbers (they do not
    /// wrap past 65535) and the moment.
    pub make: F,
}

/// What became of a job.
#[derive(Debug)]
pub struct Finished<E> {
    /// Its outcome.
    pub outcome: Outcome,
    /// The engine, for what else it can tell.
    pub engine: E,
    /// What the engine cannot know.
    pub info: RunInfo,
}

/// What the driver knows of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunInfo {
    /// When the engine was made.
    pub started_at: Moment,
    /// When it had its outcome.
    pub ended_at: Moment,
    /// [`StampSource::Kernel`] only if all stamps that count were the kernel's.
    pub source: StampSource,
    /// How wrong a round-trip time of the run can be, in nanoseconds; absent when nothing came back.
    pub rtt_error: Option<u64>,
    /// This host's address towards where the first packet went.
    pub src_addr: Option<IpAddr>,
}

/// Names a job within the driver.
pub(super) type JobId = u64;

/// An engine of any type that can be turned back into what it was.
pub(super) trait AnyEngine: Engine + Send {
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<E: Engine + Send + 'static> AnyEngine for E {
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

pub(super) type MakeEngine = Box<dyn FnOnce(u16, Moment) -> Box<dyn AnyEngine> + Send>;

/// Where the end of a job is told.
pub(super) type Reply = oneshot::Sender<Result<Finished<Box<dyn AnyEngine>>, NetError>>;

/// What the handle tells the thread.
pub(super) enum Command {
    Start { id: JobId, job: Job<MakeEngine>, reply: Reply },
    Cancel(JobId),
    Pace(u32),
    Stop,
}

/// Runs jobs, many at once. Dropping it ends its thread; runs under way then give [`NetError::Stopped`].
#[derive(Debug)]
pub struct Driver {
    commands: mpsc::Sender<Command>,
    waker: UnixStream,
    next_id: AtomicU64,
    pace: Arc<Pace>,
    clock: Arc<dyn ClockSource>,
    thread: Option<JoinHandle<()>>,
}

impl Driver {
    /// Starts the thread. No socket is opened before a job needs it, in the network namespace of the caller.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn new(clock: Arc<dyn ClockSource>, options: Options) -> Result<Self, NetError> {
        let (commands, receiver) = mpsc::channel();
        let (waker, wake) = UnixStream::pair().map_err(NetError::Start)?;
        for end in [&waker, &wake] {
            end.set_nonblocking(true).map_err(NetError::Start)?;
        }
        let pace = Arc::new(Pace::new(options.packets_per_second, options.burst, clock.monotonic()));
        let event_loop = EventLoop::new(Arc::clone(&clock), options, receiver, wake, Arc::clone(&pace));
        let thread =
            thread::Builder::new().name("sonde-net".into()).spawn(move || event_loop.run()).map_err(NetError::Start)?;
        Ok(Self { commands, waker, next_id: AtomicU64::new(0), pace, clock, thread: Some(thread) })
    }

    /// Runs one job to its end. Dropping the future cancels the job.
    ///
    /// # Errors
    /// When the job could not be run at all: no socket, no room. Silence and ICMP errors are part of the outcome.
    pub async fn run<E, F>(&self, job: Job<F>) -> Result<Finished<E>, NetError>
    where
        E: Engine + Send + 'static,
        F: FnOnce(u16, Moment) -> E + Send + 'static,
    {
        let Job { family, sequences, make } = job;
        let make: MakeEngine = Box::new(|first, moment| Box::new(make(first, moment)));
        let job = Job { family, sequences, make };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Start { id, job, reply })?;
        let mut cancel = CancelOnDrop { driver: self, job: Some(id) };
        let result = answer.await;
        cancel.job = None;
        let Finished { outcome, engine, info } = result.map_err(|_| NetError::Stopped)??;
        let engine = engine.into_any().downcast::<E>().expect("it is what `make` returned");
        Ok(Finished { outcome, engine: *engine, info })
    }

    /// Packets that all jobs together sent in the second before `now`.
    pub fn packets_in_a_second(&self, now: Nanos) -> u32 {
        self.pace.in_a_second(now)
    }

    /// Waits until so many packets may go that others than this driver's jobs send: connections that the kernel keeps, or
    /// datagrams on sockets of their own. They count from then on as sent.
    pub async fn room(&self, packets: u32) {
        for _ in 0..packets {
            while let Err(next) = self.pace.try_take(self.clock.monotonic()) {
                tokio::time::sleep(next.since(self.clock.monotonic())).await;
            }
        }
    }

    /// From now on all jobs together send so many packets a second.
    pub fn set_pace(&self, packets_per_second: u32) {
        // A driver that has ended sends nothing.
        let _ = self.tell(Command::Pace(packets_per_second));
    }

    fn tell(&self, command: Command) -> Result<(), NetError> {
        self.commands.send(command).map_err(|_| NetError::Stopped)?;
        // A full buffer means that the thread is about to wake anyway.
        let _ = (&self.waker).write(&[0]);
        Ok(())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.tell(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct CancelOnDrop<'a> {
    driver: &'a Driver,
    job: Option<JobId>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.job {
            let _ = self.driver.tell(Command::Cancel(id));
        }
    }
}
