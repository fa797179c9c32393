//! The bus: what has just happened, told to whoever listens, in this process or (later) on other machines.
//!
//! It is about the present only. Whoever was not there, or did not keep up, finds what it missed in the store; so whatever
//! is told here was made durable before. [`local`] is the bus of a single process.

use std::sync::Arc;

use async_trait::async_trait;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::time::UnixNanos;

use crate::results::StoredReport;

pub mod local;

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// These reports are durable: those of one commit.
    Reports(Vec<StoredReport>),
    /// A probe has come or gone.
    Status(ProbeStatus),
}

/// A probe has come or gone, and the catalog knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeStatus {
    /// Which.
    pub probe: ProbeId,
    /// It has come; otherwise it has gone.
    pub connected: bool,
    /// When.
    pub at: UnixNanos,
    /// The collector that it was or is connected to, as people call it.
    pub controller: String,
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// An event.
    Event(Arc<Published>),
    /// So many events were dropped here, because the listener did not keep up.
    Missed(u64),
}

/// Carries events from those who make them to those who listen.
pub trait Bus: Send + Sync {
    /// Tells everybody. Never waits and never fails: that somebody listens must not hold back a commit.
    fn publish(&self, event: Arc<Published>);

    /// Begins to listen: everything that is published after this returns is heard, each publisher's events in their order,
    /// or counted as missed.
    fn subscribe(&self) -> Box<dyn Listener>;
}

/// One who listens.
#[async_trait]
pub trait Listener: Send {
    /// Waits for what comes next; `None` when the bus is gone. Dropping the future loses nothing.
    async fn next(&mut self) -> Option<Heard>;
}
