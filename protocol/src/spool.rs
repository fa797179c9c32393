//! The probe's spool: every report from the moment it is numbered until the collector says that it is durable.
//!
//! In memory, and on a disk once nobody has acknowledged it for a while ([`KEEP_AFTER`]) or the process ends; without a disk
//! in memory alone. Both are bounded. When there is no room the oldest reports go, and a [`Gap`] takes their place: it is sent
//! and acknowledged like them, so that the collector's range set closes into one range in the end. Sending is per lane: what
//! was made during this connection is *fresh*, everything older is *backlog*, so that fresh reports never wait.
//!
//! The disk outlives the process, so the spool can hold several boots: its own, which makes reports, and earlier ones, which
//! are only sent, and closed ([`Spool::poll_byes`]) and forgotten when all of them is durable.
//!
//! Nothing here touches a disk: what is to be written comes out as a [`Block`], what was read goes in as one.

pub mod block;
mod boot;
mod restore;

use alloc::vec::Vec;
use core::time::Duration;

use self::block::{BLOCK_BYTES, Block, BlockId, KeptReport, MAX_BLOCK_REPORTS, MAX_KEPT_BOOTS};
use self::boot::BootSpool;
pub use self::restore::Restored;
use crate::bounded::{Bytes, List};
use crate::ids::{BootId, Seq};
use crate::message::{BootRanges, Bye, Frame, Gap, GapReason, SpooledBoot};
use crate::range_set::RangeSet;
use crate::result::MAX_REPORT;
use crate::time::{Nanos, UnixNanos};

/// How much a spool holds in memory.
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

/// How old a report gets in memory alone: the most that a power cut costs. One that is delivered does not get so old.
pub const KEEP_AFTER: Duration = Duration::from_secs(60);

/// How many bytes of reports that are on the disk stay in memory all the same: enough that a short outage, or a disk that dies
/// in it, costs nothing.
pub const KEPT_IN_MEMORY: usize = 1024 * 1024;

/// How many gaps are told at once and await their acknowledgement.
const MAX_GAPS_ON_THEIR_WAY: usize = 64;

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
    /// No report up to this one accounts for a due time at or after this.
    until: UnixNanos,
    /// It is on the disk too.
    kept: bool,
}

/// The reports that are not yet durable.
#[derive(Debug)]
pub struct Spool {
    own: BootSpool,
    /// Oldest first.
    earlier: Vec<BootSpool>,
    limits: SpoolLimits,
    /// Of all reports in memory.
    bytes: usize,
    connected: bool,
    /// Nothing more will be pushed, and nothing was started since this time.
    closing: Option<UnixNanos>,
    /// The disk knows that.
    closing_kept: bool,
    /// Something in memory may be on the disk too. Else nothing is to be gained by looking.
    may_evict: bool,
}

impl Spool {
    /// An empty spool for this boot.
    pub const fn new(boot: BootId, limits: SpoolLimits) -> Self {
        Self {
            own: BootSpool::new(boot),
            earlier: Vec::new(),
            limits,
            bytes: 0,
            connected: false,
            closing: None,
            closing_kept: false,
            may_evict: false,
        }
    }

    /// Takes over what the disk holds of earlier boots. To be called before the first connection.
    pub fn restore(&mut self, restored: Restored) {
        self.earlier = restored.finish();
        self.earlier.retain(|boot| boot.boot != self.own.boot);
    }

    /// The boot.
    pub const fn boot(&self) -> BootId {
        self.own.boot
    }

    /// The last number used; 0 when none was.
    pub const fn last(&self) -> Seq {
        Seq(self.own.next - 1)
    }

    fn boots(&self) -> impl Iterator<Item = &BootSpool> {
        self.earlier.iter().chain([&self.own])
    }

    fn boots_mut(&mut self) -> impl Iterator<Item = &mut BootSpool> {
        self.earlier.iter_mut().chain([&mut self.own])
    }

    /// Reports held, of all boots, in memory or on the disk.
    pub fn depth(&self) -> u64 {
        self.boots().map(BootSpool::depth).sum()
    }

    /// Reports in memory.
    pub fn in_memory(&self) -> usize {
        self.boots().map(|boot| boot.items.len()).sum()
    }

    /// Is everything that this boot has ever put in durable?
    pub fn is_settled(&self) -> bool {
        self.own.is_settled()
    }

    /// Every boot that it holds something of, this one included, for hello.
    pub fn summaries(&self) -> Vec<SpooledBoot> {
        self.boots().map(BootSpool::summary).collect()
    }

