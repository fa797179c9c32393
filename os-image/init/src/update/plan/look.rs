//! The steps of one look for updates. Each begins where the one before ended, and a look that ends early spoils nothing: the next begins
//! with what is on the card.

use std::time::Duration;

use sonde_protocol::board::{
    LogHead, ProofWanted, UpdateFile, UpdateLater, UpdateOutcome, UpdatePiece, UpdateSaid, UpdateStage,
};
use sonde_protocol::bounded::Text;
use sonde_update::client::{Kept, Update, UpdateError, Want};
use sonde_update::hashes::Hashes;
use sonde_update::log::Seen;
use sonde_update::metadata::RoleName;
use sonde_update::moment::Moment;
use sonde_update::policy::{self, Decision, Refusal, Wait};
use sonde_update::release::Release;

use super::{
    AFTER_CONNECTING, COSTLY_AGAIN, COSTLY_AT_MOST, EVERY, LAST_WORDS, LATER, LATER_AT_MOST, LATER_WITHIN, NO_RELEASES,
    Plan, Question, doubled, nanos,
};
use crate::update::choice::decided;
use crate::update::pieces::Pieces;
use crate::update::work::{Done, Loaded, NotInstalled, Work};

/// So much of an image is in memory before it is written: a card wears less by few large pieces.
pub(in crate::update) const STEP: usize = 4 << 20;

/// A piece smaller than this is not worth writing when a look ends early.
pub(super) const WORTH_WRITING: usize = 256 << 10;

/// An image is fetched so long before the signed files are looked at anew: it may have been withdrawn.
const STALE: Duration = EVERY;

/// A collector may say so often in a row that it is busy before the record does.
const SOON_OVER: u32 = 2;

/// Where a look stands.
#[derive(Debug)]
pub(super) enum Phase {
    /// There will be no look.
    Never,
    /// This system must be kept first.
    Trial,
    /// Nothing until then.
    Idle {
        /// Since the start.
        due: Duration,
    },
    /// What is on the card is read.
    Load,
    /// The signed files come.
    Walk(Box<Walk>),
    /// How much of the image is there?
    Locate(Box<Fetch>),
    /// What is there is no beginning of it, and goes.
    Clear(Box<Fetch>),
    /// The image comes.
    Fetch(Box<Fetch>),
    /// A step of it is written.
    Write(Box<Fetch>, After),
    /// That it is to be installed is written down, so that the next start knows.
    Note(Box<Fetch>),
    /// It is read back and gets its name.
    Install(u64),
    /// The board starts again.
    Installed {
        /// Then.
        at: Duration,
    },
}

/// What follows a step that is being written.
#[derive(Debug, Clone, Copy)]
pub(super) enum After {
    /// The next one.
    More,
    /// The look is over, until then.
    Idle(Duration),
}

/// The signed files.
#[derive(Debug)]
pub(super) struct Walk {
    update: Update,
    /// What is written down.
    saved: Kept,
    file: Pieces,
    at: Moment,
    room: Result<u64, String>,
    failed: Option<UpdateError>,
}

/// An image on its way.
#[derive(Debug)]
pub(super) struct Fetch {
    release: u64,
    file: UpdateFile,
    length: u64,
    hashes: Hashes,
    pieces: Pieces,
    began: Duration,
}

impl Plan {
    /// What came of the work with this ticket.
    pub fn done(&mut self, ticket: u64, done: Done, now: Duration) {
        let counts = self.busy.take() == Some(Some(ticket)) && ticket == self.ticket;
        if !counts {
            return;
        }
        match (std::mem::replace(&mut self.phase, Phase::Never), done) {
            (Phase::Load, Done::Loaded(loaded)) => self.walk(*loaded, now),
            (Phase::Walk(mut walk), Done::Written(Ok(()))) => {
                walk.saved = walk.update.kept().clone();
                self.go_on(walk, now);
            }
            (Phase::Locate(fetch), Done::Fetched(Ok(there))) => self.located(fetch, there, now),
            (Phase::Clear(fetch), Done::Written(Ok(()))) => self.fetch(fetch, now),
            (Phase::Write(fetch, after), Done::Written(Ok(()))) => self.written(fetch, after, now),
            (Phase::Note(fetch), Done::Written(Ok(()))) => {
                let Fetch { release, length, hashes, .. } = *fetch;
                self.enter(Phase::Install(release), Some(Work::Install { release, length, hashes }));
            }
            (Phase::Install(release), Done::Installed(Ok(()))) => {
                let words = "it is on the card, and the board starts again with it";
                self.stand.set(UpdateStage::Installed, Some(release), words);
                self.enter(Phase::Installed { at: now + LAST_WORDS }, None);
            }
            (Phase::Install(release), Done::Installed(Err(why))) => self.not_installed(release, why, now),
            (Phase::Write(fetch, _) | Phase::Note(fetch), Done::Written(Err(words))) => {
                self.not_installed(fetch.release, NotInstalled::Card(words), now);
            }
            (Phase::Walk(_), Done::Written(Err(words))) => self.fails(UpdateStage::Broken, None, &words, now),
            (Phase::Locate(fetch) | Phase::Clear(fetch), Done::Written(Err(words)) | Done::Fetched(Err(words))) => {
                self.fails(UpdateStage::Broken, Some(fetch.release), &words, now);
            }
            // Nothing else is ever asked for.
            (phase, _) => self.phase = phase,
        }
    }

