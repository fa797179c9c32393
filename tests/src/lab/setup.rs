//! Making the namespaces, links, addresses and routes that the table in `topology` says.
//!
//! Most of the time would go into starting programs, so there is one `ip -batch` per step and namespace, all namespaces
//! at once, and settings are written to /proc/sys from inside.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};

use super::namespace::{FILES, Namespace, feed};
use super::path::{steps, steps_around};
use super::topology::{Branch, Family, Host, Link, Node, Port, Router, Segment, V6_PREFIX_LENGTH, segments};
use super::wire::WireLink;
use super::{LabOptions, sys};

/// How long an interface may take to come up.
const UP_PATIENCE: Duration = Duration::from_secs(10);

/// Makes everything, short of the processes.
pub(super) fn build(prefix: &str, options: &LabOptions) -> anyhow::Result<BTreeMap<Node, Namespace>> {
    let long = options.long_path;
    let nodes = Node::all(long);
    write_files(prefix, &nodes)?;
    let batch: String = nodes.iter().map(|node| format!("netns add {}\n", name(prefix, *node))).collect();
    ip(&batch).context("create the namespaces")?;
    let namespaces = nodes
        .iter()
        .map(|node| Ok((*node, Namespace::open(&name(prefix, *node))?)))
        .collect::<anyhow::Result<BTreeMap<_, _>>>()?;
    // Before the interfaces, so that these begin with the right defaults.
    in_each(&namespaces, |node, namespace| settings(node, namespace, options))?;
    ip(&links(prefix, long)).context("create the links")?;
    in_each(&namespaces, |node, namespace| {
        let interfaces = interfaces(node, long);
        namespace.run(|| interfaces.iter().try_for_each(|name| sys::offloads_off(name)))?;
        namespace.feed("ip", &["-batch", "-"], &addresses(node, long))
    })?;
    // A route needs its interface up, and that the one at the other end.
    in_each(&namespaces, |node, namespace| {
        if node == Node::Router(Router::NatGateway) {
            namespace.nft(
                "table ip nat { chain post { type nat hook postrouting priority srcnat; oifname \"wan\" masquerade; }; }",
            )?;
        }
        namespace.feed("ip", &["-batch", "-"], &routes(node, long))?;
        namespace.run(|| wait_until_up(&interfaces(node, long)))
    })?;
    Ok(namespaces)
}

