//! A repository in memory, signed when it is asked: whoever changes a field has published the change. With it the tests play both an
//! honest operator and somebody who has got hold of some of the keys.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;

use ring::signature::{Ed25519KeyPair, KeyPair};
use sonde_protocol::key::PublicKey;
use sonde_update::client::{Kept, Update, UpdateError, Want};
use sonde_update::hashes::Hashes;
use sonde_update::log::proof::Evidence;
use sonde_update::log::tree::Tree;
use sonde_update::log::{self, LogKey};
use sonde_update::metadata::{Head, MetaFile, RoleName, Target, Targets};
use sonde_update::moment::Moment;
use sonde_update::sign::{Draft, RootPlan, checkpoint, public};

pub const NOW: Moment = Moment(1_800_000_000);
pub const DAY: i64 = 86_400;
/// When files expire unless a test says otherwise.
pub const EXPIRES: Moment = Moment(NOW.0 + 30 * DAY);
/// The seed of the log's key.
pub const LOG_SEED: u8 = 200;

pub fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

pub fn log_key(name: &str, seed: u8) -> LogKey {
    LogKey::new(name, PublicKey(pair(seed).public_key().as_ref().try_into().unwrap())).unwrap()
}

/// A file whose signers are named by their keys' seeds.
#[derive(Clone)]
pub struct Part {
    pub head: Head,
    pub signers: Vec<u8>,
}

impl Part {
    fn new(signers: &[u8]) -> Self {
        Self { head: Head { version: 1, expires: EXPIRES }, signers: signers.to_vec() }
    }

    fn sign(&self, mut draft: Draft) -> Vec<u8> {
        for seed in &self.signers {
            draft.sign(&pair(*seed));
        }
        draft.file()
    }
}

#[derive(Clone)]
pub struct Repository {
    /// Published roots; the next is made of `root` and `keys`.
    pub roots: Vec<Vec<u8>>,
    pub root: Part,
    /// Who may sign, as seeds and thresholds.
    pub keys: BTreeMap<RoleName, (Vec<u8>, usize)>,
    pub timestamp: Part,
    pub snapshot: Part,
    pub targets: Part,
    pub files: BTreeMap<String, Target>,
    /// What the snapshot says of the targets and the timestamp of the snapshot, if not the truth.
    pub listed_targets: Option<MetaFile>,
    pub listed_snapshot: Option<MetaFile>,
    /// Are lengths and hashes announced?
    pub announces: bool,
    /// Files that are served instead.
    pub instead: BTreeMap<String, Vec<u8>>,
    pub log: Option<LogKey>,
    pub tree: Tree,
    pub entries: Vec<Vec<u8>>,
}

impl Repository {
    /// Two of three keys for the root, two of two for the targets, one each for what machines sign.
    pub fn new() -> Self {
        let mut new = Self {
            roots: Vec::new(),
            root: Part::new(&[1, 2]),
            keys: [
                (RoleName::Root, (vec![1, 2, 3], 2)),
                (RoleName::Targets, (vec![11, 12], 2)),
                (RoleName::Snapshot, (vec![21], 1)),
                (RoleName::Timestamp, (vec![31], 1)),
            ]
            .into(),
            timestamp: Part::new(&[31]),
            snapshot: Part::new(&[21]),
            targets: Part::new(&[11, 12]),
            files: BTreeMap::new(),
            listed_targets: None,
            listed_snapshot: None,
            announces: true,
            instead: BTreeMap::new(),
            log: None,
            tree: Tree::default(),
            entries: Vec::new(),
        };
        new.files.insert("a.efi".to_owned(), Target { length: 5, hashes: Hashes::sha256_of(b"image"), custom: None });
        new.root.head.version = 0;
        new.publish_root();
        new
    }

    pub fn with_log() -> Self {
        let mut new = Self::new();
        new.roots.clear();
        new.root.head.version = 0;
        new.log = Some(log_key("log.example/sonde", LOG_SEED));
        new.publish_root();
        // The log was there before.
        for number in 0..5_u8 {
            new.add_entry(&[number]);
        }
        new.publish_targets();
        new
    }

    pub fn add_entry(&mut self, entry: &[u8]) {
        self.tree.push(entry);
        self.entries.push(entry.to_vec());
    }

    /// Signs the next root.
    pub fn publish_root(&mut self) {
        self.root.head.version += 1;
        let file = self.root_file();
        self.roots.push(file);
    }

