//! From what each run says to what may be said aloud: a state settles only when several runs in a row agree.
//!
//! With 2 % loss each way an exchange fails once in 25 times; what a run says may be chance. So a run that differs from the
//! settled state asks for another look soon, and for a third later. To worse three runs must agree, to better two; two also
//! suffice when the machine's addresses or routes changed before one of them. Runs agree when they name the same state and,
//! of what is broken or partial, a common cause.
//!
//! Runs in which nothing could be reached or told leave everything as it was.

use alloc::vec::Vec;
use core::time::Duration;

use sonde_protocol::bounded::List;
use sonde_protocol::net::Family;
use sonde_protocol::result::ipv6::{
    Candidate, FamilyMemory, FamilyState, MAX_REASONS, Memory, Reason, ReasonRole, Settled, Trigger, Verdict,
};
use sonde_protocol::seed::Rng;
use sonde_protocol::spec::Ipv6Scope;

use super::decide::{Decision, Ruling};

/// So many runs in a row settle a worse state.
pub const TO_WORSE: u32 = 3;

/// So many settle a better one, or one that a change of the network explains.
pub const TO_BETTER: u32 = 2;

/// When the first other look is taken, and how far from that at most, in seconds.
const FIRST_LOOK: (u64, u64) = (60, 20);

/// The same of later ones.
const LATER_LOOK: (u64, u64) = (300, 60);

/// The run that a decision is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Light or full.
    pub scope: Ipv6Scope,
    /// Why it took place.
    pub trigger: Trigger,
}

/// Another look is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirm {
    /// After so long.
    pub after: Duration,
    /// Of this scope.
    pub scope: Ipv6Scope,
}

/// What is said after a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// IPv6 first.
    pub verdicts: [Verdict; 2],
    /// Look again.
    pub confirm: Option<Confirm>,
}

/// Takes in what a run decided. `seed` spreads the looks of many probes that lost the same thing.
pub fn step(memory: &mut Memory, decision: &Decision, run: Run, seed: u64) -> Step {
    let v6 = family(&mut memory.v6, &decision.v6, run);
    let v4 = family(&mut memory.v4, &decision.v4, run);
    if run.scope == Ipv6Scope::Full {
        // The light runs that follow go by what full ones agreed on, not by what one of them saw.
        if memory.v6.candidate.is_none() {
            memory.path.v6 = decision.path.v6;
        }
        if memory.v4.candidate.is_none() {
            memory.path.v4 = decision.path.v4;
        }
    }
    let confirm = [v6, v4].into_iter().flatten().min_by_key(|wanted| wanted.runs).map(|wanted| {
        let (middle, spread) = if wanted.runs < 2 { FIRST_LOOK } else { LATER_LOOK };
        let offset = Rng::new(seed).below(2 * spread * 1000 + 1);
        let any_full = [v6, v4].into_iter().flatten().any(|wanted| wanted.full);
        Confirm {
            after: Duration::from_millis((middle - spread) * 1000 + offset),
            scope: if any_full { Ipv6Scope::Full } else { Ipv6Scope::Light },
        }
    });
    Step {
        verdicts: [verdict(Family::V6, &decision.v6, &memory.v6), verdict(Family::V4, &decision.v4, &memory.v4)],
        confirm,
    }
}

fn verdict(af: Family, ruling: &Ruling, memory: &FamilyMemory) -> Verdict {
    Verdict { af, raw: ruling.state, why: ruling.why.clone(), settled: memory.settled.clone(), streak: memory.streak }
}

/// A family's wish for another look: how many runs agree so far, and whether only full ones count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    runs: u32,
    full: bool,
}

fn family(memory: &mut FamilyMemory, ruling: &Ruling, run: Run) -> Option<Wanted> {
    memory.streak = if memory.last == Some(ruling.state) { memory.streak.saturating_add(1) } else { 1 };
    memory.last = Some(ruling.state);
    if !ruling.state.votes() {
        return None;
    }
    let reasons = ruling.why.iter().map(|because| because.reason);
    let light = run.scope == Ipv6Scope::Light;
    let settled_at = memory.settled.as_ref().map_or(0, |settled| settled.state.badness());
    // What only full runs see a light one can neither confirm nor deny: it goes by what they agreed on before.
    if let Some(candidate) = memory.candidate.as_ref().filter(|candidate| candidate.full && light)
        && ruling.state.badness() <= candidate.state.badness().max(settled_at)
    {
        return Some(Wanted { runs: candidate.runs, full: true });
    }
    if let Some(settled) = memory.settled.as_mut().filter(|settled| agrees(settled.state, &settled.reasons, ruling)) {
        // It is as it was. Which flags it has may change from run to run, its causes become those that stay.
        settled.reasons = common(&settled.reasons, ruling, true);
        memory.candidate = None;
        return None;
    }
    let changed = run.trigger == Trigger::Network;
    let before_reasons: Vec<Reason> =
        memory.settled.iter().flat_map(|settled| settled.reasons.iter().copied()).collect();
    let candidate = match memory.candidate.take().filter(|old| agrees(old.state, &old.reasons, ruling)) {
        Some(old) => Candidate {
            reasons: common(&old.reasons, ruling, false),
            runs: old.runs.saturating_add(1),
            network_changed: old.network_changed || changed,
            ..old
        },
        None => Candidate {
            state: ruling.state,
            reasons: List::cut(reasons.clone()),
            runs: 1,
            full: !light && reasons.chain(before_reasons).any(Reason::needs_full_run),
            network_changed: changed,
        },
    };
    let before = memory.settled.as_ref().map(|settled| settled.state.badness());
    // Of a probe that has said nothing yet, what works is believed sooner than what does not.
    let is_better = ruling.state.badness() < before.unwrap_or(FamilyState::NativePartial.badness());
    let needed = if is_better || candidate.network_changed { TO_BETTER } else { TO_WORSE };
    if candidate.runs >= needed {
        memory.settled = Some(Settled { state: candidate.state, reasons: candidate.reasons });
        return None;
    }
    let wanted = Wanted { runs: candidate.runs, full: candidate.full };
    memory.candidate = Some(candidate);
    Some(wanted)
}

