//! A network on this machine's loopback interface, all of it real processes: a server, some probes, a researcher. For tests
//! of what happens to processes; what happens on the way between them is the lab's business.

use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use nix::unistd::getuid;
use serde_json::{Value, json};
use sonde_protocol::ids::ProbeId;
use tempfile::TempDir;

use crate::audit::{self, Findings, Subject};
use crate::world::{Client, EMAIL, Place, Probe, Server, wait_for};

/// What the probes' hosts allow here.
pub const CONFIG: &str = "[policy]\nallow = [\"127.0.0.0/8\", \"::1/128\"]\n";

/// The same for the server.
pub const ALLOW_TARGETS: &str = "allow_targets = [\"127.0.0.0/8\", \"::1/128\"]";

/// The file of built-in measurements.
const BUILTINS: &str = "builtins.toml";

/// Where a server is to be found.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    api: u16,
    collector: u16,
}

impl Ports {
    /// Ports that nobody has at the moment.
    ///
    /// # Errors
    /// When the machine has no loopback interface with both families.
    pub fn free() -> Result<Self> {
        Ok(Self { api: free_port()?, collector: free_port()? })
    }

    /// The same with the API at this port.
    ///
    /// # Errors
    /// When the machine has no loopback interface with both families.
    pub fn with_api(api: u16) -> Result<Self> {
        Ok(Self { api, collector: free_port()? })
    }

    /// Where the API is.
    pub fn api(self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.api).into()
    }

    /// Where the collector is, over both families.
    pub fn collector(self) -> [SocketAddr; 2] {
        [(Ipv6Addr::LOCALHOST, self.collector).into(), (Ipv4Addr::LOCALHOST, self.collector).into()]
    }

    /// Starts a server there.
    ///
    /// # Errors
    /// When it does not start.
    pub fn serve(self, dir: &Path) -> Result<Server<'static>> {
        self.serve_with(dir, ALLOW_TARGETS)
    }

    fn serve_with(self, dir: &Path, more: &str) -> Result<Server<'static>> {
        Server::start(Place::Here, dir, self.api(), &self.collector(), more)
    }
}

/// Where ports are looked for: below those that the kernel hands out, so that nobody gets one by chance.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Says of each port that this process has taken that it has, for as long as it runs: other tests look for theirs at the same time.
static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

fn free_port() -> Result<u16> {
    let dir = std::env::temp_dir().join(format!("sonde-test-ports-{}", getuid().as_raw()));
    std::fs::create_dir_all(&dir)?;
    for port in RANGE {
        let lock = File::create(dir.join(port.to_string()))?;
        if lock.try_lock().is_err() || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
            continue;
        }
        let both = [UdpSocket::bind((Ipv4Addr::LOCALHOST, port)), UdpSocket::bind((Ipv6Addr::LOCALHOST, port))];
        if both.iter().all(Result::is_ok) {
            TAKEN.lock().unwrap_or_else(PoisonError::into_inner).push(lock);
            return Ok(port);
        }
    }
    bail!("no port of {RANGE:?} is free over both families")
}

/// The whole of it. Dropping it ends the processes, the probes first.
pub struct Loopback {
    /// The probes.
    pub probes: Vec<Probe<'static>>,
    /// The server.
    pub server: Server<'static>,
    /// Who owns the probes.
    pub client: Client<'static>,
    /// The numbers of the probes, in their order.
    pub numbers: Vec<u64>,
    /// Where everything is to be found.
    pub ports: Ports,
    folder: TempDir,
}

impl Loopback {
    /// Starts a server and so many probes, and waits until all are connected.
    ///
    /// # Errors
    /// When a program is missing or does not do what it should.
    pub fn start(probes: usize) -> Result<Self> {
        Self::start_with(probes, None, "")
    }

    /// As [`Loopback::start`], with these further sections in the server's configuration.
    ///
    /// # Errors
    /// When a program is missing or does not do what it should.
    pub fn start_with_settings(probes: usize, settings: &str) -> Result<Self> {
        Self::start_with(probes, None, settings)
    }

    /// As [`Loopback::start`], with this file of built-in measurements: [`Loopback::builtins`] says where it is.
    ///
    /// # Errors
    /// When a program is missing or does not do what it should.
    pub fn start_with_builtins(probes: usize, builtins: &str) -> Result<Self> {
        Self::start_with(probes, Some(builtins), "")
    }

