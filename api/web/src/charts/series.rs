//! A value over time, with its interval as a band. Gaps break the line; what few stand behind is dotted; the bucket that is not over
//! yet is dashed.

use super::scale::{Scale, time_ticks};
use super::svg::{Drawing, Svg, polyline};
use super::time;

/// The size of the picture in a page, where there is room, and on a phone: scaled down, its words could not be read.
const WIDE: (f64, f64) = (960.0, 280.0);
/// See [`WIDE`].
const NARROW: (f64, f64) = (400.0, 230.0);

/// Where the curve is inside of the picture: left, right, top, bottom.
const INSIDE: (f64, f64, f64, f64) = (58.0, 12.0, 12.0, 28.0);

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A share, 0 to 1, drawn from 0 to 100 %.
    Share,
    /// Milliseconds, also below zero.
    Milliseconds,
}

/// One bucket of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    /// When it begins, in seconds since 1970.
    pub at: i64,
    /// The value, if there is one.
    pub value: Option<f64>,
    /// Its interval.
    pub range: Option<(f64, f64)>,
    /// Enough stand behind it.
    pub is_plain: bool,
    /// It is not over yet.
    pub is_open: bool,
}

/// A curve: buckets by time, each this long.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Curve {
    /// `v6` or `v4`.
    pub class: &'static str,
    /// In the order of time; those that are missing are gaps.
    pub points: Vec<Point>,
}

/// Curves over the same time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    /// What the values are.
    pub unit: Unit,
    /// From here on, in seconds since 1970,
    pub from: i64,
    /// before this.
    pub to: i64,
    /// How long a bucket is, in seconds.
    pub step: i64,
    /// One, or two that are compared.
    pub curves: Vec<Curve>,
}

impl Series {
    /// Where the value of a bucket is, between the two ends of the axis: in the middle of its time.
    pub fn part(&self, at: i64) -> f64 {
        let middle = at.saturating_add(self.step / 2);
        Scale::linear((self.from as f64, self.to as f64), (0.0, 1.0)).at(middle as f64)
    }

    fn x(&self, at: i64, width: f64) -> f64 {
        let (left, right, ..) = INSIDE;
        left + self.part(at) * (width - right - left)
    }

    fn y(&self, height: f64) -> Scale {
        let (_, _, top, bottom) = INSIDE;
        let to = (height - bottom, top);
        if self.unit == Unit::Share {
            return Scale::linear((0.0, 1.0), to);
        }
        let points = self.curves.iter().flat_map(|curve| &curve.points);
        let values =
            points.flat_map(|point| [point.value, point.range.map(|range| range.0), point.range.map(|range| range.1)]);
        let most =
            values.flatten().filter(|value| value.is_finite()).fold(1.0, |most: f64, value| most.max(value.abs()));
        // Zero is in the middle: above it IPv6 is slower.
        let top = Scale::linear((0.0, most), (0.0, 1.0)).ticks(2).last().map_or(most, |last| last.max(most));
        Scale::linear((-top, top), to)
    }

    fn label(&self, value: f64) -> String {
        match self.unit {
            Unit::Share => format!("{:.0} %", value * 100.0),
            // Ticks are round: more digits would say nothing.
            Unit::Milliseconds if value > 0.0 => format!("+{value} ms"),
            Unit::Milliseconds => format!("{value} ms").replace('-', "−"),
        }
    }
}

/// Draws it into a picture of this size, from its corner on.
pub(crate) fn draw(drawing: &mut Drawing, series: &Series, width: f64, height: f64) {
    let (left, right, _, bottom) = INSIDE;
    let scale = series.y(height);
    for tick in scale.ticks(5) {
        let y = scale.at(tick);
        let class = if tick == 0.0 { "axis" } else { "grid" };
        drawing.line(class, (left, y), (width - right, y)).text("end", (left - 8.0, y + 4.0), &series.label(tick));
    }
    let ticks = time_ticks(series.from, series.to, (width / 130.0) as usize);
    let step = ticks.windows(2).next().map_or(86_400, |pair| pair[1] - pair[0]);
    for tick in ticks {
        let x = Scale::linear((series.from as f64, series.to as f64), (left, width - right)).at(tick as f64);
        drawing.line("axis", (x, height - bottom), (x, height - bottom + 5.0));
        drawing.text("middle", (x.clamp(left + 12.0, width - right - 18.0), height - 8.0), &time::tick(tick, step));
    }
    for curve in &series.curves {
        self::curve(drawing, series, curve, &scale, width);
    }
}

