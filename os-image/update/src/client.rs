//! The client's walk through chapter 5 of TUF's specification: the root's chain, then timestamp, snapshot and targets, and last the proof
//! that the targets stand in the log.
//!
//! [`Update`] asks for one file after the other ([`Update::want`]) and is given what came ([`Update::give`], [`Update::missing`]); it
//! must not know from where. After each step, a failed one too, [`Update::kept`] is what to write down. A failed step ends this walk and
//! spoils nothing: the next one begins with what was kept.

mod error;

use error::exceeds;
pub use error::{Side, UpdateError};

use crate::hashes::Mismatch;
use crate::log;
use crate::metadata::{Body, MetaFile, Role, RoleName, Root, Signed, Snapshot, Targets, Timestamp};
use crate::moment::Moment;

/// How many new roots one walk follows. A board that slept for ten years has some forty to go; whoever has more goes on next time.
pub const MAX_ROOTS: u32 = 256;

/// The most bytes of a proof of the log: 128 hashes and a checkpoint.
pub const MAX_PROOF: u64 = 32 * 1024;

/// What outlives a walk. Each file is trusted for itself and is looked at anew at the next beginning: whoever loses power between writing
/// two of them has lost nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// The newest `root.json`; a board that has none begins with the one in its image.
    pub root: Option<Vec<u8>>,
    /// The newest `timestamp.json`.
    pub timestamp: Option<Vec<u8>>,
    /// The newest `snapshot.json`.
    pub snapshot: Option<Vec<u8>>,
    /// The newest `targets.json`. It is kept only once it stands in the log, where there is one.
    pub targets: Option<Vec<u8>>,
    /// The last checkpoint of the log: later ones have to continue it.
    pub checkpoint: Option<Vec<u8>>,
    /// The time of the last walk that reached its end. A time is kept only with files that were good at that time: a collector that lies
    /// about the year stops updates for as long as it lies, and no longer.
    pub time: Moment,
}

/// What the walk needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// A file by its name.
    File {
        /// Such as `2.root.json`.
        name: String,
        /// The reader stops here, and the walk refuses what is longer.
        at_most: u64,
        /// Is it in order if there is none? Then [`Update::missing`] goes on.
        may_be_missing: bool,
    },
    /// The proof that the log holds a `targets.json`.
    Proof {
        /// The version of the targets.
        targets: u64,
        /// The size of the log when this board saw it last; 0 if never. The proof has to lead on from there.
        since: u64,
        /// The reader stops here.
        at_most: u64,
    },
    /// The walk has reached its end: [`Update::targets`] may be trusted.
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Root,
    Timestamp,
    Snapshot(MetaFile),
    Targets(MetaFile),
    /// The targets are good but for the log.
    Proof(Vec<u8>, Targets),
    Done(Targets),
    Failed,
}

/// One walk.
#[derive(Debug, Clone)]
pub struct Update {
    now: Moment,
    kept: Kept,
    root: Root,
    roots_read: u32,
    timestamp: Option<Timestamp>,
    snapshot: Option<Snapshot>,
    stage: Stage,
}

impl Update {
    /// Begins at the time `now`, which stays the same during the walk (5.1; see [`moment::latest`](crate::moment::latest)). `built_in` is
    /// the root that came with the image (5.2). The newer of it and the kept one is trusted; one that is damaged counts for nothing.
    pub fn begin(built_in: &[u8], mut kept: Kept, now: Moment) -> Result<Self, UpdateError> {
        let from_image = trusted_root(built_in);
        let from_disk = kept.root.as_deref().map(trusted_root).and_then(Result::ok);
        let root = match (from_image, from_disk) {
            (Ok(image), Some(disk)) if disk.head.version >= image.head.version => disk,
            (Ok(image), disk) => {
                if let Some(disk) = disk {
                    forget_rotated(&mut kept, &disk, &image);
                }
                kept.root = Some(built_in.to_vec());
                image
            }
            (Err(_), Some(disk)) => disk,
            (Err(error), None) => return Err(error),
        };
        Ok(Self { now, kept, root, roots_read: 0, timestamp: None, snapshot: None, stage: Stage::Root })
    }

