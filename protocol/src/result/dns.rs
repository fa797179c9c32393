//! What `dns` saw.

use minicbor::{Decode, Encode};

use super::Why;
use crate::bounded::{Bytes, List};
use crate::net::{Ip, Transport};
use crate::spec::DnsCarrier;
use crate::time::UnixNanos;

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
