//! `pathmtu`: the greatest packet that passes to the target and back, and where larger ones vanish (RFC 1191, RFC 8201; the
//! search is in the spirit of RFC 4821 and RFC 8899). Ours, not Atlas's. Every packet has the don't-fragment bit.
//!
//! It must not know sockets, routes or what the system has learned about the path before.
//!
//! 1. *The interface's MTU*: packets that are too long for it are refused before they leave, so it is found by asking.
//! 2. *There and back*: the search (`search`) by ICMP echo. What a router says about a packet too big is about the way
//!    there. Replies have the size of the requests; those that come in pieces show the way back: its MTU is at least the
//!    greatest piece, and exactly the greatest reply that comes in one.
//! 3. *There alone*, when echoes are lost without a word, or nobody answers them: the search by UDP to a closed port, whose
//!    answer is small.
//! 4. *The hole*, when sizes are lost without a word on the way there: `locate`.
//!
//! One packet is under way at a time, [`PACE`] after the one before, or [`UDP_PACE`] for UDP. An answer that comes late
//! still counts for what it says.

mod ends;
mod locate;
mod packet;
mod search;
mod tries;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use sonde_protocol::bounded::List;
use sonde_protocol::net::{Family, Ip, Transport};
use sonde_protocol::result::{IcmpError, Mtu, MtuDirection, MtuEnd, MtuHole, MtuLimit, Outcome, PathMtuOutcome, Why};
use sonde_protocol::spec::{PathMtuSpec, Spec};
use sonde_protocol::time::Nanos;

use self::ends::{Interface, Reverse, mtu};
use self::locate::{Locate, Seen};

use self::search::{Search, Wall};
use self::tries::{Answer, Learned, Reason, Step, Try, learned};
use crate::icmp::{Message, Problem};
use crate::tagged::{Named, Tagged};
use crate::{Engine, IcmpErrorEvent, Meta, Token, Transmit};

pub use self::packet::PORT;
pub use self::search::{CLASSIC, MAX_SIZE};

/// The least time between two packets.
pub const PACE: Duration = Duration::from_millis(50);

/// The least time between two UDP packets: hosts say that a port is closed about once a second (Linux, `icmp_ratelimit`),
/// and faster packets would measure that.
pub const UDP_PACE: Duration = Duration::from_secs(1);

/// How long a run may last. What is known then is the result.
pub const LONGEST: Duration = Duration::from_secs(300);

/// The least tries before a size counts as lost: over IPv6 the target learns from the first reply that it must cut the
/// others in pieces.
const MIN_TRIES: u32 = 2;

/// What one run is.
#[derive(Debug, Clone)]
pub struct PathMtuConfig {
    /// The definition. Figures out of range are brought into it.
    pub spec: PathMtuSpec,
    /// The target.
    pub dst: IpAddr,
    /// The first of the [`crate::icmp::sequences_needed`] sequence numbers that are this run's own.
    pub first_sequence: u16,
    /// Random bits that tell this run's answers from an earlier run's and from a stranger's.
    pub cookie: u64,
}

/// One run of `pathmtu`.
#[derive(Debug)]
pub struct PathMtu {
    dst: IpAddr,
    family: Family,
    packets: Tagged,
    needed: u32,
    timeout: Duration,
    max_tries: usize,
    ends_at: Nanos,
    tries: Vec<Try>,
    limits: List<MtuLimit, { sonde_protocol::result::MAX_MTU_LIMITS }>,
    interface: Interface,
    echo: Search,
    reverse: Reverse,
    udp: Option<Search>,
    locate: Option<Locate>,
    /// The packet under way, and until when it is waited for.
    current: Option<(usize, Nanos)>,
    /// The packet to send next.
    next: Option<Step>,
    /// When the next packet may go, and the next of UDP.
    free_at: Nanos,
    udp_free_at: Nanos,
    end: MtuEnd,
    phase: Phase,
    ignored: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Ended,
    Taken,
}

