//! `ping`: echo requests one interval apart, and what came back (RFC 792, RFC 4443; the rules are RIPE Atlas's).
//!
//! It must not know how requests travel, who else pings, or what time it is.
//!
//! 1. Request i has the sequence number `first_sequence + i` (modulo 65536) and starts with the cookie.
//! 2. The first goes at once, each other one packet interval after the one before.
//! 3. A reply counts for the request it names for as long as the run is open, however late and in whatever order.
//! 4. The run ends when every request has an answer (a reply, an ICMP error or a failure to send), else
//!    [`WAIT_FOR_LAST`] after the last request. It never waits for duplicates.

use alloc::format;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use sonde_protocol::bounded::List;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::{Family, Ip};
use sonde_protocol::result::{EchoReply, IcmpError, Outcome, PingOutcome, PingReply, Why};
use sonde_protocol::spec::PingSpec;
use sonde_protocol::time::Nanos;

use crate::icmp::{self, Kind, Message, Problem};
use crate::{Channel, Engine, IcmpErrorEvent, Meta, Token, Transmit};

/// How long the run waits after its last request (RIPE Atlas's second).
pub const WAIT_FOR_LAST: Duration = Duration::from_secs(1);

/// How many replies an outcome has room for; what the requests do not need is there for duplicates.
const MAX_REPLIES: usize = 64;

/// What one run is.
#[derive(Debug, Clone)]
pub struct PingConfig {
    /// The definition. Figures out of range are brought into it.
    pub spec: PingSpec,
    /// Whom to ask.
    pub dst: IpAddr,
    /// The first of the [`icmp::sequences_needed`] sequence numbers that are this run's own.
    pub first_sequence: u16,
    /// Random bits that tell this run's replies from an earlier run's and from a stranger's.
    pub cookie: u64,
    /// The probe, for `include_probe_id`.
    pub probe_id: ProbeId,
}

/// One run of `ping`.
#[derive(Debug)]
pub struct Ping {
    dst: IpAddr,
    size: u32,
    first_sequence: u16,
    payload: Vec<u8>,
    /// How many bytes at the start of the payload are the cookie.
    cookie_len: usize,
    interval: Duration,
    total: usize,
    requests: Vec<Request>,
    room_for_duplicates: usize,
    /// When the next request goes, or after the last one when the run ends.
    next_at: Nanos,
    phase: Phase,
    ignored: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Ended,
    Taken,
}

#[derive(Debug)]
struct Request {
    sent_at: Nanos,
    fate: Fate,
    duplicates: Vec<Echo>,
}

/// Round-trip times are made when the run has ended: the kernel's stamp of departure may come after the reply.
#[derive(Debug)]
enum Fate {
    Waiting,
    Reply(Echo),
    Icmp(Nanos, IcmpError),
    NotSent(Why),
}

#[derive(Debug)]
struct Echo {
    received_at: Nanos,
    hop_limit: Option<u8>,
    size: u32,
    from: IpAddr,
}

impl Ping {
    /// A run that begins at `now`.
    pub fn new(config: PingConfig, now: Nanos) -> Self {
        let PingConfig { spec, dst, first_sequence, cookie, probe_id } = config;
        let size = spec.size.min(PingSpec::SIZE.max);
        let length = usize::try_from(size).unwrap_or(0);
        let mut payload = cookie.to_be_bytes().to_vec();
        let cookie_len = payload.len().min(length);
        if spec.include_probe_id {
            payload.extend(format!("probe {probe_id} ").bytes());
        }
        icmp::fill(&mut payload, length);
        let packets = spec.packets.clamp(PingSpec::PACKETS.min, PingSpec::PACKETS.max);
        let total = usize::try_from(packets).unwrap_or(1);
        Self {
            dst,
            size,
            first_sequence,
            payload,
            cookie_len,
            interval: Duration::from_millis(u64::from(spec.packet_interval)),
            total,
            requests: Vec::with_capacity(total),
            room_for_duplicates: MAX_REPLIES.saturating_sub(total),
            next_at: now,
            phase: Phase::Running,
            ignored: 0,
        }
    }

    /// Packets that came and were not about this run, or for which there was no room.
    pub fn ignored(&self) -> u32 {
        self.ignored
    }

