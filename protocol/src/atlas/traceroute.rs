//! `traceroute` results.

use alloc::borrow::Cow;
use core::net::IpAddr;

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};

use super::icmp_extension::Extensions;
use super::tcp::{Flags, Options};
use super::{Line, RoundMillis, entry, failure_words, send_failure};
use crate::net::{Family, Transport};
use crate::result::{Failure, Hop, HopAnswer, HopReply, IcmpKind, TracerouteOutcome};
use crate::spec::Spec;

/// How Atlas begins when the name did not resolve.
const RESOLVING: &str = "name resolution failed: ";

pub(super) fn write<M: SerializeMap>(line: &Line<'_>, map: &mut M, seen: &TracerouteOutcome) -> Result<(), M::Error> {
    head(line, map, Some(seen.protocol), Some(seen.size))?;
    let asked = match line.ctx.spec {
        Some(Spec::Traceroute(spec)) => Some(spec.traffic_class),
        _ => None,
    };
    entry(map, "tos", asked.filter(|class| *class != 0))?;
    entry(map, "paris_id", seen.paris_id)?;
    map.serialize_entry("endtime", &line.result.ended_at.as_secs())?;
    map.serialize_entry("result", &Hops { line, hops: &seen.hops })
}

/// A run that could not be carried out: its first hop says why.
pub(super) fn write_failure<M: SerializeMap>(line: &Line<'_>, map: &mut M, failure: &Failure) -> Result<(), M::Error> {
    let spec = match line.ctx.spec {
        Some(Spec::Traceroute(spec)) => Some(spec),
        _ => None,
    };
    head(line, map, spec.map(|spec| spec.protocol), spec.map(|spec| spec.size))?;
    map.serialize_entry("endtime", &line.result.ended_at.as_secs())?;
    let hop = FailedHop { hop: spec.map_or(1, |spec| spec.first_hop), error: failure_words(failure, RESOLVING) };
    map.serialize_entry("result", &[hop])
}

fn head<M: SerializeMap>(
    line: &Line<'_>,
    map: &mut M,
    protocol: Option<Transport>,
    size: Option<u32>,
) -> Result<(), M::Error> {
    line.target(map)?;
    if line.result.src_addr.is_none() {
        // blaeu reads it without looking.
        map.serialize_entry("src_addr", "")?;
    }
    entry(map, "proto", protocol.map(Transport::name))?;
    line.time_to_resolve(map)?;
    entry(map, "size", size)
}

#[derive(Serialize)]
struct FailedHop<'a> {
    hop: u32,
    error: Cow<'a, str>,
}

/// The list `result`.
struct Hops<'a> {
    line: &'a Line<'a>,
    hops: &'a [Hop],
}

impl Serialize for Hops<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.hops.len()))?;
        for hop in self.hops {
            list.serialize_element(&OneHop { hop: hop.hop, result: Replies { line: self.line, hop } })?;
        }
        list.end()
    }
}

#[derive(Serialize)]
struct OneHop<'a> {
    hop: u8,
    result: Replies<'a>,
}

/// The list `result` of one hop.
struct Replies<'a> {
    line: &'a Line<'a>,
    hop: &'a Hop,
}

impl Serialize for Replies<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.hop.replies.len()))?;
        for reply in &self.hop.replies {
            match reply {
                HopReply::Reply(answer) => list.serialize_element(&Reply::new(self.line, self.hop.hop, answer))?,
                HopReply::Timeout => list.serialize_element(&NoReply { x: "*" })?,
                HopReply::SendError(why) => list.serialize_element(&SendError { error: send_failure(why) })?,
            }
        }
        list.end()
    }
}

#[derive(Serialize)]
struct NoReply {
    x: &'static str,
}

#[derive(Serialize)]
struct SendError<'a> {
    error: Cow<'a, str>,
}

/// Bytes of the header that Atlas does not count in `size`: of ICMP and UDP, of TCP.
const HEADER: u32 = 8;
const TCP_HEADER: u32 = 20;

/// An answer. goat reads `ttl` without looking, and `rtt` where there is no `late`.
#[derive(Serialize)]
struct Reply<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    late: Option<u32>,
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    dup: bool,
    from: IpAddr,
    ttl: i16,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<Flags>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hdropts: Option<Options<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt: Option<RoundMillis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ittl: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    itos: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    edst: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    err: Option<IcmpWord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hbhoptsize: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dstoptsize: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmpext: Option<Extensions<'a>>,
}

