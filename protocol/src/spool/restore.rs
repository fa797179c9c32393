//! What a spool's disk still holds of earlier boots, put together from its blocks after a start.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::block::{Block, BlockId, BootState, MAX_KEPT_BOOTS};
use super::boot::{BootSpool, Segment};
use crate::ids::{BootId, MeasurementId, Seq};
use crate::range_set::RangeSet;
use crate::result::Report;
use crate::time::UnixNanos;

/// The most one-offs that are remembered to have been carried out by earlier boots.
const MAX_ONEOFFS: usize = 65_536;

/// Earlier boots, while their blocks are read, in any order.
#[derive(Debug, Default)]
pub struct Restored {
    boots: BTreeMap<BootId, Known>,
    oneoffs: BTreeSet<MeasurementId>,
}

#[derive(Debug, Default)]
struct Known {
    /// The newest word of how it stands.
    state: Option<(BlockId, BootState)>,
    durable: RangeSet,
    segments: Vec<(u64, Segment)>,
    newest: Option<BlockId>,
}

impl Restored {
    /// A block was found whole.
    pub fn add(&mut self, id: BlockId, block: &Block) {
        let until = block.states.iter().find(|state| state.boot == block.boot).map(|state| state.until);
        for state in block.states.iter() {
            let known = self.boots.entry(state.boot).or_default();
            known.durable.extend(&state.durable);
            known.newest = known.newest.max(Some(id));
            if known.state.as_ref().is_none_or(|(before, _)| *before < id) {
                known.state = Some((id, state.clone()));
            }
        }
        for report in block.reports.iter() {
            match Report::from_cbor(&report.bytes) {
                Ok(Report::Result(result)) if result.interval.is_none() => self.remember(result.measurement),
                Ok(Report::Skipped(skipped)) if skipped.runs == 1 => self.remember(skipped.measurement),
                _ => {}
            }
        }
        let Some(known) = self.boots.get_mut(&block.boot) else { return };
        for report in block.reports.iter() {
            let to = UnixNanos(report.from.0.saturating_add_unsigned(report.length));
            match known.segments.last_mut() {
                Some((_, segment)) if segment.block == id && segment.last.checked_add(1) == Some(report.seq.0) => {
                    segment.last = report.seq.0;
                    segment.from = segment.from.min(report.from);
                    segment.to = segment.to.max(to);
                    segment.settled = report.settled;
                }
                _ => {
                    let (last, from, settled) = (report.seq.0, report.from, report.settled);
                    let until = until.unwrap_or(to);
                    known.segments.push((last, Segment { last, block: id, from, to, settled, until }));
                }
            }
        }
    }

    fn remember(&mut self, measurement: MeasurementId) {
        if self.oneoffs.len() < MAX_ONEOFFS {
            self.oneoffs.insert(measurement);
        }
    }

    /// Measurements of which a run is reported already: a one-off among them must not run again.
    pub fn take_oneoffs(&mut self) -> BTreeSet<MeasurementId> {
        core::mem::take(&mut self.oneoffs)
    }

    /// The boots, oldest first.
    pub(super) fn finish(self) -> Vec<BootSpool> {
        let mut boots: Vec<(BootId, Known)> = self.boots.into_iter().collect();
        boots.sort_by_key(|(_, known)| known.newest);
        let surplus = boots.len().saturating_sub(MAX_KEPT_BOOTS - 1);
        boots.into_iter().skip(surplus).filter_map(|(boot, known)| known.finish(boot)).collect()
    }
}

impl Known {
    fn finish(mut self, boot: BootId) -> Option<BootSpool> {
        let (_, state) = self.state?;
        let mut spool = BootSpool::new(boot);
        spool.started_at = state.started_at;
        spool.closed_at = state.closed_at;
        spool.settled = state.settled;
        spool.until = state.until;
        spool.next = state.next.0.clamp(1, u64::MAX - 1);
        // What is durable or in a gap is not asked for again, and what stands in two blocks is taken from the first.
        let mut taken = self.durable.clone();
        for gap in state.gaps.iter().filter(|gap| gap.boot == boot) {
            if let Some(last) = gap.last.filter(|last| *last >= gap.first && gap.first.0 > 0) {
                taken.insert(gap.first..=last);
                spool.gaps.push((gap.clone(), false));
            }
        }
        self.segments.sort_by_key(|(_, segment)| segment.block);
        for (first, segment) in self.segments {
            if first == 0 || segment.last >= u64::MAX - 1 {
                continue;
            }
            for part in taken.missing(Seq(first)..=Seq(segment.last)).ranges() {
                spool.segments.insert(part.start().0, Segment { last: part.end().0, ..segment });
            }
            taken.insert(Seq(first)..=Seq(segment.last));
        }
        let last = spool.segments.last_key_value().map_or(0, |(_, segment)| segment.last);
        let last = spool.gaps.iter().filter_map(|(gap, _)| gap.last).map(|last| last.0).fold(last, u64::max);
        spool.next = spool.next.max(last.saturating_add(1)).min(u64::MAX - 1);
        if let Some((_, segment)) = spool.segments.last_key_value() {
            spool.settled = spool.settled.max(segment.settled);
        }
        spool.unkept_from = spool.next;
        spool.durable = self.durable;
        Some(spool)
    }
}
