//! What a board's operating system and its network say to each other about updates. The probe stands between them: it has the
//! connection, the system has the trust. What the probe passes on it neither checks nor needs to: a hijacked one can hold updates back,
//! and that is all.
//!
//! The system asks ([`UpdateAsk`]) for the files of the network's release repository, piece by piece, and the collector answers
//! ([`UpdateAnswer`]). The system says what runs and what became of each update ([`BoardState`]); the owner says what he wants
//! ([`UpdateChoice`]). This module must not know signatures, slots or roll-outs: it is shapes alone.

use minicbor::{Decode, Encode};

use crate::bounded::{Bytes, List, Text};
use crate::time::UnixNanos;

/// The most bytes of a file in one answer: a report that waits behind it waits a moment only.
pub const MAX_PIECE: usize = 32 * 1024;

/// The longest name of a file. A hash, a release and a folder fit.
pub const MAX_FILE_NAME: usize = 200;

/// The longest words about an update.
pub const MAX_WORDS: usize = 200;

/// The most attempts that a board tells of.
pub const MAX_ATTEMPTS: usize = 8;

/// The greatest size of one message between the board's system and the probe: an answer fits.
pub const MAX_MESSAGE: usize = MAX_PIECE + 1024;

/// Asks for a piece of a file.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct UpdateAsk {
    /// The answer has the same.
    #[n(0)]
    pub id: u32,
    /// Which file.
    #[n(1)]
    pub file: UpdateFile,
    /// The first byte wanted.
    #[n(2)]
    pub offset: u64,
    /// How many bytes are wanted at most; never more than [`MAX_PIECE`] come.
    #[n(3)]
    pub at_most: u32,
}

/// A file of the release repository.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum UpdateFile {
    /// TUF's metadata by its name, such as `2.root.json`.
    #[n(0)]
    Metadata(#[n(0)] Text<MAX_FILE_NAME>),
    /// A release's image by its name, which begins with its hash.
    #[n(1)]
    Target(#[n(0)] Text<MAX_FILE_NAME>),
    /// The proof that the log of releases holds the targets of a version, and continues the log as it was at a size.
    #[n(2)]
    Proof(#[n(0)] ProofWanted),
}

/// Which proof of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ProofWanted {
    /// The version of the targets.
    #[n(0)]
    pub targets: u64,
    /// The size of the log that was seen last; 0 for none.
    #[n(1)]
    pub since: u64,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct UpdateAnswer {
    /// As it was asked.
    #[n(0)]
    pub id: u32,
    /// What is said.
    #[n(1)]
    pub said: UpdateSaid,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum UpdateSaid {
    /// A piece.
    #[n(0)]
    Piece(#[n(0)] UpdatePiece),
    /// There is no such file.
    #[n(1)]
    Missing,
    /// Not now.
    #[n(2)]
    Later(#[n(0)] UpdateLater),
}

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct UpdatePiece {
    /// The length of the whole file in bytes.
    #[n(0)]
    pub length: u64,
    /// The bytes from the offset on; none at or beyond the end.
    #[n(1)]
    pub bytes: Bytes<MAX_PIECE>,
}

/// Not now: the collector is busy, or has stopped the release.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct UpdateLater {
    /// Seconds until it is worth asking again.
    #[n(0)]
    pub seconds: u32,
    /// Why, for people.
    #[n(1)]
    pub why: Text<MAX_WORDS>,
}

/// What the owner wants of updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub enum UpdateChoice {
    /// Take them as they come.
    #[default]
    #[n(0)]
    Follow,
    /// Take them so many seconds after their release.
    #[n(1)]
    Delay(#[n(0)] u64),
    /// Go to the release with this number and stay there.
    #[n(2)]
    Pin(#[n(0)] u64),
    /// Take none.
    #[n(3)]
    Refuse,
}

/// How a board stands. It says so after each welcome and whenever it changes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BoardState {
    /// The number of the release that runs.
    #[n(0)]
    pub running: u64,
    /// What people call it, `0.4.1`.
    #[n(1)]
    pub name: Text<32>,
    /// What is going on.
    #[n(2)]
    pub stage: UpdateStage,
    /// The release that the stage is about, if it is about one.
    #[n(3)]
    pub release: Option<u64>,
    /// The stage in words: why it waits, what failed.
    #[n(4)]
    pub words: Text<MAX_WORDS>,
    /// What became of the releases that were tried here, the latest last.
    #[n(5)]
    pub attempts: List<UpdateAttempt, MAX_ATTEMPTS>,
    /// What the owner wants, as it is in force here.
    #[n(6)]
    pub choice: UpdateChoice,
    /// When the network's files were last seen in order.
    #[n(7)]
    pub checked_at: Option<UnixNanos>,
    /// The log of releases as this board knows it, so that whoever compares boards sees whether they are shown the same one.
    #[n(8)]
    pub log: Option<LogHead>,
}

/// The head of the log of releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogHead {
    /// How many entries.
    #[n(0)]
    pub size: u64,
    /// The hash over all of them (RFC 9162, section 2.1.1).
    #[cbor(n(1), with = "minicbor::bytes")]
    pub root: [u8; 32],
}

/// What is going on with updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum UpdateStage {
    /// The image knows no root, so it never takes an update.
    #[n(0)]
    None,
    /// Nothing has been looked at yet.
    #[n(1)]
    Unknown,
    /// There is nothing newer for this board.
    #[n(2)]
    Newest,
    /// There is, and it waits: for its time, its turn, or the owner.
    #[n(3)]
    Waiting,
    /// There is, and it will not be installed unless somebody decides otherwise.
    #[n(4)]
    Refused,
    /// The network's files are not in order: expired, older than before, or not signed by who should have.
    #[n(5)]
    Untrusted,
    /// It is being fetched.
    #[n(6)]
    Fetching,
    /// It is on the card, and the board is about to start again with it.
    #[n(7)]
    Installed,
    /// The release that runs is on trial: it has not been kept yet.
    #[n(8)]
    Trial,
    /// The card or the board's boot loader takes no update.
    #[n(9)]
    Broken,
}

impl UpdateStage {
    /// A word for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unknown => "unknown",
            Self::Newest => "newest",
            Self::Waiting => "waiting",
            Self::Refused => "refused",
            Self::Untrusted => "untrusted",
            Self::Fetching => "fetching",
            Self::Installed => "installed",
            Self::Trial => "trial",
            Self::Broken => "broken",
        }
    }
}

