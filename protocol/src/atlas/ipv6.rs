//! `ipv6` results. The kind is ours; a member that means what one of Atlas's means (`af`, `from`, `src_addr`, `ttc`, `rt`,
//! `dst_port` as a string, times in milliseconds) has its name and form. What was not tested is `null`, never `false`.
//!
//! Of the probe's own addresses the owner sees prefixes, everybody else what the view leaves of them.

mod evidence;
mod path;

use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;
use serde::ser::SerializeMap;

use super::each::Each;
use super::{Line, failure_entry};
use crate::result::Failure;
use crate::result::ipv6::{Because, Evidence, FamilyState, Ipv6Outcome, NamesSeen, Reason, ReasonRole, Verdict};
use crate::spec::Spec;

pub(super) fn write<M: SerializeMap>(line: &Line<'_>, map: &mut M, seen: &Ipv6Outcome) -> Result<(), M::Error> {
    map.serialize_entry("endtime", &line.result.ended_at.as_secs())?;
    map.serialize_entry("def", &seen.definition)?;
    map.serialize_entry("kind", seen.scope.name())?;
    map.serialize_entry("trigger", seen.trigger.word())?;
    map.serialize_entry("verdict", &Each(&seen.verdicts, VerdictObject::new))?;
    evidence::write(line, map, &seen.evidence)?;
    map.serialize_entry("dns_flags", &Names::new(&seen.names))?;
    path::write(line, map, seen)?;
    map.serialize_entry("errors", &seen.evidence.errors.iter().map(|why| &**why).collect::<Vec<_>>())
}

/// A run that could not be carried out.
pub(super) fn write_failure<M: SerializeMap>(line: &Line<'_>, map: &mut M, failure: &Failure) -> Result<(), M::Error> {
    map.serialize_entry("endtime", &line.result.ended_at.as_secs())?;
    if let Some(Spec::Ipv6(spec)) = line.ctx.spec {
        map.serialize_entry("kind", spec.scope.name())?;
    }
    failure_entry(map, failure)?;
    map.serialize_entry("verdict", &[(); 0])
}

/// The name of a target.
fn name(evidence: &Evidence, place: u8) -> &str {
    evidence.target(place).map_or("", |target| &target.name)
}

#[derive(Serialize)]
struct VerdictObject<'a> {
    af: u8,
    raw: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    part: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    flags: Vec<&'static str>,
    settled: Option<&'static str>,
    settled_why: Vec<&'static str>,
    streak: u32,
    why: Vec<String>,
    words: Each<'a, Because, fn(&Because) -> &'static str>,
}

impl<'a> VerdictObject<'a> {
    fn new(verdict: &'a Verdict) -> Self {
        let of = |role| {
            let all = verdict.why.iter().map(|because| because.reason);
            all.filter(move |reason| reason.role() == role).map(Reason::word)
        };
        let is_broken = verdict.raw == FamilyState::Broken;
        Self {
            af: verdict.af.number(),
            raw: verdict.raw.word(),
            cause: of(ReasonRole::Cause).next().filter(|_| is_broken),
            part: if is_broken { Vec::new() } else { of(ReasonRole::Cause).collect() },
            sub: of(ReasonRole::Sub).next(),
            flags: of(ReasonRole::Flag).collect(),
            settled: verdict.settled.as_ref().map(|settled| settled.state.word()),
            settled_why: verdict
                .settled
                .iter()
                .flat_map(|settled| settled.reasons.iter())
                .map(|one| one.word())
                .collect(),
            streak: verdict.streak,
            why: verdict.why.iter().map(code).collect(),
            words: Each(&verdict.why, |because| because.reason.sentence()),
        }
    }
}

/// The code of a reason, with its number behind it: `mtu.up.1492`.
fn code(because: &Because) -> String {
    match because.detail {
        Some(detail) => alloc::format!("{}.{detail}", because.reason.word()),
        None => because.reason.word().into(),
    }
}

#[derive(Serialize)]
struct Names {
    lying: Option<bool>,
    intercepted: Intercepted,
    v6ns: Option<bool>,
    synthesis: Option<bool>,
    dns64_dnssec: Option<&'static str>,
}

#[derive(Serialize)]
struct Intercepted {
    #[serde(rename = "4")]
    v4: Option<bool>,
    #[serde(rename = "6")]
    v6: Option<bool>,
}

impl Names {
    fn new(seen: &NamesSeen) -> Self {
        Self {
            lying: seen.lying,
            intercepted: Intercepted { v4: seen.intercepted4, v6: seen.intercepted6 },
            v6ns: seen.v6ns,
            synthesis: seen.synthesis,
            dns64_dnssec: seen.dns64.map(|how| how.word()),
        }
    }
}
