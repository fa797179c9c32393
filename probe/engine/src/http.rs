//! One HTTP request and its response (RFC 9110, RFC 9112), as a plan, events and an outcome.
//!
//! The shell makes a [`Plan`], connects, does TLS if the plan says so, sends [`Plan::request`] and gives each thing that
//! happens to an [`Exchange`] until that is over or the plan's time is up. The exchange reads the response as it comes and
//! keeps nothing of the body, so memory is bounded whatever a server sends. Redirects are not followed: where they lead
//! nobody has allowed. What is left out: other methods than GET, HEAD and an empty POST, and any coding but chunks.

mod response;
#[cfg(test)]
mod tests;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use sonde_protocol::bounded::Bytes;
use sonde_protocol::result::{Failure, HttpOutcome, HttpRead, Why};
use sonde_protocol::spec::{HttpMethod, HttpSpec};
use sonde_protocol::time::Nanos;

use self::response::Response;

pub use self::response::{MAX_FRAMING, MAX_HEAD};

/// How long everything may take, connection included. RIPE Atlas lets nobody choose it either.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Who asks. Not the definition's to choose, so that whoever is asked can tell who it was.
pub const USER_AGENT: &str = concat!("Sonde/", env!("CARGO_PKG_VERSION"));

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Port of the server.
    pub port: u16,
    /// TLS before the request.
    pub tls: bool,
    /// What is sent.
    pub request: Vec<u8>,
}

impl Plan {
    /// The request of `spec` to `host`, the target as it was asked for.
    ///
    /// # Errors
    /// When the definition or the host cannot stand in a request.
    pub fn new(spec: &HttpSpec, host: &str) -> Result<Self, Failure> {
        let refused = |what: &str| Failure::Unsupported(Why::cut(format!("{what} cannot stand in an HTTP request")));
        let is_visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || !is_visible(host) {
            return Err(refused("the target"));
        }
        let path = spec.path_and_query();
        if !path.starts_with('/') || !is_visible(&path) {
            return Err(refused("the path"));
        }
        let port = u16::try_from(spec.port).map_err(|_| refused("the port"))?;
        let version = if spec.version_1_1 { "1.1" } else { "1.0" };
        let length = if spec.method == HttpMethod::Post { "Content-Length: 0\r\n" } else { "" };
        let request = format!(
            "{} {path} HTTP/{version}\r\nHost: {}\r\nUser-Agent: {USER_AGENT}\r\n{length}Connection: close\r\n\r\n",
            spec.method.name(),
            spec.authority(host.strip_suffix('.').unwrap_or(host)),
        );
        Ok(Self { port, tls: spec.https, request: request.into_bytes() })
    }
}

/// What the exchange is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Connect,
    Tls,
    Send,
    Status,
    Header,
    Chunk,
    Body,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Connect => "connect",
            Step::Tls => "in TLS handshake",
            Step::Send => "sending request",
            Step::Status => "reading status",
            Step::Header => "reading header",
            Step::Chunk => "reading chunk",
            Step::Body => "reading body",
        })
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// The connection is open.
    Connected,
    /// TLS is set up.
    Secured,
    /// The whole request has been handed to the system.
    Sent,
    /// Bytes of the response came.
    Bytes(&'a [u8]),
    /// The server closed the connection.
    Closed,
    /// What was being done failed, in these words.
    Failed(Why),
    /// The time is up.
    TimedOut,
}

/// One request under way. See the module.
#[derive(Debug, Clone)]
pub struct Exchange {
    started: Nanos,
    tls: bool,
    extended_timing: bool,
    more_extended_timing: bool,
    header_bytes: usize,
    step: Step,
    received: u64,
    response: Response,
    outcome: HttpOutcome,
    is_over: bool,
}

impl Exchange {
    /// An exchange that begins to connect at `started`.
    pub fn new(spec: &HttpSpec, started: Nanos) -> Self {
        let most = spec.max_bytes_read.unwrap_or(HttpSpec::MAX_BYTES_READ.default);
        Self {
            started,
            tls: spec.https,
            extended_timing: spec.extended_timing,
            more_extended_timing: spec.more_extended_timing,
            header_bytes: usize::try_from(spec.header_bytes).unwrap_or(0),
            step: Step::Connect,
            received: 0,
            response: Response::new(spec.method != HttpMethod::Head, u64::from(most)),
            outcome: HttpOutcome::new(spec.method),
            is_over: false,
        }
    }

    /// When it has taken too long.
    pub fn deadline(&self) -> Nanos {
        self.started + TIMEOUT
    }

    /// Has the response ended, or will there be none?
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// This happened at `at`. What happens when all is over counts for nothing.
    pub fn handle(&mut self, at: Nanos, event: &Event<'_>) {
        if self.is_over {
            return;
        }
        let time = since(self.started, at);
        match event {
            Event::Connected => {
                self.step = if self.tls { Step::Tls } else { Step::Send };
                self.outcome.connect = Some(time).filter(|_| self.extended_timing);
            }
            Event::Secured => {
                self.step = Step::Send;
                self.outcome.tls = Some(time).filter(|_| self.extended_timing);
            }
            Event::Sent => self.step = Step::Status,
            Event::Bytes(data) => self.bytes(time, data),
            Event::Closed => match self.response.close() {
                Ok(()) => self.end(time),
                Err(()) => self.fail(format!("connection closed {}", self.step())),
            },
            Event::Failed(why) => self.fail(match self.step() {
                // Atlas's form.
                Step::Connect => format!("connect: {why}"),
                Step::Tls => format!("TLS: {why}"),
                step => format!("{step}: {why}"),
            }),
            Event::TimedOut => self.fail(match self.step() {
                Step::Connect => "connect: timeout".into(),
                step => format!("timeout {step}"),
            }),
        }
    }

    fn bytes(&mut self, time: u64, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        if self.received == 0 {
            self.outcome.first_byte = Some(time).filter(|_| self.extended_timing);
        }
        if self.more_extended_timing {
            // The first ones say most; the rest of a response that trickles in is left out.
            let _ = self.outcome.reads.push(HttpRead { offset: self.received, at: time });
        }
        self.received = self.received.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        match self.response.push(data) {
            Ok(true) => self.end(time),
            Ok(false) => {}
            Err(why) => self.fail(format!("bad response: {why}")),
        }
    }

    /// What is being done, as far as it can be told.
    fn step(&self) -> Step {
        if self.received == 0 { self.step } else { self.response.step() }
    }

    fn end(&mut self, time: u64) {
        self.outcome.rt = Some(time);
        self.is_over = true;
    }

    fn fail(&mut self, why: String) {
        self.outcome.failure = Some(Why::cut(why));
        self.is_over = true;
    }

    /// What was seen. Without an end it was broken off.
    pub fn finish(mut self) -> HttpOutcome {
        if !self.is_over {
            self.fail(format!("broken off {}", self.step()));
        }
        self.outcome.head = self.response.head();
        self.outcome.body_size = self.response.body_size();
        self.outcome.truncated = self.response.is_truncated();
        if self.header_bytes > 0 && self.outcome.head.is_some() {
            let lines = self.response.header_lines();
            self.outcome.header = Bytes::new(lines.get(..self.header_bytes).unwrap_or(lines));
        }
        self.outcome
    }
}

/// Nanoseconds from `started` to `at`.
fn since(started: Nanos, at: Nanos) -> u64 {
    u64::try_from(at.nanos_since(started)).unwrap_or(0)
}
