//! The kernel's word on its own clock: `adjtimex(2)`, which nix does not offer. The only `unsafe` of the clock.

#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::time::Duration;

use nix::libc;

/// What the kernel says of CLOCK_REALTIME.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelClock {
    /// Somebody (an NTP client) disciplines it.
    pub synchronised: bool,
    /// How wrong it can be, when it is synchronised.
    pub max_error: Option<Duration>,
}

/// Asks the kernel whether its clock is synchronised. Changes nothing and needs no privilege.
///
/// # Errors
/// When the system call is forbidden (by a sandbox).
pub fn kernel_clock() -> io::Result<KernelClock> {
    let (state, timex) = ask()?;
    let synchronised = state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0;
    // Microseconds; `c_long` is narrower than 64 bits on some targets.
    #[allow(clippy::unnecessary_fallible_conversions)]
    let max_error = u64::try_from(timex.maxerror).ok().map(Duration::from_micros);
    Ok(KernelClock { synchronised, max_error: max_error.filter(|_| synchronised) })
}

/// How fast at most the kernel's clock runs against CLOCK_MONOTONIC_RAW just now, in millionths.
///
/// # Errors
/// When the system call is forbidden (by a sandbox).
pub fn slew_limit() -> io::Result<u32> {
    let (_, timex) = ask()?;
    Ok(slew_of(&timex))
}

/// The length of a tick (10,000 µs when nothing is slewed), the frequency, what the kernel's phase-locked loop makes up for
/// within a second, and what `adjtime` may add, which is not told.
fn slew_of(timex: &libc::timex) -> u32 {
    /// Microseconds of a tick at USER_HZ 100, so one of them is 100 millionths.
    const TICK: i64 = 10_000;
    /// `MAX_TICKADJ` of the kernel's ntp.c.
    const ADJTIME: i64 = 500;
    /// `SHIFT_PLL` of the same.
    const SHIFT_PLL: i64 = 2;
    #[allow(clippy::useless_conversion)] // narrower on some targets
    let (tick, frequency, offset, constant): (i64, i64, i64, i64) =
        (timex.tick.into(), timex.freq.into(), timex.offset.into(), timex.constant.into());
    let tick = (tick - TICK).saturating_abs().saturating_mul(100);
    // In units of 2^-16 millionths, rounded up.
    let frequency = (frequency.saturating_abs() >> 16) + 1;
    let phase = if timex.status & libc::STA_PLL == 0 {
        0
    } else {
        let micros = if timex.status & libc::STA_NANO == 0 { offset } else { offset / 1000 };
        let shift = u32::try_from(SHIFT_PLL.saturating_add(constant).clamp(0, 20)).unwrap_or(0);
        (micros.saturating_abs() >> shift) + 1
    };
    let sum = tick.saturating_add(frequency).saturating_add(phase).saturating_add(ADJTIME);
    u32::try_from(sum).unwrap_or(u32::MAX)
}

fn ask() -> io::Result<(libc::c_int, libc::timex)> {
    // SAFETY: `timex` is integers only, for which zero is a value; `modes` 0 asks to change nothing.
    let mut timex: libc::timex = unsafe { mem::zeroed() };
    // SAFETY: the pointer is to a whole, writable `timex` that outlives the call; the kernel keeps no pointer to it.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 { Err(io::Error::last_os_error()) } else { Ok((state, timex)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers_and_gives_an_error_only_for_a_clock_that_it_knows_to_be_right() {
        let clock = kernel_clock().unwrap();
        assert_eq!(clock.synchronised, clock.max_error.is_some(), "{clock:?}");
    }

    #[test]
    fn every_way_to_slew_the_clock_counts() {
        // SAFETY: `timex` is integers only, for which zero is a value.
        let quiet = libc::timex { tick: 10_000, ..unsafe { mem::zeroed() } };
        assert_eq!(slew_of(&quiet), 501);
        assert_eq!(slew_of(&libc::timex { tick: 9_000, ..quiet }), 100_501);
        assert_eq!(slew_of(&libc::timex { freq: -20 << 16, ..quiet }), 521);
        let locked = libc::timex { offset: -64_000, constant: 4, status: libc::STA_PLL, ..quiet };
        assert_eq!(slew_of(&locked), 1_502, "1 ms in the next second");
        assert_eq!(slew_of(&libc::timex { status: libc::STA_PLL | libc::STA_NANO, ..locked }), 503);
    }
}
