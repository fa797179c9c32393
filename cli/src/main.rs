//! The `sonde` command: parses, runs, reports. Everything else is in the library.

use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use sonde::admin::{self, AdminCommand, NetworkCommand, ProbeCommand};
use sonde::card_image;
use sonde::config::Config;
use sonde::demo::{self, DemoOptions};
use sonde::references::{self, ReferenceOptions, ReferenceSubcommand};
use sonde::research::{self, ResearchCommand};
use sonde::server::Server;
use sonde_probe::cli::{start_log, start_log_at, terminated};

/// Sonde: an internet-measurement network that anyone can run.
#[derive(Debug, Parser)]
#[command(name = "sonde", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows a whole network on this machine: server, probes, measurements, results
    Demo {
        /// Measures once over both families, prints each result as a JSON line, and ends
        #[arg(long)]
        once: bool,
        /// Where the API listens; a free port of the loopback interface by default
        #[arg(long, value_name = "ADDR")]
        listen: Option<SocketAddr>,
        /// Shows the lab instead: a small internet of network namespaces, and results beside the truth. Needs root
        #[arg(long, conflicts_with = "listen")]
        lab: bool,
        /// With --lab: prints results and truth as JSON lines
        #[arg(long, requires = "lab")]
        json: bool,
    },
    /// Runs collector and API
    Serve {
        /// The data directory; made if it is not there
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Administers accounts, keys, probes and the network
    Admin {
        /// The data directory of the server, running or not; whoever only signs releases has none
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        #[command(subcommand)]
        command: AdminCommand,
    },
    /// Runs a reference server: what probes measure the reachability of IPv6 and IPv4 against
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Reference {
        #[command(flatten)]
        options: Option<ReferenceOptions>,
        #[command(subcommand)]
        command: Option<ReferenceSubcommand>,
    },
    /// Prints the server's configuration in force
    Config {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    #[command(flatten)]
    Research(ResearchCommand),
    /// The probe: the same as sonde-probe
    #[command(disable_help_flag = true)]
    Probe {
        /// What sonde-probe is given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    if let Command::Probe { arguments } = command {
        return sonde_probe::cli::main([OsString::from("sonde probe")].into_iter().chain(arguments));
    }
    match execute(command) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<ExitCode> {
    // They block, and need no runtime.
    if let Command::Research(command) = &command {
        return research::run(command);
    }
    let runtime = tokio::runtime::Runtime::new().context("the runtime cannot start")?;
    match command {
        Command::Demo { once, lab: true, json, .. } => demo::lab(once, json),
        Command::Demo { once, listen, .. } => {
            // The demo's own lines are what is to be seen; the log says only what goes wrong.
            if std::env::var_os("SONDE_LOG").is_none() {
                start_log_at("warn");
            } else {
                start_log();
            }
            runtime.block_on(demo::run(DemoOptions { once, listen }, terminated()))
        }
        Command::Serve { data, config } => {
            start_log();
            let config = Config::load(config.as_deref())?;
            // Every connection of a client is an open file, and live streams are open for hours.
            if let Err(error) = sonde_probe::net::raise_descriptor_limit() {
                tracing::warn!(%error, "the limit of open files stays as it is");
            }
            runtime.block_on(async {
                let server = Server::start(&data, &config).await?;
                if server.root_is_here() {
                    tracing::warn!(
                        file = %sonde::data::network_path(&data).join("root.key").display(),
                        "the network's root key lies on this server: move it to a safe place once this is more than a trial"
                    );
                }
                terminated().await;
                server.stop().await;
                Ok(ExitCode::SUCCESS)
            })
        }
        Command::Admin { data, mut command } => {
            if let AdminCommand::Network(NetworkCommand::Card { image: Some(image), board, .. }) = &mut command {
                // First: a token that is made for nothing stays good for a month.
                card_image::check(image)?;
                *board = true;
            }
            let data = data.or_else(|| command.needs_no_data().then(PathBuf::new));
            let data = data.context("say --data DIR, the data directory of the server")?;
            let text = runtime.block_on(admin::run(&data, &command))?;
            match &command {
                AdminCommand::Probe(ProbeCommand::Add { out: Some(path), .. })
                | AdminCommand::Network(NetworkCommand::Card { out: Some(path), .. }) => {
                    // It holds a token, or may: nobody else may read it.
                    let file = std::fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(path);
                    file.and_then(|mut file| file.write_all(text.as_bytes()))
                        .with_context(|| format!("cannot write {}", path.display()))?;
                }
                AdminCommand::Network(NetworkCommand::Card { image: Some(image), .. }) => {
                    card_image::put(image, &text)?;
                    writeln!(std::io::stdout(), "sonde.toml is in {}", image.display())?;
                }
                _ => write!(std::io::stdout(), "{text}")?,
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Reference { command: Some(ReferenceSubcommand::Zone(options)), .. } => {
            write!(std::io::stdout(), "{}", references::write_zone(&options)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Reference { options: Some(options), .. } if options.card => {
            write!(std::io::stdout(), "{}", references::card(&options)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Reference { options: Some(options), .. } => {
            start_log();
            runtime.block_on(references::run(&options, terminated()))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Reference { options: None, .. } => {
            anyhow::bail!("say --data and --listen, or `sonde reference --help`")
        }
        Command::Config { config } => {
            write!(std::io::stdout(), "{}", toml::to_string(&Config::load(config.as_deref())?)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Probe { .. } | Command::Research(_) => Ok(ExitCode::SUCCESS),
    }
}
