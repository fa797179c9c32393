//! HTTPS as clients see it: real handshakes by rustls, certificates that change, and clients that never finish.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use sonde_api::{CertificateSource, Certificates, Listener, certificate_names, router, serve};
use sonde_protocol::time::UnixNanos;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::lab::{Lab, NOW};

const DAY: i64 = 86_400;

struct Tls {
    lab: Lab,
    address: SocketAddr,
    certificates: Arc<Certificates>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Tls {
    fn new(source: CertificateSource) -> Self {
        let lab = Lab::new();
        let certificates = Certificates::open(source, UnixNanos::from_secs(NOW)).unwrap();
        let listener = lab.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let listener = Listener::tls(listener, certificates.server_config().unwrap());
        let served = lab.runtime.spawn(serve(vec![listener], router(lab.api.clone()), async {
            let _ = stopped.await;
        }));
        Self { lab, address, certificates, stop, served }
    }

    /// One request, by a client that trusts the certificate in this file only.
    fn get(&self, trusted: &Path, version: &'static SupportedProtocolVersion, path: &str) -> Result<String, String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        // What makes a certificate expire is another test.
        config.time_provider = Arc::new(AtNow);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(connection, TcpStream::connect(self.address).unwrap());
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let mut reply = String::new();
        // An end without a TLS close would be an error here.
        stream.read_to_string(&mut reply).map_err(|error| error.to_string())?;
        assert_eq!(stream.conn.alpn_protocol(), Some(b"http/1.1".as_slice()));
        Ok(reply)
    }

    fn health(&self, trusted: &Path) -> Result<String, String> {
        self.get(trusted, &rustls::version::TLS13, "/healthz")
    }
}

/// The hour of the tests.
#[derive(Debug)]
struct AtNow;

impl rustls::time_provider::TimeProvider for AtNow {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        let now = std::time::Duration::from_secs(u64::try_from(NOW).unwrap());
        Some(rustls::pki_types::UnixTime::since_unix_epoch(now))
    }
}

fn self_made(dir: &TempDir) -> (PathBuf, CertificateSource) {
    let path = dir.path().join("https.pem");
    (path.clone(), CertificateSource::SelfMade { path, names: certificate_names(None, &[]) })
}

/// Writes a new pair and gives a copy of its certificate, to trust.
fn pair(dir: &TempDir, name: &str) -> (String, String, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let copy = dir.path().join(name);
    fs::write(&copy, made.cert.pem()).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem(), copy)
}

#[test]
fn a_server_without_a_certificate_makes_one_that_clients_can_pin() {
    let dir = tempfile::tempdir().unwrap();
    let (path, source) = self_made(&dir);
    let tls = Tls::new(source.clone());
    let owner = tls.lab.person("owner");
    tls.lab.probe(&owner, "20.1.2.3", &[]);
    tls.lab.probe(&owner, "20.1.2.4", &[]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let reply = tls.get(&path, version, "/api/v2/probes/?page_size=1").unwrap();
        assert!(reply.starts_with("HTTP/1.1 200 OK"), "{reply}");
        assert!(reply.contains("\"https://localhost/api/v2/probes/?page_size=1&page=2\""), "{reply}");
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    // A restart keeps it, and so does time, until its end is near.
    let before = fs::read(&path).unwrap();
    let again = Certificates::open(source, UnixNanos::from_secs(NOW + DAY)).unwrap();
    assert!(!again.refresh(UnixNanos::from_secs(NOW + 300 * DAY)).unwrap());
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(again.refresh(UnixNanos::from_secs(NOW + 340 * DAY)).unwrap());
    assert_ne!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_changed_pair_is_taken_into_use_and_a_broken_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, private_key) = (dir.path().join("certificate.pem"), dir.path().join("key.pem"));
    let (first, first_key, first_copy) = pair(&dir, "first.pem");
    let (second, second_key, second_copy) = pair(&dir, "second.pem");
    fs::write(&certificate, first).unwrap();
    fs::write(&private_key, &first_key).unwrap();
    let source = CertificateSource::Files { certificate: certificate.clone(), private_key: private_key.clone() };
    let tls = Tls::new(source);
    let now = UnixNanos::from_secs(NOW);
    assert!(tls.health(&first_copy).unwrap().ends_with("ok"));
    assert!(tls.health(&second_copy).is_err());
    assert!(!tls.certificates.refresh(now).unwrap(), "nothing has changed");

    // Half of a renewal: the certificate is new and the key is not.
    fs::write(&certificate, &second).unwrap();
    assert!(tls.certificates.refresh(now).unwrap_err().to_string().contains("key.pem"));
    assert!(tls.health(&first_copy).unwrap().ends_with("ok"));
    for broken in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n", second.as_str()] {
        fs::write(&private_key, broken).unwrap();
        assert!(tls.certificates.refresh(now).is_err());
        assert!(tls.health(&first_copy).unwrap().ends_with("ok"));
    }
    fs::remove_file(&private_key).unwrap();
    assert!(tls.certificates.refresh(now).is_err());

    fs::write(&private_key, &second_key).unwrap();
    assert!(tls.certificates.refresh(now).unwrap());
    assert!(tls.health(&second_copy).unwrap().ends_with("ok"));
    assert!(tls.health(&first_copy).is_err());
}

#[test]
fn a_pair_that_cannot_be_used_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.pem");
    let source = CertificateSource::Files { certificate: missing.clone(), private_key: missing };
    let error = Certificates::open(source, UnixNanos::from_secs(NOW)).unwrap_err();
    assert!(error.to_string().contains("missing.pem"), "{error}");
}

#[test]
fn what_is_no_handshake_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (path, source) = self_made(&dir);
    let tls = Tls::new(source);
    for garbage in [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".as_slice(), &[0; 64], &[0x16, 3, 1, 0xff, 0xff]] {
        let mut stream = TcpStream::connect(tls.address).unwrap();
        stream.write_all(garbage).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        // At most an alert.
        assert!(reply.is_empty() || reply[0] == 0x15, "{reply:?}");
    }
    assert!(tls.health(&path).unwrap().ends_with("ok"));
}

#[test]
fn a_handshake_that_never_ends_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (path, source) = self_made(&dir);
    let tls = Tls::new(source);
    let mut slow = TcpStream::connect(tls.address).unwrap();
    slow.write_all(&[0x16, 3, 1, 1, 0]).unwrap();
    // It is in nobody's way.
    assert!(tls.health(&path).unwrap().ends_with("ok"));
    // The server gives up on it: without its time limit this would hang.
    assert_eq!(slow.read(&mut [0; 64]).unwrap(), 0);
}

#[test]
fn a_stop_does_not_wait_for_handshakes() {
    let dir = tempfile::tempdir().unwrap();
    let (path, source) = self_made(&dir);
    let tls = Tls::new(source);
    let mut slow = TcpStream::connect(tls.address).unwrap();
    slow.write_all(&[0x16, 3, 1, 1, 0]).unwrap();
    // Connections are accepted in order: after this one the slow one has been.
    assert!(tls.health(&path).unwrap().ends_with("ok"));
    drop(tls.stop);
    assert_eq!(slow.read(&mut [0; 64]).unwrap_or(0), 0);
    tls.lab.runtime.block_on(tls.served).unwrap();
}
