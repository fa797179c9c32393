//! The real programs as processes: a server, probes, and a researcher's view of the API. On this machine's loopback or
//! inside the lab's namespaces.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::lab::Namespace;

/// How long anything here may take before a test gives up: far beyond what it takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The mail address of the account that tests use.
pub const EMAIL: &str = "researcher@example.net";

/// Where a program runs.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// On this machine.
    Here,
    /// In a namespace of the lab.
    In(&'a Namespace),
}

impl Place<'_> {
    /// A command that runs there.
    pub fn command(&self, program: &Path) -> Command {
        match self {
            Place::Here => Command::new(program),
            Place::In(namespace) => namespace.command(program),
        }
    }

    /// Runs a closure there.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        match self {
            Place::Here => body(),
            Place::In(namespace) => namespace.run(body),
        }
    }
}

/// A program of the workspace, built by the same profile as this test.
///
/// # Errors
/// When it is not built.
pub fn program(name: &str) -> Result<PathBuf> {
    let mut dir = std::env::current_exe()?;
    dir.pop();
    if dir.ends_with("deps") || dir.ends_with("examples") {
        dir.pop();
    }
    let path = dir.join(name);
    if !path.exists() {
        bail!("{} is not built: `cargo build --workspace` with the same profile first", path.display());
    }
    Ok(path)
}

/// A copy of such a program in this folder, which everybody may run.
///
/// Another process makes it: a file that this one has open for writing can be inherited by what another test's thread is about
/// to start, and cannot be run until that has closed it ("text file busy").
///
/// # Errors
/// When the program is not built, or cannot be copied.
pub fn runnable_copy(name: &str, folder: &Path) -> Result<PathBuf> {
    let copy = folder.join(name);
    let status = Command::new("install").args(["--mode=755"]).arg(program(name)?).arg(&copy).status()?;
    if !status.success() {
        bail!("{} cannot be written", copy.display());
    }
    Ok(copy)
}

/// Waits until `look` gives something.
///
/// # Errors
/// When it has not after [`PATIENCE`].
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    wait_up_to(PATIENCE, what, look)
}

/// The same, for what may take longer.
///
/// # Errors
/// When it has not after `patience`.
pub fn wait_up_to<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if begun.elapsed() > patience {
            bail!("waited {} s for {what}", patience.as_secs());
        }
        std::thread::sleep(LOOK);
    }
}

/// A process that ends with its owner.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        Ok(Self { child, log: log.into() })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it without a warning (SIGKILL).
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits.
    pub fn terminate(&mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        wait_for("a process to end", || Ok(self.child.try_wait()?)).with_context(|| self.log())?;
        Ok(())
    }

    /// Has it ended by itself?
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Resident memory in kilobytes.
    pub fn resident_kb(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        Ok(line.split_whitespace().nth(1).context("no figure")?.parse()?)
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nothing costs, nobody has a quota, and no target is asked: what tests do has no owner and no end.
const FREE: &str = "[credits]\nenabled = false\n[quotas]\nenabled = false\n\
    [targets]\nopt_out = false\npackets_per_second = 0\nnetwork_packets_per_second = 0\n";

/// `sonde serve` over a data directory.
pub struct Server<'a> {
    place: Place<'a>,
    dir: PathBuf,
    config: PathBuf,
    api: SocketAddr,
    process: Option<Process>,
}

impl<'a> Server<'a> {
    /// Starts a server in `dir` with the API at `api` and the collector at `collector`; `more` is further configuration in
    /// the section `[api]` (such as `allow_targets`).
    pub fn start(place: Place<'a>, dir: &Path, api: SocketAddr, collector: &[SocketAddr], more: &str) -> Result<Self> {
        let list = |addresses: &[SocketAddr]| {
            addresses.iter().map(|address| format!("\"{address}\"")).collect::<Vec<_>>().join(", ")
        };
        let text = format!(
            "[api]\nlisten = [\"{api}\"]\nmin_interval = 1\n{more}\n[collector]\nlisten = [{}]\n{FREE}",
            list(collector)
        );
        Self::start_configured(place, dir, api, &text)
    }

