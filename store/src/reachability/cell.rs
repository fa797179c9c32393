//! What votes are summed up by.

use std::fmt;
use std::str::FromStr;

use sonde_protocol::ids::Asn;

use super::prefix::Prefix;

/// A country, by its two letters (ISO 3166).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// Its letters as bytes.
    pub const fn bytes(self) -> [u8; 2] {
        self.0
    }

    /// From two bytes, if they are letters.
    pub fn from_bytes(bytes: [u8; 2]) -> Option<Self> {
        bytes.iter().all(u8::is_ascii_alphabetic).then(|| Self(bytes.map(|letter| letter.to_ascii_uppercase())))
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// It is not two letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a country has two letters")]
pub struct NotACountry;

impl FromStr for Country {
    type Err = NotACountry;

    fn from_str(text: &str) -> Result<Self, NotACountry> {
        <[u8; 2]>::try_from(text.as_bytes()).ok().and_then(Self::from_bytes).ok_or(NotACountry)
    }
}

/// One sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cell {
    /// Of all probes.
    World,
    /// Of a country's.
    Country(Country),
    /// Of a network's, by its AS.
    Network(Asn),
    /// Of those whose address of the prefix's family is in it.
    Prefix(Prefix),
}

/// Many sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cells {
    /// This one alone.
    One(Cell),
    /// Each country.
    Countries,
    /// Each network.
    Networks,
    /// Each network, as far as it is in this country.
    NetworksIn(Country),
    /// Each prefix of a length in another one.
    Prefixes {
        /// The one that they are in.
        within: Prefix,
        /// Their length; more than the longest there is counts as that.
        length: u8,
    },
}

impl Cells {
    /// The prefix that all of them are in, if they are prefixes, and how long each is.
    pub(crate) fn prefixes(self) -> Option<(Prefix, u8)> {
        match self {
            Self::One(Cell::Prefix(prefix)) => Some((prefix, prefix.length())),
            Self::Prefixes { within, length } => Some((within, length.min(Prefix::longest(within.af())))),
            Self::One(_) | Self::Countries | Self::Networks | Self::NetworksIn(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_have_two_letters() {
        assert_eq!("nl".parse::<Country>().map(|country| country.to_string()), Ok("NL".to_owned()));
        for bad in ["", "N", "NLD", "N1", "Ñ", "中"] {
            assert_eq!(bad.parse::<Country>(), Err(NotACountry), "{bad}");
        }
    }
}
