//! The probe's spool: every report from the moment it is numbered until the collector says that it is durable.
//!
//! In memory and bounded. When it is full the oldest reports go, and a [`Gap`] takes their place: it is sent and
//! acknowledged like them, so that the collector's range set closes into one range in the end. Sending is per lane: what was
//! made during this connection is *fresh*, everything older is *backlog*, so that fresh reports never wait.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use crate::bounded::{Bytes, List};
use crate::ids::{BootId, Seq};
use crate::message::{BootRanges, Frame, Gap, GapReason, SpooledBoot};
use crate::range_set::RangeSet;
use crate::result::MAX_REPORT;
use crate::time::{Nanos, UnixNanos};

/// How much a spool holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolLimits {
    /// Reports.
    pub reports: usize,
    /// Bytes of reports.
    pub bytes: usize,
}

impl Default for SpoolLimits {
    fn default() -> Self {
        // Days of a normal load, and small beside a board's memory.
        Self { reports: 100_000, bytes: 8 * 1024 * 1024 }
    }
}

/// How many reports one frame carries at most.
pub const FRAME_REPORTS: usize = 16;

/// A frame is closed once its reports have this many bytes.
pub const FRAME_BYTES: usize = 32 * 1024;

/// How long a fresh report waits for company.
pub const FRESH_DELAY: Duration = Duration::from_secs(1);

/// Which of the two result streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Made during this connection.
    Fresh,
    /// Made before it.
    Backlog,
}

/// A report on its way into the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReport {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The due times it accounts for: from the first …
    pub from: UnixNanos,
    /// … to before this.
    pub to: UnixNanos,
    /// Every run due before this is accounted for by this report or an earlier one.
    pub settled: UnixNanos,
    /// It waits for no company (one-offs).
    pub urgent: bool,
}

#[derive(Debug)]
struct Item {
    report: NewReport,
    made_at: Nanos,
    lane: Lane,
    sent: bool,
}

/// The reports of one boot that are not yet durable.
#[derive(Debug)]
pub struct Spool {
    boot: BootId,
    limits: SpoolLimits,
    next: u64,
    items: BTreeMap<u64, Item>,
    bytes: usize,
    /// Gaps not yet acknowledged, each with whether it was sent on this connection.
    gaps: Vec<(Gap, bool)>,
    connected: bool,
}

impl Spool {
    /// An empty spool for this boot.
    pub const fn new(boot: BootId, limits: SpoolLimits) -> Self {
        Self { boot, limits, next: 1, items: BTreeMap::new(), bytes: 0, gaps: Vec::new(), connected: false }
    }

    /// The boot.
    pub const fn boot(&self) -> BootId {
        self.boot
    }

    /// The last number used; 0 when none was.
    pub const fn last(&self) -> Seq {
        Seq(self.next - 1)
    }

    /// Reports held.
    pub fn depth(&self) -> u64 {
        self.items.len() as u64
    }

    /// Is everything that was ever put in durable?
    pub fn is_settled(&self) -> bool {
        self.items.is_empty() && self.gaps.is_empty()
    }

    /// What hello says of it.
    pub const fn summary(&self) -> SpooledBoot {
        SpooledBoot { boot: self.boot, next: Seq(self.next) }
    }

    /// Numbers a report and holds it. Reports larger than a frame carries are the caller's mistake: they become a gap.
    pub fn push(&mut self, report: NewReport, now: Nanos) -> Seq {
        let seq = self.next;
        self.next += 1;
        if report.bytes.len() > MAX_REPORT {
            self.add_gap(seq, report.from, report.to, GapReason::Rejected);
            return Seq(seq);
        }
        self.bytes += report.bytes.len();
        let lane = if self.connected { Lane::Fresh } else { Lane::Backlog };
        self.items.insert(seq, Item { report, made_at: now, lane, sent: false });
        while self.items.len() > self.limits.reports || self.bytes > self.limits.bytes {
            let Some((seq, item)) = self.items.pop_first() else { break };
            self.bytes -= item.report.bytes.len();
            self.add_gap(seq, item.report.from, item.report.to, GapReason::SpoolFull);
        }
        Seq(seq)
    }

    fn add_gap(&mut self, seq: u64, from: UnixNanos, to: UnixNanos, reason: GapReason) {
        // A gap that is on its way is not changed any more: what it says was said.
        if let Some((gap, false)) = self.gaps.last_mut()
            && gap.reason == reason
            && gap.last.is_some_and(|last| last.0 + 1 == seq)
        {
            gap.last = Some(Seq(seq));
            gap.from = gap.from.min(from);
            gap.to = gap.to.max(to);
            return;
        }
        let gap = Gap { boot: self.boot, first: Seq(seq), last: Some(Seq(seq)), reason, from, to };
        self.gaps.push((gap, false));
    }

