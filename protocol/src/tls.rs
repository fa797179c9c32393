//! TLS 1.3 with Ed25519 raw public keys both ways (RFC 7250), by rustls and ring, and Ed25519 signatures by ring.
//!
//! There is no web PKI and no clock in it: a collector accepts any key and asks the catalog who it is; a probe accepts
//! exactly the keys of its directory.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring as provider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, ServerConfig,
    SignatureScheme,
};

use crate::key::{PublicKey, Verify};
use crate::message::{ALPN, ALPN_DIRECTORY, ALPN_TLS};
use crate::net::Uplink;
use crate::reference::ALPN_REFERENCE;

/// A private Ed25519 key with its public half.
#[derive(Clone)]
pub struct SecretKey {
    pkcs8: Vec<u8>,
    pair: Arc<Ed25519KeyPair>,
}

impl core::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SecretKey({})", self.public())
    }
}

/// The bytes are not an Ed25519 key, or no key could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 private key (PKCS #8)")]
pub struct SecretKeyError;

impl SecretKey {
    /// Makes a new key from the system's random numbers.
    pub fn generate() -> Result<Self, SecretKeyError> {
        let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).map_err(|_| SecretKeyError)?;
        Self::from_pkcs8(document.as_ref())
    }

    /// Reads a key from PKCS #8 (RFC 8410), as [`SecretKey::to_pkcs8`] gave it.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, SecretKeyError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(|_| SecretKeyError)?;
        Ok(Self { pkcs8: pkcs8.to_vec(), pair: Arc::new(pair) })
    }

    /// The key in PKCS #8, for a file that nobody else can read.
    pub fn to_pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        // An Ed25519 public key always has 32 bytes.
        PublicKey(self.pair.public_key().as_ref().try_into().unwrap_or([0; 32]))
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        // An Ed25519 signature always has 64 bytes.
        self.pair.sign(message).as_ref().try_into().unwrap_or([0; 64])
    }

    fn certified(&self) -> Result<Arc<CertifiedKey>, Error> {
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.clone()));
        let signing = provider::sign::any_eddsa_type(&match der {
            PrivateKeyDer::Pkcs8(key) => key,
            // Built one line above.
            _ => return Err(Error::General("not PKCS #8".into())),
        })?;
        // With raw public keys the SubjectPublicKeyInfo stands where a certificate would.
        Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(self.public().to_spki())], signing)))
    }
}

/// Ed25519 by ring.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ring;

impl Verify for Ring {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, key.0).verify(message, signature).is_ok()
    }
}

/// Each has a name of its own in the handshake.
const fn alpn(uplink: Uplink) -> &'static [u8] {
    match uplink {
        Uplink::Quic => ALPN,
        Uplink::Tls => ALPN_TLS,
    }
}

/// The configuration of a collector with this key. Any Ed25519 key is let in as far as hello.
pub fn server_config(key: &SecretKey, uplink: Uplink) -> Result<ServerConfig, Error> {
    let provider = Arc::new(provider::default_provider());
    let verifier = Arc::new(AnyKey { algorithms: provider.signature_verification_algorithms });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(OwnKey(key.certified()?)));
    config.alpn_protocols = vec![alpn(uplink).to_vec(), ALPN_DIRECTORY.to_vec()];
    // After a restart tickets help nobody, and a full handshake is cheap.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// The configuration of a probe with this key, for collectors that have one of the keys `expected`.
pub fn client_config(key: &SecretKey, expected: &[PublicKey], uplink: Uplink) -> Result<ClientConfig, Error> {
    client(key, Some(expected.to_vec()), alpn(uplink))
}

/// The configuration for fetching the directory from whoever answers. The directory's own signature is what counts
/// then, so that a probe which slept through a change of all collector keys finds back.
pub fn directory_client_config(key: &SecretKey) -> Result<ClientConfig, Error> {
    client(key, None, ALPN_DIRECTORY)
}

/// The configuration of a reference server with this key. It asks nobody who he is.
pub fn reference_server_config(key: &SecretKey) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(OwnKey(key.certified()?)));
    config.alpn_protocols = vec![ALPN_REFERENCE.to_vec()];
    // Each handshake is measured, so none is shortened.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// The configuration for asking the reference server that has exactly this key. Nothing tells it who asks.
pub fn reference_client_config(expected: PublicKey) -> Result<ClientConfig, Error> {
    let provider = Arc::new(provider::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedKeys { expected: Some(vec![expected]), algorithms }))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_REFERENCE.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

fn client(key: &SecretKey, expected: Option<Vec<PublicKey>>, alpn: &[u8]) -> Result<ClientConfig, Error> {
    let provider = Arc::new(provider::default_provider());
    let verifier = Arc::new(PinnedKeys { expected, algorithms: provider.signature_verification_algorithms });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(OwnKey(key.certified()?)));
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

/// Gives the one key we have.
#[derive(Debug)]
struct OwnKey(Arc<CertifiedKey>);

impl ResolvesServerCert for OwnKey {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
    fn only_raw_public_keys(&self) -> bool {
        true
    }
}

impl ResolvesClientCert for OwnKey {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
    fn only_raw_public_keys(&self) -> bool {
        true
    }
    fn has_certs(&self) -> bool {
        true
    }
}

/// What both verifiers do with the signature of the handshake.
fn signature(
    algorithms: &WebPkiSupportedAlgorithms,
    message: &[u8],
    spki: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(spki.as_ref()), signed, algorithms)
}

fn no_tls12() -> Error {
    Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic)
}

/// What both sides' verifiers have in common: TLS 1.3 alone, Ed25519 alone, raw public keys alone.
macro_rules! raw_ed25519_only {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(no_tls12())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            spki: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            signature(&self.algorithms, message, spki, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    };
}

/// Accepts exactly these keys; any Ed25519 key when there is no list.
#[derive(Debug)]
struct PinnedKeys {
    expected: Option<Vec<PublicKey>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PinnedKeys {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match (PublicKey::from_spki(end_entity), &self.expected) {
            (Some(_), None) => Ok(ServerCertVerified::assertion()),
            (Some(key), Some(expected)) if expected.contains(&key) => Ok(ServerCertVerified::assertion()),
            _ => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }

    raw_ed25519_only!();
}

/// Accepts every Ed25519 key whose owner can sign with it.
#[derive(Debug)]
struct AnyKey {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match PublicKey::from_spki(end_entity) {
            Some(_) => Ok(ClientCertVerified::assertion()),
            None => Err(Error::InvalidCertificate(CertificateError::BadEncoding)),
        }
    }

    raw_ed25519_only!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_their_file_and_sign() {
        let key = SecretKey::generate().unwrap();
        let back = SecretKey::from_pkcs8(key.to_pkcs8()).unwrap();
        assert_eq!(key.public(), back.public());
        let signature = back.sign(b"hello");
        assert!(Ring.verify(&key.public(), b"hello", &signature));
        assert!(!Ring.verify(&key.public(), b"hullo", &signature));
        assert!(SecretKey::from_pkcs8(b"garbage").is_err());
    }

    #[test]
    fn configurations_can_be_made() {
        let (probe, collector) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
        for uplink in [Uplink::Quic, Uplink::Tls] {
            assert!(server_config(&collector, uplink).is_ok());
            assert!(client_config(&probe, &[collector.public()], uplink).is_ok());
        }
        assert!(directory_client_config(&probe).is_ok());
        assert!(reference_server_config(&collector).is_ok());
        assert!(reference_client_config(collector.public()).is_ok());
    }
}
