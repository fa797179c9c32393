//! What a probe reports: the results of its runs, and the runs that did not happen.
//!
//! A [`Report`] is one numbered item of a frame. It says what was seen, in integers of the finest unit the engine has;
//! the RIPE Atlas JSON is made from it on the way out (feature `atlas`). The bytes a probe encoded are the bytes the store
//! keeps, so both can be compared by their digest.

mod http;
mod ntp;
mod path_mtu;
mod sslcert;

use alloc::boxed::Box;
use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::bounded::{Bytes, List, Text};
use crate::ids::MeasurementId;
use crate::net::{Family, Ip, Transport};
use crate::spec::{DnsCarrier, Target};
use crate::time::UnixNanos;

pub use self::http::*;
pub use self::ntp::*;
pub use self::path_mtu::*;
pub use self::sslcert::*;

/// The greatest size of one encoded report. Two DNS messages of 64 KiB per resolver would not fit: they are cut to what
/// fits and marked so.
pub const MAX_REPORT: usize = 192 * 1024;

/// Text that explains a failure.
pub type Why = Text<200>;

/// One numbered item: what became of one run, or of several that did not happen.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[expect(clippy::large_enum_variant, reason = "nearly every report is a result, and none is kept in this form")]
pub enum Report {
    /// A run took place.
    #[n(0)]
    Result(#[n(0)] MeasurementResult),
    /// Runs that were due did not take place.
    #[n(1)]
    Skipped(#[n(0)] Skipped),
}

impl Report {
    /// The measurement it belongs to.
    pub const fn measurement(&self) -> MeasurementId {
        match self {
            Report::Result(result) => result.measurement,
            Report::Skipped(skipped) => skipped.measurement,
        }
    }

    /// Its bytes, as they are numbered, sent and stored.
    pub fn to_cbor(&self) -> Vec<u8> {
        // Writing into memory cannot fail.
        minicbor::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`Report::to_cbor`] wrote.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, minicbor::decode::Error> {
        minicbor::decode(bytes)
    }
}

/// Due runs that did not take place: `runs` of them, one interval apart, the first due at `planned_at`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Skipped {
    /// The measurement.
    #[n(0)]
    pub measurement: MeasurementId,
    /// When the first of them was due.
    #[n(1)]
    pub planned_at: UnixNanos,
    /// How many in a row.
    #[n(2)]
    pub runs: u32,
    /// Why.
    #[n(3)]
    pub reason: SkipReason,
}

/// Why a run did not take place. A number that this version does not know reads as [`SkipReason::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// The host has paused the probe.
    Paused,
    /// A cap of the probe's policy was reached (packets, bytes, concurrency, rate per target).
    Limit,
    /// The host's line was busy.
    QuietLine,
    /// The run before, or another one that it would have disturbed, had not ended.
    Overlap,
    /// The probe has no address or route of the family.
    NoRoute,
    /// A one-off that came, or could run, only after its expiry.
    Expired,
    /// The run was due before the order reached the probe.
    LateOrder,
    /// This probe does not know the kind or an option of it.
    Unsupported,
    /// The probe could not know the time, or its clock jumped over the run.
    Clock,
    /// The probe was being stopped.
    Stopping,
    /// A reason of a newer version.
    Other,
}

impl SkipReason {
    const NUMBERS: [(SkipReason, u8); 11] = [
        (SkipReason::Other, 0),
        (SkipReason::Paused, 1),
        (SkipReason::Limit, 2),
        (SkipReason::QuietLine, 3),
        (SkipReason::Overlap, 4),
        (SkipReason::NoRoute, 5),
        (SkipReason::Expired, 6),
        (SkipReason::LateOrder, 7),
        (SkipReason::Unsupported, 8),
        (SkipReason::Clock, 9),
        (SkipReason::Stopping, 10),
    ];

    /// A word for people and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            SkipReason::Paused => "paused",
            SkipReason::Limit => "limit",
            SkipReason::QuietLine => "quiet line",
            SkipReason::Overlap => "overlap",
            SkipReason::NoRoute => "no route",
            SkipReason::Expired => "expired",
            SkipReason::LateOrder => "late order",
            SkipReason::Unsupported => "unsupported",
            SkipReason::Clock => "clock",
            SkipReason::Stopping => "stopping",
            SkipReason::Other => "other",
        }
    }
}

