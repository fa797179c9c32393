//! What is kept from run to run: the verdicts that runs are settling, and the last wish for another look. How it outlives the
//! process is not known here.

use sonde_engine::ipv6::hysteresis::Confirm;
use sonde_protocol::result::ipv6::Memory;
use sonde_protocol::spec::Ipv6Scope;

/// A run has ended that had a say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmed {
    /// Another look is wanted.
    pub again: Option<Confirm>,
    /// What the run looked at.
    pub scope: Ipv6Scope,
}

/// What is being settled.
#[derive(Debug, Clone, Default)]
pub struct Settling {
    /// What is known of both families.
    pub memory: Memory,
    news: Option<Confirmed>,
}

impl Settling {
    /// With what an earlier process knew.
    pub fn new(memory: Memory) -> Self {
        Self { memory, news: None }
    }

    /// A run had a say.
    pub(super) fn note(&mut self, again: Option<Confirm>, scope: Ipv6Scope) {
        self.news = Some(Confirmed { again, scope });
    }

    /// What the last run wants, once.
    pub fn take_news(&mut self) -> Option<Confirmed> {
        self.news.take()
    }
}
