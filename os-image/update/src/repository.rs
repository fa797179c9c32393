//! A release repository as files: what its folders and files are called, which names may be asked for, and how the log's entries lie in
//! one file. Whoever writes and whoever serves a repository have these names from here.
//!
//! ```text
//! metadata/1.root.json, 2.root.json …       each root
//! metadata/N.targets.json, N.snapshot.json  each list and each snapshot there has been
//! metadata/timestamp.json                   the newest
//! targets/HASH.FILE                         an image
//! log/entries, log/checkpoint               the log of releases
//! ```
//!
//! Names and patterns alone: nothing here touches a file.

use std::fmt;

use crate::log;
use crate::metadata::RoleName;

/// The folder of a repository in a server's data directory.
pub const FOLDER: &str = "updates";

/// The folder of TUF's metadata.
pub const METADATA: &str = "metadata";

/// The folder of images.
pub const TARGETS: &str = "targets";

/// The folder of the log.
pub const LOG: &str = "log";

/// All entries of the log, see [`entries`]. There may be more than the checkpoint counts: those are not said yet.
pub const LOG_ENTRIES: &str = "log/entries";

/// The signed head of the log.
pub const LOG_CHECKPOINT: &str = "log/checkpoint";

/// Where a server looks for keys with which it renews by itself. Never served.
pub const KEYS: &str = "keys";

/// The longest name of an image in bytes, with its hash.
const MAX_NAME: usize = 200;

/// How many digits a SHA-256 has.
const HASH_DIGITS: usize = 64;

/// The name of a file in [`METADATA`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetadataName {
    /// Whose file it is.
    pub role: RoleName,
    /// Its version; the timestamp's name has none.
    pub version: Option<u64>,
}

impl MetadataName {
    /// The file of a role and version.
    pub fn new(role: RoleName, version: u64) -> Self {
        Self { role, version: (role != RoleName::Timestamp).then_some(version) }
    }

    /// Reads a name, and nothing that a repository does not have.
    pub fn parse(text: &str) -> Option<Self> {
        let of = |file: &str| RoleName::ALL.into_iter().find(|role| role.file() == file);
        match text.split_once('.')? {
            ("timestamp", "json") => Some(Self { role: RoleName::Timestamp, version: None }),
            (version, file) => {
                let role = of(file).filter(|role| *role != RoleName::Timestamp)?;
                Some(Self { role, version: Some(log::decimal(version).filter(|version| *version > 0)?) })
            }
        }
    }
}

impl fmt::Display for MetadataName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{version}.{}", self.role.file()),
            None => f.write_str(self.role.file()),
        }
    }
}

/// The name of a file in [`TARGETS`]: its SHA-256, a dot, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetName(String);

impl TargetName {
    /// Reads a name. It leads to no other folder, and to no hidden file.
    pub fn parse(text: &str) -> Option<Self> {
        let (hash, file) = text.split_at_checked(HASH_DIGITS)?;
        let digits = hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let file = file.strip_prefix('.')?;
        let plain = file.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-~".contains(&byte));
        let good = digits && plain && !file.is_empty() && !file.starts_with('.') && text.len() <= MAX_NAME;
        good.then(|| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first `size` entries in the file [`LOG_ENTRIES`], each exactly as it is hashed. `None` if there are fewer, or other things.
pub fn entries(file: &[u8], size: u64) -> Option<Vec<&[u8]>> {
    let mut rest = file;
    let mut entries = Vec::new();
    while (entries.len() as u64) < size {
        if !entries.is_empty() {
            rest = rest.strip_prefix(b"\n")?;
        }
        let end = rest.windows(2).position(|pair| pair == b"\n\n").unwrap_or_else(|| rest.len().saturating_sub(1));
        let (entry, next) = rest.split_at_checked(end + 1)?;
        log::version_of(entry)?;
        entries.push(entry);
        rest = next;
    }
    Some(entries)
}

/// The file [`LOG_ENTRIES`] with these entries.
pub fn entries_file<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    entries.into_iter().collect::<Vec<_>>().join(&b"\n"[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_metadata_are_read_as_they_are_written() {
        for name in ["1.root.json", "12.targets.json", "18446744073709551615.snapshot.json", "timestamp.json"] {
            assert_eq!(MetadataName::parse(name).unwrap().to_string(), name);
        }
        assert_eq!(MetadataName::new(RoleName::Timestamp, 7).to_string(), "timestamp.json");
        assert_eq!(MetadataName::new(RoleName::Root, 7).to_string(), "7.root.json");
        for name in [
            "",
            "root.json",
            "01.root.json",
            "0.root.json",
            "+1.root.json",
            "1.timestamp.json",
            "18446744073709551616.root.json",
            "../1.root.json",
            "1.root.json/",
            "1.root.json.tmp",
            "1.other.json",
            "timestamp.json\0",
        ] {
            assert_eq!(MetadataName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn names_of_images_lead_nowhere_else() {
        let hash = "0123456789abcdef".repeat(4);
        let good = format!("{hash}.sonde_202612010000_aarch64.efi");
        assert_eq!(TargetName::parse(&good).unwrap().as_str(), good);
        for name in [
            hash.clone(),
            format!("{hash}."),
            format!("{hash}..efi"),
            format!("{hash}.a/b"),
            format!("{hash}.a b"),
            format!("{hash}/a"),
            format!("{}.a", hash.to_uppercase()),
            format!("{}.a", &hash[1..]),
            format!("{hash}.{}", "a".repeat(MAX_NAME)),
            format!("../{good}"),
            "ä".repeat(40),
        ] {
            assert_eq!(TargetName::parse(&name), None, "{name}");
        }
    }

    #[test]
    fn entries_come_back_as_they_were_hashed() {
        let written: Vec<Vec<u8>> = (1..4).map(|version| log::entry(version, b"{}")).collect();
        let file = entries_file(written.iter().map(Vec::as_slice));
        assert_eq!(entries(&file, 3).unwrap(), written);
        assert_eq!(entries(&file, 2).unwrap(), written[..2], "what no checkpoint counts yet");
        assert_eq!(entries(&file, 4), None);
        assert_eq!(entries(&file, u64::MAX), None);
        assert_eq!(entries(&file[..file.len() - 2], 3), None);
        assert_eq!(entries(b"", 0).unwrap(), Vec::<&[u8]>::new());
        assert_eq!(entries(b"", 1), None);
        assert_eq!(entries(b"anything\n\n\n", 1), None);
        assert_eq!(log::version_of(&written[2]), Some(3));
    }
}
