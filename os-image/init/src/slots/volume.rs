//! The boot partition, mounted for one thing at a time: for reading, or for writing, and then let go at once. It is a FAT without a journal
//! that anybody may pull out, so it is never left mounted.
//!
//! Writing is with MS_DIRSYNC: without it a power cut after a rename can leave neither the old name nor a new one with anything in it.
//! It must not know what the files are.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{statvfs, syncfs};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::SlotError;

/// Where it is mounted meanwhile.
pub const BOOT: &str = "/boot";

/// What is said of a FAT's names: those of ours are ASCII.
const NAMES: &str = "iocharset=ascii,codepage=437";

/// A folder with more files than this is not looked through further.
const MOST_FILES: usize = 1000;

/// Whoever has it mounted.
static MOUNTED: Mutex<()> = Mutex::new(());

/// What it is mounted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing is written.
    Read,
    /// Files are written.
    Write,
}

/// The boot partition's device. A folder in its place is taken as it is, which is what tests have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume(PathBuf);

impl Volume {
    /// On this device.
    pub fn new(device: &Path) -> Self {
        Self(device.to_owned())
    }

    /// Mounts it. Waits for whoever else has it.
    ///
    /// # Errors
    /// When the card does not take part, or is locked.
    pub fn mount(&self, access: Access) -> Result<Mounted, SlotError> {
        let lock = MOUNTED.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.is_dir() {
            return Ok(Mounted { root: self.0.clone(), unmount: false, _lock: lock });
        }
        let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME;
        // A mistake in the FAT fails the one step that meets it, and the mount lasts no longer: that it could not be written any more
        // would keep what must be repaired as it is.
        let (flags, data) = match access {
            Access::Read => (plain | MountFlags::RDONLY, NAMES.to_owned()),
            Access::Write => (plain | MountFlags::DIRSYNC, format!("{NAMES},errors=continue")),
        };
        let data = std::ffi::CString::new(data).unwrap_or_default();
        mount(&self.0, BOOT, "vfat", flags, data.as_c_str()).map_err(|error| SlotError::Mount {
            device: self.0.clone(),
            what: if access == Access::Read { "read" } else { "written" },
            source: error.into(),
        })?;
        Ok(Mounted { root: BOOT.into(), unmount: true, _lock: lock })
    }
}

/// The partition while it is mounted; it is unmounted when this goes, whichever way.
#[derive(Debug)]
pub struct Mounted {
    root: PathBuf,
    unmount: bool,
    _lock: MutexGuard<'static, ()>,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Nobody else has anything open in it; and if so, nobody finds it any more.
        if self.unmount && unmount(BOOT, UnmountFlags::empty()).is_err() {
            let _ = unmount(BOOT, UnmountFlags::DETACH);
        }
    }
}

impl Mounted {
    /// A folder of it; the empty name is the partition itself.
    pub fn folder(&self, name: &str) -> Folder {
        Folder(self.root.join(name))
    }
}

/// A folder of the mounted partition. Whatever it does is on the card when it returns.
#[derive(Debug)]
pub struct Folder(PathBuf);

fn failed(step: &'static str, file: &str) -> impl FnOnce(io::Error) -> SlotError {
    let file = file.to_owned();
    move |source| SlotError::Card { step, file, source }
}