    /// What to bring next. After a failure it is nothing, and [`Update::targets`] is `None`.
    pub fn want(&self) -> Want {
        let file = |role: RoleName, version: Option<u64>, announced: Option<u64>| Want::File {
            name: match version {
                Some(version) => format!("{version}.{}", role.file()),
                None => role.file().to_owned(),
            },
            at_most: announced.unwrap_or(u64::MAX).min(role.most_bytes()),
            may_be_missing: role == RoleName::Root,
        };
        let consistent = |meta: &MetaFile| self.root.consistent_snapshot.then_some(meta.version);
        match &self.stage {
            Stage::Root => file(RoleName::Root, Some(self.root.head.version.saturating_add(1)), None),
            Stage::Timestamp => file(RoleName::Timestamp, None, None),
            Stage::Snapshot(meta) => file(RoleName::Snapshot, consistent(meta), meta.length),
            Stage::Targets(meta) => file(RoleName::Targets, consistent(meta), meta.length),
            Stage::Proof(_, targets) => {
                Want::Proof { targets: targets.head.version, since: self.log_size(), at_most: MAX_PROOF }
            }
            Stage::Done(_) | Stage::Failed => Want::Nothing,
        }
    }

    /// Takes the file that was wanted.
    pub fn give(&mut self, bytes: &[u8]) -> Result<(), UpdateError> {
        let stage = std::mem::replace(&mut self.stage, Stage::Failed);
        self.stage = match stage {
            Stage::Root => self.take_root(bytes)?,
            Stage::Timestamp => self.take_timestamp(bytes)?,
            Stage::Snapshot(meta) => self.take_snapshot(&meta, bytes)?,
            Stage::Targets(meta) => self.take_targets(&meta, bytes)?,
            Stage::Proof(file, targets) => self.take_proof(&file, targets, bytes)?,
            done @ (Stage::Done(_) | Stage::Failed) => {
                self.stage = done;
                return Err(UpdateError::Unasked);
            }
        };
        Ok(())
    }

    /// Says that there is no such file. In order for a next root, of which nobody knows beforehand; a failure for all others.
    pub fn missing(&mut self) -> Result<(), UpdateError> {
        let want = self.want();
        let stage = std::mem::replace(&mut self.stage, Stage::Failed);
        self.stage = match (stage, want) {
            (Stage::Root, _) => self.end_of_roots()?,
            (_, Want::File { name, .. }) => return Err(UpdateError::Missing(name)),
            (_, Want::Proof { targets, .. }) => {
                return Err(UpdateError::Missing(format!("proof for version {targets} of the targets")));
            }
            (done, Want::Nothing) => {
                self.stage = done;
                return Err(UpdateError::Unasked);
            }
        };
        Ok(())
    }

    /// What to write down now.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// The root that is trusted now.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The targets, at the end of the walk and not before.
    pub fn targets(&self) -> Option<&Targets> {
        match &self.stage {
            Stage::Done(targets) => Some(targets),
            _ => None,
        }
    }

    /// 5.3.3 to 5.3.9.
    fn take_root(&mut self, bytes: &[u8]) -> Result<Stage, UpdateError> {
        let next: Signed<Root> = parse(bytes)?;
        let role = |root: &Root| root.role(RoleName::Root).clone();
        signed_enough(&next, &role(&self.root), &self.root, Side::Trusted)?;
        signed_enough(&next, &role(&next.body), &next.body, Side::Itself)?;
        let (trusted, offered) = (self.root.head.version, next.body.head.version);
        if offered == trusted {
            // 5.3.5: "In case they are equal, again discard the new root metadata, but proceed".
            return self.end_of_roots();
        }
        if offered != trusted.saturating_add(1) {
            return Err(UpdateError::RootVersion { expected: trusted.saturating_add(1), found: offered });
        }
        forget_rotated(&mut self.kept, &self.root, &next.body);
        self.root = next.body;
        self.kept.root = Some(bytes.to_vec());
        self.roots_read += 1;
        if self.roots_read < MAX_ROOTS { Ok(Stage::Root) } else { self.end_of_roots() }
    }

    /// 5.3.10, and the kept files under the keys of the newest root: what they did not sign is forgotten. An expired file still says which
    /// versions there have been.
    fn end_of_roots(&mut self) -> Result<Stage, UpdateError> {
        self.not_expired(&self.root)?;
        self.timestamp = self.reload(self.kept.timestamp.as_deref());
        self.snapshot = self.reload(self.kept.snapshot.as_deref());
        self.kept.timestamp = self.kept.timestamp.take().filter(|_| self.timestamp.is_some());
        self.kept.snapshot = self.kept.snapshot.take().filter(|_| self.snapshot.is_some());
        Ok(Stage::Timestamp)
    }

