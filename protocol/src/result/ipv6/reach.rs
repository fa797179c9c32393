//! What was reached: connections in pairs, echoes, translators, the choice of addresses.

use core::net::IpAddr;

use minicbor::{Decode, Encode};

use super::words::words;
use crate::address::Nat64Prefix;
use crate::bounded::{List, Text};
use crate::net::{Family, Ip, Transport};

/// The most targets of one run.
pub const MAX_TARGETS: usize = 32;

words! {
    /// How something failed.
    TroubleKind, else Other;
    /// Otherwise.
    Other = 0 "failed",
    /// Silence, at every try.
    Timeout = 1 "timeout",
    /// Refused by the other end (`ECONNREFUSED`).
    Refused = 2 "connection refused",
    /// Ended by the other end (`ECONNRESET`).
    Reset = 3 "connection reset",
    /// The machine has no route (`ENETUNREACH`).
    NoRoute = 4 "network unreachable",
    /// The machine has no address to use (`EADDRNOTAVAIL`).
    NoAddress = 5 "address not available",
    /// An ICMP error came.
    Icmp = 6 "icmp error",
    /// The machine forbids it (`EPERM`, `EACCES`).
    Forbidden = 7 "not permitted",
    /// Somebody else answers: the key is not the reference's.
    WrongKey = 8 "wrong key",
    /// What came made no sense.
    Malformed = 9 "malformed",
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub struct Trouble {
    /// How.
    #[n(0)]
    pub kind: TroubleKind,
    /// Type of an ICMP error.
    #[n(1)]
    pub icmp_type: Option<u8>,
    /// Its code.
    #[n(2)]
    pub icmp_code: Option<u8>,
    /// Who sent it.
    #[n(3)]
    pub from: Option<Ip>,
}

impl From<TroubleKind> for Trouble {
    fn from(kind: TroubleKind) -> Self {
        Self { kind, icmp_type: None, icmp_code: None, from: None }
    }
}

/// One thing that was tried. What was not tried is absent, which is never the same as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Attempt {
    /// It worked after so many nanoseconds.
    #[n(0)]
    Done(#[n(0)] u64),
    /// It failed.
    #[n(1)]
    Failed(#[n(0)] Trouble),
}

impl Attempt {
    /// Did it work?
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    /// Nanoseconds, if it worked.
    pub const fn time(&self) -> Option<u64> {
        match self {
            Self::Done(nanos) => Some(*nanos),
            Self::Failed(_) => None,
        }
    }

    /// What went wrong, if it did not.
    pub const fn trouble(&self) -> Option<&Trouble> {
        match self {
            Self::Done(_) => None,
            Self::Failed(trouble) => Some(trouble),
        }
    }
}

/// A machine that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Target {
    /// Its name.
    #[n(0)]
    pub name: Text<64>,
    /// A reference of the network's own; otherwise a third party, for breadth.
    #[n(1)]
    pub is_reference: bool,
    /// Its IPv4 address.
    #[n(2)]
    pub v4: Option<Ip>,
    /// Its IPv6 address.
    #[n(3)]
    pub v6: Option<Ip>,
}

/// Connections to one target over both families, begun at nearly the same time.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Pair {
    /// The target, by its place among the targets.
    #[n(0)]
    pub target: u8,
    /// Nanoseconds between the two beginnings.
    #[n(1)]
    pub gap: u64,
    /// One for each family, in the order in which they began.
    #[n(2)]
    pub connects: List<Connect, 2>,
}

/// A connection over one family.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Connect {
    /// The family.
    #[n(0)]
    pub af: Family,
    /// Where to.
    #[n(1)]
    pub dst: Ip,
    /// The own address.
    #[n(2)]
    pub src: Option<Ip>,
    /// The address that the target saw, as it told.
    #[n(3)]
    pub seen: Option<Ip>,
    /// The TCP connection.
    #[n(4)]
    pub tcp: Option<Attempt>,
    /// TLS with the reference's key, counted from the beginning.
    #[n(5)]
    pub tls: Option<Attempt>,
    /// A QUIC handshake with that key.
    #[n(6)]
    pub quic: Option<Attempt>,
    /// SYN packets that were sent again.
    #[n(7)]
    pub retransmits: Option<u32>,
    /// The maximum segment size that the target saw.
    #[n(8)]
    pub mss_seen: Option<u16>,
}

impl Connect {
    /// What went wrong, wherever it did.
    pub fn troubles(&self) -> impl Iterator<Item = &Trouble> {
        [&self.tcp, &self.tls, &self.quic].into_iter().flatten().filter_map(Attempt::trouble)
    }
}