    /// The signed files are asked for, from what is trusted on.
    fn walk(&mut self, loaded: Loaded, now: Duration) {
        let Loaded { kept, probe, room } = loaded;
        self.probe = probe;
        self.moments.keep(kept.time, now);
        let at = self.moments.now(now);
        let root = self.image.root.as_deref().unwrap_or_default();
        match Update::begin(root, kept.clone(), at) {
            Ok(update) => {
                let walk = Walk { update, saved: kept, file: Pieces::at_most(0), at, room, failed: None };
                self.go_on(Box::new(walk), now);
            }
            Err(error) => self.fails(UpdateStage::Untrusted, None, &error.to_string(), now),
        }
    }

    /// Writes down what is trusted by now, then asks for the next file.
    fn go_on(&mut self, mut walk: Box<Walk>, now: Duration) {
        if *walk.update.kept() != walk.saved {
            let (before, kept) = (Box::new(walk.saved.clone()), Box::new(walk.update.kept().clone()));
            return self.enter(Phase::Walk(walk), Some(Work::Save { before, now: kept }));
        }
        if let Some(error) = walk.failed {
            if has_no_releases(walk.update.kept(), &error) {
                self.stand.set(UpdateStage::Unknown, None, NO_RELEASES);
                self.failures = 0;
                return self.enter(Phase::Idle { due: now + EVERY + self.share() }, None);
            }
            return self.fails(UpdateStage::Untrusted, None, &error.to_string(), now);
        }
        let at_most = match walk.update.want() {
            Want::Nothing => return self.decide(&walk, now),
            Want::File { at_most, .. } | Want::Proof { at_most, .. } => at_most,
        };
        walk.file = Pieces::at_most(at_most);
        self.ask_on(Phase::Walk(walk));
    }

    /// All files are in order: is there something for this board?
    fn decide(&mut self, walk: &Walk, now: Duration) {
        self.moments.keep(walk.at, now);
        self.stand.checked_at = Some(nanos(walk.at));
        let seen = walk.update.root().log.as_ref().zip(walk.update.kept().checkpoint.as_deref());
        let seen = seen.and_then(|(key, bytes)| Seen::read(key, bytes));
        self.stand.log = seen.map(|seen| LogHead { size: seen.checkpoint.size, root: seen.checkpoint.root });
        let room = match &walk.room {
            Ok(room) => *room,
            Err(words) => return self.fails(UpdateStage::Broken, None, words, now),
        };
        let Some(probe) = self.probe else {
            return self.fails(UpdateStage::Broken, None, "the probe's key cannot be read", now);
        };
        let (releases, problems) = walk.update.targets().map(Release::all).unwrap_or_default();
        let failed = self.attempts.fell_back();
        let board = policy::Board {
            running: self.image.number,
            architecture: self.image.architecture,
            probe: &probe,
            room,
            failed: &failed,
            choice: decided(self.in_force()),
        };
        let (stage, release, mut words) = match policy::decide(&releases, &board, walk.at) {
            Decision::Install(release) => {
                let file = release.file_name(walk.update.root().consistent_snapshot);
                match Text::new(file) {
                    Some(file) => return self.locate(release, UpdateFile::Target(file), now),
                    None => (UpdateStage::Refused, Some(release.version), "its file's name is too long".to_owned()),
                }
            }
            Decision::Wait(wait) => {
                let release = waited_for(wait).filter(|release| *release != self.image.number);
                let stage = if release.is_none() { UpdateStage::Newest } else { UpdateStage::Waiting };
                (stage, release, wait.to_string())
            }
            Decision::Refuse(refusal) => (UpdateStage::Refused, Some(refused(refusal)), refusal.to_string()),
        };
        if let (UpdateStage::Newest, Some(problem)) = (stage, problems.first()) {
            words = format!("{words}; what this system cannot read is left out: {problem}");
        }
        self.stand.set(stage, release, &words);
        self.failures = 0;
        self.enter(Phase::Idle { due: now + EVERY + self.share() }, None);
    }

