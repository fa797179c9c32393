//! A web server for tests of sslcert and http: plain, over TLS 1.3 and over TLS 1.2, on every address of a namespace. It
//! shares no parser with the product and notes who came and what was said.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use crate::lab::Namespace;

/// Port of plain HTTP.
pub const PLAIN: u16 = 80;

/// Port of TLS 1.3 and nothing older.
pub const TLS_1_3: u16 = 443;

/// Port of TLS 1.2 and nothing newer.
pub const TLS_1_2: u16 = 8443;

/// What the plain path `/` and its variants have as body.
pub const BODY: &str = "The lab is open to everybody, day and night.\n";

/// The longest request.
const MAX_REQUEST: usize = 16 * 1024;

/// One connection.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Who came.
    pub client: IpAddr,
    /// To which port.
    pub port: u16,
    /// Whom TLS was asked for.
    pub server_name: Option<String>,
    /// The head of the request; empty if there was none.
    pub request: String,
}

/// A running server. Dropping it ends it.
pub struct Web {
    /// What it shows over TLS, in DER, its own certificate first.
    pub chain: Vec<Vec<u8>>,
    visits: Arc<Mutex<Vec<Visit>>>,
    /// Its tasks end with it.
    _runtime: Runtime,
}

impl Web {
    /// Listens inside a namespace.
    ///
    /// # Errors
    /// When certificates or sockets cannot be made.
    pub fn start(inside: &Namespace) -> Result<Self> {
        let (own, issuer) = (rcgen::KeyPair::generate()?, rcgen::KeyPair::generate()?);
        let make = |name: &str, key| -> Result<CertificateDer<'static>> {
            Ok(rcgen::CertificateParams::new([name.to_owned()])?.self_signed(key)?.der().clone())
        };
        let chain = vec![make("target.lab.example", &own)?, make("issuer.lab.example", &issuer)?];
        let visits = Arc::new(Mutex::new(Vec::new()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        for (port, version) in [(PLAIN, None), (TLS_1_3, Some(&TLS13)), (TLS_1_2, Some(&TLS12))] {
            let any = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
            let listener = inside.run(|| TcpListener::bind(any)).with_context(|| format!("bind {any}"))?;
            listener.set_nonblocking(true)?;
            let tls = match version {
                None => None,
                Some(version) => {
                    let provider = Arc::new(rustls::crypto::ring::default_provider());
                    let key = PrivateKeyDer::Pkcs8(own.serialize_der().into());
                    let config = ServerConfig::builder_with_provider(provider)
                        .with_protocol_versions(&[version])?
                        .with_no_client_auth()
                        .with_single_cert(chain.clone(), key)?;
                    Some(TlsAcceptor::from(Arc::new(config)))
                }
            };
            runtime.spawn(serve(listener, port, tls, Arc::clone(&visits)));
        }
        Ok(Self { chain: chain.iter().map(|der| der.to_vec()).collect(), visits, _runtime: runtime })
    }

    /// Every request so far, and every handshake that came to nothing.
    pub fn visits(&self) -> Vec<Visit> {
        lock(&self.visits).clone()
    }
}

fn lock(visits: &Mutex<Vec<Visit>>) -> MutexGuard<'_, Vec<Visit>> {
    visits.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, port: u16, tls: Option<TlsAcceptor>, visits: Arc<Mutex<Vec<Visit>>>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("the runtime has room");
    while let Ok((stream, client)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let (tls, visits) = (tls.clone(), Arc::clone(&visits));
        tokio::spawn(async move {
            let note = |server_name, request: &str| {
                let request = request.to_owned();
                lock(&visits).push(Visit { client: client.ip().to_canonical(), port, server_name, request });
            };
            // However it ends, it is noted; what ends it is the client's business.
            let _ = match tls {
                None => converse(stream, |request| note(None, request)).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => {
                        let server_name = stream.get_ref().1.server_name().map(String::from);
                        converse(stream, |request| note(server_name, request)).await
                    }
                    Err(error) => {
                        note(None, "");
                        Err(error)
                    }
                },
            };
        });
    }
}

/// Reads a request, notes it, and answers.
async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, note: impl FnOnce(&str)) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && request.len() < MAX_REQUEST {
        request.push(stream.read_u8().await?);
        // What does not begin like a request will not become one.
        if !request.first().is_some_and(u8::is_ascii_uppercase) {
            break;
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    note(&request);
    stream.write_all(response_to(&request).as_bytes()).await?;
    stream.shutdown().await?;
    // Until the client has gone: what it still sends must not make the system take the response back.
    while stream.read(&mut [0; 1024]).await? > 0 {}
    Ok(())
}

/// The response by a request's path.
fn response_to(request: &str) -> String {
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let body = if method == "HEAD" { "" } else { BODY };
    match path.split('?').next().unwrap_or_default() {
        "/" => format!("HTTP/1.1 200 OK\r\nServer: lab\r\nContent-Length: {}\r\n\r\n{body}", BODY.len()),
        "/chunked" => {
            let (one, two) = BODY.split_at(10);
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x};x=y\r\n{two}\r\n0\r\n\r\n",
                one.len(),
                two.len()
            )
        }
        "/until-close" => format!("HTTP/1.0 200 OK\r\n\r\n{body}"),
        "/moved" => "HTTP/1.1 301 Moved\r\nLocation: http://192.168.0.1/\r\nContent-Length: 0\r\n\r\n".into(),
        "/nonsense" => "What would you like?\n".into(),
        "" => "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".into(),
        _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into(),
    }
}
