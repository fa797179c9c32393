//! From plans to what has to be made: namespaces, pairs of interfaces, and lines for `ip` and `nft` in each. Pure.
//!
//! ```text
//! host ── router ══ core ══ ref1 … ref4 (behind ref1, over a link of 1280 bytes: narrow)
//!                    ╠═ resolvers, authority, nat64, relay
//! ```
//!
//! Between the core and each machine there is a /30 of IPv4 and link-local IPv6, fe80::1 at the core.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use super::super::topology::Family;
use super::plan::{
    Fault, NARROW, NAT64_ADDRESS, NAT64_POOL, NAT64_PREFIX, Nat64, Place, Plan, RELAY, RELAY6, Resolver, SIX_RD,
    SIX_TO_FOUR, V4, V6, at, authority, reference,
};

/// The middle.
pub(super) const CORE: &str = "core";
/// Behind the first reference.
pub(super) const NARROW_NODE: &str = "narrow";
/// The provider's resolvers.
pub(super) const RESOLVERS: &str = "resolvers";
/// The name server of the references' zone.
pub(super) const AUTHORITY: &str = "authority";
/// The translator.
pub(super) const NAT64_NODE: &str = "nat64";
/// The other end of tunnels.
pub(super) const RELAY_NODE: &str = "relay";
/// Where the wire is, if there is one.
pub(super) const WIRE: &str = "wire";
/// How many references there are.
pub(super) const REFERENCES: usize = 4;
/// What a tunnel of IPv6 in IPv4 takes.
pub(super) const TUNNEL_MTU: u32 = 1480;

/// One namespace.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Lines for `ip -batch`: addresses, then routes.
    pub(super) ip: String,
    /// For `nft -f`.
    pub(super) nft: String,
    /// Below `/proc/sys/net`, set before there are interfaces.
    pub(super) settings: Vec<(String, String)>,
    /// Its interfaces with a counterpart.
    pub(super) interfaces: Vec<String>,
    /// Addresses for `resolv.conf`, where it is a host.
    pub(super) resolvers: Option<Vec<IpAddr>>,
}

impl Node {
    fn line(&mut self, line: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.ip, "{line}");
    }

    fn set(&mut self, key: &str, value: &str) {
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    /// A table of its own with one chain.
    fn chain(&mut self, family: &str, hook: &str, rules: &str) {
        let number = self.nft.matches("table").count();
        let _ = writeln!(self.nft, "table {family} lab{number} {{ chain c {{ type {hook};\n{rules}\n}}\n}}");
    }

    fn default_settings() -> Self {
        let mut node = Self::default();
        for scope in ["all", "default"] {
            node.set(&format!("ipv4/conf/{scope}/rp_filter"), "0");
            for (key, value) in
                [("accept_dad", "0"), ("dad_transmits", "0"), ("accept_ra", "0"), ("router_solicitations", "0")]
            {
                node.set(&format!("ipv6/conf/{scope}/{key}"), value);
            }
        }
        node.set("ipv4/icmp_ratelimit", "0");
        node.set("ipv6/icmp/ratelimit", "0");
        node.set("ipv4/ping_group_range", "0 2147483647");
        node.line("link set dev lo up");
        node
    }

    fn forwarding() -> Self {
        let mut node = Self::default_settings();
        node.set("ipv4/ip_forward", "1");
        node.set("ipv6/conf/all/forwarding", "1");
        node.set("ipv4/icmp_errors_use_inbound_ifaddr", "1");
        node
    }

    /// An interface with link-local address fe80::`last`, up.
    fn interface(&mut self, name: &str, last: u8) {
        self.interfaces.push(name.to_owned());
        self.line(format_args!("link set dev {name} up"));
        self.line(format_args!("addr add fe80::{last}/64 dev {name} nodad"));
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) nodes: BTreeMap<String, Node>,
    /// (node, interface) at both ends.
    pub(super) pairs: Vec<[(String, String); 2]>,
    /// The interfaces of the wire: at the home, at the core.
    pub(super) wire: Option<[String; 2]>,
    /// The homes' places, in the order of the plans.
    pub(super) places: Vec<Place>,
    taken: u8,
}

/// What a home's host is called.
pub(super) fn host(name: &str) -> String {
    format!("{name}-h")
}

/// What a home's router is called.
pub(super) fn router(name: &str) -> String {
    format!("{name}-r")
}

/// The provider's NAT44 of a home.
fn carrier(name: &str) -> String {
    format!("{name}-c")
}

