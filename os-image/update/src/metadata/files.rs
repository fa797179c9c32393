//! `timestamp.json`, `snapshot.json` and `targets.json`.

use std::collections::BTreeMap;

use super::fields::{FormatError, Object, problem, shown};
use super::{Body, Head, RoleName};
use crate::hashes::Hashes;
use crate::json::Value;

/// The most files in a snapshot: ours has one, and what others delegate is not followed.
const MAX_FILES: usize = 256;

/// The most targets. A release has one for each architecture, and old ones are taken out.
const MAX_TARGETS: usize = 256;

/// The longest path of a target in bytes.
const MAX_PATH: usize = 256;

/// One file as another describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaFile {
    /// The version that it must have.
    pub version: u64,
    /// Its exact length in bytes, if the operator says it.
    pub length: Option<u64>,
    /// Its hashes, if the operator says them.
    pub hashes: Option<Hashes>,
}

/// What `timestamp.json` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    /// Version and expiry.
    pub head: Head,
    /// The newest snapshot.
    pub snapshot: MetaFile,
}

/// What `snapshot.json` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Version and expiry.
    pub head: Head,
    /// All lists of targets by their files' names.
    pub files: BTreeMap<String, MetaFile>,
}

/// What `targets.json` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// Version and expiry.
    pub head: Head,
    /// All targets by their paths.
    pub targets: BTreeMap<String, Target>,
}

/// A file that may be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its exact length in bytes.
    pub length: u64,
    /// Its hashes.
    pub hashes: Hashes,
    /// What else its makers say of it.
    pub custom: Option<Value>,
}

impl Body for Timestamp {
    const ROLE: RoleName = RoleName::Timestamp;

    fn head(&self) -> Head {
        self.head
    }

    fn read(head: Head, members: &BTreeMap<String, Value>) -> Result<Self, FormatError> {
        let mut files = read_files(members)?;
        let snapshot = files.remove(RoleName::Snapshot.file());
        match (snapshot, files.is_empty()) {
            (Some(snapshot), true) => Ok(Self { head, snapshot }),
            _ => Err(problem("signed.meta", "must describe snapshot.json and nothing else")),
        }
    }
}

impl Body for Snapshot {
    const ROLE: RoleName = RoleName::Snapshot;

    fn head(&self) -> Head {
        self.head
    }

    fn read(head: Head, members: &BTreeMap<String, Value>) -> Result<Self, FormatError> {
        Ok(Self { head, files: read_files(members)? })
    }
}

impl Body for Targets {
    const ROLE: RoleName = RoleName::Targets;

    fn head(&self) -> Head {
        self.head
    }

    fn read(head: Head, members: &BTreeMap<String, Value>) -> Result<Self, FormatError> {
        let listed = match members.get("targets") {
            Some(Value::Map(listed)) => listed,
            _ => return Err(problem("signed.targets", "is missing or not an object")),
        };
        if listed.len() > MAX_TARGETS {
            return Err(problem("signed.targets", "has too many entries"));
        }
        let mut targets = BTreeMap::new();
        for (path, target) in listed {
            let at = format!("signed.targets.{}", shown(path));
            if !is_path(path) {
                return Err(problem(&at, "is not a relative path in plain letters"));
            }
            let target = Object::new(target, &at)?;
            let custom = match target.members.get("custom") {
                None => None,
                Some(custom @ Value::Map(_)) => Some(custom.clone()),
                Some(_) => return Err(problem(&target.path("custom"), "is not an object")),
            };
            let hashes = read_hashes(&target, "hashes")?;
            targets.insert(path.clone(), Target { length: target.count("length")?, hashes, custom });
        }
        Ok(Self { head, targets })
    }
}

/// Paths become names of files and of requests, so there is nothing in them that could lead elsewhere.
fn is_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-~".contains(&byte);
    path.len() <= MAX_PATH && path.split('/').all(|part| !matches!(part, "" | "." | "..") && part.bytes().all(plain))
}

fn read_files(members: &BTreeMap<String, Value>) -> Result<BTreeMap<String, MetaFile>, FormatError> {
    let listed = match members.get("meta") {
        Some(Value::Map(listed)) => listed,
        _ => return Err(problem("signed.meta", "is missing or not an object")),
    };
    if listed.len() > MAX_FILES {
        return Err(problem("signed.meta", "has too many entries"));
    }
    let mut files = BTreeMap::new();
    for (name, file) in listed {
        let at = format!("signed.meta.{}", shown(name));
        let file = Object::new(file, &at)?;
        let read = MetaFile {
            version: file.positive("version")?,
            length: file.optional("length", Object::count)?,
            hashes: file.optional("hashes", read_hashes)?,
        };
        files.insert(name.clone(), read);
    }
    Ok(files)
}

fn read_hashes(file: &Object<'_>, name: &str) -> Result<Hashes, FormatError> {
    let named = file.map(name)?.iter().filter_map(|(name, hash)| match hash {
        Value::Text(hash) => Some((name.as_str(), hash.as_str())),
        _ => None,
    });
    Hashes::read(named)
        .ok_or_else(|| problem(&file.path(name), "needs sha256 or sha512, in lower-case hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_nowhere_else() {
        for path in ["sonde-1.2.0-aarch64.efi", "a/b/c", "v1.0~rc1+3"] {
            assert!(is_path(path), "{path}");
        }
        for path in ["", "/a", "a/", "a//b", "../a", "a/..", ".", "a b", "a\\b", "a%2e", "a\0", "ä"] {
            assert!(!is_path(path), "{path}");
        }
        assert!(!is_path(&"a".repeat(MAX_PATH + 1)));
    }
}
