//! Exactly once: what probes hand in, less what is durable already, gathered into batches. Pure.
//!
//! One machine for all connections, because two connections of one probe may hand in the same report. A report is
//! acknowledged when the batch that holds it, or an earlier one, is committed. At most one batch is being committed at a
//! time; the next one gathers meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Seq, SessionId};
use sonde_protocol::message::{BootRanges, Bye, Frame, Gap, GapReason};
use sonde_protocol::range_set::{MAX_RANGES, RangeSet};
use sonde_protocol::result::Report;
use sonde_protocol::session::collector::Stored;
use sonde_protocol::time::UnixNanos;
use sonde_store::results::{Batch, BootRecord, StoredReport, merge_ranges};

use crate::admission::end_of;

/// How far outside its boot and the present a report's time may lie before it is not believed.
const TIME_SLACK: Duration = Duration::from_secs(86_400);

/// How many frames may wait for lower numbers before the oldest such wait is forgotten (its `settled` with it).
const MAX_CANDIDATES: usize = 32;

/// One connection, as the shell counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What is to be said when a batch is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipts {
    /// Acknowledgements by connection.
    pub acks: BTreeMap<ConnectionId, Vec<BootRanges>>,
    /// One-offs that may have got their result: pairs for the catalog, which knows.
    pub oneoffs: Vec<(MeasurementId, ProbeId)>,
}

#[derive(Debug)]
struct Boot {
    record: BootRecord,
    durable: RangeSet,
    /// In the batch that gathers, or in the one being committed.
    queued: RangeSet,
    /// Frames whose lower numbers are not all there yet: last number, and what will be settled then.
    candidates: VecDeque<(Seq, UnixNanos)>,
}

/// The machine.
#[derive(Debug, Default)]
pub struct Intake {
    boots: HashMap<(ProbeId, BootId), Boot>,
    gathering: Batch,
    /// Boots whose records the gathering batch replaces.
    changed: BTreeSet<(ProbeId, BootId)>,
    receipts: Receipts,
    committing: bool,
}

impl Intake {
    /// Makes a probe's boots known, with what is durable of them, and adds what its arrival makes durable.
    /// What is known already is kept: it is newer.
    pub fn arrive(&mut self, probe: ProbeId, records: &[BootRecord], durable: &[BootRanges], arrival: Batch) {
        for record in records.iter().chain(&arrival.boots) {
            self.boots.entry((probe, record.boot)).or_insert_with(|| Boot {
                record: record.clone(),
                durable: crate::admission::set_of(durable, record.boot),
                queued: RangeSet::new(),
                candidates: VecDeque::new(),
            });
        }
        for (_, BootRanges { boot, ranges }) in &arrival.ranges {
            if let Some(known) = self.boots.get_mut(&(probe, *boot)) {
                known.queued.extend(ranges);
            }
        }
        for record in &arrival.boots {
            if let Some(known) = self.boots.get_mut(&(probe, record.boot)) {
                known.record.closed |= record.closed;
            }
        }
        // The arrival's records go into the batch as they are; a later change of the same boot replaces them.
        self.gathering.ranges.extend(arrival.ranges);
        self.gathering.gaps.extend(arrival.gaps);
        self.gathering.boots.extend(arrival.boots);
    }

    /// Brings what the store said of a probe's boots up to what the next commit will make of it.
    pub fn refresh(&self, probe: ProbeId, records: &mut Vec<BootRecord>, durable: &mut Vec<BootRanges>) {
        for record in self.gathering.boots.iter().filter(|record| record.probe == probe) {
            if records.iter().all(|known| known.boot != record.boot) {
                records.push(record.clone());
            }
        }
        for record in records {
            if let Some(boot) = self.boots.get(&(probe, record.boot)) {
                *record = boot.record.clone();
                merge_ranges(durable, record.boot, &boot.durable);
                merge_ranges(durable, record.boot, &boot.queued);
            }
        }
    }

    /// Forgets a probe that has no connection any more. What it handed in stays.
    pub fn depart(&mut self, probe: ProbeId) {
        self.boots.retain(|(owner, _), boot| *owner != probe || !boot.queued.is_empty());
    }

    /// Takes what a connection handed in. `false` when the boot is not known, and the connection must say hello again, or
    /// when its numbers have more holes than a probe of ours leaves.
    pub fn take(
        &mut self,
        connection: ConnectionId,
        (probe, session): (ProbeId, SessionId),
        stored: Stored,
        now: UnixNanos,
    ) -> bool {
        match stored {
            Stored::Frame(frame) => self.take_frame(connection, (probe, session), &frame, now),
            Stored::Gaps(gaps) => gaps.into_iter().all(|gap| self.take_gap(connection, probe, gap, now)),
            Stored::Bye(bye) => self.take_bye(connection, probe, bye),
        }
    }

