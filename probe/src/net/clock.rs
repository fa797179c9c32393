//! The clocks of a probe, and the way from a kernel stamp to a time an engine can use.
//!
//! Kernel software stamps are CLOCK_REALTIME, which steps and slews; engines get CLOCK_MONOTONIC_RAW, which does neither.
//! So each stamp is placed with the offset o = REALTIME − MONOTONIC_RAW of its moment, and a round-trip time becomes
//! (rx − tx) − (o_rx − o_tx). The offset is read often, never at the very moment of a stamp; `History` says how wrong a time
//! can be for that. This module knows nothing of sockets.

#[cfg(test)]
pub(super) mod fake;
mod history;

use std::cell::RefCell;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use sonde_protocol::time::{Nanos, UnixNanos};

pub use self::history::Placed;
use self::history::{History, Reading};
use crate::wall_clock::{KernelClock, kernel_clock, slew_limit};

/// How far a clock can be slewed at most, in millionths: ten percent by the length of its tick, and 500 each by its
/// frequency and by `adjtime` (`do_adjtimex` in the kernel's ntp.c checks the first two).
pub const MAX_SLEW: u32 = 101_000;

/// How long before a socket was last seen empty a packet can have been stamped that was not there then: it waits between the
/// stamping and the socket's queue when the machine is busy.
const BACKLOG: Duration = Duration::from_millis(100);

/// How often a reading is tried that is disturbed each time.
const TRIES: u32 = 3;

/// A reading that took no longer, in nanoseconds, is good enough.
const QUIET: i64 = 500;

/// Where the time comes from; tests bring their own.
pub trait ClockSource: Debug + Send + Sync {
    /// CLOCK_REALTIME, the clock of kernel software stamps.
    fn realtime(&self) -> UnixNanos;
    /// CLOCK_MONOTONIC_RAW: neither stepped nor slewed.
    fn monotonic(&self) -> Nanos;
    /// CLOCK_MONOTONIC: slewed as CLOCK_REALTIME is, and never stepped. So the two move apart by steps alone.
    fn slewed(&self) -> Nanos;
    /// How fast at most the first and third of them move against the second just now, in millionths.
    fn slew(&self) -> u32 {
        MAX_SLEW
    }
    /// What the kernel says of the first.
    ///
    /// # Errors
    /// The system's.
    fn kernel(&self) -> io::Result<KernelClock> {
        kernel_clock()
    }
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

    fn slewed(&self) -> Nanos {
        Nanos(read(ClockId::CLOCK_MONOTONIC))
    }

    fn slew(&self) -> u32 {
        slew_limit().unwrap_or(MAX_SLEW)
    }
}

