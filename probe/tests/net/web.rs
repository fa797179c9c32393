//! sslcert and http against real servers on the loopback interface.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use sonde_engine::http::{self, Exchange};
use sonde_engine::sslcert::{self, Plan, outcome};
use sonde_probe::net::clock::{ClockSource, SystemClock};
use sonde_probe::net::stream::server_name;
use sonde_probe::net::{certificates, tls};
use sonde_protocol::bounded::Text;
use sonde_protocol::net::Family;
use sonde_protocol::result::{HttpOutcome, SslcertFailure, SslcertOutcome, Why};
use sonde_protocol::spec::{HttpMethod, HttpSpec, SslcertSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::lab::{in_namespace, localhost};

/// The time left to a run that is to be seen timing out.
const SOON: Duration = Duration::from_millis(300);

/// A certificate of its own making, and its key.
struct Made {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

fn made(name: &str) -> Made {
    let key = rcgen::KeyPair::generate().expect("a key");
    let parameters = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
    let certificate = parameters.self_signed(&key).expect("a certificate").der().clone();
    Made { certificate, key: PrivateKeyDer::Pkcs8(key.serialize_der().into()) }
}

/// Shows these certificates and notes whom it was asked for.
#[derive(Debug)]
struct Shows {
    key: Arc<CertifiedKey>,
    asked: Mutex<Vec<Option<String>>>,
}

impl ResolvesServerCert for Shows {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.asked.lock().expect("one at a time").push(hello.server_name().map(Into::into));
        Some(self.key.clone())
    }
}

struct TlsServer {
    config: Arc<ServerConfig>,
    shows: Arc<Shows>,
    chain: Vec<CertificateDer<'static>>,
}

/// A server that signs with `key` and shows the certificate of `shown` and one more.
fn tls_server(
    version: &'static rustls::SupportedProtocolVersion,
    shown: Made,
    key: PrivateKeyDer<'static>,
    wants_client: bool,
) -> TlsServer {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = provider.key_provider.load_private_key(key).expect("a key");
    let chain = vec![shown.certificate, made("issuer.example").certificate];
    let shows = Arc::new(Shows { key: Arc::new(CertifiedKey::new(chain.clone(), key)), asked: Mutex::default() });
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[version]).expect("known");
    let builder = if wants_client {
        let mut roots = RootCertStore::empty();
        roots.add(made("roots.example").certificate).expect("a root");
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("a verifier");
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let config = Arc::new(builder.with_cert_resolver(shows.clone()));
    TlsServer { config, shows, chain }
}

async fn listen(family: Family) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(SocketAddr::new(localhost(family), 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// What a run sees of a server that does this with its connection, and the end of its patience.
async fn certificates_of<F: Future<Output = ()>>(
    family: Family,
    hostname: Option<&str>,
    patience: Duration,
    serve: impl FnOnce(TcpStream) -> F,
) -> SslcertOutcome {
    let (listener, address) = listen(family).await;
    let server = async {
        let (stream, _) = listener.accept().await.expect("a client");
        serve(stream).await;
    };
    tokio::join!(fetch(address, hostname, patience), server).0
}

async fn fetch(address: SocketAddr, hostname: Option<&str>, patience: Duration) -> SslcertOutcome {
    let clock: Arc<dyn ClockSource> = Arc::new(SystemClock);
    let spec = SslcertSpec { port: address.port().into(), hostname: hostname.map(Text::cut) };
    let started = clock.monotonic() - sslcert::TIMEOUT.saturating_sub(patience);
    let plan = Plan::new(&spec, None, address.ip(), started).expect("a plan");
    let client = tls::client(clock.clone(), &[&TLS12, &TLS13], &[]).expect("a client");
    let name = server_name(&plan.name).expect("a name");
    let told = certificates::fetch(&*clock, &plan, address.ip(), client, name).await;
    outcome(&plan, &told.events)
}

/// Serves TLS until the client is gone.
async fn accept(config: Arc<ServerConfig>, stream: TcpStream) {
    if let Ok(mut tls) = TlsAcceptor::from(config).accept(stream).await {
        let _ = tls.read(&mut [0; 16]).await;
    }
}

/// Sends these bytes and reads until the client is gone.
async fn say(mut stream: TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
    let mut sink = [0; 4096];
    while stream.read(&mut sink).await.is_ok_and(|length| length > 0) {}
}

fn failed(seen: &SslcertOutcome) -> &str {
    match &seen.failure {
        Some(SslcertFailure::Failed(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn shown(seen: &SslcertOutcome) -> Vec<&[u8]> {
    seen.certificates.iter().map(|der| &**der).collect()
}

#[test]
fn the_certificates_are_those_that_the_server_shows() {
    in_namespace(|| async {
        for (version, number) in [(&TLS12, 0x0303), (&TLS13, 0x0304)] {
            for family in Family::BOTH {
                for hostname in [None, Some("sni.example")] {
                    let own = made("a.example");
                    let key = own.key.clone_key();
                    let server = tls_server(version, own, key, false);
                    let config = server.config.clone();
                    let patience = sslcert::TIMEOUT;
                    let seen = certificates_of(family, hostname, patience, |stream| accept(config, stream)).await;
                    assert_eq!(shown(&seen), server.chain.iter().map(AsRef::as_ref).collect::<Vec<&[u8]>>());
                    assert_eq!((seen.version, &seen.failure), (Some(number), &None));
                    assert!(seen.cipher.is_some() && seen.rt > seen.connect, "{seen:?}");
                    assert!(!seen.client_certificate_wanted);
                    // A literal sends no name.
                    assert_eq!(*server.shows.asked.lock().unwrap(), [hostname.map(String::from)]);
                }
            }
        }
    });
}

#[test]
fn certificates_are_there_also_when_the_handshake_does_not_end_well() {
    in_namespace(|| async {
        for version in [&TLS12, &TLS13] {
            let forged = tls_server(version, made("a.example"), made("b.example").key, false);
            let config = forged.config.clone();
            let seen = certificates_of(Family::V4, None, sslcert::TIMEOUT, |stream| accept(config, stream)).await;
            assert_eq!(shown(&seen).len(), 2, "{seen:?}");
            assert!(failed(&seen).contains("BadSignature"), "{seen:?}");

            let own = made("a.example");
            let key = own.key.clone_key();
            let config = tls_server(version, own, key, true).config;
            let seen = certificates_of(Family::V4, None, sslcert::TIMEOUT, |stream| accept(config, stream)).await;
            assert_eq!((shown(&seen).len(), seen.client_certificate_wanted), (2, true), "{seen:?}");
            assert_eq!(seen.failure, None);
        }
    });
}

/// The hello of a server that speaks nothing newer than TLS 1.1.
fn hello_of_tls11() -> Vec<u8> {
    let mut hello = b"\x16\x03\x02\x00\x2a\x02\x00\x00\x26\x03\x02".to_vec();
    hello.extend([7; 32]);
    hello.extend(b"\x00\xc0\x13\x00");
    hello
}

#[test]
fn servers_that_show_no_certificate() {
    in_namespace(|| async {
        let of = |bytes: Vec<u8>, patience| {
            certificates_of(Family::V4, None, patience, |stream| async move { say(stream, &bytes).await })
        };
        let long = sslcert::TIMEOUT;
        assert_eq!(failed(&of(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), long).await), "bad type 72");
        let alert = of(b"\x15\x03\x03\x00\x02\x02\x28".to_vec(), long).await;
        assert_eq!(alert.failure, Some(SslcertFailure::Alert(40)));
        let old = of(hello_of_tls11(), long).await;
        assert_eq!(failed(&old), "the server chose a version of TLS before 1.2");
        // A hello that never ends is not read for ever.
        let mut endless = b"\x16\x03\x03\x40\x00\x02\xff\xff\xff".to_vec();
        endless.resize(5 + 0x4000, 0);
        let seen = of(endless.repeat(100), long).await;
        assert!(seen.failure.is_some() && seen.certificates.is_empty(), "{seen:?}");

        assert_eq!(failed(&of(Vec::new(), SOON).await), "timeout reading hello");
        let seen = certificates_of(Family::V4, None, long, |stream| async move { drop(stream) }).await;
        assert!(failed(&seen).contains("reading hello"), "{seen:?}");
        let (listener, address) = listen(Family::V6).await;
        drop(listener);
        assert_eq!(failed(&fetch(address, None, long).await), "connect: Connection refused");
    });
}

/// What a run of `spec` sees of a server that answers so, and what the server got.
async fn asked(
    spec: &HttpSpec,
    family: Family,
    patience: Duration,
    tls: Option<Arc<ServerConfig>>,
    answer: &[u8],
    stays: bool,
) -> (HttpOutcome, String) {
    let (listener, address) = listen(family).await;
    let spec = HttpSpec { port: address.port().into(), ..spec.clone() };
    let plan = http::Plan::new(&spec, "a.example").expect("a plan");
    let clock: Arc<dyn ClockSource> = Arc::new(SystemClock);
    let client = tls.is_some().then(|| {
        let (config, _) = tls::client(clock.clone(), &[&TLS12, &TLS13], &[b"http/1.1"]).expect("a client");
        (Arc::new(config), server_name("a.example").expect("a name"))
    });
    let started = clock.monotonic() - http::TIMEOUT.saturating_sub(patience);
    let mut exchange = Exchange::new(&spec, started);
    let server = async {
        let (stream, _) = listener.accept().await.expect("a client");
        match tls {
            None => converse(stream, answer, stays).await,
            // The connection ends without a word of TLS's own, as many servers do it.
            Some(config) => match TlsAcceptor::from(config).accept(stream).await {
                Ok(stream) => converse(stream, answer, stays).await,
                Err(_) => String::new(),
            },
        }
    };
    let run = sonde_probe::net::http::run(&*clock, &plan, address.ip(), client, &mut exchange);
    let (src, request) = tokio::join!(run, server);
    assert_eq!(src, Some(localhost(family)));
    (exchange.finish(), request)
}

async fn converse(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, answer: &[u8], stays: bool) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.expect("a request"));
    }
    // The client may have seen enough before it is all sent.
    let _ = stream.write_all(answer).await;
    let _ = stream.flush().await;
    if stays {
        let _ = stream.read_u8().await;
    }
    String::from_utf8(request).expect("text")
}

#[test]
fn a_request_and_its_response() {
    in_namespace(|| async {
        let long = http::TIMEOUT;
        let spec = HttpSpec { extended_timing: true, header_bytes: 2048, ..HttpSpec::default() };
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more";
        for family in Family::BOTH {
            let (seen, request) = asked(&spec, family, long, None, answer, true).await;
            assert!(request.starts_with("GET / HTTP/1.1\r\nHost: a.example:"), "{request}");
            assert_eq!((seen.head.map(|head| (head.status, head.size)), seen.body_size), (Some((200, 38)), 5));
            assert_eq!((&seen.failure, seen.header.as_deref()), (&None, Some(&b"Content-Length: 5\r\n\r\n"[..])));
            assert!(seen.connect < seen.first_byte && seen.first_byte <= seen.rt && seen.tls.is_none(), "{seen:?}");
        }
        let post = HttpSpec { method: HttpMethod::Post, ..HttpSpec::default() };
        let (seen, request) = asked(&post, Family::V4, long, None, b"HTTP/1.0 200 OK\r\n\r\nabc", false).await;
        assert!(request.contains("\r\nContent-Length: 0\r\n"), "{request}");
        assert_eq!((seen.body_size, &seen.failure), (3, &None));
    });
}

#[test]
fn https_whatever_the_certificate_says() {
    in_namespace(|| async {
        let own = made("quite.another.example");
        let key = own.key.clone_key();
        let server = tls_server(&TLS13, own, key, false);
        let spec = HttpSpec { https: true, extended_timing: true, ..HttpSpec::default() };
        let answer = b"HTTP/1.1 200 OK\r\n\r\nuntil the end";
        let (seen, _) = asked(&spec, Family::V6, http::TIMEOUT, Some(server.config), answer, false).await;
        assert_eq!((seen.body_size, &seen.failure), (13, &None), "{seen:?}");
        assert!(seen.connect < seen.tls && seen.tls < seen.first_byte, "{seen:?}");
        assert_eq!(*server.shows.asked.lock().unwrap(), [Some("a.example".to_owned())]);
    });
}

#[test]
fn responses_that_do_not_end() {
    in_namespace(|| async {
        let spec = HttpSpec::default();
        let of = |answer: Vec<u8>, patience| {
            let spec = spec.clone();
            async move { asked(&spec, Family::V4, patience, None, &answer, true).await.0.failure }
        };
        let words = |text: &str| Some(Why::cut(text));
        assert_eq!(of(Vec::new(), SOON).await, words("timeout reading status"));
        assert_eq!(of(b"HTTP/1.1 200 OK\r\nA".to_vec(), SOON).await, words("timeout reading header"));
        assert_eq!(of(b"HTTP/1.1 200 OK\r\n\r\nA".to_vec(), SOON).await, words("timeout reading body"));
        assert_eq!(of(b"SSH-2.0-x\r\n".to_vec(), http::TIMEOUT).await, words("bad response: no HTTP status line"));
        // More than may be read ends the run by itself.
        let large = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &vec![b'x'; 4 << 20]].concat();
        let (seen, _) = asked(&spec, Family::V4, http::TIMEOUT, None, &large, true).await;
        assert_eq!((seen.body_size, seen.truncated, seen.failure), (1_020_048, true, None));
    });
}
