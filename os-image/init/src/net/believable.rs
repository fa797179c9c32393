//! Addresses that somebody on the line tells the board, and which of them can be true.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Can a machine or router on a network have it?
pub fn is_host4(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first < 224 && !address.is_loopback()
}

/// Can a server have leased it: global or unique local?
pub fn is_host6(address: Ipv6Addr) -> bool {
    let is_v4 = address.to_ipv4_mapped().is_some();
    !is_v4
        && !address.is_unspecified()
        && !address.is_loopback()
        && !address.is_multicast()
        && !address.is_unicast_link_local()
}

/// Can it be a resolver: somebody else on a network? A link-local one is on this link.
pub fn is_resolver(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_host4(v4),
        IpAddr::V6(v6) => is_host6(v6) || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_himself_or_to_everybody() {
        for resolver in ["192.0.2.53", "10.0.0.1", "169.254.1.1", "2001:db8::53", "fd00::1", "fe80::1"] {
            assert!(is_resolver(resolver.parse().unwrap()), "{resolver}");
        }
        let none =
            ["0.0.0.0", "127.0.0.53", "224.0.0.251", "255.255.255.255", "::", "::1", "ff02::fb", "::ffff:127.0.0.1"];
        for none in none {
            assert!(!is_resolver(none.parse().unwrap()), "{none}");
        }
        assert!(!is_host6("fe80::1".parse().unwrap()));
    }
}
