//! The world's territories, prepared once (`world.txt`, by `vendor/world.py`): Natural Earth, public domain, in the Equal Earth
//! projection, so that areas compare.

use std::sync::LazyLock;

/// The picture's width, and its height without the Antarctic.
pub(crate) const WIDTH: f64 = 2000.0;
/// See [`WIDTH`].
pub(crate) const HEIGHT: f64 = 867.0;

/// The northernmost latitude of the picture, in degrees.
const NORTH: f64 = 84.0;

/// What a territory looks like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    /// An SVG path.
    Path(&'static str),
    /// A circle at this place: it would be too small to be seen.
    Circle(f64, f64),
    /// It is not drawn, but has a name.
    Nothing,
}

/// One of ISO 3166, and Kosovo; or one that has no code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Territory {
    /// Two letters.
    pub code: Option<&'static str>,
    /// In English.
    pub name: &'static str,
    /// On the map.
    pub shape: Shape,
}

static WORLD: LazyLock<Vec<Territory>> = LazyLock::new(|| include_str!("world.txt").lines().filter_map(read).collect());

/// All of them, circles last.
pub(crate) fn territories() -> &'static [Territory] {
    &WORLD
}

/// The territory of a code.
pub(crate) fn find(code: &str) -> Option<&'static Territory> {
    WORLD.iter().find(|territory| territory.code.is_some_and(|known| known.eq_ignore_ascii_case(code)))
}

/// The name of a code; the code itself where it has none.
pub(crate) fn name(code: &str) -> &str {
    find(code).map_or(code, |territory| territory.name)
}

fn read(line: &'static str) -> Option<Territory> {
    let mut parts = line.split('\t');
    let (code, name, shape) = (parts.next()?, parts.next()?, parts.next()?);
    let circle = || {
        let (x, y) = shape.split_once(' ')?;
        Some(Shape::Circle(x.parse().ok()?, y.parse().ok()?))
    };
    let shape = match shape {
        "" => Shape::Nothing,
        _ if shape.starts_with('m') => Shape::Path(shape),
        _ => circle()?,
    };
    Some(Territory { code: (code != "-").then_some(code), name, shape })
}

/// Where a place is on the picture; degrees north and east. Equal Earth: B. Šavrič, T. Patterson, B. Jenny, IJGIS 33 (2019), 454.
pub(crate) fn place(latitude: f64, longitude: f64) -> (f64, f64) {
    let scale = WIDTH / 2.0 / equal_earth(0.0, 180.0).0;
    let (x, y) = equal_earth(latitude.clamp(-90.0, 90.0), longitude.clamp(-180.0, 180.0));
    (WIDTH / 2.0 + x * scale, (equal_earth(NORTH, 0.0).1 - y) * scale)
}

fn equal_earth(latitude: f64, longitude: f64) -> (f64, f64) {
    const A: [f64; 4] = [1.340264, -0.081106, 0.000893, 0.003796];
    let m = 3f64.sqrt() / 2.0;
    let angle = (m * latitude.to_radians().sin()).asin();
    let (square, sixth) = (angle.powi(2), angle.powi(6));
    let stretch = A[0] + 3.0 * A[1] * square + sixth * (7.0 * A[2] + 9.0 * A[3] * square);
    let y = angle * (A[0] + A[1] * square + sixth * (A[2] + A[3] * square));
    (longitude.to_radians() * angle.cos() / (m * stretch), y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_territory_and_every_code_is_there_once() {
        let lines = include_str!("world.txt").lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(territories().len(), lines);
        let mut codes: Vec<_> = territories().iter().filter_map(|territory| territory.code).collect();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!((codes.len(), count > 240), (count, true));
        assert!(codes.iter().all(|code| code.len() == 2));
        assert!(
            matches!(find("sg").unwrap().shape, Shape::Circle(..))
                && matches!(find("FR").unwrap().shape, Shape::Path(_))
        );
        assert_eq!((name("DE"), name("ZZ")), ("Germany", "ZZ"));
    }

    #[test]
    fn dots_lie_on_their_countries() {
        let Shape::Circle(x, y) = find("SG").unwrap().shape else { panic!("Singapore is a circle") };
        let (px, py) = place(1.35, 103.8);
        assert!((x - px).abs() < 3.0 && (y - py).abs() < 3.0, "{x} {y}, {px} {py}");
        let corner = place(-90.0, 180.0);
        assert!(corner.0 <= WIDTH && corner.1 > HEIGHT, "the Antarctic is below the picture");
        assert_eq!(place(0.0, 180.0).0, WIDTH);
    }
}
