//! The wire: one process that carries every frame across the lab's links, and gives each link its delay and faults.
//!
//! Per link two veth pairs end in one namespace without addresses. `lab-wire` reads all of them by AF_PACKET with kernel
//! time stamps and sends each frame on when it is due: at its receive stamp plus the link's delay. ARP, Neighbour
//! Discovery and multicast membership pass at once and undrawn, so that they use up no random numbers.
//!
//! The lab talks to it over its standard input and output, one JSON object a line: a change is in force when the reply
//! is there, and the process ends when its input closes, also when the lab is killed. This module has what both sides
//! share; [`emulator`] is the process, [`control`] the lab's side, [`log`] the record of every frame.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::topology::{Direction, Link};

pub mod control;
pub mod emulator;
pub mod log;
mod stats;

/// What a link does to frames in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LinkParams {
    /// How long a frame is under way. The machine adds some 10 µs; nothing ever takes less.
    pub delay: Duration,
    /// Share of frames that vanish, 0 to 1.
    pub loss: f64,
    /// Share of frames that arrive twice, 0 to 1.
    pub duplicate: f64,
    /// Share of frames that take `reorder_extra` longer, so that later ones overtake them, 0 to 1.
    pub reorder: f64,
    /// The extra delay of those.
    pub reorder_extra: Duration,
    /// The cable is cut: nothing passes, ARP and Neighbour Discovery included.
    pub down: bool,
}

impl LinkParams {
    /// A faultless link with this delay.
    pub fn delay(delay: Duration) -> Self {
        Self { delay, loss: 0.0, duplicate: 0.0, reorder: 0.0, reorder_extra: Duration::ZERO, down: false }
    }

    /// The same with this share of frames lost.
    pub fn with_loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// The same, cut.
    pub fn with_down(self, down: bool) -> Self {
        Self { down, ..self }
    }

    /// What is wrong with the values, if anything.
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, share) in [("loss", self.loss), ("duplicate", self.duplicate), ("reorder", self.reorder)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("{name} is {share}, not within 0 to 1"));
            }
        }
        if self.delay > MAX_DELAY || self.reorder_extra > MAX_DELAY {
            return Err(format!("a delay is longer than {MAX_DELAY:?}"));
        }
        Ok(())
    }
}

/// Longer delays are surely mistakes.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// What the process is started with: a file named on its command line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireConfig {
    pub(super) links: Vec<WireLink>,
    /// For all generators together.
    pub(super) seed: u64,
    /// Where the record of frames goes.
    pub(super) log: PathBuf,
}

/// One link and its two interfaces in the wire's namespace.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireLink {
    pub(super) link: Link,
    /// At the end named first, then at the other.
    pub(super) interfaces: [String; 2],
}

/// What the lab asks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Command {
    Set {
        link: Link,
        direction: Direction,
        params: LinkParams,
    },
    /// All generators begin anew from this seed.
    Reseed {
        seed: u64,
    },
    /// Whether frames are recorded.
    Log {
        on: bool,
    },
    /// Everything recorded so far is in the file when the reply comes.
    Flush,
    Stats,
    ResetStats,
}

/// What the process answers. The first line, unasked, is `Done`: it is ready.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Done,
    Stats(WireStats),
}

/// How exact the wire was. Look at it before trusting a timing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireStats {
    /// Frames sent on that had a delay to keep.
    pub frames: u64,
    /// Frames that vanished by the links' own loss or because one was cut.
    pub lost: u64,
    /// Frames that the kernel had no room for or would not send. More than none spoils everything measured meanwhile.
    pub failed: u64,
    /// The largest lateness, sent minus due.
    pub late_max: Duration,
    /// Lateness that half of the frames did not exceed, rounded up to a microsecond.
    pub late_median: Duration,
    /// Lateness that 99 % of the frames did not exceed, rounded up to a microsecond.
    pub late_p99: Duration,
    /// Whether the process got real-time priority.
    pub real_time: bool,
}
