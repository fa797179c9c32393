//! Numbers of many probes over time: the median as a line, half of the results and all of them as bands, and what was lost as a
//! strip below. A bin is as wide as it lasted. Where nothing was measured there is nothing, and where all was lost only the strip.

use std::fmt::Write as _;

use crate::charts::loss::{self, Outcome};
use crate::charts::scale::{Scale, time_ticks};
use crate::charts::svg::{Drawing, Number, Svg};
use crate::charts::time;

/// One bin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bin {
    /// When it begins, in Unix seconds.
    pub start: i64,
    /// It is over.
    pub complete: bool,
    /// Of the results that have a number.
    pub values: Option<Quantiles>,
    /// What became of the requests.
    pub outcome: Outcome,
}

/// What is drawn of a bin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quantiles {
    /// The least.
    pub min: f64,
    /// A quarter is not above it.
    pub p25: f64,
    /// Half.
    pub median: f64,
    /// Three quarters.
    pub p75: f64,
    /// The greatest.
    pub max: f64,
}

/// What is drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bands<'a> {
    /// One after the other.
    pub bins: &'a [Bin],
    /// Seconds of each.
    pub step: i64,
    /// `ms`, `bytes` …; empty for plain numbers.
    pub unit: &'a str,
    /// `v6` or `v4`: the colour.
    pub family: &'a str,
    /// What the picture is, for whoever does not see it.
    pub name: &'a str,
}

/// How large it is drawn; everything else follows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Of the whole.
    pub width: f64,
    /// Of the bands.
    pub height: f64,
}

/// For screens.
pub(crate) const WIDE: Size = Size { width: 960.0, height: 240.0 };
/// For phones.
pub(crate) const NARROW: Size = Size { width: 380.0, height: 200.0 };

/// Room for the labels of the values, and around.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 22.0;
/// Between the bands and the strip, and below it for the labels of the times.
const GAP: f64 = 8.0;
const BELOW: f64 = 22.0;

/// Draws it.
pub(crate) fn bands(data: &Bands<'_>, size: Size) -> Svg {
    let bottom = TOP + size.height;
    let strip_top = bottom + GAP;
    let height = strip_top + loss::HEIGHT + BELOW;
    let mut drawing = Drawing::new("chart bands", size.width, height, data.name);
    let (start, end) = match (data.bins.first(), data.bins.last()) {
        (Some(first), Some(last)) => (first.start, last.start.saturating_add(data.step)),
        _ => (0, 1),
    };
    let across = Scale::linear((start as f64, end as f64), (LEFT, size.width - RIGHT));
    let numbers: Vec<f64> =
        data.bins.iter().filter_map(|bin| bin.values).flat_map(|of| [of.min, of.median, of.max]).collect();
    let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let most = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let up = match least < 0.0 {
        true => Scale::linear((least, most.max(0.0)), (bottom, TOP)),
        false => Scale::of_values(&numbers, (bottom, TOP)),
    };
    axes(&mut drawing, data, &up, &across, (start, end), size, bottom);
    let x = |seconds: i64| across.at(seconds as f64);
    for stretch in stretches(data.bins) {
        let line = if stretch.last().is_some_and(|bin| bin.complete) { "" } else { " open" };
        drawing.path(
            &format!("band all {}", data.family),
            &band(stretch, data.step, x, &up, |of| (of.min, of.max)),
            None,
        );
        drawing.path(
            &format!("band half {}", data.family),
            &band(stretch, data.step, x, &up, |of| (of.p25, of.p75)),
            None,
        );
        drawing.path(&format!("{}{line}", data.family), &steps(stretch, data.step, x, &up), None);
    }
    let outcomes: Vec<Outcome> = data.bins.iter().map(|bin| bin.outcome).collect();
    let begin = |number: usize| start.saturating_add(i64::try_from(number).unwrap_or(0).saturating_mul(data.step));
    loss::strip(&mut drawing, &outcomes, strip_top, |number| x(begin(number)), begin);
    drawing.line("axis", (LEFT, strip_top + loss::HEIGHT + 0.5), (size.width - RIGHT, strip_top + loss::HEIGHT + 0.5));
    drawing.text("end", (LEFT - 6.0, strip_top + 10.0), "lost");
    drawing.finish()
}

fn axes(
    drawing: &mut Drawing,
    data: &Bands<'_>,
    up: &Scale,
    across: &Scale,
    (start, end): (i64, i64),
    size: Size,
    bottom: f64,
) {
    let right = size.width - RIGHT;
    let unit = match (data.unit, up.is_log()) {
        (unit, true) => format!("{unit}, logarithmic scale"),
        (unit, false) => unit.to_owned(),
    };
    drawing.text("", (0.0, 12.0), unit.trim_start_matches(", "));
    for tick in up.ticks(5) {
        let y = up.at(tick);
        drawing.line("grid", (LEFT, y), (right, y));
        drawing.text("end", (LEFT - 6.0, y + 4.0), &tick_text(tick));
    }
    let about = if size.width < 500.0 { 4 } else { 8 };
    let ticks = time_ticks(start, end, about);
    let step = match ticks.as_slice() {
        [one, two, ..] => two - one,
        _ => end.saturating_sub(start),
    };
    let foot = bottom + GAP + loss::HEIGHT;
    for tick in ticks {
        let x = across.at(tick as f64);
        drawing.line("grid", (x, TOP), (x, foot));
        let class = if x > right - 20.0 { "end" } else { "middle" };
        drawing.text(class, (x, foot + 16.0), &time::tick(tick, step));
    }
}

