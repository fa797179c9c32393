//! The network as a probe trusts it: root keys in a small file, and the directory they sign.
//!
//! A root key signs the directory: serial number, collectors with their keys, the next root keys. A probe accepts exactly
//! the collectors of its newest directory; the higher serial wins. Nothing expires, because boards have no clock.

mod reference;

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::bounded::{Bytes, List, Text};
use crate::key::{PublicKey, Verify};

pub use self::reference::{MAX_REFERENCES, Reference, ReferenceName};

/// The greatest size of a signed directory.
pub const MAX_DIRECTORY: usize = 64 * 1024;

/// What a root signature covers besides the directory's bytes, so that it can mean nothing else.
const SIGNING_CONTEXT: &[u8] = b"sonde directory v1\0";

/// A host and port, as `name:port`, `192.0.2.1:port` or `[2001:db8::1]:port`.
pub type Endpoint = Text<280>;

/// One collector.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Collector {
    /// Its own key.
    #[n(0)]
    pub key: PublicKey,
    /// Where it listens, names and literals, in order of preference.
    #[n(1)]
    #[serde(with = "endpoints")]
    pub addresses: List<Endpoint, 16>,
    /// Where the same lanes are to be had over TLS and TCP, for probes behind something that blocks UDP.
    #[n(2)]
    #[serde(with = "endpoints", default, skip_serializing_if = "is_empty")]
    pub tls: List<Endpoint, 16>,
}

fn is_empty(list: &List<Endpoint, 16>) -> bool {
    list.is_empty()
}

/// What a network's root signs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Directory {
    /// Grows with each directory.
    #[n(0)]
    pub serial: u64,
    /// The network's name, for people.
    #[n(1)]
    pub network: Text<64>,
    /// The root keys from now on.
    #[n(2)]
    pub roots: List<PublicKey, 8>,
    /// The collectors a probe may speak to.
    #[n(3)]
    pub collectors: List<Collector, 64>,
    /// Hosts that http measurements may ask.
    #[n(4)]
    pub http_hosts: List<Text<255>, 256>,
    /// The reference servers of IPv6 reachability. Left out when there are none, as before there could be any.
    #[n(5)]
    #[cbor(default, skip_if = "has_none")]
    pub references: List<Reference, MAX_REFERENCES>,
}

fn has_none(references: &[Reference]) -> bool {
    references.is_empty()
}

/// A directory's bytes with a root key's signature over them.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SignedDirectory {
    /// The directory in CBOR.
    #[n(0)]
    pub directory: Bytes<MAX_DIRECTORY>,
    /// The root key that signed.
    #[n(1)]
    pub root: PublicKey,
    /// Ed25519 over the context and the directory's bytes.
    #[n(2)]
    pub signature: Bytes<64>,
}

impl Directory {
    /// The bytes that a root key signs, and the directory's own bytes.
    pub fn to_sign(&self) -> (Vec<u8>, Vec<u8>) {
        // Writing into memory cannot fail.
        let bytes = minicbor::to_vec(self).unwrap_or_default();
        ([SIGNING_CONTEXT, &bytes].concat(), bytes)
    }
}

/// Are these the same host for the list of hosts that http may ask? Names compare without case and final dot, literal
/// addresses by their value. A name is never the same as its address: who lists one has not listed the other.
pub fn same_host(a: &str, b: &str) -> bool {
    match (a.parse::<IpAddr>(), b.parse::<IpAddr>()) {
        (Ok(a), Ok(b)) => a == b,
        (Err(_), Err(_)) => {
            let bare = |name| str::strip_suffix(name, ".").unwrap_or(name);
            bare(a).eq_ignore_ascii_case(bare(b))
        }
        _ => false,
    }
}

/// Why a directory is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// It is signed by a key that is not a root key of this network.
    #[error("the directory is not signed by a root key of this network")]
    UnknownRoot,
    /// The signature does not fit the bytes.
    #[error("the directory's signature is wrong")]
    Signature,
    /// The bytes are not a directory.
    #[error("the directory is malformed")]
    Malformed,
    /// It names no root key or no collector: accepting it would strand the probe.
    #[error("the directory names no root key or no collector")]
    Empty,
}