    /// When this boot began, as the collector tells it.
    pub fn set_started(&mut self, at: UnixNanos) {
        self.own.started_at = Some(at);
    }

    /// Numbers a report and holds it. Reports larger than a frame carries are the caller's mistake: they become a gap.
    pub fn push(&mut self, report: NewReport, now: Nanos) -> Seq {
        let own = &mut self.own;
        let seq = own.next;
        own.next += 1;
        own.settled = own.settled.max(report.settled);
        own.until = own.until.max(report.to);
        if report.bytes.len() > MAX_REPORT {
            own.add_gap((seq, seq), (report.from, report.to), GapReason::Rejected);
            return Seq(seq);
        }
        self.bytes += report.bytes.len();
        own.insert(seq, report, now, false);
        if self.is_overfull() && self.may_evict {
            self.evict(0);
            self.may_evict = false;
        }
        while self.is_overfull() {
            let Some((seq, item)) = self.own.items.pop_first() else { break };
            self.bytes -= item.report.bytes.len();
            self.own.add_gap((seq, seq), (item.report.from, item.report.to), GapReason::SpoolFull);
        }
        Seq(seq)
    }

    fn is_overfull(&self) -> bool {
        self.bytes > self.limits.bytes || self.in_memory() > self.limits.reports
    }

    /// Lets go of what is on the disk too, down to so many bytes: first what was sent, then what will be sent last.
    fn evict(&mut self, most: usize) {
        let size = |item: &Item| item.report.bytes.len();
        let all = self.boots().flat_map(|boot| boot.items.values()).filter(|item| item.kept).map(size).sum::<usize>();
        let mut excess = all.saturating_sub(most);
        let mut freed = 0;
        for only_sent in [true, false] {
            for boot in self.earlier.iter_mut().chain([&mut self.own]).rev() {
                if excess == 0 {
                    break;
                }
                let sent = boot.backlog_sent.min(boot.fresh_from);
                let end = if only_sent { sent } else { u64::MAX };
                let mut gone = Vec::new();
                for (&seq, item) in boot.items.range(..end).rev().filter(|(_, item)| item.kept) {
                    if excess == 0 {
                        break;
                    }
                    excess = excess.saturating_sub(size(item));
                    freed += size(item);
                    gone.push(seq);
                }
                for seq in gone {
                    boot.items.remove(&seq);
                }
            }
        }
        self.bytes -= freed;
    }

    /// A connection has been welcomed and `durable` is what the collector has: everything else is backlog now.
    pub fn on_welcome(&mut self, durable: &[BootRanges]) {
        self.connected = true;
        let nothing = RangeSet::new();
        for boot in &mut self.earlier {
            let known = durable.iter().find(|known| known.boot == boot.boot);
            boot.find_damage(known.map_or(&nothing, |known| &known.ranges));
        }
        self.acknowledge(durable);
        self.boots_mut().for_each(BootSpool::on_welcome);
        for boot in &mut self.earlier {
            boot.fresh_from = u64::MAX;
        }
    }

    /// The connection is gone.
    pub fn on_disconnect(&mut self) {
        self.connected = false;
    }

    /// Forgets what is durable, and earlier boots of which all is.
    pub fn acknowledge(&mut self, durable: &[BootRanges]) {
        let mut freed = 0;
        for known in durable {
            for boot in self.boots_mut().filter(|boot| boot.boot == known.boot) {
                freed += boot.acknowledge(&known.ranges);
            }
        }
        self.bytes -= freed;
        self.earlier.retain(|boot| !boot.over);
    }

    /// Gaps to send now. Those that are on their way without an answer are few: what is not said can still grow together, so
    /// that a collector that answers nothing does not fill the memory with them.
    pub fn poll_gaps(&mut self) -> Vec<Gap> {
        if !self.connected {
            return Vec::new();
        }
        let sent = self.boots().flat_map(|boot| &boot.gaps).filter(|(_, sent)| *sent).count();
        let room = MAX_GAPS_ON_THEIR_WAY.saturating_sub(sent);
        let unsent = self.boots_mut().flat_map(|boot| boot.gaps.iter_mut()).filter(|(_, sent)| !*sent).take(room);
        unsent
            .map(|(gap, sent)| {
                *sent = true;
                gap.clone()
            })
            .collect()
    }

    /// The ends of earlier boots to say now.
    pub fn poll_byes(&mut self) -> Vec<Bye> {
        if !self.connected {
            return Vec::new();
        }
        self.earlier.iter_mut().filter_map(BootSpool::bye).collect()
    }