impl<C> Encode<C> for SkipReason {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let number = Self::NUMBERS.iter().find(|(reason, _)| reason == self).map_or(0, |(_, number)| *number);
        e.u8(number)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for SkipReason {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let number = d.u8()?;
        Ok(Self::NUMBERS.iter().find(|(_, n)| *n == number).map_or(SkipReason::Other, |(reason, _)| *reason))
    }
}

/// One probe's report of one run.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct MeasurementResult {
    /// The measurement; 0 when the host ran it by hand.
    #[n(0)]
    pub measurement: MeasurementId,
    /// When the run was due.
    #[n(1)]
    pub planned_at: UnixNanos,
    /// When it began.
    #[n(2)]
    pub started_at: UnixNanos,
    /// When it ended.
    #[n(3)]
    pub ended_at: UnixNanos,
    /// How good its times are.
    #[n(4)]
    pub timing: Timing,
    /// The family asked for.
    #[n(5)]
    pub af: Family,
    /// The target as it was asked for; absent for dns with the probe's own resolvers.
    #[n(6)]
    pub dst_name: Option<Target>,
    /// The address measured; absent when the name did not resolve.
    #[n(7)]
    pub dst_addr: Option<Ip>,
    /// The probe's own address towards the target, when known.
    #[n(8)]
    pub src_addr: Option<Ip>,
    /// Nanoseconds it took to resolve the name, when the probe did that.
    #[n(9)]
    pub time_to_resolve: Option<u64>,
    /// Seconds between runs; absent for a one-off.
    #[n(10)]
    pub interval: Option<u32>,
    /// What was seen.
    #[n(11)]
    pub outcome: Outcome,
}

/// How good the times in a result are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Timing {
    /// Where the stamps of packets come from.
    #[n(0)]
    pub source: StampSource,
    /// Seconds since the wall clock was last known to be right (Atlas: `lts`); absent when never.
    #[n(1)]
    pub last_sync: Option<u32>,
    /// How far the wall clock can be wrong, in nanoseconds; absent when unknown.
    #[n(2)]
    pub clock_error: Option<u64>,
    /// How far any round-trip time in the result can be from the truth, in nanoseconds, as far as this machine is to blame;
    /// absent when nothing was timed or nobody can say.
    #[n(3)]
    pub rtt_error: Option<u64>,
    /// What else went on; absent when it was not looked at.
    #[n(4)]
    pub load: Option<Load>,
}

/// What else the probe and its machine did when a run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Load {
    /// Other runs under way.
    #[n(0)]
    pub runs: u32,
    /// Packets of measurements that the probe had sent in the second before.
    #[n(1)]
    pub packets_per_second: u32,
    /// Hundredths of the machine's load average over one minute; absent where the system tells none.
    #[n(2)]
    pub load_average: Option<u32>,
}

/// Where the stamps of packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(index_only)]
pub enum StampSource {
    /// This program's own clock, around the system calls.
    #[n(0)]
    #[default]
    User,
    /// The kernel, on arrival only.
    #[n(1)]
    KernelReceive,
    /// The kernel, on departure and arrival.
    #[n(2)]
    Kernel,
}