/// Does a run say the same? Of what is broken or partial, a cause in common makes it the same.
fn agrees(state: FamilyState, reasons: &[Reason], ruling: &Ruling) -> bool {
    let causes = |reasons: &[Reason]| -> List<Reason, MAX_REASONS> {
        List::cut(reasons.iter().copied().filter(|reason| reason.role() == ReasonRole::Cause))
    };
    let (old, new): (_, List<Reason, MAX_REASONS>) =
        (causes(reasons), causes(&ruling.why.iter().map(|because| because.reason).collect::<Vec<_>>()));
    state == ruling.state
        && match state {
            FamilyState::Broken | FamilyState::NativePartial => old.iter().any(|cause| new.contains(cause)),
            _ => true,
        }
}

/// The reasons that both have, in the order of the old; with `fresh` the run's own flags and kinds instead of the old ones'.
fn common(old: &[Reason], ruling: &Ruling, fresh: bool) -> List<Reason, MAX_REASONS> {
    let new = || ruling.why.iter().map(|because| because.reason);
    let kept = old.iter().copied().filter(|reason| new().any(|one| one == *reason));
    if !fresh {
        return List::cut(kept);
    }
    let causes = kept.filter(|reason| reason.role() == ReasonRole::Cause);
    List::cut(causes.chain(new().filter(|reason| reason.role() != ReasonRole::Cause)))
}

#[cfg(test)]
mod tests {
    use sonde_protocol::result::ipv6::{Because, FamilyPath, NamesSeen, PathFacts};

    use super::*;

    const GOOD: (FamilyState, &[Reason]) = (FamilyState::Native, &[]);
    const DEAD: (FamilyState, &[Reason]) = (FamilyState::Broken, &[Reason::Filtered]);
    const HOLE: (FamilyState, &[Reason]) = (FamilyState::NativePartial, &[Reason::Mtu, Reason::HoleUp]);
    const LOSS: (FamilyState, &[Reason]) = (FamilyState::NativePartial, &[Reason::Loss]);
    const OFF: (FamilyState, &[Reason]) = (FamilyState::Offline, &[]);
    const TIMER: Run = Run { scope: Ipv6Scope::Light, trigger: Trigger::Timer };
    const FULL: Run = Run { scope: Ipv6Scope::Full, trigger: Trigger::Timer };
    const CHANGE: Run = Run { scope: Ipv6Scope::Full, trigger: Trigger::Network };

    fn decision((state, reasons): (FamilyState, &[Reason])) -> Decision {
        let ruling =
            |state, reasons: &[Reason]| Ruling { state, why: List::cut(reasons.iter().copied().map(Because::from)) };
        let hole = FamilyPath { hole_up: Some(1400), ..FamilyPath::default() };
        let v6 = if reasons.contains(&Reason::Mtu) { hole } else { FamilyPath::default() };
        Decision {
            v6: ruling(state, reasons),
            v4: ruling(FamilyState::Native, &[Reason::Nat44]),
            names: NamesSeen::default(),
            path: PathFacts { v6, ..PathFacts::default() },
        }
    }

    /// The settled states after each of the runs, and the last step.
    fn play(memory: &mut Memory, runs: &[(Run, (FamilyState, &[Reason]))]) -> (Vec<Option<FamilyState>>, Step) {
        let mut last = None;
        let settled = runs.iter().map(|(run, said)| {
            let step = step(memory, &decision(*said), *run, 7);
            let settled = step.verdicts[0].settled.as_ref().map(|settled| settled.state);
            last = Some(step);
            settled
        });
        let settled = settled.collect();
        (settled, last.unwrap())
    }

    fn after(runs: &[(Run, (FamilyState, &[Reason]))]) -> Vec<Option<FamilyState>> {
        play(&mut Memory::default(), runs).0
    }

    use FamilyState::{Broken, Native, NativePartial};