    /// The next frame of a lane, if one is due at `now`. Fresh reports wait for company up to [`FRESH_DELAY`].
    pub fn poll_frame(&mut self, lane: Lane, now: Nanos, flush: bool) -> Option<Frame> {
        if !self.connected {
            return None;
        }
        match lane {
            Lane::Fresh => {
                let own = &self.own;
                let first = own.items.range(own.fresh_sent..).next().map(|(&seq, _)| seq)?;
                let (frame, next) = frame(own, first, u64::MAX, now, flush)?;
                self.own.fresh_sent = next;
                Some(frame)
            }
            Lane::Backlog => {
                let place = self.boots().position(|boot| boot.backlog().is_some())?;
                let boot = self.boots_mut().nth(place)?;
                // What is on the disk alone has to come from there first.
                let (first, None) = boot.backlog()? else { return None };
                let (frame, next) = frame(boot, first, boot.fresh_from, now, true)?;
                boot.backlog_sent = next;
                Some(frame)
            }
        }
    }

    /// When the oldest fresh report will have waited long enough.
    pub fn poll_timeout(&self) -> Option<Nanos> {
        let fresh = self.own.items.range(self.own.fresh_sent..).next();
        fresh.filter(|_| self.connected).map(|(_, item)| item.made_at + FRESH_DELAY)
    }

    /// When something should go to the disk; `None` when there is nothing to write. A connection that seems to live is no reason
    /// to wait: a collector that vanished without a word is missed by the transport only minutes later.
    pub fn keep_at(&self) -> Option<Nanos> {
        let (_, item) = self.own.first_unkept()?;
        Some(item.made_at + KEEP_AFTER)
    }

    /// The process ends: nothing more will be pushed, and nothing was started since `at`.
    pub fn close(&mut self, at: UnixNanos) {
        self.closing = Some(at);
    }

    /// Is there something that the disk does not have and should, when the process ends now?
    pub fn wants_keeping(&self) -> bool {
        let unfinished = self.closing.is_some() && !self.closing_kept && self.own.started_at.is_some();
        self.own.first_unkept().is_some() || unfinished
    }

    /// The next block to be written, of the oldest reports that are in memory alone. `written_at` is the machine's clock.
    /// [`Spool::kept`] says that it is on the disk.
    pub fn block(&self, written_at: UnixNanos) -> Block {
        let mut reports = Vec::new();
        let mut bytes = 0;
        let mut next = self.own.next;
        for (&seq, item) in self.own.items.range(self.own.unkept_from..).filter(|(_, item)| !item.kept) {
            let report = &item.report;
            let full = reports.len() >= MAX_BLOCK_REPORTS || bytes + report.bytes.len() > BLOCK_BYTES;
            if full && !reports.is_empty() {
                next = seq;
                break;
            }
            bytes += report.bytes.len();
            reports.push(KeptReport {
                seq: Seq(seq),
                // Never longer than MAX_REPORT: `push` saw to it.
                bytes: Bytes::new(report.bytes.clone()).unwrap_or_default(),
                from: report.from,
                length: report.to.0.saturating_sub(report.from.0).max(0).unsigned_abs(),
                settled: report.settled,
            });
        }
        // A boot is closed only by the block behind which nothing is left.
        let closed = self.closing.filter(|_| next == self.own.next);
        let earlier = self.earlier.iter().map(|boot| boot.state(boot.next, boot.closed_at));
        let states = [self.own.state(next, closed)].into_iter().chain(earlier).take(MAX_KEPT_BOOTS);
        Block { boot: self.own.boot, reports: List::cut(reports), states: List::cut(states), written_at }
    }

    /// This block is on the disk.
    pub fn kept(&mut self, id: BlockId, block: &Block) {
        let numbers: Vec<Seq> = block.reports.iter().map(|report| report.seq).collect();
        self.own.kept(id, &numbers);
        let own = block.states.iter().find(|state| state.boot == self.own.boot);
        self.may_evict = true;
        self.closing_kept |= own.is_some_and(|state| state.closed_at.is_some());
        self.evict(KEPT_IN_MEMORY);
    }

    /// A block is no longer on the disk: it had to make room, or cannot be read.
    pub fn lost(&mut self, id: BlockId, reason: GapReason) {
        let freed: usize = self.boots_mut().map(|boot| boot.lost(id, reason)).sum();
        self.bytes -= freed;
    }

    /// The block that is needed next, for the backlog.
    pub fn wanted(&self) -> Option<BlockId> {
        self.boots().find_map(BootSpool::backlog).filter(|_| self.connected)?.1
    }

