//! Why a machine sends what it sends: each frame that left it finds its reason in a list, or is one too many. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::lab::CapturedPacket;
use crate::lab::packet::{ICMP, ICMPV6, IpSummary, TCP, UDP};

/// IGMP's number.
const IGMP: u8 = 2;
/// Flags of TCP: SYN and ACK together are somebody who listens.
const SYN_ACK: u8 = 0x12;
/// Of TCP: reset.
const RST: u8 = 0x04;

/// What the machine may have to do with.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// Its link-layer address.
    pub mac: [u8; 6],
    /// Its routers on this line.
    pub gateways: Vec<IpAddr>,
    /// The resolvers that the line gave it.
    pub resolvers: Vec<IpAddr>,
    /// Its network's collectors.
    pub collectors: Vec<SocketAddr>,
    /// Where researchers had it measure to.
    pub targets: Vec<IpAddr>,
    /// Who looked for open ports.
    pub scanners: Vec<IpAddr>,
}

/// What a machine sent, by reason, and what has none.
#[derive(Debug, Default)]
pub struct Account {
    /// Frames and bytes of each reason.
    pub explained: BTreeMap<&'static str, (u64, u64)>,
    /// The others, in words.
    pub unexplained: Vec<String>,
}

impl Account {
    /// Of the frames that came in from the machine, which are those that its tap device received.
    pub fn of(packets: &[CapturedPacket], tap: &str, expected: &Expected) -> Self {
        let mut account = Self::default();
        for packet in packets.iter().filter(|packet| packet.interface == tap && !packet.outgoing) {
            match reason(packet, expected) {
                Ok(reason) => {
                    let (frames, bytes) = account.explained.entry(reason).or_default();
                    *frames += 1;
                    *bytes += packet.bytes.len() as u64;
                }
                Err(why) => account.unexplained.push(format!("{why}: {}", words(packet))),
            }
        }
        account
    }

    /// One line a reason.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for (reason, (frames, bytes)) in &self.explained {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {frames:>7} frames {bytes:>9} bytes  {reason}");
        }
        text
    }
}

/// Why the machine sent it.
///
/// # Errors
/// With what is wrong, if it has no business to.
pub fn reason(packet: &CapturedPacket, expected: &Expected) -> Result<&'static str, &'static str> {
    if packet.bytes.get(6..12) != Some(&expected.mac[..]) {
        return Err("not from its own link-layer address");
    }
    if packet.summary.is_arp() {
        return Ok("ARP");
    }
    let Some(ip) = packet.summary.ip else { return Err("neither IP nor ARP") };
    match ip.protocol {
        IGMP if ip.dst.is_multicast() => Ok("multicast membership (IGMP)"),
        ICMPV6 => icmp6(&ip, expected),
        ICMP => icmp4(&ip, expected),
        UDP => udp(&ip, expected),
        TCP => tcp(packet, &ip, expected),
        _ => Err("another protocol"),
    }
}

fn icmp6(ip: &IpSummary, expected: &Expected) -> Result<&'static str, &'static str> {
    match ip.icmp_type {
        Some(133) => Ok("router solicitation"),
        Some(135 | 136) => Ok("neighbour discovery"),
        Some(131 | 132 | 143) => Ok("multicast membership (MLD)"),
        Some(134) => Err("a router advertisement"),
        Some(137) => Err("a redirect"),
        Some(128) => echo(ip, expected),
        Some(129) => reply(ip, expected),
        Some(1..=4) => error(ip, expected),
        _ => Err("ICMPv6 of another type"),
    }
}

fn icmp4(ip: &IpSummary, expected: &Expected) -> Result<&'static str, &'static str> {
    match ip.icmp_type {
        Some(8) => echo(ip, expected),
        Some(0) => reply(ip, expected),
        Some(3) => error(ip, expected),
        _ => Err("ICMP of another type"),
    }
}

fn echo(ip: &IpSummary, expected: &Expected) -> Result<&'static str, &'static str> {
    if expected.targets.contains(&ip.dst) {
        return Ok("a measurement's echo request");
    }
    if is_gateway(ip.dst, expected) {
        return Ok("echo request to its own router");
    }
    // When it connects, or something is wrong, the probe looks who is reached.
    let collectors = expected.collectors.iter().map(SocketAddr::ip);
    if expected.resolvers.iter().copied().chain(collectors).any(|own| own == ip.dst) {
        return Ok("echo request to its own resolver or collector");
    }
    Err("an echo request that nobody asked for")
}

