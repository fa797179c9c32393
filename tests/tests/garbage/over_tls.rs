//! The port for TLS, which people's clients and probes behind walls for UDP share: each gets what was asked for by name, and
//! garbage in the lanes ends its own connection.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use sonde_protocol::bounded::Bytes;
use sonde_protocol::directory::SignedDirectory;
use sonde_protocol::lanes::{MAX_PIECE, Record, RecordReader, Stream};
use sonde_protocol::message::{Down, Hello, MAX_CONTROL, RefusedReason, Up, from_cbor, to_cbor};
use sonde_protocol::tls::{SecretKey, directory_client_config};
use sonde_protocol::wire::{Reader, framed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::ground::Ground;
use crate::peer::{Street, frame, hello, random_bytes, seed};

async fn connect(ground: &Ground, tls: rustls::ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(ground.tls).await?;
    TlsConnector::from(Arc::new(tls)).connect(ServerName::IpAddress(ground.tls.ip().into()), stream).await
}

/// A known probe that comes over TLS.
pub struct TlsPeer<'a> {
    street: &'a Street,
    stream: TlsStream<TcpStream>,
    records: RecordReader,
    reader: Reader,
}

impl<'a> TlsPeer<'a> {
    /// Says hello, and is welcomed.
    pub fn again(ground: &Ground, street: &'a Street, key: &SecretKey) -> Self {
        let stream = street.wait(connect(ground, street.tls_over_tcp(key))).unwrap();
        let mut peer = Self { street, stream, records: RecordReader::default(), reader: Reader::new(MAX_CONTROL) };
        peer.say(&Up::Hello(hello()));
        peer.hear_until(|message| matches!(message, Down::Welcome(_)).then_some(()));
        peer
    }

    /// Sends a message on the control stream.
    pub fn say(&mut self, message: &Up) {
        let message = framed(&to_cbor(message));
        self.street.wait(async {
            for piece in message.chunks(MAX_PIECE) {
                self.stream.write_all(&Record::Data(Stream::Control, piece).to_bytes()).await.unwrap();
            }
            self.stream.flush().await.unwrap();
        });
    }

    /// The next message that `choose` wants; others are passed over.
    #[track_caller]
    pub fn hear_until<T>(&mut self, mut choose: impl FnMut(Down) -> Option<T>) -> T {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            while let Some(message) = self.reader.next_message().unwrap() {
                if let Some(chosen) = from_cbor(message).unwrap().and_then(&mut choose) {
                    return chosen;
                }
            }
            let n = self.street.wait(self.stream.read(&mut buffer)).unwrap();
            assert!(n > 0, "the connection ended");
            self.records.push(&buffer[..n]);
            while let Some(record) = self.records.next_record().unwrap() {
                if let Record::Data(Stream::Control, piece) = record {
                    self.reader.push(piece);
                }
            }
        }
    }
}

/// Everything until the end, which may be a reset: what the other end has not read may cost us its last words.
async fn rest(stream: &mut TlsStream<TcpStream>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    bytes
}

/// The control messages in records.
fn said(bytes: &[u8]) -> Vec<Down> {
    let (mut records, mut reader, mut found) = (RecordReader::default(), Reader::new(MAX_CONTROL), Vec::new());
    records.push(bytes);
    while let Some(record) = records.next_record().unwrap() {
        let Record::Data(Stream::Control, piece) = record else { continue };
        reader.push(piece);
        while let Some(message) = reader.next_message().unwrap() {
            found.extend(from_cbor(message).unwrap());
        }
    }
    found
}

#[test]
fn garbage_in_the_lanes_ends_its_own_connection() {
    let mut ground = Ground::start();
    let street = Street::to(&ground);
    let seed = seed();
    eprintln!("seed {seed}");
    // With a token that is none: whoever brings none may wait, and its connection stays.
    let hello = framed(&to_cbor(&Up::Hello(Hello { token: Bytes::new(*b"no token of ours"), ..hello() })));
    let control = |bytes: &[u8]| Record::Data(Stream::Control, bytes).to_bytes();
    let cases = [
        ("random bytes", random_bytes(seed, 100_000)),
        ("a record of 4 GiB", vec![0xff; 4]),
        ("a record that is too long", control(&vec![0; MAX_PIECE + 1])),
        ("no message", control(&framed(b"\x6bhello world"))),
        ("a message that is too long", control(&[0xff; 4])),
        (
            "reports before the welcome",
            Record::Data(Stream::Fresh, &framed(&to_cbor(&frame(1, &[b"\xf6"])))).to_bytes(),
        ),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
    ];
    for (case, bytes) in cases {
        let answer = street.wait(async {
            let key = SecretKey::generate().unwrap();
            let mut stream = connect(&ground, street.tls_over_tcp(&key)).await.unwrap();
            // The server may end it before all is written.
            let _ = stream.write_all(&bytes).await;
            let _ = stream.flush().await;
            rest(&mut stream).await
        });
        assert!(said(&answer).is_empty(), "{case}: {answer:?}");
        ground.undisturbed(case);
    }
    // In the smallest pieces, with questions and records of a newer version between them: it is understood.
    let answer = street.wait(async {
        let mut stream = connect(&ground, street.tls_over_tcp(&SecretKey::generate().unwrap())).await.unwrap();
        for byte in &hello {
            let records = [framed(&[200, 1, 2]), Record::Ping.to_bytes(), control(&[*byte])].concat();
            stream.write_all(&records).await.unwrap();
        }
        stream.flush().await.unwrap();
        rest(&mut stream).await
    });
    let refused = said(&answer);
    assert!(matches!(&refused[..], [Down::Refused(refused)] if refused.reason == RefusedReason::Token), "{refused:?}");
    ground.not_grown("garbage over TLS");
}

#[test]
fn one_port_for_people_and_probes() {
    let mut ground = Ground::start();
    let street = Street::to(&ground);
    let key = SecretKey::generate().unwrap();
    let directory = street.wait(async {
        let mut stream = connect(&ground, directory_client_config(&key).unwrap()).await.unwrap();
        rest(&mut stream).await
    });
    minicbor::decode::<SignedDirectory>(&directory).unwrap();
    // Somebody who asks for the web gets the web, and with it a certificate instead of a bare key.
    let mut web = street.tls_over_tcp(&key);
    web.alpn_protocols = vec![b"http/1.1".to_vec()];
    let error = street.wait(connect(&ground, web)).unwrap_err();
    assert!(!error.to_string().contains("NoApplicationProtocol"), "{error}");
    let mut newer = street.tls_over_tcp(&key);
    newer.alpn_protocols = vec![b"sonde-tls/2".to_vec()];
    street.wait(connect(&ground, newer)).unwrap_err();
    ground.undisturbed("strangers on the port for TLS");
}
