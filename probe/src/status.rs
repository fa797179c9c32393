//! How the probe is, in one line: kept by the running probe, told over a socket in its state directory, printed by
//! `sonde-probe status`.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sonde_protocol::condition::{Level, Word};
use sonde_protocol::identity::{ClaimCode, claim_advice};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::Uplink;
use sonde_protocol::time::Nanos;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::agent::health::span;
use crate::condition::Held;
use crate::identity::Identity;
use crate::local_time::LocalTime;
use crate::{meeting, sandbox};

/// How long somebody who asks may take to listen.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long it is told that another probe has the same key, after the collector said so last. While the other one is there it
/// says so once a minute.
const DUPLICATE_STAYS: Duration = Duration::from_secs(300);

/// What to do about a copied key.
pub(crate) const DUPLICATE_ADVICE: &str = "on the machine that is to be a probe of its own, stop the probe, remove probe.key \
    from its state directory and start it again";

/// The longest answer.
const MAX_ANSWER: u64 = 64 * 1024;

/// The socket's name.
const SOCKET: &str = "status.sock";

/// Where the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Trying to reach a collector.
    Connecting,
    /// A collector has welcomed the probe.
    Connected,
    /// No collector is reached.
    Disconnected,
    /// A collector will not have the probe.
    Refused,
    /// Somebody has to claim the probe before it is served.
    Waiting,
}

impl State {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Refused => "refused",
            Self::Waiting => "waiting",
        }
    }
}

/// The answer to `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Where the connection stands.
    pub state: State,
    /// Since when, in Unix seconds by the machine's clock.
    pub since: u64,
    /// Why, when something is wrong, and what to do.
    pub why: Option<String>,
    /// The code by which somebody makes the probe theirs, while it is nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_code: Option<String>,
    /// What else there is to know about the probe's key, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_note: Option<String>,
    /// The network's name.
    pub network: String,
    /// The probe's number, once it is known.
    pub probe: Option<u64>,
    /// The probe's public key.
    pub key: String,
    /// Orders it has.
    pub orders: usize,
    /// Measurements running now.
    pub running: usize,
    /// Reports not yet durable at the collector.
    pub spool: u64,
    /// Bytes that the spool has written to the disk on this UTC day, in whole pages of 4096.
    #[serde(default)]
    pub written_today: u64,
    /// Why the reports are in memory alone, when the spool's file cannot be used.
    #[serde(default)]
    pub spool_trouble: Option<String>,
    /// What the connection runs over, `quic` or `tls`; absent while there is none.
    #[serde(default)]
    pub uplink: Option<String>,
    /// What its runs have settled of IPv6 and IPv4; absent before they have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reachability: Option<String>,
    /// What is wrong, the first to be repaired first.
    #[serde(default)]
    pub conditions: Vec<Shown>,
    /// The host's limits.
    #[serde(default)]
    pub host: HostLimits,
    /// What the program has given up.
    #[serde(default)]
    pub sandbox: sandbox::Report,
}

/// What the host allows, and what that does just now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HostLimits {
    /// Nothing is measured.
    pub paused: bool,
    /// Until when, in Unix seconds; until the host says otherwise when absent.
    pub paused_until: Option<u64>,
    /// It is an hour at which the host allows nothing.
    pub outside_hours: bool,
    /// Why the line counts as busy, if it does.
    pub line_busy: Option<String>,
    /// Which limit measurements are skipped for, if one is reached.
    pub limit_reached: Option<String>,
    /// Bytes used of this day (UTC).
    pub bytes_today: u64,
    /// Packets a second at most.
    pub packets_per_second: u32,
    /// Bytes a day at most.
    pub bytes_per_day: u64,
    /// Kinds that may be measured.
    pub kinds: Vec<String>,
    /// Hours in which measurements may begin; empty means always.
    pub hours: Vec<String>,
    /// Why `sonde.toml` as it is now is not in force.
    pub config_problem: Option<String>,
}

impl HostLimits {
    /// What the host should know of it in one line, most important first; empty when nothing holds the probe up.
    fn words(&self) -> String {
        let mut words = String::new();
        if let (true, Some(until)) = (self.paused, self.paused_until) {
            words += &format!("; paused until {}", LocalTime::of_this_machine().show(until));
        } else if self.paused {
            words += "; paused";
        } else if self.outside_hours {
            words += &format!("; waits for its hours ({})", self.hours.join(", "));
        }
        if let Some(why) = &self.line_busy {
            words += &format!("; quiet-line: the line is busy ({why}), periodic measurements wait");
        }
        if let Some(why) = &self.limit_reached {
            words += &format!("; limit-reached: {why}");
        }
        if let Some(problem) = &self.config_problem {
            words += &format!("; the configuration was not read again: {problem}");
        }
        words
    }
}

