//! What the service manager is told (sd_notify(3)): that the probe is up, how it is, and that its loop turns. Without a manager that
//! wants to know (`$NOTIFY_SOCKET`) nothing is said.
//!
//! The socket is connected before the sandbox, which lets nobody open one. What is said is never waited for, so that a manager who
//! does not listen stops nothing. This module must not know what is wrong with a probe: it is given a line.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sonde_protocol::time::Nanos;
use tracing::debug;

/// How soon a message is said again that the manager had no room for.
const AGAIN: Duration = Duration::from_secs(1);

/// How often the manager hears of a probe that it does not watch: its line grows old.
const UNWATCHED: Duration = Duration::from_secs(60);

/// The longest line: a datagram has to fit, whatever is wrong.
const MAX_LINE: usize = 1024;

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    /// How often it wants to hear that the loop turns.
    every: Duration,
    watched: bool,
    due: Option<Nanos>,
}

impl ServiceManager {
    /// The one that started this process.
    ///
    /// # Errors
    /// When it wants to hear of the process and cannot be reached.
    pub fn of_this_process() -> io::Result<Self> {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let pid = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|_| pid);
        Self::at(std::env::var_os("NOTIFY_SOCKET"), watchdog)
    }

    /// The one that listens at `socket` (a path, or `@` and an abstract name), and may want to hear from the process at least every
    /// `watchdog` microseconds.
    fn at(socket: Option<OsString>, watchdog: Option<u64>) -> io::Result<Self> {
        let Some(name) = socket.filter(|name| !name.is_empty()) else { return Ok(Self::default()) };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address(&name)?)?;
        socket.set_nonblocking(true)?;
        let watchdog = watchdog.filter(|micros| *micros > 0).map(Duration::from_micros);
        // Twice in its time, as sd_watchdog_enabled(3) advises.
        let every = watchdog.map_or(UNWATCHED, |most| (most / 2).min(UNWATCHED));
        Ok(Self { socket: Some(socket), every, watched: watchdog.is_some(), due: None })
    }

    /// For one more boot within the process.
    ///
    /// # Errors
    /// Without a descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        let socket = self.socket.as_ref().map(UnixDatagram::try_clone).transpose()?;
        Ok(Self { socket, due: None, ..*self })
    }

    /// When it is to hear from the loop again.
    pub fn due(&self) -> Option<Nanos> {
        self.due
    }

    /// Whether it is to be told now how the probe is: it has never been, the time has come, or there is news.
    pub fn wants(&self, news: bool, now: Nanos) -> bool {
        self.socket.is_some() && (news || self.due.is_none_or(|due| due <= now))
    }

    /// Tells it that the probe is up, that its loop turns, and how it is.
    pub fn tell(&mut self, line: &str, now: Nanos) {
        let watchdog = if self.watched { "WATCHDOG=1\n" } else { "" };
        let said = self.say(&format!("READY=1\n{watchdog}STATUS={}", one_line(line)));
        self.due = Some(now + if said { self.every } else { AGAIN });
    }

    /// Tells it that the probe is about to end, and nothing after that.
    pub fn stopping(&mut self) {
        self.say("STOPPING=1\nSTATUS=stopping");
        *self = Self::default();
    }

    fn say(&self, message: &str) -> bool {
        let Some(socket) = &self.socket else { return true };
        match socket.send(message.as_bytes()) {
            Ok(_) => true,
            Err(error) => {
                debug!(%error, "the service manager does not listen");
                false
            }
        }
    }
}

fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

/// What of a text may stand in one assignment: a line break would begin another.
fn one_line(text: &str) -> String {
    let mut line: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    line.truncate(line.floor_char_boundary(MAX_LINE));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manager that listens at a path or an abstract name, and the name.
    fn manager(abstract_name: bool) -> (tempfile::TempDir, UnixDatagram, OsString) {
        let folder = tempfile::tempdir().unwrap();
        let mut name = folder.path().join("notify").into_os_string();
        if abstract_name {
            let mut with_at = OsString::from("@");
            with_at.push(&name);
            name = with_at;
        }
        let socket = UnixDatagram::bind_addr(&address(&name).unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        (folder, socket, name)
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn it_hears_that_the_probe_is_up_and_then_every_half_of_its_patience() {
        for abstract_name in [false, true] {
            let (_folder, socket, name) = manager(abstract_name);
            let mut manager = ServiceManager::at(Some(name), Some(30_000_000)).unwrap();
            let start = Nanos(5);
            assert!(manager.wants(false, start), "it does not know yet that the probe is up");
            manager.tell("connecting", start);
            assert_eq!(heard(&socket), "READY=1\nWATCHDOG=1\nSTATUS=connecting");
            assert_eq!(manager.due(), Some(start + Duration::from_secs(15)));
            assert!(!manager.wants(false, start));
            assert!(manager.wants(true, start), "news do not wait");
            assert!(manager.wants(false, start + Duration::from_secs(15)));
            manager.stopping();
            assert!(heard(&socket).starts_with("STOPPING=1\n"));
            assert!(!manager.wants(true, start), "it is not told again that the probe is up");
        }
    }

    #[test]
    fn without_a_watchdog_nothing_is_said_of_one() {
        let (_folder, socket, name) = manager(false);
        for nothing in [None, Some(0)] {
            let mut manager = ServiceManager::at(Some(name.clone()), nothing).unwrap();
            manager.tell("well", Nanos(0));
            assert_eq!(heard(&socket), "READY=1\nSTATUS=well");
            assert_eq!(manager.due(), Some(Nanos(0) + UNWATCHED));
        }
    }

    #[test]
    fn a_line_cannot_say_more_than_how_the_probe_is() {
        let (_folder, socket, name) = manager(false);
        let mut manager = ServiceManager::at(Some(name), None).unwrap();
        manager.tell(&format!("refused: x\nMAINPID=1\r{}", "ä".repeat(5000)), Nanos(0));
        let said = heard(&socket);
        assert!(said.starts_with("READY=1\nSTATUS=refused: x MAINPID=1 ä"), "{said}");
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(said.len() <= "READY=1\nSTATUS=".len() + MAX_LINE, "{}", said.len());
    }

    #[test]
    fn nobody_is_told_where_nobody_asks() {
        for socket in [None, Some(OsString::new())] {
            let mut manager = ServiceManager::at(socket, Some(1)).unwrap();
            assert!(!manager.wants(true, Nanos(0)));
            manager.stopping();
            manager.tell("well", Nanos(0));
        }
    }

    #[test]
    fn a_manager_that_is_not_there_is_an_error_and_one_that_does_not_listen_is_told_again_soon() {
        assert!(ServiceManager::at(Some("/nonexistent/notify".into()), None).is_err());
        let (_folder, socket, name) = manager(false);
        let mut manager = ServiceManager::at(Some(name), None).unwrap();
        drop(socket);
        manager.tell("well", Nanos(7));
        assert_eq!(manager.due(), Some(Nanos(7) + AGAIN));
    }
}
