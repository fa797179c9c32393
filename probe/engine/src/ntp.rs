//! `ntp`: client exchanges with one server, one after the other (RFC 5905; the options are RIPE Atlas's).
//!
//! It must not know whose clock is right. Requests and answers are timed by the monotonic clock; [`Anchor`]s tell which time
//! of day that was, by the probe's notion of it.
//!
//! 1. A request says nothing of this host: all fields are zero but the version and the transmit time, which is random. The
//!    server returns it as the origin time, and by that the answer is known (draft-ietf-ntp-data-minimization; with the random
//!    port of RFC 9109, 96 bits to guess for whoever is not on the path).
//! 2. An answer comes from the server's address and port, in server mode, with that origin. Everything else is a stray and
//!    counted. Silence, an ICMP error, a kiss-o'-death are results.
//! 3. The next request goes when the one before is decided: answered, refused by the server's host, or silent for the
//!    time-out. An ICMP error of anybody else is remembered and waited out.
//! 4. A server that asks to be left alone (RATE, DENY, RSTR) is (RFC 5905, 7.4).

mod packet;

use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use sonde_protocol::bounded::List;
use sonde_protocol::net::Ip;
use sonde_protocol::result::{IcmpError, NtpAnswer, NtpNoTime, NtpOutcome, NtpReply, NtpServer, Outcome, Why};
use sonde_protocol::seed::mix;
use sonde_protocol::spec::NtpSpec;
use sonde_protocol::time::{Nanos, UnixNanos};

use crate::{Channel, Engine, IcmpErrorEvent, Meta, Token, Transmit};
use packet::{Answer, Stamp};

/// The port of every NTP server.
pub const PORT: u16 = 123;

/// Destination unreachable, port unreachable (RFC 792; RFC 4443, 3.1): from the server itself, nobody is there.
const PORT_UNREACHABLE: [(bool, u8, u8); 2] = [(true, 3, 3), (false, 1, 4)];

/// Kiss codes that end a run (RFC 5905, 7.4).
const LEAVE_ALONE: [&[u8; 4]; 3] = [b"RATE", b"DENY", b"RSTR"];

/// Above this part of the time between two anchors a difference between both clocks is a step; below it is slewing (chrony
/// slews by up to a twelfth, the tests by a tenth).
const LARGEST_SLEW: i64 = 8;

/// What one run is.
#[derive(Debug, Clone)]
pub struct NtpConfig {
    /// The definition. Figures out of range are brought into it.
    pub spec: NtpSpec,
    /// Whom to ask.
    pub dst: IpAddr,
    /// Random bits: what answers are known by.
    pub cookie: u64,
}

/// One moment on the engine's clock and as time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// The moment.
    pub now: Nanos,
    /// The time of day, by the probe's notion of it.
    pub time: UnixNanos,
}

/// One run of `ntp`.
#[derive(Debug)]
pub struct Ntp {
    dst: IpAddr,
    cookie: u64,
    timeout: Duration,
    total: usize,
    start: Anchor,
    requests: Vec<Request>,
    phase: Phase,
    strays: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Send,
    Wait { until: Nanos },
    Ended,
    Taken,
}

/// Times are compared when the run has ended: the kernel's stamp of departure may come after the answer.
#[derive(Debug)]
struct Request {
    sent_at: Nanos,
    fate: Fate,
}

#[derive(Debug)]
enum Fate {
    Waiting { error: Option<(Nanos, IcmpError)> },
    Answered(Nanos, Answer),
    Silent,
    Icmp(Nanos, IcmpError),
    NotSent(Why),
}

impl Ntp {
    /// A run that begins at `start`.
    pub fn new(config: NtpConfig, start: Anchor) -> Self {
        let NtpConfig { spec, dst, cookie } = config;
        let packets = spec.packets.clamp(NtpSpec::PACKETS.min, NtpSpec::PACKETS.max);
        let timeout = spec.timeout.clamp(NtpSpec::TIMEOUT.min, NtpSpec::TIMEOUT.max);
        Self {
            dst,
            cookie,
            timeout: Duration::from_millis(u64::from(timeout)),
            total: usize::try_from(packets).unwrap_or(1),
            start,
            requests: Vec::new(),
            phase: Phase::Send,
            strays: 0,
        }
    }

