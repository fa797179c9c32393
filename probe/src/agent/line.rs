//! Watches the host's line: when something periodic is about to be due, and every few seconds at most.

use std::future::Future;
use std::time::Duration;

use sonde_protocol::time::{Nanos, UnixNanos};
use tokio::task::JoinHandle;
use tracing::{debug, info};

use super::Agent;
use crate::local::traffic;
use crate::policy::quiet::{Busy, Counters, LOOK_EVERY, LineWatch};
use crate::scheduler::Scheduler;

/// What the agent knows of the line.
#[derive(Debug, Default)]
pub(super) struct Line {
    watch: LineWatch,
    /// Bytes of runs that have ended, in both directions.
    own: u64,
    /// The question to the first hop; its answer belongs to the next look.
    asking: Option<JoinHandle<Option<Duration>>>,
}

impl Line {
    /// Why it is busy, if it is.
    pub(super) fn busy(&self, now: Nanos) -> Option<Busy> {
        self.watch.busy(now)
    }

    /// A run has ended that cost so many bytes at most.
    pub(super) fn spent(&mut self, bytes: u64) {
        self.own = self.own.saturating_add(bytes);
    }
}

impl Agent {
    fn watches_line(&self) -> bool {
        let quiet = &self.config.quiet;
        (quiet.busy_mbits > 0 || quiet.first_hop_ms > 0) && !self.local.uplinks().is_empty()
    }

    /// How long to sleep when something is due in `due`: a look before says what goes on when it is.
    pub(super) fn look_before(&self, now: Nanos, due: Duration) -> Duration {
        let ahead = due.saturating_sub(LOOK_EVERY);
        let next_look = self.line.watch.look_at().map_or(Duration::ZERO, |at| at.since(now));
        if self.watches_line() && ahead > Duration::ZERO && ahead >= next_look { ahead } else { due }
    }

    /// Looks, if something is due soon and the last look is some time ago.
    pub(super) fn watch_line(&mut self, now: Nanos, wall: UnixNanos) {
        let due = self.scheduler.as_ref().and_then(Scheduler::next_wake);
        // A little more than the sleep before, which may end early.
        let is_due_soon = due.is_some_and(|due| due.since(wall) <= LOOK_EVERY + LOOK_EVERY / 8);
        if !self.watches_line() || !is_due_soon || self.line.watch.look_at().is_some_and(|at| at > now) {
            return;
        }
        let passed = match traffic::passed(self.local.uplinks()) {
            Ok(passed) => passed,
            Err(error) => {
                debug!(%error, "the interfaces do not tell what passed them");
                0
            }
        };
        let answered = self.line.asking.take_if(|asking| asking.is_finished());
        // It is finished, so nothing waits here.
        let rtt = answered.and_then(now_or_never).flatten();
        let quiet = self.config.quiet;
        let before = self.line.busy(now).is_some();
        self.line.watch.look(&quiet, now, Counters { passed, own: self.line.own }, rtt);
        match self.line.busy(now) {
            Some(busy) if !before => info!(%busy, "the line is busy: periodic measurements wait"),
            None if before => info!("the line is quiet again"),
            _ => {}
        }
        if quiet.first_hop_ms > 0
            && self.line.asking.is_none()
            && let Some(hop) = self.local.first_hop()
        {
            let runner = self.runner.clone();
            self.line.asking = Some(tokio::spawn(async move { runner.first_hop(hop).await }));
        }
    }
}

/// The output of a task that has finished; `None` for one that has not, or that died.
fn now_or_never<T>(task: JoinHandle<T>) -> Option<T> {
    let mut task = std::pin::pin!(task);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match task.as_mut().poll(&mut context) {
        std::task::Poll::Ready(output) => output.ok(),
        std::task::Poll::Pending => None,
    }
}
