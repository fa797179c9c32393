//! The server's certificate for HTTPS: the operator's own pair of files, read again when they change, or one that is made
//! here. A pair that cannot be used never replaces one that can.
//!
//! This module must not know about HTTP, nor where its settings come from.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use axum::http::Uri;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sonde_protocol::time::UnixNanos;
use time::OffsetDateTime;

use crate::Clock;

/// The largest file that is read as a certificate or key. A chain of a dozen certificates is some 20 kB.
const MAX_FILE: u64 = 1 << 20;

/// How often the files are looked at. Whoever renews a certificate does it days before the old one ends.
const POLL: Duration = Duration::from_secs(30);

/// How long a certificate made here is valid. Some clients refuse more than 398 days from anybody.
const VALID_SECS: i64 = 365 * DAY;

/// How long before its end a certificate made here is replaced.
const RENEW_SECS: i64 = 30 * DAY;

/// How far before now a certificate made here begins, for clients whose clocks are behind.
const BACKDATE_SECS: i64 = DAY;

const DAY: i64 = 86_400;

/// What the first line of a pair made here begins with; after it come the end in Unix seconds and the names.
const MARK: &str = "# made by sonde:";

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateSource {
    /// The operator's PEM files: the chain, the server's own certificate first, and its key.
    Files {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        private_key: PathBuf,
    },
    /// One that is made here and signed by itself, kept with its key in one file that nobody else may read.
    SelfMade {
        /// The file.
        path: PathBuf,
        /// Host names and addresses that it is for.
        names: Vec<String>,
    },
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {problem}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// No certificate can be made.
    #[error("a certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// What was seen of a file: a change of it is a change of its content.
type Stamp = Vec<Option<(SystemTime, u64)>>;

/// The certificate in use.
#[derive(Debug)]
pub struct Certificates {
    source: CertificateSource,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
    seen: Mutex<Stamp>,
}

impl Certificates {
    /// Reads the certificate, or makes it.
    pub fn open(source: CertificateSource, now: UnixNanos) -> Result<Arc<Self>, CertificateError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        // Before the files are read: what changes in between is seen next time.
        let seen = stamp(&source);
        let current = load(&source, &provider, now)?;
        Ok(Arc::new(Self { source, provider, current: RwLock::new(Arc::new(current)), seen: Mutex::new(seen) }))
    }

    /// Takes a changed pair into use, or renews the one made here when its time has come. Says whether there is a new one;
    /// after an error the old one stays, and the same files are not tried again.
    pub fn refresh(&self, now: UnixNanos) -> Result<bool, CertificateError> {
        let stamp = stamp(&self.source);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let due = match &self.source {
                CertificateSource::Files { .. } => false,
                CertificateSource::SelfMade { path, names } => !is_good(&read(path).unwrap_or_default(), names, now),
            };
            if *seen == stamp && !due {
                return Ok(false);
            }
            *seen = stamp;
        }
        let new = load(&self.source, &self.provider, now)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        Ok(true)
    }

    /// Looks after the certificate for as long as it is polled.
    pub async fn keep_fresh(self: Arc<Self>, clock: Arc<dyn Clock>) {
        loop {
            tokio::time::sleep(POLL).await;
            let (certificates, now) = (Arc::clone(&self), clock.now());
            match tokio::task::spawn_blocking(move || certificates.refresh(now)).await {
                Ok(Ok(true)) => tracing::info!("a new certificate is in use"),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::error!(%error, "the new certificate cannot be used; the old one stays"),
                Err(error) => tracing::error!(%error, "the certificate could not be looked at"),
            }
        }
    }

    /// TLS 1.2 and 1.3 with this certificate, for HTTP/1.1.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, CertificateError> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(rustls::ALL_VERSIONS)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The names that a certificate made here is for: the public URL's host, this machine's own, and the addresses listened on.
