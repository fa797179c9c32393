//! Lists of SHA-256 sums as `sha256sum` writes them, and the signature over one (minisign's format).
//!
//! Pure: texts in. Nothing is believed of a list whose signature does not hold, where a key was given.

use data_encoding::HEXLOWER;
use minisign_verify::{PublicKey, Signature};

/// The most lines of a list. A release has some ten, a boot partition some twenty.
const MAX_LINES: usize = 1_000;

/// What is wrong with a list or its signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadList {
    /// Not as `sha256sum` writes it.
    #[error("line {0} is not a SHA-256 sum and a name")]
    Line(usize),
    /// The key.
    #[error("this is no key of minisign (RW… or its file): {0}")]
    Key(String),
    /// The signature's text.
    #[error("this is no signature of minisign: {0}")]
    Signature(String),
    /// The list is not what was signed, or another key signed it.
    #[error("the signature is NOT by this key over this list: do not use what it names")]
    Forged,
}

/// A list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sums(Vec<([u8; 32], String)>);

impl Sums {
    /// Reads a list.
    ///
    /// # Errors
    /// At the first line that is none of a list.
    pub fn parse(text: &str) -> Result<Self, BadList> {
        let mut rows = Vec::new();
        for (number, line) in text.lines().enumerate() {
            // Two spaces, or one and a star for what was read as binary.
            let row = line.split_once(' ').and_then(|(sum, name)| {
                let sum: [u8; 32] = HEXLOWER.decode(sum.as_bytes()).ok()?.try_into().ok()?;
                let name = name.strip_prefix([' ', '*'])?;
                (!name.is_empty() && !name.contains(char::is_control)).then(|| (sum, name.to_owned()))
            });
            match row {
                Some(row) if number < MAX_LINES => rows.push(row),
                _ => return Err(BadList::Line(number + 1)),
            }
        }
        Ok(Self(rows))
    }

    /// The name with this sum.
    #[must_use]
    pub fn name_of(&self, sum: &[u8; 32]) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == sum).map(|(_, name)| name.as_str())
    }

    /// The sum of the file of this name. FAT does not tell large letters from small ones.
    #[must_use]
    pub fn sum_of(&self, name: &str) -> Option<&[u8; 32]> {
        self.0.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(sum, _)| sum)
    }

    /// Every name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, name)| name.as_str())
    }
}

/// Whether this key signed this list: `key` is the base64 line of a public key, or the text of its file.
///
/// # Errors
/// When it did not, or one of the three is no such thing.
pub fn signed(list: &[u8], signature: &str, key: &str) -> Result<(), BadList> {
    let key = key.trim();
    let key = if key.contains('\n') { PublicKey::decode(key) } else { PublicKey::from_base64(key) };
    let key = key.map_err(|error| BadList::Key(error.to_string()))?;
    let signature = Signature::decode(signature).map_err(|error| BadList::Signature(error.to_string()))?;
    // The old form of signatures is sound for a file as short as this.
    key.verify(list, &signature, true).map_err(|_| BadList::Forged)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d  sonde.img\n\
        4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a *EFI/Linux/sonde.efi\n";

    #[test]
    fn a_list_of_sha256sum_is_read() {
        let sums = Sums::parse(LIST).unwrap();
        let first = *sums.sum_of("sonde.img").unwrap();
        assert_eq!(sums.name_of(&first), Some("sonde.img"));
        assert!(sums.sum_of("efi/LINUX/sonde.EFI").is_some());
        assert_eq!(sums.sum_of("other"), None);
        assert_eq!(sums.names().count(), 2);
        for (text, line) in
            [("x", 1), ("6e34  short\n", 1), (&format!("{LIST}<html>"), 3), (&LIST.replace("sonde.img", "a\x1bb"), 1)]
        {
            assert_eq!(Sums::parse(text), Err(BadList::Line(line)), "{text}");
        }
    }
}
