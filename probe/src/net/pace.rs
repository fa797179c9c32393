//! A token bucket for packets, and a count of those that went; [`Pace`] is both of a process, for all that send. Pure; time is an
//! argument.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sonde_protocol::time::Nanos;

/// Lets `burst` packets go at once and one each `step` in the long run.
#[derive(Debug)]
pub struct Bucket {
    step: Duration,
    burst: u32,
    tokens: u32,
    /// Up to when tokens have been counted.
    counted_to: Nanos,
}

impl Bucket {
    /// A full bucket. A rate or burst of 0 counts as 1.
    pub fn new(per_second: u32, burst: u32, now: Nanos) -> Self {
        let burst = burst.max(1);
        let step = Duration::from_nanos(1_000_000_000 / u64::from(per_second.max(1))).max(Duration::from_nanos(1));
        Self { step, burst, tokens: burst, counted_to: now }
    }

    /// Whether a packet may go now.
    pub fn ready(&mut self, now: Nanos) -> bool {
        let steps = now.since(self.counted_to).as_nanos() / self.step.as_nanos();
        let missing = self.burst - self.tokens;
        match u32::try_from(steps) {
            Ok(steps) if steps < missing => {
                self.tokens += steps;
                self.counted_to = self.counted_to + self.step * steps;
            }
            _ => {
                self.tokens = self.burst;
                self.counted_to = now;
            }
        }
        self.tokens > 0
    }

    /// One packet has gone.
    pub fn take(&mut self) {
        self.tokens = self.tokens.saturating_sub(1);
    }

    /// When the next packet may go, if none may now.
    pub fn next(&self) -> Nanos {
        self.counted_to + self.step
    }
}

/// What all packets of a process go by, whoever sends them.
#[derive(Debug)]
pub struct Pace(Mutex<(Bucket, Meter)>);

impl Pace {
    /// One that nobody has used yet; see [`Bucket::new`].
    pub fn new(per_second: u32, burst: u32, now: Nanos) -> Self {
        Self(Mutex::new((Bucket::new(per_second, burst, now), Meter::default())))
    }

    fn state(&self) -> MutexGuard<'_, (Bucket, Meter)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a packet may go now.
    pub fn ready(&self, now: Nanos) -> bool {
        self.state().0.ready(now)
    }

    /// One packet goes.
    pub fn take(&self, now: Nanos) {
        let mut state = self.state();
        state.0.take();
        state.1.count(now);
    }

    /// Takes one if it may go now; else tells when to ask again.
    pub fn try_take(&self, now: Nanos) -> Result<(), Nanos> {
        let mut state = self.state();
        if !state.0.ready(now) {
            return Err(state.0.next());
        }
        state.0.take();
        state.1.count(now);
        Ok(())
    }

    /// When the next packet may go, if none may now.
    pub fn next(&self) -> Nanos {
        self.state().0.next()
    }

    /// Another pace from now on.
    pub fn set(&self, per_second: u32, burst: u32, now: Nanos) {
        self.state().0 = Bucket::new(per_second, burst, now);
    }

    /// Packets in the second before `now`.
    pub fn in_a_second(&self, now: Nanos) -> u32 {
        self.state().1.in_a_second(now)
    }
}

/// Counts packets over the last second.
#[derive(Debug, Default)]
pub struct Meter {
    /// Packets in each tenth of a second, by its number modulo ten.
    tenths: [u32; 10],
    /// The number of the tenth that was counted last.
    newest: i64,
}

impl Meter {
    /// A packet has gone.
    pub fn count(&mut self, now: Nanos) {
        self.turn(now);
        let slot = usize::try_from(self.newest.rem_euclid(10)).unwrap_or(0);
        if let Some(count) = self.tenths.get_mut(slot) {
            *count = count.saturating_add(1);
        }
    }

    /// Packets in the second before `now`, to a tenth of a second.
    pub fn in_a_second(&mut self, now: Nanos) -> u32 {
        self.turn(now);
        self.tenths.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    fn turn(&mut self, now: Nanos) {
        let tenth = now.0.div_euclid(100_000_000);
        for passed in (self.newest + 1).max(tenth - 9)..=tenth {
            let slot = usize::try_from(passed.rem_euclid(10)).unwrap_or(0);
            if let Some(count) = self.tenths.get_mut(slot) {
                *count = 0;
            }
        }
        self.newest = self.newest.max(tenth);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many packets go by `until`, asked every 100 µs.
    fn count(bucket: &mut Bucket, from: i64, until: i64) -> u32 {
        let mut sent = 0;
        for now in (from..=until).step_by(100_000) {
            while bucket.ready(Nanos(now)) {
                bucket.take();
                sent += 1;
            }
        }
        sent
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = Bucket::new(1_000, 32, Nanos(0));
        assert_eq!(count(&mut bucket, 0, 0), 32);
        assert_eq!(count(&mut bucket, 0, 100_000_000), 100, "100 ms at 1,000 a second");
        assert_eq!(count(&mut bucket, 10_000_000_000, 10_000_000_000), 32, "idle time saves up one burst, no more");
    }

    #[test]
    fn the_next_token_comes_when_it_says() {
        let mut bucket = Bucket::new(1_000, 1, Nanos(0));
        assert!(bucket.ready(Nanos(0)));
        bucket.take();
        let next = bucket.next();
        assert!(!bucket.ready(next - Duration::from_nanos(1)));
        assert!(bucket.ready(next));
    }

    #[test]
    fn a_clock_that_stands_still_gives_nothing() {
        let mut bucket = Bucket::new(0, 0, Nanos(5));
        assert!(bucket.ready(Nanos(5)));
        bucket.take();
        assert!(!bucket.ready(Nanos(5)));
        assert!(!bucket.ready(Nanos(0)));
    }

    #[test]
    fn who_takes_by_himself_and_who_asks_first_share_one_pace() {
        let pace = Pace::new(10, 2, Nanos(0));
        assert!(pace.ready(Nanos(0)));
        pace.take(Nanos(0));
        assert_eq!(pace.try_take(Nanos(0)), Ok(()));
        assert_eq!(pace.try_take(Nanos(0)), Err(Nanos(100_000_000)));
        assert!(!pace.ready(Nanos(0)));
        assert_eq!(pace.try_take(Nanos(100_000_000)), Ok(()));
        assert_eq!(pace.in_a_second(Nanos(100_000_000)), 3, "all are counted");
        pace.set(10, 1, Nanos(100_000_000));
        assert!(pace.ready(Nanos(100_000_000)));
    }

    #[test]
    fn the_meter_forgets_after_a_second() {
        let mut meter = Meter::default();
        let at = |ms: i64| Nanos(7_000_000_000 + ms * 1_000_000);
        for ms in [0, 0, 450, 950] {
            meter.count(at(ms));
        }
        let counts = [950, 1_050, 1_450, 1_800, 99_000].map(|ms| meter.in_a_second(at(ms)));
        assert_eq!(counts, [4, 2, 1, 1, 0]);
    }
}
