//! Those who cannot even shake hands: wrong keys, wrong certificates, wrong protocols, and datagrams that are no QUIC.

use std::net::UdpSocket;
use std::sync::Arc;

use data_encoding::BASE64;
use quinn::{Connection, ConnectionError, TransportConfig};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use sonde_protocol::message::{ALPN_DIRECTORY, MAX_CONTROL, Up, to_cbor};
use sonde_protocol::tls::{SecretKey, directory_client_config};
use sonde_protocol::wire::framed;
use sonde_tests::world::PATIENCE;

use crate::ground::Ground;
use crate::initial;
use crate::peer::{Street, hello, random_bytes, seed};

/// A self-signed Ed25519 certificate and its key, which is a secret of nobody's.
const CERTIFICATE: &str = "MIIBNjCB6aADAgECAhQgLsxxdvdbZKvFgxZCZXsHvAbIbzAFBgMrZXAwEDEOMAwGA1UEAwwFcHJvYmUwIBcNMjYxMTIxMTAzNDUzWhgPMjEyNjEwMjgxMDM0NTNaMBAxDjAMBgNVBAMMBXByb2JlMCowBQYDK2VwAyEA3Ii/B3VKfrwxTL0EN2Jc+y0dsaDCGY3KLtETYmzcafWjUzBRMB0GA1UdDgQWBBQDoJdf4sEnhXlO0WMXtc7YQDidETAfBgNVHSMEGDAWgBQDoJdf4sEnhXlO0WMXtc7YQDidETAPBgNVHRMBAf8EBTADAQH/MAUGAytlcANBAN/2dBHfhI12OdPgFfgGusY05SNaoOYImWz4lKTobgOE4Gyv56y2by3oyBIll89wH7GWvNSxUVwhTadNWM6yowk=";
const CERTIFICATE_KEY: &str = "MC4CAQAwBQYDK2VwBCIEILGlDTP/QZ6em7V5DY6kxPxYYjMZ1f2U3MzSJOvTJB+m";

/// TLS alerts (RFC 8446, section 6) as QUIC reports them (RFC 9001, section 4.8).
mod alert {
    pub const HANDSHAKE_FAILURE: u64 = 0x100 + 40;
    pub const BAD_CERTIFICATE: u64 = 0x100 + 42;
    pub const DECODE_ERROR: u64 = 0x100 + 50;
    pub const DECRYPT_ERROR: u64 = 0x100 + 51;
    pub const PROTOCOL_VERSION: u64 = 0x100 + 70;
    pub const CERTIFICATE_REQUIRED: u64 = 0x100 + 116;
    pub const NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;
}

/// Shows something and signs with a key, whether or not they belong together.
#[derive(Debug)]
struct Show {
    certified: Option<Arc<CertifiedKey>>,
    as_raw_key: bool,
}

impl ResolvesClientCert for Show {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.certified.clone()
    }
    fn only_raw_public_keys(&self) -> bool {
        self.as_raw_key
    }
    fn has_certs(&self) -> bool {
        self.certified.is_some()
    }
}

fn ed25519(pkcs8: &[u8]) -> Arc<dyn SigningKey> {
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.to_vec()));
    rustls::crypto::ring::sign::any_supported_type(&der).unwrap()
}

/// A P-256 key that says its signatures are of Ed25519.
#[derive(Debug)]
struct Disguised(Arc<dyn SigningKey>);

impl SigningKey for Disguised {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(DisguisedSigner(self.0.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256])?)))
    }
    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

#[derive(Debug)]
struct DisguisedSigner(Box<dyn Signer>);

impl Signer for DisguisedSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.0.sign(message)
    }
    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// The SubjectPublicKeyInfo of a P-256 key (RFC 5480).
fn p256_spki(point: &[u8]) -> Vec<u8> {
    let head: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    [&head[..], point].concat()
}

/// The SubjectPublicKeyInfo of an RSA key of 2048 bits (RFC 3279) whose modulus is made up.
fn rsa_spki() -> Vec<u8> {
    let head: [u8; 33] = [
        0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05,
        0x00, 0x03, 0x82, 0x01, 0x0f, 0x00, 0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00,
    ];
    [&head[..], &[0xc5; 256], &[0x02, 0x03, 0x01, 0x00, 0x01]].concat()
}

