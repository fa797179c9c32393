//! Who resolves names: chosen of what DHCP, routers and the host say, and written to resolv.conf(5), where the probe reads it. Where a
//! line has IPv6 alone its resolver makes addresses of a NAT64 (DNS64), so nothing else has to be set up.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

/// As many of each family are used, as systems have done ever since: the rest would be asked when nobody waits any more.
const MOST: usize = 3;

/// The resolvers in order, each once, at most [`MOST`] of a family. `learned` is in the order of trust.
pub fn choose(learned: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut chosen: Vec<IpAddr> = Vec::new();
    for ip in learned {
        let alike = chosen.iter().filter(|other| other.is_ipv6() == ip.is_ipv6()).count();
        if !chosen.contains(&ip) && alike < MOST {
            chosen.push(ip);
        }
    }
    chosen
}

/// The file's text. A link-local resolver is one only together with its link.
pub fn text(resolvers: &[IpAddr], interface: &str) -> String {
    let mut text = String::from("# Written by sonde-os from DHCP, router advertisements or sonde.toml.\n");
    for ip in resolvers {
        let scope = if is_link_local(*ip) { format!("%{interface}") } else { String::new() };
        let _ = writeln!(text, "nameserver {ip}{scope}");
    }
    text
}

/// Puts the text in the place of the file, so that a reader finds the old one or the new one.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(&new, path)
}

fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_of_each_family_in_the_order_of_trust_each_once() {
        let all =
            ["fe80::1", "2001:db8::1", "fe80::1", "192.0.2.1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "192.0.2.2"];
        let chosen = choose(all.map(|ip| ip.parse().unwrap()));
        let shown: Vec<String> = chosen.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["fe80::1", "2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2"]);
        let text = text(&chosen, "eth0");
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines[..2], ["nameserver fe80::1%eth0", "nameserver 2001:db8::1"]);
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn the_file_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        for text in ["nameserver 192.0.2.1\n", "nameserver 192.0.2.2\n"] {
            write(&path, text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
    }
}
