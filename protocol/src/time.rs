//! Points in time as integers. Nothing here reads a clock.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

macro_rules! instant {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, Encode, Decode,
        )]
        #[serde(transparent)]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] pub i64);

        impl $name {
            /// The time from `earlier` to `self`; zero if `earlier` is in fact later.
            pub fn since(self, earlier: Self) -> Duration {
                Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
            }

            /// The signed difference in nanoseconds, saturating.
            pub fn nanos_since(self, earlier: Self) -> i64 {
                self.0.saturating_sub(earlier.0)
            }
        }

        impl Add<Duration> for $name {
            type Output = Self;
            fn add(self, step: Duration) -> Self {
                Self(self.0.saturating_add(i64::try_from(step.as_nanos()).unwrap_or(i64::MAX)))
            }
        }

        impl Sub<Duration> for $name {
            type Output = Self;
            fn sub(self, step: Duration) -> Self {
                Self(self.0.saturating_sub(i64::try_from(step.as_nanos()).unwrap_or(i64::MAX)))
            }
        }
    };
}

instant! {
    /// Nanoseconds on a monotonic clock of the machine that made it. Only differences mean anything.
    Nanos
}

instant! {
    /// Nanoseconds since 1970-01-01 UTC, without leap seconds. For labels and schedules; never for a round-trip time.
    UnixNanos
}

impl UnixNanos {
    /// From whole seconds, saturating.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Whole seconds, rounded down (as Atlas's `timestamp`).
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }
}

impl fmt::Display for UnixNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.as_secs(), self.0.rem_euclid(1_000_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_round_down_also_before_the_epoch() {
        assert_eq!(UnixNanos(-1).as_secs(), -1);
        assert_eq!(UnixNanos(1_999_999_999).as_secs(), 1);
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Nanos(i64::MAX) + Duration::from_secs(1), Nanos(i64::MAX));
        assert_eq!(Nanos(5).since(Nanos(9)), Duration::ZERO);
    }
}
