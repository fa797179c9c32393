//! Why a walk ended, in words that may stand on a probe's record.

use std::fmt;

use crate::hashes::Mismatch;
use crate::log::LogError;
use crate::metadata::{FormatError, MetaFile, RoleName};
use crate::moment::Moment;

/// Whose keys a file should have been signed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Those of the root that is trusted already.
    Trusted,
    /// Those that the new root itself names.
    Itself,
}

/// Why nothing new is trusted. What was trusted before still is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// The server does not have a file that has to be there.
    #[error("there is no {0}")]
    Missing(String),
    /// More bytes than may be read ("endless data").
    #[error("{file} is longer than {at_most} bytes")]
    TooLong {
        /// Its name.
        file: String,
        /// The bound.
        at_most: u64,
    },
    /// Bytes that are no metadata.
    #[error("{} cannot be read: {source}", role.file())]
    Format {
        /// Whose file it should be.
        role: RoleName,
        /// What is wrong with it.
        source: FormatError,
    },
    /// Too few valid signatures ("arbitrary software").
    #[error("{} is signed by {valid} of the {threshold} keys that {side} asks for", role.file())]
    Signatures {
        /// Whose file it is.
        role: RoleName,
        /// Distinct keys of the role that have signed.
        valid: usize,
        /// How many there must be.
        threshold: usize,
        /// Who says so.
        side: Side,
    },
    /// A root that does not follow the trusted one.
    #[error("the next root should have version {expected} and has {found}")]
    RootVersion {
        /// The trusted root's version and one.
        expected: u64,
        /// What it says.
        found: u64,
    },
    /// An older file than is trusted ("rollback").
    #[error("{file} would go back from version {trusted} to {offered}")]
    Rollback {
        /// The file.
        file: String,
        /// What is trusted.
        trusted: u64,
        /// What was offered.
        offered: u64,
    },
    /// A file that does not belong to the others ("mix and match").
    #[error("{} has version {found}, and {listed} was announced", role.file())]
    OtherVersion {
        /// Whose file it is.
        role: RoleName,
        /// What the file before it says.
        listed: u64,
        /// What it says itself.
        found: u64,
    },
    /// A file with other bytes than were announced.
    #[error("{} is not the announced one: {mismatch}", role.file())]
    NotAnnounced {
        /// Whose file it is.
        role: RoleName,
        /// The difference.
        mismatch: Mismatch,
    },
    /// A list of targets has vanished from the snapshot.
    #[error("the new snapshot no longer lists {0}")]
    Removed(String),
    /// The snapshot does not know the targets.
    #[error("the snapshot does not list targets.json")]
    NotListed,
    /// A file is past its date ("freeze").
    #[error("{} has expired at {expires}, and it is at least {now}", role.file())]
    Expired {
        /// Whose file it is.
        role: RoleName,
        /// Its date.
        expires: Moment,
        /// The latest time that anybody has vouched for.
        now: Moment,
    },
    /// The targets were not published in the log, or the log has been changed afterwards.
    #[error("the log of releases: {0}")]
    Log(#[from] LogError),
    /// Something was given that nobody had asked for; a mistake of the program.
    #[error("nothing was asked for")]
    Unasked,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trusted => "the trusted root",
            Self::Itself => "the root itself",
        })
    }
}

/// Is a file announced that is longer than anybody reads?
pub(super) fn exceeds(role: RoleName, meta: &MetaFile) -> Result<(), UpdateError> {
    match meta.length {
        Some(length) if length > role.most_bytes() => {
            Err(UpdateError::TooLong { file: role.file().to_owned(), at_most: role.most_bytes() })
        }
        _ => Ok(()),
    }
}
