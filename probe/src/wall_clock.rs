//! The probe's notion of the time of day. A board has no clock of its own, and the kernel's may be set by somebody at any
//! moment; so there are two sources, and the better one counts:
//!
//! 1. The kernel's clock, CLOCK_REALTIME, as long as the kernel says that it is synchronised (an NTP client runs). It is
//!    followed as it is, steps and all.
//! 2. The collector's clock, carried on by the monotonic one from the best of the last few exchanges of time. Steps of
//!    CLOCK_REALTIME do not matter then.
//!
//! With neither, the kernel's clock is shown and [`WallClock::is_known`] is false.
//!
//! Between two estimates of the collector's clock the time never steps back by less than [`STEP`]: what it has gone ahead
//! is made up for by running slower by a tenth. It does step forward, back by more than that, and from one source to the
//! other. While the machine sleeps CLOCK_MONOTONIC_RAW stands still; the next exchange repairs that.
//!
//! Pure: every time is an argument; [`kernel_clock`] and [`slew_limit`] are the functions that ask the system. This module
//! must not know about connections. For labels and schedules only: round-trip times come from the monotonic clock.

mod sys;

use std::collections::VecDeque;
use std::time::Duration;

use sonde_protocol::result::{StampSource, Timing};
use sonde_protocol::time::{Nanos, UnixNanos};

pub use sys::{KernelClock, kernel_clock, slew_limit};

/// A correction back by this or more is made at once.
pub const STEP: Duration = Duration::from_secs(1);

/// While it makes up for having been ahead, the clock runs slower by one part in this many.
const SLEW: i64 = 10;

/// How far a board's crystal can be off: 50 ppm, as one part in this many.
const DRIFT: u32 = 20_000;

/// How many exchanges are remembered.
const SAMPLES: usize = 8;

/// An exchange that can be wrong by more tells nothing.
const MAX_ERROR: Duration = Duration::from_secs(10);

/// One exchange of time with a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    local: Nanos,
    remote: UnixNanos,
    error: Duration,
}

impl Sample {
    /// The collector's time at `mono`.
    fn at(&self, mono: Nanos) -> UnixNanos {
        UnixNanos(self.remote.0.saturating_add(mono.nanos_since(self.local)))
    }

    /// How wrong [`Sample::at`] can be at `mono`. It grows into the past too.
    fn error_at(&self, mono: Nanos) -> Duration {
        self.error + drift(mono.since(self.local).max(self.local.since(mono)))
    }
}

/// The sample that counts, and how far the clock still is ahead of it on purpose.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    sample: Sample,
    /// Nanoseconds ahead at `since`; never negative.
    ahead: i64,
    since: Nanos,
}

impl Estimate {
    fn ahead_at(&self, mono: Nanos) -> i64 {
        (self.ahead - mono.nanos_since(self.since).max(0) / SLEW).max(0)
    }

    fn at(&self, mono: Nanos) -> UnixNanos {
        UnixNanos(self.sample.at(mono).0.saturating_add(self.ahead_at(mono)))
    }
}

/// The last time the kernel's clock was synchronised.
#[derive(Debug, Clone, Copy)]
struct KernelSync {
    at: Nanos,
    max_error: Option<Duration>,
}

/// The time of day. Tell it what the kernel says ([`WallClock::kernel_state`], now and then, from [`kernel_clock`]) and what
/// collectors say ([`WallClock::sample`]); ask it with both clocks' readings of one moment ([`WallClock::now`]).
#[derive(Debug, Clone, Default)]
pub struct WallClock {
    kernel_counts: bool,
    kernel: Option<KernelSync>,
    samples: VecDeque<Sample>,
    estimate: Option<Estimate>,
}

impl WallClock {
    /// A clock that knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the kernel said of its clock at `at`.
    pub fn kernel_state(&mut self, synchronised: bool, max_error: Option<Duration>, at: Nanos) {
        self.kernel_counts = synchronised;
        if synchronised {
            self.kernel = Some(KernelSync { at, max_error });
        }
    }

