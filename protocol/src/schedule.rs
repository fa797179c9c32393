//! When the runs of an order are due. Deterministic, so that probe, server and anybody who reads the results agree.
//!
//! A periodic order is due at `start + phase + n × interval`, n = 0, 1, …; the phase depends on measurement and probe alone
//! and lies inside the spread. A one-off is due once.

use core::time::Duration;

use crate::ids::{MeasurementId, ProbeId};
use crate::order::{Order, When};
use crate::seed::{mix, scale};
use crate::time::UnixNanos;

/// The offset of this probe's runs inside the spread of `spread` seconds, in whole milliseconds.
pub fn phase(measurement: MeasurementId, probe: ProbeId, spread: u32) -> Duration {
    let bits = mix(mix(measurement.0) ^ probe.0);
    Duration::from_millis(scale(bits, u64::from(spread) * 1000))
}

/// The runs of one order on one probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// At `first + n × interval`, before `stop`.
    Periodic {
        /// The first due time.
        first: UnixNanos,
        /// Between runs; never zero.
        interval: Duration,
        /// No run is due at or after this.
        stop: Option<UnixNanos>,
    },
    /// Once, at `at` or as soon after as can be, before `expires`.
    Once {
        /// The due time.
        at: UnixNanos,
        /// Too late.
        expires: UnixNanos,
    },
}

impl Runs {
    /// The runs of `order` on `probe`.
    pub fn of(order: &Order, probe: ProbeId) -> Self {
        match order.when {
            When::Periodic { start, interval, spread, stop } => Runs::Periodic {
                first: start + phase(order.measurement, probe, spread.min(interval)),
                interval: Duration::from_secs(u64::from(interval.max(1))),
                stop,
            },
            When::Once { start, expires } => Runs::Once { at: start.unwrap_or(order.ordered_at), expires },
        }
    }

    /// The first due time at or after `from`. A one-off is due at its own time whatever `from` is.
    pub fn first_at_or_after(&self, from: UnixNanos) -> Option<UnixNanos> {
        match *self {
            Runs::Once { at, .. } => Some(at),
            Runs::Periodic { first, interval, stop } => {
                // Wider than the times: an order may claim any beginning, and an answer before `from` would make the caller
                // step through all of the years between.
                let interval = interval.as_nanos().cast_signed().max(1);
                let late = i128::from(from.0) - i128::from(first.0);
                let n = if late <= 0 { 0 } else { late / interval + i128::from(late % interval != 0) };
                let due = UnixNanos(i64::try_from(i128::from(first.0) + n * interval).ok()?);
                stop.is_none_or(|stop| due < stop).then_some(due)
            }
        }
    }

    /// The due time after `due`, which must be one itself.
    pub fn next_after(&self, due: UnixNanos) -> Option<UnixNanos> {
        match *self {
            Runs::Once { .. } => None,
            Runs::Periodic { interval, stop, .. } => {
                let next = due + interval;
                (next > due && stop.is_none_or(|stop| next < stop)).then_some(next)
            }
        }
    }

    /// The first due time in `from..to` and how many there are; `None` when there is none.
    pub fn between(&self, from: UnixNanos, to: UnixNanos) -> Option<(UnixNanos, u64)> {
        let first = self.first_at_or_after(from)?;
        match *self {
            Runs::Once { at, .. } => (at >= from && at < to).then_some((at, 1)),
            Runs::Periodic { interval, stop, .. } => {
                let end = stop.map_or(to, |stop| stop.min(to));
                let span = (i128::from(end.0) - i128::from(first.0)).cast_unsigned();
                let count = if end > first { (span - 1) / interval.as_nanos().max(1) + 1 } else { return None };
                Some((first, u64::try_from(count).unwrap_or(0)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn the_phase_is_inside_the_spread_and_never_changes() {
        for probe in 1..500 {
            assert!(phase(MeasurementId(1_000_001), ProbeId(probe), 120) < Duration::from_secs(120));
        }
        assert_eq!(phase(MeasurementId(1_000_001), ProbeId(1), 120), Duration::from_millis(109_926));
        assert_eq!(phase(MeasurementId(1), ProbeId(1), 0), Duration::ZERO);
    }

    #[test]
    fn nothing_is_due_at_or_after_the_stop() {
        let runs = Runs::Periodic {
            first: UnixNanos(10 * S),
            interval: Duration::from_secs(5),
            stop: Some(UnixNanos(20 * S)),
        };
        assert_eq!(runs.first_at_or_after(UnixNanos(0)), Some(UnixNanos(10 * S)));
        assert_eq!(runs.first_at_or_after(UnixNanos(10 * S + 1)), Some(UnixNanos(15 * S)));
        assert_eq!(runs.next_after(UnixNanos(15 * S)), None);
        assert_eq!(runs.first_at_or_after(UnixNanos(16 * S)), None);
        assert_eq!(runs.between(UnixNanos(0), UnixNanos(100 * S)), Some((UnixNanos(10 * S), 2)));
    }

    proptest! {
        #[test]
        fn between_counts_what_stepping_finds(first in 0i64..100, interval in 1u64..50, from in 0i64..400, length in 0i64..400, stop in proptest::option::of(0i64..500)) {
            let runs = Runs::Periodic {
                first: UnixNanos(first * S),
                interval: Duration::from_secs(interval),
                stop: stop.map(|s| UnixNanos(s * S)),
            };
            let (from, to) = (UnixNanos(from * S), UnixNanos((from + length) * S));
            let mut stepped = alloc::vec::Vec::new();
            let mut due = runs.first_at_or_after(from);
            while let Some(at) = due.filter(|&at| at < to) {
                stepped.push(at);
                due = runs.next_after(at);
            }
            let expected = stepped.first().map(|&at| (at, stepped.len() as u64));
            prop_assert_eq!(runs.between(from, to), expected);
        }
    }
}
