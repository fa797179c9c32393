//! The UDP exchange with one server, as an [`Engine`].
//!
//! It differs from RIPE Atlas where Atlas would be slower or less exact:
//! - each try has an id of its own, so that a late answer to an earlier try is counted from that try and not from the last;
//! - an ICMP "port unreachable" from the server ends the run at once as a send error, "connection refused"; Atlas waits for
//!   the time-out. Other ICMP errors are soft (RFC 1122, 4.1.3.3): the run waits on.

use alloc::vec::Vec;
use core::time::Duration;

use sonde_protocol::net::Transport;
use sonde_protocol::result::{DnsReply, DnsResponse, Outcome, StrayKind, Why};
use sonde_protocol::spec::DnsSpec;
use sonde_protocol::time::Nanos;

use super::strays::{DATAGRAM_KEPT, Strays};
use super::{Exchange, Head, Query, Shape, answer, nanos_between, single};
use crate::{Channel, Engine, IcmpErrorEvent, Meta, Needs, Token, Transmit};

/// Destination unreachable, port unreachable (RFC 792; RFC 4443, 3.1).
const PORT_UNREACHABLE: [(bool, u8, u8); 2] = [(true, 3, 3), (false, 1, 4)];

/// How the UDP exchange with one server ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UdpEnd {
    /// With an answer, silence or an error: what to report.
    Done(DnsResponse),
    /// With an answer that says it is truncated: ask again over TCP ([`super::StreamPlan::after_truncation`]). The response
    /// is what UDP gave, for a shell that must not use TCP.
    Truncated(DnsResponse),
}

impl UdpEnd {
    /// What UDP gave.
    pub fn response(&self) -> &DnsResponse {
        match self {
            UdpEnd::Done(response) | UdpEnd::Truncated(response) => response,
        }
    }

