//! How the board stands, as it is told.

use sonde_protocol::board::{LogHead, MAX_WORDS, UpdateStage};
use sonde_protocol::bounded::Text;
use sonde_protocol::time::UnixNanos;

/// Where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stand {
    pub(super) stage: UpdateStage,
    pub(super) release: Option<u64>,
    pub(super) words: Text<MAX_WORDS>,
    pub(super) checked_at: Option<UnixNanos>,
    pub(super) log: Option<LogHead>,
}

impl Stand {
    pub(super) fn new(stage: UpdateStage, release: Option<u64>, words: &str) -> Self {
        Self { stage, release, words: Text::cut(words), checked_at: None, log: None }
    }

    /// Another stage; what was seen last stays.
    pub(super) fn set(&mut self, stage: UpdateStage, release: Option<u64>, words: &str) {
        (self.stage, self.release, self.words) = (stage, release, Text::cut(words));
    }
}