    fn take_frame(
        &mut self,
        connection: ConnectionId,
        (probe, session): (ProbeId, SessionId),
        frame: &Frame,
        now: UnixNanos,
    ) -> bool {
        let Some(boot) = self.boots.get_mut(&(probe, frame.boot)) else { return false };
        if boot.is_riddled() {
            return false;
        }
        let Some(last) = frame.last() else { return true };
        let mut added = RangeSet::new();
        for (seq, bytes) in frame.numbered() {
            if boot.durable.contains(seq) || boot.queued.contains(seq) {
                continue;
            }
            added.insert(seq..=seq);
            match believable(bytes, &boot.record, now) {
                Some((report, at)) => {
                    if may_be_oneoff(&report) {
                        self.receipts.oneoffs.push((report.measurement(), probe));
                    }
                    self.gathering.reports.push(StoredReport {
                        probe,
                        session,
                        boot: frame.boot,
                        seq,
                        arrived_at: now,
                        measurement: report.measurement(),
                        at,
                        report: bytes.to_vec(),
                    });
                }
                // It can never be stored, and must not be sent for ever.
                None => self.gathering.gaps.push((
                    probe,
                    Gap {
                        boot: frame.boot,
                        first: seq,
                        last: Some(seq),
                        reason: GapReason::Rejected,
                        from: boot.record.settled,
                        to: now,
                    },
                )),
            }
        }
        boot.queued.extend(&added);
        if boot.candidates.len() >= MAX_CANDIDATES {
            boot.candidates.pop_front();
        }
        // Nobody can have settled what is still to come.
        boot.candidates.push_back((last, frame.settled.min(now)));
        let settled = boot.settle();
        if !added.is_empty() {
            self.gathering.ranges.push((probe, BootRanges { boot: frame.boot, ranges: added }));
            if settled {
                self.changed.insert((probe, frame.boot));
            }
        }
        self.acknowledge(connection, frame.boot, &RangeSet::of(frame.first..=last));
        true
    }

    fn take_gap(&mut self, connection: ConnectionId, probe: ProbeId, mut gap: Gap, now: UnixNanos) -> bool {
        let (Some(boot), Some(last)) = (self.boots.get_mut(&(probe, gap.boot)), gap.last) else { return false };
        if boot.is_riddled() {
            return false;
        }
        // No probe can lose what another boot of it ran, nor what is still to come.
        gap.to = gap.to.min(now + TIME_SLACK);
        gap.from = gap.from.max(boot.record.started_at - TIME_SLACK).min(gap.to);
        let numbers = RangeSet::of(gap.first..=last);
        let known = |set: &RangeSet| set.missing(gap.first..=last).is_empty();
        if !known(&boot.durable) && !known(&boot.queued) {
            boot.queued.extend(&numbers);
            boot.settle();
            self.gathering.ranges.push((probe, BootRanges { boot: gap.boot, ranges: numbers.clone() }));
            self.gathering.gaps.push((probe, gap.clone()));
        }
        self.acknowledge(connection, gap.boot, &numbers);
        true
    }

    fn take_bye(&mut self, connection: ConnectionId, probe: ProbeId, bye: Bye) -> bool {
        let started = self.boots.get(&(probe, bye.boot)).map(|boot| boot.record.started_at);
        // An earlier boot that was still in the spool ends only now, and nothing ran until the next one began.
        let of_probe = self.boots.iter().filter(|((owner, boot), _)| *owner == probe && *boot != bye.boot);
        let starts = of_probe.map(|(_, boot)| boot.record.started_at).filter(|at| Some(*at) > started);
        let next_start = starts.min();
        let Some(boot) = self.boots.get_mut(&(probe, bye.boot)) else { return false };
        let mut have = boot.durable.clone();
        have.extend(&boot.queued);
        let complete = bye.last.0 == 0 || have.missing(Seq(1)..=bye.last).is_empty();
        // With holes it is no clean end: the next boot's hello will find a crash.
        if complete && !boot.record.closed {
            boot.record.closed = true;
            if !bye.crashed {
                boot.record.settled = boot.record.settled.max(bye.at);
            }
            if let Some(next_start) = next_start {
                let (gap, _) = end_of(&boot.record, &have, bye.crashed, next_start);
                self.gathering.gaps.push((probe, gap));
            }
            let rest = have.missing(Seq(1)..=Seq(u64::MAX));
            boot.queued.extend(&rest);
            self.gathering.ranges.push((probe, BootRanges { boot: bye.boot, ranges: rest }));
            self.changed.insert((probe, bye.boot));
        }
        if complete {
            // So the probe learns that it can forget the boot.
            self.acknowledge(connection, bye.boot, &RangeSet::of(Seq(1)..=Seq(u64::MAX)));
        }
        true
    }

