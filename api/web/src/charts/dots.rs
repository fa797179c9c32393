//! Probes on the map of the world: a dot for one of them, or for those that are near each other. All maps of probes look like this
//! one: a circle where it is well, hollow where nobody is connected, a square where it is not well. Countries are drawn pale, for the
//! eye alone. Where all dots are near each other, that part of the world is shown. `js/map.js` goes closer.

use super::map::Entry;
use super::svg::{Drawing, Svg};
use super::world::{HEIGHT, Shape, WIDTH, place, territories};

/// Where there are more dots than this they are smaller.
const FEW: usize = 300;

/// The least width of what is shown, in the map's units: about 1,600 km at the equator. Closer the coast is only corners.
const LEAST_WIDTH: f64 = 80.0;

/// What is left around the outermost dots, as a part of the width between them.
const MARGIN: f64 = 0.12;

/// What needs more than this part of the world's width is shown with all of it.
const MOST_WIDTH: f64 = 0.6;

/// How it is where a dot stands. Those that are not well lie above the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mood {
    /// Nothing is known.
    Unknown,
    /// Nobody is connected.
    Gone,
    Good,
    Warn,
    Bad,
}

impl Mood {
    /// Of a state's mood as badges have it.
    pub fn read(word: &str) -> Self {
        match word {
            "good" => Self::Good,
            "warn" => Self::Warn,
            "bad" => Self::Bad,
            _ => Self::Unknown,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Gone => "gone",
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// One or several probes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dot {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// How many probes.
    pub probes: u64,
    pub mood: Mood,
    /// What a mouse that rests on it is told.
    pub words: String,
}

/// A part of the map, in its units, in the world's proportions.
#[derive(Debug, Clone, Copy, PartialEq)]
struct View {
    x: f64,
    y: f64,
    width: f64,
}

/// The map with these dots.
pub(crate) fn draw(name: &str, dots: &[Dot]) -> Svg {
    let view = View::of(dots);
    // As large on the screen, however close one looks.
    let scale = view.width / WIDTH;
    let least = if dots.len() > FEW { 5.0 } else { 8.0 };
    let mut drawing = Drawing::part("chart map", (view.x, view.y), (view.width, view.width * HEIGHT / WIDTH), name);
    drawing.open("g", &[("class", &"land")]);
    for territory in territories() {
        if let Shape::Path(path) = territory.shape {
            drawing.leaf("path", &[("d", &path)]);
        }
    }
    drawing.close();
    drawing.open("g", &[("class", &"dots")]);
    let mut sorted: Vec<&Dot> = dots.iter().collect();
    // Of those that are alike small ones lie on top.
    sorted.sort_by_key(|dot| (dot.mood, std::cmp::Reverse(dot.probes)));
    for dot in sorted {
        // The area grows with the number, within what can be seen and what hides no country.
        let radius = (least + 2.0 * (dot.probes as f64).sqrt()).min(32.0) * scale;
        mark(&mut drawing, dot.mood, place(dot.latitude, dot.longitude), radius, Some(&dot.words));
    }
    drawing.finish()
}

/// What each look means, for the legend below a map.
pub(crate) fn legend(meanings: &[(Mood, &str)]) -> Vec<Entry> {
    let entry = |(mood, words): &(Mood, &str)| {
        let mut drawing = Drawing::decoration("map", 24.0, 14.0);
        drawing.open("g", &[("class", &"dots")]);
        mark(&mut drawing, *mood, (12.0, 7.0), 5.0, None);
        Entry { swatch: drawing.finish(), words: (*words).to_owned() }
    };
    meanings.iter().map(entry).collect()
}

fn mark(drawing: &mut Drawing, mood: Mood, (x, y): (f64, f64), radius: f64, words: Option<&str>) {
    match mood {
        // Another shape than the others, for whoever does not see colours.
        Mood::Bad | Mood::Warn => {
            let side = radius * 1.8;
            drawing.rect(mood.class(), (x - side / 2.0, y - side / 2.0), (side, side), words)
        }
        Mood::Unknown | Mood::Gone | Mood::Good => drawing.circle(mood.class(), (x, y), radius, words),
    };
}

impl View {
    /// The world, or the part of it in which all dots are, if that is small.
    fn of(dots: &[Dot]) -> Self {
        let whole = Self { x: 0.0, y: 0.0, width: WIDTH };
        let at = dots.iter().map(|dot| place(dot.latitude, dot.longitude));
        let bounds = at.fold(None, |bounds: Option<[f64; 4]>, (x, y)| {
            let [left, top, right, bottom] = bounds.unwrap_or([x, y, x, y]);
            Some([left.min(x), top.min(y), right.max(x), bottom.max(y)])
        });
        let Some([left, top, right, bottom]) = bounds else { return whole };
        let width = (right - left).max((bottom - top) * WIDTH / HEIGHT);
        let width = (width * (1.0 + 2.0 * MARGIN)).max(LEAST_WIDTH);
        if width > MOST_WIDTH * WIDTH {
            return whole;
        }
        let height = width * HEIGHT / WIDTH;
        let x = ((left + right - width) / 2.0).clamp(0.0, WIDTH - width);
        let y = ((top + bottom - height) / 2.0).clamp(0.0, HEIGHT - height);
        Self { x, y, width }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(at: (f64, f64), mood: Mood, words: &str) -> Dot {
        Dot { latitude: at.0, longitude: at.1, probes: 1, mood, words: words.to_owned() }
    }

    #[test]
    fn what_is_not_well_has_another_shape_and_lies_above() {
        let svg = draw("map", &[dot((50.0, 8.0), Mood::Bad, "probe <2>"), dot((-50.0, 170.0), Mood::Good, "probe 1")]);
        let svg = svg.as_str();
        let (good, bad) = (svg.find("<circle class=\"good\"").unwrap(), svg.find("<rect class=\"bad\"").unwrap());
        assert!(good < bad && svg.contains("probe &lt;2&gt;"), "{svg}");
        assert!(svg.contains("viewBox=\"0 0 2000 867\""), "both ends of the world");
        let legend = legend(&[(Mood::Gone, "gone")]);
        assert!(legend[0].swatch.as_str().contains("<circle class=\"gone\"") && legend[0].words == "gone");
    }

    #[test]
    fn what_is_near_each_other_is_looked_at_closely() {
        let germany = [dot((54.0, 9.0), Mood::Good, ""), dot((47.5, 13.0), Mood::Good, "")];
        let view = View::of(&germany);
        assert!((LEAST_WIDTH..200.0).contains(&view.width), "{view:?}");
        for one in &germany {
            let (x, y) = place(one.latitude, one.longitude);
            assert!(x > view.x && x < view.x + view.width, "{view:?}");
            assert!(y > view.y && y < view.y + view.width * HEIGHT / WIDTH, "{view:?}");
        }
        assert_eq!(View::of(&germany[..1]).width, LEAST_WIDTH);
        assert_eq!(View::of(&[]), View { x: 0.0, y: 0.0, width: WIDTH });
        // At the edge nothing beyond the world is shown, and what is no place stays on it.
        for at in [(84.0, 180.0), (-90.0, -180.0), (-54.0, -68.0), (1e9, -1e9)] {
            let view = View::of(&[dot(at, Mood::Gone, "")]);
            assert!(view.x >= 0.0 && view.x + view.width <= WIDTH + 1e-9 && view.y >= 0.0, "{view:?}");
        }
    }
}
