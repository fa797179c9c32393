//! The one module through which the server itself makes requests that others have asked for (webhooks). Whoever names the
//! address must not reach through us what only we can reach: so every address is checked against the table of special ones,
//! and the connection goes to exactly the address that was checked.
//!
//! It must not know what is sent, follow a redirect, ask a proxy, or read more of an answer than its status.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sonde_protocol::address::tcp_port_allowed;
use sonde_protocol::net::Family;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::target::{Resolve, check, host_name};

/// The longest URL. Browsers and proxies agree on about this much.
const MAX_URL: usize = 2048;

/// The most addresses of a name that are tried. All of them are checked.
const MAX_TRIED: usize = 4;

/// How long connecting to one address may take, and the TLS handshake.
const STEP_TIME: Duration = Duration::from_secs(5);

/// How long the whole request may take, its answer included.
const WHOLE_TIME: Duration = Duration::from_secs(30);

/// The longest first line of an answer: a version, a status and a phrase.
const MAX_STATUS_LINE: usize = 512;

/// Ports from here on are nobody's in particular, except those that [`tcp_port_allowed`] knows.
const FIRST_USER_PORT: u16 = 1024;

/// Why a request was not made, or has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// It may not be made, now or later.
    #[error("{0}")]
    Refused(String),
    /// It did not work this time.
    #[error("{0}")]
    Failed(String),
}

/// Opens TCP connections.
#[async_trait]
pub trait Connect: Send + Sync {
    /// Connects to this very address.
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream>;
}

/// Connections of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemConnect;

#[async_trait]
impl Connect for SystemConnect {
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }
}

/// Where a request goes, as far as its URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    host: Host,
    port: u16,
    path: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Literal(IpAddr),
    Name(String),
}

impl Destination {
    /// Reads a URL and checks all of it that needs no name server; the error is for whoever wrote it.
    pub fn read(url: &str, allowed: &[IpNet]) -> Result<Self, String> {
        if url.len() > MAX_URL || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("Write the URL in at most {MAX_URL} visible ASCII characters."));
        }
        let rest = match url.get(..8) {
            Some(scheme) if scheme.eq_ignore_ascii_case("https://") => url.get(8..).unwrap_or_default(),
            _ => return Err("The URL must begin with https://.".into()),
        };
        if rest.contains(['\\', '#']) {
            return Err("The URL must not have a backslash or a fragment.".into());
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err("The URL must not have a user name or password.".into());
        }
        // Behind a bracket or the only colon.
        let (host, port) =
            match authority.rfind(':').filter(|&colon| !authority.get(colon..).unwrap_or("").contains(']')) {
                Some(colon) => (authority.get(..colon).unwrap_or_default(), authority.get(colon + 1..)),
                None => (authority, None),
            };
        let port = match port {
            None => 443,
            Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().map_err(|_| "The port is no number from 1 to 65535.".to_owned())?
            }
            Some(_) => return Err("The port is no number from 1 to 65535.".into()),
        };
        if !(port == 443 || port >= FIRST_USER_PORT && tcp_port_allowed(port)) {
            return Err(format!(
                "Port {port} cannot be used: 443, or one from {FIRST_USER_PORT} that is no known service's."
            ));
        }
        let host = if let Some(inside) = host.strip_prefix('[') {
            // A zone identifier does not parse.
            let address = inside.strip_suffix(']').and_then(|text| text.parse::<Ipv6Addr>().ok());
            Host::Literal(address.ok_or("There is no IPv6 address between the brackets.")?.into())
        } else if let Ok(address) = host.parse::<std::net::Ipv4Addr>() {
            Host::Literal(address.into())
        } else {
            // Addresses in old spellings (decimal, octal, hexadecimal, short) are no names.
            Host::Name(host_name(host)?)
        };
        if let Host::Literal(address) = &host {
            check(*address, allowed)?;
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { host, port, path })
    }

    fn authority(&self) -> String {
        let host = match &self.host {
            Host::Literal(IpAddr::V6(address)) => format!("[{address}]"),
            Host::Literal(IpAddr::V4(address)) => address.to_string(),
            Host::Name(name) => name.clone(),
        };
        if self.port == 443 { host } else { format!("{host}:{}", self.port) }
    }
}

/// Makes requests.
pub struct Egress {
    resolver: Arc<dyn Resolve>,
    connector: Arc<dyn Connect>,
    tls: TlsConnector,
    allowed: Vec<IpNet>,
}