    /// The request that an echo message names, when its cookie is ours. `whole` is for replies, which have to bring the
    /// whole cookie; quotes in errors may be cut.
    fn request_of(&mut self, message: &Message<'_>, whole: bool) -> Option<&mut Request> {
        let index = usize::from(message.sequence.wrapping_sub(self.first_sequence));
        let mut pairs = message.payload.iter().zip(&self.payload).take(self.cookie_len);
        let ours = pairs.all(|(theirs, ours)| theirs == ours);
        if !ours || (whole && message.payload.len() < self.cookie_len) {
            return None;
        }
        self.requests.get_mut(index)
    }

    fn ignore(&mut self) {
        self.ignored = self.ignored.saturating_add(1);
    }

    fn end_if_all_answered(&mut self) {
        let answered = |request: &Request| !matches!(request.fate, Fate::Waiting);
        if self.phase == Phase::Running && self.requests.len() == self.total && self.requests.iter().all(answered) {
            self.phase = Phase::Ended;
        }
    }

    fn outcome(&self) -> PingOutcome {
        let not_sent = self.requests.iter().filter(|request| matches!(request.fate, Fate::NotSent(_))).count();
        PingOutcome {
            size: self.size,
            sent: u32::try_from(self.requests.len() - not_sent).unwrap_or(0),
            replies: List::cut(self.requests.iter().flat_map(Request::replies)),
        }
    }
}

impl Engine for Ping {
    fn poll_transmit(&mut self, now: Nanos) -> Option<Transmit> {
        if self.phase != Phase::Running || self.requests.len() >= self.total || now < self.next_at {
            return None;
        }
        let index = u16::try_from(self.requests.len()).ok()?;
        self.requests.push(Request { sent_at: now, fate: Fate::Waiting, duplicates: Vec::new() });
        let last = self.requests.len() == self.total;
        self.next_at = now + if last { WAIT_FOR_LAST } else { self.interval };
        let sequence = self.first_sequence.wrapping_add(index);
        Some(Transmit {
            token: Token(u32::from(index)),
            dst: self.dst,
            channel: Channel::Icmp,
            hop_limit: None,
            traffic_class: 0,
            dont_fragment: false,
            payload: icmp::echo_request(Family::of(self.dst), sequence, &self.payload),
        })
    }

    fn handle_sent(&mut self, token: Token, sent_at: Nanos) {
        if let Some(request) = usize::try_from(token.0).ok().and_then(|index| self.requests.get_mut(index)) {
            request.sent_at = sent_at;
        }
    }

    fn handle_send_error(&mut self, token: Token, _now: Nanos, why: Why) {
        if let Some(request) = usize::try_from(token.0).ok().and_then(|index| self.requests.get_mut(index))
            && matches!(request.fate, Fate::Waiting)
        {
            request.fate = Fate::NotSent(why);
        }
        self.end_if_all_answered();
    }

    fn handle_datagram(&mut self, meta: &Meta, bytes: &[u8]) {
        let message = Message::parse(Family::of(self.dst), bytes);
        let Some(message) = message.filter(|m| m.kind == Kind::EchoReply && m.code == 0) else { return self.ignore() };
        let echo = Echo {
            received_at: meta.received_at,
            hop_limit: meta.hop_limit,
            size: u32::try_from(message.payload.len()).unwrap_or(u32::MAX),
            from: meta.from,
        };
        let room = self.room_for_duplicates;
        let Some(request) = self.request_of(&message, true) else { return self.ignore() };
        match request.fate {
            // A reply says more than an error that came before it.
            Fate::Waiting | Fate::Icmp(..) => request.fate = Fate::Reply(echo),
            Fate::Reply(_) if room > 0 => {
                request.duplicates.push(echo);
                self.room_for_duplicates -= 1;
            }
            Fate::Reply(_) | Fate::NotSent(_) => self.ignore(),
        }
        self.end_if_all_answered();
    }

    fn handle_icmp_error(&mut self, event: &IcmpErrorEvent) {
        let family = Family::of(self.dst);
        let quoted = Message::parse(family, &event.quoted).filter(|m| m.kind == Kind::EchoRequest);
        let Some(quoted) = quoted.filter(|_| Problem::of(family, event.kind, event.code) != Problem::Other) else {
            return self.ignore();
        };
        let Some(request) = self.request_of(&quoted, false) else { return self.ignore() };
        if !matches!(request.fate, Fate::Waiting) {
            return self.ignore();
        }
        let error = IcmpError {
            from: Ip(event.from),
            kind: event.kind,
            code: event.code,
            rtt: None,
            hop_limit: event.hop_limit,
            mtu: event.mtu,
        };
        request.fate = Fate::Icmp(event.received_at, error);
        self.end_if_all_answered();
    }

