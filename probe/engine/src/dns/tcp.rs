//! The TCP exchange with one server, as a plan, events and a pure function (RFC 1035, 4.2.2; RFC 7766).
//!
//! The shell makes a [`TcpPlan`], connects, sends [`TcpPlan::request`] and reads until [`TcpReader::push`] says that the
//! message is whole, noting what happened when; [`tcp_response`] makes the response of it. The time allowed covers
//! everything, connection included, and so does the response time (as in RIPE Atlas).

use alloc::format;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use sonde_protocol::net::{Ip, Transport};
use sonde_protocol::result::{DnsAnswer, DnsReply, DnsResponse, Why};
use sonde_protocol::spec::DnsSpec;
use sonde_protocol::time::Nanos;

use super::{Exchange, Head, Query, Shape, answer, nanos_between};

/// Bytes of the length before a message.
const PREFIX: usize = 2;

/// What the shell has to do: connect to `dst` and `port`, send `request`, read one message, all within `timeout` of
/// `deadline`'s beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpPlan {
    /// The server.
    pub dst: IpAddr,
    /// Its port.
    pub port: u16,
    /// TTL or hop limit; the system's default when absent.
    pub hop_limit: Option<u8>,
    /// The query behind its length.
    pub request: Vec<u8>,
    /// When the exchange has taken too long.
    pub deadline: Nanos,
    shape: Shape,
    query: Query,
    retries: u32,
    truncated_first: bool,
}

impl TcpPlan {
    /// The exchange of `query` (made by [`super::query`] from the same definition) after `retries` tries that timed out.
    pub fn new(spec: &DnsSpec, exchange: Exchange, query: Query, retries: u32) -> Self {
        // A query is shorter than 600 bytes.
        let length = u16::try_from(query.bytes().len()).unwrap_or(u16::MAX);
        let mut request = Vec::from(length.to_be_bytes());
        request.extend_from_slice(query.bytes());
        Self {
            dst: exchange.dst,
            port: Shape::new(spec, exchange).port,
            hop_limit: spec.ttl.and_then(|ttl| u8::try_from(ttl).ok()),
            request,
            deadline: exchange.now + Duration::from_millis(u64::from(spec.timeout)),
            shape: Shape::new(spec, exchange),
            query,
            retries,
            truncated_first: false,
        }
    }

    /// The exchange that repeats over TCP what UDP answered truncated; `udp` is that answer.
    pub fn after_truncation(spec: &DnsSpec, exchange: Exchange, query: Query, udp: &DnsResponse) -> Self {
        Self { truncated_first: true, ..Self::new(spec, exchange, query, udp.retries) }
    }
}

/// Where a TCP exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpStep {
    /// Opening the socket or the connection.
    Connect,
    /// Sending the query.
    Send,
    /// Reading the answer.
    Read,
}

/// Something that happened in a TCP exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TcpEvent {
    /// The connection is open.
    Connected {
        /// When.
        at: Nanos,
        /// The probe's own address, if the system tells it.
        src: Option<IpAddr>,
    },
    /// The whole request has been handed to the system.
    Sent(Nanos),
    /// Bytes came.
    Bytes {
        /// When.
        at: Nanos,
        /// Which.
        data: Vec<u8>,
    },
    /// The server closed the connection.
    Closed(Nanos),
    /// A step failed.
    Failed {
        /// When.
        at: Nanos,
        /// Which.
        step: TcpStep,
        /// The system's words.
        why: Why,
    },
    /// The plan's deadline passed.
    TimedOut(Nanos),
}

/// Collects one message behind its length. Takes no more than that message, whatever comes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TcpReader {
    buffer: Vec<u8>,
}

impl TcpReader {
    /// Takes the next bytes of the connection. True when the message is whole; what follows it is dropped.
    pub fn push(&mut self, data: &[u8]) -> bool {
        let mut rest = data;
        while let Some(missing) = self.missing().filter(|_| !rest.is_empty()) {
            let (taken, after) = rest.split_at_checked(missing).unwrap_or((rest, &[]));
            self.buffer.extend_from_slice(taken);
            rest = after;
        }
        self.missing().is_none()
    }

