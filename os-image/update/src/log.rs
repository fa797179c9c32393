//! The append-only log of releases: every `targets.json` that boards may trust stands in it, so that nobody can give one board a release
//! that the world does not see. A Merkle tree (RFC 9162, section 2.1), whose head is a *checkpoint*, signed text in the form that
//! transparency logs share (C2SP `signed-note`, `tlog-checkpoint`, `tlog-proof`): their tools read it.
//!
//! [`check`] is the board's side, [`tree::Tree`] and [`proof::Evidence`] the log's. Who compares checkpoints of different boards is
//! outside: a board alone cannot know that it is shown a log of its own.

pub mod note;
pub mod proof;
pub mod tree;

use data_encoding::{BASE64, HEXLOWER};

use crate::key::sha256;
pub use note::LogKey;
use note::Note;
use proof::Evidence;
use tree::{Hash, ProofError};

/// The first line of each entry, so that it is no entry of another log.
const ENTRY: &str = "sonde-release-log/1";

/// The head of the log at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// How many entries there are.
    pub size: u64,
    /// The root of the tree of them.
    pub root: Hash,
    /// The whole note, with its signatures.
    pub note: Vec<u8>,
}

/// Why something is not in the log, or the log is not the one that was seen before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The proof cannot be read.
    #[error("the proof {0}")]
    Format(&'static str),
    /// The checkpoint cannot be read.
    #[error("the checkpoint {0}")]
    Checkpoint(&'static str),
    /// Somebody else has signed the checkpoint, or nobody.
    #[error("the checkpoint is not signed by {0}")]
    Signature(String),
    /// The log is shorter than it was.
    #[error("the log has shrunk from {seen} entries to {offered}")]
    Shrunk {
        /// What was seen before.
        seen: u64,
        /// What is offered.
        offered: u64,
    },
    /// The proof begins at another size than was seen.
    #[error("the proof continues a log of {found} entries, and {expected} were seen")]
    OtherStart {
        /// What was seen before.
        expected: u64,
        /// Where the proof begins.
        found: u64,
    },
    /// The log has been rewritten: what was seen before is no part of it.
    #[error("the log does not continue the one that was seen before: {0}")]
    Inconsistent(ProofError),
    /// The release does not stand in the log.
    #[error("the targets do not stand in it: {0}")]
    NotIncluded(ProofError),
}

/// The log's entry for a `targets.json` with these bytes.
pub fn entry(version: u64, file: &[u8]) -> Vec<u8> {
    format!("{ENTRY}\ntargets {version}\nsha256 {}\n", HEXLOWER.encode(&sha256(file))).into_bytes()
}

/// Of which version of the targets an entry speaks. `None` if it is no entry of this log.
pub fn version_of(entry: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(entry).ok()?.strip_prefix(ENTRY)?.strip_prefix("\ntargets ")?;
    let (version, hash) = text.split_once("\nsha256 ")?;
    let hash = HEXLOWER.decode(hash.strip_suffix('\n')?.as_bytes()).ok()?;
    decimal(version).filter(|version| *version > 0 && hash.len() == tree::EMPTY.len())
}

/// Does the log of `key` hold `entry`, and does it continue what was `seen`? Gives the newer checkpoint, to be seen next time.
pub fn check(key: &LogKey, seen: Option<&Checkpoint>, entry: &[u8], evidence: &[u8]) -> Result<Checkpoint, LogError> {
    let evidence = Evidence::parse(evidence)?;
    let offered = Checkpoint::verified(key, &evidence.checkpoint)?;
    let (seen_size, seen_root) = seen.map_or((0, tree::EMPTY), |seen| (seen.size, seen.root));
    if offered.size < seen_size {
        return Err(LogError::Shrunk { seen: seen_size, offered: offered.size });
    }
    if evidence.since != seen_size {
        return Err(LogError::OtherStart { expected: seen_size, found: evidence.since });
    }
    tree::check_consistency((seen_size, seen_root), (offered.size, offered.root), &evidence.consistency)
        .map_err(LogError::Inconsistent)?;
    let leaf = tree::leaf(entry);
    tree::check_inclusion(leaf, evidence.index, (offered.size, offered.root), &evidence.inclusion)
        .map_err(LogError::NotIncluded)?;
    Ok(offered)
}

impl Checkpoint {
    /// The text of a checkpoint, which the log signs: origin, size and root, each on a line.
    pub fn text(origin: &str, size: u64, root: &Hash) -> String {
        format!("{origin}\n{size}\n{}\n", BASE64.encode(root))
    }

    /// The size in a note that nobody has checked: how many entries its keeper has to read.
    pub fn size_of(bytes: &[u8]) -> Option<u64> {
        decimal(Note::parse(bytes).ok()?.text.lines().nth(1)?)
    }

    /// Reads a note, signed by `key` and about its log. Other signatures, of witnesses or of a next key, may stand beside it.
    pub fn verified(key: &LogKey, bytes: &[u8]) -> Result<Self, LogError> {
        let note = Note::parse(bytes).map_err(LogError::Checkpoint)?;
        if !note.signed_by(key) {
            return Err(LogError::Signature(key.name().to_owned()));
        }
        let mut lines = note.text.lines();
        if lines.next() != Some(key.name()) {
            return Err(LogError::Checkpoint("is that of another log"));
        }
        let size = lines.next().and_then(decimal).ok_or(LogError::Checkpoint("has no size"))?;
        let root = lines.next().and_then(hash).ok_or(LogError::Checkpoint("has no root"))?;
        Ok(Self { size, root, note: bytes.to_vec() })
    }
}

/// What a board remembers of the log: the last checkpoint, and which entry it had a proof for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Later checkpoints have to continue it.
    pub checkpoint: Checkpoint,
    /// The entry of the targets that are trusted.
    pub entry: Vec<u8>,
}

impl Seen {
    /// Both as bytes: the entry, an empty line, and the note.
    pub fn write(checkpoint: &Checkpoint, entry: &[u8]) -> Vec<u8> {
        [entry, b"\n", &checkpoint.note].concat()
    }

    /// Reads them back. Damage, or a log that `key` has not signed, is nothing.
    pub fn read(key: &LogKey, bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(2).position(|pair| pair == b"\n\n")?;
        let (entry, note) = (bytes.get(..=end)?, bytes.get(end + 2..)?);
        Some(Self { checkpoint: Checkpoint::verified(key, note).ok()?, entry: entry.to_vec() })
    }
}

/// A number in decimal digits without leading zeroes.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// A hash in base 64.
fn hash(text: &str) -> Option<Hash> {
    BASE64.decode(text.as_bytes()).ok()?.try_into().ok()
}
