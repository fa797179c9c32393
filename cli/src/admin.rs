//! `sonde admin`: accounts, keys, probes, the network. Commands go to the running server through a socket in the data
//! directory, or work on the data directly, under its lock, when no server runs.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use clap::Subcommand;
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use sonde_collector::server::Handle;
use sonde_collector::{Network, network::NetworkError};
use sonde_protocol::board::UpdateChoice;
use sonde_protocol::directory::Reference;
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::net::is_host_label;
use sonde_protocol::time::UnixNanos;
use sonde_store::Catalog;
use sonde_store::catalog::{AnchorAdded, ApiKey, Digest, Grant, NOBODY, NewAnchor};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub use crate::people::AccountCommand;
pub use crate::probe_admin::ProbeCommand;
pub use crate::references::ReferenceCommand;
pub use crate::release::ReleaseCommand;

use crate::board_card;
use crate::config::Config;
use crate::data::{DataDir, admin_socket};
use crate::release;
use crate::roll_outs::RollOutCommand;

/// How long a join token is good for.
const TOKEN_LIFE: Duration = Duration::from_secs(30 * 86_400);

/// The most credits that are given at once: no sum of such comes near what a number can hold.
const MAX_GRANT: u64 = 1_000_000_000_000;

/// The longest request on the socket.
const MAX_REQUEST: u64 = 64 * 1024;

/// What can be administered.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
pub enum AdminCommand {
    /// Accounts of people
    #[command(subcommand)]
    Account(AccountCommand),
    /// API keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Probes
    #[command(subcommand)]
    Probe(ProbeCommand),
    /// Measurements
    #[command(subcommand)]
    Measurement(MeasurementCommand),
    /// Anchors: well-connected probes that are also targets
    #[command(subcommand)]
    Anchor(AnchorCommand),
    /// The network's keys and directory
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Credits of accounts
    #[command(subcommand)]
    Credits(CreditsCommand),
    /// Releases of the board's system, their roll-out, and the keys that sign them
    // Carried out where the keys are, and never by the server.
    #[command(subcommand)]
    #[serde(skip)]
    Release(ReleaseCommand),
    /// What of releases is the server's: `release status` and `release resume` ask it.
    #[command(skip)]
    RollOut(RollOutCommand),
}

impl AdminCommand {
    /// Does it work without a data directory?
    pub fn needs_no_data(&self) -> bool {
        matches!(self, Self::Release(command) if command.needs_no_data())
    }
}

#[derive(Debug, clap::Parser)]
#[command(no_binary_name = true)]
struct Words {
    #[command(subcommand)]
    command: AdminCommand,
}

/// Reads a command from its words.
pub fn parse(words: &[&str]) -> Result<AdminCommand, clap::Error> {
    use clap::Parser;
    Ok(Words::try_parse_from(words)?.command)
}

/// API keys.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
pub enum KeyCommand {
    /// Makes an API key and prints it, once
    Add {
        /// The account's mail address
        email: String,
        /// For people
        #[arg(long, default_value = "")]
        label: String,
        /// What it may do, such as measurements.create_measurement; may be given several times. Everything without
        #[arg(long = "permission")]
        #[serde(default)]
        permissions: Vec<String>,
    },
}

/// Credits.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
pub enum CreditsCommand {
    /// Gives an account credits
    Grant {
        /// The account's mail address
        email: String,
        /// How many
        #[arg(value_parser = clap::value_parser!(u64).range(1..=MAX_GRANT))]
        amount: u64,
    },
    /// Prints what an account has
    Show {
        /// The account's mail address
        email: String,
    },
    /// Checks that every transaction's sum is zero and every balance is what its transactions say
    Check,
}

/// Measurements.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
pub enum MeasurementCommand {
    /// Stops a measurement of anybody's; it counts as forced to stop
    Stop {
        /// Its number
        id: MeasurementId,
    },
}

/// Anchors.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
pub enum AnchorCommand {
    /// Makes a probe an anchor, which http measurements may ask by its host name
    Add {
        /// The probe's number
        probe: u64,
        /// The host name by which it is measured
        hostname: String,
        /// Where it stands
        #[arg(long)]
        city: Option<String>,
        /// Who has it
        #[arg(long)]
        company: Option<String>,
        /// ISO 3166 code of where it stands
        #[arg(long)]
        country: Option<String>,
    },
    /// Makes it an ordinary probe again, and takes its host name off the list of hosts for http
    Remove {
        /// The probe's number
        probe: u64,
    },
}