    pub fn root_file(&self) -> Vec<u8> {
        let roles = self.keys.iter().map(|(name, (seeds, threshold))| {
            (*name, (seeds.iter().map(|seed| public(&pair(*seed))).collect(), *threshold))
        });
        let plan = RootPlan { head: self.root.head, roles: roles.collect(), log: self.log.clone() };
        self.root.sign(Draft::root(&plan).unwrap())
    }

    /// New versions of everything but the root, into the log too.
    pub fn advance(&mut self) {
        self.targets.head.version += 1;
        self.publish_targets();
        self.snapshot.head.version += 1;
        self.timestamp.head.version += 1;
    }

    fn publish_targets(&mut self) {
        if self.log.is_some() {
            let entry = log::entry(self.targets.head.version, &self.targets_file());
            self.add_entry(&entry);
        }
    }

    pub fn targets_file(&self) -> Vec<u8> {
        self.targets.sign(Draft::targets(self.targets.head, &self.files).unwrap())
    }

    fn describe(&self, version: u64, file: &[u8]) -> MetaFile {
        if self.announces { MetaFile::of(version, file) } else { MetaFile { version, length: None, hashes: None } }
    }

    pub fn snapshot_file(&self) -> Vec<u8> {
        let listed = self.listed_targets.clone();
        let listed = listed.unwrap_or_else(|| self.describe(self.targets.head.version, &self.targets_file()));
        self.snapshot.sign(Draft::snapshot(self.snapshot.head, &listed).unwrap())
    }

    pub fn timestamp_file(&self) -> Vec<u8> {
        let listed = self.listed_snapshot.clone();
        let listed = listed.unwrap_or_else(|| self.describe(self.snapshot.head.version, &self.snapshot_file()));
        self.timestamp.sign(Draft::timestamp(self.timestamp.head, &listed).unwrap())
    }

    /// A file as a server has it: those with a version in their name under exactly that version.
    pub fn fetch(&self, name: &str) -> Option<Vec<u8>> {
        if let Some(file) = self.instead.get(name) {
            return Some(file.clone());
        }
        if name == "timestamp.json" {
            return Some(self.timestamp_file());
        }
        let (version, file) = name.split_once('.').unwrap();
        match file {
            "root.json" => self.roots.get(version.parse::<usize>().unwrap() - 1).cloned(),
            "snapshot.json" => Some(self.snapshot_file()),
            "targets.json" => Some(self.targets_file()),
            _ => None,
        }
    }

    pub fn proof(&self, targets: u64, since: u64) -> Option<Vec<u8>> {
        if let Some(proof) = self.instead.get("proof") {
            return Some(proof.clone());
        }
        let entry = log::entry(targets, &self.targets_file());
        let index = self.entries.iter().position(|known| *known == entry)?;
        let note = checkpoint(self.log.as_ref()?, &pair(LOG_SEED), &self.tree);
        Some(Evidence::of(&self.tree, since, index as u64, note)?.write())
    }

    /// One walk from what was kept.
    pub fn walk(&self, kept: Kept, now: Moment) -> Walk {
        let mut update = match Update::begin(&self.roots[0], kept.clone(), now) {
            Ok(update) => update,
            Err(error) => return Walk { result: Err(error), kept, asked: Vec::new() },
        };
        let mut asked = Vec::new();
        let result = loop {
            let step = match update.want() {
                Want::Nothing => break Ok(update.targets().unwrap().clone()),
                Want::File { name, at_most, .. } => {
                    let file = self.fetch(&name);
                    asked.push(name);
                    match file {
                        // As a reader does that stops where it was told to: one byte more shows that there is more.
                        Some(file) => update.give(&file[..file.len().min(at_most as usize + 1)]),
                        None => update.missing(),
                    }
                }
                Want::Proof { targets, since, .. } => {
                    asked.push(format!("proof {targets} since {since}"));
                    match self.proof(targets, since) {
                        Some(proof) => update.give(&proof),
                        None => update.missing(),
                    }
                }
            };
            if let Err(error) = step {
                // A walk that has failed wants nothing and gives nothing.
                assert_eq!((update.want(), update.targets()), (Want::Nothing, None));
                assert_eq!(update.give(b"{}"), Err(UpdateError::Unasked));
                break Err(error);
            }
        };
        Walk { result, kept: update.kept().clone(), asked }
    }
}

pub struct Walk {
    pub result: Result<Targets, UpdateError>,
    pub kept: Kept,
    pub asked: Vec<String>,
}

impl Walk {
    /// The kept state of a walk that reached its end.
    #[track_caller]
    pub fn good(self) -> Kept {
        self.result.unwrap();
        self.kept
    }

    #[track_caller]
    pub fn refused(&self) -> String {
        self.result.as_ref().unwrap_err().to_string()
    }
}