/// `0.5`, `20`, `1,500`: as short as it is exact.
fn tick_text(value: f64) -> String {
    let sign = if value < 0.0 { "−" } else { "" };
    let size = value.abs();
    if size >= 1000.0 && size.fract() == 0.0 && size < 1e15 {
        return format!("{sign}{}", crate::charts::number::count(size as u64));
    }
    let text = format!("{:.4}", size);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{sign}{text}")
}

/// Bins with numbers that follow each other. One that is not over stands by itself.
fn stretches(bins: &[Bin]) -> Vec<&[Bin]> {
    bins.chunk_by(|one, next| one.values.is_some() && next.values.is_some() && next.complete == one.complete)
        .filter(|stretch| stretch.first().is_some_and(|bin| bin.values.is_some()))
        .collect()
}

/// The outline between two numbers of each bin, as steps; at least half a unit high, so that it is seen.
fn band(
    bins: &[Bin],
    step: i64,
    x: impl Fn(i64) -> f64,
    up: &Scale,
    ends: impl Fn(&Quantiles) -> (f64, f64),
) -> String {
    let mut path = String::new();
    for bin in bins {
        let Some(values) = &bin.values else { continue };
        let (left, right) = (Number(x(bin.start)), Number(x(bin.start.saturating_add(step))));
        let y = Number(up.at(ends(values).1));
        let _ = write!(path, "{}{left} {y}H{right}", if path.is_empty() { 'M' } else { 'L' });
    }
    for bin in bins.iter().rev() {
        let Some(values) = &bin.values else { continue };
        let (low, high) = ends(values);
        let y = Number(up.at(low).max(up.at(high) + 0.5));
        let (left, right) = (x(bin.start), x(bin.start.saturating_add(step)));
        let _ = write!(path, "L{} {y}H{}", Number(right), Number(left));
    }
    path.push('Z');
    path
}

/// The median, as steps.
fn steps(bins: &[Bin], step: i64, x: impl Fn(i64) -> f64, up: &Scale) -> String {
    let mut path = String::new();
    for bin in bins {
        let Some(values) = &bin.values else { continue };
        let (left, right) = (Number(x(bin.start)), Number(x(bin.start.saturating_add(step))));
        let y = Number(up.at(values.median));
        let _ = write!(path, "{}{left} {y}H{right}", if path.is_empty() { 'M' } else { 'L' });
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bin(number: i64, median: Option<f64>) -> Bin {
        let values = median.map(|median| Quantiles {
            min: median - 2.0,
            p25: median - 1.0,
            median,
            p75: median + 1.0,
            max: median + 3.0,
        });
        let outcome = match median {
            Some(_) => Outcome::Asked { sent: 3, received: 3 },
            None => Outcome::NotMeasured,
        };
        Bin { start: 1_760_000_400 + number * 900, complete: true, values, outcome }
    }

    fn draw(bins: &[Bin]) -> String {
        let data = Bands { bins, step: 900, unit: "ms", family: "v6", name: "a <name>" };
        bands(&data, WIDE).as_str().to_owned()
    }

    #[test]
    fn gaps_break_lines_and_bands() {
        let svg = draw(&[bin(0, Some(10.0)), bin(1, Some(12.0)), bin(2, None), bin(3, Some(11.0))]);
        assert_eq!(svg.matches("class=\"band all v6\"").count(), 2, "{svg}");
        assert_eq!(svg.matches("class=\"v6\"").count(), 2, "{svg}");
        assert!(svg.contains("hatch-none") && svg.contains("aria-label=\"a &lt;name&gt;\""), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn what_was_lost_and_what_was_not_measured_are_two_things() {
        let mut lost = bin(1, None);
        lost.outcome = Outcome::Asked { sent: 3, received: 0 };
        let svg = draw(&[bin(0, Some(10.0)), lost, bin(2, None)]);
        assert!(svg.contains("loss-5") && svg.contains("hatch-none"), "{svg}");
    }

    #[test]
    fn a_wide_range_is_logarithmic_and_says_so() {
        let wide: Vec<Bin> = (0..5).map(|number| bin(number, Some(if number == 4 { 900.0 } else { 10.0 }))).collect();
        assert!(draw(&wide).contains("ms, logarithmic scale"));
        assert!(!draw(&wide[..3]).contains("logarithmic"));
    }

    #[test]
    fn the_bin_that_is_not_over_is_dashed() {
        let mut last = bin(1, Some(10.0));
        last.complete = false;
        let svg = draw(&[bin(0, Some(10.0)), last]);
        assert_eq!((svg.matches("class=\"v6\"").count(), svg.matches("class=\"v6 open\"").count()), (1, 1), "{svg}");
    }

    #[test]
    fn odd_data_draw_something() {
        draw(&[]);
        let negative: Vec<Bin> = (0..3).map(|number| bin(number, Some(number as f64 - 4.0))).collect();
        assert!(draw(&negative).contains("−"));
        let mut odd = bin(i64::MAX / 2_000, Some(f64::NAN));
        odd.start = i64::MAX;
        let svg = draw(&[bin(0, Some(1.0)), odd]);
        assert!(!svg.contains("NaN"), "{svg}");
    }
}
