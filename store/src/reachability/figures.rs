//! What a sum says: the numbers that are shown, and how much they can bear.

use minicbor::{Decode, Encode};

use super::interval::{Interval, wilson};
use super::record::Difference;

/// Shares are shown plainly from so many probes in so many networks; below they are hatched.
pub const PLAIN: (u64, u64) = (5, 3);

/// They are ranked from here.
pub const RANKED: (u64, u64) = (30, 5);

/// How much a share can bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// Few stand behind it: to be shown as such.
    Hatched,
    /// It may be shown.
    Plain,
    /// It may be compared with others.
    Ranked,
}

macro_rules! counts {
    ($($(#[$doc:meta])* $number:literal $name:ident),+ $(,)?) => {
        /// Numbers of votes, but for `runs` and what failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
        #[cbor(map)]
        pub struct Counts {
            $($(#[$doc])* #[n($number)] #[cbor(default)] pub $name: u64),+
        }

        impl Counts {
            /// Adds those of other votes.
            pub fn add(&mut self, other: &Self) {
                $(self.$name = self.$name.saturating_add(other.$name);)+
            }
        }
    };
}

counts! {
    /// One for each probe and hour: the denominator of most shares.
    0 votes,
    /// Hours of probes in which nothing answered in either family.
    1 offline,
    /// Hours of probes in which no reference could be used.
    2 inconclusive,
    /// Hours of probes that have not agreed with themselves yet.
    3 unsettled,
    /// Runs behind all of it.
    4 runs,
    /// IPv6 works: native, native in part, or through a tunnel.
    5 works6,
    /// IPv6 is native and whole.
    6 clean6,
    /// IPv6 is broken though there is a global address.
    7 broken6,
    /// There is a global IPv6 address: the denominator of `broken6`.
    8 with_address6,
    /// IPv4 through NAT64, with or without DNS64.
    9 nat64,
    /// 464XLAT.
    10 xlat,
    /// Behind the provider's translator.
    11 cgnat,
    /// Votes with few references.
    12 few,
    /// References that only IPv6 failed to reach.
    13 only_v6_failed,
    /// References that only IPv4 failed to reach.
    14 only_v4_failed,
}

/// What the networks of a sum say, each as one.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Networks {
    /// How many there are.
    #[n(0)]
    pub count: u64,
    /// In how many of them more than half of the votes say that IPv6 works.
    #[n(1)]
    pub working: u64,
    /// The share of votes that say so, every network weighing as it was asked to.
    #[n(2)]
    pub share: f64,
    /// As how many equal networks they count.
    #[n(3)]
    pub effective: f64,
    /// The interval of that share.
    #[n(4)]
    pub interval: Interval,
}

/// By how many microseconds IPv6 was slower to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Differences {
    /// How many votes have one.
    #[n(0)]
    pub count: u64,
    /// The median.
    #[n(1)]
    pub median: Difference,
    /// Nine tenths are at most this.
    #[n(2)]
    pub ninth_tenth: Difference,
    /// The interval of the median.
    #[n(3)]
    pub low: Difference,
    /// See `low`.
    #[n(4)]
    pub high: Difference,
}

/// A share, and how far it can be from the truth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// Of `of`.
    pub count: u64,
    /// The denominator.
    pub of: u64,
    /// The one by the other.
    pub share: f64,
    /// Wilson's interval at 95 %, for as many independent votes as there are probes.
    pub interval: Interval,
}

/// Everything that a sum says.
#[derive(Debug, Clone, Copy, PartialEq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Figures {
    /// Numbers of votes.
    #[n(0)]
    pub counts: Counts,
    /// How many probes voted. Over more than an hour that is less than the votes.
    #[n(1)]
    pub probes: u64,
    /// The networks behind it.
    #[n(2)]
    pub networks: Option<Networks>,
    /// By how much IPv6 was slower.
    #[n(3)]
    pub differences: Option<Differences>,
}

impl Figures {
    /// How many networks voted.
    pub fn network_count(&self) -> u64 {
        self.networks.map_or(0, |networks| networks.count)
    }

    /// A share of some votes, such as `works6` of `votes`; `None` of nobody. The hours of one probe are alike, so they count as
    /// one in the interval.
    pub fn share(&self, count: u64, of: u64) -> Option<Share> {
        let share = if of == 0 { return None } else { count as f64 / of as f64 };
        let independent = self.probes as f64 * of as f64 / self.counts.votes.max(1) as f64;
        Some(Share { count, of, share, interval: wilson(share * independent, independent)? })
    }

    /// How much its shares can bear.
    pub fn certainty(&self) -> Certainty {
        let has = |(probes, networks): (u64, u64)| self.probes >= probes && self.network_count() >= networks;
        match (has(RANKED), has(PLAIN)) {
            (true, _) => Certainty::Ranked,
            (_, true) => Certainty::Plain,
            _ => Certainty::Hatched,
        }
    }
}