    /// What was seen, by the time of day as it was at the start and at `end`. Slewing between both is spread evenly, so that
    /// a long run is as exact at its end as at its beginning. After a step nobody knows when it was, and the clock of the
    /// start counts for all of the run.
    pub fn outcome(&self, end: Anchor) -> NtpOutcome {
        let replies = self.requests.iter().map(|request| self.reply(request, end));
        NtpOutcome { server: self.server(), replies: List::cut(replies), strays: self.strays }
    }

    fn reply(&self, request: &Request, end: Anchor) -> NtpReply {
        let elapsed = |received_at: Nanos| u64::try_from(received_at.nanos_since(request.sent_at)).unwrap_or(0);
        match &request.fate {
            Fate::Waiting { .. } | Fate::Silent => NtpReply::Timeout,
            Fate::NotSent(why) => NtpReply::SendError(why.clone()),
            Fate::Icmp(received_at, error) => {
                NtpReply::Icmp(IcmpError { rtt: Some(elapsed(*received_at)), ..error.clone() })
            }
            Fate::Answered(received_at, answer) => match (answer.kiss(), answer.times()) {
                (None, Some((receive, transmit))) => {
                    let (origin, last) = (self.wall(request.sent_at, end), self.wall(*received_at, end));
                    let round_trip = received_at.nanos_since(request.sent_at);
                    NtpReply::Answer(times(origin, receive, transmit, last, round_trip))
                }
                (kiss, _) => NtpReply::NoTime(NtpNoTime { elapsed: elapsed(*received_at), kiss }),
            },
        }
    }

    fn server(&self) -> Option<NtpServer> {
        let mut answers = self.requests.iter().filter_map(|request| match &request.fate {
            Fate::Answered(_, answer) => Some(answer),
            _ => None,
        });
        let first = answers.clone().next()?;
        let best = answers.find(|answer| answer.kiss().is_none() && answer.times().is_some()).unwrap_or(first);
        Some(best.server(self.start.time))
    }

    /// A moment as time of day.
    fn wall(&self, at: Nanos, end: Anchor) -> UnixNanos {
        let passed = at.nanos_since(self.start.now);
        let monotonic = end.now.nanos_since(self.start.now);
        let ahead = end.time.nanos_since(self.start.time).saturating_sub(monotonic);
        let is_slewing = monotonic > 0 && ahead.saturating_abs() <= monotonic / LARGEST_SLEW;
        let slewed = if is_slewing {
            let part = i128::from(ahead) * i128::from(passed) / i128::from(monotonic);
            i64::try_from(part).unwrap_or(0)
        } else {
            0
        };
        UnixNanos(self.start.time.0.saturating_add(passed).saturating_add(slewed))
    }

    /// What the answer to request number `index` has to bring back; never 0, which means "no time".
    fn origin(&self, index: usize) -> u64 {
        mix(self.cookie.wrapping_add(u64::try_from(index).unwrap_or(0))).max(1)
    }

    /// The request that waits for an answer, and what that brings back.
    fn waiting(&mut self) -> Option<(u64, &mut Request)> {
        let origin = self.origin(self.requests.len().checked_sub(1)?);
        let request = self.requests.last_mut()?;
        matches!(request.fate, Fate::Waiting { .. }).then_some((origin, request))
    }

    fn decide(&mut self, fate: Fate) {
        let leave_alone = matches!(&fate, Fate::Answered(_, answer)
            if answer.kiss().is_some_and(|kiss| LEAVE_ALONE.iter().any(|code| **code == kiss.to_be_bytes())));
        if let Some(request) = self.requests.last_mut() {
            request.fate = fate;
        }
        let is_over = leave_alone || self.requests.len() >= self.total;
        self.phase = if is_over { Phase::Ended } else { Phase::Send };
    }

    fn stray(&mut self) {
        self.strays = self.strays.saturating_add(1);
    }
}

