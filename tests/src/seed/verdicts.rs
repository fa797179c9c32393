//! What the invented probes say of IPv6 and IPv4: by their runs of the last hours, with evidence, and by a vote an hour for the
//! ninety days before.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::Result;
use sonde_protocol::bounded::{List, Text};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::{Family, Ip};
use sonde_protocol::result::Ipv6Outcome;
use sonde_protocol::result::ipv6::{
    AddressSeen, Attempt, Connect, DEFINITION, Evidence, FamilyPath, FamilyState, HappyEyeballs, NamesSeen, Pair,
    PathFacts, Reason, Settled, Target, Trigger, TroubleKind, Verdict,
};
use sonde_protocol::seed::{Rng, mix};
use sonde_protocol::spec::Ipv6Scope;
use sonde_protocol::time::UnixNanos;
use sonde_store::conformance::block_on;
use sonde_store::reachability::{Country, Hour, Place, Reachability as _, Record, Silence, Slash24, Slash48, Vote};
use sonde_store::sqlite::SqliteReachability;

use super::Options;
use super::probes::{Invented, V6};
use super::targets::{AMSTERDAM, SAN_JOSE, SINGAPORE};
use super::weather::{Path, nanos};

/// How many days of votes there are, and in networks so large that more would take minutes.
const DAYS: i64 = 90;
const DAYS_OF_MANY: i64 = 2;

/// One network in so many got its IPv6 within these days.
const NEWCOMERS: u64 = 7;

/// What a probe's line had of IPv6 at a time: what it has now, or less, as long as its network did not offer it yet.
fn line(probe: &Invented, at: UnixNanos, until: UnixNanos) -> V6 {
    let network = mix(u64::from(probe.asn.0) ^ 0x4e77);
    let age = Duration::from_secs((3 + network / NEWCOMERS % 80) * 86_400);
    let is_new = network.is_multiple_of(NEWCOMERS) && matches!(probe.v6, V6::Native | V6::Partial);
    if is_new && at < until - age { V6::Absent } else { probe.v6 }
}

/// The words for it: of IPv6, why, and of IPv4.
fn states(line: V6) -> (FamilyState, Option<Reason>, FamilyState) {
    match line {
        V6::Native => (FamilyState::Native, None, FamilyState::Native),
        V6::Partial => (FamilyState::NativePartial, Some(Reason::Mtu), FamilyState::Native),
        V6::Tunnel => (FamilyState::Tunnel, Some(Reason::TunnelDevice), FamilyState::Native),
        V6::Broken => (FamilyState::Broken, Some(Reason::NoRoute), FamilyState::Native),
        V6::Absent => (FamilyState::None, Some(Reason::NoAddress), FamilyState::Native),
        V6::Nat64 => (FamilyState::Native, None, FamilyState::Nat64Dns64),
        V6::Xlat => (FamilyState::Native, None, FamilyState::Xlat464),
    }
}

fn is_cgnat(probe: &Invented) -> bool {
    probe.v6.has_v4() && mix(probe.id.0 ^ 0xc9).is_multiple_of(9)
}

/// By how many microseconds IPv6 is slower at a time.
fn difference(probe: &Invented, at: UnixNanos, until: UnixNanos, rng: &mut Rng) -> i32 {
    let of = |af| Path { probe, target: &AMSTERDAM, af, at, until }.least_ms();
    let noise = i32::try_from(rng.below(400)).unwrap_or(0) - 200;
    ((of(Family::V6) - of(Family::V4)) * 1000.0) as i32 + noise
}

/// What one light run saw.
pub fn outcome(probe: &Invented, at: UnixNanos, until: UnixNanos, rng: &mut Rng) -> Ipv6Outcome {
    let line = line(probe, at, until);
    let (v6, why, v4) = states(line);
    let verdict = |af, state, why: Option<Reason>| Verdict {
        af,
        raw: state,
        why: List::cut(why.map(Into::into)),
        settled: Some(Settled { state, reasons: List::cut(why) }),
        streak: 40,
    };
    let why4 = if is_cgnat(probe) { Reason::Cgnat } else { Reason::Nat44 };
    let why4 = probe.v6.has_v4().then_some(why4);
    let hole = (line == V6::Partial).then_some(1400);
    let path = FamilyPath { mtu: line.works().then_some(1500), hole_up: hole, ..FamilyPath::default() };
    Ipv6Outcome {
        definition: DEFINITION,
        scope: Ipv6Scope::Light,
        trigger: Trigger::Timer,
        verdicts: List::cut([verdict(Family::V6, v6, why), verdict(Family::V4, v4, why4)]),
        evidence: evidence(probe, line, at, until, rng),
        names: NamesSeen {
            lying: Some(probe.id.0 % 37 == 8),
            intercepted4: Some(is_cgnat(probe)),
            intercepted6: line.works().then_some(false),
            ..NamesSeen::default()
        },
        path: PathFacts { v6: path, v4: FamilyPath { mtu: Some(1500), ..FamilyPath::default() } },
    }
}

