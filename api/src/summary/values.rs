//! The distribution of many numbers in bounded memory: exact while they are few, in steps of two percent when they are many.
//!
//! Quantiles are by nearest rank: each is a number that was seen (or, of many, one within one percent of it). The greatest and the
//! least are exact always.

use std::collections::BTreeMap;

/// Beyond so many numbers they are counted in steps.
const EXACT: usize = 2048;

/// Numbers nearer to zero than this are zero when they are counted in steps: a nanosecond, where numbers are milliseconds.
const LEAST: f64 = 1e-6;

/// Numbers farther from zero than this are counted as this: with [`LEAST`] it bounds how many steps there can be.
const GREATEST: f64 = 1e12;

/// The width of a step: its middle is within one percent of everything in it.
const STEP: f64 = 1.02;

/// Numbers, as many as come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values {
    count: u64,
    range: Option<(f64, f64)>,
    kept: Kept,
}

#[derive(Debug, Clone)]
enum Kept {
    /// All of them.
    Each(Vec<f64>),
    /// How many are in each step; steps of negative numbers are negative, 0 is zero.
    Steps(BTreeMap<i32, u64>),
}

impl Default for Kept {
    fn default() -> Self {
        Kept::Each(Vec::new())
    }
}

/// What is told of a distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quantiles {
    /// The least.
    pub min: f64,
    /// A quarter is not above this.
    pub p25: f64,
    /// Half is not above this.
    pub median: f64,
    /// Three quarters are not above this.
    pub p75: f64,
    /// The greatest.
    pub max: f64,
}

impl Values {
    /// Adds one; what is no number is left out.
    pub fn add(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.count += 1;
        self.range = Some(self.range.map_or((value, value), |(least, most)| (least.min(value), most.max(value))));
        match &mut self.kept {
            Kept::Each(all) if all.len() < EXACT => all.push(value),
            Kept::Each(all) => {
                let mut steps = BTreeMap::new();
                for value in all.drain(..).chain([value]) {
                    *steps.entry(step(value)).or_default() += 1;
                }
                self.kept = Kept::Steps(steps);
            }
            Kept::Steps(steps) => *steps.entry(step(value)).or_default() += 1,
        }
    }

    /// Are quantiles within one percent only?
    pub const fn is_approximate(&self) -> bool {
        matches!(self.kept, Kept::Steps(_))
    }

    /// The quantiles; `None` without numbers.
    pub fn quantiles(&self) -> Option<Quantiles> {
        let (min, max) = self.range?;
        let sorted = match &self.kept {
            Kept::Each(all) => {
                let mut all = all.clone();
                all.sort_unstable_by(f64::total_cmp);
                all
            }
            Kept::Steps(_) => Vec::new(),
        };
        let at = |share: f64| {
            let rank = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count);
            let found = match &self.kept {
                Kept::Each(_) => sorted.get(usize::try_from(rank - 1).unwrap_or(usize::MAX)).copied(),
                Kept::Steps(steps) => {
                    let mut below = 0;
                    let step = steps.iter().find(|(_, count)| {
                        below += **count;
                        below >= rank
                    });
                    step.map(|(step, _)| middle(*step).clamp(min, max))
                }
            };
            found.unwrap_or(max)
        };
        Some(Quantiles { min, p25: at(0.25), median: at(0.5), p75: at(0.75), max })
    }
}

fn step(value: f64) -> i32 {
    let size = value.abs();
    if size < LEAST {
        return 0;
    }
    let number = ((size.min(GREATEST) / LEAST).ln() / STEP.ln()).floor() as i32 + 1;
    if value < 0.0 { -number } else { number }
}

/// The number in the middle of a step, geometrically.
fn middle(step: i32) -> f64 {
    if step == 0 {
        return 0.0;
    }
    let size = LEAST * STEP.powf(f64::from(step.abs()) - 0.5);
    if step < 0 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = f64>) -> Values {
        let mut all = Values::default();
        values.into_iter().for_each(|value| all.add(value));
        all
    }

    #[test]
    fn few_are_exact() {
        assert_eq!(of([]).quantiles(), None);
        let one = of([7.0]).quantiles().unwrap();
        assert_eq!((one.min, one.p25, one.median, one.p75, one.max), (7.0, 7.0, 7.0, 7.0, 7.0));
        let four = of([4.0, f64::NAN, 1.0, 3.0, 2.0]).quantiles().unwrap();
        assert_eq!((four.min, four.p25, four.median, four.p75, four.max), (1.0, 1.0, 2.0, 3.0, 4.0));
    }

    #[test]
    fn many_are_within_a_percent_whatever_their_size_and_sign() {
        let mut state = 88_172_645_463_325_252_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut all: Vec<f64> = (0..20_000).map(|_| 10_f64.powf(random() * 7.0 - 3.0)).collect();
        all.extend((0..5_000).map(|_| -10_f64.powf(random() * 3.0 - 2.0)));
        all.push(0.0);
        let values = of(all.iter().copied());
        assert!(values.is_approximate());
        all.sort_unstable_by(f64::total_cmp);
        let found = values.quantiles().unwrap();
        assert_eq!((found.min, found.max), (all[0], all[all.len() - 1]));
        for (share, found) in [(0.25, found.p25), (0.5, found.median), (0.75, found.p75)] {
            let true_one = all[(all.len() as f64 * share).ceil() as usize - 1];
            assert!((found - true_one).abs() <= true_one.abs() * 0.0101, "{share}: {found} for {true_one}");
        }
    }

    #[test]
    fn memory_is_bounded_by_the_steps_there_can_be() {
        let values = of((0..200_000).map(|n| 1.001_f64.powi(n % 60_000 - 30_000)));
        let Kept::Steps(steps) = &values.kept else { panic!("these are many") };
        assert!(steps.len() <= 2_100, "{}", steps.len());
        let same = of((0..10_000).map(|_| 12.5)).quantiles().unwrap();
        assert_eq!((same.min, same.median, same.max), (12.5, 12.5, 12.5));
    }
}
