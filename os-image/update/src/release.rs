//! What our targets say of themselves, in TUF's `custom`, under `sonde`:
//!
//! ```json
//! {"sonde": {"version": 12, "name": "0.4.1", "architecture": "aarch64", "percentage": 10, "not_before": "2026-12-01T00:00:00Z"}}
//! ```
//!
//! Whatever else stands there is skipped: a later network may say more. A target without `sonde` is not for boards.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};
use sonde_protocol::key::PublicKey;

use crate::hashes::Hashes;
use crate::json::Value;
use crate::metadata::{FormatError, Target, Targets};
use crate::moment::Moment;

use crate::metadata::fields::{Object, problem, shown};

/// The member of `custom` that is ours.
pub(crate) const OURS: &str = "sonde";

/// The longest name and architecture in bytes.
const MAX_WORD: usize = 32;

/// An image that boards may install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Where it lies, relative to all targets.
    pub path: String,
    /// Its exact length in bytes.
    pub length: u64,
    /// Its hashes.
    pub hashes: Hashes,
    /// Counts up with every release. A board installs only what has a higher one than it runs.
    pub version: u64,
    /// What people call it.
    pub name: String,
    /// For which machines, in the kernel's word: `aarch64`.
    pub architecture: String,
    /// How many of a hundred probes take it yet.
    pub percentage: u8,
    /// When it was, or will be, released. An owner's delay counts from here.
    pub not_before: Moment,
}

impl Release {
    /// All releases among these targets, and what is wrong with those that cannot be read: one bad entry must not hide the others.
    pub fn all(targets: &Targets) -> (Vec<Self>, Vec<FormatError>) {
        let (mut releases, mut problems) = (Vec::new(), Vec::new());
        for (path, target) in &targets.targets {
            match Self::read(path, target) {
                Ok(Some(release)) => releases.push(release),
                Ok(None) => {}
                Err(problem) => problems.push(problem),
            }
        }
        (releases, problems)
    }