fn reply(ip: &IpSummary, expected: &Expected) -> Result<&'static str, &'static str> {
    let asked = expected.scanners.contains(&ip.dst) || is_gateway(ip.dst, expected);
    if asked { Ok("answer to an echo request") } else { Err("an echo reply to a stranger") }
}

/// Errors about what came uncalled for: a scan, and answers that came when their socket had gone.
fn error(ip: &IpSummary, expected: &Expected) -> Result<&'static str, &'static str> {
    if expected.scanners.contains(&ip.dst) {
        return Ok("refusal of the port scan");
    }
    let partners = expected.resolvers.iter().chain(&expected.targets).copied();
    if partners.chain(expected.collectors.iter().map(SocketAddr::ip)).any(|partner| partner == ip.dst) {
        return Ok("refusal of an answer that came too late");
    }
    Err("an ICMP error to a stranger")
}

fn udp(ip: &IpSummary, expected: &Expected) -> Result<&'static str, &'static str> {
    let dhcp6_servers = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2));
    match (ip.src_port, ip.dst_port) {
        (Some(68), Some(67)) if ip.dst == IpAddr::V4(Ipv4Addr::BROADCAST) || is_gateway(ip.dst, expected) => Ok("DHCP"),
        (Some(546), Some(547)) if ip.dst == dhcp6_servers || is_gateway(ip.dst, expected) => Ok("DHCPv6"),
        (_, Some(53)) if expected.resolvers.contains(&ip.dst) => Ok("DNS to the line's resolver"),
        (_, Some(port)) if expected.collectors.contains(&SocketAddr::new(ip.dst, port)) => Ok("QUIC to the collector"),
        _ if expected.targets.contains(&ip.dst) => Ok("a measurement's UDP packet"),
        _ => Err("UDP to somebody else"),
    }
}

fn tcp(packet: &CapturedPacket, ip: &IpSummary, expected: &Expected) -> Result<&'static str, &'static str> {
    let flags = tcp_flags(packet).ok_or("a TCP segment without flags")?;
    if flags & SYN_ACK == SYN_ACK {
        return Err("AN OPEN PORT");
    }
    match ip.dst_port {
        _ if expected.scanners.contains(&ip.dst) && flags & RST != 0 => Ok("refusal of the port scan"),
        Some(port) if expected.collectors.contains(&SocketAddr::new(ip.dst, port)) => Ok("TLS to the collector"),
        Some(53) if expected.resolvers.contains(&ip.dst) => Ok("DNS to the line's resolver"),
        _ if expected.targets.contains(&ip.dst) => Ok("a measurement's TCP segment"),
        _ => Err("TCP to somebody else"),
    }
}

