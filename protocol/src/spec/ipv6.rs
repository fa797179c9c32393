//! The definition of `ipv6`.

use minicbor::{Decode, Encode};

/// How much a run looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(index_only)]
pub enum Ipv6Scope {
    /// Addresses, routes, names, translators, connections in pairs: seconds and some hundred small packets.
    #[n(0)]
    #[default]
    Light,
    /// Also sizes, pieces, headers and ICMP, both ways: up to a minute.
    #[n(1)]
    Full,
}

impl Ipv6Scope {
    /// Its word in definitions and results.
    pub const fn name(self) -> &'static str {
        match self {
            Ipv6Scope::Light => "light",
            Ipv6Scope::Full => "full",
        }
    }

    /// Reads [`Ipv6Scope::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Ipv6Scope::Light, Ipv6Scope::Full].into_iter().find(|scope| scope.name() == name)
    }
}

/// `ipv6`: what both address families are worth to the probe. Ours, not Atlas's. It has no target: the references are those
/// of the network's signed directory, so that no order can aim it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Ipv6Spec {
    /// How much it looks at.
    #[n(0)]
    pub scope: Ipv6Scope,
}

impl Ipv6Spec {
    /// The packets of a light run at most. Plans are made to fit, so that caps and prices can go by it.
    pub const LIGHT_PACKETS: u32 = 1000;

    /// The packets of a full run at most.
    pub const FULL_PACKETS: u32 = 3000;

    /// The greatest number of packets one run sends.
    pub const fn packets_at_most(&self) -> u32 {
        match self.scope {
            Ipv6Scope::Light => Self::LIGHT_PACKETS,
            Ipv6Scope::Full => Self::FULL_PACKETS,
        }
    }

    /// The payload bytes of a packet, on average: questions and handshakes, and in full runs packets of all sizes.
    pub const fn packet_size(&self) -> u32 {
        match self.scope {
            Ipv6Scope::Light => 200,
            Ipv6Scope::Full => 700,
        }
    }
}
