//! A TCP exchange as the engines' plan says: connect, send, read, and what happened when. What it means is decided by
//! [`sonde_engine::dns::tcp_response`].
//!
//! Times are this program's own clock around the system calls; a TCP exchange has no packets of ours that could be stamped.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use sonde_engine::dns::{TcpEvent, TcpPlan, TcpReader, TcpStep};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::clock::ClockSource;
use super::stream::{connect, own_address, words};

/// Bytes read at once.
const CHUNK: usize = 4096;

/// Runs `plan` to its end: the answer is whole, the connection closed or failed, or the deadline passed. Reads no more
/// than one message, whatever the server sends.
pub async fn exchange(clock: &dyn ClockSource, plan: &TcpPlan) -> Vec<TcpEvent> {
    let mut events = Vec::new();
    let left: Duration = plan.deadline.since(clock.monotonic());
    // What has happened until the deadline counts, so the events outlive the future that collects them.
    let end = match tokio::time::timeout(left, converse(clock, plan, &mut events)).await {
        Ok(Ok(())) => None,
        Ok(Err((step, error))) => Some(TcpEvent::Failed { at: clock.monotonic(), step, why: words(&error) }),
        Err(_) => Some(TcpEvent::TimedOut(clock.monotonic())),
    };
    events.extend(end);
    events
}

async fn converse(
    clock: &dyn ClockSource,
    plan: &TcpPlan,
    events: &mut Vec<TcpEvent>,
) -> Result<(), (TcpStep, io::Error)> {
    let at_step = |step| move |error| (step, error);
    let mut stream =
        connect(SocketAddr::new(plan.dst, plan.port), plan.hop_limit).await.map_err(at_step(TcpStep::Connect))?;
    let at = clock.monotonic();
    events.push(TcpEvent::Connected { at, src: own_address(&stream) });

    stream.write_all(&plan.request).await.map_err(at_step(TcpStep::Send))?;
    events.push(TcpEvent::Sent(clock.monotonic()));

    let mut reader = TcpReader::default();
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = stream.read(&mut chunk).await.map_err(at_step(TcpStep::Read))?;
        let at = clock.monotonic();
        let data = chunk.get(..length).unwrap_or_default();
        if data.is_empty() {
            events.push(TcpEvent::Closed(at));
            return Ok(());
        }
        let whole = reader.push(data);
        // A server that sends byte by byte makes many events, but no more than the message has bytes.
        events.push(TcpEvent::Bytes { at, data: data.to_vec() });
        if whole {
            return Ok(());
        }
    }
}
