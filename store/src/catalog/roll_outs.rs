//! What becomes of releases on the boards that fetched them, and which releases were stopped because of that.

use std::time::Duration;

use async_trait::async_trait;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::time::UnixNanos;

use crate::StoreError;

/// A board that has not come back for so long is lost. A release that does not reach its collector is tried three times for ten minutes,
/// which ends a little later: such a board counts as lost first, and as having come back with another when it says so.
pub const LOST_AFTER: Duration = Duration::from_secs(30 * 60);

/// Whoever fetched before this and has not come back `now` is lost.
pub fn lost_before(now: UnixNanos) -> UnixNanos {
    UnixNanos(now.0.saturating_sub(i64::try_from(LOST_AFTER.as_nanos()).unwrap_or(i64::MAX)))
}

/// What became of a release on a board that fetched it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// The board came back and runs it, or a later one.
    Well,
    /// It came back with another.
    Badly,
    /// It was not installed, so nothing could become of it.
    NotInstalled,
}

/// A release that a board has fetched to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    /// Its number.
    pub release: u64,
    /// When it was fetched.
    pub at: UnixNanos,
    /// What became of it; absent while nobody knows.
    pub came: Option<Came>,
}

/// How many boards a release has been fetched by, and what became of it there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RollOutCounts {
    /// Boards that came back with it.
    pub well: u64,
    /// Boards that came back with another.
    pub badly: u64,
    /// Boards that did not come back in time.
    pub lost: u64,
    /// Boards that have time left.
    pub out: u64,
}

/// Why and when a release was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseStop {
    /// When.
    pub stopped_at: UnixNanos,
    /// In words.
    pub why: String,
    /// When the operator went on; absent while it is stopped.
    pub resumed_at: Option<UnixNanos>,
}

/// How a release does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollOut {
    /// Its number.
    pub release: u64,
    /// The boards that fetched it since the operator went on, or ever.
    pub counts: RollOutCounts,
    /// The last time that it was stopped.
    pub stop: Option<ReleaseStop>,
}

impl RollOut {
    /// Why it is stopped, if it is.
    pub fn stopped(&self) -> Option<&str> {
        self.stop.as_ref().filter(|stop| stop.resumed_at.is_none()).map(|stop| stop.why.as_str())
    }
}

/// Roll-outs of releases.
#[async_trait]
pub trait RollOuts: Send + Sync {
    /// A board has fetched a release to its end. What was known of that release there is forgotten, unless it came well. Nothing happens
    /// when there is no such probe.
    async fn release_fetched(&self, release: u64, probe: ProbeId, at: UnixNanos) -> Result<(), StoreError>;

    /// What a board has fetched, the highest release first.
    async fn releases_of(&self, probe: ProbeId) -> Result<Vec<Fetched>, StoreError>;

    /// What became of a release on a board. Nothing happens when it was not fetched there.
    async fn release_came(&self, release: u64, probe: ProbeId, came: Came) -> Result<(), StoreError>;

    /// How releases do, the highest number first, at most `limit`. Who fetched before `lost_before` and has not come back is lost.
    async fn roll_outs(&self, lost_before: UnixNanos, limit: u64) -> Result<Vec<RollOut>, StoreError>;

    /// How one release does; nothing is known of one that nobody fetched.
    async fn roll_out(&self, release: u64, lost_before: UnixNanos) -> Result<RollOut, StoreError>;

    /// Stops a release.
    async fn stop_release(&self, release: u64, why: &str, at: UnixNanos) -> Result<(), StoreError>;

    /// Goes on with a release. From then on its boards are counted anew. `false`: it is not stopped.
    async fn resume_release(&self, release: u64, at: UnixNanos) -> Result<bool, StoreError>;
}