/// What one run saw, by kind.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Outcome {
    /// The run could not be carried out; the second field is the kind's number ([`crate::spec::Kind`]).
    #[n(0)]
    Failed(#[n(0)] Failure, #[n(1)] u8),
    /// Echo replies.
    #[n(1)]
    Ping(#[n(0)] PingOutcome),
    /// Hops.
    #[n(2)]
    Traceroute(#[n(0)] TracerouteOutcome),
    /// Answers.
    #[n(3)]
    Dns(#[n(0)] DnsOutcome),
    /// Certificates.
    #[n(4)]
    Sslcert(#[n(0)] Box<SslcertOutcome>),
    /// A response.
    #[n(5)]
    Http(#[n(0)] Box<HttpOutcome>),
    /// Times.
    #[n(6)]
    Ntp(#[n(0)] NtpOutcome),
    /// Sizes that pass. Boxed, because it would make every outcome larger.
    #[n(7)]
    PathMtu(#[n(0)] Box<PathMtuOutcome>),
}

impl Outcome {
    /// The number of its kind.
    pub const fn kind_number(&self) -> u8 {
        match self {
            Outcome::Failed(_, kind) => *kind,
            Outcome::Ping(_) => crate::spec::Kind::Ping.number(),
            Outcome::Traceroute(_) => crate::spec::Kind::Traceroute.number(),
            Outcome::Dns(_) => crate::spec::Kind::Dns.number(),
            Outcome::Sslcert(_) => crate::spec::Kind::Sslcert.number(),
            Outcome::Http(_) => crate::spec::Kind::Http.number(),
            Outcome::Ntp(_) => crate::spec::Kind::Ntp.number(),
            Outcome::PathMtu(_) => crate::spec::Kind::PathMtu.number(),
        }
    }
}

/// Why a run could not be carried out. Silence and ICMP errors are results, not failures.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Failure {
    /// The name did not resolve.
    #[n(0)]
    Resolve(#[n(0)] Why),
    /// The probe's policy forbids the address or port.
    #[n(1)]
    NotAllowed,
    /// A socket could not be opened or connected.
    #[n(2)]
    Socket(#[n(0)] Why),
    /// The packets could not be made, for instance because an option is not available to this probe.
    #[n(3)]
    Unsupported(#[n(0)] Why),
}

/// What `ping` saw.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct PingOutcome {
    /// ICMP payload bytes asked for.
    #[n(0)]
    pub size: u32,
    /// How many requests left the host.
    #[n(1)]
    pub sent: u32,
    /// In the order of the requests; duplicates behind the reply they repeat.
    #[n(2)]
    pub replies: List<PingReply, 64>,
}

/// What became of one echo request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum PingReply {
    /// An answer.
    #[n(0)]
    Reply(#[n(0)] EchoReply),
    /// Silence.
    #[n(1)]
    Timeout,
    /// The request could not be sent.
    #[n(2)]
    SendError(#[n(0)] Why),
    /// A router or the target sent an ICMP error instead.
    #[n(3)]
    Icmp(#[n(0)] IcmpError),
}

/// One echo reply.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EchoReply {
    /// Round-trip time in nanoseconds.
    #[n(0)]
    pub rtt: u64,
    /// TTL or hop limit on arrival, when the system tells it.
    #[n(1)]
    pub hop_limit: Option<u8>,
    /// ICMP payload bytes of the reply.
    #[n(2)]
    pub size: u32,
    /// Who answered.
    #[n(3)]
    pub from: Ip,
    /// It repeats a reply already seen.
    #[n(4)]
    pub duplicate: bool,
}

/// An ICMP error.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct IcmpError {
    /// Who sent it.
    #[n(0)]
    pub from: Ip,
    /// ICMP type.
    #[n(1)]
    pub kind: u8,
    /// ICMP code.
    #[n(2)]
    pub code: u8,
    /// Nanoseconds from request to error, when both stamps are known.
    #[n(3)]
    pub rtt: Option<u64>,
    /// TTL or hop limit on arrival.
    #[n(4)]
    pub hop_limit: Option<u8>,
    /// The MTU it names (fragmentation needed, packet too big).
    #[n(5)]
    pub mtu: Option<u32>,
}

/// What `traceroute` saw.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TracerouteOutcome {
    /// What the packets were.
    #[n(0)]
    pub protocol: Transport,
    /// Payload bytes asked for.
    #[n(1)]
    pub size: u32,
    /// The flow variation of this run, from 1; absent without Paris mode.
    #[n(2)]
    pub paris_id: Option<u32>,
    /// Hops in order; number 255 is the last try after too many silent hops.
    #[n(3)]
    pub hops: List<Hop, 256>,
}

/// One hop.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hop {
    /// The hop limit sent.
    #[n(0)]
    pub hop: u8,
    /// What came back, in the order of the packets; duplicates and late replies behind.
    #[n(1)]
    pub replies: List<HopReply, 64>,
}

/// What became of one packet of one hop.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum HopReply {
    /// An answer, from a router or the target.
    #[n(0)]
    Reply(#[n(0)] HopAnswer),
    /// Silence.
    #[n(1)]
    Timeout,
    /// The packet could not be sent.
    #[n(2)]
    SendError(#[n(0)] Why),
}

/// One answer to a packet of traceroute.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HopAnswer {
    /// Who answered.
    #[n(0)]
    pub from: Ip,
    /// Round-trip time in nanoseconds.
    #[n(1)]
    pub rtt: Option<u64>,
    /// TTL or hop limit on arrival.
    #[n(2)]
    pub hop_limit: Option<u8>,
    /// Bytes of the answer behind its IP header. Of an ICMP error only a raw socket sees it.
    #[n(3)]
    pub size: Option<u32>,
    /// The ICMP type and code of the answer; absent when the answer is an echo reply, of a UDP service or of TCP.
    #[n(4)]
    pub icmp: Option<IcmpKind>,
    /// How many packets ago the packet was sent that this answers, when it came after its time-out.
    #[n(5)]
    pub late: Option<u32>,
    /// It repeats an answer already seen.
    #[n(6)]
    pub duplicate: bool,
    /// Hop limit inside the quoted packet, when it was not 1 and a raw socket saw it.
    #[n(7)]
    pub quoted_hop_limit: Option<u8>,
    /// Destination inside the quoted packet, when it differs from the target.
    #[n(8)]
    pub quoted_dst: Option<Ip>,
    /// The MTU it names.
    #[n(9)]
    pub mtu: Option<u32>,
    /// RFC 4884 extension objects, raw, header included.
    #[n(10)]
    pub extensions: Option<Bytes<512>>,
    /// The flags byte of a TCP segment (RFC 9293, 3.1: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32).
    #[n(11)]
    pub tcp_flags: Option<u8>,
    /// The options of a TCP segment, raw; absent when it had none.
    #[n(12)]
    pub tcp_options: Option<Bytes<40>>,
    /// Traffic class or TOS inside the quoted packet, when it is not the one sent and a raw socket saw it.
    #[n(13)]
    pub quoted_traffic_class: Option<u8>,
    /// Bytes of the IPv6 hop-by-hop options header inside the quoted packet, its first 8 not counted (as RIPE Atlas).
    #[n(14)]
    pub hop_by_hop_size: Option<u32>,
    /// The same of the destination options header.
    #[n(15)]
    pub destination_size: Option<u32>,
    /// True when the error did not say that it has extensions, as routers older than RFC 4884 do not.
    #[n(16)]
    pub extensions_unannounced: Option<bool>,
}

impl HopAnswer {
    /// An answer of which nothing is known but who sent it.
    pub fn new(from: Ip) -> Self {
        Self {
            from,
            rtt: None,
            hop_limit: None,
            size: None,
            icmp: None,
            late: None,
            duplicate: false,
            quoted_hop_limit: None,
            quoted_dst: None,
            mtu: None,
            extensions: None,
            tcp_flags: None,
            tcp_options: None,
            quoted_traffic_class: None,
            hop_by_hop_size: None,
            destination_size: None,
            extensions_unannounced: None,
        }
    }
}

/// ICMP type and code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct IcmpKind {
    /// Type.
    #[n(0)]
    pub kind: u8,
    /// Code.
    #[n(1)]
    pub code: u8,
}

/// What `dns` saw.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct DnsOutcome {
    /// The probe's own resolvers were asked (Atlas: `resultset`).
    #[n(0)]
    pub own_resolvers: bool,
    /// One per server asked.
    #[n(1)]
    pub responses: List<DnsResponse, 16>,
}

/// What became of the query to one server.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DnsResponse {
    /// When the query was sent.
    #[n(0)]
    pub sent_at: UnixNanos,
    /// The server.
    #[n(1)]
    pub dst_addr: Ip,
    /// Its port.
    #[n(2)]
    pub dst_port: u16,
    /// The probe's own address towards it.
    #[n(3)]
    pub src_addr: Option<Ip>,
    /// What carried the answer (TCP after truncation too).
    #[n(4)]
    pub protocol: Transport,
    /// Tries after the first.
    #[n(5)]
    pub retries: u32,
    /// The query, when asked for.
    #[n(6)]
    pub query: Option<Bytes<2048>>,
    /// The answer or the failure.
    #[n(7)]
    pub outcome: DnsReply,
    /// What carried it, where that is neither plain UDP nor plain TCP.
    #[n(8)]
    pub secure: Option<DnsSecure>,
    /// What came and was no answer to the query, the first of them.
    #[n(9)]
    #[cbor(default, skip_if = "is_empty")]
    pub strays: List<DnsStray, MAX_STRAYS>,
    /// How many there were of these in all.
    #[n(10)]
    #[cbor(default, skip_if = "is_zero")]
    pub strays_seen: u32,
    /// How many of these came from the server and had another id (Atlas: `idmismatch`).
    #[n(11)]
    #[cbor(default, skip_if = "is_zero")]
    pub id_mismatches: u32,
}

fn is_empty(strays: &[DnsStray]) -> bool {
    strays.is_empty()
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// How many strays of one exchange are kept.
pub const MAX_STRAYS: usize = 8;

/// What protected a query and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DnsSecure {
    /// TLS, HTTPS or QUIC.
    #[n(0)]
    pub carrier: DnsCarrier,
    /// The version of TLS as on the wire (0x0304 is 1.3); absent when the handshake did not end.
    #[n(1)]
    pub version: Option<u16>,
    /// The cipher suite's number, where it is known.
    #[n(2)]
    pub cipher: Option<u16>,
}

/// Something that came in answer to a query and is no answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DnsStray {
    /// Who sent it.
    #[n(0)]
    pub from: Ip,
    /// From which port.
    #[n(1)]
    pub port: u16,
    /// What is wrong with it.
    #[n(2)]
    pub what: StrayKind,
    /// Nanoseconds after the exchange began.
    #[n(3)]
    pub after: u64,
    /// Its size in bytes.
    #[n(4)]
    pub size: u32,
    /// Its bytes as they came: of a datagram the first 512, of a connection all of them.
    #[n(5)]
    pub message: Bytes<65_535>,
    /// The definition asks for messages to be shown.
    #[n(6)]
    pub show_message: bool,
}

/// What is wrong with a stray. A number that this version does not know reads as [`StrayKind::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrayKind {
    /// Another address or port than the server's.
    Source,
    /// Shorter than a header.
    Short,
    /// A query.
    NoResponse,
    /// Another id than the query's.
    Id,
    /// An HTTP response with a status other than 200.
    HttpStatus,
    /// An HTTP response that is not of the type `application/dns-message`.
    ContentType,
    /// The beginning of a message whose end did not come.
    Part,
    /// Something that a newer version knows.
    Other,
}

impl StrayKind {
    const NUMBERS: [(StrayKind, u8); 8] = [
        (StrayKind::Other, 0),
        (StrayKind::Source, 1),
        (StrayKind::Short, 2),
        (StrayKind::NoResponse, 3),
        (StrayKind::Id, 4),
        (StrayKind::HttpStatus, 5),
        (StrayKind::ContentType, 6),
        (StrayKind::Part, 7),
    ];

    /// A word for people and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            StrayKind::Source => "source",
            StrayKind::Short => "short",
            StrayKind::NoResponse => "no response",
            StrayKind::Id => "id",
            StrayKind::HttpStatus => "http status",
            StrayKind::ContentType => "content type",
            StrayKind::Part => "part",
            StrayKind::Other => "other",
        }
    }
}

