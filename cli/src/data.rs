//! The server's data directory: one lock, the catalog, the results, the network.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use sonde_store::sqlite::SqliteReachability;
use sonde_store::sqlite::catalog::SqliteCatalog;
use sonde_store::sqlite::results::SqliteResults;
use sonde_store::{Catalog, Reachability, Results};

use crate::release::folder::Folder;

/// An opened data directory. While it lives nobody else can open it.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Opens (and makes, if need be) the directory under an exclusive lock.
    pub fn open(path: &Path) -> Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot make the data directory {}", path.display()))?;
        let file = path.join("lock");
        let lock = File::create(&file).with_context(|| format!("cannot open {}", file.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.into(), _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!("{} is in use by another sonde", path.display()),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", file.display())),
        }
    }

    /// Has a server ever run over this directory?
    pub fn has_catalog(path: &Path) -> bool {
        path.join("catalog.db").exists()
    }

    /// The catalog.
    pub fn catalog(&self) -> Result<Arc<dyn Catalog>> {
        let path = self.path.join("catalog.db");
        Ok(Arc::new(SqliteCatalog::open(&path).with_context(|| format!("cannot open {}", path.display()))?))
    }

    /// The results.
    pub fn results(&self) -> Result<Arc<dyn Results>> {
        let path = self.path.join("results");
        Ok(Arc::new(SqliteResults::open(&path).with_context(|| format!("cannot open {}", path.display()))?))
    }

    /// What the results say of IPv6.
    pub fn reachability(&self) -> Result<Arc<dyn Reachability>> {
        let path = self.path.join("reachability.db");
        Ok(Arc::new(SqliteReachability::open(&path).with_context(|| format!("cannot open {}", path.display()))?))
    }

    /// Where the network's keys and directory are.
    pub fn network(&self) -> PathBuf {
        network_path(&self.path)
    }

    /// Where the certificate is that the server made for HTTPS, with its key.
    pub fn certificate(&self) -> PathBuf {
        self.path.join("https.pem")
    }

    /// Where the releases of the board's system are.
    pub fn releases(&self) -> Folder {
        Folder::of_data(&self.path)
    }

    /// Where a running server listens for `sonde admin`.
    pub fn admin_socket(&self) -> PathBuf {
        admin_socket(&self.path)
    }
}

/// Where the network's keys and directory are in a data directory.
pub fn network_path(data: &Path) -> PathBuf {
    data.join("network")
}

/// The administration socket of a data directory.
pub fn admin_socket(data: &Path) -> PathBuf {
    data.join("admin.sock")
}