/// The times of one exchange. The round trip is of the monotonic clock, which nobody steps.
fn times(origin: UnixNanos, receive: Stamp, transmit: Stamp, last: UnixNanos, round_trip: i64) -> NtpAnswer {
    let (t2, t3) = (receive.near(origin), transmit.near(origin));
    let there = i128::from(t2.0) - i128::from(origin.0);
    let back = i128::from(t3.0) - i128::from(last.0);
    let rtt = i128::from(round_trip) - transmit.nanos_since(receive);
    NtpAnswer { origin, receive: t2, transmit: t3, last, rtt: saturated(rtt), offset: saturated((there + back) / 2) }
}

fn saturated(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

impl Engine for Ntp {
    fn poll_transmit(&mut self, now: Nanos) -> Option<Transmit> {
        if self.phase != Phase::Send {
            return None;
        }
        let index = self.requests.len();
        self.requests.push(Request { sent_at: now, fate: Fate::Waiting { error: None } });
        self.phase = Phase::Wait { until: now + self.timeout };
        Some(Transmit {
            token: Token(u32::try_from(index).ok()?),
            dst: self.dst,
            channel: Channel::Udp { port: PORT },
            hop_limit: None,
            traffic_class: 0,
            dont_fragment: false,
            payload: packet::request(self.origin(index)),
        })
    }

    fn handle_sent(&mut self, token: Token, sent_at: Nanos) {
        if let Some(request) = usize::try_from(token.0).ok().and_then(|index| self.requests.get_mut(index)) {
            request.sent_at = sent_at;
        }
    }

    fn handle_send_error(&mut self, token: Token, _now: Nanos, why: Why) {
        let is_newest = usize::try_from(token.0).is_ok_and(|index| index + 1 == self.requests.len());
        if is_newest && self.waiting().is_some() {
            self.decide(Fate::NotSent(why));
        }
    }

    fn handle_datagram(&mut self, meta: &Meta, bytes: &[u8]) {
        let is_server = meta.from == self.dst && meta.from_port == PORT;
        let answer = Answer::parse(bytes).filter(|answer| is_server && answer.is_of_a_server());
        match (answer, self.waiting()) {
            (Some(answer), Some((origin, _))) if answer.origin() == origin => {
                self.decide(Fate::Answered(meta.received_at, answer));
            }
            _ => self.stray(),
        }
    }

    fn handle_icmp_error(&mut self, event: &IcmpErrorEvent) {
        let dst = self.dst;
        let error = IcmpError {
            from: Ip(event.from),
            kind: event.kind,
            code: event.code,
            rtt: None,
            hop_limit: event.hop_limit,
            mtu: event.mtu,
        };
        let is_refusal =
            event.from == dst && PORT_UNREACHABLE.contains(&(event.from.is_ipv4(), event.kind, event.code));
        // Systems and routers may give back nothing of our packet; what they do give back must be ours.
        match self.waiting() {
            Some((origin, request)) if packet::quotes(&event.quoted, origin) => {
                if is_refusal {
                    self.decide(Fate::Icmp(event.received_at, error));
                } else {
                    request.fate = Fate::Waiting { error: Some((event.received_at, error)) };
                }
            }
            _ => self.stray(),
        }
    }

    fn poll_timeout(&self) -> Option<Nanos> {
        match self.phase {
            Phase::Send => Some(self.start.now),
            Phase::Wait { until } => Some(until),
            Phase::Ended | Phase::Taken => None,
        }
    }

    fn handle_timeout(&mut self, now: Nanos) {
        if matches!(self.phase, Phase::Wait { until } if now >= until) {
            let error = match self.waiting() {
                Some((_, Request { fate: Fate::Waiting { error }, .. })) => error.take(),
                _ => None,
            };
            self.decide(error.map_or(Fate::Silent, |(at, error)| Fate::Icmp(at, error)));
        }
    }

    /// By the clock of the start; [`Ntp::outcome`] knows better.
    fn poll_outcome(&mut self) -> Option<Outcome> {
        if self.phase != Phase::Ended {
            return None;
        }
        self.phase = Phase::Taken;
        Some(Outcome::Ntp(self.outcome(self.start)))
    }
}
