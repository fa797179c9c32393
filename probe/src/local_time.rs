//! The machine's local time, by which a host means its hours: from `TZ`, else `/etc/localtime`, read once; UTC where neither
//! can be read. And the ways in which a host says until when.
//!
//! Pure but for [`LocalTime::of_this_machine`].

use tz::{DateTime, TimeZone};

use crate::config::hours::minute_of_day;
use crate::policy::LocalMoment;

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

/// The longest pause that ends by itself: ten years.
const LONGEST: u64 = 3_660 * DAY;

/// A time zone.
#[derive(Debug, Clone)]
pub struct LocalTime(TimeZone);

impl LocalTime {
    /// The zone that this machine is set to. Reads files.
    pub fn of_this_machine() -> Self {
        let named = std::env::var("TZ").ok().and_then(|name| TimeZone::from_posix_tz(&name).ok());
        Self(named.or_else(|| TimeZone::local().ok()).unwrap_or_else(TimeZone::utc))
    }

    /// What the clock on the wall shows at this Unix second.
    pub fn at(&self, unix: u64) -> LocalMoment {
        let signed = i64::try_from(unix).unwrap_or(0);
        let offset = self.0.find_local_time_type(signed).map_or(0, |found| i64::from(found.ut_offset()));
        let second = signed.saturating_add(offset).rem_euclid(86_400);
        LocalMoment { unix, minute: u16::try_from(second / 60).unwrap_or(0) }
    }

    /// Date and time, local, to the minute.
    pub fn show(&self, unix: u64) -> String {
        let time = i64::try_from(unix).ok().and_then(|unix| DateTime::from_timespec(unix, 0, self.0.as_ref()).ok());
        time.map_or_else(
            || format!("Unix time {unix}"),
            |t| format!("{:04}-{:02}-{:02} {:02}:{:02}", t.year(), t.month(), t.month_day(), t.hour(), t.minute()),
        )
    }

    /// The Unix second that somebody means who says `18:00` (the next time it is), `2026-12-24` or `2026-12-24 18:00`.
    pub fn read(&self, text: &str, now: u64) -> Option<u64> {
        if let Some(minute) = minute_of_day(text) {
            let passed = self.at(now).minute;
            let minutes = (u64::from(minute) + 24 * 60 - u64::from(passed)) % (24 * 60);
            let minutes = if minutes == 0 { 24 * 60 } else { minutes };
            return Some(now - now % 60 + minutes * 60);
        }
        let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
        let mut date = date.splitn(3, '-');
        let year = date.next()?.parse().ok()?;
        let (month, day) = (date.next()?.parse().ok()?, date.next()?.parse().ok()?);
        let minute = minute_of_day(time)?;
        let (hour, minute) = (u8::try_from(minute / 60).ok()?, u8::try_from(minute % 60).ok()?);
        let found = DateTime::find(year, month, day, hour, minute, 0, 0, self.0.as_ref()).ok()?;
        u64::try_from(found.latest()?.unix_time()).ok()
    }
}

/// The seconds of `90s`, `30m`, `2h`, `1d`, `1w`, or several in a row (`1h30m`).
pub fn duration(text: &str) -> Option<u64> {
    let mut sum: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, behind) = rest.split_at_checked(digits)?;
        let mut letters = behind.chars();
        let unit = match letters.next()? {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => DAY,
            'w' => 7 * DAY,
            _ => return None,
        };
        sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        rest = letters.as_str();
    }
    Some(sum).filter(|seconds| (1..=LONGEST).contains(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> LocalTime {
        LocalTime(TimeZone::from_posix_tz("CET-1CEST,M3.5.0,M10.5.0/3").unwrap())
    }

    #[test]
    fn the_hour_is_that_of_the_clock_on_the_wall() {
        // 2026-11-28 10:08:06 UTC; 2026-07-01 22:30:00 UTC.
        assert_eq!(berlin().at(1_795_860_486).minute, 11 * 60 + 8);
        assert_eq!(berlin().at(1_782_945_000).minute, 30, "summer time, and past midnight");
        assert_eq!(LocalTime(TimeZone::utc()).at(1_782_945_000).minute, 22 * 60 + 30);
        assert_eq!(berlin().show(1_795_860_486), "2026-11-28 11:08");
    }

    #[test]
    fn what_somebody_says_is_understood() {
        let now = 1_795_860_486;
        for (text, shown) in [
            ("18:00", "2026-11-28 18:00"),
            ("11:00", "2026-11-29 11:00"),
            ("11:08", "2026-11-29 11:08"),
            ("2026-12-24", "2026-12-24 00:00"),
            ("2026-12-24T18:30", "2026-12-24 18:30"),
            ("2027-07-01 09:05", "2027-07-01 09:05"),
        ] {
            let read = berlin().read(text, now).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(berlin().show(read), shown, "{text}");
        }
        for text in ["", "tomorrow", "2026-13-01", "2026-12", "2026-12-24 25:00", "2026-12-24Tnoon", "-1:00", "99:99"] {
            assert_eq!(berlin().read(text, now), None, "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, seconds) in [("90s", 90), ("30m", 1_800), ("2h", 7_200), ("1h30m", 5_400), ("1w1d", 691_200)] {
            assert_eq!(duration(text), Some(seconds), "{text}");
        }
        for text in ["", "5", "h", "1y", "-1h", "1.5h", "99999999999999999999d", "0s", "999999w", "1h ", "1h\u{e9}"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
