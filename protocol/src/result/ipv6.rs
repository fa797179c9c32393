//! What `ipv6` saw: one verdict for each family, and all the evidence it stands on.
//!
//! Whoever reads a result can decide again, so every check is kept with its times and sizes. What was not tried, or could not
//! be for want of a privilege, is absent: it is never the same as "failed". How the verdict follows from the evidence is
//! not known here.

mod line;
mod memory;
mod names;
mod path;
mod reach;
mod verdict;
mod words;

use minicbor::{Decode, Encode};

use self::words::words;
use super::Why;
use crate::bounded::List;
use crate::net::Ip;
use crate::spec::Ipv6Scope;

pub use self::line::*;
pub use self::memory::*;
pub use self::names::*;
pub use self::path::*;
pub use self::reach::*;
pub use self::verdict::*;

/// The version of the rules by which verdicts are made. A share is only comparable with one of the same version.
pub const DEFINITION: u16 = 1;

words! {
    /// Why a run took place.
    Trigger, else Other;
    /// Another reason.
    Other = 0 "other",
    /// It was due.
    Timer = 1 "timer",
    /// Addresses or routes changed.
    Network = 2 "netlink",
    /// To see whether an earlier run was right.
    Confirm = 3 "confirm",
}

/// What `ipv6` saw.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ipv6Outcome {
    /// The version of the rules.
    #[n(0)]
    pub definition: u16,
    /// Light or full.
    #[n(1)]
    pub scope: Ipv6Scope,
    /// Why now.
    #[n(2)]
    pub trigger: Trigger,
    /// IPv6 first.
    #[n(3)]
    pub verdicts: List<Verdict, 2>,
    /// What they stand on.
    #[n(4)]
    pub evidence: Evidence,
    /// What its answers about names say together.
    #[n(5)]
    pub names: NamesSeen,
    /// What was known of paths, from this run or the last full one.
    #[n(6)]
    pub path: PathFacts,
}

/// Everything that a run found out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Evidence {
    /// Who was tried; other members name them by their place here.
    #[n(0)]
    pub targets: List<Target, MAX_TARGETS>,
    /// The machine's addresses.
    #[n(1)]
    pub addresses: List<AddressSeen, 64>,
    /// Its default routes, the preferred ones first; absent: not known.
    #[n(2)]
    pub routes: Option<List<RouteSeen, 16>>,
    /// Its router's advertisement; absent: not known.
    #[n(3)]
    pub advert: Option<RouterAdvert>,
    /// Its resolvers; absent: not known.
    #[n(4)]
    pub resolvers: Option<List<Ip, 8>>,
    /// Questions about names.
    #[n(5)]
    pub dns: List<DnsCheck, MAX_DNS_CHECKS>,
    /// Translators; absent: not looked for.
    #[n(6)]
    pub nat64: Option<Nat64Seen>,
    /// Connections in pairs.
    #[n(7)]
    pub pairs: List<Pair, MAX_TARGETS>,
    /// Echoes of small packets.
    #[n(8)]
    pub echoes: List<Echo, 128>,
    /// Who would win.
    #[n(9)]
    pub happy_eyeballs: Option<HappyEyeballs>,
    /// Which addresses the machine would choose.
    #[n(10)]
    pub selection: Option<Selection>,
    /// Sizes; empty in a light run without need.
    #[n(11)]
    pub sizes: List<SizesSeen, 16>,
    /// Pieces and headers.
    #[n(12)]
    pub headers: Option<HeadersSeen>,
    /// ICMP messages, by family.
    #[n(13)]
    pub icmp: List<IcmpSeen, 2>,
    /// The first routers over IPv4; absent: not looked at.
    #[n(14)]
    pub near_hops: Option<List<NearHop, 8>>,
    /// What has changed.
    #[n(15)]
    pub stability: Option<Stability>,
    /// IPv6 is switched off on the machine; absent: not known.
    #[n(16)]
    pub v6_off: Option<bool>,
    /// What of the run could not be carried out.
    #[n(17)]
    pub errors: List<Why, 16>,
}

impl Evidence {
    /// The target at a place.
    pub fn target(&self, place: u8) -> Option<&Target> {
        self.targets.get(usize::from(place))
    }

    /// Did an answer about a name of the references' zone hold an address of a reference, as the signed directory has them?
    /// Where the directory has none of that family, any address does.
    pub fn tells_truth(&self, check: &DnsCheck) -> bool {
        /// NOERROR (RFC 1035, 4.1.1).
        const NOERROR: u8 = 0;
        let Some(seen) = check.answer() else { return false };
        let of = |target: &Target| if check.qtype == DnsCheck::AAAA { target.v6 } else { target.v4 };
        let mut truth = self.targets.iter().filter(|target| target.is_reference).filter_map(of).peekable();
        seen.rcode == NOERROR
            && match truth.peek() {
                Some(_) => truth.any(|address| seen.addresses.contains(&address)),
                None => !seen.addresses.is_empty(),
            }
    }
}
