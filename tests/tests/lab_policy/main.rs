//! Not one packet to what is nobody's business: special addresses, the host itself, its neighbours, its routers. Proved by
//! a capture on the probes' hosts, for literals and for names, with an honest server ([`honest`]) and with a collector that
//! has the right key and means harm ([`harmful`]).
//!
//! The capture is read strictly: whatever a host sent must be one of the few things that it is known to need. Needs root;
//! says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

mod harmful;
mod honest;

use std::net::{IpAddr, UdpSocket};

use sonde_tests::lab::dns::message::write_query;
use sonde_tests::lab::dns::zone::kind;
use sonde_tests::lab::packet::{ICMP, ICMPV6, UDP, fnv1a};
use sonde_tests::lab::{Capture, CapturedPacket, DnsServer, Family, Host, Lab};
use sonde_tests::scene::collector_addresses;
use sonde_tests::world::PATIENCE;

/// Where the probes are: one with neighbours in its public networks, one behind a translator.
const HOSTS: [Host; 2] = [Host::Dual, Host::Nat];

/// Addresses that are forbidden wherever the probe is.
const SPECIAL: [&str; 7] =
    ["192.168.0.1", "127.0.0.1", "::1", "fe80::1", "100.64.0.1", "64:ff9b::c0a8:1", "::ffff:10.0.0.1"];

/// What forbidden servers would be asked for.
const FORBIDDEN_QUESTION: &str = "forbidden.lab.example";

fn special() -> Vec<IpAddr> {
    SPECIAL.iter().map(|text| text.parse().unwrap()).collect()
}

/// Addresses that look public and are forbidden to the probe on this host: its own, those it is seen from, its routers, the
/// machines in its networks.
fn near(lab: &Lab, host: Host) -> Vec<IpAddr> {
    let mut near: Vec<IpAddr> = Vec::new();
    for family in Family::ALL {
        near.extend(host.address(family));
        near.extend(host.public_address(family));
        near.extend(lab.path(host, Host::Target, family).first().map(|gateway| gateway.address));
    }
    if host == Host::Dual {
        // The same /24 and /64; of the household's /56 another /64. IPv4 has no prefix around a household.
        near.extend(Family::ALL.into_iter().filter_map(|family| Host::Neighbour.address(family)));
        near.extend(Host::NextDoor.address(Family::V6));
    }
    near.sort_unstable();
    near.dedup();
    near
}

/// Those of them that the API can know.
fn is_private(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.is_private())
}

fn target(family: Family) -> IpAddr {
    Host::Target.address(family).unwrap()
}

/// The line of a zone that gives a name this address.
fn record(name: &str, address: IpAddr) -> String {
    let kind = if address.is_ipv4() { "A" } else { "AAAA" };
    format!("{name} {kind} 0 {address}\n")
}

/// The DNS server that a host's resolver is.
fn resolver_of(host: Host) -> DnsServer {
    if host == Host::Nat { DnsServer::NatGateway } else { DnsServer::Lab }
}

/// What a host's resolver says at this moment, as anybody would hear it.
fn look_up(lab: &Lab, from: Host, name: &str, family: Family) -> IpAddr {
    let record = if family == Family::V4 { kind::A } else { kind::AAAA };
    let query = write_query(0x1234, name, record, None).unwrap();
    let resolver = lab.resolvers(from)[0];
    let answer = lab.host(from).run(|| {
        let any = if resolver.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(&query, (resolver, 53)).unwrap();
        let mut buffer = [0; 2048];
        let length = socket.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    });
    // The only record's data stand at the end.
    match family {
        Family::V4 => IpAddr::from(*answer.last_chunk::<4>().unwrap()),
        Family::V6 => IpAddr::from(*answer.last_chunk::<16>().unwrap()),
    }
}

/// The captures that prove it, one for each host with a probe. They begin before the probes do.
struct Proof<'a> {
    lab: &'a Lab,
    captures: Vec<(Host, Capture)>,
}

impl<'a> Proof<'a> {
    fn begin(lab: &'a Lab) -> Self {
        Self { lab, captures: HOSTS.iter().map(|host| (*host, lab.capture(*host).unwrap())).collect() }
    }

    /// Ends the captures and reads them: every packet is one that the probe needs, or goes to a target that may be measured;
    /// these were indeed seen, in both families where the host has them.
    fn conclude(self) {
        for (host, capture) in self.captures {
            let packets = capture.stop().unwrap();
            let routers = routers(self.lab, host);
            // Also on the loopback interface.
            let sent: Vec<&CapturedPacket> = packets.iter().filter(|packet| packet.outgoing).collect();
            for packet in &sent {
                assert!(
                    is_expected(self.lab, (host, &routers), packet),
                    "{host:?} sent on {}: {:?}",
                    packet.interface,
                    packet.summary
                );
            }
            for family in Family::ALL.into_iter().filter(|family| host.address(*family).is_some()) {
                assert!(sent.iter().any(|packet| packet.left_to(target(family))), "the capture on {host:?} is blind");
            }
        }
        for server in [DnsServer::Lab, DnsServer::NatGateway] {
            let asked = self.lab.dns_log(server).unwrap();
            assert!(asked.iter().all(|entry| entry.name != format!("{FORBIDDEN_QUESTION}.")), "{server:?} was asked");
        }
    }
}

/// What is in the pings by which a probe looks whether its own routers, resolvers and collectors are there. No measurement
/// has it.
const LOOK: [u8; 16] = [b's'; 16];

/// The host's routers, as its kernel has them.
fn routers(lab: &Lab, host: Host) -> Vec<IpAddr> {
    let routes = ["-4", "-6"].map(|version| {
        let output = lab.host(host).command("ip").args([version, "route", "show", "default"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    });
    let words: Vec<&str> = routes.iter().flat_map(|text| text.split_whitespace()).collect();
    words.windows(2).filter(|pair| pair[0] == "via").map(|pair| pair[1].parse().unwrap()).collect()
}

/// Whether a probe's host may have sent this: ARP, Neighbour Discovery and the like, DNS to its own resolver, QUIC to the
/// collector, the probe's own look at those and at its routers, which nobody can order, and measurements of the target.
fn is_expected(lab: &Lab, (host, routers): (Host, &[IpAddr]), packet: &CapturedPacket) -> bool {
    let summary = &packet.summary;
    let link_upkeep = summary.is_arp() || summary.is_nd() || summary.is_membership();
    let dns = lab.resolvers(host).iter().any(|resolver| summary.is_dns_to(*resolver));
    let Some(ip) = summary.ip else { return link_upkeep };
    let collector = collector_addresses()
        .iter()
        .any(|collector| ip.protocol == UDP && ip.dst == collector.ip() && ip.dst_port == Some(collector.port()));
    let measured = Family::ALL.iter().any(|family| ip.dst == target(*family));
    // The kernel's word about an answer that came after its socket was closed.
    let unwanted = matches!((ip.protocol, ip.icmp_type), (ICMP, Some(3)) | (ICMPV6, Some(1)))
        && (lab.resolvers(host).contains(&ip.dst) || collector_addresses().iter().any(|known| known.ip() == ip.dst));
    let is_look = matches!((ip.protocol, ip.icmp_type), (ICMP, Some(8)) | (ICMPV6, Some(128)))
        && ip.payload_hash == fnv1a(&LOOK)
        && (routers.contains(&ip.dst)
            || lab.resolvers(host).contains(&ip.dst)
            || collector_addresses().iter().any(|known| known.ip() == ip.dst));
    link_upkeep || dns || collector || measured || unwanted || is_look
}
