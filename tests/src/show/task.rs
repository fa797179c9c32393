//! What the show measures: one line per measurement. A new kind is a new line here and its words in `words`.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::lab::time_server::{Manners, TimeServer};
use crate::lab::{DnsServer, Family, Host, Lab};
use crate::web::Web;

/// The name whose text the dns measurements ask for, and the text.
const NAME: &str = "hello.lab.example";
/// See [`NAME`].
pub(super) const TEXT: &str = "hello from the lab";
/// How far the target's NTP server is ahead, in seconds.
pub const AHEAD: i64 = 100;

/// One measurement.
pub(super) struct Task {
    /// For people.
    pub(super) name: String,
    pub(super) family: Family,
    /// Who is measured.
    pub(super) to: Host,
    pub(super) definition: Value,
}

impl Task {
    /// The address measured.
    pub(super) fn dst(&self) -> Option<IpAddr> {
        self.to.address(self.family)
    }
}

/// All of them, IPv6 first.
pub(super) fn all() -> Vec<Task> {
    let lines: &[(&str, Host, Value)] = &[
        ("ping", Host::Target, json!({"type": "ping", "packets": 3, "packet_interval": 100})),
        ("ping", Host::Far, json!({"type": "ping", "packets": 3, "packet_interval": 100})),
        ("traceroute by UDP", Host::Far, traceroute("UDP")),
        ("traceroute by ICMP", Host::Far, traceroute("ICMP")),
        ("traceroute by TCP", Host::Far, traceroute("TCP")),
        ("path MTU", Host::Target, json!({"type": "pathmtu"})),
        ("path MTU", Host::Far, json!({"type": "pathmtu"})),
        ("dns", Host::Dns, dns("UDP", "")),
        ("dns by TCP", Host::Dns, dns("TCP", "")),
        ("dns by TLS", Host::Dns, dns("TCP", "tls")),
        ("dns by HTTPS", Host::Dns, dns("TCP", "https")),
        ("dns by QUIC", Host::Dns, dns("UDP", "quic")),
        ("sslcert", Host::Target, json!({"type": "sslcert", "hostname": "target.lab.example"})),
        ("http", Host::Target, json!({"type": "http"})),
        ("ntp", Host::Target, json!({"type": "ntp", "packets": 3})),
    ];
    let task = |family: Family, (what, to, fields): &(&str, Host, Value)| {
        let number = if family == Family::V4 { 4 } else { 6 };
        let name = format!("{what} over IPv{number} to {}", to.name());
        let mut definition = fields.clone();
        definition["af"] = json!(number);
        definition["description"] = json!(name);
        definition["target"] = json!(to.address(family));
        Task { name, family, to: *to, definition }
    };
    [Family::V6, Family::V4].into_iter().flat_map(|family| lines.iter().map(move |line| task(family, line))).collect()
}

fn traceroute(protocol: &str) -> Value {
    json!({"type": "traceroute", "protocol": protocol, "packets": 3, "response_timeout": 1500})
}

/// By UDP or TCP, or what is over it.
fn dns(protocol: &str, over: &str) -> Value {
    let mut fields =
        json!({"type": "dns", "protocol": protocol, "query_class": "IN", "query_type": "TXT", "query_argument": NAME});
    if !over.is_empty() {
        fields[over] = json!(true);
    }
    fields
}

/// The servers that a lab does not have by itself.
pub struct Servers {
    /// Plain and over TLS, at the target.
    pub web: Web,
    _clocks: Vec<TimeServer>,
}

/// Gives the lab what the measurements ask for. It ends with what is returned.
pub fn serve(lab: &Lab) -> Result<Servers> {
    for server in [DnsServer::Lab, DnsServer::NatGateway] {
        lab.add_to_zone(server, &format!("{NAME} TXT 60 \"{TEXT}\""))?;
    }
    let clock = |family| {
        let address = Host::Target.address(family).context("the target is dual stack")?;
        TimeServer::start(lab.host(Host::Target), address, Manners::Ahead(AHEAD))
    };
    let clocks = Family::ALL.into_iter().map(clock).collect::<Result<_>>()?;
    Ok(Servers { web: Web::start(lab.host(Host::Target))?, _clocks: clocks })
}
