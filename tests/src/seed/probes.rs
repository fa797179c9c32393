//! Invented probes: who has them, where they are, when they were there, and what is wrong with them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Result, bail};
use sonde_protocol::bounded::{List, Text};
use sonde_protocol::condition::{Condition, Word};
use sonde_protocol::ids::{AccountId, Asn, BootId, ProbeId, SessionId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::message::{HostPause, HostState};
use sonde_protocol::net::{Family, Uplink};
use sonde_protocol::seed::{Rng, mix};
use sonde_protocol::spec::Kind;
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{
    Accounts, Admission, AnchorAdded, Anchors, Evidence, Healths, NewAnchor, NewSession, ProbeEdit, ProbeOrigin,
    Probes, ResolverEvidence, TagChange,
};
use sonde_store::conformance::block_on;
use sonde_store::sqlite::SqliteCatalog;

use super::weather::{exponential, unit};
use super::{Options, People, places, texts};

/// What a probe's line has of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum V6 {
    /// All of it, beside IPv4.
    Native,
    /// Large packets vanish.
    Partial,
    /// Through a tunnel.
    Tunnel,
    /// An address, and nothing answers.
    Broken,
    /// None.
    Absent,
    /// Nothing else: IPv4 by DNS64 and NAT64.
    Nat64,
    /// Nothing else: IPv4 by 464XLAT.
    Xlat,
}

impl V6 {
    /// Is anybody reached over IPv6?
    pub const fn works(self) -> bool {
        !matches!(self, V6::Broken | V6::Absent)
    }

    /// Is anybody reached over IPv4?
    pub const fn has_v4(self) -> bool {
        !matches!(self, V6::Nat64)
    }

    fn choose(country: &places::Country, rng: &mut Rng) -> Self {
        if rng.below(100) < u64::from(country.ipv6) {
            return match rng.below(100) {
                0..4 => V6::Partial,
                4..6 => V6::Tunnel,
                6..9 => V6::Nat64,
                9..13 => V6::Xlat,
                _ => V6::Native,
            };
        }
        if rng.one_in(14) { V6::Broken } else { V6::Absent }
    }
}

/// An invented probe.
#[derive(Debug, Clone)]
pub struct Invented {
    /// Its number.
    pub id: ProbeId,
    /// The process that made its results.
    pub boot: BootId,
    /// From when to when it was connected. The last one goes on when it ends at the end of the invented time.
    pub spans: Vec<(UnixNanos, UnixNanos)>,
    /// Its last session.
    pub session: SessionId,
    /// As seen from outside.
    pub address_v4: Ipv4Addr,
    /// Its own.
    pub address_v6: Option<Ipv6Addr>,
    /// What its line has of IPv6.
    pub v6: V6,
    /// Latitude and longitude in degrees.
    pub place: (f64, f64),
    /// ISO 3166 code.
    pub country: &'static str,
    /// Its network.
    pub asn: Asn,
    /// Milliseconds to its provider and back.
    pub access_ms: f64,
    /// By how many milliseconds its times differ.
    pub jitter_ms: f64,
    /// Packets of a thousand that its line loses.
    pub loss_per_mille: u32,
}

impl Invented {
    /// Was it connected then?
    pub fn is_there(&self, at: UnixNanos) -> bool {
        self.spans.iter().any(|(from, to)| (*from..*to).contains(&at))
    }

    /// Is it at the end of the invented time?
    pub fn is_connected(&self, until: UnixNanos) -> bool {
        self.spans.last().is_some_and(|(_, to)| *to == until)
    }

    /// Its own address towards targets of a family.
    pub fn source(&self, af: Family) -> Option<IpAddr> {
        match af {
            // Every household has the same one.
            Family::V4 => self.v6.has_v4().then_some(IpAddr::V4(Ipv4Addr::new(192, 168, 1, 23))),
            Family::V6 => self.address_v6.map(IpAddr::V6),
        }
    }

    /// How it connects.
    pub fn session(&self, at: UnixNanos) -> NewSession {
        let works = [(Family::V6, self.v6.works()), (Family::V4, self.v6.has_v4())];
        NewSession {
            probe: self.id,
            public_address: match (self.v6, self.address_v6) {
                (V6::Nat64, Some(own)) => own.into(),
                _ => self.address_v4.into(),
            },
            addresses: self.address_v6.into_iter().map(IpAddr::V6).chain(self.source(Family::V4)).collect(),
            families: works.into_iter().filter_map(|(af, works)| works.then_some(af)).collect(),
            kinds: Some(
                Kind::ALL.into_iter().filter(|kind| *kind != Kind::Http || !self.id.0.is_multiple_of(9)).collect(),
            ),
            software: if self.id.0.is_multiple_of(23) {
                "sonde-probe 0.0.9".into()
            } else {
                "sonde-probe 0.1.0".into()
            },
            uplink: if self.id.0 % 12 == 5 { Uplink::Tls } else { Uplink::Quic },
            at,
        }
    }
}

/// How a probe has lived.
#[derive(Clone, Copy)]
enum Life {
    Steady,
    Flaky,
    Gone,
    New,
    Off,
    Never,
}

