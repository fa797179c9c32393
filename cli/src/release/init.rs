//! A new repository: keys, the first root, an empty list.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use sonde_protocol::key::PublicKey;
use sonde_update::key::Key;
use sonde_update::log::{self, LogKey};
use sonde_update::metadata::{Head, MetaFile, RoleName};
use sonde_update::moment::Moment;
use sonde_update::sign::{Draft, RootPlan, public};

use super::change::{DAY, advised_days, log_files, metadata};
use super::folder::{Folder, NewFile};
use super::keys::{self, Keyring};
use super::walk;

/// How many keys each role begins with, and how many of them must sign.
const BEGIN: [(RoleName, usize, usize); 4] =
    [(RoleName::Root, 3, 2), (RoleName::Targets, 2, 2), (RoleName::Snapshot, 1, 1), (RoleName::Timestamp, 1, 1)];

/// The file of the log's key in a folder of keys.
const LOG_KEY: &str = "log.pem";

/// Makes keys in `key_folder`, as far as they are not there, and a repository with an empty list. What was cut off can be begun again.
pub fn init(folder: &Folder, key_folder: &Path, log_name: Option<&str>, now: Moment) -> Result<String> {
    if folder.exists() {
        bail!("there are releases in {} already", folder.path().display());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(key_folder)
        .with_context(|| format!("cannot make {}", key_folder.display()))?;
    folder.make()?;
    let _lock = folder.lock()?;
    for file in files(key_folder, log_name, now)? {
        folder.apply(&file)?;
    }
    walk::fresh(folder, now).context("what was written is not what boards take")?;
    Ok(said(folder, key_folder))
}

/// The files of a new repository, in the order in which they are written. The first root is the last: without it there is none.
pub fn files(key_folder: &Path, log_name: Option<&str>, now: Moment) -> Result<Vec<NewFile>> {
    let mut ring = Keyring::default();
    let mut roles: BTreeMap<RoleName, (Vec<Key>, usize)> = BTreeMap::new();
    for (role, count, threshold) in BEGIN {
        let mut of_role = Vec::new();
        for number in 1..=count {
            let name =
                if count == 1 { format!("{}.pem", role.name()) } else { format!("{}-{number}.pem", role.name()) };
            let pair = keys::make_if_missing(&key_folder.join(name))?;
            of_role.push(public(&pair));
            ring.add(pair);
        }
        roles.insert(role, (of_role, threshold));
    }
    let log_pair = keys::make_if_missing(&key_folder.join(LOG_KEY))?;
    let log = log_key(&public(&log_pair), log_name)?;
    ring.add(log_pair);
    let head = |role| Head { version: 1, expires: now.plus_seconds(advised_days(role) * DAY) };
    let sign = |role: RoleName, mut draft: Draft| {
        let of_role = roles.get(&role).map(|(keys, _)| keys.as_slice()).unwrap_or_default();
        for pair in of_role.iter().filter_map(|key| ring.of(key)) {
            draft.sign(pair);
        }
        draft.file()
    };
    let plan = RootPlan { head: head(RoleName::Root), roles: roles.clone(), log: Some(log.clone()) };
    let root = sign(RoleName::Root, Draft::root(&plan)?);
    let targets = sign(RoleName::Targets, Draft::targets(head(RoleName::Targets), &BTreeMap::new())?);
    let of_targets = MetaFile::of(1, &targets);
    let snapshot = sign(RoleName::Snapshot, Draft::snapshot(head(RoleName::Snapshot), &of_targets)?);
    let of_snapshot = MetaFile::of(1, &snapshot);
    let timestamp = sign(RoleName::Timestamp, Draft::timestamp(head(RoleName::Timestamp), &of_snapshot)?);
    let mut files = log_files([log::entry(1, &targets)].into_iter(), &[&log], &ring)?;
    files.push(metadata(RoleName::Targets, 1, targets));
    files.push(metadata(RoleName::Snapshot, 1, snapshot));
    files.push(metadata(RoleName::Timestamp, 1, timestamp));
    files.push(metadata(RoleName::Root, 1, root));
    Ok(files)
}

/// A key with a log's name, or with one that is made of the key.
pub fn log_key(key: &Key, name: Option<&str>) -> Result<LogKey> {
    let Key::Ed25519(bytes) = key else { bail!("a log's key is Ed25519") };
    let own = format!("sonde-releases-{}", key.id().to_string().split_at(12).0);
    let name = name.unwrap_or(&own);
    LogKey::new(name, PublicKey(*bytes)).with_context(|| format!("{name:?} is no name of a log: no spaces, no +"))
}

fn said(folder: &Folder, key_folder: &Path) -> String {
    let keys = key_folder.display();
    format!(
        "There are releases now in {}, and none on the list yet.\n\
         Keys, in {keys}:\n\
         \x20 root-1.pem root-2.pem root-3.pem   two of them must sign when keys change: offline, with three people or in three places\n\
         \x20 targets-1.pem targets-2.pem        both must sign each release: with those who release\n\
         \x20 snapshot.pem timestamp.pem log.pem move these to {}, and `sonde serve` renews by itself what expires in days\n\
         Copies of what was moved are to be destroyed. For boards: `release root >root.json`, then `os-image/build --update-root root.json`.\n",
        folder.path().display(),
        folder.keys().display()
    )
}
