//! The decision table: evidence in, one ruling for each family out. The first rule that fits decides.
//!
//! Nothing here remembers anything but what full runs found out about paths; what several runs say together is
//! [`super::hysteresis`]'s.

mod v4;
mod v6;

use alloc::vec::Vec;

use sonde_protocol::bounded::List;
use sonde_protocol::net::Family;
use sonde_protocol::result::ipv6::{
    Because, Dns64Dnssec, Evidence, FamilyPath, FamilyState, MAX_REASONS, NamesSeen, PathFacts, Reason, TroubleKind,
};

use super::facts::{Facts, routes};
use super::names::Names;
use super::paths::path_facts;

/// Below so many references a verdict says that there are few.
const FEW_REFERENCES: usize = 3;

/// So many changes of default route or prefix in an hour are flapping.
const FLAPPING: u32 = 3;

/// What one run says of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// The state.
    pub state: FamilyState,
    /// Why: the cause or the parts first, then what kind of the state it is, then the rest.
    pub why: List<Because, MAX_REASONS>,
}

/// What one run says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Of IPv6.
    pub v6: Ruling,
    /// Of IPv4.
    pub v4: Ruling,
    /// Of names.
    pub names: NamesSeen,
    /// Of paths: what it was decided with.
    pub path: PathFacts,
}

/// Decides. `path` is what full runs found out before; `ignored` are names of references that are known to be ill, for
/// instance because many other probes have lost them too.
pub fn decide(evidence: &Evidence, path: &PathFacts, ignored: &[&str]) -> Decision {
    let view = View {
        evidence,
        facts: Facts::new(evidence, ignored),
        names: Names::new(evidence),
        path: path_facts(evidence, path),
    };
    let (v6, v4) = match view.nobody_votes() {
        Some(state) => (Reasons::default().ruling(state), Reasons::default().ruling(state)),
        None => {
            let v6 = v6::decide(&view);
            let v4 = v4::decide(&view);
            (v6, v4)
        }
    };
    Decision { v6, v4, names: view.names.seen, path: view.path }
}

/// All that a rule may look at.
struct View<'a> {
    evidence: &'a Evidence,
    facts: Facts,
    names: Names,
    path: PathFacts,
}