    fn acknowledge(&mut self, connection: ConnectionId, boot: BootId, numbers: &RangeSet) {
        merge_ranges(self.receipts.acks.entry(connection).or_default(), boot, numbers);
    }

    /// Is there anything to commit or to acknowledge, and nothing being committed?
    pub fn wants_commit(&self) -> bool {
        let idle = self.gathering.is_empty() && self.changed.is_empty() && self.receipts.acks.is_empty();
        !self.committing && !idle
    }

    /// The batch to commit now, which may be empty, and what to say when it is durable. Call [`Intake::committed`] or
    /// [`Intake::failed`] next.
    pub fn begin_commit(&mut self) -> (Batch, Receipts) {
        self.committing = true;
        let mut batch = std::mem::take(&mut self.gathering);
        for key in std::mem::take(&mut self.changed) {
            batch.boots.extend(self.boots.get(&key).map(|boot| boot.record.clone()));
        }
        (batch, std::mem::take(&mut self.receipts))
    }

    /// The batch is durable.
    pub fn committed(&mut self, batch: &Batch) {
        self.committing = false;
        for (probe, BootRanges { boot, ranges }) in &batch.ranges {
            if let Some(known) = self.boots.get_mut(&(*probe, *boot)) {
                known.durable.extend(ranges);
                known.queued = RangeSet::new();
            }
        }
        // What the next batch holds stays queued.
        for (probe, BootRanges { boot, ranges }) in &self.gathering.ranges {
            if let Some(known) = self.boots.get_mut(&(*probe, *boot)) {
                known.queued.extend(ranges);
            }
        }
    }

    /// The batch is lost, and with it what was gathered meanwhile: every connection must end, so that the probes send
    /// again what was not acknowledged.
    pub fn failed(&mut self) {
        *self = Self::default();
    }
}

impl Boot {
    /// Does its set have so many holes that no message could carry it? Every further number costs time and memory then.
    fn is_riddled(&self) -> bool {
        self.durable.range_count() + self.queued.range_count() >= MAX_RANGES
    }

    /// Moves `settled` as far as the numbers without a hole allow. True when it moved.
    fn settle(&mut self) -> bool {
        let mut have = self.durable.clone();
        have.extend(&self.queued);
        let complete = have.ranges().next().filter(|range| range.start().0 <= 1).map_or(Seq(0), |range| *range.end());
        let before = self.record.settled;
        self.candidates.retain(|&(last, settled)| {
            if last <= complete {
                self.record.settled = self.record.settled.max(settled);
            }
            last > complete
        });
        self.record.settled > before
    }
}

/// The report and its time, if it can be read and its time makes sense.
fn believable(bytes: &[u8], boot: &BootRecord, now: UnixNanos) -> Option<(Report, UnixNanos)> {
    let report = Report::from_cbor(bytes).ok()?;
    let at = match &report {
        Report::Result(result) => result.started_at,
        Report::Skipped(skipped) => skipped.planned_at,
    };
    (at >= boot.started_at - TIME_SLACK && at <= now + TIME_SLACK).then_some((report, at))
}

fn may_be_oneoff(report: &Report) -> bool {
    match report {
        Report::Result(result) => result.interval.is_none(),
        Report::Skipped(skipped) => skipped.runs == 1,
    }
}

#[cfg(test)]
mod tests {
    use sonde_protocol::bounded::{Bytes, List};
    use sonde_protocol::result::{SkipReason, Skipped};

    use super::*;

    const PROBE: ProbeId = ProbeId(4);
    const BOOT: BootId = BootId(9);
    const WHO: (ProbeId, SessionId) = (PROBE, SessionId(1));

    fn intake() -> Intake {
        let mut intake = Intake::default();
        let record =
            BootRecord { probe: PROBE, boot: BOOT, started_at: UnixNanos(0), settled: UnixNanos(0), closed: false };
        intake.arrive(PROBE, &[], &[], Batch { boots: vec![record], ..Batch::default() });
        commit(&mut intake);
        intake
    }

