//! How fast boards may fetch, so that results never wait for them: all together so many bytes a second, and each connection so many
//! questions a minute. Pure: times are arguments.

use std::time::Duration;

use sonde_protocol::time::UnixNanos;

/// How long an answer may be held back until its turn comes. Whoever would have to wait longer is told to come later: the
/// answers that wait are memory.
const PATIENCE: Duration = Duration::from_secs(2);

/// Questions of one connection in a minute: at 32 KiB each that is more than 6 MB a second.
const QUESTIONS: u32 = 12_000;

/// Who asks even this often in a minute, after having been told to wait, means harm.
const TOO_MANY: u32 = 2 * QUESTIONS;

const MINUTE: Duration = Duration::from_secs(60);

/// The bytes that all connections together may fetch. Each has one question open, and the answers leave in the order in which the
/// questions came, so those who wait share evenly.
#[derive(Debug)]
pub struct Pace {
    bytes_per_second: u64,
    /// When everything that was admitted will have left.
    free_at: UnixNanos,
}

impl Pace {
    /// So many bytes a second; at least one.
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), free_at: UnixNanos(0) }
    }

    /// How long an answer with so many bytes has to wait for its turn; `None` if that is too long, and then it has none.
    pub fn admit(&mut self, bytes: u64, now: UnixNanos) -> Option<Duration> {
        let from = self.free_at.max(now);
        let wait = from.since(now);
        // A clock that was set back would keep everybody waiting for as long as it was ahead.
        if wait > PATIENCE && self.free_at.since(now) <= self.longest() {
            return None;
        }
        let (from, wait) = if wait > PATIENCE { (now, Duration::ZERO) } else { (from, wait) };
        let takes = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        self.free_at = from + Duration::from_nanos(u64::try_from(takes).unwrap_or(u64::MAX));
        Some(wait)
    }

    /// The farthest that [`Pace::free_at`] can be ahead by what was admitted: the patience and one answer more.
    fn longest(&self) -> Duration {
        let one = sonde_protocol::board::MAX_PIECE as u64 * 1000 / self.bytes_per_second;
        PATIENCE + Duration::from_millis(one + 1)
    }
}

/// What is to be done with one more question of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Answer it.
    Answer,
    /// Tell it to come again after so many seconds.
    Later(u32),
    /// End the connection.
    End,
}

/// The questions of one connection.
#[derive(Debug, Clone, Copy)]
pub struct Questions {
    since: UnixNanos,
    count: u32,
}

impl Questions {
    /// None yet.
    pub const fn new(now: UnixNanos) -> Self {
        Self { since: now, count: 0 }
    }

    /// One more.
    pub fn ask(&mut self, now: UnixNanos) -> Verdict {
        if now.since(self.since) > MINUTE || now < self.since {
            *self = Self::new(now);
        }
        self.count = self.count.saturating_add(1);
        match self.count {
            0..=QUESTIONS => Verdict::Answer,
            TOO_MANY.. => Verdict::End,
            _ => {
                let left = MINUTE.saturating_sub(now.since(self.since)).as_secs() + 1;
                Verdict::Later(u32::try_from(left).unwrap_or(60))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: i64) -> UnixNanos {
        UnixNanos(1_795_219_200_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn answers_leave_at_the_rate_and_in_order() {
        let mut pace = Pace::new(327_680);
        let piece = sonde_protocol::board::MAX_PIECE as u64;
        // A tenth of a second each.
        let waits: Vec<_> = (0..25).map(|_| pace.admit(piece, at(0)).map(|wait| wait.as_millis())).collect();
        let expected: Vec<_> = (0..25).map(|n| (n <= 20).then_some(n * 100)).collect();
        assert_eq!(waits, expected, "whoever comes too late has no turn, and delays nobody");
        assert_eq!(pace.admit(piece, at(1100)), Some(Duration::from_secs(1)));
        assert_eq!(pace.admit(piece, at(10_000)), Some(Duration::ZERO), "what was not used is not saved up");
        assert_eq!(pace.admit(piece, at(10_000)), Some(Duration::from_millis(100)));
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nothing() {
        let mut pace = Pace::new(10);
        assert_eq!(pace.admit(10, at(3_600_000)), Some(Duration::ZERO));
        assert_eq!(pace.admit(10, at(3_600_000)), Some(Duration::from_secs(1)));
        // Far beyond anything that was admitted here could take; but a long answer at a low rate is no such thing.
        assert_eq!(pace.admit(32_768, at(-1_000_000_000)), Some(Duration::ZERO));
        assert_eq!(pace.admit(10, at(-1_000_000_000)), None);
    }

    #[test]
    fn who_asks_too_often_waits_and_who_goes_on_is_ended() {
        let mut questions = Questions::new(at(0));
        for n in 0..QUESTIONS {
            assert_eq!(questions.ask(at(20_000)), Verdict::Answer, "{n}");
        }
        assert_eq!(questions.ask(at(20_000)), Verdict::Later(41));
        assert_eq!(questions.ask(at(61_000)), Verdict::Answer, "another minute");
        for _ in 2..TOO_MANY {
            assert_ne!(questions.ask(at(61_000)), Verdict::End);
        }
        assert_eq!(questions.ask(at(61_000)), Verdict::End);
        assert_eq!(questions.ask(at(0)), Verdict::Answer, "the clock was set back");
    }
}
