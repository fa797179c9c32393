//! Gives boards the files of the release repository ([`sonde_update::repository`]), piece by piece as their probes pass the questions
//! on, and proofs of the log of releases.
//!
//! It trusts nobody and vouches for nothing: boards check what they get. So it reads no signature, and a name from the wire is either
//! exactly one that a repository has or no file. What it must do is stay out of the way of results: reading happens on threads that may
//! block, a few at a time, and all boards together get so many bytes a second ([`pace`]).
//!
//! It counts what becomes of a release on the boards that fetched it, and stops giving one away from which boards do not come back
//! ([`roll_out`], [`watch`]).

pub mod files;
pub mod list;
pub mod log;
pub mod pace;
pub mod roll_out;
pub mod watch;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sonde_protocol::board::{MAX_PIECE, ProofWanted, UpdateAsk, UpdateFile, UpdateLater, UpdatePiece, UpdateSaid};
use sonde_protocol::bounded::{Bytes, Text};
use sonde_protocol::ids::ProbeId;
use sonde_update::repository::{self, MetadataName, TargetName};
use tokio::sync::Semaphore;
use tracing::{info, warn};

use self::files::Found;
use self::list::Listed;
use self::log::{Log, MAX_CHECKPOINT, MAX_ENTRIES};
use self::pace::Pace;
use self::watch::Watch;
use crate::ingest::now;

/// How many pieces are read at the same time. A disk gains nothing by more.
const READERS: usize = 4;

/// What an answer that is no piece of an image is counted as.
const SMALL: u32 = 4096;

/// Those for whom there is no room come back after so many seconds at the soonest, and over so many more.
const BUSY_AFTER: u32 = 10;
const BUSY_SPREAD: u32 = 20;

/// When boards look again whether a release that is stopped goes on, in seconds.
const STOPPED_AFTER: u32 = 3600;

/// When a file that could not be read is asked for again, in seconds.
const BROKEN_AFTER: u32 = 60;

/// What is said of a file that could not be read.
const UNREADABLE: &str = "the file cannot be read at the moment";

/// Where the repository lies, and how much of the line it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasesConfig {
    /// The repository's folder. It need not exist: then there is nothing for boards.
    pub directory: PathBuf,
    /// How many bytes a second all boards together may fetch.
    pub bytes_per_second: u64,
}

/// The release repository.
pub(crate) struct Releases {
    directory: PathBuf,
    pace: Mutex<Pace>,
    readers: Semaphore,
    /// The log as it was read last.
    log: Mutex<Option<Arc<Log>>>,
    /// What was wrong with the log when somebody asked for it last; told once.
    trouble: Mutex<Option<String>>,
    /// Which file is which release.
    listed: Mutex<Listed>,
    pub(crate) watch: Watch,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) probe: ProbeId,
    /// It is counted what becomes of releases there: somebody stands for it.
    pub(crate) counts: bool,
    /// Differs from board to board: those who have to come again do not come at once.
    pub(crate) place: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Not now.
pub(crate) fn later(seconds: u32, why: &str) -> UpdateSaid {
    UpdateSaid::Later(UpdateLater { seconds, why: Text::cut(why) })
}

fn piece(length: u64, bytes: Vec<u8>) -> UpdateSaid {
    // Never longer than asked for.
    Bytes::new(bytes).map_or(UpdateSaid::Missing, |bytes| UpdateSaid::Piece(UpdatePiece { length, bytes }))
}

impl Releases {
    pub(crate) fn new(config: &ReleasesConfig, watch: Watch) -> Self {
        Self {
            directory: config.directory.clone(),
            pace: Mutex::new(Pace::new(config.bytes_per_second)),
            readers: Semaphore::new(READERS),
            log: Mutex::default(),
            trouble: Mutex::default(),
            listed: Mutex::default(),
            watch,
        }
    }

    /// Answers a question when its turn has come.
    pub(crate) async fn answer(self: Arc<Self>, asker: Asker, ask: &UpdateAsk) -> UpdateSaid {
        let (read, counts) = match &ask.file {
            UpdateFile::Metadata(name) => match MetadataName::parse(name) {
                Some(name) => (Reading::File(format!("{}/{name}", repository::METADATA)), SMALL),
                None => return UpdateSaid::Missing,
            },
            UpdateFile::Target(name) => match TargetName::parse(name) {
                Some(name) => (Reading::Image(name), MAX_PIECE as u32),
                None => return UpdateSaid::Missing,
            },
            UpdateFile::Proof(wanted) => (Reading::Proof(*wanted), SMALL),
        };
        let wait = lock(&self.pace).admit(counts.min(ask.at_most).into(), now());
        let Some(wait) = wait else {
            let spread = u32::try_from(asker.place % u64::from(BUSY_SPREAD)).unwrap_or(0);
            return later(BUSY_AFTER + spread, "many boards fetch at the moment");
        };
        tokio::time::sleep(wait).await;
        // Nobody closes it.
        let Ok(_permit) = self.readers.acquire().await else { return UpdateSaid::Missing };
        let (releases, offset, at_most) = (self.clone(), ask.offset, ask.at_most);
        let read = tokio::task::spawn_blocking(move || releases.read(&read, offset, at_most)).await;
        let (said, last_of) = read.unwrap_or_else(|_| (later(BROKEN_AFTER, UNREADABLE), None));
        if let Some(release) = last_of.filter(|_| asker.counts) {
            // Before it is said: once the board has it, it may start again at any moment.
            self.watch.fetched(release, asker.probe).await;
        }
        said
    }