/// The network.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
pub enum NetworkCommand {
    /// Prints serial, root keys, collectors, the hosts that http measurements may ask, and reference servers
    Show,
    /// Signs the directory anew with the next serial number
    Sign,
    /// Gives the collector a new key; the old one stays valid until it is revoked
    Rotate,
    /// Takes a collector's key out of the directory
    Revoke {
        /// The key, as `show` prints it
        // One in 64 begins with a hyphen.
        #[arg(allow_hyphen_values = true)]
        key: PublicKey,
    },
    /// Lets http measurements ask a host, by the name they will name; takes effect at once at connected probes
    AllowHttp {
        /// Host name or literal address
        host: String,
        /// Takes the host off the list instead
        #[arg(long)]
        #[serde(default)]
        remove: bool,
    },
    /// Reference servers: what the reachability of IPv6 and IPv4 is measured against
    #[command(subcommand)]
    Reference(ReferenceCommand),
    /// Prints a network.toml without a join token, or the sonde.toml for a board's card
    Card {
        /// The sonde.toml for the boot partition of a board instead
        #[arg(long)]
        #[serde(default)]
        board: bool,
        /// The same with a one-time join token for this account, by its mail address
        #[arg(long, value_name = "EMAIL")]
        #[serde(default)]
        probe: Option<String>,
        /// Writes the file here instead of printing it
        #[arg(long, value_name = "FILE")]
        #[serde(skip)]
        out: Option<std::path::PathBuf>,
        /// Puts the sonde.toml into the unpacked image of a card, or onto the card itself: a copy for each card that has a token
        #[arg(long, value_name = "FILE", conflicts_with = "out")]
        #[serde(skip)]
        image: Option<std::path::PathBuf>,
    },
}

/// The network, live or as files.
pub enum Net {
    /// Of the running collector.
    Live(Handle),
    /// On disk, with nobody running.
    Files(Box<Mutex<Network>>),
}

/// What administration works on.
pub struct AdminContext {
    /// Who and what.
    pub catalog: Arc<dyn Catalog>,
    /// The network.
    pub network: Net,
    /// Told when anchors come or go: they are measured, or no longer.
    pub anchors_changed: Arc<Notify>,
    /// The terms that an account agrees to when a probe becomes its own.
    pub consent_version: String,
}

impl Net {
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Network) -> T) -> T {
        match self {
            Net::Live(handle) => handle.with_network(read),
            Net::Files(network) => read(&network.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// Probes that are not connected get their orders when they come.
    async fn orders_changed(&self, probes: &[ProbeId]) {
        if let Net::Live(handle) = self {
            handle.orders_changed(probes).await;
        }
    }

    /// Probes that are not connected find out when they come.
    pub(crate) fn key_admitted(&self, key: &PublicKey, probe: ProbeId) {
        if let Net::Live(handle) = self {
            handle.key_admitted(key, probe);
        }
    }

    /// See [`Net::key_admitted`].
    pub(crate) fn key_replaced(&self, probe: ProbeId) {
        if let Net::Live(handle) = self {
            handle.key_replaced(probe);
        }
    }

    /// Boards that are not connected find out when they come.
    pub(crate) fn updates_chosen(&self, probe: ProbeId, choice: UpdateChoice) {
        if let Net::Live(handle) = self {
            handle.updates_chosen(probe, choice);
        }
    }

    fn rotate(&self) -> Result<PublicKey, NetworkError> {
        match self {
            Net::Live(handle) => handle.rotate(),
            Net::Files(network) => network.lock().unwrap_or_else(PoisonError::into_inner).rotate(),
        }
    }

    fn sign(&self) -> Result<(), NetworkError> {
        match self {
            Net::Live(handle) => handle.sign(),
            Net::Files(network) => network.lock().unwrap_or_else(PoisonError::into_inner).sign(|_| ()),
        }
    }

    fn revoke(&self, key: PublicKey) -> Result<(), NetworkError> {
        match self {
            Net::Live(handle) => handle.revoke(key),
            Net::Files(network) => network.lock().unwrap_or_else(PoisonError::into_inner).revoke(key),
        }
    }

    fn allow_http(&self, host: &str) -> Result<bool, NetworkError> {
        match self {
            Net::Live(handle) => handle.allow_http(host),
            Net::Files(network) => network.lock().unwrap_or_else(PoisonError::into_inner).allow_http(host),
        }
    }

    pub(crate) fn add_reference(&self, reference: Reference) -> Result<bool, NetworkError> {
        match self {
            Net::Live(handle) => handle.add_reference(reference),
            Net::Files(network) => network.lock().unwrap_or_else(PoisonError::into_inner).add_reference(reference),
        }
    }

    pub(crate) fn remove_reference(&self, name: &str) -> Result<(), NetworkError> {
        match self {
            Net::Live(handle) => handle.remove_reference(name),
            Net::Files(network) => network.lock().unwrap_or_else(PoisonError::into_inner).remove_reference(name),
        }
    }

    fn forbid_http(&self, host: &str) -> Result<(), NetworkError> {
        match self {
            Net::Live(handle) => handle.forbid_http(host),
            Net::Files(network) => network.lock().unwrap_or_else(PoisonError::into_inner).forbid_http(host),
        }
    }
}

pub(crate) fn now() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

fn sha256(bytes: &[u8]) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("no random numbers: {error}"))?;
    Ok(bytes)
}

