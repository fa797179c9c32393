//! Collectors that have IPv4 alone, on a line that has IPv6 alone: through the line's translator (NAT64). Names need none of this where the
//! resolver does DNS64; literals, and names elsewhere, do. Pure.

use std::net::{IpAddr, SocketAddr};

use sonde_protocol::address::Nat64Prefix;

/// Puts behind each IPv4 address those by which these translators reach it (RFC 6052). Call it where the machine has no IPv4 itself.
pub fn through_translators(addresses: &[SocketAddr], translators: &[Nat64Prefix]) -> Vec<SocketAddr> {
    let mut all = Vec::with_capacity(addresses.len());
    for &address in addresses {
        all.push(address);
        if let IpAddr::V4(v4) = address.ip() {
            all.extend(
                translators.iter().map(|translator| SocketAddr::new(translator.embed(v4).into(), address.port())),
            );
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_is_followed_by_its_translations() {
        let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let translators =
            ["64:ff9b::/96", "2001:db8:64::/48"].map(|net| Nat64Prefix::new(net.parse().unwrap()).unwrap());
        let addresses = parse(&["203.0.113.7:443", "[2001:db8::1]:8044"]);
        let expected = parse(&[
            "203.0.113.7:443",
            "[64:ff9b::cb00:7107]:443",
            "[2001:db8:64:cb00:71:700::]:443",
            "[2001:db8::1]:8044",
        ]);
        assert_eq!(through_translators(&addresses, &translators), expected);
        assert_eq!(through_translators(&addresses, &[]), addresses);
    }
}
