//! Times as people read them: UTC, and said so. Range ends are half-open.

use time::format_description::FormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

const HUMAN: &[FormatItem] = format_description!("[day padding:none] [month repr:short] [year], [hour]:[minute] UTC");
const ISO: &[FormatItem] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
const DAY: &[FormatItem] = format_description!("[day padding:none] [month repr:short]");
const YEAR: &[FormatItem] = format_description!("[month repr:short] [year]");
const CLOCK: &[FormatItem] = format_description!("[hour]:[minute]");

/// `28 Nov 2026, 17:00 UTC` of `2026-11-28T17:00:00Z`; what is no such time stays as it is.
pub(crate) fn human(text: &str) -> String {
    parse(text).map_or_else(|| text.to_owned(), |seconds| write(seconds, HUMAN))
}

/// The same of seconds since 1970.
pub(crate) fn human_unix(seconds: i64) -> String {
    write(seconds, HUMAN)
}

/// `2026-11-28T17:00:00Z`, for `<time datetime>`.
pub(crate) fn iso(seconds: i64) -> String {
    write(seconds, ISO)
}

/// Seconds since 1970 of a time as the API writes it.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let parsed = OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339);
    parsed.ok().map(OffsetDateTime::unix_timestamp)
}

/// The label of a tick: the clock within days, the day at midnight, month and year when ticks are months apart.
pub(crate) fn tick(seconds: i64, step: i64) -> String {
    match step {
        _ if step >= 40 * 86_400 => write(seconds, YEAR),
        _ if step >= 86_400 || seconds.rem_euclid(86_400) == 0 => write(seconds, DAY),
        _ => write(seconds, CLOCK),
    }
}

fn write(seconds: i64, format: &[FormatItem]) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok();
    let text = time.and_then(|time| time.to_offset(UtcOffset::UTC).format(format).ok());
    text.unwrap_or_else(|| "–".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_name_their_zone() {
        assert_eq!(human("2026-11-28T17:05:00Z"), "28 Nov 2026, 17:05 UTC");
        assert_eq!(human("2026-11-28T19:05:00+02:00"), "28 Nov 2026, 17:05 UTC");
        assert_eq!(human("<never>"), "<never>");
        assert_eq!(iso(1_764_349_500), "2025-11-28T17:05:00Z");
        assert_eq!(parse("2025-11-28T17:05:00Z"), Some(1_764_349_500));
        assert_eq!(iso(i64::MAX), "–");
        assert_eq!((tick(1_764_349_500, 3600), tick(1_764_288_000, 3600)), ("17:05".into(), "28 Nov".into()));
    }
}
