//! From what was seen to what is said. Pure.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::time::Duration;

use sonde_protocol::condition::{self, Word};
use sonde_protocol::net::Family;
use sonde_protocol::result::ipv6::{FamilyMemory, Memory, Reason, ReasonRole};

use super::{Finding, Level};
use crate::condition::diagnosis::{Found, diagnose, is_surveyed};
use crate::condition::facts::{Asked, CollectorFacts, Facts, Ping, Quic, ResolverFacts};
use crate::sandbox::Report;
use crate::status::{State, Status};
use crate::verdict;

/// 2026-01-01. A board whose clock has never been set shows an earlier time.
const BEFORE_SONDE: u64 = 1_767_225_600;

/// What a look at the machine gave.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) sockets: Vec<PingSockets>,
    /// `net.ipv4.ping_group_range`, and a group of this process.
    pub(super) group_range: Option<(u32, u32)>,
    pub(super) group: u32,
    pub(super) program: String,
    pub(super) stamps: Stamps,
    /// The network, as far as one sees it from here.
    pub(super) facts: Facts,
    pub(super) clock: ClockSeen,
    /// The machine is a board, whose clock its own system keeps.
    pub(super) on_board: bool,
    /// What the machine's clock shows, in Unix seconds.
    pub(super) now: u64,
    /// The running probe, when a state directory was named.
    pub(super) probe: Option<ProbeSeen>,
    /// What the running probe has given up.
    pub(super) sandbox: Option<Report>,
    pub(super) targets: Vec<Reached>,
    /// What the runs of ipv6 of the probe in the state directory have settled.
    pub(super) settled: Memory,
    /// What is wrong with the disk of the state directory, when no probe runs there that would know.
    pub(super) disk: Option<Found>,
}

/// Which ICMP sockets of a family can be opened.
#[derive(Debug, Clone)]
pub(super) struct PingSockets {
    pub(super) family: Family,
    pub(super) unprivileged: Opened,
    pub(super) raw: Opened,
}

