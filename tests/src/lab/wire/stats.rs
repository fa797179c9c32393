//! How late the wire sends its frames, counted.

use std::time::Duration;

use super::WireStats;

/// Counters since the start or the last reset.
pub(super) struct Stats {
    frames: u64,
    pub(super) lost: u64,
    pub(super) failed: u64,
    late_max: i64,
    /// How many frames were late by this many microseconds, rounded up; the last place is for more.
    late: Vec<u64>,
}

impl Default for Stats {
    fn default() -> Self {
        Self { frames: 0, lost: 0, failed: 0, late_max: 0, late: vec![0; 100_001] }
    }
}

impl Stats {
    /// One more frame was sent, this late, in nanoseconds.
    pub(super) fn late(&mut self, nanos: i64) {
        self.frames += 1;
        self.late_max = self.late_max.max(nanos);
        let micros = usize::try_from(nanos).unwrap_or(0).div_ceil(1_000).min(self.late.len() - 1);
        if let Some(count) = self.late.get_mut(micros) {
            *count += 1;
        }
    }

    fn max(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.late_max).unwrap_or(0))
    }

    fn quantile(&self, share: f64) -> Duration {
        let max = self.max();
        let wanted = (self.frames as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (micros, count) in self.late.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                let is_more = micros + 1 == self.late.len();
                return if is_more { max } else { max.min(Duration::from_micros(micros as u64)) };
            }
        }
        max
    }

    /// As the lab sees them.
    pub(super) fn report(&self, real_time: bool) -> WireStats {
        WireStats {
            frames: self.frames,
            lost: self.lost,
            failed: self.failed,
            late_max: self.max(),
            late_median: self.quantile(0.5),
            late_p99: self.quantile(0.99),
            real_time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_frames() {
        let mut stats = Stats::default();
        for micros in 1..=100 {
            stats.late(micros * 1_000);
        }
        let report = stats.report(false);
        assert_eq!(report.late_median, Duration::from_micros(50));
        assert_eq!(report.late_p99, Duration::from_micros(99));
        assert_eq!(report.late_max, Duration::from_micros(100));

        let mut few = Stats::default();
        few.late(300);
        few.late(2_000_000_000);
        assert_eq!(few.report(false).late_p99, Duration::from_secs(2));
        assert_eq!(Stats::default().report(false).late_p99, Duration::ZERO);
    }
}