impl PathMtu {
    /// A run that begins at `now`.
    pub fn new(config: PathMtuConfig, now: Nanos) -> Self {
        let PathMtuConfig { spec, dst, first_sequence, cookie } = config;
        let packets = spec.packets.clamp(PathMtuSpec::PACKETS.min, PathMtuSpec::PACKETS.max);
        let timeout = spec.timeout.clamp(PathMtuSpec::TIMEOUT.min, PathMtuSpec::TIMEOUT.max);
        let at_most = Spec::PathMtu(PathMtuSpec { packets, timeout }).packets_at_most();
        let family = Family::of(dst);
        let needed = packets.max(MIN_TRIES);
        let mut run = Self {
            dst,
            family,
            packets: Tagged { family, first_sequence, cookie: cookie.to_be_bytes(), cookie_len: 8 },
            needed,
            timeout: Duration::from_millis(u64::from(timeout)),
            max_tries: usize::try_from(at_most).unwrap_or(usize::MAX),
            ends_at: now + LONGEST,
            tries: Vec::new(),
            limits: List::default(),
            interface: Interface::default(),
            echo: Search::new(packet::small(family), MAX_SIZE, Wall::NotTried, needed),
            reverse: Reverse::default(),
            udp: None,
            locate: None,
            current: None,
            next: None,
            free_at: now,
            udp_free_at: now,
            end: MtuEnd::Complete,
            phase: Phase::Running,
            ignored: 0,
        };
        run.go_on(now);
        run
    }

    /// Packets that came and were not about this run, or said nothing new.
    pub fn ignored(&self) -> u32 {
        self.ignored
    }

    fn ignore(&mut self) {
        self.ignored = self.ignored.saturating_add(1);
    }

    /// With nothing under way: decides what is next, or ends the run.
    fn go_on(&mut self, now: Nanos) {
        while self.phase == Phase::Running && self.current.is_none() && self.next.is_none() {
            let Some(step) = self.step() else {
                self.phase = Phase::Ended;
                return;
            };
            if self.tries.len() >= self.max_tries || now >= self.ends_at {
                self.end = MtuEnd::Bound;
                self.phase = Phase::Ended;
                return;
            }
            match self.under_way(&step, now) {
                Some(index) => {
                    if let Some(one) = self.tries.get_mut(index) {
                        one.step.why = step.why;
                        self.current = Some((index, one.made_at + self.timeout));
                    }
                }
                None => self.next = Some(step),
            }
        }
    }

    /// A packet that was sent to try the interface, of just this size, and may still be answered.
    fn under_way(&self, step: &Step, now: Nanos) -> Option<usize> {
        self.tries.iter().rposition(|one| {
            let same = (one.step.transport, one.step.size, one.step.hop) == (step.transport, step.size, step.hop);
            let open = one.step.why == Reason::Interface && one.answer.is_none();
            same && open && one.made_at + self.timeout > now
        })
    }

    /// The next packet, from all that is known; `None` when there is nothing more to find out.
    fn step(&mut self) -> Option<Step> {
        use Transport::{Icmp, Udp};
        let to_target = |transport, size, why| Some(Step { transport, size, hop: None, why });
        if self.interface.broken && self.interface.left.is_none() {
            return None;
        }
        if let Some(size) = self.interface.next() {
            return to_target(Icmp, size, Reason::Interface);
        }
        if let Some((size, purpose)) = self.echo.next() {
            return to_target(Icmp, size, Reason::Size(purpose));
        }
        if self.echo.is_hopeless() {
            self.end = MtuEnd::Loss;
            return None;
        }
        if let Some(size) = self.reverse.next().filter(|_| self.reverse.silent < self.needed) {
            return to_target(Icmp, size, Reason::Reverse);
        }
        let echo_end = self.echo.end();
        if !matches!(echo_end, None | Some((_, Wall::Lost))) {
            return None;
        }
        let needed = self.needed;
        let top = self.interface.top();
        let udp = self.udp.get_or_insert_with(|| match echo_end {
            Some((passed, _)) => Search::around(passed, top.0, top.1, needed),
            None => Search::new(packet::small(self.family), top.0, top.1, needed),
        });
        if let Some((size, purpose)) = udp.next() {
            return to_target(Udp, size, Reason::Size(purpose));
        }
        if udp.is_hopeless() {
            self.end = MtuEnd::Loss;
            return None;
        }
        let (transport, hole) = self.hole()?;
        if hole.direction == MtuDirection::Reverse {
            return None;
        }
        let (hop, is_long) = self.locate.get_or_insert_with(Locate::new).next_packet()?;
        let size = if is_long { hole.lost } else { packet::small(self.family) };
        Some(Step { transport, size, hop: Some(hop), why: Reason::Locate(is_long) })
    }

