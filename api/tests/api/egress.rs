//! What the server may be made to ask for: nothing that only it can reach. Connections go through a recorder, so that
//! "nothing goes out" is what the network would see.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::http::{HeaderName, HeaderValue};
use sonde_api::Resolve;
use sonde_api::egress::{Connect, Egress, EgressError, SystemConnect};
use sonde_protocol::net::Family;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(super) const PUBLIC: &str = "20.1.2.3";

/// One of every kind of special address.
pub(super) const SPECIAL: [&str; 38] = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:20.1.2.3",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "100::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:c0a8:101::1",
    "2001:0:a00:1::1",
    "2001:0:1401:203::80ff:fffe",
    "3fff::1",
    "fd00::1",
    "fe80::1",
    "ff02::1",
];

/// Remembers where connections would go, and refuses them.
#[derive(Default)]
pub(super) struct Recorder(Mutex<Vec<SocketAddr>>);

impl Recorder {
    /// Where connections would have gone.
    pub(super) fn went(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(ToString::to_string).collect()
    }
}

#[async_trait]
impl Connect for Recorder {
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.0.lock().unwrap().push(address);
        Err(io::ErrorKind::ConnectionRefused.into())
    }
}

/// Answers whatever the name: each time the next of these, by family.
pub(super) struct Script(Mutex<VecDeque<Vec<IpAddr>>>);

impl Script {
    pub(super) fn new(answers: &[&[&str]]) -> Arc<Self> {
        let answer = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self(Mutex::new(answers.iter().map(answer).collect())))
    }
}

#[async_trait]
impl Resolve for Script {
    async fn resolve(&self, _: &str, family: Family) -> Result<Vec<IpAddr>, String> {
        let mut answers = self.0.lock().unwrap();
        let of_family = |address: &&IpAddr| Family::of(**address) == family;
        let found = answers.front().ok_or("asked once too often")?.iter().filter(of_family).copied().collect();
        // IPv4 is asked for last.
        if family == Family::V4 {
            answers.pop_front();
        }
        Ok(found)
    }
}

/// Posts to each URL in turn, and gives the outcomes and where connections went.
async fn post(urls: &[&str], answers: &[&[&str]]) -> (Vec<Result<u16, EgressError>>, Vec<String>) {
    let recorder = Arc::new(Recorder::default());
    let egress = Egress::new(Script::new(answers), recorder.clone(), None, Vec::new()).unwrap();
    let mut outcomes = Vec::new();
    for url in urls {
        outcomes.push(egress.post(url, &[], b"{}").await);
    }
    (outcomes, recorder.went())
}

#[track_caller]
fn refused(what: &str, (outcomes, went): (Vec<Result<u16, EgressError>>, Vec<String>)) {
    assert!(matches!(outcomes[..], [Err(EgressError::Refused(_))]), "{what}: {outcomes:?}");
    assert!(went.is_empty(), "{what}: {went:?}");
}

#[tokio::test]
async fn no_special_address_is_reached_by_literal_or_by_name() {
    for address in SPECIAL {
        let literal = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        refused(address, post(&[&format!("https://{literal}/")], &[]).await);
        refused(address, post(&["https://name.example/"], &[&[address]]).await);
        // With a public one beside it, of either family.
        refused(address, post(&["https://name.example/"], &[&[PUBLIC, address]]).await);
        refused(address, post(&["https://name.example/"], &[&["2a00:9::1", address]]).await);
    }
}

#[tokio::test]
async fn no_spelling_of_an_address_gets_around_it() {
    for host in [
        "2130706433",
        "0x7f000001",
        "0x7F.1",
        "017700000001",
        "0177.0.0.1",
        "127.1",
        "127.0.1",
        "127.0.0.1.",
        "0",
        "[fe80::1%eth0]",
        "[fe80::1%25eth0]",
        "[::1",
        "::1",
        "[127.0.0.1]",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "",
        "user@127.0.0.1",
        "good.example@127.0.0.1",
        "good.example\\@127.0.0.1",
        "good.example#@127.0.0.1",
        "127.0.0.1:443",
        "good.example:22",
        "good.example:25",
        "good.example:80",
        "good.example:0",
        "good.example:6379",
        "good.example:65536",
        "good.example:",
        "good.example:+443",
        "good.example:443:443",
        "good.example\r\nX: y",
        "good example",
    ] {
        refused(host, post(&[&format!("https://{host}/")], &[&[PUBLIC]]).await);
    }
    for url in
        ["http://good.example/", "ftp://good.example/", "//good.example/", "file:///etc/passwd", "good.example", ""]
    {
        refused(url, post(&[url], &[&[PUBLIC]]).await);
    }
}