/// The kernel brings interfaces up in its own time, and what is sent meanwhile is lost; the first ARP request is repeated
/// only after a second.
pub(super) fn wait_until_up(interfaces: &[String]) -> anyhow::Result<()> {
    let deadline = Instant::now() + UP_PATIENCE;
    for interface in interfaces {
        let directory = Path::new("/sys/class/net").join(interface);
        let is =
            |file: &str, wanted: &str| fs::read_to_string(directory.join(file)).is_ok_and(|text| text.trim() == wanted);
        // 3 is the state "forwarding" of a bridge's port.
        while !is("operstate", "up") || (directory.join("brport").exists() && !is("brport/state", "3")) {
            ensure!(Instant::now() < deadline, "{interface} does not come up");
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// The wire's links with the names of their interfaces.
pub(super) fn wire_links(long_path: bool) -> Vec<WireLink> {
    let links = segments(long_path).filter_map(|segment| segment.link);
    links.map(|link| WireLink { link, interfaces: ["a", "b"].map(|end| format!("{}-{end}", link.name())) }).collect()
}

/// What a node's interface to a link is called.
pub(super) fn interface(node: Node, link: Link) -> anyhow::Result<&'static str> {
    let port = segments(true).find(|segment| segment.link == Some(link)).and_then(|segment| segment.port(node));
    port.map(|port| port.interface).with_context(|| format!("{} is not on {}", node.name(), link.name()))
}

/// A namespace's name.
fn name(prefix: &str, node: Node) -> String {
    format!("{prefix}-{}", node.name())
}

fn ip(batch: &str) -> anyhow::Result<()> {
    feed(Command::new("ip").args(["-batch", "-"]), batch)
}

/// Does the same for all namespaces at once.
pub(super) fn in_each(
    namespaces: &BTreeMap<Node, Namespace>,
    work: impl Fn(Node, &Namespace) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = namespaces
            .iter()
            .map(|(node, namespace)| {
                let work = &work;
                scope.spawn(move || work(*node, namespace).with_context(|| format!("set up {}", node.name())))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked"))))
    })
}

/// Name server and host names for programs inside.
fn write_files(prefix: &str, nodes: &[Node]) -> anyhow::Result<()> {
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    for host in nodes.iter().filter_map(|node| if let Node::Host(host) = node { Some(*host) } else { None }) {
        let directory = Path::new(FILES).join(name(prefix, Node::Host(host)));
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        let servers: String = resolvers(host).iter().map(|address| format!("nameserver {address}\n")).collect();
        fs::write(directory.join("resolv.conf"), servers).context("write resolv.conf")?;
        let hosts = format!("127.0.0.1 localhost {machine}\n::1 localhost\n", machine = machine.trim());
        fs::write(directory.join("hosts"), hosts).context("write hosts")?;
    }
    Ok(())
}

/// The name servers in a host's resolv.conf.
pub(super) fn resolvers(host: Host) -> Vec<std::net::IpAddr> {
    match host {
        Host::Nat => nat_gateway_inside().into_iter().collect(),
        _ => Family::ALL
            .into_iter()
            .filter(|family| host.address(*family).is_some())
            .filter_map(|family| Host::Dns.address(family))
            .collect(),
    }
}

/// The NAT router's address on its LAN.
pub(super) fn nat_gateway_inside() -> Option<std::net::IpAddr> {
    let lan = segments(false).find(|segment| segment.private)?;
    lan.addresses(Node::Router(Router::NatGateway), Family::V4).first().copied()
}

fn settings(node: Node, namespace: &Namespace, options: &LabOptions) -> anyhow::Result<()> {
    let mut settings: Vec<(String, &str)> = Vec::new();
    let mut set = |key: &str, value| settings.push((key.to_owned(), value));
    for scope in ["all", "default"] {
        set(&format!("net/ipv4/conf/{scope}/rp_filter"), "0");
        for (key, value) in
            [("accept_dad", "0"), ("dad_transmits", "0"), ("accept_ra", "0"), ("router_solicitations", "0")]
        {
            set(&format!("net/ipv6/conf/{scope}/{key}"), value);
        }
    }
    set("net/ipv4/icmp_ratelimit", "0");
    set("net/ipv6/icmp/ratelimit", "0");
    if matches!(node, Node::Router(router) if router != Router::Mpls) {
        set("net/ipv4/ip_forward", "1");
        set("net/ipv6/conf/all/forwarding", "1");
        set("net/ipv4/icmp_errors_use_inbound_ifaddr", "1");
    }
    if node == Node::Router(Router::Fork) {
        // The ports decide too, as they do in the routers of the Internet.
        set("net/ipv4/fib_multipath_hash_policy", "1");
        set("net/ipv6/fib_multipath_hash_policy", "1");
    }
    if matches!(node, Node::Wire | Node::Host(Host::Nat)) {
        set("net/ipv6/conf/all/disable_ipv6", "1");
        set("net/ipv6/conf/default/disable_ipv6", "1");
    }
    if options.ping_sockets && matches!(node, Node::Host(_)) {
        set("net/ipv4/ping_group_range", "0 2147483647");
    }
    namespace.run(|| {
        for (key, value) in &settings {
            fs::write(Path::new("/proc/sys").join(key), value).with_context(|| format!("set {key}"))?;
        }
        // Kernels before 6.11 have these for the whole machine alone, and there they stay as they are.
        let _ = fs::write("/proc/sys/net/ipv4/icmp_msgs_per_sec", "1000000");
        let _ = fs::write("/proc/sys/net/ipv4/icmp_msgs_burst", "1000000");
        // Not before Linux 6.11: the same flows then take the same branches in every lab, over IPv6 too.
        let _ = fs::write("/proc/sys/net/ipv4/fib_multipath_hash_seed", options.hash_seed().to_string());
        Ok(())
    })
}

/// Whether a segment is more than a cable, so that its router needs a bridge.
fn has_bridge(segment: &Segment, port: &Port) -> bool {
    segment.ports.len() > 2 && matches!(port.node, Node::Router(_))
}

/// All veth pairs, each end made where it belongs.
fn links(prefix: &str, long_path: bool) -> String {
    let mut batch = String::new();
    // Far from the numbers that the kernel gives to the other ends: where both happen to be the same, it does not see
    // that this is a pair and takes a second to bring it up.
    let mut index = 1000;
    let mut pair = |(from, from_name): (Node, &str), (to, to_name): (Node, &str)| {
        let (from, to) = (name(prefix, from), name(prefix, to));
        index += 1;
        // Writing to a String cannot fail.
        let _ = writeln!(
            batch,
            "link add name {from_name} index {index} netns {from} type veth peer name {to_name} netns {to}"
        );
    };
    for segment in segments(long_path) {
        let [first, others @ ..] = segment.ports else { continue };
        match segment.link {
            Some(link) => {
                for (port, end) in segment.ports.iter().zip(["a", "b"]) {
                    pair((port.node, port.interface), (Node::Wire, &format!("{}-{end}", link.name())));
                }
            }
            None if has_bridge(segment, first) => {
                for (number, port) in (1..).zip(others) {
                    pair((first.node, &format!("{}-{number}", first.interface)), (port.node, port.interface));
                }
            }
            None => {
                for port in others {
                    pair((first.node, first.interface), (port.node, port.interface));
                }
            }
        }
    }
    batch
}

/// The veth ends in a node's namespace.
fn interfaces(node: Node, long_path: bool) -> Vec<String> {
    if node == Node::Wire {
        return wire_links(long_path).into_iter().flat_map(|link| link.interfaces).collect();
    }
    let mut names = Vec::new();
    for segment in segments(long_path) {
        match segment.port(node) {
            Some(port) if has_bridge(segment, port) => {
                names.extend((1..segment.ports.len()).map(|number| format!("{}-{number}", port.interface)));
            }
            Some(port) => names.push(port.interface.to_owned()),
            None => {}
        }
    }
    names
}

/// Interfaces up, with their addresses.
fn addresses(node: Node, long_path: bool) -> String {
    let mut batch = String::from("link set dev lo up\n");
    let mut line = |words: String| {
        batch.push_str(&words);
        batch.push('\n');
    };
    for segment in segments(long_path) {
        let Some(port) = segment.port(node) else { continue };
        if has_bridge(segment, port) {
            line(format!("link add name {} type bridge stp_state 0 forward_delay 0 mcast_snooping 0", port.interface));
            for number in 1..segment.ports.len() {
                line(format!("link set dev {}-{number} master {}", port.interface, port.interface));
            }
        }
    }
    for interface in interfaces(node, long_path) {
        line(format!("link set dev {interface} up"));
    }
    for segment in segments(long_path) {
        let Some(port) = segment.port(node) else { continue };
        if has_bridge(segment, port) {
            line(format!("link set dev {} up", port.interface));
        }
        for family in Family::ALL {
            let length = match family {
                Family::V4 => segment.v4.map_or(32, |(_, length)| length),
                Family::V6 => V6_PREFIX_LENGTH,
            };
            let flag = if family == Family::V6 { " nodad" } else { "" };
            for address in segment.addresses(node, family) {
                line(format!("addr add {address}/{length} dev {}{flag}", port.interface));
            }
        }
    }
    batch
}

/// Lines for `ip` that make a node's IPv6 addresses on its segments preferred or deprecated.
pub(super) fn set_preferred(node: Node, long_path: bool, preferred: bool) -> String {
    let lifetime = if preferred { "forever" } else { "0" };
    let mut batch = String::new();
    for segment in segments(long_path) {
        for address in segment.addresses(node, Family::V6) {
            let interface = segment.port(node).map_or("", |port| port.interface);
            let _ = writeln!(
                batch,
                "addr change {address}/{V6_PREFIX_LENGTH} dev {interface} nodad valid_lft forever preferred_lft {lifetime}"
            );
        }
    }
    batch
}

/// A default route where there is one way out, else one route per segment elsewhere.
pub(super) fn routes(node: Node, long_path: bool) -> String {
    let mut batch = String::new();
    for family in Family::ALL {
        let everything = if family == Family::V4 { "0.0.0.0/0" } else { "::/0" };
        let is_core = node.is_on_long_path() || matches!(node, Node::Router(Router::R1 | Router::R2 | Router::R3));
        if !is_core || matches!(node, Node::Host(_)) {
            // The core is reached by the one neighbouring router, if at all.
            let way = steps(node, Node::Router(Router::R2), family);
            if let Some(via) = way.and_then(|steps| steps.first()?.address(family)) {
                let _ = writeln!(batch, "route replace {everything} via {via}");
            }
            continue;
        }
        for segment in segments(long_path).filter(|segment| !segment.private && segment.port(node).is_none()) {
            let Some(prefix) = segment.prefix(family).filter(|_| segment.has(family)) else { continue };
            let vias: Vec<String> = if is_behind_the_fork(node, segment) {
                Branch::ALL.iter().filter_map(|branch| via(&branch.other().routers(), node, segment, family)).collect()
            } else {
                via(&[], node, segment, family).into_iter().collect()
            };
            match vias.as_slice() {
                [] => {}
                [via] => {
                    let _ = writeln!(batch, "route replace {prefix} via {via}");
                }
                several => {
                    let hops: String = several.iter().map(|via| format!(" nexthop via {via}")).collect();
                    let _ = writeln!(batch, "route replace {prefix}{hops}");
                }
            }
        }
    }
    batch
}

/// Whether both branches lead from this node to the segment, equally far.
fn is_behind_the_fork(node: Node, segment: &Segment) -> bool {
    let is_branch = |port: &Port| matches!(port.node, Node::Router(Router::A1 | Router::A2 | Router::B1 | Router::B2));
    let is_beyond = |port: &Port| port.node.is_on_long_path() && port.node != Node::Router(Router::Fork);
    let ports = segment.ports;
    node == Node::Router(Router::Fork) && ports.iter().all(is_beyond) && !ports.iter().any(is_branch)
}

/// The next router on the shortest way to a segment that avoids some routers.
fn via(around: &[Router], node: Node, segment: &Segment, family: Family) -> Option<String> {
    let routers = segment.ports.iter().filter(|port| matches!(port.node, Node::Router(_)));
    let way = routers.filter_map(|port| steps_around(around, node, port.node, family)).min_by_key(Vec::len)?;
    Some(way.first()?.address(family)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_follow_the_drawing() {
        assert_eq!(
            routes(Node::Host(Host::Dual), false),
            "route replace 0.0.0.0/0 via 20.10.1.1\nroute replace ::/0 via 2a0e:5a00:100:aa00::1\n"
        );
        assert_eq!(routes(Node::Host(Host::V4Only), false), "route replace 0.0.0.0/0 via 20.11.1.1\n");
        assert!(routes(Node::Router(Router::R2), false).contains("route replace 20.10.1.0/24 via 20.1.2.1\n"));
        assert!(!routes(Node::Router(Router::R1), true).contains("192.168"));
        let fork = routes(Node::Router(Router::Fork), true);
        assert!(fork.contains("route replace 20.40.1.0/24 nexthop via 20.2.10.2 nexthop via 20.2.20.2\n"), "{fork}");
        assert!(fork.contains("route replace 20.2.11.0/24 via 20.2.10.2\n"), "{fork}");
        assert!(routes(Node::Router(Router::Join), true).contains("route replace 20.10.1.0/24 via 20.2.12.1\n"));
    }

    #[test]
    fn interface_names_fit_into_the_kernels_fifteen_bytes() {
        for node in Node::all(true) {
            for name in interfaces(node, true) {
                assert!(name.len() <= 15, "{name}");
            }
        }
    }

    #[test]
    fn each_host_asks_a_resolver_it_can_reach() {
        let text = |host| resolvers(host).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text(Host::Dual), ["20.21.1.53", "2a0e:5a00:201:1::53"]);
        assert_eq!(text(Host::V6Only), ["2a0e:5a00:201:1::53"]);
        assert_eq!(text(Host::Nat), ["192.168.7.1"]);
    }
}
