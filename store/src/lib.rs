//! What Sonde keeps: the *catalog* (who and what), the *results* (the data), and [`reachability`] (what is derived from results
//! about IPv6). Each is a trait with one conformance suite
//! ([`conformance`]) that every backend must pass; the embedded backends are SQLite ([`sqlite`]).
//!
//! This crate must not know about QUIC, HTTP or tokio: the methods are async so that a backend may be on another machine,
//! and the embedded ones complete when polled. Nobody else in Sonde speaks SQL.
//!
//! [`system_tags`] says what probes can do, from what they did; [`places`] where their addresses come from.
//! [`bus`] tells what has just been stored to whoever listens (the live streams).
//!
//! [`view`] decides who may see what of it (addresses, private measurements); every output goes through it.

pub mod bus;
pub mod catalog;
pub mod conformance;
pub mod places;
pub mod reachability;
pub mod results;
pub mod sqlite;
pub mod system_tags;
pub mod view;

pub use bus::Bus;
pub use catalog::Catalog;
pub use reachability::Reachability;
pub use results::Results;

/// Why the store could not do it. What callers must tell apart (not found, taken) is in the methods' results instead.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The backend failed: disk full, file damaged, server gone. The operation had no effect.
    #[error("{step}: {source}")]
    Backend {
        /// What was being done.
        step: &'static str,
        /// What the backend said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is stored cannot be read: a newer version's, or damaged.
    #[error("stored {what} cannot be read: {why}")]
    Unreadable {
        /// What it is.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// It would read more than is read for one answer; less can be asked for.
    #[error("more than {most} {what} would have to be read")]
    TooMuch {
        /// What would be read.
        what: &'static str,
        /// How many are read at most.
        most: usize,
    },
}

impl StoreError {
    /// An error of the backend during `step`.
    pub fn backend(step: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        StoreError::Backend { step, source: source.into() }
    }
}
