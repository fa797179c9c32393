//! Votes on IPv6 as a network might cast them, from a seed, and their sums counted as plainly as can be: nothing here is shared with
//! the sums of the store.

use std::collections::{BTreeMap, BTreeSet};

use sonde_protocol::ids::{Asn, ProbeId};
use sonde_protocol::result::ipv6::FamilyState;
use sonde_protocol::seed::Rng;
use sonde_protocol::time::UnixNanos;
use sonde_store::reachability::{
    Cell, Country, Figures, Hour, Place, Prefix, Record, Run, Silence, Slash24, Slash48, Vote,
};

/// What probes are in, most of them in the first.
const COUNTRIES: [&str; 24] = [
    "DE", "FR", "NL", "US", "GB", "CH", "CZ", "AT", "SE", "IT", "BE", "PL", "JP", "BR", "AU", "CA", "ES", "FI", "DK",
    "NO", "ZA", "IN", "PT", "IE",
];

/// A network of probes that have votes.
#[derive(Debug, Clone)]
pub struct Crowd {
    seed: u64,
    probes: u64,
}

/// What somebody votes.
fn pick<T: Copy>(rng: &mut Rng, all: &[T], or: T) -> T {
    let place = usize::try_from(rng.below(all.len() as u64)).unwrap_or_default();
    all.get(place).copied().unwrap_or(or)
}

impl Crowd {
    /// So many probes, with numbers from 1.
    pub const fn new(seed: u64, probes: u64) -> Self {
        Self { seed, probes }
    }

    /// The records of an hour; the same for the same hour and `round`, of which a later one differs for some probes.
    pub fn records(&self, hour: Hour, round: u64) -> Vec<(ProbeId, Record)> {
        (1..=self.probes).filter_map(|number| Some((ProbeId(number), self.record(hour, round, number)?))).collect()
    }

