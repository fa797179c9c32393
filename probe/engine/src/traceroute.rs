//! `traceroute`: the routers on the way to a target, and the answers of each (RFC 792, RFC 4443; fields and rules are RIPE
//! Atlas's where `path` does not say otherwise), by ICMP, UDP or TCP.
//!
//! It must not know how packets travel, who else measures, or what time it is. `path` decides what is sent when, `flow`
//! makes the bytes and finds the packet that an answer is about, `hop` keeps what came back. This file joins them:
//!
//! - A packet has one answer: the first that arrives within `response_timeout`. An answer after that is *late*, a further
//!   one a *duplicate*; both stand behind the answers of their hop.
//! - "Too big" makes the following packets as small as the router asks.
//! - The run ends when the path is known and every packet on it has its answer or has timed out; after an answer it stays
//!   open for `duplicate_timeout`.
//!
//! A quote of 8 bytes (all that RFC 792 demands) holds nothing of a UDP payload and thus names no packet. It is taken for
//! the one packet under way, when there is only one; otherwise it is ignored and counted.

mod flow;
mod hop;
mod path;

use core::net::IpAddr;
use core::time::Duration;

use sonde_protocol::bounded::{Bytes, List};
use sonde_protocol::net::{Family, Ip, Transport};
use sonde_protocol::result::{Failure, HopAnswer, IcmpKind, Outcome, TracerouteOutcome, Why};
use sonde_protocol::spec::{Spec, TracerouteSpec};
use sonde_protocol::time::Nanos;

use self::flow::{Flow, FlowConfig};
use self::hop::{Answer, Says, Taken};
use self::path::{Path, PathConfig};
use crate::icmp::{Problem, old_extensions};
use crate::tagged::Named;
use crate::tcp::Segment;
use crate::{Engine, IcmpErrorEvent, Meta, Needs, Token, Transmit, padding};

pub use self::flow::{BASE_PORT, TCP_SOURCE_PORT};
pub use self::path::{GAP_LIMIT, HORIZON, LAST_TRY, MAX_ALONE, MAX_OPEN, PACE, PATIENCE, SLOW_SPACING, SPACING};

/// What one run is.
#[derive(Debug, Clone)]
pub struct TracerouteConfig {
    /// The definition.
    pub spec: TracerouteSpec,
    /// Where the path leads.
    pub dst: IpAddr,
    /// The first of the [`crate::icmp::sequences_needed`] sequence numbers that are this run's own. UDP needs none.
    pub first_sequence: u16,
    /// Random bits that tell this run's answers from an earlier run's and from a stranger's.
    pub cookie: u64,
    /// Which run of the measurement this is: run n uses flow variation n modulo `paris`, plus 1.
    pub flow: u32,
    /// The number of the last hop in an earlier run to this target, when there was one that ended at the target.
    pub path_length: Option<u8>,
}

/// One run of `traceroute`.
#[derive(Debug)]
pub struct Traceroute {
    dst: IpAddr,
    spec: TracerouteSpec,
    paris_id: Option<u16>,
    flow: Flow,
    path: Path,
    /// Payload bytes of the next packet.
    size: usize,
    /// An answer keeps the run open until then.
    open_until: Nanos,
    phase: Phase,
    ignored: u32,
    source_port: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Ended,
    Taken,
}

impl Traceroute {
    /// A run that begins at `now`.
    ///
    /// # Errors
    ///
    /// [`Failure::Unsupported`] for figures out of range.
    pub fn new(config: TracerouteConfig, now: Nanos) -> Result<Self, Failure> {
        let TracerouteConfig { spec, dst, first_sequence, cookie, flow, path_length } = config;
        check(&spec)?;
        // In range, as checked: 64 at most.
        let paris_id = flow.checked_rem(spec.paris).and_then(|variation| u16::try_from(variation + 1).ok());
        let size = usize::try_from(spec.size).unwrap_or(0);
        let path = PathConfig {
            first_hop: hop_number(spec.first_hop),
            max_hops: hop_number(spec.max_hops),
            packets: usize::try_from(spec.packets).unwrap_or(1),
            timeout: Duration::from_millis(u64::from(spec.response_timeout)),
            length: path_length,
        };
        let flow = FlowConfig {
            family: Family::of(dst),
            transport: spec.protocol,
            port: u16::try_from(spec.port).unwrap_or(0),
            first_sequence,
            cookie,
            paris_id,
            size,
            options: padding::header_len(spec.hop_by_hop_option_size)
                + padding::header_len(spec.destination_option_size),
        };
        Ok(Self {
            dst,
            paris_id,
            flow: Flow::new(flow),
            path: Path::new(path, now),
            size,
            open_until: now,
            phase: Phase::Running,
            ignored: 0,
            source_port: None,
            spec,
        })
    }

    /// The same with UDP packets from this port. What runs of one measurement with the same variation are to see is one
    /// path, and routers that balance load by flow look at both ports.
    #[must_use]
    pub fn from_port(self, port: u16) -> Self {
        Self { source_port: Some(port), ..self }
    }

