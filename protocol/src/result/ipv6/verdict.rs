//! The verdict on one address family, and every word that can stand in it. What leads to which is not known here.

use minicbor::{Decode, Encode};

use super::words::words;
use crate::bounded::List;
use crate::net::Family;

/// The most reasons of one verdict.
pub const MAX_REASONS: usize = 16;

words! {
    /// What an address family is worth to a probe.
    FamilyState, else Unknown;
    /// A word of a newer version.
    Unknown = 0 "unknown",
    /// Everything works, without translation or tunnel that the host has to make.
    Native = 1 "native",
    /// It works, and something does not.
    NativePartial = 2 "native-partial",
    /// It works through a tunnel.
    Tunnel = 3 "tunnel",
    /// The machine believes to have it and reaches nothing.
    Broken = 4 "broken",
    /// The machine does not have it.
    None = 5 "none",
    /// IPv4 by translation at both ends (RFC 6877).
    Xlat464 = 6 "464xlat",
    /// IPv4 inside IPv6 (DS-Lite, MAP-E).
    FourInSix = 7 "4in6",
    /// No IPv4; names lead through a translator (RFC 6146, RFC 6147).
    Nat64Dns64 = 8 "nat64+dns64",
    /// No IPv4; a translator that the router tells of, and no name leads there.
    Nat64 = 9 "nat64",
    /// Nothing answers in either family.
    Offline = 10 "offline",
    /// It cannot be told: no reference could be used.
    Inconclusive = 11 "inconclusive",
}

impl FamilyState {
    /// Does it count in shares? Who reaches nothing at all, or cannot tell, has no say about a family.
    pub const fn votes(self) -> bool {
        !matches!(self, Self::Unknown | Self::Offline | Self::Inconclusive)
    }

    /// Can hosts of the other end be reached over this family's addresses?
    pub const fn works(self) -> bool {
        self.votes() && !matches!(self, Self::Broken | Self::None)
    }

    /// How bad it is, from 0. A change to a greater number is one to worse.
    pub const fn badness(self) -> u8 {
        match self {
            Self::Native => 0,
            Self::Tunnel | Self::Xlat464 | Self::FourInSix | Self::Nat64Dns64 | Self::Nat64 => 1,
            Self::NativePartial => 2,
            Self::Broken | Self::None => 3,
            Self::Unknown | Self::Offline | Self::Inconclusive => 4,
        }
    }
}