    /// A collector's clock showed `remote` when ours showed `local`, give or take `error`: half of what the exchange took.
    pub fn sample(&mut self, local: Nanos, remote: UnixNanos, error: Duration) {
        if error > MAX_ERROR {
            return;
        }
        let new = Sample { local, remote, error };
        // Both cannot be right: the collector's clock was corrected, or another collector is asked.
        let contradicts = |old: &Sample| {
            let apart = old.at(local).0.saturating_sub(remote.0).unsigned_abs();
            Duration::from_nanos(apart) > old.error_at(local) + error
        };
        if self.estimate.is_some_and(|estimate| contradicts(&estimate.sample)) {
            self.samples.clear();
        }
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(new);
        let best = self.samples.iter().min_by_key(|sample| sample.error_at(local)).copied().unwrap_or(new);
        self.follow(best, local + error);
    }

    /// Takes `best` as the estimate. `now` is about when the exchange ended: nobody has asked for a later time so far.
    fn follow(&mut self, best: Sample, now: Nanos) {
        if self.estimate.is_some_and(|estimate| estimate.sample == best) {
            return;
        }
        let shown = self.estimate.map_or(i64::MIN, |estimate| estimate.at(now).0);
        let ahead = shown.saturating_sub(best.at(now).0);
        let small = 0 < ahead && ahead < STEP.as_nanos() as i64;
        self.estimate = Some(Estimate { sample: best, ahead: if small { ahead } else { 0 }, since: now });
    }

    /// The time of day when the monotonic clock shows `mono` and CLOCK_REALTIME shows `realtime`.
    pub fn now(&self, mono: Nanos, realtime: UnixNanos) -> UnixNanos {
        match self.estimate {
            Some(estimate) if !self.kernel_counts => estimate.at(mono),
            _ => realtime,
        }
    }

    /// How many nanoseconds the kernel's clock, which shows `realtime`, is behind the collector's, and how wrong that can be. `None` while
    /// no collector told, and where somebody else keeps the kernel's clock right.
    pub fn behind(&self, mono: Nanos, realtime: UnixNanos) -> Option<(i64, Duration)> {
        let estimate = self.estimate.filter(|_| !self.kernel_counts)?;
        Some((estimate.sample.at(mono).0.saturating_sub(realtime.0), estimate.sample.error_at(mono)))
    }

    /// Is the time of day known at all?
    pub fn is_known(&self) -> bool {
        self.kernel_counts || self.estimate.is_some()
    }

    /// How wrong [`WallClock::now`] can be at `mono`: what its source said, and 50 ppm of the time since. `None` when nobody
    /// knows.
    pub fn error(&self, mono: Nanos) -> Option<Duration> {
        if self.kernel_counts {
            let kernel = self.kernel?;
            return Some(kernel.max_error? + drift(mono.since(kernel.at)));
        }
        let estimate = self.estimate?;
        let ahead = Duration::from_nanos(estimate.ahead_at(mono).unsigned_abs());
        Some(estimate.sample.error_at(mono) + ahead)
    }

    /// The time since either source last vouched for the time of day; `None` when none ever did (Atlas: `lts`).
    pub fn last_sync(&self, mono: Nanos) -> Option<Duration> {
        let kernel = self.kernel.map(|kernel| kernel.at);
        let newest = self.samples.iter().map(|sample| sample.local).max();
        kernel.max(newest).map(|at| mono.since(at))
    }

    /// The same as it stands in a result whose packets were stamped by `source`.
    pub fn timing(&self, mono: Nanos, source: StampSource) -> Timing {
        Timing {
            source,
            last_sync: self.last_sync(mono).map(|age| u32::try_from(age.as_secs()).unwrap_or(u32::MAX)),
            clock_error: self.error(mono).map(|error| u64::try_from(error.as_nanos()).unwrap_or(u64::MAX)),
            rtt_error: None,
            load: None,
        }
    }
}

