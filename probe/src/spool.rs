//! The spool on flash: one bounded file in the state directory, written in few, large, aligned appends.
//!
//! [`mod@format`] says how a block looks on the disk, [`keeper`] decides what is written, read and overwritten when, and [`disk`]
//! does it. What the blocks mean is the business of [`sonde_protocol::spool`]. Nothing that the file holds, and nothing that
//! happens to it, may end the probe: in the worst case it goes on in memory alone, and says so.

pub mod disk;
pub mod format;
pub mod keeper;

pub use self::disk::{Disk, FileDisk, LEAST_FREE, free};
pub use self::keeper::{Done, Job, Keeper};