    fn start_with(probes: usize, builtins: Option<&str>, settings: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let ports = Ports::free()?;
        let mut more = format!("{ALLOW_TARGETS}\n{settings}");
        if let Some(text) = builtins {
            let file = folder.path().join(BUILTINS);
            std::fs::write(&file, text)?;
            more += &format!("\n[builtins]\nfile = {:?}", file.display().to_string());
        }
        let server = ports.serve_with(&folder.path().join("server"), &more)?;
        let client = server.researcher(EMAIL)?;
        let mut all = Self { probes: Vec::new(), server, client, numbers: Vec::new(), ports, folder };
        for _ in 0..probes {
            all.start_probe()?;
        }
        for probe in &mut all.probes {
            all.numbers.push(probe.wait_connected()?);
        }
        Ok(all)
    }

    fn start_probe(&mut self) -> Result<()> {
        let dir = self.dir(&format!("probe{}", self.probes.len()))?;
        self.server.network_file(EMAIL, &dir.join("network.toml"))?;
        self.probes.push(Probe::start(Place::Here, &dir, CONFIG)?);
        Ok(())
    }

    /// Starts one probe more and waits until it is connected. Gives its number.
    ///
    /// # Errors
    /// When it does not do what it should.
    pub fn add_probe(&mut self) -> Result<u64> {
        self.start_probe()?;
        let number = self.probes.last_mut().context("no probe")?.wait_connected()?;
        self.numbers.push(number);
        Ok(number)
    }

    /// Starts a probe whose network.toml has no join token, or this one's, in a directory of this name. It is not one of
    /// [`Loopback::probes`].
    ///
    /// # Errors
    /// When it does not start.
    pub fn stranger(&self, name: &str, network: Option<&Path>) -> Result<Probe<'static>> {
        let dir = self.dir(name)?;
        match network {
            Some(file) => drop(std::fs::copy(file, dir.join("network.toml"))?),
            None => std::fs::write(dir.join("network.toml"), self.server.admin(&["network", "card"])?)?,
        }
        Probe::start(Place::Here, &dir, CONFIG)
    }

    /// Where the file of built-in measurements is.
    pub fn builtins(&self) -> PathBuf {
        self.folder.path().join(BUILTINS)
    }

    /// A directory that goes with the network.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.folder.path().join(name);
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// The `probes` of a request that asks for all of them.
    pub fn everybody(&self) -> Value {
        let names: Vec<String> = self.numbers.iter().map(u64::to_string).collect();
        json!([{"type": "probes", "value": names.join(","), "requested": names.len()}])
    }

    /// Makes so many periodic pings, each with a target of its own.
    ///
    /// # Errors
    /// When the API refuses.
    pub fn ping_periodically(&self, count: usize, interval: u32) -> Result<Vec<u64>> {
        let ping = |n| {
            json!({"type": "ping", "af": 4, "target": format!("127.0.3.{n}"), "packets": 1, "interval": interval,
                   "spread": interval})
        };
        self.client.measure(&(1..=count).map(ping).collect(), &self.everybody(), false)
    }

    /// Pings once, from all probes.
    ///
    /// # Errors
    /// When the API refuses.
    pub fn ping_once(&self) -> Result<u64> {
        let ping = json!([{"type": "ping", "af": 6, "target": "::1", "packets": 1}]);
        let ids = self.client.measure(&ping, &self.everybody(), true)?;
        ids.first().copied().context("no measurement")
    }

    /// Waits until the server that runs now has all probes. What they say themselves may still be of the one before.
    ///
    /// # Errors
    /// When they do not come.
    pub fn wait_for_probes(&self) -> Result<()> {
        wait_for("the probes to come back", || {
            let connected = self.client.get("/api/v2/probes/?status=1")?;
            Ok((connected["count"] == self.probes.len()).then_some(()))
        })
    }

    /// Stops the probes and then the server, and checks everything. What is wrong is left on the disk.
    ///
    /// # Errors
    /// When something does not stop, and what is not as promised.
    pub fn finish(mut self) -> Result<Findings> {
        let mut subjects = Vec::new();
        for (number, probe) in self.numbers.iter().zip(&mut self.probes) {
            let until = audit::now();
            probe.stop()?;
            subjects.push(Subject { probe: ProbeId(*number), log: probe.report_log(), until });
        }
        self.server.stop()?;
        let checked = audit::check(self.server.data(), &subjects);
        if checked.is_ok() {
            return checked;
        }
        let folder = self.folder.keep();
        checked.with_context(|| format!("everything is left in {}", folder.display()))
    }
}