words! {
    /// Why a verdict is what it is. The words of all reasons are here and nowhere else.
    Reason, else Other;
    /// A reason of a newer version.
    Other = 0 "other",

    // What breaks a family, or makes it partial.
    /// There is an address and no default route.
    NoRoute = 1 "no-route",
    /// The router does not answer address resolution.
    NoNeighbour = 2 "no-neighbour",
    /// Nothing gets through, though the router is there and the other family works.
    Filtered = 3 "filtered",
    /// Long packets vanish without a word.
    Mtu = 4 "mtu",
    /// Addresses are reached, and no resolver tells them.
    DnsOnly = 5 "dns-only",
    /// There is a prefix, and the translator behind it does not answer.
    Nat64Dead = 6 "nat64",
    /// Some targets are reached, and some not.
    SomeDestinations = 10 "some-destinations",
    /// TCP to port 443 works, and UDP (QUIC) does not.
    Udp443 = 11 "udp443",
    /// More than a tenth of the exchanges is lost. Detail: per cent.
    Loss = 12 "loss",
    /// Resolvers with an IPv6 address do not answer.
    DnsV6Transport = 13 "dns-v6-transport",
    /// A resolver keeps AAAA records back.
    AaaaFilter = 14 "aaaa-filter",
    /// One of the own prefixes does not lead anywhere any more.
    StalePrefix = 15 "stale-prefix",
    /// Routes or prefixes come and go. Detail: changes in an hour.
    Flapping = 16 "flapping",

    // Which kind of a state it is.
    /// IPv6 is switched off on the machine.
    Disabled = 20 "disabled",
    /// Unique local addresses alone (RFC 4193).
    UlaOnly = 21 "ula_only",
    /// Link-local addresses alone.
    LinkLocalOnly = 22 "link_local_only",
    /// No address at all.
    NoAddress = 23 "no_address",
    /// A router says that it is forbidden (ICMPv6 1/1, ICMP 3/13).
    Prohibited = 24 "admin",
    /// A router says that it knows no way (ICMPv6 1/0, ICMP 3/0).
    Upstream = 25 "upstream",
    /// A router refuses the source address (ICMPv6 1/5).
    SourceRefused = 26 "source",
    /// The own address is the one that others see.
    Public = 27 "public",
    /// Behind a translator of the host's own (NAT44).
    Nat44 = 28 "nat44",
    /// Behind a translator of the provider's (RFC 6598).
    Cgnat = 29 "cgnat",
    /// 6to4 (RFC 3056).
    SixToFour = 30 "6to4",
    /// Teredo (RFC 4380).
    Teredo = 31 "teredo",
    /// 6rd (RFC 5969).
    SixRd = 32 "6rd",
    /// A tunnel device has the default route.
    TunnelDevice = 33 "device",

    // What is worth saying and changes nothing.
    /// Prefix translation (RFC 6296): the own address is local, the seen one global.
    Nptv6 = 40 "nptv6",
    /// A resolver makes up addresses.
    Lying = 41 "lying-resolver",
    /// Somebody answers DNS questions that were put to another.
    Intercepted = 42 "intercepted",
    /// "Too big" does not come back.
    PtbFiltered = 43 "ptb-filtered",
    /// Fewer than three references could be used.
    FewReferences = 44 "few-references",
    /// The default route leads into a virtual private network, so the verdict is that network's.
    Vpn = 45 "vpn",
    /// A NAT64 answers that nobody told of.
    Nat64Unadvertised = 46 "nat64-unadvertised",
    /// The DNS64 spoils answers for those who check signatures themselves.
    Dns64BreaksDnssec = 47 "dns64-breaks-dnssec",
    /// A link takes less than the 1280 bytes that IPv6 demands (RFC 8200, section 5).
    Below1280 = 48 "below-1280",
    /// Whether the translator is the provider's is not known: the path was not looked at.
    CgnatUnknown = 49 "cgnat-unknown",
    /// Fragments do not arrive.
    FragmentsLost = 50 "fragments-lost",

    // Finer words for the same, with a number where there is one.
    /// Detail: the longest that passes from the probe.
    HoleUp = 60 "mtu.up",
    /// Detail: the longest that passes to the probe.
    HoleDown = 61 "mtu.down",
    /// Echoes pass and connections do not, and no size tells why.
    SmallPass = 62 "small-packets-pass",
    /// Detail: so many references were reached.
    Reached = 63 "reached",
    /// The machine has no resolver.
    NoResolver = 64 "no-resolver",
}

/// What a reason is for in a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasonRole {
    /// The cause of `broken`, or a part that does not work of `native-partial`.
    Cause,
    /// Which kind of the state it is.
    Sub,
    /// Worth saying; the state does not depend on it.
    Flag,
    /// A finer word for another reason.
    Detail,
}

impl Reason {
    /// What it is for.
    pub const fn role(self) -> ReasonRole {
        match self.number() {
            1..=19 => ReasonRole::Cause,
            20..=39 => ReasonRole::Sub,
            40..=59 => ReasonRole::Flag,
            _ => ReasonRole::Detail,
        }
    }

    /// Can only a full run see it?
    pub const fn needs_full_run(self) -> bool {
        matches!(self, Self::Mtu)
    }

