//! A new root: keys of a role are exchanged, or the root is only to expire later.
//!
//! Where the old keys are at hand too, all files are first signed by old and new keys, and the root comes last: boards find everything in
//! order before, between and after. Where the old ones are lost the root has to come first, and until the rest is written boards wait.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use sonde_protocol::key::PublicKey;
use sonde_update::key::Key;
use sonde_update::log::LogKey;
use sonde_update::metadata::{RoleName, Root, Signed};
use sonde_update::moment::Moment;
use sonde_update::sign::{Draft, RootPlan, public};

use super::change::{Maker, Terms, enough, metadata, signatures};
use super::folder::{After, NewFile};
use super::keys::{self, Keyring};
use super::renew::renewed;
use super::repository::Repository;
use super::walk::{self, NO_TIME};

/// What is said where the old keys were not at hand.
pub const WAITED: &str =
    "note: the keys that went had not signed this, so boards that looked meanwhile have to look again\n";

/// Whose keys are exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Whose {
    /// Those that sign new roots
    Root,
    /// Those that sign the list of releases
    Targets,
    /// The key of snapshots
    Snapshot,
    /// The key of timestamps
    Timestamp,
    /// The key of the log
    Log,
}

/// Which keys go and which come.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Exchange {
    /// Whose keys
    #[arg(value_enum)]
    pub whose: Whose,
    /// A key that goes: its file, or how its name begins; the only one without
    #[arg(long, value_name = "KEY")]
    pub remove: Vec<String>,
    /// A key that comes: a file, for which the public half is enough; may be given several times
    #[arg(long, value_name = "FILE")]
    pub add: Vec<PathBuf>,
    /// How many must sign from now on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threshold: Option<u16>,
}

impl Whose {
    fn role(self) -> Option<RoleName> {
        match self {
            Self::Root => Some(RoleName::Root),
            Self::Targets => Some(RoleName::Targets),
            Self::Snapshot => Some(RoleName::Snapshot),
            Self::Timestamp => Some(RoleName::Timestamp),
            Self::Log => None,
        }
    }

    fn word(self) -> &'static str {
        self.role().map_or("log", RoleName::name)
    }
}

/// The root as it is, as a plan of the next one.
pub fn same(repository: &Repository, terms: &Terms, now: Moment) -> RootPlan {
    let root = &repository.root.body;
    let keys_of = |role: RoleName| root.role(role).keys.iter().filter_map(|id| root.keys.get(id)).cloned().collect();
    RootPlan {
        head: terms.head(RoleName::Root, root.head.version.saturating_add(1), now),
        roles: RoleName::ALL.map(|role| (role, (keys_of(role), root.role(role).threshold))).into(),
        log: root.log.clone(),
    }
}

/// Exchanges keys in a plan. New ones that nobody brings are made in `key_folder`, and come into the ring.
pub fn exchange(plan: &mut RootPlan, exchange: &Exchange, key_folder: Option<&Path>, ring: &mut Keyring) -> Result<()> {
    let word = exchange.whose.word();
    if exchange.whose == Whose::Log && exchange.threshold.is_some() {
        bail!("a log has one key");
    }
    let present: Vec<Key> = match exchange.whose.role() {
        Some(role) => plan.roles.get(&role).map(|(keys, _)| keys.clone()).unwrap_or_default(),
        None => plan.log.iter().map(|log| Key::Ed25519(log.key().0)).collect(),
    };
    let mut gone = Vec::new();
    for which in &exchange.remove {
        gone.push(find(&present, which).with_context(|| format!("of {word}"))?);
    }
    if exchange.remove.is_empty()
        && exchange.threshold.is_none()
        && (exchange.add.is_empty() || exchange.whose == Whose::Log)
    {
        match present.as_slice() {
            [only] => gone.push(only.clone()),
            _ => bail!("{word} has {} keys: name the one that goes with --remove", present.len()),
        }
    }
    let mut come = Vec::new();
    for path in &exchange.add {
        come.push(keys::read_public(path)?);
    }
    if come.is_empty() && exchange.threshold.is_none() {
        let folder = key_folder.context("name the keys that come with --add")?;
        for number in 1..=gone.len() {
            // The same name when the command is given again after it was cut off.
            let count = if gone.len() == 1 { String::new() } else { format!("-{number}") };
            let pair = keys::make_if_missing(&folder.join(format!("{word}-root{}{count}.pem", plan.head.version)))?;
            come.push(public(&pair));
            ring.add(pair);
        }
    }
    let mut left: Vec<Key> = present.into_iter().filter(|key| !gone.contains(key)).collect();
    for key in come {
        if left.contains(&key) || gone.contains(&key) {
            bail!("the key {} is one of {word} already", key.id());
        }
        left.push(key);
    }
    match exchange.whose.role() {
        Some(role) => {
            let threshold = plan.roles.get(&role).map_or(1, |(_, threshold)| *threshold);
            plan.roles.insert(role, (left, exchange.threshold.map_or(threshold, usize::from)));
        }
        None => {
            let ([Key::Ed25519(key)], Some(log)) = (left.as_slice(), &plan.log) else {
                bail!("a log has one key, of Ed25519");
            };
            plan.log = LogKey::new(log.name(), PublicKey(*key));
        }
    }
    Ok(())
}