    #[test]
    fn two_runs_settle_what_works_and_three_what_does_not() {
        assert_eq!(after(&[(TIMER, GOOD), (TIMER, GOOD)]), [None, Some(Native)]);
        assert_eq!(after(&[(TIMER, DEAD), (TIMER, DEAD), (TIMER, DEAD)]), [None, None, Some(Broken)]);
        let there_and_back =
            [(TIMER, GOOD), (TIMER, GOOD), (TIMER, DEAD), (TIMER, DEAD), (TIMER, DEAD), (TIMER, GOOD), (TIMER, GOOD)];
        let (good, dead) = (Some(Native), Some(Broken));
        assert_eq!(after(&there_and_back), [None, good, good, good, dead, dead, good]);
    }

    #[test]
    fn a_change_of_the_network_makes_two_enough() {
        let runs = [(TIMER, GOOD), (TIMER, GOOD), (CHANGE, DEAD), (TIMER, DEAD)];
        assert_eq!(after(&runs).last(), Some(&Some(Broken)));
    }

    #[test]
    fn runs_without_a_voice_change_nothing() {
        let runs =
            [(TIMER, GOOD), (TIMER, GOOD), (TIMER, DEAD), (TIMER, OFF), (TIMER, DEAD), (TIMER, OFF), (TIMER, DEAD)];
        let (good, dead) = (Some(Native), Some(Broken));
        assert_eq!(after(&runs), [None, good, good, good, good, good, dead]);
        let offline = play(&mut Memory::default(), &[(TIMER, OFF), (TIMER, OFF)]).1;
        assert_eq!(
            (offline.verdicts[0].raw, offline.verdicts[0].streak, offline.confirm),
            (FamilyState::Offline, 2, None)
        );
    }

    #[test]
    fn parts_that_have_nothing_in_common_do_not_add_up() {
        let udp: (FamilyState, &[Reason]) = (NativePartial, &[Reason::Udp443]);
        let both: (FamilyState, &[Reason]) = (NativePartial, &[Reason::Loss, Reason::Udp443]);
        let start = [(TIMER, GOOD), (TIMER, GOOD)];
        let differ = [start[0], start[1], (TIMER, LOSS), (TIMER, udp), (TIMER, LOSS)];
        assert_eq!(after(&differ).last(), Some(&Some(Native)));
        let mut memory = Memory::default();
        let (settled, _) = play(&mut memory, &[start[0], start[1], (TIMER, both), (TIMER, LOSS), (TIMER, both)]);
        assert_eq!(settled.last(), Some(&Some(NativePartial)));
        assert_eq!(memory.v6.settled.unwrap().reasons.to_vec(), [Reason::Loss]);
    }

    #[test]
    fn light_runs_between_do_not_hide_what_only_full_ones_see() {
        let mut memory = Memory::default();
        let (_, seen) = play(&mut memory, &[(FULL, GOOD), (FULL, GOOD), (FULL, HOLE)]);
        assert_eq!(seen.confirm.map(|confirm| confirm.scope), Some(Ipv6Scope::Full));
        assert!(!memory.path.v6.has_hole(), "one run is not believed");
        let (settled, _) = play(&mut memory, &[(TIMER, GOOD), (FULL, HOLE), (TIMER, GOOD), (FULL, HOLE)]);
        assert_eq!(settled, [Some(Native), Some(Native), Some(Native), Some(NativePartial)]);
        assert!(memory.path.v6.has_hole(), "the light runs from now on go by it");
        // That it is over is for full runs to say too, and for two of them.
        let mut better = memory.clone();
        let (settled, _) = play(&mut better, &[(FULL, GOOD), (TIMER, HOLE), (FULL, GOOD)]);
        assert_eq!(settled, [Some(NativePartial), Some(NativePartial), Some(Native)]);
        assert!(!better.path.v6.has_hole());
        // Something worse is seen all the same.
        let (_, worse) = play(&mut memory, &[(TIMER, DEAD)]);
        assert_eq!(worse.confirm.map(|confirm| confirm.scope), Some(Ipv6Scope::Light));
    }

    #[test]
    fn looks_are_asked_for_after_a_minute_and_after_five() {
        let mut memory = Memory::default();
        play(&mut memory, &[(TIMER, GOOD), (TIMER, GOOD)]);
        for seed in 0..500 {
            let mut memory = memory.clone();
            let mut look =
                || step(&mut memory, &decision(DEAD), TIMER, seed).confirm.map(|confirm| confirm.after.as_millis());
            let (first, second, third) = (look().unwrap(), look().unwrap(), look());
            assert!((40_000..=80_000).contains(&first), "seed {seed}: {first}");
            assert!((240_000..=360_000).contains(&second), "seed {seed}: {second}");
            assert_eq!(third, None, "it is settled");
        }
    }

    #[test]
    fn what_is_kept_outlives_the_process() {
        let mut memory = Memory::default();
        play(&mut memory, &[(FULL, GOOD), (FULL, GOOD), (FULL, HOLE), (FULL, HOLE)]);
        let bytes = sonde_protocol::message::to_cbor(&memory);
        let mut again: Memory = sonde_protocol::message::from_cbor(&bytes).unwrap().unwrap();
        assert_eq!(again, memory);
        assert_eq!(play(&mut again, &[(FULL, HOLE)]).0, [Some(NativePartial)]);
    }
}
