//! References that are down: what a fifth of their probes lose at once is not the probes' fault.
//!
//! A reference is out over a family in an hour when more than a fifth of the probes that reached it in the hour before do not reach it
//! any more. What that hour's runs say of it is then left out: it is no loss of one family, and an IPv6 that lacks nothing but such
//! references lacks nothing.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use sonde_protocol::bounded::Text;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::Family;
use sonde_protocol::result::ipv6::{Attempt, Evidence, FamilyState, Ipv6Outcome, Reason, ReasonRole, Settled};
use sonde_protocol::time::UnixNanos;

/// From how many probes on a fifth of them says anything.
const PROBES: usize = 5;

/// A reference that is out over a family.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(map)]
pub struct Outage {
    /// Its name.
    #[n(0)]
    pub target: Text<64>,
    /// 4 or 6.
    #[n(1)]
    af: u8,
}

impl Outage {
    /// Of this family.
    pub fn new(target: Text<64>, af: Family) -> Self {
        Self { target, af: af.number() }
    }

    /// The family.
    pub const fn is_over(&self, af: Family) -> bool {
        self.af == af.number()
    }
}

/// Which references a probe reached over which family; a reference that was not tried is not there.
type Reached = BTreeMap<Outage, bool>;

/// What the probes reached in one hour: each in its last run.
#[derive(Debug, Clone, Default)]
pub struct Looks(BTreeMap<ProbeId, (UnixNanos, Reached)>);

impl Looks {
    /// A run of the hour, in whatever order they come.
    pub fn add(&mut self, probe: ProbeId, at: UnixNanos, evidence: &Evidence) {
        if self.0.get(&probe).is_none_or(|(last, _)| at >= *last) {
            self.0.insert(probe, (at, reached(evidence)));
        }
    }

    /// What was out in this hour, sorted.
    pub fn outages(&self, before: &Self) -> Vec<Outage> {
        let mut seen: BTreeMap<&Outage, (usize, usize)> = BTreeMap::new();
        for (probe, (_, now)) in &self.0 {
            let Some((_, before)) = before.0.get(probe) else { continue };
            for (target, _) in before.iter().filter(|(_, reached)| **reached) {
                if let Some(reached) = now.get(target) {
                    let (all, lost) = seen.entry(target).or_default();
                    *all += 1;
                    *lost += usize::from(!reached);
                }
            }
        }
        let is_out = |(all, lost): &(usize, usize)| *all >= PROBES && lost * 5 > *all;
        seen.into_iter().filter(|(_, count)| is_out(count)).map(|(target, _)| target.clone()).collect()
    }
}

/// A reference is reached by a connection that its own key has answered.
fn reached(evidence: &Evidence) -> Reached {
    let mut reached = Reached::new();
    for pair in &evidence.pairs {
        let Some(target) = evidence.target(pair.target).filter(|target| target.is_reference) else { continue };
        for connect in &pair.connects {
            let is_tried = connect.tcp.is_some() || connect.tls.is_some();
            if is_tried {
                let is_reached = connect.tls.as_ref().is_some_and(Attempt::is_done);
                reached.insert(Outage::new(target.name.clone(), connect.af), is_reached);
            }
        }
    }
    reached
}

/// What a settled verdict on IPv6 is without the references that are out: native, where it lacks nothing else.
pub(super) fn excused(settled: &Settled, outcome: &Ipv6Outcome, out: &[Outage]) -> FamilyState {
    let lacks_destinations_alone =
        settled.state == FamilyState::NativePartial && settled.of(ReasonRole::Cause).eq([Reason::SomeDestinations]);
    let missed =
        reached(&outcome.evidence).into_iter().filter(|(target, reached)| target.is_over(Family::V6) && !reached);
    let mut missed = missed.map(|(target, _)| target).peekable();
    if lacks_destinations_alone && missed.peek().is_some() && missed.all(|target| out.contains(&target)) {
        return FamilyState::Native;
    }
    settled.state
}

#[cfg(test)]
mod tests {
    use sonde_protocol::bounded::List;
    use sonde_protocol::net::Ip;
    use sonde_protocol::result::ipv6::{Connect, Pair, Target, TroubleKind};

