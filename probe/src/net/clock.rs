//! The two clocks of a probe, and the way from a kernel stamp to a time an engine can use.
//!
//! Kernel software stamps are CLOCK_REALTIME, which steps and slews; engines get CLOCK_MONOTONIC_RAW, which does neither.
//! So each stamp is taken with the offset o = REALTIME − MONOTONIC_RAW of its moment, and a round-trip time becomes
//! (rx − tx) − (o_rx − o_tx). This module knows nothing of sockets.

use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use sonde_protocol::time::{Nanos, UnixNanos};

/// How far in the future a converted stamp may lie before it is taken for the victim of a clock step. Slewing and the
/// reading of the offset itself stay far below.
const STEP_LIMIT: Duration = Duration::from_millis(1);

/// Where the time comes from; tests bring their own.
pub trait ClockSource: Send + Sync {
    /// CLOCK_REALTIME, the clock of kernel software stamps.
    fn realtime(&self) -> UnixNanos;
    /// CLOCK_MONOTONIC_RAW: neither stepped nor slewed.
    fn monotonic(&self) -> Nanos;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl ClockSource for SystemClock {
    fn realtime(&self) -> UnixNanos {
        UnixNanos(read(ClockId::CLOCK_REALTIME))
    }

    fn monotonic(&self) -> Nanos {
        Nanos(read(ClockId::CLOCK_MONOTONIC_RAW))
    }
}

fn read(clock: ClockId) -> i64 {
    let time = clock_gettime(clock).expect("Linux has had both clocks since 2.6.28");
    // `tv_sec` and `tv_nsec` are narrower on some 32-bit targets.
    #[allow(clippy::useless_conversion)]
    from_parts(time.tv_sec().into(), time.tv_nsec().into())
}

/// Nanoseconds from a `timespec`, saturating.
pub(super) const fn from_parts(seconds: i64, nanos: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// One moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// For differences.
    pub monotonic: Nanos,
    /// For labels.
    pub wall: UnixNanos,
}

/// REALTIME − MONOTONIC_RAW at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset(i64);

/// Reads the clocks and turns kernel stamps into engine time.
#[derive(Clone)]
pub struct StampConverter {
    clock: Arc<dyn ClockSource>,
}

impl StampConverter {
    /// A converter over `clock`.
    pub fn new(clock: Arc<dyn ClockSource>) -> Self {
        Self { clock }
    }

    /// The time for engines.
    pub fn now(&self) -> Nanos {
        self.clock.monotonic()
    }

    /// This moment on both clocks.
    pub fn moment(&self) -> Moment {
        let monotonic = self.clock.monotonic();
        Moment { monotonic, wall: UnixNanos(monotonic.0.saturating_add(self.offset().0)) }
    }

    /// The offset at this moment. Of three readings of the wall clock, each between two of the monotonic one, it uses the
    /// one that was disturbed least.
    pub fn offset(&self) -> Offset {
        let mut best = (i64::MAX, 0);
        let mut before = self.clock.monotonic();
        for _ in 0..3 {
            let wall = self.clock.realtime();
            let after = self.clock.monotonic();
            let gap = after.nanos_since(before);
            if gap < best.0 {
                best = (gap, wall.0.saturating_sub(before.0.saturating_add(gap / 2)));
            }
            before = after;
        }
        Offset(best.1)
    }

