//! The lab's side of the wire process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::log::WireLog;
use super::{Command, LinkParams, Reply, WireConfig, WireStats};
use crate::lab::namespace::{LabChild, Namespace};
use crate::lab::topology::{Direction, Link};

/// A running wire process. Dropping it ends it.
#[derive(Debug)]
pub(in crate::lab) struct Wire {
    _child: LabChild,
    state: Mutex<State>,
    log: PathBuf,
}

#[derive(Debug)]
struct State {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// What was set last, by link and direction.
    params: Vec<((Link, Direction), LinkParams)>,
}

impl Wire {
    /// Starts the process inside the wire's namespace and waits until it carries frames.
    pub(in crate::lab) fn start(
        program: &Path,
        namespace: &Namespace,
        config: &WireConfig,
        config_path: &Path,
    ) -> anyhow::Result<Self> {
        std::fs::write(config_path, serde_json::to_vec(config)?).context("write the wire's configuration")?;
        let mut command = namespace.command(program);
        command.arg(config_path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = LabChild::start(&mut command)?;
        let input = child.stdin.take().context("the wire's input")?;
        let mut output = BufReader::new(child.stdout.take().context("the wire's output")?);
        read_reply(&mut output)?;
        let params = Link::ALL
            .into_iter()
            .flat_map(|link| Direction::ALL.map(|direction| ((link, direction), LinkParams::delay(Duration::ZERO))))
            .collect();
        Ok(Self { _child: child, state: Mutex::new(State { input, output, params }), log: config.log.clone() })
    }

    /// What was set last.
    pub(in crate::lab) fn params(&self, link: Link, direction: Direction) -> LinkParams {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let found = state.params.iter().find(|(key, _)| *key == (link, direction));
        found.map_or(LinkParams::delay(Duration::ZERO), |(_, params)| *params)
    }

    /// In force when this returns, for frames that arrive from now on.
    pub(in crate::lab) fn set(&self, link: Link, direction: Direction, params: LinkParams) -> anyhow::Result<()> {
        if let Err(reason) = params.check() {
            bail!("{link:?} {direction:?}: {reason}");
        }
        self.ask(&Command::Set { link, direction, params })?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in &mut state.params {
            if *key == (link, direction) {
                *value = params;
            }
        }
        Ok(())
    }

    pub(in crate::lab) fn stats(&self) -> anyhow::Result<WireStats> {
        match self.ask(&Command::Stats)? {
            Reply::Stats(stats) => Ok(stats),
            other => bail!("the wire answered {other:?}"),
        }
    }

    pub(in crate::lab) fn log(&self) -> anyhow::Result<WireLog> {
        self.ask(&Command::Flush)?;
        WireLog::read(&self.log)
    }

    pub(in crate::lab) fn clear_log(&self) -> anyhow::Result<()> {
        self.ask(&Command::Flush)?;
        // The process appends, so it goes on at the new end.
        std::fs::File::options().write(true).open(&self.log)?.set_len(0).context("empty the wire's log")
    }

    pub(in crate::lab) fn ask(&self, command: &Command) -> anyhow::Result<Reply> {
        let mut line = serde_json::to_vec(command)?;
        line.push(b'\n');
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.input.write_all(&line).context("ask the wire")?;
        read_reply(&mut state.output)
    }
}

fn read_reply(output: &mut BufReader<ChildStdout>) -> anyhow::Result<Reply> {
    let mut line = String::new();
    output.read_line(&mut line).context("hear the wire")?;
    ensure!(!line.is_empty(), "the wire process has ended; its reason is on standard error");
    serde_json::from_str(&line).context("understand the wire")
}
