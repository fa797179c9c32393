//! `sonde admin release`: the releases of the board's system, their metadata, and the keys that sign it. `docs/updates.md` says who signs
//! what, and why.
//!
//! Commands work on the files themselves, in the process of whoever has the keys, whether a server runs or not: the server only reads
//! the folder. Start reading at [`change`], which makes and publishes; [`walk`] looks at a repository with a board's eyes.

pub mod change;
pub mod draft;
pub mod folder;
pub mod image;
pub mod init;
pub mod keys;
pub mod list;
pub mod look;
pub mod mirror;
pub mod renew;
pub mod repository;
pub mod rotate;
pub mod walk;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use sonde_update::metadata::RoleName;
use sonde_update::moment::Moment;
use sonde_update::sign::public;

use change::{Maker, Terms, publish};
use folder::{Folder, NewFile};
use image::Image;
use keys::Keyring;
use list::ListChange;
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
    /// Exchanges a key by a new root. Without --add a new one is made in KEYDIR for each that goes
    Rotate {
        /// Which keys
        #[command(flatten)]
        exchange: rotate::Exchange,
        /// What signs, and for how long
        #[command(flatten)]
        hands: Hands,
    },
    /// Writes a list or a root that nobody has signed yet, for keys that lie with different people
    #[command(subcommand)]
    Draft(DraftCommand),
    /// Prints what a draft says, and signs it with a key; needs no --data
    Sign {
        /// The draft
        draft: PathBuf,
        /// The key: a file
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// A signature that a token made over what `draft payload` wrote; then the public half of the key is enough
        #[arg(long, value_name = "FILE")]
        signature: Option<PathBuf>,
    },
    /// Publishes a draft that enough have signed, with what must follow it
    Publish {
        /// The draft
        draft: PathBuf,
        /// A folder of keys; those in DIR/updates/keys are taken too
        #[arg(long, value_name = "KEYDIR")]
        keys: Option<PathBuf>,
    },
    /// Makes a key in a new file, and its public half beside it; needs no --data
    Key {
        /// The file
        file: PathBuf,
    },
    /// Copies another network's releases after checking them as a board would
    Mirror {
        /// The folder with them, as it is in another server's DIR/updates
        from: PathBuf,
        /// A root of theirs that you trust; needed the first time
        #[arg(long, value_name = "FILE")]
        root: Option<PathBuf>,
    },
    /// Goes on with a release that the server has stopped because boards did not come back with it
    Resume {
        /// The release's number
        number: u64,
    },
    /// Prints the releases, when what expires, the log, and how releases do on boards
    Status,
    /// Walks through all files as a board would, and says the first thing that is wrong
    Check,
}

/// Drafts.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum DraftCommand {
    /// Of the list with another image, which is put in its place already
    Add {
        /// The signed file, sonde_NUMBER.efi
        file: PathBuf,
        /// How many of a hundred probes take it
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(0..=100))]
        percentage: u8,
        /// When it is released, such as 2026-12-01T00:00:00Z; now without
        #[arg(long, value_name = "TIME", value_parser = moment)]
        not_before: Option<Moment>,
        /// Where to
        #[command(flatten)]
        to: DraftFile,
    },
    /// Of the list with another share for a release
    RollOut {
        /// The release's number
        number: u64,
        /// How many of a hundred
        #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
        percent: u8,
        /// Where to
        #[command(flatten)]
        to: DraftFile,
    },
    /// Of the list without a release
    Withdraw {
        /// The release's number
        number: u64,
        /// Where to
        #[command(flatten)]
        to: DraftFile,
    },
    /// Of the same list with another expiry
    Renew {
        /// Where to
        #[command(flatten)]
        to: DraftFile,
    },
    /// Of a root with other keys
    Root {
        /// Which keys
        #[command(flatten)]
        exchange: rotate::Exchange,
        /// Where to
        #[command(flatten)]
        to: DraftFile,
    },
    /// Prints what a draft says
    Show {
        /// The draft
        draft: PathBuf,
    },
    /// Writes the very bytes that are signed, for a token that signs outside of this program
    Payload {
        /// The draft
        draft: PathBuf,
        /// Where to
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// A draft that is made.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct DraftFile {
    /// The draft's file
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// For how many days the file is good [default: root 365, targets 90]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=3650))]
    pub expires: Option<u64>,
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
}

/// The time of this machine.
pub fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

impl ReleaseCommand {
    /// Does it work on files of its own alone, and so needs no data directory?
    pub fn needs_no_data(&self) -> bool {
        matches!(
            self,
            Self::Sign { .. }
                | Self::Key { .. }
                | Self::Draft(DraftCommand::Show { .. } | DraftCommand::Payload { .. })
        )
    }
}

