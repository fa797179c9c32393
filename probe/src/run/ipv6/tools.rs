//! What every check of a run may use: the clock, the sockets, the policy, the time that is left, and where to tell what happened.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sonde_engine::ipv6::gather::{Event, Gather};
use sonde_engine::ipv6::plan::CONNECT_TIMEOUT;
use sonde_protocol::key::PublicKey;
use sonde_protocol::reference::{Ask, Seen};
use sonde_protocol::result::ipv6::Trouble;
use sonde_protocol::time::Nanos;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use super::exchange;
use crate::net::clock::ClockSource;
use crate::policy::Policy;
use crate::run::Runner;

/// Questions to name servers under way at once: as many as a dead resolver may hold up without spoiling the run's time.
pub const MAX_QUESTIONS: usize = 24;

/// About how many packets the kernel sends for a TCP connection, for TLS with a question on it, and for a handshake of QUIC.
pub const TCP: u32 = 4;
pub const TLS: u32 = 6;
pub const QUIC: u32 = 8;

/// What of a long question or answer is a packet of ours: its bytes, or their acknowledgement.
const BYTES_A_PACKET: usize = 1000;

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
    deadline: Nanos,
    gather: Mutex<Gather>,
    /// Something was told.
    told: Notify,
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
            deadline,
            gather: Mutex::new(gather),
            told: Notify::new(),
        }
    }

    /// This happened. What is told before the run's end counts, also when the check does not end.
    pub fn tell(&self, event: Event<'_>) {
        self.gather.lock().unwrap_or_else(PoisonError::into_inner).handle(event);
        self.told.notify_waiters();
    }

    /// Waits until what was told is enough for this, or until the run's end.
    pub async fn until(&self, is_enough: impl Fn(&Gather) -> bool) {
        let enough = async {
            loop {
                let mut told = pin!(self.told.notified());
                // From here on, not from when it is first polled.
                told.as_mut().enable();
                if self.gathered(&is_enough) {
                    return;
                }
                told.await;
            }
        };
        let left: Duration = self.deadline.since(self.runner.clock.monotonic());
        let _ = timeout(left, enough).await;
    }

    /// The machine's clocks.
    pub fn clock(&self) -> &dyn ClockSource {
        &*self.runner.clock
    }

    /// Waits until the probe's pace lets so many packets go that the driver does not send itself.
    pub async fn room(&self, packets: u32) {
        self.runner.driver.room(packets).await;
    }

    /// The whole exchange with a reference over TLS ([`exchange::ask`]), within a step's time, when the pace lets it go.
    ///
    /// # Errors
    /// The step that failed, in its words.
    pub async fn ask(&self, dst: SocketAddr, key: PublicKey, question: &Ask) -> Result<Seen, Trouble> {
        let bulk = question.padding.len() + usize::from(question.want);
        self.room(TCP + TLS + u32::try_from(bulk / BYTES_A_PACKET).unwrap_or(u32::MAX)).await;
        exchange::ask(self.clock(), dst, key, question, self.limit(CONNECT_TIMEOUT)).await
    }

    /// May the run send to this address? The addresses of the directory's references have been asked about before; this is
    /// for addresses that checks compute. The own gateways and resolvers are exceptions of the kind, and not asked about.
    pub fn may(&self, address: IpAddr) -> bool {
        self.policy.check_address(address).is_ok()
    }

    /// When the run ends.
    pub const fn deadline(&self) -> Nanos {
        self.deadline
    }

    /// The time for a step that may take `most`: less when the run ends before.
    pub fn limit(&self, most: Duration) -> Duration {
        most.min(self.deadline.since(self.runner.clock.monotonic()).saturating_sub(LAST_WORDS))
    }

    /// What is known so far.
    pub fn gathered<R>(&self, read: impl FnOnce(&Gather) -> R) -> R {
        read(&self.gather.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