impl<'a> Reply<'a> {
    fn new(line: &Line<'_>, hop: u8, answer: &'a HopAnswer) -> Self {
        let from = answer.from.0;
        let is_target = line.result.dst_addr == Some(answer.from);
        // A reply without a time answers a packet that cannot be told from this hop's: late by none.
        let late = answer.late.or(if answer.rtt.is_none() { Some(0) } else { None });
        let header = if answer.tcp_flags.is_some() { TCP_HEADER } else { HEADER };
        Self {
            late,
            dup: answer.duplicate,
            from: line.on_path(hop, from),
            ttl: answer.hop_limit.map_or(-1, i16::from),
            size: answer.size.map(|size| size.saturating_sub(header)),
            flags: answer.tcp_flags.map(Flags),
            hdropts: answer.tcp_options.as_deref().map(Options),
            rtt: answer.rtt.filter(|_| late.is_none()).map(RoundMillis),
            ittl: answer.quoted_hop_limit,
            itos: answer.quoted_traffic_class,
            edst: answer.quoted_dst.map(|quoted| line.on_path(hop, quoted.0)),
            err: answer.icmp.and_then(|icmp| IcmpWord::of(Family::of(from), icmp, is_target)),
            mtu: answer.mtu,
            hbhoptsize: answer.hop_by_hop_size.filter(|size| *size > 0),
            dstoptsize: answer.destination_size.filter(|size| *size > 0),
            icmpext: answer
                .extensions
                .as_deref()
                .and_then(|structure| Extensions::parse(structure, answer.extensions_unannounced != Some(true))),
        }
    }
}

/// The value of `err`: Atlas's letter for an ICMP error, or the code as a number where it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IcmpWord {
    Letter(char),
    Code(u8),
}

impl IcmpWord {
    /// None for what is no error on a path: time exceeded, a packet too big (`mtu` says so), the target's closed port.
    fn of(family: Family, icmp: IcmpKind, from_target: bool) -> Option<Self> {
        use IcmpWord::{Code, Letter};
        match (family, icmp.kind, icmp.code) {
            // Echo reply, time exceeded, fragmentation needed; the target has no such port (RFC 792).
            (Family::V4, 0 | 11, _) | (Family::V4, 3, 4) => None,
            (Family::V4, 3, 3) if from_target => None,
            (Family::V4, 3, 0) => Some(Letter('N')),
            (Family::V4, 3, 1) => Some(Letter('H')),
            (Family::V4, 3, 2) => Some(Letter('P')),
            (Family::V4, 3, 3) => Some(Letter('p')),
            (Family::V4, 3, 13) => Some(Letter('A')),
            // Echo reply, time exceeded, packet too big; the target has no such port (RFC 4443).
            (Family::V6, 129 | 3 | 2, _) => None,
            (Family::V6, 1, 4) if from_target => None,
            (Family::V6, 1, 0) => Some(Letter('N')),
            (Family::V6, 1, 1) => Some(Letter('A')),
            (Family::V6, 1, 2) => Some(Letter('h')),
            (Family::V6, 1, 3) => Some(Letter('H')),
            (_, _, code) => Some(Code(code)),
        }
    }
}

impl Serialize for IcmpWord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            IcmpWord::Letter(letter) => serializer.serialize_char(*letter),
            IcmpWord::Code(code) => serializer.serialize_u8(*code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_for_icmp_errors() {
        use Family::{V4, V6};
        let letter = |letter| Some(IcmpWord::Letter(letter));
        let code = |code| Some(IcmpWord::Code(code));
        for (family, kind, number, from_target, word) in [
            (V4, 11, 0, false, None),
            (V4, 11, 1, false, None),
            (V4, 0, 0, true, None),
            (V4, 3, 0, false, letter('N')),
            (V4, 3, 1, false, letter('H')),
            (V4, 3, 2, false, letter('P')),
            (V4, 3, 3, false, letter('p')),
            (V4, 3, 3, true, None),
            (V4, 3, 4, false, None),
            (V4, 3, 13, true, letter('A')),
            (V4, 3, 10, false, code(10)),
            (V6, 3, 0, false, None),
            (V6, 129, 0, true, None),
            (V6, 2, 0, false, None),
            (V6, 1, 0, false, letter('N')),
            (V6, 1, 1, false, letter('A')),
            (V6, 1, 2, false, letter('h')),
            (V6, 1, 3, false, letter('H')),
            (V6, 1, 4, true, None),
            (V6, 1, 4, false, code(4)),
            (V6, 1, 5, false, code(5)),
            (V6, 4, 1, false, code(1)),
        ] {
            let icmp = IcmpKind { kind, code: number };
            assert_eq!(IcmpWord::of(family, icmp, from_target), word, "{family} {kind} {number} {from_target}");
        }
    }
}
