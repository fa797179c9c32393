//! One probe's hour.

use sonde_protocol::bounded::Text;
use sonde_protocol::ids::Asn;
use sonde_protocol::net::Family;
use sonde_protocol::result::ipv6::{Evidence, FamilyState, Ipv6Outcome, Reason, Verdict};
use sonde_protocol::time::UnixNanos;

/// The most runs of an hour whose differences are kept: one each quarter, and the looks that confirm.
const MAX_DIFFERENCES: usize = 32;

/// What a probe says of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// Of IPv6, settled.
    pub v6: FamilyState,
    /// Of IPv4, settled.
    pub v4: FamilyState,
    /// The machine has a global IPv6 address: only then can IPv6 be broken.
    pub has_v6_address: bool,
    /// IPv4 goes through the provider's translator.
    pub is_cgnat: bool,
    /// It was made with few references.
    pub is_few: bool,
    /// The version of the rules.
    pub definition: u16,
}

impl Vote {
    /// What a result votes; `None`: nothing settled yet, or it could not tell.
    pub fn of(outcome: &Ipv6Outcome) -> Option<Self> {
        let of = |af| outcome.verdicts.iter().find(|verdict: &&Verdict| verdict.af == af);
        let (v6, v4) = (of(Family::V6)?, of(Family::V4)?);
        let settled = |verdict: &Verdict| verdict.settled.as_ref().map(|settled| settled.state);
        let (state6, state4) = (settled(v6)?, settled(v4)?);
        let is_conclusive = [v6.raw, v4.raw].into_iter().all(FamilyState::votes);
        if !is_conclusive || !state6.votes() || !state4.votes() {
            return None;
        }
        let says = |verdict: &Verdict, reason| verdict.why.iter().any(|because| because.reason == reason);
        let addresses = outcome.evidence.addresses.iter();
        Some(Self {
            v6: state6,
            v4: state4,
            has_v6_address: addresses.filter(|one| Family::of(one.address.0) == Family::V6).any(|one| one.is_usable()),
            is_cgnat: says(v4, Reason::Cgnat),
            is_few: says(v6, Reason::FewReferences) || says(v4, Reason::FewReferences),
            definition: outcome.definition,
        })
    }
}

/// What one run adds to its probe's hour.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// When it began.
    pub at: UnixNanos,
    /// Its vote; `None`: it could not tell.
    pub vote: Option<Vote>,
    /// By how many microseconds IPv6 was slower than IPv4: the median over the references.
    pub difference: Option<i32>,
    /// References that only IPv6 failed to reach, and that only IPv4 did.
    pub only_one_failed: (u32, u32),
}

impl Run {
    /// What a result says.
    pub fn of(at: UnixNanos, outcome: &Ipv6Outcome) -> Self {
        let mut differences: Vec<i32> = Vec::new();
        let mut failed = (0, 0);
        for (v6, v4) in pairs(&outcome.evidence) {
            match (v6.time, v4.time) {
                (Some(c6), Some(c4)) if !v6.repeated && !v4.repeated => {
                    let micros = |nanos: u64| i64::try_from(nanos / 1000).unwrap_or(i64::MAX);
                    let difference = micros(c6).saturating_sub(micros(c4));
                    differences.push(i32::try_from(difference).unwrap_or(if difference < 0 {
                        i32::MIN
                    } else {
                        i32::MAX
                    }));
                }
                (None, Some(_)) => failed.0 += 1,
                (Some(_), None) => failed.1 += 1,
                _ => {}
            }
        }
        Self { at, vote: Vote::of(outcome), difference: median(&mut differences), only_one_failed: failed }
    }
}

/// A connection over one family, as far as it counts here.
struct Timed {
    time: Option<u64>,
    repeated: bool,
}

/// Connections to references over both families. Third parties may send the families to different places.
fn pairs(evidence: &Evidence) -> impl Iterator<Item = (Timed, Timed)> + '_ {
    let of_references =
        evidence.pairs.iter().filter(|pair| evidence.target(pair.target).is_some_and(|target| target.is_reference));
    of_references.filter_map(|pair| {
        let of = |af| {
            let connect = pair.connects.iter().find(|connect| connect.af == af)?;
            let tcp = connect.tcp.as_ref()?;
            Some(Timed { time: tcp.time(), repeated: connect.retransmits.is_some_and(|times| times > 0) })
        };
        Some((of(Family::V6)?, of(Family::V4)?))
    })
}

/// The lower of the two middle values, so that it is one that was measured.
pub(super) fn median(values: &mut [i32]) -> Option<i32> {
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

/// By how much IPv6 is slower, in microseconds.
pub type Difference = i32;

/// One probe's hour.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Record {
    /// The vote of the last run that could tell.
    pub vote: Option<Vote>,
    /// When that was.
    pub voted_at: UnixNanos,
    /// Runs.
    pub runs: u32,
    /// Runs that could tell.
    pub conclusive: u32,
    /// Where the probe is, by its code of two letters.
    pub country: Option<Text<2>>,
    /// The network that its IPv6 address is of.
    pub asn6: Option<Asn>,
    /// The network that its IPv4 address is of.
    pub asn4: Option<Asn>,
    /// References that only IPv6 failed to reach, and that only IPv4 did, over all runs.
    pub only_one_failed: (u32, u32),
    differences: Vec<Difference>,
}

impl Record {
    /// An hour without runs, of a probe in this place.
    pub fn new(country: Option<Text<2>>, asn6: Option<Asn>, asn4: Option<Asn>) -> Self {
        Self { country, asn6, asn4, ..Self::default() }
    }

    /// A run of the hour, in whatever order they come.
    pub fn add(&mut self, run: &Run) {
        self.runs = self.runs.saturating_add(1);
        self.conclusive = self.conclusive.saturating_add(u32::from(run.vote.is_some()));
        if run.vote.is_some() && (self.vote.is_none() || run.at >= self.voted_at) {
            self.vote = run.vote;
            self.voted_at = run.at;
        }
        let (v6, v4) = run.only_one_failed;
        self.only_one_failed = (self.only_one_failed.0.saturating_add(v6), self.only_one_failed.1.saturating_add(v4));
        if let Some(difference) = run.difference.filter(|_| self.differences.len() < MAX_DIFFERENCES) {
            self.differences.push(difference);
        }
    }

    /// The median over its runs.
    pub fn difference(&self) -> Option<Difference> {
        median(&mut self.differences.clone())
    }

    /// The network the probe counts as: where its IPv6 comes from, or else its IPv4.
    pub fn network(&self) -> Option<Asn> {
        self.asn6.or(self.asn4)
    }
}