/// The error code with which the collector ends a handshake. The client's side of it may be done before that.
#[track_caller]
fn failure(street: &Street, tls: rustls::ClientConfig) -> u64 {
    let end = match street.connect(tls, TransportConfig::default()) {
        Ok(connection) => {
            let connection: Connection = connection;
            street.wait(connection.closed())
        }
        Err(error) => error,
    };
    match end {
        ConnectionError::ConnectionClosed(close) => close.error_code.into(),
        other => panic!("not closed by the collector's TLS: {other:?}"),
    }
}

#[test]
fn keys_and_certificates_that_are_not_what_they_should_be() {
    let mut ground = Ground::start();
    let street = Street::to(&ground);
    let own = SecretKey::generate().unwrap();
    let victim = SecretKey::generate().unwrap();
    let random = ring::rand::SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random).unwrap();
    let p256 = p256_spki(pair.public_key().as_ref());
    let p256_key = ed25519(document.as_ref());
    let show = |shown: Vec<u8>, key: Arc<dyn SigningKey>| {
        Some(Arc::new(CertifiedKey::new(vec![CertificateDer::from(shown)], key)))
    };
    let signs = || ed25519(own.to_pkcs8());
    let certificate = BASE64.decode(CERTIFICATE.as_bytes()).unwrap();
    let certificate_key = BASE64.decode(CERTIFICATE_KEY.as_bytes()).unwrap();
    let cases = [
        ("no certificate", None, true, alert::CERTIFICATE_REQUIRED),
        ("an X.509 certificate", show(certificate.clone(), ed25519(&certificate_key)), false, alert::HANDSHAKE_FAILURE),
        (
            "an X.509 certificate as if it were a raw key",
            show(certificate, ed25519(&certificate_key)),
            true,
            alert::BAD_CERTIFICATE,
        ),
        ("a P-256 key", show(p256.clone(), p256_key.clone()), true, alert::CERTIFICATE_REQUIRED),
        ("a P-256 key in disguise", show(p256, Arc::new(Disguised(p256_key))), true, alert::BAD_CERTIFICATE),
        ("an RSA key", show(rsa_spki(), signs()), true, alert::BAD_CERTIFICATE),
        ("somebody else's key", show(victim.public().to_spki(), signs()), true, alert::DECRYPT_ERROR),
        ("a key that is none", show(vec![0x30, 0x80, 0xff], signs()), true, alert::BAD_CERTIFICATE),
        ("a key and a byte", show([own.public().to_spki(), vec![0]].concat(), signs()), true, alert::BAD_CERTIFICATE),
    ];
    for (case, certified, as_raw_key, expected) in cases {
        let mut tls = street.tls(&own);
        tls.client_auth_cert_resolver = Arc::new(Show { certified, as_raw_key });
        assert_eq!(failure(&street, tls), expected, "{case}");
    }
    // As long as TLS allows, and far longer than any key.
    let mut tls = street.tls(&own);
    tls.client_auth_cert_resolver = Arc::new(Show { certified: show(vec![0x30; 60_000], signs()), as_raw_key: true });
    assert_eq!(failure(&street, tls), alert::BAD_CERTIFICATE, "60 KB");

    for (case, alpn) in
        [("another protocol", vec![b"h3".to_vec()]), ("no protocol", vec![]), ("sonde/2", vec![b"sonde/2".to_vec()])]
    {
        let mut tls = street.tls(&own);
        tls.alpn_protocols = alpn;
        assert_eq!(failure(&street, tls), alert::NO_APPLICATION_PROTOCOL, "{case}");
    }
    ground.not_grown("wrong keys");
}

#[test]
fn the_directory_is_for_all_and_takes_nothing() {
    let mut ground = Ground::start();
    let street = Street::to(&ground);
    let tls = directory_client_config(&SecretKey::generate().unwrap()).unwrap();
    assert_eq!(tls.alpn_protocols, [ALPN_DIRECTORY]);
    for garbage in [framed(&to_cbor(&Up::Hello(hello()))), vec![0xff; 3 * 64 * 1024]] {
        let connection = street.connect(tls.clone(), TransportConfig::default()).unwrap();
        street
            .wait(async {
                let (mut send, _receive) = connection.open_bi().await.unwrap();
                let writing = tokio::spawn(async move { send.write_all(&garbage).await });
                let mut given = connection.accept_uni().await.unwrap();
                let bytes = given.read_to_end(MAX_CONTROL).await.unwrap();
                minicbor::decode::<sonde_protocol::directory::SignedDirectory>(&bytes).unwrap();
                connection.close(0u32.into(), b"");
                writing.await.unwrap()
            })
            .ok();
    }
    ground.undisturbed("garbage for the directory");
}

