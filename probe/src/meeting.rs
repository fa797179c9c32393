//! Where the running probe and its host's commands meet: Unix sockets in the state directory, or, where that cannot be
//! written, in a directory of `/run` that is named after it. Which it is, nobody has to say: who asks looks at both.
//!
//! This module must not know what is said there.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use tracing::{info, warn};

/// In memory, and for root or the service (`RuntimeDirectory=`) alone to make.
const RUN: &str = "/run/sonde-probe";

/// The directory in `/run` for a state directory.
fn elsewhere(run: &Path, state: &Path) -> PathBuf {
    let whole = fs::canonicalize(state).unwrap_or_else(|_| state.to_owned());
    let name = digest(&SHA256, whole.as_os_str().as_encoded_bytes());
    run.join(HEXLOWER.encode(name.as_ref().get(..8).unwrap_or_default()))
}

/// A disk on which nothing new can be made: that is what the other place is for.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Listens at a socket of this name. `mode` says who may connect. `None`: the state directory takes nothing, and there is no
/// other place; the probe runs all the same, and nobody can ask it.
///
/// # Errors
/// When the state directory takes it, and it cannot be made.
pub fn listen(state: &Path, name: &str, mode: u32) -> io::Result<Option<UnixListener>> {
    listen_in(Path::new(RUN), state, name, mode)
}

fn listen_in(run: &Path, state: &Path, name: &str, mode: u32) -> io::Result<Option<UnixListener>> {
    let closed = match make(&state.join(name), mode) {
        Err(error) if is_closed(&error) => error,
        made => return made.map(Some),
    };
    let directory = elsewhere(run, state);
    let made = make_directory(run, &directory).and_then(|()| make(&directory.join(name), mode));
    let directory = directory.display();
    match &made {
        Ok(_) => info!(%closed, %directory, name, "the state directory takes no socket: it is elsewhere"),
        Err(error) => {
            warn!(%closed, %directory, %error, name, "there is no place for a socket: nobody can ask the probe")
        }
    }
    Ok(made.ok())
}

fn make_directory(run: &Path, directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(run)?;
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn make(path: &Path, mode: u32) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// Connects to the probe of a state directory.
///
/// # Errors
/// When nobody listens at either place.
pub fn connect(state: &Path, name: &str) -> io::Result<UnixStream> {
    connect_in(Path::new(RUN), state, name)
}

fn connect_in(run: &Path, state: &Path, name: &str) -> io::Result<UnixStream> {
    // One of an earlier start may still lie in the state directory, with nobody behind it.
    UnixStream::connect(state.join(name))
        .or_else(|error| UnixStream::connect(elsewhere(run, state).join(name)).map_err(|_| error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_finds_the_probe_at_either_place() {
        let (run, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let connect = || connect_in(run.path(), state.path(), "s.sock");
        assert!(connect().is_err());
        let usual = listen_in(run.path(), state.path(), "s.sock", 0o600).unwrap();
        assert_eq!(fs::metadata(state.path().join("s.sock")).unwrap().permissions().mode() & 0o777, 0o600);
        connect().unwrap();
        drop(usual);
        assert!(connect().is_err(), "the name alone is nobody");
        let other = elsewhere(run.path(), state.path());
        fs::create_dir(&other).unwrap();
        let _elsewhere = make(&other.join("s.sock"), 0o600).unwrap();
        connect().unwrap();
    }

    #[test]
    fn only_a_disk_that_takes_nothing_leads_elsewhere() {
        let run = tempfile::tempdir().unwrap();
        let error = listen_in(run.path(), Path::new("/nonexistent/state"), "s.sock", 0o600).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        for (errno, closed) in [(nix::libc::EROFS, true), (nix::libc::ENOSPC, true), (nix::libc::EACCES, false)] {
            assert_eq!(is_closed(&io::Error::from_raw_os_error(errno)), closed);
        }
    }
}
