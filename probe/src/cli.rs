//! The probe's command line: `sonde-probe`, and `sonde probe` which is the same.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::activity::{self, Day, Row, files};
use crate::agent::{self, AgentOptions, Start};
use crate::config::{Config, read_network};
use crate::control;
use crate::doctor::{Doctor, examine};
use crate::enroll::{self, Enroll, enroll};
use crate::identity::{has_next_key, make_next_key};
use crate::local_time::{self, LocalTime};
use crate::measure::{Measure, measure};
use crate::packet_filter::{self, User};
use crate::policy::Pause;
use crate::resolve::Resolver;
use crate::status::{self, Status};
use crate::verify_image::{Verdict, VerifyImage, verify};

/// How long a network may take to confirm a new key before the command lets the probe go on alone.
const ROTATION_PATIENCE: Duration = Duration::from_secs(20);

/// How often the probe is asked meanwhile.
const ROTATION_LOOK: Duration = Duration::from_millis(200);

/// A probe of a Sonde network: measures what it is asked to, within what its host allows.
#[derive(Debug, Parser)]
#[command(name = "sonde-probe", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Joins a network and measures until it is stopped
    Run {
        /// network.toml, as the operator gave it
        #[arg(long, value_name = "FILE")]
        network: Option<PathBuf>,
        /// Where the probe keeps its key and the network's directory
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        /// sonde.toml: what the host allows
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Writes boot, number and SHA-256 of every report here, for checking the store
        #[arg(long, value_name = "FILE")]
        report_log: Option<PathBuf>,
    },
    /// Installs an operator's network.toml and starts the service, in one command (as root)
    Enroll {
        /// network.toml, as the operator gave it
        file: PathBuf,
        /// Where the service looks for it
        #[arg(long, value_name = "FILE", default_value = enroll::NETWORK)]
        to: PathBuf,
        /// The state directory of the service
        #[arg(long, value_name = "DIR", default_value = enroll::STATE)]
        state: PathBuf,
        /// Installs it and starts nothing
        #[arg(long)]
        no_start: bool,
    },
    /// Prints nftables rules that keep the probe's user away from private addresses
    PacketFilter {
        /// The user that the probe runs as, by name or number
        #[arg(long, value_name = "USER")]
        uid: User,
        /// network.toml: its collectors' literal addresses are excepted
        #[arg(long, value_name = "FILE")]
        network: Option<PathBuf>,
        /// sonde.toml: its resolvers, else the system's, and what it allows are excepted
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Measures once, here and now, and prints the result as RIPE Atlas JSON; of ipv6 in words
    #[command(after_help = MEASURE_HELP)]
    Measure {
        /// ping, traceroute, dns, sslcert, http, ntp, pathmtu or ipv6
        kind: String,
        /// Host name or address; for dns the name to ask for; none for ipv6
        #[arg(allow_hyphen_values = true)]
        target: Option<String>,
        /// sonde.toml: what the host allows
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// --af 4|6, and the options of the kind by their Atlas names
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        options: Vec<String>,
    },
    /// Tells whether this machine can measure, and what to do where it cannot
    Doctor {
        /// network.toml: are its collectors reached?
        #[arg(long, value_name = "FILE")]
        network: Option<PathBuf>,
        /// The state directory of a probe: is it connected, are its collectors reached?
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
        /// sonde.toml: what the host allows
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// A host name or address that should answer a ping; may be repeated
        #[arg(long = "target", value_name = "HOST")]
        targets: Vec<String>,
        /// Prints everything as JSON
        #[arg(long)]
        json: bool,
    },
    /// Tells in one line how the running probe is
    Status {
        /// The state directory of the running probe
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        /// Prints everything as JSON
        #[arg(long)]
        json: bool,
    },
    /// Gives the probe another key, which the network takes from the old one
    #[command(after_help = ROTATE_HELP)]
    RotateKey {
        /// The state directory of the probe
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
    },
    /// Measures nothing, for a while or until `resume`; a restart of the probe changes nothing about it
    Pause {
        /// For how long: 30m, 2h, 1d, 1h30m; without it until `resume`
        #[arg(value_name = "DURATION", conflicts_with = "until")]
        duration: Option<String>,
        /// Until when, by this machine's local time: 18:00, 2026-12-24 or "2026-12-24 18:00"
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// The state directory of the running probe
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
    },
    /// Goes on after a pause
    Resume {
        /// The state directory of the running probe
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
    },
    /// Tells what has been measured: kinds, targets, runs, bytes, for up to 30 days
    Activity {
        /// The last so many days, today included
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..=30))]
        days: i64,
        /// Prints everything as JSON
        #[arg(long)]
        json: bool,
        /// The state directory of the probe, which need not run
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
    },
    /// Tells what an image of the board's system is, or a card, and whether it is what a release or an own build says
    #[command(after_help = VERIFY_HELP)]
    VerifyImage {
        /// The image, unpacked or packed; its signed file (.efi); or a card in this computer (/dev/…)
        file: PathBuf,
        /// SHA256SUMS of a release; for a card its ….boot.sha256 has to be beside it. Twice for a card that has taken an update
        #[arg(long, value_name = "FILE")]
        sums: Vec<PathBuf>,
        /// The release's key, minisign's: its file or its line (RW…). The signature is SHA256SUMS.minisig
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// What `os-image/build` made of the same sources here
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
    },
    /// Prints the configuration in force
    Config {
        /// sonde.toml
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

const ROTATE_HELP: &str = "\
The probe keeps its number, history and owner. While it runs the new key is taken at once, otherwise when it next connects. \
Until the network has confirmed it both keys are kept, so the command may be repeated and nothing is lost if it is cut short. \
The old key is of no use afterwards.";

const VERIFY_HELP: &str = "\
Ends with 0 when something vouches for the file, with 1 when it is not what it should be, with 2 when there was nothing to \
compare with. The digest covers everything but the signature: whoever builds the same sources gets the same one.";

const MEASURE_HELP: &str = "\
Options by kind:
  ping        --packets --size --packet-interval --include-probe-id
  traceroute  --protocol ICMP|UDP|TCP --port (TCP) --packets --size --first-hop --max-hops --paris --response-timeout
              --duplicate-timeout --dont-fragment --traffic-class --hop-by-hop-option-size --destination-option-size
              (TCP and the two options need CAP_NET_RAW)
  ntp         --packets --timeout
  dns         --server ADDRESS (else the own resolvers) --query-type --query-class --protocol UDP|TCP
              --tls|--https|--quic --path --hostname --port
              --udp-payload-size --retry --timeout --ttl --set-rd-bit --set-do-bit --set-cd-bit --set-nsid-bit
              --include-qbuf --use-macros --prepend-probe-id --default-client-subnet --cookies
  sslcert     --port --hostname NAME (the name to ask for, else the target's)
  http        --method GET|HEAD|POST --path --query-string --port --https --version 1.0|1.1 --header-bytes
              --max-bytes-read --extended-timing --more-extended-timing
  pathmtu     --packets (of one size before it counts as lost) --timeout
  ipv6        --state DIR (of a probe: its network's reference servers), or --network FILE (network.toml of a network that lists
              some), or --reference FILE (lines as `sonde reference --card` prints them)
              --scope light|full --json

Example: sonde-probe measure traceroute example.net --af 6 --protocol UDP --packets 1";

/// Runs the command line and gives the process's exit code: 0 done, 1 failed, 2 wrong use.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    start_log();
    match execute(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Logs to standard error what `SONDE_LOG` asks for (`info`, `debug`, `sonde_probe=trace,warn` …), `info` by default.
pub fn start_log() {
    start_log_at(&std::env::var("SONDE_LOG").unwrap_or_else(|_| "info".into()));
}

/// Logs to standard error what `asked` says, in the same words.
pub fn start_log_at(asked: &str) {
    let targets = Targets::from_str(asked).unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // A second initialisation, in tests, changes nothing.
    let _ = tracing_subscriber::registry().with(lines).with(targets).try_init();
}

fn load(config: Option<&PathBuf>) -> Result<Config> {
    match config {
        Some(path) => Ok(Config::load(path)?),
        None => Ok(Config::default()),
    }
}

/// Does it. `doctor` and `verify-image` alone can end without an error and yet not well.
fn execute(command: Command) -> Result<ExitCode> {
    let mut out = std::io::stdout();
    match command {
        Command::Run { network, state, config: config_path, report_log } => {
            let config = load(config_path.as_ref())?;
            let network = match (&network, &config.network) {
                (Some(path), _) => read_network(path)?,
                (None, Some(network)) => network.clone(),
                (None, None) => bail!("which network? give --network FILE, or a [network] section in --config"),
            };
            // Before the runtime: the sandbox holds the threads that start in it.
            let start = Start::new(AgentOptions { network, state, config, config_path, report_log })?;
            runtime()?.block_on(agent::run(start, terminated()))?;
        }
        Command::Enroll { file, to, state, no_start } => {
            enroll(&Enroll { file, to, state, start: !no_start }, &mut out)?;
        }
        Command::PacketFilter { uid, network, config } => {
            let (config, network) =
                (load(config.as_ref())?, network.as_ref().map(|path| read_network(path)).transpose()?);
            let resolvers = Resolver::new(&config.policy).own_resolvers();
            write!(out, "{}", packet_filter::rules(&uid, network.as_ref(), &resolvers, &config.policy.allow))?;
        }
        Command::Measure { kind, target, config, options } => {
            let words: Vec<String> = target.into_iter().chain(options).collect();
            let asked = Measure::parse(&kind, &words)?;
            let line = runtime()?.block_on(measure(&asked, &load(config.as_ref())?))?;
            writeln!(out, "{line}")?;
        }
        Command::Doctor { network, state, config, targets, json } => {
            let network = network.as_ref().map(|path| read_network(path)).transpose()?;
            let doctor = Doctor { config: load(config.as_ref())?, network, state, targets };
            let findings = runtime()?.block_on(examine(&doctor));
            if json {
                writeln!(out, "{}", serde_json::to_string(&findings)?)?;
            } else {
                write!(out, "{}", findings.text())?;
            }
            return Ok(if findings.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Status { state, json } => {
            let status = status::ask(&state)
                .with_context(|| format!("no probe runs with the state directory {}", state.display()))?;
            if json {
                writeln!(out, "{}", serde_json::to_string(&status)?)?;
            } else {
                writeln!(out, "{}", status.line())?;
            }
        }
        Command::RotateKey { state } => writeln!(out, "{}", rotate_key(&state)?)?,
        Command::Pause { duration, until, state } => {
            let pause = pause_of(duration.as_deref(), until.as_deref())?;
            writeln!(out, "{}", tell(&state, control::Command::Pause(pause))?.line())?;
        }
        Command::Resume { state } => writeln!(out, "{}", tell(&state, control::Command::Resume)?.line())?,
        Command::Activity { days, json, state } => {
            let days = recorded(&state, days)?;
            if json {
                let day = |day: &Day| serde_json::json!({"day": files::date(day.number), "rows": day.rows()});
                writeln!(out, "{}", days.iter().map(day).collect::<serde_json::Value>())?;
            } else {
                let local = LocalTime::of_this_machine();
                write!(out, "{}", activity::table(&days, |second| local.show(second)))?;
            }
        }
        Command::VerifyImage { file, sums, key, against } => {
            return Ok(match verify(&VerifyImage { file, sums, key, against }, &mut out)? {
                Verdict::Vouched => ExitCode::SUCCESS,
                Verdict::Different => ExitCode::FAILURE,
                Verdict::Unchecked => ExitCode::from(2),
            });
        }
        Command::Config { config } => write!(out, "{}", load(config.as_ref())?.effective())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Lays down a new key, and waits until the probe that runs there has it. Gives what to say.
fn rotate_key(state: &Path) -> Result<String> {
    let next = make_next_key(state)?;
    let until = Instant::now() + ROTATION_PATIENCE;
    let later = format!("the new key {next} is there; the probe takes it into use when the network has confirmed it");
    loop {
        // Asking makes the probe look.
        let Ok(status) = status::ask(state) else {
            return Ok(format!("{later}, after its next start"));
        };
        if status.key == next.to_string() && !has_next_key(state) {
            return Ok(format!("the probe's key is {next} now"));
        }
        if !has_next_key(state) {
            bail!("the network does not take the new key, and the probe keeps the old one; its log says why");
        }
        if Instant::now() > until {
            return Ok(format!("{later}, which has not happened yet: {}", status.line()));
        }
        std::thread::sleep(ROTATION_LOOK);
    }
}

/// The pause that somebody asks for by these words.
fn pause_of(duration: Option<&str>, until: Option<&str>) -> Result<Pause> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let until = match (duration, until) {
        (Some(text), _) => {
            let seconds = local_time::duration(text);
            Some(now + seconds.with_context(|| format!("\"{text}\": a duration is like 30m, 2h, 1d or 1h30m"))?)
        }
        (None, Some(text)) => {
            let until = LocalTime::of_this_machine().read(text, now);
            let until = until.with_context(|| {
                format!("\"{text}\": a time is like 18:00, 2026-12-24 or \"2026-12-24 18:00\", local time")
            })?;
            if until <= now {
                bail!("\"{text}\" is in the past");
            }
            Some(until)
        }
        (None, None) => None,
    };
    Ok(Pause { until })
}

/// What has been measured in the last days, with what the running probe has not written yet.
fn recorded(state: &Path, days: i64) -> Result<Vec<Day>> {
    std::fs::read_dir(state).with_context(|| format!("the state directory {}", state.display()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut found = files::recent(state, i64::try_from(now / 86_400)?, days);
    if let Ok(answer) = control::ask(state, control::Command::Activity) {
        let Today { day, rows } = serde_json::from_value(answer)?;
        if !rows.is_empty() {
            found.retain(|kept| kept.number != day);
            found.insert(0, Day::of(day, rows));
        }
    }
    Ok(found)
}

/// The running probe's answer.
#[derive(serde::Deserialize)]
struct Today {
    day: i64,
    rows: Vec<Row>,
}

/// Gives a command to the running probe, and how it is afterwards.
fn tell(state: &Path, command: control::Command) -> Result<Status> {
    let answer = control::ask(state, command).with_context(|| {
        format!("the probe with the state directory {} has not done it (does it run?)", state.display())
    })?;
    Ok(serde_json::from_value(answer)?)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    // One thread: a probe is small, and its packets are stamped by the kernel.
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime cannot start")
}

/// Completes at SIGTERM or SIGINT.
pub async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut term), Ok(mut int)) => {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        }
        // Without signals only a kill ends it.
        _ => std::future::pending().await,
    }
}