    /// A sentence for people.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Other => "There is a reason that this version does not know.",
            Self::NoRoute => "There is an address, and no default route.",
            Self::NoNeighbour => "The router does not answer.",
            Self::Filtered => "Nothing gets through behind the router, while the other family works.",
            Self::Mtu => "Long packets vanish on the way, and nobody says so.",
            Self::DnsOnly => "Addresses can be reached, and no resolver tells them.",
            Self::Nat64Dead => "The translator to IPv4 that the network tells of does not answer.",
            Self::SomeDestinations => "Some destinations are reached, and some are not.",
            Self::Udp443 => "TCP to port 443 works, and UDP to it does not.",
            Self::Loss => "More than a tenth of the packets is lost.",
            Self::DnsV6Transport => "The resolvers with an IPv6 address do not answer.",
            Self::AaaaFilter => "A resolver keeps IPv6 addresses back.",
            Self::StalePrefix => "One of the machine's own prefixes is out of date and leads nowhere.",
            Self::Flapping => "Routes or prefixes come and go.",
            Self::Disabled => "IPv6 is switched off on the machine.",
            Self::UlaOnly => "The machine has unique local addresses alone.",
            Self::LinkLocalOnly => "The machine has link-local addresses alone.",
            Self::NoAddress => "The machine has no address of this family.",
            Self::Prohibited => "A router on the way forbids it.",
            Self::Upstream => "A router on the way knows no way on.",
            Self::SourceRefused => "A router on the way refuses the machine's address.",
            Self::Public => "The machine's own address is the one that others see.",
            Self::Nat44 => "The machine is behind address translation.",
            Self::Cgnat => "The machine is behind the provider's address translation.",
            Self::SixToFour => "The address is one of 6to4.",
            Self::Teredo => "The address is one of Teredo.",
            Self::SixRd => "The address has the IPv4 address in it, as 6rd makes it.",
            Self::TunnelDevice => "The default route leads into a tunnel.",
            Self::Nptv6 => "The prefix is translated on the way.",
            Self::Lying => "A resolver makes up addresses for names that have none.",
            Self::Intercepted => "Somebody on the way answers DNS questions that were put to another.",
            Self::PtbFiltered => "Messages that a packet is too big do not come back.",
            Self::FewReferences => "Fewer than three references could be used.",
            Self::Vpn => "The default route leads into a virtual private network: this is about that network.",
            Self::Nat64Unadvertised => "A translator to IPv4 answers that the network does not tell of.",
            Self::Dns64BreaksDnssec => "The resolver's made-up addresses break the checking of signatures.",
            Self::Below1280 => "A link does not take the 1280 bytes that IPv6 demands.",
            Self::CgnatUnknown => "It is not known whose address translation it is.",
            Self::FragmentsLost => "Packets in pieces do not arrive.",
            Self::HoleUp => "So many bytes pass from the probe, and longer packets vanish.",
            Self::HoleDown => "So many bytes pass to the probe, and longer packets vanish.",
            Self::SmallPass => "Echoes come back, and no connection is made.",
            Self::Reached => "So many references were reached.",
            Self::NoResolver => "The machine has no resolver.",
        }
    }
}

impl Reason {
    /// What whoever runs the machine can do about it; absent where there is nothing to do, or nothing more than to know it.
    pub const fn advice(self) -> Option<&'static str> {
        Some(match self {
            Self::NoRoute => {
                "Look whether the router advertises itself (its lifetime is 0 without an uplink), and ask the provider."
            }
            Self::NoNeighbour => {
                "Look whether the router is switched on, and whether a switch or Wi-Fi drops neighbour discovery."
            }
            Self::Filtered => "Look at the router's packet filter; if it lets this family out, tell the provider.",
            Self::Mtu | Self::HoleUp | Self::HoleDown => {
                "Let ICMPv6 type 2 and ICMP type 3 code 4 through everywhere, or have the router set TCP's MSS (MSS clamping)."
            }
            Self::DnsOnly | Self::AaaaFilter => "Use another resolver, or switch its filter of AAAA records off.",
            Self::Nat64Dead => "Tell the provider that its NAT64 does not answer.",
            Self::SomeDestinations => "Look at a traceroute to those that fail; the fault is on the way, not here.",
            Self::Udp443 => "Let UDP to port 443 out: browsers use it (HTTP/3).",
            Self::Loss => "Look at the line and at Wi-Fi: packets are lost near the machine or on the way.",
            Self::DnsV6Transport => {
                "Take the resolvers' IPv6 addresses out of the configuration, or repair the way to them."
            }
            Self::StalePrefix | Self::SourceRefused => {
                "Have the router withdraw the old prefix (RFC 9096), or restart the machine's network."
            }
            Self::Flapping => "Look at the router's log: its line or its prefix changes again and again.",
            Self::Disabled => "Switch IPv6 on, unless it is off on purpose.",
            Self::UlaOnly | Self::LinkLocalOnly | Self::NoAddress => {
                "Ask the provider for this family, or switch it on in the router."
            }
            Self::Prohibited => "Look at the packet filter of the router that the result names.",
            Self::Upstream => "Tell the provider: its router knows no way on.",
            Self::SixToFour | Self::Teredo => "Switch this mechanism off; it is out of use (RFC 7526) and unreliable.",
            Self::Lying => "Use another resolver, if names that do not exist matter.",
            Self::Intercepted => "Ask over TLS or HTTPS, if it matters who answers.",
            Self::PtbFiltered => {
                "Let ICMPv6 type 2 and ICMP type 3 code 4 in: without them long packets hang on narrow paths."
            }
            Self::Dns64BreaksDnssec => {
                "Check signatures at the resolver, or do the synthesis on the machine (RFC 6147, 5.5)."
            }
            Self::Below1280 => "Have whoever runs that link raise its MTU to at least 1280 bytes.",
            Self::FragmentsLost => "Keep datagrams below 1280 bytes; for DNS, EDNS 1232.",
            Self::NoResolver => "Have the router tell a resolver (RDNSS or DHCP), or write one down.",
            _ => return None,
        })
    }
}