    /// The hole that the searches have found, by which of them; where it is does not matter.
    fn hole(&self) -> Option<(Transport, MtuHole)> {
        let udp_passed = self.udp.as_ref().and_then(Search::passed_size);
        let udp_end = self.udp.as_ref().and_then(Search::end);
        let hole = |passes, direction| MtuHole { passes, lost: passes + 1, direction, last_hop: None, next_hop: None };
        match (self.echo.end(), udp_end) {
            (Some((passes, Wall::Lost)), udp_end) => {
                let direction = match udp_end {
                    _ if udp_passed.is_some_and(|udp| udp > passes) => MtuDirection::Reverse,
                    // A router says so to UDP.
                    Some((_, Wall::TooBig | Wall::Refused)) => return None,
                    Some((_, Wall::Lost)) => MtuDirection::Forward,
                    _ if self.reverse.shortens => MtuDirection::Forward,
                    _ => MtuDirection::Unknown,
                };
                Some((Transport::Icmp, hole(passes, direction)))
            }
            // The answers to UDP are small.
            (None, Some((passes, Wall::Lost))) if self.echo.is_dead() => {
                Some((Transport::Udp, hole(passes, MtuDirection::Forward)))
            }
            _ => None,
        }
    }

    fn search(&mut self, transport: Transport) -> Option<&mut Search> {
        if transport == Transport::Icmp { Some(&mut self.echo) } else { self.udp.as_mut() }
    }

    /// An answer to the packet with this number.
    fn answered(&mut self, index: usize, answer: Answer, now: Nanos) {
        let Some(one) = self.tries.get_mut(index).filter(|one| one.answer.is_none()) else { return self.ignore() };
        let step = one.step;
        let seen = learned(self.dst, step.transport, &answer);
        one.answer = Some(answer);
        match seen {
            Learned::Arrived(reply) => {
                if let Some((size, fragment)) = reply.filter(|_| step.transport == Transport::Icmp) {
                    self.reverse.reply(step.size, size, fragment);
                }
                if let Some(search) = self.search(step.transport) {
                    search.passes(step.size);
                }
                if step.why == Reason::Locate(true) {
                    // There is no hole of this size, whatever was found of it.
                    self.locate = None;
                }
            }
            Learned::TooBig(from, mtu, hop_limit) => {
                let known = |limit: &MtuLimit| (limit.from.0, limit.mtu) == (from, mtu);
                if !self.limits.iter().any(known) {
                    // Beyond the list's room the tries still say it.
                    let _ = self.limits.push(MtuLimit { from: Ip(from), mtu, size: step.size, hop_limit });
                }
                // IPv6 has no link below 1280 (RFC 8201, section 4), IPv4 none below 68 (RFC 1191, section 3).
                let least = if self.family == Family::V4 { 68 } else { 1280 };
                let believed = mtu.filter(|mtu| *mtu >= least);
                if let Some(search) = self.search(step.transport) {
                    search.too_big(step.size, believed);
                }
            }
            Learned::Refused => {
                self.interface.refused = Some(self.interface.refused.map_or(step.size, |size| size.min(step.size)));
                self.echo.refused(step.size);
                if let Some(udp) = &mut self.udp {
                    udp.refused(step.size);
                }
            }
            Learned::NotSent => self.interface.broken |= step.why == Reason::Interface,
            Learned::Exceeded(_) | Learned::Nothing => {}
        }
        if self.current.is_some_and(|(current, _)| current == index) {
            let by = match seen {
                Learned::Arrived(_) => Seen::Target(self.dst),
                Learned::Exceeded(from) => Seen::Router(from),
                // Where somebody says that it is too big it has been.
                Learned::TooBig(from, ..) => Seen::Router(from),
                Learned::Refused | Learned::NotSent | Learned::Nothing => Seen::Silence,
            };
            let is_verdict = matches!(seen, Learned::Arrived(_) | Learned::TooBig(..) | Learned::Refused);
            self.finish(step, by, is_verdict, now);
        }
    }