    /// The message, when it is whole.
    pub fn message(&self) -> Option<&[u8]> {
        if self.missing().is_some() { None } else { self.buffer.get(PREFIX..) }
    }

    /// The message's length as announced, once that is known.
    fn announced(&self) -> Option<usize> {
        self.buffer.first_chunk().map(|prefix| usize::from(u16::from_be_bytes(*prefix)))
    }

    /// How many bytes are missing to the end of the length, or of the message; none when it is whole.
    fn missing(&self) -> Option<usize> {
        let wanted = PREFIX + self.announced().unwrap_or(0);
        wanted.checked_sub(self.buffer.len()).filter(|missing| *missing > 0)
    }

    fn progress(&self) -> Why {
        let have = self.buffer.len().saturating_sub(PREFIX);
        match self.announced() {
            Some(announced) => Why::cut(format!("connection closed after {have} of {announced} bytes")),
            None => Why::cut("connection closed without an answer"),
        }
    }
}

/// The response that these events make, in the order in which they happened. The first event that ends the exchange counts;
/// a message that is no answer to the query is [`DnsReply::Read`].
pub fn tcp_response(plan: &TcpPlan, events: &[TcpEvent]) -> DnsResponse {
    let start = plan.shape.exchange.now;
    let mut connect = None;
    let mut src = plan.shape.exchange.src;
    let mut reader = TcpReader::default();
    let mut outcome = None;
    for event in events {
        outcome = match event {
            TcpEvent::Connected { at, src: own } => {
                connect = Some(nanos_between(start, *at));
                src = own.or(src);
                None
            }
            TcpEvent::Sent(_) => None,
            TcpEvent::Bytes { at, data } => {
                reader.push(data);
                reader.message().map(|message| read(plan, message, nanos_between(start, *at), connect))
            }
            TcpEvent::Closed(_) => Some(DnsReply::Read(reader.progress())),
            TcpEvent::Failed { step, why, .. } => Some(match step {
                TcpStep::Connect => DnsReply::Connect(why.clone()),
                TcpStep::Send => DnsReply::SendError(why.clone()),
                TcpStep::Read => DnsReply::Read(why.clone()),
            }),
            TcpEvent::TimedOut(_) => Some(DnsReply::Timeout(plan.shape.timeout_ms)),
        };
        if outcome.is_some() {
            break;
        }
    }
    let outcome = outcome.unwrap_or_else(|| DnsReply::Read(Why::cut("the exchange was broken off")));
    let mut response = plan.shape.response(Transport::Tcp, start, plan.retries, &plan.query, outcome);
    response.src_addr = src.map(Ip);
    response
}

fn read(plan: &TcpPlan, message: &[u8], rt: u64, connect: Option<u64>) -> DnsReply {
    let refused = match Head::parse(message) {
        None => Why::cut(format!("an answer of {} bytes is shorter than a DNS header", message.len())),
        Some(head) if !head.is_response => Why::cut("the answer is no response"),
        Some(head) if head.id != plan.query.id() => Why::cut("the answer's id is not the query's"),
        Some(_) => match answer(&plan.shape, rt, message) {
            Some(found) => {
                return DnsReply::Answer(DnsAnswer { connect, truncated_first: plan.truncated_first, ..found });
            }
            // The length before a message has 16 bits, so this cannot be.
            None => Why::cut("the answer is too long"),
        },
    };
    DnsReply::Read(refused)
}

#[cfg(test)]
mod tests {
    use super::super::{QueryContext, query};
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;
    use sonde_protocol::bounded::Text;
    use sonde_protocol::ids::ProbeId;
    use sonde_protocol::time::UnixNanos;

