//! What is durable of every boot: the union over all files, in memory, so that a probe's hello needs no file.

use std::collections::HashMap;

use sonde_protocol::ids::{BootId, ProbeId};
use sonde_protocol::message::BootRanges;
use sonde_protocol::range_set::RangeSet;

use super::bookkeeping::Numbered;
use crate::results::BootRecord;

/// Range sets and boots of all files.
#[derive(Debug, Default)]
pub(super) struct Known {
    ranges: HashMap<(ProbeId, BootId), RangeSet>,
    boots: HashMap<ProbeId, Vec<Numbered>>,
    last_update: i64,
}

impl Known {
    pub(super) fn add_ranges(&mut self, ranges: &[(ProbeId, BootRanges)]) {
        for (probe, BootRanges { boot, ranges }) in ranges {
            self.ranges.entry((*probe, *boot)).or_default().extend(ranges);
        }
    }

    pub(super) fn add_boots(&mut self, boots: Vec<Numbered>) {
        for (updated, record) in boots {
            self.last_update = self.last_update.max(updated);
            let known = self.boots.entry(record.probe).or_default();
            match known.iter_mut().find(|(_, other)| other.boot == record.boot) {
                Some(other) if other.0 < updated => *other = (updated, record),
                Some(_) => {}
                None => known.push((updated, record)),
            }
        }
    }

    /// The number that the next update of a boot gets.
    pub(super) const fn next_update(&self) -> i64 {
        self.last_update + 1
    }

    pub(super) fn ranges(&self, probe: ProbeId, boot: BootId) -> RangeSet {
        self.ranges.get(&(probe, boot)).cloned().unwrap_or_default()
    }

    /// The boots that are open, and the one that began last, by start.
    pub(super) fn boots(&self, probe: ProbeId) -> Vec<BootRecord> {
        let mut boots: Vec<&Numbered> = self.boots.get(&probe).into_iter().flatten().collect();
        boots.sort_by_key(|(updated, record)| (record.started_at, *updated));
        let last = boots.len().saturating_sub(1);
        let wanted = boots.into_iter().enumerate().filter(|(i, (_, record))| !record.closed || *i == last);
        wanted.map(|(_, (_, record))| record.clone()).collect()
    }
}