    fn report(n: i64) -> Vec<u8> {
        let skipped =
            Skipped { measurement: MeasurementId(1), planned_at: UnixNanos(n), runs: 1, reason: SkipReason::Limit };
        Report::Skipped(skipped).to_cbor()
    }

    fn frame(first: u64, last: u64) -> Stored {
        let reports = (first..=last).map(|n| Bytes::new(report(n as i64)).unwrap());
        Stored::Frame(Frame {
            boot: BOOT,
            first: Seq(first),
            reports: List::cut(reports),
            settled: UnixNanos(last as i64),
        })
    }

    fn commit(intake: &mut Intake) -> (Batch, Receipts) {
        let (batch, receipts) = intake.begin_commit();
        intake.committed(&batch);
        (batch, receipts)
    }

    fn numbers(batch: &Batch) -> Vec<u64> {
        batch.reports.iter().map(|report| report.seq.0).collect()
    }

    #[test]
    fn a_repeat_is_stored_once_and_acknowledged_twice() {
        let mut intake = intake();
        assert!(intake.take(ConnectionId(1), WHO, frame(1, 3), UnixNanos(10)));
        let (first, receipts) = intake.begin_commit();
        assert_eq!(numbers(&first), [1, 2, 3]);
        assert_eq!(receipts.acks[&ConnectionId(1)][0].ranges, RangeSet::of(Seq(1)..=Seq(3)));
        // The same again over another connection, while the first is being committed.
        assert!(intake.take(ConnectionId(2), WHO, frame(2, 5), UnixNanos(10)));
        intake.committed(&first);
        let (second, receipts) = commit(&mut intake);
        assert_eq!(numbers(&second), [4, 5]);
        assert!(receipts.acks.contains_key(&ConnectionId(2)));
        assert!(intake.take(ConnectionId(2), WHO, frame(1, 5), UnixNanos(10)));
        let (third, receipts) = commit(&mut intake);
        assert!(third.is_empty());
        assert_eq!(receipts.acks.len(), 1, "what is durable is acknowledged again");
    }

    #[test]
    fn what_is_gathered_counts_for_a_probe_that_arrives_meanwhile() {
        let mut intake = intake();
        intake.take(ConnectionId(1), WHO, frame(1, 3), UnixNanos(10));
        let newer = BootRecord {
            probe: PROBE,
            boot: BootId(10),
            started_at: UnixNanos(8),
            settled: UnixNanos(8),
            closed: false,
        };
        intake.arrive(PROBE, &[], &[], Batch { boots: vec![newer.clone()], ..Batch::default() });
        // The store knows the first boot alone, and nothing of its reports.
        let first = BootRecord { boot: BOOT, started_at: UnixNanos(0), settled: UnixNanos(0), ..newer.clone() };
        let (mut records, mut durable) = (vec![first.clone()], Vec::new());
        intake.refresh(PROBE, &mut records, &mut durable);
        assert_eq!(records, [BootRecord { settled: UnixNanos(3), ..first }, newer]);
        assert_eq!(crate::admission::set_of(&durable, BOOT), RangeSet::of(Seq(1)..=Seq(3)));
    }

    #[test]
    fn settled_follows_the_numbers_without_a_hole() {
        let mut intake = intake();
        intake.take(ConnectionId(1), WHO, frame(4, 6), UnixNanos(10));
        assert!(commit(&mut intake).0.boots.is_empty(), "1 to 3 are missing");
        intake.take(ConnectionId(1), WHO, frame(1, 3), UnixNanos(10));
        assert_eq!(commit(&mut intake).0.boots[0].settled, UnixNanos(6));
    }

    #[test]
    fn a_report_that_cannot_be_read_becomes_a_gap() {
        let mut intake = intake();
        let reports = List::cut([Bytes::new([0xff, 0xff]).unwrap(), Bytes::new(report(1 << 60)).unwrap()]);
        let stored = Stored::Frame(Frame { boot: BOOT, first: Seq(1), reports, settled: UnixNanos(1) });
        assert!(intake.take(ConnectionId(1), WHO, stored, UnixNanos(10)));
        let (batch, receipts) = commit(&mut intake);
        assert!(batch.reports.is_empty());
        assert!(batch.gaps.len() == 2 && batch.gaps.iter().all(|(_, gap)| gap.reason == GapReason::Rejected));
        assert_eq!(receipts.acks[&ConnectionId(1)][0].ranges, RangeSet::of(Seq(1)..=Seq(2)));
    }