impl PingSockets {
    fn are_closed(&self) -> bool {
        matches!((&self.unprivileged, &self.raw), (Opened::No(_), Opened::No(_)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opened {
    Yes,
    /// The system does not speak this family.
    NoFamily,
    /// It may not be, or cannot.
    No(String),
}

/// Which packets the kernel stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stamps {
    pub(super) departure: bool,
    pub(super) arrival: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum ClockSeen {
    Synchronised(Option<Duration>),
    #[default]
    NotSynchronised,
    Unknown(String),
}

#[derive(Debug, Clone)]
pub(super) enum ProbeSeen {
    Running(Box<Status>),
    NotRunning,
}

/// Whether a host answers a ping.
#[derive(Debug, Clone)]
pub(super) struct Reached {
    /// As it was named.
    pub(super) name: String,
    pub(super) address: Option<IpAddr>,
    /// Why not.
    pub(super) answer: Result<(), String>,
}

fn ok(check: &'static str, text: impl Into<String>) -> Finding {
    Finding { check, word: None, level: Level::Ok, text: text.into(), advice: None }
}

fn warning(check: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { check, word: None, level: Level::Warning, text: text.into(), advice: Some(advice.into()) }
}

fn problem(check: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { check, word: None, level: Level::Problem, text: text.into(), advice: Some(advice.into()) }
}

/// All that is to be said, in the order in which one would repair it.
pub(super) fn judge(seen: &Seen) -> Vec<Finding> {
    let mut findings = conditions(seen);
    let explained = findings.iter().any(|finding| finding.level == Level::Problem);
    findings.extend(routes(&seen.facts));
    findings.extend(seen.sockets.iter().map(|sockets| ping(sockets, seen)));
    findings.push(raw(seen));
    findings.push(stamps(seen.stamps));
    findings.push(clock(&seen.clock, seen.on_board));
    findings.extend(resolvers(&seen.facts.resolvers));
    findings.extend(seen.probe.as_ref().map(|found| probe(found, explained)));
    findings.extend(seen.sandbox.as_ref().map(sandbox));
    findings.extend(reachability(Family::V6, &seen.settled.v6));
    findings.extend(reachability(Family::V4, &seen.settled.v4));
    findings.extend(collectors(&seen.facts.collectors));
    findings.extend(seen.targets.iter().map(target));
    findings
}

/// What is wrong in the words of the vocabulary: of the network, as it looks now; the rest as the running probe knows it.
fn conditions(seen: &Seen) -> Vec<Finding> {
    let mut found: Vec<(Word, String)> = diagnose(&seen.facts).into_iter().map(|one| (one.word, one.detail)).collect();
    if let Some(ProbeSeen::Running(status)) = &seen.probe {
        let known = status.conditions.iter().filter_map(|one| Some((one.known()?, one.detail.clone())));
        found.extend(known.filter(|(word, _)| !is_surveyed(*word) && !has_a_finding(seen, *word)));
    }
    found.extend(seen.disk.iter().map(|one| (one.word, one.detail.clone())));
    if seen.now < BEFORE_SONDE && found.iter().all(|(word, _)| *word != Word::ClockWrong) {
        found.push((Word::ClockWrong, "it shows a time before this program was written".into()));
    }
    found.sort_by_key(|(word, _)| (Reverse(word.level()), *word));
    found.into_iter().map(|(word, detail)| named(word, &detail, seen.on_board)).collect()
}

/// Is it said with more detail below?
fn has_a_finding(seen: &Seen, word: Word) -> bool {
    match word {
        Word::NoSandbox => seen.sandbox.as_ref().is_some_and(|report| !report.missing().is_empty()),
        // The probe may run as somebody else than whoever asks.
        Word::NoPing => seen.sockets.iter().any(PingSockets::are_closed),
        _ => false,
    }
}

fn named(word: Word, detail: &str, on_board: bool) -> Finding {
    let level = match word.level() {
        condition::Level::Note => Level::Note,
        condition::Level::Warning => Level::Warning,
        condition::Level::Problem => Level::Problem,
    };
    let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
    let text = format!("{}{detail}", word.meaning());
    Finding { check: "condition", word: Some(word.name()), level, text, advice: Some(word.advice_on(on_board).into()) }
}

fn routes(facts: &Facts) -> Vec<Finding> {
    let any = Family::BOTH.into_iter().any(|family| facts.family(family).route);
    let judge = |family: Family| {
        if facts.family(family).route {
            return Some(ok("route", format!("IPv{family} has an address and a way to the internet")));
        }
        // With neither there is a word for it.
        any.then(|| {
            warning(
                "route",
                format!("IPv{family} has no address with a way to the internet"),
                format!("Measurements over IPv{family} are skipped until it has: \"no route\"."),
            )
        })
    };
    [Family::V4, Family::V6].into_iter().filter_map(judge).collect()
}

fn ping(sockets: &PingSockets, seen: &Seen) -> Finding {
    let family = sockets.family;
    match (&sockets.unprivileged, &sockets.raw) {
        (Opened::Yes, _) => ok("ping", format!("IPv{family} by a socket that needs no privilege")),
        (Opened::NoFamily, _) | (_, Opened::NoFamily) => warning(
            "ping",
            format!("this system has no IPv{family}"),
            format!("Nothing can be measured over IPv{family}; switch it on in the system if you want that."),
        ),
        (Opened::No(_), Opened::Yes) => ok("ping", format!("IPv{family} by a raw socket (CAP_NET_RAW)")),
        (Opened::No(why), Opened::No(_)) => {
            let group = seen.group;
            let range = match seen.group_range {
                Some((first, last)) if first <= last && !(first..=last).contains(&group) => {
                    format!("net.ipv4.ping_group_range is \"{first} {last}\", and this program's group is {group}")
                }
                Some((first, last)) if first > last => {
                    format!("net.ipv4.ping_group_range is \"{first} {last}\", which is nobody")
                }
                _ => why.clone(),
            };
            let closed = problem(
                "ping",
                format!("IPv{family} may not be used: {range}; ping, ICMP traceroute and pathmtu will fail"),
                format!(
                    "Allow it now (this rules IPv4 and IPv6):\n  sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"\n\
                     and for ever:\n  echo 'net.ipv4.ping_group_range = 0 2147483647' > /etc/sysctl.d/60-sonde.conf\n\
                     or give the program the capability, which its sandbox then keeps:\n  setcap cap_net_raw+ep {}",
                    seen.program
                ),
            );
            Finding { word: Some(Word::NoPing.name()), ..closed }
        }
    }
}

fn raw(seen: &Seen) -> Finding {
    if seen.sockets.iter().any(|sockets| sockets.raw == Opened::Yes) {
        return ok("raw", "raw sockets can be opened");
    }
    warning(
        "raw",
        "no raw sockets: no TCP traceroute, no IPv6 extension headers, and no `ittl`, `itos` and size of errors in results",
        format!("All else works without. If you want these too: setcap cap_net_raw+ep {}", seen.program),
    )
}

fn stamps(stamps: Stamps) -> Finding {
    let advice = "Round-trip times are then as exact as this program is prompt. A newer kernel may help.";
    match (stamps.departure, stamps.arrival) {
        (true, true) => ok("stamps", "the kernel stamps packets both ways"),
        (false, true) => warning("stamps", "the kernel stamps arriving packets only", advice),
        (true, false) => warning("stamps", "the kernel stamps departing packets only", advice),
        (false, false) => warning("stamps", "the kernel stamps no packets", advice),
    }
}

fn clock(clock: &ClockSeen, on_board: bool) -> Finding {
    let advice = if on_board {
        "Wait for the collector: the board takes the time from it as soon as it is reached."
    } else {
        "Switch on an NTP client (systemd-timesyncd or chrony). Until then the probe takes the time from its collector, which \
         is a little less exact; round-trip times do not depend on it."
    };
    match clock {
        ClockSeen::Synchronised(Some(error)) => {
            ok("clock", format!("synchronised, wrong by at most {:.3} ms", error.as_secs_f64() * 1e3))
        }
        ClockSeen::Synchronised(None) => ok("clock", "synchronised"),
        ClockSeen::NotSynchronised => warning("clock", "nobody keeps this machine's clock right", advice),
        ClockSeen::Unknown(why) => warning("clock", format!("the kernel does not say ({why})"), advice),
    }
}

fn resolvers(resolvers: &[ResolverFacts]) -> Vec<Finding> {
    let any = resolvers.iter().any(|resolver| resolver.answer == Asked::Answers);
    let judge = |resolver: &ResolverFacts| {
        let (ip, family) = (resolver.address.ip(), Family::of(resolver.address.ip()));
        let (text, advice) = match &resolver.answer {
            Asked::Answers => return ok("resolver", format!("{ip} answers over IPv{family}")),
            Asked::Error(why) => {
                (format!("{ip} answers with an error: {why}"), "It may not serve this machine; the others do.")
            }
            Asked::Silent => (
                format!("{ip} does not answer over IPv{family}"),
                "The others do. /etc/resolv.conf or sonde.toml names it.",
            ),
        };
        warning("resolver", text, advice)
    };
    // When none does, there is a word for it.
    resolvers.iter().filter(|_| any).map(judge).collect()
}

fn probe(probe: &ProbeSeen, explained: bool) -> Finding {
    match probe {
        ProbeSeen::Running(status) if status.state == State::Connected && status.key_note.is_none() => {
            ok("probe", status.line())
        }
        ProbeSeen::Running(status) if status.state == State::Connected => {
            warning("probe", status.line(), "It measures; the line says what to do about its key.")
        }
        ProbeSeen::Running(status) if status.state == State::Waiting => problem(
            "probe",
            status.line(),
            "Log in at the network and claim the probe with the code, or give code and key to the network's operator.",
        ),
        ProbeSeen::Running(status) if status.state == State::Connecting => {
            warning("probe", status.line(), "Wait a moment and ask again.")
        }
        ProbeSeen::Running(status) if explained => {
            warning("probe", status.line(), "It connects by itself when what is said above is repaired.")
        }
        ProbeSeen::Running(status) => problem("probe", status.line(), "The line says what is known of it."),
        ProbeSeen::NotRunning => {
            warning("probe", "no probe runs with this state directory", "Start it: sonde-probe run --state DIR …")
        }
    }
}

/// What is settled of a family, once it is: what does not work, and what to do about it. That the machine does not have the family
/// is no fault of anything.
fn reachability(af: Family, known: &FamilyMemory) -> Option<Finding> {
    let settled = known.settled.as_ref()?;
    let text = verdict::settled_text(af, settled);
    let mut advice: Vec<&str> = Vec::new();
    for one in settled.of(ReasonRole::Cause).filter_map(Reason::advice) {
        if !advice.contains(&one) {
            advice.push(one);
        }
    }
    let is_well = settled.of(ReasonRole::Cause).next().is_none();
    Some(if is_well || advice.is_empty() { ok("ipv6", text) } else { warning("ipv6", text, advice.join(" ")) })
}

/// The collectors that are reached. When none is, there is a word for it.
fn collectors(collectors: &[CollectorFacts]) -> Vec<Finding> {
    let judge = |one: &CollectorFacts| match (one.quic, one.ping) {
        (Quic::Ours, _) => Some(ok("collector", format!("{} answers, with the right key", one.address))),
        (_, Ping::Answers) => Some(ok("collector", format!("{} answers a ping", one.address.ip()))),
        _ => None,
    };
    collectors.iter().filter_map(judge).collect()
}

fn sandbox(report: &Report) -> Finding {
    let missing = report.missing();
    if missing.is_empty() {
        return ok("sandbox", report.line());
    }
    let degraded = warning("sandbox", report.line(), missing.join("\n"));
    Finding { word: Some(Word::NoSandbox.name()), ..degraded }
}

fn shown(reached: &Reached) -> String {
    match reached.address {
        Some(address) if address.to_string() != reached.name => format!("{} ({address})", reached.name),
        _ => reached.name.clone(),
    }
}

fn target(reached: &Reached) -> Finding {
    match &reached.answer {
        Ok(()) => ok("target", format!("{} answers a ping", shown(reached))),
        Err(why) => problem(
            "target",
            format!("{}: {why}", shown(reached)),
            "It may be down, or not answer pings, or be cut off from here.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use sonde_protocol::bounded::List;
    use sonde_protocol::result::ipv6::{FamilyState, Settled};
    use sonde_protocol::time::Nanos;

    use super::*;
    use crate::condition::Held;
    use crate::condition::facts::FamilyFacts;
    use crate::status::{HostLimits, Shown};

    /// A machine on which all is well.
    fn well() -> Seen {
        let sockets = |family| PingSockets { family, unprivileged: Opened::Yes, raw: Opened::Yes };
        Seen {
            sockets: vec![sockets(Family::V4), sockets(Family::V6)],
            group_range: Some((0, 2_147_483_647)),
            group: 1000,
            program: "/usr/bin/sonde-probe".into(),
            stamps: Stamps { departure: true, arrival: true },
            facts: facts(),
            clock: ClockSeen::Synchronised(Some(Duration::from_micros(1500))),
            now: BEFORE_SONDE + 1,
            ..Seen::default()
        }
    }

    fn facts() -> Facts {
        let family = || FamilyFacts { address: true, route: true, gateways: Vec::new() };
        let resolver = resolver("192.0.2.53:53", Asked::Answers);
        Facts {
            links: vec![("eth0".into(), true)],
            families: [family(), family()],
            resolvers: vec![resolver],
            ..Facts::default()
        }
    }

    fn resolver(address: &str, answer: Asked) -> ResolverFacts {
        ResolverFacts { address: address.parse().unwrap(), near: false, answer, tcp: None, ping: Ping::NotTried }
    }

    fn status(state: State, words: &[Word]) -> Option<ProbeSeen> {
        let now = Nanos(0);
        let held = |word: &Word| Held { word: *word, detail: String::new(), began: now, cut_off: false };
        Some(ProbeSeen::Running(Box::new(Status {
            state,
            since: 0,
            why: None,
            network: "test".into(),
            probe: Some(1),
            key: "key".into(),
            orders: 0,
            running: 0,
            spool: 0,
            written_today: 0,
            spool_trouble: None,
            uplink: None,
            reachability: None,
            host: HostLimits::default(),
            key_note: None,
            claim_code: None,
            conditions: words.iter().map(|word| Shown::of(&held(word), now, false)).collect(),
            sandbox: Report::default(),
        })))
    }

    fn reached(name: &str, answer: Result<(), &str>) -> Reached {
        Reached { name: name.into(), address: name.parse().ok(), answer: answer.map_err(Into::into) }
    }

    fn found(seen: &Seen, check: &str) -> Vec<(Level, String)> {
        let findings = judge(seen).into_iter().filter(|finding| finding.check == check);
        findings.map(|finding| (finding.level, finding.text + &finding.advice.unwrap_or_default())).collect()
    }

    #[test]
    fn where_all_is_well_nothing_is_to_be_done() {
        let findings = judge(&well());
        assert!(findings.iter().all(|finding| finding.level == Level::Ok && finding.advice.is_none()), "{findings:?}");
    }

    #[test]
    fn closed_ping_sockets_are_a_problem_with_the_way_to_open_them() {
        let refused = || Opened::No("Permission denied".into());
        let mut seen = well();
        seen.sockets = vec![PingSockets { family: Family::V4, unprivileged: refused(), raw: refused() }];
        for (range, words) in
            [(Some((1, 0)), "\"1 0\", which is nobody"), (Some((0, 9)), "group is 1000"), (None, "denied")]
        {
            seen.group_range = range;
            let [(level, text)] = found(&seen, "ping").try_into().unwrap();
            assert_eq!(level, Level::Problem);
            assert!(
                text.contains(words) && text.contains("sysctl -w net.ipv4.ping_group_range=\"0 2147483647\""),
                "{text}"
            );
            assert!(
                text.contains("/etc/sysctl.d/") && text.contains("setcap cap_net_raw+ep /usr/bin/sonde-probe"),
                "{text}"
            );
        }
        let [(level, text)] = found(&seen, "raw").try_into().unwrap();
        assert!(level == Level::Warning && text.contains("TCP traceroute"), "{text}");
    }

    #[test]
    fn a_raw_socket_does_where_the_other_is_closed() {
        let mut seen = well();
        seen.sockets =
            vec![PingSockets { family: Family::V4, unprivileged: Opened::No("no".into()), raw: Opened::Yes }];
        assert_eq!(found(&seen, "ping")[0].0, Level::Ok);
    }

    #[test]
    fn one_missing_family_is_a_warning_and_two_are_a_problem_with_a_word() {
        for (routes, levels, word) in [
            ([true, false], vec![Level::Ok, Level::Warning], None),
            ([false, true], vec![Level::Warning, Level::Ok], None),
            ([false, false], vec![], Some("no-route")),
        ] {
            let mut seen = well();
            for (family, has) in seen.facts.families.iter_mut().zip(routes) {
                family.route = has;
            }
            let found = found(&seen, "route");
            assert_eq!(found.iter().map(|(level, _)| *level).collect::<Vec<_>>(), levels);
            assert_eq!(judge(&seen)[0].word, word);
        }
    }

    #[test]
    fn a_silent_resolver_beside_one_that_answers_is_a_warning() {
        let silent = || resolver("[2001:db8::53]:53", Asked::Silent);
        let mut seen = well();
        seen.facts.resolvers.push(silent());
        assert!(found(&seen, "resolver").iter().map(|(level, _)| *level).eq([Level::Ok, Level::Warning]));
        assert_eq!(judge(&seen)[0].word, None);
        seen.facts.resolvers = vec![silent()];
        assert_eq!((judge(&seen)[0].word, judge(&seen)[0].level), (Some("dns-silent"), Level::Problem));
    }

    #[test]
    fn what_the_running_probe_alone_knows_is_said_and_the_network_is_judged_as_it_is_now() {
        let words = [Word::KeyRefused, Word::UdpBlocked, Word::Paused];
        let seen = Seen { probe: status(State::Refused, &words), ..well() };
        let said: Vec<_> = judge(&seen).iter().filter_map(|one| Some((one.word?, one.level))).collect();
        assert_eq!(said, [("key-refused", Level::Problem), ("paused", Level::Note)]);
        assert_eq!(found(&seen, "probe")[0].0, Level::Warning, "it is explained");
    }

    #[test]
    fn a_clock_that_was_never_set_is_wrong() {
        let seen = Seen { now: 3600, ..well() };
        assert_eq!(judge(&seen)[0].word, Some("clock-wrong"));
    }

    #[test]
    fn an_unsynchronised_clock_is_a_warning() {
        for clock in [ClockSeen::NotSynchronised, ClockSeen::Unknown("Operation not permitted".into())] {
            assert_eq!(found(&Seen { clock, ..well() }, "clock")[0].0, Level::Warning);
        }
        let advice = |on_board| {
            let seen = Seen { clock: ClockSeen::NotSynchronised, on_board, ..well() };
            judge(&seen).into_iter().find(|one| one.check == "clock").and_then(|one| one.advice).unwrap_or_default()
        };
        assert!(advice(false).contains("NTP client"));
        assert!(advice(true).contains("Wait for the collector") && !advice(true).contains("NTP"), "{}", advice(true));
    }

    #[test]
    fn what_is_missing_of_the_sandbox_is_said() {
        let whole = Report { enabled: true, landlock_abi: Some(7), seccomp: true, ..Report::default() };
        let of = |report: &Report| found(&Seen { sandbox: Some(report.clone()), ..well() }, "sandbox").remove(0);
        assert_eq!(of(&whole), (Level::Ok, "Landlock 7, seccomp, no capabilities".into()));
        let raw = Report { capabilities: vec!["CAP_NET_RAW".into()], ..whole.clone() };
        assert_eq!(of(&raw), (Level::Ok, "Landlock 7, seccomp, CAP_NET_RAW".into()));
        let (level, words) = of(&Report { landlock_abi: None, ..whole.clone() });
        assert!(level == Level::Warning && words.contains("5.13"), "{words}");
        let (level, words) = of(&Report { capabilities: vec!["CAP_DAC_OVERRIDE".into()], ..whole.clone() });
        assert!(level == Level::Warning && words.contains("another user"), "{words}");
        let (level, words) = of(&Report { refused: vec!["cannot close the files: no".into()], ..whole.clone() });
        assert!(level == Level::Warning && words.contains("close the files: no"), "{words}");
        let (level, words) = of(&Report { seccomp: false, ..whole });
        assert!(level == Level::Warning && words.contains("system calls"), "{words}");
        let (level, words) = of(&Report::default());
        assert!(level == Level::Ok && words.contains("enabled = true"), "{words}");
    }

    #[test]
    fn the_running_probe_is_asked() {
        for (probe, expected) in [
            (status(State::Connected, &[]), Level::Ok),
            (status(State::Refused, &[]), Level::Problem),
            (status(State::Waiting, &[Word::PendingClaim]), Level::Problem),
            (status(State::Disconnected, &[]), Level::Problem),
            (Some(ProbeSeen::NotRunning), Level::Warning),
        ] {
            assert_eq!(found(&Seen { probe, ..well() }, "probe")[0].0, expected);
        }
    }

    #[test]
    fn what_is_settled_is_said_with_what_to_do() {
        let settled = |state, reasons: &[Reason]| FamilyMemory {
            settled: Some(Settled { state, reasons: List::cut(reasons.iter().copied()) }),
            ..FamilyMemory::default()
        };
        let mut seen = well();
        assert!(found(&seen, "ipv6").is_empty(), "nothing is settled yet");
        seen.settled.v6 = settled(FamilyState::Broken, &[Reason::NoRoute]);
        seen.settled.v4 = settled(FamilyState::Native, &[Reason::Nat44]);
        let [(v6, said), (v4, _)] = &found(&seen, "ipv6")[..] else { panic!("two families") };
        assert_eq!((*v6, *v4), (Level::Warning, Level::Ok));
        assert!(said.contains("broken (no-route)") && said.contains("no default route"), "{said}");
        seen.settled.v6 = settled(FamilyState::None, &[Reason::NoAddress]);
        assert_eq!(found(&seen, "ipv6")[0].0, Level::Ok, "not to have it is no fault");
    }

    #[test]
    fn a_target_is_named_with_its_address() {
        let target = Reached {
            name: "example.net".into(),
            address: "192.0.2.1".parse().ok(),
            answer: Err("no answer within 2 s".into()),
        };
        let found = found(&Seen { targets: vec![target, reached("192.0.2.2", Ok(()))], ..well() }, "target");
        assert!(
            found[0].0 == Level::Problem && found[0].1.starts_with("example.net (192.0.2.1): no answer"),
            "{found:?}"
        );
        assert_eq!(found[1], (Level::Ok, "192.0.2.2 answers a ping".into()));
    }
}