/// What a reference is called.
pub(super) fn reference_node(number: usize) -> String {
    format!("ref{}", number + 1)
}

impl Draft {
    pub(super) fn new(plans: &[Plan]) -> Self {
        let mut draft = Self::default();
        let mut core = Node::forwarding();
        core.line("addr add 2a0e:5a00::1/128 dev lo nodad");
        draft.nodes.insert(CORE.into(), core);
        draft.far_side();
        for plan in plans {
            draft.home(plan);
        }
        draft
    }

    fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.entry(name.to_owned()).or_default()
    }

    fn pair(&mut self, one: (&str, &str), other: (&str, &str)) {
        self.pairs.push([one, other].map(|(node, interface)| (node.to_owned(), interface.to_owned())));
    }

    /// A machine with these addresses at the core, default routes towards it.
    fn at_core(&mut self, name: &str, mut node: Node, addresses: &[IpAddr]) -> Place {
        self.taken += 1;
        let place = Place(self.taken);
        let [near, own] = place.line();
        node.interface("wan", 2);
        node.line(format_args!("addr add {own}/30 dev wan"));
        node.line(format_args!("route add default via {near}"));
        node.line("route add ::/0 via fe80::1 dev wan");
        let core = self.node(CORE);
        core.interface(name, 1);
        core.line(format_args!("addr add {near}/30 dev {name}"));
        for address in addresses {
            match address {
                IpAddr::V4(v4) => node.line(format_args!("addr add {v4}/32 dev wan")),
                IpAddr::V6(v6) => node.line(format_args!("addr add {v6}/128 dev wan nodad")),
            }
            core.route(address, None, own, name);
        }
        self.pair((name, "wan"), (CORE, name));
        self.nodes.insert(name.to_owned(), node);
        place
    }

    fn far_side(&mut self) {
        for number in 0..REFERENCES {
            let name = reference_node(number);
            let addresses = Family::ALL.map(|family| reference(number, family));
            let node = if number == 0 { Node::forwarding() } else { Node::default_settings() };
            let place = self.at_core(&name, node, &addresses);
            if number == 0 {
                self.narrow(&name, place);
            }
        }
        let both = |of: fn(Family) -> IpAddr| Family::ALL.map(of);
        self.at_core(AUTHORITY, Node::default_settings(), &both(authority));
        let resolvers: Vec<IpAddr> =
            Resolver::ALL.iter().flat_map(|one| Family::ALL.map(|family| one.address(family))).collect();
        self.at_core(RESOLVERS, Node::default_settings(), &resolvers);

        let place = self.at_core(NAT64_NODE, Node::forwarding(), &[NAT64_ADDRESS.into()]);
        let [_, own] = place.line();
        let core = self.node(CORE);
        core.route(&NAT64_PREFIX.into(), Some(96), own, NAT64_NODE);
        core.route(&NAT64_POOL.0.into(), Some(NAT64_POOL.1), own, NAT64_NODE);

        let place = self.at_core(RELAY_NODE, Node::forwarding(), &[RELAY.into(), RELAY6.into()]);
        let [_, own] = place.line();
        let core = self.node(CORE);
        core.route(&SIX_TO_FOUR.into(), Some(16), own, RELAY_NODE);
        core.route(&SIX_RD.into(), Some(32), own, RELAY_NODE);
    }

    /// As the operator's guide says how to make one.
    fn narrow(&mut self, name: &str, place: Place) {
        let [_, own] = place.line();
        self.node(CORE).route(&NARROW.into(), None, own, name);
        let reference = self.node(name);
        reference.interface("narrow", 1);
        reference.line("link set dev narrow mtu 1280");
        reference.line(format_args!("route add {NARROW}/128 via fe80::2 dev narrow"));
        let mut node = Node::default_settings();
        node.interface("wan", 2);
        node.line("link set dev wan mtu 1280");
        node.line(format_args!("addr add {NARROW}/128 dev wan nodad"));
        node.line("route add ::/0 via fe80::1 dev wan");
        self.nodes.insert(NARROW_NODE.into(), node);
        self.pair((NARROW_NODE, "wan"), (name, "narrow"));
    }

    fn home(&mut self, plan: &Plan) {
        self.taken += 1;
        let place = Place(self.taken);
        self.places.push(place);
        let mut router_node = Node::forwarding();
        router_node.interface("wan", 2);
        router_node.interface("lan", 1);
        self.uplink(plan, place, &mut router_node);
        let mut host_node = Node::default_settings();
        host_node.resolvers = Some(plan.resolvers.iter().map(|(resolver, family)| resolver.address(*family)).collect());
        if plan.v6.is_advertised() {
            for scope in ["all", "default"] {
                // 2: also where the host forwards, for its translator.
                for (key, value) in
                    [("accept_ra", "2"), ("router_solicitations", "3"), ("router_solicitation_delay", "0")]
                {
                    host_node.set(&format!("ipv6/conf/{scope}/{key}"), value);
                }
            }
        }
        host_node.interface("eth0", 2);
        lan4(plan, place, &mut router_node, &mut host_node);
        lan6(plan, place, &mut router_node, &mut host_node);
        match plan.nat64 {
            Nat64::Works => {}
            Nat64::Absent => router_node.line(format_args!("route add unreachable {NAT64_PREFIX}/96")),
            Nat64::Dead => router_node.line(format_args!("route add blackhole {NAT64_PREFIX}/96")),
        }
        faults(plan, &mut router_node);
        self.pair((&host(plan.name), "eth0"), (&router(plan.name), "lan"));
        self.nodes.insert(host(plan.name), host_node);
        self.nodes.insert(router(plan.name), router_node);
    }

    /// From a home's router to the core, and the core's routes back.
    fn uplink(&mut self, plan: &Plan, place: Place, router_node: &mut Node) {
        let [near, own] = place.line();
        let (name, me) = (plan.name, router(plan.name));
        let lan = place.lan4(plan.v4);
        let is_narrow = plan.has(Fault::Narrow);
        let core = self.node(CORE);
        core.interface(name, 1);
        core.line(format_args!("addr add {near}/30 dev {name}"));
        core.route(&place.prefix48().into(), Some(48), own, name);
        if plan.v4 == V4::Public {
            core.line(format_args!("route add {}/24 via {own}", Ipv4Addr::from_bits(lan[0].to_bits() & !0xff)));
        }
        if is_narrow {
            core.line(format_args!("link set dev {name} mtu 1280"));
            router_node.line("link set dev wan mtu 1280");
        }
        router_node.line("route add ::/0 via fe80::1 dev wan");
        if plan.v4 == V4::Cgnat {
            let [theirs, ours] = [Ipv4Addr::new(100, 64, 0, 1), Ipv4Addr::new(100, 64, 0, 2)];
            router_node.line(format_args!("addr add {ours}/30 dev wan"));
            router_node.line(format_args!("route add default via {theirs}"));
            let mut between = Node::forwarding();
            between.interface("wan", 2);
            between.interface("in", 1);
            between.line(format_args!("addr add {own}/30 dev wan"));
            between.line(format_args!("addr add {theirs}/30 dev in"));
            between.line(format_args!("route add default via {near}"));
            between.line("route add ::/0 via fe80::1 dev wan");
            between.line(format_args!("route add {}/48 via fe80::2 dev in", place.prefix48()));
            between.chain("ip", "nat hook postrouting priority srcnat", "oifname \"wan\" masquerade");
            let carrier = carrier(name);
            self.pair((&me, "wan"), (&carrier, "in"));
            self.pair((&carrier, "wan"), (CORE, name));
            self.nodes.insert(carrier, between);
            return;
        }
        // The router has its own IPv4 address also where the LAN has none, or only a translator: its line does no harm.
        router_node.line(format_args!("addr add {own}/30 dev wan"));
        if plan.v4 != V4::ClatInRouter {
            router_node.line(format_args!("route add default via {near}"));
        }
        if plan.has(Fault::Wired) {
            let ends = ["home", "core"].map(|end| format!("wire-{end}"));
            let mut wire = Node::default_settings();
            wire.set("ipv6/conf/all/disable_ipv6", "1");
            wire.set("ipv6/conf/default/disable_ipv6", "1");
            for end in &ends {
                wire.interfaces.push(end.clone());
                wire.line(format_args!("link set dev {end} up"));
            }
            self.pair((&me, "wan"), (WIRE, &ends[0]));
            self.pair((CORE, name), (WIRE, &ends[1]));
            self.nodes.insert(WIRE.into(), wire);
            self.wire = Some(ends);
        } else {
            self.pair((&me, "wan"), (CORE, name));
        }
    }
}

