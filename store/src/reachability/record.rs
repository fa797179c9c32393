//! One probe's hour: what its runs say together.

use sonde_protocol::ids::Asn;
use sonde_protocol::net::Family;
use sonde_protocol::result::ipv6::{Evidence, FamilyState, Ipv6Outcome, Reason, Settled, Verdict};
use sonde_protocol::time::UnixNanos;

use super::cell::Country;
use super::outage::{Outage, excused};
use super::prefix::{Slash24, Slash48};

/// Why a run does not vote. These are shown apart and are in no share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Silence {
    /// Not enough runs have agreed on anything yet.
    #[default]
    Unsettled = 0,
    /// Nothing answered in either family.
    Offline = 1,
    /// No reference could be used, or the run could not be carried out.
    Inconclusive = 2,
}

impl Silence {
    /// The one with this number; others are of a newer version.
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Offline,
            2 => Self::Inconclusive,
            _ => Self::Unsettled,
        }
    }

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unsettled => "unsettled",
            Self::Offline => "offline",
            Self::Inconclusive => "inconclusive",
        }
    }
}

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
    /// What a result votes while these references are out, or why it does not.
    pub fn of<'o>(outcome: &'o Ipv6Outcome, out: &[Outage]) -> Result<Self, Silence> {
        let of = |af| outcome.verdicts.iter().find(|verdict: &&Verdict| verdict.af == af).ok_or(Silence::Inconclusive);
        let (v6, v4) = (of(Family::V6)?, of(Family::V4)?);
        let raw = [v6.raw, v4.raw];
        if raw.contains(&FamilyState::Offline) {
            return Err(Silence::Offline);
        }
        if !raw.into_iter().all(FamilyState::votes) {
            return Err(Silence::Inconclusive);
        }
        let settled = |verdict: &'o Verdict| {
            let settled: Option<&'o Settled> = verdict.settled.as_ref();
            settled.filter(|settled| settled.state.votes()).ok_or(Silence::Unsettled)
        };
        let (settled6, settled4) = (settled(v6)?, settled(v4)?);
        let says = |verdict: &Verdict, reason| verdict.why.iter().any(|because| because.reason == reason);
        let addresses = outcome.evidence.addresses.iter();
        Ok(Self {
            v6: excused(settled6, outcome, out),
            v4: settled4.state,
            has_v6_address: addresses.filter(|one| Family::of(one.address.0) == Family::V6).any(|one| one.is_usable()),
            is_cgnat: says(v4, Reason::Cgnat),
            is_few: says(v6, Reason::FewReferences) || says(v4, Reason::FewReferences),
            definition: outcome.definition,
        })
    }
}

/// What one run adds to its probe's hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// When it began.
    pub at: UnixNanos,
    /// Its vote, or why it has none.
    pub vote: Result<Vote, Silence>,
    /// By how many microseconds IPv6 was slower than IPv4: the median over the references.
    pub difference: Option<i32>,
    /// References that only IPv6 failed to reach, and that only IPv4 did.
    pub only_one_failed: (u32, u32),
}

impl Run {
    /// One that could not be carried out.
    pub const fn failed(at: UnixNanos) -> Self {
        Self { at, vote: Err(Silence::Inconclusive), difference: None, only_one_failed: (0, 0) }
    }

    /// What a result says while these references are out.
    pub fn of(at: UnixNanos, outcome: &Ipv6Outcome, out: &[Outage]) -> Self {
        let mut differences: Vec<i32> = Vec::new();
        let mut failed = (0, 0);
        for (v6, v4) in pairs(&outcome.evidence, out) {
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
        Self { at, vote: Vote::of(outcome, out), difference: median(&mut differences), only_one_failed: failed }
    }
}

/// A connection over one family, as far as it counts here.
struct Timed {
    time: Option<u64>,
    repeated: bool,
}

/// Connections to references that are not out, over both families. Third parties may send the families to different places.
fn pairs<'e>(evidence: &'e Evidence, out: &'e [Outage]) -> impl Iterator<Item = (Timed, Timed)> + 'e {
    let of_references = evidence.pairs.iter().filter(|pair| {
        let target = evidence.target(pair.target).filter(|target| target.is_reference);
        target.is_some_and(|target| out.iter().all(|out| out.target != target.name))
    });
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

/// Where a probe was when it voted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The country.
    pub country: Option<Country>,
    /// The network that its IPv6 address is of.
    pub asn6: Option<Asn>,
    /// The network that its IPv4 address is of.
    pub asn4: Option<Asn>,
    /// The /48 that its IPv6 address is in.
    pub net6: Option<Slash48>,
    /// The /24 that its IPv4 address is in.
    pub net4: Option<Slash24>,
}

impl Place {
    /// The network the probe counts as: where its IPv6 comes from, or else its IPv4.
    pub fn network(&self) -> Option<Asn> {
        self.asn6.or(self.asn4)
    }
}

/// One probe's hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Record {
    /// Where it was.
    pub place: Place,
    /// The vote of the last run that could tell.
    pub vote: Option<Vote>,
    /// Without a vote: why the last run had none.
    pub silence: Silence,
    /// The whole second in which the run began whose vote or silence it is.
    pub said_at: UnixNanos,
    /// Runs.
    pub runs: u16,
    /// Runs that could tell.
    pub conclusive: u16,
    /// References that only IPv6 failed to reach, and that only IPv4 did, over all runs.
    pub only_one_failed: (u16, u16),
    /// By how much IPv6 was slower: the median over the runs.
    pub difference: Option<Difference>,
}

impl Record {
    /// What the runs of an hour say together, in whatever order they come.
    pub fn of<'a>(place: Place, runs: impl IntoIterator<Item = &'a Run>) -> Self {
        let mut record = Self { place, ..Self::default() };
        let (mut differences, mut said_at) = (Vec::new(), None);
        for run in runs {
            record.runs = record.runs.saturating_add(1);
            record.conclusive = record.conclusive.saturating_add(u16::from(run.vote.is_ok()));
            let (v6, v4) = run.only_one_failed;
            let more = |count: u16, by: u32| count.saturating_add(u16::try_from(by).unwrap_or(u16::MAX));
            record.only_one_failed = (more(record.only_one_failed.0, v6), more(record.only_one_failed.1, v4));
            differences.extend(run.difference);
            // A vote counts before any silence; of their like the latest counts.
            let is_better = match (run.vote.is_ok(), record.vote.is_some()) {
                (true, false) => true,
                (false, true) => false,
                _ => said_at.is_none_or(|said_at| run.at >= said_at),
            };
            if is_better {
                said_at = Some(run.at);
                record.said_at = UnixNanos::from_secs(run.at.as_secs());
                record.vote = run.vote.ok();
                record.silence = run.vote.err().unwrap_or_default();
            }
        }
        record.difference = median(&mut differences);
        record
    }
}
