//! The newest results of each probe, without reading a measurement's whole past.
//!
//! Files and log rows are taken by the time of their newest run, newest first, so that what comes later is older. When
//! every expected probe has enough, and all of them newer than what is left, nothing that is left can count.

use std::collections::{BTreeMap, BinaryHeap, btree_map};

use sonde_protocol::ids::{BootId, ProbeId, Seq};
use sonde_protocol::time::UnixNanos;

use super::day::Day;
use super::files::{Files, unreadable};
use super::index::{self, Place};
use super::log::Entry;
use super::read;
use crate::StoreError;
use crate::results::{ResultQuery, StoredReport};

/// What makes one result newer than another of the same probe. The first alone matters to users; the rest makes the
/// answer the same every time.
type Age = (UnixNanos, UnixNanos, BootId, Seq);

/// The newest so far, by probe, newest first.
struct Newest {
    versions: usize,
    /// How many probes can have any.
    expected: usize,
    of: BTreeMap<ProbeId, Vec<(Age, StoredReport)>>,
    /// How many of `of` have as many as were asked for.
    full: usize,
}

impl Newest {
    fn offer(&mut self, entry: &Entry<'_>) {
        let kept = self.of.entry(entry.probe).or_default();
        let age = (entry.at, entry.arrived_at, entry.boot, entry.seq);
        let at = kept.partition_point(|(other, _)| *other > age);
        if at >= self.versions {
            return;
        }
        kept.insert(at, (age, entry.to_stored()));
        if kept.len() > self.versions {
            kept.pop();
        } else if kept.len() == self.versions {
            self.full += 1;
        }
    }

    /// Can nothing that began at `at` or earlier change anything?
    fn is_settled(&self, at: UnixNanos) -> bool {
        let oldest = || self.of.values().filter_map(|kept| kept.last()).map(|((oldest, ..), _)| *oldest).min();
        self.full >= self.expected && oldest().is_none_or(|oldest| at < oldest)
    }
}

pub(super) fn latest(
    files: &Files,
    query: &ResultQuery,
    versions: usize,
    expected: Option<usize>,
) -> Result<Vec<StoredReport>, StoreError> {
    let named = query.probes.as_ref().map_or(usize::MAX, Vec::len);
    let expected = named.min(expected.unwrap_or(usize::MAX));
    if versions == 0 || expected == 0 {
        return Ok(Vec::new());
    }
    let mut newest = Newest { versions, expected, of: BTreeMap::new(), full: 0 };
    // No run that is left in a day's file is newer than what stands before it here.
    let top = Place { max_at: UnixNanos(i64::MAX), log: i64::MAX };
    let mut days: BinaryHeap<(UnixNanos, Day, Place)> =
        files.touching(query.from, query.to).into_iter().map(|(day, span)| (span.max_at, day, top)).collect();
    let mut tails: BTreeMap<Day, Vec<Place>> = BTreeMap::new();
    while let Some((at, day, before)) = days.pop() {
        if newest.is_settled(at) {
            break;
        }
        let Some(mut reader) = files.reader(day)? else { continue };
        let found = reader.read("read results", |db| {
            let tail = match tails.entry(day) {
                btree_map::Entry::Occupied(known) => known.into_mut(),
                btree_map::Entry::Vacant(unknown) => unknown.insert(index::tail(db, query)?),
            };
            let place = index::newest_below(db, query, before, tail)?;
            place.map(|place| Ok((place, read::row_at(db, place)?))).transpose()
        })?;
        let Some((place, row)) = found else { continue };
        let unpacked = row.unpack(|entry| {
            if entry.is_result && read::matches(query, &entry) {
                newest.offer(&entry);
            }
        });
        unpacked.map_err(|why| unreadable(day, &why))?;
        days.push((place.max_at, day, place));
    }
    Ok(newest.of.into_values().flatten().map(|(_, report)| report).collect())
}
