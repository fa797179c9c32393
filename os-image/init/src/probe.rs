//! The probe as a process: started, listened to, ended. When that is due is for [`crate::supervise`].

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use ipnet::Ipv6Net;
use rustix::process::{Pid, Signal, WaitStatus, kill_process, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::console::{Console, uptime};
use crate::supervise::{LineLimit, PATIENCE};
use crate::update::channel::{self, Channel};
use crate::{launch, notify};

/// The settings as the probe reads them.
pub const CONFIG: &str = "/run/sonde/sonde.toml";

/// What of a line of the probe is read; the rest is passed over.
const MAX_LINE: usize = 1024;

/// The running probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe(Pid);

impl Probe {
    /// Starts it. What it writes goes to the console, and its standard input is the way to the system, whose end is given. Within a
    /// runtime.
    ///
    /// # Errors
    /// When no process can be made.
    pub fn start(raw: bool, version: &str, translators: &[Ipv6Net], console: &Console) -> io::Result<(Self, Channel)> {
        let (reader, writer) = io::pipe()?;
        let (channel, stdin) = Channel::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("sonde-os").arg(launch::ARGUMENT);
        if raw {
            command.arg(launch::RAW);
        }
        command.args(["--", "run", "--config", CONFIG, "--state", crate::state::PROBE]);
        command.env_clear().env("NOTIFY_SOCKET", notify::SOCKET).env("SONDE_OS_VERSION", version);
        command.env("WATCHDOG_USEC", PATIENCE.as_micros().to_string()).env(channel::VARIABLE, channel::STDIN);
        // It cannot hear itself what routers have advertised before it was there.
        let translators: Vec<String> = translators.iter().map(Ipv6Net::to_string).collect();
        command.env("SONDE_OS_NAT64", translators.join(","));
        // A group of its own, so that what it has started ends with it.
        command.process_group(0).stdin(Stdio::from(stdin)).stdout(writer.try_clone()?).stderr(writer);
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
        let reader = pipe::Receiver::from_owned_fd(reader.into())?;
        tokio::spawn(pass_on(reader, console.clone()));
        Ok((Self(pid), channel))
    }

    /// Is it this process?
    pub fn is(self, pid: Pid) -> bool {
        self.0 == pid
    }

    /// Its number.
    pub fn number(self) -> i32 {
        self.0.as_raw_nonzero().get()
    }

    /// Asks it to end: it keeps what it has not delivered.
    pub fn ask_to_end(self) {
        let _ = kill_process(self.0, Signal::TERM);
    }

    /// Ends it and whatever it has started.
    pub fn kill(self) {
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

/// How a process ended, in words.
pub fn how(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (_, Some(signal)) => format!("was ended by signal {signal}"),
        _ => "ended".into(),
    }
}

/// Lines to the console, until the last writer is gone.
async fn pass_on(mut reader: pipe::Receiver, console: Console) {
    let mut limit = LineLimit::new();
    let mut lines = Lines::default();
    let mut bytes = [0; MAX_LINE];
    while let Ok(length @ 1..) = reader.read(&mut bytes).await {
        lines.take(&bytes[..length], |line| match limit.take(uptime()) {
            Some(0) => console.probe(line),
            Some(dropped) => {
                console.probe(&format!("({dropped} lines left out)"));
                console.probe(line);
            }
            None => {}
        });
    }
}

/// Cuts a stream of bytes into lines of bounded length.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn take(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, whole) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let room = MAX_LINE.saturating_sub(self.0.len());
            self.0.extend_from_slice(text.get(..room).unwrap_or(text));
            if whole {
                let text = std::mem::take(&mut self.0);
                if !text.is_empty() {
                    line(&String::from_utf8_lossy(&text));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_bounded() {
        let mut lines = Lines::default();
        let mut said = Vec::new();
        for bytes in [&b"one\ntw"[..], b"o\n\nthr", b"ee", &[b'x'; 3000], b"\nlast\nhalf"] {
            lines.take(bytes, |line| said.push(line.to_owned()));
        }
        assert_eq!(said.len(), 4, "{said:?}");
        assert_eq!((said[0].as_str(), said[1].as_str(), said[3].as_str()), ("one", "two", "last"));
        assert!(said[2].starts_with("threexxx") && said[2].len() == MAX_LINE);
    }
}
