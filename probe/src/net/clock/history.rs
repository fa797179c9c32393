//! What was read of the clocks lately, and what it says of a stamp. Pure.
//!
//! Between two readings the wall clock may have been slewed, by no more than the kernel says, and stepped, which shows:
//! REALTIME − MONOTONIC is constant but for steps. Readings without a step between them form an *era*. A stamp belongs to the
//! one era in which it makes sense; with the nearest reading of that era, d away, its time is right within
//! slew × d and half of what the reading took. (A step of less than a reading takes, a fraction of a microsecond, does not
//! show.)

use std::collections::VecDeque;
use std::time::Duration;

use sonde_protocol::time::{Nanos, UnixNanos};

use super::MAX_SLEW;

/// Beyond this (half the speed of time) a slew is not believed; the arithmetic needs a bound below 1.
const ABSURD: u32 = 500_000;

/// How many readings are kept. They serve stamps that are read at once as a rule, a tenth of a second later at worst.
const READINGS: usize = 256;

/// How many eras are kept. There is more than one only while the clock has just been stepped.
const ERAS: usize = 4;

/// What disciplines clocks lets a slew last longer than this (chrony a second at least, the kernel from one second's end to
/// the next), so that two readings no farther apart see the fastest slew between them.
const SLEW_LASTS: Duration = Duration::from_secs(1);

const MILLION: i64 = 1_000_000;

/// All clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The moment: the middle of the reading.
    pub at: Nanos,
    /// REALTIME − MONOTONIC_RAW, right within half of `took`.
    pub offset: i64,
    /// REALTIME − MONOTONIC, right within `took`.
    pub steps: i64,
    /// Nanoseconds that the reading took.
    pub took: i64,
    /// How fast at most the offset changes, in millionths.
    pub slew: u32,
}

/// A stamp in engine time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// When.
    pub at: Nanos,
    /// How wrong that can be, in nanoseconds.
    pub error: u64,
}

/// Readings without a step between them.
#[derive(Debug)]
struct Era {
    /// The last reading before it: the step that began it came later.
    since: Nanos,
    readings: VecDeque<Reading>,
}

/// The latest readings, the oldest first.
#[derive(Debug, Default)]
pub struct History {
    eras: VecDeque<Era>,
}

impl History {
    /// Another reading, later than all before.
    pub fn note(&mut self, reading: Reading) {
        let last = self.eras.back().and_then(|era| era.readings.back()).copied();
        match (self.eras.back_mut(), last) {
            (Some(era), Some(last)) if (reading.steps - last.steps).abs() <= reading.took + last.took => {
                if era.readings.len() >= READINGS {
                    era.readings.pop_front();
                }
                era.readings.push_back(reading);
            }
            (_, last) => {
                if self.eras.len() >= ERAS {
                    self.eras.pop_front();
                }
                let since = last.map_or(Nanos(i64::MIN), |last| last.at);
                self.eras.push_back(Era { since, readings: [reading].into() });
            }
        }
    }

    /// See [`super::StampConverter::place`].
    pub fn place(&self, stamp: UnixNanos, earliest: Nanos, latest: Nanos) -> Option<Placed> {
        let ends = self.eras.iter().skip(1).filter_map(|era| Some(era.readings.front()?.at)).map(Some).chain([None]);
        let mut placed = self.eras.iter().zip(ends).filter_map(|(era, end)| {
            let from = earliest.max(era.since);
            let to = end.map_or(latest, |end| end.min(latest));
            era.place(stamp, from, to)
        });
        // Before a step or behind it: where both make sense nobody can tell.
        placed.next().filter(|_| placed.next().is_none())
    }
}

impl Era {
    /// The stamp's time by this era's readings, when it can lie between the two times.
    fn place(&self, stamp: UnixNanos, from: Nanos, to: Nanos) -> Option<Placed> {
        // The first guess is good enough to find the readings around the stamp: what is a little farther away than another
        // makes the error a little larger, not wrong.
        let guess = Nanos(stamp.0.saturating_sub(self.readings.back()?.offset));
        let behind = self.readings.partition_point(|reading| reading.at < guess);
        let neighbour = |index: Option<usize>| index.and_then(|index| self.readings.get(index));
        let (before, after) = (neighbour(behind.checked_sub(1)), neighbour(Some(behind)));
        let slew = match (before, after) {
            (Some(before), Some(after)) if after.at.since(before.at) <= SLEW_LASTS => before.slew.max(after.slew),
            (Some(only), None) | (None, Some(only)) if distance(only.at, guess) <= SLEW_LASTS => only.slew,
            _ => MAX_SLEW,
        };
        let by = |reading: &Reading| placed_by(reading, stamp, slew);
        let best = [before, after].into_iter().flatten().map(by).min_by_key(|placed| placed.error)?;
        let error = Duration::from_nanos(best.error);
        // The truth lies within the bounds, so moving to the nearer one makes the error no larger.
        (best.at + error >= from && best.at - error <= to).then(|| Placed { at: best.at.min(to).max(from), ..best })
    }
}

/// The stamp's time if the offset was that of `reading`. With e the error and d the distance, e ≤ slew × (d + e) + half of
/// what the reading took.
fn placed_by(reading: &Reading, stamp: UnixNanos, slew: u32) -> Placed {
    let at = Nanos(stamp.0.saturating_sub(reading.offset));
    let slew = i64::from(slew.min(ABSURD));
    let away = i64::try_from(distance(reading.at, at).as_nanos()).unwrap_or(i64::MAX);
    let shift = i128::from(slew) * i128::from(away) + i128::from(MILLION) * i128::from(reading.took / 2 + 1);
    let error = shift / i128::from(MILLION - slew) + 1;
    Placed { at, error: u64::try_from(error).unwrap_or(u64::MAX) }
}

fn distance(one: Nanos, other: Nanos) -> Duration {
    one.since(other).max(other.since(one))
}
