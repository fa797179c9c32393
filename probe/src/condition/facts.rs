//! What a look at the network gave, before anybody makes sense of it.

use std::net::{IpAddr, SocketAddr};

use sonde_protocol::net::Family;

/// How somebody answers a ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ping {
    /// Nobody asked, or nobody may.
    #[default]
    NotTried,
    /// It answers.
    Answers,
    /// It does not.
    Silent,
}

/// How a resolver answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// It answers, be it that there is no such name.
    Answers,
    /// It answers that it cannot, or will not.
    Error(String),
    /// It does not answer.
    Silent,
}

/// Where a name leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leads {
    /// To these addresses.
    To(Vec<IpAddr>),
    /// There is no such name, or it has no address, say the resolvers.
    Nowhere,
    /// Nobody told.
    Unknown,
}

/// Who answers at an address by QUIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quic {
    /// Nobody asked.
    #[default]
    NotTried,
    /// A collector of the network.
    Ours,
    /// Somebody with another key.
    OtherKey,
    /// Nobody.
    Silent,
}

/// What becomes of a small UDP packet to a port where nobody listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Udp {
    /// Nobody tried.
    #[default]
    NotTried,
    /// The host says that nobody listens there: it has arrived.
    Passes,
    /// Nothing comes back.
    Nothing,
}

/// One address family of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FamilyFacts {
    /// There is an address to reach the internet from.
    pub address: bool,
    /// There is a route to the internet, and an address.
    pub route: bool,
    /// The routers that the route leads to.
    pub gateways: Vec<(IpAddr, Ping)>,
}

/// One of the host's resolvers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolverFacts {
    /// Where it is.
    pub address: SocketAddr,
    /// It is on a link of this machine, so it says nothing of the internet.
    pub near: bool,
    /// How it answers a question.
    pub answer: Asked,
    /// When it does not: whether it takes a TCP connection.
    pub tcp: Option<bool>,
    /// When it does not: whether it answers a ping.
    pub ping: Ping,
}

/// The name of a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameFacts {
    /// The name.
    pub name: String,
    /// Where it leads.
    pub leads: Leads,
}

/// An address of a collector, by name, as a literal, or as it was last reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorFacts {
    /// The address.
    pub address: SocketAddr,
    /// Who answers there.
    pub quic: Quic,
    /// Its host answers a small ping.
    pub ping: Ping,
    /// Its host answers a large ping.
    pub large: Ping,
    /// The largest packet that came back, when the large ping did not, in bytes.
    pub largest: Option<usize>,
    /// Whether UDP passes.
    pub udp: Udp,
}

impl CollectorFacts {
    /// An address that nothing is known of yet.
    pub const fn new(address: SocketAddr) -> Self {
        Self {
            address,
            quic: Quic::NotTried,
            ping: Ping::NotTried,
            large: Ping::NotTried,
            largest: None,
            udp: Udp::NotTried,
        }
    }

    /// Something came back from there.
    pub fn answers(&self) -> bool {
        matches!(self.quic, Quic::Ours | Quic::OtherKey)
            || self.ping == Ping::Answers
            || self.large == Ping::Answers
            || self.udp == Udp::Passes
    }
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The interfaces but loopback, and whether they have a link.
    pub links: Vec<(String, bool)>,
    /// IPv4 and IPv6.
    pub families: [FamilyFacts; 2],
    /// The host's resolvers.
    pub resolvers: Vec<ResolverFacts>,
    /// The network whose collectors are to be reached is known.
    pub network: bool,
    /// A collector is connected to by TLS over TCP.
    pub by_tls: bool,
    /// The names among the collectors' addresses.
    pub names: Vec<NameFacts>,
    /// The collectors' addresses, as far as they are known.
    pub collectors: Vec<CollectorFacts>,
}

impl Facts {
    /// What is known of a family.
    pub const fn family(&self, family: Family) -> &FamilyFacts {
        match family {
            Family::V4 => &self.families[0],
            Family::V6 => &self.families[1],
        }
    }
}
