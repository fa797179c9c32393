//! `dns` results. What Atlas has no word for stands in `sonde` beside what it explains: the times of connection, handshake
//! and exchange in `result`; what carried the query and what came besides the answer next to `result` or `error` (of a
//! `resultset` in each element, else in the line's own `sonde`).

use core::net::IpAddr;

use data_encoding::BASE64;
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};

use super::dns_message::{Counts, Record, records_to_show};
use super::{Line, NOT_ALLOWED, RoundMillis, Single, UNKNOWN_HOP, entry, failure_words, last_sync};
use crate::net::Family;
use crate::result::{DnsAnswer, DnsOutcome, DnsReply, DnsResponse, DnsStray, Failure};
use crate::spec::Spec;

pub(super) fn write<M: SerializeMap>(line: &Line<'_>, map: &mut M, seen: &DnsOutcome) -> Result<(), M::Error> {
    match (seen.own_resolvers, seen.responses.first()) {
        (false, Some(response)) => {
            map.serialize_entry("af", &family_number(response))?;
            name(line, map)?;
            server(line, map, response, response.dst_addr.0)?;
            line.time_to_resolve(map)?;
            reply(map, response)
        }
        (true, Some(_)) => map.serialize_entry("resultset", &ResultSet { line, responses: &seen.responses }),
        (_, None) => map.serialize_entry("error", &Single("nameserver", "no local resolvers found")),
    }
}

/// A run that could not be carried out. The words stand where clients look: `getaddrinfo` or `socket`.
pub(super) fn write_failure<M: SerializeMap>(line: &Line<'_>, map: &mut M, failure: &Failure) -> Result<(), M::Error> {
    // Without a target it was about the probe's own resolvers, whose results have neither family nor server at the top.
    if line.result.dst_name.is_some() || line.result.dst_addr.is_some() {
        map.serialize_entry("af", &line.result.af.number())?;
        name(line, map)?;
        entry(map, "dst_addr", line.result.dst_addr.map(|address| address.0))?;
        if let Some(Spec::Dns(spec)) = line.ctx.spec {
            map.serialize_entry("dst_port", &AsText(spec.port))?;
        }
        entry(map, "src_addr", line.result.src_addr.map(|address| line.ctx.view.own(address.0)))?;
    }
    if let Some(Spec::Dns(spec)) = line.ctx.spec {
        map.serialize_entry("proto", spec.carrier().transport().name())?;
    }
    line.time_to_resolve(map)?;
    let key = match failure {
        Failure::Resolve(_) => "getaddrinfo",
        Failure::NotAllowed | Failure::Socket(_) | Failure::Unsupported(_) => "socket",
    };
    map.serialize_entry("error", &Single(key, failure_words(failure, "")))
}

/// `dst_name`, if the target was a name.
fn name<M: SerializeMap>(line: &Line<'_>, map: &mut M) -> Result<(), M::Error> {
    let name = line.result.dst_name.as_deref();
    entry(map, "dst_name", name.filter(|name| name.parse::<IpAddr>().is_err()))
}

/// The members that say who was asked and how.
fn server<M: SerializeMap>(
    line: &Line<'_>,
    map: &mut M,
    response: &DnsResponse,
    shown_address: IpAddr,
) -> Result<(), M::Error> {
    map.serialize_entry("dst_addr", &shown_address)?;
    map.serialize_entry("dst_port", &AsText(u32::from(response.dst_port)))?;
    // Where the probe asks its own resolvers, the result as a whole has no own address.
    let own = response.src_addr.or(line.result.src_addr);
    entry(map, "src_addr", own.map(|address| line.ctx.view.own(address.0)))?;
    map.serialize_entry("proto", response.protocol.name())?;
    entry(map, "retry", Some(response.retries).filter(|retries| *retries > 0))
}

/// `qbuf`, and `result` or `error`.
fn reply<M: SerializeMap>(map: &mut M, response: &DnsResponse) -> Result<(), M::Error> {
    entry(map, "qbuf", response.query.as_deref().map(Base64))?;
    match &response.outcome {
        DnsReply::Answer(answer) => map.serialize_entry("result", &Answer(answer)),
        _ => map.serialize_entry("error", &Error(response)),
    }
}

/// The object `error`: one of Atlas's words, and how many answers with another id there were.
struct Error<'a>(&'a DnsResponse);

impl Serialize for Error<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.0.outcome {
            DnsReply::Timeout(ms) => map.serialize_entry("timeout", ms)?,
            DnsReply::Connect(why) => map.serialize_entry("TUCONNECT", &**why)?,
            DnsReply::SendError(why) => map.serialize_entry("senderror", &**why)?,
            DnsReply::Read(why) => map.serialize_entry("TU_READ_ERR", &**why)?,
            DnsReply::NotAllowed => map.serialize_entry("socket", NOT_ALLOWED)?,
            // An answer is no error.
            DnsReply::Answer(_) => {}
        }
        entry(&mut map, "idmismatch", Some(self.0.id_mismatches).filter(|count| *count > 0))?;
        map.end()
    }
}

/// What the `sonde` of a line or of an element says of this response.
fn extension<M: SerializeMap>(line: &Line<'_>, map: &mut M, response: &DnsResponse) -> Result<(), M::Error> {
    if let Some(secure) = &response.secure {
        map.serialize_entry("transport", secure.carrier.name())?;
        entry(map, "tls_version", secure.version.map(TlsVersion))?;
        entry(map, "cipher", secure.cipher.map(Cipher))?;
    }
    if response.strays_seen > 0 {
        map.serialize_entry("strays_seen", &response.strays_seen)?;
        let set = line.result.dst_addr.is_none();
        map.serialize_entry("strays", &Strays { line, response, set })?;
    }
    Ok(())
}

