//! The true path between two hosts, computed from the table: for routes at set-up and for tests to compare with.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use super::topology::{Direction, Family, Host, Link, Node, SEGMENTS, Segment};

/// One hop as a traceroute should see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HopTruth {
    /// Who answers.
    pub node: Node,
    /// The address it answers from: the one it has towards the sender.
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
/// into a private segment from outside.
pub(super) fn steps(from: Node, to: Node, family: Family) -> Option<Vec<Step>> {
    let mut visited = vec![from];
    let mut queue: VecDeque<(Node, Vec<Step>)> = VecDeque::from([(from, Vec::new())]);
    while let Some((at, so_far)) = queue.pop_front() {
        if at == to {
            return Some(so_far);
        }
        if at != from && !matches!(at, Node::Router(_)) {
            continue;
        }
        for segment in SEGMENTS.iter().filter(|segment| segment.has(family) && segment.port(at).is_some()) {
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

/// The hops from one host to another, the destination last; empty if there is no way. `delay` says what a link costs in a
/// direction.
pub(super) fn hops(from: Host, to: Host, family: Family, delay: impl Fn(Link, Direction) -> Duration) -> Vec<HopTruth> {
    let mut there = Duration::ZERO;
    let mut back = Duration::ZERO;
    let mut hops = Vec::new();
    for step in steps(Node::Host(from), Node::Host(to), family).unwrap_or_default() {
        if let Some((link, direction)) = step.crossing() {
            let opposite = if direction == Direction::Forward { Direction::Backward } else { Direction::Forward };
            there += delay(link, direction);
            back += delay(link, opposite);
        }
        // A step exists only over a segment of the family, on which every port has an address.
        if let Some(address) = step.address(family) {
            hops.push(HopTruth { node: step.node, address, there, back });
        }
    }
    hops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::topology::Router;

    fn names(from: Host, to: Host, family: Family) -> Vec<&'static str> {
        hops(from, to, family, |_, _| Duration::ZERO).iter().map(|hop| hop.node.name()).collect()
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
        let hops = hops(Host::Dual, Host::Target, Family::V4, delay);
        let last = hops.last().unwrap();
        assert_eq!(last.there, Duration::from_millis(10));
        assert_eq!(last.back, Duration::from_millis(20));
        assert_eq!(hops[0].node, Node::Router(Router::Home));
        assert_eq!(hops[0].rtt_floor(), Duration::ZERO);
    }
}
