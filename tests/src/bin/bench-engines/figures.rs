//! Quantiles of errors, and the lines they are printed in.

use std::io::{self, Write};
use std::time::Duration;

/// RTT error: the budgets, in nanoseconds.
pub const MEDIAN_BUDGET: i64 = 5_000;
/// p99 on an idle machine.
pub const P99_IDLE: i64 = 20_000;
/// p99 on a saturated one.
pub const P99_SATURATED: i64 = 50_000;

/// How far a tool's times are from the truth, in nanoseconds; above it when positive.
#[derive(Debug, Default, Clone)]
pub struct Errors {
    all: Vec<i64>,
    /// Packets without a time from the tool although an answer passed the capture.
    pub missed: usize,
    /// The coarsest step in which the tool printed them.
    pub resolution: i64,
}

impl Errors {
    /// One time with a resolution, and the truth about it.
    pub fn add(&mut self, said: i64, truth: i64, resolution: i64) {
        self.all.push(said - truth);
        self.resolution = self.resolution.max(resolution);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// By the nearest rank.
    pub fn quantile(&self, share: f64) -> i64 {
        nearest_rank(&self.all, share)
    }

    /// How many lie below the truth by more than rounding can do.
    pub fn below(&self) -> usize {
        self.all.iter().filter(|error| **error < -self.resolution / 2).count()
    }

    /// The verdict on our own: median, p99, and never below.
    pub fn verdict(&self, p99: i64) -> String {
        let met = self.count() > 0
            && self.quantile(0.5).abs() <= MEDIAN_BUDGET
            && self.quantile(0.99) <= p99
            && self.below() == 0;
        format!(
            "budget: median <= {} us, p99 <= {} us, never below the truth: {}: {:.1} us, {:.1} us, {} of {} below",
            MEDIAN_BUDGET / 1000,
            p99 / 1000,
            met_or_not(met),
            micros(self.quantile(0.5)),
            micros(self.quantile(0.99)),
            self.below(),
            self.count()
        )
    }
}

/// The words of a verdict.
pub fn met_or_not(met: bool) -> &'static str {
    if met { "met" } else { "not met" }
}

/// The head of a table of errors.
pub fn error_head(out: &mut impl Write, title: &str) -> io::Result<()> {
    writeln!(
        out,
        "\n{title:<44} {:>6} {:>8} {:>8} {:>8} {:>9} {:>10} {:>6} {:>7}",
        "n", "min", "p50", "p90", "p99", "max us", "below", "missed"
    )
}

/// One tool's line; how coarsely it prints is said where that is more than a microsecond.
pub fn error_row(out: &mut impl Write, name: &str, errors: &Errors) -> io::Result<()> {
    let coarse = if errors.resolution > 1_000 {
        format!("{name} (prints {} us steps)", errors.resolution / 1_000)
    } else {
        name.to_owned()
    };
    if errors.count() == 0 {
        return writeln!(out, "{coarse:<44} {:>6}   no answers, {} missed", 0, errors.missed);
    }
    let [min, p50, p90, p99, max] = [0.0, 0.5, 0.9, 0.99, 1.0].map(|share| micros(errors.quantile(share)));
    writeln!(
        out,
        "{coarse:<44} {:>6} {min:>8.1} {p50:>8.1} {p90:>8.1} {p99:>9.1} {max:>10.1} {:>6} {:>7}",
        errors.count(),
        errors.below(),
        errors.missed
    )
}

/// By the nearest rank; 0 of nothing. The share 0 gives the least.
pub fn nearest_rank(values: &[i64], share: f64) -> i64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// Nanoseconds as microseconds.
pub fn micros(nanos: i64) -> f64 {
    nanos as f64 / 1e3
}

/// As milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
