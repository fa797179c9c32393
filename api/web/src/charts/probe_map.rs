//! Probes on the map of the world, a dot each: where it is well and where not. Countries are drawn pale, for the eye alone.

use super::map::countries;
use super::svg::{Drawing, Svg};
use super::world::{HEIGHT, WIDTH, place};

/// The radius of a dot, in the map's units.
const RADIUS: f64 = 9.0;

/// A probe.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dot {
    /// Degrees north and east.
    pub at: (f64, f64),
    /// `good`, `bad`, `warn`, or empty where nothing is known.
    pub mood: &'static str,
    /// What a mouse that rests on it is told.
    pub words: String,
}

/// Draws them; those that are not well lie above the others.
pub(crate) fn probe_map(dots: &[Dot], name: &str) -> Svg {
    let mut drawing = Drawing::new("chart map dots", WIDTH, HEIGHT, name);
    countries(&mut drawing, "share", |_| None);
    let mut sorted: Vec<&Dot> = dots.iter().collect();
    sorted.sort_by_key(|dot| ["", "good", "warn", "bad"].iter().position(|mood| *mood == dot.mood));
    for dot in sorted {
        let at = place(dot.at.0, dot.at.1);
        let class = format!("probe {}", dot.mood);
        match dot.mood {
            // Another shape than the others, for whoever does not see colours.
            "bad" | "warn" => {
                drawing.rect(&class, (at.0 - RADIUS, at.1 - RADIUS), (2.0 * RADIUS, 2.0 * RADIUS), Some(&dot.words))
            }
            _ => drawing.circle(&class, at, RADIUS, Some(&dot.words)),
        };
    }
    drawing.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_well_has_another_shape_and_lies_above() {
        let dot = |mood, words: &str| Dot { at: (50.0, 8.0), mood, words: words.to_owned() };
        let svg = probe_map(&[dot("bad", "probe <2>"), dot("good", "probe 1")], "map");
        let svg = svg.as_str();
        let (good, bad) =
            (svg.find("circle class=\"probe good\"").unwrap(), svg.find("rect class=\"probe bad\"").unwrap());
        assert!(good < bad && svg.contains("probe &lt;2&gt;"));
    }
}
