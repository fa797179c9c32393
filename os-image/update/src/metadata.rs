//! The four files of TUF, read from bytes within bounds: what chapter 4 of the specification says they hold, and no trust yet.
//! [`Signed::signers`] counts valid signatures; whether that is enough, whether a version is new and whether a date has passed is for
//! [`client`](crate::client) to say.
//!
//! Members that are not known are skipped, as the specification asks; they are under the signature all the same. Delegations are not
//! followed: our releases all stand in the one list, and whoever follows none sees fewer targets, never wrong ones.

pub(crate) mod fields;
mod files;
pub(crate) mod root;

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;

pub use fields::FormatError;
use fields::{Object, problem};
pub use files::{MetaFile, Snapshot, Target, Targets, Timestamp};
pub use root::{Role, Root};

use crate::json::{self, Value};
use crate::key::Key;
use crate::moment::Moment;

/// The version of TUF's specification that we write. Any `1.…` is understood.
pub const SPEC_VERSION: &str = "1.0.31";

/// The most signatures in one file: more than any role has keys.
const MAX_SIGNATURES: usize = 64;

/// The top-level roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoleName {
    /// Says which keys the roles have, itself included.
    Root,
    /// Says which snapshot is the newest. Signed often, by a machine.
    Timestamp,
    /// Says which versions of the other files belong together.
    Snapshot,
    /// Says which files may be installed.
    Targets,
}

impl RoleName {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Root, Self::Timestamp, Self::Snapshot, Self::Targets];

    /// The role as it is called in the files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Timestamp => "timestamp",
            Self::Snapshot => "snapshot",
            Self::Targets => "targets",
        }
    }

    /// The file without its version, as other files name it.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Root => "root.json",
            Self::Timestamp => "timestamp.json",
            Self::Snapshot => "snapshot.json",
            Self::Targets => "targets.json",
        }
    }

    /// The most bytes of such a file that anybody reads, whatever was announced. A root of 20 keys has 6 kB, a release in the list of
    /// targets half a kilobyte.
    pub const fn most_bytes(self) -> u64 {
        match self {
            Self::Root | Self::Snapshot => 64 * 1024,
            Self::Timestamp => 16 * 1024,
            Self::Targets => 256 * 1024,
        }
    }
}

/// What every file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Counted from 1; a newer file has a higher one.
    pub version: u64,
    /// From here on the file is not trusted any more.
    pub expires: Moment,
}

/// What a file of one role says.
pub trait Body: Sized {
    /// The role that signs such a file.
    const ROLE: RoleName;
    /// Reads what is special about it.
    fn read(head: Head, members: &BTreeMap<String, Value>) -> Result<Self, FormatError>;
    /// Version and expiry.
    fn head(&self) -> Head;
}

/// A file with its signatures, none of which has been checked.
#[derive(Debug, Clone)]
pub struct Signed<B> {
    /// What it says.
    pub body: B,
    /// What the signatures are over.
    to_sign: Vec<u8>,
    /// Key names with signatures. A signature that is no hexadecimal text is kept as an empty one, which nobody made.
    signatures: BTreeMap<String, Vec<u8>>,
}

impl<B: Body> Signed<B> {
    /// Reads a file. Its length is bounded already.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let file = json::parse(bytes)?;
        let file = Object::new(&file, "")?;
        let signed = file.member("signed")?;
        let members = Object::new(signed, "signed")?;
        let found = members.text("_type")?;
        if found != B::ROLE.name() {
            return Err(FormatError::OtherRole { expected: B::ROLE.name(), found: fields::shown(found) });
        }
        let specification = members.text("spec_version")?;
        if specification.split('.').next() != Some("1") {
            return Err(FormatError::OtherSpecification(fields::shown(specification)));
        }
        let expires = members.text("expires")?;
        let expires = Moment::parse(expires)
            .ok_or_else(|| problem("signed.expires", "is not a date like 2030-01-01T00:00:00Z"))?;
        let head = Head { version: members.positive("version")?, expires };
        Ok(Self {
            body: B::read(head, members.members)?,
            to_sign: signed.canonical(),
            signatures: signatures(file.member("signatures")?)?,
        })
    }

    /// How many of the role's keys have signed this. Keys count, not names: whoever has one key under two names counts once.
    pub fn signers(&self, role: &Role, keys: &Root) -> usize {
        let mut signers = BTreeSet::<&Key>::new();
        for id in &role.keys {
            let (Some(key), Some(signature)) = (keys.keys.get(id), self.signatures.get(&id.to_string())) else {
                continue;
            };
            if !signers.contains(key) && key.verify(&self.to_sign, signature) {
                signers.insert(key);
            }
        }
        signers.len()
    }
}

