//! What every check of a run may use: the clock, the sockets, the policy, the time that is left, and where to tell what happened.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sonde_engine::ipv6::gather::{Event, Gather};
use sonde_protocol::time::Nanos;
use tokio::sync::Semaphore;

use crate::net::clock::ClockSource;
use crate::policy::Policy;
use crate::run::Runner;

/// Questions to name servers under way at once: as many as a dead resolver may hold up without spoiling the run's time.
pub const MAX_QUESTIONS: usize = 24;

/// What a check gives up before the run's end, so that what it tells still counts.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The tools of one run.
pub struct Tools<'a> {
    /// Sockets, engines, clocks.
    pub runner: &'a Runner,
    /// What may be measured, as it was when the run began; when that changes the run is looked at again from outside.
    pub policy: Arc<Policy>,
    /// The machine's resolvers, as they were when the run began: the only ones that may be asked as such.
    pub resolvers: Vec<SocketAddr>,
    /// Room for questions.
    pub questions: Semaphore,
    /// When the run ends, whatever is under way then.
    deadline: Mutex<Nanos>,
    gather: Mutex<Gather>,
}

impl<'a> Tools<'a> {
    /// The tools of a run that ends at `deadline`.
    pub fn new(
        runner: &'a Runner,
        policy: Arc<Policy>,
        resolvers: Vec<SocketAddr>,
        gather: Gather,
        deadline: Nanos,
    ) -> Self {
        Self {
            runner,
            policy,
            resolvers,
            questions: Semaphore::new(MAX_QUESTIONS),
            deadline: Mutex::new(deadline),
            gather: Mutex::new(gather),
        }
    }

    /// This happened. What is told before the run's end counts, also when the check does not end.
    pub fn tell(&self, event: Event<'_>) {
        self.gather.lock().unwrap_or_else(PoisonError::into_inner).handle(event);
    }

    /// The machine's clocks.
    pub fn clock(&self) -> &dyn ClockSource {
        &*self.runner.clock
    }

    /// May the run send to this address? The addresses of the directory's references have been asked about before; this is
    /// for addresses that checks compute. The own gateways and resolvers are exceptions of the kind, and not asked about.
    pub fn may(&self, address: IpAddr) -> bool {
        self.policy.check_address(address).is_ok()
    }

    /// When the run ends.
    pub fn deadline(&self) -> Nanos {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run may take until then.
    pub fn set_deadline(&self, deadline: Nanos) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    /// The time for a step that may take `most`: less when the run ends before.
    pub fn limit(&self, most: Duration) -> Duration {
        most.min(self.deadline().since(self.runner.clock.monotonic()).saturating_sub(LAST_WORDS))
    }

    /// What is known so far.
    pub fn gathered<R>(&self, read: impl FnOnce(&Gather) -> R) -> R {
        read(&self.gather.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