    /// Starts a server in `dir` with this configuration, which has the API at `api`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_configured(place: Place<'a>, dir: &Path, api: SocketAddr, text: &str) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let config = dir.join("server.toml");
        std::fs::write(&config, text)?;
        let mut server = Self { place, dir: dir.join("data"), config, api, process: None };
        server.restart()?;
        Ok(server)
    }

    /// Stops it, gives the collector these addresses instead of those it listens at, and starts it again.
    ///
    /// # Errors
    /// When it does not stop or start.
    pub fn announce(&mut self, addresses: &[&str]) -> Result<()> {
        self.stop()?;
        let text = std::fs::read_to_string(&self.config)?;
        let listed = addresses.iter().map(|address| format!("\"{address}\"")).collect::<Vec<_>>().join(", ");
        let section = "[collector]\n";
        std::fs::write(&self.config, text.replacen(section, &format!("{section}addresses = [{listed}]\n"), 1))?;
        self.restart()
    }

    /// Starts the process again after it was killed or stopped, and waits until the API answers.
    pub fn restart(&mut self) -> Result<()> {
        let mut command = self.place.command(&program("sonde")?);
        command.arg("serve").arg("--data").arg(&self.dir).arg("--config").arg(&self.config);
        let process = self.process.insert(Process::start(command, &self.config.with_extension("log"))?);
        let (api, place) = (self.api, self.place);
        wait_for("the API", || {
            if process.has_ended()? {
                bail!("the server has ended:\n{}", process.log());
            }
            Ok(place.run(|| std::net::TcpStream::connect(api).ok()).map(|_| ()))
        })
    }

    /// The process.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the server is not running")
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the server is not running")?.kill()
    }

    /// SIGTERM: a clean stop.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().context("the server is not running")?.terminate()
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.dir
    }

    /// `sonde admin …`; gives what it prints.
    pub fn admin(&self, words: &[&str]) -> Result<String> {
        let output =
            self.place.command(&program("sonde")?).arg("admin").arg("--data").arg(&self.dir).args(words).output()?;
        if !output.status.success() {
            bail!("admin {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Makes an account and a key for `email`, and gives a client with it.
    pub fn researcher(&self, email: &str) -> Result<Client<'a>> {
        self.admin(&["account", "add", email])?;
        let key = self.admin(&["key", "add", email])?.trim().to_owned();
        Ok(Client::new(self.place, self.api, Some(key)))
    }

    /// A client without a key.
    pub fn public(&self) -> Client<'a> {
        Client::new(self.place, self.api, None)
    }

    /// A network.toml with a join token for a probe of `email`.
    pub fn network_file(&self, email: &str, out: &Path) -> Result<()> {
        std::fs::write(out, self.admin(&["probe", "add", email])?)?;
        Ok(())
    }
}

/// `sonde-probe run` with a state directory.
pub struct Probe<'a> {
    place: Place<'a>,
    dir: PathBuf,
    program: &'static str,
    process: Option<Process>,
}

impl<'a> Probe<'a> {
    /// Starts a probe whose files are in `dir`, where `network.toml` must be. `config` is its `sonde.toml`.
    pub fn start(place: Place<'a>, dir: &Path, config: &str) -> Result<Self> {
        Self::start_as("sonde-probe", place, dir, config)
    }

    /// The same with another program that knows `run`.
    pub fn start_as(program: &'static str, place: Place<'a>, dir: &Path, config: &str) -> Result<Self> {
        std::fs::write(dir.join("sonde.toml"), config)?;
        let mut probe = Self { place, dir: dir.into(), program, process: None };
        probe.restart()?;
        Ok(probe)
    }

    /// Starts the process again.
    pub fn restart(&mut self) -> Result<()> {
        self.restart_with(&[])
    }

    /// The same, with more in its environment.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart_with(&mut self, variables: &[(&str, &str)]) -> Result<()> {
        let mut command = self.place.command(&program(self.program)?);
        command.envs(variables.iter().copied());
        command.arg("run").arg("--network").arg(self.dir.join("network.toml")).arg("--state").arg(self.state());
        command.arg("--config").arg(self.dir.join("sonde.toml")).arg("--report-log").arg(self.report_log());
        self.process = Some(Process::start(command, &self.dir.join("probe.log"))?);
        Ok(())
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// The probe's own log of its reports: boot, number, SHA-256 a line.
    pub fn report_log(&self) -> PathBuf {
        self.dir.join("reports.log")
    }