    /// The packet under way has been waited for long enough, or is answered. `is_verdict`: its search knows.
    fn finish(&mut self, step: Step, by: Seen, is_verdict: bool, now: Nanos) {
        self.current = None;
        match step.why {
            Reason::Interface => {}
            Reason::Size(purpose) if !is_verdict => {
                if let Some(search) = self.search(step.transport) {
                    search.silent(step.size, purpose);
                }
            }
            Reason::Size(_) => {}
            Reason::Reverse if is_verdict => self.reverse.silent = 0,
            Reason::Reverse => self.reverse.silent += 1,
            Reason::Locate(is_long) => {
                if let (Some(locate), Some(hop)) = (&mut self.locate, step.hop) {
                    locate.seen(hop, is_long, by);
                }
            }
        }
        self.go_on(now);
    }

    fn time_of(&self, step: &Step) -> Nanos {
        if step.transport == Transport::Udp { self.free_at.max(self.udp_free_at) } else { self.free_at }
    }

    /// Which packet an answer is about. One that does not say which can only be about the one under way, and only if none
    /// before it could be meant.
    fn index_of(&self, named: Named, transport: Transport) -> Option<usize> {
        match named {
            Named::Packet(number) => Some(usize::from(number)),
            Named::Foreign => None,
            Named::Unknown => {
                let open = |one: &Try| one.step.transport == transport && one.answer.is_none();
                let is_alone = self.tries.iter().filter(|one| open(one)).count() == 1;
                self.current.map(|(current, _)| current).filter(|_| is_alone)
            }
        }
        .filter(|index| self.tries.get(*index).is_some_and(|one| one.step.transport == transport))
    }

    fn outcome(&self) -> PathMtuOutcome {
        let hole = self.hole().map(|(_, hole)| self.located(hole));
        let udp = self.udp.as_ref();
        let passed = self.echo.passed_size().max(udp.and_then(Search::passed_size));
        let is_end = |search: &Search, walls: &[Wall]| {
            search.end().is_some_and(|(end, wall)| Some(end) == passed && walls.contains(&wall))
        };
        let forward_hole = hole.as_ref().is_some_and(|hole| hole.direction == MtuDirection::Forward);
        // An echo that is lost may be lost on the way back; a datagram is not.
        let exact = is_end(&self.echo, &[Wall::Refused, Wall::TooBig])
            || udp.is_some_and(|udp| is_end(udp, &[Wall::Refused, Wall::TooBig, Wall::Lost]))
            || (forward_hole && is_end(&self.echo, &[Wall::Lost]));
        let reverse_hole = hole.as_ref().is_some_and(|hole| hole.direction == MtuDirection::Reverse);
        PathMtuOutcome {
            interface: self.interface.known(),
            forward: mtu(passed, exact),
            reverse: match self.reverse.known() {
                Mtu::AtLeast(size) if reverse_hole && !self.reverse.shortens && self.reverse.cut.is_none() => {
                    Mtu::Exactly(size)
                }
                known => known,
            },
            round_trip: match self.echo.end() {
                _ if self.reverse.shortens => mtu(self.reverse.whole.max(self.reverse.piece), false),
                Some((_, wall)) => mtu(self.echo.passed_size(), wall != Wall::NotTried),
                None => mtu(self.echo.passed_size(), false),
            },
            limits: self.limits.clone(),
            hole,
            end: self.end,
            tries: List::cut(self.tries.iter().map(Try::told)),
        }
    }

    /// The hole with its place. Errors are small, so a hole that long packets fall into before they reach some router is on
    /// the way there.
    fn located(&self, hole: MtuHole) -> MtuHole {
        let Some(locate) = self.locate.as_ref().filter(|_| hole.direction != MtuDirection::Reverse) else {
            return hole;
        };
        let before_target = locate.next.is_some_and(|next| next.from.0 != self.dst);
        let direction = if before_target { MtuDirection::Forward } else { hole.direction };
        MtuHole { direction, last_hop: locate.last, next_hop: locate.next, ..hole }
    }
}

fn index(token: Token) -> usize {
    usize::try_from(token.0).unwrap_or(usize::MAX)
}

