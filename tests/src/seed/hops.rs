//! Invented paths: home, the provider's routers, one of a few carriers, an exchange, the target. Some routers are silent, some
//! paths end on the way, some take turns, and one goes in circles.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sonde_protocol::bounded::List;
use sonde_protocol::net::{Family, Ip};
use sonde_protocol::result::{Hop, HopAnswer, HopReply, IcmpKind, TracerouteOutcome};
use sonde_protocol::seed::{Rng, mix};
use sonde_protocol::spec::TracerouteSpec;

use super::outcomes::router;
use super::weather::{Path, exponential, nanos};

/// The carriers' networks.
const CARRIERS: [u32; 3] = [4_210_000_001, 4_210_000_002, 4_210_000_003];

/// How many silent hops end a run (as RIPE Atlas).
const GAP: u8 = 5;

/// A router on the way, and after which part of it.
struct Stop {
    address: Option<IpAddr>,
    part: f64,
}

/// What a run of traceroute saw.
pub fn traceroute(path: &Path<'_>, spec: &TracerouteSpec, rng: &mut Rng) -> TracerouteOutcome {
    let paris = u32::try_from(path.at.as_secs() / 900 % 16).unwrap_or(0) + 1;
    let stops = stops(path, paris);
    let least = path.least_ms();
    let answer = |stop: &Stop, is_target: bool, rng: &mut Rng| {
        let (Some(address), false) = (stop.address, rng.below(1000) < u64::from(path.probe.loss_per_mille)) else {
            return HopReply::Timeout;
        };
        let rtt = nanos(least * stop.part + exponential(rng, path.probe.jitter_ms));
        // Time exceeded, or the target's closed port.
        let kind = match (path.af, is_target) {
            (Family::V4, false) => IcmpKind { kind: 11, code: 0 },
            (Family::V4, true) => IcmpKind { kind: 3, code: 3 },
            (Family::V6, false) => IcmpKind { kind: 3, code: 0 },
            (Family::V6, true) => IcmpKind { kind: 1, code: 4 },
        };
        HopReply::Reply(HopAnswer {
            rtt: Some(rtt),
            hop_limit: Some(60),
            size: Some(76),
            icmp: Some(kind),
            ..HopAnswer::new(Ip(address))
        })
    };
    let mut hops = Vec::new();
    for (stop, number) in stops.iter().zip(1_u8..) {
        let is_target = stop.address == Some(path.target.address(path.af));
        let replies = List::cut((0..spec.packets).map(|_| answer(stop, is_target, rng)));
        hops.push(Hop { hop: number, replies });
    }
    let silent = |hop| Hop { hop, replies: List::cut((0..spec.packets).map(|_| HopReply::Timeout)) };
    if stops.last().is_none_or(|stop| stop.address != Some(path.target.address(path.af))) {
        let next = u8::try_from(hops.len()).unwrap_or(0) + 1;
        hops.extend((next..next + GAP).map(silent));
        hops.push(silent(255));
    }
    TracerouteOutcome { protocol: spec.protocol, size: spec.size, paris_id: Some(paris), hops: List::cut(hops) }
}

fn stops(path: &Path<'_>, paris: u32) -> Vec<Stop> {
    let (probe, af) = (path.probe, path.af);
    let stop = |address: IpAddr, part: f64| Stop { address: Some(address), part };
    let home: IpAddr = match (af, probe.address_v6) {
        (Family::V6, Some(own)) => Ipv6Addr::from_bits(own.to_bits() & !u128::from(u64::MAX) | 1).into(),
        _ => Ipv4Addr::new(192, 168, 1, 1).into(),
    };
    let near = 0.4 + probe.access_ms;
    let share = near / path.least_ms().max(near);
    let mut stops = vec![
        stop(home, 0.3 / path.least_ms().max(0.3)),
        stop(router(af, probe.asn.0, 1), share),
        stop(router(af, probe.asn.0, 2), share + (1.0 - share) * 0.1),
    ];
    if path.is_down() {
        return stops;
    }
    // Which carrier depends on the network; in the second half of the day one network in four has another.
    let moved =
        u64::from(path.until.since(path.at).as_secs() < 43_200 && mix(u64::from(probe.asn.0)).is_multiple_of(4));
    let carrier = *CARRIERS.get((u64::from(probe.asn.0) + moved) as usize % CARRIERS.len()).unwrap_or(&CARRIERS[0]);
    // Two ways of the same length through the carrier, by flow.
    let way = u8::try_from(paris % 2).unwrap_or(0) * 10;
    stops.push(stop(router(af, carrier, 1), share + (1.0 - share) * 0.2));
    stops.push(stop(router(af, carrier, 2 + way), share + (1.0 - share) * 0.5));
    if probe.id.0 % 13 == 6 {
        // In circles.
        for _ in 0..4 {
            stops.push(stop(router(af, carrier, 1), share + (1.0 - share) * 0.6));
            stops.push(stop(router(af, carrier, 2), share + (1.0 - share) * 0.6));
        }
        return stops;
    }
    if probe.id.0 % 2 == 0 {
        stops.push(Stop { address: None, part: 0.0 });
    }
    stops.push(stop(router(af, carrier, 3 + way), share + (1.0 - share) * 0.9));
    if probe.id.0 % 11 == 5 {
        return stops;
    }
    // At the exchange everybody meets.
    stops.push(stop(router(af, 4_220_000_000, 7), share + (1.0 - share) * 0.97));
    stops.push(stop(path.target.address(af), 1.0));
    stops
}
