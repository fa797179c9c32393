//! The state directory: who this probe is and which network it trusts.
//!
//! `probe.key` is the probe's identity and never leaves the machine; `directory.cbor` is the newest directory that a root
//! key of the network signed. `next.key` is there while the probe exchanges its key for another: it is taken into use when the
//! network has confirmed it, and until then both are kept. `collector.addr` is where
//! a collector was last reached, for when names lead nowhere. All are written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use sonde_protocol::directory::{Collector, Directory, DirectoryError, NetworkFile, Reference, SignedDirectory};
use sonde_protocol::identity::Rotation;
use sonde_protocol::key::PublicKey;
use sonde_protocol::message::to_cbor;
use sonde_protocol::tls::{Ring, SecretKey};

const KEY: &str = "probe.key";
const NEXT_KEY: &str = "next.key";
const DIRECTORY: &str = "directory.cbor";
const COLLECTOR: &str = "collector.addr";

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file cannot be read or written.
    #[error("{path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// There is no key yet, and one that is not kept would be another probe after each start.
    #[error("there is no key yet, and {path} cannot be written")]
    NotKept {
        /// The key's file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The key's file is there but holds no key. It is not replaced: the probe would lose its identity.
    #[error("{0} holds no key; put the right one back, or remove it to become a new probe")]
    Key(PathBuf),
    /// There is no key to be exchanged.
    #[error("{0} is not there: this is no probe's state directory")]
    NoKey(PathBuf),
    /// No key can be made.
    #[error("no key could be made from the system's random numbers")]
    Random,
}

/// The newest directory of the network that is kept in a state directory. One that cannot be read as such, or that nobody
/// signed, is as good as none.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn kept_directory(dir: &Path) -> io::Result<Option<Directory>> {
    let bytes = match fs::read(dir.join(DIRECTORY)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let signed = minicbor::decode::<SignedDirectory>(&bytes).ok();
    // It was checked against the roots of its time when it was kept; its own roots signed it or its predecessor's did, and
    // the file is ours alone.
    Ok(signed.and_then(|signed| signed.open(&[signed.root], &Ring).ok()))
}

/// Makes the key that the probe of this state directory is to have next, unless it is there already. Gives its public half.
///
/// # Errors
/// When there is no probe, or the file cannot be written or holds no key.
pub fn make_next_key(dir: &Path) -> Result<PublicKey, StateError> {
    let path = dir.join(KEY);
    read_key(&path)?.ok_or(StateError::NoKey(path))?;
    let path = dir.join(NEXT_KEY);
    if let Some(next) = read_key(&path)? {
        return Ok(next.public());
    }
    let next = SecretKey::generate().map_err(|_| StateError::Random)?;
    write_whole(&path, next.to_pkcs8()).map_err(|source| StateError::File { path, source })?;
    Ok(next.public())
}

/// Does a key of this state directory wait to be taken into use?
pub fn has_next_key(dir: &Path) -> bool {
    dir.join(NEXT_KEY).exists()
}

