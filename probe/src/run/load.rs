//! What else goes on when a run begins: the load that results carry.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use sonde_protocol::result::Load;
use sonde_protocol::time::Nanos;

use super::Runner;

/// Counts a run as long as it lives.
pub struct Counted<'a>(&'a AtomicU32);

impl<'a> Counted<'a> {
    /// A run begins.
    pub fn new(running: &'a AtomicU32) -> Self {
        running.fetch_add(1, Ordering::Relaxed);
        Self(running)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Runner {
    /// The load now, for a run that has just been counted.
    pub(super) fn load(&self, now: Nanos) -> Load {
        Load {
            runs: self.running.load(Ordering::Relaxed).saturating_sub(1),
            packets_per_second: self.driver.packets_in_a_second(now),
            load_average: fs::read_to_string("/proc/loadavg").ok().and_then(|text| hundredths(&text)),
        }
    }
}

/// The average over a minute from `/proc/loadavg` (proc(5)): `0.20 0.18 0.12 1/80 11206`.
fn hundredths(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_ascii_whitespace().next()?.split_once('.')?;
    let fraction: u32 = fraction.get(..2)?.parse().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_average_is_read_exactly() {
        assert_eq!(hundredths("0.20 0.18 0.12 1/80 11206\n"), Some(20));
        assert_eq!(hundredths("17.05 0.18 0.12 1/80 11206\n"), Some(1_705));
        for text in ["", "1", "x.yz", "1.2", "99999999999.00"] {
            assert_eq!(hundredths(text), None, "{text}");
        }
    }
}
