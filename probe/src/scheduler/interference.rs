//! Which runs would disturb each other, and so must not be under way together. Pure.
//!
//! Two things can disturb. *The line*: packets that queue behind somebody's large ones are late by as much as those take to
//! leave: eight kilobytes are 65 ms of a line with 1 Mbit/s up. So what sends that much at once (*bulk*) runs alone. *Who
//! answers*: routers and servers limit how often they answer one asker, so that of two runs which live from the same limited
//! answers one would see loss that is not there. That holds for two runs towards the same target:
//!
//! | | ping | traceroute | path MTU | dns, own resolvers | ntp | others |
//! |---|---|---|---|---|---|---|
//! | ping | – | ICMP only | bulk | – | – | – |
//! | traceroute | ICMP only | yes | bulk | – | – | – |
//! | dns, own resolvers | – | – | bulk | yes | – | – |
//! | ntp | – | – | bulk | – | yes | – |
//!
//! - Two *traceroutes* ask the same routers for ICMP errors, which Linux gives an asker once a second and others more rarely.
//! - A *traceroute over ICMP* ends in a burst of echo requests at its target, and a *ping* there would lose replies to a
//!   firewall that counts them. Traceroute over UDP or TCP draws other answers, so a ping may run beside it, as on RIPE
//!   Atlas. Two pings may, too: each sends one packet an interval.
//! - Two runs of *dns with the own resolvers* share a small forwarder, and the first warms the cache that the second one
//!   times. Servers elsewhere stand dozens of queries a second.
//! - *NTP* servers answer requests less than two seconds apart with a kiss of death (RFC 5905, 7.4).
//!
//! What has different targets shares the first hops, where the packet pace is the measure; a thousand pings and many
//! traceroutes may be under way together.

use std::net::IpAddr;

use sonde_protocol::net::Transport;
use sonde_protocol::order::Order;
use sonde_protocol::spec::{HttpMethod, Ipv6Scope, Ipv6Spec, PingSpec, Spec, Target, TracerouteSpec};

/// A run that sends or receives so many bytes at once is bulk.
const BULK: u64 = 8 * 1024;

/// Packets less than so many milliseconds apart count as sent at once.
const AT_ONCE_MS: u32 = 100;

/// Bytes of the headers of one packet: IPv6 and ICMP or UDP.
const HEADERS: u64 = 48;

/// How many packets traceroute has under way before the first answer.
const TRACEROUTE_WINDOW: u32 = 16;

/// What a run means to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint {
    bulk: bool,
    asks: Asks,
    /// The target's address, as far as it is known before the run.
    address: Option<IpAddr>,
    name: Option<Target>,
}

/// Which answers a run lives from, as far as those who give them count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// Echo replies, one at a time.
    Echo,
    /// ICMP errors of the routers on the way, and a burst of whatever the target answers.
    Path { echo: bool },
    /// The host's own resolvers, whatever they are.
    OwnResolvers,
    /// A time server.
    Time,
    /// What nobody counts at our pace.
    Nothing,
}

impl Footprint {
    /// The footprint of an order's runs; `None` when the definition cannot be read, so that nothing of it runs.
    pub fn of(order: &Order) -> Option<Self> {
        Some(Self::with(&order.spec().ok()?, order))
    }

    /// The footprint of a run of the order with another definition.
    pub fn with(spec: &Spec, order: &Order) -> Self {
        let address = order.addresses.first().map(|ip| ip.0).filter(|_| !order.resolve_on_probe);
        Self::new(spec, address, order.target.clone())
    }

    fn new(spec: &Spec, address: Option<IpAddr>, name: Option<Target>) -> Self {
        let asks = match spec {
            Spec::Ping(_) => Asks::Echo,
            Spec::Traceroute(trace) => Asks::Path { echo: trace.protocol == Transport::Icmp },
            Spec::PathMtu(_) => Asks::Path { echo: true },
            Spec::Dns(dns) if dns.use_probe_resolver => Asks::OwnResolvers,
            Spec::Ntp(_) => Asks::Time,
            Spec::Ipv6(_) => Asks::OwnResolvers,
            Spec::Dns(_) | Spec::Sslcert(_) | Spec::Http(_) => Asks::Nothing,
        };
        Self { bulk: bytes_at_once(spec) >= BULK, asks, address, name }
    }

    /// The target's name has led to this address.
    pub fn resolved(&mut self, address: IpAddr) {
        self.address = Some(address);
    }

    /// Whether two runs must not be under way together.
    pub fn disturbs(&self, other: &Self) -> bool {
        if self.bulk || other.bulk {
            return true;
        }
        match (self.asks, other.asks) {
            (Asks::OwnResolvers, Asks::OwnResolvers) => true,
            (Asks::Path { .. }, Asks::Path { .. })
            | (Asks::Path { echo: true }, Asks::Echo)
            | (Asks::Echo, Asks::Path { echo: true })
            | (Asks::Time, Asks::Time) => self.same_target(other),
            _ => false,
        }
    }

    /// Two names may lead to one address; that shows when both have been resolved once.
    fn same_target(&self, other: &Self) -> bool {
        match (self.address, other.address) {
            (Some(one), Some(another)) => one == another,
            _ => self.name == other.name,
        }
    }
}