/// A host name in lower case: labels of letters, digits and hyphens (RFC 1123, 2.1).
fn host_name(text: &str) -> Result<String> {
    let name = text.trim_end_matches('.').to_ascii_lowercase();
    if name.len() > 253 || name.parse::<std::net::IpAddr>().is_ok() || !name.split('.').all(is_host_label) {
        bail!("{text:?} is no host name");
    }
    Ok(name)
}

fn short(text: &str) -> Result<String> {
    if text.len() > 200 || text.chars().any(char::is_control) {
        bail!("{text:?} is too long, or has control characters");
    }
    Ok(text.to_owned())
}

fn country_code(text: &str) -> Result<String> {
    match text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        true => Ok(text.to_ascii_uppercase()),
        false => bail!("{text:?} is no country; two letters are expected (ISO 3166)"),
    }
}

impl AdminContext {
    /// Carries out a command and gives what it prints.
    pub async fn execute(&self, command: &AdminCommand) -> Result<String> {
        match command {
            AdminCommand::Account(command) => self.people(command).await,
            AdminCommand::Key(KeyCommand::Add { email, label, permissions }) => {
                let account = self.account(email).await?;
                let key = self.add_key(account.id, label, permissions).await?;
                Ok(format!("{key}\n"))
            }
            AdminCommand::Probe(command) => self.probes(command).await,
            AdminCommand::Measurement(MeasurementCommand::Stop { id }) => self.stop_measurement(*id).await,
            AdminCommand::Anchor(command) => self.anchor(command).await,
            AdminCommand::Network(command) => self.network(command).await,
            AdminCommand::Credits(command) => self.credits(command).await,
            AdminCommand::Release(_) => bail!("releases are changed by whoever has their keys"),
            AdminCommand::RollOut(command) => self.roll_outs(command).await,
        }
    }

    /// Stops a measurement and tells the probes.
    async fn stop_measurement(&self, id: MeasurementId) -> Result<String> {
        if id.is_builtin() {
            bail!("{id} is built-in: take it out of the file of built-in measurements and start the server again");
        }
        let now = now();
        let Some(measurement) = self.catalog.measurement(id).await? else { bail!("there is no measurement {id}") };
        let (status, _) = measurement.status(now);
        if status.is_over() {
            bail!("{id} is over already: {}", status.name());
        }
        let probes = self.catalog.force_stop_measurement(id, now).await?;
        self.network.orders_changed(&probes).await;
        Ok(format!("measurement {id} is forced to stop\n"))
    }

    async fn credits(&self, command: &CreditsCommand) -> Result<String> {
        match command {
            CreditsCommand::Grant { email, amount } => {
                let account = self.account(email).await?;
                if !(1..=MAX_GRANT).contains(amount) {
                    bail!("between 1 and {MAX_GRANT} credits can be given at once");
                }
                self.catalog.grant(account.id, *amount, now()).await?;
                Ok(format!("{} has {} credits now\n", account.email, self.catalog.balance(account.id).await?))
            }
            CreditsCommand::Show { email } => {
                let account = self.account(email).await?;
                Ok(format!("{}\n", self.catalog.balance(account.id).await?))
            }
            CreditsCommand::Check => match self.catalog.check_ledger().await?.as_slice() {
                [] => Ok("the ledger is in order\n".into()),
                wrong => bail!("the ledger is not in order:\n{}", wrong.join("\n")),
            },
        }
    }

    pub(crate) async fn account(&self, email: &str) -> Result<sonde_store::catalog::Account> {
        let account = self.catalog.account_by_email(email).await?.filter(|account| account.id != NOBODY);
        account.with_context(|| format!("there is no account for {email}; make one with `account add {email}`"))
    }

