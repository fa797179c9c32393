//! Is the host's line busy with something else? Then periodic work waits. Pure: times, counters and round-trip times are
//! arguments; who looks at them, and when, is the agent's business.
//!
//! Two signs, each with a threshold of the host's ([`crate::config::Quiet`]): more bytes a second on the interfaces to the
//! internet than this probe can have caused, and a first hop that answers later than it does at its best. Hysteresis: the
//! line is busy at the first sign of it, and quiet again only when two looks in a row, some seconds apart, saw less than half.

use std::fmt;
use std::time::Duration;

use sonde_protocol::time::Nanos;

use crate::config::Quiet;

/// The least time between two looks: a shorter one says too little, and looking costs a wake-up.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The longest: what happened on average since before that says nothing of now.
const STALE: Duration = Duration::from_secs(15);

/// Looks in a row without a sign before the line counts as quiet.
const CALM_LOOKS: u32 = 2;

/// For how long the best round-trip time of the first hop stands. Then the best since half of that takes its place.
const BASELINE: Duration = Duration::from_secs(1800);

/// What is known of the line.
#[derive(Debug, Default)]
pub struct LineWatch {
    last: Option<(Nanos, Counters)>,
    busy: Option<Busy>,
    calm: u32,
    best: Option<Best>,
}

/// Bytes in both directions since some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// On the interfaces to the internet.
    pub passed: u64,
    /// By this probe at most.
    pub own: u64,
}

/// Why the line counts as busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// So many kilobits a second of others.
    Traffic(u64),
    /// The first hop answered so many milliseconds later than at its best.
    FirstHop(u64),
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Busy::Traffic(kilobits) => write!(f, "{} Mbit/s of other traffic", kilobits / 1_000),
            Busy::FirstHop(late) => write!(f, "the router answers {late} ms later than usual"),
        }
    }
}

/// The least round-trip times of this and the last half of the time that they stand.
#[derive(Debug, Clone, Copy)]
struct Best {
    since: Nanos,
    now: Duration,
    before: Duration,
}

impl LineWatch {
    /// When a look would say something; now or before when it would now.
    pub fn look_at(&self) -> Option<Nanos> {
        self.last.map(|(at, _)| at + LOOK_EVERY)
    }

    /// Somebody looked: so much has passed, and the first hop answered after `rtt`, if it was asked and did.
    pub fn look(&mut self, settings: &Quiet, now: Nanos, counters: Counters, rtt: Option<Duration>) {
        let before = self.last.replace((now, counters));
        let late = rtt.map(|rtt| self.late(now, rtt));
        let Some((then, count)) = before.filter(|(then, _)| now.since(*then) <= STALE) else {
            // Nothing to compare with: what was is over.
            self.busy = None;
            return;
        };
        let took = u64::try_from(now.since(then).as_millis()).unwrap_or(u64::MAX).max(1);
        // An interface that has gone took its counter with it.
        let own = counters.own.saturating_sub(count.own);
        let foreign = counters.passed.saturating_sub(count.passed).saturating_sub(own);
        let kilobits = foreign.saturating_mul(8) / took;
        // Half of the thresholds is enough to stay busy.
        let share = if self.busy.is_some() { 2 } else { 1 };
        let (traffic, delay) = (settings.busy_mbits.saturating_mul(1_000), settings.first_hop_ms);
        let late = late.map(|late| u64::try_from(late.as_millis()).unwrap_or(u64::MAX)).unwrap_or(0);
        let sign = if traffic > 0 && kilobits >= traffic / share {
            Some(Busy::Traffic(kilobits))
        } else if delay > 0 && late >= delay / share {
            Some(Busy::FirstHop(late))
        } else {
            None
        };
        match sign {
            Some(sign) => (self.busy, self.calm) = (Some(sign), 0),
            None if self.busy.is_some() => {
                self.calm += 1;
                if self.calm >= CALM_LOOKS {
                    self.busy = None;
                }
            }
            None => {}
        }
    }

    /// Is the line busy, as far as the last look says that still counts?
    pub fn busy(&self, now: Nanos) -> Option<Busy> {
        self.busy.filter(|_| self.last.is_some_and(|(at, _)| now.since(at) <= STALE))
    }

