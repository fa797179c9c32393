//! What a result costs, and how many packets a run sends to its target.

use sonde_protocol::spec::{DnsCarrier, DnsSpec, Ipv6Scope, Spec, dns_type};
use sonde_store::catalog::Price;

use super::CreditsPolicy;

/// The class CHAOS: its texts are a server's name, and short.
const CHAOS: u16 = 3;

/// The price of a measurement's results. Atlas's formulas where they are known: see `docs/researcher-guide.md`.
pub(crate) fn price(policy: &CreditsPolicy, spec: &Spec, is_oneoff: bool) -> Price {
    let each = match spec {
        Spec::Ping(ping) => policy.ping_packet.saturating_mul(ping.packets).saturating_mul(units(policy, ping.size)),
        Spec::Traceroute(trace) => {
            policy.traceroute_packet.saturating_mul(trace.packets).saturating_mul(units(policy, trace.size))
        }
        Spec::Dns(dns) => query(policy, dns),
        Spec::Sslcert(_) => policy.sslcert,
        Spec::Http(_) => policy.http,
        Spec::Ntp(_) => policy.ntp,
        Spec::PathMtu(_) => policy.pathmtu,
        Spec::Ipv6(ipv6) => match ipv6.scope {
            Ipv6Scope::Light => policy.ipv6,
            Ipv6Scope::Full => policy.ipv6_full,
        },
    };
    let credits = if is_oneoff { each.saturating_mul(policy.oneoff_factor) } else { each };
    Price { credits, packets: packets(spec) }
}

/// How many packets a large one counts as.
fn units(policy: &CreditsPolicy, size: u32) -> u32 {
    size / policy.packet_bytes.max(1) + 1
}

/// A query over UDP can be turned on somebody by a forged address, the more so the larger its answer; over a connection it
/// cannot.
fn query(policy: &CreditsPolicy, dns: &DnsSpec) -> u32 {
    if dns.carrier() != DnsCarrier::Udp {
        return policy.dns_tcp;
    }
    if dns.use_probe_resolver {
        // Between a probe and its own resolver, whose answer goes nowhere else.
        return policy.dns_udp;
    }
    let wanted = dns.udp_payload_size.saturating_sub(1) / policy.answer_bytes.max(1) + 1;
    let amplifies = |name: &String| dns_type(&name.to_ascii_uppercase()) == Some(dns.query_type);
    let factor = match dns.query_class != CHAOS && policy.amplifying_types.iter().any(amplifies) {
        true => policy.amplifying_factor,
        false => 1,
    };
    policy.dns_udp.saturating_mul(wanted).saturating_mul(factor)
}

/// About how many packets one run sends as far as its target: a connection's are set-up, question and end, a traceroute's
/// are those of the last hop and the few that are under way behind it.
fn packets(spec: &Spec) -> u32 {
    match spec {
        Spec::Ping(ping) => ping.packets,
        Spec::Traceroute(trace) => trace.packets.saturating_mul(2),
        Spec::Dns(dns) if dns.carrier() == DnsCarrier::Udp => dns.retry.saturating_add(1),
        Spec::Dns(_) | Spec::Sslcert(_) | Spec::Http(_) => 10,
        Spec::Ntp(ntp) => ntp.packets,
        Spec::PathMtu(path) => path.packets.saturating_mul(10),
        Spec::Ipv6(ipv6) => ipv6.packets_at_most(),
    }
}

#[cfg(test)]
mod tests {
    use sonde_protocol::net::Transport;
    use sonde_protocol::spec::{Ipv6Spec, Kind, PingSpec, TracerouteSpec};

    use super::*;

    fn cost(spec: &Spec) -> u32 {
        price(&CreditsPolicy::default(), spec, false).credits
    }

    #[test]
    fn atlass_prices() {
        let of = |kind| cost(&Spec::default_of(kind));
        assert_eq!((of(Kind::Ping), of(Kind::Traceroute), of(Kind::Sslcert)), (3, 30, 10));
        let ipv6 = |scope| cost(&Spec::Ipv6(Ipv6Spec { scope }));
        assert_eq!((ipv6(Ipv6Scope::Light), ipv6(Ipv6Scope::Full)), (50, 200));
        let ping = |packets, size| cost(&Spec::Ping(PingSpec { packets, size, ..PingSpec::default() }));
        assert_eq!((ping(1, 1499), ping(1, 1500), ping(16, 2048)), (1, 2, 32));
        let trace = TracerouteSpec { packets: 1, size: 1500, ..TracerouteSpec::default() };
        assert_eq!(cost(&Spec::Traceroute(trace)), 20);
        assert_eq!(price(&CreditsPolicy::default(), &Spec::default_of(Kind::Traceroute), true).credits, 60);
    }

    #[test]
    fn queries_that_could_be_turned_on_somebody_cost_more() {
        let dns = |name: &str, udp_payload_size, protocol| {
            let query_type = dns_type(name).unwrap();
            cost(&Spec::Dns(DnsSpec { query_type, udp_payload_size, protocol, ..DnsSpec::default() }))
        };
        assert_eq!((dns("AAAA", 512, Transport::Udp), dns("AAAA", 1232, Transport::Udp)), (10, 10));
        assert_eq!((dns("ANY", 512, Transport::Udp), dns("DNSKEY", 4096, Transport::Udp)), (20, 80));
        assert_eq!((dns("ANY", 4096, Transport::Tcp), dns("AAAA", 512, Transport::Tcp)), (20, 20));
        let name = DnsSpec { query_class: CHAOS, query_type: dns_type("TXT").unwrap(), ..DnsSpec::default() };
        assert_eq!(cost(&Spec::Dns(name)), 10, "hostname.bind");
    }

    #[test]
    fn any_number_can_be_set() {
        let policy = CreditsPolicy {
            packet_bytes: 0,
            answer_bytes: 0,
            ping_packet: u32::MAX,
            dns_udp: u32::MAX,
            oneoff_factor: u32::MAX,
            amplifying_types: vec!["nonsense".into()],
            ..CreditsPolicy::default()
        };
        for kind in Kind::ALL {
            price(&policy, &Spec::default_of(kind), true);
        }
        let free = CreditsPolicy { oneoff_factor: 0, ..policy };
        assert_eq!(price(&free, &Spec::default_of(Kind::Ping), true).credits, 0);
    }
}
