//! The map of the world, a colour a country; and its legend.

use super::palette::{Paint, legend as classes};
use super::svg::{Drawing, Svg};
use super::world::{self, HEIGHT, Shape, WIDTH};

/// The radius of the circle of a territory that would not be seen.
const RADIUS: f64 = 6.0;

/// What is known of a country.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Country {
    /// How it is painted.
    pub paint: Paint,
    /// What a mouse that rests on it is told: `72 % of 40 probes`.
    pub words: String,
}

/// Draws every territory, in this family of colours (`share` or `rtt`). In the map's own units: 2000 wide.
pub(crate) fn countries(drawing: &mut Drawing, family: &str, of: impl Fn(&str) -> Option<Country>) {
    for territory in world::territories() {
        let known = territory.code.and_then(&of);
        let paint = known.as_ref().map_or(Paint::None, |country| country.paint);
        let words = known.map_or_else(|| "no probe".to_owned(), |country| country.words);
        // A hatch is a fill by attribute, which a class would win over.
        let (name, fill) = match paint.hatch(family) {
            Some(hatch) => ("fill", hatch),
            None => ("class", paint.class(family)),
        };
        let code = territory.code.unwrap_or_default();
        let (x, y);
        match territory.shape {
            Shape::Nothing => continue,
            Shape::Path(path) => drawing.open("path", &[(name, &fill), ("data-c", &code), ("d", &path)]),
            Shape::Circle(cx, cy) => {
                (x, y) = (cx, cy);
                drawing.open("circle", &[(name, &fill), ("data-c", &code), ("cx", &x), ("cy", &y), ("r", &RADIUS)])
            }
        };
        drawing.title(&format!("{}: {words}", territory.name)).close();
    }
}

/// The map as a picture in a page.
pub(crate) fn map(name: &str, family: &str, of: impl Fn(&str) -> Option<Country>) -> Svg {
    let mut drawing = Drawing::new("chart map", WIDTH, HEIGHT, name);
    countries(&mut drawing, family, of);
    drawing.finish()
}

/// One entry of a legend.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// A small box with the colour.
    pub swatch: Svg,
    /// What it means.
    pub words: String,
}

/// How each entry is painted, and what it means.
pub(crate) fn meanings(splits: &[f64; 6], unit: &str, few: &str) -> Vec<(Paint, String)> {
    let plain = classes(splits, unit).into_iter().enumerate().map(|(class, words)| (Paint::Plain(class), words));
    plain.chain([(Paint::Hatched(3), few.to_owned()), (Paint::None, "no probe".to_owned())]).collect()
}

/// The legend beside a map in a page.
pub(crate) fn legend(family: &str, splits: &[f64; 6], unit: &str, few: &str) -> Vec<Entry> {
    let entry = |(paint, words): (Paint, String)| Entry { swatch: swatch(family, paint), words };
    meanings(splits, unit, few).into_iter().map(entry).collect()
}

fn swatch(family: &str, paint: Paint) -> Svg {
    let mut drawing = Drawing::decoration("", 24.0, 14.0);
    boxed(&mut drawing, family, paint, (0.5, 0.5), (23.0, 13.0));
    drawing.finish()
}

/// A box painted like a country.
pub(crate) fn boxed(drawing: &mut Drawing, family: &str, paint: Paint, corner: (f64, f64), size: (f64, f64)) {
    let (name, fill) = match paint.hatch(family) {
        Some(hatch) => ("fill", hatch),
        None => ("class", paint.class(family)),
    };
    drawing.leaf("rect", &[(name, &fill), ("x", &corner.0), ("y", &corner.1), ("width", &size.0), ("height", &size.1)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_is_painted_and_says_why() {
        let svg = map("Map", "share", |code| {
            let paint = match code {
                "DE" => Paint::Plain(5),
                "SG" => Paint::Hatched(2),
                _ => return None,
            };
            Some(Country { paint, words: "<few>".into() })
        });
        let svg = svg.as_str();
        assert!(svg.contains("class=\"share-5\" data-c=\"DE\"") && svg.contains("<title>Germany: &lt;few&gt;</title>"));
        assert!(svg.contains("<circle fill=\"url(#hatch-share-2)\" data-c=\"SG\""));
        assert!(svg.contains("<title>France: no probe</title>"));
        assert!(svg.len() < 80_000, "{} bytes", svg.len());
    }
}
