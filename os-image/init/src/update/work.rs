//! What updates do on the card: one thing at a time, each on a thread that may wait. It must not know when or why.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ring::signature::{Ed25519KeyPair, KeyPair};
use sonde_protocol::board::UpdateChoice;
use sonde_protocol::key::PublicKey;
use sonde_update::client::Kept;
use sonde_update::hashes::{Checker, Hashes};

use super::attempts::Attempts;
use super::keep::Keep;
use super::plan::look::STEP;
use crate::slots::{SlotError, Slots};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Find out what a look for updates begins with.
    Load,
    /// Write down what is trusted now, where it differs from before.
    Save {
        /// What is written down already.
        before: Box<Kept>,
        /// What is to be.
        now: Box<Kept>,
    },
    /// Write down what became of releases.
    Attempts(Attempts),
    /// Write down what the network says that the owner wants.
    Choice(UpdateChoice),
    /// Find out how much of a release's image is on the card.
    Fetched(u64),
    /// Throw away what of it is.
    Discard(u64),
    /// Write a piece of it.
    Write {
        /// The release.
        release: u64,
        /// Where the bytes belong.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Read it back, and if it is what was announced make it the system that is started next.
    Install {
        /// The release.
        release: u64,
        /// Its length.
        length: u64,
        /// Its hashes.
        hashes: Hashes,
    },
}

/// What came of it; errors are in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// What a look begins with.
    Loaded(Box<Loaded>),
    /// Of [`Work::Save`], [`Work::Attempts`], [`Work::Choice`], [`Work::Discard`] and [`Work::Write`].
    Written(Result<(), String>),
    /// Bytes that are on the card.
    Fetched(Result<u64, String>),
    /// Whether it is installed.
    Installed(Result<(), NotInstalled>),
}

/// What a look for updates begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What is trusted.
    pub kept: Kept,
    /// The probe's key, by which the roll-out tells boards apart.
    pub probe: Option<PublicKey>,
    /// How many bytes an image may have.
    pub room: Result<u64, String>,
}

/// Why an image is not installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotInstalled {
    /// It is not the one that was announced. It has been thrown away.
    Spoiled(String),
    /// The card did not take part.
    Card(String),
}

/// More than is written of an image at a time: a step, and what of a piece goes beyond it.
const UNSURE: u64 = STEP as u64 + (1 << 20);

/// Where it is done. Clones are the same.
#[derive(Debug, Clone)]
pub struct Card {
    keep: Keep,
    slots: Slots,
    key: PathBuf,
    /// Releases of whose images what is on the card can be counted on.
    sure: Arc<Mutex<BTreeSet<u64>>>,
}

impl Card {
    /// With files in `keep`, the boot partition behind `slots`, and the probe's key in the file `key`.
    pub fn new(keep: Keep, slots: Slots, key: &Path) -> Self {
        Self { keep, slots, key: key.to_owned(), sure: Arc::default() }
    }

    /// Does it; that may take as long as the card takes.
    pub fn carry_out(&self, work: Work) -> Done {
        let words = |error: std::io::Error| format!("the card's state cannot be written: {error}");
        match work {
            Work::Load => Done::Loaded(Box::new(Loaded {
                kept: self.keep.load(),
                probe: self.probe_key(),
                room: self.slots.room().map_err(|error| error.to_string()),
            })),
            Work::Save { before, now } => Done::Written(self.keep.save(&before, &now).map_err(words)),
            Work::Attempts(attempts) => Done::Written(self.keep.save_attempts(&attempts).map_err(words)),
            Work::Choice(choice) => Done::Written(self.keep.save_choice(choice).map_err(words)),
            Work::Fetched(release) => Done::Fetched(self.fetched(release).map_err(|error| error.to_string())),
            Work::Discard(release) => Done::Written(self.slots.discard(release).map_err(|error| error.to_string())),
            Work::Write { release, offset, bytes } => {
                let written = self.slots.write(release, offset, &bytes);
                if written.is_err() {
                    self.begin_anew(release);
                }
                Done::Written(written.map_err(|error| error.to_string()))
            }
            Work::Install { release, length, hashes } => Done::Installed(self.install(release, length, &hashes)),
        }
    }

    fn fetched(&self, release: u64) -> Result<u64, SlotError> {
        let mut sure = self.sure.lock().unwrap_or_else(PoisonError::into_inner);
        if sure.contains(&release) {
            return self.slots.fetched(release);
        }
        let there = self.slots.settle(release, UNSURE).or_else(|_| self.slots.discard(release).map(|()| 0))?;
        sure.insert(release);
        Ok(there)
    }

    /// What a power cut has damaged stays damaged, however often one tries to go on with it.
    fn begin_anew(&self, release: u64) {
        // If it stays, that is found out again.
        let _ = self.slots.discard(release);
    }

    fn install(&self, release: u64, length: u64, hashes: &Hashes) -> Result<(), NotInstalled> {
        let checker = std::cell::RefCell::new(Some(Checker::new(hashes, length)));
        let mismatch = std::cell::Cell::new(None);
        let mut check = |bytes: &[u8]| {
            let mut checker = checker.borrow_mut();
            if let Some(Err(error)) = checker.as_mut().map(|checker| checker.update(bytes)) {
                mismatch.set(Some(error));
                *checker = None;
            }
        };
        let mut ok = || match checker.borrow_mut().take().map(Checker::finish) {
            Some(Ok(())) => true,
            Some(Err(error)) => {
                mismatch.set(Some(error));
                false
            }
            None => false,
        };
        let installed = self.slots.install(release, &mut check, &mut ok);
        match (installed, mismatch.get()) {
            (Ok(true), _) => Ok(()),
            (Ok(false), Some(mismatch)) => {
                self.begin_anew(release);
                Err(NotInstalled::Spoiled(mismatch.to_string()))
            }
            // Who signed it has signed another image than he meant.
            (Err(error @ SlotError::OtherInside { .. }), _) => {
                self.begin_anew(release);
                Err(NotInstalled::Spoiled(error.to_string()))
            }
            (Ok(false), None) => Err(NotInstalled::Card("it has vanished from the card".into())),
            (Err(error), _) => {
                self.begin_anew(release);
                Err(NotInstalled::Card(error.to_string()))
            }
        }
    }

    /// The file is the probe's, and read as [`crate::state`] reads it.
    fn probe_key(&self) -> Option<PublicKey> {
        let secret = crate::state::read_secret(&self.key)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&secret.0).ok()?;
        Some(PublicKey(pair.public_key().as_ref().try_into().ok()?))
    }
}
