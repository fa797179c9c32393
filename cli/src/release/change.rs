//! A change of a repository: files made of what there is, signed with the keys at hand, walked through as boards will, and written in the
//! one order in which a reader finds a whole repository at any moment: image, log, targets, snapshot, timestamp.
//!
//! Making is apart from writing: [`Maker`] decides on bytes, [`publish`] does.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use sonde_update::key::{Key, KeyId};
use sonde_update::log::tree::Tree;
use sonde_update::log::{self, LogKey};
use sonde_update::metadata::{Head, MetaFile, RoleName, Root, Signed, Snapshot, Target, Targets, Timestamp};
use sonde_update::moment::Moment;
use sonde_update::release::Release;
use sonde_update::repository::{self, LOG_CHECKPOINT, LOG_ENTRIES, METADATA, MetadataName, TARGETS};
use sonde_update::sign::{self, Draft};

use super::folder::{After, Files, Folder, NewFile};
use super::keys::Keyring;
use super::repository::Repository;
use super::walk::{self, NO_TIME};

/// Seconds of a day.
pub const DAY: u64 = 86_400;

/// How many days files are good for, unless said otherwise.
pub const fn advised_days(role: RoleName) -> u64 {
    match role {
        RoleName::Root => 365,
        RoleName::Targets | RoleName::Snapshot => 90,
        RoleName::Timestamp => 7,
    }
}

/// For how many days files are made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms(BTreeMap<RoleName, u64>);

impl Terms {
    /// As advised, but for these roles.
    pub fn of(roles: &[RoleName], days: Option<u64>) -> Self {
        Self(days.map(|days| roles.iter().map(|role| (*role, days)).collect()).unwrap_or_default())
    }

    /// Version and expiry of a file that is made now.
    pub fn head(&self, role: RoleName, version: u64, now: Moment) -> Head {
        let days = self.0.get(&role).copied().unwrap_or(advised_days(role));
        Head { version, expires: now.plus_seconds(days.saturating_mul(DAY)) }
    }
}

/// Makes files.
pub struct Maker<'a> {
    /// What there is.
    pub repository: &'a Repository,
    /// What signs.
    pub keys: &'a Keyring,
    /// The root that is about to follow, if one is: its keys sign as well, so that both are content while it changes.
    pub next_root: Option<&'a Root>,
    /// The time.
    pub now: Moment,
    /// For how long files are good.
    pub terms: Terms,
}

impl Maker<'_> {
    /// The root under which boards will look at what is made.
    fn root(&self) -> &Root {
        self.next_root.unwrap_or(&self.repository.root.body)
    }

    /// Version and expiry of the next file of a role.
    pub fn head(&self, role: RoleName) -> Head {
        self.terms.head(role, self.repository.next_version(role), self.now)
    }

    /// A list of targets that nobody has signed.
    pub fn targets_draft(&self, targets: &BTreeMap<String, Target>) -> Result<Draft> {
        Ok(Draft::targets(self.head(RoleName::Targets), targets)?)
    }

    /// Signs with what is at hand, and says what is missing.
    pub fn sign(&self, role: RoleName, mut draft: Draft) -> Result<Vec<u8>> {
        for root in [Some(&self.repository.root.body), self.next_root].into_iter().flatten() {
            for pair in keys_of(root, role).filter_map(|key| self.keys.of(key)) {
                draft.sign(pair);
            }
        }
        let file = draft.file();
        enough(role, &file, self.root())?;
        Ok(file)
    }

    /// A new list of targets, and what must follow it.
    pub fn with_targets(&self, file: Vec<u8>, version: u64) -> Result<Vec<NewFile>> {
        let mut files = self.log(Some(log::entry(version, &file)))?;
        files.push(metadata(RoleName::Targets, version, file.clone()));
        files.extend(self.with_snapshot(&MetaFile::of(version, &file))?);
        Ok(files)
    }

    /// A new snapshot of this list, and the timestamp that must follow.
    pub fn with_snapshot(&self, targets: &MetaFile) -> Result<Vec<NewFile>> {
        let head = self.head(RoleName::Snapshot);
        let file = self.sign(RoleName::Snapshot, Draft::snapshot(head, targets)?)?;
        let timestamp = self.with_timestamp(&MetaFile::of(head.version, &file))?;
        Ok([vec![metadata(RoleName::Snapshot, head.version, file)], timestamp].concat())
    }

    /// A new timestamp of this snapshot.
    pub fn with_timestamp(&self, snapshot: &MetaFile) -> Result<Vec<NewFile>> {
        let head = self.head(RoleName::Timestamp);
        let file = self.sign(RoleName::Timestamp, Draft::timestamp(head, snapshot)?)?;
        Ok(vec![metadata(RoleName::Timestamp, head.version, file)])
    }

    /// The newest list as it is, for a new snapshot.
    pub fn same_targets(&self) -> MetaFile {
        let targets = &self.repository.targets;
        MetaFile::of(targets.body.head.version, &targets.file)
    }

    /// The newest snapshot as it is, for a new timestamp.
    pub fn same_snapshot(&self) -> MetaFile {
        let snapshot = &self.repository.snapshot;
        MetaFile::of(snapshot.body.head.version, &snapshot.file)
    }

    /// The log with one more entry, or as it is, under a new checkpoint.
    pub fn log(&self, entry: Option<Vec<u8>>) -> Result<Vec<NewFile>> {
        log_files(self.repository.entries.iter().cloned().chain(entry), &self.log_keys(), self.keys)
    }

    fn log_keys(&self) -> Vec<&LogKey> {
        let mut keys: Vec<&LogKey> = self.next_root.and_then(|root| root.log.as_ref()).into_iter().collect();
        let current = self.repository.root.body.log.as_ref();
        keys.extend(current.filter(|current| {
            keys.is_empty() || keys.iter().all(|key| key.name() == current.name() && key.key() != current.key())
        }));
        keys
    }
}

