//! The sum of many probes' records, exact at any time.

use std::collections::BTreeMap;

use sonde_protocol::ids::Asn;
use sonde_protocol::result::ipv6::FamilyState;

use super::interval::{Interval, rank_interval, wilson};
use super::record::{Difference, Record};

/// Shares are shown plainly from so many probes in so many networks; below they are hatched.
const PLAIN: (u64, usize) = (5, 3);

/// They are ranked from here.
const RANKED: (u64, usize) = (30, 5);

/// How much a share can bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// Few stand behind it: to be shown as such.
    Hatched,
    /// It may be shown.
    Plain,
    /// It may be compared with others.
    Ranked,
}

/// What the networks of a tally say, each as one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Networks {
    /// How many there are.
    pub count: usize,
    /// In how many of them more than half of the probes have a working IPv6.
    pub working: usize,
    /// The share of working probes, every network weighing as it was asked to.
    pub share: f64,
    /// As how many equal networks they count.
    pub effective: f64,
    /// The interval of that share.
    pub interval: Interval,
}

/// Counts of a cell. Every number is one of probes and hours, but for `runs`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Who voted: the denominator.
    pub votes: u64,
    /// Who was there and could not tell, offline for instance.
    pub silent: u64,
    /// Runs behind it.
    pub runs: u64,
    /// IPv6 works: native, native in part, or through a tunnel.
    pub works6: u64,
    /// IPv6 is native and whole.
    pub clean6: u64,
    /// IPv6 is broken.
    pub broken6: u64,
    /// Who has a global IPv6 address: the denominator of `broken6`.
    pub with_address6: u64,
    /// IPv4 through NAT64, with or without DNS64.
    pub nat64: u64,
    /// 464XLAT.
    pub xlat: u64,
    /// Behind the provider's translator.
    pub cgnat: u64,
    /// Votes with few references.
    pub few: u64,
    /// References that only IPv6 failed to reach, and that only IPv4 did.
    pub only_one_failed: (u64, u64),
    networks: BTreeMap<Asn, (u64, u64)>,
    differences: BTreeMap<Difference, u64>,
}

impl Tally {
    /// Puts a record in.
    pub fn add(&mut self, record: &Record) {
        self.count(record, Up);
    }

    /// Takes out a record that was put in, as it was then.
    pub fn remove(&mut self, record: &Record) {
        self.count(record, Down);
    }

    fn count(&mut self, record: &Record, by: impl Count) {
        by.change(&mut self.runs, u64::from(record.runs));
        by.change(&mut self.only_one_failed.0, u64::from(record.only_one_failed.0));
        by.change(&mut self.only_one_failed.1, u64::from(record.only_one_failed.1));
        let Some(vote) = record.vote else {
            by.change(&mut self.silent, 1);
            return;
        };
        by.change(&mut self.votes, 1);
        let works = vote.v6.works();
        for (holds, counter) in [
            (works, &mut self.works6),
            (vote.v6 == FamilyState::Native, &mut self.clean6),
            (vote.v6 == FamilyState::Broken && vote.has_v6_address, &mut self.broken6),
            (vote.has_v6_address, &mut self.with_address6),
            (matches!(vote.v4, FamilyState::Nat64 | FamilyState::Nat64Dns64), &mut self.nat64),
            (vote.v4 == FamilyState::Xlat464, &mut self.xlat),
            (vote.is_cgnat, &mut self.cgnat),
            (vote.is_few, &mut self.few),
        ] {
            by.change(counter, u64::from(holds));
        }
        if let Some(asn) = record.network() {
            let (probes, working) = self.networks.entry(asn).or_default();
            by.change(probes, 1);
            by.change(working, u64::from(works));
            if *probes == 0 {
                self.networks.remove(&asn);
            }
        }
        if let Some(difference) = record.difference() {
            let same = self.differences.entry(difference).or_default();
            by.change(same, 1);
            if *same == 0 {
                self.differences.remove(&difference);
            }
        }
    }

    /// Adds another tally, of other hours or of other probes.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.votes, other.votes),
            (&mut self.silent, other.silent),
            (&mut self.runs, other.runs),
            (&mut self.works6, other.works6),
            (&mut self.clean6, other.clean6),
            (&mut self.broken6, other.broken6),
            (&mut self.with_address6, other.with_address6),
            (&mut self.nat64, other.nat64),
            (&mut self.xlat, other.xlat),
            (&mut self.cgnat, other.cgnat),
            (&mut self.few, other.few),
            (&mut self.only_one_failed.0, other.only_one_failed.0),
            (&mut self.only_one_failed.1, other.only_one_failed.1),
        ] {
            *mine = mine.saturating_add(theirs);
        }
        for (asn, (probes, working)) in &other.networks {
            let mine = self.networks.entry(*asn).or_default();
            *mine = (mine.0.saturating_add(*probes), mine.1.saturating_add(*working));
        }
        for (difference, count) in &other.differences {
            let mine = self.differences.entry(*difference).or_default();
            *mine = mine.saturating_add(*count);
        }
    }

    /// The interval of a share of it, such as `tally.works6`.
    pub fn interval(&self, hits: u64) -> Option<Interval> {
        wilson(hits as f64, self.votes as f64)
    }

    /// The networks behind it; `weight` says how much each counts, its users for instance, and 1 where nothing is known.
    pub fn networks(&self, weight: impl Fn(Asn) -> f64) -> Option<Networks> {
        let (mut sum, mut squares, mut hits) = (0.0, 0.0, 0.0);
        for (asn, (probes, working)) in &self.networks {
            let weight = weight(*asn);
            sum += weight;
            squares += weight * weight;
            hits += weight * *working as f64 / *probes as f64;
        }
        let effective = sum * sum / squares;
        let share = hits / sum;
        Some(Networks {
            count: self.networks.len(),
            working: self.networks.values().filter(|(probes, working)| working * 2 > *probes).count(),
            share,
            effective,
            interval: wilson(share * effective, effective)?,
        })
    }

    /// How much its shares can bear.
    pub fn certainty(&self) -> Certainty {
        let has = |(probes, networks): (u64, usize)| self.votes >= probes && self.networks.len() >= networks;
        match (has(RANKED), has(PLAIN)) {
            (true, _) => Certainty::Ranked,
            (_, true) => Certainty::Plain,
            _ => Certainty::Hatched,
        }
    }

    /// How many of its votes have a difference of times.
    pub fn differences(&self) -> u64 {
        self.differences.values().sum()
    }

    /// By how many microseconds IPv6 is slower, for a share of the probes at most: 0.5 is the median, 0.9 the ninth tenth.
    pub fn quantile(&self, share: f64) -> Option<Difference> {
        let last = self.differences().checked_sub(1)?;
        // Between 0 and the number of values less one.
        self.at_rank((share.clamp(0.0, 1.0) * last as f64).floor() as u64)
    }

    /// Between which values the median lies.
    pub fn median_interval(&self) -> Option<(Difference, Difference)> {
        let (low, high) = rank_interval(self.differences())?;
        Some((self.at_rank(low)?, self.at_rank(high)?))
    }

    fn at_rank(&self, rank: u64) -> Option<Difference> {
        let mut before = 0;
        self.differences.iter().find_map(|(difference, count)| {
            before += count;
            (before > rank).then_some(*difference)
        })
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
mod tests;