    /// Packets that came and were not about this run, did not say about which of its packets, or for which there was no
    /// room.
    pub fn ignored(&self) -> u32 {
        self.ignored
    }

    fn ignore(&mut self) {
        self.ignored = self.ignored.saturating_add(1);
    }

    fn packet(&mut self, named: Named) -> Option<u16> {
        match named {
            Named::Packet(index) => Some(index),
            Named::Unknown => self.path.unnamed(),
            Named::Foreign => None,
        }
    }

    fn take(&mut self, index: u16, answer: Answer) {
        let received_at = answer.received_at;
        match self.path.answered(index, answer) {
            Taken::InTime => {
                let open_for = Duration::from_millis(u64::from(self.spec.duplicate_timeout));
                self.open_until = self.open_until.max(received_at + open_for);
            }
            Taken::Extra => {}
            Taken::Ignored => self.ignore(),
        }
        self.end_if_complete(received_at);
    }

    fn end_if_complete(&mut self, now: Nanos) {
        if self.phase == Phase::Running && now >= self.open_until && self.path.is_complete() {
            self.phase = Phase::Ended;
        }
    }
}

impl Engine for Traceroute {
    fn needs(&self) -> Needs {
        // With Paris mode off nobody asks for one path.
        let source_port = self.source_port.filter(|_| self.paris_id.is_some());
        let needs = Needs { error_details: true, source_port, ..Needs::default() };
        match Family::of(self.dst) {
            // IPv4 has no such headers; RIPE Atlas does not mind the options either.
            Family::V4 => needs,
            Family::V6 => Needs {
                hop_by_hop: self.spec.hop_by_hop_option_size,
                destination: self.spec.destination_option_size,
                ..needs
            },
        }
    }

    fn poll_transmit(&mut self, now: Nanos) -> Option<Transmit> {
        if self.phase != Phase::Running {
            return None;
        }
        let (index, hop_limit) = self.path.send(now)?;
        let (channel, payload) = self.flow.packet(index, self.size);
        Some(Transmit {
            token: Token(u32::from(index)),
            dst: self.dst,
            channel,
            hop_limit: Some(hop_limit),
            traffic_class: u8::try_from(self.spec.traffic_class).unwrap_or(0),
            dont_fragment: self.spec.dont_fragment,
            payload,
        })
    }

    fn handle_sent(&mut self, token: Token, sent_at: Nanos) {
        if let Ok(index) = u16::try_from(token.0) {
            self.path.sent(index, sent_at);
        }
    }

    fn handle_send_error(&mut self, token: Token, now: Nanos, why: Why) {
        if let Ok(index) = u16::try_from(token.0) {
            self.path.not_sent(index, why);
        }
        self.end_if_complete(now);
    }

    fn handle_datagram(&mut self, meta: &Meta, bytes: &[u8]) {
        // Over UDP and TCP only the target's own word counts; an echo reply may come from another of its addresses.
        let protocol = self.spec.protocol;
        if protocol != Transport::Icmp && meta.from != self.dst {
            return self.ignore();
        }
        let named = self.flow.answered(bytes);
        let Some(index) = self.packet(named) else { return self.ignore() };
        let header = if protocol == Transport::Udp { 8 } else { 0 };
        let segment = Segment::parse(bytes).filter(|_| protocol == Transport::Tcp);
        let reply = HopAnswer {
            hop_limit: meta.hop_limit,
            size: u32::try_from(bytes.len() + header).ok(),
            tcp_flags: segment.map(|segment| segment.flags),
            tcp_options: segment.map(|segment| segment.options).filter(|o| !o.is_empty()).and_then(Bytes::new),
            ..HopAnswer::new(Ip(meta.from))
        };
        self.take(
            index,
            Answer { received_at: meta.received_at, says: Says::Ends, is_named: named != Named::Unknown, reply },
        );
    }

    fn handle_icmp_error(&mut self, event: &IcmpErrorEvent) {
        let problem = Problem::of(Family::of(self.dst), event.kind, event.code);
        if problem == Problem::Other {
            return self.ignore();
        }
        let named = self.flow.quoted(&event.quoted);
        let Some(index) = self.packet(named) else { return self.ignore() };
        if problem == Problem::TooBig
            && let Some(mtu) = event.mtu
        {
            self.size = self.size.min(self.flow.size_within(mtu));
        }
        let says = match problem {
            Problem::Unreachable => Says::Ends,
            Problem::Rejected if event.from == self.dst => Says::Ends,
            Problem::TooBig => Says::TooBig,
            Problem::HopLimitExceeded | Problem::Rejected | Problem::Other => Says::GoesOn,
        };
        let details = event.details;
        let announced = event.extensions.as_deref();
        let extensions = announced.or_else(|| old_extensions(&event.quoted, self.flow.headers_before_quote()));
        let reply = HopAnswer {
            hop_limit: event.hop_limit,
            size: details.size,
            icmp: Some(IcmpKind { kind: event.kind, code: event.code }),
            quoted_hop_limit: details.quoted_hop_limit.filter(|hop_limit| *hop_limit != 1),
            quoted_dst: details.quoted_dst.filter(|dst| *dst != self.dst).map(Ip),
            mtu: event.mtu,
            // A structure that was cut could not be read; one too long for a result is left out.
            extensions: extensions.and_then(Bytes::new),
            extensions_unannounced: (extensions.is_some() && announced.is_none()).then_some(true),
            quoted_traffic_class: details
                .quoted_traffic_class
                .filter(|class| u32::from(*class) != self.spec.traffic_class),
            hop_by_hop_size: details.hop_by_hop_size,
            destination_size: details.destination_size,
            ..HopAnswer::new(Ip(event.from))
        };
        self.take(index, Answer { received_at: event.received_at, says, is_named: named != Named::Unknown, reply });
    }