#[tokio::test]
async fn the_connection_goes_to_the_address_that_was_checked() {
    // The name has another address when it is looked up again: it is not, within a request.
    let url = "https://rebinding.example:8443/hook";
    let (outcomes, went) = post(&[url, url], &[&[PUBLIC], &["127.0.0.1"]]).await;
    assert!(matches!(outcomes[..], [Err(EgressError::Failed(_)), Err(EgressError::Refused(_))]), "{outcomes:?}");
    assert_eq!(went, ["20.1.2.3:8443"]);
    let (_, went) = post(&["HTTPS://Good.Example?q"], &[&[PUBLIC, "2a00:9::1"]]).await;
    assert_eq!(went, ["[2a00:9::1]:443", "20.1.2.3:443"]);
}

/// A receiver on loopback that gives one of these answers after the other, the last one again and again, and what it was
/// sent. Its certificate for `hook.example` is its own root: `ca.pem`.
pub(super) async fn receiver(dir: &Path, answers: &'static [&'static str]) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let made = rcgen::generate_simple_self_signed(vec!["hook.example".to_owned()]).unwrap();
    std::fs::write(dir.join("ca.pem"), made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_protocol_versions(rustls::ALL_VERSIONS);
    let config = config.unwrap().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let log = Arc::clone(&seen);
    tokio::spawn(async move {
        let mut answers = answers.iter().peekable();
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                log.lock().unwrap().push("no handshake".to_owned());
                continue;
            };
            let mut request = Vec::new();
            while !is_whole(&request) && stream.read_buf(&mut request).await.unwrap() > 0 {}
            log.lock().unwrap().push(String::from_utf8(request).unwrap());
            let answer = answers.next().unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            if answers.peek().is_none() {
                answers = std::slice::from_ref(answer).iter().peekable();
            }
            let _ = stream.shutdown().await;
        }
    });
    (address, seen)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("Content-Length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    body.len() == length.unwrap_or(0)
}

#[tokio::test]
async fn a_receiver_that_is_trusted_gets_the_request_and_a_redirect_leads_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let answer = &["HTTP/1.1 307 Temporary Redirect\r\nLocation: https://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"];
    let (address, seen) = receiver(dir.path(), answer).await;
    let url = format!("https://hook.example:{}/in?x=1", address.port());
    let header = (HeaderName::from_static("sonde-signature"), HeaderValue::from_static("t=1"));
    let ca = dir.path().join("ca.pem");
    let loopback = || vec!["127.0.0.0/8".parse().unwrap()];
    let new = |ca: Option<&Path>, allowed| {
        Egress::new(Script::new(&[&["127.0.0.1"]]), Arc::new(SystemConnect), ca, allowed).unwrap()
    };

    // Without the operator's exception nothing comes, without the root there is no handshake.
    let outcome = new(Some(&ca), Vec::new()).post(&url, &[], b"the body").await;
    assert!(matches!(outcome, Err(EgressError::Refused(_))), "{outcome:?}");
    assert!(seen.lock().unwrap().is_empty());
    let outcome = new(None, loopback()).post(&url, &[], b"the body").await;
    assert!(matches!(outcome, Err(EgressError::Failed(_))), "{outcome:?}");

    assert_eq!(new(Some(&ca), loopback()).post(&url, &[header], b"the body").await, Ok(307));
    let expected = format!(
        "POST /in?x=1 HTTP/1.1\r\nHost: hook.example:{}\r\nConnection: close\r\nContent-Length: 8\r\n\
         sonde-signature: t=1\r\n\r\nthe body",
        address.port()
    );
    assert_eq!(*seen.lock().unwrap(), ["no handshake".to_owned(), expected]);
}

#[tokio::test]
async fn what_is_no_http_is_no_answer() {
    for answer in [&[""], &["SSH-2.0-x\r\n"], &["HTTP/1.1 2x0 OK\r\n"], &["HTTP/1.1 200"], &["HTTP/2 200 OK\r\n"]] {
        let dir = tempfile::tempdir().unwrap();
        let (address, _) = receiver(dir.path(), answer).await;
        let allowed = vec!["127.0.0.0/8".parse().unwrap()];
        let ca = dir.path().join("ca.pem");
        let egress = Egress::new(Script::new(&[&["127.0.0.1"]]), Arc::new(SystemConnect), Some(&ca), allowed).unwrap();
        let outcome = egress.post(&format!("https://hook.example:{}/", address.port()), &[], b"the body").await;
        assert!(matches!(outcome, Err(EgressError::Failed(_))), "{answer:?}: {outcome:?}");
    }
}
