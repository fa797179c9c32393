//! An optional page for the host, on loopback: how the probe is, what the host allows, what was measured. Read-only, complete
//! without a script, off unless `sonde.toml` names an address (`[page] listen`).
//!
//! It is for people at this machine, so whoever else may come is turned away: only loopback addresses are listened at, a request
//! must name one as its host (a page of somebody's who lets a name of his lead here, DNS rebinding, does not), there is one
//! connection at a time with one deadline, and nothing is read but the head of a GET. What it shows it asks of the agent, as
//! every command of the host's does.
//!
//! `request` reads a head and `html` writes the page; both are pure.

mod html;
pub mod request;

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::debug;

use self::request::{MAX_HEAD, Path, Refusal, Request};
use crate::activity::Row;
use crate::control::{Asked, Command};
use crate::local_time::LocalTime;
use crate::status::Status;

/// How long one connection may last: to ask, to be answered and to listen. Who comes meanwhile waits in the kernel.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long to wait when no connection can be taken: out of descriptors.
const PAUSE: Duration = Duration::from_secs(1);

/// Goes with every answer. No script, no frame, nothing from elsewhere; nothing is kept by the browser or told to others.
const HEADERS: &str = "Content-Security-Policy: default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\nCross-Origin-Opener-Policy: same-origin\r\nCache-Control: no-store\r\n\
    Connection: close\r\n";

/// What the agent says to [`Command::Look`].
#[derive(Debug, Deserialize)]
struct Seen {
    status: Status,
    /// The newest first.
    days: Vec<SeenDay>,
}

/// A day on which something was measured.
#[derive(Debug, Deserialize)]
struct SeenDay {
    /// As `2026-11-28`, UTC.
    day: String,
    rows: Vec<Row>,
}

/// Listens. Before the sandbox, which allows no listening.
///
/// # Errors
/// When somebody else has the port.
pub fn open(address: SocketAddr) -> io::Result<StdListener> {
    let listener = StdListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers, one after the other, until the agent at the other end of `agent` is gone.
///
/// # Errors
/// When the runtime cannot take the socket.
pub fn serve(listener: StdListener, agent: mpsc::Sender<Asked>, local: LocalTime) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = agent.closed() => return,
            };
            match accepted {
                Ok((mut stream, _)) => match timeout(DEADLINE, talk(&mut stream, &agent, &local)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => debug!(%error, "somebody at the page left"),
                    Err(_) => debug!("somebody at the page took too long"),
                },
                Err(_) => sleep(PAUSE).await,
            }
        }
    });
    Ok(())
}

async fn talk(stream: &mut TcpStream, agent: &mpsc::Sender<Asked>, local: &LocalTime) -> io::Result<()> {
    let answer = match read_head(stream).await? {
        Ok(Request { path: Path::Style }) => ok("text/css; charset=utf-8", html::STYLE),
        Ok(Request { path }) => match look(agent).await {
            Some(seen) if path == Path::Status => ok("application/json", &seen.to_string()),
            Some(seen) => match serde_json::from_value::<Seen>(seen) {
                Ok(seen) => ok("text/html; charset=utf-8", &html::page(&seen, local)),
                Err(_) => refuse(&Refusal::Stopping),
            },
            None => refuse(&Refusal::Stopping),
        },
        Err(refusal) => refuse(&refusal),
    };
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // What was sent beside the head is taken away, so that closing does not take the answer away from whoever reads slowly.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Reads up to the end of a head, or as much as one may have.
async fn read_head(stream: &mut TcpStream) -> io::Result<Result<Request, Refusal>> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    loop {
        if let Some(found) = request::read(&head) {
            return Ok(found);
        }
        let length = stream.read(&mut piece).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(piece.get(..length).unwrap_or_default());
        debug_assert!(head.len() <= MAX_HEAD + piece.len(), "a longer head is refused");
    }
}

async fn look(agent: &mpsc::Sender<Asked>) -> Option<Value> {
    let (answer, answered) = oneshot::channel();
    agent.send(Asked { command: Command::Look, answer }).await.ok()?;
    answered.await.ok()?.ok()
}

fn ok(kind: &str, body: &str) -> String {
    answer("200 OK", kind, "", body)
}

fn refuse(refusal: &Refusal) -> String {
    let more = if *refusal == Refusal::Method { "Allow: GET\r\n" } else { "" };
    answer(refusal.status(), "text/plain; charset=utf-8", more, &format!("{refusal}\n"))
}

fn answer(status: &str, kind: &str, more: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.0 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{more}{HEADERS}\r\n{body}")
}

#[cfg(test)]
mod tests;
