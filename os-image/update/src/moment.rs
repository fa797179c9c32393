//! Points in time as TUF writes them: whole seconds in UTC. Nothing here reads a clock.

use std::fmt;

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

const FORMAT: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

/// How long a moment is as text, so that years of another length are refused.
const TEXT_LENGTH: usize = "2026-11-28T00:00:00Z".len();

/// Seconds since 1970-01-01 UTC, without leap seconds. As text: `2026-11-28T00:00:00Z`, and no other spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub i64);

impl Moment {
    /// The moment in a text, or `None` if it is no date in exactly this form.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != TEXT_LENGTH || text.starts_with(['-', '+']) {
            return None;
        }
        Some(Self(PrimitiveDateTime::parse(text, FORMAT).ok()?.assume_utc().unix_timestamp()))
    }

    /// This many seconds later, saturating.
    pub const fn plus_seconds(self, seconds: u64) -> Self {
        Self(self.0.saturating_add_unsigned(seconds))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match OffsetDateTime::from_unix_timestamp(self.0).ok().and_then(|time| time.format(FORMAT).ok()) {
            Some(text) => f.write_str(&text),
            None => write!(f, "{} seconds after 1970", self.0),
        }
    }
}

/// The latest time that anybody has vouched for. A board has no clock: it knows when its program was built, what it knew before, and
/// what its collector says. Time so never runs backwards, however wrong a collector is. While it runs, the caller counts on from the last
/// such moment by its monotonic clock, so that a collector that repeats an old time cannot make a running board stand still.
pub fn latest(built: Moment, kept: Moment, collector: Option<Moment>) -> Moment {
    built.max(kept).max(collector.unwrap_or(built))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_alone() {
        let moment = Moment::parse("2030-01-01T00:00:00Z").unwrap();
        assert_eq!(moment, Moment(1_893_456_000));
        assert_eq!(moment.to_string(), "2030-01-01T00:00:00Z");
        for text in [
            "2030-01-01T00:00:00",
            "2030-01-01T00:00:00+00:00",
            "2030-01-01 00:00:00Z",
            "2030-02-30T00:00:00Z",
            "2030-01-01T24:00:00Z",
            "-030-01-01T00:00:00Z",
            "+030-01-01T00:00:00Z",
            "2030-1-01T000:00:00Z",
            "2030-01-01T00:00:00z",
            "",
        ] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }

    #[test]
    fn time_never_runs_backwards() {
        let [early, middle, late] = [Moment(1), Moment(2), Moment(3)];
        assert_eq!(latest(middle, early, None), middle);
        assert_eq!(latest(early, middle, Some(early)), middle);
        assert_eq!(latest(early, middle, Some(late)), late);
    }
}
