//! The packet filter (nf_tables): what leaves the board by the probe's user, and what may come in. It must not know where the
//! resolvers come from.

use std::io;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// What the rules are made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// The probe's user, whose packets they are about.
    pub user: u32,
    /// May be asked at 53 and 853.
    pub resolvers: Vec<IpAddr>,
    /// Collectors by literal addresses.
    pub collectors: Vec<SocketAddr>,
    /// The host's exceptions.
    pub allow: Vec<IpNet>,
    /// Networks beside the special ones that the probe leaves alone: its neighbours.
    pub neighbours: Vec<IpNet>,
}

/// Puts the rules into the kernel, all at once, in the place of earlier ones.
///
/// # Errors
/// When the kernel does not take them.
pub fn apply(_rules: &Rules) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