    const START: Nanos = Nanos(5_000_000_000);
    const WALL: UnixNanos = UnixNanos::from_secs(1_760_000_000);
    const OWN: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(198, 51, 100, 7));

    fn ms(ms: i64) -> Nanos {
        Nanos(START.0 + ms * 1_000_000)
    }

    fn plan() -> TcpPlan {
        let spec = DnsSpec {
            query_argument: Text::cut("example.net"),
            protocol: Transport::Tcp,
            include_qbuf: true,
            port: 5300,
            timeout: 2000,
            ..DnsSpec::default()
        };
        let ctx = QueryContext { probe_id: ProbeId(1), id: 0x4242, random: 7, time: WALL };
        let exchange = Exchange { dst: IpAddr::from([192, 0, 2, 53]), src: None, now: START, time: WALL };
        TcpPlan::new(&spec, exchange, query(&spec, &ctx).unwrap(), 1)
    }

    fn answer_to(plan: &TcpPlan) -> Vec<u8> {
        let mut framed = plan.request.clone();
        framed[4] |= 0x80;
        framed
    }

    fn connected() -> TcpEvent {
        TcpEvent::Connected { at: ms(10), src: Some(OWN) }
    }

    fn bytes(at: i64, data: &[u8]) -> TcpEvent {
        TcpEvent::Bytes { at: ms(at), data: data.to_vec() }
    }

    fn outcome(events: &[TcpEvent]) -> DnsReply {
        tcp_response(&plan(), events).outcome
    }

    fn why(reply: &DnsReply) -> &str {
        match reply {
            DnsReply::Read(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_request_is_the_query_behind_its_length() {
        let plan = plan();
        assert_eq!(plan.request[..2], [0, 29]);
        assert_eq!(plan.request[2..], *plan.query.bytes());
        assert_eq!((plan.port, plan.deadline), (5300, ms(2000)));
    }

    #[test]
    fn the_response_time_includes_the_connection() {
        let plan = plan();
        let framed = answer_to(&plan);
        let response = tcp_response(&plan, &[connected(), TcpEvent::Sent(ms(11)), bytes(25, &framed)]);
        assert_eq!((response.sent_at, response.retries, response.dst_port), (WALL, 1, 5300));
        assert_eq!((response.protocol, response.src_addr), (Transport::Tcp, Some(Ip(OWN))));
        assert_eq!(response.query.as_deref(), Some(plan.query.bytes()));
        let DnsReply::Answer(DnsAnswer { rt, message, connect, truncated_first, .. }) = response.outcome else {
            panic!()
        };
        assert_eq!((rt, connect, truncated_first), (25_000_000, Some(10_000_000), false));
        assert_eq!(*message, framed[2..]);
    }

    #[test]
    fn after_truncation_the_response_says_so() {
        let plan = plan();
        let udp = tcp_response(&plan, &[]);
        let spec = DnsSpec { query_argument: Text::cut("example.net"), ..DnsSpec::default() };
        let again = TcpPlan::after_truncation(&spec, plan.shape.exchange, plan.query.clone(), &udp);
        let response = tcp_response(&again, &[connected(), bytes(25, &answer_to(&plan))]);
        assert_eq!((response.retries, response.protocol), (1, Transport::Tcp));
        assert!(matches!(response.outcome, DnsReply::Answer(a) if a.truncated_first));
    }

    #[test]
    fn a_message_cut_anywhere_is_read_the_same() {
        let plan = plan();
        let framed = answer_to(&plan);
        for cut in 0..=framed.len() {
            let (head, tail) = framed.split_at(cut);
            let events = [connected(), bytes(20, head), bytes(21, tail)];
            let rt = if tail.is_empty() { 20_000_000 } else { 21_000_000 };
            let reply = tcp_response(&plan, &events).outcome;
            assert!(
                matches!(&reply, DnsReply::Answer(a) if *a.message == framed[2..] && a.rt == rt),
                "{cut}: {reply:?}"
            );
            let cut_off = tcp_response(&plan, &[connected(), bytes(20, head), TcpEvent::Closed(ms(22))]).outcome;
            assert_eq!(matches!(cut_off, DnsReply::Answer(_)), tail.is_empty(), "{cut}");
        }
        let mut reader = TcpReader::default();
        let whole_at = framed.iter().position(|byte| reader.push(&[*byte]));
        assert_eq!(whole_at, Some(framed.len() - 1));
        assert_eq!(reader.message(), Some(&framed[2..]));
    }

    #[test]
    fn what_follows_the_message_is_dropped() {
        let plan = plan();
        let mut framed = answer_to(&plan);
        framed.extend([0xff; 100]);
        let reply = tcp_response(&plan, &[connected(), bytes(20, &framed), bytes(21, &framed)]).outcome;
        assert!(matches!(reply, DnsReply::Answer(a) if a.message.len() == 29));
        let mut reader = TcpReader::default();
        assert!(reader.push(&framed) && reader.push(&framed));
        assert_eq!(reader.buffer.len(), 31);
    }

    #[test]
    fn the_ways_to_fail() {
        let failed = |step| TcpEvent::Failed { at: ms(3), step, why: Why::cut("no") };
        assert_eq!(outcome(&[failed(TcpStep::Connect)]), DnsReply::Connect(Why::cut("no")));
        assert_eq!(outcome(&[connected(), failed(TcpStep::Send)]), DnsReply::SendError(Why::cut("no")));
        assert_eq!(outcome(&[connected(), failed(TcpStep::Read)]), DnsReply::Read(Why::cut("no")));
        assert_eq!(outcome(&[TcpEvent::TimedOut(ms(2000))]), DnsReply::Timeout(2000));
        assert_eq!(outcome(&[connected(), bytes(9, &[0]), TcpEvent::TimedOut(ms(2000))]), DnsReply::Timeout(2000));
        assert_eq!(why(&outcome(&[connected(), TcpEvent::Closed(ms(9))])), "connection closed without an answer");
        let half = [connected(), bytes(9, &[0, 40, 1, 2, 3]), TcpEvent::Closed(ms(9))];
        assert_eq!(why(&outcome(&half)), "connection closed after 3 of 40 bytes");
        assert_eq!(why(&outcome(&[])), "the exchange was broken off");
    }

    #[test]
    fn a_message_that_answers_something_else_is_an_error() {
        let plan = plan();
        let mut other_id = answer_to(&plan);
        other_id[2] ^= 1;
        assert_eq!(why(&outcome(&[bytes(9, &other_id)])), "the answer's id is not the query's");
        assert_eq!(why(&outcome(&[bytes(9, &plan.request)])), "the answer is no response");
        assert_eq!(why(&outcome(&[bytes(9, &[0, 3, 1, 2, 3])])), "an answer of 3 bytes is shorter than a DNS header");
        assert_eq!(why(&outcome(&[bytes(9, &[0, 0])])), "an answer of 0 bytes is shorter than a DNS header");
    }

    #[test]
    fn the_longest_message_is_read() {
        let mut framed = vec![0xff; 2 + 65_535];
        framed[2..4].copy_from_slice(&[0x42, 0x42]);
        assert!(matches!(outcome(&[bytes(9, &framed)]), DnsReply::Answer(a) if a.message.len() == 65_535));
    }

    fn event() -> impl Strategy<Value = TcpEvent> {
        prop_oneof![
            1 => any::<i64>().prop_map(|at| TcpEvent::Connected { at: Nanos(at), src: None }),
            1 => any::<i64>().prop_map(|at| TcpEvent::Sent(Nanos(at))),
            8 => (any::<i64>(), proptest::collection::vec(any::<u8>(), 0..80))
                .prop_map(|(at, data)| TcpEvent::Bytes { at: Nanos(at), data }),
            1 => any::<i64>().prop_map(|at| TcpEvent::Closed(Nanos(at))),
            1 => any::<i64>().prop_map(|at| TcpEvent::TimedOut(Nanos(at))),
        ]
    }

    proptest! {
        #[test]
        fn any_events_give_a_response(events in proptest::collection::vec(event(), 0..20)) {
            let response = tcp_response(&plan(), &events);
            prop_assert_eq!(response.protocol, Transport::Tcp);
        }

        #[test]
        fn the_reader_keeps_one_message_however_it_is_cut(
            message in proptest::collection::vec(any::<u8>(), 0..300),
            cuts in proptest::collection::vec(1_usize..50, 1..20),
        ) {
            let mut framed = (message.len() as u16).to_be_bytes().to_vec();
            framed.extend_from_slice(&message);
            let mut reader = TcpReader::default();
            let mut rest = framed.as_slice();
            for cut in cuts.iter().cycle() {
                prop_assert_eq!(reader.message(), None);
                let (taken, after) = rest.split_at((*cut).min(rest.len()));
                rest = after;
                if reader.push(taken) {
                    break;
                }
            }
            prop_assert!(rest.is_empty());
            prop_assert_eq!(reader.message(), Some(message.as_slice()));
        }
    }
}