/// A reason with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub struct Because {
    /// The reason.
    #[n(0)]
    pub reason: Reason,
    /// Bytes, per cent or a count: the reason says which.
    #[n(1)]
    pub detail: Option<u32>,
}

impl From<Reason> for Because {
    fn from(reason: Reason) -> Self {
        Self { reason, detail: None }
    }
}

/// What is said of one family after a run.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Verdict {
    /// The family.
    #[n(0)]
    pub af: Family,
    /// What this run alone says.
    #[n(1)]
    pub raw: FamilyState,
    /// Why.
    #[n(2)]
    pub why: List<Because, MAX_REASONS>,
    /// What the runs so far say together; absent until enough of them agree.
    #[n(3)]
    pub settled: Option<Settled>,
    /// How many runs in a row have said what this one says, itself included.
    #[n(4)]
    pub streak: u32,
}

/// What several runs in a row agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Settled {
    /// The state.
    #[n(0)]
    pub state: FamilyState,
    /// The reasons that all of them had.
    #[n(1)]
    pub reasons: List<Reason, MAX_REASONS>,
}

impl Settled {
    /// Its reasons of one role.
    pub fn of(&self, role: ReasonRole) -> impl Iterator<Item = Reason> + '_ {
        self.reasons.iter().copied().filter(move |reason| reason.role() == role)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn every_word_is_there_once_and_can_stand_in_a_url() {
        let words: Vec<&str> = Reason::ALL.iter().map(|reason| reason.word()).collect();
        let is_plain =
            |word: &str| word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
        for (n, word) in words.iter().enumerate() {
            assert!(is_plain(word), "{word}");
            assert!(!words.get(n + 1..).unwrap_or_default().contains(word), "{word} is there twice");
        }
        assert!(Reason::ALL.iter().all(|reason| reason.sentence().ends_with('.')));
        assert!(Reason::ALL.iter().all(|reason| reason.advice().is_none_or(|advice| advice.ends_with('.'))));
        let without: Vec<&Reason> =
            Reason::ALL.iter().filter(|one| one.role() == ReasonRole::Cause && one.advice().is_none()).collect();
        assert!(without.is_empty(), "what is broken can be repaired: {without:?}");
    }

    #[test]
    fn a_number_of_a_newer_version_reads_as_unknown_and_has_no_vote() {
        assert_eq!(minicbor::decode::<FamilyState>(&[0x18, 200]).unwrap(), FamilyState::Unknown);
        assert_eq!(minicbor::decode::<Reason>(&[0x18, 250]).unwrap(), Reason::Other);
        let voters: Vec<FamilyState> = FamilyState::ALL.iter().copied().filter(|state| !state.votes()).collect();
        assert_eq!(voters, [FamilyState::Unknown, FamilyState::Offline, FamilyState::Inconclusive]);
        assert!(FamilyState::ALL.iter().all(|state| state.votes() || !state.works()));
    }
}