impl Life {
    /// The first six are of each sort, so that even a few probes show all of them.
    fn choose(n: u32, rng: &mut Rng) -> Self {
        match (n, rng.below(100)) {
            (1, _) | (6.., 0..72) => Life::Steady,
            (0, _) | (6.., 72..82) => Life::Flaky,
            (2, _) | (6.., 82..89) => Life::Gone,
            (3, _) | (6.., 89..93) => Life::New,
            (4, _) | (6.., 93..98) => Life::Off,
            _ => Life::Never,
        }
    }

    /// From when to when the probe was connected; and when it joined.
    fn spans(self, until: UnixNanos, most: u64, rng: &mut Rng) -> (UnixNanos, Vec<(UnixNanos, UnixNanos)>) {
        const HOUR: u64 = 3600;
        const DAY: u64 = 24 * HOUR;
        // Ages in seconds: of the first connection, and of the end.
        let (first, end, breaks, longest) = match self {
            Life::Steady => (DAY * (20 + rng.below(500)), 0, rng.below(4), HOUR),
            Life::Flaky => (DAY * (30 + rng.below(90)), 0, 8 + rng.below(18), 9 * HOUR),
            Life::Gone => (DAY * (70 + rng.below(300)), HOUR * (30 + rng.below(1400)), 2 + rng.below(5), DAY),
            Life::New => (HOUR * (1 + rng.below(20)), 0, rng.below(2), 600),
            Life::Off => (DAY * (10 + rng.below(200)), 300 + rng.below(20 * HOUR), rng.below(3), 5 * HOUR),
            Life::Never => return (until - Duration::from_secs(DAY * (1 + rng.below(9))), Vec::new()),
        };
        let ago = |seconds: u64| until - Duration::from_secs(seconds);
        let joined = ago(first + 40 + rng.below(600));
        // Breaks lie in the last ninety days, which is what pages show.
        let window = first.min(90 * DAY) - end;
        let mut cuts: Vec<u64> = (0..breaks.min(most)).map(|_| end + rng.below(window)).collect();
        cuts.sort_unstable_by(|one, other| other.cmp(one));
        let (mut spans, mut from) = (Vec::new(), first);
        for cut in cuts {
            let back = cut.saturating_sub(90 + rng.below(longest));
            if cut >= from || back <= end {
                continue;
            }
            spans.push((ago(from), ago(cut)));
            from = back;
        }
        spans.push((ago(from), ago(end)));
        (joined, spans)
    }
}

/// Makes the probes with their sessions, tags and troubles.
pub fn make(catalog: &SqliteCatalog, options: &Options, people: &People) -> Result<Vec<Invented>> {
    let mut all = Vec::new();
    for n in 0..options.probes {
        let owner = if n % 3 == 2 { people.other } else { people.owner };
        all.push(make_one(catalog, options, owner, n)?);
    }
    let origin = |probe: &Invented| ProbeOrigin {
        probe: probe.id,
        asns: Some((Some(probe.asn), probe.address_v6.map(|_| probe.asn))),
        country: None,
    };
    block_on(catalog.set_origins(&all.iter().map(origin).collect::<Vec<_>>()))?;
    let mut tags = Vec::new();
    let mut evidence = Vec::new();
    for probe in all.iter().filter(|probe| !probe.spans.is_empty()) {
        let steady = probe.spans.last().is_some_and(|(from, to)| to.since(*from) > Duration::from_secs(86_400));
        for (tag, has) in [
            ("system-ipv4-stable-1d", steady && probe.v6.has_v4()),
            ("system-ipv6-stable-1d", steady && probe.v6.works()),
        ] {
            tags.push(TagChange { probe: probe.id, tag, has });
        }
        let works = probe.id.0 % 41 != 7;
        evidence.extend(Family::BOTH.map(|family| ResolverEvidence {
            probe: probe.id,
            family,
            at: options.until,
            works,
        }));
    }
    block_on(catalog.change_tags(&tags))?;
    block_on(catalog.record_resolvers(&evidence, options.until - Duration::from_secs(86_400)))?;
    for (n, (city, probe)) in ["Amsterdam", "Wien", "München"].into_iter().zip(&all).enumerate() {
        let new = NewAnchor {
            probe: probe.id,
            hostname: format!("anchor{n}.example.net"),
            city: Some(city.into()),
            country: Some(probe.country.into()),
            company: Some(texts::COMPANY.into()),
        };
        let AnchorAdded::Made(_) = block_on(catalog.add_anchor(&new, options.until))? else {
            bail!("an anchor could not be made")
        };
    }
    Ok(all)
}

