//! The exchange over a connection (TCP, TLS, HTTPS, QUIC) with one server, as a plan, events and a pure function (RFC 7766,
//! RFC 7858, RFC 8484, RFC 9250).
//!
//! The shell makes a [`StreamPlan`], opens the connection that [`StreamPlan::carrier`] says, sends
//! [`StreamPlan::request`] and reads until [`StreamReader::push`] says that the message is whole or the server ends it,
//! noting what happened when; [`stream_response`] makes the response of it. The time allowed covers everything, connection
//! included, and so does the response time (as in RIPE Atlas).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use sonde_protocol::bounded::Text;
use sonde_protocol::net::Ip;
use sonde_protocol::result::{DnsAnswer, DnsReply, DnsResponse, DnsSecure, StrayKind, Why};
use sonde_protocol::spec::{DnsCarrier, DnsSpec};
use sonde_protocol::time::Nanos;

use super::strays::Strays;
use super::{Exchange, Head, Query, Shape, answer, nanos_between};

/// Bytes of the length before a message.
const PREFIX: usize = 2;

/// The longest DNS message: its length has 16 bits (RFC 1035, 4.2.2), and over HTTP it is not longer either (RFC 8484, 6).
const LONGEST: usize = 65_535;

/// What a DNS message is called in HTTP (RFC 8484, 6).
pub const MEDIA_TYPE: &str = "application/dns-message";

/// What the shell has to do: connect to `dst` and `port`, send `request`, read one message, all until `deadline`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPlan {
    /// What to connect with; never [`DnsCarrier::Udp`].
    pub carrier: DnsCarrier,
    /// The server.
    pub dst: IpAddr,
    /// The number of the link on which a link-local server is; 0 of every other.
    pub zone: u32,
    /// Its port.
    pub port: u16,
    /// Its name in TLS and HTTP: a host name or a literal address.
    pub server_name: String,
    /// The path of the URL; of use with HTTPS only.
    pub path: String,
    /// TTL or hop limit; the system's default when absent.
    pub hop_limit: Option<u8>,
    /// The query, behind its length unless the carrier is HTTPS.
    pub request: Vec<u8>,
    /// When the exchange has taken too long.
    pub deadline: Nanos,
    shape: Shape,
    query: Query,
    retries: u32,
    truncated_first: bool,
    strays: Strays,
}

impl StreamPlan {
    /// The exchange of `query` (made by [`super::query`] from the same definition) after `retries` tries that timed out.
    /// `target` is the server as it was asked for; the literal address does too.
    pub fn new(spec: &DnsSpec, exchange: Exchange, target: &str, query: Query, retries: u32) -> Self {
        let carrier = match spec.carrier() {
            // A plan for a connection was asked for.
            DnsCarrier::Udp => DnsCarrier::Tcp,
            other => other,
        };
        let mut request = Vec::new();
        if carrier != DnsCarrier::Https {
            // A query is shorter than 600 bytes.
            let length = u16::try_from(query.bytes().len()).unwrap_or(u16::MAX);
            request.extend_from_slice(&length.to_be_bytes());
        }
        request.extend_from_slice(query.bytes());
        let shape = Shape::new(spec, exchange);
        let name = spec.hostname.as_deref().unwrap_or(target);
        Self {
            carrier,
            dst: exchange.dst,
            zone: exchange.zone,
            port: shape.port,
            // The name in TLS has no dot at its end (RFC 6066, 3).
            server_name: name.strip_suffix('.').unwrap_or(name).to_string(),
            path: spec.path.as_deref().unwrap_or(DnsSpec::DEFAULT_PATH).to_string(),
            hop_limit: spec.ttl.and_then(|ttl| u8::try_from(ttl).ok()),
            request,
            deadline: exchange.now + Duration::from_millis(u64::from(spec.timeout)),
            shape,
            query,
            retries,
            truncated_first: false,
            strays: Strays::default(),
        }
    }

    /// The exchange that repeats over TCP what UDP answered truncated; `udp` is that answer.
    pub fn after_truncation(spec: &DnsSpec, exchange: Exchange, query: Query, udp: &DnsResponse) -> Self {
        let target = exchange.dst.to_string();
        let plan = Self::new(spec, exchange, &target, query, udp.retries);
        Self { truncated_first: true, strays: Strays::of(udp), ..plan }
    }

