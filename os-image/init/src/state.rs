//! The state partition: an ext4 file system of 120 MiB, and behind it two raw copies of the probe's key. Cards die and are pulled in the
//! middle of a write: a file system that cannot be trusted is made anew, and the key is what must survive.
//!
//! The partition is found by its place, never by what it contains. What is done is decided by [`decide`] from what was found; the key is
//! looked for in the file first, because a file that holds a whole key is as new as a key can be, then in the copies.

pub mod key;
mod template;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, StatVfsMountFlags, statvfs};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

pub use key::Secret;

/// Where it is mounted.
pub const STATE: &str = "/state";

/// The probe's state directory.
pub const PROBE: &str = "/state/probe";

/// What the system itself keeps.
pub const OS: &str = "/state/os";

/// How often the board has started: a file in [`OS`] that each start writes.
pub const BOOTS: &str = "boots";

/// The user and the group that the probe runs as.
pub const PROBE_USER: u32 = 900;

/// The probe's key, in its state directory.
pub const KEY: &str = "probe.key";

/// The template of an empty file system.
const TEMPLATE: &str = "/etc/sonde/state.template";

/// A state with more files than this is not the probe's.
const MOST_FILES: usize = 10_000;

const FLAGS: MountFlags =
    MountFlags::NODEV.union(MountFlags::NOSUID).union(MountFlags::NOEXEC).union(MountFlags::NOATIME);

/// How a mount went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounted {
    /// It can be written and says nothing of errors.
    Well,
    /// It can be read, but not trusted.
    Broken,
    /// Not at all.
    No,
}

/// What to do about the file system and the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Make the file system anew.
    pub remake: bool,
    /// The key that the probe is to have, if it has had one.
    pub secret: Option<Secret>,
    /// Write it into the file.
    pub write_file: bool,
}

/// Decides from how the mount went, from the key in the file and from the copies.
pub fn decide(mounted: Mounted, file: Option<Secret>, copies: [Option<Secret>; 2]) -> Plan {
    let secret = file.or(copies[0]).or(copies[1]);
    let remake = mounted != Mounted::Well;
    Plan { remake, secret, write_file: secret.is_some() && (remake || file.is_none()) }
}

