//! `http` results. The list `result` has one element, for there is one connection.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};

use super::{Line, Millis, NOT_ALLOWED, RESOLVING, entry, failure_words};
use crate::result::{Failure, HttpOutcome, HttpRead};
use crate::spec::{HttpSpec, Spec};

/// What Atlas writes where the header goes on behind what is shown of it.
const GOES_ON: &str = "[...]";

pub(super) fn write<M: SerializeMap>(line: &Line<'_>, map: &mut M, seen: &HttpOutcome) -> Result<(), M::Error> {
    uri(line, map)?;
    map.serialize_entry("result", &[Element { line, seen }])
}

/// The members of `sonde`: what Atlas has no word for.
pub(super) fn extension<M: SerializeMap>(map: &mut M, seen: &HttpOutcome) -> Result<(), M::Error> {
    entry(map, "tls", seen.tls.map(Millis))
}

/// A run that could not be carried out.
pub(super) fn write_failure<M: SerializeMap>(line: &Line<'_>, map: &mut M, failure: &Failure) -> Result<(), M::Error> {
    uri(line, map)?;
    map.serialize_entry("result", &[Failed { line, failure }])
}

/// `uri`: what was asked for, as far as it is known here.
fn uri<M: SerializeMap>(line: &Line<'_>, map: &mut M) -> Result<(), M::Error> {
    let host = line.result.dst_name.as_deref().unwrap_or_default();
    let uri = match line.ctx.spec {
        Some(Spec::Http(spec)) => spec.uri(host),
        _ => HttpSpec::default().uri(host),
    };
    map.serialize_entry("uri", &uri)
}

/// What happened on the one connection.
struct Element<'a> {
    line: &'a Line<'a>,
    seen: &'a HttpOutcome,
}

impl Serialize for Element<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Element { line, seen } = *self;
        let mut map = serializer.serialize_map(None)?;
        entry(&mut map, "err", seen.failure.as_deref())?;
        map.serialize_entry("method", seen.method.name())?;
        address(line, &mut map)?;
        if let Some(Spec::Http(HttpSpec { extended_timing: true, .. })) = line.ctx.spec {
            line.time_to_resolve(&mut map)?;
        }
        entry(&mut map, "ttc", seen.connect.map(Millis))?;
        entry(&mut map, "ttfb", seen.first_byte.map(Millis))?;
        if !seen.reads.is_empty() {
            map.serialize_entry("readtiming", &Reads(&seen.reads))?;
        }
        entry(&mut map, "rt", seen.rt.map(Millis))?;
        if let Some(head) = seen.head {
            map.serialize_entry("res", &head.status)?;
            map.serialize_entry("ver", if head.version_1_1 { "1.1" } else { "1.0" })?;
            map.serialize_entry("hsize", &head.size)?;
            map.serialize_entry("bsize", &seen.body_size)?;
        }
        if seen.truncated {
            map.serialize_entry("read-truncated", &true)?;
        }
        entry(&mut map, "header", seen.header.as_deref().map(lines))?;
        map.end()
    }
}

/// A run that could not be carried out.
struct Failed<'a> {
    line: &'a Line<'a>,
    failure: &'a Failure,
}

impl Serialize for Failed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.failure {
            Failure::Resolve(why) => map.serialize_entry("dnserr", &**why)?,
            Failure::NotAllowed => map.serialize_entry("error", NOT_ALLOWED)?,
            Failure::Socket(_) | Failure::Unsupported(_) => {}
        }
        // blaeu gives up on an element that has neither `err` nor a time.
        map.serialize_entry("err", &failure_words(self.failure, RESOLVING))?;
        if let Some(Spec::Http(spec)) = self.line.ctx.spec {
            map.serialize_entry("method", spec.method.name())?;
            if spec.extended_timing {
                self.line.time_to_resolve(&mut map)?;
            }
        }
        address(self.line, &mut map)?;
        map.end()
    }
}

fn address<M: SerializeMap>(line: &Line<'_>, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("af", &line.result.af.number())?;
    entry(map, "dst_addr", line.result.dst_addr.map(|address| address.0))?;
    entry(map, "src_addr", line.result.src_addr.map(|address| line.ctx.view.own(address.0)))
}

/// The header's lines. The last is empty when the header is whole, and says so when it is not.
fn lines(header: &[u8]) -> Vec<Cow<'_, str>> {
    let mut lines: Vec<Cow<'_, str>> = header
        .split(|byte| *byte == b'\n')
        .map(|line| String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)))
        .collect();
    // Behind the last line end there is nothing, or what was cut.
    let rest = lines.pop().unwrap_or_default();
    let is_whole = rest.is_empty() && lines.last().is_none_or(|line| line.is_empty());
    if !is_whole {
        lines.push(Cow::Owned(format!("{rest}{GOES_ON}")));
    }
    lines
}

/// The list `readtiming`. `o` is a number, as Atlas's probes write it.
struct Reads<'a>(&'a [HttpRead]);

#[derive(Serialize)]
struct Read {
    o: u64,
    t: Millis,
}

impl Serialize for Reads<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for read in self.0 {
            list.serialize_element(&Read { o: read.offset, t: Millis(read.at) })?;
        }
        list.end()
    }
}
