//! TLS as a measurement sees it: any server is spoken to, whoever vouches for it, and what it shows is kept.
//!
//! Nothing secret goes over these connections, so nothing is gained by refusing a certificate that a browser would refuse;
//! a measurement that ends at an expired certificate could not report it. What is known of the peer comes out of
//! [`Witness`]. The connections to collectors have nothing to do with this: they are in [`crate::uplink`] and accept
//! exactly the network's keys.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use sonde_protocol::time::Nanos;

use super::clock::ClockSource;

/// The certificates a server has shown, as they came, its own first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// When they had been read.
    pub at: Nanos,
    /// In DER.
    pub certificates: Vec<Vec<u8>>,
}

/// Keeps what a server shows, also when the handshake fails behind that. One per connection.
#[derive(Clone)]
pub struct Witness {
    clock: Arc<dyn ClockSource>,
    provider: Arc<CryptoProvider>,
    shown: Arc<Mutex<Option<Shown>>>,
    asked: Arc<AtomicBool>,
}

impl Witness {
    /// What was shown so far.
    pub fn shown(&self) -> Option<Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the server asked for a certificate of ours?
    pub fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness").field("shown", &self.shown()).finish_non_exhaustive()
    }
}

/// A client that speaks to any server in one of these versions, offering these protocols (ALPN), and who sees what it
/// shows. Sessions are never resumed: each measurement pays for its own handshake.
///
/// # Errors
/// When the provider has none of the versions.
pub fn client(
    clock: Arc<dyn ClockSource>,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> Result<(ClientConfig, Witness), rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let witness = Witness { clock, provider: provider.clone(), shown: Arc::default(), asked: Arc::default() };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(witness.clone()))
        .with_no_client_auth();
    // There is none to give; a server that insists says so with an alert.
    config.client_auth_cert_resolver = Arc::new(witness.clone());
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.resumption = rustls::client::Resumption::disabled();
    Ok((config, witness))
}

impl ResolvesClientCert for Witness {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificates = std::iter::once(end_entity).chain(intermediates).map(|der| der.to_vec()).collect();
        let shown = Shown { at: self.clock.monotonic(), certificates };
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        Ok(ServerCertVerified::assertion())
    }

    // The signatures prove that the peer has the key it shows, so they are looked at: without that, anybody could show
    // anybody's certificate.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
