//! What the probe has measured, for its host to read: by day (UTC), kind and target, for thirty days.
//!
//! [`Day`] is the table of one day, pure and bounded; [`files`] keeps one small file a day in the state directory. The table
//! of today is in memory and written now and then, so a crash forgets a few minutes of it. It is the host's own record: no
//! part of it is sent anywhere.
//!
//! A day lists [`MAX_ROWS`] targets; what is measured beyond them is counted in one row a kind. Packets and bytes are as far
//! as results tell ([`crate::policy::cost`]).

pub mod files;

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use sonde_protocol::spec::Kind;

use crate::policy::cost::Cost;

/// The most targets that a day lists.
pub const MAX_ROWS: usize = 64;

/// The longest name of a target that is kept, in bytes.
const MAX_TARGET: usize = 80;

/// Where runs are counted whose targets have no room.
const OTHERS: &str = "(others)";

/// Where runs are counted that ask the probe's own resolvers.
const OWN_RESOLVERS: &str = "(own resolvers)";

/// What was measured of one kind towards one target on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The kind's name.
    pub kind: String,
    /// The target as it was asked for.
    pub target: String,
    /// How many runs ended.
    pub runs: u64,
    /// Packets sent.
    pub packets: u64,
    /// Bytes in both directions.
    pub bytes: u64,
    /// When the first run ended, in Unix seconds by the machine's clock.
    pub first: u64,
    /// When the last one did.
    pub last: u64,
}

/// One day.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Day {
    /// Days since 1970-01-01 UTC.
    pub number: i64,
    rows: BTreeMap<(String, String), Row>,
}

impl Day {
    /// A day of which nothing is known yet.
    pub fn new(number: i64) -> Self {
        Self { number, rows: BTreeMap::new() }
    }

    /// A day with these rows: what a file says. Rows beyond the bound are counted with the others.
    pub fn of(number: i64, rows: impl IntoIterator<Item = Row>) -> Self {
        let mut day = Self::new(number);
        for row in rows {
            day.add(row);
        }
        day
    }

    /// A run of this kind has ended. `target` is absent when it asked the probe's own resolvers.
    pub fn count(&mut self, kind: Kind, target: Option<&str>, cost: Cost, now: u64) {
        let target = shown(target.unwrap_or(OWN_RESOLVERS));
        let Cost { packets, bytes } = cost;
        self.add(Row { kind: kind.name().into(), target, runs: 1, packets, bytes, first: now, last: now });
    }

    fn add(&mut self, mut row: Row) {
        let mut key = (row.kind.clone(), row.target.clone());
        // Rows of others do not count: a file begins with them, and has to be read back as it was written.
        let named = || self.rows.keys().filter(|(_, target)| target != OTHERS).count();
        if !self.rows.contains_key(&key) && named() >= MAX_ROWS {
            row.target = OTHERS.into();
            key.1 = OTHERS.into();
        }
        match self.rows.get_mut(&key) {
            Some(known) => {
                known.runs = known.runs.saturating_add(row.runs);
                known.packets = known.packets.saturating_add(row.packets);
                known.bytes = known.bytes.saturating_add(row.bytes);
                known.first = known.first.min(row.first);
                known.last = known.last.max(row.last);
            }
            // There are few kinds, so few rows of others beyond the bound.
            None => {
                self.rows.insert(key, row);
            }
        }
    }

    /// The rows, the largest in bytes first.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.rows.values().cloned().collect();
        rows.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| (&a.kind, &a.target).cmp(&(&b.kind, &b.target))));
        rows
    }
}

/// A target as it may be kept and shown: no longer than the bound, and nothing in it that a terminal or a page would obey.
fn shown(target: &str) -> String {
    let mut text = String::new();
    for c in target.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }) {
        if text.len() + c.len_utf8() > MAX_TARGET {
            text.push('\u{2026}');
            break;
        }
        text.push(c);
    }
    text
}

/// A number of bytes for people.
pub fn bytes_for_people(bytes: u64) -> String {
    let mut scaled = bytes;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if scaled < 10_000 {
            return format!("{scaled} {unit}");
        }
        scaled /= 1_000;
    }
    format!("{scaled} PB")
}

/// The days as a table for people, the newest first.
pub fn table(days: &[Day], time_of: impl Fn(u64) -> String) -> String {
    let mut text = String::new();
    for day in days {
        let rows = day.rows();
        let (runs, bytes) = rows.iter().fold((0_u64, 0_u64), |(runs, bytes), row| {
            (runs.saturating_add(row.runs), bytes.saturating_add(row.bytes))
        });
        // Writing into memory cannot fail.
        let _ = writeln!(text, "{} (UTC): {runs} runs, {}", files::date(day.number), bytes_for_people(bytes));
        for row in rows {
            let Row { kind, target, runs, packets, bytes, first, last } = row;
            let (bytes, first, last) = (bytes_for_people(bytes), time_of(first), time_of(last));
            let _ = writeln!(
                text,
                "  {kind:<10} {target:<40} {runs:>6} runs {packets:>8} packets {bytes:>8}  {first} to {last}"
            );
        }
    }
    if text.is_empty() {
        text.push_str("nothing has been measured in these days\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: Cost = Cost { packets: 3, bytes: 300 };

    #[test]
    fn runs_are_counted_by_kind_and_target() {
        let mut day = Day::new(20_000);
        day.count(Kind::Ping, Some("a.example"), COST, 100);
        day.count(Kind::Ping, Some("a.example"), COST, 50);
        day.count(Kind::Dns, None, COST, 70);
        let rows = day.rows();
        let first = &rows[0];
        assert_eq!((first.kind.as_str(), first.target.as_str(), first.runs), ("ping", "a.example", 2));
        assert_eq!((first.packets, first.bytes, first.first, first.last), (6, 600, 50, 100));
        assert_eq!((rows[1].kind.as_str(), rows[1].target.as_str()), ("dns", "(own resolvers)"));
        assert_eq!(Day::of(20_000, rows), day);
    }

    #[test]
    fn a_day_is_bounded_and_still_counts_everything() {
        let mut day = Day::new(20_000);
        for n in 0..10_000 {
            day.count(Kind::Ping, Some(&format!("{n}.example")), COST, n);
            day.count(Kind::Traceroute, Some(&"x".repeat(10_000)), COST, n);
        }
        let rows = day.rows();
        assert!(rows.len() <= MAX_ROWS + Kind::ALL.len(), "{}", rows.len());
        assert_eq!(rows.iter().map(|row| row.runs).sum::<u64>(), 20_000);
        assert!(rows.iter().all(|row| row.target.len() <= MAX_TARGET + 4));
        assert!(rows.iter().any(|row| row.target == OTHERS && row.kind == "ping"));
    }

    #[test]
    fn a_target_cannot_play_tricks_on_a_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }

    #[test]
    fn a_table_says_it_in_lines() {
        let mut day = Day::new(20_785);
        day.count(Kind::Ping, Some("a.example"), Cost { packets: 3, bytes: 12_345 }, 100);
        let text = table(&[day], |second| format!("t{second}"));
        assert!(text.starts_with("2026-11-28 (UTC): 1 runs, 12 kB\n  ping       a.example"), "{text}");
        assert!(text.contains("3 packets    12 kB  t100 to t100\n"), "{text}");
        assert!(table(&[], |_| String::new()).contains("nothing"));
    }
}
