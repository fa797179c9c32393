//! The scene that most tests in the lab play in: a server on [`Host::Server`], a probe in each of some hosts, enrolled by
//! token, and a researcher who owns these probes. All of them are real processes ([`crate::world`]).
//!
//! Results that went through the API can be kept for other parsers of Atlas's format ([`record`]).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lab::{Family, Host, Lab, LabOptions};
use crate::stepped;
use crate::world::{Client, EMAIL, Place, Probe, Server};

/// Where the API listens on [`Host::Server`] (TCP, IPv4).
const API_PORT: u16 = 8080;

/// Where the collector listens on [`Host::Server`] (UDP, both families).
pub const COLLECTOR_PORT: u16 = 8333;

/// A probe's `sonde.toml` for tests, with these lines about its sandbox: everything allowed to be as fast as it likes, and no
/// exception to the address rules. More limits may follow.
pub fn unhurried(sandbox: &str) -> String {
    format!(
        "[sandbox]\n{sandbox}\n[limits]\npackets_per_second = 5000\nconcurrent = 512\ntarget_interval_ms = 0\n\
         target_packets_per_second = 1000\n"
    )
}

/// What [`unhurried`] is given where all kinds are to be measured: some need raw sockets.
pub const RAW_SOCKETS: &str = "raw = true";

/// A lab, or `None` and a word on standard error where this machine cannot have one.
///
/// # Panics
/// When it does not start; and when it cannot although `SONDE_LAB_REQUIRED` is 1.
pub fn lab(options: LabOptions) -> Option<Lab> {
    if let Err(reason) = Lab::available() {
        assert!(std::env::var_os("SONDE_LAB_REQUIRED").is_none_or(|value| value != "1"), "no lab: {reason}");
        say(&format!("SKIPPED: no lab on this machine: {reason}"));
        return None;
    }
    Some(Lab::start(options).expect("the lab starts"))
}

/// Writes a line on standard error, past the test runner, which keeps to itself what macros print.
pub fn say(line: &str) {
    // Nobody reads it if this fails.
    let _ = writeln!(io::stderr(), "{line}");
}

/// The addresses of the collector, IPv4 first.
pub fn collector_addresses() -> Vec<SocketAddr> {
    let addresses = Family::ALL.into_iter().filter_map(|family| Host::Server.address(family));
    addresses.map(|address| SocketAddr::new(address, COLLECTOR_PORT)).collect()
}

/// A probe of the scene.
pub struct Member<'a> {
    /// Its process.
    pub probe: Probe<'a>,
    /// Its number in the network.
    pub number: u64,
}

/// See the module. Dropping it ends the processes, the probes first.
pub struct Scene<'a> {
    /// The probes, by host.
    pub probes: BTreeMap<Host, Member<'a>>,
    /// The server.
    pub server: Server<'a>,
    /// Who owns the probes.
    pub owner: Client<'a>,
    /// Somebody without a key.
    pub public: Client<'a>,
    /// Its files go last.
    _folder: TempDir,
}

impl<'a> Scene<'a> {
    /// Starts a server and then a probe on each of these hosts, and waits until all are connected.
    ///
    /// # Errors
    /// When a program is missing or does not do what it should.
    pub fn start(lab: &'a Lab, hosts: &[Host]) -> Result<Self> {
        Self::start_with(lab, hosts, "")
    }

    /// The same, with more configuration of the server's in the section `[api]`.
    ///
    /// # Errors
    /// When a program is missing or does not do what it should.
    pub fn start_with(lab: &'a Lab, hosts: &[Host], more: &str) -> Result<Self> {
        Self::start_each(lab, hosts, more, Probe::start)
    }

    /// The same, with probes whose clocks can be set ([`crate::stepped::step`]).
    ///
    /// # Errors
    /// When a program is missing or does not do what it should.
    pub fn start_stepped(lab: &'a Lab, hosts: &[Host], more: &str) -> Result<Self> {
        Self::start_each(lab, hosts, more, |place, dir, config| {
            stepped::step(dir, 0)?;
            Probe::start_as(stepped::PROGRAM, place, dir, config)
        })
    }

