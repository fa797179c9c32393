//! The sum of many probes' records, exact at any time.

use std::collections::BTreeMap;

use sonde_protocol::ids::{Asn, ProbeId};
use sonde_protocol::result::ipv6::FamilyState;

use super::figures::{Counts, Differences, Figures, Networks};
use super::interval::{rank_interval, wilson};
use super::record::{Difference, Record, Silence};

/// The records of some probes and hours, summed up. Each probe counts once an hour.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    counts: Counts,
    /// Who voted, sorted; a probe that voted in several hours is there as often.
    probes: Vec<ProbeId>,
    /// Votes of each network, and those that say that IPv6 works.
    networks: BTreeMap<Asn, (u64, u64)>,
    /// Of the votes that have one, sorted.
    differences: Vec<Difference>,
}

impl Tally {
    /// Of all these.
    pub fn of<'a>(records: impl IntoIterator<Item = (ProbeId, &'a Record)>) -> Self {
        let mut tally = Self::default();
        for (probe, record) in records {
            tally.count(record, Up);
            if record.vote.is_some() {
                tally.probes.push(probe);
                tally.differences.extend(record.difference);
            }
        }
        tally.sort();
        tally
    }

    /// Puts a record in.
    pub fn add(&mut self, probe: ProbeId, record: &Record) {
        self.count(record, Up);
        if record.vote.is_some() {
            insert(&mut self.probes, probe);
            record.difference.into_iter().for_each(|difference| insert(&mut self.differences, difference));
        }
    }

    /// Takes out a record that was put in, as it was then.
    pub fn remove(&mut self, probe: ProbeId, record: &Record) {
        self.count(record, Down);
        if record.vote.is_some() {
            take(&mut self.probes, probe);
            record.difference.into_iter().for_each(|difference| take(&mut self.differences, difference));
        }
    }

    /// Is nothing in it?
    pub fn is_empty(&self) -> bool {
        self.counts == Counts::default()
    }

    /// The sum of tallies of different hours or of different probes.
    pub fn total<'a>(tallies: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for one in tallies {
            all.counts.add(&one.counts);
            all.probes.extend_from_slice(&one.probes);
            all.differences.extend_from_slice(&one.differences);
            for (asn, (votes, working)) in &one.networks {
                let sum = all.networks.entry(*asn).or_default();
                *sum = (sum.0 + votes, sum.1 + working);
            }
        }
        all.sort();
        all
    }

    /// Runs that are sorted already, as those of a total are, are merged: this sort looks for them.
    fn sort(&mut self) {
        self.probes.sort();
        self.differences.sort();
    }

    fn count(&mut self, record: &Record, by: impl Count) {
        let counts = &mut self.counts;
        by.change(&mut counts.runs, u64::from(record.runs));
        by.change(&mut counts.only_v6_failed, u64::from(record.only_one_failed.0));
        by.change(&mut counts.only_v4_failed, u64::from(record.only_one_failed.1));
        let Some(vote) = record.vote else {
            let silent = match record.silence {
                Silence::Unsettled => &mut counts.unsettled,
                Silence::Offline => &mut counts.offline,
                Silence::Inconclusive => &mut counts.inconclusive,
            };
            by.change(silent, 1);
            return;
        };
        by.change(&mut counts.votes, 1);
        let works = vote.v6.works();
        for (holds, counter) in [
            (works, &mut counts.works6),
            (vote.v6 == FamilyState::Native, &mut counts.clean6),
            (vote.v6 == FamilyState::Broken && vote.has_v6_address, &mut counts.broken6),
            (vote.has_v6_address, &mut counts.with_address6),
            (matches!(vote.v4, FamilyState::Nat64 | FamilyState::Nat64Dns64), &mut counts.nat64),
            (vote.v4 == FamilyState::Xlat464, &mut counts.xlat),
            (vote.is_cgnat, &mut counts.cgnat),
            (vote.is_few, &mut counts.few),
        ] {
            by.change(counter, u64::from(holds));
        }
        if let Some(asn) = record.place.network() {
            let (votes, working) = self.networks.entry(asn).or_default();
            by.change(votes, 1);
            by.change(working, u64::from(works));
            if *votes == 0 {
                self.networks.remove(&asn);
            }
        }
    }

    /// What it says. `weight` says how much each network counts in the share of networks: its users, for instance, and 1 where
    /// nothing is known.
    pub fn figures(&self, weight: impl Fn(Asn) -> f64) -> Figures {
        // They are sorted, so each is new where it differs from the one before.
        let probes = self.probes.chunk_by(|one, next| one == next).count() as u64;
        Figures { counts: self.counts, probes, networks: self.networks(weight), differences: self.differences(probes) }
    }

    fn networks(&self, weight: impl Fn(Asn) -> f64) -> Option<Networks> {
        let (mut sum, mut squares, mut hits) = (0.0, 0.0, 0.0);
        for (asn, (votes, working)) in &self.networks {
            let weight = weight(*asn);
            sum += weight;
            squares += weight * weight;
            hits += weight * *working as f64 / *votes as f64;
        }
        let effective = sum * sum / squares;
        let share = hits / sum;
        Some(Networks {
            count: self.networks.len() as u64,
            working: self.networks.values().filter(|(votes, working)| working * 2 > *votes).count() as u64,
            share,
            effective,
            interval: wilson(share * effective, effective)?,
        })
    }

    /// Hours of one probe are alike, so the interval of the median is that of as many values as there are probes.
    fn differences(&self, probes: u64) -> Option<Differences> {
        let all = &self.differences;
        let count = all.len() as u64;
        let last = all.len().checked_sub(1)?;
        // All of these are between 0 and 1, so the place is between 0 and the last.
        let at = |share: f64| all.get((share * last as f64).floor() as usize).copied();
        let alike = count.min(probes.max(1));
        let (low, high) = rank_interval(alike)?;
        let at_rank = |rank: u64| {
            let place = rank * (count - 1) / (alike - 1).max(1);
            all.get(usize::try_from(place).ok()?).copied()
        };
        Some(Differences { count, median: at(0.5)?, ninth_tenth: at(0.9)?, low: at_rank(low)?, high: at_rank(high)? })
    }
}

fn insert<T: Ord>(all: &mut Vec<T>, one: T) {
    let place = all.partition_point(|other| *other < one);
    all.insert(place, one);
}

fn take<T: Ord>(all: &mut Vec<T>, one: T) {
    if let Ok(place) = all.binary_search(&one) {
        all.remove(place);
    }
}

/// Up or down.
trait Count {
    fn change(&self, counter: &mut u64, by: u64);
}

struct Up;
struct Down;

impl Count for Up {
    fn change(&self, counter: &mut u64, by: u64) {
        *counter = counter.saturating_add(by);
    }
}

impl Count for Down {
    fn change(&self, counter: &mut u64, by: u64) {
        *counter = counter.saturating_sub(by);
    }
}

#[cfg(test)]
pub(super) mod tests;