    /// A connection has been welcomed and `durable` is what the collector has: everything else is backlog now.
    pub fn on_welcome(&mut self, durable: &[BootRanges]) {
        self.connected = true;
        self.acknowledge(durable);
        for item in self.items.values_mut() {
            item.sent = false;
            item.lane = Lane::Backlog;
        }
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

    /// The connection is gone.
    pub fn on_disconnect(&mut self) {
        self.connected = false;
    }

    /// Forgets what is durable.
    pub fn acknowledge(&mut self, durable: &[BootRanges]) {
        for BootRanges { ranges, .. } in durable.iter().filter(|ack| ack.boot == self.boot) {
            for range in ranges.ranges() {
                let (first, last) = (range.start().0, range.end().0);
                // Nothing can be acknowledged that was never numbered; stay within what is there.
                while let Some((&seq, _)) = self.items.range(first..=last).next() {
                    if let Some(item) = self.items.remove(&seq) {
                        self.bytes -= item.report.bytes.len();
                    }
                }
            }
            self.gaps.retain(|(gap, _)| !covers(ranges, gap));
        }
    }

    /// Gaps to send now.
    pub fn poll_gaps(&mut self) -> Vec<Gap> {
        if !self.connected {
            return Vec::new();
        }
        let unsent = self.gaps.iter_mut().filter(|(_, sent)| !*sent).take(64);
        unsent
            .map(|(gap, sent)| {
                *sent = true;
                gap.clone()
            })
            .collect()
    }

    /// The next frame of a lane, if one is due at `now`. Fresh reports wait for company up to [`FRESH_DELAY`].
    pub fn poll_frame(&mut self, lane: Lane, now: Nanos, flush: bool) -> Option<Frame> {
        if !self.connected {
            return None;
        }
        let mut reports: Vec<Bytes<MAX_REPORT>> = Vec::new();
        let mut first = None;
        let mut bytes = 0;
        let mut due = flush || lane == Lane::Backlog;
        let mut settled = UnixNanos(i64::MIN);
        for (&seq, item) in self.items.iter().filter(|(_, item)| !item.sent && item.lane == lane) {
            let begin = *first.get_or_insert(seq);
            // A frame's numbers are consecutive.
            if seq != begin + reports.len() as u64 || reports.len() >= FRAME_REPORTS || bytes >= FRAME_BYTES {
                due = true;
                break;
            }
            bytes += item.report.bytes.len();
            due |= item.report.urgent || now >= item.made_at + FRESH_DELAY;
            settled = item.report.settled;
            // Never longer than MAX_REPORT: `push` saw to it.
            reports.push(Bytes::new(item.report.bytes.clone()).unwrap_or_default());
        }
        due |= reports.len() >= FRAME_REPORTS || bytes >= FRAME_BYTES;
        let first = first.filter(|_| due)?;
        for seq in first..first + reports.len() as u64 {
            if let Some(item) = self.items.get_mut(&seq) {
                item.sent = true;
            }
        }
        Some(Frame { boot: self.boot, first: Seq(first), reports: List::cut(reports), settled })
    }

    /// When the oldest fresh report will have waited long enough.
    pub fn poll_timeout(&self) -> Option<Nanos> {
        let mut fresh = self.items.values().filter(|item| !item.sent && item.lane == Lane::Fresh);
        fresh.next().filter(|_| self.connected).map(|item| item.made_at + FRESH_DELAY)
    }
}

fn follows(before: &Gap, gap: &Gap) -> bool {
    before.last.is_some_and(|last| last.0.checked_add(1) == Some(gap.first.0))
}

fn covers(ranges: &RangeSet, gap: &Gap) -> bool {
    gap.last.is_some_and(|last| ranges.missing(gap.first..=last).is_empty())
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    const BOOT: BootId = BootId(5);

    fn report(n: i64) -> NewReport {
        NewReport {
            bytes: vec![n as u8; 10],
            from: UnixNanos(n),
            to: UnixNanos(n + 1),
            settled: UnixNanos(n),
            urgent: false,
        }
    }

    fn durable(first: u64, last: u64) -> Vec<BootRanges> {
        vec![BootRanges { boot: BOOT, ranges: RangeSet::of(Seq(first)..=Seq(last)) }]
    }

    fn spool(reports: usize) -> Spool {
        Spool::new(BOOT, SpoolLimits { reports, bytes: 1 << 20 })
    }

    #[test]
    fn fresh_reports_wait_for_company_and_urgent_ones_do_not() {
        let mut spool = spool(100);
        spool.on_welcome(&[]);
        spool.push(report(1), Nanos(0));
        assert_eq!(spool.poll_frame(Lane::Fresh, Nanos(0), false), None);
        assert_eq!(spool.poll_timeout(), Some(Nanos(0) + FRESH_DELAY));
        let frame = spool.poll_frame(Lane::Fresh, Nanos(0) + FRESH_DELAY, false).unwrap();
        assert_eq!((frame.first, frame.reports.len()), (Seq(1), 1));
        spool.push(report(2), Nanos(0));
        spool.push(NewReport { urgent: true, ..report(3) }, Nanos(0));
        let frame = spool.poll_frame(Lane::Fresh, Nanos(0), false).unwrap();
        assert_eq!((frame.first, frame.reports.len(), frame.settled), (Seq(2), 2, UnixNanos(3)));
        for n in 0..FRAME_REPORTS as i64 {
            assert_eq!(spool.poll_frame(Lane::Fresh, Nanos(0), false), None);
            spool.push(report(n), Nanos(0));
        }
        assert_eq!(spool.poll_frame(Lane::Fresh, Nanos(0), false).unwrap().reports.len(), FRAME_REPORTS);
    }

    #[test]
    fn after_a_reconnection_what_is_not_durable_goes_again_as_backlog() {
        let mut spool = spool(100);
        for n in 1..=6 {
            spool.push(report(n), Nanos(0));
        }
        spool.on_welcome(&[]);
        assert_eq!(spool.poll_frame(Lane::Backlog, Nanos(0), false).unwrap().last(), Some(Seq(6)));
        assert_eq!(spool.poll_frame(Lane::Backlog, Nanos(0), false), None);
        spool.on_disconnect();
        spool.push(report(7), Nanos(0));
        spool.on_welcome(&durable(2, 4));
        spool.push(report(8), Nanos(0));
        let frames: Vec<_> = core::iter::from_fn(|| spool.poll_frame(Lane::Backlog, Nanos(0), false)).collect();
        let spans: Vec<_> = frames.iter().map(|f| (f.first.0, f.last().unwrap().0)).collect();
        assert_eq!(spans, [(1, 1), (5, 7)]);
        assert!(spool.poll_frame(Lane::Fresh, Nanos(0), true).is_some());
        spool.acknowledge(&durable(1, 8));
        assert!(spool.is_settled());
        assert_eq!(spool.last(), Seq(8));
    }

    #[test]
    fn a_full_spool_drops_its_oldest_and_says_so() {
        let mut spool = spool(3);
        for n in 1..=8 {
            spool.push(report(n), Nanos(0));
        }
        assert_eq!(spool.depth(), 3);
        spool.on_welcome(&[]);
        let gaps = spool.poll_gaps();
        assert_eq!(gaps.len(), 1);
        assert_eq!((gaps[0].first, gaps[0].last), (Seq(1), Some(Seq(5))));
        assert_eq!((gaps[0].from, gaps[0].to), (UnixNanos(1), UnixNanos(6)));
        assert!(spool.poll_gaps().is_empty());
        // A gap under way is not changed; the next loss is a gap of its own.
        spool.push(report(9), Nanos(0));
        assert_eq!(spool.poll_gaps()[0].first, Seq(6));
        // After a reconnection they go again, as one.
        spool.on_disconnect();
        spool.on_welcome(&[]);
        let gaps = spool.poll_gaps();
        assert_eq!((gaps.len(), gaps[0].first, gaps[0].last), (1, Seq(1), Some(Seq(6))));
        spool.acknowledge(&durable(1, 9));
        assert!(spool.is_settled());
    }

    #[test]
    fn acknowledgements_of_other_boots_and_of_the_future_do_no_harm() {
        let mut spool = spool(10);
        spool.push(report(1), Nanos(0));
        spool.acknowledge(&[BootRanges { boot: BootId(6), ranges: RangeSet::of(Seq(1)..=Seq(9)) }]);
        assert_eq!(spool.depth(), 1);
        spool.acknowledge(&durable(0, u64::MAX));
        assert!(spool.is_settled());
        assert_eq!(spool.push(report(2), Nanos(0)), Seq(2));
    }
}
