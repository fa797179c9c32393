//! The time of day of a board without a clock of its own: at first the latest time that must be past (when the image was built, when the
//! board ran last), then what the probe has from its collector. [`decide`] is pure.
//!
//! The kernel is not told that its clock is synchronised: the probe would believe it then, and would measure its own echo.

mod sys;

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

/// Where the time is kept.
const KEPT: &str = "/state/os/clock";

/// A clock that is off by this or more is set; by less it is slewed (adjtime(3), half a millisecond a second).
const STEP: Duration = Duration::from_secs(10);

/// The kernel's clock does not live longer than this after the image was built. Who says so is wrong.
const LIFE: Duration = Duration::from_secs(30 * 365 * 86_400);

/// Time since 1970.
pub type Unix = Duration;

/// What to do with the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is right as far as anybody knows.
    Keep,
    /// Set it to this.
    Set(Unix),
    /// Slew it by so many nanoseconds.
    Slew(i64),
    /// The time that was told cannot be.
    Refuse,
}

/// The time, if the clock shows `now` and is `behind` nanoseconds behind.
pub fn right(now: Unix, behind: i64) -> Option<Unix> {
    let off = Duration::from_nanos(behind.unsigned_abs());
    if behind < 0 { now.checked_sub(off) } else { now.checked_add(off) }
}

/// Decides what to do when somebody says that the clock, which shows `now`, is `behind` nanoseconds behind, give or take `error`. `built`
/// is when the image was built; nothing is before that.
pub fn decide(now: Unix, behind: i64, error: Duration, built: Unix, first: bool) -> Action {
    let off = Duration::from_nanos(behind.unsigned_abs());
    let Some(right) = right(now, behind).filter(|right| (built..built + LIFE).contains(right)) else {
        return Action::Refuse;
    };
    if off <= error {
        Action::Keep
    } else if first || off >= STEP {
        Action::Set(right)
    } else {
        Action::Slew(behind)
    }
}

/// What the clock is set to at the start: it never shows a time before the image was built or before the board ran last.
pub fn at_start(now: Unix, built: Unix, kept: Option<Unix>) -> Unix {
    // A kept time beyond all reason came from a damaged file.
    let kept = kept.filter(|kept| (built..built + LIFE).contains(kept));
    now.max(built).max(kept.unwrap_or(built))
}

/// What the clock shows.
pub fn now() -> Unix {
    let now = clock_gettime(ClockId::Realtime);
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}

/// Sets it.
///
/// # Errors
/// The kernel's.
pub fn set(to: Unix) -> io::Result<()> {
    let out_of_range = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let tv_sec = to.as_secs().try_into().map_err(out_of_range)?;
    Ok(clock_settime(ClockId::Realtime, Timespec { tv_sec, tv_nsec: to.subsec_nanos().into() })?)
}

/// Slews it.
///
/// # Errors
/// The kernel's.
pub fn slew(nanoseconds: i64) -> io::Result<()> {
    sys::slew(nanoseconds / 1000)
}

/// The time that was kept, in whole seconds.
pub fn kept() -> Option<Unix> {
    fs::read_to_string(KEPT).ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// Keeps the time for the next start.
///
/// # Errors
/// The card's.
pub fn keep(time: Unix) -> io::Result<()> {
    let new = Path::new(KEPT).with_extension("new");
    fs::write(&new, format!("{}\n", time.as_secs()))?;
    fs::File::open(&new)?.sync_all()?;
    fs::rename(new, KEPT)
}

/// For the console: date and time, UTC.
pub fn show(time: Unix) -> String {
    let (days, seconds) = (time.as_secs() / 86_400, time.as_secs() % 86_400);
    // Days since 1970 to a date: http://howardhinnant.github.io/date_algorithms.html, civil_from_days.
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT: Unix = Duration::from_secs(1_700_000_000);
    const S: i64 = 1_000_000_000;

    #[test]
    fn it_steps_once_then_slews_and_never_shows_what_cannot_be() {
        let now = BUILT + Duration::from_secs(1000);
        let later = |seconds| Action::Set(now + Duration::from_secs(seconds));
        for (behind, error, first, expected) in [
            (S, 0, true, later(1)),
            (86_400 * S, 1_000_000, true, later(86_400)),
            (-500 * S, 0, true, Action::Set(BUILT + Duration::from_secs(500))),
            (S, 0, false, Action::Slew(S)),
            (-S / 2, 0, false, Action::Slew(-S / 2)),
            (10 * S, 0, false, later(10)),
            (S / 1000, S / 100, true, Action::Keep),
            (S / 1000, S / 100, false, Action::Keep),
            // Before the image was built.
            (-1001 * S, 0, true, Action::Refuse),
            (i64::MIN, 0, true, Action::Refuse),
            (i64::MAX, 0, false, Action::Refuse),
        ] {
            let error = Duration::from_nanos(error.unsigned_abs());
            assert_eq!(decide(now, behind, error, BUILT, first), expected, "{behind} {error:?} {first}");
        }
    }

    #[test]
    fn at_the_start_it_shows_the_latest_time_that_must_be_past() {
        let day = Duration::from_secs(86_400);
        assert_eq!(at_start(Duration::ZERO, BUILT, None), BUILT);
        assert_eq!(at_start(Duration::ZERO, BUILT, Some(BUILT + day)), BUILT + day);
        assert_eq!(at_start(BUILT + 2 * day, BUILT, Some(BUILT + day)), BUILT + 2 * day, "a board with a battery");
        assert_eq!(at_start(Duration::ZERO, BUILT, Some(day)), BUILT, "an older image ran later");
        assert_eq!(at_start(Duration::ZERO, BUILT, Some(Duration::from_secs(u64::MAX))), BUILT, "a damaged file");
    }

    #[test]
    fn dates_are_right() {
        for (seconds, shown) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_798_761_599, "2026-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(show(Duration::from_secs(seconds)), shown);
        }
    }
}
