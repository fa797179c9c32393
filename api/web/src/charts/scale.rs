//! Values on a line, and where its ticks are.

/// The most ticks that an axis gets.
const MAX_TICKS: usize = 40;

/// How much greater than the median the greatest value must be that an axis is logarithmic; it is said beside it.
const LOG_FROM: f64 = 20.0;

/// From values to places: linear, or by logarithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    from: (f64, f64),
    to: (f64, f64),
    is_log: bool,
}

impl Scale {
    /// Linear from a range of values to a range of places. An empty range is widened.
    pub fn linear(from: (f64, f64), to: (f64, f64)) -> Self {
        Self { from: widened(from), to, is_log: false }
    }

    /// Logarithmic; the range must be positive, and is cut to be.
    pub fn log(from: (f64, f64), to: (f64, f64)) -> Self {
        let least = if from.0 > 0.0 { from.0 } else { 1e-3 };
        let most = if from.1 > least { from.1 } else { least * 10.0 };
        Self { from: (least, most), to, is_log: true }
    }

    /// Of values that are never negative, from zero or, if they differ widely, logarithmic.
    pub fn of_values(values: &[f64], to: (f64, f64)) -> Self {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(&least), Some(&most)) = (sorted.first(), sorted.last()) else { return Self::linear((0.0, 1.0), to) };
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(most);
        if least > 0.0 && most > median * LOG_FROM {
            return Self::log((floor_125(least), ceil_125(most)), to);
        }
        let top = if most > 0.0 { nice_top(most) } else { 1.0 };
        Self::linear((0.0, top), to)
    }

    /// Where a value is. Beyond the range it is at its end.
    pub fn at(&self, value: f64) -> f64 {
        let (low, high) = self.from;
        let value = value.clamp(low, high);
        let part = match self.is_log {
            false => (value - low) / (high - low),
            true => (value / low).ln() / (high / low).ln(),
        };
        self.to.0 + part * (self.to.1 - self.to.0)
    }

    /// Is it logarithmic? Then the picture says so.
    pub fn is_log(&self) -> bool {
        self.is_log
    }

    /// Round values for ticks, about this many.
    pub fn ticks(&self, about: usize) -> Vec<f64> {
        let (low, high) = self.from;
        if self.is_log {
            let all: Vec<f64> = decades(low, high, &[1.0, 2.0, 5.0]);
            return if all.len() <= about.max(2) * 2 { all } else { decades(low, high, &[1.0]) };
        }
        let step = ceil_125((high - low) / about.max(1) as f64);
        let first = (low / step).ceil();
        let ticks = (0..MAX_TICKS).map(|index| (first + index as f64) * step);
        ticks.take_while(|tick| *tick <= high + step * 1e-9).collect()
    }
}

fn widened((low, high): (f64, f64)) -> (f64, f64) {
    match low.is_finite() && high.is_finite() {
        true if high > low => (low, high),
        true => (low, low + 1.0),
        false => (0.0, 1.0),
    }
}

fn decades(low: f64, high: f64, steps: &[f64]) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let all = (first..=last).flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
    all.filter(|tick| *tick >= low * (1.0 - 1e-9) && *tick <= high * (1.0 + 1e-9)).take(MAX_TICKS).collect()
}

/// The least of 1, 2, 5 times a power of ten that is not less.
fn ceil_125(value: f64) -> f64 {
    if !(value > 0.0 && value.is_finite()) {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let found = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * power >= value * (1.0 - 1e-9));
    found.unwrap_or(10.0) * power
}

fn floor_125(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let found = [5.0, 2.0, 1.0].into_iter().find(|step| step * power <= value * (1.0 + 1e-9));
    found.unwrap_or(1.0) * power
}

/// A round end of an axis above a value, without leaving half of it empty.
fn nice_top(most: f64) -> f64 {
    let step = ceil_125(most / 5.0);
    (most / step - 1e-9).ceil() * step
}

/// Steps of time between ticks, in seconds: from a minute to some years.
const STEPS: [i64; 18] = [
    60, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 1_209_600, 2_592_000,
    7_776_000, 15_552_000, 31_536_000,
];

/// Round times (UTC) for ticks in a half-open range of seconds since 1970, about this many.
pub(crate) fn time_ticks(from: i64, to: i64, about: usize) -> Vec<i64> {
    let span = to.saturating_sub(from).max(1);
    let wanted = span / about.max(1) as i64;
    let step = STEPS.into_iter().find(|step| *step >= wanted).unwrap_or(31_536_000);
    let first = from.div_euclid(step) + i64::from(from.rem_euclid(step) != 0);
    let ticks = (0..MAX_TICKS as i64).map(|index| first.saturating_add(index).saturating_mul(step));
    ticks.take_while(|tick| *tick < to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_its_place() {
        let scale = Scale::linear((0.0, 100.0), (200.0, 0.0));
        assert_eq!((scale.at(0.0), scale.at(25.0), scale.at(100.0), scale.at(900.0)), (200.0, 150.0, 0.0, 0.0));
        let log = Scale::log((1.0, 100.0), (0.0, 100.0));
        assert!((log.at(10.0) - 50.0).abs() < 1e-9 && log.at(0.0) == 0.0);
        assert!(Scale::linear((5.0, 5.0), (0.0, 1.0)).at(5.0).is_finite());
        assert!(Scale::linear((f64::NAN, 5.0), (0.0, 1.0)).at(0.5).is_finite());
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(Scale::linear((0.0, 100.0), (0.0, 1.0)).ticks(5), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(Scale::linear((-7.0, 7.0), (0.0, 1.0)).ticks(3), [-5.0, 0.0, 5.0]);
        assert_eq!(Scale::log((1.0, 100.0), (0.0, 1.0)).ticks(4), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(Scale::log((1.0, 1e6), (0.0, 1.0)).ticks(4).len(), 7);
        assert_eq!(time_ticks(1, 7200, 2), [3600]);
        assert_eq!(time_ticks(0, 86_400, 4), [0, 21_600, 43_200, 64_800]);
        assert!(time_ticks(i64::MIN, i64::MAX, 5).len() <= MAX_TICKS);
    }

    #[test]
    fn only_values_that_differ_widely_get_a_logarithm() {
        assert!(!Scale::of_values(&[10.0, 12.0, 100.0], (0.0, 1.0)).is_log());
        let wide = Scale::of_values(&[10.0, 12.0, 300.0], (0.0, 1.0));
        assert!(wide.is_log() && wide.from == (10.0, 500.0), "{wide:?}");
        assert!(!Scale::of_values(&[0.0, 1.0, 300.0], (0.0, 1.0)).is_log(), "zero has no logarithm");
        assert_eq!(Scale::of_values(&[], (0.0, 1.0)).from, (0.0, 1.0));
        assert_eq!(Scale::of_values(&[41.0], (0.0, 1.0)).from, (0.0, 50.0));
    }
}
