//! A byte stream for the exchange kinds: a TCP connection, with or without TLS over it, and the words for what went wrong.
//!
//! The caller reads the clock between the steps and sets the deadline around all of them, so that what has happened until
//! then is not lost with a step that did not end. Nothing here is decided about what the bytes mean.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use sonde_protocol::result::Why;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An open connection, as bytes that its user means.
#[derive(Debug)]
pub enum Stream {
    /// TCP alone.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects. Small writes leave at once; `hop_limit` is the system's own when absent.
///
/// # Errors
/// When the socket cannot be made or the connection is not accepted.
pub async fn connect(dst: SocketAddr, hop_limit: Option<u8>) -> io::Result<TcpStream> {
    let socket = match dst {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_nodelay(true)?;
    if let Some(limit) = hop_limit {
        let options = socket2::SockRef::from(&socket);
        match dst {
            SocketAddr::V4(_) => options.set_ttl_v4(limit.into())?,
            SocketAddr::V6(_) => options.set_unicast_hops_v6(limit.into())?,
        }
    }
    socket.connect(dst).await
}

/// Does the TLS handshake. A literal address as `name` sends no server name (RFC 6066, section 3).
///
/// # Errors
/// When the connection breaks or the handshake fails; [`words`] knows TLS's own errors too.
pub async fn secure(tcp: TcpStream, config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Stream> {
    let tls = TlsConnector::from(config).connect(name, tcp).await?;
    Ok(Stream::Tls(Box::new(tls)))
}

/// The name for TLS to ask for: a host name without its final dot, or a literal address.
pub fn server_name(text: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(text.strip_suffix('.').unwrap_or(text).to_owned()).ok()
}

/// The probe's own address of a connection, if the system tells it.
pub fn own_address(tcp: &TcpStream) -> Option<IpAddr> {
    tcp.local_addr().ok().map(|own| own.ip())
}

/// The words for an error: the system's without its number, TLS's as rustls has them.
pub fn words(error: &io::Error) -> Why {
    match error.raw_os_error() {
        Some(number) => Why::cut(nix::errno::Errno::from_raw(number).desc()),
        None => Why::cut(error.to_string()),
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
