//! Hours of UTC, which votes are counted by, and days of them.

use sonde_protocol::time::UnixNanos;

/// Seconds of an hour.
const SECONDS: i64 = 3600;

/// The latest hour there is, at the end of the year 2199: well inside what nanoseconds since 1970 can hold.
const LAST: i64 = 7_258_118_400 / SECONDS;

/// An hour of UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hour(pub i64);

impl Hour {
    /// Of a day.
    pub const A_DAY: i64 = 24;

    /// The hour that a time is in.
    pub const fn of(at: UnixNanos) -> Self {
        Self::of_seconds(at.as_secs())
    }

    /// The hour that a second is in.
    pub const fn of_seconds(seconds: i64) -> Self {
        Self(seconds.div_euclid(SECONDS))
    }

    /// When it begins.
    pub const fn start(self) -> UnixNanos {
        UnixNanos::from_secs(self.seconds())
    }

    /// When it begins, in seconds; hours outside of what can be told count as the nearest that can.
    pub const fn seconds(self) -> i64 {
        let hour = if self.0 < 0 { 0 } else { self.0 };
        (if hour > LAST { LAST } else { hour }) * SECONDS
    }

    /// So many hours later, or earlier.
    #[must_use]
    pub const fn plus(self, hours: i64) -> Self {
        Self(self.0.saturating_add(hours))
    }

    /// The first hour of its day.
    #[must_use]
    pub const fn day(self) -> Self {
        Self(self.0.div_euclid(Self::A_DAY) * Self::A_DAY)
    }

    /// The hours from this one on, before `to`.
    pub fn until(self, to: Self) -> impl Iterator<Item = Self> + Clone {
        (self.0..to.0).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_and_days_begin_where_those_of_utc_do() {
        let hour = Hour::of_seconds(1_760_000_000);
        assert_eq!((hour.seconds(), hour.day().seconds()), (1_759_996_800, 1_759_968_000));
        assert_eq!((Hour::of_seconds(-1), Hour::of_seconds(3600)), (Hour(-1), Hour(1)));
        assert_eq!(hour.until(hour.plus(3)).count(), 3);
        assert_eq!(hour.until(hour.plus(-3)).count(), 0);
        assert_eq!(Hour(i64::MAX).seconds(), 7_258_118_400);
    }
}