impl Engine for PathMtu {
    fn poll_transmit(&mut self, now: Nanos) -> Option<Transmit> {
        if self.phase != Phase::Running || self.current.is_some() {
            return None;
        }
        let step = self.next.filter(|step| self.time_of(step) <= now)?;
        let number = u16::try_from(self.tries.len()).ok()?;
        self.next = None;
        // Whether the interface takes it is known at once.
        let wait = if step.why == Reason::Interface { PACE.min(self.timeout) } else { self.timeout };
        self.current = Some((self.tries.len(), now + wait));
        self.tries.push(Try { step, made_at: now, sent_at: now, answer: None });
        self.free_at = now + PACE;
        if step.transport == Transport::Udp {
            self.udp_free_at = now + UDP_PACE;
        }
        let (channel, payload) = packet::make(&self.packets, number, step.transport, step.size);
        Some(Transmit {
            token: Token(u32::from(number)),
            dst: self.dst,
            channel,
            hop_limit: step.hop,
            traffic_class: 0,
            dont_fragment: true,
            payload,
        })
    }

    fn handle_sent(&mut self, token: Token, sent_at: Nanos) {
        let Some(one) = self.tries.get_mut(index(token)) else { return };
        one.sent_at = sent_at;
        self.interface.left = self.interface.left.max(Some(one.step.size));
    }

    fn handle_send_error(&mut self, token: Token, now: Nanos, why: Why) {
        self.answered(index(token), Answer::NotSent(why), now);
    }

    fn handle_too_long(&mut self, token: Token, now: Nanos) {
        // Nothing left, so nothing is to be paced.
        self.free_at = now;
        self.answered(index(token), Answer::TooLong, now);
    }

    fn handle_datagram(&mut self, meta: &Meta, bytes: &[u8]) {
        if self.phase != Phase::Running {
            return;
        }
        // By whichever of the two sockets it came: only UDP has ports.
        let (named, transport, headers) = if meta.from_port == 0 {
            let message = Message::parse(self.family, bytes);
            let named = message.map_or(Named::Foreign, |message| self.packets.echoed(&message));
            (named, Transport::Icmp, packet::headers(self.family) - 8)
        } else if meta.from == self.dst && meta.from_port == PORT {
            (self.packets.served(bytes), Transport::Udp, packet::headers(self.family))
        } else {
            (Named::Foreign, Transport::Udp, 0)
        };
        let Some(index) = self.index_of(named, transport) else { return self.ignore() };
        let answer = Answer::Reply {
            received_at: meta.received_at,
            from: meta.from,
            hop_limit: meta.hop_limit,
            size: headers.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
            fragment: meta.fragment,
        };
        self.answered(index, answer, meta.received_at);
    }

    fn handle_icmp_error(&mut self, event: &IcmpErrorEvent) {
        if self.phase != Phase::Running || Problem::of(self.family, event.kind, event.code) == Problem::Other {
            return self.ignore();
        }
        // A quoted echo request is told by its type and the cookie; what is not one is of UDP, the other thing we send.
        let by_icmp = self.index_of(self.packets.quoted_request(&event.quoted), Transport::Icmp);
        let by_udp = || self.index_of(self.packets.quoted_datagram(&event.quoted), Transport::Udp);
        let Some(index) = by_icmp.or_else(by_udp) else { return self.ignore() };
        let error = IcmpError {
            from: Ip(event.from),
            kind: event.kind,
            code: event.code,
            rtt: None,
            hop_limit: event.hop_limit,
            mtu: event.mtu,
        };
        self.answered(index, Answer::Icmp { received_at: event.received_at, error }, event.received_at);
    }

    fn poll_timeout(&self) -> Option<Nanos> {
        if self.phase != Phase::Running {
            return None;
        }
        let waits = self.current.map(|(_, until)| until);
        waits.or_else(|| self.next.map(|step| self.time_of(&step)))
    }

    fn handle_timeout(&mut self, now: Nanos) {
        if let Some((index, until)) = self.current
            && self.phase == Phase::Running
            && until <= now
            && let Some(step) = self.tries.get(index).map(|one| one.step)
        {
            self.finish(step, Seen::Silence, false, now);
        }
    }

    fn poll_outcome(&mut self) -> Option<Outcome> {
        if self.phase != Phase::Ended {
            return None;
        }
        self.phase = Phase::Taken;
        Some(Outcome::PathMtu(Box::new(self.outcome())))
    }
}
