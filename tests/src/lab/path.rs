//! The true path between two hosts, computed from the table: for routes at set-up and for tests to compare with.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use super::topology::{Branch, Direction, Family, Host, Link, Node, Router, Segment, segments};

/// One hop as a traceroute should see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HopTruth {
    /// Who answers.
    pub node: Node,
    /// The address it answers from: the one where the packet comes in.
    pub address: IpAddr,
    /// Configured delay from the sender to here.
    pub there: Duration,
    /// Configured delay from here back to the sender.
    pub back: Duration,
}

impl HopTruth {
    /// The smallest round trip that the configured delays allow.
    pub fn rtt_floor(&self) -> Duration {
        self.there + self.back
    }
}

/// One step of a path: over `segment` to `node`.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) segment: &'static Segment,
    pub(super) node: Node,
}

impl Step {
    /// The address of the reached node on the segment, main one.
    pub(super) fn address(&self, family: Family) -> Option<IpAddr> {
        self.segment.addresses(self.node, family).first().copied()
    }

    /// The link crossed and the direction, if the segment runs through the wire.
    pub(super) fn crossing(&self) -> Option<(Link, Direction)> {
        let arrives_at_first = self.segment.ports.first().is_some_and(|port| port.node == self.node);
        let direction = if arrives_at_first { Direction::Backward } else { Direction::Forward };
        self.segment.link.map(|link| (link, direction))
    }
}

/// The way from one node to another in a family; `None` if there is none. Only routers forward, and nobody finds the way
/// into a private segment from outside. Where the long path forks it is over branch A.
pub(super) fn steps(from: Node, to: Node, family: Family) -> Option<Vec<Step>> {
    steps_around(&[], from, to, family)
}

/// The same, but not over these routers.
pub(super) fn steps_around(around: &[Router], from: Node, to: Node, family: Family) -> Option<Vec<Step>> {
    let mut visited = vec![from];
    visited.extend(around.iter().copied().map(Node::Router));
    let mut queue: VecDeque<(Node, Vec<Step>)> = VecDeque::from([(from, Vec::new())]);
    while let Some((at, so_far)) = queue.pop_front() {
        if at == to {
            return Some(so_far);
        }
        if at != from && !matches!(at, Node::Router(_)) {
            continue;
        }
        for segment in segments(true).filter(|segment| segment.has(family) && segment.port(at).is_some()) {
            if segment.private && segment.port(from).is_none() {
                continue;
            }
            for port in segment.ports {
                if !visited.contains(&port.node) {
                    visited.push(port.node);
                    let mut longer = so_far.clone();
                    longer.push(Step { segment, node: port.node });
                    queue.push_back((port.node, longer));
                }
            }
        }
    }
    None
}

/// The hops from one host to another, the destination last; empty if there is no way. Where the path forks it takes
/// `branch`; answers come back as the routes lead. `delay` says what a link costs in a direction.
pub(super) fn hops(
    from: Host,
    to: Host,
    family: Family,
    branch: Branch,
    delay: impl Fn(Link, Direction) -> Duration,
) -> Vec<HopTruth> {
    let (from, to) = (Node::Host(from), Node::Host(to));
    let cost = |steps: &[Step]| -> Duration {
        steps.iter().filter_map(Step::crossing).map(|(link, direction)| delay(link, direction)).sum()
    };
    let there = steps_around(&branch.other().routers(), from, to, family).unwrap_or_default();
    let hop = |(position, step): (usize, &Step)| {
        // Nobody has a route into a NAT, but answers find their way to the gateway, and from there it costs nothing.
        let back = steps(step.node, from, family).or_else(|| steps(step.node, there.first()?.node, family))?;
        // Both families answer from where the packet came in: IPv4 by `icmp_errors_use_inbound_ifaddr`, IPv6 since Linux 5.9.
        // A step exists only over a segment of the family, on which every port has an address.
        let address = step.address(family)?;
        Some(HopTruth { node: step.node, address, there: cost(there.get(..=position)?), back: cost(&back) })
    };
    there.iter().enumerate().filter_map(hop).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(from: Host, to: Host, family: Family) -> Vec<&'static str> {
        hops(from, to, family, Branch::A, |_, _| Duration::ZERO).iter().map(|hop| hop.node.name()).collect()
    }

    #[test]
    fn paths_are_those_of_the_drawing() {
        assert_eq!(names(Host::Dual, Host::Target, Family::V6), ["home", "r1", "r2", "r3", "target"]);
        assert_eq!(names(Host::Nat, Host::Server, Family::V4), ["natgw", "r1", "r2", "server"]);
        assert_eq!(names(Host::Dual, Host::Neighbour, Family::V4), ["neighbour"]);
        assert_eq!(names(Host::Dual, Host::NextDoor, Family::V6), ["home", "next-door"]);
    }

    #[test]
    fn there_is_no_way_into_the_nat_nor_across_families() {
        assert!(names(Host::Target, Host::Nat, Family::V4).is_empty());
        assert!(names(Host::V4Only, Host::Target, Family::V6).is_empty());
        assert!(names(Host::V6Only, Host::Target, Family::V4).is_empty());
    }

    #[test]
    fn delays_add_up_each_way() {
        let delay = |link: Link, direction| match direction {
            Direction::Forward => Duration::from_micros(link.default_delay_us()),
            Direction::Backward => Duration::from_micros(2 * link.default_delay_us()),
        };
        let hops = hops(Host::Dual, Host::Target, Family::V4, Branch::A, delay);
        let last = hops.last().unwrap();
        assert_eq!(last.there, Duration::from_millis(10));
        assert_eq!(last.back, Duration::from_millis(20));
        assert_eq!(hops[0].node, Node::Router(Router::Home));
        assert_eq!(hops[0].rtt_floor(), Duration::ZERO);
    }

    #[test]
    fn the_long_path_forks_on_the_way_there_and_not_on_the_way_back() {
        let delay = |link: Link, _| Duration::from_micros(link.default_delay_us());
        for family in Family::ALL {
            let [a, b] = Branch::ALL.map(|branch| hops(Host::Dual, Host::Far, family, branch, delay));
            let names = |hops: &[HopTruth]| hops.iter().map(|hop| hop.node.name()).collect::<Vec<_>>();
            assert_eq!(
                names(&a),
                ["home", "r1", "r2", "fork", "a1", "a2", "join", "mpls", "d1", "d2", "far"],
                "{family:?}"
            );
            assert_eq!(names(&b)[4..7], ["b1", "b2", "join"]);
            assert_eq!((a[10].there, a[10].back), (Duration::from_millis(16), Duration::from_millis(16)));
            assert_eq!((b[10].there, b[10].back), (Duration::from_micros(17_500), Duration::from_millis(16)));
            let on = |link| Node::Router(Router::Join).address_on(link, family).unwrap();
            assert_eq!((a[6].address, b[6].address), (on(Link::A2Join), on(Link::B2Join)));
        }
        assert_eq!(hops(Host::Nat, Host::Far, Family::V4, Branch::B, delay).len(), 11);
    }
}