    /// Reads a piece of an image, unless its release is stopped; and says of which release it was the last piece.
    fn image(&self, name: &TargetName, offset: u64, at_most: u32) -> (UpdateSaid, Option<u64>) {
        let release = {
            let mut listed = lock(&self.listed);
            // A board begins at the beginning, or goes on with what was known when it began.
            if offset == 0 || listed.release(name.as_str()).is_none() {
                listed.refresh(&self.directory);
            }
            listed.release(name.as_str())
        };
        if release.is_some_and(|release| self.watch.stopped(release).is_some()) {
            return (later(STOPPED_AFTER, "the release is stopped: boards did not come back with it"), None);
        }
        let said = self.file(&format!("{}/{name}", repository::TARGETS), offset, at_most);
        let is_last = match &said {
            UpdateSaid::Piece(UpdatePiece { length, bytes }) => {
                !bytes.is_empty() && offset.saturating_add(bytes.len() as u64) == *length
            }
            UpdateSaid::Missing | UpdateSaid::Later(_) => false,
        };
        (said, release.filter(|_| is_last))
    }

    fn file(&self, name: &str, offset: u64, at_most: u32) -> UpdateSaid {
        match files::piece(&self.directory.join(name), offset, at_most) {
            Found::Piece(length, bytes) => piece(length, bytes),
            Found::Missing => UpdateSaid::Missing,
            Found::Broken(why) => {
                // The operator replaces it just now, or the disk is bad: the next question tells which.
                info!(file = %name, %why, "a piece of a release's file could not be read");
                later(BROKEN_AFTER, UNREADABLE)
            }
        }
    }

    /// Reads on a thread that may block; and says of which release it was the last piece.
    fn read(&self, what: &Reading, offset: u64, at_most: u32) -> (UpdateSaid, Option<u64>) {
        match what {
            Reading::Image(name) => self.image(name, offset, at_most),
            Reading::File(name) => (self.file(name, offset, at_most), None),
            Reading::Proof(wanted) => (self.proof(wanted, offset, at_most), None),
        }
    }

    fn proof(&self, wanted: &ProofWanted, offset: u64, at_most: u32) -> UpdateSaid {
        let Some(proof) = self.log().and_then(|log| log.proof(wanted.targets, wanted.since)) else {
            return UpdateSaid::Missing;
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(proof.len());
        let bytes = proof.get(from..).unwrap_or_default();
        let at_most = usize::try_from(at_most).unwrap_or(MAX_PIECE).min(MAX_PIECE);
        piece(proof.len() as u64, bytes.get(..at_most).unwrap_or(bytes).to_vec())
    }

    /// The log as its checkpoint has it now, if there is one that fits its entries.
    fn log(&self) -> Option<Arc<Log>> {
        let checkpoint = files::whole(&self.directory.join(repository::LOG_CHECKPOINT), MAX_CHECKPOINT)?;
        let known = lock(&self.log).clone().filter(|log| log.is_of(&checkpoint));
        if known.is_some() {
            return known;
        }
        // Entries are written before the checkpoint that counts them, so what is read after it has them all.
        let entries = files::whole(&self.directory.join(repository::LOG_ENTRIES), MAX_ENTRIES).unwrap_or_default();
        match Log::read(&entries, checkpoint) {
            Ok(log) => {
                let log = Arc::new(log);
                *lock(&self.log) = Some(log.clone());
                *lock(&self.trouble) = None;
                Some(log)
            }
            Err(error) => {
                let told = lock(&self.trouble).replace(error.to_string());
                if told != Some(error.to_string()) {
                    warn!(%error, "the log of releases cannot be used: boards take no release");
                }
                None
            }
        }
    }
}

/// What is to be read.
enum Reading {
    /// A release's image.
    Image(TargetName),
    /// A file by its path in the repository.
    File(String),
    /// A proof of the log.
    Proof(ProofWanted),
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};
    use sonde_protocol::key::PublicKey;
    use sonde_store::sqlite::SqliteCatalog;
    use sonde_update::log::tree::Tree;
    use sonde_update::log::{self, LogKey};
    use sonde_update::sign;

    use super::*;

    fn ask(file: UpdateFile, offset: u64, at_most: u32) -> UpdateAsk {
        UpdateAsk { id: 1, file, offset, at_most }
    }

