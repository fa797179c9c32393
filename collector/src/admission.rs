//! What a probe's hello means for its earlier boots: which of them are over, and how long nothing ran. Pure.
//!
//! A boot that the spool no longer lists and that never said goodbye has crashed; one that said goodbye was stopped.
//! Either way nothing ran until the new boot began, and one gap says so, so that every due time is accounted for. A boot that
//! the spool still lists stays open: its reports come, and its end is said then ([`end_of`]).

use std::time::Duration;

use sonde_protocol::ids::{BootId, ProbeId, Seq};
use sonde_protocol::message::{BootRanges, Gap, GapReason, Hello};
use sonde_protocol::range_set::RangeSet;
use sonde_protocol::time::UnixNanos;
use sonde_store::results::{Batch, BootRecord};

/// What follows from a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// When the probe's boot began.
    pub boot_started_at: UnixNanos,
    /// To be made durable before the probe is welcomed: gaps, closed boots, the new boot.
    pub batch: Batch,
}

/// Judges a hello that came at `now` from a probe of which `known` boots are recorded (those that are not closed, and the
/// last one) with what is `durable` of them.
pub fn arrive(probe: ProbeId, hello: &Hello, known: &[BootRecord], durable: &[BootRanges], now: UnixNanos) -> Arrival {
    let mut batch = Batch::default();
    if let Some(record) = known.iter().find(|record| record.boot == hello.boot) {
        return Arrival { boot_started_at: record.started_at, batch };
    }
    let started_at = now - Duration::from_nanos(hello.uptime);
    if is_over(durable, hello.boot) {
        // Another boot with the same key has come since, and this one is not over after all: a copied card. It is told so by
        // what is durable of it, and begins a new boot; nothing of others' changes.
        return Arrival { boot_started_at: started_at, batch };
    }
    let last = known.iter().max_by_key(|record| record.started_at);
    for record in known {
        let listed = hello.boots.iter().any(|spooled| spooled.boot == record.boot);
        if record.closed {
            // It said goodbye. Only the newest boot's end touches the beginning of this one.
            if last.is_some_and(|last| last.boot == record.boot) {
                let (gap, _) = end_of(record, &RangeSet::new(), false, started_at);
                batch.gaps.push((probe, gap));
            }
        } else if !listed {
            let (gap, ranges) = crash(record, durable, started_at);
            batch.gaps.push((probe, gap));
            batch.ranges.push((probe, BootRanges { boot: record.boot, ranges }));
            batch.boots.push(BootRecord { closed: true, ..record.clone() });
        }
    }
    for spooled in hello.boots.iter().filter(|spooled| spooled.boot != hello.boot) {
        // Reports of a boot that was forgotten here, by a restored backup for one, are taken all the same.
        if !is_over(durable, spooled.boot) && known.iter().all(|record| record.boot != spooled.boot) {
            let began = spooled.started_at.unwrap_or(started_at).min(started_at);
            batch.boots.push(BootRecord {
                probe,
                boot: spooled.boot,
                started_at: began,
                settled: began,
                closed: false,
            });
        }
    }
    batch.boots.push(BootRecord { probe, boot: hello.boot, started_at, settled: started_at, closed: false });
    Arrival { boot_started_at: started_at, batch }
}

/// The gap that ends a crashed boot, and the numbers it closes.
fn crash(record: &BootRecord, durable: &[BootRanges], new_start: UnixNanos) -> (Gap, RangeSet) {
    end_of(record, &set_of(durable, record.boot), true, new_start)
}

/// The gap from the end of a boot, of which these numbers are known, until the next one began, and the numbers it closes.
pub fn end_of(record: &BootRecord, have: &RangeSet, crashed: bool, new_start: UnixNanos) -> (Gap, RangeSet) {
    let missing = have.missing(Seq(1)..=Seq(u64::MAX));
    let first = missing.ranges().next().map_or(Seq(u64::MAX), |range| *range.start());
    let (first, last, reason) =
        if crashed { (first, None, GapReason::Crash) } else { (Seq(0), Some(Seq(0)), GapReason::Stopped) };
    let (from, to) = (record.settled, new_start.max(record.settled));
    (Gap { boot: record.boot, first, last, reason, from, to }, missing)
}

/// Has this boot ended? Nothing has such a number; only an end closes it.
fn is_over(durable: &[BootRanges], boot: BootId) -> bool {
    durable.iter().any(|known| known.boot == boot && known.ranges.contains(Seq(u64::MAX)))
}