impl Egress {
    /// With the machine's roots and those in a PEM file, if one is given. `allowed` are special addresses that may be
    /// reached all the same: for labs.
    pub fn new(
        resolver: Arc<dyn Resolve>,
        connector: Arc<dyn Connect>,
        extra_roots: Option<&Path>,
        allowed: Vec<IpNet>,
    ) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        // What cannot be read of the system's is left out: without any root every request fails and says so.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = extra_roots {
            let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
                roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { resolver, connector, tls: Arc::new(config).into(), allowed })
    }

    /// Sends a body and gives the status of the answer, whatever it is: a redirect is an answer like any other.
    pub async fn post(
        &self,
        url: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: &[u8],
    ) -> Result<u16, EgressError> {
        let to = Destination::read(url, &self.allowed).map_err(EgressError::Refused)?;
        let mut request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n",
            to.path,
            to.authority(),
            body.len()
        )
        .into_bytes();
        for (name, value) in headers {
            request.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        let whole = timeout(WHOLE_TIME, async { self.exchange(&to, &request, self.addresses(&to).await?).await });
        whole.await.unwrap_or_else(|_| Err(late("The request", WHOLE_TIME)))
    }

    /// Every address of the host, each of them allowed: one that is not refuses all.
    async fn addresses(&self, to: &Destination) -> Result<Vec<IpAddr>, EgressError> {
        let name = match &to.host {
            Host::Literal(address) => return Ok(vec![*address]),
            Host::Name(name) => name,
        };
        let (mut addresses, mut problem) = (Vec::new(), None);
        for family in [Family::V6, Family::V4] {
            match self.resolver.resolve(name, family).await {
                Ok(found) => addresses.extend(found),
                Err(error) => problem = Some(error),
            }
        }
        for address in &addresses {
            check(*address, &self.allowed)
                .map_err(|why| EgressError::Refused(format!("{name} has the address {address}. {why}")))?;
        }
        if addresses.is_empty() {
            let why = problem.unwrap_or_else(|| "it has no address".into());
            return Err(EgressError::Failed(format!("{name} could not be resolved: {why}.")));
        }
        Ok(addresses)
    }

    async fn exchange(&self, to: &Destination, request: &[u8], addresses: Vec<IpAddr>) -> Result<u16, EgressError> {
        let failed = |what: &str, error: &io::Error| EgressError::Failed(format!("{what}: {error}."));
        let mut stream = Err(EgressError::Failed("There is no address.".into()));
        for address in addresses.into_iter().take(MAX_TRIED) {
            let address = SocketAddr::new(address, to.port);
            stream = match timeout(STEP_TIME, self.connector.connect(address)).await {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => Err(failed(&format!("No connection to {address}"), &error)),
                Err(_) => Err(late(&format!("Connecting to {address}"), STEP_TIME)),
            };
            if stream.is_ok() {
                break;
            }
        }
        let name = match &to.host {
            Host::Literal(address) => ServerName::from(*address),
            Host::Name(name) => ServerName::try_from(name.clone())
                .map_err(|_| EgressError::Refused(format!("{name} cannot be a name in a certificate.")))?,
        };
        let mut stream = match timeout(STEP_TIME, self.tls.connect(name, stream?)).await {
            Ok(done) => done.map_err(|error| failed("The TLS handshake failed", &error))?,
            Err(_) => return Err(late("The TLS handshake", STEP_TIME)),
        };
        stream.write_all(request).await.map_err(|error| failed("Sending failed", &error))?;
        stream.flush().await.map_err(|error| failed("Sending failed", &error))?;
        status(&mut stream).await.map_err(|error| failed("There is no answer", &error))
    }
}

fn late(what: &str, limit: Duration) -> EgressError {
    EgressError::Failed(format!("{what} took more than {} s.", limit.as_secs()))
}

/// The status of an answer; nothing after its first line is read.
async fn status(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<u16> {
    let no_http = || io::Error::new(io::ErrorKind::InvalidData, "it is no HTTP");
    let mut line = Vec::new();
    let mut stream = stream.take(MAX_STATUS_LINE as u64);
    while !line.contains(&b'\n') {
        if stream.read_buf(&mut line).await? == 0 {
            return Err(no_http());
        }
    }
    let digits = line.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(1..5)).and_then(|rest| rest.strip_prefix(b" "));
    let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_digit)).ok_or_else(no_http)?;
    Ok(digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')))
}
