//! A small line without axes for a row of a table. All of a column share a scale, and the last value stands beside it as text: the
//! line shows a shape, the text the number.

use super::scale::Scale;
use super::svg::{Drawing, Svg, polyline};

/// Of the picture, in its own units.
const SIZE: (f64, f64) = (120.0, 24.0);

/// The line through values in steps of the same length; `None` breaks it. `range` is the column's.
pub(crate) fn draw(name: &str, class: &str, values: &[Option<f64>], range: (f64, f64)) -> Svg {
    let mut drawing = Drawing::new("chart spark", SIZE.0, SIZE.1, name);
    // Room for the width of the line.
    let up = Scale::linear(range, (SIZE.1 - 2.0, 2.0));
    let along = Scale::linear((0.0, values.len().saturating_sub(1).max(1) as f64), (2.0, SIZE.0 - 2.0));
    let points = values.iter().enumerate().map(|(index, value)| {
        let value = value.filter(|value| value.is_finite())?;
        Some((along.at(index as f64), up.at(value)))
    });
    if range.0 < 0.0 && range.1 > 0.0 {
        drawing.line("grid", (0.0, up.at(0.0)), (SIZE.0, up.at(0.0)));
    }
    drawing.path(class, &polyline(points), None);
    drawing.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_break_the_line_and_zero_is_marked() {
        let svg = draw("difference", "v6", &[Some(0.0), Some(10.0), None, Some(f64::NAN), Some(-10.0)], (-10.0, 10.0));
        let svg = svg.as_str();
        assert_eq!(svg.matches('M').count(), 2, "{svg}");
        assert!(svg.contains("M2 12h0L31 2M118 22h0") && svg.contains("class=\"grid\""), "{svg}");
        assert!(draw("none", "v6", &[], (0.0, 0.0)).as_str().contains("d=\"\""));
    }
}
