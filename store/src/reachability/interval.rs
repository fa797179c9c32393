//! How far a share or a median of so few can be from the truth: 95 % intervals.

use minicbor::{Decode, Encode};

/// The quantile of the normal distribution for 95 %.
const Z: f64 = 1.96;

/// From here to there, ends included.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Interval {
    /// The least.
    #[n(0)]
    pub low: f64,
    /// The greatest.
    #[n(1)]
    pub high: f64,
}

/// The Wilson score interval of `hits` out of `n`: it stays between 0 and 1, and is no lie for small numbers. `None` for nobody.
pub fn wilson(hits: f64, n: f64) -> Option<Interval> {
    if n.is_nan() || n <= 0.0 {
        return None;
    }
    let share = (hits / n).clamp(0.0, 1.0);
    let z2 = Z * Z;
    let scale = 1.0 + z2 / n;
    let centre = (share + z2 / (2.0 * n)) / scale;
    let half = Z / scale * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    Some(Interval { low: (centre - half).max(0.0), high: (centre + half).min(1.0) })
}

/// The ranks, from 0, between which the median of `n` values lies: n/2 ± 0.98 √n. `None` for nobody.
pub fn rank_interval(n: u64) -> Option<(u64, u64)> {
    let last = n.checked_sub(1)?;
    let (middle, half) = (n as f64 / 2.0, Z / 2.0 * (n as f64).sqrt());
    // Both are between 0 and n, and n is a number of probes.
    let low = (middle - half).floor().max(0.0) as u64;
    let high = (middle + half).ceil() as u64;
    Some((low.min(last), high.min(last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_books() {
        for (hits, n, low, high) in
            [(5.0, 5.0, 57, 100), (15.0, 30.0, 33, 67), (50.0, 100.0, 40, 60), (0.0, 10.0, 0, 28)]
        {
            let interval = wilson(hits, n).unwrap();
            let percent = |share: f64| (share * 100.0).round() as i64;
            assert_eq!((percent(interval.low), percent(interval.high)), (low, high), "{hits} of {n}");
        }
        assert_eq!(wilson(0.0, 0.0), None);
        let five_points = wilson(192.5, 385.0).unwrap();
        assert!((five_points.high - five_points.low - 0.1).abs() < 0.001);
    }

    #[test]
    fn ranks_stay_among_the_values() {
        assert_eq!(rank_interval(0), None);
        assert_eq!(rank_interval(1), Some((0, 0)));
        assert_eq!(rank_interval(100), Some((40, 60)));
        for n in 1..300 {
            let (low, high) = rank_interval(n).unwrap();
            assert!(low <= high && high < n, "{n}");
        }
    }
}