/// Echoes of a small packet, over ICMP or UDP.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Echo {
    /// The target, by its place among the targets.
    #[n(0)]
    pub target: u8,
    /// The family.
    #[n(1)]
    pub af: Family,
    /// ICMP or UDP.
    #[n(2)]
    pub protocol: Transport,
    /// Packets sent.
    #[n(3)]
    pub sent: u32,
    /// Answers.
    #[n(4)]
    pub received: u32,
    /// The least time to an answer, nanoseconds.
    #[n(5)]
    pub rtt: Option<u64>,
    /// What went wrong last, when it was not silence.
    #[n(6)]
    pub trouble: Option<Trouble>,
}

impl Nat64Told {
    /// The prefix to compute with; absent when its length is none that RFC 6052 allows.
    pub fn prefix(&self) -> Option<Nat64Prefix> {
        match self.prefix.0 {
            IpAddr::V6(address) => Nat64Prefix::from_parts(address, self.length),
            IpAddr::V4(_) => None,
        }
    }
}

words! {
    /// Who told of a NAT64 prefix.
    PrefixSource, else Other;
    /// Somebody else.
    Other = 0 "other",
    /// The router (RFC 8781).
    Router = 1 "ra",
    /// A resolver (RFC 7050).
    Dns = 2 "dns",
}

/// A NAT64 prefix that the network tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Nat64Told {
    /// The prefix.
    #[n(0)]
    pub prefix: Ip,
    /// Its length: 32, 40, 48, 56, 64 or 96.
    #[n(1)]
    pub length: u8,
    /// Who told.
    #[n(2)]
    pub source: PrefixSource,
}

/// A reference's IPv4 address, tried through a translator.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Nat64Proof {
    /// The target, by its place among the targets.
    #[n(0)]
    pub target: u8,
    /// Where to: the prefix with the address inside.
    #[n(1)]
    pub dst: Ip,
    /// The address that the target saw: the translator's.
    #[n(2)]
    pub seen: Option<Ip>,
    /// TLS with the reference's key.
    #[n(3)]
    pub tls: Option<Attempt>,
    /// An echo over UDP.
    #[n(4)]
    pub echo: Option<Attempt>,
}

/// What is known of translators from IPv6 to IPv4.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Nat64Seen {
    /// The prefixes, in the order of trust.
    #[n(0)]
    pub prefixes: List<Nat64Told, 8>,
    /// What they are worth.
    #[n(1)]
    pub proofs: List<Nat64Proof, 8>,
    /// The well-known prefix works though nobody told of it; absent: not tried.
    #[n(2)]
    pub unadvertised: Option<bool>,
}

/// The times from which Happy Eyeballs (RFC 8305) is computed, in nanoseconds from the first question. Absent: it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct HappyEyeballs {
    /// The answer with AAAA.
    #[n(0)]
    pub dns6: Option<u64>,
    /// The answer with A.
    #[n(1)]
    pub dns4: Option<u64>,
    /// How long the connection over IPv6 took.
    #[n(2)]
    pub connect6: Option<u64>,
    /// How long the one over IPv4 took.
    #[n(3)]
    pub connect4: Option<u64>,
    /// After how long the connection over IPv6 was known to fail.
    #[n(4)]
    pub failed6: Option<u64>,
    /// The same of IPv4.
    #[n(5)]
    pub failed4: Option<u64>,
    /// Who would have won; absent: nobody.
    #[n(6)]
    pub winner: Option<Family>,
    /// Nanoseconds by which IPv6 would have been earlier; negative: later. Absent: one of them never connects.
    #[n(7)]
    pub margin: Option<i64>,
}

/// Which addresses the machine would choose (RFC 6724).
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Selection {
    /// The families in the order in which the system's resolver gives them for a name with both.
    #[n(0)]
    pub order: List<Family, 8>,
    /// The source the system takes towards a destination; absent: none.
    #[n(1)]
    pub sources: List<SourceChoice, 8>,
    /// A connection from each global address that is not deprecated.
    #[n(2)]
    pub bound: List<BoundConnect, 16>,
}

/// The source towards one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SourceChoice {
    /// The destination.
    #[n(0)]
    pub dst: Ip,
    /// The source; absent: there is none.
    #[n(1)]
    pub src: Option<Ip>,
}

/// A connection from a given address of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BoundConnect {
    /// The address.
    #[n(0)]
    pub src: Ip,
    /// What came of it.
    #[n(1)]
    pub tcp: Attempt,
}
