//! An HTTP exchange as [`sonde_engine::http`] plans it: connect, TLS if wanted, send, and give what comes to the exchange.
//! Nothing of the body is kept.
//!
//! Times are this program's own clock around the system calls.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use sonde_engine::http::{Event, Exchange, Plan};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::clock::ClockSource;
use super::stream::{Stream, connect, own_address, secure, words};

/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

/// Runs `plan` towards `dst` until `exchange` is over or its deadline has passed. Gives the probe's own address, once
/// connected.
pub async fn run(
    clock: &dyn ClockSource,
    plan: &Plan,
    dst: IpAddr,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    exchange: &mut Exchange,
) -> Option<IpAddr> {
    let mut src = None;
    let left: Duration = exchange.deadline().since(clock.monotonic());
    let end = match tokio::time::timeout(left, converse(clock, plan, dst, tls, exchange, &mut src)).await {
        Ok(Ok(())) => return src,
        Ok(Err(error)) => Event::Failed(words(&error)),
        Err(_) => Event::TimedOut,
    };
    exchange.handle(clock.monotonic(), &end);
    src
}

async fn converse(
    clock: &dyn ClockSource,
    plan: &Plan,
    dst: IpAddr,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    exchange: &mut Exchange,
    src: &mut Option<IpAddr>,
) -> std::io::Result<()> {
    let tcp = connect(SocketAddr::new(dst, plan.port), None).await?;
    exchange.handle(clock.monotonic(), &Event::Connected);
    *src = own_address(&tcp);
    let mut stream = match tls {
        None => Stream::Plain(tcp),
        Some((config, name)) => {
            let stream = secure(tcp, config, name).await?;
            exchange.handle(clock.monotonic(), &Event::Secured);
            stream
        }
    };
    stream.write_all(&plan.request).await?;
    stream.flush().await?;
    exchange.handle(clock.monotonic(), &Event::Sent);
    let mut buffer = vec![0; CHUNK];
    while !exchange.is_over() {
        let length = match stream.read(&mut buffer).await {
            Ok(length) => length,
            // TLS's word for a connection that was closed without one of its own, as many servers do.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(error),
        };
        let at = clock.monotonic();
        match buffer.get(..length) {
            Some(data) if !data.is_empty() => exchange.handle(at, &Event::Bytes(data)),
            _ => exchange.handle(at, &Event::Closed),
        }
    }
    Ok(())
}