    fn poll_timeout(&self) -> Option<Nanos> {
        (self.phase == Phase::Running).then_some(self.next_at)
    }

    fn handle_timeout(&mut self, now: Nanos) {
        if self.phase == Phase::Running && self.requests.len() == self.total && now >= self.next_at {
            self.phase = Phase::Ended;
        }
    }

    fn poll_outcome(&mut self) -> Option<Outcome> {
        if self.phase != Phase::Ended {
            return None;
        }
        self.phase = Phase::Taken;
        Some(Outcome::Ping(self.outcome()))
    }
}

impl Request {
    fn replies(&self) -> impl Iterator<Item = PingReply> {
        let first = match &self.fate {
            Fate::Waiting => PingReply::Timeout,
            Fate::NotSent(why) => PingReply::SendError(why.clone()),
            Fate::Reply(echo) => PingReply::Reply(self.echo_reply(echo, false)),
            Fate::Icmp(received_at, error) => {
                PingReply::Icmp(IcmpError { rtt: Some(self.rtt(*received_at)), ..error.clone() })
            }
        };
        let duplicates = self.duplicates.iter().map(|echo| PingReply::Reply(self.echo_reply(echo, true)));
        core::iter::once(first).chain(duplicates)
    }

    fn echo_reply(&self, echo: &Echo, duplicate: bool) -> EchoReply {
        EchoReply {
            rtt: self.rtt(echo.received_at),
            hop_limit: echo.hop_limit,
            size: echo.size,
            from: Ip(echo.from),
            duplicate,
        }
    }

    /// Never negative: stamps of two clocks may cross by a hair.
    fn rtt(&self, received_at: Nanos) -> u64 {
        u64::try_from(received_at.since(self.sent_at).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DST: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 1));
    const MS: i64 = 1_000_000;

    fn ping(spec: PingSpec) -> Ping {
        let config =
            PingConfig { spec, dst: DST, first_sequence: 9, cookie: 0x0102_0304_0506_0708, probe_id: ProbeId(77) };
        Ping::new(config, Nanos(0))
    }

    fn one_packet() -> PingSpec {
        PingSpec { packets: 1, ..PingSpec::default() }
    }

    fn meta(at: i64) -> Meta {
        Meta { received_at: Nanos(at), from: DST, from_port: 0, hop_limit: Some(57), fragment: None }
    }

    fn reply_to(transmit: &Transmit) -> Vec<u8> {
        let mut bytes = transmit.payload.clone();
        bytes[0] = 0;
        bytes
    }

    fn replies(ping: &mut Ping) -> Vec<PingReply> {
        match ping.poll_outcome() {
            Some(Outcome::Ping(outcome)) => outcome.replies.into_vec(),
            other => panic!("no outcome of a ping: {other:?}"),
        }
    }

    #[test]
    fn the_payload_says_whose_it_is() {
        let spec = PingSpec { include_probe_id: true, size: 40, ..one_packet() };
        let payload = ping(spec).poll_transmit(Nanos(0)).unwrap().payload;
        assert_eq!(&payload[..16], b"\x08\0\0\0\0\0\0\x09\x01\x02\x03\x04\x05\x06\x07\x08");
        assert_eq!(&payload[16..], b"probe 77 Sonde network measureme");
    }

    #[test]
    fn a_small_payload_holds_as_much_of_the_cookie_as_fits() {
        let mut ping = ping(PingSpec { size: 3, ..one_packet() });
        let request = ping.poll_transmit(Nanos(0)).unwrap();
        assert_eq!(&request.payload[8..], [1, 2, 3]);
        ping.handle_datagram(&meta(MS), &reply_to(&request));
        assert!(matches!(replies(&mut ping)[..], [PingReply::Reply(EchoReply { size: 3, rtt: 1_000_000, .. })]));
    }

    #[test]
    fn what_is_not_a_reply_to_this_run_is_ignored() {
        let mut ping = ping(one_packet());
        let request = ping.poll_transmit(Nanos(0)).unwrap();
        let right = reply_to(&request);
        let changed = |at: usize, to: u8| {
            let mut bytes = right.clone();
            bytes[at] = to;
            bytes
        };
        // A request, a code, a number before and behind the block, another cookie, a cut cookie, no message at all.
        let wrong = [changed(0, 8), changed(1, 1), changed(7, 8), changed(7, 10), changed(15, 0)];
        for bytes in wrong.iter().map(Vec::as_slice).chain([&right[..12], &right[..8], &right[..7], &[]]) {
            ping.handle_datagram(&meta(MS), bytes);
        }
        assert_eq!((ping.ignored(), ping.poll_outcome()), (9, None));
        ping.handle_datagram(&meta(2 * MS), &right);
        assert!(matches!(replies(&mut ping)[..], [PingReply::Reply(EchoReply { rtt: 2_000_000, .. })]));
    }

