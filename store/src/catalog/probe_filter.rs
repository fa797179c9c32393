//! Which probes, and in which order. Addresses and places count as the viewer may know them: a filter must not tell what
//! the probe's page hides.

use std::net::IpAddr;

use sonde_protocol::ids::{AccountId, Asn, ProbeId};
use sonde_protocol::net::Family;
use sonde_protocol::spec::Kind;

use super::Limit;
use crate::view::Viewer;

/// Which probes; every condition must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProbeFilter {
    /// Who asks. Exact addresses and places count for whoever may see them; for others the /24 or /48 of an address and
    /// the place on the grid.
    pub viewer: Viewer,
    /// One of these.
    pub ids: Option<Vec<ProbeId>>,
    /// This account's.
    pub owner: Option<AccountId>,
    /// Connected now, or not.
    pub connected: Option<bool>,
    /// In one of these states.
    pub states: Option<Vec<ProbeState>>,
    /// In one of these countries (any case).
    pub countries: Option<Vec<String>>,
    /// In one of these ASes by the address of this family, or by either; each of the conditions.
    pub asns: Vec<(Option<Family>, Vec<Asn>)>,
    /// Has an address in this network, of so many bits; in each of these.
    pub networks: Vec<(IpAddr, u8)>,
    /// Everybody may see its addresses, or not.
    pub is_public: Option<bool>,
    /// Somebody stands for it, or not.
    pub vouched: Option<bool>,
    /// The operator has made it an anchor, or not.
    pub is_anchor: Option<bool>,
    /// Numbers within limits.
    pub limits: Vec<(ProbeNumber, Limit)>,
    /// Coordinates within limits.
    pub coordinates: Vec<(Coordinate, Limit<f64>)>,
    /// Not further away than so much.
    pub near: Option<Circle>,
    /// Its host allows this kind, as far as anybody knows.
    pub allows: Option<Kind>,
    /// Has all these tags.
    pub tags: Vec<String>,
    /// Has none of these tags.
    pub without_tags: Vec<String>,
    /// In which order, each perhaps descending; by id at last. Empty: as the slice says.
    pub order: Vec<(ProbeOrder, bool)>,
}

/// A probe's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeState {
    /// It has joined and was never connected.
    NeverConnected,
    /// It is connected.
    Connected,
    /// It was connected.
    Disconnected,
}

/// A number that probes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeNumber {
    /// Its own.
    Id,
    /// When it was first connected, in seconds.
    FirstConnected,
    /// When it was last seen, in seconds.
    LastConnected,
}

/// A coordinate of a place, in degrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coordinate {
    /// North is positive.
    Latitude,
    /// East is positive.
    Longitude,
}

/// Everywhere within a distance of a place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Circle {
    /// Of the centre, in degrees.
    pub latitude: f64,
    /// Of the centre, in degrees.
    pub longitude: f64,
    /// The distance.
    pub km: f64,
}

/// What a list is sorted by: nothing that is hidden from anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeOrder {
    /// The number.
    Id,
    /// The country's code.
    Country,
    /// The AS by IPv4.
    AsnV4,
    /// The AS by IPv6.
    AsnV6,
    /// The number of the state.
    State,
    /// The time of the last change of state.
    Since,
    /// The first connection.
    FirstConnected,
    /// The last sight.
    LastConnected,
    /// Those that everybody may see whole come last.
    IsPublic,
}

/// The earth's mean radius (IUGG).
const EARTH_KM: f64 = 6371.009;

impl Circle {
    /// Is this place within it? The earth counts as a sphere, which is true to half a percent.
    pub fn holds(&self, (latitude, longitude): (f64, f64)) -> bool {
        self.distance(latitude, longitude) <= self.km
    }

    /// Kilometres from the centre (haversine).
    fn distance(&self, latitude: f64, longitude: f64) -> f64 {
        let half = |degrees: f64| (degrees.to_radians() / 2.0).sin().powi(2);
        let across = self.latitude.to_radians().cos() * latitude.to_radians().cos();
        let chord = half(latitude - self.latitude) + across * half(longitude - self.longitude);
        2.0 * EARTH_KM * chord.clamp(0.0, 1.0).sqrt().asin()
    }

    /// The latitudes that it reaches at most, for a first look.
    pub fn latitudes(&self) -> (f64, f64) {
        let degrees = (self.km / EARTH_KM).to_degrees() + 1e-6;
        (self.latitude - degrees, self.latitude + degrees)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_on_the_sphere() {
        let amsterdam = Circle { latitude: 52.3731, longitude: 4.8922, km: 0.0 };
        for (place, km) in [
            ((52.3731, 4.8922), 0.0),
            ((52.5200, 13.4050), 577.0),
            ((-33.8688, 151.2093), 16_650.0),
            ((52.3731, 364.8922), 0.0),
        ] {
            let distance = amsterdam.distance(place.0, place.1);
            assert!((distance - km).abs() <= km * 0.005 + 1e-6, "{place:?}: {distance}");
        }
        let dateline = Circle { latitude: 0.0, longitude: 179.9, km: 30.0 };
        assert!(dateline.holds((0.0, -179.9)) && !dateline.holds((0.0, -179.0)));
        assert!(Circle { latitude: 90.0, longitude: 0.0, km: 1.0 }.holds((90.0, 123.0)));
    }
}