impl Node {
    /// A route over the machine on this interface.
    fn route(&mut self, to: &IpAddr, length: Option<u8>, via: Ipv4Addr, dev: &str) {
        match to {
            IpAddr::V4(v4) => self.line(format_args!("route add {v4}/{} via {via}", length.unwrap_or(32))),
            IpAddr::V6(v6) => self.line(format_args!("route add {v6}/{} via fe80::2 dev {dev}", length.unwrap_or(128))),
        }
    }
}

fn lan4(plan: &Plan, place: Place, router: &mut Node, host: &mut Node) {
    let [near, own] = place.lan4(plan.v4);
    if matches!(plan.v4, V4::None | V4::ClatOnHost) {
        return;
    }
    router.line(format_args!("addr add {near}/24 dev lan"));
    host.line(format_args!("addr add {own}/24 dev eth0"));
    host.line(format_args!("route add default via {near}"));
    if matches!(plan.v4, V4::Nat44 | V4::Cgnat) {
        router.chain("ip", "nat hook postrouting priority srcnat", "oifname \"wan\" masquerade");
    }
    if plan.v4 == V4::ClatInRouter {
        router.chain("ip", "nat hook postrouting priority srcnat", "oifname \"clat\" masquerade");
    }
}

fn lan6(plan: &Plan, place: Place, router: &mut Node, host: &mut Node) {
    let lan = place.lan6(plan.v6);
    let near = at(lan, 1);
    match plan.v6 {
        V6::LinkLocal => return,
        V6::SixToFour | V6::SixRd => {
            router.line(format_args!("tuntap add dev tunnel mode tun\nlink set dev tunnel mtu {TUNNEL_MTU} up"));
            router.line("route replace ::/0 dev tunnel");
        }
        V6::Npt => {
            let outside = place.prefix48();
            let rules = format!("oifname \"wan\" snat ip6 prefix to ip6 saddr map {{ {lan}/64 : {outside}/64 }}");
            router.chain("ip6", "nat hook postrouting priority srcnat", &rules);
        }
        V6::Renumbered => {
            let old = place.old_prefix48();
            router.line(format_args!("addr add {}/64 dev lan nodad", at(old, 1)));
            let refuse = format!("iifname \"lan\" ip6 saddr {old}/48 reject with icmpv6 policy-fail");
            router.chain("ip6", "filter hook forward priority 0", &refuse);
        }
        _ => {}
    }
    router.line(format_args!("addr add {near}/64 dev lan nodad"));
    if !plan.v6.is_advertised() {
        host.line(format_args!("addr add {}/64 dev eth0 nodad", at(lan, 2)));
        host.line("route add ::/0 via fe80::1 dev eth0");
    }
    if plan.v4 == V4::ClatOnHost {
        router.line(format_args!("route add {}/64 via fe80::2 dev lan", place.clat6()));
        host.set("ipv6/conf/all/forwarding", "1");
    }
}

