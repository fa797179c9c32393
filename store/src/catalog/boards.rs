//! Boards: how their systems stand, as they told, and what their owners want of updates.

use async_trait::async_trait;
use sonde_protocol::board::{BoardState, UpdateChoice, UpdateStage};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::time::UnixNanos;

use crate::StoreError;

/// What is known of a probe's board. Of a probe that is none, nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Board {
    /// What it told last; absent when it never did.
    pub told: Option<ToldBoard>,
    /// What its owner wants; absent when the owner never said.
    pub choice: Option<UpdateChoice>,
}

/// What a board told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldBoard {
    /// When, by the server's clock.
    pub told_at: UnixNanos,
    /// What.
    pub state: BoardState,
}

/// How many boards stand alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardCount {
    /// What runs there.
    pub release: u64,
    /// What people call it.
    pub name: String,
    /// What is going on.
    pub stage: UpdateStage,
    /// How many.
    pub boards: u64,
}

/// Boards.
#[async_trait]
pub trait Boards: Send + Sync {
    /// Records how a board stands. Nothing happens when there is no such probe. When it is what is known already, nothing is written.
    async fn record_board(&self, probe: ProbeId, state: &BoardState, now: UnixNanos) -> Result<(), StoreError>;

    /// Records what an owner wants of updates. `false`: there is no such probe.
    async fn choose_updates(&self, probe: ProbeId, choice: UpdateChoice) -> Result<bool, StoreError>;

    /// What is known of some probes' boards, in their order.
    async fn boards(&self, probes: &[ProbeId]) -> Result<Vec<Board>, StoreError>;

    /// How many boards have told what, those with the highest release first. At most `limit` lines.
    async fn count_boards(&self, limit: u64) -> Result<Vec<BoardCount>, StoreError>;
}
