//! When the probe is started again and when it counts as well: pure, every time is an argument (time since the board began).

use std::time::Duration;

/// The first pause before it is started again, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Whoever ran so long has not failed at the start: the pauses begin anew.
const RAN_WELL: Duration = Duration::from_secs(120);

/// The probe says that its loop turns within this time (`WatchdogSec=` of its unit).
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How the probe stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It may be started from this time on.
    Waits(Duration),
    /// It runs since then, and said last then that it is alive.
    Runs { since: Duration, heard: Duration },
}

/// The rules of starting again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervision {
    life: Life,
    pause: Duration,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Nothing now.
    Nothing,
    /// Start it.
    Start,
    /// It hangs: end it by force.
    Kill,
}

impl Default for Supervision {
    fn default() -> Self {
        Self { life: Life::Waits(Duration::ZERO), pause: FIRST_PAUSE }
    }
}

impl Supervision {
    /// What is to be done at `now`. After `Start` call [`Supervision::started`] or [`Supervision::ended`].
    pub fn poll(&self, now: Duration) -> Order {
        match self.life {
            Life::Waits(from) if from <= now => Order::Start,
            Life::Runs { heard, .. } if now.saturating_sub(heard) > PATIENCE => Order::Kill,
            _ => Order::Nothing,
        }
    }

    /// It has been started.
    pub fn started(&mut self, now: Duration) {
        self.life = Life::Runs { since: now, heard: now };
    }

    /// It says that its loop turns.
    pub fn heard(&mut self, now: Duration) {
        if let Life::Runs { heard, .. } = &mut self.life {
            *heard = now;
        }
    }

    /// It has ended, or could not be started. Gives the pause before it is started again.
    pub fn ended(&mut self, now: Duration) -> Duration {
        if let Life::Runs { since, .. } = self.life
            && now.saturating_sub(since) >= RAN_WELL
        {
            self.pause = FIRST_PAUSE;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        self.life = Life::Waits(now + pause);
        pause
    }

    /// May the hardware's watchdog be fed? A probe that hangs and does not even end when it is killed is the one reason why not: one that
    /// waits is talked about on the console.
    pub fn is_well(&self, now: Duration) -> bool {
        match self.life {
            Life::Waits(_) => true,
            Life::Runs { heard, .. } => now.saturating_sub(heard) <= PATIENCE + RAN_WELL / 8,
        }
    }
}

/// Lets so many lines through in a time, and counts the others.
#[derive(Debug, Clone)]
pub struct LineLimit {
    left: u32,
    refilled: Duration,
    dropped: u64,
}

impl LineLimit {
    /// Lines at once, and a second's share of them after that.
    const BURST: u32 = 40;
    const EVERY: Duration = Duration::from_secs(2);

    /// Nothing said yet.
    pub const fn new() -> Self {
        Self { left: Self::BURST, refilled: Duration::ZERO, dropped: 0 }
    }

    /// May one line more be said? `Some` tells how many were left out before it.
    pub fn take(&mut self, now: Duration) -> Option<u64> {
        let periods = now.saturating_sub(self.refilled).as_secs() / Self::EVERY.as_secs();
        if periods > 0 {
            let more = u32::try_from(periods).unwrap_or(Self::BURST);
            self.left = self.left.saturating_add(more).min(Self::BURST);
            self.refilled = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Some(std::mem::take(&mut self.dropped))
            }
            None => {
                self.dropped += 1;
                None
            }
        }
    }
}

impl Default for LineLimit {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_is_started_at_once_and_after_ever_longer_pauses() {
        let mut rules = Supervision::default();
        let mut now = s(5);
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(rules.poll(now), Order::Start);
            rules.started(now);
            assert_eq!(rules.poll(now), Order::Nothing);
            assert_eq!(rules.ended(now), s(pause));
            assert_eq!(rules.poll(now + s(pause) - Duration::from_millis(1)), Order::Nothing);
            now += s(pause);
        }
        rules.started(now);
        rules.heard(now + s(100));
        assert_eq!(rules.ended(now + s(130)), s(1), "it ran well");
    }

    #[test]
    fn one_that_hangs_is_killed_and_if_that_does_not_help_the_board_starts_again() {
        let mut rules = Supervision::default();
        assert!(rules.is_well(s(1_000_000)), "not started for a reason that is said");
        rules.started(s(10));
        rules.heard(s(100));
        assert_eq!(rules.poll(s(220)), Order::Nothing);
        assert!(rules.is_well(s(220)));
        assert_eq!(rules.poll(s(221)), Order::Kill);
        assert!(rules.is_well(s(221)), "it has a moment to end");
        assert!(!rules.is_well(s(300)));
        rules.ended(s(222));
        assert!(rules.is_well(s(300)));
    }

    #[test]
    fn a_talkative_probe_is_cut_short() {
        let mut limit = LineLimit::new();
        let said = (0..100).filter(|_| limit.take(s(0)).is_some()).count();
        assert_eq!(said, 40);
        assert_eq!(limit.take(s(1)), None);
        assert_eq!(limit.take(s(2)), Some(61), "and it is said how much was left out");
        assert_eq!(limit.take(s(3)), None);
        assert!(
            (0..100).filter(|_| limit.take(s(1000)).is_some()).count() == 40,
            "silence saves up no more than a burst"
        );
    }
}
