//! How it ends: never by PID 1 coming to an end, which the kernel would not survive.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::system::{RebootCommand, reboot};

use crate::console::{Console, uptime};
use crate::release::Release;
use crate::slots::memory::Memory;
use crate::state::{OS, State};

/// How long somebody has to read what is wrong before the board starts again.
const READING_TIME: Duration = Duration::from_secs(10);

/// Where the words of a failure are kept for the next start.
const FAILURE: &str = "failure";

/// Starts the board again, or switches it off.
pub fn end(console: &Console, off: bool) -> ! {
    console.say("stop", if off { "switching off" } else { "starting again" });
    console.flush();
    State::close();
    let _ = reboot(if off { RebootCommand::PowerOff } else { RebootCommand::Restart });
    // A kernel that would not: the watchdog does, since nobody feeds it any more.
    loop {
        std::thread::sleep(READING_TIME);
    }
}

/// Something has happened that nothing can be done about here: says it, keeps it for the next start, and starts the board again.
pub fn fail(console: &Console, why: &str) -> ! {
    console.say("failure", &format!("{why}; the board starts again in {} s", READING_TIME.as_secs()));
    console.flush();
    let words = format!("{} s after the start: {why}", uptime().as_secs());
    let _ = fs::write(Path::new(OS).join(FAILURE), format!("{words}\n"));
    // If this was a trial, the system before tells them as the reason.
    Memory::of_this_board().leave_words(Release::of_this_image().number, &words);
    std::thread::sleep(READING_TIME);
    end(console, false)
}

/// The words of the last failure, which are told once.
pub fn last_failure() -> Option<String> {
    let path = Path::new(OS).join(FAILURE);
    let text = fs::read_to_string(&path).ok()?;
    let _ = fs::remove_file(path);
    Some(text.chars().take(300).collect())
}
