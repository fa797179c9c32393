//! A seeded network ([`crate::seed`]) as running programs on this machine's loopback interface: the real server over the invented
//! data, and as many real probes as are asked for. For people who look at pages, for browsers that test them, and for other
//! people's programs that read them.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sonde_protocol::time::UnixNanos;

use crate::loopback::{ALLOW_TARGETS, CONFIG, Ports};
use crate::seed::{self, EMAIL, Options, Seeded};
use crate::world::{Client, Place, Probe, Server};

/// Nobody is asked about targets, because there is nobody to ask, and the account that has all of it may have more. All else is as
/// operators have it.
const LIMITS: &str = "[targets]\nopt_out = false\n[quotas]\nresults_per_day = 0\ncredits_per_day = 0\n";

/// The time now.
pub fn now() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// The running network. Dropping it ends its processes, the probes first.
pub struct Look {
    /// The real probes.
    pub probes: Vec<Probe<'static>>,
    /// The server.
    pub server: Server<'static>,
    /// What was invented.
    pub seeded: Seeded,
    base: String,
    numbers: Vec<u64>,
    dir: PathBuf,
}

impl Look {
    /// Fills this directory, starts a server on it and so many probes, and waits until they are connected.
    ///
    /// # Errors
    /// When a program is missing or does not do what it should.
    pub fn start(dir: &Path, options: &Options, real_probes: usize, port: Option<u16>) -> Result<Self> {
        let ports = port.map_or_else(Ports::free, Ports::with_api)?;
        let server_dir = dir.join("server");
        let builtins = dir.join("builtins.toml");
        std::fs::write(&builtins, seed::BUILTINS)?;
        let seeded = seed::fill(&server_dir.join("data"), options)?;
        let collector = ports.collector().map(|address| format!("\"{address}\"")).join(", ");
        let text = format!(
            "[api]\nlisten = [\"{}\"]\nmin_interval = 1\n{ALLOW_TARGETS}\n[collector]\nlisten = [{collector}]\n{LIMITS}\
             [builtins]\nfile = {:?}\n",
            ports.api(),
            builtins.display().to_string()
        );
        let server = Server::start_configured(Place::Here, &server_dir, ports.api(), &text)?;
        let base = format!("http://{}", ports.api());
        let mut look = Self { probes: Vec::new(), server, seeded, base, numbers: Vec::new(), dir: dir.into() };
        look.connect()?;
        for n in 0..real_probes {
            look.add_probe(n)?;
        }
        Ok(look)
    }

    /// Stops the server and starts it again.
    ///
    /// # Errors
    /// When it does not stop or start.
    pub fn restart(&mut self) -> Result<()> {
        self.server.stop()?;
        self.server.restart()?;
        self.connect()
    }

    /// For programs: where everything is.
    pub fn to_json(&self) -> Value {
        let mut facts = self.seeded.to_json();
        if let Some(facts) = facts.as_object_mut() {
            facts.insert("base".into(), json!(self.base));
            facts.insert("real_probes".into(), json!(self.numbers));
            facts.insert("supervisor".into(), json!(std::process::id()));
        }
        facts
    }

    /// Where the server is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Whoever owns most of it, with a key.
    ///
    /// # Errors
    /// When the address is none.
    pub fn client(&self) -> Result<Client<'static>> {
        let address = self.base.trim_start_matches("http://").parse().context("the server's address")?;
        Ok(Client::new(Place::Here, address, Some(self.seeded.key.clone())))
    }

    /// The numbers of the real probes.
    pub fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    fn connect(&self) -> Result<()> {
        // What the server notes when it starts comes before.
        seed::connect(self.server.data(), &self.seeded, now())
    }

    fn add_probe(&mut self, n: usize) -> Result<()> {
        let dir = self.dir.join(format!("probe{n}"));
        std::fs::create_dir_all(&dir)?;
        self.server.network_file(EMAIL, &dir.join("network.toml"))?;
        let mut probe = Probe::start(Place::Here, &dir, CONFIG)?;
        self.numbers.push(probe.wait_connected().context("a real probe")?);
        self.probes.push(probe);
        Ok(())
    }
}
