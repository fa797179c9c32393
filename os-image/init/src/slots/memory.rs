//! What a system leaves on the state partition for the one that is started after it: its last words, and that nobody counts tries here.
//! Both are only ever read as text; without a state there is none, which costs words and no system.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The longest words in bytes: what a board tells its network takes no more.
const MAX_WORDS: usize = 200;

/// Where they are kept.
#[derive(Debug, Clone)]
pub struct Memory(PathBuf);

impl Memory {
    /// On the state partition.
    pub fn of_this_board() -> Self {
        Self::at(Path::new(crate::state::OS))
    }

    /// In a folder.
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Leaves the last words of the system with this number; earlier ones are forgotten.
    pub fn leave_words(&self, number: u64, words: &str) {
        let _ = fs::write(self.0.join("last-words"), format!("{number} {}\n", clean(words)));
        rustix::fs::sync();
    }

    /// The last words of the system with this number, if its were the last.
    pub fn last_words(&self, number: u64) -> Option<String> {
        let text = self.read("last-words")?;
        let (of, words) = text.split_once(' ')?;
        (of.parse() == Ok(number)).then(|| clean(words)).filter(|words| !words.is_empty())
    }

    /// Forgets them: that system was kept.
    pub fn forget_words(&self) {
        let _ = fs::remove_file(self.0.join("last-words"));
    }

    /// Notes that the boot loader of this board counts no tries.
    pub fn note_uncounted(&self) {
        let _ = fs::write(self.0.join("uncounted"), "the boot loader counts no tries\n");
    }

    /// Has that been noted?
    pub fn is_uncounted(&self) -> bool {
        self.0.join("uncounted").exists()
    }

    fn read(&self, name: &str) -> Option<String> {
        let mut bytes = Vec::new();
        fs::File::open(self.0.join(name)).ok()?.take(1024).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// One line of bounded length.
fn clean(words: &str) -> String {
    let mut line: String = words.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    line.truncate(line.floor_char_boundary(MAX_WORDS));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_system_that_left_them() {
        let place = tempfile::tempdir().unwrap();
        let memory = Memory::at(place.path());
        assert_eq!(memory.last_words(2), None);
        memory.leave_words(2, "link: no cable\nor none that is\x1b[2J seen");
        assert_eq!(memory.last_words(2).as_deref(), Some("link: no cable or none that is [2J seen"));
        assert_eq!(memory.last_words(1), None);
        memory.leave_words(3, &"ä".repeat(1000));
        assert_eq!(memory.last_words(2), None);
        assert_eq!(memory.last_words(3).unwrap().len(), MAX_WORDS);
        memory.forget_words();
        assert_eq!(memory.last_words(3), None);
        for bytes in [&b""[..], b"3", b"x y", b"3 ", b"3 \n", b"\xff\xfe 3"] {
            fs::write(place.path().join("last-words"), bytes).unwrap();
            assert_eq!(memory.last_words(3), None, "{bytes:?}");
        }
        assert!(!memory.is_uncounted());
        memory.note_uncounted();
        assert!(memory.is_uncounted());
    }
}
