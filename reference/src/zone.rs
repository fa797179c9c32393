//! The zone that belongs to a network's reference servers, as files for a name server that signs (knot and others do it by
//! themselves). Pure: data in, text out.
//!
//! | Name | What is there | What it finds out |
//! |---|---|---|
//! | `*.ds` | A and AAAA of the references | whether both families are answered alike |
//! | `*.v4` | A alone | synthesised AAAA: DNS64, or lies |
//! | `*.v6` | AAAA alone | resolvers that filter AAAA |
//! | `*.big` | TXT of 1,800 bytes | whether long answers arrive in fragments |
//! | `*.nx` | nothing | resolvers that invent addresses |
//! | `*.ds.v6ns` | A and AAAA, in a zone whose name servers have AAAA alone | whether the resolver itself has IPv6 |
//! | `*.ds.bogus` | A and AAAA, in a zone whose DS fits no key | whether the resolver validates |
//!
//! The asterisk stands for a label that each query invents, so that no cache answers.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sonde_protocol::net::is_host_label;

/// How long answers may be kept, in seconds. Queries invent their first label, so this is for what they share.
const TTL: u32 = 300;

/// Bytes of the long TXT record.
const BIG: usize = 1800;

/// The longest string in a TXT record (RFC 1035, 3.3).
const STRING: usize = 255;

/// A DS record (RFC 4034, 5) of a key that nobody has: algorithm 15 (Ed25519), digest SHA-256. Zones below it are bogus.
const NOBODYS_KEY: &str = "1 15 2 0000000000000000000000000000000000000000000000000000000000000001";

/// A name server of the zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameServer {
    /// The first label of its name within the zone.
    pub label: String,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

/// What the zone is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Its name, without a final dot.
    pub origin: String,
    /// Who serves it.
    pub name_servers: Vec<NameServer>,
    /// The reference servers' addresses, of both families.
    pub references: Vec<IpAddr>,
    /// The serial number.
    pub serial: u32,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneFile {
    /// The zone's name, without a final dot.
    pub origin: String,
    /// In the master format of RFC 1035, 5.
    pub text: String,
    /// Must it be signed? The two below it must not: one is to be bogus, and the other tells less if it can fail for two reasons.
    pub signed: bool,
}

/// Why there is no zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    /// Not a domain name.
    #[error("{0:?} is no domain name")]
    Name(String),
    /// Nobody serves it.
    #[error("name at least one name server")]
    NoNameServer,
    /// There are not both families.
    #[error("name at least one reference address of each family")]
    OneFamily,
}

impl Zone {
    /// The zone and the two below it.
    pub fn files(&self) -> Result<[ZoneFile; 3], ZoneError> {
        let labels = self.name_servers.iter().map(|server| server.label.as_str());
        for name in labels.chain(self.origin.split('.')) {
            if !is_host_label(name) {
                return Err(ZoneError::Name(name.into()));
            }
        }
        if self.origin.len() > 200 {
            return Err(ZoneError::Name(self.origin.clone()));
        }
        if self.name_servers.is_empty() {
            return Err(ZoneError::NoNameServer);
        }
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = self.references.iter().copied().partition(IpAddr::is_ipv4);
        if v4.is_empty() || v6.is_empty() {
            return Err(ZoneError::OneFamily);
        }
        Ok([self.main(&v4, &v6), self.over_v6(), self.bogus()])
    }

    fn main(&self, v4: &[IpAddr], v6: &[IpAddr]) -> ZoneFile {
        let mut text = self.head(&self.origin, "");
        for server in &self.name_servers {
            line(&mut text, &server.label, "A", &server.v4);
            line(&mut text, &server.label, "AAAA", &server.v6);
        }
        for (name, addresses) in [("ds", [v4, v6].concat()), ("v4", v4.to_vec()), ("v6", v6.to_vec())] {
            for name in [name.to_owned(), format!("*.{name}")] {
                addresses.iter().for_each(|address| line(&mut text, &name, kind(address), address));
            }
        }
        let big: Vec<String> =
            (0..BIG).step_by(STRING).map(|at| format!("\"{}\"", "0".repeat(STRING.min(BIG - at)))).collect();
        for name in ["big", "*.big"] {
            line(&mut text, name, "TXT", &big.join(" "));
        }
        for server in &self.name_servers {
            // Their only addresses are AAAA: a resolver without IPv6 does not get there.
            let label = format!("{}.v6ns", server.label);
            line(&mut text, "v6ns", "NS", &label);
            line(&mut text, &label, "AAAA", &server.v6);
            line(&mut text, "bogus", "NS", &server.label);
        }
        line(&mut text, "bogus", "DS", &NOBODYS_KEY);
        ZoneFile { origin: self.origin.clone(), text, signed: true }
    }