/// A TLS 1.2 ClientHello (RFC 5246): two suites, no extension that speaks of versions.
fn tls12_hello() -> Vec<u8> {
    let extensions: [u8; 18] =
        [0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x1d, 0x00, 0x0d, 0x00, 0x06, 0x00, 0x04, 0x08, 0x07, 0x04, 0x03];
    let body =
        [&[0x03, 0x03][..], &[7; 32], &[0x00, 0x00, 0x04, 0xc0, 0x2b, 0xc0, 0x2f, 0x01, 0x00, 0x00, 18], &extensions]
            .concat();
    [&[0x01, 0x00, 0x00, u8::try_from(body.len()).unwrap()][..], &body].concat()
}

#[test]
fn datagrams_that_are_no_quic_and_quic_that_is_no_tls() {
    let mut ground = Ground::start();
    let seed = seed();
    eprintln!("seed {seed}");
    // Each is the first packet of a connection of its own.
    let code = |case: &str, frames: &[u8]| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let first = initial::First::new();
        socket.send_to(&first.packet(frames), ground.collector).unwrap();
        let mut datagram = [0; 2048];
        loop {
            let length = socket.recv(&mut datagram).unwrap_or_else(|error| panic!("{case}: no answer: {error}"));
            if let Some(code) = first.close_code(&datagram[..length]) {
                return code;
            }
        }
    };
    assert_eq!(code("TLS 1.2", &initial::crypto(0, &tls12_hello())), alert::PROTOCOL_VERSION);
    // More than the collector keeps of an unfinished handshake (RFC 9000: CRYPTO_BUFFER_EXCEEDED).
    assert_eq!(code("a megabyte ahead", &initial::crypto(1 << 20, &[1; 100])), 0x0d);
    let short = initial::crypto(0, &[0x01, 0x00, 0x00, 0x04, 1, 2, 3, 4]);
    assert_eq!(code("no ClientHello", &short), alert::DECODE_ERROR);
    for (case, frames) in [
        ("a frame of no type", vec![0x3f; 20]),
        ("a stream in the first packet", vec![0x08, 0x00, 0x01]),
        ("an acknowledgement of nothing", vec![0x02, 0x40, 0xff, 0x00, 0x00, 0x00]),
    ] {
        let code = code(case, &frames);
        assert!((0x01..=0x0f).contains(&code), "{case}: {code:#x}");
    }
    for n in 0..20 {
        let code = code("random bytes", &initial::crypto(0, &random_bytes(seed + n, 500)));
        assert!((0x01..0x200).contains(&code), "{n}: {code:#x}");
    }
    // What has no answer: TLS over UDP, floods of any bytes, also behind a QUIC header of this and of no version.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let record = [&[0x16, 0x03, 0x01, 0x00, 0x50][..], &tls12_hello()].concat();
    let valid = initial::First::new().packet(&initial::crypto(0, &random_bytes(seed, 300)));
    for n in 0..20_000_u64 {
        let mut datagram = random_bytes(seed ^ n, usize::try_from(n % 1300).unwrap());
        match n % 4 {
            0 => datagram.splice(..datagram.len().min(5), [0xc0, 0, 0, 0, 1]).for_each(drop),
            1 => datagram.splice(..datagram.len().min(5), [0xc0, 0x1a, 0x2a, 0x3a, 0x4a]).for_each(drop),
            2 => {
                datagram = valid.clone();
                datagram[usize::try_from(n).unwrap() % valid.len()] ^= 1 << (n % 7);
            }
            _ => {}
        }
        socket.send_to(&datagram, ground.collector).unwrap();
    }
    socket.send_to(&record, ground.collector).unwrap();
    ground.not_grown("datagrams");
}