    /// The process.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the probe is not running")
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the probe is not running")?.kill()
    }

    /// SIGTERM: a clean stop.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().context("the probe is not running")?.terminate()
    }

    /// What `sonde-probe status --json` says; `None` while nobody answers.
    pub fn status(&self) -> Result<Option<Value>> {
        let output = Command::new(program("sonde-probe")?)
            .arg("status")
            .arg("--json")
            .arg("--state")
            .arg(self.state())
            .output()?;
        Ok(serde_json::from_slice(&output.stdout).ok())
    }

    /// Its directory: configuration, state and logs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits until what it says of itself is so.
    ///
    /// # Errors
    /// When it does not become so; with its log.
    pub fn wait_status(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let waited = wait_for(what, || {
            let status = self.status()?.unwrap_or_default();
            last = status.clone();
            Ok(is(&status).then_some(status))
        });
        waited.with_context(|| format!("{last}\n{}", self.process.as_ref().map(Process::log).unwrap_or_default()))
    }

    /// Waits until a collector has welcomed it and gives its number.
    pub fn wait_connected(&mut self) -> Result<u64> {
        wait_for("the probe to connect", || {
            let status = self.status()?;
            let connected = status.filter(|status| status["state"] == "connected");
            Ok(connected.and_then(|status| status["probe"].as_u64()))
        })
        .with_context(|| self.process.as_ref().map(Process::log).unwrap_or_default())
    }
}

/// An answer of the API.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// After how long to ask again, if it says so.
    pub retry_after: Option<Duration>,
    /// The body, if it is JSON.
    pub json: Value,
    /// The body as text.
    pub text: String,
}

/// A researcher's view of the API.
#[derive(Clone)]
pub struct Client<'a> {
    place: Place<'a>,
    base: String,
    key: Option<String>,
}

impl<'a> Client<'a> {
    /// For the API at `api`.
    pub fn new(place: Place<'a>, api: SocketAddr, key: Option<String>) -> Self {
        Self { place, base: format!("http://{api}"), key }
    }

    /// Where the API is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The key.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// One request, whatever the answer is.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        let url = format!("{}{path}", self.base);
        let exchange = || -> Result<Answer> {
            let config =
                ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).build();
            let agent = ureq::Agent::from(config);
            let mut request = ureq::http::Request::builder().method(method).uri(&url);
            if let Some(key) = &self.key {
                request = request.header("Authorization", format!("Key {key}"));
            }
            let mut response = match body {
                Some(body) => {
                    let request = request.header("Content-Type", "application/json").body(serde_json::to_vec(body)?)?;
                    agent.run(request)?
                }
                None => agent.run(request.body(())?)?,
            };
            let status = response.status().as_u16();
            let retry_after = response.headers().get("Retry-After").and_then(|value| value.to_str().ok()?.parse().ok());
            let text = response.body_mut().with_config().limit(256 << 20).read_to_string()?;
            Ok(Answer {
                status,
                retry_after: retry_after.map(Duration::from_secs),
                json: serde_json::from_str(&text).unwrap_or(Value::Null),
                text,
            })
        };
        self.place.run(exchange).with_context(|| format!("{method} {path}"))
    }

    /// Reads a path; anything but 200 is an error. Waits where the server says that it was asked too often, as every client should.
    pub fn get(&self, path: &str) -> Result<Value> {
        let begun = Instant::now();
        let answer = loop {
            let answer = self.request("GET", path, None)?;
            match answer.retry_after {
                Some(pause) if answer.status == 429 && begun.elapsed() < PATIENCE => std::thread::sleep(pause),
                _ => break answer,
            }
        };
        if answer.status != 200 {
            bail!("GET {path}: {} {}", answer.status, answer.text);
        }
        Ok(answer.json)
    }

    /// Makes measurements; anything but 201 is an error. Gives their numbers.
    pub fn measure(&self, definitions: &Value, probes: &Value, is_oneoff: bool) -> Result<Vec<u64>> {
        let body = serde_json::json!({"definitions": definitions, "probes": probes, "is_oneoff": is_oneoff});
        let answer = self.request("POST", "/api/v2/measurements/", Some(&body))?;
        if answer.status != 201 {
            bail!("POST: {} {}", answer.status, answer.text);
        }
        let ids = answer.json["measurements"].as_array().context("no list of measurements")?;
        ids.iter().map(|id| id.as_u64().context("no number")).collect()
    }

    /// A measurement's results.
    pub fn results(&self, id: u64) -> Result<Vec<Value>> {
        let results = self.get(&format!("/api/v2/measurements/{id}/results/"))?;
        Ok(results.as_array().context("no array")?.clone())
    }

    /// Waits until a measurement has at least `count` results.
    pub fn wait_results(&self, id: u64, count: usize) -> Result<Vec<Value>> {
        wait_for(&format!("{count} results of {id}"), || {
            let results = self.results(id)?;
            Ok((results.len() >= count).then_some(results))
        })
    }
}