    #[test]
    fn redirects_and_foreign_quotes_are_no_answer() {
        let mut ping = ping(one_packet());
        let request = ping.poll_transmit(Nanos(0)).unwrap();
        let error = |kind, code, quoted: &[u8]| IcmpErrorEvent {
            received_at: Nanos(MS),
            from: DST,
            hop_limit: None,
            kind,
            code,
            mtu: None,
            quoted: quoted.to_vec(),
            details: crate::ErrorDetails::default(),
            extensions: None,
        };
        ping.handle_icmp_error(&error(5, 1, &request.payload));
        ping.handle_icmp_error(&error(3, 1, &reply_to(&request)));
        ping.handle_icmp_error(&error(3, 1, &[]));
        let mut foreign = request.payload.clone();
        foreign[8] ^= 1;
        ping.handle_icmp_error(&error(3, 1, &foreign));
        assert_eq!((ping.ignored(), ping.poll_outcome()), (4, None));
        // An eight-byte quote is all that RFC 792 asks for.
        ping.handle_icmp_error(&error(3, 1, &request.payload[..8]));
        assert!(matches!(replies(&mut ping)[..], [PingReply::Icmp(IcmpError { kind: 3, rtt: Some(1_000_000), .. })]));
    }

    #[test]
    fn a_reply_says_more_than_an_error_before_it() {
        let mut ping = ping(PingSpec { packets: 2, ..PingSpec::default() });
        let request = ping.poll_transmit(Nanos(0)).unwrap();
        let error = IcmpErrorEvent {
            received_at: Nanos(MS),
            from: DST,
            hop_limit: None,
            kind: 3,
            code: 1,
            mtu: None,
            quoted: request.payload.clone(),
            details: crate::ErrorDetails::default(),
            extensions: None,
        };
        ping.handle_icmp_error(&error);
        ping.handle_datagram(&meta(2 * MS), &reply_to(&request));
        ping.handle_icmp_error(&error);
        ping.poll_transmit(Nanos(1000 * MS)).unwrap();
        ping.handle_timeout(Nanos(2000 * MS));
        let replies = replies(&mut ping);
        assert!(matches!(replies[..], [PingReply::Reply(EchoReply { rtt: 2_000_000, .. }), PingReply::Timeout]));
        assert_eq!(ping.ignored(), 1);
    }

    #[test]
    fn an_rtt_is_never_negative_and_uses_the_last_stamp() {
        let mut ping = ping(PingSpec { packets: 2, packet_interval: 1000, ..PingSpec::default() });
        let first = ping.poll_transmit(Nanos(0)).unwrap();
        ping.handle_sent(first.token, Nanos(0));
        ping.handle_datagram(&meta(5 * MS), &reply_to(&first));
        ping.handle_sent(first.token, Nanos(2 * MS));
        let second = ping.poll_transmit(Nanos(1000 * MS)).unwrap();
        ping.handle_sent(second.token, Nanos(1002 * MS));
        ping.handle_datagram(&meta(1001 * MS), &reply_to(&second));
        let rtts: Vec<u64> = replies(&mut ping)
            .iter()
            .map(|reply| match reply {
                PingReply::Reply(reply) => reply.rtt,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(rtts, [3_000_000, 0]);
        assert_eq!((ping.poll_outcome(), ping.poll_timeout()), (None, None));
    }

    #[test]
    fn a_flood_of_duplicates_is_cut_and_counted() {
        let mut ping = ping(PingSpec { packets: 2, ..PingSpec::default() });
        let first = ping.poll_transmit(Nanos(0)).unwrap();
        for _ in 0..100 {
            ping.handle_datagram(&meta(MS), &reply_to(&first));
        }
        ping.poll_transmit(Nanos(1000 * MS)).unwrap();
        ping.handle_timeout(Nanos(2000 * MS));
        let replies = replies(&mut ping);
        assert_eq!((replies.len(), replies.last(), ping.ignored()), (64, Some(&PingReply::Timeout), 37));
    }
}