    /// One of them; nobody is there always.
    pub fn record(&self, hour: Hour, round: u64, number: u64) -> Option<Record> {
        // What stays of a probe over its hours.
        let mut own = Rng::new(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let country = usize::try_from(own.below(24).min(own.below(24))).unwrap_or_default();
        // Networks are of a country, but for few that are everywhere.
        let asn = |own: &mut Rng| {
            let at_home = 64_000 + 100 * u32::try_from(country).unwrap_or_default();
            let first = if own.one_in(30) { 60_000 } else { at_home };
            Asn(first + u32::try_from(own.below(60).min(own.below(60))).unwrap_or_default())
        };
        let place = Place {
            country: COUNTRIES.get(country).and_then(|country| country.parse().ok()).filter(|_| !own.one_in(50)),
            asn6: Some(asn(&mut own)).filter(|_| !own.one_in(3)),
            asn4: Some(asn(&mut own)).filter(|_| !own.one_in(40)),
            net6: None,
            net4: None,
        };
        // An AS has a /32 and a /16 here, and a probe its own place in it.
        let [.., high, low] = (number as u32).to_be_bytes();
        let place = Place {
            net6: place.asn6.and_then(|Asn(asn)| {
                let [.., first, second] = asn.to_be_bytes();
                Slash48::from_bytes([0x2a, 0, first, second, high, low])
            }),
            net4: place.asn4.and_then(|Asn(asn)| {
                let [.., first, second] = asn.to_be_bytes();
                Slash24::from_bytes([first % 100 + 20, second, low % 16])
            }),
            ..place
        };
        let has_v6 = place.asn6.is_some();
        let usual = if has_v6 { FamilyState::Native } else { FamilyState::None };
        let slower = i32::try_from(own.below(12_000)).unwrap_or_default() - 3000;

        let mut rng =
            Rng::new(own.next_u64() ^ (hour.0 as u64).wrapping_mul(31) ^ round.wrapping_mul(0xff51_afd7_ed55_8ccd));
        if rng.one_in(60) {
            return None;
        }
        let mut runs = Vec::new();
        for quarter in 0..4 {
            let partial = [FamilyState::NativePartial, FamilyState::Broken, FamilyState::Tunnel];
            let v6 = if has_v6 && rng.one_in(12) { pick(&mut rng, &partial, usual) } else { usual };
            let v4 = [FamilyState::Native, FamilyState::Nat64Dns64, FamilyState::Xlat464];
            let v4 = if rng.one_in(20) { pick(&mut rng, &v4, FamilyState::Native) } else { FamilyState::Native };
            let vote = Vote {
                v6,
                v4,
                has_v6_address: has_v6,
                is_cgnat: number.is_multiple_of(9),
                is_few: rng.one_in(100),
                definition: 1,
            };
            let silent = [Silence::Offline, Silence::Inconclusive, Silence::Unsettled];
            let jitter = i32::try_from(rng.below(2000)).unwrap_or_default();
            runs.push(Run {
                at: UnixNanos::from_secs(hour.seconds() + quarter * 900 + 5),
                vote: if rng.one_in(30) { Err(pick(&mut rng, &silent, Silence::Offline)) } else { Ok(vote) },
                difference: has_v6.then_some(slower + jitter),
                only_one_failed: (u32::from(rng.one_in(50)), u32::from(rng.one_in(80))),
            });
        }
        Some(Record::of(place, &runs))
    }
}

/// Sums counted plainly.
#[derive(Debug, Default)]
pub struct Plain {
    votes: u64,
    works: u64,
    clean: u64,
    broken: u64,
    with_address: u64,
    nat64: u64,
    xlat: u64,
    cgnat: u64,
    few: u64,
    silent: u64,
    runs: u64,
    failed: (u64, u64),
    probes: BTreeSet<u64>,
    networks: BTreeMap<u32, Vec<bool>>,
    differences: Vec<i32>,
}

impl Plain {
    fn add(&mut self, probe: ProbeId, record: &Record) {
        self.runs += u64::from(record.runs);
        self.failed.0 += u64::from(record.only_one_failed.0);
        self.failed.1 += u64::from(record.only_one_failed.1);
        let Some(vote) = record.vote else {
            self.silent += 1;
            return;
        };
        let works = [FamilyState::Native, FamilyState::NativePartial, FamilyState::Tunnel].contains(&vote.v6);
        self.votes += 1;
        self.works += u64::from(works);
        self.clean += u64::from(vote.v6 == FamilyState::Native);
        self.broken += u64::from(vote.v6 == FamilyState::Broken && vote.has_v6_address);
        self.with_address += u64::from(vote.has_v6_address);
        self.nat64 += u64::from(vote.v4 == FamilyState::Nat64Dns64 || vote.v4 == FamilyState::Nat64);
        self.xlat += u64::from(vote.v4 == FamilyState::Xlat464);
        self.cgnat += u64::from(vote.is_cgnat);
        self.few += u64::from(vote.is_few);
        self.probes.insert(probe.0);
        if let Some(asn) = record.place.asn6.or(record.place.asn4) {
            self.networks.entry(asn.0).or_default().push(works);
        }
        self.differences.extend(record.difference);
    }