    fn poll_timeout(&self) -> Option<Nanos> {
        match self.phase {
            Phase::Running if self.path.is_complete() => Some(self.open_until),
            Phase::Running => self.path.next_at(),
            Phase::Ended | Phase::Taken => None,
        }
    }

    fn handle_timeout(&mut self, now: Nanos) {
        if self.phase == Phase::Running {
            self.path.expire(now);
            self.end_if_complete(now);
        }
    }

    fn poll_outcome(&mut self) -> Option<Outcome> {
        if self.phase != Phase::Ended {
            return None;
        }
        self.phase = Phase::Taken;
        Some(Outcome::Traceroute(TracerouteOutcome {
            protocol: self.spec.protocol,
            size: self.spec.size,
            paris_id: self.paris_id.map(u32::from),
            hops: List::cut(self.path.report()),
        }))
    }
}

fn check(spec: &TracerouteSpec) -> Result<(), Failure> {
    match Spec::Traceroute(spec.clone()).problems().first() {
        Some(problem) => Err(Failure::Unsupported(Why::cut(alloc::format!("{}: {}", problem.field, problem.detail)))),
        None => Ok(()),
    }
}

/// A hop number that was checked to be in range.
fn hop_number(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Channel;

    fn config(spec: TracerouteSpec) -> TracerouteConfig {
        let dst = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 1));
        TracerouteConfig { spec, dst, first_sequence: 0, cookie: 1, flow: 0, path_length: None }
    }

    fn why_not(spec: TracerouteSpec) -> alloc::string::String {
        match Traceroute::new(config(spec), Nanos(0)) {
            Err(Failure::Unsupported(why)) => alloc::string::String::from(why.as_str()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn figures_out_of_range_are_refused_with_a_reason() {
        let spec = TracerouteSpec::default();
        assert!(why_not(TracerouteSpec { first_hop: 9, max_hops: 3, ..spec.clone() }).contains("first_hop"));
        assert!(why_not(TracerouteSpec { packets: 17, ..spec }).contains("packets"));
    }

    #[test]
    fn runs_take_the_flow_variations_in_turn() {
        let paris_id = |paris, flow| {
            let spec = TracerouteSpec { paris, ..TracerouteSpec::default() };
            Traceroute::new(TracerouteConfig { flow, ..config(spec) }, Nanos(0)).unwrap().paris_id
        };
        assert_eq!([0, 1, 15, 16, u32::MAX].map(|flow| paris_id(16, flow)), [1, 2, 16, 1, 16].map(Some));
        assert_eq!(paris_id(0, 5), None);
    }

    #[test]
    fn over_udp_only_the_target_itself_can_answer() {
        let mut run = Traceroute::new(config(TracerouteSpec::default()), Nanos(0)).unwrap();
        let packet = run.poll_transmit(Nanos(0)).unwrap();
        let mut meta =
            Meta { received_at: Nanos(5), from: run.dst, from_port: BASE_PORT + 1, hop_limit: None, fragment: None };
        meta.from = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 2));
        run.handle_datagram(&meta, &packet.payload);
        assert_eq!((run.ignored(), run.path.is_known_to_end()), (1, false));
        meta.from = run.dst;
        run.handle_datagram(&meta, &packet.payload);
        assert_eq!((run.ignored(), run.path.is_known_to_end()), (1, true));
    }

    #[test]
    fn packets_carry_the_options_asked_for() {
        let spec = TracerouteSpec { dont_fragment: true, traffic_class: 46, first_hop: 7, ..TracerouteSpec::default() };
        let mut run = Traceroute::new(config(spec), Nanos(0)).unwrap();
        let packet = run.poll_transmit(Nanos(0)).unwrap();
        assert_eq!((packet.hop_limit, packet.traffic_class, packet.dont_fragment), (Some(7), 46, true));
        assert_eq!((packet.channel, packet.payload.len()), (Channel::Udp { port: BASE_PORT + 1 }, 48));
        assert_eq!(run.poll_transmit(Nanos(0)), None, "packets are paced");
        assert_eq!(run.poll_timeout(), Some(Nanos(1_000_000)));
    }
}
