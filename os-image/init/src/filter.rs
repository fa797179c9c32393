//! The packet filter (nf_tables): what leaves the board by the probe's user, and what may come in. It must not know where the
//! resolvers come from.
//!
//! There is no `nft` on the board, so the rules go to the kernel as messages of netlink (`message`): one table, which takes the
//! place of the earlier one in one step. What the probe's user may send is the same list as `sonde-probe packet-filter` writes
//! ([`sonde_protocol::packet_filter`]).
//!
//! **Without connection tracking.** It would keep a state for each flow of a traceroute, call unusual answers invalid, and put
//! fragments together before the probe sees that they were any. Nothing on the board listens, so the input chain has no ports to
//! open: it lets in what answers something, and a stranger's SYN or datagram falls without a word.

mod message;

use std::io;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use sonde_protocol::packet_filter::{Exceptions, Rule};

use self::message::{Batch, Expressions, Header, Hook, Is, Meta, Verdict};

/// The table's name in the kernel.
pub const TABLE: &str = "sonde_os";

/// Numbers of protocols (IANA).
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
const IPV4: u8 = 2;
const IPV6: u8 = 10;

/// `ARPHRD_LOOPBACK`.
const LOOPBACK: u16 = 772;

/// Where the kernel's own ports begin (`ip_local_port_range`), from which the probe sends datagrams.
const FIRST_OWN_PORT: u16 = 32_768;

/// Types of ICMP that may come in: echo and its reply, and the three errors. No redirects, no timestamps.
const ICMP_IN: [u8; 5] = [0, 3, 8, 11, 12];

/// Types of ICMPv6 that may come in (RFC 4890, 4.4): the four errors, echo and its reply, who listens to which group, advertisements
/// of routers, neighbour discovery. No redirects.
const ICMPV6_IN: [u8; 10] = [1, 2, 3, 4, 128, 129, 130, 134, 135, 136];

/// What the rules are made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// The probe's user, whose packets they are about.
    pub user: u32,
    /// May be asked at 53 and 853.
    pub resolvers: Vec<IpAddr>,
    /// Collectors by literal addresses.
    pub collectors: Vec<SocketAddr>,
    /// The host's exceptions.
    pub allow: Vec<IpNet>,
    /// The board's routers, which the probe may look for.
    pub routers: Vec<IpAddr>,
    /// Networks beside the special ones that the probe leaves alone: its neighbours.
    pub neighbours: Vec<IpNet>,
}

/// Puts the rules into the kernel, all at once, in the place of earlier ones, in the network namespace of the calling thread.
///
/// # Errors
/// When the kernel does not take them; then the earlier ones are in force.
pub fn apply(rules: &Rules) -> io::Result<()> {
    let (bytes, asked) = batch(rules).finish();
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(NETFILTER),
    )?;
    // The kernel answers each message, within the call that sends.
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 1 << 20)?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    rustix::net::send(&socket, &bytes, SendFlags::empty())?;
    let (mut buffer, mut answered) = (vec![0; 64 << 10], 0);
    while answered < asked {
        let (_, length) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        answered += acknowledged(buffer.get(..length).unwrap_or_default())?;
    }
    Ok(())
}