/// Why there is no state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The card has no second partition.
    #[error("the card has no second partition for the probe's state; write the card anew")]
    NoPartition,
    /// The card does not take what is written to it.
    #[error("the state partition cannot be {step}: {source}; put the image on another card")]
    Card {
        /// What failed.
        step: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

fn failed(step: &'static str) -> impl FnOnce(io::Error) -> StateError {
    move |source| StateError::Card { step, source }
}

/// The state partition, mounted.
#[derive(Debug)]
pub struct State {
    device: PathBuf,
    /// In both copies.
    copied: Option<Secret>,
    /// The key's file when it was read last.
    seen: Option<Version>,
    /// The file system was made at this start.
    pub remade: bool,
    /// What had to be done, in words.
    pub words: String,
}

impl State {
    /// Mounts the partition, repairing what must be. It may take as long as the card takes to write 120 MiB.
    ///
    /// # Errors
    /// When the card does not take part.
    pub fn open(device: Option<&Path>) -> Result<Self, StateError> {
        let device = device.ok_or(StateError::NoPartition)?;
        let copies = read_copies(device).unwrap_or_default();
        let mounted = try_mount(device);
        let file = read_secret(&Path::new(PROBE).join(KEY));
        let plan = decide(mounted, file, copies);
        let mut words = "mounted".to_owned();
        if plan.remake {
            if mounted == Mounted::Broken {
                unmount(STATE, UnmountFlags::DETACH).map_err(|error| failed("unmounted")(error.into()))?;
            }
            // Before anything is overwritten: if the power goes now, the copies have it.
            if let Some(secret) = plan.secret {
                key::write(device, &secret).map_err(failed("written"))?;
            }
            let wiped = template::write(Path::new(TEMPLATE), device).map_err(failed("made anew"))?;
            mount(device, STATE, "ext4", FLAGS, c"errors=remount-ro")
                .map_err(|error| failed("mounted")(error.into()))?;
            words = if wiped { "it was damaged: made anew".into() } else { "made for the first time".into() };
        }
        make_folders().map_err(failed("written"))?;
        if let Some(secret) = plan.secret.filter(|_| plan.write_file) {
            write_secret(Path::new(PROBE), &secret, PROBE_USER).map_err(failed("written"))?;
            words.push_str(", the probe's key saved from its copy");
        }
        // Only what both copies say needs no writing.
        let copied = copies[0].filter(|_| copies[0] == copies[1] && !plan.remake);
        let mut state = Self { device: device.to_owned(), copied, seen: None, remade: plan.remake, words };
        state.keep_key().map_err(failed("written"))?;
        Ok(state)
    }

    /// Writes the copies of the key when the file has another than they. True if it did.
    ///
    /// # Errors
    /// The card's.
    pub fn keep_key(&mut self) -> io::Result<bool> {
        let path = Path::new(PROBE).join(KEY);
        let seen = Version::of(&path);
        if seen == self.seen {
            return Ok(false);
        }
        let secret = read_secret(&path).filter(|secret| self.copied != Some(*secret));
        if let Some(secret) = secret {
            key::write(&self.device, &secret)?;
            self.copied = Some(secret);
        }
        self.seen = seen;
        Ok(secret.is_some())
    }

    /// Has the kernel stopped writing, because the file system or the card is damaged?
    pub fn has_gone_bad() -> bool {
        let can_be_written = statvfs(STATE).is_ok_and(|about| !about.f_flag.contains(StatVfsMountFlags::RDONLY));
        !can_be_written || refuses(&Path::new(OS).join(BOOTS))
    }

    /// Writes out what is waiting and unmounts.
    pub fn close() {
        rustix::fs::sync();
        let _ = unmount(STATE, UnmountFlags::DETACH);
    }
}

/// A state that lasts until the power goes, for a card that can only be read: the probe measures on, by the key that it has.
///
/// # Errors
/// Without a key, with which it would be another probe after each start, or without memory.
pub fn in_memory(device: Option<&Path>) -> io::Result<()> {
    let copies = device.map(read_copies).transpose()?.unwrap_or_default();
    let secret = copies[0].or(copies[1]).ok_or(io::ErrorKind::NotFound)?;
    let _ = unmount(STATE, UnmountFlags::DETACH);
    mount("tmpfs", STATE, "tmpfs", FLAGS, c"mode=755,size=32m")?;
    make_folders()?;
    write_secret(Path::new(PROBE), &secret, PROBE_USER)
}

/// Whether the kernel does not even open a file any more. After an error Linux 6.12 shuts ext4 down and does not say that it is read-only, as
/// kernels before and after it do. Opening writes nothing.
fn refuses(file: &Path) -> bool {
    let opened = OpenOptions::new().write(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(file);
    let errors = [Errno::IO, Errno::ROFS].map(Errno::raw_os_error);
    opened.is_err_and(|error| error.raw_os_error().is_some_and(|number| errors.contains(&number)))
}

fn read_copies(device: &Path) -> io::Result<[Option<Secret>; 2]> {
    key::read(&mut File::open(device)?)
}

fn try_mount(device: &Path) -> Mounted {
    let looks = Superblock::of(device);
    if looks == Superblock::None {
        return Mounted::No;
    }
    if looks == Superblock::Clean && mount(device, STATE, "ext4", FLAGS, c"errors=remount-ro").is_ok() {
        // The journal, or a folder, may tell of an error only now.
        let whole = make_folders().is_ok() && can_be_read(Path::new(STATE), &mut { MOST_FILES });
        let well = whole && !State::has_gone_bad() && Superblock::of(device) == Superblock::Clean;
        return if well { Mounted::Well } else { Mounted::Broken };
    }
    // To look for the key; without the journal, which could not be written back.
    match mount(device, STATE, "ext4", FLAGS | MountFlags::RDONLY, c"noload") {
        Ok(()) => Mounted::Broken,
        Err(_) => Mounted::No,
    }
}

/// Whether every folder and what is in it can be looked at. The kernel checks a folder's or a file's own blocks when they are read.
fn can_be_read(folder: &Path, left: &mut usize) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    for entry in entries {
        let Some(about) = entry.ok().and_then(|entry| Some((entry.path(), entry.metadata().ok()?))) else {
            return false;
        };
        *left = left.saturating_sub(1);
        // More than the probe ever has.
        if *left == 0 || about.1.is_dir() && !can_be_read(&about.0, left) {
            return false;
        }
    }
    true
}

/// What the superblock says (`s_magic`, `s_state`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Superblock {
    None,
    Clean,
    /// The kernel has noted an error.
    Errors,
}

impl Superblock {
    fn of(device: &Path) -> Self {
        const ERROR_FS: u8 = 2;
        let mut bytes = [0; 1024];
        let read = File::open(device).and_then(|mut file| {
            file.seek(SeekFrom::Start(1024))?;
            file.read_exact(&mut bytes)
        });
        match read {
            Ok(()) if bytes[0x38..0x3a] != [0x53, 0xef] => Self::None,
            Ok(()) if bytes[0x3a] & ERROR_FS == 0 => Self::Clean,
            Ok(()) => Self::Errors,
            Err(_) => Self::None,
        }
    }
}

/// What changes when a file is replaced or written: its number, its time and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version(u64, i64, i64, u64);

impl Version {
    fn of(path: &Path) -> Option<Self> {
        let about = fs::metadata(path).ok()?;
        Some(Self(about.ino(), about.mtime(), about.mtime_nsec(), about.len()))
    }
}