    /// A block was read. Whatever should be in it and is not counts as damaged.
    pub fn loaded(&mut self, id: BlockId, block: Block) {
        let Some(boot) = self.earlier.iter_mut().chain([&mut self.own]).find(|boot| boot.boot == block.boot) else {
            return self.lost(id, GapReason::Damaged);
        };
        for report in block.reports.into_vec() {
            let seq = report.seq.0;
            let segment = boot.segments.range(..=seq).next_back().map(|(_, segment)| *segment);
            let here = segment.is_some_and(|segment| segment.block == id && seq <= segment.last);
            if !here || boot.durable.contains(report.seq) || boot.items.contains_key(&seq) {
                continue;
            }
            let bytes = report.bytes.into_vec();
            self.bytes += bytes.len();
            let to = UnixNanos(report.from.0.saturating_add_unsigned(report.length));
            let report = NewReport { bytes, from: report.from, to, settled: report.settled, urgent: false };
            boot.insert(seq, report, Nanos(0), true);
        }
        self.may_evict = true;
        let whole = |(&first, segment): (&u64, &boot::Segment)| {
            let mut there = boot.durable.clone();
            boot.items.range(first..=segment.last).for_each(|(&seq, _)| there.insert(Seq(seq)..=Seq(seq)));
            there.missing(Seq(first)..=Seq(segment.last)).is_empty()
        };
        if !boot.segments.iter().filter(|(_, segment)| segment.block == id).all(whole) {
            self.bytes -= boot.lost(id, GapReason::Damaged);
        }
        self.evict(KEPT_IN_MEMORY);
    }

    /// Is there nothing on the disk that is still needed?
    pub fn needs_no_disk(&self) -> bool {
        self.closing.is_none() && self.earlier.is_empty() && self.own.segments.is_empty()
    }
}

/// The frame of reports in memory from `first` on, if it is due, and the number behind it.
fn frame(boot: &BootSpool, first: u64, end: u64, now: Nanos, flush: bool) -> Option<(Frame, u64)> {
    let mut reports: Vec<Bytes<MAX_REPORT>> = Vec::new();
    let mut bytes = 0;
    let mut due = flush;
    let mut settled = UnixNanos(i64::MIN);
    let mut next = first;
    for (&seq, item) in boot.items.range(first..end) {
        // A frame's numbers are consecutive.
        if seq != next || reports.len() >= FRAME_REPORTS || bytes >= FRAME_BYTES {
            due = true;
            break;
        }
        bytes += item.report.bytes.len();
        due |= item.report.urgent || now >= item.made_at + FRESH_DELAY;
        settled = item.report.settled;
        // Never longer than MAX_REPORT: `push` saw to it.
        reports.push(Bytes::new(item.report.bytes.clone()).unwrap_or_default());
        next += 1;
    }
    due |= reports.len() >= FRAME_REPORTS || bytes >= FRAME_BYTES;
    let frame = Frame { boot: boot.boot, first: Seq(first), reports: List::cut(reports), settled };
    due.then_some((frame, next))
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
    fn a_full_spool_that_nobody_empties_holds_few_gaps() {
        let mut spool = spool(10);
        spool.on_welcome(&[]);
        let mut told = 0;
        for n in 1..=10_000 {
            spool.push(report(n), Nanos(n));
            told += spool.poll_gaps().len();
        }
        assert_eq!(told, MAX_GAPS_ON_THEIR_WAY);
        assert_eq!((spool.own.gaps.len(), spool.in_memory()), (MAX_GAPS_ON_THEIR_WAY + 1, 10));
        // What was told is acknowledged: the rest is one gap.
        spool.acknowledge(&durable(1, MAX_GAPS_ON_THEIR_WAY as u64));
        let rest = spool.poll_gaps();
        assert_eq!(rest.len(), 1, "{rest:?}");
        assert_eq!((rest[0].first, rest[0].last), (Seq(MAX_GAPS_ON_THEIR_WAY as u64 + 1), Some(Seq(9_990))));
    }

    #[test]
    fn what_nobody_acknowledges_goes_to_the_disk_though_the_connection_seems_to_live() {
        let mut spool = spool(100);
        spool.on_welcome(&[]);
        spool.push(report(1), Nanos(5));
        assert!(spool.poll_frame(Lane::Fresh, Nanos(5), true).is_some());
        assert_eq!(spool.keep_at(), Some(Nanos(5) + KEEP_AFTER));
        spool.push(report(2), Nanos(7));
        spool.acknowledge(&durable(1, 1));
        assert_eq!(spool.keep_at(), Some(Nanos(7) + KEEP_AFTER));
        spool.acknowledge(&durable(2, 2));
        assert_eq!(spool.keep_at(), None);
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
