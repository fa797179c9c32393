//! What the probe tells (sd_notify(3)), over a datagram socket that only its user and root can write to. Read with suspicion: a hijacked
//! probe could say anything.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixDatagram;

use crate::state::PROBE_USER;

/// The socket.
pub const SOCKET: &str = "/run/sonde/notify";

/// More of a datagram is not read.
const MAX: usize = 4096;

/// What one datagram said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// The loop turns.
    pub alive: bool,
    /// It is about to end.
    pub stopping: bool,
    /// How it is, in a line.
    pub status: Option<String>,
    /// Where its connection stands, in a word.
    pub state: Option<String>,
    /// How many nanoseconds the clock is behind, and how wrong that can be.
    pub clock: Option<(i64, Duration)>,
}

/// Reads a datagram. What is not understood is skipped.
pub fn read(datagram: &[u8]) -> Told {
    let mut told = Told::default();
    let (mut behind, mut error) = (None, None);
    for line in String::from_utf8_lossy(datagram).lines() {
        match line.split_once('=') {
            Some(("WATCHDOG", "1")) => told.alive = true,
            Some(("STOPPING", "1")) => told.stopping = true,
            Some(("STATUS", text)) => told.status = Some(text.to_owned()),
            Some(("X_SONDE_STATE", word)) => told.state = Some(word.to_owned()),
            Some(("X_SONDE_CLOCK_OFFSET_NS", number)) => behind = number.parse().ok(),
            Some(("X_SONDE_CLOCK_ERROR_NS", number)) => error = number.parse().ok().map(Duration::from_nanos),
            _ => {}
        }
    }
    told.clock = behind.zip(error);
    told
}

/// The socket, open.
#[derive(Debug)]
pub struct Notify(UnixDatagram);

impl Notify {
    /// Makes it. Within a runtime.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let _ = fs::remove_file(path);
        let socket = UnixDatagram::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o620))?;
        chown(path, Some(0), Some(PROBE_USER))?;
        Ok(Self(socket))
    }

    /// Waits for the next datagram.
    pub async fn hear(&self) -> Told {
        let mut bytes = [0; MAX];
        match self.0.recv(&mut bytes).await {
            Ok(length) => read(&bytes[..length]),
            Err(_) => Told::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_read_line_by_line() {
        let said = b"READY=1\nWATCHDOG=1\nSTATUS=probe 7 of x: connected\nX_SONDE_STATE=connected\n\
            X_SONDE_CLOCK_OFFSET_NS=-1500\nX_SONDE_CLOCK_ERROR_NS=20";
        let told = read(said);
        assert_eq!(
            told,
            Told {
                alive: true,
                stopping: false,
                status: Some("probe 7 of x: connected".into()),
                state: Some("connected".into()),
                clock: Some((-1500, Duration::from_nanos(20))),
            }
        );
        assert!(read(b"STOPPING=1\nSTATUS=stopping").stopping);
    }

    #[test]
    fn what_makes_no_sense_is_skipped() {
        assert_eq!(read(b""), Told::default());
        assert_eq!(read(b"\xff\xfe=1\nWATCHDOG=2\nMAINPID=1\n=\n"), Told::default());
        for half in [
            "X_SONDE_CLOCK_OFFSET_NS=5",
            "X_SONDE_CLOCK_ERROR_NS=5",
            "X_SONDE_CLOCK_OFFSET_NS=9223372036854775808\nX_SONDE_CLOCK_ERROR_NS=5",
            "X_SONDE_CLOCK_OFFSET_NS=5\nX_SONDE_CLOCK_ERROR_NS=-5",
        ] {
            assert_eq!(read(half.as_bytes()).clock, None, "{half}");
        }
    }

    #[tokio::test]
    async fn the_socket_hears_what_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        // Giving it to the probe's group takes root.
        let Ok(notify) = Notify::open(&path) else { return eprintln!("SKIPPED: not root") };
        let sender = std::os::unix::net::UnixDatagram::unbound().unwrap();
        sender.send_to(b"WATCHDOG=1", &path).unwrap();
        assert!(notify.hear().await.alive);
    }
}
