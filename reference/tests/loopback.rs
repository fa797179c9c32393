//! A reference server on loopback, asked over real sockets.

#![expect(clippy::unwrap_used, reason = "an error must end the test")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use sonde_protocol::bounded::Bytes;
use sonde_protocol::key::PublicKey;
use sonde_protocol::reference::echo::{HEADER, MAX, Reply, Request, TOKEN, Token};
use sonde_protocol::reference::{Ask, MAX_MESSAGE, MAX_PADDING, Seen};
use sonde_protocol::tls::{SecretKey, reference_client_config};
use sonde_protocol::wire::{Reader, framed};
use sonde_reference::{Bound, Config, Reference, StartError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn config(listen: Vec<IpAddr>) -> Config {
    Config { listen, port: 0, echo_port: 0, echo_bytes: 10_000_000 }
}

/// A server on the loopback addresses of both families.
async fn server() -> (Reference, PublicKey) {
    let key = SecretKey::generate().unwrap();
    let listen = vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
    (Reference::start(&config(listen), &key).await.unwrap(), key.public())
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, ask: &Ask) -> Result<Seen, Failure> {
    stream.write_all(&framed(&minicbor::to_vec(ask)?)).await?;
    let mut reader = Reader::new(MAX_MESSAGE);
    let mut buffer = [0; 4096];
    loop {
        if let Some(message) = reader.next_message()? {
            let seen = minicbor::decode(message)?;
            stream.shutdown().await?;
            return Ok(seen);
        }
        match stream.read(&mut buffer).await? {
            0 => return Err("no answer".into()),
            length => reader.push(&buffer[..length]),
        }
    }
}

async fn by_tls(bound: Bound, key: PublicKey, ask: &Ask) -> Result<(SocketAddr, Seen), Failure> {
    let stream = TcpStream::connect(bound.tls).await?;
    let own = stream.local_addr()?;
    let connector = TlsConnector::from(Arc::new(reference_client_config(key)?));
    let stream = connector.connect(bound.tls.ip().into(), stream).await?;
    Ok((own, exchange(stream, ask).await?))
}

async fn by_quic(bound: Bound, key: PublicKey, ask: &Ask) -> Result<(SocketAddr, Seen), Failure> {
    let any = SocketAddr::new(bound.quic.ip(), 0);
    let endpoint = quinn::Endpoint::client(any)?;
    let crypto = QuicClientConfig::try_from(reference_client_config(key)?)?;
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connection = endpoint.connect_with(config, bound.quic, "reference")?.await?;
    let (send, receive) = connection.open_bi().await?;
    let seen = exchange(tokio::io::join(receive, send), ask).await?;
    Ok((endpoint.local_addr()?, seen))
}

/// Sends a datagram; what comes back, if the one sent after it is answered first, is nothing.
async fn echo(socket: &UdpSocket, datagram: &[u8]) -> Option<(usize, Reply)> {
    let last = Request { id: u64::MAX, want: 0, may_fragment: false, token: None };
    socket.send(datagram).await.unwrap();
    socket.send(&last.to_bytes(HEADER)).await.unwrap();
    let mut found = None;
    loop {
        let mut buffer = [0; MAX + 1];
        let length = socket.recv(&mut buffer).await.unwrap();
        let reply = Reply::parse(&buffer[..length]).unwrap();
        if reply.id == u64::MAX {
            return found;
        }
        found = Some((length, reply));
    }
}

async fn towards(bound: Bound) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::new(bound.echo.ip(), 0)).await.unwrap();
    socket.connect(bound.echo).await.unwrap();
    socket
}

#[tokio::test]
async fn it_tells_what_it_saw_over_tls_and_quic() {
    let (server, key) = server().await;
    for &bound in server.bound() {
        let ask = Ask { padding: Bytes::new(vec![1; MAX_PADDING]).unwrap(), want: u16::MAX };
        let (own, seen) = by_tls(bound, key, &ask).await.unwrap();
        assert_eq!((seen.src.0, seen.src_port), (own.ip(), own.port()));
        assert_eq!(seen.padding.len(), MAX_PADDING);
        assert_eq!(seen.hop_limit, Some(64), "the system's own");
        assert!(seen.mss.is_some_and(|mss| mss > 1000), "{:?}", seen.mss);

        let (own, seen) = by_quic(bound, key, &Ask { want: 5000, ..ask }).await.unwrap();
        assert_eq!((seen.src.0, seen.src_port), (own.ip(), own.port()));
        assert_eq!((seen.padding.len(), seen.mss), (5000, None));
    }
    server.stop().await;
}

#[tokio::test]
async fn another_key_is_not_believed() {
    let (server, _) = server().await;
    let other = SecretKey::generate().unwrap().public();
    assert!(by_tls(server.bound()[0], other, &Ask::default()).await.is_err());
    assert!(by_quic(server.bound()[0], other, &Ask::default()).await.is_err());
}

#[tokio::test]
async fn the_echo_sends_no_more_than_it_may() {
    let (server, key) = server().await;
    for &bound in server.bound() {
        let socket = towards(bound).await;
        let request = |token| Request { id: 1, want: 1452, may_fragment: false, token };
        let (size, reply) = echo(&socket, &request(None).to_bytes(100)).await.unwrap();
        assert_eq!((size, reply.received, reply.hop_limit), (100, 100, Some(64)));
        let (_, seen) = by_tls(bound, key, &Ask::default()).await.unwrap();
        for (token, sent, size) in [(seen.token, 100, 300), (seen.token, 500, 1452), (Token([9; TOKEN]), 100, 100)] {
            assert_eq!(echo(&socket, &request(Some(token)).to_bytes(sent)).await.unwrap().0, size, "{sent} bytes");
        }
        assert_eq!(echo(&socket, b"garbage").await, None);
        assert_eq!(echo(&socket, &[0; MAX]).await, None);
    }
}

#[tokio::test]
async fn a_token_of_one_family_is_nothing_in_the_other() {
    let (server, key) = server().await;
    let [v6, v4] = server.bound() else { unreachable!() };
    let (_, seen) = by_tls(*v6, key, &Ask::default()).await.unwrap();
    let request = Request { id: 1, want: 1452, may_fragment: false, token: Some(seen.token) };
    assert_eq!(echo(&towards(*v4).await, &request.to_bytes(100)).await.unwrap().0, 100);
}

#[tokio::test]
async fn garbage_ends_one_connection_and_nothing_else() {
    let (server, key) = server().await;
    let bound = server.bound()[1];
    // No TLS at all.
    let mut stream = TcpStream::connect(bound.tls).await.unwrap();
    stream.write_all(&[0x41; 4096]).await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    // TLS, and then a message of 4 GB, or one that is none.
    for garbage in [&[0xff; 8][..], &[0, 0, 0, 2, 0xff, 0xff]] {
        let connector = TlsConnector::from(Arc::new(reference_client_config(key).unwrap()));
        let stream = TcpStream::connect(bound.tls).await.unwrap();
        let mut stream = connector.connect(bound.tls.ip().into(), stream).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
    }
    assert!(by_tls(bound, key, &Ask::default()).await.is_ok());
}

#[tokio::test]
async fn an_address_for_all_is_refused() {
    let key = SecretKey::generate().unwrap();
    let refused = Reference::start(&config(vec![Ipv6Addr::UNSPECIFIED.into()]), &key).await;
    assert!(matches!(refused, Err(StartError::Unspecified(_))));
    assert!(matches!(Reference::start(&config(vec![]), &key).await, Err(StartError::Nowhere)));
}