/// What the line's own `sonde` says of the one response; nothing where there is a `resultset`.
pub(super) fn write_extension<M: SerializeMap>(
    line: &Line<'_>,
    map: &mut M,
    seen: &DnsOutcome,
) -> Result<(), M::Error> {
    match (seen.own_resolvers, seen.responses.first()) {
        (false, Some(response)) => extension(line, map, response),
        _ => Ok(()),
    }
}

/// The list `strays`.
struct Strays<'a> {
    line: &'a Line<'a>,
    response: &'a DnsResponse,
    /// It is one of several resolvers, whose surroundings are the probe's own.
    set: bool,
}

impl Serialize for Strays<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.response.strays.iter().map(|stray| Stray { of: self, stray }))
    }
}

struct Stray<'a> {
    of: &'a Strays<'a>,
    stray: &'a DnsStray,
}

impl Serialize for Stray<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Stray { of: Strays { line, set, .. }, stray } = *self;
        // Who else answers may be anybody near the probe.
        let from = if *set { line.ctx.view.resolver(stray.from.0) } else { line.on_path(UNKNOWN_HOP, stray.from.0) };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("from", &from)?;
        map.serialize_entry("port", &stray.port)?;
        map.serialize_entry("what", stray.what.name())?;
        map.serialize_entry("after", &RoundMillis(stray.after))?;
        map.serialize_entry("size", &stray.size)?;
        if stray.show_message && !stray.message.is_empty() {
            map.serialize_entry("abuf", &Base64(&stray.message))?;
        }
        map.end()
    }
}

/// A version of TLS as people write it: 0x0304 is 1.3 (RFC 8446, 4.2.1).
struct TlsVersion(u16);

impl Serialize for TlsVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_be_bytes() {
            [3, minor @ 1..=u8::MAX] => serializer.collect_str(&format_args!("1.{}", minor - 1)),
            _ => serializer.collect_str(&format_args!("0x{:04x}", self.0)),
        }
    }
}

/// A cipher suite's number, as Atlas's sslcert has it.
struct Cipher(u16);

impl Serialize for Cipher {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("0x{:04x}", self.0))
    }
}

fn family_number(response: &DnsResponse) -> u8 {
    Family::of(response.dst_addr.0).number()
}

/// The list `resultset`: one element per resolver asked.
struct ResultSet<'a> {
    line: &'a Line<'a>,
    responses: &'a [DnsResponse],
}

impl Serialize for ResultSet<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.responses.len()))?;
        for (index, response) in self.responses.iter().enumerate() {
            list.serialize_element(&InSet { line: self.line, response, number: index + 1, of: self.responses.len() })?;
        }
        list.end()
    }
}

struct InSet<'a> {
    line: &'a Line<'a>,
    response: &'a DnsResponse,
    number: usize,
    of: usize,
}

impl Serialize for InSet<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let InSet { line, response, number, of } = *self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", &response.sent_at.as_secs())?;
        map.serialize_entry("lts", &last_sync(&line.result.timing))?;
        map.serialize_entry("subid", &number)?;
        map.serialize_entry("submax", &of)?;
        map.serialize_entry("af", &family_number(response))?;
        server(line, &mut map, response, line.ctx.view.resolver(response.dst_addr.0))?;
        reply(&mut map, response)?;
        if response.secure.is_some() || response.strays_seen > 0 {
            map.serialize_entry("sonde", &SetExtension { line, response })?;
        }
        map.end()
    }
}

/// The `sonde` of an element.
struct SetExtension<'a> {
    line: &'a Line<'a>,
    response: &'a DnsResponse,
}

impl Serialize for SetExtension<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        extension(self.line, &mut map, self.response)?;
        map.end()
    }
}

/// The object `result`. The whole message is in it only when the definition asks for that.
struct Answer<'a>(&'a DnsAnswer);

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let answer = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("rt", &RoundMillis(answer.rt))?;
        map.serialize_entry("size", &answer.message.len())?;
        if answer.show_message {
            map.serialize_entry("abuf", &Base64(&answer.message))?;
        }
        if let Some(counts) = Counts::parse(&answer.message) {
            map.serialize_entry("ID", &counts.id)?;
            map.serialize_entry("ANCOUNT", &counts.answers)?;
            map.serialize_entry("QDCOUNT", &counts.questions)?;
            map.serialize_entry("NSCOUNT", &counts.authorities)?;
            map.serialize_entry("ARCOUNT", &counts.additionals)?;
        }
        let records = records_to_show(&answer.message);
        if !records.is_empty() {
            map.serialize_entry::<_, [Record]>("answers", &records)?;
        }
        let extra = Extra {
            ttc: answer.connect.map(RoundMillis),
            handshake: answer.handshake.map(RoundMillis),
            query: answer.exchange.map(RoundMillis),
            truncated_first: answer.truncated_first,
        };
        if extra.ttc.is_some() || extra.handshake.is_some() || extra.query.is_some() || extra.truncated_first {
            map.serialize_entry("sonde", &extra)?;
        }
        map.end()
    }
}

/// What Atlas has no word for.
#[derive(Serialize)]
struct Extra {
    #[serde(skip_serializing_if = "Option::is_none")]
    ttc: Option<RoundMillis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handshake: Option<RoundMillis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<RoundMillis>,
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    truncated_first: bool,
}

/// Bytes in standard base64 with padding.
struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&BASE64.encode_display(self.0))
    }
}

/// A number as text: clients in Go insist on a string for ports.
struct AsText(u32);

impl Serialize for AsText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
