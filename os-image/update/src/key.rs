//! Keys that sign metadata, and their names. Ed25519 is what we make; ECDSA on P-256 is understood too, because many hardware tokens on
//! which people keep root keys speak nothing else. A key of any other scheme is carried along and signs nothing, so that a later
//! network may list keys that today's boards do not know.

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};

use crate::json::Value;

/// The name of a key: SHA-256 over the canonical JSON of the key. As text: 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 32]);

impl KeyId {
    /// The name in a text.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()?))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A public key. Two keys are equal if the same secret belongs to them, however they were written: thresholds count these.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Ed25519 (RFC 8032).
    Ed25519([u8; 32]),
    /// ECDSA on P-256 with SHA-256; the point is uncompressed. Signatures are in DER.
    EcdsaP256([u8; 65]),
    /// Of a scheme that is not known here, by its name. Signs nothing.
    Unknown(KeyId),
}

/// The fixed beginning of the SubjectPublicKeyInfo of a key on P-256 (RFC 5480); the point's 65 bytes follow.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The longest public key that is looked at: a P-256 key in PEM has less than 200 bytes.
const MAX_PEM: usize = 1024;

impl Key {
    /// Reads a key of root metadata, and computes its name from what it says, whatever it is called there.
    pub fn read(value: &Value) -> Result<(KeyId, Self), &'static str> {
        let Value::Map(members) = value else { return Err("is not an object") };
        let text = |name| match members.get(name) {
            Some(Value::Text(text)) => Ok(text.as_str()),
            _ => Err("needs the texts `keytype` and `scheme`"),
        };
        let (keytype, scheme) = (text("keytype")?, text("scheme")?);
        let keyval = members.get("keyval").ok_or("needs `keyval`")?;
        let Value::Map(public) = keyval else { return Err("has a `keyval` that is not an object") };
        // As python-tuf does: over these three members, and no other that may stand beside them.
        let named = BTreeMap::from(
            ["keytype", "scheme", "keyval"]
                .map(|name| (name.to_owned(), members.get(name).cloned().unwrap_or(Value::Null))),
        );
        let id = KeyId(sha256(&Value::Map(named).canonical()));
        let public = match public.get("public") {
            Some(Value::Text(public)) => public.as_str(),
            _ => return Err("needs the text `keyval.public`"),
        };
        let key = match (keytype, scheme) {
            ("ed25519", "ed25519") => Self::Ed25519(
                HEXLOWER
                    .decode(public.as_bytes())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok())
                    .ok_or("is not an Ed25519 key")?,
            ),
            ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => {
                Self::EcdsaP256(p256_point(public).ok_or("is not a P-256 key in PEM")?)
            }
            _ => Self::Unknown(id),
        };
        Ok((id, key))
    }

    /// The key as it stands in root metadata. Of an unknown scheme nothing is known that could be written.
    pub fn to_value(&self) -> Option<Value> {
        let (scheme, keytype, public) = match self {
            Self::Ed25519(bytes) => ("ed25519", "ed25519", HEXLOWER.encode(bytes)),
            Self::EcdsaP256(point) => ("ecdsa-sha2-nistp256", "ecdsa", p256_pem(point)),
            Self::Unknown(_) => return None,
        };
        let text = |text: &str| Value::Text(text.to_owned());
        let members = [
            ("keytype", text(keytype)),
            ("keyval", Value::Map(BTreeMap::from([("public".to_owned(), text(&public))]))),
            ("scheme", text(scheme)),
        ];
        Some(Value::Map(members.map(|(name, value)| (name.to_owned(), value)).into()))
    }

    /// The key's name.
    pub fn id(&self) -> KeyId {
        match (self, self.to_value()) {
            (Self::Unknown(id), _) => *id,
            (_, value) => KeyId(sha256(&value.unwrap_or(Value::Null).canonical())),
        }
    }

    /// Is `signature` by this key over exactly `message`?
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok(),
            Self::EcdsaP256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).is_ok()
            }
            Self::Unknown(_) => false,
        }
    }
}

