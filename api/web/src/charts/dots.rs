//! Dots on the map of the world: how many probes are where. Few enough that a page stays light: where there are too many places, near
//! ones become one dot. A dot is larger for more probes, and hollow where none is connected.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::number::{count, counted};
use super::svg::{Drawing, Svg};
use super::world::{HEIGHT, Shape, WIDTH, place, territories};

/// Longitude and latitude, probes connected, probes in all.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(crate) struct Place(pub f64, pub f64, pub u64, pub u64);

/// The most dots of a picture.
const MAX_DOTS: usize = 2000;

/// The sides of the cells, in degrees, in which places are put together: the first that leaves few enough.
const CELLS: [f64; 6] = [0.0, 0.5, 1.0, 2.0, 4.0, 8.0];

/// A dot: the centre of its probes, and how many.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Dot {
    longitude: f64,
    latitude: f64,
    connected: u64,
    probes: u64,
}

/// The map with a dot for each place.
pub(crate) fn draw(name: &str, places: &[Place]) -> Svg {
    let mut dots = few_enough(places);
    // Small ones lie on top.
    dots.sort_by_key(|dot| std::cmp::Reverse(dot.probes));
    let connected: u64 = dots.iter().map(|dot| dot.connected).sum();
    let name = format!("{name}: {} connected, in {}", count(connected), counted(dots.len() as u64, "place", "places"));
    let mut drawing = world(&name);
    drawing.open("g", &[("class", &"dots")]);
    for dot in dots {
        dot.draw(&mut drawing);
    }
    drawing.finish()
}

/// The world's land without anything on it.
fn world(name: &str) -> Drawing {
    let mut drawing = Drawing::new("chart map places", WIDTH, HEIGHT, name);
    drawing.open("g", &[("class", &"land")]);
    for territory in territories() {
        if let Shape::Path(path) = territory.shape {
            drawing.leaf("path", &[("d", &path)]);
        }
    }
    drawing.close();
    drawing
}

impl Dot {
    fn draw(&self, drawing: &mut Drawing) {
        let at = place(self.latitude, self.longitude);
        // The area grows with the number, within what can be seen and what hides no country.
        let radius = (5.0 + 2.0 * (self.probes as f64).sqrt()).min(32.0);
        let class = if self.connected > 0 { "up" } else { "gone" };
        let side = |degrees: f64, positive, negative| if degrees < 0.0 { negative } else { positive };
        let title = format!(
            "{} of {} connected, near {:.1}° {}, {:.1}° {}",
            count(self.connected),
            counted(self.probes, "probe", "probes"),
            self.latitude.abs(),
            side(self.latitude, 'N', 'S'),
            self.longitude.abs(),
            side(self.longitude, 'E', 'W')
        );
        drawing.circle(class, at, radius, Some(&title));
    }
}

fn few_enough(places: &[Place]) -> Vec<Dot> {
    let known = |place: &&Place| place.0.abs() <= 180.0 && place.1.abs() <= 90.0 && place.3 > 0;
    let dots = places.iter().filter(known).map(|&Place(longitude, latitude, connected, probes)| Dot {
        longitude,
        latitude,
        connected,
        probes,
    });
    let dots: Vec<Dot> = dots.collect();
    for cell in CELLS {
        let merged = if cell > 0.0 { merged(&dots, cell) } else { dots.clone() };
        if merged.len() <= MAX_DOTS {
            return merged;
        }
    }
    merged(&dots, 16.0)
}

/// The places of each cell as one, at the centre of their probes.
fn merged(dots: &[Dot], cell: f64) -> Vec<Dot> {
    let mut cells: BTreeMap<(i32, i32), Dot> = BTreeMap::new();
    for dot in dots {
        let key = ((dot.longitude / cell).floor() as i32, (dot.latitude / cell).floor() as i32);
        let sum = cells.entry(key).or_insert(Dot { longitude: 0.0, latitude: 0.0, connected: 0, probes: 0 });
        sum.longitude += dot.longitude * dot.probes as f64;
        sum.latitude += dot.latitude * dot.probes as f64;
        sum.connected = sum.connected.saturating_add(dot.connected);
        sum.probes = sum.probes.saturating_add(dot.probes);
    }
    let centre = |sum: Dot| Dot {
        longitude: sum.longitude / sum.probes as f64,
        latitude: sum.latitude / sum.probes as f64,
        ..sum
    };
    cells.into_values().map(centre).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_says_how_many() {
        let svg = draw("Probes", &[Place(4.9, 52.4, 2, 3), Place(-70.0, -33.0, 0, 1), Place(500.0, 0.0, 1, 1)]);
        let svg = svg.as_str();
        assert!(svg.contains("aria-label=\"Probes: 2 connected, in 2 places\""), "{svg}");
        assert!(svg.contains("2 of 3 probes connected, near 52.4° N, 4.9° E"), "{svg}");
        assert!(
            svg.contains("0 of 1 probe connected, near 33.0° S, 70.0° W") && svg.contains("class=\"gone\""),
            "{svg}"
        );
    }

    #[test]
    fn many_places_become_few_dots_and_no_probe_is_lost() {
        // 20,000 places on a grid of a tenth of a degree.
        let places: Vec<Place> =
            (0..20_000).map(|n| Place(f64::from(n % 200) / 10.0, f64::from(n / 200) / 10.0, 1, 2)).collect();
        let dots = few_enough(&places);
        assert!(dots.len() <= MAX_DOTS, "{}", dots.len());
        assert_eq!(dots.iter().map(|dot| dot.probes).sum::<u64>(), 40_000);
        assert_eq!(dots.iter().map(|dot| dot.connected).sum::<u64>(), 20_000);
        assert!(dots.iter().all(|dot| (0.0..20.0).contains(&dot.longitude) && (0.0..10.0).contains(&dot.latitude)));
    }
}