    fn over_v6(&self) -> ZoneFile {
        let origin = format!("v6ns.{}", self.origin);
        let mut text = self.head(&origin, "");
        for server in &self.name_servers {
            line(&mut text, &server.label, "AAAA", &server.v6);
        }
        self.both(&mut text);
        ZoneFile { origin, text, signed: false }
    }

    fn bogus(&self) -> ZoneFile {
        let origin = format!("bogus.{}", self.origin);
        let mut text = self.head(&origin, &format!(".{}.", self.origin));
        self.both(&mut text);
        ZoneFile { origin, text, signed: false }
    }

    /// SOA and NS. `servers` is what follows their labels.
    fn head(&self, origin: &str, servers: &str) -> String {
        let mut text = String::new();
        let first = self.name_servers.first().map_or("", |server| server.label.as_str());
        // Writing into memory cannot fail.
        let _ = writeln!(text, "$ORIGIN {origin}.\n$TTL {TTL}");
        let soa = format!("{first}{servers} hostmaster {} 3600 600 1209600 {TTL}", self.serial);
        line(&mut text, "@", "SOA", &soa);
        for server in &self.name_servers {
            line(&mut text, "@", "NS", &format!("{}{servers}", server.label));
        }
        text
    }

    fn both(&self, text: &mut String) {
        for name in ["ds", "*.ds"] {
            self.references.iter().for_each(|address| line(text, name, kind(address), address));
        }
    }
}

const fn kind(address: &IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "A",
        IpAddr::V6(_) => "AAAA",
    }
}

fn line(text: &mut String, name: &str, kind: &str, data: &impl std::fmt::Display) {
    // Writing into memory cannot fail.
    let _ = writeln!(text, "{name}\t{kind}\t{data}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> Zone {
        Zone {
            origin: "ref.example.net".into(),
            name_servers: vec![NameServer {
                label: "ns1".into(),
                v4: Ipv4Addr::new(192, 0, 2, 53),
                v6: "2001:db8::53".parse().unwrap(),
            }],
            references: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            serial: 7,
        }
    }

    #[test]
    fn each_name_has_what_it_is_for() {
        let [main, v6ns, bogus] = zone().files().unwrap();
        let has = |file: &ZoneFile, record: &str| file.text.lines().any(|line| line == record);
        for record in ["*.ds\tA\t192.0.2.1", "*.ds\tAAAA\t2001:db8::1", "*.v4\tA\t192.0.2.1", "*.v6\tAAAA\t2001:db8::1"]
        {
            assert!(has(&main, record), "{record} in\n{}", main.text);
        }
        assert!(!main.text.contains("*.v4\tAAAA") && !main.text.contains("*.v6\tA\t") && !main.text.contains("nx"));
        assert!(has(&main, "v6ns\tNS\tns1.v6ns") && !main.text.contains("ns1.v6ns\tA\t"));
        assert!(main.signed && !v6ns.signed && !bogus.signed);
        let big = main.text.lines().find(|line| line.starts_with("*.big")).unwrap();
        assert_eq!(big.matches('0').count(), BIG);
        assert!(has(&bogus, "@\tNS\tns1.ref.example.net."), "{}", bogus.text);
        assert!(has(&v6ns, "@\tNS\tns1"), "{}", v6ns.text);
    }

    #[test]
    fn what_is_no_zone_is_refused() {
        let with = |change: fn(&mut Zone)| {
            let mut zone = zone();
            change(&mut zone);
            zone.files()
        };
        assert!(matches!(with(|zone| zone.origin = "a b.net".into()), Err(ZoneError::Name(_))));
        assert!(matches!(with(|zone| zone.origin = "net.".into()), Err(ZoneError::Name(_))));
        assert_eq!(with(|zone| zone.name_servers.clear()), Err(ZoneError::NoNameServer));
        assert_eq!(with(|zone| zone.references.truncate(1)), Err(ZoneError::OneFamily));
    }
}
