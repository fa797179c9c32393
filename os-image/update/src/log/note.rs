//! Signed notes (C2SP `signed-note`): a text, an empty line, and lines with signatures. Of the kinds of signature only Ed25519 is known;
//! others are skipped, as the specification asks.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use sonde_protocol::key::PublicKey;

use crate::key::{Key, sha256};

/// The most signatures in a note. The specification asks for 16 at least.
const MAX_SIGNATURES: usize = 64;

/// The kind of signature "Ed25519".
const ED25519: u8 = 1;

/// The key of a log: its name, which is also the log's *origin*, and an Ed25519 key. As text: `NAME+ID+KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKey {
    name: String,
    key: PublicKey,
}

impl LogKey {
    /// The longest name in bytes.
    const MAX_NAME: usize = 128;

    /// A key with its name, which is not empty and has neither spaces nor `+`.
    pub fn new(name: &str, key: PublicKey) -> Option<Self> {
        let plain = |letter: char| !letter.is_whitespace() && !letter.is_control() && letter != '+';
        let good = !name.is_empty() && name.len() <= Self::MAX_NAME && name.chars().all(plain);
        good.then(|| Self { name: name.to_owned(), key })
    }

    /// Reads the text, and checks that its id is the one of its key.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('+')?;
        let (id, key) = rest.split_once('+')?;
        let (kind, key) = BASE64.decode(key.as_bytes()).ok()?.split_first().map(|(kind, key)| (*kind, key.to_vec()))?;
        let key = Self::new(name, PublicKey(key.try_into().ok()?))?;
        (kind == ED25519 && id == HEXLOWER.encode(&key.id())).then_some(key)
    }

    /// The log's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key without its name.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The beginning of a hash of name and key: what signatures call it.
    fn id(&self) -> [u8; 4] {
        let hash = sha256(&[self.name.as_bytes(), &[b'\n', ED25519], &self.key.0].concat());
        let [a, b, c, d, ..] = hash;
        [a, b, c, d]
    }

    /// A text with a signature of this key's over it, as a whole note. The text ends with a newline.
    pub fn note(&self, text: &str, signature: &[u8]) -> Vec<u8> {
        format!("{text}\n— {} {}\n", self.name, BASE64.encode(&[&self.id()[..], signature].concat())).into_bytes()
    }
}

impl fmt::Display for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64.encode(&[&[ED25519][..], &self.key.0].concat());
        write!(f, "{}+{}+{key}", self.name, HEXLOWER.encode(&self.id()))
    }
}

/// A note whose signatures have not been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note<'a> {
    /// What is signed, with its last newline.
    pub text: &'a str,
    signatures: Vec<(&'a str, Vec<u8>)>,
}

impl<'a> Note<'a> {
    /// Reads a note, or says what is wrong with it. Its length is bounded already.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let note = std::str::from_utf8(bytes).map_err(|_| "is not text")?;
        if note.chars().any(|letter| letter < ' ' && letter != '\n') {
            return Err("has control characters");
        }
        let end = note.rfind("\n\n").ok_or("has no empty line before its signatures")?;
        let (text, lines) = note.split_at_checked(end + 1).ok_or("has no text")?;
        let lines = lines.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n')).ok_or("has no signatures")?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == MAX_SIGNATURES {
                return Err("has too many signatures");
            }
            let signature = line.strip_prefix("— ").and_then(|line| line.split_once(' '));
            let (name, signature) = signature.ok_or("has a line among its signatures that is none")?;
            let signature = BASE64.decode(signature.as_bytes()).map_err(|_| "has a signature that is not base 64")?;
            signatures.push((name, signature));
        }
        Ok(Self { text, signatures })
    }

    /// Has this key signed it? A signature that bears its name and id and is none spoils the note, as the specification asks.
    pub fn signed_by(&self, key: &LogKey) -> bool {
        let mut of_key = self.signatures.iter().filter_map(|(name, signature)| {
            let (id, signature) = signature.split_first_chunk::<4>()?;
            (*name == key.name && *id == key.id()).then_some(signature)
        });
        let valid = |signature| Key::Ed25519(key.key.0).verify(self.text.as_bytes(), signature);
        of_key.next().is_some_and(valid) && of_key.all(valid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the documentation of Go's `golang.org/x/mod/sumdb/note`.
    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn a_note_of_another_program_is_signed_by_its_key() {
        let key = LogKey::parse(KEY).unwrap();
        assert_eq!(key.to_string(), KEY);
        assert!(Note::parse(NOTE.as_bytes()).unwrap().signed_by(&key));
        let other = NOTE.replace("answer", "Answer");
        assert!(!Note::parse(other.as_bytes()).unwrap().signed_by(&key));
        // Signatures of others stand beside it; a second one of its own must be good as well.
        let witnessed = format!("{NOTE}— witness.example AAAAAAAA\n");
        assert!(Note::parse(witnessed.as_bytes()).unwrap().signed_by(&key));
        let spoilt = format!("{NOTE}— PeterNeumann x08go/AA\n");
        assert!(!Note::parse(spoilt.as_bytes()).unwrap().signed_by(&key));
    }

    #[test]
    fn what_is_no_note_or_no_key_is_said() {
        for (note, problem) in [
            ("", "has no empty line before its signatures"),
            ("text\n", "has no empty line before its signatures"),
            ("text\n\n", "has no signatures"),
            ("text\n\nname c2ln\n", "has a line among its signatures that is none"),
            ("text\n\n— name !\n", "has a signature that is not base 64"),
            ("te\txt\n\n— name c2ln\n", "has control characters"),
            ("text\n\n— name c2ln", "has no signatures"),
        ] {
            assert_eq!(Note::parse(note.as_bytes()), Err(problem), "{note:?}");
        }
        assert_eq!(Note::parse(b"\xff\n\n"), Err("is not text"));
        for key in ["", "a+b", &KEY[1..], &KEY.replace("c74f20a3", "c74f20a4"), &KEY.replace("+AR", "+BR")] {
            assert_eq!(LogKey::parse(key), None, "{key}");
        }
    }
}