fn drift(age: Duration) -> Duration {
    age / DRIFT
}

#[cfg(test)]
mod tests {
    use sonde_protocol::seed::Rng;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const S: i64 = 1_000_000_000;
    /// The true time of day when the monotonic clock shows 0.
    const EPOCH: i64 = 1_700_000_000 * S;

    fn mono(seconds: i64) -> Nanos {
        Nanos(seconds * S)
    }

    fn truth(at: Nanos) -> UnixNanos {
        UnixNanos(EPOCH + at.0)
    }

    /// What an unsynchronised kernel might show.
    const WRONG: UnixNanos = UnixNanos(42);

    /// An exchange with a collector whose clock is `off` nanoseconds from the truth.
    fn exchange(clock: &mut WallClock, at: Nanos, off: i64, error: Duration) {
        clock.sample(at, UnixNanos(truth(at).0 + off), error);
    }

    #[test]
    fn without_any_source_the_kernel_is_shown_and_not_believed() {
        let mut clock = WallClock::new();
        clock.kernel_state(false, None, mono(1));
        assert_eq!(clock.now(mono(2), WRONG), WRONG);
        assert!(!clock.is_known());
        assert_eq!(clock.timing(mono(2), StampSource::User), Timing::default());
    }

    #[test]
    fn how_far_an_unkept_kernel_clock_is_behind() {
        let mut clock = WallClock::new();
        assert_eq!(clock.behind(mono(1), WRONG), None, "nobody knows");
        exchange(&mut clock, mono(1), 0, MS);
        let late = UnixNanos(truth(mono(21)).0 - 3 * S);
        assert_eq!(clock.behind(mono(21), late), Some((3 * S, 2 * MS)), "50 ppm of 20 s are 1 ms");
        assert_eq!(clock.behind(mono(21), UnixNanos(truth(mono(21)).0 + S)).map(|(behind, _)| behind), Some(-S));
        clock.kernel_state(true, Some(MS), mono(22));
        assert_eq!(clock.behind(mono(22), WRONG), None, "an NTP client keeps it");
    }

    #[test]
    fn a_synchronised_kernel_is_followed_whatever_the_collector_says() {
        let mut clock = WallClock::new();
        exchange(&mut clock, mono(1), 3 * S, MS);
        clock.kernel_state(true, Some(5 * MS), mono(10));
        for realtime in [truth(mono(20)), UnixNanos(EPOCH + 500 * S), UnixNanos(EPOCH - 500 * S)] {
            assert_eq!(clock.now(mono(20), realtime), realtime);
        }
        assert_eq!(clock.error(mono(30)), Some(6 * MS), "50 ppm of 20 s are 1 ms");
        assert_eq!(clock.last_sync(mono(30)), Some(Duration::from_secs(20)));
    }

    #[test]
    fn steps_of_the_kernels_clock_do_not_move_a_time_that_comes_from_the_collector() {
        let mut clock = WallClock::new();
        clock.kernel_state(false, None, mono(1));
        exchange(&mut clock, mono(5), 0, MS);
        for step in [-10 * S, 0, 10 * S] {
            let realtime = UnixNanos(truth(mono(9)).0 + step);
            assert_eq!(clock.now(mono(9), realtime), truth(mono(9)));
        }
        assert_eq!(clock.now(mono(2), WRONG), truth(mono(2)), "also for what happened before the exchange");
    }

    #[test]
    fn when_the_kernel_loses_its_source_the_collector_takes_over() {
        let mut clock = WallClock::new();
        clock.kernel_state(true, Some(MS), mono(0));
        clock.kernel_state(false, None, mono(60));
        assert!(!clock.is_known());
        assert_eq!(clock.error(mono(60)), None);
        assert_eq!(clock.last_sync(mono(60)), Some(Duration::from_secs(60)), "it was right a minute ago");
        exchange(&mut clock, mono(70), 0, MS);
        assert_eq!(clock.now(mono(80), WRONG), truth(mono(80)));
        assert_eq!(clock.last_sync(mono(80)), Some(Duration::from_secs(10)));
    }

