//! What this probe refuses to measure, and how much it measures at most. It protects the host by itself, whatever orders
//! say: addresses and ports here, amounts in [`Caps`].
//!
//! Ask [`Policy::check_target`] after resolution and before the first packet, for each address, and again for runs under way
//! when the neighbourhood has changed. The rules for addresses are those of [`sonde_protocol::address`].
//!
//! Pure: what is near comes from [`crate::local`], what is allowed from [`crate::config`], and time is an argument.

mod caps;
pub mod cost;
mod gate;
pub mod quiet;

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use sonde_protocol::address::{Neighbourhood, Refusal, tcp_port_allowed};
use sonde_protocol::directory::{Reference, same_host};
use sonde_protocol::spec::{DnsCarrier, DnsSpec, Spec};

pub use caps::{Admit, Caps, DayUse};
pub use gate::{LocalMoment, Pause, refused};

/// Why something may not be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The address.
    #[error("address not allowed: {0}")]
    Address(#[from] Refusal),
    /// The port, to which a mere attempt means harm.
    #[error("port {0} not allowed")]
    Port(u32),
    /// It is none of the probe's own resolvers, or not at a port of DNS.
    #[error("{0} is not a resolver of this probe")]
    NotAResolver(SocketAddr),
    /// The directory does not list the host for http measurements.
    #[error("host not allowed: http measures listed hosts only")]
    HttpHost,
}

/// Which targets are allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// The host's exceptions to the rules for addresses. Ports and caps know no exception.
    pub exceptions: Vec<IpNet>,
    /// What is near the probe now.
    pub neighbourhood: Neighbourhood,
    /// The hosts that http measurements may ask.
    pub http_hosts: HttpHosts,
    /// The references of the network's newest directory: the only targets of ipv6.
    pub references: Vec<Reference>,
}

/// Which hosts http measurements may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpHosts {
    /// Those that the network's newest directory lists.
    Listed(Vec<String>),
    /// Any: by the host's own command.
    Any,
}

impl Default for HttpHosts {
    fn default() -> Self {
        HttpHosts::Listed(Vec::new())
    }
}

impl Policy {
    /// May this address be measured in this way?
    ///
    /// # Errors
    /// When it may not: the reason.
    pub fn check_target(&self, address: IpAddr, spec: &Spec) -> Result<(), Denied> {
        if let Some(port) = connected_port(spec)
            && !u16::try_from(port).is_ok_and(tcp_port_allowed)
        {
            return Err(Denied::Port(port));
        }
        self.check_address(address)
    }

    /// May this address be measured at all?
    ///
    /// # Errors
    /// When it may not: the reason.
    pub fn check_address(&self, address: IpAddr) -> Result<(), Denied> {
        Ok(self.neighbourhood.check(address, &self.exceptions)?)
    }

    /// May this target, by the name it was asked for, be measured in this way? Only http cares. To be asked beside
    /// [`Policy::check_target`].
    ///
    /// # Errors
    /// When it may not: the reason.
    pub fn check_name(&self, target: &str, spec: &Spec) -> Result<(), Denied> {
        match (spec, &self.http_hosts) {
            (Spec::Http(_), HttpHosts::Listed(hosts)) if !hosts.iter().any(|host| same_host(host, target)) => {
                Err(Denied::HttpHost)
            }
            _ => Ok(()),
        }
    }
}

/// May dns with the probe's own resolvers ask here? Only exactly the configured ones (`own`), wherever they are, and only
/// at the ports of DNS.
///
/// # Errors
/// When it may not.
pub fn check_resolver(address: SocketAddr, own: &[SocketAddr]) -> Result<(), Denied> {
    let same_host = |resolver: &SocketAddr| match (resolver, &address) {
        (SocketAddr::V6(a), SocketAddr::V6(b)) => a.ip() == b.ip() && a.scope_id() == b.scope_id(),
        (a, b) => a.ip() == b.ip(),
    };
    // A lab may have put a resolver at another port; then that one is meant too.
    let known_port =
        |resolver: &SocketAddr| DnsSpec::RESOLVER_PORTS.contains(&address.port()) || address.port() == resolver.port();
    if own.iter().any(|resolver| same_host(resolver) && known_port(resolver)) {
        Ok(())
    } else {
        Err(Denied::NotAResolver(address))
    }
}

/// The port to which this may open a connection. Any dns measurement may: a truncated answer makes it ask again over TCP,
/// and whether the answer is truncated is the target's choice. QUIC alone stays what it is.
fn connected_port(spec: &Spec) -> Option<u32> {
    match spec {
        Spec::Dns(dns) if dns.carrier() == DnsCarrier::Quic => None,
        Spec::Dns(dns) => Some(dns.port),
        Spec::Sslcert(sslcert) => Some(sslcert.port),
        Spec::Http(http) => Some(http.port),
        _ => spec.tcp_port().map(u32::from),
    }
}

#[cfg(test)]
mod tests {
    use sonde_protocol::net::Transport;
    use sonde_protocol::spec::{HttpSpec, PingSpec, SslcertSpec, TracerouteSpec};

    use super::*;

    fn policy(exceptions: &[&str]) -> Policy {
        Policy {
            exceptions: exceptions.iter().map(|net| net.parse().unwrap()).collect(),
            neighbourhood: Neighbourhood {
                own: vec!["2a00:1:2:300::9".parse().unwrap()],
                on_link: vec!["20.0.0.0/24".parse().unwrap()],
                gateways: vec!["21.0.0.1".parse().unwrap()],
                public: vec!["22.0.0.1".parse().unwrap()],
                ..Neighbourhood::default()
            },
            http_hosts: HttpHosts::Listed(vec!["Anchor.example.net.".into(), "2001:db8::1".into()]),
            references: Vec::new(),
        }
    }