    /// An empty reader of the answer.
    pub fn reader(&self) -> StreamReader {
        StreamReader { buffer: Vec::new(), has_length: self.carrier != DnsCarrier::Https }
    }
}

/// Where an exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamStep {
    /// Opening the socket or the TCP connection.
    Connect,
    /// The handshake of TLS or QUIC.
    Handshake,
    /// Sending the query.
    Send,
    /// Reading the answer.
    Read,
}

/// Something that happened in an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    /// The TCP connection is open.
    Connected {
        /// When.
        at: Nanos,
        /// The probe's own address, if the system tells it.
        src: Option<IpAddr>,
    },
    /// The handshake of TLS or QUIC has ended.
    Secured {
        /// When.
        at: Nanos,
        /// The version of TLS as on the wire.
        version: Option<u16>,
        /// The cipher suite.
        cipher: Option<u16>,
    },
    /// The whole request has been handed to the system.
    Sent(Nanos),
    /// The head of an HTTP response came.
    Head {
        /// When.
        at: Nanos,
        /// Its status.
        status: u16,
        /// Its content type, cut.
        content_type: Option<Text<100>>,
    },
    /// Bytes came.
    Bytes {
        /// When.
        at: Nanos,
        /// Which.
        data: Vec<u8>,
    },
    /// The server ended the stream or the connection.
    Closed(Nanos),
    /// A step failed.
    Failed {
        /// When.
        at: Nanos,
        /// Which.
        step: StreamStep,
        /// The system's words.
        why: Why,
    },
    /// The plan's deadline passed.
    TimedOut(Nanos),
}

impl StreamEvent {
    /// When it happened.
    pub const fn at(&self) -> Nanos {
        match self {
            StreamEvent::Connected { at, .. }
            | StreamEvent::Secured { at, .. }
            | StreamEvent::Head { at, .. }
            | StreamEvent::Bytes { at, .. }
            | StreamEvent::Failed { at, .. }
            | StreamEvent::Sent(at)
            | StreamEvent::Closed(at)
            | StreamEvent::TimedOut(at) => *at,
        }
    }
}

/// Collects one message: behind its length, or all until the end of an HTTP response. Takes no more than the longest
/// message, whatever comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamReader {
    buffer: Vec<u8>,
    has_length: bool,
}

impl StreamReader {
    /// Takes the next bytes of the connection. True when no more are wanted: the message is whole, or longer than any may
    /// be. What follows is dropped.
    pub fn push(&mut self, data: &[u8]) -> bool {
        let mut rest = data;
        while let Some(missing) = self.missing().filter(|_| !rest.is_empty()) {
            let (taken, after) = rest.split_at_checked(missing).unwrap_or((rest, &[]));
            self.buffer.extend_from_slice(taken);
            rest = after;
        }
        self.missing().is_none()
    }

    /// The message behind its length, when it is whole.
    pub fn message(&self) -> Option<&[u8]> {
        if self.has_length && self.missing().is_none() { self.buffer.get(PREFIX..) } else { None }
    }

    /// The message's length as announced, once that is known.
    fn announced(&self) -> Option<usize> {
        self.buffer.first_chunk().map(|prefix| usize::from(u16::from_be_bytes(*prefix)))
    }

