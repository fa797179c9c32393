//! The server's key as a file: made once, 0600, written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sonde_protocol::tls::SecretKey;

/// The file in the data directory.
const FILE: &str = "reference.key";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("{path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file is there and holds something else.
    #[error("{0}: not an Ed25519 private key")]
    Damaged(PathBuf),
    /// A key cannot be made.
    #[error("no key could be made from the system's random numbers")]
    Random,
}

/// The key of this data directory, which is made if it is not there, and the key with it.
pub fn open(data: &Path) -> Result<SecretKey, KeyError> {
    let path = data.join(FILE);
    let failed = |path: &Path, source| KeyError::File { path: path.into(), source };
    match fs::read(&path) {
        Ok(bytes) => SecretKey::from_pkcs8(&bytes).map_err(|_| KeyError::Damaged(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(data).map_err(|source| failed(data, source))?;
            let key = SecretKey::generate().map_err(|_| KeyError::Random)?;
            write(data, &path, key.to_pkcs8()).map_err(|source| failed(&path, source))?;
            Ok(key)
        }
        Err(source) => Err(failed(&path, source)),
    }
}

fn write(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_stays_and_is_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("new");
        let key = open(&data).unwrap();
        assert_eq!(open(&data).unwrap().public(), key.public());
        assert_eq!(fs::metadata(data.join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(data.join(FILE), b"garbage").unwrap();
        assert!(matches!(open(&data), Err(KeyError::Damaged(_))));
    }
}
