//! The time that an answer is about: whole hours of UTC, from one on, before another.

use sonde_protocol::time::UnixNanos;
use sonde_store::reachability::Hour;

use crate::error::ApiError;
use crate::params::Params;

/// How many hours are summed up when nobody says.
const HOURS: i64 = Hour::A_DAY;

/// The most hours of one sum or of a series by hours: those that are in memory.
const MAX_HOURS: i64 = 8 * Hour::A_DAY;

/// How many of those that are not can be asked for at once: all their votes are read.
const MAX_OLD_HOURS: i64 = Hour::A_DAY;

/// How many days a series by days has when nobody says, and at most.
const DAYS: i64 = 90;
const MAX_DAYS: i64 = 1000;

/// From one hour on, before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub from: Hour,
    pub to: Hour,
}

/// How far the points of a series are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Hour,
    Day,
}

impl Step {
    /// Reads `step`.
    pub fn read(params: &Params) -> Result<Self, ApiError> {
        match params.get("step") {
            None | Some("hour") => Ok(Self::Hour),
            Some("day") => Ok(Self::Day),
            Some(_) => Err(ApiError::parameter("step", "Steps are hour and day.")),
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

impl Span {
    /// Reads `from` and `to` for a sum: the last 24 hours when neither is there, the one under way included.
    pub fn read(params: &Params, now: UnixNanos) -> Result<Self, ApiError> {
        let span = Self::read_hours(params, now, HOURS, MAX_HOURS)?;
        let is_old = span.from < Hour::of(now).plus(1 - MAX_HOURS);
        if is_old && span.to.0 - span.from.0 > MAX_OLD_HOURS {
            let why = "Of more than eight days ago one day can be asked for at once. Series by days reach further.";
            return Err(ApiError::parameter("from", why));
        }
        Ok(span)
    }

    /// The same for a series.
    pub fn read_series(params: &Params, step: Step, now: UnixNanos) -> Result<Self, ApiError> {
        match step {
            Step::Hour => Self::read(params, now),
            Step::Day => {
                let span = Self::read_hours(params, now, DAYS * Hour::A_DAY, MAX_DAYS * Hour::A_DAY)?;
                // A day that has begun inside is there whole.
                Ok(Self { from: span.from.plus(Hour::A_DAY - 1).day(), ..span })
            }
        }
    }

    /// Hours that have only begun count whole, and there is nothing to say of the future.
    fn read_hours(params: &Params, now: UnixNanos, usual: i64, most: i64) -> Result<Self, ApiError> {
        let end = Hour::of(now).plus(1);
        let to = params.time("to")?.map(|to| Hour::of_seconds(to.saturating_add(3599)).min(end)).unwrap_or(end);
        let from = params.time("from")?.map(Hour::of_seconds).unwrap_or(to.plus(-usual));
        if from >= to {
            return Err(ApiError::parameter("from", "Enter a time before `to`, and not in the future."));
        }
        if to.0 - from.0 > most {
            let most = most / Hour::A_DAY;
            return Err(ApiError::parameter("from", format!("At most {most} days can be asked for at once.")));
        }
        Ok(Self { from, to })
    }

    /// Is it about days that are over, so that only what comes very late can change it?
    pub fn is_over(self, now: UnixNanos) -> bool {
        self.to <= Hour::of(now).day() && self.to < Hour::of(now).plus(-2)
    }
}