    /// There is: how much of it has been fetched before?
    fn locate(&mut self, release: &Release, file: UpdateFile, now: Duration) {
        let fetch = Fetch {
            release: release.version,
            file,
            length: release.length,
            hashes: release.hashes.clone(),
            pieces: Pieces::of(release.length, 0),
            began: now,
        };
        self.enter(Phase::Locate(Box::new(fetch)), Some(Work::Fetched(release.version)));
    }

    fn located(&mut self, mut fetch: Box<Fetch>, there: u64, now: Duration) {
        if there > fetch.length {
            let work = Work::Discard(fetch.release);
            return self.enter(Phase::Clear(fetch), Some(work));
        }
        fetch.pieces = Pieces::of(fetch.length, there);
        self.fetch(fetch, now);
    }

    /// Asks for the next piece, or installs what is whole.
    fn fetch(&mut self, fetch: Box<Fetch>, now: Duration) {
        if fetch.pieces.want().is_some() {
            return self.ask_on(Phase::Fetch(fetch));
        }
        self.note(fetch.release, UpdateOutcome::Installed, "", now);
        self.attempts_to_write = false;
        self.enter(Phase::Note(fetch), Some(Work::Attempts(self.attempts.clone())));
    }

    fn written(&mut self, fetch: Box<Fetch>, after: After, now: Duration) {
        match after {
            After::Idle(due) => self.enter(Phase::Idle { due }, None),
            After::More => {
                self.failures = 0;
                self.progress(&fetch);
                let is_stale = now.saturating_sub(fetch.began) > STALE;
                if is_stale { self.enter(Phase::Idle { due: now }, None) } else { self.fetch(fetch, now) }
            }
        }
    }

    fn progress(&mut self, fetch: &Fetch) {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let words = format!("{} of {} MiB are there", mib(fetch.pieces.next()), mib(fetch.length));
        self.stand.set(UpdateStage::Fetching, Some(fetch.release), &words);
    }

    /// What the collector says to the question that was asked.
    pub(super) fn said(&mut self, said: UpdateSaid, now: Duration) {
        match (said, std::mem::replace(&mut self.phase, Phase::Never)) {
            (UpdateSaid::Piece(piece), Phase::Walk(walk)) => self.walked(walk, &piece, now),
            (UpdateSaid::Missing, Phase::Walk(mut walk)) => {
                walk.failed = walk.update.missing().err();
                self.go_on(walk, now);
            }
            (UpdateSaid::Piece(piece), Phase::Fetch(fetch)) => self.fetched(fetch, &piece, now),
            (UpdateSaid::Missing, Phase::Fetch(fetch)) => {
                let words = "the collector does not have the image that is announced";
                self.fails(UpdateStage::Untrusted, Some(fetch.release), words, now);
            }
            // Nothing is asked otherwise.
            (_, phase) => self.phase = phase,
        }
    }

    fn walked(&mut self, mut walk: Box<Walk>, piece: &UpdatePiece, now: Duration) {
        if let Err(lie) = walk.file.take(piece) {
            return self.fails(UpdateStage::Untrusted, None, &lie.to_string(), now);
        }
        if walk.file.want().is_some() {
            return self.ask_on(Phase::Walk(walk));
        }
        walk.failed = walk.update.give(walk.file.bytes()).err();
        self.go_on(walk, now);
    }

    fn fetched(&mut self, mut fetch: Box<Fetch>, piece: &UpdatePiece, now: Duration) {
        if let Err(lie) = fetch.pieces.take(piece) {
            return self.fails(UpdateStage::Untrusted, Some(fetch.release), &lie.to_string(), now);
        }
        if (self.stand.stage, self.stand.release) != (UpdateStage::Fetching, Some(fetch.release)) {
            self.progress(&fetch);
        }
        if fetch.pieces.want().is_some() && fetch.pieces.held() < STEP {
            self.ask_on(Phase::Fetch(fetch));
        } else {
            self.write(fetch, After::More);
        }
    }

    /// Enters a phase in which a file comes, and asks for its next piece.
    fn ask_on(&mut self, phase: Phase) {
        let question = match &phase {
            Phase::Fetch(fetch) => fetch.pieces.want().map(|wanted| (fetch.file.clone(), wanted)),
            Phase::Walk(walk) => walk.file.want().and_then(|wanted| Some((named(&walk.update.want())?, wanted))),
            _ => None,
        };
        self.enter(phase, None);
        if let Some((file, wanted)) = question {
            self.want(file, wanted);
        }
    }

