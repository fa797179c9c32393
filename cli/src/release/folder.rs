//! A release repository's folder: reads within bounds, writes whole files or nothing, and lets one writer in at a time.
//!
//! It knows no signatures. Names come from [`sonde_update::repository`].

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sonde_update::metadata::RoleName;
use sonde_update::repository::{FOLDER, KEYS, LOG, LOG_CHECKPOINT, LOG_ENTRIES, METADATA, MetadataName, TARGETS};

/// The largest file of the log. A release a week for a thousand years have 6 MB.
const MAX_LOG: u64 = 16 * 1024 * 1024;

/// The largest image that is released. The boot partition of a card has 256 MiB.
pub const MAX_IMAGE: u64 = 256 * 1024 * 1024;

/// One file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Its name within the repository.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Where files of a repository are read from.
pub trait Files {
    /// The file of this name; `None` if there is none.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>>;
}

/// A repository's folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

/// As long as it lives nobody else writes.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock goes with it")] File);

impl Folder {
    /// The repository of a server's data directory.
    pub fn of_data(data: &Path) -> Self {
        Self { path: data.join(FOLDER) }
    }

    /// A repository by itself, as a copy is.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where keys lie with which a server renews.
    pub fn keys(&self) -> PathBuf {
        self.path.join(KEYS)
    }

    /// Is there a repository? Its first root is the last thing that is written of a new one.
    pub fn exists(&self) -> bool {
        self.path.join(METADATA).join(MetadataName::new(RoleName::Root, 1).to_string()).is_file()
    }

    /// Makes the folders, as far as they are missing.
    pub fn make(&self) -> Result<()> {
        for folder in [METADATA, TARGETS, LOG] {
            let path = self.path.join(folder);
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(&path)
                .with_context(|| format!("cannot make {}", path.display()))?;
        }
        Ok(())
    }

    /// Locks others out who would write.
    pub fn lock(&self) -> Result<Lock> {
        let path = self.path.join("lock");
        let file = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => {
                bail!("another sonde changes the releases in {} right now; try again", self.path.display())
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// Writes one file.
    pub fn apply(&self, write: &NewFile) -> Result<()> {
        let path = self.path.join(&write.name);
        self::write(&path, &write.bytes).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes an image, if it is there.
    pub fn remove_target(&self, name: &str) -> Result<()> {
        let path = self.path.join(TARGETS).join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// The names of all metadata, in order. Other files in the folder are passed over.
    pub fn metadata(&self) -> Result<Vec<MetadataName>> {
        let mut names: Vec<MetadataName> =
            self.list(METADATA)?.iter().filter_map(|name| MetadataName::parse(name)).collect();
        names.sort();
        Ok(names)
    }

    /// The names in a folder of the repository.
    pub fn list(&self, folder: &str) -> Result<Vec<String>> {
        let path = self.path.join(folder);
        let cannot = || format!("cannot read {}", path.display());
        let entries = fs::read_dir(&path).with_context(cannot)?;
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry.with_context(cannot)?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    /// How long an image is; `None` if there is none.
    pub fn target_length(&self, name: &str) -> Option<u64> {
        fs::metadata(self.path.join(TARGETS).join(name)).ok().filter(fs::Metadata::is_file).map(|file| file.len())
    }
}

impl Files for Folder {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let at_most = match name {
            LOG_ENTRIES | LOG_CHECKPOINT => MAX_LOG,
            _ => match name.strip_prefix(METADATA).and_then(|name| MetadataName::parse(name.strip_prefix('/')?)) {
                Some(name) => name.role.most_bytes(),
                None => MAX_IMAGE,
            },
        };
        read(&self.path.join(name), at_most)
    }
}

/// A repository as it would be after some writes.
pub struct After<'a> {
    /// What there is.
    pub folder: &'a Folder,
    /// What would be written.
    pub writes: &'a [NewFile],
}

impl Files for After<'_> {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match self.writes.iter().rev().find(|write| write.name == name) {
            Some(write) => Ok(Some(write.bytes.clone())),
            None => self.folder.read(name),
        }
    }
}

/// Reads a whole file of at most so many bytes.
pub fn read(path: &Path, at_most: u64) -> Result<Option<Vec<u8>>> {
    let cannot = || format!("cannot read {}", path.display());
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.with_context(cannot)?,
    };
    let mut bytes = Vec::new();
    file.take(at_most + 1).read_to_end(&mut bytes).with_context(cannot)?;
    if bytes.len() as u64 > at_most {
        bail!("{} is longer than {at_most} bytes", path.display());
    }
    Ok(Some(bytes))
}

/// Replaces a file: the old or the new one is there whole at any time, also after a power cut.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = beside(path);
    let written = write_fresh(&fresh, bytes, 0o644).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written.and_then(|()| sync_folder(path))
}

/// Writes a file that nobody else may read, and never over another.
pub fn write_new_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = beside(path);
    let written = write_fresh(&fresh, bytes, 0o600).and_then(|()| fs::hard_link(&fresh, path));
    let _ = fs::remove_file(&fresh);
    written.and_then(|()| sync_folder(path))
}

fn write_fresh(fresh: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // Left over by a writer that was cut off.
    match fs::remove_file(fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(fresh)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// A name that no repository serves.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".new-");
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}
