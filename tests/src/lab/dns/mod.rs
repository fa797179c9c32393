//! The lab's DNS server: answers from a small text file, with scripted changes and failures, and logs the exact bytes.
//!
//! It speaks UDP, TCP, TLS, HTTPS and QUIC, reads the file anew for each query, and knows neither recursion nor DNSSEC. Its
//! codec is its own and not the probe's, so that one mistake does not hide in both. [`zone`] is the file, [`message`] the
//! bytes, [`server`] the process `lab-dns`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::namespace::{LabChild, Namespace};
use super::topology::{Family, Host, Node};

pub mod message;
mod secure;
pub mod server;
pub mod zone;

/// Which of the lab's DNS servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DnsServer {
    /// The one on `Host::Dns`, which everybody but `Host::Nat` uses.
    Lab,
    /// The one on the NAT router, at the private address that `Host::Nat` uses.
    NatGateway,
}

/// One query and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsLogEntry {
    /// When the answer went out (or would have), nanoseconds since 1970.
    pub at: i64,
    /// The server's address that was asked.
    pub server: SocketAddr,
    /// Who asked.
    pub client: SocketAddr,
    /// `udp`, `tcp`, `tls`, `https` or `quic`.
    pub transport: String,
    /// The name asked for, in lower case with a dot at its end.
    pub name: String,
    /// The number of the record type.
    pub query_type: u16,
    /// The number of the class: 1 is IN, 3 is CH.
    pub query_class: u16,
    /// The query, as received, in hexadecimal (over connections without the length).
    #[serde(with = "hex")]
    pub query: Vec<u8>,
    /// The answer, as sent; `None` if the file asks for silence.
    #[serde(with = "hex_option")]
    pub answer: Option<Vec<u8>>,
}

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub(super) struct DnsProcess {
    _child: LabChild,
    zone: PathBuf,
    log: PathBuf,
}

impl DnsProcess {
    /// Starts a server inside a namespace, on port 53 of these addresses, and waits until it listens.
    pub(super) fn start(
        program: &Path,
        namespace: &Namespace,
        addresses: &[std::net::IpAddr],
        dir: &Path,
        zone: &str,
    ) -> anyhow::Result<Self> {
        let process = |child| Self {
            _child: child,
            zone: dir.join(format!("{}.zone", namespace.name())),
            log: dir.join(format!("{}.dns-log", namespace.name())),
        };
        let mut command = namespace.command(program);
        command.arg(dir.join(format!("{}.zone", namespace.name())));
        command.arg(dir.join(format!("{}.dns-log", namespace.name())));
        command.args(addresses.iter().map(|address| SocketAddr::new(*address, 53).to_string()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        std::fs::write(dir.join(format!("{}.zone", namespace.name())), zone).context("write the zone")?;
        let mut child = LabChild::start(&mut command)?;
        let mut line = String::new();
        let output = child.stdout.take().context("the server's output")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).context("hear the DNS server")?;
        ensure!(line == server::READY, "the DNS server has ended; its reason is on standard error");
        Ok(process(child))
    }

    /// The file with the names; whoever changes it should replace it by rename.
    pub(super) fn zone_path(&self) -> &Path {
        &self.zone
    }

    /// Replaces the names, from the next query on. Fails if the text cannot be understood.
    pub(super) fn set_zone(&self, text: &str) -> anyhow::Result<()> {
        zone::Zone::parse(text)?;
        let next = self.zone.with_extension("next");
        std::fs::write(&next, text).context("write the zone")?;
        std::fs::rename(&next, &self.zone).context("replace the zone")
    }

    /// Everything asked so far.
    pub(super) fn log(&self) -> anyhow::Result<Vec<DnsLogEntry>> {
        let text = match std::fs::read_to_string(&self.log) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.context("read the DNS log")?,
        };
        text.lines().map(|line| serde_json::from_str(line).context("understand the DNS log")).collect()
    }
}

/// The names every lab begins with: each host as `NAME.lab.example`, the target's further addresses as `target2` and
/// `target3`, the server's identity, and `ipv4only.arpa` as an IPv4-only resolver has it (RFC 7050: no AAAA).
pub fn default_zone() -> String {
    let mut zone = String::from(
        "lab.example SOA 60 ns.lab.example hostmaster.lab.example 1 3600 600 86400 60\n\
         lab.example NS 60 ns.lab.example\n\
         hostname.bind CH TXT 0 \"lab-dns\"\n\
         version.bind CH TXT 0 \"lab-dns 1\"\n\
         . NSID lab-dns\n\
         ipv4only.arpa A 60 192.0.0.170,192.0.0.171\n",
    );
    for (name, host) in Host::ALL.map(|host| (host.name(), host)).into_iter().chain([("ns", Host::Dns)]) {
        // What a private address would be good for outside, nobody knows.
        if host == Host::Nat {
            continue;
        }
        for (family, kind) in [(Family::V4, "A"), (Family::V6, "AAAA")] {
            for (number, address) in (1..).zip(Node::Host(host).addresses(family)) {
                let number = if number == 1 { String::new() } else { number.to_string() };
                zone.push_str(&format!("{name}{number}.lab.example {kind} 60 {address}\n"));
            }
        }
    }
    zone
}

/// Bytes as a string of hexadecimal digits.
mod hex {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn encode(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub fn decode(text: &str) -> Option<Vec<u8>> {
        let digits: Option<Vec<u8>> =
            text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
        let (pairs, rest) = digits.as_ref()?.as_chunks::<2>();
        rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
    }

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        decode(&String::deserialize(from)?).ok_or_else(|| D::Error::custom("not hexadecimal"))
    }
}

/// The same, or `null`.
mod hex_option {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        bytes.as_deref().map(super::hex::encode).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text: Option<String> = Option::deserialize(from)?;
        text.map(|text| super::hex::decode(&text).ok_or_else(|| D::Error::custom("not hexadecimal"))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_zone_can_be_read() {
        zone::Zone::parse(&default_zone()).unwrap();
    }

    #[test]
    fn a_log_entry_survives_its_line() {
        let entry = DnsLogEntry {
            at: 1,
            server: "20.21.1.53:53".parse().unwrap(),
            client: "[2a0e::1]:4000".parse().unwrap(),
            transport: "udp".into(),
            name: "x.".into(),
            query_type: 1,
            query_class: 1,
            query: vec![0, 255],
            answer: None,
        };
        let line = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<DnsLogEntry>(&line).unwrap(), entry);
    }
}
