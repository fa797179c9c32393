//! Where the invented probes are: countries with their middle, how many probes they have, how common IPv6 is there, and the
//! networks that are named after them. The shares are invented too, in the order of size that is known of the real ones.

use sonde_protocol::ids::Asn;
use sonde_protocol::seed::Rng;

/// A country.
#[derive(Debug, Clone, Copy)]
pub struct Country {
    /// ISO 3166 code.
    pub code: &'static str,
    /// Of all probes so many in ten thousand are here.
    pub weight: u32,
    /// Its middle, in degrees.
    pub latitude: f64,
    /// See `latitude`.
    pub longitude: f64,
    /// How far probes are from it, in degrees.
    pub spread: f64,
    /// How many in a hundred of its probes have a working IPv6.
    pub ipv6: u32,
}

const fn country(code: &'static str, weight: u32, latitude: f64, longitude: f64, spread: f64, ipv6: u32) -> Country {
    Country { code, weight, latitude, longitude, spread, ipv6 }
}

/// The countries, the largest first. The last ones are so small that a few hundred probes leave them one or none.
pub const COUNTRIES: &[Country] = &[
    country("DE", 1400, 50.9, 10.3, 2.6, 76),
    country("US", 1250, 39.5, -96.0, 14.0, 58),
    country("FR", 900, 46.8, 2.5, 2.6, 80),
    country("NL", 700, 52.2, 5.4, 0.8, 62),
    country("GB", 560, 52.6, -1.6, 1.6, 51),
    country("IN", 420, 22.0, 78.5, 6.0, 74),
    country("BR", 380, -14.0, -51.0, 8.0, 49),
    country("JP", 330, 36.2, 138.0, 1.8, 55),
    country("CH", 300, 46.9, 8.2, 0.8, 60),
    country("CZ", 280, 49.8, 15.4, 1.0, 27),
    country("SE", 260, 59.6, 15.5, 2.4, 33),
    country("IT", 250, 43.5, 11.8, 2.2, 18),
    country("BE", 230, 50.7, 4.6, 0.6, 70),
    country("PL", 220, 52.0, 19.3, 2.2, 24),
    country("AU", 210, -31.5, 143.0, 6.0, 36),
    country("CA", 200, 49.5, -95.0, 12.0, 42),
    country("ES", 190, 40.2, -3.6, 2.6, 9),
    country("AT", 180, 47.6, 14.1, 1.0, 45),
    country("FI", 150, 62.4, 26.0, 2.2, 50),
    country("NO", 140, 61.0, 9.5, 2.0, 28),
    country("DK", 130, 55.9, 9.6, 0.7, 11),
    country("MY", 110, 3.6, 102.2, 1.2, 66),
    country("MX", 105, 23.5, -102.0, 4.0, 45),
    country("GR", 100, 39.0, 22.4, 1.2, 57),
    country("PT", 95, 39.6, -8.1, 1.2, 44),
    country("VN", 90, 16.5, 107.0, 3.5, 63),
    country("TH", 85, 15.5, 101.0, 2.4, 48),
    country("UA", 80, 49.0, 31.4, 3.0, 16),
    country("RO", 78, 45.9, 25.0, 1.6, 26),
    country("HU", 75, 47.2, 19.4, 0.9, 34),
    country("IE", 70, 53.3, -7.9, 1.0, 25),
    country("ZA", 68, -29.0, 25.0, 3.4, 5),
    country("KR", 66, 36.4, 127.9, 1.0, 19),
    country("TW", 64, 23.8, 121.0, 0.8, 58),
    country("AR", 62, -34.5, -64.0, 4.5, 17),
    country("UY", 58, -33.0, -56.0, 1.0, 57),
    country("NZ", 56, -41.0, 173.5, 3.0, 24),
    country("ID", 54, -3.0, 113.0, 7.0, 14),
    country("SA", 50, 24.0, 44.6, 3.4, 62),
    country("CL", 48, -34.0, -71.0, 3.0, 22),
    country("CO", 46, 5.0, -73.6, 2.4, 20),
    country("IL", 44, 31.8, 35.0, 0.6, 54),
    country("TR", 42, 39.0, 34.6, 3.4, 6),
    country("KE", 36, -0.6, 37.4, 1.8, 11),
    country("NG", 34, 8.6, 8.0, 2.4, 4),
    country("EE", 32, 58.8, 25.6, 0.7, 30),
    country("LK", 30, 7.4, 80.7, 0.7, 47),
    country("PH", 28, 13.5, 122.0, 3.0, 16),
    country("SI", 26, 46.1, 14.8, 0.4, 20),
    country("LU", 24, 49.7, 6.1, 0.2, 41),
    country("PK", 22, 30.0, 70.0, 3.0, 3),
    country("EG", 20, 28.0, 30.6, 2.4, 7),
    country("NP", 16, 28.2, 84.0, 1.4, 46),
    country("IS", 14, 64.6, -19.5, 1.4, 22),
    country("CY", 12, 35.0, 33.1, 0.3, 8),
    country("MT", 10, 35.9, 14.4, 0.1, 4),
    country("SG", 10, 1.35, 103.8, 0.1, 31),
    country("BH", 6, 26.0, 50.5, 0.1, 2),
    country("MU", 5, -20.2, 57.5, 0.2, 9),
    country("FJ", 5, -17.8, 178.0, 0.6, 5),
    country("LI", 4, 47.15, 9.55, 0.05, 50),
    country("GL", 3, 64.2, -51.7, 0.6, 0),
    country("VU", 2, -15.4, 166.9, 0.6, 0),
    country("VA", 1, 41.9, 12.45, 0.01, 0),
];

/// A country by its weight.
pub fn choose(rng: &mut Rng) -> (usize, &'static Country) {
    let all: u64 = COUNTRIES.iter().map(|country| u64::from(country.weight)).sum();
    let mut left = rng.below(all);
    for (place, country) in COUNTRIES.iter().enumerate() {
        match left.checked_sub(u64::from(country.weight)) {
            Some(rest) => left = rest,
            None => return (place, country),
        }
    }
    (0, &COUNTRIES[0])
}

/// A network of the country at this place: the first ones are much larger than the others. Numbers are those for private use
/// (RFC 6996), so that nobody real is spoken of.
pub fn network(place: usize, country: &Country, rng: &mut Rng) -> Asn {
    let networks = 2 + u64::from(country.weight) / 60;
    let rank = rng.below(networks).min(rng.below(networks));
    Asn(4_200_000_000 + u32::try_from(place * 100 + rank as usize).unwrap_or(0))
}

/// Kilometres between two places on the sphere (haversine).
pub fn kilometres(one: (f64, f64), other: (f64, f64)) -> f64 {
    let half = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
    let chord = half(one.0, other.0) + one.0.to_radians().cos() * other.0.to_radians().cos() * half(one.1, other.1);
    2.0 * 6371.0 * chord.sqrt().min(1.0).asin()
}
