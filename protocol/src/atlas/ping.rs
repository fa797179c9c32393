//! `ping` results.

use alloc::borrow::Cow;

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};

use super::extra::Extra;
use super::{Line, Millis, RESOLVING, Single, UNKNOWN_HOP, entry, failure_words, send_failure};
use crate::result::{EchoReply, Failure, PingOutcome, PingReply};
use crate::spec::Spec;

pub(super) fn write<M: SerializeMap>(line: &Line<'_>, map: &mut M, seen: &PingOutcome) -> Result<(), M::Error> {
    line.target(map)?;
    map.serialize_entry("proto", "ICMP")?;
    line.time_to_resolve(map)?;
    let replies = || {
        seen.replies.iter().filter_map(|reply| match reply {
            PingReply::Reply(reply) => Some(reply),
            _ => None,
        })
    };
    // The values in force at the end; before that, `result` says where they change.
    entry(map, "ttl", replies().rev().find_map(|reply| reply.hop_limit))?;
    map.serialize_entry("size", &replies().next_back().map_or(seen.size, |reply| reply.size))?;
    map.serialize_entry("sent", &seen.sent)?;

    let first_ones = || replies().filter(|reply| !reply.duplicate).map(|reply| reply.rtt);
    let received = first_ones().count() as u64;
    map.serialize_entry("rcvd", &received)?;
    map.serialize_entry("dup", &(replies().count() as u64 - received))?;
    let sum: u128 = first_ones().map(u128::from).sum();
    // To the nearest nanosecond, so that it has six decimals as the others.
    let average = (sum + u128::from(received / 2)).checked_div(u128::from(received));
    statistics(
        map,
        first_ones().min(),
        first_ones().max(),
        average.map(|average| u64::try_from(average).unwrap_or(u64::MAX)),
    )?;
    map.serialize_entry("step", &line.result.interval)?;
    map.serialize_entry("result", &Replies { line, seen })
}

/// A run that could not be carried out: nothing was sent.
pub(super) fn write_failure<M: SerializeMap>(line: &Line<'_>, map: &mut M, failure: &Failure) -> Result<(), M::Error> {
    line.target(map)?;
    map.serialize_entry("proto", "ICMP")?;
    line.time_to_resolve(map)?;
    if let Some(Spec::Ping(spec)) = line.ctx.spec {
        map.serialize_entry("size", &spec.size)?;
    }
    for count in ["sent", "rcvd", "dup"] {
        map.serialize_entry(count, &0)?;
    }
    statistics(map, None, None, None)?;
    map.serialize_entry("step", &line.result.interval)?;
    map.serialize_entry("result", &[Single("error", failure_words(failure, RESOLVING))])
}

/// `min`, `max`, `avg`: -1 when nothing came back.
fn statistics<M: SerializeMap>(
    map: &mut M,
    min: Option<u64>,
    max: Option<u64>,
    average: Option<u64>,
) -> Result<(), M::Error> {
    for (key, value) in [("min", min), ("max", max), ("avg", average)] {
        match value {
            Some(nanos) => map.serialize_entry(key, &Millis(nanos))?,
            None => map.serialize_entry(key, &-1)?,
        }
    }
    Ok(())
}

/// The list `result`.
struct Replies<'a> {
    line: &'a Line<'a>,
    seen: &'a PingOutcome,
}

impl Serialize for Replies<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.seen.replies.len()))?;
        let mut before = Before { size: self.seen.size, hop_limit: None };
        for reply in &self.seen.replies {
            list.serialize_element(&match reply {
                PingReply::Reply(reply) => before.answer(self.line, reply),
                PingReply::Timeout => Reply { x: Some("*"), ..Reply::default() },
                PingReply::SendError(why) => Reply { error: Some(send_failure(why)), ..Reply::default() },
                PingReply::Icmp(error) => {
                    Reply { x: Some("*"), sonde: Some(Extra::of_error(self.line, error, Millis)), ..Reply::default() }
                }
            })?;
        }
        list.end()
    }
}

/// Size and hop limit in force, so that a reply says only what changes.
struct Before {
    size: u32,
    hop_limit: Option<u8>,
}

impl Before {
    fn answer(&mut self, line: &Line<'_>, reply: &EchoReply) -> Reply<'static> {
        let size = Some(reply.size).filter(|size| *size != self.size);
        let is_first = self.hop_limit.is_none();
        let ttl = reply.hop_limit.filter(|_| !is_first && reply.hop_limit != self.hop_limit);
        self.size = reply.size;
        self.hop_limit = reply.hop_limit.or(self.hop_limit);
        let is_target = line.result.dst_addr.is_some_and(|dst| dst == reply.from);
        let from = Some(line.on_path(UNKNOWN_HOP, reply.from.0)).filter(|_| !is_target);
        Reply {
            rtt: Some(Millis(reply.rtt)),
            size,
            ttl,
            dup: reply.duplicate.then_some(1),
            sonde: from.map(|from| Extra { from: Some(from), ..Extra::none() }),
            ..Reply::default()
        }
    }
}

/// One element of `result`.
#[derive(Serialize, Default)]
struct Reply<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dup: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sonde: Option<Extra<Millis>>,
}