fn faults(plan: &Plan, router: &mut Node) {
    for fault in plan.faults {
        let (family, hook, rules) = match fault {
            Fault::DropsV6 => ("ip6", "filter hook forward priority 0", "drop".to_owned()),
            Fault::SilentV6 => ("ip6", "filter hook prerouting priority -300", "iifname \"lan\" drop".to_owned()),
            Fault::Intercepts => {
                let to = Resolver::Plain.address(Family::V4);
                let rule = |carrier| format!("iifname \"lan\" {carrier} dport 53 dnat to {to}");
                ("ip", "nat hook prerouting priority dstnat", format!("{}\n{}", rule("udp"), rule("tcp")))
            }
            Fault::Hole(most) => ("ip6", "filter hook forward priority 0", format!("meta length > {most} drop")),
            Fault::DropsTooBig => {
                ("ip6", "filter hook forward priority 0", "iifname \"wan\" icmpv6 type packet-too-big drop".to_owned())
            }
            Fault::Cut => ("inet", "filter hook forward priority 0", "drop".to_owned()),
            Fault::Narrow | Fault::Wired => continue,
        };
        router.chain(family, hook, &rules);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_of_a_pair_is_an_interface_of_its_node() {
        let plans = [
            Plan::dual("dual"),
            Plan { v4: V4::Cgnat, ..Plan::dual("cgnat") },
            Plan { faults: &[Fault::Wired], ..Plan::dual("wired") },
        ];
        let draft = Draft::new(&plans);
        let ends: Vec<_> = draft.pairs.iter().flatten().collect();
        for (node, interface) in &ends {
            assert!(draft.nodes[node].interfaces.contains(interface), "{interface} of {node}");
            assert!(interface.len() <= 15, "{interface}");
        }
        let all: usize = draft.nodes.values().map(|node| node.interfaces.len()).sum();
        assert_eq!(all, ends.len(), "an interface has no other end");
    }
}