    #[test]
    fn the_best_exchange_counts_until_drift_has_made_it_worse() {
        let mut clock = WallClock::new();
        exchange(&mut clock, mono(0), 0, MS);
        exchange(&mut clock, mono(20), 15 * S / 1000, 20 * MS);
        assert_eq!(clock.now(mono(20), WRONG), truth(mono(20)), "a slow exchange does not replace a quick one");
        assert_eq!(clock.error(mono(20)), Some(2 * MS));
        // 50 ppm of 600 s are 30 ms.
        exchange(&mut clock, mono(600), 15 * S / 1000, 20 * MS);
        assert_eq!(clock.now(mono(600), WRONG).0, truth(mono(600)).0 + 15 * S / 1000);
        assert_eq!(clock.error(mono(600)), Some(20 * MS));
    }

    #[test]
    fn an_exchange_that_contradicts_the_estimate_replaces_it() {
        let mut clock = WallClock::new();
        exchange(&mut clock, mono(0), 0, MS);
        exchange(&mut clock, mono(10), 30 * S, 50 * MS);
        assert_eq!(clock.now(mono(10), WRONG).0, truth(mono(10)).0 + 30 * S);
        exchange(&mut clock, mono(20), 0, 50 * MS);
        assert_eq!(clock.now(mono(20), WRONG), truth(mono(20)), "back by more than a second: at once");
    }

    #[test]
    fn an_exchange_that_took_too_long_tells_nothing() {
        let mut clock = WallClock::new();
        exchange(&mut clock, mono(0), 0, MAX_ERROR + MS);
        assert!(!clock.is_known());
    }

    #[test]
    fn a_small_correction_back_is_made_slowly() {
        let mut clock = WallClock::new();
        exchange(&mut clock, mono(0), 200 * S / 1000, 300 * MS);
        exchange(&mut clock, mono(10), 0, MS);
        let ahead = |at: Nanos| clock.now(at, WRONG).0 - truth(at).0;
        let end_of_exchange = mono(10) + MS;
        assert_eq!(ahead(end_of_exchange), 200 * S / 1000);
        assert_eq!(ahead(end_of_exchange + Duration::from_secs(1)), 100 * S / 1000);
        assert_eq!(ahead(mono(13)), 0);
        assert!(clock.error(mono(10)).unwrap() >= 200 * MS, "and it says so");
    }

    #[test]
    fn the_time_is_within_its_error_and_never_steps_back_a_little() {
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            let mut clock = WallClock::new();
            // A crystal within 50 ppm, and exchanges that are as wrong as they may be.
            let ppm = rng.below(101) as i64 - 50;
            let true_time = |at: Nanos| EPOCH + at.0 + at.0 / 1_000_000 * ppm;
            let mut at = Nanos(0);
            let mut shown = i64::MIN;
            for _ in 0..200 {
                let half = rng.below(400_000_000) as i64;
                let off = rng.below(2 * half.unsigned_abs() + 1) as i64 - half;
                clock.sample(at, UnixNanos(true_time(at) + off), Duration::from_nanos(half.unsigned_abs()));
                at = at + Duration::from_nanos(half.unsigned_abs());
                for _ in 0..4 {
                    let now = clock.now(at, WRONG).0;
                    assert!(now >= shown, "seed {seed}: back by {} ns", shown - now);
                    shown = now;
                    let wrong = (now - true_time(at)).unsigned_abs();
                    let error = clock.error(at).unwrap() + Duration::from_micros(1);
                    assert!(Duration::from_nanos(wrong) <= error, "seed {seed}: {wrong} ns off, not {error:?}");
                    at = at + Duration::from_nanos(rng.below(20_000_000_000));
                }
            }
        }
    }
}
