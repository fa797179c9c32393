//! A network's releases in a test: systems that are made of what the last `os-image/build` has left, in seconds, each with a number, a
//! trusted root and an illness of its own; and the operator's commands that release them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::guest::Network;

/// How a system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// As it was built.
    Well,
    /// Its probe cannot run, so no collector is ever reached.
    Unreachable,
    /// Its first process ends.
    Panics,
    /// Its first process opens the watchdog and stands still.
    Hangs,
}

impl Health {
    /// The name of a release of this kind, by which `ill` (an example of sonde-os) knows what to do.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Unreachable => "unreachable",
            Self::Panics => "panics",
            Self::Hangs => "hangs",
        }
    }
}

/// Makes systems.
#[derive(Debug, Clone)]
pub struct Forge {
    /// The program `ill`, for a board.
    pub ill: PathBuf,
    /// Where they are put.
    pub dir: PathBuf,
}

impl Forge {
    /// A system with this number: its signed file. It trusts `root`, if there is one, and may take so long to reach its collector.
    ///
    /// # Errors
    /// When `os-image/build --again` fails.
    pub fn make(&self, number: u64, health: Health, root: Option<&Path>, trial_seconds: u32) -> Result<PathBuf> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no repository")?;
        let mut command = Command::new(repository.join("os-image/build"));
        command.args(["--again", "--number", &number.to_string(), "--name", health.name()]);
        command.args(["--trial", &trial_seconds.to_string(), "--out"]).arg(&self.dir);
        if let Some(root) = root {
            command.arg("--update-root").arg(root);
        }
        match health {
            Health::Well => {}
            Health::Unreachable => drop(command.arg("--probe").arg(&self.ill)),
            Health::Panics | Health::Hangs => drop(command.arg("--init").arg(&self.ill)),
        }
        let output = command.output().context("os-image/build")?;
        ensure!(output.status.success(), "os-image/build: {}", String::from_utf8_lossy(&output.stderr));
        Ok(self.dir.join(format!("sonde_{number}.efi")))
    }
}

/// The releases of a network, with their keys.
#[derive(Debug)]
pub struct Releases {
    keys: String,
    root: PathBuf,
}

impl Releases {
    /// Makes keys and an empty list for this network.
    ///
    /// # Errors
    /// When `sonde admin release init` does not.
    pub fn begin(network: &Network<'_>, dir: &Path) -> Result<Self> {
        let keys = dir.join("keys").to_str().context("a folder's name")?.to_owned();
        let server = network.server.borrow();
        server.admin(&["release", "init", "--keys", &keys])?;
        let root = dir.join("root.json");
        std::fs::write(&root, server.admin(&["release", "root"])?)?;
        Ok(Self { keys, root })
    }

    /// The first root, which goes into images.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the keys are.
    pub fn keys(&self) -> &str {
        &self.keys
    }

    /// `sonde admin release WORDS --keys …`; gives what it prints.
    ///
    /// # Errors
    /// When it fails.
    pub fn admin(&self, network: &Network<'_>, words: &[&str]) -> Result<String> {
        let words = [&["release"], words, &["--keys", &self.keys]].concat();
        network.server.borrow().admin(&words)
    }

    /// Releases a system to all boards.
    ///
    /// # Errors
    /// When `sonde admin release add` does not.
    pub fn add(&self, network: &Network<'_>, file: &Path) -> Result<()> {
        self.admin(network, &["add", file.to_str().context("a file's name")?]).map(drop)
    }
}
