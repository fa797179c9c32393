//! One boot's part of the spool: what of it is in memory, what is on the disk, what is lost, and what was sent already.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::block::{BlockId, BootState, MAX_KEPT_GAPS, MAX_KEPT_RANGES};
use super::{Item, NewReport};
use crate::bounded::List;
use crate::ids::{BootId, Seq};
use crate::message::{Bye, Gap, GapReason, SpooledBoot};
use crate::range_set::RangeSet;
use crate::time::UnixNanos;

/// Consecutive numbers that are on the disk, in one block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) last: u64,
    pub(super) block: BlockId,
    /// The due times that its reports account for.
    pub(super) from: UnixNanos,
    pub(super) to: UnixNanos,
    /// What its last report said is settled.
    pub(super) settled: UnixNanos,
    /// No report up to its last accounts for a due time at or after this.
    pub(super) until: UnixNanos,
}

/// The reports of one boot that are not yet durable.
#[derive(Debug)]
pub(super) struct BootSpool {
    pub(super) boot: BootId,
    pub(super) next: u64,
    pub(super) items: BTreeMap<u64, Item>,
    /// By first number; none overlaps another.
    pub(super) segments: BTreeMap<u64, Segment>,
    /// Gaps not yet acknowledged, each with whether it was sent on this connection.
    pub(super) gaps: Vec<(Gap, bool)>,
    pub(super) durable: RangeSet,
    pub(super) started_at: Option<UnixNanos>,
    pub(super) closed_at: Option<UnixNanos>,
    pub(super) settled: UnixNanos,
    pub(super) until: UnixNanos,
    /// Backlog below this was sent on this connection.
    pub(super) backlog_sent: u64,
    /// What is numbered from here on was made during this connection.
    pub(super) fresh_from: u64,
    /// Fresh reports below this were sent.
    pub(super) fresh_sent: u64,
    /// No report in memory below this is missing on the disk.
    pub(super) unkept_from: u64,
    pub(super) said_bye: bool,
    /// The collector knows that nothing more will come.
    pub(super) over: bool,
}

impl BootSpool {
    pub(super) const fn new(boot: BootId) -> Self {
        Self {
            boot,
            next: 1,
            items: BTreeMap::new(),
            segments: BTreeMap::new(),
            gaps: Vec::new(),
            durable: RangeSet::new(),
            started_at: None,
            closed_at: None,
            settled: UnixNanos(i64::MIN),
            until: UnixNanos(i64::MIN),
            backlog_sent: 1,
            fresh_from: u64::MAX,
            fresh_sent: 1,
            unkept_from: 1,
            said_bye: false,
            over: false,
        }
    }

    pub(super) fn summary(&self) -> SpooledBoot {
        SpooledBoot { boot: self.boot, next: Seq(self.next), started_at: self.started_at }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.items.is_empty() && self.segments.is_empty() && self.gaps.is_empty()
    }

    /// Reports that are neither durable nor lost.
    pub(super) fn depth(&self) -> u64 {
        let on_disk = |(&first, segment): (&u64, &Segment)| self.durable.missing(Seq(first)..=Seq(segment.last)).len();
        let unkept = self.items.range(self.unkept_from..).filter(|(_, item)| !item.kept).count() as u64;
        self.segments.iter().map(on_disk).sum::<u64>() + unkept
    }

    pub(super) fn add_gap(&mut self, (first, last): (u64, u64), (from, to): (UnixNanos, UnixNanos), reason: GapReason) {
        // A gap that is on its way is not changed any more: what it says was said.
        if let Some((gap, false)) = self.gaps.last_mut()
            && gap.reason == reason
            && gap.last.is_some_and(|last| last.0.checked_add(1) == Some(first))
        {
            gap.last = Some(Seq(last));
            gap.from = gap.from.min(from);
            gap.to = gap.to.max(to);
            return;
        }
        let gap = Gap { boot: self.boot, first: Seq(first), last: Some(Seq(last)), reason, from, to };
        self.gaps.push((gap, false));
    }