    /// 5.4.
    fn take_timestamp(&mut self, bytes: &[u8]) -> Result<Stage, UpdateError> {
        let new: Timestamp = self.verified(bytes)?;
        let trusted = match self.timestamp.take() {
            Some(old) if new.head.version < old.head.version => {
                return Err(rollback(RoleName::Timestamp, old.head.version, new.head.version));
            }
            // 5.4.3.1: the same version says nothing new, whatever it says. The walk goes on with the trusted one, because an earlier
            // walk may have ended between this file and the next.
            Some(old) if new.head.version == old.head.version => old,
            Some(old) if new.snapshot.version < old.snapshot.version => {
                return Err(rollback(RoleName::Snapshot, old.snapshot.version, new.snapshot.version));
            }
            _ => {
                self.not_expired(&new)?;
                self.kept.timestamp = Some(bytes.to_vec());
                new
            }
        };
        self.not_expired(&trusted)?;
        let meta = trusted.snapshot.clone();
        self.timestamp = Some(trusted);
        exceeds(RoleName::Snapshot, &meta)?;
        match (&self.snapshot, &self.kept.snapshot) {
            (Some(snapshot), Some(file))
                if snapshot.head.version == meta.version
                    && matches(&meta, file).is_ok()
                    && self.not_expired(snapshot).is_ok() =>
            {
                self.before_targets()
            }
            _ => Ok(Stage::Snapshot(meta)),
        }
    }

    /// 5.5.
    fn take_snapshot(&mut self, meta: &MetaFile, bytes: &[u8]) -> Result<Stage, UpdateError> {
        matches(meta, bytes).map_err(|mismatch| UpdateError::NotAnnounced { role: RoleName::Snapshot, mismatch })?;
        let new: Snapshot = self.verified(bytes)?;
        listed_version(&new, meta)?;
        for (name, old) in self.snapshot.iter().flat_map(|old| &old.files) {
            match new.files.get(name) {
                None => return Err(UpdateError::Removed(name.clone())),
                Some(new) if new.version < old.version => {
                    return Err(UpdateError::Rollback {
                        file: name.clone(),
                        trusted: old.version,
                        offered: new.version,
                    });
                }
                Some(_) => {}
            }
        }
        self.not_expired(&new)?;
        self.snapshot = Some(new);
        self.kept.snapshot = Some(bytes.to_vec());
        self.before_targets()
    }

    /// The kept targets will do if they are those of the snapshot.
    fn before_targets(&mut self) -> Result<Stage, UpdateError> {
        let listed = self.snapshot.as_ref().and_then(|snapshot| snapshot.files.get(RoleName::Targets.file()));
        let meta = listed.cloned().ok_or(UpdateError::NotListed)?;
        exceeds(RoleName::Targets, &meta)?;
        if let Some(file) = &self.kept.targets
            && let Some(targets) = self.reload::<Targets>(Some(file))
            && targets.head.version == meta.version
            && matches(&meta, file).is_ok()
            && self.not_expired(&targets).is_ok()
        {
            return Ok(self.before_proof(file.clone(), targets));
        }
        Ok(Stage::Targets(meta))
    }

    /// 5.6. That the version is not lower than before has been seen in the snapshot.
    fn take_targets(&mut self, meta: &MetaFile, bytes: &[u8]) -> Result<Stage, UpdateError> {
        matches(meta, bytes).map_err(|mismatch| UpdateError::NotAnnounced { role: RoleName::Targets, mismatch })?;
        let new: Targets = self.verified(bytes)?;
        listed_version(&new, meta)?;
        self.not_expired(&new)?;
        Ok(self.before_proof(bytes.to_vec(), new))
    }

    /// Whoever has a checkpoint and the very same bytes has seen the proof. All others ask, if the root names a log.
    fn before_proof(&mut self, file: Vec<u8>, targets: Targets) -> Stage {
        let proved = self.checkpoint().is_some_and(|seen| seen.entry == log::entry(targets.head.version, &file));
        if self.root.log.is_none() || proved { self.done(file, targets) } else { Stage::Proof(file, targets) }
    }

