//! Is somebody reached? Pings by surge-ping, whose times are not for results but whose yes or no is as good as any; and a
//! small UDP packet to a port where nobody listens, which a host that gets it says so of.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use surge_ping::{Client, Config, ICMP, PingIdentifier, PingSequence, SurgeError};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::condition::facts::{Ping, Udp};

/// How long a host may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A small ping's payload in bytes.
const SMALL: usize = 16;

/// The port of traceroute: nobody listens there.
const DEAF_PORT: u16 = 33434;

/// Pings of one process under way at once are told apart by this.
static SEQUENCE: AtomicU16 = AtomicU16::new(0);

/// Does this host answer a ping? If not, why, in words.
///
/// # Errors
/// When it does not, or nobody could be asked.
pub async fn answers_ping(host: IpAddr) -> Result<(), String> {
    match ping(host, 0, SMALL).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("no answer to a ping within {} s", PATIENCE.as_secs())),
        Err(error) => Err(format!("no ping could be sent: {error}")),
    }
}

/// How a host answers a small ping. `scope` is the interface's number for a link-local address, else 0.
pub async fn small(host: IpAddr, scope: u32) -> Ping {
    judged(ping(host, scope, SMALL).await)
}

/// How a host answers a ping in an IP packet of `size` bytes. The first may teach the kernel the size of the path, so there
/// is a second.
pub async fn large(host: IpAddr, size: usize) -> Ping {
    let headers = if host.is_ipv4() { 28 } else { 48 };
    let payload = size.saturating_sub(headers);
    match judged(ping(host, 0, payload).await) {
        Ping::Silent => judged(ping(host, 0, payload).await),
        other => other,
    }
}

fn judged(answer: io::Result<bool>) -> Ping {
    match answer {
        Ok(true) => Ping::Answers,
        Ok(false) => Ping::Silent,
        Err(error) => match error.kind() {
            // The kernel has asked for the neighbour in vain, or a router said so.
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => Ping::Silent,
            _ => Ping::NotTried,
        },
    }
}

/// `Err`: nobody could be asked.
async fn ping(host: IpAddr, scope: u32, payload: usize) -> io::Result<bool> {
    let kind = if host.is_ipv4() { ICMP::V4 } else { ICMP::V6 };
    let client = Client::new(&Config::builder().kind(kind).build())?;
    let identifier = std::process::id().to_le_bytes().first_chunk::<2>().map_or(1, |bytes| u16::from_le_bytes(*bytes));
    let mut pinger = client.pinger(host, PingIdentifier(identifier)).await;
    pinger.timeout(PATIENCE).scope_id(scope);
    let sequence = PingSequence(SEQUENCE.fetch_add(1, Ordering::Relaxed));
    match timeout(PATIENCE, pinger.ping(sequence, &vec![b's'; payload])).await {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(SurgeError::IOError(error))) => Err(error),
        Ok(Err(_)) | Err(_) => Ok(false),
    }
}

/// Does a small UDP packet arrive at a host? Its word that nobody listens is the proof.
pub async fn udp(host: IpAddr) -> Udp {
    let any: IpAddr = if host.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let exchange = async {
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
        socket.connect(SocketAddr::new(host, DEAF_PORT)).await?;
        socket.send(b"sonde").await?;
        socket.recv(&mut [0; 16]).await
    };
    match timeout(PATIENCE, exchange).await {
        Ok(Ok(_)) => Udp::Passes,
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Udp::Passes,
        Ok(Err(_)) | Err(_) => Udp::Nothing,
    }
}
