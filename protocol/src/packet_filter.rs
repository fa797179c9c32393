//! What the probe's user may send where, as rules that a packet filter of the system can enforce: it sees destinations, which the
//! kernel's sandbox does not. A model without a form: `sonde-probe packet-filter` writes it as nftables' text, the board's init
//! sends it to the kernel.
//!
//! It does not replace the policy, which knows much more, and comes from what root has written, never from a probe's state.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::address::special_blocks;

/// The ports at which resolvers may be asked: DNS, and DNS over TLS and QUIC.
pub const RESOLVER_PORTS: [u16; 2] = [53, 853];

/// One rule about a packet of the probe's user. The first that fits decides; where none does the packet may leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// To these addresses everything may be sent.
    Accept(IpNet),
    /// To this address TCP and UDP may be sent, at these ports.
    AcceptPorts(IpAddr, Vec<u16>),
    /// To this address a message of this type may be sent, of the ICMP of its family.
    AcceptIcmp(IpAddr, u8),
    /// To these addresses nothing may be sent; the sender is told that an administrator forbids it.
    Refuse(IpNet),
}

/// What is needed though it is special, and what is refused beside the special blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exceptions<'a> {
    /// The host's own exceptions (`[policy] allow`).
    pub allow: &'a [IpNet],
    /// May be asked at [`RESOLVER_PORTS`].
    pub resolvers: &'a [IpAddr],
    /// Collectors by literal addresses.
    pub collectors: &'a [SocketAddr],
    /// The machine's own routers. A run of ipv6 looks whether one is there, and the host may want the first hop pinged.
    pub routers: &'a [IpAddr],
    /// Refused beside the special blocks: what is near.
    pub neighbours: &'a [IpNet],
}

/// "Discard" (RFC 863), at which a run of ipv6 sends a router the packet that makes the kernel look for it.
const DISCARD: u16 = 9;

/// All routers of the link (RFC 4291, 2.7.1), which a run of ipv6 asks to advertise themselves (RFC 4861, 6.3.7).
const ALL_ROUTERS: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2));
const ROUTER_SOLICITATION: u8 = 133;

/// An echo request: its type is the family's own.
const fn echo_request(to: IpAddr) -> Rule {
    Rule::AcceptIcmp(to, if to.is_ipv4() { 8 } else { 128 })
}

impl Exceptions<'_> {
    /// The rules, in order.
    pub fn rules(&self) -> Vec<Rule> {
        let allow = self.allow.iter().map(|net| Rule::Accept(*net));
        let resolvers = self.resolvers.iter().map(|ip| Rule::AcceptPorts(*ip, RESOLVER_PORTS.into()));
        let collectors = self.collectors.iter().map(|at| Rule::AcceptPorts(at.ip(), [at.port()].into()));
        let solicitation = [Rule::AcceptIcmp(ALL_ROUTERS, ROUTER_SOLICITATION)];
        let routers = self.routers.iter().flat_map(|ip| [echo_request(*ip), Rule::AcceptPorts(*ip, [DISCARD].into())]);
        let refused = special_blocks().chain(self.neighbours.iter().copied()).map(Rule::Refuse);
        allow.chain(resolvers).chain(collectors).chain(solicitation).chain(routers).chain(refused).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_comes_before_what_is_refused() {
        let neighbours = ["2a00:1:2::/64".parse().unwrap()];
        let exceptions = Exceptions {
            allow: &["10.9.0.0/16".parse().unwrap()],
            resolvers: &["192.168.1.1".parse().unwrap()],
            collectors: &["[fd00::7]:443".parse().unwrap()],
            routers: &["fe80::1".parse().unwrap()],
            neighbours: &neighbours,
        };
        let rules = exceptions.rules();
        let first_refusal = rules.iter().position(|rule| matches!(rule, Rule::Refuse(_))).unwrap();
        assert_eq!(first_refusal, 6);
        assert!(rules.iter().skip(first_refusal).all(|rule| matches!(rule, Rule::Refuse(_))));
        assert_eq!(rules.last(), Some(&Rule::Refuse(neighbours[0])));
        assert_eq!(rules.len(), 6 + special_blocks().count() + 1);
    }
}
