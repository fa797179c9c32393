//! One file a day in `activity/` of the state directory, mode 0600, JSON lines, replaced whole. A file that is damaged is
//! read as far as it goes.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tz::{DateTime, TimeZoneRef};

use super::{Day, MAX_ROWS, Row};
use crate::identity::write_whole;

/// How many days are kept, today included.
pub const DAYS: i64 = 30;

/// The greatest size of a file that is read: all its rows at their longest.
const MAX_FILE: u64 = 256 * 1024;

const DAY: i64 = 86_400;

fn folder(state: &Path) -> PathBuf {
    state.join("activity")
}

fn path(state: &Path, day: i64) -> PathBuf {
    folder(state).join(format!("{}.jsonl", date(day)))
}

/// A day as `2026-11-28`.
pub fn date(day: i64) -> String {
    match DateTime::from_timespec(day.saturating_mul(DAY), 0, TimeZoneRef::utc()) {
        Ok(t) => format!("{:04}-{:02}-{:02}", t.year(), t.month(), t.month_day()),
        Err(_) => format!("day-{day}"),
    }
}

/// What is kept of a day; nothing when there is no file that can be read.
pub fn read(state: &Path, day: i64) -> Day {
    let path = path(state, day);
    let small = fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() <= MAX_FILE);
    let text = small.then(|| fs::read(&path).ok()).flatten().unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n').take(2 * MAX_ROWS);
    Day::of(day, lines.filter_map(|line| serde_json::from_slice::<Row>(line).ok()))
}

/// The last `days` days up to `today`, the newest first, those without a run left out.
pub fn recent(state: &Path, today: i64, days: i64) -> Vec<Day> {
    let all = (0..days.clamp(1, DAYS)).map(|back| read(state, today.saturating_sub(back)));
    all.filter(|day| !day.rows.is_empty()).collect()
}

/// Replaces the file of a day, and removes those of days that are too old, or that lie ahead, where only a wrong clock was.
///
/// # Errors
/// When the folder or the file cannot be written.
pub fn write(state: &Path, day: &Day) -> io::Result<()> {
    let folder = folder(state);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let mut text = Vec::new();
    for row in day.rows() {
        serde_json::to_writer(&mut text, &row)?;
        text.push(b'\n');
    }
    write_whole(&path(state, day.number), &text)?;
    // One name a day, and `.new` of a write that was cut off.
    let kept: Vec<PathBuf> = (0..DAYS).map(|back| path(state, day.number.saturating_sub(back))).collect();
    for entry in fs::read_dir(&folder)? {
        let found = entry?.path();
        if !kept.contains(&found) {
            match fs::remove_file(&found) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use sonde_protocol::spec::Kind;

    use super::*;
    use crate::policy::cost::Cost;

    fn day(number: i64) -> Day {
        let mut day = Day::new(number);
        day.count(Kind::Ping, Some("a.example"), Cost { packets: 3, bytes: 300 }, 7);
        day
    }

    #[test]
    fn thirty_days_are_kept_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        for number in 20_000..20_040 {
            write(dir.path(), &day(number)).unwrap();
        }
        let found = recent(dir.path(), 20_039, 99);
        assert_eq!(found.len(), 30);
        assert_eq!(found[0], day(20_039));
        assert_eq!(fs::read_dir(folder(dir.path())).unwrap().count(), 30);
        let mode = fs::metadata(path(dir.path(), 20_039)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(recent(dir.path(), 20_039, 1).len(), 1);
        assert_eq!(recent(dir.path(), 30_000, 30), []);
    }

    #[test]
    fn all_of_it_at_its_largest_is_small() {
        let dir = tempfile::tempdir().unwrap();
        let mut full = Day::new(20_000);
        for n in 0..10_000_u64 {
            let cost = Cost { packets: u64::MAX / 20_000, bytes: u64::MAX / 20_000 };
            full.count(Kind::Traceroute, Some(&format!("{n}{}", "x".repeat(300))), cost, u64::MAX);
        }
        write(dir.path(), &full).unwrap();
        let size = fs::metadata(path(dir.path(), 20_000)).unwrap().len();
        assert!(size * 30 < 600_000, "{size} bytes a day");
        assert_eq!(read(dir.path(), 20_000), full);
    }

    #[test]
    fn a_damaged_file_is_read_as_far_as_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let mut two = day(20_000);
        two.count(Kind::Dns, Some("b.example"), Cost { packets: 1, bytes: 100 }, 9);
        write(dir.path(), &two).unwrap();
        let text = fs::read(path(dir.path(), 20_000)).unwrap();
        for cut in 0..text.len() {
            fs::write(path(dir.path(), 20_000), &text[..cut]).unwrap();
            assert!(read(dir.path(), 20_000).rows().len() <= 2);
        }
        fs::write(path(dir.path(), 20_000), [b"\xff\x00{}\n", &text[..]].concat()).unwrap();
        assert_eq!(read(dir.path(), 20_000), two);
        fs::write(path(dir.path(), 20_000), vec![b'\n'; 1 << 20]).unwrap();
        assert_eq!(read(dir.path(), 20_000).rows(), []);
    }
}
