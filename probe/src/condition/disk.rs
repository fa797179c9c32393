//! Can the state directory be written? Asked at the start, when a write has failed, and while it could not: never of a disk on
//! which all is well, so that looking wears nothing out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use sonde_protocol::condition::Word;

use super::diagnosis::Found;
use crate::spool::LEAST_FREE;

/// What is written and removed again.
const FILE: &str = "disk.check";

/// No less than a block of any disk.
const BLOCK: usize = 4096;

/// Is it for this module to say whether the word holds?
pub const fn is_of_the_disk(word: Word) -> bool {
    matches!(word, Word::DiskFull | Word::DiskReadOnly)
}

/// Tries it out. It may take as long as the disk does.
pub fn look(state: &Path) -> Option<Found> {
    let tried = write(state).and_then(|()| free(state));
    tried.err().map(|error| judge(&error))
}

/// What the system's refusal of a write means.
fn judge(error: &io::Error) -> Found {
    let word = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Word::DiskFull,
        _ => Word::DiskReadOnly,
    };
    Found { word, detail: error.to_string() }
}

fn write(state: &Path) -> io::Result<()> {
    let path = state.join(FILE);
    let written = (|| {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
        let mut file = options.open(&path)?;
        file.write_all(&[0; BLOCK])?;
        file.sync_data()
    })();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => written.and(Err(error)),
        _ => written,
    }
}

/// The spool leaves the last of the disk alone, so that is as good as full.
fn free(state: &Path) -> io::Result<()> {
    let left = crate::spool::free(&File::open(state)?)?;
    if left < LEAST_FREE {
        let left = left / 1000;
        return Err(io::Error::new(ErrorKind::StorageFull, format!("hardly anything is free: {left} kB")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_its_word() {
        for (errno, word) in [
            (nix::libc::ENOSPC, Word::DiskFull),
            (nix::libc::EDQUOT, Word::DiskFull),
            (nix::libc::EROFS, Word::DiskReadOnly),
            (nix::libc::EIO, Word::DiskReadOnly),
            (nix::libc::EACCES, Word::DiskReadOnly),
        ] {
            let found = judge(&io::Error::from_raw_os_error(errno));
            assert_eq!(found.word, word);
            assert!(is_of_the_disk(word) && !found.detail.is_empty());
        }
    }

    #[test]
    fn a_directory_that_can_be_written_is_well_and_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(look(dir.path()), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(look(&dir.path().join("gone")).map(|found| found.word), Some(Word::DiskReadOnly));
    }
}
