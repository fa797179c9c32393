//! `pathmtu` results. The kind is ours, so its members are too; where one means what a member of Atlas means (`from`, `rtt`,
//! `ttl`, `mtu`, `x`, `error`), it has that name and form. Sizes are those of whole IP packets.

use alloc::borrow::Cow;
use core::net::IpAddr;

use serde::Serialize;
use serde::ser::SerializeMap;

use super::each::Each;
use super::{Line, Millis, UNKNOWN_HOP, entry, failure_entry, send_failure};
use crate::result::{Failure, Mtu, MtuAnswer, MtuDirection, MtuEnd, MtuHole, MtuHop, MtuLimit, MtuTry, PathMtuOutcome};

pub(super) fn write<M: SerializeMap>(line: &Line<'_>, map: &mut M, seen: &PathMtuOutcome) -> Result<(), M::Error> {
    line.target(map)?;
    line.time_to_resolve(map)?;
    entry(map, "interface_mtu", seen.interface)?;
    for (size, exact, mtu) in [
        ("mtu", "mtu_exact", seen.forward),
        ("reverse_mtu", "reverse_mtu_exact", seen.reverse),
        ("round_trip_mtu", "round_trip_mtu_exact", seen.round_trip),
    ] {
        entry(map, size, mtu.size())?;
        entry(map, exact, mtu.size().map(|_| mtu.is_exact()))?;
    }
    entry(map, "hole", seen.hole.as_ref().map(|hole| Hole::new(line, hole)))?;
    map.serialize_entry("limits", &Each(&seen.limits, |limit| Limit::new(line, limit)))?;
    map.serialize_entry("end", end(seen))?;
    map.serialize_entry("endtime", &line.result.ended_at.as_secs())?;
    map.serialize_entry("result", &Each(&seen.tries, |one| Try::new(line, one)))
}

/// A run that could not be carried out.
pub(super) fn write_failure<M: SerializeMap>(line: &Line<'_>, map: &mut M, failure: &Failure) -> Result<(), M::Error> {
    line.target(map)?;
    line.time_to_resolve(map)?;
    failure_entry(map, failure)?;
    map.serialize_entry("endtime", &line.result.ended_at.as_secs())?;
    map.serialize_entry("result", &[(); 0])
}

/// What the end means to a reader: a search that found nothing out has no answer to be complete with.
fn end(seen: &PathMtuOutcome) -> &'static str {
    let nothing = [seen.forward, seen.round_trip].iter().all(|mtu| *mtu == Mtu::Unknown);
    match seen.end {
        MtuEnd::Complete if nothing => "no answer",
        MtuEnd::Complete => "complete",
        MtuEnd::Loss => "loss",
        MtuEnd::Bound => "bound",
    }
}

#[derive(Serialize)]
struct Hole {
    passes: u32,
    lost: u32,
    direction: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_hop: Option<Hop>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_hop: Option<Hop>,
}

impl Hole {
    fn new(line: &Line<'_>, hole: &MtuHole) -> Self {
        let hop = |MtuHop { hop, from }: MtuHop| Hop { hop, from: line.on_path(hop, from.0) };
        Self {
            passes: hole.passes,
            lost: hole.lost,
            direction: match hole.direction {
                MtuDirection::Unknown => "unknown",
                MtuDirection::Forward => "forward",
                MtuDirection::Reverse => "reverse",
            },
            last_hop: hole.last_hop.map(hop),
            next_hop: hole.next_hop.map(hop),
        }
    }
}

#[derive(Serialize)]
struct Hop {
    hop: u8,
    from: IpAddr,
}

#[derive(Serialize)]
struct Limit {
    from: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    size: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u8>,
}

impl Limit {
    fn new(line: &Line<'_>, limit: &MtuLimit) -> Self {
        let from = line.on_path(UNKNOWN_HOP, limit.from.0);
        Self { from, mtu: limit.mtu, size: limit.size, ttl: limit.hop_limit }
    }
}

/// One element of `result`.
#[derive(Serialize, Default)]
struct Try<'a> {
    proto: &'static str,
    size: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    hop: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fragment: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_type: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
}

impl<'a> Try<'a> {
    fn new(line: &Line<'_>, one: &'a MtuTry) -> Self {
        let place = one.hop.unwrap_or(UNKNOWN_HOP);
        let sent = Self { proto: one.protocol.name(), size: one.size, hop: one.hop, ..Self::default() };
        match &one.answer {
            MtuAnswer::Timeout => Self { x: Some("*"), ..sent },
            MtuAnswer::SendError(why) => Self { error: Some(send_failure(why)), ..sent },
            MtuAnswer::TooLong => Self { error: Some(Cow::Borrowed("longer than the interface's MTU")), ..sent },
            MtuAnswer::Reply(reply) => Self {
                from: Some(line.on_path(place, reply.from.0)),
                rtt: Some(Millis(reply.rtt)),
                ttl: reply.hop_limit,
                reply_size: Some(reply.size).filter(|size| *size != one.size),
                fragment: reply.fragment,
                ..sent
            },
            MtuAnswer::Icmp(error) => Self {
                from: Some(line.on_path(place, error.from.0)),
                rtt: error.rtt.map(Millis),
                ttl: error.hop_limit,
                icmp_type: Some(error.kind),
                icmp_code: Some(error.code),
                mtu: error.mtu,
                ..sent
            },
        }
    }
}
