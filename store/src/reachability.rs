//! IPv6 reachability of many probes together: from each probe's results to one vote an hour, from votes to counts, shares and
//! their intervals; and the trait by which they are kept ([`Reachability`]).
//!
//! A probe has one vote an hour, that of its last run which could tell ([`Record`]); runs never count as probes. A cell (a
//! country, a network, a prefix, everything) of an hour is a [`Tally`] of such records. A tally is exact at any time: a record that changes is
//! taken out as it was and put in as it is, so late runs replace what they correct, and tallies of different hours or of different
//! probes can be added ([`Cube`]). What is shown of one are its [`Figures`].
//!
//! A reference that many probes lose at once is out ([`Looks`]), and says nothing about the probes.
//!
//! But for the trait all of it is pure: no store, no clock. What the words of a vote mean is the engine's; who may see which cell is
//! [`crate::view`]'s.

mod cell;
mod cube;
mod figures;
mod hour;
mod interval;
mod kept;
mod outage;
mod packed;
mod prefix;
mod record;
mod tally;

pub use self::cell::{Cell, Cells, Country, NotACountry};
pub use self::cube::Cube;
pub use self::figures::{Certainty, Counts, Differences, Figures, Networks, PLAIN, RANKED, Share};
pub use self::hour::Hour;
pub use self::interval::{Interval, rank_interval, wilson};
pub use self::kept::{MOST_VOTES, Reachability, State};
pub use self::outage::{Looks, Outage};
pub use self::packed::PACKED;
pub use self::prefix::{NotAPrefix, Prefix, Slash24, Slash48};
pub use self::record::{Difference, Place, Record, Run, Silence, Vote};
pub use self::tally::Tally;
