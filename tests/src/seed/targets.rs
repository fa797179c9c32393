//! What the invented measurements are aimed at. The names are those for examples (RFC 2606).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sonde_protocol::net::Family;

/// A target.
#[derive(Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    /// Latitude and longitude in degrees.
    pub place: (f64, f64),
    /// It answers nobody.
    pub is_silent: bool,
}

impl Target {
    /// Its address.
    pub fn address(&self, af: Family) -> IpAddr {
        match af {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }
}

const fn target(name: &'static str, number: u8, place: (f64, f64)) -> Target {
    Target {
        name,
        v4: Ipv4Addr::new(21, 7, number, 1),
        v6: Ipv6Addr::new(0x2a0f, 0x700, number as u16, 0, 0, 0, 0, 1),
        place,
        is_silent: false,
    }
}

/// In Amsterdam.
pub static AMSTERDAM: Target = target("ams.example.net", 1, (52.37, 4.9));

/// In San Jose.
pub static SAN_JOSE: Target = target("sjc.example.net", 2, (37.3, -121.9));

/// In Singapore.
pub static SINGAPORE: Target = target("sin.example.net", 3, (1.3, 103.8));

/// Answers nobody.
pub static SILENT: Target = Target { is_silent: true, ..target("gone.example.net", 4, (48.2, 16.4)) };

/// With a name from beyond ASCII.
pub static ACCENTS: Target = target("xn--fsqu00a.example", 5, (35.7, 139.7));
