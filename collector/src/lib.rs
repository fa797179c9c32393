//! The collector: lets probes in, gives them their orders, and makes what they report durable before it says so.
//!
//! This crate must not know about HTTP or SQL, of JSON no more than `sonde_update` reads of a list of releases, and not how a probe
//! measures. What is said and when is decided by the state machines in `sonde_protocol::session` and here in [`intake`], [`admission`],
//! [`clones`] and [`door`], which are pure; [`server`], `connection`, `link` and [`ingest`] are the shell of QUIC, TLS and threads around
//! them. [`releases`] gives boards their updates. Start reading at [`server`].

pub mod admission;
pub mod clones;
mod connection;
pub mod door;
mod enrol;
pub mod ingest;
pub mod intake;
mod link;
pub mod network;
mod quic;
pub mod releases;
pub mod server;
pub mod tls;

pub use network::Network;
pub use releases::ReleasesConfig;
pub use server::{Collector, CollectorConfig, Enrol};
