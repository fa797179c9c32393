//! The sums of some hours, by everything that they are asked for but prefixes: exact while records change.

use std::collections::{BTreeMap, HashMap};

use sonde_protocol::ids::{Asn, ProbeId};

use super::cell::{Cell, Cells, Country};
use super::figures::Figures;
use super::hour::Hour;
use super::record::Record;
use super::tally::Tally;

/// The sums of some hours. Hours that are not in it are not known, which is not the same as empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cube(BTreeMap<Hour, OneHour>);

/// The sums of one hour.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct OneHour {
    world: Tally,
    countries: BTreeMap<Country, Tally>,
    /// By network, and by country within it.
    networks: BTreeMap<(Asn, Option<Country>), Tally>,
}

impl OneHour {
    /// The smallest parts first, and all else of them: a record is looked at once, and there are far fewer parts than records.
    fn of(records: &[(ProbeId, Record)]) -> Self {
        let mut parts: HashMap<_, Vec<(ProbeId, &Record)>> = HashMap::new();
        for (probe, record) in records {
            parts.entry((record.place.network(), record.place.country)).or_default().push((*probe, record));
        }
        let parts: HashMap<_, Tally> = parts.into_iter().map(|(place, records)| (place, Tally::of(records))).collect();
        let mut countries: BTreeMap<Country, Vec<&Tally>> = BTreeMap::new();
        for ((_, country), tally) in &parts {
            country.iter().for_each(|country| countries.entry(*country).or_default().push(tally));
        }
        let total = |(country, tallies): (Country, Vec<&Tally>)| (country, Tally::total(tallies));
        Self {
            world: Tally::total(parts.values()),
            countries: countries.into_iter().map(total).collect(),
            networks: parts.into_iter().filter_map(|((asn, country), tally)| Some(((asn?, country), tally))).collect(),
        }
    }

    /// Changes every sum that a record is in.
    fn change(&mut self, record: &Record, change: impl Fn(&mut Tally)) {
        change(&mut self.world);
        if let Some(country) = record.place.country {
            change_in(&mut self.countries, country, &change);
        }
        if let Some(asn) = record.place.network() {
            change_in(&mut self.networks, (asn, record.place.country), &change);
        }
    }
}

/// Sums of nothing are not kept.
fn change_in<K: Ord + Copy>(tallies: &mut BTreeMap<K, Tally>, key: K, change: impl Fn(&mut Tally)) {
    let tally = tallies.entry(key).or_default();
    change(tally);
    if tally.is_empty() {
        tallies.remove(&key);
    }
}

impl Cube {
    /// Is this hour in it?
    pub fn has(&self, hour: Hour) -> bool {
        self.0.contains_key(&hour)
    }

    /// How many hours are in it.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is no hour in it?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts an hour in, with all its records.
    pub fn load(&mut self, hour: Hour, records: &[(ProbeId, Record)]) {
        self.0.insert(hour, OneHour::of(records));
    }

    /// Takes hours out.
    pub fn retain(&mut self, keep: impl Fn(Hour) -> bool) {
        self.0.retain(|hour, _| keep(*hour));
    }

    /// A probe says something else of an hour, or nothing any more. Nothing happens when the hour is not in it.
    pub fn change(&mut self, hour: Hour, probe: ProbeId, before: Option<&Record>, after: Option<&Record>) {
        let Some(sums) = self.0.get_mut(&hour) else { return };
        if let Some(before) = before {
            sums.change(before, |tally| tally.remove(probe, before));
        }
        if let Some(after) = after {
            sums.change(after, |tally| tally.add(probe, after));
        }
    }

