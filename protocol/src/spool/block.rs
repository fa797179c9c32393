//! What a spool writes to the disk at a time: reports, and how each boot stands. CBOR, so that an older or newer program can
//! read it.
//!
//! This is the content alone. Where a block lies, how it is known to be whole and what it overwrites is the probe's business
//! (`sonde_probe::spool`); nobody sends a block over the network.

use minicbor::{Decode, Encode};

use crate::bounded::{Bytes, List};
use crate::ids::{BootId, Seq};
use crate::message::Gap;
use crate::range_set::RangeSet;
use crate::result::MAX_REPORT;
use crate::time::UnixNanos;

/// A block's number: each is one higher than that of the block written before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u64);

/// The most reports in one block.
pub const MAX_BLOCK_REPORTS: usize = 1024;

/// A block is closed once its reports have this many bytes.
pub const BLOCK_BYTES: usize = 48 * 1024;

/// The most boots that a spool holds something of. More mean that the probe starts over and over, and the oldest go.
pub const MAX_KEPT_BOOTS: usize = 16;

/// The most gaps of one boot that a block tells of. There are more only when something is very wrong, and what is not told
/// ends as damage.
pub const MAX_KEPT_GAPS: usize = 32;

/// The most ranges of durable numbers of one boot that a block tells of. What is not told is asked of the collector.
pub const MAX_KEPT_RANGES: usize = 16;

/// The greatest size of a block's content: the greatest report, and a full set of states.
pub const MAX_BLOCK: usize = MAX_REPORT + 64 * 1024 - 4096;

/// Reports of one boot, and how all boots stood when they were written.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Block {
    /// The boot that made the reports.
    #[n(0)]
    pub boot: BootId,
    /// The reports, by number.
    #[n(1)]
    pub reports: List<KeptReport, MAX_BLOCK_REPORTS>,
    /// Every boot in the spool. The newest block's word counts.
    #[n(2)]
    pub states: List<BootState, MAX_KEPT_BOOTS>,
    /// The machine's clock when it was written.
    #[n(3)]
    pub written_at: UnixNanos,
}

/// A report on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KeptReport {
    /// Its number.
    #[n(0)]
    pub seq: Seq,
    /// Its bytes.
    #[n(1)]
    pub bytes: Bytes<MAX_REPORT>,
    /// The due times that it accounts for: from this …
    #[n(2)]
    pub from: UnixNanos,
    /// … for so many nanoseconds.
    #[n(3)]
    pub length: u64,
    /// Every run due before this is accounted for by this report or an earlier one.
    #[n(4)]
    pub settled: UnixNanos,
}

/// How a boot stands.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BootState {
    /// The boot.
    #[n(0)]
    pub boot: BootId,
    /// Everything with a lower number is in this block or an earlier one, was durable, or lies in a gap.
    #[n(1)]
    pub next: Seq,
    /// Numbers that a collector has called durable: not necessarily all of them.
    #[n(2)]
    pub durable: RangeSet,
    /// Gaps that are not yet durable.
    #[n(3)]
    pub gaps: List<Gap, MAX_KEPT_GAPS>,
    /// When it began, as a collector told it.
    #[n(4)]
    pub started_at: Option<UnixNanos>,
    /// It was stopped in order, and nothing was started since this time. Absent while it runs.
    #[n(5)]
    pub closed_at: Option<UnixNanos>,
    /// What its last report said is settled.
    #[n(6)]
    pub settled: UnixNanos,
    /// No report that it has made accounts for a due time at or after this.
    #[n(7)]
    pub until: UnixNanos,
}