/// The set of one boot.
pub fn set_of(durable: &[BootRanges], boot: BootId) -> RangeSet {
    durable.iter().find(|known| known.boot == boot).map(|known| known.ranges.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use sonde_protocol::bounded::{List, Text};
    use sonde_protocol::message::SpooledBoot;

    use super::*;

    const PROBE: ProbeId = ProbeId(1);

    fn hello(boot: u64, uptime: u64) -> Hello {
        Hello {
            versions: List::cut([1]),
            software: Text::cut("t"),
            boot: BootId(boot),
            uptime,
            now: UnixNanos(0),
            clock_synchronised: false,
            orders: None,
            boots: List::cut([SpooledBoot { boot: BootId(boot), next: Seq(1), started_at: None }]),
            spool_depth: 0,
            addresses: List::default(),
            token: None,
            directory: 0,
            kinds: List::default(),
            families: List::default(),
            conditions: None,
        }
    }

    fn record(boot: u64, settled: i64, closed: bool) -> BootRecord {
        BootRecord {
            probe: PROBE,
            boot: BootId(boot),
            started_at: UnixNanos(boot as i64),
            settled: UnixNanos(settled),
            closed,
        }
    }

    #[test]
    fn a_first_boot_leaves_no_gap() {
        let arrival = arrive(PROBE, &hello(7, 30), &[], &[], UnixNanos(1000));
        assert_eq!(arrival.boot_started_at, UnixNanos(970));
        assert!(arrival.batch.gaps.is_empty());
        assert_eq!(arrival.batch.boots.len(), 1);
    }

    #[test]
    fn the_same_boot_again_changes_nothing() {
        let arrival = arrive(PROBE, &hello(7, 30), &[record(7, 500, false)], &[], UnixNanos(1000));
        assert_eq!(arrival.boot_started_at, UnixNanos(7));
        assert!(arrival.batch.is_empty());
    }

    #[test]
    fn a_crashed_boot_ends_in_one_open_gap_that_closes_its_set() {
        let mut ranges = RangeSet::of(Seq(1)..=Seq(4));
        ranges.insert(Seq(7)..=Seq(8));
        let durable = [BootRanges { boot: BootId(3), ranges: ranges.clone() }];
        let arrival = arrive(PROBE, &hello(7, 30), &[record(3, 500, false)], &durable, UnixNanos(1000));
        let (_, gap) = &arrival.batch.gaps[0];
        assert_eq!((gap.first, gap.last, gap.reason), (Seq(5), None, GapReason::Crash));
        assert_eq!((gap.from, gap.to), (UnixNanos(500), UnixNanos(970)));
        ranges.extend(&arrival.batch.ranges[0].1.ranges);
        assert_eq!(ranges, RangeSet::of(Seq(1)..=Seq(u64::MAX)));
        assert!(arrival.batch.boots.iter().any(|boot| boot.boot == BootId(3) && boot.closed));
    }

    #[test]
    fn a_boot_that_was_ended_and_comes_back_ends_no_other() {
        let known = [record(7, 500, false)];
        let durable = [BootRanges { boot: BootId(3), ranges: RangeSet::of(Seq(5)..=Seq(u64::MAX)) }];
        let arrival = arrive(PROBE, &hello(3, 900), &known, &durable, UnixNanos(1000));
        assert!(arrival.batch.is_empty(), "{arrival:?}");
    }

    #[test]
    fn a_boot_that_is_still_in_the_spool_stays_open_even_if_it_was_forgotten_here() {
        let earlier = SpooledBoot { boot: BootId(3), next: Seq(9), started_at: Some(UnixNanos(400)) };
        let mut hello = hello(7, 30);
        hello.boots.push(earlier).unwrap();
        let known = arrive(PROBE, &hello, &[record(3, 500, false)], &[], UnixNanos(1000));
        assert!(known.batch.gaps.is_empty() && known.batch.boots.iter().all(|boot| boot.boot == BootId(7)));
        let forgotten = arrive(PROBE, &hello, &[], &[], UnixNanos(1000));
        let started: Vec<_> = forgotten.batch.boots.iter().map(|boot| (boot.boot, boot.started_at)).collect();
        assert_eq!(started, [(BootId(3), UnixNanos(400)), (BootId(7), UnixNanos(970))]);
        let over = [BootRanges { boot: BootId(3), ranges: RangeSet::of(Seq(1)..=Seq(u64::MAX)) }];
        assert_eq!(arrive(PROBE, &hello, &[], &over, UnixNanos(1000)).batch.boots.len(), 1, "it is over");
    }

    #[test]
    fn a_stopped_boot_leaves_a_gap_of_time_alone() {
        let arrival = arrive(PROBE, &hello(7, 30), &[record(3, 500, true)], &[], UnixNanos(1000));
        let (_, gap) = &arrival.batch.gaps[0];
        assert_eq!(
            (gap.first, gap.reason, gap.from, gap.to),
            (Seq(0), GapReason::Stopped, UnixNanos(500), UnixNanos(970))
        );
        assert!(arrival.batch.ranges.is_empty());
    }
}
