//! The words in which a verdict on IPv6 and IPv4 is told to people: by `measure ipv6`, `status` and `doctor`. The words of the
//! reasons themselves are the protocol's. Pure.

use std::fmt::Write;

use sonde_protocol::net::Family;
use sonde_protocol::result::ipv6::{
    Attempt, Because, Evidence, FamilyMemory, FamilyState, Ipv6Outcome, Memory, Reason, ReasonRole, Settled,
};

/// A state in a sentence.
pub const fn sentence(state: FamilyState) -> &'static str {
    match state {
        FamilyState::Native => "It works.",
        FamilyState::NativePartial => "It works, and something does not.",
        FamilyState::Tunnel => "It works, through a tunnel.",
        FamilyState::Broken => "The machine believes to have it, and reaches nothing as it should.",
        FamilyState::None => "The machine does not have it.",
        FamilyState::Xlat464 => "It works by translation at both ends (464XLAT).",
        FamilyState::FourInSix => "It works inside IPv6 (DS-Lite or MAP-E).",
        FamilyState::Nat64Dns64 => "The machine does not have it; names lead through a translator (NAT64 and DNS64).",
        FamilyState::Nat64 => "The machine does not have it; there is a translator (NAT64), and no name leads there.",
        FamilyState::Offline => "Nothing answers over either family.",
        FamilyState::Inconclusive => "It cannot be told: no reference could be used.",
        FamilyState::Unknown => "This version does not know the word.",
    }
}

/// A state with what kind of it it is: `native (nat44)`.
fn title(state: FamilyState, reasons: impl Iterator<Item = Reason>) -> String {
    let named = |reason: &Reason| matches!(reason.role(), ReasonRole::Cause | ReasonRole::Sub);
    let words: Vec<&str> = reasons.filter(named).map(Reason::word).collect();
    if words.is_empty() { state.word().into() } else { format!("{} ({})", state.word(), words.join(", ")) }
}

/// What one run says, for a terminal: each family with its reasons and what to do, then the references.
pub fn text(seen: &Ipv6Outcome) -> String {
    let mut text = String::new();
    for verdict in seen.verdicts.iter() {
        let name = title(verdict.raw, verdict.why.iter().map(|because| because.reason));
        // Writing into a string cannot fail.
        let _ = writeln!(text, "IPv{}: {name}. {}", verdict.af, sentence(verdict.raw));
        let mut advice: Vec<&str> = Vec::new();
        for because in verdict.why.iter() {
            let _ = writeln!(text, "  why: {}", because_sentence(because));
            advice.extend(because.reason.advice().filter(|one| !advice.contains(one)));
        }
        for one in advice {
            let _ = writeln!(text, "  do:  {one}");
        }
    }
    references(&mut text, &seen.evidence);
    text
}

fn because_sentence(because: &Because) -> String {
    let sentence = because.reason.sentence();
    match because.detail {
        Some(detail) => format!("{sentence} ({detail})"),
        None => sentence.into(),
    }
}

fn references(text: &mut String, evidence: &Evidence) {
    if evidence.targets.is_empty() {
        text.push_str("There are no references: the network lists none, or the policy refuses their addresses.\n");
    }
    for pair in evidence.pairs.iter() {
        let name = evidence.target(pair.target).map_or("?", |target| &target.name);
        let of = |af| {
            let connect = pair.connects.iter().find(|connect| connect.af == af);
            connect.map_or_else(|| "not tried".into(), |connect| attempt(connect.tls.as_ref().or(connect.tcp.as_ref())))
        };
        let _ = writeln!(text, "{name}: IPv6 {}, IPv4 {}", of(Family::V6), of(Family::V4));
    }
}

fn attempt(attempt: Option<&Attempt>) -> String {
    match attempt {
        Some(Attempt::Done(nanos)) => format!("{}.{} ms", nanos / 1_000_000, nanos / 100_000 % 10),
        Some(Attempt::Failed(trouble)) => trouble.kind.word().into(),
        None => "not tried".into(),
    }
}

/// What several runs have settled of a family: the state, and what is behind it in sentences.
pub fn settled_text(af: Family, settled: &Settled) -> String {
    let title = title(settled.state, settled.reasons.iter().copied());
    let why: Vec<&str> = settled.of(ReasonRole::Cause).map(Reason::sentence).collect();
    let why = if why.is_empty() { sentence(settled.state).into() } else { why.join(" ") };
    format!("IPv{af}: {title}. {why}")
}

/// What several runs have settled, in one line; nothing before any has.
pub fn settled(memory: &Memory) -> Option<String> {
    let of = |af, family: &FamilyMemory| {
        let settled = family.settled.as_ref()?;
        Some(format!("IPv{af} {}", title(settled.state, settled.reasons.iter().copied())))
    };
    let both: Vec<String> = [of(6, &memory.v6), of(4, &memory.v4)].into_iter().flatten().collect();
    (!both.is_empty()).then(|| both.join(", "))
}

#[cfg(test)]
mod tests {
    use sonde_protocol::bounded::List;
    use sonde_protocol::result::ipv6::{DEFINITION, NamesSeen, PathFacts, Trigger, Verdict};
    use sonde_protocol::spec::Ipv6Scope;

    use super::*;

    #[test]
    fn a_verdict_says_what_why_and_what_to_do() {
        let verdict = |af, raw, why: &[Because]| Verdict {
            af,
            raw,
            why: List::cut(why.iter().copied()),
            settled: None,
            streak: 1,
        };
        let hole = [Reason::Mtu.into(), Because { reason: Reason::HoleUp, detail: Some(1400) }];
        let outcome = Ipv6Outcome {
            definition: DEFINITION,
            scope: Ipv6Scope::Full,
            trigger: Trigger::Timer,
            verdicts: List::cut([
                verdict(Family::V6, FamilyState::NativePartial, &hole),
                verdict(Family::V4, FamilyState::Native, &[Reason::Nat44.into()]),
            ]),
            evidence: Evidence::default(),
            names: NamesSeen::default(),
            path: PathFacts::default(),
        };
        let text = text(&outcome);
        for line in
            ["IPv6: native-partial (mtu). It works", "(1400)", "MSS clamping", "IPv4: native (nat44). It works."]
        {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert_eq!(text.matches("MSS clamping").count(), 1, "the same advice once: {text}");
    }

    #[test]
    fn what_is_settled_fits_a_line_and_nothing_is_said_before() {
        let mut memory = Memory::default();
        assert_eq!(settled(&memory), None);
        let native = Settled { state: FamilyState::Native, reasons: List::cut([Reason::FewReferences]) };
        memory.v6.settled = Some(native);
        memory.v4.settled = Some(Settled { state: FamilyState::Native, reasons: List::cut([Reason::Cgnat]) });
        assert_eq!(settled(&memory).as_deref(), Some("IPv6 native, IPv4 native (cgnat)"));
    }
}