    fn read(path: &str, target: &Target) -> Result<Option<Self>, FormatError> {
        let Some(Value::Map(custom)) = &target.custom else { return Ok(None) };
        let Some(ours) = custom.get(OURS) else { return Ok(None) };
        let at = format!("signed.targets.{}.custom.{OURS}", shown(path));
        let ours = Object::new(ours, &at)?;
        let word = |name| {
            let text = ours.text(name)?;
            let good = (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
            if good {
                Ok(text.to_owned())
            } else {
                Err(problem(&ours.path(name), "is not a short word in plain letters"))
            }
        };
        let percentage = u8::try_from(ours.count("percentage")?).ok().filter(|percentage| *percentage <= 100);
        Ok(Some(Self {
            path: path.to_owned(),
            length: target.length,
            hashes: target.hashes.clone(),
            version: ours.positive("version")?,
            name: word("name")?,
            architecture: word("architecture")?,
            percentage: percentage.ok_or_else(|| problem(&ours.path("percentage"), "is above 100"))?,
            not_before: Moment::parse(ours.text("not_before")?)
                .ok_or_else(|| problem(&ours.path("not_before"), "is not a date like 2030-01-01T00:00:00Z"))?,
        }))
    }

    /// The release as a target, for `targets.json`.
    pub fn to_target(&self) -> Target {
        let number = |number: u64| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        let members = [
            ("architecture", Value::Text(self.architecture.clone())),
            ("name", Value::Text(self.name.clone())),
            ("not_before", Value::Text(self.not_before.to_string())),
            ("percentage", number(self.percentage.into())),
            ("version", number(self.version)),
        ];
        let ours = Value::Map(members.map(|(name, value)| (name.to_owned(), value)).into());
        let custom = Some(Value::Map(BTreeMap::from([(OURS.to_owned(), ours)])));
        Target { length: self.length, hashes: self.hashes.clone(), custom }
    }

    /// The name under which the file is asked for: with consistent snapshots its hash stands before it, so that a server can hold two
    /// files of one name.
    pub fn file_name(&self, consistent_snapshot: bool) -> String {
        let hash = self.hashes.named().next().map(|(_, hash)| hash).filter(|_| consistent_snapshot);
        match (hash, self.path.rsplit_once('/')) {
            (Some(hash), Some((folder, file))) => format!("{folder}/{hash}.{file}"),
            (Some(hash), None) => format!("{hash}.{}", self.path),
            (None, _) => self.path.clone(),
        }
    }

    /// Is this probe among the first `percentage` of a hundred? The answer to the same percentage is always the same, a higher one only
    /// adds probes, and another release draws anew, so that it is not always the same homes that go first.
    pub fn has_reached(&self, probe: &PublicKey) -> bool {
        bucket(probe, self.version) < u64::from(self.percentage)
    }
}

/// Where a probe stands in the roll-out of a version: 0 to 99.
fn bucket(probe: &PublicKey, version: u64) -> u64 {
    let drawn = digest(&SHA256, &[b"sonde-roll-out/1\0", &probe.0[..], &version.to_be_bytes()].concat());
    let number = drawn.as_ref().first_chunk::<8>().map_or(0, |first| u64::from_be_bytes(*first));
    // 2^64 is no multiple of 100; the difference is below one in 10^17.
    number % 100
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;
    use crate::metadata::Head;
    use proptest::prelude::*;

    fn release(percentage: u8) -> Release {
        Release {
            path: "a/sonde-12.efi".to_owned(),
            length: 3,
            hashes: Hashes::sha256_of(b"abc"),
            version: 12,
            name: "0.4.1".to_owned(),
            architecture: "aarch64".to_owned(),
            percentage,
            not_before: Moment(1_796_083_200),
        }
    }

    fn targets(custom: &str) -> Targets {
        let target =
            Target { length: 3, hashes: Hashes::sha256_of(b"abc"), custom: Some(parse(custom.as_bytes()).unwrap()) };
        Targets {
            head: Head { version: 1, expires: Moment(0) },
            targets: [("a/sonde-12.efi".to_owned(), target)].into(),
        }
    }

    const GOOD: &str = r#"{"sonde":{"version":12,"name":"0.4.1","architecture":"aarch64","percentage":10,"not_before":"2026-12-01T00:00:00Z","later":[]},"others":1}"#;

    #[test]
    fn a_release_is_read_and_written() {
        assert_eq!(Release::all(&targets(GOOD)), (vec![release(10)], vec![]));
        let written = String::from_utf8(release(10).to_target().custom.unwrap().canonical()).unwrap();
        assert_eq!(Release::all(&targets(&written)).0, [release(10)]);
        assert_eq!(Release::all(&targets(r#"{"others":1}"#)), (vec![], vec![]));
    }

    #[test]
    fn a_bad_release_is_said_by_its_member() {
        for (from, to, problem) in [
            ("12,", "0,", "`signed.targets.a/sonde-12.efi.custom.sonde.version` is not above 0"),
            ("10,", "101,", "`signed.targets.a/sonde-12.efi.custom.sonde.percentage` is above 100"),
            ("10,", "-1,", "`signed.targets.a/sonde-12.efi.custom.sonde.percentage` is negative"),
            (
                "0.4.1",
                "0.4 1",
                "`signed.targets.a/sonde-12.efi.custom.sonde.name` is not a short word in plain letters",
            ),
            (
                "-12-",
                "-13-",
                "`signed.targets.a/sonde-12.efi.custom.sonde.not_before` is not a date like 2030-01-01T00:00:00Z",
            ),
            ("architecture", "archi", "`signed.targets.a/sonde-12.efi.custom.sonde.architecture` is missing"),
        ] {
            let (releases, problems) = Release::all(&targets(&GOOD.replacen(from, to, 1)));
            assert_eq!((releases.len(), problems.len()), (0, 1), "{from}");
            assert_eq!(problems[0].to_string(), problem);
        }
    }

    #[test]
    fn a_file_is_asked_for_by_its_hash() {
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(release(1).file_name(true), format!("a/{hash}.sonde-12.efi"));
        assert_eq!(release(1).file_name(false), "a/sonde-12.efi");
    }

    #[test]
    fn a_percentage_reaches_so_many_of_a_hundred() {
        let reached = |percentage| {
            let probes = (0_u32..10_000).map(|number| {
                let mut key = [0; 32];
                key[..4].copy_from_slice(&number.to_be_bytes());
                PublicKey(key)
            });
            probes.filter(|probe| release(percentage).has_reached(probe)).count()
        };
        assert_eq!((reached(0), reached(100)), (0, 10_000));
        // Five standard deviations about a tenth; the keys are fixed, so it is so always or never.
        assert!((850..1150).contains(&reached(10)), "{}", reached(10));
    }

    proptest! {
        #[test]
        fn more_per_cent_take_nobody_out(key in any::<[u8; 32]>(), (low, high) in (0_u8..=100, 0_u8..=100)) {
            let (low, high) = (low.min(high), low.max(high));
            prop_assert!(!release(low).has_reached(&PublicKey(key)) || release(high).has_reached(&PublicKey(key)));
        }
    }
}