fn make_one(catalog: &SqliteCatalog, options: &Options, owner: AccountId, n: u32) -> Result<Invented> {
    let mut rng = Rng::new(mix(options.seed ^ (u64::from(n) << 20) ^ 0x9b0b));
    let life = Life::choose(n, &mut rng);
    // The many of a large network have few sessions each, so that making them takes no longer than anybody waits.
    let most = if options.probes > 2000 { 3 } else { u64::MAX };
    let (joined, spans) = life.spans(options.until, most, &mut rng);
    let mut key = [0; 32];
    for part in key.chunks_exact_mut(8) {
        part.copy_from_slice(&rng.next_u64().to_be_bytes());
    }
    block_on(catalog.add_join_token(&key, owner, joined, UnixNanos(i64::MAX)))?;
    let Admission::Joined(probe) = block_on(catalog.admit(&PublicKey(key), Some(&key), joined))? else {
        bail!("the key of probe {n} is known")
    };
    let (at, country) = places::choose(&mut rng);
    let v6 = V6::choose(country, &mut rng);
    let asn = places::network(at, country, &mut rng);
    let away = |rng: &mut Rng| (unit(rng) + unit(rng) - 1.0) * country.spread;
    let place = ((country.latitude + away(&mut rng)).clamp(-80.0, 80.0), country.longitude + away(&mut rng));
    let network = u128::from(asn.0 % 65_536);
    let own = (0x2a00 + u128::from(asn.0 % 15)) << 112 | network << 96 | u128::from(n % 65_536) << 80 | 1 << 64;
    let mut one = Invented {
        id: probe.id,
        boot: BootId(rng.next_u64()),
        spans,
        session: SessionId(0),
        address_v4: Ipv4Addr::from_bits(0x1400_0007 + n * 311),
        address_v6: (v6 != V6::Absent).then(|| Ipv6Addr::from_bits(own | u128::from(rng.next_u64() | 1))),
        v6,
        place: (place.0, (place.1 + 540.0).rem_euclid(360.0) - 180.0),
        country: country.code,
        asn,
        access_ms: 0.4 + exponential(&mut rng, 7.0),
        jitter_ms: 0.05 + exponential(&mut rng, 0.8),
        loss_per_mille: if rng.one_in(12) { 30 + u32::try_from(rng.below(150)).unwrap_or(0) } else { 2 },
    };
    for (from, to) in one.spans.clone() {
        one.session = block_on(catalog.open_session(&one.session(from)))?;
        // Also the one that goes on: the server ends what it finds open, and `connect` opens it again.
        block_on(catalog.close_session(one.session, to))?;
    }
    describe(catalog, &one, n, &mut rng)?;
    trouble(catalog, options, &one, n)?;
    Ok(one)
}

/// What the owner says of it.
fn describe(catalog: &SqliteCatalog, probe: &Invented, n: u32, rng: &mut Rng) -> Result<()> {
    let tags = ["home", "fibre", "dsl", "cable", "office", "datacentre", "raspberry-pi", "ipv6-tunnel"];
    let tags = tags.into_iter().filter(|_| rng.one_in(4)).map(str::to_owned).collect();
    let edit = ProbeEdit {
        description: (n % 5 != 4).then(|| Some(texts::description(n))),
        address_is_public: Some(n % 10 == 1),
        country: Some(Some(probe.country.to_owned())),
        // Some owners do not say where.
        place: (n % 17 != 16).then_some(Some(probe.place)),
        tags: Some(tags),
        ..ProbeEdit::default()
    };
    Ok(block_on(catalog.edit_probe(probe.id, &edit))?)
}

/// What is or was wrong, and what its host allows.
fn trouble(catalog: &SqliteCatalog, options: &Options, probe: &Invented, n: u32) -> Result<()> {
    let told = |word: Word, began, ended, detail: &str, cut_off| Condition {
        word: word.number(),
        began,
        ended,
        detail: (!detail.is_empty()).then(|| Text::cut(detail)),
        cut_off,
    };
    let mut conditions = Vec::new();
    if probe.v6 == V6::Broken {
        conditions.push(told(Word::Ipv6Broken, 400_000, None, "nothing answers from 2a0f:700::1", false));
    }
    match n % 25 {
        0 => conditions.push(told(Word::DnsSilent, 90_000, Some(86_000), "192.168.1.1", false)),
        3 => conditions.push(told(Word::UdpBlocked, 700_000, Some(500_000), "", true)),
        7 => conditions.push(told(Word::ClockWrong, 3000, None, "by 4711 s", false)),
        11 => conditions.push(told(Word::Paused, 1200, None, texts::SCRIPT, false)),
        19 => conditions.push(told(Word::LimitReached, 9000, Some(60), "bytes of the day", false)),
        _ => {}
    }
    if probe.spans.is_empty() {
        return Ok(());
    }
    block_on(catalog.record_health(probe.id, &conditions, options.until))?;
    let host = HostState {
        written_today: u64::from(n) * 1000 % 90_000,
        measured_today: 3_000_000 + u64::from(n) * 70_000 % 40_000_000,
        pause: (n % 25 == 11).then_some(HostPause { remaining: Some(2400) }),
        packets_per_second: 100,
        bytes_per_day: 100_000_000,
        kinds: List::cut(Kind::ALL.map(Kind::number)),
        hours: if n % 25 == 21 { List::cut([Text::cut("22:00-06:00")]) } else { List::default() },
    };
    Ok(block_on(catalog.record_host(probe.id, &host, options.until))?)
}