    #[test]
    fn a_gap_cannot_hide_what_other_boots_ran_or_what_is_to_come() {
        let mut intake = intake();
        let numbers = (Seq(1), Some(Seq(2)));
        let gap = |from, to| {
            let (first, last) = numbers;
            let reason = GapReason::SpoolFull;
            Stored::Gaps(vec![Gap { boot: BOOT, first, last, reason, from: UnixNanos(from), to: UnixNanos(to) }])
        };
        assert!(intake.take(ConnectionId(1), WHO, gap(i64::MIN, i64::MAX), UnixNanos(10)));
        let (batch, _) = commit(&mut intake);
        let (_, kept) = &batch.gaps[0];
        assert_eq!((kept.from, kept.to), (UnixNanos(0) - TIME_SLACK, UnixNanos(10) + TIME_SLACK));
    }

    #[test]
    fn a_boot_full_of_holes_is_not_taken_any_further() {
        let mut intake = intake();
        let taken = (1..).take_while(|n| intake.take(ConnectionId(1), WHO, frame(2 * n, 2 * n), UnixNanos(10))).count();
        assert_eq!(taken, MAX_RANGES);
        let (_, receipts) = commit(&mut intake);
        let ack = sonde_protocol::message::to_cbor(&receipts.acks[&ConnectionId(1)][0]);
        assert!(sonde_protocol::message::from_cbor::<BootRanges>(&ack).is_ok(), "it can still be said what is durable");
    }

    #[test]
    fn goodbye_closes_a_complete_boot_only() {
        let mut intake = intake();
        let bye = Stored::Bye(Bye { boot: BOOT, last: Seq(2), at: UnixNanos(9), crashed: false });
        intake.take(ConnectionId(1), WHO, bye.clone(), UnixNanos(10));
        assert!(commit(&mut intake).0.boots.is_empty(), "1 and 2 are missing");
        intake.take(ConnectionId(1), WHO, frame(1, 2), UnixNanos(10));
        intake.take(ConnectionId(1), WHO, bye, UnixNanos(10));
        let (batch, _) = commit(&mut intake);
        assert!(batch.boots[0].closed && batch.boots[0].settled == UnixNanos(9));
    }

    #[test]
    fn the_late_end_of_an_earlier_boot_closes_it_with_a_gap_until_the_next_and_is_acknowledged() {
        for (crashed, reason) in [(false, GapReason::Stopped), (true, GapReason::Crash)] {
            let mut intake = intake();
            let newer = |boot, at| BootRecord {
                probe: PROBE,
                boot: BootId(boot),
                started_at: UnixNanos(at),
                settled: UnixNanos(at),
                closed: false,
            };
            let boots = vec![newer(10, 50), newer(11, 80)];
            intake.arrive(PROBE, &[], &[], Batch { boots, ..Batch::default() });
            intake.take(ConnectionId(1), WHO, frame(1, 3), UnixNanos(100));
            commit(&mut intake);
            let bye = Stored::Bye(Bye { boot: BOOT, last: Seq(3), at: UnixNanos(9), crashed });
            assert!(intake.take(ConnectionId(1), WHO, bye.clone(), UnixNanos(100)));
            let (batch, receipts) = commit(&mut intake);
            let (_, gap) = &batch.gaps[0];
            let from = if crashed { UnixNanos(3) } else { UnixNanos(9) };
            assert_eq!((gap.reason, gap.from, gap.to), (reason, from, UnixNanos(50)));
            assert_eq!(gap.last.is_none(), crashed);
            assert_eq!(batch.ranges[0].1.ranges, RangeSet::of(Seq(4)..=Seq(u64::MAX)));
            assert!(batch.boots[0].closed);
            assert!(receipts.acks[&ConnectionId(1)][0].ranges.contains(Seq(u64::MAX)));
            // Said again, it changes nothing, and is acknowledged again.
            assert!(intake.take(ConnectionId(1), WHO, bye, UnixNanos(100)));
            let (batch, receipts) = commit(&mut intake);
            assert!(batch.is_empty() && receipts.acks.len() == 1);
        }
    }

    #[test]
    fn an_unknown_boot_and_a_failed_commit_make_the_probe_come_again() {
        let mut intake = intake();
        intake.take(ConnectionId(1), WHO, frame(1, 2), UnixNanos(10));
        intake.begin_commit();
        intake.failed();
        assert!(!intake.take(ConnectionId(1), WHO, frame(3, 4), UnixNanos(10)));
        assert!(!intake.wants_commit());
    }
}
