//! The console: what the board says, on every device that the kernel calls a console (/sys/class/tty/console/active). Nothing is ever
//! read from one.
//!
//! A serial line is slow and may hang, so a thread of its own writes, from a bounded queue; what finds no room is counted and said.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Lines that wait to be written.
const QUEUE: usize = 256;

/// The longest line, in bytes.
const MAX_LINE: usize = 600;

/// How long one waits at the end for a slow line.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time since the kernel began, sleep included.
pub fn uptime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}

enum Job {
    Line(String),
    Flush(Sender<()>),
}

/// The way to the console. Clones lead to the same.
#[derive(Debug, Clone)]
pub struct Console {
    jobs: SyncSender<Job>,
    lost: Arc<AtomicU64>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Console {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start() -> std::io::Result<Self> {
        let (jobs, waiting) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        std::thread::Builder::new()
            .name("console".into())
            .stack_size(64 * 1024)
            .spawn(move || write(&waiting, &counter))?;
        Ok(Self { jobs, lost })
    }

    /// Says something about a step, or about another matter in a word.
    pub fn say(&self, topic: &str, text: &str) {
        self.line(&line("sonde-os", uptime(), topic, text));
    }

    /// Says what the probe said.
    pub fn probe(&self, text: &str) {
        self.line(&clean(&format!("sonde-probe {text}")));
    }

    fn line(&self, line: &str) {
        if self.jobs.try_send(Job::Line(line.to_owned())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything is written, but not for ever.
    pub fn flush(&self) {
        let (done, wait) = channel();
        if self.jobs.try_send(Job::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(PATIENCE);
        }
    }
}

/// One line of the console.
fn line(who: &str, at: Duration, topic: &str, text: &str) -> String {
    clean(&format!("{who} [{}.{:03}] {topic}: {text}", at.as_secs(), at.subsec_millis()))
}

/// What of a text may reach a terminal: one line, no control characters, not too long.
fn clean(text: &str) -> String {
    let harmless =
        |letter: char| !letter.is_control() && !matches!(letter, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}');
    let mut line: String = text.chars().map(|letter| if harmless(letter) { letter } else { ' ' }).collect();
    line.truncate(line.floor_char_boundary(MAX_LINE));
    line
}

fn write(jobs: &Receiver<Job>, lost: &AtomicU64) {
    let mut devices = open();
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Line(mut line) => {
                line.push_str("\r\n");
                let lost = lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let _ = write!(line, "sonde-os ({lost} lines lost: the console is slow)\r\n");
                }
                // A driver that was loaded late may have brought another one.
                if devices.is_empty() {
                    devices = open();
                }
                devices.retain_mut(|device| device.write_all(line.as_bytes()).is_ok());
            }
            Job::Flush(done) => drop(done.send(())),
        }
    }
}

fn open() -> Vec<File> {
    let names = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_else(|_| "console".into());
    let open = |name: &str| {
        let path = format!("/dev/{name}");
        OpenOptions::new().write(true).custom_flags(rustix::fs::OFlags::NOCTTY.bits() as i32).open(path).ok()
    };
    names.split_whitespace().filter_map(open).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_when_and_about_what() {
        let at = Duration::from_millis(3_045);
        assert_eq!(line("sonde-os", at, "link", "eth0 up, 1000 Mb/s"), "sonde-os [3.045] link: eth0 up, 1000 Mb/s");
    }

    #[test]
    fn nothing_from_elsewhere_moves_a_terminals_cursor() {
        assert_eq!(clean("a\x1b[2J\nb\u{202e}c\u{9b}d"), "a [2J b c d");
        assert!(clean(&"ä".repeat(1000)).len() <= MAX_LINE);
    }
}
