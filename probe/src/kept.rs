//! What of the host's limits outlives the process: how much of the day's bytes is used, and a pause.
//!
//! `usage.json` is written ahead: it says more than is used, by a share of the budget, and is written again only when
//! that is used up. So it is written a few dozen times a day at most, and after a crash, which has no time to say what was
//! really used, the day goes on with less rather than more. A file that is there and cannot be read means the worst: a day
//! used up, a probe paused.

pub mod verdict;

use std::io;
use std::path::{Path, PathBuf};
use std::{fs, io::ErrorKind};

use tracing::warn;

use crate::identity::write_whole;
use crate::policy::{DayUse, Pause};

/// The greatest size of such a file.
const MAX_FILE: usize = 4096;

/// The budget is written ahead in this many parts.
const PARTS: u64 = 32;

/// The day's bytes, as they are on disk.
#[derive(Debug)]
pub struct Usage {
    path: PathBuf,
    written: DayUse,
    /// A write has failed, and nobody was told yet.
    failed: bool,
}

impl Usage {
    /// Reads what was used according to the file in the state directory `dir`. `today` is the day by the machine's clock.
    pub fn open(dir: &Path, today: i64) -> Self {
        let path = dir.join("usage.json");
        let (written, damaged) = match read(&path) {
            Kept::Nothing => (DayUse::default(), false),
            Kept::Value(used) => (used, false),
            Kept::Damaged => (DayUse { day: today, bytes: u64::MAX }, true),
        };
        let mut usage = Self { path, written, failed: false };
        if damaged {
            // Written, so that it is this day that is lost and not also that of the next start.
            usage.write(written);
        }
        usage
    }

    /// What is to be taken as used.
    pub const fn used(&self) -> DayUse {
        self.written
    }

    /// So much is used now, of so much a day: before a run begins.
    pub fn cover(&mut self, used: DayUse, bytes_per_day: u64) {
        if used.day != self.written.day || used.bytes > self.written.bytes {
            let ahead = used.bytes.saturating_add(bytes_per_day / PARTS);
            self.write(DayUse { bytes: ahead, ..used });
        }
    }

    /// The probe stops, and this is what was really used.
    pub fn close(&mut self, used: DayUse) {
        if used != self.written {
            self.write(used);
        }
    }

    /// Has a write failed since somebody last asked?
    pub fn take_failed(&mut self) -> bool {
        std::mem::take(&mut self.failed)
    }

    fn write(&mut self, used: DayUse) {
        // On a disk that cannot be written the next part is tried; the budget in memory holds all the same.
        self.written = used;
        if let Err(error) = write(&self.path, &used) {
            self.failed = true;
            warn!(%error, "the use of the day's bytes cannot be kept: after a restart it counts from where it last was");
        }
    }
}

/// The host's pause, as it is on disk.
#[derive(Debug)]
pub struct KeptPause {
    path: PathBuf,
    pause: Option<Pause>,
}

impl KeptPause {
    /// Reads the pause kept in the state directory `dir`.
    pub fn open(dir: &Path) -> Self {
        let path = dir.join("pause.json");
        let pause = match read(&path) {
            Kept::Nothing => None,
            Kept::Value(pause) => Some(pause),
            Kept::Damaged => Some(Pause { until: None }),
        };
        Self { path, pause }
    }

    /// The pause, which may be over.
    pub const fn get(&self) -> Option<Pause> {
        self.pause
    }

    /// Puts a pause in force, or ends it, and keeps that.
    ///
    /// # Errors
    /// When it could not be kept. It is in force until the process ends all the same.
    pub fn set(&mut self, pause: Option<Pause>) -> io::Result<()> {
        self.pause = pause;
        match pause {
            Some(pause) => write(&self.path, &pause),
            None => match fs::remove_file(&self.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }
}

enum Kept<T> {
    Nothing,
    Value(T),
    Damaged,
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Kept<T> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Kept::Nothing,
        Err(error) => {
            warn!(%error, file = %path.display(), "a file of the host's limits cannot be read: the strictest is assumed");
            return Kept::Damaged;
        }
    };
    let value = (text.len() <= MAX_FILE).then(|| serde_json::from_slice(&text).ok()).flatten();
    value.map_or_else(
        || {
            warn!(file = %path.display(), "a file of the host's limits is damaged: the strictest is assumed");
            Kept::Damaged
        },
        Kept::Value,
    )
}

fn write<T: serde::Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    write_whole(path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(bytes: u64) -> DayUse {
        DayUse { day: 20_000, bytes }
    }

    #[test]
    fn after_a_crash_never_less_is_used_than_was_and_after_a_stop_exactly_that() {
        let dir = tempfile::tempdir().unwrap();
        let mut usage = Usage::open(dir.path(), 20_000);
        assert_eq!(usage.used(), DayUse::default());
        let mut writes = 0;
        for bytes in (1_000..=320_000).step_by(1_000) {
            let before = usage.used();
            usage.cover(used(bytes), 320_000);
            writes += u32::from(usage.used() != before);
            let after_a_crash = Usage::open(dir.path(), 20_000).used();
            assert!(after_a_crash.bytes >= bytes && after_a_crash.bytes <= bytes + 10_000, "{after_a_crash:?}");
        }
        assert!(writes <= 33, "{writes} writes");
        usage.close(used(320_000));
        assert_eq!(Usage::open(dir.path(), 20_000).used(), used(320_000));
    }

    #[test]
    fn a_pause_outlives_a_restart_until_it_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = KeptPause::open(dir.path());
        assert_eq!(kept.get(), None);
        kept.set(Some(Pause { until: Some(5) })).unwrap();
        assert_eq!(KeptPause::open(dir.path()).get(), Some(Pause { until: Some(5) }));
        kept.set(None).unwrap();
        kept.set(None).unwrap();
        assert_eq!(KeptPause::open(dir.path()).get(), None);
    }

    #[test]
    fn damaged_files_mean_the_strictest() {
        for garbage in [&b""[..], b"{", b"{\"day\":\"x\"}", &[0xff; 5_000]] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("usage.json"), garbage).unwrap();
            fs::write(dir.path().join("pause.json"), garbage).unwrap();
            assert_eq!(Usage::open(dir.path(), 20_000).used(), used(u64::MAX));
            assert_eq!(Usage::open(dir.path(), 20_001).used(), used(u64::MAX), "the day after is whole");
            assert_eq!(KeptPause::open(dir.path()).get(), Some(Pause { until: None }));
        }
    }
}
