//! Ed25519 keys: probes, collectors and networks are keys, not names. No cryptography here; verification is passed in.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The fixed beginning of the SubjectPublicKeyInfo of an Ed25519 key (RFC 8410, section 4); the key's 32 bytes follow.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// An Ed25519 public key (RFC 8032). As text: base64url without padding, 43 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// The key in a SubjectPublicKeyInfo, if it holds an Ed25519 key and nothing else.
    pub fn from_spki(spki: &[u8]) -> Option<Self> {
        let bytes = spki.strip_prefix(&SPKI_PREFIX)?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// Its SubjectPublicKeyInfo in DER, which stands where a certificate would (RFC 7250).
    pub fn to_spki(&self) -> Vec<u8> {
        [&SPKI_PREFIX[..], &self.0].concat()
    }

    /// The beginning of its text: enough for people to tell keys apart, not to trust one.
    pub fn short(&self) -> String {
        let mut text = BASE64URL_NOPAD.encode(&self.0);
        text.truncate(11);
        text
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// The text is not a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a public key is 43 characters of base64url")]
pub struct KeyTextError;

impl FromStr for PublicKey {
    type Err = KeyTextError;
    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| KeyTextError)?;
        Ok(Self(bytes.try_into().map_err(|_| KeyTextError)?))
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl<C> Encode<C> for PublicKey {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for PublicKey {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let bytes = d.bytes()?;
        Ok(Self(bytes.try_into().map_err(|_| decode::Error::message("a public key has 32 bytes"))?))
    }
}

/// Checks Ed25519 signatures. The programs pass ring's; tests may pass their own.
pub trait Verify {
    /// Is `signature` by `key` over exactly `message`?
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spki_and_text_lead_back_to_the_key() {
        let key = PublicKey([7; 32]);
        assert_eq!(PublicKey::from_spki(&key.to_spki()), Some(key));
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!(PublicKey::from_spki(&key.to_spki()[..43]), None);
        assert_eq!("short".parse::<PublicKey>(), Err(KeyTextError));
    }

    use std::string::ToString;
}