/// The key in a file, if the file is there.
fn read_key(path: &Path) -> Result<Option<SecretKey>, StateError> {
    match fs::read(path) {
        Ok(bytes) => SecretKey::from_pkcs8(&bytes).map(Some).map_err(|_| StateError::Key(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::File { path: path.to_owned(), source }),
    }
}

/// Forgets the network's directory, so that the network file alone says whom to trust.
///
/// # Errors
/// When it cannot be removed.
pub fn forget_directory(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(DIRECTORY)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where a collector was last reached, as it is kept in a state directory. It proves nothing: whoever answers there must have
/// the key. What cannot be read is as good as none.
pub fn kept_collector(dir: &Path) -> Option<SocketAddr> {
    let mut text = String::new();
    // No address is longer.
    File::open(dir.join(COLLECTOR)).ok()?.take(128).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Who the probe is, and whom it trusts.
#[derive(Debug)]
pub struct Identity {
    dir: PathBuf,
    key: SecretKey,
    /// The key that the probe is to have, until the network has confirmed it.
    next: Option<SecretKey>,
    /// The network does not take the old key any more: perhaps it has the new one, and the word of it was lost.
    tries_next: bool,
    network: NetworkFile,
    directory: Option<Directory>,
    remembered: Option<SocketAddr>,
}

impl Identity {
    /// Opens the state in `dir`, making a key at the first start.
    pub fn open(dir: &Path, network: NetworkFile) -> Result<Self, StateError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StateError::File { path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed(dir))?;
        let path = dir.join(KEY);
        let key = match read_key(&path)? {
            Some(key) => key,
            None => {
                let key = SecretKey::generate().map_err(|_| StateError::Random)?;
                let kept = write_whole(&path, key.to_pkcs8());
                kept.map_err(|source| StateError::NotKept { path: path.clone(), source })?;
                key
            }
        };
        let next = read_key(&dir.join(NEXT_KEY))?;
        let remembered = kept_collector(dir);
        let mut identity = Self { dir: dir.into(), key, next, tries_next: false, network, directory: None, remembered };
        identity.directory = kept_directory(dir).map_err(failed(&dir.join(DIRECTORY)))?;
        Ok(identity)
    }

    /// The probe's key, by which it is to connect.
    pub fn key(&self) -> &SecretKey {
        self.next.as_ref().filter(|_| self.tries_next).unwrap_or(&self.key)
    }

    /// Looks whether a key has been laid down that the probe is to have.
    ///
    /// # Errors
    /// When the file cannot be read or holds no key.
    pub fn look_for_next(&mut self) -> Result<(), StateError> {
        self.next = read_key(&self.dir.join(NEXT_KEY))?;
        Ok(())
    }

    /// What to say to the network so that it takes the next key, if there is one.
    pub fn rotation(&self) -> Option<Rotation> {
        let next = self.next.as_ref().filter(|_| !self.tries_next)?;
        let message = Rotation::to_sign(&self.key.public(), &next.public());
        Rotation::new(next.public(), self.key.sign(&message), next.sign(&message))
    }

    /// The network does not take the key that the probe came with. True if there is another one to come with.
    pub fn try_other_key(&mut self) -> bool {
        self.tries_next = self.next.is_some() && !self.tries_next;
        self.tries_next
    }

    /// The network knows the probe by this key. If it is the next one, it is the probe's from now on. `Ok(true)`: it is.
    ///
    /// # Errors
    /// When the file cannot be moved. Both keys are still there then.
    pub fn confirm(&mut self, key: &PublicKey) -> Result<bool, StateError> {
        if self.next.as_ref().is_none_or(|next| next.public() != *key) {
            return Ok(false);
        }
        let path = self.dir.join(NEXT_KEY);
        let moved = fs::rename(&path, self.dir.join(KEY)).and_then(|()| File::open(&self.dir)?.sync_all());
        moved.map_err(|source| StateError::File { path, source })?;
        self.key = self.next.take().unwrap_or_else(|| self.key.clone());
        self.tries_next = false;
        Ok(true)
    }

    /// The network will not have the next key.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget_next(&mut self) -> Result<(), StateError> {
        (self.next, self.tries_next) = (None, false);
        let path = self.dir.join(NEXT_KEY);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StateError::File { path, source }),
            _ => Ok(()),
        }
    }

    /// The state directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a collector was last reached.
    pub const fn remembered(&self) -> Option<SocketAddr> {
        self.remembered
    }

    /// Keeps where a collector is reached. Nothing is written while it is where it was.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remember(&mut self, collector: SocketAddr) -> io::Result<()> {
        if self.remembered != Some(collector) {
            self.remembered = Some(collector);
            write_whole(&self.dir.join(COLLECTOR), collector.to_string().as_bytes())?;
        }
        Ok(())
    }

    /// The network's name.
    pub fn network_name(&self) -> &str {
        self.directory.as_ref().map_or(&self.network.name, |directory| directory.network.as_str())
    }

    /// The join token, if the network file has one.
    pub fn token(&self) -> Option<Vec<u8>> {
        self.network.token.as_ref().map(|token| token.as_bytes().to_vec())
    }

    /// Serial of the newest directory; 0 before the first.
    pub fn serial(&self) -> u64 {
        self.directory.as_ref().map_or(0, |directory| directory.serial)
    }

    /// The collectors to try, in order.
    pub fn collectors(&self) -> Vec<Collector> {
        match &self.directory {
            Some(directory) => directory.collectors.iter().cloned().collect(),
            None => self.network.collectors.clone(),
        }
    }

    /// The collector keys that are accepted.
    pub fn collector_keys(&self) -> Vec<PublicKey> {
        self.collectors().into_iter().map(|collector| collector.key).collect()
    }

    /// The hosts that http measurements may ask: none before the first directory.
    pub fn http_hosts(&self) -> Vec<String> {
        self.directory.iter().flat_map(|directory| directory.http_hosts.iter()).map(ToString::to_string).collect()
    }

    /// The references that reachability is measured against: none before the first directory.
    pub fn references(&self) -> Vec<Reference> {
        self.directory.iter().flat_map(|directory| directory.references.iter()).cloned().collect()
    }

    /// Checks a directory and keeps it if it is newer than ours. `Ok(false)`: not newer. With [`AcceptError::State`] it is in
    /// force until the process ends.
    pub fn accept(&mut self, signed: &SignedDirectory) -> Result<bool, AcceptError> {
        let roots: Vec<PublicKey> = match &self.directory {
            Some(directory) => directory.roots.iter().copied().collect(),
            None => self.network.roots.clone(),
        };
        let directory = signed.open(&roots, &Ring)?;
        if directory.serial <= self.serial() {
            return Ok(false);
        }
        // It counts from now on, whether it can be kept or not: a revoked key stays revoked.
        self.directory = Some(directory);
        let path = self.dir.join(DIRECTORY);
        write_whole(&path, &to_cbor(signed)).map_err(|source| StateError::File { path, source })?;
        Ok(true)
    }
}

