//! What both ends of Sonde agree on: identifiers, units, measurement definitions, results, which addresses nobody may
//! measure, the messages between probe and collector, and both sides' session logic as pure state machines.
//!
//! This crate must not know about sockets, clocks, files, threads or randomness: time, bytes and seeds are arguments.
//! It is `no_std`, so the compiler holds it to that. The one exception is the feature `tls` (configurations for rustls and
//! Ed25519 by ring), which the programs switch on and the engines do not; the feature `atlas` adds the RIPE Atlas JSON
//! form of results.
//!
//! Start reading at [`message`] (what is said), then [`session`] (who says it when), [`spec`] and [`result`] (what about).

#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(any(feature = "tls", test))]
extern crate std;

pub mod address;
pub mod adverts;
#[cfg(feature = "atlas")]
pub mod atlas;
pub mod board;
pub mod bounded;
pub mod condition;
pub mod directory;
pub mod identity;
pub mod ids;
pub mod key;
pub mod lanes;
pub mod message;
pub mod net;
pub mod order;
pub mod packet_filter;
pub mod range_set;
pub mod reference;
pub mod result;
pub mod schedule;
pub mod seed;
pub mod session;
pub mod spec;
pub mod spool;
pub mod time;
#[cfg(feature = "tls")]
pub mod tls;
pub mod wire;