impl Folder {
    /// The plain files in it with their lengths. A folder that is not there has none.
    ///
    /// # Errors
    /// The card's.
    pub fn files(&self) -> Result<Vec<(String, u64)>, SlotError> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed("looked at", ""))?,
        };
        let mut files = Vec::new();
        for entry in entries.take(MOST_FILES) {
            let entry = entry.map_err(failed("looked at", ""))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let about = entry.metadata().map_err(failed("looked at", &name))?;
            if about.is_file() {
                files.push((name, about.len()));
            }
        }
        files.sort();
        Ok(files)
    }

    /// Whether there is such a file.
    pub fn has(&self, file: &str) -> bool {
        self.0.join(file).is_file()
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// The card's.
    pub fn open(&self, file: &str) -> Result<File, SlotError> {
        File::open(self.0.join(file)).map_err(failed("read", file))
    }

    /// Reads a whole file in pieces.
    ///
    /// # Errors
    /// The card's; also when less can be read than the folder says there is.
    pub fn read(&self, file: &str, piece: usize, each: &mut dyn FnMut(&[u8])) -> Result<(), SlotError> {
        let mut source = self.open(file)?;
        let length = source.metadata().map_err(failed("read", file))?.len();
        let (mut bytes, mut read) = (vec![0; piece], 0u64);
        loop {
            match source.read(&mut bytes) {
                Ok(0) if read == length => return Ok(()),
                Ok(0) => return Err(failed("read", file)(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => {
                    each(bytes.get(..count).unwrap_or_default());
                    read += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", file)(error)),
            }
        }
    }

    /// Writes bytes at a place of a file, which is made if it is not there.
    ///
    /// # Errors
    /// The card's; a full one says so.
    pub fn write(&self, file: &str, offset: u64, bytes: &[u8]) -> Result<(), SlotError> {
        let write = || {
            let mut target = OpenOptions::new().write(true).create(true).truncate(false).open(self.0.join(file))?;
            target.seek(SeekFrom::Start(offset))?;
            target.write_all(bytes)?;
            target.sync_all()
        };
        write().and_then(|()| self.sync()).map_err(failed("written", file))
    }

    /// Leaves a file the first bytes that it has.
    ///
    /// # Errors
    /// The card's.
    pub fn shorten(&self, file: &str, length: u64) -> Result<(), SlotError> {
        let shorten = || {
            let target = OpenOptions::new().write(true).open(self.0.join(file))?;
            // Also to the length that it has already: FAT may have chained more to it than that.
            target.set_len(length)?;
            target.sync_all()
        };
        shorten().and_then(|()| self.sync()).map_err(failed("shortened", file))
    }

    /// Renames a file; there must be none with the new name.
    ///
    /// # Errors
    /// The card's.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), SlotError> {
        if self.has(to) {
            return Err(failed("renamed", from)(io::ErrorKind::AlreadyExists.into()));
        }
        fs::rename(self.0.join(from), self.0.join(to)).and_then(|()| self.sync()).map_err(failed("renamed", from))
    }

    /// Deletes a file. One that is not there is deleted already.
    ///
    /// # Errors
    /// The card's.
    pub fn delete(&self, file: &str) -> Result<(), SlotError> {
        // While it is open its clusters are its own. So its name is gone from the card before they are free: a power cut leaves no name
        // that leads nowhere, whatever the card writes first.
        let held = File::open(self.0.join(file));
        match fs::remove_file(self.0.join(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            done => done.and_then(|()| self.sync()).map_err(failed("deleted", file))?,
        }
        drop(held);
        self.sync().map_err(failed("deleted", file))
    }

    /// How many bytes are free.
    ///
    /// # Errors
    /// The card's.
    pub fn free(&self) -> Result<u64, SlotError> {
        let about = statvfs(&self.0).map_err(|error| failed("looked at", "")(error.into()))?;
        Ok(about.f_bavail.saturating_mul(about.f_frsize))
    }

    /// The folder itself, then whatever else of the file system waits to be written.
    fn sync(&self) -> io::Result<()> {
        let folder = File::open(&self.0)?;
        folder.sync_all()?;
        rustix::io::retry_on_intr(|| syncfs(&folder)).map_err(io::Error::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_that_is_not_there_is_said_in_words() {
        let error = Volume::new(Path::new("/dev/no-such-card")).mount(Access::Read).unwrap_err().to_string();
        assert!(error.contains("/dev/no-such-card cannot be read"), "{error}");
    }

    #[test]
    fn files_are_written_in_place_renamed_once_and_deleted_twice() {
        let place = tempfile::tempdir().unwrap();
        let folder = Volume::new(place.path()).mount(Access::Write).unwrap().folder("");
        folder.write("a", 0, b"first").unwrap();
        folder.write("a", 3, b"ly").unwrap();
        let mut read = Vec::new();
        folder.read("a", 2, &mut |piece| read.extend_from_slice(piece)).unwrap();
        assert_eq!(read, b"firly");
        folder.write("b", 0, b"").unwrap();
        assert!(folder.rename("a", "b").is_err(), "nothing is overwritten");
        folder.delete("b").unwrap();
        folder.delete("b").unwrap();
        folder.rename("a", "b").unwrap();
        assert_eq!(folder.files().unwrap(), [("b".to_owned(), 5)]);
        assert!(folder.free().unwrap() > 0);
    }
}