/// Link-local addresses are the line's: a router has one, and a household's own machines.
fn is_gateway(address: IpAddr, expected: &Expected) -> bool {
    expected.gateways.contains(&address) || matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// The machine sends no extension headers before TCP.
fn tcp_flags(packet: &CapturedPacket) -> Option<u8> {
    let ip = packet.bytes.get(14..)?;
    let header = match ip.first()? >> 4 {
        4 => usize::from(ip.first()? & 0x0f) * 4,
        6 if ip.get(6) == Some(&TCP) => 40,
        _ => return None,
    };
    ip.get(header + 13).copied()
}

fn words(packet: &CapturedPacket) -> String {
    let Some(ip) = packet.summary.ip else {
        return format!("ethertype {:#06x}, {} bytes", packet.summary.ethertype, packet.bytes.len());
    };
    let port = |port: Option<u16>| port.map(|port| format!(" port {port}")).unwrap_or_default();
    let icmp = ip.icmp_type.map(|kind| format!(" type {kind}")).unwrap_or_default();
    format!(
        "protocol {}{icmp} from {}{} to {}{}, {} bytes",
        ip.protocol,
        ip.src,
        port(ip.src_port),
        ip.dst,
        port(ip.dst_port),
        packet.bytes.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::packet::PacketSummary;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];

    fn expected() -> Expected {
        let ip = |text: &str| text.parse().unwrap();
        Expected {
            mac: MAC,
            gateways: vec![ip("20.10.1.1")],
            resolvers: vec![ip("20.21.1.53")],
            collectors: vec!["20.20.1.10:8333".parse().unwrap()],
            targets: vec![ip("20.30.1.10")],
            scanners: vec![ip("20.10.1.11")],
        }
    }

    fn packet(protocol: u8, dst: &str, transport: &[u8]) -> CapturedPacket {
        let dst: Ipv4Addr = dst.parse().unwrap();
        let mut bytes = vec![0xff; 6];
        bytes.extend(MAC);
        bytes.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 20, 10, 1, 100]);
        bytes.extend(dst.octets());
        bytes.extend(transport);
        let summary = PacketSummary::of_frame(&bytes).unwrap();
        CapturedPacket { at: 0, interface: "tap0".into(), outgoing: false, bytes, summary }
    }

    fn ports(from: u16, to: u16) -> Vec<u8> {
        let mut bytes = from.to_be_bytes().to_vec();
        bytes.extend(to.to_be_bytes());
        bytes.extend([0; 20]);
        bytes
    }

    fn segment(from: u16, to: u16, flags: u8) -> Vec<u8> {
        let mut bytes = ports(from, to);
        bytes[13] = flags;
        bytes
    }

    #[test]
    fn each_packet_finds_its_reason_or_none() {
        type Row = (u8, &'static str, Vec<u8>, Result<&'static str, &'static str>);
        let table: [Row; 14] = [
            (UDP, "255.255.255.255", ports(68, 67), Ok("DHCP")),
            (UDP, "20.21.1.53", ports(40000, 53), Ok("DNS to the line's resolver")),
            (UDP, "9.9.9.9", ports(40000, 53), Err("UDP to somebody else")),
            (UDP, "20.20.1.10", ports(40000, 8333), Ok("QUIC to the collector")),
            (UDP, "20.20.1.10", ports(40000, 8334), Err("UDP to somebody else")),
            (UDP, "20.30.1.10", ports(40000, 33434), Ok("a measurement's UDP packet")),
            (ICMP, "20.30.1.10", vec![8, 0, 0, 0, 0, 1, 0, 1], Ok("a measurement's echo request")),
            (ICMP, "20.10.1.1", vec![8, 0, 0, 0, 0, 1, 0, 1], Ok("echo request to its own router")),
            (ICMP, "20.20.1.10", vec![8, 0, 0, 0, 0, 1, 0, 1], Ok("echo request to its own resolver or collector")),
            (ICMP, "20.10.1.77", vec![8, 0, 0, 0, 0, 1, 0, 1], Err("an echo request that nobody asked for")),
            (TCP, "20.10.1.11", segment(22, 40000, 0x14), Ok("refusal of the port scan")),
            (TCP, "20.10.1.11", segment(22, 40000, 0x12), Err("AN OPEN PORT")),
            (TCP, "20.20.1.10", segment(40000, 8333, 0x02), Ok("TLS to the collector")),
            (47, "20.20.1.10", vec![0; 8], Err("another protocol")),
        ];
        for (protocol, dst, transport, wanted) in table {
            assert_eq!(reason(&packet(protocol, dst, &transport), &expected()), wanted, "{protocol} to {dst}");
        }
    }

    #[test]
    fn a_frame_with_another_source_is_none_of_its() {
        let mut strange = packet(UDP, "20.20.1.10", &ports(1, 8333));
        strange.bytes[6] = 0x66;
        assert!(reason(&strange, &expected()).is_err());
    }

    #[test]
    fn only_what_came_from_the_machine_is_counted() {
        let mut sent = packet(UDP, "9.9.9.9", &ports(1, 2));
        sent.outgoing = true;
        let mut elsewhere = packet(UDP, "9.9.9.9", &ports(1, 2));
        elsewhere.interface = "eth0".into();
        let account = Account::of(&[sent, elsewhere, packet(UDP, "20.20.1.10", &ports(1, 8333))], "tap0", &expected());
        assert!(account.unexplained.is_empty());
        assert_eq!(account.explained.get("QUIC to the collector").map(|(frames, _)| *frames), Some(1));
    }
}
