//! What happens before the probe runs: whatever the sandbox will not allow later is opened, and then the sandbox is entered,
//! unless the host has switched it off. No runtime and no thread exists yet. Each boot within the process ([`Life`]) begins with copies of it.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::sync::Arc;

use sonde_protocol::directory::NetworkFile;
use tracing::{info, warn};

use super::{AgentError, system};
use crate::config::{Config, ConfigError, Raw};
use crate::control;
use crate::identity::Identity;
use crate::local_time::LocalTime;
use crate::net::clock::{ClockSource, SystemClock};
use crate::net::{icmp_socket, raise_descriptor_limit};
use crate::page;
use crate::resolve::{BEHIND_STUB, RESOLV_CONF, Resolver};
use crate::sandbox::reader::Reader;
use crate::sandbox::{self, Plan, Report};
use crate::service_manager::ServiceManager;
use crate::status::StatusSocket;

/// The places of the files that the process apart reads.
const RESOLVERS: [u8; 2] = [0, 1];
const CONFIGURATION: u8 = 2;

/// Says what the host may not expect of raw sockets.
fn tell_about_raw(wanted: Raw, report: &Report) {
    let kept = report.capabilities.iter().any(|name| name == "CAP_NET_RAW");
    match (wanted, kept) {
        (Raw::Yes, false) => {
            warn!("sandbox: raw sockets are asked for in sonde.toml, but the process was not given CAP_NET_RAW");
        }
        (Raw::Pings, true) => info!(
            "CAP_NET_RAW is kept, because this system lets nobody ping without it: `sysctl net.ipv4.ping_group_range=\"0 \
             2147483647\"` would make it superfluous"
        ),
        _ => {}
    }
}

/// What the probe is started with.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// The network to join.
    pub network: NetworkFile,
    /// The state directory.
    pub state: PathBuf,
    /// What the host has decided.
    pub config: Config,
    /// Where that stands, to be read again on SIGHUP.
    pub config_path: Option<PathBuf>,
    /// Writes boot, number and SHA-256 of every report here, before it is sent: for those who want to check the store.
    pub report_log: Option<PathBuf>,
}

/// The host's file, to be read again.
#[derive(Debug, Clone)]
pub(super) struct ConfigFile {
    path: PathBuf,
    reader: Option<Arc<Reader>>,
}

impl ConfigFile {
    /// What stands in it now.
    pub(super) fn load(&self) -> Result<Config, ConfigError> {
        match &self.reader {
            Some(reader) => Config::of_bytes(&self.path, reader.read(CONFIGURATION)),
            None => Config::load(&self.path),
        }
    }
}

/// A probe that has everything it needs and has given up the rest.
#[derive(Debug)]
pub struct Start {
    network: NetworkFile,
    config: Config,
    reader: Option<Arc<Reader>>,
    status: Option<StatusSocket>,
    control: Option<UnixListener>,
    page: Option<TcpListener>,
    report_log: Option<File>,
    pub(super) state: PathBuf,
    pub(super) config_file: Option<ConfigFile>,
    pub(super) local_time: LocalTime,
    pub(super) clock: Arc<dyn ClockSource>,
    pub(super) sandbox: Report,
    manager: ServiceManager,
    /// The way to a board's own system.
    way: Option<UnixDatagram>,
    /// Two processes with one state directory would write over each other's spool.
    _lock: File,
}

/// What one boot begins with.
pub(super) struct Life {
    pub(super) identity: Identity,
    pub(super) config: Config,
    pub(super) resolver: Resolver,
    pub(super) report_log: Option<File>,
    pub(super) status: Option<StatusSocket>,
    pub(super) control: Option<UnixListener>,
    pub(super) page: Option<TcpListener>,
    pub(super) manager: ServiceManager,
    pub(super) way: Option<UnixDatagram>,
}