    /// A connection was welcomed.
    pub(super) fn on_welcome(&mut self) {
        self.backlog_sent = 1;
        self.fresh_from = self.next;
        self.fresh_sent = self.next;
        self.said_bye = false;
        // They all go again, so neighbours may as well be one: a store that comes and goes must not make ever more of them.
        let mut merged: Vec<(Gap, bool)> = Vec::new();
        for (gap, _) in core::mem::take(&mut self.gaps) {
            match merged.last_mut() {
                Some((before, _)) if before.reason == gap.reason && follows(before, &gap) => {
                    before.last = gap.last;
                    before.from = before.from.min(gap.from);
                    before.to = before.to.max(gap.to);
                }
                _ => merged.push((gap, false)),
            }
        }
        self.gaps = merged;
    }

    /// What of an earlier boot is neither durable nor on the disk nor known to be lost was damaged there. Between which due
    /// times it lies, the reports before and behind it say.
    pub(super) fn find_damage(&mut self, durable: &RangeSet) {
        // A gap of which a part was durable after all is told without that part.
        let mut whole = Vec::new();
        for (gap, _) in core::mem::take(&mut self.gaps) {
            let last = gap.last.unwrap_or(gap.first);
            for part in durable.missing(gap.first..=last).ranges() {
                whole.push((Gap { first: *part.start(), last: Some(*part.end()), ..gap.clone() }, false));
            }
        }
        self.gaps = whole;
        let mut known = self.durable.clone();
        known.extend(durable);
        for (&first, segment) in &self.segments {
            known.insert(Seq(first)..=Seq(segment.last));
        }
        for (gap, _) in &self.gaps {
            known.insert(gap.first..=gap.last.unwrap_or(gap.first));
        }
        for hole in known.missing(Seq(1)..=Seq(self.next.saturating_sub(1))).ranges() {
            let (first, last) = (hole.start().0, hole.end().0);
            let before = self.segments.range(..first).next_back().map(|(_, segment)| segment.settled);
            let behind = self.segments.range(last..).next().map(|(_, segment)| segment.until);
            let from = before.or(self.started_at).unwrap_or(UnixNanos(i64::MIN));
            let to = behind.unwrap_or(self.until).max(from);
            self.add_gap((first, last), (from, to), GapReason::Damaged);
        }
    }

    /// Forgets what is durable. Gives the bytes that this frees.
    pub(super) fn acknowledge(&mut self, ranges: &RangeSet) -> usize {
        let mut freed = 0;
        self.over |= ranges.contains(Seq(u64::MAX));
        for range in ranges.ranges() {
            // Nothing can be acknowledged that was never numbered; stay within what is there.
            let (first, last) = (range.start().0.max(1), range.end().0.min(self.next - 1));
            if first > last {
                continue;
            }
            self.durable.insert(Seq(first)..=Seq(last));
            while let Some((&seq, _)) = self.items.range(first..=last).next() {
                freed += self.items.remove(&seq).map_or(0, |item| item.report.bytes.len());
            }
            let from = self.segments.range(..=first).next_back().map_or(first, |(&start, _)| start);
            let touched: Vec<u64> = self.segments.range(from..=last).map(|(&start, _)| start).collect();
            for start in touched {
                let done = |segment: &Segment| self.durable.missing(Seq(start)..=Seq(segment.last)).is_empty();
                if self.segments.get(&start).is_some_and(done) {
                    self.segments.remove(&start);
                }
            }
        }
        self.gaps.retain(|(gap, _)| !covers(ranges, gap));
        freed
    }

    /// The first number from `from` to before `end` that is on the disk and not durable, and its block.
    pub(super) fn on_disk(&self, from: u64, end: u64) -> Option<(u64, BlockId)> {
        let start = self.segments.range(..=from).next_back().map_or(from, |(&start, _)| start);
        for (&first, segment) in self.segments.range(start..end.max(start)) {
            let (first, last) = (first.max(from), segment.last.min(end.saturating_sub(1)));
            if first <= last
                && let Some(range) = self.durable.missing(Seq(first)..=Seq(last)).ranges().next()
            {
                return Some((range.start().0, segment.block));
            }
        }
        None
    }

    /// Where the backlog goes on: the number, and the block when it is not in memory.
    pub(super) fn backlog(&self) -> Option<(u64, Option<BlockId>)> {
        let end = self.fresh_from.min(self.next);
        if self.backlog_sent >= end {
            return None;
        }
        let memory = self.items.range(self.backlog_sent..end).next().map(|(&seq, _)| seq);
        match (memory, self.on_disk(self.backlog_sent, end)) {
            (Some(seq), Some((kept, block))) if kept < seq => Some((kept, Some(block))),
            (Some(seq), _) => Some((seq, None)),
            (None, kept) => kept.map(|(seq, block)| (seq, Some(block))),
        }
    }