    fn take_proof(&mut self, file: &[u8], targets: Targets, bytes: &[u8]) -> Result<Stage, UpdateError> {
        let Some(key) = &self.root.log else { return Err(UpdateError::Unasked) };
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_PROOF {
            return Err(UpdateError::TooLong { file: "proof of the log".to_owned(), at_most: MAX_PROOF });
        }
        let seen = self.checkpoint();
        let entry = log::entry(targets.head.version, file);
        let newer = log::check(key, seen.as_ref().map(|seen| &seen.checkpoint), &entry, bytes)?;
        self.kept.checkpoint = Some(log::Seen::write(&newer, &entry));
        Ok(self.done(file.to_vec(), targets))
    }

    fn done(&mut self, file: Vec<u8>, targets: Targets) -> Stage {
        self.kept.targets = Some(file);
        self.kept.time = self.kept.time.max(self.now);
        Stage::Done(targets)
    }

    /// What was seen of the log that the root names now. What another log signed means nothing.
    fn checkpoint(&self) -> Option<log::Seen> {
        log::Seen::read(self.root.log.as_ref()?, self.kept.checkpoint.as_deref()?)
    }

    fn log_size(&self) -> u64 {
        self.checkpoint().map_or(0, |seen| seen.checkpoint.size)
    }

    fn verified<B: Body>(&self, bytes: &[u8]) -> Result<B, UpdateError> {
        let signed: Signed<B> = parse(bytes)?;
        signed_enough(&signed, self.root.role(B::ROLE), &self.root, Side::Trusted)?;
        Ok(signed.body)
    }

    fn reload<B: Body>(&self, bytes: Option<&[u8]>) -> Option<B> {
        bytes.and_then(|bytes| self.verified(bytes).ok())
    }

    fn not_expired(&self, body: &impl Body) -> Result<(), UpdateError> {
        expired(body, self.now)
    }
}

/// A root that is trusted because of where it comes from. It has to be signed by itself all the same, so that damage shows.
fn trusted_root(bytes: &[u8]) -> Result<Root, UpdateError> {
    let root: Signed<Root> = parse(bytes)?;
    signed_enough(&root, root.body.role(RoleName::Root), &root.body, Side::Itself)?;
    Ok(root.body)
}

/// 5.3.11, done with each root at once: whoever had a key that is no longer trusted may have signed any version ("fast-forward"), so what
/// is kept of the two roles is forgotten.
fn forget_rotated(kept: &mut Kept, earlier: &Root, later: &Root) {
    if [RoleName::Timestamp, RoleName::Snapshot].into_iter().any(|name| later.has_rotated(earlier, name)) {
        kept.timestamp = None;
        kept.snapshot = None;
    }
}

fn parse<B: Body>(bytes: &[u8]) -> Result<Signed<B>, UpdateError> {
    let at_most = B::ROLE.most_bytes();
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > at_most {
        return Err(UpdateError::TooLong { file: B::ROLE.file().to_owned(), at_most });
    }
    Signed::parse(bytes).map_err(|source| UpdateError::Format { role: B::ROLE, source })
}

fn signed_enough<B: Body>(file: &Signed<B>, role: &Role, keys: &Root, side: Side) -> Result<(), UpdateError> {
    let valid = file.signers(role, keys);
    if valid >= role.threshold {
        return Ok(());
    }
    Err(UpdateError::Signatures { role: B::ROLE, valid, threshold: role.threshold, side })
}

fn listed_version(body: &impl Body, meta: &MetaFile) -> Result<(), UpdateError> {
    let found = body.head().version;
    if found == meta.version { Ok(()) } else { Err(version_error(body, meta.version, found)) }
}

fn version_error<B: Body>(_: &B, listed: u64, found: u64) -> UpdateError {
    UpdateError::OtherVersion { role: B::ROLE, listed, found }
}

fn expired<B: Body>(body: &B, now: Moment) -> Result<(), UpdateError> {
    let expires = body.head().expires;
    if expires > now { Ok(()) } else { Err(UpdateError::Expired { role: B::ROLE, expires, now }) }
}

fn matches(meta: &MetaFile, bytes: &[u8]) -> Result<(), Mismatch> {
    let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    match meta.length {
        Some(expected) if found > expected => return Err(Mismatch::Longer(expected)),
        Some(expected) if found < expected => return Err(Mismatch::Shorter { expected, found }),
        _ => {}
    }
    meta.hashes.as_ref().map_or(Ok(()), |hashes| hashes.check(bytes))
}

fn rollback(role: RoleName, trusted: u64, offered: u64) -> UpdateError {
    UpdateError::Rollback { file: role.file().to_owned(), trusted, offered }
}
