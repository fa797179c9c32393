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
    // SAFETY: `timex` is integers only, for which zero is a value; `modes` 0 asks to change nothing.
    let mut timex: libc::timex = unsafe { mem::zeroed() };
    // SAFETY: the pointer is to a whole, writable `timex` that outlives the call; the kernel keeps no pointer to it.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    let synchronised = state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0;
    // Microseconds; `c_long` is narrower than 64 bits on some targets.
    #[allow(clippy::unnecessary_fallible_conversions)]
    let max_error = u64::try_from(timex.maxerror).ok().map(Duration::from_micros);
    Ok(KernelClock { synchronised, max_error: max_error.filter(|_| synchronised) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers_and_gives_an_error_only_for_a_clock_that_it_knows_to_be_right() {
        let clock = kernel_clock().unwrap();
        assert_eq!(clock.synchronised, clock.max_error.is_some(), "{clock:?}");
    }
}