    /// The first report in memory that is not on the disk.
    pub(super) fn first_unkept(&self) -> Option<(u64, &Item)> {
        self.items.range(self.unkept_from..).find(|(_, item)| !item.kept).map(|(&seq, item)| (seq, item))
    }

    /// A block that holds these numbers is on the disk.
    pub(super) fn kept(&mut self, block: BlockId, numbers: &[Seq]) {
        for seq in numbers.iter().map(|seq| seq.0) {
            // Meanwhile it may have become durable, or been dropped.
            let Some(item) = self.items.get_mut(&seq).filter(|item| !item.kept) else { continue };
            item.kept = true;
            let report = &item.report;
            let (from, to, settled, until) = (report.from, report.to, report.settled, item.until);
            match self.segments.range_mut(..seq).next_back() {
                Some((_, segment)) if segment.block == block && segment.last + 1 == seq => {
                    segment.last = seq;
                    segment.from = segment.from.min(from);
                    segment.to = segment.to.max(to);
                    segment.settled = settled;
                    segment.until = until;
                }
                _ => {
                    self.segments.insert(seq, Segment { last: seq, block, from, to, settled, until });
                }
            }
        }
        self.unkept_from = self.first_unkept().map_or(self.next, |(seq, _)| seq);
    }

    /// A block is gone: what was only there is lost. Gives the bytes in memory that this frees.
    pub(super) fn lost(&mut self, block: BlockId, reason: GapReason) -> usize {
        let mut freed = 0;
        let starts: Vec<u64> =
            self.segments.iter().filter(|(_, segment)| segment.block == block).map(|(&start, _)| start).collect();
        for start in starts {
            let Some(segment) = self.segments.remove(&start) else { continue };
            if reason == GapReason::SpoolFull {
                // The oldest go, in memory too: written again they would only drive out the next.
                while let Some((&seq, _)) = self.items.range(start..=segment.last).next() {
                    freed += self.items.remove(&seq).map_or(0, |item| item.report.bytes.len());
                }
            }
            let mut absent = self.durable.clone();
            for (&seq, item) in self.items.range_mut(start..=segment.last) {
                item.kept = false;
                self.unkept_from = self.unkept_from.min(seq);
                absent.insert(Seq(seq)..=Seq(seq));
            }
            for range in absent.missing(Seq(start)..=Seq(segment.last)).ranges() {
                self.add_gap((range.start().0, range.end().0), (segment.from, segment.to), reason);
            }
        }
        freed
    }

    /// The end of an earlier boot of which everything is durable, to be said once a connection.
    pub(super) fn bye(&mut self) -> Option<Bye> {
        if self.said_bye || self.over || !self.is_settled() {
            return None;
        }
        self.said_bye = true;
        let at = self.closed_at.unwrap_or(self.settled);
        Some(Bye { boot: self.boot, last: Seq(self.next - 1), at, crashed: self.closed_at.is_none() })
    }

    /// How it stands, for a block.
    pub(super) fn state(&self, next: u64, closed_at: Option<UnixNanos>) -> BootState {
        let mut durable = RangeSet::new();
        self.durable.ranges().take(MAX_KEPT_RANGES).for_each(|range| durable.insert(range));
        BootState {
            boot: self.boot,
            next: Seq(next),
            durable,
            gaps: List::<_, MAX_KEPT_GAPS>::cut(self.gaps.iter().map(|(gap, _)| gap.clone())),
            started_at: self.started_at,
            closed_at,
            settled: self.settled,
            until: self.until,
        }
    }

    /// Takes a report into memory.
    pub(super) fn insert(&mut self, seq: u64, report: NewReport, made_at: crate::time::Nanos, kept: bool) {
        self.items.insert(seq, Item { report, made_at, until: self.until, kept });
    }
}

fn follows(before: &Gap, gap: &Gap) -> bool {
    before.last.is_some_and(|last| last.0.checked_add(1) == Some(gap.first.0))
}

fn covers(ranges: &RangeSet, gap: &Gap) -> bool {
    gap.last.is_some_and(|last| ranges.missing(gap.first..=last).is_empty())
}