    fn start_each(
        lab: &'a Lab,
        hosts: &[Host],
        more: &str,
        start: impl Fn(Place<'a>, &Path, &str) -> Result<Probe<'a>>,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let place = Place::In(lab.host(Host::Server));
        let collectors = collector_addresses();
        let api = SocketAddr::new(collectors.first().context("the server has no address")?.ip(), API_PORT);
        let server = Server::start(place, &folder.path().join("server"), api, &collectors, more)?;
        let (owner, public) = (server.researcher(EMAIL)?, server.public());
        let mut starting = BTreeMap::new();
        for &host in hosts {
            let dir = folder.path().join(host.name());
            fs::create_dir(&dir)?;
            server.network_file(EMAIL, &dir.join("network.toml"))?;
            starting.insert(host, start(Place::In(lab.host(host)), &dir, &unhurried(RAW_SOCKETS))?);
        }
        let mut probes = BTreeMap::new();
        for (host, mut probe) in starting {
            let number = probe.wait_connected().with_context(|| format!("the probe on {}", host.name()))?;
            probes.insert(host, Member { probe, number });
        }
        Ok(Self { probes, server, owner, public, _folder: folder })
    }

    /// The hosts with a probe and an address of this family.
    pub fn hosts(&self, family: Family) -> Vec<Host> {
        self.probes.keys().copied().filter(|host| host.address(family).is_some()).collect()
    }

    /// What the server said so far.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// The number of the probe on a host.
    ///
    /// # Panics
    /// When there is none.
    pub fn number(&self, host: Host) -> u64 {
        self.probes.get(&host).unwrap_or_else(|| panic!("no probe on {}", host.name())).number
    }

    /// Asks, as the owner, for one-offs by the probes on these hosts. Gives the measurements' numbers.
    ///
    /// # Errors
    /// When the API refuses.
    pub fn once(&self, definitions: &[Value], hosts: &[Host]) -> Result<Vec<u64>> {
        self.owner.measure(&json!(definitions), &self.source(hosts), true)
    }

    /// The `probes` of a request that asks for exactly the probes on these hosts.
    pub fn source(&self, hosts: &[Host]) -> Value {
        let numbers: Vec<String> = hosts.iter().map(|host| self.number(*host).to_string()).collect();
        json!([{"type": "probes", "value": numbers.join(","), "requested": hosts.len()}])
    }

    /// Waits until a measurement has a result from each of these hosts and gives them by host. There must be exactly one
    /// of each.
    ///
    /// # Errors
    /// When results are missing, or too many, or of others.
    pub fn one_each(&self, client: &Client<'_>, measurement: u64, hosts: &[Host]) -> Result<BTreeMap<Host, Value>> {
        let results = client.wait_results(measurement, hosts.len())?;
        ensure!(results.len() == hosts.len(), "{} results of {measurement}", results.len());
        let of = |host: &Host| {
            let own = results.iter().find(|result| result["prb_id"] == self.number(*host));
            Ok((*host, own.with_context(|| format!("no result of {} in {results:?}", host.name()))?.clone()))
        };
        hosts.iter().map(of).collect()
    }
}

/// The file that [`record`] writes: `SONDE_RESULTS_OUT`, else `target/lab-results.jsonl` of the workspace.
pub fn record_path() -> PathBuf {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/lab-results.jsonl"));
    std::env::var_os("SONDE_RESULTS_OUT").map_or_else(default, PathBuf::from)
}

/// Adds a result to the file that `tests/compat/sagan_check.py` reads: what the API gave, whether the run as a whole
/// failed (`fails`), and a name to find it by. Tests add to the file; who reads it removes it before they run.
///
/// Atlas's own results say inside `result` that a ping, traceroute, http or ntp failed, where the parser sees no failed
/// measurement; nor may it in ours.
///
/// # Errors
/// When the file cannot be written.
pub fn record(name: &str, result: &Value, fails: bool) -> Result<()> {
    let inside = ["ping", "traceroute", "http", "ntp"].iter().any(|kind| result["type"] == *kind);
    let expect_error = fails && !inside;
    let line = format!("{}\n", json!({"name": name, "expect_error": expect_error, "result": result}));
    let path = record_path();
    let mut file = File::options().create(true).append(true).open(&path).with_context(|| path.display().to_string())?;
    // One write, so that tests beside each other do not mix their lines.
    Ok(file.write_all(line.as_bytes())?)
}

/// The member `key` of a result as an address.
///
/// # Errors
/// When it is none.
pub fn address(result: &Value, key: &str) -> Result<IpAddr> {
    let text = result[key].as_str().with_context(|| format!("no {key} in {result}"))?;
    text.parse().with_context(|| format!("{key} is {text}"))
}
