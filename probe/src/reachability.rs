//! Why a collector does not answer, in words: does its host answer a ping? By surge-ping, whose times are not for results
//! but whose yes or no is as good as any.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use surge_ping::{Client, Config, ICMP, PingIdentifier, PingSequence, SurgeError};
use tokio::time::timeout;

/// How long the host may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Adds to `why` what a ping of the first address says.
pub async fn explain(addresses: &[SocketAddr], why: &str) -> String {
    let Some(address) = addresses.first() else { return why.to_owned() };
    let host = address.ip();
    match timeout(PATIENCE, answers(host)).await {
        Ok(Ok(())) => format!(
            "{why}; {host} answers a ping, so UDP port {} may be blocked or nobody listens there",
            address.port()
        ),
        Ok(Err(SurgeError::IOError(error))) => format!("{why}; {host} cannot be reached: {error}"),
        Ok(Err(_)) | Err(_) => format!("{why}; {host} does not answer a ping either"),
    }
}

/// Does this host answer a ping? If not, why, in words.
///
/// # Errors
/// When it does not, or nobody could be asked.
pub async fn answers_ping(host: IpAddr) -> Result<(), String> {
    match timeout(PATIENCE, answers(host)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(SurgeError::IOError(error))) => Err(format!("no ping could be sent: {error}")),
        Ok(Err(_)) | Err(_) => Err(format!("no answer to a ping within {} s", PATIENCE.as_secs())),
    }
}

async fn answers(host: IpAddr) -> Result<(), SurgeError> {
    let kind = if host.is_ipv4() { ICMP::V4 } else { ICMP::V6 };
    let client = Client::new(&Config::builder().kind(kind).build())?;
    let identifier =
        PingIdentifier(std::process::id().to_le_bytes().first_chunk::<2>().map_or(1, |b| u16::from_le_bytes(*b)));
    let mut pinger = client.pinger(host, identifier).await;
    pinger.timeout(PATIENCE).ping(PingSequence(0), b"sonde").await.map(|_| ())
}