/// Carries out a command on the releases of a data directory, and gives what it prints.
pub fn run(data: &Path, command: &ReleaseCommand, now: Moment) -> Result<String> {
    let folder = Folder::of_data(data);
    match command {
        ReleaseCommand::Init { keys, log } => init::init(&folder, keys, log.as_deref(), now),
        ReleaseCommand::Root => look::root(&folder),
        ReleaseCommand::Add { file, hands, percentage, not_before } => {
            change_list(&folder, &addition(file, *percentage, *not_before, now)?, hands, now)
        }
        ReleaseCommand::RollOut { number, percent, hands } => {
            change_list(&folder, &ListChange::RollOut(*number, *percent), hands, now)
        }
        ReleaseCommand::Withdraw { number, hands } => change_list(&folder, &ListChange::Withdraw(*number), hands, now),
        ReleaseCommand::Renew { hands, role } => {
            let roles: Vec<RoleName> = role.iter().map(|role| RoleName::from(*role)).collect();
            renew::by_hand(&folder, &hands.open(&folder)?, &roles, hands.expires, now)
        }
        ReleaseCommand::Rotate { exchange, hands } => change_keys(&folder, exchange, hands, now),
        ReleaseCommand::Draft(command) => drafts(&folder, command, now),
        ReleaseCommand::Sign { draft, key, signature: None } => draft::sign(draft, key),
        ReleaseCommand::Sign { draft, key, signature: Some(signature) } => draft::attach(draft, key, signature),
        ReleaseCommand::Publish { draft, keys } => {
            let hands = Hands { keys: keys.clone(), expires: None };
            draft::publish_draft(&folder, &hands.open(&folder)?, draft, now)
        }
        ReleaseCommand::Key { file } => {
            let key = public(&keys::make(file)?);
            Ok(format!("key {}\npublic half in {}\n", key.id(), keys::public_path(file).display()))
        }
        ReleaseCommand::Mirror { from, root } => mirror::mirror(&folder, from, root.as_deref(), now),
        ReleaseCommand::Resume { .. } => bail!("it is the server that has stopped a release"),
        ReleaseCommand::Status => look::status(&folder, now),
        ReleaseCommand::Check => look::check(&folder, now),
    }
}

fn drafts(folder: &Folder, command: &DraftCommand, now: Moment) -> Result<String> {
    let list = |change: &ListChange, to: &DraftFile| draft::list(folder, change, to.expires, &to.out, now);
    match command {
        DraftCommand::Add { file, percentage, not_before, to } => {
            list(&addition(file, *percentage, *not_before, now)?, to)
        }
        DraftCommand::RollOut { number, percent, to } => list(&ListChange::RollOut(*number, *percent), to),
        DraftCommand::Withdraw { number, to } => list(&ListChange::Withdraw(*number), to),
        DraftCommand::Renew { to } => list(&ListChange::Same, to),
        DraftCommand::Root { exchange, to } => draft::root(folder, exchange, to.expires, &to.out, now),
        DraftCommand::Show { draft } => draft::show(draft),
        DraftCommand::Payload { draft, out } => draft::payload(draft, out),
    }
}

fn addition(file: &Path, percentage: u8, not_before: Option<Moment>, now: Moment) -> Result<ListChange> {
    let image = Image::open(file)?;
    let release = image.release(percentage, not_before.unwrap_or(now));
    Ok(ListChange::Add(Box::new(image), release))
}

/// Makes another list of the one that there is, and publishes it.
fn change_list(folder: &Folder, change: &ListChange, hands: &Hands, now: Moment) -> Result<String> {
    let _lock = lock(folder)?;
    let repository = Repository::load(folder)?;
    let files = new_list(&repository, &hands.open(folder)?, change, hands.expires, now)?;
    let said = publish(folder, &repository.releases(), &files, now)?;
    Ok(change.said() + &said)
}

/// The files of another list.
fn new_list(
    repository: &Repository,
    keys: &Keyring,
    change: &ListChange,
    expires: Option<u64>,
    now: Moment,
) -> Result<Vec<NewFile>> {
    let terms = Terms::of(&[RoleName::Targets], expires);
    let maker = Maker { repository, keys, next_root: None, now, terms };
    let mut targets = repository.targets.body.clone();
    let mut files = change.apply(repository, &mut targets)?;
    let file = maker.sign(RoleName::Targets, maker.targets_draft(&targets.targets)?)?;
    files.extend(maker.with_targets(file, maker.head(RoleName::Targets).version)?);
    Ok(files)
}

/// Exchanges keys with all that is needed at hand.
fn change_keys(folder: &Folder, exchange: &rotate::Exchange, hands: &Hands, now: Moment) -> Result<String> {
    let _lock = lock(folder)?;
    let repository = Repository::load(folder)?;
    let mut keys = hands.open(folder)?;
    let terms = Terms::of(&[RoleName::Root], hands.expires);
    let mut plan = rotate::same(&repository, &terms, now);
    rotate::exchange(&mut plan, exchange, hands.keys.as_deref(), &mut keys)?;
    let root = rotate::signed(&plan, &repository.root.body, &keys)?;
    let (files, waits) = rotate::files(&repository, &keys, root, terms, now)?;
    let said = publish(folder, &repository.releases(), &files, now)?;
    let waited = if waits { rotate::WAITED } else { "" };
    Ok(format!("root {} is in force; destroy what was exchanged\n{waited}{said}", plan.head.version))
}

/// The lock of a repository that is there.
fn lock(folder: &Folder) -> Result<folder::Lock> {
    if !folder.exists() {
        bail!("there are no releases in {}: `release init` begins", folder.path().display());
    }
    folder.lock()
}

#[cfg(test)]
mod tests;
