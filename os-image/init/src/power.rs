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

/// A file that is there while the board is off because somebody wanted that.
const ENDED: &str = "ended";

/// Starts the board again, or switches it off.
pub fn end(console: &Console, off: bool) -> ! {
    console.say("stop", if off { "switching off" } else { "starting again" });
    console.flush();
    // A card that takes no writing loses the word, which is no harm.
    let _ = fs::write(Path::new(OS).join(ENDED), "");
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

/// How the board ended the last time, if that was not in order; told once. `os` is the folder of the state, `starts` how often the board
/// had started before with it.
pub fn last_end(os: &Path, starts: u64) -> Option<String> {
    let in_order = fs::remove_file(os.join(ENDED)).is_ok();
    let failure = os.join(FAILURE);
    let why = fs::read_to_string(&failure).ok().map(|text| text.trim().chars().take(300).collect::<String>());
    let _ = fs::remove_file(failure);
    match why {
        Some(why) => Some(format!("the board had started again by itself: {why}")),
        None if in_order || starts == 0 => None,
        None => {
            Some("the last time it ended without a word: its power was taken away, or its system stood still".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_end_in_order_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let os = folder.path();
        assert_eq!(last_end(os, 0), None, "the first start");
        assert!(last_end(os, 1).is_some_and(|words| words.contains("without a word")));
        fs::write(os.join(ENDED), "").unwrap();
        assert_eq!(last_end(os, 2), None);
        assert!(last_end(os, 3).is_some(), "the mark counts once");
        fs::write(os.join(ENDED), "").unwrap();
        fs::write(os.join(FAILURE), "7 s after the start: a mistake\n").unwrap();
        assert_eq!(
            last_end(os, 4).as_deref(),
            Some("the board had started again by itself: 7 s after the start: a mistake")
        );
        fs::write(os.join(ENDED), "").unwrap();
        assert_eq!(last_end(os, 5), None, "so do the words");
    }
}
