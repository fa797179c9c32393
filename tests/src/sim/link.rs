//! Connections: three streams of bytes up, one down, each in order like QUIC's, with no order between them.
//!
//! A link can lose a direction for good, or hold everything back for a while. What a process had sent before it was killed
//! still arrives, if the link lives.

use super::plan::Plan;
use sonde_protocol::seed::Rng;

/// The streams of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Control, from the probe.
    Up,
    /// Frames of the fresh lane.
    Fresh,
    /// Frames of the backlog lane.
    Backlog,
    /// Control, from the collector.
    Down,
}

/// One connection.
#[derive(Debug, Clone)]
pub struct Link {
    /// Whose it is, and in which life of it.
    pub probe: (usize, u64),
    /// The collector's life.
    pub collector: u64,
    /// When the last byte of each stream arrives.
    last: [i64; 4],
    /// What is sent up from now on is lost.
    pub cut_up: bool,
    /// What is sent down, or is on its way down, is lost.
    pub cut_down: bool,
    /// What is on its way up is lost too.
    pub lost_up: bool,
    /// Nothing arrives before this.
    pub stalled: [i64; 2],
    /// Messages on each stream that are not yet taken off the sender's hands.
    pub waiting: [usize; 4],
}

impl Link {
    /// A new connection.
    pub const fn new(probe: (usize, u64), collector: u64) -> Self {
        Self {
            probe,
            collector,
            last: [0; 4],
            cut_up: false,
            cut_down: false,
            lost_up: false,
            stalled: [0; 2],
            waiting: [0; 4],
        }
    }

    /// Does the other end answer, as far as the transport goes?
    pub const fn is_alive(&self, now: i64) -> bool {
        !self.cut_up && !self.cut_down && self.stalled[0] <= now && self.stalled[1] <= now
    }

    /// When something sent now on `stream` arrives; `None` when it never does.
    pub fn arrival(&mut self, stream: Stream, now: i64, plan: &Plan, rng: &mut Rng) -> Option<i64> {
        let down = stream == Stream::Down;
        if if down { self.cut_down } else { self.cut_up } {
            return None;
        }
        // A lost packet costs a round trip.
        let lost = if rng.one_in(20) { 2 * plan.delay } else { 0 };
        let delay = plan.delay / 20 + rng.below(plan.delay.cast_unsigned()).cast_signed() + lost.min(1_000_000_000);
        let last = &mut self.last[stream as usize];
        *last = (*last).max(now + delay).max(self.stalled[usize::from(down)]);
        Some(*last)
    }
}