    /// Makes an API key for an account: a random UUID, of which only the digest is kept. Without permissions it may do
    /// everything.
    pub async fn add_key(
        &self,
        account: sonde_protocol::ids::AccountId,
        label: &str,
        permissions: &[String],
    ) -> Result<String> {
        if let Some(unknown) = permissions.iter().find(|name| !sonde_api::is_permission(name)) {
            bail!("{unknown:?} is no permission; GET keys/permissions/ lists them");
        }
        let mut bytes: [u8; 16] = random()?;
        // Version 4, variant 1 (RFC 9562).
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let key = ApiKey {
            digest: sha256(&bytes),
            account,
            label: label.into(),
            created_at: now(),
            enabled: true,
            valid_from: None,
            valid_to: None,
            grants: (!permissions.is_empty()).then(|| permissions.iter().map(|name| grant(name)).collect()),
        };
        self.catalog.add_key(&key).await?;
        let hex = HEXLOWER.encode(&bytes);
        let part = |range| hex.get(range).unwrap_or_default();
        Ok(format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)))
    }

    /// Makes a join token for probes of an account.
    pub async fn add_join_token(&self, owner: sonde_protocol::ids::AccountId) -> Result<String> {
        let token = BASE32_NOPAD.encode(&random::<20>()?).to_lowercase();
        self.catalog.add_join_token(&sha256(token.as_bytes()), owner, now(), now() + TOKEN_LIFE).await?;
        Ok(token)
    }

    async fn anchor(&self, command: &AnchorCommand) -> Result<String> {
        match command {
            AnchorCommand::Add { probe, hostname, city, company, country } => {
                let new = NewAnchor {
                    probe: ProbeId(*probe),
                    hostname: host_name(hostname)?,
                    city: city.as_deref().map(short).transpose()?,
                    company: company.as_deref().map(short).transpose()?,
                    country: country.as_deref().map(country_code).transpose()?,
                };
                match self.catalog.add_anchor(&new, now()).await? {
                    AnchorAdded::Made(id) => {
                        if let Err(error) = self.network.allow_http(&new.hostname) {
                            self.catalog.remove_anchor(new.probe, now()).await?;
                            return Err(error.into());
                        }
                        self.anchors_changed.notify_one();
                        Ok(format!("anchor {id} made: probe {probe} is {}\n", new.hostname))
                    }
                    AnchorAdded::NoSuchProbe => bail!("there is no probe {probe}"),
                    AnchorAdded::Taken => {
                        bail!("probe {probe} is an anchor already, or another one is {}", new.hostname)
                    }
                }
            }
            AnchorCommand::Remove { probe } => {
                let hostname = self.catalog.remove_anchor(ProbeId(*probe), now()).await?;
                let hostname = hostname.with_context(|| format!("probe {probe} is no anchor"))?;
                self.anchors_changed.notify_one();
                let forbidden = self.network.forbid_http(&hostname);
                let note = forbidden.err().map(|error| format!("; {hostname}: {error}")).unwrap_or_default();
                Ok(format!("probe {probe} is no anchor any more{note}\n"))
            }
        }
    }

    async fn network(&self, command: &NetworkCommand) -> Result<String> {
        match command {
            NetworkCommand::Show => Ok(self.network.read(show)),
            NetworkCommand::Sign => {
                self.network.sign()?;
                Ok(self.network.read(show))
            }
            NetworkCommand::Rotate => {
                let key = self.network.rotate()?;
                Ok(format!("new collector key {key}; the old one is valid until you revoke it\n"))
            }
            NetworkCommand::Revoke { key } => {
                self.network.revoke(*key)?;
                Ok(format!("revoked {key}\n"))
            }
            NetworkCommand::AllowHttp { host, remove: true } => {
                self.network.forbid_http(host)?;
                Ok(format!("{host} is not asked by http measurements any more\n"))
            }
            NetworkCommand::AllowHttp { host, remove: false } => {
                let is_new = self.network.allow_http(host)?;
                let already = if is_new { "" } else { " already" };
                Ok(format!("http measurements may ask {host}{already}\n"))
            }
            NetworkCommand::Reference(command) => self.references(command),
            NetworkCommand::Card { board, probe, .. } => self.card(*board, probe.as_deref()).await,
        }
    }

    /// The file for a probe: a `network.toml`, or for a board, which an `email` says too, a `sonde.toml`.
    async fn card(&self, board: bool, email: Option<&str>) -> Result<String> {
        let token = match email {
            Some(email) => Some(self.add_join_token(self.account(email).await?.id).await?),
            None => None,
        };
        let board = board || token.is_some();
        let file = self.network.read(|network| network.network_file(token));
        if board { board_card::write(file) } else { Ok(toml::to_string(&file)?) }
    }
}