fn make_folders() -> io::Result<()> {
    for (path, mode, owner) in [(PROBE, 0o700, PROBE_USER), (OS, 0o700, 0)] {
        match fs::DirBuilder::new().mode(mode).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => chown(path, Some(owner), Some(owner))?,
        }
    }
    Ok(())
}

/// Reads what the probe wrote. The folder is the probe's, and a hijacked one could lay a link to a device there, or a pipe at which the
/// first process would wait for ever: so nothing but a plain file is read.
pub(crate) fn read_secret(file: &Path) -> Option<Secret> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(file).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(256).read_to_end(&mut bytes).ok()?;
    Secret::from_pkcs8(&bytes)
}

fn write_secret(folder: &Path, secret: &Secret, owner: u32) -> io::Result<()> {
    let (path, new) = (folder.join(KEY), folder.join("probe.key.saved"));
    // A new file, whatever lies there: through a link of the probe's making the first process would overwrite, and give away, anything.
    clear(&new)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    io::Write::write_all(&mut file, &secret.to_pkcs8()?)?;
    fchown(&file, Some(owner), Some(owner))?;
    file.sync_all()?;
    // A file there is replaced at once; only a folder must go before.
    if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
        clear(&path)?;
    }
    fs::rename(&new, &path)?;
    File::open(folder)?.sync_all()
}

/// Makes room at a path: also where a folder has the name of a file.
fn clear(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_survives_wherever_one_of_its_bytes_does() {
        let (old, new) = (Secret([1; 32]), Secret([2; 32]));
        // How the mount went, the file, the copies; remake?, the key, write the file?
        for (mounted, file, copies, expected) in [
            (Mounted::Well, Some(new), [Some(new), Some(new)], (false, Some(new), false)),
            // Exchanged for another just before the power went.
            (Mounted::Well, Some(new), [Some(old), None], (false, Some(new), false)),
            (Mounted::Well, None, [None, None], (false, None, false)),
            // The power went between making the file system and writing the key.
            (Mounted::Well, None, [Some(old), Some(old)], (false, Some(old), true)),
            (Mounted::Broken, Some(new), [Some(old), Some(old)], (true, Some(new), true)),
            (Mounted::Broken, None, [None, Some(old)], (true, Some(old), true)),
            (Mounted::No, None, [Some(new), Some(old)], (true, Some(new), true)),
            (Mounted::No, None, [None, None], (true, None, false)),
        ] {
            let plan = decide(mounted, file, copies);
            assert_eq!((plan.remake, plan.secret, plan.write_file), expected, "{mounted:?} {file:?} {copies:?}");
        }
    }

    #[test]
    fn a_tree_is_whole_if_everything_in_it_can_be_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("probe/deeper")).unwrap();
        fs::write(folder.path().join("probe/deeper/file"), "x").unwrap();
        assert!(can_be_read(folder.path(), &mut 10));
        assert!(!can_be_read(folder.path(), &mut 3), "more than the probe could have made");
        assert!(!can_be_read(&folder.path().join("gone"), &mut 10));
    }

    #[test]
    fn only_a_plain_file_is_read_as_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link, pipe) = (folder.path().join("key"), folder.path().join("link"), folder.path().join("pipe"));
        let secret = Secret([5; 32]);
        fs::write(&file, secret.to_pkcs8().unwrap()).unwrap();
        assert_eq!(read_secret(&file), Some(secret));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read_secret(&link), None);
        // Nobody writes into it: whoever opened it like a file would wait here.
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        assert_eq!(read_secret(&pipe), None);
        assert_eq!(read_secret(folder.path()), None);
    }

    #[test]
    fn whatever_lies_where_the_key_belongs_gives_way_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let (precious, secret) = (folder.path().join("precious"), Secret([6; 32]));
        fs::write(&precious, "as it was").unwrap();
        let me = rustix::process::getuid().as_raw();
        std::os::unix::fs::symlink(&precious, folder.path().join("probe.key.saved")).unwrap();
        fs::create_dir_all(folder.path().join(KEY).join("within")).unwrap();
        write_secret(folder.path(), &secret, me).unwrap();
        assert_eq!(read_secret(&folder.path().join(KEY)), Some(secret));
        assert_eq!(fs::read_to_string(&precious).unwrap(), "as it was");
    }

    #[test]
    fn the_superblock_tells_of_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let mut disk = vec![0; 8192];
        fs::write(&path, &disk).unwrap();
        assert_eq!(Superblock::of(&path), Superblock::None);
        disk[1024 + 0x38..1024 + 0x3b].copy_from_slice(&[0x53, 0xef, 1]);
        fs::write(&path, &disk).unwrap();
        assert_eq!(Superblock::of(&path), Superblock::Clean);
        disk[1024 + 0x3a] = 3;
        fs::write(&path, &disk).unwrap();
        assert_eq!(Superblock::of(&path), Superblock::Errors);
    }
}
