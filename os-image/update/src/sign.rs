//! The signing side: makes metadata, collects signatures, and refuses to make what boards could not use. Which keys lie where is the
//! operator's business: a [`Draft`] can be signed here by a key at hand, or carried to where another key is ([`Draft::reopen`]), or
//! signed by a token that only gets to see [`Draft::to_sign`].

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::hashes::Hashes;
use crate::json::{self, Value};
use crate::key::{Key, KeyId};
use crate::log::{Checkpoint, LogKey, note::Note, tree::Tree};
use crate::metadata::{
    FormatError, Head, MetaFile, RoleName, Root, SPEC_VERSION, Signed, Snapshot, Target, Targets, Timestamp, root,
};

/// Why something is not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// A role without keys.
    #[error("the role {0} has no keys")]
    NoKeys(&'static str),
    /// A role that could never sign, or that nobody needs to sign for.
    #[error("the role {role} asks for {threshold} of {keys} keys")]
    Threshold {
        /// The role.
        role: &'static str,
        /// How many must sign.
        threshold: usize,
        /// How many there are.
        keys: usize,
    },
    /// A key that cannot be written down.
    #[error("the key {0} is of an unknown kind")]
    UnknownKey(KeyId),
    /// The file cannot be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// It cannot be read back by boards.
    #[error("boards could not read it: {0}")]
    Unreadable(FormatError),
    /// A number that is too large for JSON.
    #[error("{0} is too large")]
    Number(u64),
}

/// A root that is to be made.
#[derive(Debug, Clone)]
pub struct RootPlan {
    /// Version and expiry. The version is that of the root before and one.
    pub head: Head,
    /// The keys of each role and how many of them must sign.
    pub roles: BTreeMap<RoleName, (Vec<Key>, usize)>,
    /// The log of releases, if there is one.
    pub log: Option<LogKey>,
}

/// A file on its way to enough signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    signed: Value,
    signatures: BTreeMap<String, Value>,
}

impl MetaFile {
    /// The description of a file with these bytes.
    pub fn of(version: u64, bytes: &[u8]) -> Self {
        Self { version, length: Some(bytes.len() as u64), hashes: Some(Hashes::sha256_of(bytes)) }
    }

    fn to_value(&self) -> Result<Value, SignError> {
        let mut members = vec![("version", number(self.version)?)];
        if let Some(length) = self.length {
            members.push(("length", number(length)?));
        }
        if let Some(hashes) = &self.hashes {
            members.push(("hashes", hashes_value(hashes)));
        }
        Ok(map(members))
    }
}

impl Draft {
    /// A root. Each role must be able to sign, or boards would be left without updates.
    pub fn root(plan: &RootPlan) -> Result<Self, SignError> {
        let (mut keys, mut roles) = (BTreeMap::new(), BTreeMap::new());
        for name in RoleName::ALL {
            let (of_role, threshold) = plan.roles.get(&name).ok_or(SignError::NoKeys(name.name()))?;
            let ids: BTreeSet<KeyId> = of_role.iter().map(Key::id).collect();
            if *threshold == 0 || *threshold > ids.len() {
                return Err(SignError::Threshold { role: name.name(), threshold: *threshold, keys: ids.len() });
            }
            for key in of_role {
                keys.insert(key.id().to_string(), key.to_value().ok_or(SignError::UnknownKey(key.id()))?);
            }
            let ids = ids.iter().map(|id| text(&id.to_string())).collect();
            let threshold = number(*threshold as u64)?;
            roles.insert(name.name().to_owned(), map([("keyids", Value::List(ids)), ("threshold", threshold)]));
        }
        let mut members =
            vec![("keys", Value::Map(keys)), ("roles", Value::Map(roles)), ("consistent_snapshot", Value::Bool(true))];
        if let Some(log) = &plan.log {
            members.push((root::LOG, map([("key", text(&log.to_string()))])));
        }
        Self::new(RoleName::Root, plan.head, members)
    }

