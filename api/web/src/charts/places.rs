//! Places with probes become dots: few enough that a page stays light. Where there are too many places, near ones become one dot;
//! whoever goes closer (`js/map.js`) gets all of them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::dots::{self, Dot, Mood};
use super::number::{count, counted};
use super::svg::Svg;

/// Longitude and latitude, probes connected, probes in all.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(crate) struct Place(pub f64, pub f64, pub u64, pub u64);

/// The most dots of a picture.
const MAX_DOTS: usize = 1000;

/// The sides of the cells, in degrees, in which places are put together: the first that leaves few enough.
const CELLS: [f64; 6] = [0.0, 0.5, 1.0, 2.0, 4.0, 8.0];

/// The map with a dot for each place, and whether some of the dots are several places.
pub(crate) fn draw(name: &str, places: &[Place]) -> (Svg, bool) {
    let known = |place: &&Place| place.0.abs() <= 180.0 && place.1.abs() <= 90.0 && place.3 > 0;
    let known: Vec<Place> = places.iter().filter(known).copied().collect();
    let shown = few_enough(&known);
    let connected: u64 = shown.iter().map(|place| place.2).sum();
    let name = format!("{name}: {} connected, in {}", count(connected), counted(known.len() as u64, "place", "places"));
    let dots: Vec<Dot> = shown.iter().map(dot).collect();
    (dots::draw(&name, &dots), shown.len() < known.len())
}

fn dot(&Place(longitude, latitude, connected, probes): &Place) -> Dot {
    let side = |degrees: f64, positive, negative| if degrees < 0.0 { negative } else { positive };
    let words = format!(
        "{} of {} connected, near {:.1}° {}, {:.1}° {}",
        count(connected),
        counted(probes, "probe", "probes"),
        latitude.abs(),
        side(latitude, 'N', 'S'),
        longitude.abs(),
        side(longitude, 'E', 'W')
    );
    let mood = if connected > 0 { Mood::Good } else { Mood::Gone };
    Dot { latitude, longitude, probes, mood, words }
}

fn few_enough(places: &[Place]) -> Vec<Place> {
    for cell in CELLS {
        let merged = if cell > 0.0 { merged(places, cell) } else { places.to_vec() };
        if merged.len() <= MAX_DOTS {
            return merged;
        }
    }
    merged(places, 16.0)
}

/// The places of each cell as one, at the centre of their probes.
fn merged(places: &[Place], cell: f64) -> Vec<Place> {
    let mut cells: BTreeMap<(i32, i32), Place> = BTreeMap::new();
    for Place(longitude, latitude, connected, probes) in places {
        let key = ((longitude / cell).floor() as i32, (latitude / cell).floor() as i32);
        let sum = cells.entry(key).or_insert(Place(0.0, 0.0, 0, 0));
        sum.0 += longitude * *probes as f64;
        sum.1 += latitude * *probes as f64;
        sum.2 = sum.2.saturating_add(*connected);
        sum.3 = sum.3.saturating_add(*probes);
    }
    let centre = |sum: Place| Place(sum.0 / sum.3 as f64, sum.1 / sum.3 as f64, sum.2, sum.3);
    cells.into_values().map(centre).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_says_how_many() {
        let (svg, is_merged) =
            draw("Probes", &[Place(4.9, 52.4, 2, 3), Place(-70.0, -33.0, 0, 1), Place(500.0, 0.0, 1, 1)]);
        let svg = svg.as_str();
        assert!(svg.contains("aria-label=\"Probes: 2 connected, in 2 places\"") && !is_merged, "{svg}");
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
        assert_eq!(dots.iter().map(|place| place.3).sum::<u64>(), 40_000);
        assert_eq!(dots.iter().map(|place| place.2).sum::<u64>(), 20_000);
        assert!(dots.iter().all(|place| (0.0..20.0).contains(&place.0) && (0.0..10.0).contains(&place.1)));
        assert!(draw("Probes", &places).1);
    }
}
