//! `adjtime(3)` by `adjtimex(2)`, which rustix does not offer. The only `unsafe` of this crate.

#![allow(unsafe_code)]

use std::{io, mem};

/// Slews the clock by so many microseconds; what was left of an earlier slew is forgotten.
///
/// # Errors
/// The kernel's.
pub fn slew(microseconds: i64) -> io::Result<()> {
    // SAFETY: `timex` is integers only, for which zero is a value.
    let mut timex: libc::timex = unsafe { mem::zeroed() };
    timex.modes = libc::ADJ_OFFSET_SINGLESHOT;
    #[allow(clippy::useless_conversion)] // narrower on some targets
    let offset = microseconds.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    timex.offset = offset;
    // SAFETY: the pointer is to a whole, writable `timex` that outlives the call; the kernel keeps no pointer to it.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