fn read(clock: ClockId) -> i64 {
    let time = clock_gettime(clock).expect("Linux has had these clocks since 2.6.28");
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

/// Reads the clocks and turns kernel stamps into engine time. It remembers what it has read, so it belongs to one thread.
pub struct StampConverter {
    clock: Arc<dyn ClockSource>,
    history: RefCell<History>,
}

impl StampConverter {
    /// A converter over `clock`, which it reads once.
    pub fn new(clock: Arc<dyn ClockSource>) -> Self {
        let converter = Self { clock, history: RefCell::default() };
        converter.look();
        converter
    }

    /// The time for engines.
    pub fn now(&self) -> Nanos {
        self.clock.monotonic()
    }

    /// This moment on both clocks.
    pub fn moment(&self) -> Moment {
        let Reading { at, offset, .. } = self.read();
        Moment { monotonic: at, wall: UnixNanos(at.0.saturating_add(offset)) }
    }

    /// Reads the clocks, for the stamps made about now. To be called around whatever makes the kernel stamp a packet:
    /// before and after a send, before and after waiting.
    pub fn look(&self) {
        let reading = self.read();
        self.history.borrow_mut().note(reading);
    }

    /// When a packet was stamped, which was no earlier than `earliest` and no later than `latest`, and how wrong that can be.
    /// `None` when a step of the clock makes it impossible to say.
    pub fn place(&self, stamp: UnixNanos, earliest: Nanos, latest: Nanos) -> Option<Placed> {
        self.history.borrow().place(stamp, earliest, latest)
    }

    /// When something arrived that has just been read, and whether the kernel says so. Without a stamp, or with one that
    /// cannot be placed, that is now; then it may have waited since the socket was last seen empty, at `empty_at`.
    pub fn arrival(&self, stamp: Option<UnixNanos>, empty_at: Nanos) -> (Placed, bool) {
        let now = self.now();
        match stamp.and_then(|stamp| self.place(stamp, empty_at - BACKLOG, now)) {
            Some(placed) => (placed, true),
            None => {
                let waited = now.since(empty_at).as_nanos();
                (Placed { at: now, error: u64::try_from(waited).unwrap_or(u64::MAX) }, false)
            }
        }
    }

    /// All clocks at one moment: of a few readings the one that was disturbed least.
    fn read(&self) -> Reading {
        let slew = self.clock.slew();
        let once = || {
            let before = self.clock.monotonic();
            let wall = self.clock.realtime();
            let slewed = self.clock.slewed();
            let took = self.clock.monotonic().nanos_since(before).max(0);
            let at = Nanos(before.0.saturating_add(took / 2));
            let offset = wall.0.saturating_sub(at.0);
            let steps = wall.0.saturating_sub(slewed.0);
            Reading { at, offset, steps, took, slew }
        };
        let mut best = once();
        for _ in 1..TRIES {
            if best.took <= QUIET {
                break;
            }
            let again = once();
            if again.took < best.took {
                best = again;
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::fake::FakeClock;
    use super::*;

    const MS: i64 = 1_000_000;
    const STEPS: [i64; 2] = [10_000_000_000, -10_000_000_000];

    #[test]
    fn a_stamp_read_late_is_as_good_as_the_clock_is_steady() {
        // Parts in a million by which the clock is slewed, how late the stamp is read, and the error allowed.
        for (slew, late, allowed) in
            [(0, 50_000, 300), (20, 5 * MS, 300), (500, 5 * MS, 3_000), (100_000, 50_000, 7_000)]
        {
            let clock = FakeClock::new();
            clock.slew(slew);
            let converter = StampConverter::new(clock.clone());
            clock.pass(100 * MS);
            converter.look();
            clock.pass(4 * MS);
            let (truth, stamp) = (clock.truth(), clock.stamp());
            clock.pass(late);
            converter.look();
            let placed = converter.place(stamp, Nanos(0), converter.now()).expect("nothing was stepped");
            assert!(placed.error <= allowed, "slew {slew}: {placed:?}");
            assert!(
                placed.at.nanos_since(truth).unsigned_abs() <= placed.error,
                "slew {slew}: {placed:?}, not {truth:?}"
            );
        }
    }

    #[test]
    fn a_stamp_beside_a_step_is_placed_on_its_own_side_of_it() {
        for step in STEPS {
            for before in [true, false] {
                let clock = FakeClock::new();
                let converter = StampConverter::new(clock.clone());
                clock.pass(MS);
                converter.look();
                clock.pass(MS);
                let mut stamp = (clock.truth(), clock.stamp());
                clock.step(step);
                clock.pass(MS);
                if !before {
                    stamp = (clock.truth(), clock.stamp());
                }
                clock.pass(MS);
                converter.look();
                let placed = converter.place(stamp.1, Nanos(0), converter.now()).expect("only one side makes sense");
                assert!(placed.at.nanos_since(stamp.0).unsigned_abs() <= placed.error, "step {step}: {placed:?}");
            }
        }
    }

    #[test]
    fn where_both_sides_of_a_step_make_sense_a_stamp_is_not_used() {
        for step in [MS, -MS] {
            let clock = FakeClock::new();
            let converter = StampConverter::new(clock.clone());
            clock.pass(5 * MS);
            let stamp = clock.stamp();
            clock.step(step);
            clock.pass(5 * MS);
            converter.look();
            assert_eq!(converter.place(stamp, Nanos(0), converter.now()), None, "step {step}");
            let (arrived, kernel) = converter.arrival(Some(stamp), Nanos(0));
            assert_eq!((kernel, arrived.error), (false, arrived.at.since(Nanos(0)).as_nanos() as u64));
        }
    }

    #[test]
    fn a_stamp_of_another_clock_is_not_used() {
        let clock = FakeClock::new();
        let converter = StampConverter::new(clock.clone());
        let begun = converter.now();
        clock.pass(MS);
        converter.look();
        for wrong in STEPS {
            let stamp = UnixNanos(clock.stamp().0 + wrong);
            assert_eq!(converter.place(stamp, begun, converter.now()), None, "{wrong}");
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
