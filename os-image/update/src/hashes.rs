//! What a file must be, said before it is read: its length and its hashes. A [`Checker`] takes a file in pieces, as it arrives, and
//! refuses the first byte too many.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use ring::digest::{Algorithm, Context, SHA256, SHA512};

/// The hashes that are checked. Others may stand beside them and are ignored.
const KNOWN: [(&str, &Algorithm); 2] = [("sha256", &SHA256), ("sha512", &SHA512)];

/// The hashes of one file by their names, `sha256` or `sha512` or both; never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashes(BTreeMap<&'static str, Vec<u8>>);

/// The file is not the one that was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// There are more bytes than were announced.
    #[error("it is longer than the {0} bytes that were announced")]
    Longer(u64),
    /// The file ended early.
    #[error("it has {found} bytes instead of {expected}")]
    Shorter {
        /// Bytes that were announced.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// The content is another.
    #[error("its {0} is another than was announced")]
    Hash(&'static str),
}

impl Hashes {
    /// From names and lower-case hexadecimal digits. `None` if a known hash is malformed or if none is known.
    pub fn read<'a>(named: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let mut hashes = BTreeMap::new();
        for (name, digits) in named {
            if let Some((name, algorithm)) = KNOWN.into_iter().find(|(known, _)| *known == name) {
                let hash =
                    HEXLOWER.decode(digits.as_bytes()).ok().filter(|hash| hash.len() == algorithm.output_len())?;
                hashes.insert(name, hash);
            }
        }
        (!hashes.is_empty()).then_some(Self(hashes))
    }

    /// The SHA-256 of these bytes.
    pub fn sha256_of(bytes: &[u8]) -> Self {
        Self(BTreeMap::from([("sha256", ring::digest::digest(&SHA256, bytes).as_ref().to_vec())]))
    }

    /// Names and hexadecimal digits.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.0.iter().map(|(name, hash)| (*name, HEXLOWER.encode(hash)))
    }

    /// Are these bytes those that the hashes mean?
    pub fn check(&self, bytes: &[u8]) -> Result<(), Mismatch> {
        let mut checker = Checker::new(self, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        checker.update(bytes)?;
        checker.finish()
    }
}

/// Checks a file that arrives in pieces.
#[derive(Clone)]
pub struct Checker {
    length: u64,
    found: u64,
    running: Vec<(&'static str, Context, Vec<u8>)>,
}

impl Checker {
    /// For a file of exactly `length` bytes with these hashes.
    pub fn new(hashes: &Hashes, length: u64) -> Self {
        let running = KNOWN.into_iter().filter_map(|(name, algorithm)| {
            hashes.0.get(name).map(|expected| (name, Context::new(algorithm), expected.clone()))
        });
        Self { length, found: 0, running: running.collect() }
    }

    /// Takes the next piece. Whoever gets an error stops reading.
    pub fn update(&mut self, piece: &[u8]) -> Result<(), Mismatch> {
        self.found = self.found.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if self.found > self.length {
            return Err(Mismatch::Longer(self.length));
        }
        for (_, context, _) in &mut self.running {
            context.update(piece);
        }
        Ok(())
    }

    /// Says after the last piece whether the whole is what was announced.
    pub fn finish(self) -> Result<(), Mismatch> {
        if self.found < self.length {
            return Err(Mismatch::Shorter { expected: self.length, found: self.found });
        }
        for (name, context, expected) in self.running {
            if context.finish().as_ref() != expected {
                return Err(Mismatch::Hash(name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_file_in_pieces_is_the_announced_one_or_not() {
        let hashes = Hashes::read([("sha256", ABC), ("blake9", "!")].into_iter()).unwrap();
        assert_eq!(hashes, Hashes::sha256_of(b"abc"));
        let run = |length, pieces: &[&[u8]]| {
            let mut checker = Checker::new(&hashes, length);
            for piece in pieces {
                checker.update(piece)?;
            }
            checker.finish()
        };
        assert_eq!(run(3, &[b"a", b"", b"bc"]), Ok(()));
        assert_eq!(run(3, &[b"a", b"bcd"]), Err(Mismatch::Longer(3)));
        assert_eq!(run(3, &[b"ab"]), Err(Mismatch::Shorter { expected: 3, found: 2 }));
        assert_eq!(run(3, &[b"abd"]), Err(Mismatch::Hash("sha256")));
    }

    #[test]
    fn all_known_hashes_count_and_one_is_needed() {
        assert_eq!(Hashes::read([("md5", "00")].into_iter()), None);
        assert_eq!(Hashes::read([("sha256", &ABC[1..])].into_iter()), None);
        assert_eq!(Hashes::read([("sha256", ABC.to_uppercase().as_str())].into_iter()), None);
        let wrong = "00".repeat(64);
        let hashes = Hashes::read([("sha256", ABC), ("sha512", &wrong)].into_iter()).unwrap();
        assert_eq!(hashes.check(b"abc"), Err(Mismatch::Hash("sha512")));
    }
}