    /// The query that was answered had left at `to`, not at `from`.
    fn restamp(&mut self, from: Nanos, to: Nanos, received_at: Nanos) {
        let (UdpEnd::Done(response) | UdpEnd::Truncated(response)) = self;
        response.sent_at = response.sent_at + to.since(from) - from.since(to);
        if let DnsReply::Answer(answer) = &mut response.outcome {
            answer.rt = nanos_between(to, received_at);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A query is due.
    Send,
    /// A query is out; its time is up then.
    Wait { until: Nanos },
    /// Nothing more will happen.
    Ended,
}

/// One query.
#[derive(Debug)]
struct Try {
    query: Query,
    sent_at: Nanos,
}

/// The UDP exchange with one server. It needs a connected UDP socket of its own ([`Channel::Udp`]); token *n* is try *n*.
///
/// [`Engine::poll_outcome`] tells the loop that it has ended and gives an outcome of this one server;
/// [`DnsUdp::take_response`] gives the end with what the caller has to do next. Each gives its value once.
#[derive(Debug)]
pub struct DnsUdp {
    shape: Shape,
    own_resolver: bool,
    hop_limit: Option<u8>,
    tries_allowed: u32,
    query: Query,
    tries: Vec<Try>,
    phase: Phase,
    ignored: u32,
    strays: Strays,
    end: Option<UdpEnd>,
    /// Which try was answered, and when: the kernel's stamp of the query may come after its answer.
    answered: Option<(usize, Nanos)>,
    end_taken: bool,
    outcome_taken: bool,
}

impl DnsUdp {
    /// The exchange of `query` (made by [`super::query`] from the same definition).
    pub fn new(spec: &DnsSpec, exchange: Exchange, query: Query) -> Self {
        Self {
            shape: Shape::new(spec, exchange),
            own_resolver: spec.use_probe_resolver,
            hop_limit: spec.ttl.and_then(|ttl| u8::try_from(ttl).ok()),
            tries_allowed: spec.retry.min(DnsSpec::RETRY.max) + 1,
            query,
            tries: Vec::new(),
            phase: Phase::Send,
            ignored: 0,
            strays: Strays::default(),
            end: None,
            answered: None,
            end_taken: false,
            outcome_taken: false,
        }
    }

    /// How the exchange ended, once.
    pub fn take_response(&mut self) -> Option<UdpEnd> {
        if core::mem::replace(&mut self.end_taken, self.end.is_some()) {
            return None;
        }
        self.end.clone()
    }

    /// How many datagrams and ICMP errors came that were no answer: of other hosts, to other queries, too short.
    pub fn ignored(&self) -> u32 {
        self.ignored
    }

    fn retries(&self) -> u32 {
        u32::try_from(self.tries.len()).unwrap_or(u32::MAX).saturating_sub(1)
    }

    fn ignore(&mut self) {
        self.ignored = self.ignored.saturating_add(1);
    }

    /// Ends without an answer. The query shown is the first one, from when on there was silence.
    fn end(&mut self, reply: DnsReply) {
        let (query, sent_at) =
            self.tries.first().map_or((&self.query, self.shape.exchange.now), |first| (&first.query, first.sent_at));
        let response = self.shape.response(Transport::Udp, sent_at, self.retries(), query, reply);
        self.finish(UdpEnd::Done(response));
    }

    fn finish(&mut self, end: UdpEnd) {
        self.phase = Phase::Ended;
        let strays = core::mem::take(&mut self.strays);
        self.end = Some(match end {
            UdpEnd::Done(response) => UdpEnd::Done(strays.into_response(response)),
            UdpEnd::Truncated(response) => UdpEnd::Truncated(strays.into_response(response)),
        });
    }

    /// The end that this datagram makes if it is an answer to one of the tries, or what is wrong with it.
    fn answered(&self, meta: &Meta, bytes: &[u8]) -> Result<UdpEnd, StrayKind> {
        if meta.from != self.shape.exchange.dst || meta.from_port != self.shape.port {
            return Err(StrayKind::Source);
        }
        let head = Head::parse(bytes).ok_or(StrayKind::Short)?;
        if !head.is_response {
            return Err(StrayKind::NoResponse);
        }
        let asked = self.tries.iter().find(|asked| asked.query.id() == head.id).ok_or(StrayKind::Id)?;
        // A datagram is never longer than the longest message.
        let rt = nanos_between(asked.sent_at, meta.received_at);
        let answer = answer(&self.shape, rt, bytes).ok_or(StrayKind::Other)?;
        let reply = DnsReply::Answer(answer);
        let response = self.shape.response(Transport::Udp, asked.sent_at, self.retries(), &asked.query, reply);
        Ok(if head.is_truncated { UdpEnd::Truncated(response) } else { UdpEnd::Done(response) })
    }

    fn keep_stray(&mut self, meta: &Meta, what: StrayKind, bytes: &[u8]) {
        let begun = self.tries.first().map_or(self.shape.exchange.now, |first| first.sent_at);
        let after = nanos_between(begun, meta.received_at);
        let from = (meta.from, meta.from_port);
        self.strays.keep(from, what, after, bytes, DATAGRAM_KEPT, self.shape.show_message);
    }
}

impl Engine for DnsUdp {
    fn needs(&self) -> Needs {
        Needs { link: self.shape.exchange.zone, ..Needs::default() }
    }

    fn poll_transmit(&mut self, now: Nanos) -> Option<Transmit> {
        if self.phase != Phase::Send {
            return None;
        }
        // At most eleven tries. An odd step gives each its own id.
        let number = u32::try_from(self.tries.len()).unwrap_or(u32::MAX);
        let id = self.query.id().wrapping_add((number as u16).wrapping_mul(0x9e37));
        let query = self.query.with_id(id);
        let transmit = Transmit {
            token: Token(number),
            dst: self.shape.exchange.dst,
            channel: Channel::Udp { port: self.shape.port },
            hop_limit: self.hop_limit,
            traffic_class: 0,
            dont_fragment: false,
            payload: Vec::from(query.bytes()),
        };
        // Until the shell knows better, it was sent now.
        self.tries.push(Try { query, sent_at: now });
        self.phase = Phase::Wait { until: now + Duration::from_millis(u64::from(self.shape.timeout_ms)) };
        Some(transmit)
    }

    fn handle_sent(&mut self, token: Token, sent_at: Nanos) {
        let Ok(index) = usize::try_from(token.0) else { return };
        let Some(asked) = self.tries.get_mut(index) else { return };
        let before = core::mem::replace(&mut asked.sent_at, sent_at);
        if let (Some((answered, received_at)), Some(end)) = (self.answered, &mut self.end)
            && answered == index
        {
            end.restamp(before, sent_at, received_at);
        }
    }

    fn handle_send_error(&mut self, token: Token, _now: Nanos, why: Why) {
        let is_newest = token.0 == self.retries() && !self.tries.is_empty();
        if self.phase != Phase::Ended && is_newest {
            self.end(DnsReply::SendError(why));
        }
    }

    fn handle_datagram(&mut self, meta: &Meta, bytes: &[u8]) {
        if self.phase == Phase::Ended {
            return;
        }
        match self.answered(meta, bytes) {
            Ok(end) => {
                let id = Head::parse(bytes).map(|head| head.id);
                let asked = self.tries.iter().position(|asked| Some(asked.query.id()) == id);
                self.answered = asked.map(|index| (index, meta.received_at));
                self.finish(end);
            }
            Err(what) => {
                self.ignore();
                self.keep_stray(meta, what, bytes);
            }
        }
    }

    fn handle_icmp_error(&mut self, event: &IcmpErrorEvent) {
        if self.phase == Phase::Ended {
            return;
        }
        let is_refusal = event.from == self.shape.exchange.dst
            && PORT_UNREACHABLE.contains(&(event.from.is_ipv4(), event.kind, event.code));
        // Systems may give back nothing of our packet; what they do give back must be ours.
        let is_ours = match event.quoted.first_chunk() {
            Some(id) => self.tries.iter().any(|asked| asked.query.id() == u16::from_be_bytes(*id)),
            None => !self.tries.is_empty(),
        };
        if is_refusal && is_ours {
            self.end(DnsReply::SendError(Why::cut("connection refused (ICMP port unreachable)")));
        } else {
            self.ignore();
        }
    }

    fn poll_timeout(&self) -> Option<Nanos> {
        match self.phase {
            Phase::Send => Some(self.shape.exchange.now),
            Phase::Wait { until } => Some(until),
            Phase::Ended => None,
        }
    }

    fn handle_timeout(&mut self, now: Nanos) {
        match self.phase {
            Phase::Wait { until } if now >= until => {
                if self.retries() + 1 < self.tries_allowed {
                    self.phase = Phase::Send;
                } else {
                    self.end(DnsReply::Timeout(self.shape.timeout_ms));
                }
            }
            _ => {}
        }
    }

    fn poll_outcome(&mut self) -> Option<Outcome> {
        if self.outcome_taken {
            return None;
        }
        let response = self.end.as_ref()?.response().clone();
        self.outcome_taken = true;
        Some(Outcome::Dns(single(self.own_resolver, response)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{QueryContext, query};
    use super::*;
    use core::net::IpAddr;
    use proptest::prelude::*;
    use sonde_protocol::bounded::Text;
    use sonde_protocol::ids::ProbeId;
    use sonde_protocol::net::Ip;
    use sonde_protocol::time::UnixNanos;

    const SERVER: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 53));
    const START: Nanos = Nanos(1_000_000_000);
    const WALL: UnixNanos = UnixNanos::from_secs(1_760_000_000);

    fn ms(ms: i64) -> Nanos {
        Nanos(START.0 + ms * 1_000_000)
    }

    fn spec() -> DnsSpec {
        DnsSpec { query_argument: Text::cut("example.net"), include_qbuf: true, ..DnsSpec::default() }
    }

    fn engine(spec: &DnsSpec) -> DnsUdp {
        let ctx = QueryContext { probe_id: ProbeId(1), id: 0x4242, random: 7, time: WALL };
        let src = Some(IpAddr::from([198, 51, 100, 7]));
        let exchange = Exchange { dst: SERVER, zone: 0, src, now: START, time: WALL };
        DnsUdp::new(spec, exchange, query(spec, &ctx).unwrap())
    }

    fn reply_to(transmit: &Transmit) -> Vec<u8> {
        let mut bytes = transmit.payload.clone();
        bytes[2] |= 0x80;
        bytes
    }

    fn meta(at: Nanos) -> Meta {
        Meta { received_at: at, from: SERVER, from_port: 53, hop_limit: Some(60), fragment: None }
    }

    fn done(engine: &mut DnsUdp) -> DnsResponse {
        assert_eq!(engine.poll_timeout(), None);
        match engine.take_response() {
            Some(UdpEnd::Done(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_is_timed_from_the_last_stamp_of_its_query() {
        let mut engine = engine(&DnsSpec { ttl: Some(9), ..spec() });
        assert_eq!(engine.poll_timeout(), Some(START));
        let sent = engine.poll_transmit(ms(0)).unwrap();
        assert_eq!((sent.dst, sent.channel, sent.hop_limit), (SERVER, Channel::Udp { port: 53 }, Some(9)));
        assert_eq!(engine.poll_transmit(ms(0)), None);
        assert_eq!(engine.poll_timeout(), Some(ms(5000)));
        engine.handle_sent(sent.token, ms(1));
        engine.handle_sent(sent.token, ms(2));
        assert_eq!((engine.take_response(), engine.poll_outcome()), (None, None));

        let bytes = reply_to(&sent);
        engine.handle_datagram(&meta(ms(14)), &bytes);
        let outcome = engine.poll_outcome();
        let response = done(&mut engine);
        assert_eq!(response.sent_at, WALL + Duration::from_millis(2));
        assert_eq!((response.dst_addr, response.dst_port, response.protocol), (Ip(SERVER), 53, Transport::Udp));
        assert_eq!(response.src_addr, Some(Ip(IpAddr::from([198, 51, 100, 7]))));
        assert_eq!(response.retries, 0);
        assert_eq!(response.query.as_deref(), Some(sent.payload.as_slice()));
        let DnsReply::Answer(answer) = &response.outcome else { panic!("{response:?}") };
        assert_eq!((answer.rt, &*answer.message, answer.connect), (12_000_000, bytes.as_slice(), None));
        assert!(answer.show_message && !answer.truncated_first);
        let Some(Outcome::Dns(outcome)) = outcome else { panic!("{outcome:?}") };
        assert_eq!((outcome.own_resolvers, &*outcome.responses), (false, [response].as_slice()));
        assert_eq!((engine.poll_outcome(), engine.take_response()), (None, None));
    }

    #[test]
    fn a_stamp_that_comes_after_the_answer_counts() {
        let mut engine = engine(&spec());
        let sent = engine.poll_transmit(ms(0)).unwrap();
        engine.handle_sent(sent.token, ms(1));
        engine.handle_datagram(&meta(ms(14)), &reply_to(&sent));
        engine.handle_sent(sent.token, ms(3));
        let response = done(&mut engine);
        let DnsReply::Answer(answer) = response.outcome else { panic!("no answer") };
        assert_eq!((answer.rt, response.sent_at), (11_000_000, WALL + Duration::from_millis(3)));
    }

    #[test]
    fn what_is_no_answer_is_reported_and_waited_past() {
        let mut engine = engine(&spec());
        let sent = engine.poll_transmit(ms(0)).unwrap();
        let answer = reply_to(&sent);
        let mut other_id = answer.clone();
        other_id[0] ^= 1;
        let other_host = Meta { from: IpAddr::from([192, 0, 2, 54]), ..meta(ms(1)) };
        let other_port = Meta { from_port: 5353, ..meta(ms(1)) };
        let cases = [
            (StrayKind::Id, meta(ms(1)), other_id.as_slice()),
            (StrayKind::Source, other_host, &answer),
            (StrayKind::Source, other_port, &answer),
            (StrayKind::NoResponse, meta(ms(1)), &sent.payload),
            (StrayKind::Short, meta(ms(1)), &answer[..11]),
            (StrayKind::Short, meta(ms(1)), &[]),
        ];
        for (what, meta, bytes) in &cases {
            let before = engine.ignored();
            engine.handle_datagram(meta, bytes);
            assert_eq!((engine.ignored(), engine.take_response()), (before + 1, None), "{what:?}");
        }
        engine.handle_datagram(&meta(ms(7)), &answer);
        let response = done(&mut engine);
        assert!(matches!(&response.outcome, DnsReply::Answer(a) if a.rt == 7_000_000));
        assert_eq!((response.strays_seen, response.id_mismatches), (6, 1));
        for (stray, (what, meta, bytes)) in response.strays.iter().zip(&cases) {
            assert_eq!((stray.what, stray.after), (*what, 1_000_000));
            assert_eq!((stray.from, stray.port), (Ip(meta.from), meta.from_port));
            assert_eq!((&*stray.message, stray.size), (*bytes, bytes.len() as u32));
        }
    }

    #[test]
    fn of_many_long_strays_the_first_and_their_heads_are_kept() {
        let mut engine = engine(&DnsSpec { include_abuf: false, timeout: 100, ..spec() });
        let sent = engine.poll_transmit(ms(0)).unwrap();
        let mut forged = reply_to(&sent);
        forged[0] ^= 1;
        forged.resize(4000, 7);
        for at in 1..=20 {
            engine.handle_datagram(&meta(ms(at)), &forged);
        }
        engine.handle_timeout(ms(100));
        let response = done(&mut engine);
        assert_eq!(response.outcome, DnsReply::Timeout(100));
        assert_eq!((response.strays_seen, response.id_mismatches, response.strays.len()), (20, 20, 8));
        let first = &response.strays[0];
        assert_eq!((first.size, &*first.message, first.show_message), (4000, &forged[..512], false));
    }

    #[test]
    fn a_header_alone_is_an_answer() {
        let mut engine = engine(&spec());
        let sent = engine.poll_transmit(ms(0)).unwrap();
        engine.handle_datagram(&meta(ms(3)), &reply_to(&sent)[..12]);
        assert!(matches!(done(&mut engine).outcome, DnsReply::Answer(a) if a.message.len() == 12));
    }

    #[test]
    fn silence_is_a_timeout_after_every_try() {
        let mut engine = engine(&DnsSpec { retry: 2, timeout: 100, ..spec() });
        let mut ids = Vec::new();
        for (number, at) in [0, 100, 200].into_iter().enumerate() {
            let sent = engine.poll_transmit(ms(at)).unwrap();
            assert_eq!(sent.token, Token(number as u32));
            ids.push(sent.payload[..2].to_vec());
            engine.handle_timeout(ms(at + 99));
            assert_eq!(engine.poll_transmit(ms(at + 99)), None);
            assert_eq!(engine.poll_timeout(), Some(ms(at + 100)));
            engine.handle_timeout(ms(at + 100));
        }
        ids.dedup();
        assert_eq!(ids.len(), 3);
        let response = done(&mut engine);
        assert_eq!((response.outcome, response.retries, response.sent_at), (DnsReply::Timeout(100), 2, WALL));
        assert_eq!(engine.poll_transmit(ms(400)), None);
    }

    #[test]
    fn a_late_answer_to_the_first_try_is_timed_from_the_first_try() {
        let mut engine = engine(&DnsSpec { retry: 1, timeout: 100, ..spec() });
        let first = engine.poll_transmit(ms(0)).unwrap();
        engine.handle_timeout(ms(100));
        engine.poll_transmit(ms(100)).unwrap();
        engine.handle_datagram(&meta(ms(130)), &reply_to(&first));
        let response = done(&mut engine);
        assert_eq!((response.retries, response.sent_at), (1, WALL));
        assert_eq!(response.query.as_deref(), Some(first.payload.as_slice()));
        assert!(matches!(response.outcome, DnsReply::Answer(a) if a.rt == 130_000_000));
    }

    #[test]
    fn a_truncated_answer_asks_for_tcp() {
        let mut engine = engine(&spec());
        let sent = engine.poll_transmit(ms(0)).unwrap();
        let mut bytes = reply_to(&sent);
        bytes[2] |= 0x02;
        engine.handle_datagram(&meta(ms(5)), &bytes);
        match engine.take_response() {
            Some(UdpEnd::Truncated(response)) => assert!(matches!(response.outcome, DnsReply::Answer(_))),
            other => panic!("{other:?}"),
        }
        assert!(engine.poll_outcome().is_some());
    }

    #[test]
    fn a_send_error_ends_the_run() {
        let mut engine = engine(&spec());
        let sent = engine.poll_transmit(ms(0)).unwrap();
        engine.handle_send_error(Token(9), ms(0), Why::cut("of nobody"));
        assert_eq!(engine.take_response(), None);
        engine.handle_send_error(sent.token, ms(0), Why::cut("Network is unreachable"));
        assert_eq!(done(&mut engine).outcome, DnsReply::SendError(Why::cut("Network is unreachable")));
    }

    #[test]
    fn only_a_port_unreachable_from_the_server_about_our_query_ends_the_run() {
        let refused = |from, kind, code, quoted: &[u8]| IcmpErrorEvent {
            received_at: ms(4),
            from,
            hop_limit: None,
            kind,
            code,
            mtu: None,
            quoted: quoted.to_vec(),
            details: crate::ErrorDetails::default(),
            extensions: None,
        };
        let router = IpAddr::from([10, 0, 0, 1]);
        let ours = [0x42, 0x42, 0, 0];
        for (what, event, ends) in [
            ("network unreachable", refused(router, 3, 0, &ours), false),
            ("port unreachable from a router", refused(router, 3, 3, &ours), false),
            ("about another query", refused(SERVER, 3, 3, &[1, 2, 3]), false),
            ("quoting our query", refused(SERVER, 3, 3, &ours), true),
            ("quoting nothing", refused(SERVER, 3, 3, &[]), true),
        ] {
            let mut engine = engine(&spec());
            engine.handle_icmp_error(&event);
            assert_eq!(engine.take_response(), None, "{what}, before any query");
            engine.poll_transmit(ms(0)).unwrap();
            engine.handle_icmp_error(&event);
            assert_eq!(engine.poll_timeout().is_none(), ends, "{what}");
            if ends {
                assert!(matches!(done(&mut engine).outcome, DnsReply::SendError(_)));
            }
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Wait(u16),
        Datagram(bool, u16, Vec<u8>),
        Mutated(usize, u8),
        Icmp(u8, u8, Vec<u8>),
        Sent(u32, i64),
        SendError(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            any::<u16>().prop_map(Step::Wait),
            (any::<bool>(), any::<u16>(), proptest::collection::vec(any::<u8>(), 0..40))
                .prop_map(|(ours, port, bytes)| Step::Datagram(ours, port, bytes)),
            (0_usize..40, any::<u8>()).prop_map(|(at, xor)| Step::Mutated(at, xor)),
            (any::<u8>(), any::<u8>(), proptest::collection::vec(any::<u8>(), 0..8))
                .prop_map(|(kind, code, quoted)| Step::Icmp(kind, code, quoted)),
            (0_u32..4, any::<i64>()).prop_map(|(token, at)| Step::Sent(token, at)),
            (1_u32..4).prop_map(Step::SendError),
        ]
    }

    proptest! {
        /// Whatever happens, the run ends after its last time-out, with one response and no panic.
        #[test]
        fn every_run_ends(retry in 0_u32..=10, steps in proptest::collection::vec(step(), 0..60)) {
            let mut engine = engine(&DnsSpec { retry, timeout: 1000, ..spec() });
            let mut now = START;
            let mut last = None;
            let mut sent = 0;
            for step in steps.into_iter().chain((0..12).map(|_| Step::Wait(1000))) {
                while let Some(transmit) = engine.poll_transmit(now) {
                    sent += 1;
                    last = Some(reply_to(&transmit));
                }
                match step {
                    Step::Wait(ms) => {
                        now = now + Duration::from_millis(u64::from(ms));
                        engine.handle_timeout(now);
                    }
                    Step::Datagram(ours, from_port, bytes) => {
                        let from = if ours { SERVER } else { IpAddr::from([203, 0, 113, 1]) };
                        engine.handle_datagram(&Meta { received_at: now, from, from_port, hop_limit: None, fragment: None }, &bytes);
                    }
                    Step::Mutated(at, xor) => {
                        let mut bytes = last.clone().unwrap_or_default();
                        if let Some(byte) = bytes.get_mut(at) {
                            *byte ^= xor;
                        }
                        engine.handle_datagram(&meta(now), &bytes);
                    }
                    Step::Icmp(kind, code, quoted) => engine.handle_icmp_error(&IcmpErrorEvent {
                        received_at: now,
                        from: SERVER,
                        hop_limit: None,
                        kind,
                        code,
                        mtu: None,
                        quoted,
                        details: crate::ErrorDetails::default(),
                        extensions: None,
                    }),
                    Step::Sent(token, at) => engine.handle_sent(Token(token), Nanos(at)),
                    Step::SendError(token) => engine.handle_send_error(Token(token), now, Why::cut("no")),
                }
            }
            prop_assert!(sent <= retry + 1);
            prop_assert!(engine.take_response().is_some());
            prop_assert_eq!(engine.take_response(), None);
            prop_assert!(engine.poll_outcome().is_some());
            prop_assert_eq!(engine.poll_timeout(), None);
        }
    }
}