impl View<'_> {
    /// The state of both families when there is nothing to decide.
    fn nobody_votes(&self) -> Option<FamilyState> {
        let answered = self.facts.v6.answered || self.facts.v4.answered || self.facts.usable > 0;
        match (self.facts.tried, answered) {
            (0, _) => Some(FamilyState::Inconclusive),
            (_, false) => Some(FamilyState::Offline),
            (_, true) => None,
        }
    }

    const fn path(&self, af: Family) -> &FamilyPath {
        match af {
            Family::V4 => &self.path.v4,
            Family::V6 => &self.path.v6,
        }
    }

    /// Nothing is reached over `af`, and the machine has an address: why?
    fn broken(&self, af: Family) -> Ruling {
        let (mine, beside) = (self.facts.of(af), self.facts.beside(af));
        let mut why = self.flags(af);
        let routes = routes(self.evidence, af);
        if routes.as_ref().is_some_and(Vec::is_empty) || mine.no_route {
            return why.cause(Reason::NoRoute).ruling(FamilyState::Broken);
        }
        let gateways = routes.iter().flatten().filter_map(|route| route.neighbour);
        if gateways.clone().count() > 0 && gateways.clone().all(|neighbour| neighbour.is_gone()) && !mine.answered {
            return why.cause(Reason::NoNeighbour).ruling(FamilyState::Broken);
        }
        if mine.answered && (self.path(af).has_hole() || self.path(af).below_1280) {
            why.hole(self.path(af));
            return why.cause(Reason::Mtu).ruling(FamilyState::Broken);
        }
        if beside.reached == 0 {
            // What keeps both from the references may be the references.
            return why.ruling(FamilyState::Inconclusive);
        }
        if mine.answered {
            why.add(Reason::SmallPass);
        }
        if let Some(sub) = self.refusal(af) {
            why.add(sub);
        }
        why.cause(Reason::Filtered).ruling(FamilyState::Broken)
    }

    /// What routers say most about packets of a family that do not arrive.
    fn refusal(&self, af: Family) -> Option<Reason> {
        let word = |error: &(u8, u8)| match (af, *error) {
            (Family::V6, (1, 1)) | (Family::V4, (3, 9 | 10 | 13)) => Some(Reason::Prohibited),
            (Family::V6, (1, 0)) | (Family::V4, (3, 0 | 1)) => Some(Reason::Upstream),
            (Family::V6, (1, 5)) => Some(Reason::SourceRefused),
            _ => None,
        };
        let words: Vec<Reason> = self.facts.of(af).icmp_errors.iter().filter_map(word).collect();
        let count = |reason| words.iter().filter(|one| **one == reason).count();
        [Reason::SourceRefused, Reason::Upstream, Reason::Prohibited]
            .into_iter()
            .max_by_key(|one| count(*one))
            .filter(|one| count(*one) > 0)
    }

    /// The family is reached: what of it does not work?
    fn parts(&self, af: Family) -> Vec<Because> {
        let mine = self.facts.of(af);
        let mut parts: Vec<Because> = Vec::new();
        if !mine.is_full() || mine.others_fail() {
            parts.push(Reason::SomeDestinations.into());
            parts.push(Because { reason: Reason::Reached, detail: u32::try_from(mine.reached).ok() });
        }
        if self.path(af).has_hole() {
            parts.push(Reason::Mtu.into());
        }
        if mine.quic_tried > 0 && mine.quic_done == 0 {
            parts.push(Reason::Udp443.into());
        }
        if let Some(percent) = mine.loss {
            parts.push(Because { reason: Reason::Loss, detail: Some(percent) });
        }
        parts
    }

    /// What is worth saying and decides nothing.
    fn flags(&self, af: Family) -> Reasons {
        let mut why = Reasons::default();
        let seen = &self.names.seen;
        if self.facts.usable < FEW_REFERENCES {
            why.add(Reason::FewReferences);
        }
        if seen.lying == Some(true) {
            why.add(Reason::Lying);
        }
        let intercepted = if af == Family::V6 { seen.intercepted6 } else { seen.intercepted4 };
        if intercepted == Some(true) {
            why.add(Reason::Intercepted);
        }
        if seen.dns64.is_some_and(|how| !matches!(how, Dns64Dnssec::Right | Dns64Dnssec::Unknown)) {
            why.add(Reason::Dns64BreaksDnssec);
        }
        if routes(self.evidence, af).iter().flatten().next().is_some_and(|route| route.link.is_vpn()) {
            why.add(Reason::Vpn);
        }
        let path = self.path(af);
        for (holds, flag) in [
            (path.too_big_filtered == Some(true), Reason::PtbFiltered),
            (path.fragments_lost == Some(true), Reason::FragmentsLost),
            (path.below_1280 && af == Family::V6, Reason::Below1280),
        ] {
            if holds {
                why.add(flag);
            }
        }
        why
    }

    /// Is there anybody who says `NoAddress`, as a machine with a family switched off does?
    fn is_off(&self, af: Family) -> bool {
        let connects = self.evidence.pairs.iter().flat_map(|pair| pair.connects.iter()).filter(|one| one.af == af);
        let mut troubles = connects.flat_map(|connect| connect.troubles()).peekable();
        troubles.peek().is_some() && troubles.all(|trouble| trouble.kind == TroubleKind::NoAddress)
    }
}

/// Reasons as they are gathered: causes in front, the others in the order in which they came.
#[derive(Debug, Clone, Default)]
struct Reasons {
    causes: Vec<Because>,
    others: Vec<Because>,
}

impl Reasons {
    /// What decided.
    fn cause(mut self, reason: impl Into<Because>) -> Self {
        self.causes.push(reason.into());
        self
    }

    /// Something more to say.
    fn add(&mut self, reason: impl Into<Because>) {
        self.others.push(reason.into());
    }

    /// Where long packets vanish.
    fn hole(&mut self, path: &FamilyPath) {
        for (reason, detail) in [(Reason::HoleUp, path.hole_up), (Reason::HoleDown, path.hole_down)] {
            if detail.is_some() {
                self.add(Because { reason, detail });
            }
        }
    }

    fn ruling(self, state: FamilyState) -> Ruling {
        Ruling { state, why: List::cut(self.causes.into_iter().chain(self.others)) }
    }
}
