//! Hours of the day in which the host lets its probe measure: `"22:00-06:00"`. Pure; which hour it is, is an argument.

use std::fmt;

/// Minutes in a day.
const DAY: u16 = 24 * 60;

/// One span of the day, by local time: from its first minute to before its last, over midnight when that is earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    from: u16,
    to: u16,
}

impl Window {
    /// Reads `HH:MM-HH:MM`. The end may be `24:00`. A span of no length is none: whoever means the whole day names no hours.
    pub fn read(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let (from, to) = (minute_of_day(from.trim())?, minute_of_day(to.trim())?);
        (from != to && from < DAY).then_some(Self { from, to })
    }

    /// Is this minute of the day in it?
    pub const fn contains(&self, minute: u16) -> bool {
        if self.from < self.to {
            self.from <= minute && minute < self.to
        } else {
            self.from <= minute || minute < self.to
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

/// Is this minute of the day in one of them, or are there none, which means the whole day?
pub fn are_open(windows: &[Window], minute: u16) -> bool {
    windows.is_empty() || windows.iter().any(|window| window.contains(minute))
}

/// Reads `HH:MM` up to `24:00`, as minutes since midnight.
pub fn minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |text: &str| {
        let digits = !text.is_empty() && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = (two_digits(hour)?, two_digits(minute).filter(|minute| *minute < 60)?);
    Some(hour * 60 + minute).filter(|minute| *minute <= DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_their_hours_also_over_midnight() {
        for (text, inside, outside) in [
            ("08:00-17:30", vec!["08:00", "17:29"], vec!["07:59", "17:30", "00:00"]),
            ("22:00-06:00", vec!["22:00", "23:59", "00:00", "05:59"], vec!["06:00", "21:59", "12:00"]),
            ("18:00-24:00", vec!["18:00", "23:59"], vec!["00:00", "17:59"]),
            ("22:00-00:00", vec!["22:00", "23:59"], vec!["00:00", "21:59"]),
        ] {
            let window = Window::read(text).unwrap();
            for minute in inside {
                assert!(window.contains(minute_of_day(minute).unwrap()), "{minute} in {text}");
            }
            for minute in outside {
                assert!(!window.contains(minute_of_day(minute).unwrap()), "{minute} in {text}");
            }
            assert_eq!(Window::read(&window.to_string()), Some(window));
        }
        assert!(are_open(&[], 5));
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in
            ["", "22", "22-6", "22:00", "22:00-22:00", "24:00-06:00", "25:00-06:00", "22:60-06:00", "-1:00-2:00"]
        {
            assert_eq!(Window::read(text), None, "{text}");
        }
        for text in ["22:00-06:00-07:00", "+2:00-03:00", "022:00-06:00", "22:00-06:0x", "24:01-05:00", "1:00-24:01"] {
            assert_eq!(Window::read(text), None, "{text}");
        }
        assert_eq!(Window::read("6:5-7:00").map(|window| window.to_string()), Some("06:05-07:00".into()));
    }
}