impl<C> Encode<C> for StrayKind {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let number = Self::NUMBERS.iter().find(|(what, _)| what == self).map_or(0, |(_, number)| *number);
        e.u8(number)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for StrayKind {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let number = d.u8()?;
        Ok(Self::NUMBERS.iter().find(|(_, n)| *n == number).map_or(StrayKind::Other, |(what, _)| *what))
    }
}

/// An answer, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum DnsReply {
    /// The server answered.
    #[n(0)]
    Answer(#[n(0)] DnsAnswer),
    /// Silence for this many milliseconds.
    #[n(1)]
    Timeout(#[n(0)] u32),
    /// The connection failed (TCP).
    #[n(2)]
    Connect(#[n(0)] Why),
    /// The query could not be sent.
    #[n(3)]
    SendError(#[n(0)] Why),
    /// The answer could not be read (TCP).
    #[n(4)]
    Read(#[n(0)] Why),
    /// The probe's policy forbids the address or port.
    #[n(5)]
    NotAllowed,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DnsAnswer {
    /// Nanoseconds from query to answer; over TCP including the connection (as Atlas).
    #[n(0)]
    pub rt: u64,
    /// The whole message as it came, whether or not it parses.
    #[n(1)]
    pub message: Bytes<65_535>,
    /// The definition asks for the message to be shown (Atlas: `abuf`).
    #[n(2)]
    pub show_message: bool,
    /// Nanoseconds the TCP connection took; absent over UDP and QUIC.
    #[n(3)]
    pub connect: Option<u64>,
    /// The UDP answer was truncated and the query repeated over TCP.
    #[n(4)]
    pub truncated_first: bool,
    /// Nanoseconds the handshake of TLS or QUIC took; absent without.
    #[n(5)]
    pub handshake: Option<u64>,
    /// Nanoseconds from the query to the answer on the open connection; absent over UDP, where that is `rt`.
    #[n(6)]
    pub exchange: Option<u64>,
}
