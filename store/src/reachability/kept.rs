//! How votes are kept.

use async_trait::async_trait;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::time::UnixNanos;

use super::cell::{Cell, Cells};
use super::figures::Figures;
use super::hour::Hour;
use super::outage::Outage;
use super::record::Record;
use crate::StoreError;
use crate::results::Cursor;

/// How many votes of prefixes are read for one answer: those of a day of 25,000 probes. Their sums are in no memory.
pub const MOST_VOTES: usize = 600_000;

/// How things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Drawn when the store was made, so that numbers of another store's life are not taken for its own.
    pub epoch: u64,
    /// Greater after every change. As long as it stays, every answer stays.
    pub revision: u64,
    /// When the newest run began that has said anything; absent before the first.
    pub newest: Option<UnixNanos>,
}

/// The votes of all probes, and their sums. One task writes (it derives them from results); they can be derived again as long as
/// the results are kept, but for those of probes that have moved since.
///
/// Sums are those of a plain recomputation from all votes, at any time. Hours are half open: from `from` on, before `to`.
#[async_trait]
pub trait Reachability: Send + Sync {
    /// Records what probes say of an hour, instead of what they have said of it before. The same again changes nothing, not even
    /// the revision; nor does what is said of days that are not kept any more.
    async fn put(&self, hour: Hour, records: &[(ProbeId, Record)]) -> Result<(), StoreError>;

    /// Everything that was said of an hour, by probe.
    async fn votes(&self, hour: Hour) -> Result<Vec<(ProbeId, Record)>, StoreError>;

    /// What a probe has said of these hours, by hour.
    async fn votes_of(&self, probe: ProbeId, from: Hour, to: Hour) -> Result<Vec<(Hour, Record)>, StoreError>;

    /// The last that each probe has said in these hours, by probe.
    async fn newest(&self, from: Hour, to: Hour) -> Result<Vec<(ProbeId, Hour, Record)>, StoreError>;

    /// What these hours say together, for each of `cells` of which anything was said. Of prefixes, as of a prefix's hours and days
    /// below, more than [`MOST_VOTES`] are [`StoreError::TooMuch`].
    async fn sums(&self, cells: Cells, from: Hour, to: Hour) -> Result<Vec<(Cell, Figures)>, StoreError>;

    /// What each of these hours says of a cell; those in which nothing was said are left out.
    async fn hours(&self, cell: Cell, from: Hour, to: Hour) -> Result<Vec<(Hour, Figures)>, StoreError>;

    /// The same by days, each by its first hour; the days are those that begin from `from` on, before `to`. Days stay when their
    /// votes are too old to be kept, but for those of prefixes.
    async fn days(&self, cell: Cell, from: Hour, to: Hour) -> Result<Vec<(Hour, Figures)>, StoreError>;

    /// Sums up a day that has ended before `before` and has not been summed up since it changed; false when there is none.
    async fn sum_up_a_day(&self, before: Hour) -> Result<bool, StoreError>;

    /// How things stand.
    async fn state(&self) -> Result<State, StoreError>;

    /// How far results have been read.
    async fn progress(&self) -> Result<Option<Cursor>, StoreError>;

    /// Results have been read so far. What they say is kept already.
    async fn set_progress(&self, cursor: &Cursor) -> Result<(), StoreError>;

    /// Which references were out in an hour; absent while nobody has looked.
    async fn outages(&self, hour: Hour) -> Result<Option<Vec<Outage>>, StoreError>;

    /// Records which were. The votes of that hour know of it already.
    async fn set_outages(&self, hour: Hour, out: &[Outage]) -> Result<(), StoreError>;

    /// Forgets all that a probe has ever said. Days that are summed up and whose votes are not kept any more stay as they are: they
    /// name nobody.
    async fn erase(&self, probe: ProbeId) -> Result<(), StoreError>;

    /// Forgets the votes of days that have ended before this hour; those of them that are summed up stay as they are.
    async fn retain(&self, before: Hour) -> Result<(), StoreError>;
}