fn signatures(value: &Value) -> Result<BTreeMap<String, Vec<u8>>, FormatError> {
    let Value::List(list) = value else { return Err(problem("signatures", "is not a list")) };
    if list.len() > MAX_SIGNATURES {
        return Err(problem("signatures", "has more entries than any role has keys"));
    }
    let mut signatures = BTreeMap::new();
    for entry in list {
        let entry = Object::new(entry, "signatures")?;
        let signature = HEXLOWER.decode(entry.text("sig")?.as_bytes()).unwrap_or_default();
        if signatures.insert(entry.text("keyid")?.to_owned(), signature).is_some() {
            return Err(problem("signatures", "has two by the same key"));
        }
    }
    Ok(signatures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyId;
    use crate::sign::{Draft, public};
    use ring::signature::Ed25519KeyPair;

    const HEAD: Head = Head { version: 3, expires: Moment(1_893_456_000) };

    #[test]
    fn a_key_under_two_names_counts_once() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
        let (key, alias) = (public(&pair), KeyId([9; 32]));
        let mut draft = Draft::timestamp(HEAD, &MetaFile { version: 1, length: None, hashes: None }).unwrap();
        draft.sign(&pair);
        draft.attach(alias, pair.sign(&draft.to_sign()).as_ref());
        let file = Signed::<Timestamp>::parse(&draft.file()).unwrap();
        let role = Role { keys: [key.id(), alias].into(), threshold: 2 };
        let roles = RoleName::ALL.map(|name| (name, role.clone()));
        let root = Root::new(HEAD, true, [(key.id(), key.clone()), (alias, key)].into(), roles.into(), None).unwrap();
        assert_eq!(file.signers(&role, &root), 1);
    }

    const GOOD: &str = r#"{"signatures":[{"keyid":"a","sig":"00"},{"keyid":"b","sig":""}],"signed":{"_type":"timestamp","expires":"2030-01-01T00:00:00Z","meta":{"snapshot.json":{"version":1,"length":10,"hashes":{"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}}},"spec_version":"1.0.31","version":3,"later":{}},"more":1}"#;

    #[test]
    fn what_is_wrong_with_a_file_is_said_by_its_member() {
        assert_eq!(Signed::<Timestamp>::parse(GOOD.as_bytes()).unwrap().body.head, HEAD);
        for (from, to, problem) in [
            ("\"signed\"", "\"singed\"", "`signed` is missing"),
            (r#""keyid":"b""#, r#""keyid":"a""#, "`signatures` has two by the same key"),
            (r#"[{"keyid":"a","sig":"00"},{"keyid":"b","sig":""}]"#, "{}", "`signatures` is not a list"),
            ("\"timestamp\"", "\"root\\u001b\"", "it is a file of the role root\\u{1b} instead of timestamp"),
            ("\"1.0.31\"", "\"2.0.0\"", "it follows version 2.0.0 of TUF's specification, and only 1 is understood"),
            ("2030-01-01T", "2030-01-01 ", "`signed.expires` is not a date like 2030-01-01T00:00:00Z"),
            ("\"version\":3", "\"version\":0", "`signed.version` is not above 0"),
            ("\"version\":3", "\"version\":\"3\"", "`signed.version` is not an integer"),
            ("snapshot.json", "targets.json", "`signed.meta` must describe snapshot.json and nothing else"),
            ("\"length\":10", "\"length\":-1", "`signed.meta.snapshot.json.length` is negative"),
            (
                "\"ba78",
                "\"BA78",
                "`signed.meta.snapshot.json.hashes` needs sha256 or sha512, in lower-case hexadecimal digits",
            ),
        ] {
            let file = GOOD.replacen(from, to, 1);
            assert_eq!(Signed::<Timestamp>::parse(file.as_bytes()).unwrap_err().to_string(), problem, "{from}");
        }
    }
}