    /// A list of targets by their paths.
    pub fn targets(head: Head, targets: &BTreeMap<String, Target>) -> Result<Self, SignError> {
        let mut listed = BTreeMap::new();
        for (path, target) in targets {
            let mut members = vec![("length", number(target.length)?), ("hashes", hashes_value(&target.hashes))];
            members.extend(target.custom.clone().map(|custom| ("custom", custom)));
            listed.insert(path.clone(), map(members));
        }
        Self::new(RoleName::Targets, head, [("targets", Value::Map(listed))])
    }

    /// A snapshot of this `targets.json`.
    pub fn snapshot(head: Head, targets: &MetaFile) -> Result<Self, SignError> {
        Self::new(RoleName::Snapshot, head, [("meta", map([(RoleName::Targets.file(), targets.to_value()?)]))])
    }

    /// A timestamp of this `snapshot.json`.
    pub fn timestamp(head: Head, snapshot: &MetaFile) -> Result<Self, SignError> {
        Self::new(RoleName::Timestamp, head, [("meta", map([(RoleName::Snapshot.file(), snapshot.to_value()?)]))])
    }

    fn new<'a>(
        role: RoleName,
        head: Head,
        members: impl IntoIterator<Item = (&'a str, Value)>,
    ) -> Result<Self, SignError> {
        let common = [
            ("_type", text(role.name())),
            ("spec_version", text(SPEC_VERSION)),
            ("version", number(head.version)?),
            ("expires", text(&head.expires.to_string())),
        ];
        let draft = Self { signed: map(common.into_iter().chain(members)), signatures: BTreeMap::new() };
        let file = draft.file();
        let read_back = match role {
            RoleName::Root => Signed::<Root>::parse(&file).err(),
            RoleName::Timestamp => Signed::<Timestamp>::parse(&file).err(),
            RoleName::Snapshot => Signed::<Snapshot>::parse(&file).err(),
            RoleName::Targets => Signed::<Targets>::parse(&file).err(),
        };
        read_back.map_or(Ok(draft), |problem| Err(SignError::Unreadable(problem)))
    }

    /// A file that has some signatures already and is to get more.
    pub fn reopen(file: &[u8]) -> Result<Self, SignError> {
        let Value::Map(mut members) = json::parse(file).map_err(FormatError::from)? else {
            return Err(SignError::Format(crate::metadata::fields::problem("the file", "is not an object")));
        };
        let signed = members.remove("signed").unwrap_or(Value::Null);
        let Some(Value::List(list)) = members.remove("signatures") else {
            return Err(SignError::Format(crate::metadata::fields::problem("signatures", "is not a list")));
        };
        let mut signatures = BTreeMap::new();
        for entry in list {
            if let Value::Map(members) = &entry
                && let Some(Value::Text(id)) = members.get("keyid")
            {
                signatures.insert(id.clone(), entry);
            }
        }
        Ok(Self { signed, signatures })
    }

    /// The bytes that every signature is over.
    pub fn to_sign(&self) -> Vec<u8> {
        self.signed.canonical()
    }

    /// Signs with a key at hand.
    pub fn sign(&mut self, pair: &Ed25519KeyPair) {
        let signature = pair.sign(&self.to_sign());
        self.attach(public(pair).id(), signature.as_ref());
    }

    /// Adds a signature that was made elsewhere over [`Draft::to_sign`]; another by the same key is replaced.
    pub fn attach(&mut self, key: KeyId, signature: &[u8]) {
        let entry = map([("keyid", text(&key.to_string())), ("sig", text(&HEXLOWER.encode(signature)))]);
        self.signatures.insert(key.to_string(), entry);
    }

    /// The file with the signatures that there are. Without any spaces, and the same bytes for the same content.
    pub fn file(&self) -> Vec<u8> {
        let signatures = self.signatures.values().cloned().collect();
        map([("signatures", Value::List(signatures)), ("signed", self.signed.clone())]).to_file()
    }
}

/// The public half of a key.
pub fn public(pair: &Ed25519KeyPair) -> Key {
    // An Ed25519 public key always has 32 bytes.
    Key::Ed25519(pair.public_key().as_ref().try_into().unwrap_or([0; 32]))
}

