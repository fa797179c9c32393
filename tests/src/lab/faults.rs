//! What a router of the lab can be made to do wrong. Each takes effect when the method returns and can be taken back; link
//! faults (delay, loss, duplication, reordering, cut) are [`super::LinkParams`].

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::PoisonError;

use anyhow::ensure;

use super::topology::{Family, Link, Node, Router};
use super::{Lab, setup};

/// IPv6 does not work with less (RFC 8200, section 5): the kernel takes the interface's addresses away.
const LEAST_MTU: u32 = 1280;
/// What an interface begins with, and what the wire itself carries, in bytes of IP.
pub const USUAL_MTU: u32 = 1500;

impl Lab {
    /// Makes a router send no ICMP at all except Neighbour Discovery and membership, or ends that. Echo requests are
    /// not answered either; forwarding goes on.
    pub fn set_silent(&self, router: Router, silent: bool) -> anyhow::Result<()> {
        let drops = "meta l4proto { icmp, ipv6-icmp } drop;".to_owned();
        self.set_rules(router, "silent", silent.then_some(drops))
    }

    /// Lets a router send so many ICMP errors a second per family and no more, whomever they go to, as many routers do; or
    /// ends that. Echo requests are answered all the same. Which errors it really sent, a capture at the router tells.
    pub fn set_rate_limit(&self, router: Router, per_second: Option<NonZeroU32>) -> anyhow::Result<()> {
        let rules = per_second.map(|rate| {
            let mut rules = String::new();
            for errors in ["icmp type { destination-unreachable, time-exceeded }", "icmpv6 type 1-127"] {
                // Writing to a String cannot fail.
                let _ = writeln!(rules, "{errors} limit rate {rate}/second burst 1 packets accept; {errors} drop;");
            }
            rules
        });
        self.set_rules(router, "slow", rules)
    }

    /// Makes a router keep to itself that a packet was too big ("fragmentation needed", "packet too big"), or ends that.
    /// With a small MTU behind it, that is a black hole.
    pub fn set_mtu_hole(&self, router: Router, hole: bool) -> anyhow::Result<()> {
        let drops = "icmp type destination-unreachable icmp code frag-needed drop; icmpv6 type packet-too-big drop;";
        self.set_rules(router, "hole", hole.then(|| drops.to_owned()))
    }

    /// Sets the greatest IP packet that a link carries, in bytes, at both of its ends; the routers there say so when one is
    /// too big. All hosts forget what they have learnt about path MTUs. Fails below 1280, which IPv6 needs, and above
    /// [`USUAL_MTU`].
    pub fn set_mtu(&self, link: Link, mtu: u32) -> anyhow::Result<()> {
        ensure!((LEAST_MTU..=USUAL_MTU).contains(&mtu), "an MTU of {mtu} is not within {LEAST_MTU} to {USUAL_MTU}");
        for node in link.ends() {
            let interface = setup::interface(node, link)?;
            self.node(node).feed("ip", &["-batch", "-"], &format!("link set dev {interface} mtu {mtu}\n"))?;
        }
        setup::in_each(&self.namespaces, |node, namespace| {
            if !matches!(node, Node::Host(_)) {
                return Ok(());
            }
            namespace.sysctl("net.ipv4.route.flush", "1")?;
            // IPv6 keeps what it has learnt with the route, and that does not go before the route goes.
            let routes = setup::routes(node, self.long_path);
            let v6 =
                routes.lines().filter(|line| line.contains("::")).fold(String::new(), |all, line| all + line + "\n");
            namespace.feed("ip", &["-batch", "-"], &v6)
        })
    }

    /// Makes a router send its ICMP errors from [`Router::other_address`], which is on none of its links and to which nobody
    /// has a route, or from the usual address again. [`Lab::path`] knows. Not for `Router::Mpls`, which has no such setting.
    pub fn set_other_address(&self, router: Router, other: bool) -> anyhow::Result<()> {
        ensure!(router != Router::Mpls, "the router in user space answers from its link's address alone");
        let namespace = self.router(router);
        let [v4, v6] = Family::ALL.map(|family| router.other_address(family));
        let mut batch = String::new();
        if other {
            // The addresses first, since a route cannot prefer one that the router has not. Writing to a String cannot fail.
            let _ = writeln!(batch, "addr replace {v4}/32 dev lo\naddr replace {v6}/128 dev lo nodad");
        }
        // IPv4 takes the route's source where it has one.
        for line in setup::routes(Node::Router(router), self.long_path).lines().filter(|line| !line.contains("::")) {
            let source = if other { format!(" src {v4}") } else { String::new() };
            let _ = match line.split_once(" nexthop") {
                Some((prefix, hops)) => writeln!(batch, "{prefix}{source} nexthop{hops}"),
                None => writeln!(batch, "{line}{source}"),
            };
        }
        // IPv6 takes an address of the interface where the packet came in unless they are deprecated (RFC 6724, rule 3).
        batch.push_str(&setup::set_preferred(Node::Router(router), self.long_path, !other));
        if !other {
            let _ = writeln!(batch, "addr del {v4}/32 dev lo\naddr del {v6}/128 dev lo");
        }
        namespace.feed("ip", &["-batch", "-"], &batch)?;
        namespace.sysctl("net.ipv4.icmp_errors_use_inbound_ifaddr", if other { "0" } else { "1" })?;
        let mut others = self.other_addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if other {
            others.insert(router);
        } else {
            others.remove(&router);
        }
        Ok(())
    }

    /// Replaces the rules of one fault for what a router itself sends; Neighbour Discovery and membership always pass.
    fn set_rules(&self, router: Router, table: &str, rules: Option<String>) -> anyhow::Result<()> {
        let mut script = format!("add table inet {table}\ndelete table inet {table}\n");
        if let Some(rules) = rules {
            // What a router in user space forwards leaves by the same hook, but from somebody else's address.
            let own = |family| {
                let addresses =
                    Node::Router(router).addresses(family).into_iter().chain([router.other_address(family)]);
                addresses.map(|address| address.to_string()).collect::<Vec<_>>().join(", ")
            };
            let (v4, v6) = (own(Family::V4), own(Family::V6));
            let _ = write!(
                script,
                "table inet {table} {{
                   chain mine {{ {rules} }}
                   chain out {{ type filter hook output priority 0;
                     icmpv6 type {{ nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert,
                       mld-listener-query, mld-listener-report, mld2-listener-report }} accept;
                     ip saddr {{ {v4} }} jump mine;
                     ip6 saddr {{ {v6} }} jump mine;
                   }}
                 }}\n"
            );
        }
        self.router(router).nft(&script)
    }
}
