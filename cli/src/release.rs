//! `sonde admin release`: the releases of the board's system, their metadata, and the keys that sign it. `docs/updates.md` says who signs
//! what, and why.
//!
//! Commands work on the files themselves, in the process of whoever has the keys, whether a server runs or not: the server only reads
//! the folder. Start reading at [`change`], which makes and publishes; [`walk`] looks at a repository with a board's eyes.

pub mod change;
pub mod folder;
pub mod image;
pub mod init;
pub mod keys;
pub mod look;
pub mod renew;
pub mod repository;
pub mod walk;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use sonde_update::metadata::{RoleName, Targets};
use sonde_update::moment::Moment;
use sonde_update::release::Release;

use change::{Maker, Terms, publish};
use folder::Folder;
use image::Image;
use keys::Keyring;
use repository::Repository;

/// Releases of the board's system.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum ReleaseCommand {
    /// Makes keys and an empty, signed list of releases
    Init {
        /// The folder for the keys; what is missing in it is made
        #[arg(long, value_name = "KEYDIR")]
        keys: PathBuf,
        /// The name of the log of releases, such as example.net/releases
        #[arg(long, value_name = "NAME")]
        log: Option<String>,
    },
    /// Prints the newest root, for `os-image/build --update-root`
    Root,
    /// Puts an image on the list
    Add {
        /// The signed file, sonde_NUMBER.efi
        file: PathBuf,
        /// What signs, and for how long
        #[command(flatten)]
        hands: Hands,
        /// How many of a hundred probes take it
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(0..=100))]
        percentage: u8,
        /// When it is released, such as 2026-12-01T00:00:00Z; now without
        #[arg(long, value_name = "TIME", value_parser = moment)]
        not_before: Option<Moment>,
    },
    /// Says anew how many of a hundred probes take a release
    RollOut {
        /// The release's number
        number: u64,
        /// How many of a hundred
        #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
        percent: u8,
        /// What signs, and for how long
        #[command(flatten)]
        hands: Hands,
    },
    /// Takes a release off the list, and its image off the disk; boards that run it keep it
    Withdraw {
        /// The release's number
        number: u64,
        /// What signs, and for how long
        #[command(flatten)]
        hands: Hands,
    },
    /// Signs anew what expires, as far as keys are at hand
    Renew {
        /// What signs, and for how long
        #[command(flatten)]
        hands: Hands,
        /// Only this role, and those that must follow; may be given several times
        #[arg(long, value_enum)]
        role: Vec<RoleWord>,
    },
    /// Prints the releases, when what expires, and the log
    Status,
    /// Walks through all files as a board would, and says the first thing that is wrong
    Check,
}

/// What signs, and for how long.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Hands {
    /// A folder of keys; those in DIR/updates/keys are taken too
    #[arg(long, value_name = "KEYDIR")]
    pub keys: Option<PathBuf>,
    /// For how many days the file is good [default: root 365, targets and snapshot 90, timestamp 7]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=3650))]
    pub expires: Option<u64>,
}

/// A role by its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum RoleWord {
    /// The keys themselves
    Root,
    /// The list of releases
    Targets,
    /// Which list is the newest
    Snapshot,
    /// That this is still so
    Timestamp,
}

impl From<RoleWord> for RoleName {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Root => Self::Root,
            RoleWord::Targets => Self::Targets,
            RoleWord::Snapshot => Self::Snapshot,
            RoleWord::Timestamp => Self::Timestamp,
        }
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    Moment::parse(text).ok_or_else(|| "a date like 2030-01-01T00:00:00Z is expected".to_owned())
}

impl Hands {
    /// The keys at hand: those that were named, and the server's.
    fn open(&self, folder: &Folder) -> Result<Keyring> {
        let mut ring = Keyring::open_if_there(&folder.keys())?;
        if let Some(keys) = &self.keys {
            ring.extend(Keyring::open(keys)?);
        }
        Ok(ring)
    }

    fn terms(&self, role: RoleName) -> Terms {
        Terms::of(&[role], self.expires)
    }
}