    /// How many more bytes are wanted at most; none when no more are.
    fn missing(&self) -> Option<usize> {
        // One byte more than the longest message shows that it is too long.
        let wanted = if self.has_length { PREFIX + self.announced().unwrap_or(0) } else { LONGEST + 1 };
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

/// What is known of an exchange on the way through its events.
struct Progress {
    start: Nanos,
    src: Option<IpAddr>,
    connected: Option<Nanos>,
    secured: Option<Nanos>,
    sent: Option<Nanos>,
    version: Option<u16>,
    cipher: Option<u16>,
    head: Option<(u16, Option<Text<100>>)>,
    reader: StreamReader,
    strays: Strays,
}

/// The response that these events make, in the order in which they happened. The first event that ends the exchange counts;
/// a message that is no answer to the query is [`DnsReply::Read`], and kept as a stray.
pub fn stream_response(plan: &StreamPlan, events: &[StreamEvent]) -> DnsResponse {
    let mut progress = Progress {
        start: plan.shape.exchange.now,
        src: plan.shape.exchange.src,
        connected: None,
        secured: None,
        sent: None,
        version: None,
        cipher: None,
        head: None,
        reader: plan.reader(),
        strays: plan.strays.clone(),
    };
    let outcome = events.iter().find_map(|event| {
        let end = progress.take(plan, event);
        if end.is_some() {
            progress.keep_part(plan, event.at());
        }
        end
    });
    let outcome = outcome.unwrap_or_else(|| DnsReply::Read(Why::cut("the exchange was broken off")));
    let Progress { start, src, version, cipher, strays, .. } = progress;
    let secure = plan.carrier.is_secure().then_some(DnsSecure { carrier: plan.carrier, version, cipher });
    let response = plan.shape.response(plan.carrier.transport(), start, plan.retries, &plan.query, outcome);
    strays.into_response(DnsResponse { src_addr: src.map(Ip), secure, ..response })
}

impl Progress {
    /// The end that this event makes, if it makes one.
    fn take(&mut self, plan: &StreamPlan, event: &StreamEvent) -> Option<DnsReply> {
        match event {
            StreamEvent::Connected { at, src } => {
                self.connected = Some(*at);
                self.src = src.or(self.src);
                None
            }
            StreamEvent::Secured { at, version, cipher } => {
                self.secured = Some(*at);
                (self.version, self.cipher) = (*version, *cipher);
                None
            }
            StreamEvent::Sent(at) => {
                self.sent = Some(*at);
                None
            }
            StreamEvent::Head { status, content_type, .. } => {
                self.head = Some((*status, content_type.clone()));
                None
            }
            StreamEvent::Bytes { at, data } => {
                if self.reader.push(data) {
                    let message = core::mem::take(&mut self.reader.buffer);
                    return Some(match message.get(PREFIX..) {
                        Some(message) if self.reader.has_length => self.read(plan, message, *at),
                        _ => DnsReply::Read(Why::cut(format!("an answer of more than {LONGEST} bytes"))),
                    });
                }
                None
            }
            StreamEvent::Closed(at) if plan.carrier == DnsCarrier::Https && self.head.is_some() => {
                let message = core::mem::take(&mut self.reader.buffer);
                Some(self.read_body(plan, &message, *at))
            }
            StreamEvent::Closed(_) => Some(DnsReply::Read(match plan.carrier {
                DnsCarrier::Https => Why::cut("connection closed without a response"),
                _ => self.reader.progress(),
            })),
            StreamEvent::Failed { step, why, .. } => Some(match step {
                StreamStep::Connect => DnsReply::Connect(why.clone()),
                StreamStep::Handshake => {
                    let name = if plan.carrier == DnsCarrier::Quic { "QUIC" } else { "TLS" };
                    DnsReply::Connect(Why::cut(format!("{name} handshake failed: {why}")))
                }
                StreamStep::Send => DnsReply::SendError(why.clone()),
                StreamStep::Read => DnsReply::Read(why.clone()),
            }),
            StreamEvent::TimedOut(_) => Some(DnsReply::Timeout(plan.shape.timeout_ms)),
        }
    }

    /// What a whole HTTP response says.
    fn read_body(&mut self, plan: &StreamPlan, body: &[u8], at: Nanos) -> DnsReply {
        let Some((status, content_type)) = self.head.take() else {
            return DnsReply::Read(Why::cut("connection closed without a response"));
        };
        if status != 200 {
            self.keep(plan, StrayKind::HttpStatus, body, at);
            return DnsReply::Read(Why::cut(format!("HTTP status {status}")));
        }
        // Parameters may follow (RFC 9110, 8.3.1).
        let essence = content_type.as_deref().and_then(|text| text.split(';').next()).map(str::trim);
        if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case(MEDIA_TYPE)) {
            self.keep(plan, StrayKind::ContentType, body, at);
            return DnsReply::Read(match &content_type {
                Some(text) => Why::cut(format!("the content type is {text}")),
                None => Why::cut("the response has no content type"),
            });
        }
        self.read(plan, body, at)
    }

    /// What a whole message says.
    fn read(&mut self, plan: &StreamPlan, message: &[u8], at: Nanos) -> DnsReply {
        let (what, why) = match Head::parse(message) {
            None => {
                let length = message.len();
                (StrayKind::Short, Why::cut(format!("an answer of {length} bytes is shorter than a DNS header")))
            }
            Some(head) if !head.is_response => (StrayKind::NoResponse, Why::cut("the answer is no response")),
            Some(head) if head.id != plan.query.id() => (StrayKind::Id, Why::cut("the answer's id is not the query's")),
            Some(_) => match answer(&plan.shape, nanos_between(self.start, at), message) {
                Some(found) => {
                    let opened = self.connected.unwrap_or(self.start);
                    return DnsReply::Answer(DnsAnswer {
                        connect: self.connected.map(|at| nanos_between(self.start, at)),
                        handshake: self.secured.map(|at| nanos_between(opened, at)),
                        exchange: self.sent.map(|sent| nanos_between(sent, at)),
                        truncated_first: plan.truncated_first,
                        ..found
                    });
                }
                // The length before a message has 16 bits, and more is not read over HTTP, so this cannot be.
                None => return DnsReply::Read(Why::cut("the answer is too long")),
            },
        };
        self.keep(plan, what, message, at);
        DnsReply::Read(why)
    }

    /// Keeps what has come of a message that was not taken.
    fn keep_part(&mut self, plan: &StreamPlan, at: Nanos) {
        let begun = core::mem::take(&mut self.reader.buffer);
        let part = if self.reader.has_length { begun.get(PREFIX..).unwrap_or_default() } else { &begun };
        self.keep(plan, StrayKind::Part, part, at);
    }

    fn keep(&mut self, plan: &StreamPlan, what: StrayKind, message: &[u8], at: Nanos) {
        if message.is_empty() {
            return; // of a response without a body nothing is left to show
        }
        let from = (plan.dst, plan.port);
        self.strays.keep(from, what, nanos_between(self.start, at), message, LONGEST, plan.shape.show_message);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{QueryContext, query};
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;
    use sonde_protocol::bounded::Text;
    use sonde_protocol::ids::ProbeId;
    use sonde_protocol::net::Transport;
    use sonde_protocol::time::UnixNanos;

    const START: Nanos = Nanos(5_000_000_000);
    const WALL: UnixNanos = UnixNanos::from_secs(1_760_000_000);
    const OWN: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(198, 51, 100, 7));

    fn ms(ms: i64) -> Nanos {
        Nanos(START.0 + ms * 1_000_000)
    }

    fn plan() -> StreamPlan {
        plan_with(|_| ())
    }

    fn plan_with(change: impl Fn(&mut DnsSpec)) -> StreamPlan {
        let mut spec = DnsSpec {
            query_argument: Text::cut("example.net"),
            protocol: Transport::Tcp,
            include_qbuf: true,
            port: 5300,
            timeout: 2000,
            ..DnsSpec::default()
        };
        change(&mut spec);
        let ctx = QueryContext { probe_id: ProbeId(1), id: 0x4242, random: 7, time: WALL };
        let exchange = Exchange { dst: IpAddr::from([192, 0, 2, 53]), zone: 0, src: None, now: START, time: WALL };
        StreamPlan::new(&spec, exchange, "ns.example.net.", query(&spec, &ctx).unwrap(), 1)
    }

    fn https() -> StreamPlan {
        plan_with(|spec| spec.https = true)
    }

    fn answer_to(plan: &StreamPlan) -> Vec<u8> {
        let mut framed = plan.request.clone();
        framed[4] |= 0x80;
        framed
    }

    fn connected() -> StreamEvent {
        StreamEvent::Connected { at: ms(10), src: Some(OWN) }
    }

    fn bytes(at: i64, data: &[u8]) -> StreamEvent {
        StreamEvent::Bytes { at: ms(at), data: data.to_vec() }
    }

    fn outcome(events: &[StreamEvent]) -> DnsReply {
        stream_response(&plan(), events).outcome
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
        let response = stream_response(&plan, &[connected(), StreamEvent::Sent(ms(11)), bytes(25, &framed)]);
        assert_eq!((response.sent_at, response.retries, response.dst_port), (WALL, 1, 5300));
        assert_eq!((response.protocol, response.src_addr), (Transport::Tcp, Some(Ip(OWN))));
        assert_eq!(response.query.as_deref(), Some(plan.query.bytes()));
        assert_eq!(response.secure, None);
        let DnsReply::Answer(answer) = response.outcome else { panic!() };
        assert_eq!((answer.rt, answer.connect, answer.handshake), (25_000_000, Some(10_000_000), None));
        assert_eq!((answer.exchange, answer.truncated_first), (Some(14_000_000), false));
        assert_eq!(*answer.message, framed[2..]);
    }

    #[test]
    fn each_carrier_is_asked_by_name_in_its_own_form() {
        let named = |spec: &mut DnsSpec| {
            spec.tls = true;
            spec.hostname = Some(Text::cut("dns.example."));
        };
        let at_path = |spec: &mut DnsSpec| {
            spec.https = true;
            spec.path = Some(Text::cut("/q"));
        };
        for (plan, carrier, name, path, framed) in [
            (plan(), DnsCarrier::Tcp, "ns.example.net", "/dns-query", true),
            (plan_with(named), DnsCarrier::Tls, "dns.example", "/dns-query", true),
            (https(), DnsCarrier::Https, "ns.example.net", "/dns-query", false),
            (plan_with(at_path), DnsCarrier::Https, "ns.example.net", "/q", false),
            (plan_with(|spec| spec.quic = true), DnsCarrier::Quic, "ns.example.net", "/dns-query", true),
        ] {
            assert_eq!((plan.carrier, &*plan.server_name, &*plan.path), (carrier, name, path));
            let query = if framed { &plan.request[2..] } else { &plan.request };
            assert_eq!(query, plan.query.bytes());
        }
    }

    #[test]
    fn every_part_of_a_secure_exchange_has_its_time() {
        let secured = StreamEvent::Secured { at: ms(17), version: Some(0x0304), cipher: Some(0x1301) };
        for carrier in [DnsCarrier::Tls, DnsCarrier::Https, DnsCarrier::Quic] {
            let plan = plan_with(|spec| match carrier {
                DnsCarrier::Tls => spec.tls = true,
                DnsCarrier::Https => spec.https = true,
                _ => spec.quic = true,
            });
            let mut message = plan.request.clone();
            message[if carrier == DnsCarrier::Https { 2 } else { 4 }] |= 0x80;
            let mut events = vec![secured.clone(), StreamEvent::Sent(ms(18))];
            if carrier != DnsCarrier::Quic {
                events.insert(0, connected());
            }
            if carrier == DnsCarrier::Https {
                events.push(head(200, Some(MEDIA_TYPE)));
            }
            events.push(bytes(30, &message));
            if carrier == DnsCarrier::Https {
                events.push(StreamEvent::Closed(ms(30)));
            }
            let response = stream_response(&plan, &events);
            assert_eq!(response.secure, Some(DnsSecure { carrier, version: Some(0x0304), cipher: Some(0x1301) }));
            assert_eq!(response.protocol, carrier.transport());
            let DnsReply::Answer(answer) = response.outcome else { panic!("{response:?}") };
            let (connect, handshake) =
                if carrier == DnsCarrier::Quic { (None, 17_000_000) } else { (Some(10_000_000), 7_000_000) };
            assert_eq!((answer.rt, answer.exchange), (30_000_000, Some(12_000_000)));
            assert_eq!((answer.connect, answer.handshake), (connect, Some(handshake)), "{carrier:?}");
            assert_eq!(
                answer.message[2..],
                {
                    let mut bytes = plan.query.bytes().to_vec();
                    bytes[2] |= 0x80;
                    bytes
                }[2..]
            );
        }
    }

    fn head(status: u16, content_type: Option<&str>) -> StreamEvent {
        StreamEvent::Head { at: ms(20), status, content_type: content_type.map(Text::cut) }
    }

    #[test]
    fn an_http_response_is_taken_for_what_it_is() {
        let plan = https();
        let mut message = plan.request.clone();
        message[2] |= 0x80;
        let says = |events: &[StreamEvent]| stream_response(&plan, events);
        let closed = StreamEvent::Closed(ms(40));
        for media_type in [MEDIA_TYPE, "Application/DNS-Message; charset=x"] {
            let response = says(&[head(200, Some(media_type)), bytes(30, &message), closed.clone()]);
            assert!(matches!(&response.outcome, DnsReply::Answer(a) if *a.message == *message && a.rt == 40_000_000));
        }
        for (head, words, what) in [
            (head(500, Some(MEDIA_TYPE)), "HTTP status 500", StrayKind::HttpStatus),
            (head(302, None), "HTTP status 302", StrayKind::HttpStatus),
            (head(200, Some("text/html")), "the content type is text/html", StrayKind::ContentType),
            (head(200, None), "the response has no content type", StrayKind::ContentType),
        ] {
            let response = says(&[head, bytes(30, &message), closed.clone()]);
            assert_eq!(why(&response.outcome), words);
            let [stray] = &*response.strays else { panic!("{response:?}") };
            assert_eq!((stray.what, &*stray.message, stray.port), (what, &*message, 5300));
        }
        let empty = says(&[head(200, Some(MEDIA_TYPE)), closed.clone()]);
        assert_eq!(why(&empty.outcome), "an answer of 0 bytes is shorter than a DNS header");
        assert_eq!(why(&says(&[connected(), closed.clone()]).outcome), "connection closed without a response");
        let endless = vec![0xff; 40_000];
        let response = says(&[head(200, Some(MEDIA_TYPE)), bytes(30, &endless), bytes(31, &endless)]);
        assert_eq!(why(&response.outcome), "an answer of more than 65535 bytes");
        let late = says(&[head(200, Some(MEDIA_TYPE)), bytes(30, &message), StreamEvent::TimedOut(ms(2000))]);
        assert_eq!(late.outcome, DnsReply::Timeout(2000));
    }

    #[test]
    fn a_handshake_that_fails_says_whose() {
        let failed = [StreamEvent::Failed { at: ms(3), step: StreamStep::Handshake, why: Why::cut("no") }];
        for (plan, words) in [
            (plan_with(|spec| spec.tls = true), "TLS handshake failed: no"),
            (https(), "TLS handshake failed: no"),
            (plan_with(|spec| spec.quic = true), "QUIC handshake failed: no"),
        ] {
            let response = stream_response(&plan, &failed);
            assert_eq!(response.outcome, DnsReply::Connect(Why::cut(words)));
            assert_eq!(response.secure.map(|secure| (secure.carrier, secure.version)), Some((plan.carrier, None)));
        }
    }

    #[test]
    fn after_truncation_the_response_says_so() {
        let plan = plan();
        let mut other_id = answer_to(&plan);
        other_id[2] ^= 1;
        let udp = stream_response(&plan, &[bytes(9, &other_id)]);
        let spec = DnsSpec { query_argument: Text::cut("example.net"), ..DnsSpec::default() };
        let again = StreamPlan::after_truncation(&spec, plan.shape.exchange, plan.query.clone(), &udp);
        let response = stream_response(&again, &[connected(), bytes(25, &answer_to(&plan))]);
        assert_eq!((response.retries, response.protocol), (1, Transport::Tcp));
        assert!(matches!(response.outcome, DnsReply::Answer(a) if a.truncated_first));
        assert_eq!((response.strays_seen, response.strays[0].what), (1, StrayKind::Id), "what UDP had seen");
    }

    #[test]
    fn a_message_cut_anywhere_is_read_the_same() {
        let plan = plan();
        let framed = answer_to(&plan);
        for cut in 0..=framed.len() {
            let (head, tail) = framed.split_at(cut);
            let events = [connected(), bytes(20, head), bytes(21, tail)];
            let rt = if tail.is_empty() { 20_000_000 } else { 21_000_000 };
            let reply = stream_response(&plan, &events).outcome;
            assert!(
                matches!(&reply, DnsReply::Answer(a) if *a.message == framed[2..] && a.rt == rt),
                "{cut}: {reply:?}"
            );
            let cut_off = stream_response(&plan, &[connected(), bytes(20, head), StreamEvent::Closed(ms(22))]).outcome;
            assert_eq!(matches!(cut_off, DnsReply::Answer(_)), tail.is_empty(), "{cut}");
        }
        let mut reader = plan.reader();
        let whole_at = framed.iter().position(|byte| reader.push(&[*byte]));
        assert_eq!(whole_at, Some(framed.len() - 1));
        assert_eq!(reader.message(), Some(&framed[2..]));
    }

    #[test]
    fn what_follows_the_message_is_dropped() {
        let plan = plan();
        let mut framed = answer_to(&plan);
        framed.extend([0xff; 100]);
        let reply = stream_response(&plan, &[connected(), bytes(20, &framed), bytes(21, &framed)]).outcome;
        assert!(matches!(reply, DnsReply::Answer(a) if a.message.len() == 29));
        let mut reader = plan.reader();
        assert!(reader.push(&framed) && reader.push(&framed));
        assert_eq!(reader.buffer.len(), 31);
    }

    #[test]
    fn the_ways_to_fail() {
        let failed = |step| StreamEvent::Failed { at: ms(3), step, why: Why::cut("no") };
        assert_eq!(outcome(&[failed(StreamStep::Connect)]), DnsReply::Connect(Why::cut("no")));
        assert_eq!(outcome(&[connected(), failed(StreamStep::Send)]), DnsReply::SendError(Why::cut("no")));
        assert_eq!(outcome(&[connected(), failed(StreamStep::Read)]), DnsReply::Read(Why::cut("no")));
        assert_eq!(outcome(&[StreamEvent::TimedOut(ms(2000))]), DnsReply::Timeout(2000));
        assert_eq!(outcome(&[connected(), bytes(9, &[0]), StreamEvent::TimedOut(ms(2000))]), DnsReply::Timeout(2000));
        assert_eq!(why(&outcome(&[connected(), StreamEvent::Closed(ms(9))])), "connection closed without an answer");
        let half = [connected(), bytes(9, &[0, 40, 1, 2, 3]), StreamEvent::Closed(ms(9))];
        assert_eq!(why(&outcome(&half)), "connection closed after 3 of 40 bytes");
        assert_eq!(why(&outcome(&[])), "the exchange was broken off");
    }

    #[test]
    fn a_message_that_answers_something_else_is_an_error() {
        let plan = plan();
        let mut other_id = answer_to(&plan);
        other_id[2] ^= 1;
        let response = stream_response(&plan, &[bytes(9, &other_id)]);
        assert_eq!(why(&response.outcome), "the answer's id is not the query's");
        assert_eq!((response.strays_seen, response.id_mismatches), (1, 1));
        let stray = &response.strays[0];
        assert_eq!((stray.what, stray.from, &*stray.message), (StrayKind::Id, Ip(plan.dst), &other_id[2..]));
        let long = stream_response(&plan, &[bytes(9, &[&[0x27, 0x10], [7; 10_000].as_slice()].concat())]);
        assert_eq!(long.strays[0].message.len(), 10_000, "all of it");
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

    fn event() -> impl Strategy<Value = StreamEvent> {
        prop_oneof![
            1 => any::<i64>().prop_map(|at| StreamEvent::Connected { at: Nanos(at), src: None }),
            1 => any::<i64>().prop_map(|at| StreamEvent::Sent(Nanos(at))),
            1 => any::<i64>().prop_map(|at| StreamEvent::Secured { at: Nanos(at), version: None, cipher: None }),
            1 => (any::<i64>(), any::<u16>())
                .prop_map(|(at, status)| StreamEvent::Head { at: Nanos(at), status, content_type: None }),
            8 => (any::<i64>(), proptest::collection::vec(any::<u8>(), 0..80))
                .prop_map(|(at, data)| StreamEvent::Bytes { at: Nanos(at), data }),
            1 => any::<i64>().prop_map(|at| StreamEvent::Closed(Nanos(at))),
            1 => any::<i64>().prop_map(|at| StreamEvent::TimedOut(Nanos(at))),
        ]
    }

    proptest! {
        #[test]
        fn any_events_give_a_response(events in proptest::collection::vec(event(), 0..20)) {
            for plan in [plan(), https(), plan_with(|spec| spec.quic = true)] {
                let response = stream_response(&plan, &events);
                prop_assert_eq!(response.protocol, plan.carrier.transport());
            }
        }

        #[test]
        fn the_reader_keeps_one_message_however_it_is_cut(
            message in proptest::collection::vec(any::<u8>(), 0..300),
            cuts in proptest::collection::vec(1_usize..50, 1..20),
        ) {
            let mut framed = (message.len() as u16).to_be_bytes().to_vec();
            framed.extend_from_slice(&message);
            let mut reader = plan().reader();
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
