//! A strip of time: one bar a step, side by side. States differ in height as well as in colour, so that the strip reads without colour:
//! the caller gives each step its height.

use super::svg::{Drawing, Svg};

/// Of the picture, in its own units.
const WIDTH: f64 = 720.0;
/// Of a whole bar.
const HEIGHT: f64 = 32.0;
/// Below the bars, for labels.
const FOOT: f64 = 22.0;

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    /// Its class: what it is painted in.
    pub class: &'static str,
    /// Of the whole height, 0 to 1.
    pub height: f64,
    /// When and what, for a mouse that rests on it. The same stands in the table beside the strip.
    pub title: String,
}

/// The strip with words under some of its steps, each by the number of its step.
pub(crate) fn draw(name: &str, steps: &[Step], labels: &[(usize, String)]) -> Svg {
    let mut drawing = Drawing::new("chart strip", WIDTH, HEIGHT + FOOT, name);
    let pitch = WIDTH / steps.len().max(1) as f64;
    // A gap between bars as long as there is room for one.
    let gap = (pitch * 0.15).clamp(0.0, 2.0);
    for (index, step) in steps.iter().enumerate() {
        let height = HEIGHT * if step.height.is_finite() { step.height.clamp(0.0, 1.0) } else { 0.0 };
        let corner = (index as f64 * pitch + gap / 2.0, HEIGHT - height);
        drawing.rect(step.class, corner, (pitch - gap, height), Some(&step.title));
    }
    drawing.line("axis", (0.0, HEIGHT), (WIDTH, HEIGHT));
    for (index, label) in labels {
        let x = *index as f64 * pitch;
        // Words at the edges stay inside.
        let class = if x < WIDTH * 0.05 {
            "start"
        } else if x > WIDTH * 0.93 {
            "end"
        } else {
            "middle"
        };
        let x = if class == "end" { WIDTH } else { x };
        drawing.text(class, (x, HEIGHT + FOOT - 5.0), label);
    }
    drawing.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(height: f64, title: &str) -> Step {
        Step { class: "up", height, title: title.into() }
    }

    #[test]
    fn each_step_has_its_bar_and_its_words() {
        let steps = [step(1.0, "all of it"), step(0.5, "half"), step(0.0, "nothing")];
        let svg = draw("connected", &steps, &[(0, "28 Nov".into()), (2, "now".into())]);
        let svg = svg.as_str();
        assert!(svg.contains("aria-label=\"connected\"") && svg.contains("height=\"32\""), "{svg}");
        assert!(svg.contains("<title>half</title>") && svg.contains("height=\"16\""), "{svg}");
        assert!(!svg.contains("<title>nothing</title>"), "what has no height has no bar: {svg}");
        assert!(svg.contains("class=\"start\" x=\"0\"") && svg.contains(">now</text>"), "{svg}");
    }

    #[test]
    fn nothing_breaks_it() {
        assert!(draw("", &[], &[(7, "<b>".into())]).as_str().contains("&lt;b&gt;"));
        let odd = draw("x", &[step(f64::NAN, "n"), step(9.0, "much"), step(-1.0, "less")], &[]);
        assert!(!odd.as_str().contains("NaN") && odd.as_str().matches("<rect").count() == 1, "{odd}");
    }
}
