//! The rules of nftables that keep the probe's user away from private addresses: what the kernel's sandbox cannot see, since
//! seccomp knows no destinations. Made from the same table that the policy uses, and pure: text out, nothing loaded.
//!
//! They are made by root from what root has written (`network.toml`, `sonde.toml`, resolv.conf), never from the probe's state,
//! which a hijacked probe could change. They do not replace the policy, which knows much more.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use sonde_protocol::directory::NetworkFile;
use sonde_protocol::packet_filter::{Exceptions, Rule};

/// The table's name in the kernel.
pub const TABLE: &str = "sonde_probe";

/// A user of the system as nftables reads it: a number, or a name in quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User(String);

impl FromStr for User {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.parse::<u32>().is_ok() {
            return Ok(Self(text.into()));
        }
        // It becomes part of the rules: nothing may end the quotes.
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if text.is_empty() || text.len() > 32 || !text.chars().all(is_name) {
            return Err("neither the name nor the number of a user");
        }
        Ok(Self(format!("\"{text}\"")))
    }
}

/// The rules for a user, by name or by number. `resolvers` may be asked at 53 and 853, the collectors that `network` lists by
/// literal addresses at their ports, and `allow` (of `sonde.toml`) as the host wishes.
pub fn rules(user: &User, network: Option<&NetworkFile>, resolvers: &[SocketAddr], allow: &[IpNet]) -> String {
    let mut text = format!(
        "# Made by `sonde-probe packet-filter`. What the probe's user sends to addresses that are nobody's business.\n\
         table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n\tchain probe {{\n"
    );
    let endpoints = network.iter().flat_map(|network| &network.collectors).flat_map(|one| one.addresses.iter());
    let collectors: Vec<SocketAddr> = endpoints.filter_map(|text| text.parse().ok()).collect();
    let resolvers: Vec<IpAddr> = resolvers.iter().map(SocketAddr::ip).collect();
    let exceptions = Exceptions { allow, resolvers: &resolvers, collectors: &collectors, ..Exceptions::default() };
    for rule in exceptions.rules() {
        let _ = writeln!(text, "\t\t{}", line(&rule));
    }
    // Packets of the kernel's own (neighbour discovery, answers to a ping) have no user: they are not the probe's, and neither would
    // "is not the probe's user" be true of them.
    let _ = write!(
        text,
        "\t}}\n\tchain output {{\n\t\ttype filter hook output priority filter; policy accept;\n\
         \t\tmeta skuid {} jump probe\n\t}}\n}}\n",
        user.0
    );
    text
}

/// A rule as nftables reads it.
fn line(rule: &Rule) -> String {
    match rule {
        Rule::Accept(net) => format!("{} daddr {net} accept", family(net.addr())),
        Rule::AcceptPorts(ip, ports) => {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            let ports = if let [one] = ports.as_slice() { one.clone() } else { format!("{{ {} }}", ports.join(", ")) };
            format!("{} daddr {ip} meta l4proto {{ tcp, udp }} th dport {ports} accept", family(*ip))
        }
        Rule::AcceptIcmp(ip, kind) => {
            let icmp = if ip.is_ipv4() { "icmp" } else { "icmpv6" };
            format!("{} daddr {ip} {icmp} type {kind} accept", family(*ip))
        }
        Rule::Refuse(net) => {
            format!("{} daddr {net} counter reject with icmpx admin-prohibited", family(net.addr()))
        }
    }
}

/// How nftables calls the header of an address.
fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_network;

    const NETWORK: &str = "name = \"x\"\nroots = [\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"]\n[[collectors]]\n\
        key = \"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"\n\
        addresses = [\"collector.example.net:8333\", \"10.0.2.2:8333\", \"[fd00::7]:443\"]\n";

    #[test]
    fn what_is_needed_is_excepted_before_anything_is_refused() {
        let network = parse_network(NETWORK).unwrap();
        let resolvers = ["192.168.1.1:53".parse().unwrap(), "[fe80::1%3]:53".parse().unwrap()];
        let text = rules(&"123".parse().unwrap(), Some(&network), &resolvers, &["10.9.0.0/16".parse().unwrap()]);
        let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} is not in:\n{text}"));
        let first_refusal = place("reject");
        for accepted in [
            "ip daddr 10.9.0.0/16 accept",
            "ip daddr 192.168.1.1 meta l4proto { tcp, udp } th dport { 53, 853 } accept",
            "ip6 daddr fe80::1 meta l4proto { tcp, udp } th dport { 53, 853 } accept",
            "ip daddr 10.0.2.2 meta l4proto { tcp, udp } th dport 8333 accept",
            "ip6 daddr fd00::7 meta l4proto { tcp, udp } th dport 443 accept",
            "ip6 daddr ff02::2 icmpv6 type 133 accept",
        ] {
            assert!(place(accepted) < first_refusal, "{accepted}");
        }
        for refused in ["ip daddr 192.168.0.0/16", "ip daddr 127.0.0.0/8", "ip6 daddr fc00::/7", "ip6 daddr ::1/128"] {
            assert!(place(refused) > place("443 accept"), "{refused}");
        }
        let output = text.split_once("chain output {").unwrap().1;
        assert!(output.contains("hook output") && output.contains("meta skuid 123 jump probe"), "{output}");
        assert!(rules(&"sonde-probe".parse().unwrap(), None, &[], &[]).contains("skuid \"sonde-probe\" jump probe"));
        for bad in ["", "a b", "a\"; flush ruleset", "-1\n"] {
            assert!(bad.parse::<User>().is_err(), "{bad:?}");
        }
        assert!(!text.contains("example.net"), "names are for the resolver, not for the kernel");
    }
}