impl Start {
    /// Opens what is needed, and enters the sandbox unless the host has switched it off; there must be no threads yet then.
    ///
    /// # Errors
    /// When something cannot be opened, or the sandbox not be entered.
    pub fn new(options: AgentOptions) -> Result<Self, AgentError> {
        let AgentOptions { network, state, config, config_path, report_log } = options;
        let sandboxed = config.sandbox.enabled;
        // First of all, so that the process apart has nothing of what comes next.
        let lists = [RESOLV_CONF, BEHIND_STUB].map(PathBuf::from);
        let files: Vec<PathBuf> = lists.into_iter().chain(config_path.clone()).collect();
        let needed = config_path.is_some() || config.policy.resolvers.is_empty();
        let reader = if sandboxed && needed { Some(Arc::new(Reader::start(&files)?)) } else { None };
        // Makes directory and key, where there are none yet.
        Identity::open(&state, network.clone())?;
        let lock = File::open(&state).map_err(system("the state directory cannot be opened"))?;
        lock.try_lock().map_err(|error| {
            system("the state directory is in use: another probe runs with it")(std::io::Error::other(error))
        })?;
        let status = StatusSocket::open(&state).map_err(system("the status socket cannot be opened"))?;
        let control = control::open(&state).map_err(system("the control socket cannot be opened"))?;
        // The one TCP socket that listens, and only because the host has named it. A probe without its page measures.
        let page = config.page.listen.and_then(|address| match page::open(address) {
            Ok(listener) => {
                info!(%address, "the page is there");
                Some(listener)
            }
            Err(error) => {
                warn!(%address, %error, "the page cannot be opened: the probe runs without it");
                None
            }
        });
        let open = |path: PathBuf| File::options().create(true).append(true).open(path);
        let report_log = report_log.map(open).transpose().map_err(system("the report log cannot be opened"))?;
        if let Err(error) = raise_descriptor_limit() {
            warn!(%error, "the limit of open files stays as it is");
        }
        let manager = ServiceManager::of_this_process().unwrap_or_else(|error| {
            warn!(%error, "the service manager cannot be told how the probe is");
            ServiceManager::default()
        });
        let way = crate::system::open().unwrap_or_else(|error| {
            warn!(%error, "the board's system cannot be heard");
            None
        });
        // Reads files that are closed later.
        let local_time = LocalTime::of_this_machine();
        let sandbox = if sandboxed {
            let raw = match config.sandbox.raw {
                Raw::Yes => true,
                Raw::No => false,
                Raw::Pings => icmp_socket::needs_raw(),
            };
            let plan = Plan { writable: vec![state.clone()], raw, required: config.sandbox.required };
            let report = sandbox::enter(&plan)?;
            tell_about_raw(config.sandbox.raw, &report);
            report
        } else {
            Report::default()
        };
        let config_file = config_path.map(|path| ConfigFile { path, reader: reader.clone() });
        Ok(Self {
            network,
            config,
            reader,
            status,
            control,
            page,
            report_log,
            state,
            config_file,
            local_time,
            clock: Arc::new(SystemClock),
            sandbox,
            manager,
            way,
            _lock: lock,
        })
    }

    /// With other clocks than the machine's, for tests of what happens when somebody sets them.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn ClockSource>) -> Self {
        Self { clock, ..self }
    }

    /// For one boot; it begins with what the host has decided since the start.
    pub(super) fn life(&self) -> Result<Life, AgentError> {
        let newest = self.config_file.as_ref().and_then(|file| file.load().ok());
        let config = newest.unwrap_or_else(|| self.config.clone());
        let resolver = match &self.reader {
            Some(reader) if config.policy.resolvers.is_empty() => Resolver::of_reader(Arc::clone(reader), RESOLVERS),
            _ => Resolver::new(&config.policy),
        };
        Ok(Life {
            identity: Identity::open(&self.state, self.network.clone())?,
            config,
            resolver,
            report_log: self.report_log.as_ref().map(File::try_clone).transpose().map_err(system("no descriptor"))?,
            status: self.status.as_ref().map(StatusSocket::try_clone).transpose().map_err(system("no descriptor"))?,
            control: self.control.as_ref().map(UnixListener::try_clone).transpose().map_err(system("no descriptor"))?,
            page: self.page.as_ref().map(TcpListener::try_clone).transpose().map_err(system("no descriptor"))?,
            manager: self.manager.try_clone().map_err(system("no descriptor"))?,
            way: self.way.as_ref().map(UnixDatagram::try_clone).transpose().map_err(system("no descriptor"))?,
        })
    }
}
