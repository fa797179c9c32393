//! A number in one byte, for pictures in which each probe is a row and each bin a dot: what happened, and the least number in steps
//! of six percent.

use super::fold::Counts;

/// No result.
pub(crate) const NOTHING: u8 = 0;
/// No run could be carried out.
pub(crate) const FAILED: u8 = 1;
/// Every request was lost.
pub(crate) const LOST: u8 = 2;
/// The byte of the least number that is told apart.
pub(crate) const FIRST: u8 = 3;
/// That number.
pub(crate) const LEAST: f64 = 0.01;
/// Each byte stands for so many times the number of the one below.
pub(crate) const FACTOR: f64 = 1.06;

/// The byte of a result.
pub(crate) fn of(value: Option<f64>, counts: Counts) -> u8 {
    match value {
        Some(value) if value > LEAST => {
            let steps = ((value / LEAST).ln() / FACTOR.ln()).round().min(f64::from(u8::MAX - FIRST));
            FIRST.saturating_add(steps as u8)
        }
        Some(_) => FIRST,
        // Nothing came back; or something without such a number.
        None if counts.sent > 0 => LOST,
        None => FAILED,
    }
}

/// Of two results in one bin the least number counts, else what comes nearest to one.
pub(crate) const fn better(one: u8, other: u8) -> u8 {
    match (one >= FIRST, other >= FIRST) {
        (true, true) if other < one => other,
        (true, _) => one,
        (false, true) => other,
        (false, false) => {
            if one > other {
                one
            } else {
                other
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_the_order_and_name_the_number_within_three_percent() {
        let counts = Counts { results: 1, failed: 0, sent: 3, received: 3 };
        let mut before = 0;
        for value in [0.001, 0.02, 0.5, 3.0, 12.0, 150.0, 9_000.0] {
            let byte = of(Some(value), counts);
            assert!(byte > before, "{value}");
            let named = LEAST * FACTOR.powi(i32::from(byte - FIRST));
            assert!(value < LEAST || (named / value - 1.0).abs() < 0.031, "{value}: {named}");
            before = byte;
        }
        assert_eq!(of(Some(1e300), counts), u8::MAX);
        assert_eq!(of(None, Counts { received: 0, ..counts }), LOST);
        assert_eq!(of(None, Counts::default()), FAILED);
    }

    #[test]
    fn of_two_the_better() {
        assert_eq!(better(NOTHING, LOST), LOST);
        assert_eq!(better(LOST, FAILED), LOST);
        assert_eq!(better(LOST, 90), 90);
        assert_eq!(better(90, 60), 60);
    }
}