/// The log's two files, signed by the first of these keys, and by the others if they are at hand.
pub fn log_files(entries: impl Iterator<Item = Vec<u8>>, log_keys: &[&LogKey], keys: &Keyring) -> Result<Vec<NewFile>> {
    let Some((first, others)) = log_keys.split_first() else { return Ok(Vec::new()) };
    let entries: Vec<Vec<u8>> = entries.collect();
    let entries = || entries.iter().map(Vec::as_slice);
    let secret = |key: &LogKey| keys.of(&Key::Ed25519(key.key().0));
    let pair = secret(first).with_context(|| format!("the key of the log {} is not at hand", first.name()))?;
    let mut checkpoint = sign::checkpoint(first, pair, &Tree::new(entries()));
    for other in others {
        if let Some(pair) = secret(other) {
            checkpoint = sign::also_signed(&checkpoint, other, pair).context("the checkpoint cannot be read back")?;
        }
    }
    Ok(vec![
        NewFile { name: LOG_ENTRIES.to_owned(), bytes: repository::entries_file(entries()) },
        NewFile { name: LOG_CHECKPOINT.to_owned(), bytes: checkpoint },
    ])
}

/// A file of metadata.
pub fn metadata(role: RoleName, version: u64, bytes: Vec<u8>) -> NewFile {
    NewFile { name: format!("{METADATA}/{}", MetadataName::new(role, version)), bytes }
}

/// The image of a release.
pub fn image(release: &Release, bytes: Vec<u8>) -> NewFile {
    NewFile { name: format!("{TARGETS}/{}", release.file_name(true)), bytes }
}

fn keys_of(root: &Root, role: RoleName) -> impl Iterator<Item = &Key> {
    root.role(role).keys.iter().filter_map(|id| root.keys.get(id))
}

/// How many keys of a role have signed a file, and which have not.
pub fn signatures(role: RoleName, file: &[u8], root: &Root) -> Result<(usize, Vec<KeyId>)> {
    let of = |only: Option<KeyId>| {
        let mut keys = root.role(role).clone();
        keys.keys.retain(|id| only.is_none_or(|only| only == *id));
        Ok::<usize, anyhow::Error>(match role {
            RoleName::Root => Signed::<Root>::parse(file)?.signers(&keys, root),
            RoleName::Targets => Signed::<Targets>::parse(file)?.signers(&keys, root),
            RoleName::Snapshot => Signed::<Snapshot>::parse(file)?.signers(&keys, root),
            RoleName::Timestamp => Signed::<Timestamp>::parse(file)?.signers(&keys, root),
        })
    };
    let mut missing = Vec::new();
    for id in &root.role(role).keys {
        if of(Some(*id))? == 0 {
            missing.push(*id);
        }
    }
    Ok((of(None)?, missing))
}

/// Have enough signed? Otherwise it says who has not.
pub fn enough(role: RoleName, file: &[u8], root: &Root) -> Result<()> {
    let (valid, missing) = signatures(role, file, root)?;
    let threshold = root.role(role).threshold;
    if valid >= threshold {
        return Ok(());
    }
    let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
    bail!(
        "{} has {valid} of the {threshold} signatures that it needs; not signed yet by {}",
        role.file(),
        missing.join(", ")
    )
}

/// Would boards take the repository as it would be? Dates aside: a file that has expired is not this change's fault.
pub fn rehearse(folder: &Folder, files: &[NewFile]) -> Result<()> {
    let after = After { folder, writes: files };
    let walked = walk::fresh(&after, NO_TIME).context("boards would not take it")?;
    // A board that has seen all there is now.
    if let Ok(before) = walk::fresh(folder, NO_TIME) {
        let root = before.kept.root.clone().unwrap_or_default();
        walk::walk(&after, &root, before.kept, NO_TIME)
            .context("boards that know the last release would not take it")?;
    }
    let (releases, problems) = Release::all(&walked.targets);
    if let Some(problem) = problems.first() {
        bail!("boards could not read a release: {problem}");
    }
    for release in releases {
        let name = format!("{TARGETS}/{}", release.file_name(true));
        let new = files.iter().find(|file| file.name == name).map(|file| file.bytes.len() as u64);
        if new.or_else(|| folder.target_length(&release.file_name(true))) != Some(release.length) {
            bail!("the image of release {} is not there: {name}", release.version);
        }
    }
    Ok(())
}

/// Writes a change, if boards would take it, and removes the images of releases that were listed `before` and are no more. Gives what the
/// operator should know beside.
pub fn publish(folder: &Folder, before: &[Release], files: &[NewFile], now: Moment) -> Result<String> {
    rehearse(folder, files)?;
    for file in files {
        folder.apply(file)?;
    }
    let walked = walk::fresh(folder, NO_TIME).context("what was written is not what boards take")?;
    let listed: Vec<String> = Release::all(&walked.targets).0.iter().map(|release| release.file_name(true)).collect();
    for old in before.iter().map(|release| release.file_name(true)).filter(|old| !listed.contains(old)) {
        folder.remove_target(&old)?;
    }
    match walk::fresh(folder, now) {
        Ok(_) => Ok(String::new()),
        Err(expired) => Ok(format!("note: boards still install nothing: {expired}\n")),
    }
}

/// Reads the first root, which is never changed.
pub fn first_root(files: &dyn Files) -> Result<Vec<u8>> {
    let name = format!("{METADATA}/{}", MetadataName::new(RoleName::Root, 1));
    files.read(&name)?.with_context(|| format!("there is no {name}"))
}
