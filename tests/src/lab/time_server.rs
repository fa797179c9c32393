//! An NTP server (RFC 5905) whose clock is wrong by as much as a test asks for, and with the manners that it asks for. It
//! stamps in user space: a request is there before it is stamped, an answer goes after it is, so what it says took no
//! longer than it did.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

use super::Namespace;

/// How often a server looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// Seconds from 1900 to 1970.
const UNIX_EPOCH_IN_NTP: i128 = 2_208_988_800;

/// What a server does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manners {
    /// Answers with the time, so many seconds ahead of this machine's (behind when negative).
    Ahead(i64),
    /// Answers with a kiss-o'-death of this code.
    Kiss(&'static [u8; 4]),
    /// Answers as if to another request.
    WrongOrigin,
    /// Does not answer.
    Silent,
}

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct TimeServer {
    asked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TimeServer {
    /// A server inside a namespace, at port 123 of this address.
    ///
    /// # Errors
    /// When the address is not there or the port taken.
    pub fn start(namespace: &Namespace, address: IpAddr, manners: Manners) -> anyhow::Result<Self> {
        let socket = namespace
            .run(|| UdpSocket::bind(SocketAddr::new(address, 123)))
            .with_context(|| format!("an NTP server at {address}"))?;
        socket.set_read_timeout(Some(LOOK))?;
        let (asked, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&asked), Arc::clone(&stop));
        let serve = move || {
            let mut buffer = [0; 512];
            while !end.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let arrived = now();
                count.fetch_add(1, Ordering::Relaxed);
                let request = buffer.get(..length).unwrap_or_default();
                if let Some(answer) = answer(request, manners, arrived) {
                    // A client that has gone is no concern of the server's.
                    let _ = socket.send_to(&answer, from);
                }
            }
        };
        let thread = thread::Builder::new().name("time server".into()).spawn(serve)?;
        Ok(Self { asked, stop, thread: Some(thread) })
    }

    /// How many packets have come so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for TimeServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn now() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or_default()
}

fn stamp(unix_nanos: i128) -> [u8; 8] {
    let fixed = ((unix_nanos + UNIX_EPOCH_IN_NTP * 1_000_000_000) << 32) / 1_000_000_000;
    ((fixed & i128::from(u64::MAX)) as u64).to_be_bytes()
}

fn answer(request: &[u8], manners: Manners, arrived: i128) -> Option<Vec<u8>> {
    let ahead = match manners {
        Manners::Ahead(seconds) => i128::from(seconds) * 1_000_000_000,
        Manners::Kiss(_) | Manners::WrongOrigin => 0,
        Manners::Silent => return None,
    };
    let mut origin: [u8; 8] = request.get(40..48)?.try_into().ok()?;
    if manners == Manners::WrongOrigin {
        origin = origin.map(|byte| !byte);
    }
    let (stratum, reference) = match manners {
        Manners::Kiss(code) => (0, *code),
        _ => (1, *b"LAB\0"),
    };
    // No leap second, version 4, server; poll as asked, a precision of 2^-20 s, a root delay and dispersion of 1/65536 s.
    let mut packet = vec![0x24, stratum, *request.get(2)?, 0xec, 0, 0, 0, 1, 0, 0, 0, 1];
    packet.extend(reference);
    packet.extend(stamp(arrived + ahead));
    packet.extend(origin);
    packet.extend(stamp(arrived + ahead));
    packet.extend(stamp(now() + ahead));
    Some(packet)
}
