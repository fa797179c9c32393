//! A seeded network to look at; see [`sonde_tests::look`]. With a command it runs that and ends with it: the file that the
//! variable `SONDE_LOOK` names tells the command where everything is. Without one it prints the addresses and stays until Ctrl-C.
//!
//! SIGUSR1 restarts the server, for tests of what clients do then.

use std::io::Write as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use sonde_tests::look::Look;
use sonde_tests::scene::say;
use sonde_tests::seed::{FLAGS, Options};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> Result<ExitCode> {
    let usage = || format!("usage: sonde-look {FLAGS} [--real-probes N] [--port N] [COMMAND …]");
    let (mut options, mut real_probes, mut port) = (Options::small(), 0, None);
    let mut arguments = std::env::args().skip(1);
    let mut command = Vec::new();
    while let Some(argument) = arguments.next() {
        if options.take(&argument, &mut arguments)? {
            continue;
        }
        match argument.as_str() {
            "--real-probes" => real_probes = arguments.next().context("--real-probes N")?.parse()?,
            "--port" => port = Some(arguments.next().context("--port N")?.parse()?),
            flag if flag.starts_with('-') => bail!(usage()),
            _ => {
                command.push(argument);
                command.extend(arguments.by_ref());
            }
        }
    }
    // In memory: a disk would make filling take minutes, and nobody wants to keep it.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
    let mut look = Look::start(folder.path(), &options, real_probes, port)?;
    let mut child = match command.split_first() {
        None => {
            writeln!(std::io::stdout(), "{:#}\n\n{}/", look.to_json(), look.base())?;
            None
        }
        Some((program, words)) => {
            let file = folder.path().join("look.json");
            std::fs::write(&file, serde_json::to_vec_pretty(&look.to_json())?)?;
            let mut command = Command::new(program);
            Some(command.args(words).env("SONDE_LOOK", &file).spawn().with_context(|| program.clone())?)
        }
    };
    // Handlers, not a mask: processes that are started later would inherit that, and then nobody could end them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let (mut user, mut ended) = (signal(SignalKind::user_defined1())?, signal(SignalKind::child())?);
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    loop {
        if let Some(status) = child.as_mut().and_then(|child| child.try_wait().transpose()).transpose()? {
            if !status.success() {
                say(&format!("the server's log:\n{}", tail(&look.server.log())));
            }
            return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        let restart = runtime.block_on(async {
            tokio::select! {
                _ = user.recv() => Some(true),
                _ = ended.recv() => Some(false),
                _ = interrupt.recv() => None,
                _ = terminate.recv() => None,
            }
        });
        match restart {
            Some(true) => look.restart()?,
            Some(false) => {}
            None => {
                if let Some(mut child) = child.take() {
                    child.kill()?;
                    child.wait()?;
                }
                return Ok(ExitCode::FAILURE);
            }
        }
    }
}

/// The last lines.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n")
}
