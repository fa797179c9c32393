//! The time a summary is about, cut into bins. Bins begin at whole multiples of their length, so that the same hour is the same
//! bin whoever asks, and of a length that people read easily.

use sonde_protocol::time::UnixNanos;

/// Lengths of bins in seconds; above the last, whole days.
const STEPS: [i64; 18] =
    [1, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 604_800, 2_419_200];

/// From when to when, in bins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    /// When the first bin begins, in Unix seconds.
    pub start: i64,
    /// What is not before this is out, in Unix seconds. The last bin may end later.
    pub end: i64,
    /// Seconds of one bin.
    pub step: i64,
    /// How many there are, one at least.
    pub bins: usize,
}

impl Window {
    /// Covers `start..end` with at most `bins` bins, none shorter than `least` seconds. The beginning is moved back to that of a bin.
    pub fn new(start: i64, end: i64, bins: usize, least: i64) -> Self {
        let end = end.max(start.saturating_add(1));
        let wanted = i64::try_from(bins.max(1)).unwrap_or(i64::MAX);
        let fits = |step: i64| {
            let first = start.div_euclid(step) * step;
            (end.saturating_sub(first)).div_ceil_of(step) <= wanted
        };
        let known = STEPS.into_iter().filter(|step| *step >= least).find(|step| fits(*step));
        let step = known.unwrap_or_else(|| {
            // Whole days; two more bins than asked for would be the cost of beginning in the middle of one.
            let days = end.saturating_sub(start).div_ceil_of(86_400).max(1);
            let each = days.div_ceil_of((wanted - 1).max(1)).max(least.div_ceil_of(86_400)).max(1);
            each.saturating_mul(86_400)
        });
        let first = start.div_euclid(step).saturating_mul(step);
        let count = end.saturating_sub(first).div_ceil_of(step).max(1);
        Self { start: first, end, step, bins: usize::try_from(count).unwrap_or(1) }
    }

    /// The bin of a moment; `None` outside.
    pub fn bin(&self, at: UnixNanos) -> Option<usize> {
        let at = at.as_secs();
        if at < self.start || at >= self.end {
            return None;
        }
        usize::try_from((at - self.start) / self.step).ok().filter(|bin| *bin < self.bins)
    }

    /// When a bin begins, in Unix seconds.
    pub fn begin(&self, bin: usize) -> i64 {
        self.start.saturating_add(i64::try_from(bin).unwrap_or(i64::MAX).saturating_mul(self.step))
    }
}

trait DivCeil {
    fn div_ceil_of(self, by: i64) -> i64;
}

impl DivCeil for i64 {
    fn div_ceil_of(self, by: i64) -> i64 {
        self.div_euclid(by) + i64::from(self.rem_euclid(by) > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_in_quarters_of_an_hour() {
        let day = Window::new(1_760_000_000, 1_760_086_400, 97, 240);
        assert_eq!((day.step, day.start % 900, day.bins), (900, 0, 97));
        assert!(day.start <= 1_760_000_000);
        assert_eq!(day.bin(UnixNanos::from_secs(day.start - 1)), None);
        assert_eq!(day.bin(UnixNanos::from_secs(day.start)), Some(0));
        assert_eq!(day.bin(UnixNanos::from_secs(1_760_086_399)), Some(96));
        assert_eq!(day.bin(UnixNanos::from_secs(1_760_086_400)), None);
    }

    #[test]
    fn never_more_bins_than_asked_for_and_all_of_the_time() {
        let ends = [1, 59, 3_600, 86_401, 31_536_000, 1_500_000_000, 4_000_000_000];
        for length in ends {
            for bins in [1, 2, 7, 96, 500] {
                for least in [1, 60, 240, 86_400, 10_000_000] {
                    let start = 1_760_000_123;
                    let window = Window::new(start, start + length, bins, least);
                    // A single bin that may not begin before its time is not to be had: two then.
                    assert!(window.bins <= bins.max(2), "{length} {bins} {least}: {window:?}");
                    assert!(window.step >= least && window.start <= start, "{length} {bins} {least}: {window:?}");
                    assert!(window.begin(window.bins) >= window.end, "{length} {bins} {least}: {window:?}");
                    assert!(window.bin(UnixNanos::from_secs(start)).is_some());
                }
            }
        }
        let none = Window::new(5, 5, 10, 1);
        assert_eq!((none.start, none.end, none.bins), (5, 6, 1));
    }
}
