//! The machine: loading it, pinning processes to a core, what they used, and how its clocks run.

use std::fs;
use std::hint::black_box;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// The core of what measures.
pub const CORE: usize = 0;

/// How many cores there are. To be asked first before anything is pinned, since a pinned process sees one.
static CORES: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from));

/// Gives the last core to this process and to all that it starts from now on: the lab, its wire, the captures. Else the
/// wire, which runs in real time, would now and then keep a tool from reading its clock. What measures goes to [`CORE`].
pub fn step_aside() -> Result<()> {
    pin(std::process::id(), CORES.saturating_sub(1))
}

/// Busy loops on each core.
const LOOPS_PER_CORE: usize = 2;

/// They end by themselves after this, whatever happens.
const LOOP_LIMIT: Duration = Duration::from_secs(180);

/// Ticks of /proc/PID/stat a second: USER_HZ, the same on every Linux.
const TICKS: f64 = 100.0;

/// How long a process may take to end when asked to.
const GRACE: Duration = Duration::from_secs(2);

/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Busy loops of ordinary priority on all cores, until dropped.
pub struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    /// Starts them.
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..*CORES * LOOPS_PER_CORE)
            .map(|number| {
                let stop = Arc::clone(&stop);
                thread::spawn(move || {
                    // Where it cannot be pinned it is busy all the same.
                    let _ = one_core(number % *CORES).and_then(|set| sched_setaffinity(Pid::from_raw(0), &set));
                    let began = Instant::now();
                    while !stop.load(Ordering::Relaxed) && began.elapsed() < LOOP_LIMIT {
                        (0..10_000_u32).for_each(|n| {
                            black_box(n);
                        });
                    }
                })
            })
            .collect();
        Self { stop, threads }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A loop has nothing to say.
            let _ = thread.join();
        }
    }
}

/// What else the machine does while something is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing, as far as this program knows.
    Idle,
    /// [`Busy`] loops.
    Loaded,
}

impl State {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Idle, Self::Loaded];

    /// Goes into it; it ends when the value is dropped.
    pub fn enter(self) -> Option<Busy> {
        (self == Self::Loaded).then(Busy::start)
    }

    /// The words for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Loaded => "both cores loaded",
        }
    }
}

/// Runs a command with `input` to its end, or for `limit` and then asks it to end (SIGINT), and gives what it printed on
/// both outputs. Fails with its words if it fails by itself.
pub fn output(command: &mut Command, input: &str, limit: Duration) -> Result<(String, Usage)> {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.with_context(|| format!("start {}", command.get_program().display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read breaks the pipe.
        let _ = stdin.write_all(input.as_bytes());
    }
    let reading = [
        child.stdout.take().map(|mut from| thread::spawn(move || read_all(&mut from))),
        child.stderr.take().map(|mut from| thread::spawn(move || read_all(&mut from))),
    ];
    let usage = wait(&mut child, limit).with_context(|| format!("{command:?}"))?;
    let text: String = reading.into_iter().flatten().filter_map(|thread| thread.join().ok()).collect();
    // fping ends with 1 when a target did not answer, which is a figure.
    if !child.wait()?.success() && !usage.stopped && !text.contains("xmt/rcv") {
        bail!("{command:?}: {text}");
    }
    Ok((text, usage))
}

fn read_all(from: &mut impl std::io::Read) -> String {
    let mut bytes = Vec::new();
    // What came until an error is what there is.
    let _ = from.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for a child without reaping it before its last figures are read.
fn wait(child: &mut Child, limit: Duration) -> Result<Usage> {
    let began = Instant::now();
    let mut usage = Usage::default();
    let mut stopped = false;
    loop {
        // An ended process that nobody has waited for still tells its times, though not its memory.
        let now = Usage::of(child.id());
        usage = Usage { peak_kb: now.peak_kb.max(usage.peak_kb), stopped, ..now };
        if ended(child.id()) {
            return Ok(usage);
        }
        if began.elapsed() > limit + GRACE {
            child.kill()?;
        } else if began.elapsed() > limit && !stopped {
            stopped = true;
            kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT)?;
        }
        sleep(Duration::from_millis(2).max(began.elapsed() / 50).min(LOOK));
    }
}

fn ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// The most memory it had resident, in kB (VmHWM).
    pub peak_kb: u64,
    /// What is resident now and not of a file, in kB (RssAnon).
    pub anonymous_kb: u64,
    /// Whether it was told to end because it took too long.
    pub stopped: bool,
}

impl Usage {
    /// Of a process by its number; zeros where it does not tell.
    pub fn of(pid: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The fields after the name in parentheses; utime and stime are the 14th and 15th of all.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let kb = |key| {
            let text = status.lines().find_map(|line| line.strip_prefix(key));
            text.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        let cpu = Duration::from_secs_f64(ticks as f64 / TICKS);
        Self { cpu, peak_kb: kb("VmHWM:"), anonymous_kb: kb("RssAnon:"), stopped: false }
    }
}

/// Lets all threads of a process, and those that they start later, run on this core alone.
pub fn pin(pid: u32, core: usize) -> Result<()> {
    let set = one_core(core)?;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        if let Some(id) = task?.file_name().to_str().and_then(|name| name.parse().ok()) {
            // A thread may have ended meanwhile.
            let _ = sched_setaffinity(Pid::from_raw(id), &set);
        }
    }
    Ok(())
}

fn one_core(core: usize) -> nix::Result<CpuSet> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(set)
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    real: i64,
    raw: i64,
}

impl Clocks {
    /// Reads them.
    pub fn now() -> Self {
        let read = |clock| clock_gettime(clock).map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec());
        Self { real: read(ClockId::CLOCK_REALTIME), raw: read(ClockId::CLOCK_MONOTONIC_RAW) }
    }

    /// How much faster REALTIME ran than MONOTONIC_RAW since then, in millionths. Our times are of the latter, the
    /// capture's of the former.
    pub fn drift_ppm(&self) -> f64 {
        let now = Self::now();
        let (real, raw) = (now.real - self.real, now.raw - self.raw);
        (real - raw) as f64 / raw.max(1) as f64 * 1e6
    }
}
