//! Which time it is for updates, on a board without a clock of its own. Not what the clock shows: that was kept by a probe's word. It is
//! the latest of what the image, the files that were good, and the collector now vouch for, each counted on since it was known. Pure:
//! times since the start are arguments.

use std::time::Duration;

use sonde_update::moment::{Moment, latest};

/// The times that somebody has vouched for, each with when that was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moments {
    /// The image, which cannot have been started before it was built.
    built: Moment,
    /// The files when they were last good.
    kept: Option<(Moment, Duration)>,
    /// The collector, as the board's clock has accepted it: the last word alone, so that one lie does not outlive itself.
    told: Option<(Moment, Duration)>,
}

impl Moments {
    /// When only the image is known.
    pub const fn new(built: Moment) -> Self {
        Self { built, kept: None, told: None }
    }

    /// The files were good at this time.
    pub fn keep(&mut self, time: Moment, now: Duration) {
        if self.kept.is_none_or(|kept| counted(kept, now) < time) {
            self.kept = Some((time, now));
        }
    }

    /// The collector says so.
    pub fn tell(&mut self, time: Moment, now: Duration) {
        self.told = Some((time, now));
    }

    /// The time now. It stays the same during a walk: ask once.
    pub fn now(&self, now: Duration) -> Moment {
        let built = counted((self.built, Duration::ZERO), now);
        let kept = self.kept.map_or(built, |kept| counted(kept, now));
        latest(built, kept, self.told.map(|told| counted(told, now)))
    }
}

fn counted((time, since): (Moment, Duration), now: Duration) -> Moment {
    time.plus_seconds(now.saturating_sub(since).as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn time_goes_on_whoever_repeats_an_old_one() {
        let mut moments = Moments::new(Moment(1000));
        assert_eq!(moments.now(s(5)), Moment(1005));
        moments.keep(Moment(5000), s(10));
        moments.tell(Moment(2000), s(10));
        assert_eq!(moments.now(s(110)), Moment(5100), "a collector that tells an old time");
        moments.keep(Moment(5050), s(110));
        assert_eq!(moments.now(s(120)), Moment(5110), "never backwards");
        moments.tell(Moment(9000), s(120));
        assert_eq!(moments.now(s(130)), Moment(9010));
        moments.tell(Moment(6000), s(140));
        assert_eq!(moments.now(s(140)), Moment(6000), "a lie about the year does not outlive itself");
        moments.tell(Moment(i64::MAX), s(150));
        assert_eq!(moments.now(s(u64::MAX)), Moment(i64::MAX));
    }
}
