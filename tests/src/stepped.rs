//! A probe whose clock somebody sets: the product's agent as a process of its own, started by [`crate::world`], with a
//! CLOCK_REALTIME that is off by what stands in a file. The machine's clock is never touched.
//!
//! The kernel goes on stamping packets by its own clock, as if each stamp had been made just before a step; and it is said not
//! to be synchronised, whatever it is on the machine of the test.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use sonde_probe::agent::{self, AgentOptions, Start};
use sonde_probe::cli::{start_log, terminated};
use sonde_probe::config::{Config, read_network};
use sonde_probe::net::clock::{ClockSource, SystemClock};
use sonde_probe::wall_clock::KernelClock;
use sonde_protocol::time::{Nanos, UnixNanos};

/// The program.
pub const PROGRAM: &str = "lab-stepped";

/// The file beside `sonde.toml`: eight bytes, nanoseconds, little-endian.
const FILE: &str = "clock";

/// Sets the clock of a probe with its files in `dir` off by so many nanoseconds.
///
/// # Errors
/// When the file cannot be written.
pub fn step(dir: &Path, by: i64) -> Result<()> {
    let file = File::options().create(true).truncate(false).write(true).open(dir.join(FILE))?;
    file.write_all_at(&by.to_le_bytes(), 0).context("set the clock")
}

/// The machine's clocks, one of them set by somebody.
#[derive(Debug)]
struct Stepped(File);

impl ClockSource for Stepped {
    fn realtime(&self) -> UnixNanos {
        let mut by = [0; 8];
        let by = self.0.read_exact_at(&mut by, 0).map_or(0, |()| i64::from_le_bytes(by));
        UnixNanos(SystemClock.realtime().0.saturating_add(by))
    }

    fn monotonic(&self) -> Nanos {
        SystemClock.monotonic()
    }

    fn slewed(&self) -> Nanos {
        SystemClock.slewed()
    }

    fn slew(&self) -> u32 {
        SystemClock.slew()
    }

    fn kernel(&self) -> io::Result<KernelClock> {
        Ok(KernelClock { synchronised: false, max_error: None })
    }
}

/// `lab-stepped run` with the options of `sonde-probe run`, all of which must be there.
///
/// # Errors
/// When it is started wrongly or the probe cannot start.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<()> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let option = |name: &str| -> Result<PathBuf> {
        let place = arguments.iter().position(|argument| argument == name);
        place.and_then(|place| arguments.get(place + 1)).map(PathBuf::from).with_context(|| format!("no {name}"))
    };
    if arguments.first().is_none_or(|word| word != "run") {
        bail!("it can only run");
    }
    start_log();
    let config_path = option("--config")?;
    let clock = File::open(config_path.with_file_name(FILE)).context("nobody has set the clock")?;
    let start = Start::new(AgentOptions {
        network: read_network(&option("--network")?)?,
        state: option("--state")?,
        config: Config::load(&config_path)?,
        config_path: Some(config_path),
        report_log: Some(option("--report-log")?),
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    Ok(runtime.block_on(agent::run(start.with_clock(Arc::new(Stepped(clock))), terminated()))?)
}
