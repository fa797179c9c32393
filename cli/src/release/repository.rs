//! A repository as its owner reads it before a change: what is published now, and what has ever been, so that no version and no number
//! is used twice.
//!
//! Nothing here is checked for signatures; a change is, as a whole, before it is written ([`change`](super::change)).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use sonde_update::hashes::Hashes;
use sonde_update::log::{self, Checkpoint};
use sonde_update::metadata::{Body, RoleName, Root, Signed, Snapshot, Targets, Timestamp};
use sonde_update::release::Release;
use sonde_update::repository::{self, LOG_CHECKPOINT, LOG_ENTRIES, METADATA, MetadataName};

use super::folder::{Files, Folder};

/// A file and what it says.
#[derive(Debug, Clone)]
pub struct Published<B> {
    /// What it says.
    pub body: B,
    /// Its bytes.
    pub file: Vec<u8>,
}

/// What is published.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Where.
    pub folder: Folder,
    /// The newest root.
    pub root: Published<Root>,
    /// The newest list.
    pub targets: Published<Targets>,
    /// The snapshot of it.
    pub snapshot: Published<Snapshot>,
    /// The timestamp of that.
    pub timestamp: Published<Timestamp>,
    /// The log's entries, as many as its checkpoint counts.
    pub entries: Vec<Vec<u8>>,
    /// The checkpoint.
    pub checkpoint: Vec<u8>,
    /// The highest version of each role that any file has, published or not.
    highest: BTreeMap<RoleName, u64>,
    /// Every number and architecture that any list has ever named, and its image.
    named: BTreeMap<(u64, String), Hashes>,
}

impl Repository {
    /// Reads the repository in a folder.
    pub fn load(folder: &Folder) -> Result<Self> {
        if !folder.exists() {
            bail!("there are no releases in {}: `release init` begins", folder.path().display());
        }
        let names = folder.metadata()?;
        let newest = newest_root(&names);
        let root: Published<Root> = published(folder, MetadataName::new(RoleName::Root, newest))?;
        let timestamp: Published<Timestamp> = published(folder, MetadataName::new(RoleName::Timestamp, 0))?;
        let version = timestamp.body.snapshot.version;
        let snapshot: Published<Snapshot> = published(folder, MetadataName::new(RoleName::Snapshot, version))?;
        let listed = snapshot.body.files.get(RoleName::Targets.file()).context("the snapshot names no targets")?;
        let targets = published(folder, MetadataName::new(RoleName::Targets, listed.version))?;
        let checkpoint = folder.read(LOG_CHECKPOINT)?.with_context(|| format!("there is no {LOG_CHECKPOINT}"))?;
        let file = folder.read(LOG_ENTRIES)?.with_context(|| format!("there is no {LOG_ENTRIES}"))?;
        let size = Checkpoint::size_of(&checkpoint).with_context(|| format!("{LOG_CHECKPOINT} has no size"))?;
        let entries = repository::entries(&file, size)
            .with_context(|| format!("{LOG_ENTRIES} has fewer entries than {LOG_CHECKPOINT} says"))?;
        let mut highest = BTreeMap::from([(RoleName::Timestamp, timestamp.body.head.version)]);
        let logged =
            entries.iter().filter_map(|entry| log::version_of(entry)).map(|version| (RoleName::Targets, version));
        for (role, version) in names.iter().filter_map(|name| Some((name.role, name.version?))).chain(logged) {
            let known = highest.entry(role).or_default();
            *known = version.max(*known);
        }
        let mut named = BTreeMap::new();
        for name in names.iter().filter(|name| name.role == RoleName::Targets) {
            let list: Published<Targets> = published(folder, *name)?;
            for release in Release::all(&list.body).0 {
                named.insert((release.version, release.architecture), release.hashes);
            }
        }
        let entries = entries.into_iter().map(<[u8]>::to_vec).collect();
        let folder = folder.clone();
        Ok(Self { folder, root, targets, snapshot, timestamp, entries, checkpoint, highest, named })
    }

    /// The version of the next file of a role.
    pub fn next_version(&self, role: RoleName) -> u64 {
        self.highest.get(&role).copied().unwrap_or_default().saturating_add(1)
    }

    /// The releases on the list, by number.
    pub fn releases(&self) -> Vec<Release> {
        let (mut releases, _) = Release::all(&self.targets.body);
        releases.sort_by(|a, b| (a.version, &a.architecture).cmp(&(b.version, &b.architecture)));
        releases
    }

    /// May this one come onto the list? Its number must be above all that boards have heard of, and a number means one image for ever.
    pub fn admits(&self, new: &Release) -> Result<()> {
        for ((number, architecture), hashes) in &self.named {
            if *architecture != new.architecture || *number < new.version {
                continue;
            }
            let listed = self.targets.body.targets.values().any(|target| target.hashes == *hashes);
            if listed && *number == new.version && *hashes == new.hashes {
                bail!("release {number} is on the list already; `release roll-out {number} PERCENT` changes its share");
            }
            if *number > new.version {
                bail!("its number is {}, and there was {number} already: boards never go back", new.version);
            }
            if *hashes != new.hashes {
                bail!("there was another image with the number {number}; give this one a higher number");
            }
        }
        Ok(())
    }
}

/// The end of the chain of roots that begins with the first.
fn newest_root(names: &[MetadataName]) -> u64 {
    let versions = names.iter().filter(|name| name.role == RoleName::Root).filter_map(|name| name.version);
    versions.fold(0, |newest, version| if version == newest + 1 { version } else { newest })
}

fn published<B: Body>(folder: &Folder, name: MetadataName) -> Result<Published<B>> {
    let path = format!("{METADATA}/{name}");
    let file = folder.read(&path)?.with_context(|| format!("there is no {path}"))?;
    let body = Signed::<B>::parse(&file).with_context(|| format!("{path} cannot be read"))?.body;
    Ok(Published { body, file })
}
