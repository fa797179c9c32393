//! What passes on the way.

use alloc::vec::Vec;
use core::net::IpAddr;

use serde::Serialize;
use serde::ser::SerializeMap;

use super::super::each::Each;
use super::super::{Line, UNKNOWN_HOP};
use super::name;
use crate::net::Family;
use crate::result::ipv6::{
    Evidence, FamilyPath, HeadersSeen, IcmpSeen, Ipv6Outcome, NearHop, PathFacts, SizeTry, SizesSeen, Stability,
};

pub(super) fn write<M: SerializeMap>(line: &Line<'_>, map: &mut M, seen: &Ipv6Outcome) -> Result<(), M::Error> {
    let evidence = &seen.evidence;
    let PathFacts { v6, v4 } = &seen.path;
    map.serialize_entry("path", &[Path::new(Family::V6, v6), Path::new(Family::V4, v4)])?;
    map.serialize_entry("mtu", &Each(&evidence.sizes, |sizes| Sizes::new(line, evidence, sizes)))?;
    map.serialize_entry("eh", &evidence.headers.map(Headers::from))?;
    for (key, af) in [("icmp6", Family::V6), ("icmp4", Family::V4)] {
        map.serialize_entry(key, &evidence.icmp.iter().find(|icmp| icmp.af == af).map(Icmp::from))?;
    }
    let hop = |hop: &NearHop| Hop { hop: hop.hop, from: hop.from.map(|ip| line.on_path(hop.hop, ip.0)) };
    map.serialize_entry("hops", &evidence.near_hops.as_ref().map(|hops| Each(hops, hop)))?;
    map.serialize_entry("stability", &evidence.stability.map(Changes::from))
}

/// What was known of a family's paths when the verdict was made.
#[derive(Serialize)]
struct Path {
    af: u8,
    pmtu: Option<u32>,
    blackhole: &'static str,
    passes_up: Option<u32>,
    passes_down: Option<u32>,
    below_1280: bool,
}

impl Path {
    fn new(af: Family, seen: &FamilyPath) -> Self {
        Self {
            af: af.number(),
            pmtu: seen.mtu,
            blackhole: match (seen.hole_up, seen.hole_down) {
                (None, None) => "none",
                (Some(_), None) => "up",
                (None, Some(_)) => "down",
                (Some(_), Some(_)) => "both",
            },
            passes_up: seen.hole_up,
            passes_down: seen.hole_down,
            below_1280: seen.below_1280,
        }
    }
}

#[derive(Serialize)]
struct Sizes<'a> {
    af: u8,
    dst_name: &'a str,
    up: Vec<Try>,
    down: Vec<Try>,
    bulk_up: Option<bool>,
    bulk_down: Option<bool>,
}

#[derive(Serialize)]
struct Try {
    size: u32,
    sent: u8,
    lost: u8,
    controls_lost: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    ptb: Option<Ptb>,
}

#[derive(Serialize)]
struct Ptb {
    from: Option<IpAddr>,
    mtu: Option<u32>,
}

impl<'a> Sizes<'a> {
    fn new(line: &Line<'_>, evidence: &'a Evidence, seen: &SizesSeen) -> Self {
        let tries = |tries: &[SizeTry]| tries.iter().map(|one| Try::new(line, one)).collect();
        Self {
            af: seen.af.number(),
            dst_name: name(evidence, seen.target),
            up: tries(&seen.up),
            down: tries(&seen.down),
            bulk_up: seen.bulk_up.map(|attempt| attempt.is_done()),
            bulk_down: seen.bulk_down.map(|attempt| attempt.is_done()),
        }
    }
}

impl Try {
    fn new(line: &Line<'_>, seen: &SizeTry) -> Self {
        Self {
            size: seen.size,
            sent: seen.sent,
            lost: seen.lost,
            controls_lost: seen.controls_lost,
            ptb: seen.too_big.map(|too_big| Ptb {
                // Where on the path it stands is not known.
                from: too_big.from.map(|ip| line.on_path(UNKNOWN_HOP, ip.0)),
                mtu: too_big.mtu,
            }),
        }
    }
}

#[derive(Serialize)]
struct Headers {
    fragment_up: Option<bool>,
    fragment_down: Option<bool>,
    dst8: Option<bool>,
    hbh8: Option<bool>,
    large_dns: Option<bool>,
}

impl From<HeadersSeen> for Headers {
    fn from(seen: HeadersSeen) -> Self {
        Self {
            fragment_up: seen.fragment_up,
            fragment_down: seen.fragment_down,
            dst8: seen.destination,
            hbh8: seen.hop_by_hop,
            large_dns: seen.large_dns,
        }
    }
}

#[derive(Serialize)]
struct Icmp {
    unreach: Option<bool>,
    time_exceeded: Option<bool>,
    echo: Option<bool>,
    ptb: Option<bool>,
}

impl From<&IcmpSeen> for Icmp {
    fn from(seen: &IcmpSeen) -> Self {
        Self { unreach: seen.unreachable, time_exceeded: seen.time_exceeded, echo: seen.echo, ptb: seen.too_big }
    }
}

#[derive(Serialize)]
struct Hop {
    hop: u8,
    from: Option<IpAddr>,
}

#[derive(Serialize)]
struct Changes {
    prefixes64_24h: u32,
    prefixes48_24h: u32,
    route_gaps_24h: u32,
    changes_1h: u32,
}

impl From<Stability> for Changes {
    fn from(seen: Stability) -> Self {
        Self {
            prefixes64_24h: seen.prefixes_64,
            prefixes48_24h: seen.prefixes_48,
            route_gaps_24h: seen.route_gaps,
            changes_1h: seen.changes,
        }
    }
}