/// How many bytes a run has on the line at once, in the worse direction.
fn bytes_at_once(spec: &Spec) -> u64 {
    let packets = |count: u32, size: u32| (u64::from(size) + HEADERS) * u64::from(count);
    match spec {
        Spec::Ping(PingSpec { packets: count, size, packet_interval, .. }) => {
            packets((*count).min(AT_ONCE_MS / (*packet_interval).max(1) + 1), *size)
        }
        Spec::Traceroute(trace) => {
            let TracerouteSpec { size, hop_by_hop_option_size, destination_option_size, .. } = trace;
            let size = size.saturating_add(*hop_by_hop_option_size).saturating_add(*destination_option_size);
            packets(TRACEROUTE_WINDOW.min(spec.packets_at_most()), size)
        }
        // It tries how much fits, packets of different sizes at once.
        Spec::PathMtu(_) | Spec::Ipv6(Ipv6Spec { scope: Ipv6Scope::Full }) => u64::MAX,
        Spec::Http(http) => match http.method {
            HttpMethod::Head => 0,
            HttpMethod::Get | HttpMethod::Post => u64::from(http.max_bytes_read.unwrap_or(u32::MAX)),
        },
        // A chain of certificates, a few answers, a few packets of 48 bytes.
        Spec::Sslcert(_) | Spec::Dns(_) | Spec::Ntp(_) | Spec::Ipv6(Ipv6Spec { scope: Ipv6Scope::Light }) => 0,
    }
}

#[cfg(test)]
mod tests {
    use sonde_protocol::spec::{DnsSpec, HttpSpec, NtpSpec, PathMtuSpec, SslcertSpec};

    use super::*;

    fn run(spec: Spec, target: &str) -> Footprint {
        Footprint::new(&spec, target.parse().ok(), Target::new(target))
    }

    fn ping(size: u32, packet_interval: u32) -> Spec {
        Spec::Ping(PingSpec { packets: 16, size, packet_interval, ..PingSpec::default() })
    }

    fn trace(protocol: Transport, size: u32) -> Spec {
        Spec::Traceroute(TracerouteSpec { protocol, size, ..TracerouteSpec::default() })
    }

    fn own_resolvers() -> Spec {
        Spec::Dns(DnsSpec { use_probe_resolver: true, ..DnsSpec::default() })
    }

    #[test]
    fn what_fills_the_line_runs_alone() {
        for (spec, bulk) in [
            (ping(48, 1000), false),
            (ping(2048, 1000), false),
            (ping(2048, 2), true),
            (trace(Transport::Udp, 48), false),
            (trace(Transport::Udp, 1400), true),
            (Spec::PathMtu(PathMtuSpec::default()), true),
            (Spec::Http(HttpSpec::default()), true),
            (Spec::Http(HttpSpec { max_bytes_read: Some(512), ..HttpSpec::default() }), false),
            (Spec::Http(HttpSpec { method: HttpMethod::Head, ..HttpSpec::default() }), false),
            (Spec::Sslcert(SslcertSpec::default()), false),
        ] {
            let (one, other) = (run(spec.clone(), "192.0.2.1"), run(own_resolvers(), "192.0.2.2"));
            assert_eq!((one.disturbs(&other), other.disturbs(&one)), (bulk, bulk), "{spec:?}");
        }
    }

    #[test]
    fn towards_one_target_the_same_answers_are_asked_for_by_one_run() {
        use Transport::{Icmp, Udp};
        let ntp = || Spec::Ntp(NtpSpec::default());
        let dns = || Spec::Dns(DnsSpec::default());
        for (one, other, expected) in [
            (ping(48, 1000), ping(48, 1000), false),
            (ping(48, 1000), trace(Icmp, 48), true),
            (ping(48, 1000), trace(Udp, 48), false),
            (trace(Udp, 48), trace(Icmp, 48), true),
            (dns(), dns(), false),
            (ntp(), ntp(), true),
            (ntp(), ping(48, 1000), false),
        ] {
            let same = (run(one.clone(), "192.0.2.1"), run(other.clone(), "192.0.2.1"));
            assert_eq!(same.0.disturbs(&same.1), expected, "{one:?} {other:?}");
            assert_eq!(same.1.disturbs(&same.0), expected, "{other:?} {one:?}");
            assert!(!run(one, "192.0.2.1").disturbs(&run(other, "192.0.2.2")), "different targets");
        }
        assert!(run(own_resolvers(), "192.0.2.1").disturbs(&run(own_resolvers(), "192.0.2.2")));
    }

    #[test]
    fn names_are_compared_until_both_addresses_are_known() {
        let trace = |target| run(trace(Transport::Udp, 48), target);
        assert!(trace("a.example").disturbs(&trace("a.example")));
        assert!(!trace("a.example").disturbs(&trace("b.example")));
        assert!(!trace("a.example").disturbs(&trace("192.0.2.1")));
        let mut known = trace("a.example");
        known.resolved("192.0.2.1".parse().unwrap());
        assert!(known.disturbs(&trace("192.0.2.1")));
        assert!(!known.disturbs(&trace("192.0.2.2")));
    }
}