pub fn certificate_names(public_url: Option<&str>, listen: &[SocketAddr]) -> Vec<String> {
    let url = public_url.and_then(|url| url.parse::<Uri>().ok());
    let host = url.as_ref().and_then(Uri::host).map(|host| host.trim_matches(['[', ']']).to_ascii_lowercase());
    let specific = listen.iter().map(|address| address.ip()).filter(|ip| !ip.is_unspecified());
    let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut names: Vec<String> = Vec::new();
    for name in host.into_iter().chain(own).chain(specific.map(|ip| ip.to_string())) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn stamp(source: &CertificateSource) -> Stamp {
    let of = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    match source {
        CertificateSource::Files { certificate, private_key } => vec![of(certificate), of(private_key)],
        // Nobody else writes it; what counts is whether it is good for a while yet.
        CertificateSource::SelfMade { .. } => Vec::new(),
    }
}

fn load(
    source: &CertificateSource,
    provider: &CryptoProvider,
    now: UnixNanos,
) -> Result<CertifiedKey, CertificateError> {
    match source {
        CertificateSource::Files { certificate, private_key } => {
            pair((certificate, &read(certificate)?), (private_key, &read(private_key)?), provider)
        }
        CertificateSource::SelfMade { path, names } => {
            let kept = read(path).ok().filter(|text| is_good(text, names, now));
            // One that was kept but is spoilt is made anew.
            if let Some(key) = kept.and_then(|text| pair((path, &text), (path, &text), provider).ok()) {
                return Ok(key);
            }
            let text = make(names, now)?;
            write_private(path, &text).map_err(|source| CertificateError::File { path: path.clone(), source })?;
            pair((path, text.as_bytes()), (path, text.as_bytes()), provider)
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_end(&mut content))
        .map_err(|source| CertificateError::File { path: path.into(), source })?;
    Ok(content)
}

fn pair(
    (chain_path, chain): (&Path, &[u8]),
    (key_path, key): (&Path, &[u8]),
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CertificateError> {
    let wrong = |path: &Path, problem: String| CertificateError::Content { path: path.into(), problem };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(chain_path, format!("no PEM: {error}")))?;
    if chain.is_empty() {
        return Err(wrong(chain_path, "there is no certificate in it".into()));
    }
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|error| wrong(key_path, format!("no private key: {error}")))?;
    CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| wrong(key_path, format!("not a key for {}: {error}", chain_path.display())))
}

/// Was this made here for these names, and is it valid for a while yet?
fn is_good(text: &[u8], names: &[String], now: UnixNanos) -> bool {
    let first = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let Some(rest) = std::str::from_utf8(first).ok().and_then(|line| line.strip_prefix(MARK)) else { return false };
    let mut words = rest.split_whitespace();
    let end = words.next().and_then(|word| word.parse::<i64>().ok());
    end.is_some_and(|end| seconds(now) < end.saturating_sub(RENEW_SECS)) && words.eq(names.iter().map(String::as_str))
}

fn make(names: &[String], now: UnixNanos) -> Result<String, CertificateError> {
    let at = |second: i64| OffsetDateTime::from_unix_timestamp(second).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let end = seconds(now).saturating_add(VALID_SECS);
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Sonde, signed by itself");
    params.not_before = at(seconds(now).saturating_sub(BACKDATE_SECS));
    params.not_after = at(end);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(format!("{MARK} {end} {}\n{}{}", names.join(" "), certificate.pem(), key.serialize_pem()))
}

fn seconds(now: UnixNanos) -> i64 {
    now.0.div_euclid(1_000_000_000)
}

/// Writes a file for nobody else's eyes, whole or not at all.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_a_client_may_use() {
        let listen = ["[::]:443".parse().unwrap(), "192.0.2.7:443".parse().unwrap()];
        assert_eq!(
            certificate_names(Some("https://Sonde.example/"), &listen),
            ["sonde.example", "localhost", "127.0.0.1", "::1", "192.0.2.7"]
        );
        assert_eq!(certificate_names(None, &[]), ["localhost", "127.0.0.1", "::1"]);
    }

    #[test]
    fn a_pair_made_here_is_kept_until_it_nears_its_end_or_is_for_other_names() {
        let names = ["a.example".to_owned(), "::1".to_owned()];
        let text = make(&names, UnixNanos::from_secs(1_000 * DAY)).unwrap();
        let good = |names: &[String], day: i64| is_good(text.as_bytes(), names, UnixNanos::from_secs(day * DAY));
        assert!(good(&names, 1_000));
        assert!(good(&names, 1_334));
        assert!(!good(&names, 1_335), "thirty days before its end");
        assert!(!good(&names[..1], 1_000), "other names");
    }
}