    /// What is different in the sums of the store; empty when nothing is.
    pub fn differs(&self, figures: &Figures) -> Vec<String> {
        let counts = &figures.counts;
        let most = |all: &&Vec<bool>| all.iter().filter(|works| **works).count() * 2 > all.len();
        let mut sorted = self.differences.clone();
        sorted.sort_unstable();
        let at = |tenths: usize| sorted.get(sorted.len().saturating_sub(1) * tenths / 10).copied();
        let differences = figures.differences;
        let found = [
            ("votes", self.votes, counts.votes),
            ("works6", self.works, counts.works6),
            ("clean6", self.clean, counts.clean6),
            ("broken6", self.broken, counts.broken6),
            ("with_address6", self.with_address, counts.with_address6),
            ("nat64", self.nat64, counts.nat64),
            ("xlat", self.xlat, counts.xlat),
            ("cgnat", self.cgnat, counts.cgnat),
            ("few", self.few, counts.few),
            ("silent", self.silent, counts.offline + counts.inconclusive + counts.unsettled),
            ("runs", self.runs, counts.runs),
            ("only_v6_failed", self.failed.0, counts.only_v6_failed),
            ("only_v4_failed", self.failed.1, counts.only_v4_failed),
            ("probes", self.probes.len() as u64, figures.probes),
            ("networks", self.networks.len() as u64, figures.network_count()),
            (
                "working networks",
                self.networks.values().filter(most).count() as u64,
                figures.networks.map_or(0, |networks| networks.working),
            ),
            ("differences", sorted.len() as u64, differences.map_or(0, |all| all.count)),
        ];
        let mut differs: Vec<String> = found
            .into_iter()
            .filter(|(_, plain, sum)| plain != sum)
            .map(|(name, plain, sum)| format!("{name}: {plain} counted, {sum} summed up"))
            .collect();
        for (name, plain, sum) in [
            ("median", at(5), differences.map(|all| all.median)),
            ("p90", at(9), differences.map(|all| all.ninth_tenth)),
        ] {
            if plain != sum {
                differs.push(format!("{name}: {plain:?} counted, {sum:?} summed up"));
            }
        }
        differs
    }
}

/// All cells of these votes, counted plainly.
pub fn plainly<'a>(votes: impl IntoIterator<Item = &'a (ProbeId, Record)>) -> BTreeMap<Cell, Plain> {
    let mut all: BTreeMap<Cell, Plain> = BTreeMap::new();
    for (probe, record) in votes {
        all.entry(Cell::World).or_default().add(*probe, record);
        if let Some(country) = record.place.country {
            all.entry(Cell::Country(country)).or_default().add(*probe, record);
        }
        if let Some(asn) = record.place.network() {
            all.entry(Cell::Network(asn)).or_default().add(*probe, record);
        }
    }
    all
}

/// The /32 of these votes, counted plainly: bytes are compared, and no prefix is reckoned with.
pub fn plainly_by_prefix<'a>(votes: impl IntoIterator<Item = &'a (ProbeId, Record)>) -> BTreeMap<Cell, Plain> {
    let mut all: BTreeMap<[u8; 6], Plain> = BTreeMap::new();
    for (probe, record) in votes {
        if let Some([a, b, c, d, ..]) = record.place.net6.map(Slash48::bytes) {
            all.entry([a, b, c, d, 0, 0]).or_default().add(*probe, record);
        }
    }
    let named = |bytes: [u8; 6]| {
        let [a, b, c, d, ..] = bytes;
        format!("{a:02x}{b:02x}:{c:02x}{d:02x}::/32").parse::<Prefix>().ok().map(Cell::Prefix)
    };
    all.into_iter().filter_map(|(bytes, plain)| Some((named(bytes)?, plain))).collect()
}

/// What of these sums is not as it was counted, cell by cell; empty when all is.
pub fn compare(plain: &BTreeMap<Cell, Plain>, sums: &[(Cell, Figures)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let of_kind = |cell: &Cell, like: &Cell| std::mem::discriminant(cell) == std::mem::discriminant(like);
    let expected = sums.first().map_or(0, |(first, _)| plain.keys().filter(|cell| of_kind(cell, first)).count());
    if expected != sums.len() || sums.is_empty() {
        wrong.push(format!("{} cells instead of {expected}", sums.len()));
    }
    for (cell, figures) in sums {
        match plain.get(cell) {
            Some(plain) => wrong.extend(plain.differs(figures).into_iter().map(|what| format!("{cell:?}: {what}"))),
            None => wrong.push(format!("{cell:?} has no votes")),
        }
    }
    wrong
}

/// A country of the crowd that is large.
pub fn large_country() -> Option<Country> {
    COUNTRIES.first().and_then(|country| country.parse().ok())
}
