//! Times in JSON: unix seconds as integers nearly everywhere, ISO 8601 in UTC without fractions where Atlas has it so.

use serde_json::Value;
use sonde_protocol::time::UnixNanos;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

const ISO: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");

/// The last second that is accepted: the end of the year 2199, well inside what nanoseconds since 1970 can hold.
const LAST: i64 = 7_258_118_399;

/// `2025-09-30T16:41:47Z`: goat parses exactly this.
pub(crate) fn iso(at: UnixNanos) -> String {
    let text = OffsetDateTime::from_unix_timestamp(at.as_secs()).ok().and_then(|time| time.format(ISO).ok());
    text.unwrap_or_else(|| "1970-01-01T00:00:00".into()) + "Z"
}

/// A time as clients send it: unix seconds as a number or in digits, or ISO 8601, in UTC when it names no zone.
pub(crate) fn read(value: &Value) -> Option<UnixNanos> {
    let seconds = match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|float| float as i64))?,
        Value::String(text) => from_text(text.trim())?,
        _ => return None,
    };
    (0..=LAST).contains(&seconds).then(|| UnixNanos::from_secs(seconds))
}

/// The seconds of [`read`], from text: digits or ISO 8601.
pub(crate) fn from_text(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(time.unix_timestamp());
    }
    // Fractions are dropped before the zone-less form is tried; RFC 3339 has taken those with a zone.
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    let midnight = format!("{whole}T00:00:00");
    let time = PrimitiveDateTime::parse(whole, ISO).or_else(|_| PrimitiveDateTime::parse(&midnight, ISO));
    time.ok().map(|time| time.assume_utc().unix_timestamp())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_spelling_of_the_same_second() {
        for value in [
            json!(1_760_000_000),
            json!(1_760_000_000.0),
            json!("1760000000"),
            json!("2025-10-09T08:53:20Z"),
            json!("2025-10-09T08:53:20"),
            json!("2025-10-09T08:53:20.123456"),
            json!("2025-10-09T10:53:20+02:00"),
        ] {
            assert_eq!(read(&value).map(UnixNanos::as_secs), Some(1_760_000_000), "{value}");
        }
        assert_eq!(iso(UnixNanos::from_secs(1_760_000_000)), "2025-10-09T08:53:20Z");
        assert_eq!(read(&json!("2025-10-09")).map(UnixNanos::as_secs), Some(1_759_968_000));
    }

    #[test]
    fn what_is_not_a_time() {
        for value in
            [json!(-1), json!(1e300), json!("soon"), json!(""), json!([]), json!(true), json!("2025-13-01T00:00:00Z")]
        {
            assert_eq!(read(&value), None, "{value}");
        }
    }
}
