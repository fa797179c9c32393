//! The log of releases as the repository's folder holds it ([`sonde_update::repository`]), and the proofs that boards ask for. Pure: bytes
//! come in.
//!
//! No signature is checked here. A board checks them; and a collector that serves a log which its operator has not signed convinces
//! nobody. What is checked is that the checkpoint speaks of these entries, because a proof of others helps no board.

use std::collections::HashMap;

use data_encoding::BASE64;
use sonde_update::log::proof::Evidence;
use sonde_update::log::tree::Tree;
use sonde_update::log::{self, note::Note};
use sonde_update::repository;

/// The longest `log/entries` that is read: some 30,000 releases.
pub const MAX_ENTRIES: u64 = 4 * 1024 * 1024;

/// The longest `log/checkpoint`.
pub const MAX_CHECKPOINT: u64 = 16 * 1024;

/// Why there is no log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The checkpoint is no signed note of a log.
    #[error("log/checkpoint {0}")]
    Checkpoint(&'static str),
    /// It speaks of more entries than there are, or something else stands among them.
    #[error("log/checkpoint speaks of {0} entries, and log/entries has fewer that can be read")]
    Short(u64),
    /// It speaks of other entries.
    #[error("log/checkpoint does not fit the first {0} entries of log/entries")]
    Root(u64),
}

/// A log that fits its checkpoint.
#[derive(Debug)]
pub struct Log {
    checkpoint: Vec<u8>,
    tree: Tree,
    /// The number of the entry for each version of the targets; of two for one version the later.
    of_targets: HashMap<u64, u64>,
}

impl Log {
    /// Reads it. Entries beyond the checkpoint were written by somebody who has not signed it yet, and are left out.
    pub fn read(entries: &[u8], checkpoint: Vec<u8>) -> Result<Self, LogError> {
        let note = Note::parse(&checkpoint).map_err(LogError::Checkpoint)?;
        let mut lines = note.text.lines().skip(1);
        let size: u64 = lines.next().and_then(|size| size.parse().ok()).ok_or(LogError::Checkpoint("has no size"))?;
        let root = lines.next().ok_or(LogError::Checkpoint("has no root"))?.to_owned();
        let mut tree = Tree::default();
        let mut of_targets = HashMap::new();
        for entry in repository::entries(entries, size).ok_or(LogError::Short(size))? {
            let number = tree.push(entry);
            of_targets.extend(log::version_of(entry).map(|version| (version, number)));
        }
        if root != BASE64.encode(&tree.root()) {
            return Err(LogError::Root(size));
        }
        Ok(Self { checkpoint, tree, of_targets })
    }

    /// Is it the one of this checkpoint?
    pub fn is_of(&self, checkpoint: &[u8]) -> bool {
        self.checkpoint == checkpoint
    }

    /// The proof that the log holds the targets of this version and continues the one of `since` entries. `None` if it does not.
    pub fn proof(&self, targets: u64, since: u64) -> Option<Vec<u8>> {
        let index = *self.of_targets.get(&targets)?;
        Evidence::of(&self.tree, since, index, self.checkpoint.clone()).map(|evidence| evidence.write())
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};
    use sonde_protocol::key::PublicKey;
    use sonde_update::log::{LogKey, tree};
    use sonde_update::sign;

    use super::*;

    fn keys() -> (Ed25519KeyPair, LogKey) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap();
        let public = PublicKey(pair.public_key().as_ref().try_into().unwrap());
        (pair, LogKey::new("log.example/sonde", public).unwrap())
    }

    fn entries(count: u8) -> Vec<Vec<u8>> {
        (1..=count).map(|version| log::entry(version.into(), &[version])).collect()
    }

    fn checkpoint(entries: &[Vec<u8>]) -> Vec<u8> {
        let (pair, key) = keys();
        sign::checkpoint(&key, &pair, &Tree::new(entries.iter().map(Vec::as_slice)))
    }

    #[test]
    fn a_board_believes_the_proof() {
        let (_, key) = keys();
        let mut seen = None;
        for count in 1..=9_u8 {
            let all = entries(count);
            // The writer is ahead by an entry that nobody has signed yet.
            let ahead = entries(count + 1).join(&b'\n');
            let log = Log::read(&ahead, checkpoint(&all)).unwrap();
            for version in 1..=count {
                let since = seen.as_ref().map_or(0, |seen: &log::Checkpoint| seen.size);
                let proof = log.proof(version.into(), since).unwrap();
                let entry = log::entry(version.into(), &[version]);
                let now = log::check(&key, seen.as_ref(), &entry, &proof).unwrap();
                assert_eq!(now.size, u64::from(count));
            }
            assert_eq!(log.proof((count + 1).into(), 0), None, "not signed yet");
            assert_eq!(log.proof(1, u64::from(count) + 1), None, "somebody has seen more");
            let since = seen.as_ref().map_or(0, |seen: &log::Checkpoint| seen.size);
            seen = Some(log::check(&key, seen.as_ref(), &all[0], &log.proof(1, since).unwrap()).unwrap());
        }
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let three = entries(3);
        let signed = checkpoint(&three);
        let short = three[..2].join(&b'\n');
        assert_eq!(Log::read(&short, signed.clone()).unwrap_err(), LogError::Short(3));
        let mut other = entries(3);
        other[1] = log::entry(9, b"x");
        assert_eq!(Log::read(&other.join(&b'\n'), signed.clone()).unwrap_err(), LogError::Root(3));
        assert_eq!(Log::read(b"\n\n\n\n\n", signed.clone()).unwrap_err(), LogError::Short(3));
        for (note, why) in [
            (&b""[..], "has no empty line before its signatures"),
            (b"log\n\n\xe2\x80\x94 log AAAA\n", "has no size"),
            (b"log\n-1\n\n\xe2\x80\x94 log AAAA\n", "has no size"),
            (b"log\n0\n\n\xe2\x80\x94 log AAAA\n", "has no root"),
        ] {
            assert_eq!(Log::read(&short, note.to_vec()).unwrap_err(), LogError::Checkpoint(why));
        }
        // Without entries there is a log, and nothing in it.
        let empty = Log::read(b"", checkpoint(&[])).unwrap();
        assert_eq!((empty.proof(1, 0), Tree::default().root()), (None, tree::EMPTY));
    }
}
