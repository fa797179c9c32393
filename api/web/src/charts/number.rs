//! Numbers as people read them. One unit a column; a share says no more than its count allows.

/// Below how many a share has no decimal: one of them is more than three percent.
const DECIMAL_FROM: u64 = 30;

/// `9,210`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 probe`, `9,210 probes`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A share of so many, 0 to 1, as percent: `72.4 %`, `72 %` of few, `<0.1 %`, and never 100 or 0 for what is only nearly so.
pub(crate) fn share(share: f64, of: u64) -> String {
    if !share.is_finite() {
        return "–".to_owned();
    }
    let percent = share.clamp(0.0, 1.0) * 100.0;
    let step = if of < DECIMAL_FROM { 1.0 } else { 0.1 };
    let decimals = if of < DECIMAL_FROM { 0 } else { 1 };
    if percent > 0.0 && percent < step {
        return format!("<{step} %");
    }
    if percent < 100.0 && percent > 100.0 - step {
        return format!(">{} %", 100.0 - step);
    }
    match percent {
        0.0 => "0 %".to_owned(),
        100.0 => "100 %".to_owned(),
        _ => format!("{percent:.decimals$} %"),
    }
}

/// An interval of shares: `57–100 %`.
pub(crate) fn interval(low: f64, high: f64) -> String {
    if !(low.is_finite() && high.is_finite()) {
        return "–".to_owned();
    }
    format!("{:.0}–{:.0} %", low.clamp(0.0, 1.0) * 100.0, high.clamp(0.0, 1.0) * 100.0)
}

/// A time in three digits with its unit: `84.0 µs`, `0.42 ms`, `12.3 ms`, `1.24 s`.
pub(crate) fn duration_ms(ms: f64) -> String {
    if !ms.is_finite() {
        return "–".to_owned();
    }
    let sign = if ms < 0.0 { "−" } else { "" };
    let size = ms.abs();
    match size {
        0.0 => "0 ms".to_owned(),
        _ if size < 0.1 => format!("{sign}{} µs", three(size * 1000.0)),
        _ if size < 1.0 => format!("{sign}{size:.2} ms"),
        _ if size < 999.5 => format!("{sign}{} ms", three(size)),
        _ => format!("{sign}{} s", three(size / 1000.0)),
    }
}

/// The same in milliseconds whatever its size, for a column: `0.08`, `0.42`, `12.3`, `1240`.
pub(crate) fn ms(ms: f64) -> String {
    if !ms.is_finite() {
        return "–".to_owned();
    }
    let sign = if ms < 0.0 { "−" } else { "" };
    match ms.abs() {
        size if size < 1.0 => format!("{sign}{size:.2}"),
        size => format!("{sign}{}", three(size)),
    }
}

/// A difference, with its sign: `+3.2 ms`, `−0.84 ms`, `0 ms`.
pub(crate) fn difference_ms(ms: f64) -> String {
    let text = duration_ms(ms);
    if ms > 0.0 && ms.is_finite() { format!("+{text}") } else { text }
}

/// How long something has been, in its greatest unit or two: `45 s`, `12 min`, `3 h 20 min`, `3 days`.
pub(crate) fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86_400 if minutes % 60 == 0 => format!("{hours} h"),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ if days == 1 => "1 day".to_owned(),
        _ => format!("{} days", count(days.unsigned_abs())),
    }
}

/// Packets that came back of those sent: `3/3`, and the loss in percent where there is any: `1/3 (67 % lost)`.
pub(crate) fn loss(received: u64, sent: u64) -> String {
    match sent.saturating_sub(received) {
        _ if sent == 0 => "–".to_owned(),
        0 => format!("{}/{}", count(received), count(sent)),
        lost => format!("{}/{} ({} lost)", count(received), count(sent), share(lost as f64 / sent as f64, sent)),
    }
}

/// Three significant digits of a number of at least one tenth.
fn three(value: f64) -> String {
    match value {
        _ if value < 9.995 => format!("{value:.2}"),
        _ if value < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_meant() {
        assert_eq!(
            (count(0), count(999), count(9210), count(1_234_567)),
            ("0".into(), "999".into(), "9,210".into(), "1,234,567".into())
        );
        assert_eq!(counted(1, "probe", "probes"), "1 probe");
        for (value, of, text) in [
            (0.724, 100, "72.4 %"),
            (0.724, 29, "72 %"),
            (0.0004, 10_000, "<0.1 %"),
            (0.9997, 10_000, ">99.9 %"),
            (0.0, 100, "0 %"),
            (1.0, 5, "100 %"),
            (0.999, 29, ">99 %"),
            (f64::NAN, 5, "–"),
        ] {
            assert_eq!(share(value, of), text);
        }
        assert_eq!(interval(0.566, 1.0), "57–100 %");
        for (value, text) in [
            (0.084, "84.0 µs"),
            (0.42, "0.42 ms"),
            (12.34, "12.3 ms"),
            (999.9, "1.00 s"),
            (1240.0, "1.24 s"),
            (-3.0, "−3.00 ms"),
            (0.0, "0 ms"),
        ] {
            assert_eq!(duration_ms(value), text);
        }
        assert_eq!((ms(0.08), ms(12.34), ms(1240.0)), ("0.08".into(), "12.3".into(), "1240".into()));
        assert_eq!((difference_ms(3.2), difference_ms(-0.84)), ("+3.20 ms".into(), "−0.84 ms".into()));
        assert_eq!(
            (span(45), span(12_000), span(7200), span(86_400), span(259_200)),
            ("45 s".into(), "3 h 20 min".into(), "2 h".into(), "1 day".into(), "3 days".into())
        );
        assert_eq!((loss(3, 3), loss(1, 3), loss(0, 0)), ("3/3".into(), "1/3 (67 % lost)".into(), "–".into()));
    }
}
