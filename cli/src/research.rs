//! The researcher's commands: `sonde ping example.net --from DE*10` and its sisters, and what looks at the results. They use
//! the public API of any server of this kind, with nothing that a script could not use.
//!
//! [`from`], [`definition`] and [`options`] read the command line; [`watch`] makes the measurement and waits, with the threads
//! of [`follow`]; [`board`] knows what came, [`row`], [`table`] and [`summary`] say it, [`screen`] writes it. Whatever comes
//! from a server goes through [`clean`] before a terminal sees it.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use sonde_probe::measure::UsageError;

pub mod access;
pub mod ask;
pub mod board;
pub mod clean;
pub mod client;
pub mod definition;
pub mod follow;
pub mod from;
pub mod lists;
pub mod options;
pub mod past;
pub mod people;
pub mod query;
pub mod refusal;
pub mod row;
pub mod screen;
pub mod summary;
pub mod table;
pub mod watch;

use access::AccessArgs;
use ask::Ask;
use client::Client;
use from::FromError;
use lists::{MeasurementsArgs, ProbesArgs};
use past::{ResultsArgs, StreamArgs};

/// The exit code for a command line that makes no sense, as clap has it.
const WRONG_USE: u8 = 2;

/// A researcher's command.
#[derive(Debug, Clone, Subcommand)]
pub enum ResearchCommand {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as help of the whole command")]
    Ask(Ask),
    /// Shows the results of a measurement
    Results(ResultsArgs),
    /// Shows which probes there are
    Probes(ProbesArgs),
    /// Shows which measurements there are
    Measurements(MeasurementsArgs),
    /// Prints results as they come, each as a line of JSON
    Stream(StreamArgs),
    /// Stops measurements
    Stop(StopArgs),
}

/// `sonde stop`.
#[derive(Debug, Clone, Args)]
pub struct StopArgs {
    /// The measurements
    #[arg(required = true, value_name = "ID")]
    ids: Vec<u64>,
    #[command(flatten)]
    access: AccessArgs,
}

/// Does it.
///
/// # Errors
/// When it cannot be done.
pub fn run(command: &ResearchCommand) -> Result<ExitCode> {
    let access = match command {
        ResearchCommand::Ask(ask) => &ask.common.access,
        ResearchCommand::Results(results) => &results.access,
        ResearchCommand::Probes(probes) => probes.access(),
        ResearchCommand::Measurements(measurements) => measurements.access(),
        ResearchCommand::Stream(stream) => &stream.access,
        ResearchCommand::Stop(stop) => &stop.access,
    };
    let access = access.open(|name| std::env::var(name).ok())?;
    if access.is_in_the_clear {
        writeln!(io::stderr(), "warning: the key goes to {} unencrypted", access.server)?;
    }
    let client = Client::new(&access);
    let outcome = match command {
        ResearchCommand::Ask(ask) => watch::run(ask, &client),
        ResearchCommand::Results(results) => results.run(&client),
        ResearchCommand::Probes(probes) => probes.run(&client).map(|()| ExitCode::SUCCESS),
        ResearchCommand::Measurements(measurements) => measurements.run(&client).map(|()| ExitCode::SUCCESS),
        ResearchCommand::Stream(stream) => stream.run(&client).map(|()| ExitCode::SUCCESS),
        ResearchCommand::Stop(stop) => stop.run(&client).map(|()| ExitCode::SUCCESS),
    };
    match outcome {
        // Whoever reads had enough: `sonde results 1000001 | head`.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) if error.is::<UsageError>() || error.is::<FromError>() => {
            writeln!(io::stderr(), "error: {error}")?;
            Ok(ExitCode::from(WRONG_USE))
        }
        outcome => outcome,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

impl StopArgs {
    fn run(&self, client: &Client) -> Result<()> {
        for id in &self.ids {
            client.delete(&format!("/api/v2/measurements/{id}/")).with_context(|| format!("measurement {id}"))?;
            writeln!(io::stdout(), "measurement {id} is stopped")?;
        }
        Ok(())
    }
}
