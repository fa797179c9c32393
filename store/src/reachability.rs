//! IPv6 reachability of many probes together: from each probe's results to one vote an hour, from votes to counts, shares and
//! their intervals. Pure: no store, no clock; whoever keeps the records calls it.
//!
//! A probe has one vote an hour, that of its last run which could tell ([`Record`]); runs never count as probes. A cell (a
//! country, a network, everything) of an hour is a [`Tally`] of such records. A tally is exact at any time: a record that changes is
//! taken out as it was and put in as it is, so late runs replace what they correct, and tallies of different hours or of different
//! probes can be added.
//!
//! What the words of a vote mean is the engine's; who may see which cell is [`crate::view`]'s.

mod interval;
mod record;
mod tally;

pub use self::interval::{Interval, rank_interval, wilson};
pub use self::record::{Difference, Record, Run, Vote};
pub use self::tally::{Certainty, Networks, Tally};
