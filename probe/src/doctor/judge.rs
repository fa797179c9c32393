//! From what was seen to what is said. Pure.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sonde_protocol::net::Family;

use super::{Finding, Level};
use crate::status::State;

/// What a look at the machine gave.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) sockets: Vec<PingSockets>,
    /// `net.ipv4.ping_group_range`, and a group of this process.
    pub(super) group_range: Option<(u32, u32)>,
    pub(super) group: u32,
    pub(super) program: String,
    pub(super) stamps: Stamps,
    pub(super) routes: Vec<(Family, bool)>,
    pub(super) clock: ClockSeen,
    pub(super) resolvers: Vec<ResolverSeen>,
    /// The running probe, when a state directory was named.
    pub(super) probe: Option<ProbeSeen>,
    /// The network's collectors, when a network was named.
    pub(super) collectors: Option<Vec<Reached>>,
    pub(super) targets: Vec<Reached>,
}

/// Which ICMP sockets of a family can be opened.
#[derive(Debug, Clone)]
pub(super) struct PingSockets {
    pub(super) family: Family,
    pub(super) unprivileged: Opened,
    pub(super) raw: Opened,
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
pub(super) struct ResolverSeen {
    pub(super) address: SocketAddr,
    pub(super) answer: ResolverAnswer,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ResolverAnswer {
    Answers,
    /// It answers, with an error.
    Error(String),
    /// It does not.
    No(String),
}

#[derive(Debug, Clone)]
pub(super) enum ProbeSeen {
    Running { state: State, line: String, key_note: Option<String> },
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
    Finding { check, level: Level::Ok, text: text.into(), advice: None }
}

fn warning(check: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { check, level: Level::Warning, text: text.into(), advice: Some(advice.into()) }
}

fn problem(check: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { check, level: Level::Problem, text: text.into(), advice: Some(advice.into()) }
}

/// All that is to be said, in the order in which one would repair it.
pub(super) fn judge(seen: &Seen) -> Vec<Finding> {
    let mut findings = routes(seen);
    findings.extend(seen.sockets.iter().map(|sockets| ping(sockets, seen)));
    findings.push(raw(seen));
    findings.push(stamps(seen.stamps));
    findings.push(clock(&seen.clock));
    findings.extend(resolvers(&seen.resolvers));
    findings.extend(seen.probe.as_ref().map(probe));
    if let Some(reached) = &seen.collectors {
        findings.extend(collectors(reached, seen));
    }
    findings.extend(seen.targets.iter().map(target));
    findings
}

fn routes(seen: &Seen) -> Vec<Finding> {
    let none = seen.routes.iter().all(|(_, has)| !has);
    let judge = |(family, has): &(Family, bool)| {
        let text = format!("IPv{family} has no address with a way to the internet");
        match (has, none) {
            (true, _) => ok("route", format!("IPv{family} has an address and a way to the internet")),
            (false, false) => {
                warning("route", text, format!("Measurements over IPv{family} are skipped until it has: \"no route\"."))
            }
            (false, true) => problem("route", text, "Check the cable or wireless connection, and the router."),
        }
    };
    seen.routes.iter().map(judge).collect()
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
            problem(
                "ping",
                format!("IPv{family} may not be used: {range}; ping, ICMP traceroute and pathmtu will fail"),
                format!(
                    "Allow it now (this rules IPv4 and IPv6):\n  sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"\n\
                     and for ever:\n  echo 'net.ipv4.ping_group_range = 0 2147483647' > /etc/sysctl.d/60-sonde.conf\n\
                     or give the program the capability:\n  setcap cap_net_raw+ep {}",
                    seen.program
                ),
            )
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

fn clock(clock: &ClockSeen) -> Finding {
    let advice = "Switch on an NTP client (systemd-timesyncd or chrony). Until then the probe takes the time from its \
                  collector, which is a little less exact; round-trip times do not depend on it.";
    match clock {
        ClockSeen::Synchronised(Some(error)) => {
            ok("clock", format!("synchronised, wrong by at most {:.3} ms", error.as_secs_f64() * 1e3))
        }
        ClockSeen::Synchronised(None) => ok("clock", "synchronised"),
        ClockSeen::NotSynchronised => warning("clock", "nobody keeps this machine's clock right", advice),
        ClockSeen::Unknown(why) => warning("clock", format!("the kernel does not say ({why})"), advice),
    }
}

fn resolvers(resolvers: &[ResolverSeen]) -> Vec<Finding> {
    if resolvers.is_empty() {
        let advice =
            "Put `nameserver ADDRESS` into /etc/resolv.conf, or name resolvers in sonde.toml, section [policy].";
        return vec![problem("resolver", "no resolver is configured: no name can be looked up", advice)];
    }
    let any = resolvers.iter().any(|resolver| resolver.answer == ResolverAnswer::Answers);
    let judge = |resolver: &ResolverSeen| {
        let (ip, family) = (resolver.address.ip(), Family::of(resolver.address.ip()));
        let (text, advice) = match &resolver.answer {
            ResolverAnswer::Answers => return ok("resolver", format!("{ip} answers over IPv{family}")),
            ResolverAnswer::Error(why) => {
                (format!("{ip} answers with an error: {why}"), "It may not serve this machine.")
            }
            ResolverAnswer::No(why) => (
                format!("{ip} does not answer over IPv{family}: {why}"),
                "Is it the right one, and may UDP port 53 pass? /etc/resolv.conf or sonde.toml names it.",
            ),
        };
        if any { warning("resolver", text, advice) } else { problem("resolver", text, advice) }
    };
    resolvers.iter().map(judge).collect()
}

fn probe(probe: &ProbeSeen) -> Finding {
    match probe {
        ProbeSeen::Running { state: State::Connected, line, key_note: None } => ok("probe", line),
        ProbeSeen::Running { state: State::Connected, line, .. } => {
            warning("probe", line, "It measures; the line says what to do about its key.")
        }
        ProbeSeen::Running { state: State::Waiting, line, .. } => problem(
            "probe",
            line,
            "Log in at the network and claim the probe with the code, or give code and key to the network's operator.",
        ),
        ProbeSeen::Running { state: State::Connecting, line, .. } => {
            warning("probe", line, "Wait a moment and ask again.")
        }
        ProbeSeen::Running { line, .. } => {
            problem("probe", line, "The line says what to do; the findings around it may too.")
        }
        ProbeSeen::NotRunning => {
            warning("probe", "no probe runs with this state directory", "Start it: sonde-probe run --state DIR …")
        }
    }
}

fn shown(reached: &Reached) -> String {
    match reached.address {
        Some(address) if address.to_string() != reached.name => format!("{} ({address})", reached.name),
        _ => reached.name.clone(),
    }
}

/// A collector's host may be told not to answer a ping, so silence alone is no proof; a probe that is connected is one.
fn collectors(reached: &[Reached], seen: &Seen) -> Vec<Finding> {
    if reached.is_empty() {
        let advice = "Ask the network's operator for its network.toml, and give it with --network.";
        return vec![problem("collector", "the network names no collector that could be reached from here", advice)];
    }
    let connected = matches!(seen.probe, Some(ProbeSeen::Running { state: State::Connected, .. }));
    let any = connected || reached.iter().any(|one| one.answer.is_ok());
    let judge = |one: &Reached| {
        let why = match &one.answer {
            Ok(()) => return ok("collector", format!("{} answers a ping", shown(one))),
            Err(why) => why,
        };
        let text = format!("{}: {why}", shown(one));
        let advice = "The host may not answer pings; if the probe does not connect either, the way to it is closed: UDP may \
                      be blocked, or the host is down.";
        if any { warning("collector", text, advice) } else { problem("collector", text, advice) }
    };
    reached.iter().map(judge).collect()
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
    use super::*;

    /// A machine on which all is well.
    fn well() -> Seen {
        let sockets = |family| PingSockets { family, unprivileged: Opened::Yes, raw: Opened::Yes };
        Seen {
            sockets: vec![sockets(Family::V4), sockets(Family::V6)],
            group_range: Some((0, 2_147_483_647)),
            group: 1000,
            program: "/usr/bin/sonde-probe".into(),
            stamps: Stamps { departure: true, arrival: true },
            routes: vec![(Family::V4, true), (Family::V6, true)],
            clock: ClockSeen::Synchronised(Some(Duration::from_micros(1500))),
            resolvers: vec![resolver("192.0.2.53:53", ResolverAnswer::Answers)],
            ..Seen::default()
        }
    }

    fn resolver(address: &str, answer: ResolverAnswer) -> ResolverSeen {
        ResolverSeen { address: address.parse().unwrap(), answer }
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
    fn one_missing_family_is_a_warning_and_two_are_a_problem() {
        for (routes, levels) in [
            ([true, false], [Level::Ok, Level::Warning]),
            ([false, true], [Level::Warning, Level::Ok]),
            ([false, false], [Level::Problem, Level::Problem]),
        ] {
            let routes = vec![(Family::V4, routes[0]), (Family::V6, routes[1])];
            let found = found(&Seen { routes, ..well() }, "route");
            assert_eq!(found.iter().map(|(level, _)| *level).collect::<Vec<_>>(), levels);
        }
    }

    #[test]
    fn a_silent_resolver_beside_one_that_answers_is_a_warning() {
        let silent = || resolver("[2001:db8::53]:53", ResolverAnswer::No("no answer in time".into()));
        let both = vec![resolver("192.0.2.53:53", ResolverAnswer::Answers), silent()];
        let levels = |resolvers| found(&Seen { resolvers, ..well() }, "resolver").into_iter().map(|(level, _)| level);
        assert!(levels(both).eq([Level::Ok, Level::Warning]));
        assert!(levels(vec![silent()]).eq([Level::Problem]));
        assert!(levels(vec![]).eq([Level::Problem]));
    }

    #[test]
    fn an_unsynchronised_clock_is_a_warning() {
        for clock in [ClockSeen::NotSynchronised, ClockSeen::Unknown("Operation not permitted".into())] {
            assert_eq!(found(&Seen { clock, ..well() }, "clock")[0].0, Level::Warning);
        }
    }

    #[test]
    fn a_collector_that_answers_no_ping_is_a_problem_unless_the_probe_is_connected() {
        let silent = || Some(vec![reached("192.0.2.9", Err("no answer"))]);
        let running = |state| Some(ProbeSeen::Running { state, line: "probe 1".into(), key_note: None });
        let level = |seen: &Seen| found(seen, "collector")[0].0;
        assert_eq!(level(&Seen { collectors: silent(), ..well() }), Level::Problem);
        assert_eq!(level(&Seen { collectors: silent(), probe: running(State::Connected), ..well() }), Level::Warning);
        let answers = Some(vec![reached("192.0.2.9", Ok(()))]);
        assert_eq!(level(&Seen { collectors: answers, ..well() }), Level::Ok);
        assert_eq!(level(&Seen { collectors: Some(vec![]), ..well() }), Level::Problem);
    }

    #[test]
    fn the_running_probe_is_asked() {
        let running = |state, key_note: Option<&str>| ProbeSeen::Running {
            state,
            line: "probe 1".into(),
            key_note: key_note.map(Into::into),
        };
        for (probe, expected) in [
            (running(State::Connected, None), Level::Ok),
            (running(State::Connected, Some("another probe has the same key")), Level::Warning),
            (running(State::Refused, None), Level::Problem),
            (running(State::Waiting, None), Level::Problem),
            (running(State::Disconnected, None), Level::Problem),
            (ProbeSeen::NotRunning, Level::Warning),
        ] {
            assert_eq!(found(&Seen { probe: Some(probe), ..well() }, "probe")[0].0, expected);
        }
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