    fn ping() -> Spec {
        Spec::Ping(PingSpec::default())
    }

    fn allowed(policy: &Policy, address: &str) -> bool {
        policy.check_target(address.parse().unwrap(), &ping()).is_ok()
    }

    #[test]
    fn special_and_near_addresses_are_refused() {
        let strict = policy(&[]);
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "20.0.0.77",
            "21.0.0.1",
            "22.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::1600:1",
            "2a00:1:2:3ff::1",
        ] {
            assert!(!allowed(&strict, address), "{address}");
        }
        for address in ["8.8.8.8", "20.0.1.1", "2a00:1:2:400::1"] {
            assert!(allowed(&strict, address), "{address}");
        }
    }

    #[test]
    fn exceptions_override_every_rule_for_addresses_and_none_for_ports() {
        let lab = policy(&["127.0.0.0/8", "20.0.0.0/24", "2a00:1:2:300::/56"]);
        for address in ["127.0.0.1", "20.0.0.77", "2a00:1:2:300::9", "2a00:1:2:3ff::1"] {
            assert!(allowed(&lab, address), "{address}");
        }
        assert!(!allowed(&lab, "10.1.2.3"));
        let ssh = Spec::Traceroute(TracerouteSpec { protocol: Transport::Tcp, port: 22, ..TracerouteSpec::default() });
        assert_eq!(lab.check_target("127.0.0.1".parse().unwrap(), &ssh), Err(Denied::Port(22)));
    }

    #[test]
    fn harmful_ports_are_refused_wherever_a_connection_may_be_opened() {
        let traceroute = |protocol| Spec::Traceroute(TracerouteSpec { protocol, port: 25, ..Default::default() });
        let dns = |protocol| Spec::Dns(DnsSpec { protocol, port: 25, ..DnsSpec::default() });
        for (spec, expected) in [
            (traceroute(Transport::Tcp), Err(Denied::Port(25))),
            (traceroute(Transport::Udp), Ok(())),
            (traceroute(Transport::Icmp), Ok(())),
            (dns(Transport::Tcp), Err(Denied::Port(25))),
            (dns(Transport::Udp), Err(Denied::Port(25))),
            (Spec::Sslcert(SslcertSpec { port: 3389, hostname: None }), Err(Denied::Port(3389))),
            (Spec::Sslcert(SslcertSpec { port: 65_536 + 443, hostname: None }), Err(Denied::Port(65_979))),
            (Spec::Http(HttpSpec { port: 6379, ..HttpSpec::default() }), Err(Denied::Port(6379))),
            (Spec::Http(HttpSpec { port: 8080, ..HttpSpec::default() }), Ok(())),
            (Spec::Dns(DnsSpec { tls: true, port: 853, ..DnsSpec::default() }), Ok(())),
            (Spec::Dns(DnsSpec { tls: true, port: 25, ..DnsSpec::default() }), Err(Denied::Port(25))),
            (Spec::Dns(DnsSpec { https: true, port: 22, ..DnsSpec::default() }), Err(Denied::Port(22))),
            (Spec::Dns(DnsSpec { https: true, port: 443, ..DnsSpec::default() }), Ok(())),
            (Spec::Dns(DnsSpec { quic: true, port: 25, ..DnsSpec::default() }), Ok(())),
        ] {
            assert_eq!(policy(&[]).check_target("8.8.8.8".parse().unwrap(), &spec), expected, "{spec:?}");
        }
    }

    #[test]
    fn http_measures_listed_hosts_only() {
        let http = Spec::Http(HttpSpec::default());
        assert_eq!(policy(&[]).check_name("anchor.example.net", &http), Ok(()));
        assert_eq!(policy(&[]).check_name("www.example.net", &http), Err(Denied::HttpHost));
        assert_eq!(policy(&[]).check_name("2001:DB8:0::1", &http), Ok(()));
        assert_eq!(policy(&[]).check_name("", &http), Err(Denied::HttpHost));
        assert_eq!(Policy::default().check_name("www.example.net", &http), Err(Denied::HttpHost));
        assert_eq!(policy(&[]).check_name("www.example.net", &ping()), Ok(()));
        let by_hand = Policy { http_hosts: HttpHosts::Any, ..Policy::default() };
        assert_eq!(by_hand.check_name("www.example.net", &http), Ok(()));
    }

    #[test]
    fn own_resolvers_are_exactly_the_configured_ones_at_the_ports_of_dns() {
        let own = ["192.168.1.1:53".parse().unwrap(), "[fe80::1%2]:53".parse().unwrap()];
        for (address, expected) in [
            ("192.168.1.1:53", true),
            ("192.168.1.1:853", true),
            ("192.168.1.1:80", false),
            ("192.168.1.1:443", false),
            ("192.168.1.2:53", false),
            ("[::ffff:192.168.1.1]:53", false),
            ("[fe80::1%2]:853", true),
            ("[fe80::1%3]:53", false),
            ("[fe80::1]:53", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(check_resolver(address, &own).is_ok(), expected, "{address}");
        }
        let lab = ["127.0.0.1:5353".parse().unwrap()];
        assert_eq!(check_resolver(lab[0], &lab), Ok(()));
    }
}
