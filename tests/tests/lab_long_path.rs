//! The lab's long path and its faults are what they say, seen by other people's tools: `traceroute`, `ping` and `ip`, never
//! by our engines. Needs root; says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU32;

use sonde_tests::lab::packet::{ICMP, ICMPV6, TCP, UDP};
use sonde_tests::lab::{
    Branch, Family, Flow, Host, Lab, LabOptions, Link, MPLS_LABELS, Namespace, Node, Router, USUAL_MTU,
};
use sonde_tests::scene;

fn long_path() -> Option<Lab> {
    scene::lab(LabOptions { long_path: true, ..LabOptions::default() })
}

fn number(family: Family) -> &'static str {
    if family == Family::V4 { "-4" } else { "-6" }
}

fn far(family: Family) -> IpAddr {
    Host::Far.address(family).unwrap()
}

/// What a program says, on both outputs; its exit code is its own business.
fn said(inside: &Namespace, program: &str, arguments: &[&str]) -> String {
    let output = inside.command(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed (see CONTRIBUTING): {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The lines of hops that `traceroute` prints for the far target: number, then address and more, or `*`.
fn traceroute(lab: &Lab, from: Host, family: Family, more: &[&str]) -> Vec<String> {
    let dst = far(family).to_string();
    let arguments = [&["-n", number(family), "-w", "2"], more, &[dst.as_str()]].concat();
    let text = said(lab.host(from), "traceroute", &arguments);
    let lines = text.lines().skip(1).map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    assert!(!lines.is_empty(), "{text}");
    lines
}

/// The first address on each line, or what stands there instead.
fn addresses(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.split_whitespace().nth(1).unwrap_or_default()).collect()
}

fn truth(lab: &Lab, branch: Branch, from: Host, family: Family) -> Vec<String> {
    lab.path_over(branch, from, Host::Far, family).iter().map(|hop| hop.address.to_string()).collect()
}

/// `ping` of one packet with so many bytes of IP that must not be fragmented.
fn ping_whole(lab: &Lab, family: Family, length: u32) -> String {
    let headers = if family == Family::V4 { 28 } else { 48 };
    let (size, dst) = ((length - headers).to_string(), far(family).to_string());
    said(lab.host(Host::Dual), "ping", &["-n", number(family), "-M", "do", "-c", "1", "-W", "1", "-s", &size, &dst])
}

#[test]
fn traceroute_sees_the_true_path_of_each_flow_and_the_labels() {
    let Some(lab) = long_path() else { return };
    for (from, family) in
        [(Host::Dual, Family::V4), (Host::Dual, Family::V6), (Host::V4Only, Family::V4), (Host::V6Only, Family::V6)]
    {
        let icmp = if family == Family::V4 { ICMP } else { ICMPV6 };
        for (name, protocol, ports) in [
            ("-U", UDP, Some((40_000, 33_434))),
            ("-U", UDP, Some((40_003, 33_434))),
            ("-T", TCP, Some((40_001, 80))),
            ("-I", icmp, None),
        ] {
            let mut arguments = vec!["-e".to_owned(), "-q".into(), "1".into(), name.into()];
            if let Some((src, dst)) = ports {
                // Without a fixed source port each packet would be a flow of its own; and those go one by one.
                arguments.extend([format!("--sport={src}"), "-p".into(), dst.to_string()]);
            }
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let (src, dst) = (from.address(family).unwrap(), far(family));
            let branch = lab.branch(&Flow { src, dst, protocol, ports }).unwrap();
            let lines = traceroute(&lab, from, family, &arguments);
            let expected = truth(&lab, branch, from, family);
            assert_eq!(addresses(&lines), expected, "{name} from {from:?} over {family:?}: {lines:#?}");
            let labels: Vec<String> = (1..)
                .zip(MPLS_LABELS)
                .map(|(nth, label)| {
                    let bottom = u8::from(nth == MPLS_LABELS.len());
                    format!("L={},E={},S={bottom},T={}", label.label, label.exp, label.ttl)
                })
                .collect();
            let labelled: Vec<bool> = lines.iter().map(|line| line.contains(&labels.join("/"))).collect();
            let routers = lab.path_over(branch, from, Host::Far, family);
            let is_mpls: Vec<bool> = routers.iter().map(|hop| hop.node == Node::Router(Router::Mpls)).collect();
            assert_eq!(labelled, is_mpls, "{lines:#?}");
        }
    }
}

#[test]
fn the_fork_takes_both_branches_by_flow_and_the_kernel_tells_which() {
    let Some(lab) = long_path() else { return };
    for family in Family::ALL {
        let dst = far(family);
        let mut taken = BTreeSet::new();
        for port in 33_435..33_451 {
            lab.clear_wire_log().unwrap();
            let arguments = ["-U", "-q", "1", "-f", "9", "-m", "9", "--sport=40000", "-p", &port.to_string()];
            traceroute(&lab, Host::Dual, family, &arguments);
            let log = lab.wire_log().unwrap();
            let is_ours = |ip: &_| Flow::of(ip).dst == dst && Flow::of(ip).ports == Some((40_000, port));
            let branches = log.branches(|frame| frame.ip.is_some_and(|ip| is_ours(&ip)));
            let src = Host::Dual.address(family).unwrap();
            let said = lab.branch(&Flow { src, dst, protocol: UDP, ports: Some((40_000, port)) }).unwrap();
            assert_eq!(branches, BTreeSet::from([said]), "port {port} over {family:?}");
            taken.insert(said);
        }
        assert_eq!(taken, BTreeSet::from(Branch::ALL), "{family:?}");
    }
}

#[test]
fn silent_routers_and_routers_that_answer_from_elsewhere_are_seen_as_such() {
    let Some(lab) = long_path() else { return };
    let silent = [Router::R1, Router::Join, Router::Mpls];
    let elsewhere = [Router::R2, Router::Fork, Router::D1];
    for is_on in [true, false] {
        for router in silent {
            lab.set_silent(router, is_on).unwrap();
        }
        for router in elsewhere {
            lab.set_other_address(router, is_on).unwrap();
        }
        for family in Family::ALL {
            let (src, dst) = (Host::Dual.address(family).unwrap(), far(family));
            let branch = lab.branch(&Flow { src, dst, protocol: UDP, ports: Some((40_000, 33_434)) }).unwrap();
            let path = lab.path_over(branch, Host::Dual, Host::Far, family);
            for method in ["-U", "-I"] {
                let options = if method == "-U" { &["--sport=40000", "-p", "33434"][..] } else { &[] };
                let branch = if method == "-U" {
                    branch
                } else {
                    let protocol = if family == Family::V4 { ICMP } else { ICMPV6 };
                    lab.branch(&Flow { src, dst, protocol, ports: None }).unwrap()
                };
                let lines = traceroute(&lab, Host::Dual, family, &[&["-q", "1", method], options].concat());
                let expected: Vec<String> = lab
                    .path_over(branch, Host::Dual, Host::Far, family)
                    .iter()
                    .map(|hop| match hop.node {
                        Node::Router(router) if is_on && silent.contains(&router) => "*".to_owned(),
                        _ => hop.address.to_string(),
                    })
                    .collect();
                assert_eq!(addresses(&lines), expected, "{method} over {family:?}: {lines:#?}");
            }
            let others = path.iter().filter(|hop| match hop.node {
                Node::Router(router) => hop.address == router.other_address(family),
                _ => false,
            });
            assert_eq!(others.count(), if is_on { elsewhere.len() } else { 0 });
        }
    }
    assert!(lab.set_other_address(Router::Mpls, true).is_err());
}

#[test]
fn a_slow_router_answers_as_often_as_it_is_let() {
    let Some(lab) = long_path() else { return };
    for router in [Router::R2, Router::Mpls] {
        for family in Family::ALL {
            let position = lab.path(Host::Dual, Host::Far, family);
            let position = position.iter().position(|hop| hop.node == Node::Router(router)).unwrap() + 1;
            let hop = position.to_string();
            // One at a time, so that the answers are counted and not hurried.
            let ten = || {
                let options =
                    ["-U", "-q", "10", "-N", "10", "-w", "1", "-f", &hop, "-m", &hop, "--sport=40000", "-p", "33434"];
                let line = traceroute(&lab, Host::Dual, family, &options).remove(0);
                line.matches(" ms").count()
            };
            let capture = lab.capture_at(Node::Router(router)).unwrap();
            lab.set_rate_limit(router, NonZeroU32::new(1)).unwrap();
            let answers = ten();
            let packets = capture.stop().unwrap();
            let errors: Vec<i64> = packets
                .iter()
                .filter(|packet| packet.left() && packet.summary.quoted.is_some_and(|quoted| quoted.dst == far(family)))
                .map(|packet| packet.at)
                .collect();
            assert_eq!(errors.len(), answers, "{router:?} over {family:?}");
            let seconds = (errors.last().unwrap() - errors.first().unwrap()) / 1_000_000_000;
            assert!(errors.len() as i64 <= 1 + seconds, "{router:?} over {family:?}: {errors:?}");
            assert!(errors.len() < 10, "{router:?} over {family:?}: {errors:?}");
            let address = Node::Router(router).addresses(family)[0].to_string();
            let pings = said(lab.host(Host::Dual), "ping", &["-n", "-c", "5", "-i", "0.05", "-W", "2", &address]);
            assert!(pings.contains(" 5 received"), "{pings}");
            lab.set_rate_limit(router, None).unwrap();
            assert_eq!(ten(), 10, "{router:?} over {family:?}");
        }
    }
}

#[test]
fn a_small_mtu_is_said_by_the_router_in_front_of_it_unless_that_is_a_hole() {
    let Some(lab) = long_path() else { return };
    // In front of the second link is the router in user space.
    for (link, mtu, router) in [(Link::R2Fork, 1400, Router::R2), (Link::MplsD1, 1281, Router::Mpls)] {
        for family in Family::ALL {
            assert!(ping_whole(&lab, family, USUAL_MTU).contains("1 received"), "{family:?}");
            lab.set_mtu_hole(router, true).unwrap();
            lab.set_mtu(link, mtu).unwrap();
            let text = ping_whole(&lab, family, mtu + 1);
            assert!(text.contains("0 received") && !text.contains("mtu"), "{link:?} {family:?}: {text}");
            assert!(ping_whole(&lab, family, mtu).contains("1 received"), "{link:?} {family:?}");

            lab.set_mtu_hole(router, false).unwrap();
            let text = ping_whole(&lab, family, mtu + 1);
            assert!(text.replace(' ', "").contains(&format!("mtu={mtu}")), "{link:?} {family:?}: {text}");
            let address = lab.path(Host::Dual, Host::Far, family);
            let address = address.iter().find(|hop| hop.node == Node::Router(router)).unwrap().address.to_string();
            assert!(text.contains(&address), "{link:?} {family:?}: {text}");
            lab.set_mtu(link, USUAL_MTU).unwrap();
        }
    }
    assert!(lab.set_mtu(Link::R2Fork, 1279).is_err());
}

#[test]
fn a_lab_without_the_long_path_has_nothing_of_it() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    let names = &Lab::existing()[lab.prefix()];
    assert!(!names.iter().any(|name| name.ends_with("-far") || name.ends_with("-fork")), "{names:?}");
    assert_eq!(lab.path(Host::Dual, Host::Far, Family::V4), []);
}