impl SignedDirectory {
    /// Joins a directory's bytes with a signature over them.
    pub fn new(directory: Vec<u8>, root: PublicKey, signature: [u8; 64]) -> Option<Self> {
        Some(Self { directory: Bytes::new(directory)?, root, signature: Bytes::new(signature.to_vec())? })
    }

    /// The directory, if one of `roots` signed it.
    pub fn open(&self, roots: &[PublicKey], verify: &impl Verify) -> Result<Directory, DirectoryError> {
        if !roots.contains(&self.root) {
            return Err(DirectoryError::UnknownRoot);
        }
        let signature: &[u8; 64] = (&*self.signature).try_into().map_err(|_| DirectoryError::Signature)?;
        let signed = [SIGNING_CONTEXT, &*self.directory].concat();
        if !verify.verify(&self.root, &signed, signature) {
            return Err(DirectoryError::Signature);
        }
        let directory: Directory = minicbor::decode(&self.directory).map_err(|_| DirectoryError::Malformed)?;
        if directory.roots.is_empty() || directory.collectors.is_empty() {
            return Err(DirectoryError::Empty);
        }
        Ok(directory)
    }
}

/// `network.toml`: all a probe needs to join a network. A pure description; the programs read and write the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkFile {
    /// The network's name, for people.
    pub name: String,
    /// The root keys.
    pub roots: Vec<PublicKey>,
    /// A one-time token that lets a new key join at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The collectors to try first.
    pub collectors: Vec<Collector>,
}

mod endpoints {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Endpoint, List, String, Vec};

    pub(super) fn serialize<S: Serializer>(list: &List<Endpoint, 16>, serializer: S) -> Result<S::Ok, S::Error> {
        list.iter().map(|endpoint| endpoint.as_str()).collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<List<Endpoint, 16>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let endpoints =
            texts.into_iter().map(|text| Endpoint::new(text).ok_or_else(|| D::Error::custom("address too long")));
        List::new(endpoints.collect::<Result<Vec<_>, _>>()?).ok_or_else(|| D::Error::custom("too many addresses"))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    /// Signs by repeating the key's first byte, and checks the context too. Ring's own is tested in `tls`.
    struct Toy;
    impl Verify for Toy {
        fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
            message.starts_with(SIGNING_CONTEXT) && signature == &[key.0[0]; 64]
        }
    }

    fn directory(roots: &[PublicKey]) -> Directory {
        Directory {
            serial: 3,
            network: Text::cut("test"),
            roots: List::cut(roots.iter().copied()),
            collectors: List::cut([Collector {
                key: PublicKey([9; 32]),
                addresses: List::cut([Endpoint::cut("192.0.2.1:8333")]),
                tls: List::default(),
            }]),
            http_hosts: List::default(),
            references: List::default(),
        }
    }

    #[test]
    fn only_a_known_root_with_a_right_signature_opens() {
        let (root, other) = (PublicKey([1; 32]), PublicKey([2; 32]));
        let (_, bytes) = directory(&[root]).to_sign();
        let signed = SignedDirectory::new(bytes.clone(), root, [1; 64]).unwrap();
        assert_eq!(signed.open(&[root], &Toy).unwrap(), directory(&[root]));
        assert_eq!(signed.open(&[other], &Toy), Err(DirectoryError::UnknownRoot));
        let forged = SignedDirectory::new(bytes, root, [2; 64]).unwrap();
        assert_eq!(forged.open(&[root], &Toy), Err(DirectoryError::Signature));
    }

    #[test]
    fn a_directory_that_would_strand_the_probe_is_refused() {
        let root = PublicKey([1; 32]);
        let (_, bytes) = directory(&[]).to_sign();
        let signed = SignedDirectory::new(bytes, root, [1; 64]).unwrap();
        assert_eq!(signed.open(&[root], &Toy), Err(DirectoryError::Empty));
        let garbage = SignedDirectory::new(vec![0xff, 0], root, [1; 64]).unwrap();
        assert_eq!(garbage.open(&[root], &Toy), Err(DirectoryError::Malformed));
    }
}
