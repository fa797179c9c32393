//! `/etc/os-release`: which image this is, when it was built, and how long it may take to prove itself.

use std::fmt;
use std::fs;
use std::time::Duration;

use crate::clock::Unix;

/// How long a system is on trial if its image does not say.
const TRIAL: Duration = Duration::from_secs(600);

/// The longest name.
const MAX_NAME: usize = 32;

/// This image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its number, which rises from release to release and decides what is newer; 0 if it has none, and then nothing ever is.
    pub number: u64,
    /// What people call it.
    pub name: String,
    /// When it was built. No clock shows an earlier time.
    pub built: Unix,
    /// How long after power-on it must have reached its collector while it is on trial.
    pub trial: Duration,
}

impl Release {
    /// Of the running image.
    pub fn of_this_image() -> Self {
        Self::read(&fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    /// Of the text of os-release.
    pub fn read(text: &str) -> Self {
        let value = |key: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            lines.find(|(name, _)| *name == key).map(|(_, value)| value.trim_matches('"').to_owned())
        };
        let number = |key: &str| value(key)?.parse::<u64>().ok();
        let name = value("VERSION_ID").filter(|name| !name.is_empty() && name.len() <= MAX_NAME);
        Self {
            number: number("IMAGE_VERSION").unwrap_or(0),
            name: name.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
            built: Duration::from_secs(number("SONDE_BUILD_TIME").unwrap_or(0)),
            trial: number("SONDE_TRIAL_SECONDS").filter(|&seconds| seconds > 0).map_or(TRIAL, Duration::from_secs),
        }
    }
}

/// The name, with the number behind it as in the name of a product: `0.1.0 (202611290220)`.
impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            0 => f.write_str(&self.name),
            number => write!(f, "{} ({number})", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_name_and_times_are_found() {
        let read = Release::read(
            "ID=sonde\nVERSION_ID=\"1.2.3\"\nIMAGE_VERSION=202611290220\nSONDE_BUILD_TIME=1700000000\nSONDE_TRIAL_SECONDS=60\n",
        );
        let s = Duration::from_secs;
        let expected = Release { number: 202_611_290_220, name: "1.2.3".into(), built: s(1_700_000_000), trial: s(60) };
        assert_eq!(read, expected);
        assert_eq!(read.to_string(), "1.2.3 (202611290220)");
    }

    #[test]
    fn what_makes_no_sense_is_as_if_it_were_not_there() {
        for text in
            ["", "IMAGE_VERSION=1.2.3\nSONDE_BUILD_TIME=soon\nSONDE_TRIAL_SECONDS=0", "VERSION_ID=\nIMAGE_VERSION=-1"]
        {
            let read = Release::read(text);
            assert_eq!((read.number, read.built, read.trial), (0, Duration::ZERO, TRIAL), "{text}");
            assert_eq!(read.to_string(), env!("CARGO_PKG_VERSION"), "{text}");
        }
    }
}
