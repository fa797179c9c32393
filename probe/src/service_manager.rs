//! What the service manager is told (sd_notify(3)): that the probe is up, how it is, and that its loop turns. Without a manager that
//! wants to know (`$NOTIFY_SOCKET`) nothing is said. The fields beginning with `X_SONDE_` are for the board's operating system, which has
//! no other source of time; systemd skips such.
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

/// What the manager is told of the probe.
#[derive(Debug, Clone, Copy)]
pub struct News<'a> {
    /// How it is, in a line.
    pub line: &'a str,
    /// Where its connection stands, in a word.
    pub state: &'a str,
    /// How many nanoseconds the machine's clock is behind the collector's, and how wrong that can be; none while it is not known.
    pub clock: Option<(i64, Duration)>,
}

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    /// How often it wants to hear that the loop turns.
    every: Duration,
    watched: bool,
    due: Option<Nanos>,
    /// It has heard of the collector's clock.
    knows_clock: bool,
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
        Ok(Self { socket: Some(socket), every, watched: watchdog.is_some(), due: None, knows_clock: false })
    }

    /// For one more boot within the process.
    ///
    /// # Errors
    /// Without a descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        let socket = self.socket.as_ref().map(UnixDatagram::try_clone).transpose()?;
        Ok(Self { socket, due: None, knows_clock: false, ..*self })
    }

    /// When it is to hear from the loop again.
    pub fn due(&self) -> Option<Nanos> {
        self.due
    }

    /// Whether it is to be told now how the probe is: it has never been, the time has come, or there is news, such as the first word
    /// of the collector's clock.
    pub fn wants(&self, news: bool, clock_known: bool, now: Nanos) -> bool {
        self.socket.is_some() && (news || clock_known != self.knows_clock || self.due.is_none_or(|due| due <= now))
    }

    /// Tells it that the probe is up, that its loop turns, and how it is.
    pub fn tell(&mut self, news: News<'_>, now: Nanos) {
        let watchdog = if self.watched { "WATCHDOG=1\n" } else { "" };
        let mut message =
            format!("READY=1\n{watchdog}STATUS={}\nX_SONDE_STATE={}", one_line(news.line), one_line(news.state));
        if let Some((offset, error)) = news.clock {
            let error = error.as_nanos();
            message += &format!("\nX_SONDE_CLOCK_OFFSET_NS={offset}\nX_SONDE_CLOCK_ERROR_NS={error}");
        }
        self.knows_clock = news.clock.is_some();
        let said = self.say(&message);
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

    fn news(line: &str) -> News<'_> {
        News { line, state: "connecting", clock: None }
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
            assert!(manager.wants(false, false, start), "it does not know yet that the probe is up");
            manager.tell(news("on its way"), start);
            assert_eq!(heard(&socket), "READY=1\nWATCHDOG=1\nSTATUS=on its way\nX_SONDE_STATE=connecting");
            assert_eq!(manager.due(), Some(start + Duration::from_secs(15)));
            assert!(!manager.wants(false, false, start));
            assert!(manager.wants(true, false, start), "news do not wait");
            assert!(manager.wants(false, false, start + Duration::from_secs(15)));
            manager.stopping();
            assert!(heard(&socket).starts_with("STOPPING=1\n"));
            assert!(!manager.wants(true, false, start), "it is not told again that the probe is up");
        }
    }

    #[test]
    fn it_hears_of_the_collectors_clock_at_once_and_each_time_after_that() {
        let (_folder, socket, name) = manager(false);
        let mut manager = ServiceManager::at(Some(name), None).unwrap();
        manager.tell(news("well"), Nanos(0));
        assert!(!heard(&socket).contains("CLOCK"), "nobody knows it yet");
        assert!(manager.wants(false, true, Nanos(1)), "a board waits for the time");
        for (offset, error) in [(-1_500_000_000, 7), (i64::MIN, 0)] {
            let clock = Some((offset, Duration::from_nanos(error)));
            manager.tell(News { line: "well", state: "connected", clock }, Nanos(1));
            let said = heard(&socket);
            assert!(said.ends_with(&format!("_OFFSET_NS={offset}\nX_SONDE_CLOCK_ERROR_NS={error}")), "{said}");
            assert!(!manager.wants(false, true, Nanos(2)));
        }
    }

    #[test]
    fn without_a_watchdog_nothing_is_said_of_one() {
        let (_folder, socket, name) = manager(false);
        for nothing in [None, Some(0)] {
            let mut manager = ServiceManager::at(Some(name.clone()), nothing).unwrap();
            manager.tell(news("well"), Nanos(0));
            assert_eq!(heard(&socket), "READY=1\nSTATUS=well\nX_SONDE_STATE=connecting");
            assert_eq!(manager.due(), Some(Nanos(0) + UNWATCHED));
        }
    }

    #[test]
    fn a_line_cannot_say_more_than_how_the_probe_is() {
        let (_folder, socket, name) = manager(false);
        let mut manager = ServiceManager::at(Some(name), None).unwrap();
        let line = format!("refused: x\nMAINPID=1\r{}", "ä".repeat(5000));
        manager.tell(news(&line), Nanos(0));
        let said = heard(&socket);
        assert!(said.starts_with("READY=1\nSTATUS=refused: x MAINPID=1 ä"), "{said}");
        assert_eq!(said.lines().count(), 3, "{said}");
        assert!(said.len() <= "READY=1\nSTATUS=\nX_SONDE_STATE=connecting".len() + MAX_LINE, "{}", said.len());
    }

    #[test]
    fn nobody_is_told_where_nobody_asks() {
        for socket in [None, Some(OsString::new())] {
            let mut manager = ServiceManager::at(socket, Some(1)).unwrap();
            assert!(!manager.wants(true, true, Nanos(0)));
            manager.stopping();
            manager.tell(news("well"), Nanos(0));
        }
    }

    #[test]
    fn a_manager_that_is_not_there_is_an_error_and_one_that_does_not_listen_is_told_again_soon() {
        assert!(ServiceManager::at(Some("/nonexistent/notify".into()), None).is_err());
        let (_folder, socket, name) = manager(false);
        let mut manager = ServiceManager::at(Some(name), None).unwrap();
        drop(socket);
        manager.tell(news("well"), Nanos(7));
        assert_eq!(manager.due(), Some(Nanos(7) + AGAIN));
    }
}