/// A release that was installed here, or was to be.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct UpdateAttempt {
    /// Its number.
    #[n(0)]
    pub release: u64,
    /// What became of it.
    #[n(1)]
    pub outcome: UpdateOutcome,
    /// Why, in words.
    #[n(2)]
    pub words: Text<MAX_WORDS>,
    /// When that was known, by the board's clock.
    #[n(3)]
    pub at: UnixNanos,
}

/// What became of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum UpdateOutcome {
    /// It is on the card; whether it comes up is not known yet.
    #[n(0)]
    Installed,
    /// It reached its collector and was kept.
    #[n(1)]
    Kept,
    /// It was tried and did not reach its collector; the old one runs again.
    #[n(2)]
    FellBack,
    /// It was fetched, and what came was not what was announced, or the card did not take it.
    #[n(3)]
    NotInstalled,
}

impl UpdateOutcome {
    /// A word for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Kept => "kept",
            Self::FellBack => "fell-back",
            Self::NotInstalled => "not-installed",
        }
    }
}

/// From the board's system to its probe, a datagram each.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum FromSystem {
    /// To be asked, once: nothing is repeated if the connection breaks.
    #[n(0)]
    Ask(#[n(0)] UpdateAsk),
    /// To be told, on each connection, until there is a newer one.
    #[n(1)]
    State(#[n(0)] BoardState),
}

/// From the probe to the board's system, a datagram each.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ToSystem {
    /// What the collector answered.
    #[n(0)]
    Answer(#[n(0)] UpdateAnswer),
    /// Whether the collector can be asked now. Whatever was asked before a `false` is not answered any more.
    #[n(1)]
    Connected(#[n(0)] bool),
    /// What the owner wants, as the network knows it.
    #[n(2)]
    Choice(#[n(0)] UpdateChoice),
}
