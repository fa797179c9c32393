//! Reads from the repository's folder, on a thread that may block. Nothing but plain files is read, whatever lies there.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use sonde_protocol::board::MAX_PIECE;

/// What came of reading a piece.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// The length of the whole file, and the bytes.
    Piece(u64, Vec<u8>),
    /// There is no such file, or it is none that may be read.
    Missing,
    /// The file became shorter meanwhile, or the disk does not give it.
    Broken(String),
}

/// Opens a plain file. A link, a folder, a pipe or a device is none. `O_NONBLOCK`, because opening a pipe would wait.
fn plain(path: &Path) -> io::Result<(File, u64)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    let about = file.metadata()?;
    if about.is_file() { Ok((file, about.len())) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// So many bytes from `offset` on, at most [`MAX_PIECE`].
pub fn piece(path: &Path, offset: u64, at_most: u32) -> Found {
    let (file, length) = match plain(path) {
        Ok(opened) => opened,
        Err(_) => return Found::Missing,
    };
    let wanted = length.saturating_sub(offset).min(at_most.into()).min(MAX_PIECE as u64);
    // Not above MAX_PIECE.
    let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(0)];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Found::Piece(length, bytes),
        Err(error) => Found::Broken(error.to_string()),
    }
}

/// A whole small file; `None` if there is none, or if it is longer than `at_most`.
pub fn whole(path: &Path, at_most: u64) -> Option<Vec<u8>> {
    let (file, length) = plain(path).ok()?;
    let mut bytes = Vec::new();
    file.take(at_most).read_to_end(&mut bytes).ok()?;
    (length <= at_most && bytes.len() as u64 == length).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn pieces_of_a_plain_file_and_of_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let content: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        std::fs::write(&path, &content).unwrap();
        for (offset, at_most, expected) in [
            (0, 10, 0..10),
            (99_990, 100, 99_990..100_000),
            (100_000, 100, 0..0),
            (u64::MAX, u32::MAX, 0..0),
            (5, 0, 0..0),
            (0, u32::MAX, 0..MAX_PIECE),
        ] {
            assert_eq!(piece(&path, offset, at_most), Found::Piece(100_000, content[expected].to_vec()), "{offset}");
        }
        assert_eq!(whole(&path, 100_000), Some(content));
        assert_eq!(whole(&path, 99_999), None);
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for other in [dir.path(), &link, &pipe, Path::new("/dev/zero"), &dir.path().join("none"), &path.join("x")] {
            assert_eq!(piece(other, 0, 10), Found::Missing, "{}", other.display());
            assert_eq!(whole(other, 10), None, "{}", other.display());
        }
    }
}
