//! The text in which a log shows that it holds an entry and continues what was seen before:
//!
//! ```text
//! old 17
//! (hashes of the consistency proof, a line each)
//!
//! c2sp.org/tlog-proof@v1
//! index 20
//! (hashes of the inclusion proof, a line each)
//!
//! (the checkpoint)
//! ```
//!
//! The first part is as in requests to witnesses (C2SP `tlog-witness`), the second a C2SP `tlog-proof` as it is.

use data_encoding::BASE64;

use super::tree::{Hash, Tree};
use super::{LogError, decimal, hash};

/// The first line of a proof of inclusion.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// The longest path in a tree of 2^64 entries.
const MAX_HASHES: usize = 64;

/// A proof as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The size of the log that the board has seen.
    pub since: u64,
    /// That the log continues the one of that size.
    pub consistency: Vec<Hash>,
    /// The entry's number, from 0.
    pub index: u64,
    /// That the entry is in the log.
    pub inclusion: Vec<Hash>,
    /// The signed note.
    pub checkpoint: Vec<u8>,
}

impl Evidence {
    /// What a log says to a board that has seen `since` of its entries and asks for the one with the number `index`. The checkpoint is
    /// that of the whole tree. `None` if the tree has fewer.
    pub fn of(tree: &Tree, since: u64, index: u64, checkpoint: Vec<u8>) -> Option<Self> {
        Some(Self {
            since,
            consistency: tree.consistency(since)?,
            index,
            inclusion: tree.inclusion(index)?,
            checkpoint,
        })
    }

    /// The text.
    pub fn write(&self) -> Vec<u8> {
        let lines = |hashes: &[Hash]| hashes.iter().map(|hash| BASE64.encode(hash) + "\n").collect::<String>();
        let (consistency, inclusion) = (lines(&self.consistency), lines(&self.inclusion));
        let head = format!("old {}\n{consistency}\n{HEADER}\nindex {}\n{inclusion}\n", self.since, self.index);
        [head.as_bytes(), &self.checkpoint].concat()
    }

    /// Reads the text. Its length is bounded already.
    pub fn parse(bytes: &[u8]) -> Result<Self, LogError> {
        let text = std::str::from_utf8(bytes).map_err(|_| LogError::Format("is not text"))?;
        let (old, rest) = text.split_once('\n').ok_or(LogError::Format("ends early"))?;
        let since =
            old.strip_prefix("old ").and_then(decimal).ok_or(LogError::Format("does not say where it begins"))?;
        let (consistency, rest) = hashes(rest)?;
        let (header, rest) = rest.split_once('\n').ok_or(LogError::Format("ends early"))?;
        if header != HEADER {
            return Err(LogError::Format("is of an unknown kind"));
        }
        let (mut line, mut rest) = rest.split_once('\n').ok_or(LogError::Format("ends early"))?;
        if line.starts_with("extra ") {
            // Not under any signature, and we have no use for it.
            (line, rest) = rest.split_once('\n').ok_or(LogError::Format("ends early"))?;
        }
        let index =
            line.strip_prefix("index ").and_then(decimal).ok_or(LogError::Format("does not say which entry"))?;
        let (inclusion, checkpoint) = hashes(rest)?;
        Ok(Self { since, consistency, index, inclusion, checkpoint: checkpoint.as_bytes().to_vec() })
    }
}

/// Lines with hashes up to an empty line, and what follows it.
fn hashes(mut rest: &str) -> Result<(Vec<Hash>, &str), LogError> {
    let mut hashes = Vec::new();
    loop {
        let (line, next) = rest.split_once('\n').ok_or(LogError::Format("ends early"))?;
        rest = next;
        if line.is_empty() {
            return Ok((hashes, rest));
        }
        if hashes.len() == MAX_HASHES {
            return Err(LogError::Format("has too many hashes"));
        }
        hashes.push(hash(line).ok_or(LogError::Format("has a line that is not a hash"))?);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_read_as_it_was_written() {
        let mut tree = Tree::default();
        for number in 0..7_u8 {
            tree.push(&[number]);
        }
        for (since, index) in [(0, 0), (3, 5), (7, 6)] {
            let evidence = Evidence::of(&tree, since, index, b"log.example\n7\n...\n".to_vec()).unwrap();
            assert_eq!(Evidence::parse(&evidence.write()), Ok(evidence));
        }
        assert_eq!(Evidence::of(&tree, 8, 0, Vec::new()), None);
        assert_eq!(Evidence::of(&tree, 0, 7, Vec::new()), None);
    }

    #[test]
    fn what_is_no_proof_is_said() {
        let many = format!("old 0\n{}\n", format!("{}\n", BASE64.encode(&[0; 32])).repeat(MAX_HASHES + 1));
        for (text, problem) in [
            ("", "ends early"),
            ("old 1\n", "ends early"),
            ("old 01\n\n", "does not say where it begins"),
            ("old -1\n\n", "does not say where it begins"),
            ("old 1\nAAAA\n\n", "has a line that is not a hash"),
            ("old 0\n\nc2sp.org/tlog-proof@v2\n", "is of an unknown kind"),
            ("old 0\n\nc2sp.org/tlog-proof@v1\nindex +1\n\n", "does not say which entry"),
            ("old 0\n\nc2sp.org/tlog-proof@v1\nextra eA==\nindex 18446744073709551616\n\n", "does not say which entry"),
            (&many, "has too many hashes"),
        ] {
            assert_eq!(Evidence::parse(text.as_bytes()), Err(LogError::Format(problem)), "{text:?}");
        }
    }
}