/// A condition as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The word, by its name.
    pub word: String,
    /// How bad it is: `problem`, `warning` or `note`.
    pub level: String,
    /// Since when, in Unix seconds by the machine's clock.
    pub since: u64,
    /// Which address, how far off. May be empty.
    pub detail: String,
    /// What it means.
    pub meaning: String,
    /// What to do.
    pub advice: String,
}

impl Shown {
    /// A condition that holds; `board` is whether the machine is one.
    pub fn of(held: &Held, monotonic: Nanos, board: bool) -> Self {
        let word = held.word;
        Self {
            word: word.name().into(),
            level: word.level().name().into(),
            since: now().saturating_sub(monotonic.since(held.began).as_secs()),
            detail: held.detail.clone(),
            meaning: word.meaning().into(),
            advice: word.advice_on(board).into(),
        }
    }

    /// The word itself, when this program knows it.
    pub fn known(&self) -> Option<Word> {
        Word::ALL.iter().copied().find(|word| word.name() == self.word)
    }

    /// What it means, with the detail.
    pub fn text(&self) -> String {
        let detail = if self.detail.is_empty() { String::new() } else { format!(" ({})", self.detail) };
        format!("{}{detail}", self.meaning)
    }
}

impl Status {
    /// One line for people.
    pub fn line(&self) -> String {
        let who = self.probe.map_or_else(|| format!("key {}", self.key), |id| format!("probe {id}"));
        let state = match self.state {
            State::Connecting => "connecting",
            State::Connected if self.uplink.as_deref() == Some(Uplink::Tls.name()) => {
                "connected by TLS, as UDP is blocked,"
            }
            State::Connected => "connected",
            State::Disconnected => "not connected",
            State::Refused => "refused",
            State::Waiting => "waiting to be claimed",
        };
        let note = self.key_note.as_ref().map(|note| format!("; {note}")).unwrap_or_default();
        let ago = span(Duration::from_secs(now().saturating_sub(self.since)));
        let why = self.reason();
        let walls = if self.sandbox.missing().is_empty() {
            ""
        } else {
            "; a wall of the sandbox is missing (sonde-probe doctor)"
        };
        let trouble = self.spool_trouble.as_ref().map(|why| format!(", in memory alone: {why}")).unwrap_or_default();
        let reachability = self.reachability.as_ref().map(|words| format!("; {words}")).unwrap_or_default();
        format!(
            "{who} of {}: {state} for {ago}{why}; {} orders, {} running, {} reports waiting{trouble}{reachability}{}{walls}{note}",
            self.network,
            self.orders,
            self.running,
            self.spool,
            self.host.words()
        )
    }