/// SHA-256 of these bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    // SHA-256 always has 32 bytes.
    digest(&SHA256, bytes).as_ref().try_into().unwrap_or([0; 32])
}

fn p256_point(pem: &str) -> Option<[u8; 65]> {
    if pem.len() > MAX_PEM {
        return None;
    }
    let inner = pem.trim().strip_prefix("-----BEGIN PUBLIC KEY-----")?.strip_suffix("-----END PUBLIC KEY-----")?;
    let base64: String = inner.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
    let der = BASE64.decode(base64.as_bytes()).ok()?;
    let point: [u8; 65] = der.strip_prefix(&P256_PREFIX)?.try_into().ok()?;
    // 4 says that the point is uncompressed; ring looks at the rest.
    (point.first() == Some(&4)).then_some(point)
}

fn p256_pem(point: &[u8; 65]) -> String {
    let base64 = BASE64.encode(&[&P256_PREFIX[..], point].concat());
    let (first, second) = base64.split_at_checked(64).unwrap_or((&base64, ""));
    format!("-----BEGIN PUBLIC KEY-----\n{first}\n{second}\n-----END PUBLIC KEY-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

    #[test]
    fn a_key_of_the_specification_has_the_name_that_is_computed() {
        let key = br#"{"keytype":"ed25519","scheme":"ed25519","keyval":{"public":"72378e5bc588793e58f81c8533da64a2e8f1565c1fcc7f253496394ffc52542c"},"note":"not part of the name"}"#;
        let (id, key) = Key::read(&parse(key).unwrap()).unwrap();
        assert_eq!(id.to_string(), "1bf1c6e3cdd3d3a8420b19199e27511999850f4b376c4547b2f32fba7e80fca3");
        assert_eq!(key.id(), id);
        assert_eq!(KeyId::parse(&id.to_string()), Some(id));
    }

    #[test]
    fn p256_signs_in_der_however_its_pem_is_broken() {
        let random = ring::rand::SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let key = Key::EcdsaP256(pair.public_key().as_ref().try_into().unwrap());
        let signature = pair.sign(&random, b"message").unwrap();
        assert!(key.verify(b"message", signature.as_ref()));
        assert!(!key.verify(b"massage", signature.as_ref()));
        let value = key.to_value().unwrap();
        assert_eq!(Key::read(&value), Ok((key.id(), key.clone())));

        // The same key under another name is the same key.
        let Value::Map(mut members) = value else { unreachable!() };
        let Some(Value::Map(keyval)) = members.get_mut("keyval") else { unreachable!() };
        let Some(Value::Text(pem)) = keyval.get_mut("public") else { unreachable!() };
        *pem = pem.replace('\n', "\r\n");
        let (id, same) = Key::read(&Value::Map(members)).unwrap();
        assert_eq!(same, key);
        assert_ne!(id, key.id());
    }

    #[test]
    fn what_is_no_key_is_said_and_what_is_unknown_signs_nothing() {
        let read = |text: &str| Key::read(&parse(text.as_bytes()).unwrap());
        assert_eq!(read("[]"), Err("is not an object"));
        assert_eq!(read(r#"{"keytype":"ed25519","scheme":1}"#), Err("needs the texts `keytype` and `scheme`"));
        let short = r#"{"keytype":"ed25519","scheme":"ed25519","keyval":{"public":"00"}}"#;
        assert_eq!(read(short), Err("is not an Ed25519 key"));
        let pem = r#"{"keytype":"ecdsa","scheme":"ecdsa-sha2-nistp256","keyval":{"public":"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----"}}"#;
        assert_eq!(read(pem), Err("is not a P-256 key in PEM"));
        let (id, key) = read(r#"{"keytype":"ml-dsa","scheme":"ml-dsa-65","keyval":{"public":"x"}}"#).unwrap();
        assert_eq!(key, Key::Unknown(id));
        assert!(!key.verify(b"", b""));
    }
}