    /// What its hours from `from` on, before `to`, say together, for each of `cells` that is there, in their order.
    pub fn figures(&self, cells: Cells, from: Hour, to: Hour) -> Vec<(Cell, Figures)> {
        let mut parts: BTreeMap<Cell, Vec<&Tally>> = BTreeMap::new();
        let hours = if from < to { self.0.range(from..to) } else { self.0.range(from..from) };
        for (_, hour) in hours {
            let of_network =
                |asn: Asn| hour.networks.range((asn, None)..).take_while(move |((other, _), _)| *other == asn);
            match cells {
                Cells::One(cell @ Cell::World) => parts.entry(cell).or_default().push(&hour.world),
                Cells::One(cell @ Cell::Country(country)) => {
                    parts.entry(cell).or_default().extend(hour.countries.get(&country));
                }
                Cells::One(cell @ Cell::Network(asn)) => {
                    parts.entry(cell).or_default().extend(of_network(asn).map(|(_, tally)| tally));
                }
                Cells::Countries => {
                    for (country, tally) in &hour.countries {
                        parts.entry(Cell::Country(*country)).or_default().push(tally);
                    }
                }
                // There are nearly as many as records.
                Cells::One(Cell::Prefix(_)) | Cells::Prefixes { .. } => {}
                Cells::Networks | Cells::NetworksIn(_) => {
                    let wanted = |country: Option<Country>| match cells {
                        Cells::NetworksIn(wanted) => country == Some(wanted),
                        _ => true,
                    };
                    for ((asn, _), tally) in hour.networks.iter().filter(|((_, country), _)| wanted(*country)) {
                        parts.entry(Cell::Network(*asn)).or_default().push(tally);
                    }
                }
            }
        }
        let figures = parts.into_iter().filter(|(_, tallies)| !tallies.is_empty()).map(|(cell, tallies)| {
            // Where nobody knows how many users a network has, all networks are alike.
            let figures = match tallies.as_slice() {
                [one] => one.figures(|_| 1.0),
                several => Tally::total(several.iter().copied()).figures(|_| 1.0),
            };
            (cell, figures)
        });
        figures.filter(|(_, figures)| *figures != Figures::default()).collect()
    }
}

#[cfg(test)]
mod tests {
    use sonde_protocol::seed::Rng;

    use super::super::tally::tests::{record_of, run, seed};
    use super::*;

    #[test]
    fn a_cube_kept_up_is_the_same_as_one_made_anew() {
        let seed = seed();
        let mut rng = Rng::new(seed);
        let mut cube = Cube::default();
        let mut all: BTreeMap<Hour, BTreeMap<ProbeId, Record>> = BTreeMap::new();
        for hour in [Hour(7), Hour(8)] {
            cube.load(hour, &[]);
            all.insert(hour, BTreeMap::new());
        }
        for _ in 0..3000 {
            let hour = Hour(7 + i64::from(rng.one_in(2)));
            let probe = ProbeId(rng.below(50));
            let records = all.get_mut(&hour).unwrap();
            let runs: Vec<_> = (0..3).map(|_| run(&mut rng, hour)).collect();
            let after = Some(record_of(&mut rng, &runs)).filter(|_| !rng.one_in(4));
            let before = match &after {
                Some(after) => records.insert(probe, *after),
                None => records.remove(&probe),
            };
            cube.change(hour, probe, before.as_ref(), after.as_ref());
            cube.change(Hour(99), probe, None, after.as_ref());
        }
        let mut anew = Cube::default();
        for (hour, records) in &all {
            anew.load(*hour, &records.iter().map(|(probe, record)| (*probe, *record)).collect::<Vec<_>>());
        }
        assert!(cube == anew, "SONDE_SEED={seed}");
        assert!(!cube.has(Hour(99)));
    }

    #[test]
    fn a_network_in_two_countries_is_one_and_can_be_asked_for_in_each() {
        let mut rng = Rng::new(1);
        let at = |country: &str, asn: u32| {
            let mut record = record_of(&mut Rng::new(5), &[]);
            record.place.country = country.parse().ok();
            (record.place.asn6, record.place.asn4) = (Some(Asn(asn)), None);
            record
        };
        let records = [(ProbeId(1), at("NL", 7)), (ProbeId(2), at("DE", 7)), (ProbeId(3), at("DE", 9))];
        let mut cube = Cube::default();
        cube.load(Hour(1), &records);
        cube.load(Hour(2), &records[..rng.below(1) as usize]);
        let silent = |cells| -> Vec<(Cell, u64)> {
            let figures = cube.figures(cells, Hour(0), Hour(9));
            figures.into_iter().map(|(cell, figures)| (cell, figures.counts.unsettled)).collect()
        };
        let network = |asn| Cell::Network(Asn(asn));
        let country = |text: &str| text.parse::<Country>().unwrap();
        assert_eq!(silent(Cells::Networks), [(network(7), 2), (network(9), 1)]);
        assert_eq!(silent(Cells::NetworksIn(country("DE"))), [(network(7), 1), (network(9), 1)]);
        assert_eq!(silent(Cells::One(network(7))), [(network(7), 2)]);
        assert_eq!(silent(Cells::One(network(8))), []);
        assert_eq!(silent(Cells::One(Cell::World)), [(Cell::World, 3)]);
        let countries = [(Cell::Country(country("DE")), 2), (Cell::Country(country("NL")), 1)];
        assert_eq!(silent(Cells::Countries), countries);
        assert_eq!(cube.figures(Cells::Countries, Hour(9), Hour(0)), []);
    }
}