/// Why a directory was not kept.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// It is not to be trusted.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// It cannot be written.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Replaces a file of the state directory (mode 0600): afterwards it is the old or the new one, whole.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    // What root writes here (`enroll`) is for the probe, which runs as the directory's owner.
    let owner = path.parent().map(fs::metadata).transpose()?;
    if let Some(owner) = owner.filter(|owner| file.metadata().is_ok_and(|ours| ours.uid() != owner.uid())) {
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
mod tests {
    use sonde_protocol::bounded::{List, Text};
    use sonde_protocol::directory::Endpoint;

    use super::*;

    fn network(root: &SecretKey) -> NetworkFile {
        NetworkFile { name: "test".into(), roots: vec![root.public()], token: None, collectors: vec![collector(7)] }
    }

    fn collector(n: u8) -> Collector {
        Collector {
            key: PublicKey([n; 32]),
            addresses: List::cut([Endpoint::cut("192.0.2.1:1")]),
            tls: List::default(),
        }
    }

    fn signed(serial: u64, by: &SecretKey, roots: &[PublicKey], key: u8) -> SignedDirectory {
        let directory = Directory {
            serial,
            network: Text::cut("test"),
            roots: List::cut(roots.iter().copied()),
            collectors: List::cut([collector(key)]),
            http_hosts: List::default(),
            references: List::default(),
        };
        let (to_sign, bytes) = directory.to_sign();
        SignedDirectory::new(bytes, by.public(), by.sign(&to_sign)).unwrap()
    }

    #[test]
    fn the_key_is_made_once_and_a_damaged_one_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let root = SecretKey::generate().unwrap();
        let first = Identity::open(dir.path(), network(&root)).unwrap().key().public();
        assert_eq!(Identity::open(dir.path(), network(&root)).unwrap().key().public(), first);
        fs::write(dir.path().join(KEY), b"").unwrap();
        assert!(matches!(Identity::open(dir.path(), network(&root)), Err(StateError::Key(_))));
    }

    #[test]
    fn a_key_is_exchanged_and_whoever_dies_on_the_way_still_gets_in() {
        let dir = tempfile::tempdir().unwrap();
        let root = SecretKey::generate().unwrap();
        let open = || Identity::open(dir.path(), network(&root)).unwrap();
        assert!(matches!(make_next_key(dir.path()), Err(StateError::NoKey(_))));
        let mut identity = open();
        let old = identity.key().public();
        assert_eq!(identity.rotation(), None);
        let new = make_next_key(dir.path()).unwrap();
        assert_eq!(make_next_key(dir.path()).unwrap(), new, "one that waits is taken up again");
        identity.look_for_next().unwrap();
        assert!(identity.rotation().unwrap().is_signed(&old, &Ring));
        assert_eq!(identity.key().public(), old, "until the network has it");
        assert!(!identity.confirm(&old).unwrap());

        // The network has taken it and the probe dies before it hears so: the old key is refused, the new one welcomed.
        let mut identity = open();
        assert_eq!(identity.key().public(), old);
        assert!(identity.try_other_key());
        assert_eq!((identity.key().public(), identity.rotation()), (new, None));
        // Refused with both: the old one has its turn again.
        assert!(!identity.try_other_key());
        assert_eq!(identity.key().public(), old);
        assert!(identity.try_other_key());
        assert!(identity.confirm(&new).unwrap());
        assert_eq!(identity.key().public(), new);
        assert_eq!((open().key().public(), has_next_key(dir.path())), (new, false));

        // A key that the network will not have is forgotten.
        make_next_key(dir.path()).unwrap();
        let mut identity = open();
        identity.forget_next().unwrap();
        assert_eq!((open().rotation(), identity.key().public()), (None, new));
        assert!(!identity.try_other_key());
        fs::write(dir.path().join(NEXT_KEY), b"x").unwrap();
        assert!(matches!(identity.look_for_next(), Err(StateError::Key(_))));
    }

    #[test]
    fn where_a_collector_was_reached_survives_a_restart_and_garbage_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = SecretKey::generate().unwrap();
        let mut identity = Identity::open(dir.path(), network(&root)).unwrap();
        assert_eq!(identity.remembered(), None);
        let address = "[2001:db8::1]:8333".parse().unwrap();
        identity.remember(address).unwrap();
        assert_eq!(Identity::open(dir.path(), network(&root)).unwrap().remembered(), Some(address));
        for garbage in [&b"\xff\xfe"[..], b"collector.example.net:1", &[b'1'; 4096]] {
            fs::write(dir.path().join(COLLECTOR), garbage).unwrap();
            assert_eq!(Identity::open(dir.path(), network(&root)).unwrap().remembered(), None);
        }
    }

    #[test]
    fn the_newest_directory_of_a_known_root_wins_and_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (root, next, stranger) =
            (SecretKey::generate().unwrap(), SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
        let mut identity = Identity::open(dir.path(), network(&root)).unwrap();
        assert_eq!(identity.collector_keys(), [PublicKey([7; 32])]);
        assert!(identity.accept(&signed(5, &stranger, &[stranger.public()], 66)).is_err());
        assert!(identity.accept(&signed(2, &root, &[next.public()], 8)).unwrap());
        assert!(!identity.accept(&signed(1, &next, &[next.public()], 9)).unwrap(), "an older serial changes nothing");
        assert!(identity.accept(&signed(3, &root, &[root.public()], 9)).is_err(), "the old root is no root any more");
        assert!(identity.accept(&signed(3, &next, &[next.public()], 10)).unwrap());
        let again = Identity::open(dir.path(), network(&root)).unwrap();
        assert_eq!((again.serial(), again.collector_keys()), (3, vec![PublicKey([10; 32])]));
    }
}