    use super::*;

    fn evidence(v6: [bool; 4]) -> Evidence {
        let ip = |text: &str| Ip(text.parse().unwrap());
        let target = |n: usize| Target {
            name: Text::cut(format!("r{n}")),
            is_reference: n < 4,
            v4: Some(ip("192.0.2.1")),
            v6: Some(ip("2001:db8::1")),
        };
        let attempt = |works| if works { Attempt::Done(9) } else { Attempt::Failed(TroubleKind::Timeout.into()) };
        let connect = |af, dst: &str, works| Connect {
            af,
            dst: ip(dst),
            src: None,
            seen: None,
            tcp: Some(attempt(works)),
            tls: works.then(|| attempt(true)),
            quic: None,
            retransmits: None,
            mss_seen: None,
        };
        let pair = |n: usize| {
            let both = [connect(Family::V6, "2001:db8::1", v6[n]), connect(Family::V4, "192.0.2.1", true)];
            Pair { target: n as u8, gap: 0, connects: List::cut(both) }
        };
        Evidence { targets: List::cut((0..5).map(target)), pairs: List::cut((0..4).map(pair)), ..Evidence::default() }
    }

    fn looks(all: impl IntoIterator<Item = [bool; 4]>) -> Looks {
        let mut looks = Looks::default();
        for (n, v6) in (0..).zip(all) {
            looks.add(ProbeId(n), UnixNanos(50), &evidence(v6));
            looks.add(ProbeId(n), UnixNanos(20), &evidence([false; 4]));
        }
        looks
    }

    const ALL: [bool; 4] = [true; 4];
    const NOT_R2: [bool; 4] = [true, true, false, true];

    #[test]
    fn more_than_a_fifth_lose_a_reference_that_is_out() {
        let before = looks([ALL; 10]);
        let r2 = [Outage::new(Text::cut("r2"), Family::V6)];
        let lose = |count: usize| looks((0..10).map(|n| if n < count { NOT_R2 } else { ALL })).outages(&before);
        assert_eq!(lose(2), [], "a fifth is no more than a fifth");
        assert_eq!(lose(3), r2);
        assert_eq!(lose(10), r2);
        // Who did not reach it before does not lose it, and who was not there says nothing.
        assert_eq!(looks([NOT_R2; 10]).outages(&looks([NOT_R2; 10])), []);
        assert_eq!(looks([NOT_R2; 10]).outages(&Looks::default()), []);
        assert_eq!(looks([NOT_R2; 4]).outages(&before), [], "four probes say nothing");
    }

    fn outcome(v6: [bool; 4]) -> Ipv6Outcome {
        Ipv6Outcome {
            definition: 1,
            scope: sonde_protocol::spec::Ipv6Scope::Light,
            trigger: sonde_protocol::result::ipv6::Trigger::Timer,
            verdicts: List::default(),
            evidence: evidence(v6),
            names: Default::default(),
            path: Default::default(),
        }
    }

    #[test]
    fn who_lacks_nothing_else_lacks_nothing() {
        let out = [Outage::new(Text::cut("r2"), Family::V6)];
        let settled = |reasons: &[Reason]| Settled {
            state: FamilyState::NativePartial,
            reasons: List::cut(reasons.iter().copied()),
        };
        let some = settled(&[Reason::SomeDestinations, Reason::Reached]);
        assert_eq!(excused(&some, &outcome(NOT_R2), &out), FamilyState::Native);
        assert_eq!(excused(&some, &outcome(NOT_R2), &[]), FamilyState::NativePartial);
        assert_eq!(excused(&some, &outcome([true, false, false, true]), &out), FamilyState::NativePartial);
        assert_eq!(excused(&some, &outcome(ALL), &out), FamilyState::NativePartial, "it was something else then");
        let hole = settled(&[Reason::SomeDestinations, Reason::Mtu]);
        assert_eq!(excused(&hole, &outcome(NOT_R2), &out), FamilyState::NativePartial);
        let over_v4 = [Outage::new(Text::cut("r2"), Family::V4)];
        assert_eq!(excused(&some, &outcome(NOT_R2), &over_v4), FamilyState::NativePartial);
    }
}