fn show(network: &Network) -> String {
    let directory = network.directory();
    let mut text = format!("network {}, directory {}\n", directory.network, directory.serial);
    for root in directory.roots.iter() {
        let here = if network.root_is_here() { " (its private half is on this server)" } else { "" };
        text += &format!("root {root}{here}\n");
    }
    for collector in directory.collectors.iter() {
        let own = if collector.key == network.collector_key().public() { " (this one)" } else { "" };
        let addresses: Vec<&str> = collector.addresses.iter().map(|address| address.as_str()).collect();
        text += &format!("collector {} at {}{own}\n", collector.key, addresses.join(", "));
    }
    for host in directory.http_hosts.iter() {
        text += &format!("http may ask {host}\n");
    }
    for reference in directory.references.iter() {
        text += &crate::references::line(reference);
    }
    text
}

fn grant(permission: &str) -> Grant {
    Grant { permission: permission.to_owned(), measurement: None }
}

/// What goes back over the socket.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Done(String),
    Failed(String),
}

/// Carries out a command on the data directory `data`, through the running server if there is one.
pub async fn run(data: &Path, command: &AdminCommand) -> Result<String> {
    match command {
        AdminCommand::Release(ReleaseCommand::Resume { number }) => {
            carry_out(data, &AdminCommand::RollOut(RollOutCommand::Resume(*number))).await
        }
        AdminCommand::Release(command @ ReleaseCommand::Status) => {
            let listed = release::run(data, command, release::now())?;
            // Where releases are signed there may be no server at all.
            let on_boards = match DataDir::has_catalog(data) {
                true => carry_out(data, &AdminCommand::RollOut(RollOutCommand::Show)).await?,
                false => String::new(),
            };
            Ok(listed + &on_boards)
        }
        AdminCommand::Release(command) => release::run(data, command, release::now()),
        command => carry_out(data, command).await,
    }
}

/// The same for what is the server's.
async fn carry_out(data: &Path, command: &AdminCommand) -> Result<String> {
    match UnixStream::connect(admin_socket(data)) {
        Ok(stream) => return ask(stream, command),
        // Nobody listens: a server that was killed leaves its socket behind.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
        Err(error) => {
            return Err(error)
                .with_context(|| format!("cannot ask a running server at {}", admin_socket(data).display()));
        }
    }
    let data = DataDir::open(data)?;
    let network = crate::server::open_network(&data.network(), &Config::default())
        .context("the network is not made yet: start `sonde serve` once, with its configuration")?;
    let network = Net::Files(Box::new(Mutex::new(network)));
    let consent_version = Config::default().accounts.consent_version;
    let context = AdminContext { catalog: data.catalog()?, network, anchors_changed: Arc::default(), consent_version };
    context.execute(command).await
}

fn ask(mut stream: UnixStream, command: &AdminCommand) -> Result<String> {
    stream.write_all(format!("{}\n", serde_json::to_string(command)?).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(16 << 20)).read_line(&mut line)?;
    match serde_json::from_str(&line).context("the running server's answer")? {
        Answer::Done(text) => Ok(text),
        Answer::Failed(why) => bail!(why),
    }
}

/// Listens for [`run`]. Who may open the data directory may administer.
pub fn listen(path: &Path, context: Arc<AdminContext>) -> Result<JoinHandle<()>> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).context("an old administration socket"),
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors: it will pass.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let context = context.clone();
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut line = Vec::new();
                if tokio::io::BufReader::new(read.take(MAX_REQUEST)).read_until(b'\n', &mut line).await.is_err() {
                    return;
                }
                let answer = match serde_json::from_slice::<AdminCommand>(&line) {
                    Ok(command) => match context.execute(&command).await {
                        Ok(text) => Answer::Done(text),
                        Err(error) => Answer::Failed(format!("{error:#}")),
                    },
                    Err(error) => Answer::Failed(format!("not a command: {error}")),
                };
                if let Ok(text) = serde_json::to_string(&answer) {
                    let _ = write.write_all(format!("{text}\n").as_bytes()).await;
                }
            });
        }
    }))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: NetworkCommand,
    }

    #[test]
    fn a_key_that_begins_with_a_hyphen_is_no_option() {
        let key = PublicKey([0xfb; 32]).to_string();
        assert!(key.starts_with('-'), "{key}");
        let line = Line::try_parse_from(["network", "revoke", &key]).unwrap();
        assert!(matches!(line.command, NetworkCommand::Revoke { key } if key == PublicKey([0xfb; 32])));
    }
}
