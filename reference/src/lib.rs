//! The reference server: what probes measure IPv6 and IPv4 reachability against.
//!
//! It answers on addresses of both families on one machine: TLS 1.3 and QUIC with a pinned key, which tell what they saw
//! of the connection, and an echo over UDP of asked sizes. What is said is [`sonde_protocol::reference`]'s; the DNS zone
//! that belongs to it is served by a name server, from the files that [`zone`] writes.
//!
//! It must not know about collectors, probes' identities, stores or measurements, and it keeps nothing about who asked: a
//! bounded memory of the last minutes, for routers' complaints and for limits, is all.
//!
//! Start reading at [`server`].

mod asked;
mod echo;
mod exchange;
pub mod key;
pub mod server;
mod shares;
mod syn;
mod sys;
mod tokens;
pub mod zone;

pub use self::server::{Bound, Config, Reference, StartError};
