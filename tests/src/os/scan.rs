//! A scan of ports from a machine of the lab: TCP by connecting to every port, UDP by speaking to some. What it finds open is open;
//! the machine's own frames ([`super::traffic`]) say the same again.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::lab::Namespace;

/// How many ports are asked at once, where the machine allows so many open files.
const AT_ONCE: usize = 4000;

/// How long a port may be silent: one repeated SYN, which comes after a second, included.
const SILENCE: Duration = Duration::from_millis(1500);

/// What often listens on UDP.
pub const UDP_PORTS: [u16; 32] = [
    7, 19, 53, 67, 68, 69, 111, 123, 135, 137, 138, 161, 443, 500, 514, 520, 546, 547, 623, 853, 1194, 1701, 1900,
    3478, 3702, 4500, 5060, 5353, 5355, 5683, 8333, 51820,
];

/// What a scan of one address found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Ports that answered as somebody who listens.
    pub open: Vec<u16>,
    /// How many refused.
    pub refused: usize,
    /// How many said nothing.
    pub silent: usize,
}

enum Answer {
    Open,
    Refused,
    Silent,
}

/// Connects to every TCP port of an address.
///
/// # Errors
/// When this machine cannot.
pub fn tcp(from: &Namespace, address: IpAddr) -> Result<Found> {
    scan(from, (1..=u16::MAX).collect(), move |port| async move {
        Ok(match timeout(SILENCE, TcpStream::connect(SocketAddr::new(address, port))).await {
            Ok(Ok(_)) => Answer::Open,
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Answer::Refused,
            // Refused by a packet filter in other words, or by a router.
            Ok(Err(error)) if is_unreachable(&error) => Answer::Refused,
            Ok(Err(error)) => return Err(error),
            Err(_) => Answer::Silent,
        })
    })
}

/// Speaks to [`UDP_PORTS`] of an address; an answer of any sort is an open port.
///
/// # Errors
/// When this machine cannot.
pub fn udp(from: &Namespace, address: IpAddr) -> Result<Found> {
    // A question of DNS for the root's name servers, which other services take for garbage; some of them answer that too.
    const QUESTION: &[u8] = &[0x53, 0x4f, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
    scan(from, UDP_PORTS.to_vec(), move |port| async move {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(SocketAddr::new(address, port)).await?;
        socket.send(QUESTION).await?;
        Ok(match timeout(SILENCE, socket.recv(&mut [0; 1500])).await {
            Ok(Ok(_)) => Answer::Open,
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused || is_unreachable(&error) => {
                Answer::Refused
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => Answer::Silent,
        })
    })
}

fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::PermissionDenied
    )
}

fn scan<F>(from: &Namespace, ports: Vec<u16>, ask: impl Fn(u16) -> F + Sync) -> Result<Found>
where
    F: Future<Output = io::Result<Answer>> + Send + 'static,
{
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = (AT_ONCE as u64 + 200).min(hard);
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
    }
    let at_once = usize::try_from(wanted.max(soft).saturating_sub(200)).unwrap_or(AT_ONCE).clamp(16, AT_ONCE);
    let work = || -> Result<Found> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let room = Arc::new(Semaphore::new(at_once));
            let mut tasks = JoinSet::new();
            for port in ports {
                let permit = Arc::clone(&room).acquire_owned().await?;
                let answer = ask(port);
                tasks.spawn(async move {
                    let answer = answer.await;
                    drop(permit);
                    (port, answer)
                });
            }
            let mut found = Found::default();
            while let Some(done) = tasks.join_next().await {
                let (port, answer) = done?;
                match answer.with_context(|| format!("port {port}"))? {
                    Answer::Open => found.open.push(port),
                    Answer::Refused => found.refused += 1,
                    Answer::Silent => found.silent += 1,
                }
            }
            found.open.sort_unstable();
            Ok(found)
        })
    };
    // Sockets made on this thread are inside.
    from.run(work)
}