    fn target(name: &str) -> UpdateFile {
        UpdateFile::Target(Text::cut(name))
    }

    /// A repository's folder, who serves it so fast, and a runtime to ask in.
    fn serve(bytes_per_second: u64) -> (tempfile::TempDir, impl Fn(UpdateAsk) -> UpdateSaid) {
        let dir = tempfile::tempdir().unwrap();
        for folder in [repository::METADATA, repository::TARGETS, repository::LOG] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let config = ReleasesConfig { directory: dir.path().to_owned(), bytes_per_second };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let catalog = Arc::new(SqliteCatalog::open_in_memory().unwrap());
        let watch = runtime.block_on(Watch::open(catalog)).unwrap();
        let releases = Arc::new(Releases::new(&config, watch));
        let asker = Asker { probe: ProbeId(1), counts: true, place: 7 };
        (dir, move |ask| runtime.block_on(releases.clone().answer(asker, &ask)))
    }

    #[test]
    fn a_file_comes_in_pieces_until_it_is_replaced() {
        let (dir, answer) = serve(u64::MAX);
        let name = format!("{}.sonde_1.efi", "0f".repeat(32));
        let path = dir.path().join("targets").join(&name);
        assert_eq!(answer(ask(target(&name), 0, 10)), UpdateSaid::Missing);
        let content: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let mut fetched = Vec::new();
        while fetched.len() < content.len() {
            let said = answer(ask(target(&name), fetched.len() as u64, u32::MAX));
            let UpdateSaid::Piece(piece) = said else { panic!("{said:?}") };
            assert_eq!(piece.length, 100_000);
            assert!(!piece.bytes.is_empty());
            fetched.extend_from_slice(&piece.bytes);
        }
        assert_eq!(fetched, content);
        std::fs::write(&path, b"short").unwrap();
        let end = UpdateSaid::Piece(UpdatePiece { length: 5, bytes: Bytes::default() });
        assert_eq!(
            answer(ask(target(&name), 50_000, u32::MAX)),
            end,
            "whoever is in its middle sees that it is another"
        );
        // The log's own files are no metadata, and a key is nothing that anybody may ask for.
        for name in ["log/checkpoint", "checkpoint", "keys/snapshot", "../updates/metadata/timestamp.json"] {
            assert_eq!(answer(ask(UpdateFile::Metadata(Text::cut(name)), 0, 10)), UpdateSaid::Missing);
            assert_eq!(answer(ask(target(name), 0, 10)), UpdateSaid::Missing);
        }
    }

    #[test]
    fn proofs_follow_the_checkpoint() {
        let (dir, answer) = serve(u64::MAX);
        let pair = Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap();
        let key = LogKey::new("log", PublicKey(pair.public_key().as_ref().try_into().unwrap())).unwrap();
        let entries: Vec<Vec<u8>> = (1..=3).map(|version| log::entry(version, &[])).collect();
        let proof = |targets, since| answer(ask(UpdateFile::Proof(ProofWanted { targets, since }), 0, u32::MAX));
        assert_eq!(proof(1, 0), UpdateSaid::Missing);
        let mut seen = None;
        for count in [1, 3] {
            let now = &entries[..count];
            let written = repository::entries_file(now.iter().map(Vec::as_slice));
            std::fs::write(dir.path().join(repository::LOG_ENTRIES), written).unwrap();
            let note = sign::checkpoint(&key, &pair, &Tree::new(now.iter().map(Vec::as_slice)));
            std::fs::write(dir.path().join(repository::LOG_CHECKPOINT), note).unwrap();
            let since = seen.as_ref().map_or(0, |seen: &log::Checkpoint| seen.size);
            let UpdateSaid::Piece(piece) = proof(count as u64, since) else { panic!("no proof of {count}") };
            assert_eq!(piece.length, piece.bytes.len() as u64);
            seen = Some(log::check(&key, seen.as_ref(), &entries[count - 1], &piece.bytes).unwrap());
        }
        assert_eq!(proof(4, 0), UpdateSaid::Missing);
        // Somebody has lost entries: there is no proof until they are back.
        std::fs::write(dir.path().join(repository::LOG_ENTRIES), b"").unwrap();
        std::fs::write(dir.path().join(repository::LOG_CHECKPOINT), b"other").unwrap();
        assert_eq!(proof(1, 0), UpdateSaid::Missing);
    }

    #[test]
    fn whoever_is_too_many_comes_again_later() {
        let (dir, answer) = serve(1);
        std::fs::write(dir.path().join("metadata/timestamp.json"), b"{}").unwrap();
        let timestamp = || ask(UpdateFile::Metadata(Text::cut("timestamp.json")), 0, 100);
        assert!(matches!(answer(timestamp()), UpdateSaid::Piece(_)));
        let UpdateSaid::Later(later) = answer(timestamp()) else { panic!("answered at once") };
        assert_eq!((later.seconds, later.why.as_str()), (BUSY_AFTER + 7, "many boards fetch at the moment"));
    }
}
