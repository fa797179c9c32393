//! Sums by prefix. There are nearly as many prefixes as probes, so their sums are in no memory and in no day's: they are made of the
//! votes when they are asked for, which an index finds. How many votes one answer may read is bounded ([`MOST_VOTES`]).

use std::collections::BTreeMap;

use rusqlite::params;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::Family;

use super::{SqliteReachability, unpacked};
use crate::StoreError;
use crate::reachability::{Cell, Figures, Hour, MOST_VOTES, Prefix, Record, Tally};

// The first of two comparisons is that of the index, word for word: without it SQLite may not use it, and says so.
const OF_V6: &str = "SELECT probe, record FROM vote INDEXED BY vote_prefix6 WHERE hour = ?1 \
     AND substr(record, 31, 6) > x'000000000000' AND substr(record, 31, 6) BETWEEN ?2 AND ?3 LIMIT ?4";
const OF_V4: &str = "SELECT probe, record FROM vote INDEXED BY vote_prefix4 WHERE hour = ?1 \
     AND substr(record, 37, 3) > x'000000' AND substr(record, 37, 3) BETWEEN ?2 AND ?3 LIMIT ?4";

/// Reads the votes of a prefix, for one answer.
pub(super) struct Reading<'s> {
    store: &'s SqliteReachability,
    within: Prefix,
    /// How many votes may still be read.
    pub(super) left: usize,
}

impl<'s> Reading<'s> {
    /// Of those within this prefix.
    pub fn new(store: &'s SqliteReachability, within: Prefix) -> Self {
        Self { store, within, left: MOST_VOTES }
    }

    /// What these hours say together, for each prefix of `length` of which anything was said. Each hour is read for itself, so that
    /// nobody waits for all of them.
    pub fn sums(&mut self, length: u8, from: Hour, to: Hour) -> Result<Vec<(Cell, Figures)>, StoreError> {
        let mut sums: BTreeMap<Prefix, Tally> = BTreeMap::new();
        for hour in from.until(to) {
            let mut parts: BTreeMap<Prefix, Vec<(ProbeId, Record)>> = BTreeMap::new();
            for (probe, record) in self.votes(hour)? {
                if let Some(part) = self.within.part_with(&record.place, length) {
                    parts.entry(part).or_default().push((probe, record));
                }
            }
            for (prefix, records) in parts {
                let tally = Tally::of(records.iter().map(|(probe, record)| (*probe, record)));
                let sum = sums.entry(prefix).or_default();
                *sum = Tally::total([&*sum, &tally]);
            }
        }
        // Where nobody knows how many users a network has, all networks are alike.
        Ok(sums.into_iter().map(|(prefix, tally)| (Cell::Prefix(prefix), tally.figures(|_| 1.0))).collect())
    }

    /// What each stretch of `step` hours says of the whole prefix, by its first hour; those of which nothing was said are left out.
    pub fn series(&mut self, from: Hour, to: Hour, step: i64) -> Result<Vec<(Hour, Figures)>, StoreError> {
        let span: Option<(i64, i64)> = self.store.read("find the first and the last vote", |t| {
            // As one query with two aggregates it would look at every vote.
            let ends = "SELECT (SELECT min(hour) FROM vote), (SELECT max(hour) FROM vote)";
            t.query_row(ends, [], |row| Ok(row.get::<_, Option<i64>>(0)?.zip(row.get::<_, Option<i64>>(1)?)))
        })?;
        let Some((first, last)) = span else { return Ok(Vec::new()) };
        let mut series = Vec::new();
        let steps = usize::try_from(step).unwrap_or(1).max(1);
        for begin in from.until(to).step_by(steps).filter(|begin| begin.0 <= last && begin.plus(step).0 > first) {
            let sum = self.sums(self.within.length(), begin, begin.plus(step))?;
            series.extend(sum.into_iter().map(|(_, figures)| (begin, figures)));
        }
        Ok(series)
    }

    fn votes(&mut self, hour: Hour) -> Result<Vec<(ProbeId, Record)>, StoreError> {
        let (first, last) = self.within.ends();
        let sql = match self.within.af() {
            Family::V6 => OF_V6,
            Family::V4 => OF_V4,
        };
        let limit = i64::try_from(self.left).unwrap_or(i64::MAX).saturating_add(1);
        let votes: Vec<(ProbeId, Record)> = self.store.read("find the votes of a prefix", |t| {
            t.prepare_cached(sql)?
                .query_map(params![hour.0, first, last, limit], |row| {
                    let record = row.get_ref(1)?.as_blob().map_err(super::damaged)?;
                    Ok((ProbeId(row.get::<_, i64>(0)?.cast_unsigned()), unpacked(hour, record)?))
                })?
                .collect()
        })?;
        let left = self.left.checked_sub(votes.len());
        self.left = left.ok_or(StoreError::TooMuch { what: "votes", most: MOST_VOTES })?;
        Ok(votes)
    }
}