fn find(keys: &[Key], which: &str) -> Result<Key> {
    if Path::new(which).exists() {
        let key = keys::read_public(Path::new(which))?;
        return keys.iter().find(|other| **other == key).cloned().with_context(|| format!("{which} is no key"));
    }
    let mut found = keys.iter().filter(|key| which.len() >= 4 && key.id().to_string().starts_with(which));
    match (found.next(), found.next()) {
        (Some(key), None) => Ok(key.clone()),
        (Some(_), Some(_)) => bail!("two keys begin with {which}"),
        (None, _) => bail!("{which} is no key: there are {}", names(keys)),
    }
}

fn names(keys: &[Key]) -> String {
    keys.iter().map(|key| key.id().to_string()).collect::<Vec<_>>().join(", ")
}

/// The next root, signed with what is at hand, which may not be enough.
pub fn signed(plan: &RootPlan, current: &Root, ring: &Keyring) -> Result<Vec<u8>> {
    let mut draft = Draft::root(plan)?;
    let next = plan.roles.get(&RoleName::Root).map(|(keys, _)| keys.as_slice()).unwrap_or_default();
    let current = current.role(RoleName::Root).keys.iter().filter_map(|id| current.keys.get(id));
    for pair in next.iter().chain(current).filter_map(|key| ring.of(key)) {
        draft.sign(pair);
    }
    Ok(draft.file())
}

/// All files of a change of the root, in the order in which they are to be written, and whether boards wait meanwhile.
pub fn files(
    repository: &Repository,
    ring: &Keyring,
    root_file: Vec<u8>,
    terms: Terms,
    now: Moment,
) -> Result<(Vec<NewFile>, bool)> {
    let current = &repository.root.body;
    let next = Signed::<Root>::parse(&root_file)?.body;
    if next.head.version != current.head.version.saturating_add(1) {
        bail!("this root has version {}, and the newest is {}: make it again", next.head.version, current.head.version);
    }
    enough(RoleName::Root, &root_file, current).context("by the keys of the root before")?;
    enough(RoleName::Root, &root_file, &next).context("by its own keys")?;
    let maker = Maker { repository, keys: ring, next_root: Some(&next), now, terms };
    let files: BTreeMap<RoleName, &[u8]> = [
        (RoleName::Targets, repository.targets.file.as_slice()),
        (RoleName::Snapshot, repository.snapshot.file.as_slice()),
        (RoleName::Timestamp, repository.timestamp.file.as_slice()),
    ]
    .into();
    let mut to_renew = Vec::new();
    for (role, file) in files {
        if signatures(role, file, &next)?.0 < next.role(role).threshold {
            to_renew.push(role);
        }
    }
    let mut files = Vec::new();
    if next.log != current.log && !to_renew.contains(&RoleName::Targets) {
        files.extend(maker.log(None)?);
    }
    if !to_renew.is_empty() {
        files.extend(renewed(&maker, &to_renew).context("the new root names other keys")?);
    }
    let root = metadata(RoleName::Root, next.head.version, root_file);
    let after = After { folder: &repository.folder, writes: &files };
    let old_are_content = walk::fresh(&after, NO_TIME).is_ok();
    if old_are_content {
        files.push(root);
    } else {
        files.insert(0, root);
    }
    Ok((files, !old_are_content))
}