/// A checkpoint of the whole log. The operator signs no two that do not continue each other: boards would refuse the second, and
/// whoever sees both knows.
pub fn checkpoint(key: &LogKey, pair: &Ed25519KeyPair, tree: &Tree) -> Vec<u8> {
    let text = Checkpoint::text(key.name(), tree.size(), &tree.root());
    key.note(&text, pair.sign(text.as_bytes()).as_ref())
}

/// A checkpoint that is signed by a second key too, that of the same log's next or last root: boards of either accept it.
pub fn also_signed(checkpoint: &[u8], key: &LogKey, pair: &Ed25519KeyPair) -> Option<Vec<u8>> {
    let note = Note::parse(checkpoint).ok()?;
    let own = key.note(note.text, pair.sign(note.text.as_bytes()).as_ref());
    let line = own.get(note.text.len() + 1..)?;
    Some([checkpoint, line].concat())
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn number(number: u64) -> Result<Value, SignError> {
    i64::try_from(number).map(Value::Integer).map_err(|_| SignError::Number(number))
}

fn map<'a>(members: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::Map(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn hashes_value(hashes: &Hashes) -> Value {
    Value::Map(hashes.named().map(|(name, hash)| (name.to_owned(), Value::Text(hash))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::Moment;

    fn pair(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn plan(threshold: usize) -> RootPlan {
        let keys = || vec![public(&pair(1)), public(&pair(2)), public(&pair(2))];
        RootPlan {
            head: Head { version: 1, expires: Moment(2_000_000_000) },
            roles: RoleName::ALL.map(|name| (name, (keys(), threshold))).into(),
            log: None,
        }
    }

    #[test]
    fn a_root_that_nobody_could_sign_is_not_made() {
        assert!(Draft::root(&plan(2)).is_ok());
        let error = Draft::root(&plan(3)).unwrap_err();
        assert_eq!(error.to_string(), "the role root asks for 3 of 2 keys");
        assert!(Draft::root(&plan(0)).is_err());
        let mut no_targets = plan(1);
        no_targets.roles.remove(&RoleName::Targets);
        assert_eq!(Draft::root(&no_targets), Err(SignError::NoKeys("targets")));
        let mut unknown = plan(1);
        unknown.roles.insert(RoleName::Snapshot, (vec![Key::Unknown(KeyId([0; 32]))], 1));
        assert_eq!(Draft::root(&unknown), Err(SignError::UnknownKey(KeyId([0; 32]))));
    }

    #[test]
    fn what_boards_could_not_read_is_not_made() {
        let target = Target { length: 1, hashes: Hashes::sha256_of(b"a"), custom: None };
        let head = Head { version: 1, expires: Moment(0) };
        let error = Draft::targets(head, &[("../a".to_owned(), target)].into()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "boards could not read it: `signed.targets.../a` is not a relative path in plain letters"
        );
        assert!(Draft::targets(Head { version: 0, ..head }, &BTreeMap::new()).is_err());
        assert_eq!(
            Draft::targets(Head { version: u64::MAX, ..head }, &BTreeMap::new()),
            Err(SignError::Number(u64::MAX))
        );
    }

    #[test]
    fn signatures_are_added_one_by_one_in_any_order() {
        let mut first = Draft::root(&plan(2)).unwrap();
        first.sign(&pair(1));
        let mut second = Draft::reopen(&first.file()).unwrap();
        assert_eq!(second, first);
        second.sign(&pair(2));
        second.sign(&pair(1));
        let mut other = Draft::root(&plan(2)).unwrap();
        other.sign(&pair(2));
        other.sign(&pair(1));
        assert_eq!(other.file(), second.file());
        let read = Signed::<Root>::parse(&second.file()).unwrap();
        assert_eq!(read.signers(read.body.role(RoleName::Root), &read.body), 2);
        assert!(Draft::reopen(b"[]").is_err());
        assert!(Draft::reopen(b"{\"signed\":{}}").is_err());
    }
}
