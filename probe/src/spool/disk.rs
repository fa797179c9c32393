//! The spool's file, and what is done to it. The only part of the spool that touches the system.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file in the state directory.
pub const FILE: &str = "spool.ring";

/// The least that the file may take; and so much of the disk is left alone, whoever else fills it.
pub const LEAST_FREE: u64 = 1024 * 1024;

/// One part in so many of what is free is the most that the file may take.
const SHARE: u64 = 4;

/// A disk as the spool sees it: bytes in one file.
pub trait Disk {
    /// The file's length.
    ///
    /// # Errors
    /// The system's.
    fn length(&mut self) -> io::Result<u64>;
    /// Reads as much of `buffer` as there is, and says how much that was.
    ///
    /// # Errors
    /// The system's.
    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes all of it. When this returns without an error, it is on the disk.
    ///
    /// # Errors
    /// The system's. Any part of it may have been written.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Empties the file. It need not be on the disk before the next write is.
    ///
    /// # Errors
    /// The system's.
    fn clear(&mut self) -> io::Result<()>;
}

/// The real one. Where nothing can be written what is there is read all the same, and each write tries anew.
#[derive(Debug)]
pub struct FileDisk {
    path: PathBuf,
    /// Absent while there is no file and none can be made.
    file: Option<File>,
    writable: bool,
}

impl FileDisk {
    /// Opens or makes the file, and says how large it may become: no larger than asked, and no more than a share of what is
    /// free, but [`LEAST_FREE`] at least. That it cannot be written just now is no error.
    ///
    /// # Errors
    /// When what is there is no file, or cannot be read.
    pub fn open(dir: &Path, asked: u64) -> io::Result<(Self, u64)> {
        let mut disk = Self { path: dir.join(FILE), file: None, writable: false };
        match disk.make_writable() {
            Err(error) if is_closed(&error) => {
                disk.file = match options().open(&disk.path) {
                    Ok(file) => Some(only_a_file(file)?),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    Err(error) => return Err(error),
                };
            }
            made => made?,
        }
        let most = free(&File::open(dir)?)?.saturating_add(disk.length()?) / SHARE;
        Ok((disk, asked.min(most.max(LEAST_FREE))))
    }

    fn make_writable(&mut self) -> io::Result<()> {
        if !self.writable {
            let file = only_a_file(options().write(true).create(true).truncate(false).mode(0o600).open(&self.path)?)?;
            // The name must survive a power cut as the blocks do.
            self.path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())?;
            (self.file, self.writable) = (Some(file), true);
        }
        Ok(())
    }

    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(nix::libc::O_NOFOLLOW);
    options
}

fn only_a_file(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no file")) }
}

/// A disk that takes nothing just now.
fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), ReadOnlyFilesystem | StorageFull | QuotaExceeded | PermissionDenied)
}

/// Bytes that this user may still write to the disk of a file.
///
/// # Errors
/// The system's.
pub fn free(file: &File) -> io::Result<u64> {
    let disk = nix::sys::statvfs::fstatvfs(file)?;
    Ok(wide(disk.blocks_available()).saturating_mul(wide(disk.fragment_size())))
}

impl Disk for FileDisk {
    fn length(&mut self) -> io::Result<u64> {
        self.file.as_ref().map_or(Ok(0), |file| Ok(file.metadata()?.len()))
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file()?.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.make_writable()?;
        let file = self.file()?;
        let grows = offset.saturating_add(bytes.len() as u64) > file.metadata()?.len();
        if grows && free(file)? < LEAST_FREE {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "hardly anything is free on its disk"));
        }
        file.write_all_at(bytes, offset)?;
        file.sync_data()
    }

    fn clear(&mut self) -> io::Result<()> {
        self.make_writable()?;
        self.file()?.set_len(0)
    }
}

/// The system's numbers are as wide as its words.
fn wide(number: impl Into<u64>) -> u64 {
    number.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_refused_and_what_is_one_grows_to_a_share_of_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (mut disk, most) = FileDisk::open(dir.path(), LEAST_FREE).unwrap();
        assert_eq!(most, LEAST_FREE);
        disk.write(0, b"whole").unwrap();
        let mut buffer = [0; 9];
        assert_eq!((disk.read(0, &mut buffer).unwrap(), &buffer[..5]), (5, &b"whole"[..]));
        disk.clear().unwrap();
        assert_eq!(disk.length().unwrap(), 0);
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join(FILE)).unwrap();
        assert!(FileDisk::open(dir.path(), LEAST_FREE).is_err(), "nobody is to be led elsewhere");
    }
}
