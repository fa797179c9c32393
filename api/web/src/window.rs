//! The time that a page is about, as its address says it: a window that moves with the clock, or a fixed hour or day. UTC.

use time::format_description::FormatItem;
use time::macros::format_description;
use time::{Date, Time};

use crate::choices::Choices;
use crate::page::Problem;

const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

const DATE: &[FormatItem] = format_description!("[year]-[month]-[day]");

/// What `t` may say, for the message about what it says.
const ALLOWED: &str = "“t” is 24h, 7d, a day such as 2026-11-28, or an hour such as 2026-11-28T17 (UTC).";

/// Half-open, in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    /// As in the address.
    pub text: String,
    /// From here on,
    pub from: i64,
    /// before this.
    pub to: i64,
    /// It moves with the clock.
    pub slides: bool,
}

impl Window {
    /// Reads `t`: the last 24 hours when nothing is chosen. A window that moves ends with the hour under way.
    pub fn read(choices: &Choices, now: i64) -> Result<Self, Problem> {
        let text = choices.text("t").unwrap_or("24h");
        let end = (now.div_euclid(HOUR) + 1) * HOUR;
        let sliding = |hours: i64| Some((end - hours * HOUR, end, true));
        let found = match text {
            "24h" => sliding(24),
            "7d" => sliding(7 * 24),
            _ => fixed(text).map(|(from, to)| (from, to, false)),
        };
        let (from, to, slides) = found.ok_or_else(|| Problem::bad(ALLOWED))?;
        if from > now {
            return Err(Problem::bad("“t” is a time that is still to come."));
        }
        Ok(Self { text: text.to_owned(), from, to, slides })
    }

    /// The same for the API's query. A window that ends now says so by leaving its end out.
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![("from", self.from.to_string())];
        if !self.slides {
            query.push(("to", self.to.to_string()));
        }
        query
    }

    /// In words, after a colon or in a title: `the last 24 hours`, `28 Nov 2026, 17:00–18:00 UTC`.
    pub fn words(&self) -> String {
        let day =
            |at| time::OffsetDateTime::from_unix_timestamp(at).ok().and_then(|time| time.date().format(DAY_WORDS).ok());
        match self.text.as_str() {
            "24h" => "the last 24 hours".to_owned(),
            "7d" => "the last 7 days".to_owned(),
            _ if self.to - self.from == DAY => format!("{} (UTC)", day(self.from).unwrap_or_default()),
            _ => {
                let hour = self.from.rem_euclid(DAY) / HOUR;
                format!("{}, {hour:02}:00–{:02}:00 UTC", day(self.from).unwrap_or_default(), hour + 1)
            }
        }
    }

    /// The windows before and after it, as `t` says them; of one that moves: the last that is over. None after now.
    pub fn neighbours(&self, now: i64) -> (Option<String>, Option<String>) {
        let length = if self.slides { DAY } else { self.to - self.from };
        let before = if self.slides { now.div_euclid(DAY) * DAY - DAY } else { self.from - length };
        let after = self.to;
        let name = |from: i64| {
            let moment = time::OffsetDateTime::from_unix_timestamp(from).ok()?;
            let date = moment.date().format(DATE).ok()?;
            Some(if length == DAY { date } else { format!("{date}T{:02}", moment.hour()) })
        };
        (name(before), if self.slides || after > now { None } else { name(after) })
    }

    /// What a curve beside it shows: from, to, and `hour` or `day`. Longer than the window, so that it has a context.
    pub fn course(&self) -> (i64, i64, &'static str) {
        match self.to - self.from <= DAY {
            true => (self.to - 7 * DAY, self.to, "hour"),
            false => (self.to - 90 * DAY, self.to, "day"),
        }
    }
}

const DAY_WORDS: &[FormatItem] = format_description!("[day padding:none] [month repr:short] [year]");

fn fixed(text: &str) -> Option<(i64, i64)> {
    let (day, hour) = match text.split_once('T') {
        None => (text, None),
        Some((day, hour)) => {
            let is_hour = hour.len() == 2 && hour.bytes().all(|digit| digit.is_ascii_digit());
            (day, Some(hour.parse::<u8>().ok().filter(|hour| is_hour && *hour < 24)?))
        }
    };
    let date = Date::parse(day, DATE).ok()?;
    let begin = date.with_time(Time::MIDNIGHT).assume_utc().unix_timestamp();
    Some(match hour {
        None => (begin, begin + DAY),
        Some(hour) => (begin + i64::from(hour) * HOUR, begin + (i64::from(hour) + 1) * HOUR),
    })
}

/// The clock. Pages are the shell: what they make of it is given the time.
pub(crate) fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-28T17:30:00Z
    const NOW: i64 = 1_795_887_000;

    fn window(query: &str) -> Result<Window, Problem> {
        Window::read(&Choices::from_query(query), NOW)
    }

    #[test]
    fn windows_are_half_open_and_named() {
        let day = window("").unwrap();
        assert_eq!((day.to, day.to - day.from, day.slides), (NOW + 1800, DAY, true));
        assert_eq!(day.words(), "the last 24 hours");
        assert_eq!(day.neighbours(NOW), (Some("2026-11-27".into()), None));
        let hour = window("t=2026-11-28T09").unwrap();
        assert_eq!((hour.to - hour.from, hour.words().as_str()), (HOUR, "28 Nov 2026, 09:00–10:00 UTC"));
        assert_eq!(hour.neighbours(NOW), (Some("2026-11-28T08".into()), Some("2026-11-28T10".into())));
        assert_eq!(window("t=2026-11-27").unwrap().words(), "27 Nov 2026 (UTC)");
        assert_eq!(window("t=2026-11-28").unwrap().neighbours(NOW).1, None);
        assert_eq!(hour.query().len(), 2);
    }

    #[test]
    fn what_is_no_time_is_refused_in_words() {
        for text in [
            "2026-13-01",
            "2026-11-28T24",
            "2026-11-28T1",
            "2026-11-28T+1",
            "yesterday",
            "2026-11-29",
            "9999999999-01-01",
        ] {
            assert!(window(&format!("t={text}")).is_err(), "{text}");
        }
    }
}
