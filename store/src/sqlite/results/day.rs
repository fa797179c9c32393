//! A UTC day and its name, which is its file's name.

use std::fmt;
use std::str::FromStr;

use sonde_protocol::time::UnixNanos;

const NANOS: i64 = 86_400 * 1_000_000_000;

/// A UTC day, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(pub(super) i64);

impl Day {
    /// The day that a time is in.
    pub(super) const fn of(at: UnixNanos) -> Self {
        Self(at.0.div_euclid(NANOS))
    }

    /// When the next day begins.
    pub(super) const fn end(self) -> UnixNanos {
        UnixNanos(self.0.saturating_add(1).saturating_mul(NANOS))
    }

    /// Year, month and day of the month (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"). Years begin with
    /// March there, so that the leap day is the last of its year.
    const fn date(self) -> (i64, i64, i64) {
        let days = self.0 + 719_468; // from 0000-03-01
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
        (year, month, day)
    }

    /// The inverse of [`Day::date`], for a month from 1 to 12.
    const fn of_date(year: i64, month: i64, day: i64) -> Self {
        let year = if month <= 2 { year - 1 } else { year };
        let month_from_march = if month > 2 { month - 3 } else { month + 9 };
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Self(era * 146_097 + day_of_era - 719_468)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// The text is not a day as we write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotADay;

impl FromStr for Day {
    type Err = NotADay;
    fn from_str(text: &str) -> Result<Self, NotADay> {
        let mut parts = text.splitn(3, '-').map(|part| part.parse::<u16>().map(i64::from));
        let (Some(Ok(year)), Some(Ok(month @ 1..=12)), Some(Ok(day))) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(NotADay);
        };
        let found = Self::of_date(year, month, day);
        // One day has one name: 2026-02-31 and 2026-2-3 are none.
        if found.to_string() == text { Ok(found) } else { Err(NotADay) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_the_calendars_names() {
        for (seconds, name) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_795_219_199, "2026-11-20"),
            (1_795_219_200, "2026-11-21"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(Day::of(UnixNanos::from_secs(seconds)).to_string(), name);
        }
        assert_eq!(Day::of(UnixNanos(i64::MIN)).to_string(), "1677-09-21");
        assert_eq!(Day::of(UnixNanos(i64::MAX)).to_string(), "2262-04-11");
        assert_eq!(Day(0).end(), UnixNanos::from_secs(86_400));
    }

    #[test]
    fn names_lead_back_and_follow_each_other() {
        let (first, last) = (Day::of(UnixNanos(i64::MIN)), Day::of(UnixNanos(i64::MAX)));
        let mut before = String::new();
        for day in first.0..=last.0 {
            let name = Day(day).to_string();
            assert_eq!(name.parse(), Ok(Day(day)));
            assert!(before < name, "{before} {name}");
            before = name;
        }
    }

    #[test]
    fn other_names_are_no_days() {
        for text in ["", "2026", "2026-02-31", "2026-13-01", "2026-2-03", "2026-02-03x", "+026-02-03", "2026-00-10"] {
            assert_eq!(text.parse::<Day>(), Err(NotADay), "{text}");
        }
    }
}