/// How many messages this acknowledges (`NLMSG_ERROR` with the number 0).
fn acknowledged(mut bytes: &[u8]) -> io::Result<u32> {
    const ERROR: u16 = 2;
    let mut count = 0;
    while let (Some(length), Some(kind)) = (bytes.first_chunk(), bytes.get(4..).and_then(<[u8]>::first_chunk)) {
        let length = u32::from_ne_bytes(*length).max(16) as usize;
        if u16::from_ne_bytes(*kind) == ERROR {
            let error = bytes.get(16..).and_then(<[u8]>::first_chunk).map_or(0, |number| i32::from_ne_bytes(*number));
            if error != 0 {
                return Err(io::Error::from_raw_os_error(-error));
            }
            count += 1;
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(count)
}

fn batch(rules: &Rules) -> Batch {
    let mut batch = Batch::replacing(TABLE);
    // Where the probe's packets go, and no others: what the kernel sends by itself (neighbour discovery above all) has no user at all,
    // so "is not the probe's user" would not be true of it either.
    batch.part("probe");
    batch.chain("input", Hook::Input, Verdict::Drop);
    for expressions in input() {
        batch.rule("input", expressions.verdict(Verdict::Accept));
    }
    batch.chain("output", Hook::Output, Verdict::Accept);
    for (protocol, kind, code) in [(ICMP, 3, 3), (ICMPV6, 1, 4)] {
        // "Port unreachable" would tell a stranger which ports are in use: those that say nothing.
        let closed = icmp(protocol, kind).payload(Header::Transport, 1, Is::Equal, &[code]);
        batch.rule("output", closed.verdict(Verdict::Drop));
    }
    let own = Expressions::default().meta(Meta::SkUid, Is::Equal, &rules.user.to_ne_bytes());
    batch.rule("output", own.jump("probe"));
    let Rules { allow, resolvers, collectors, routers, neighbours, .. } = rules;
    for rule in (Exceptions { allow, resolvers, collectors, routers, neighbours }).rules() {
        match rule {
            Rule::Accept(net) => batch.rule("probe", to(net).verdict(Verdict::Accept)),
            Rule::AcceptPorts(ip, ports) => {
                for (protocol, port) in [TCP, UDP].iter().flat_map(|one| ports.iter().map(move |port| (*one, *port))) {
                    let at = transport(to(ip.into()), protocol, 2, Is::Equal, &port.to_be_bytes());
                    batch.rule("probe", at.verdict(Verdict::Accept));
                }
            }
            Rule::AcceptIcmp(ip, kind) => {
                let protocol = if ip.is_ipv4() { ICMP } else { ICMPV6 };
                let message = transport(to(ip.into()), protocol, 0, Is::Equal, &[kind]);
                batch.rule("probe", message.verdict(Verdict::Accept));
            }
            Rule::Refuse(net) => batch.rule("probe", to(net).counter().reject()),
        }
    }
    batch
}

/// What may come in; all else falls.
fn input() -> Vec<Expressions> {
    let packet = Expressions::default;
    // Of the flags of TCP: what answers has ACK or RST, what opens a connection has SYN alone.
    const SYN_RST_ACK: u8 = 0x16;
    let flags = |flags: u8| {
        let segment = packet().meta(Meta::L4Proto, Is::Equal, &[TCP]);
        segment.masked(Header::Transport, 13, &[SYN_RST_ACK], Is::Equal, &[flags])
    };
    let mut accepted = vec![packet().meta(Meta::IifType, Is::Equal, &LOOPBACK.to_ne_bytes())];
    // ACK; SYN and ACK; RST; RST and ACK.
    accepted.extend([0x10, 0x12, 0x04, 0x14].map(flags));
    accepted.push(transport(packet(), UDP, 2, Is::AtLeast, &FIRST_OWN_PORT.to_be_bytes()));
    // Answers of DHCPv4 are read before they come here ([`crate::net`]).
    let ports = [547_u16.to_be_bytes(), 546_u16.to_be_bytes()].concat();
    accepted.push(transport(packet(), UDP, 0, Is::Equal, &ports));
    accepted.extend(ICMP_IN.map(|kind| icmp(ICMP, kind)));
    accepted.extend(ICMPV6_IN.map(|kind| icmp(ICMPV6, kind)));
    // The kernel puts them together after this chain, and drops them where the first one did not pass.
    accepted.push(packet().meta(Meta::NfProto, Is::Equal, &[IPV6]).later_fragment());
    accepted
}

/// A message of ICMP or ICMPv6, in its own family alone.
fn icmp(protocol: u8, kind: u8) -> Expressions {
    let family = if protocol == ICMP { IPV4 } else { IPV6 };
    transport(Expressions::default().meta(Meta::NfProto, Is::Equal, &[family]), protocol, 0, Is::Equal, &[kind])
}

/// A packet of this protocol whose header compares so at this place.
fn transport(packet: Expressions, protocol: u8, offset: u32, is: Is, value: &[u8]) -> Expressions {
    packet.meta(Meta::L4Proto, Is::Equal, &[protocol]).payload(Header::Transport, offset, is, value)
}

/// A packet to an address of this network.
fn to(net: IpNet) -> Expressions {
    let (family, offset) = if net.addr().is_ipv4() { (IPV4, 16) } else { (IPV6, 24) };
    let packet = Expressions::default().meta(Meta::NfProto, Is::Equal, &[family]);
    let octets = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let (address, mask) = (octets(net.network()), octets(net.netmask()));
    if net.prefix_len() == net.max_prefix_len() {
        packet.payload(Header::Network, offset, Is::Equal, &address)
    } else {
        packet.masked(Header::Network, offset, &mask, Is::Equal, &address)
    }
}
