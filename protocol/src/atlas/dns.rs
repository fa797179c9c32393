//! `dns` results.

use core::net::IpAddr;

use data_encoding::BASE64;
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};

use super::dns_message::{Counts, Record, records_to_show};
use super::{Line, NOT_ALLOWED, RoundMillis, Single, entry, failure_words, last_sync};
use crate::net::Family;
use crate::result::{DnsAnswer, DnsOutcome, DnsReply, DnsResponse, Failure};
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
        map.serialize_entry("proto", spec.protocol.name())?;
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
    let (key, words) = match &response.outcome {
        DnsReply::Answer(answer) => return map.serialize_entry("result", &Answer(answer)),
        DnsReply::Timeout(ms) => return map.serialize_entry("error", &Single("timeout", ms)),
        DnsReply::Connect(why) => ("TUCONNECT", &**why),
        DnsReply::SendError(why) => ("senderror", &**why),
        DnsReply::Read(why) => ("TU_READ_ERR", &**why),
        DnsReply::NotAllowed => ("socket", NOT_ALLOWED),
    };
    map.serialize_entry("error", &Single(key, words))
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
        if answer.connect.is_some() || answer.truncated_first {
            let extra = Extra { ttc: answer.connect.map(RoundMillis), truncated_first: answer.truncated_first };
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
