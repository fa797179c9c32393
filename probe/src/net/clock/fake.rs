//! A clock for tests: its wall time can be stepped and slewed, now or by plan, and it knows what the kernel would have
//! written at any moment.

use std::sync::{Arc, Mutex};

use sonde_protocol::time::{Nanos, UnixNanos};

use super::ClockSource;

const START: Nanos = Nanos(7_000_000_000);
const WALL_AT_START: i64 = 1_700_000_000_000_000_000;

/// How long one look at a clock takes, in nanoseconds.
const LOOK: i64 = 50;

#[derive(Debug)]
pub struct FakeClock(Mutex<State>);

#[derive(Debug)]
struct State {
    now: Nanos,
    /// In order of time.
    segments: Vec<Segment>,
}

/// From `from` on the wall time runs `ppm` millionths too fast.
#[derive(Debug, Clone, Copy)]
struct Segment {
    from: Nanos,
    wall: i64,
    slewed: i64,
    ppm: i64,
}

impl Segment {
    fn at(&self, time: Nanos) -> (i64, i64) {
        let passed = time.nanos_since(self.from);
        let shown = passed + (i128::from(passed) * i128::from(self.ppm)).div_euclid(1_000_000) as i64;
        (self.wall + shown, self.slewed + shown)
    }
}

impl State {
    fn segment(&self, time: Nanos) -> Segment {
        *self.segments.iter().rev().find(|segment| segment.from <= time).expect("not before the start")
    }
}

impl FakeClock {
    pub fn new() -> Arc<Self> {
        let first = Segment { from: START, wall: WALL_AT_START, slewed: 5_000_000_000, ppm: 0 };
        Arc::new(Self(Mutex::new(State { now: START, segments: vec![first] })))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Time passes.
    pub fn pass(&self, nanos: i64) {
        self.state().now.0 += nanos;
    }

    /// Now, without looking at the clock.
    pub fn truth(&self) -> Nanos {
        self.state().now
    }

    /// What the kernel would write now.
    pub fn stamp(&self) -> UnixNanos {
        self.stamp_at(self.truth())
    }

    /// What the kernel wrote, or will, at `time`.
    pub fn stamp_at(&self, time: Nanos) -> UnixNanos {
        UnixNanos(self.state().segment(time).at(time).0)
    }

    pub fn step(&self, nanos: i64) {
        self.plan(self.truth(), nanos, None);
    }

    pub fn slew(&self, ppm: i64) {
        self.plan(self.truth(), 0, Some(ppm));
    }

    /// At `time`, which comes after all that was planned before, the wall clock steps and may run at another rate.
    pub fn plan(&self, time: Nanos, step: i64, ppm: Option<i64>) {
        let mut state = self.state();
        let last = *state.segments.last().expect("there is a first one");
        assert!(time >= last.from, "planned in order");
        let (wall, slewed) = last.at(time);
        state.segments.push(Segment { from: time, wall: wall + step, slewed, ppm: ppm.unwrap_or(last.ppm) });
    }

    fn look(&self) -> (Nanos, (i64, i64)) {
        let mut state = self.state();
        state.now.0 += LOOK;
        (state.now, state.segment(state.now).at(state.now))
    }
}

impl ClockSource for FakeClock {
    fn realtime(&self) -> UnixNanos {
        UnixNanos(self.look().1.0)
    }

    fn monotonic(&self) -> Nanos {
        self.look().0
    }

    fn slewed(&self) -> Nanos {
        Nanos(self.look().1.1)
    }

    fn slew(&self) -> u32 {
        let state = self.state();
        state.segment(state.now).ppm.unsigned_abs() as u32
    }
}
