//! When a system on trial is kept, and when it gives up and lets the board start again. Pure: times are arguments.
//!
//! The loader counts tries; what a try is worth is decided here. A system that stands still needs no rule: the watchdog starts the board again.

use std::time::Duration;

/// All must have been well for so long.
pub const WELL_FOR: Duration = Duration::from_secs(30);

/// A card that does not let the system be kept is tried again after this.
const AGAIN: Duration = Duration::from_secs(60);

/// What is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The collector is reached, or waits for somebody to let the probe in.
    pub reached: bool,
    /// This system is on trial.
    pub trial: bool,
    /// [`Slots::keep`](super::Slots::keep) would change something.
    pub keep: bool,
    /// There is a system that was kept, and would be started instead.
    pub fallback: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing now.
    Wait,
    /// Keep the system.
    Keep,
    /// Start the board again: the trial has failed.
    Restart,
}

/// The trial's clock.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    limit: Duration,
    well_since: Option<Duration>,
    proved: bool,
    tried: Option<Duration>,
}

impl Trial {
    /// Of a system that must have reached its collector so long after power-on.
    pub const fn new(limit: Duration) -> Self {
        Self { limit, well_since: None, proved: false, tried: None }
    }

    /// What to do at `now` after power-on. After [`Verdict::Keep`] it says so again in a minute, unless the facts have changed.
    pub fn poll(&mut self, now: Duration, facts: Facts) -> Verdict {
        self.well_since = facts.reached.then_some(self.well_since.unwrap_or(now));
        self.proved |= self.well_since.is_some_and(|since| now.saturating_sub(since) >= WELL_FOR);
        // What has proved itself and only finds its card locked is no failure: another start would change nothing.
        if facts.trial && facts.fallback && !facts.reached && !self.proved && now >= self.limit {
            return Verdict::Restart;
        }
        let due = self.tried.is_none_or(|tried| now.saturating_sub(tried) >= AGAIN);
        if facts.keep && self.proved && due {
            self.tried = Some(now);
            return Verdict::Keep;
        }
        Verdict::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIAL: Facts = Facts { reached: false, trial: true, keep: true, fallback: true };
    const REACHED: Facts = Facts { reached: true, ..TRIAL };

    fn play(polls: &[(u64, Facts, Verdict)]) {
        let mut trial = Trial::new(Duration::from_secs(600));
        for &(now, facts, expected) in polls {
            assert_eq!(trial.poll(Duration::from_secs(now), facts), expected, "at {now} s of {polls:?}");
        }
    }

    #[test]
    fn it_is_kept_when_all_was_well_for_half_a_minute() {
        use Verdict::{Keep, Restart, Wait};
        play(&[(10, TRIAL, Wait), (20, REACHED, Wait), (49, REACHED, Wait), (50, REACHED, Keep), (51, REACHED, Wait)]);
        // A connection that does not hold begins anew.
        play(&[(20, REACHED, Wait), (40, TRIAL, Wait), (41, REACHED, Wait), (70, REACHED, Wait), (71, REACHED, Keep)]);
        // It is given the half minute that begins before the end.
        play(&[(599, REACHED, Wait), (628, REACHED, Wait), (629, REACHED, Keep)]);
        play(&[(599, REACHED, Wait), (610, TRIAL, Restart)]);
        // A card that does not let it: again and again, and never a restart.
        play(&[
            (20, REACHED, Wait),
            (50, REACHED, Keep),
            (109, REACHED, Wait),
            (110, REACHED, Keep),
            (700, TRIAL, Keep),
        ]);
    }

    #[test]
    fn a_trial_ends_in_a_restart_where_there_is_something_to_fall_back_to() {
        use Verdict::{Restart, Wait};
        play(&[(599, TRIAL, Wait), (600, TRIAL, Restart)]);
        play(&[(600, Facts { fallback: false, ..TRIAL }, Wait), (90_000, Facts { fallback: false, ..TRIAL }, Wait)]);
    }

    #[test]
    fn a_system_that_was_kept_never_restarts_for_this() {
        use Verdict::{Keep, Wait};
        let kept = Facts { reached: false, trial: false, keep: false, fallback: true };
        play(&[(600, kept, Wait), (90_000, kept, Wait), (90_001, Facts { reached: true, ..kept }, Wait)]);
        // Two names are made one in the same way.
        let twice = Facts { keep: true, ..kept };
        play(&[
            (700, twice, Wait),
            (710, Facts { reached: true, ..twice }, Wait),
            (740, Facts { reached: true, ..twice }, Keep),
        ]);
    }
}
