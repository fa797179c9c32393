//! `/etc/os-release`: which image this is and when it was built.

use std::fs;
use std::time::Duration;

use crate::clock::Unix;

/// This image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its version.
    pub version: String,
    /// When it was built. No clock shows an earlier time.
    pub built: Unix,
}

impl Release {
    /// Of the running image.
    pub fn of_this_image() -> Self {
        Self::read(&fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    fn read(text: &str) -> Self {
        let value = |key: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            lines.find(|(name, _)| *name == key).map(|(_, value)| value.trim_matches('"').to_owned())
        };
        let built = value("SONDE_BUILD_TIME").and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
        let version = value("IMAGE_VERSION").unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
        Self { version, built: Duration::from_secs(built) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_build_time_are_found() {
        let read = Release::read("ID=sonde\nIMAGE_VERSION=\"1.2.3\"\nSONDE_BUILD_TIME=1700000000\n");
        assert_eq!(read, Release { version: "1.2.3".into(), built: Duration::from_secs(1_700_000_000) });
        let bare = Release::read("SONDE_BUILD_TIME=soon");
        assert_eq!(bare, Release { version: env!("CARGO_PKG_VERSION").into(), built: Duration::ZERO });
    }
}