fn curve(drawing: &mut Drawing, series: &Series, curve: &Curve, scale: &Scale, width: f64) {
    let at = |point: &Point| point.value.map(|value| (series.x(point.at, width), scale.at(value)));
    for run in runs(&curve.points, series.step) {
        let edge = |which: fn((f64, f64)) -> f64| {
            let points = run.iter().filter_map(move |point| Some((point.at, which(point.range?))));
            points.map(|(at, value)| Some((series.x(at, width), scale.at(value)))).collect::<Vec<_>>()
        };
        let (low, mut high) = (edge(|range| range.0), edge(|range| range.1));
        high.reverse();
        if low.len() > 1 {
            drawing.path(
                &format!("band {}", curve.class),
                &format!("{}Z", polyline(low.into_iter().chain(high))),
                None,
            );
        }
        let closed = run.iter().filter(|point| !point.is_open);
        drawing.path(curve.class, &polyline(closed.map(at)), None);
        if let [.., before, last] = run
            && last.is_open
        {
            drawing.path(&format!("{} open", curve.class), &polyline([at(before), at(last)]), None);
        }
        for point in run {
            let Some(place) = at(point) else { continue };
            if !point.is_plain || point.is_open || run.len() == 1 {
                let class =
                    if point.is_plain { format!("dot {}", curve.class) } else { format!("dot few {}", curve.class) };
                drawing.circle(&class, place, 3.0, None);
            }
        }
    }
}

/// Cuts where a bucket is missing.
fn runs(points: &[Point], step: i64) -> impl Iterator<Item = &[Point]> {
    points.chunk_by(move |one, next| {
        next.at.saturating_sub(one.at) <= step && one.value.is_some() && next.value.is_some()
    })
}

/// The picture in a page: one for wide and one for narrow screens, of which the style shows one.
pub(crate) fn picture(name: &str, series: &Series) -> [Svg; 2] {
    [("chart series broad", WIDE), ("chart series narrow", NARROW)].map(|(class, (width, height))| {
        let mut drawing = Drawing::new(class, width, height, name);
        draw(&mut drawing, series, width, height);
        drawing.finish()
    })
}

/// How far the ends of the axis are from the picture's edges, for the script that follows a curve.
pub(crate) fn margins() -> String {
    format!("{} {}", INSIDE.0, INSIDE.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(hour: i64, value: f64) -> Point {
        Point {
            at: hour * 3600,
            value: Some(value),
            range: Some((value - 0.1, value + 0.1)),
            is_plain: true,
            is_open: false,
        }
    }

    fn series(points: Vec<Point>) -> Series {
        Series { unit: Unit::Share, from: 0, to: 86_400, step: 3600, curves: vec![Curve { class: "v6", points }] }
    }

    fn wide(series: &Series) -> Svg {
        let [wide, narrow] = picture("a", series);
        assert!(narrow.as_str().contains("viewBox=\"0 0 400 230\""));
        wide
    }

    #[test]
    fn a_missing_hour_breaks_the_line() {
        let svg = wide(&series(vec![point(0, 0.5), point(1, 0.5), point(4, 0.6), point(5, 0.6)]));
        assert_eq!(svg.as_str().matches("class=\"v6\"").count(), 2, "{svg}");
        assert_eq!(svg.as_str().matches("class=\"band v6\"").count(), 2, "{svg}");
    }

    #[test]
    fn what_is_uncertain_looks_so_without_colour() {
        let few = Point { is_plain: false, ..point(1, 0.5) };
        let open = Point { is_open: true, ..point(2, 0.5) };
        let svg = wide(&series(vec![point(0, 0.5), few, open]));
        assert!(svg.as_str().contains("dot few v6") && svg.as_str().contains("v6 open"), "{svg}");
        assert!(!wide(&series(vec![point(0, 0.5), point(1, 0.5)])).as_str().contains("dot"));
    }

    #[test]
    fn nothing_at_all_is_a_picture_with_axes() {
        let svg = wide(&series(Vec::new()));
        assert!(svg.as_str().contains("100 %") && !svg.as_str().contains("NaN"), "{svg}");
        let none = Point { value: None, range: None, ..point(1, 0.0) };
        assert!(!wide(&series(vec![none])).as_str().contains("class=\"v6\" d=\"M"));
        let odd = Series {
            from: i64::MIN,
            to: i64::MAX,
            unit: Unit::Milliseconds,
            ..series(vec![point(i64::MAX / 3600, f64::NAN)])
        };
        assert!(!wide(&odd).as_str().contains("NaN"));
    }

    #[test]
    fn differences_have_their_zero_in_the_middle() {
        let ms = Series { unit: Unit::Milliseconds, ..series(vec![point(0, -7.0), point(1, 3.0)]) };
        let svg = wide(&ms);
        assert!(svg.as_str().contains(">0 ms<") && svg.as_str().contains(">−5 ms<"), "{svg}");
    }
}