fn evidence(probe: &Invented, line: V6, at: UnixNanos, until: UnixNanos, rng: &mut Rng) -> Evidence {
    let references = [&AMSTERDAM, &SAN_JOSE, &SINGAPORE];
    let target = |of: &&super::targets::Target| Target {
        name: Text::cut(of.name),
        is_reference: true,
        v4: Some(Ip(of.address(Family::V4))),
        v6: Some(Ip(of.address(Family::V6))),
    };
    let seen = |address: IpAddr, length| AddressSeen {
        address: Ip(address),
        length,
        interface: Text::cut("eth0"),
        flags: 0,
        preferred: Some(1800),
        valid: Some(3600),
        origin: None,
    };
    let own6 = probe.address_v6.filter(|_| line != V6::Absent).map(|own| seen(own.into(), 64));
    let own4 = probe.source(Family::V4).map(|own| seen(own, 24));
    let link = seen(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x23).into(), 64);
    let extra = difference(probe, at, until, rng);
    let pairs = (0_u8..).zip(references).map(|(place, of)| {
        let ms4 = Path { probe, target: of, af: Family::V4, at, until }.least_ms();
        let connect = |af, ms: f64, works: bool| Connect {
            af,
            dst: Ip(of.address(af)),
            src: probe.source(af).map(Ip),
            seen: works.then_some(match af {
                Family::V4 => Ip(IpAddr::V4(probe.address_v4)),
                Family::V6 => Ip(probe.address_v6.unwrap_or(Ipv6Addr::UNSPECIFIED).into()),
            }),
            tcp: Some(if works { Attempt::Done(nanos(ms)) } else { Attempt::Failed(TroubleKind::Timeout.into()) }),
            tls: works.then_some(Attempt::Done(nanos(2.0 * ms))),
            quic: works.then_some(Attempt::Done(nanos(2.0 * ms))),
            retransmits: Some(0),
            mss_seen: works.then_some(1432),
        };
        let v6 = connect(Family::V6, ms4 + f64::from(extra) / 1000.0, line.works());
        let mut connects = vec![v6, connect(Family::V4, ms4, probe.v6.has_v4())];
        if line == V6::Absent {
            connects.remove(0);
        }
        Pair { target: place, gap: 400_000, connects: List::cut(connects) }
    });
    Evidence {
        targets: List::cut(references.iter().map(target)),
        addresses: List::cut([link].into_iter().chain(own6).chain(own4)),
        resolvers: Some(List::cut([Ip(Ipv4Addr::new(192, 168, 1, 1).into())])),
        pairs: List::cut(pairs),
        happy_eyeballs: Some(HappyEyeballs {
            dns6: Some(4_100_000),
            dns4: Some(4_000_000),
            connect6: None,
            connect4: None,
            failed6: None,
            failed4: None,
            winner: Some(if line.works() { Family::V6 } else { Family::V4 }),
            margin: None,
        }),
        v6_off: Some(false),
        ..Evidence::default()
    }
}

/// Fills the store of votes. Gives how many there are.
pub fn vote(store: &SqliteReachability, options: &Options, probes: &[Invented]) -> Result<u64> {
    let days = if options.probes > 2000 { DAYS_OF_MANY } else { DAYS };
    let last = Hour::of(options.until);
    let mut count = 0;
    for ago in (0..=days * Hour::A_DAY).rev() {
        let hour = last.plus(-ago);
        let at = (hour.start() + Duration::from_secs(2700)).min(options.until);
        let there = probes.iter().filter(|probe| probe.is_there(at - Duration::from_secs(1)));
        let records: Vec<(ProbeId, Record)> = there.map(|probe| (probe.id, record(options, probe, at))).collect();
        count += records.len() as u64;
        block_on(store.put(hour, &records))?;
    }
    while block_on(store.sum_up_a_day(last))? {}
    Ok(count)
}

fn record(options: &Options, probe: &Invented, at: UnixNanos) -> Record {
    let mut rng = Rng::new(mix(options.seed ^ probe.id.0.rotate_left(32) ^ mix(at.as_secs().unsigned_abs())));
    let line = line(probe, at, options.until);
    let (v6, _, v4) = states(line);
    let asn6 = probe.address_v6.filter(|_| line != V6::Absent).map(|_| probe.asn);
    // Now and then nothing can be told.
    let silence = match rng.below(150) {
        0 => Some(Silence::Offline),
        1 => Some(Silence::Inconclusive),
        _ => None,
    };
    let vote = Vote {
        v6,
        v4,
        has_v6_address: line != V6::Absent,
        is_cgnat: is_cgnat(probe),
        is_few: rng.one_in(80),
        definition: DEFINITION,
    };
    let both = line.works() && probe.v6.has_v4() && silence.is_none();
    Record {
        place: Place {
            country: probe.country.parse::<Country>().ok(),
            asn6,
            asn4: Some(probe.asn),
            net6: probe.address_v6.filter(|_| asn6.is_some()).and_then(|address| Slash48::of(address.into())),
            net4: Slash24::of(probe.address_v4.into()),
        },
        vote: silence.is_none().then_some(vote),
        silence: silence.unwrap_or_default(),
        said_at: UnixNanos::from_secs(at.as_secs()),
        runs: 4,
        conclusive: if silence.is_none() { 4 } else { 0 },
        only_one_failed: (u16::from(line == V6::Broken), 0),
        difference: both.then(|| difference(probe, at, options.until, &mut rng)),
    }
}
