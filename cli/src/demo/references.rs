//! Two reference servers on loopback, so that the demo can measure what IPv6 and IPv4 are worth. Two are too few for more than a
//! demonstration, and the verdicts say so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use anyhow::{Context, Result, bail};
use sonde_reference::{Config, Reference, key};

/// How many.
const COUNT: usize = 2;

/// Bytes a second of their echoes: far more than the demo's probes ask for.
const ECHO_BYTES: u64 = 1_000_000;

const ADDRESSES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// The servers, as long as they live, and the words by which each is listed (`sonde admin …`).
pub struct References {
    servers: Vec<Reference>,
    /// One list of words each.
    pub listed: Vec<Vec<String>>,
}

impl References {
    /// Starts them, with their keys in `folder`.
    pub async fn start(folder: &Path) -> Result<Self> {
        let (mut servers, mut listed) = (Vec::new(), Vec::new());
        for n in 1..=COUNT {
            let key = key::open(&folder.join(format!("reference-{n}"))).context("a reference's key")?;
            let [port, echo_port, closed_port] = [free_port()?, free_port()?, free_port()?];
            let config = Config { listen: ADDRESSES.to_vec(), port, echo_port, echo_bytes: ECHO_BYTES };
            servers.push(Reference::start(&config, &key).await.context("a reference server")?);
            let words = format!(
                "network reference add demo{n} --key={} --v4 {} --v6 {} --port {port} --echo-port {echo_port} --closed-port {closed_port}",
                key.public(),
                Ipv4Addr::LOCALHOST,
                Ipv6Addr::LOCALHOST,
            );
            listed.push(words.split(' ').map(str::to_owned).collect());
        }
        Ok(Self { servers, listed })
    }

    /// Stops them.
    pub async fn stop(self) {
        for server in self.servers {
            server.stop().await;
        }
    }
}

/// A port that is free for TCP and UDP on both families' loopback addresses: a reference has one number for all.
fn free_port() -> Result<u16> {
    /// By chance one is taken now and then, a hundred are not.
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        let first = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = first.local_addr()?.port();
        let is_free = UdpSocket::bind((Ipv6Addr::LOCALHOST, port)).is_ok()
            && ADDRESSES.iter().all(|address| TcpListener::bind(SocketAddr::new(*address, port)).is_ok());
        if is_free {
            return Ok(port);
        }
    }
    bail!("no port is free on both loopback addresses")
}
