//! The spool's file, and what is done to it. The only part of the spool that touches the system.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// The file in the state directory.
pub const FILE: &str = "spool.ring";

/// Less than this is not worth having.
pub const LEAST: u64 = 1024 * 1024;

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

/// The real one.
#[derive(Debug)]
pub struct FileDisk(File);

impl FileDisk {
    /// Opens or makes the file, and says how large it may become: no larger than asked, and no more than a share of what is
    /// free.
    ///
    /// # Errors
    /// When it cannot be opened for writing, or too little is free.
    pub fn open(dir: &Path, asked: u64) -> io::Result<(Self, u64)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
        let file = options.open(dir.join(FILE))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        // The name must survive a power cut as the blocks do.
        File::open(dir)?.sync_all()?;
        let free = nix::sys::statvfs::fstatvfs(&file)?;
        let free = wide(free.blocks_available()).saturating_mul(wide(free.fragment_size()));
        let most = free.saturating_add(file.metadata()?.len()) / SHARE;
        if most < LEAST {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "hardly anything is free on its disk"));
        }
        Ok((Self(file), asked.min(most)))
    }
}

impl Disk for FileDisk {
    fn length(&mut self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)?;
        self.0.sync_data()
    }

    fn clear(&mut self) -> io::Result<()> {
        self.0.set_len(0)
    }
}

/// The system's numbers are as wide as its words.
fn wide(number: impl Into<u64>) -> u64 {
    number.into()
}
