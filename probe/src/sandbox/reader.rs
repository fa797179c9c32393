//! A process apart that reads the list of resolvers, and `sonde.toml` when the host has changed it.
//!
//! Both are replaced by renaming, so a rule of Landlock would have to open their whole directories, and in `/etc` lie
//! other people's secrets. So before it closes itself off the probe starts this second process, which can do one thing: read
//! these files, wherever they lead at the moment, and pass on what is in them. It hears one byte, the number of a file, for each
//! reading; it ends when the probe does.
//!
//! The one place of the sandbox with `unsafe`: no safe library starts a process without running a program.

#![allow(unsafe_code, reason = "fork has no safe wrapper")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{ForkResult, fork};

use super::{SandboxError, files, filter, privileges};

/// More of a file is not passed on.
const MAX_FILE: usize = 1024 * 1024 + 1;

/// How long the other process may take to read a small file.
const PATIENCE: Duration = Duration::from_secs(5);

/// The probe's end.
#[derive(Debug)]
pub struct Reader {
    stream: Mutex<UnixStream>,
}

impl Reader {
    /// Starts the process. It comes with nothing of the probe's but its standard streams if this is the first thing that the
    /// program does.
    ///
    /// # Errors
    /// When there are threads already, or the system cannot start another process.
    pub fn start(list: &[PathBuf]) -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::Reader { source };
        let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        if threads != 1 {
            return Err(SandboxError::Threads(threads));
        }
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        ours.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        // SAFETY: the process has one thread, so that the child finds no lock held by a thread that it does not have.
        match unsafe { fork() }.map_err(|errno| failed(errno.into()))? {
            ForkResult::Parent { .. } => Ok(Self { stream: Mutex::new(ours) }),
            ForkResult::Child => {
                drop(ours);
                // Whatever goes wrong, it must not return into what is the probe's.
                let code = serve(theirs, list).map_or(1, |()| 0);
                // SAFETY: ends this process at once, without what the probe has registered for its own end.
                unsafe { libc::_exit(code) }
            }
        }
    }

    /// What is in a file now, by its place in the list.
    ///
    /// # Errors
    /// What the system said to the other process; or that it is gone.
    pub fn read(&self, file: u8) -> io::Result<Vec<u8>> {
        let mut stream = self.stream.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        stream.write_all(&[file])?;
        let mut header = [0; 8];
        stream.read_exact(&mut header)?;
        let (errno, length) = header.split_at(4);
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
        let length = usize::try_from(number(length)).unwrap_or(usize::MAX).min(MAX_FILE);
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes)?;
        match i32::try_from(number(errno)) {
            Ok(0) => Ok(bytes),
            Ok(errno) => Err(io::Error::from_raw_os_error(errno)),
            Err(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// The other process: closes itself off and answers until the probe is gone.
fn serve(mut stream: UnixStream, list: &[PathBuf]) -> Result<(), SandboxError> {
    let failed = |source| SandboxError::Reader { source };
    // A service manager and a terminal tell the whole group to end; the probe may still resolve a name then.
    let mut ignored = SigSet::empty();
    ignored.add(Signal::SIGTERM);
    ignored.add(Signal::SIGINT);
    ignored.add(Signal::SIGHUP);
    ignored.thread_block().map_err(|errno| failed(errno.into()))?;
    let _ = rustix::thread::set_name(c"sonde-resolv");
    // It may be the way to a board's system, which this process has nothing to say to.
    nix::unistd::dup2_stdin(File::open("/dev/null").map_err(failed)?).map_err(|errno| failed(errno.into()))?;
    privileges::harden()?;
    files::close_but(list.iter().map(|file| directory(file)))?;
    privileges::keep(false, &[])?;
    filter::set_for_reader()?;
    let mut asked = [0];
    while stream.read_exact(&mut asked).is_ok() {
        let file = list.get(usize::from(asked[0])).ok_or(io::ErrorKind::InvalidInput.into());
        let (errno, bytes) = match file.and_then(|file| read(file)) {
            Ok(bytes) => (0, bytes),
            Err(error) => (error.raw_os_error().unwrap_or(libc::EIO), Vec::new()),
        };
        let mut answer = Vec::with_capacity(8 + bytes.len());
        answer.extend(errno.unsigned_abs().to_le_bytes());
        answer.extend(u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes());
        answer.extend(bytes);
        if stream.write_all(&answer).is_err() {
            break;
        }
    }
    Ok(())
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_FILE as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where the file lies: often it is a link into `/run`, where a program keeps it.
fn directory(file: &Path) -> PathBuf {
    let whole = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    whole.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_not_started_beside_other_threads() {
        // Tests run on a thread of their own.
        assert!(matches!(Reader::start(&["/etc/resolv.conf".into()]), Err(SandboxError::Threads(2..))));
    }

    #[test]
    fn a_link_is_followed_to_where_the_file_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("resolv.conf"), "").unwrap();
        let link = folder.path().join("resolv.conf");
        std::os::unix::fs::symlink("kept/resolv.conf", &link).unwrap();
        assert_eq!(directory(&link), fs::canonicalize(&kept).unwrap());
    }
}