    /// The kernel stamp in engine time, when that lies between `earliest` and `latest` as it must. It does not when the
    /// wall clock was stepped between the stamp and the reading of `offset`; then nobody can say when the packet passed.
    pub fn place(stamp: UnixNanos, offset: Offset, earliest: Nanos, latest: Nanos) -> Option<Nanos> {
        let time = Nanos(stamp.0.saturating_sub(offset.0));
        (time >= earliest && time <= latest + STEP_LIMIT).then_some(time)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const START: i64 = 1_700_000_000_000_000_000;

    /// A clock whose wall time runs at `rate` (1.1 = slewed by 10 %) and can be stepped. Reading it takes 50 ns.
    struct FakeClock(Mutex<State>);

    struct State {
        monotonic: i64,
        wall: f64,
        rate: f64,
    }

    impl FakeClock {
        fn new() -> Arc<Self> {
            Arc::new(Self(Mutex::new(State { monotonic: 7_000_000_000, wall: 0.0, rate: 1.0 })))
        }

        fn pass(&self, nanos: i64) {
            let mut state = self.0.lock().unwrap();
            state.monotonic += nanos;
            state.wall += nanos as f64 * state.rate;
        }

        fn step(&self, nanos: i64) {
            self.0.lock().unwrap().wall += nanos as f64;
        }

        fn slew(&self, rate: f64) {
            self.0.lock().unwrap().rate = rate;
        }

        /// What the kernel would write now.
        fn stamp(&self) -> UnixNanos {
            UnixNanos(START + self.0.lock().unwrap().wall as i64)
        }
    }

    impl ClockSource for FakeClock {
        fn realtime(&self) -> UnixNanos {
            self.pass(50);
            self.stamp()
        }

        fn monotonic(&self) -> Nanos {
            self.pass(50);
            Nanos(self.0.lock().unwrap().monotonic)
        }
    }

    /// Sends at once, waits `rtt` while `meanwhile` happens to the clock, receives; gives the RTT as an engine sees it.
    fn measure(clock: &Arc<FakeClock>, rtt: i64, meanwhile: impl FnOnce(&FakeClock)) -> i64 {
        let converter = StampConverter::new(clock.clone());
        let before = converter.now();
        clock.pass(5_000); // the way to the driver
        let tx = clock.stamp();
        clock.pass(20_000); // the way back from the system call
        let tx_offset = converter.offset();
        meanwhile(clock);
        clock.pass(rtt - 20_000);
        let rx = clock.stamp();
        clock.pass(30_000); // until this program runs
        let rx_offset = converter.offset();
        let now = converter.now();
        let sent = StampConverter::place(tx, tx_offset, before, now).expect("the stamp of the send");
        let received = StampConverter::place(rx, rx_offset, before, now).expect("the stamp of the reply");
        received.nanos_since(sent)
    }

    #[test]
    fn a_round_trip_survives_steps_and_slewing_of_the_wall_clock() {
        type Disturbance = fn(&FakeClock);
        // What happens to the clock during 4 ms, and the error it may cause: the offset is read within 50 µs of a stamp, so
        // slewing at 10 % leaves 5 µs.
        let cases: [(&str, Disturbance, i64); 6] = [
            ("nothing", |_| (), 2_000),
            ("a step forward", |clock| clock.step(10_000_000_000), 2_000),
            ("a step back", |clock| clock.step(-10_000_000_000), 2_000),
            ("slewing fast", |clock| clock.slew(1.1), 6_000),
            ("slewing slow", |clock| clock.slew(0.9), 6_000),
            (
                "both",
                |clock| {
                    clock.slew(1.1);
                    clock.step(-10_000_000_000);
                },
                6_000,
            ),
        ];
        for (name, meanwhile, allowed) in cases {
            let rtt = measure(&FakeClock::new(), 4_000_000, meanwhile);
            assert!((rtt - 4_000_000).abs() <= allowed, "{name}: {rtt} ns");
        }
    }

    #[test]
    fn a_clock_slewed_all_the_time_still_measures_right() {
        let clock = FakeClock::new();
        clock.slew(1.1);
        let rtt = measure(&clock, 100_000_000, |_| ());
        assert!((rtt - 100_000_000).abs() <= 6_000, "{rtt} ns");
    }

    #[test]
    fn a_stamp_with_a_step_right_behind_it_is_not_used() {
        for step in [10_000_000_000, -10_000_000_000] {
            let clock = FakeClock::new();
            let converter = StampConverter::new(clock.clone());
            let before = converter.now();
            let stamp = clock.stamp();
            clock.step(step);
            let offset = converter.offset();
            assert_eq!(StampConverter::place(stamp, offset, before, converter.now()), None, "step of {step} ns");
        }
    }

    #[test]
    fn the_moment_of_the_system_clock_agrees_with_itself() {
        let converter = StampConverter::new(Arc::new(SystemClock));
        let first = converter.moment();
        let second = converter.moment();
        assert!(second.monotonic >= first.monotonic);
        assert!(first.wall > UnixNanos::from_secs(0));
    }
}