/// The time of this machine.
pub fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Carries out a command on the releases of a data directory, and gives what it prints.
pub fn run(data: &Path, command: &ReleaseCommand, now: Moment) -> Result<String> {
    let folder = Folder::of_data(data);
    match command {
        ReleaseCommand::Init { keys, log } => init::init(&folder, keys, log.as_deref(), now),
        ReleaseCommand::Root => look::root(&folder),
        ReleaseCommand::Add { file, hands, percentage, not_before } => {
            let image = Image::open(file)?;
            let release = image.release(*percentage, not_before.unwrap_or(now));
            let (number, name) = (release.version, release.name.clone());
            let said = change_list(&folder, hands, now, |repository, targets| {
                repository.admits(&release)?;
                targets.targets.insert(release.path.clone(), release.to_target());
                Ok(vec![change::image(&release, image.bytes)])
            })?;
            Ok(format!("release {number} ({name}) is on the list, for {percentage} of a hundred probes\n{said}"))
        }
        ReleaseCommand::RollOut { number, percent, hands } => {
            let said = change_list(&folder, hands, now, |_, targets| {
                for release in numbered(targets, *number)? {
                    let release = Release { percentage: *percent, ..release };
                    targets.targets.insert(release.path.clone(), release.to_target());
                }
                Ok(Vec::new())
            })?;
            Ok(format!("release {number} is for {percent} of a hundred probes now\n{said}"))
        }
        ReleaseCommand::Withdraw { number, hands } => {
            let said = change_list(&folder, hands, now, |_, targets| {
                for release in numbered(targets, *number)? {
                    targets.targets.remove(&release.path);
                }
                Ok(Vec::new())
            })?;
            Ok(format!("release {number} is off the list; boards that run it keep it\n{said}"))
        }
        ReleaseCommand::Renew { hands, role } => {
            let roles: Vec<RoleName> = role.iter().map(|role| RoleName::from(*role)).collect();
            renew::by_hand(&folder, &hands.open(&folder)?, &roles, hands.expires, now)
        }
        ReleaseCommand::Status => look::status(&folder, now),
        ReleaseCommand::Check => look::check(&folder, now),
    }
}

/// Makes another list of the one that there is, and publishes it.
fn change_list(
    folder: &Folder,
    hands: &Hands,
    now: Moment,
    change: impl FnOnce(&Repository, &mut Targets) -> Result<Vec<folder::NewFile>>,
) -> Result<String> {
    let _lock = lock(folder)?;
    let repository = Repository::load(folder)?;
    let keys = hands.open(folder)?;
    publish(&repository, &new_list(&repository, &keys, hands, now, change)?, now)
}

/// The files of another list.
fn new_list(
    repository: &Repository,
    keys: &Keyring,
    hands: &Hands,
    now: Moment,
    change: impl FnOnce(&Repository, &mut Targets) -> Result<Vec<folder::NewFile>>,
) -> Result<Vec<folder::NewFile>> {
    let maker = Maker { repository, keys, next_root: None, now, terms: hands.terms(RoleName::Targets) };
    let mut targets = repository.targets.body.clone();
    let mut files = change(repository, &mut targets)?;
    let file = maker.sign(RoleName::Targets, maker.targets_draft(&targets.targets)?)?;
    files.extend(maker.with_targets(file, maker.head(RoleName::Targets).version)?);
    Ok(files)
}

/// The lock of a repository that is there.
fn lock(folder: &Folder) -> Result<folder::Lock> {
    if !folder.exists() {
        bail!("there are no releases in {}: `release init` begins", folder.path().display());
    }
    folder.lock()
}

/// The releases of this number, one for each architecture.
fn numbered(targets: &Targets, number: u64) -> Result<Vec<Release>> {
    let (mut releases, _) = Release::all(targets);
    releases.retain(|release| release.version == number);
    if releases.is_empty() {
        bail!("there is no release {number} on the list: `release status` shows them");
    }
    Ok(releases)
}

#[cfg(test)]
mod tests;
