//! Garbage to every door of the real programs: the collector's QUIC port, the API's HTTP port, the one for TLS that
//! both share, the sockets for
//! administration and status, and every file that is read. Each time the one who sent it gets a clear answer, no process
//! dies or grows, and a probe that means well does not notice.

#![expect(clippy::unwrap_used, reason = "an error must end the test")]

mod admission;
mod files;
mod ground;
mod handshake;
mod http;
mod initial;
mod local_sockets;
mod over_tls;
mod peer;
mod streams;
mod updates;