    fn write(&mut self, mut fetch: Box<Fetch>, after: After) {
        let release = fetch.release;
        let (offset, bytes) = fetch.pieces.take_bytes();
        self.enter(Phase::Write(fetch, after), Some(Work::Write { release, offset, bytes }));
    }

    /// The collector does not want to be asked now. A short while is waited out, so that a busy one still gives a whole image away; after a
    /// longer one the signed files are looked at again.
    pub(super) fn later(&mut self, later: &UpdateLater, question: Option<Question>, now: Duration) {
        self.laters = self.laters.saturating_add(1);
        let at_least = doubled(LATER, self.laters, EVERY);
        let pause = Duration::from_secs(later.seconds.into()).max(at_least).min(LATER_AT_MOST);
        self.held_until = now + pause;
        let (release, began) = match &self.phase {
            Phase::Fetch(fetch) => (Some(fetch.release), fetch.began),
            _ => (None, now),
        };
        let is_long = pause > LATER_WITHIN || now.saturating_sub(began) > STALE;
        if is_long || self.laters > SOON_OVER {
            let words = format!("the network holds it back: {}", later.why.as_str());
            self.stand.set(UpdateStage::Waiting, release, &words);
        }
        if is_long {
            self.end(self.held_until);
        } else {
            self.question = question.map(|question| Question { asked: None, from: now + pause, ..question });
        }
    }

    /// Leaves off because something else is wanted now, and looks soon. What is being installed is installed.
    pub(super) fn leave(&mut self, now: Duration) {
        let soon = now + AFTER_CONNECTING;
        if let Phase::Idle { due } = &mut self.phase {
            *due = soon.min(*due).max(self.held_until);
        } else {
            self.end(soon);
        }
    }

    /// Ends a look, and keeps of an image what is worth it.
    pub(super) fn end(&mut self, due: Duration) {
        let due = due.max(self.held_until);
        match std::mem::replace(&mut self.phase, Phase::Never) {
            Phase::Fetch(fetch) if fetch.pieces.held() >= WORTH_WRITING => self.write(fetch, After::Idle(due)),
            Phase::Write(fetch, _) => self.phase = Phase::Write(fetch, After::Idle(due)),
            Phase::Load | Phase::Walk(_) | Phase::Locate(_) | Phase::Clear(_) | Phase::Fetch(_) => {
                self.enter(Phase::Idle { due }, None);
            }
            phase => self.phase = phase,
        }
    }

    fn not_installed(&mut self, release: u64, why: NotInstalled, now: Duration) {
        let (stage, words) = match why {
            NotInstalled::Spoiled(words) => {
                (UpdateStage::Untrusted, format!("the image that came is not the one that was announced: {words}"))
            }
            NotInstalled::Card(words) => (UpdateStage::Broken, words),
        };
        self.note(release, UpdateOutcome::NotInstalled, &words, now);
        self.stand.set(stage, Some(release), &words);
        self.costly = self.costly.saturating_add(1);
        self.held_until = now + doubled(COSTLY_AGAIN, self.costly, COSTLY_AT_MOST);
        self.enter(Phase::Idle { due: self.held_until }, None);
    }
}

/// Does the network make none? One that has made any, as far as is known here, must go on.
fn has_no_releases(kept: &Kept, error: &UpdateError) -> bool {
    let is_first = matches!(error, UpdateError::Missing(name) if name == RoleName::Timestamp.file());
    is_first && kept.timestamp.is_none() && kept.time == Moment::default()
}

/// The file that a walk wants, as it is asked for.
fn named(want: &Want) -> Option<UpdateFile> {
    match want {
        Want::File { name, .. } => Text::new(name.as_str()).map(UpdateFile::Metadata),
        Want::Proof { targets, since, .. } => Some(UpdateFile::Proof(ProofWanted { targets: *targets, since: *since })),
        Want::Nothing => None,
    }
}

fn waited_for(wait: Wait) -> Option<u64> {
    match wait {
        Wait::Newest => None,
        Wait::NotBefore(release, _) | Wait::RollOut(release, _) | Wait::Delayed(release, _) | Wait::Pinned(release) => {
            Some(release)
        }
    }
}

fn refused(refusal: Refusal) -> u64 {
    match refusal {
        Refusal::Owner(release) | Refusal::PinnedBack(release) | Refusal::Failed(release) => release,
        Refusal::Room { version, .. } => version,
    }
}
