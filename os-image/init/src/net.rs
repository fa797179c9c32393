//! The board's network: one wired interface, its addresses (SLAAC, DHCPv6, DHCPv4, or as the settings say), routes and resolvers, kept
//! true while cables come and go.
//!
//! It must not know of the console, the card or the probe: it is given settings and tells a [`Condition`].

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tokio::sync::watch;

pub use crate::step::Step;

/// What the host has decided about the network, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Name or hardware address (`aa:bb:cc:dd:ee:ff`) of the interface; none means the first that has a link.
    pub interface: Option<String>,
    /// The board's IPv4 address and the length of its network's prefix; none means DHCPv4.
    pub ipv4: Option<Ipv4Net>,
    /// Where IPv4 leaves the network.
    pub gateway4: Option<Ipv4Addr>,
    /// The board's IPv6 address and the length of its network's prefix; none means SLAAC and DHCPv6.
    pub ipv6: Option<Ipv6Net>,
    /// Where IPv6 leaves the network.
    pub gateway6: Option<Ipv6Addr>,
    /// Who resolves names, instead of those that the network names.
    pub resolvers: Vec<IpAddr>,
    /// The probe's exceptions to the rules about addresses (`[policy] allow`), which the packet filter also makes.
    pub allow: Vec<IpNet>,
    /// Length of the prefix around each own global IPv6 address that is the host's network (`[policy] site_prefix`).
    pub site_prefix: u8,
    /// Endpoints of collectors that the settings name by literal addresses, excepted from the packet filter.
    pub collectors: Vec<std::net::SocketAddr>,
}

/// How the network stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The cable: `eth0 up, 1000 Mb/s`.
    pub link: Step,
    /// The addresses.
    pub address: Step,
    /// Who resolves names.
    pub resolver: Step,
    /// The packet filter.
    pub filter: Step,
}

impl Default for Condition {
    fn default() -> Self {
        let nothing = || Step::Waiting(String::new());
        Self { link: nothing(), address: nothing(), resolver: nothing(), filter: nothing() }
    }
}

/// Why the network cannot be kept at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not answer about its interfaces.
    #[error("the kernel's tables of the network cannot be read")]
    Netlink(#[source] std::io::Error),
}

/// Brings the network up and keeps it so, telling how it stands whenever that changes.
///
/// # Errors
/// When the kernel does not take part; the caller may try again.
pub async fn run(_settings: Settings, tell: watch::Sender<Condition>) -> Result<Infallible, Error> {
    tell.send_modify(|condition| condition.link = Step::Waiting("no network in this build".into()));
    std::future::pending().await
}
