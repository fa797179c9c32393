//! The exchange over a connection: one question, one answer, whatever carries it.

use std::io;
use std::net::SocketAddr;

use sonde_protocol::bounded::{Bytes, List};
use sonde_protocol::net::Ip;
use sonde_protocol::reference::echo::Token;
use sonde_protocol::reference::{Ask, MAX_MESSAGE, MAX_PADDING, Seen};
use sonde_protocol::wire::{Reader, framed};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::syn::Syn;

/// Reads what is asked, tells what was seen, and waits until the other end has it. Takes as long as the other end: the caller
/// sets the deadline.
pub(crate) async fn answer<S>(stream: &mut S, peer: SocketAddr, syn: Syn, token: Token) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ask = read(stream).await?;
    let padding = vec![0; usize::from(ask.want).min(MAX_PADDING)];
    let seen = Seen {
        src: Ip(peer.ip().to_canonical()),
        src_port: peer.port(),
        mss: syn.mss,
        hop_limit: syn.hop_limit,
        headers: List::cut(syn.headers),
        token,
        // Not longer than it may be, one line above.
        padding: Bytes::new(padding).unwrap_or_default(),
    };
    // Writing into memory cannot fail.
    stream.write_all(&framed(&minicbor::to_vec(&seen).unwrap_or_default())).await?;
    stream.shutdown().await?;
    // Closing before the other end has read all would make TCP take it back.
    let mut nothing = [0; 512];
    while stream.read(&mut nothing).await? > 0 {}
    Ok(())
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Ask> {
    let malformed = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut reader = Reader::new(MAX_MESSAGE);
    let mut buffer = [0; 4096];
    loop {
        if let Some(message) = reader.next_message().map_err(|error| malformed(error.to_string()))? {
            return minicbor::decode(message).map_err(|error| malformed(error.to_string()));
        }
        match stream.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => reader.push(buffer.get(..length).unwrap_or_default()),
        }
    }
}
