//! What is said about a probe's key beside the handshake: the code by which a waiting probe is claimed, the exchange of a
//! key for another, and what a collector has to tell about a key. No cryptography here; verification is passed in.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::bounded::{Bytes, Text};
use crate::key::{PublicKey, Verify};

/// The letters of a claim code: none that is taken for another when it is read aloud or typed from a screen (no 0 and O, 1,
/// I and L, U and V).
const ALPHABET: &[u8; 30] = b"23456789ABCDEFGHJKMNPQRSTVWXYZ";

/// How many letters a claim code has: 39 bits. With the few tries that somebody gets, that is far beyond guessing.
const LETTERS: usize = 8;

/// What a signature over an exchange of keys covers besides the keys, so that it can mean nothing else.
const ROTATION_CONTEXT: &[u8] = b"sonde key rotation v1\0";

/// The code by which a waiting probe is claimed. As text: `ABCD-EFGH`; read in any case, with or without the hyphen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimCode([u8; LETTERS]);

impl ClaimCode {
    /// The code that a random number stands for.
    pub fn from_random(random: u64) -> Self {
        let mut rest = random;
        Self([0; LETTERS].map(|_: u8| {
            let letter = usize::try_from(rest % ALPHABET.len() as u64).unwrap_or(0);
            rest /= ALPHABET.len() as u64;
            ALPHABET.get(letter).copied().unwrap_or(b'2')
        }))
    }

    /// The letters alone, as they are kept.
    pub fn letters(&self) -> &str {
        // All of them are ASCII.
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for ClaimCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = self.letters().split_at(LETTERS / 2);
        write!(f, "{first}-{second}")
    }
}

impl fmt::Debug for ClaimCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClaimCode({self})")
    }
}

/// The text is no claim code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a claim code is 8 letters and digits such as 7KQM-X2HD; 0, 1, I, L, O and U are not among them")]
pub struct ClaimCodeError;

impl FromStr for ClaimCode {
    type Err = ClaimCodeError;
    fn from_str(text: &str) -> Result<Self, ClaimCodeError> {
        let mut letters = text.bytes().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'-');
        let mut code = [0; LETTERS];
        for letter in &mut code {
            *letter = letters.next().ok_or(ClaimCodeError)?.to_ascii_uppercase();
        }
        match letters.next().is_none() && code.iter().all(|letter| ALPHABET.contains(letter)) {
            true => Ok(Self(code)),
            false => Err(ClaimCodeError),
        }
    }
}

impl<C> Encode<C> for ClaimCode {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.str(self.letters())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for ClaimCode {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        d.str()?.parse().map_err(|_| decode::Error::message("not a claim code"))
    }
}

/// A probe wants to be known by another key from now on. Both keys sign: the old one that it wants so, the new one that it
/// is the probe's, so that nobody takes a key that is somebody else's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Rotation {
    /// The new key.
    #[n(0)]
    pub key: PublicKey,
    /// Ed25519 by the old key over [`Rotation::to_sign`].
    #[n(1)]
    pub by_old: Bytes<64>,
    /// Ed25519 by the new key over the same.
    #[n(2)]
    pub by_new: Bytes<64>,
}

impl Rotation {
    /// What both keys sign.
    pub fn to_sign(old: &PublicKey, new: &PublicKey) -> Vec<u8> {
        [ROTATION_CONTEXT, &old.0, &new.0].concat()
    }

    /// Joins the keys' signatures.
    pub fn new(key: PublicKey, by_old: [u8; 64], by_new: [u8; 64]) -> Option<Self> {
        Some(Self { key, by_old: Bytes::new(by_old)?, by_new: Bytes::new(by_new)? })
    }

    /// Have both keys signed, the old one being `old`?
    pub fn is_signed(&self, old: &PublicKey, verify: &impl Verify) -> bool {
        let message = Self::to_sign(old, &self.key);
        let good = |key: &PublicKey, signature: &[u8]| {
            <&[u8; 64]>::try_from(signature).is_ok_and(|signature| verify.verify(key, &message, signature))
        };
        good(old, &self.by_old) && good(&self.key, &self.by_new)
    }
}

/// What a collector has to tell about a probe's key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum KeyNotice {
    /// The probe was let in while it waited: it comes back at once, or goes on if it was connected, as somebody's own.
    #[n(0)]
    Admitted,
    /// The probe is known by this key from now on, and by its old one no more.
    #[n(1)]
    Changed(#[n(0)] PublicKey),
    /// The probe keeps its key, for this reason.
    #[n(2)]
    NotChanged(#[n(0)] Text<200>),
    /// Another probe says hello with the same key.
    #[n(3)]
    Duplicate,
    /// The probe is served and is nobody's: this is how somebody makes it theirs.
    #[n(4)]
    Unclaimed(#[n(0)] ClaimCode),
}

/// A claim code for people, with what to do with it.
pub fn claim_advice(code: &ClaimCode) -> String {
    alloc::format!(
        "claim it with the code {code} at the network's API or have its operator do so; the code is good for a day"
    )
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn a_code_is_read_as_people_write_it() {
        let code = ClaimCode::from_random(0x1234_5678_9abc_def0);
        let text = code.to_string();
        assert_eq!((text.len(), text.as_bytes()[4]), (9, b'-'));
        for written in [text.clone(), text.to_lowercase(), text.replace('-', ""), text.replace('-', " ")] {
            assert_eq!(written.parse(), Ok(code), "{written}");
        }
        for bad in ["", "ABCD", "ABCD-EFG", "ABCD-EFGHJ", "ABCD-EFG0", "ABCD-EFGI", "äBCD-EFG"] {
            assert_eq!(bad.parse::<ClaimCode>(), Err(ClaimCodeError), "{bad}");
        }
    }

    #[test]
    fn every_random_number_is_a_code() {
        for random in [0, 1, 29, 30, u64::MAX] {
            let code = ClaimCode::from_random(random);
            assert_eq!(code.to_string().parse(), Ok(code));
        }
        assert_ne!(ClaimCode::from_random(1), ClaimCode::from_random(30));
    }

    /// Signs by repeating the key's first byte, and checks the context too. Ring's own is tested in `tls`.
    struct Toy;
    impl Verify for Toy {
        fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
            message.starts_with(ROTATION_CONTEXT) && signature == &[key.0[0]; 64]
        }
    }

    #[test]
    fn a_rotation_is_signed_by_both_keys() {
        let (old, new) = (PublicKey([1; 32]), PublicKey([2; 32]));
        assert!(Rotation::new(new, [1; 64], [2; 64]).unwrap().is_signed(&old, &Toy));
        assert!(!Rotation::new(new, [2; 64], [2; 64]).unwrap().is_signed(&old, &Toy));
        assert!(!Rotation::new(new, [1; 64], [1; 64]).unwrap().is_signed(&old, &Toy), "somebody else's key");
        let short = Rotation { by_new: Bytes::default(), ..Rotation::new(new, [1; 64], [2; 64]).unwrap() };
        assert!(!short.is_signed(&old, &Toy));
    }
}