    /// By how much a round-trip time is above the best one.
    fn late(&mut self, now: Nanos, rtt: Duration) -> Duration {
        let best = match self.best {
            None => Best { since: now, now: rtt, before: rtt },
            Some(best) if now.since(best.since) > BASELINE / 2 => Best { since: now, now: rtt, before: best.now },
            Some(best) => Best { now: best.now.min(rtt), ..best },
        };
        self.best = Some(best);
        rtt.saturating_sub(best.now.min(best.before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;
    /// 10 Mbit/s for a second.
    const TEN_MBITS: u64 = 10_000_000 / 8;

    fn counters(passed: u64) -> Counters {
        Counters { passed, own: 0 }
    }

    fn settings(busy_mbits: u64, first_hop_ms: u64) -> Quiet {
        Quiet { busy_mbits, first_hop_ms }
    }

    /// Looks at these seconds with so many bytes since the look before; gives what was said at each.
    fn traffic(looks: &[(i64, u64)]) -> Vec<bool> {
        let mut watch = LineWatch::default();
        let mut count = 0;
        let look = |(second, bytes): &(i64, u64)| {
            count += bytes;
            watch.look(&settings(10, 0), Nanos(second * S), counters(count), None);
            watch.busy(Nanos(second * S)).is_some()
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn the_line_is_busy_at_once_and_quiet_again_after_two_calm_looks() {
        assert_eq!(
            traffic(&[
                (0, 0),
                (2, 0),
                (4, 2 * TEN_MBITS),
                (6, TEN_MBITS),
                (8, 0),
                (10, 2 * TEN_MBITS),
                (12, 9),
                (14, 9)
            ]),
            [false, false, true, true, true, true, true, false],
            "half of it keeps it busy, and one calm look does not end it"
        );
        assert_eq!(traffic(&[(0, 0), (2, 2 * TEN_MBITS - 10_000)]), [false, false]);
    }

    #[test]
    fn the_first_look_and_one_long_after_the_last_say_nothing() {
        assert_eq!(traffic(&[(0, 1 << 40), (60, 1 << 40), (62, 2 * TEN_MBITS)]), [false, false, true]);
        let mut watch = LineWatch::default();
        watch.look(&settings(10, 0), Nanos(0), counters(0), None);
        watch.look(&settings(10, 0), Nanos(2 * S), counters(1 << 40), None);
        assert!(watch.busy(Nanos(3 * S)).is_some() && watch.busy(Nanos(60 * S)).is_none());
        // A counter that has begun anew.
        watch.look(&settings(10, 0), Nanos(4 * S), counters(0), None);
        watch.look(&settings(10, 0), Nanos(6 * S), counters(0), None);
        assert!(watch.busy(Nanos(6 * S)).is_none());
    }

    #[test]
    fn a_first_hop_that_answers_late_is_compared_with_its_own_best() {
        let mut watch = LineWatch::default();
        let mut look = |second: i64, ms: Option<u64>| {
            watch.look(&settings(0, 20), Nanos(second * S), counters(0), ms.map(Duration::from_millis));
            watch.busy(Nanos(second * S))
        };
        assert_eq!(look(0, Some(3)), None);
        assert_eq!(look(2, Some(2)), None);
        assert_eq!(look(4, Some(22)), Some(Busy::FirstHop(20)));
        assert_eq!(look(6, Some(13)), Some(Busy::FirstHop(11)));
        assert_eq!(look(8, Some(3)), Some(Busy::FirstHop(11)));
        assert_eq!(look(10, None), None, "one that does not answer is no sign");
        assert_eq!(look(12, Some(21)), None);
    }

    #[test]
    fn a_line_that_has_become_slower_for_good_is_not_busy_for_ever() {
        let mut watch = LineWatch::default();
        let quiet = settings(0, 20);
        watch.look(&quiet, Nanos(0), counters(0), Some(Duration::from_millis(2)));
        let last = (1..1_500).map(|n| {
            watch.look(&quiet, Nanos(n * 2 * S), counters(0), Some(Duration::from_millis(40)));
            watch.busy(Nanos(n * 2 * S)).is_some()
        });
        let busy: Vec<bool> = last.collect();
        assert!(busy[0] && !busy[1_498]);
    }

    #[test]
    fn what_the_probe_does_itself_is_no_sign() {
        let mut watch = LineWatch::default();
        for n in 0..9 {
            let bytes = n * 20 * TEN_MBITS;
            watch.look(&settings(10, 0), Nanos(n as i64 * 2 * S), Counters { passed: bytes, own: bytes }, None);
            assert_eq!(watch.busy(Nanos(n as i64 * 2 * S)), None);
        }
    }

    #[test]
    fn thresholds_of_nothing_see_nothing() {
        let mut watch = LineWatch::default();
        for n in 0..9 {
            let rtt = Duration::from_secs(n % 2);
            watch.look(&settings(0, 0), Nanos(n as i64 * 2 * S), counters(n << 40), Some(rtt));
            assert_eq!(watch.busy(Nanos(n as i64 * 2 * S)), None);
        }
    }
}