    /// The worst that is wrong and what to do; without words for it, what the last attempt said.
    fn reason(&self) -> String {
        // They come in the order of repair, so of equally bad ones the first counts.
        let level = |level: Level| self.conditions.iter().find(|one| one.level == level.name());
        // What the host wants is at the line's end, by its word.
        let worst = [Level::Problem, Level::Warning].into_iter().find_map(level);
        // Who waits is told the code, which is in what the collector said.
        let Some(worst) = worst.filter(|_| self.state != State::Waiting) else {
            return self.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        };
        let notes = self.conditions.iter().filter(|one| one.level == Level::Note.name()).count();
        let more = match self.conditions.len().saturating_sub(notes + 1) {
            0 => String::new(),
            more => format!(" (and {more} more: sonde-probe doctor)"),
        };
        format!(": {}: {} {}{more}", worst.word, worst.text(), worst.advice)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The socket, open and not yet listened at by anybody: made before the sandbox, which allows no listening.
#[derive(Debug)]
pub struct StatusSocket(std::os::unix::net::UnixListener);

impl StatusSocket {
    /// Listens in the state directory, or where [`meeting`] says. `None`: there is no place for it.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn open(state: &Path) -> std::io::Result<Option<Self>> {
        Ok(meeting::listen(state, SOCKET, 0o660)?.map(Self))
    }

    /// The same socket once more, for a boot.
    ///
    /// # Errors
    /// Without a descriptor left.
    pub fn try_clone(&self) -> std::io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

/// The running probe's side.
#[derive(Debug)]
pub struct StatusServer {
    /// Absent where no socket can be made.
    listener: Option<UnixListener>,
    asking: Option<UnixStream>,
    state: State,
    since: u64,
    why: Option<String>,
    probe: Option<ProbeId>,
    uplink: Option<Uplink>,
    claim_code: Option<ClaimCode>,
    /// When another probe with the same key was last heard of.
    duplicate: Option<Instant>,
    /// Something has changed that the service manager should know.
    news: bool,
    sandbox: sandbox::Report,
}

impl StatusServer {
    /// Answers at the socket.
    ///
    /// # Errors
    /// When the runtime cannot take it.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(socket: Option<StatusSocket>, sandbox: sandbox::Report) -> std::io::Result<Self> {
        let listener = socket.map(|socket| UnixListener::from_std(socket.0)).transpose()?;
        Ok(Self {
            listener,
            asking: None,
            state: State::Connecting,
            since: now(),
            why: None,
            probe: None,
            uplink: None,
            claim_code: None,
            duplicate: None,
            news: false,
            sandbox,
        })
    }

    fn become_(&mut self, state: State, why: Option<String>) {
        self.news |= self.state != state || self.why != why;
        if self.state != state {
            self.since = now();
        }
        self.state = state;
        self.why = why;
    }

    /// Something has changed in the line.
    pub fn note_news(&mut self) {
        self.news = true;
    }

    /// Whether something has changed since this was asked last.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// A connection is being made. What was wrong before stays visible until it stands.
    pub fn connecting(&mut self) {
        if self.state == State::Connected {
            self.become_(State::Connecting, None);
        }
    }

    /// A collector has welcomed the probe, over a connection of this sort.
    pub fn connected(&mut self, probe: ProbeId, uplink: Option<Uplink>) {
        self.uplink = uplink;
        self.probe = Some(probe);
        self.claim_code = None;
        self.become_(State::Connected, None);
    }

    /// The probe is served and is nobody's, or, without a code, somebody's now.
    pub fn claimable(&mut self, code: Option<ClaimCode>) {
        self.claim_code = code;
    }

    /// Another probe has the same key.
    pub fn duplicate(&mut self) {
        self.duplicate = Some(Instant::now());
    }

    /// There is no connection.
    pub fn disconnected(&mut self, why: &str) {
        if !matches!(self.state, State::Refused | State::Waiting) {
            self.become_(State::Disconnected, Some(why.into()));
        }
    }

    /// The collector refuses.
    pub fn refused(&mut self, why: &str) {
        self.claim_code = None;
        self.become_(State::Refused, Some(why.into()));
    }

    /// Somebody has to claim the probe first.
    pub fn waiting(&mut self, why: &str, code: ClaimCode) {
        self.claim_code = Some(code);
        self.become_(State::Waiting, Some(why.into()));
    }

    /// What there is to know about the key of a probe that is served.
    fn key_note(&self) -> Option<String> {
        let is_fresh = |seen: &Instant| seen.elapsed() < DUPLICATE_STAYS;
        if self.duplicate.as_ref().is_some_and(is_fresh) && self.state == State::Connected {
            return Some(format!("another probe has the same key and is turned away: {DUPLICATE_ADVICE}"));
        }
        let code = self.claim_code.filter(|_| self.state == State::Connected)?;
        Some(format!("this probe is nobody's and counts for little: {}", claim_advice(&code)))
    }

    /// Completes when somebody asks. Dropping the future loses nothing.
    pub async fn ready(&mut self) {
        let Some(listener) = &self.listener else { return std::future::pending().await };
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                self.asking = Some(stream);
                return;
            }
            // Out of descriptors: it will pass.
            tokio::time::sleep(PATIENCE).await;
        }
    }

    /// Tells whoever asked.
    pub async fn answer(&mut self, status: &Status) {
        if let (Some(mut stream), Ok(text)) = (self.asking.take(), serde_json::to_string(status)) {
            let _ = timeout(PATIENCE, stream.write_all(format!("{text}\n").as_bytes())).await;
        }
    }

    /// The answer.
    pub fn status(
        &self,
        identity: &Identity,
        spool: u64,
        running: usize,
        orders: usize,
        conditions: Vec<Shown>,
    ) -> Status {
        Status {
            state: self.state,
            since: self.since,
            why: self.why.clone(),
            claim_code: self.claim_code.map(|code| code.to_string()),
            key_note: self.key_note(),
            network: identity.network_name().to_owned(),
            probe: self.probe.map(|probe| probe.0),
            key: identity.key().public().to_string(),
            orders,
            running,
            spool,
            written_today: 0,
            spool_trouble: None,
            uplink: self.uplink.filter(|_| self.state == State::Connected).map(|uplink| uplink.name().to_owned()),
            reachability: None,
            host: HostLimits::default(),
            conditions,
            sandbox: self.sandbox.clone(),
        }
    }
}

/// Asks the running probe of a state directory.
///
/// # Errors
/// When none runs there.
pub fn ask(state: &Path) -> std::io::Result<Status> {
    let stream = meeting::connect(state, SOCKET)?;
    stream.set_read_timeout(Some(PATIENCE * 5))?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_ANSWER)).read_line(&mut line)?;
    serde_json::from_str(&line).map_err(std::io::Error::other)
}
