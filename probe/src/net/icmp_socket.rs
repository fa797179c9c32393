//! The shared ICMP socket of a family: unprivileged where the system allows it (`net.ipv4.ping_group_range`, which rules
//! IPv6 too), raw with CAP_NET_RAW otherwise.
//!
//! Both give the same: echo replies from their type byte on, and ICMP errors by the error queue, which raw sockets have as
//! well. So nothing here parses errors. On a raw socket we do what the kernel does on the other: choose an identifier, fill
//! it in, compute the checksum (IPv4; the kernel does ICMPv6's), and filter.

use std::io;
use std::os::fd::AsFd;

use nix::libc;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use sonde_engine::icmp::{self, Message};
use sonde_protocol::net::Family;
use sonde_protocol::time::Nanos;

use super::socket::{Kind, PacketSocket};
use super::{NetError, sys};

/// ICMPv6 type 129 (RFC 4443, 4.2).
const ECHO_REPLY_V6: u8 = 129;

/// Which kind of ICMP socket to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IcmpMode {
    /// Unprivileged, else raw.
    #[default]
    Auto,
    /// Unprivileged only.
    Datagram,
    /// Raw only.
    Raw,
}

/// Opens the ICMP socket of a family. `identifier` is used by a raw socket.
pub fn open<T: Copy>(family: Family, mode: IcmpMode, identifier: u16, now: Nanos) -> Result<PacketSocket<T>, NetError> {
    let datagram = match mode {
        IcmpMode::Raw => Err(None),
        _ => open_datagram(family, now).map_err(Some),
    };
    let datagram_error = match datagram {
        Ok(socket) => return Ok(socket),
        Err(Some(error)) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            return Err(NetError::NoFamily { family });
        }
        Err(error) => error,
    };
    let raw = match mode {
        IcmpMode::Datagram => Err(None),
        _ => open_raw(family, identifier, now).map_err(Some),
    };
    raw.map_err(|raw| match raw {
        Some(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => NetError::NoFamily { family },
        raw => NetError::NoIcmp { family, datagram: datagram_error, raw },
    })
}

/// Whether this process can ping by raw sockets alone: the system lets its group open no other, and it has the capability.
pub fn needs_raw() -> bool {
    [Family::V4, Family::V6].into_iter().any(|family| {
        let (domain, protocol) = parameters(family);
        let open = |kind| Socket::new(domain, kind, Some(protocol));
        open(Type::DGRAM).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) && open(Type::RAW).is_ok()
    })
}

fn parameters(family: Family) -> (Domain, Protocol) {
    match family {
        Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
        Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
    }
}

fn open_datagram<T: Copy>(family: Family, now: Nanos) -> io::Result<PacketSocket<T>> {
    let (domain, protocol) = parameters(family);
    PacketSocket::new(Socket::new(domain, Type::DGRAM, Some(protocol))?, family, Kind::IcmpDatagram, now)
}

fn open_raw<T: Copy>(family: Family, identifier: u16, now: Nanos) -> io::Result<PacketSocket<T>> {
    let (domain, protocol) = parameters(family);
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    // Both masks name the types to drop: all but echo reply (0 and 129).
    match family {
        Family::V4 => sys::set(socket.as_fd(), sys::SOL_RAW, sys::ICMP_FILTER, !1u32)?,
        Family::V6 => {
            let mut drop = [u32::MAX; 8];
            drop[usize::from(ECHO_REPLY_V6 / 32)] &= !(1 << (ECHO_REPLY_V6 % 32));
            sys::set(socket.as_fd(), libc::IPPROTO_ICMPV6, sys::ICMPV6_FILTER, drop)?;
        }
    }
    socket.attach_filter(&identifier_filter(family, identifier))?;
    PacketSocket::new(socket, family, Kind::IcmpRaw(identifier), now)
}

/// A classic BPF program that lets messages with our identifier pass. It sees the packet from the IP header on for IPv4,
/// from the ICMP header on for IPv6.
fn identifier_filter(family: Family, identifier: u16) -> Vec<SockFilter> {
    let statement = |code: u32, value: u32| SockFilter::new(code as u16, 0, 0, value);
    let load = match family {
        Family::V4 => vec![
            statement(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0), // x = length of the IP header
            statement(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 4),
        ],
        Family::V6 => vec![statement(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 4)],
    };
    let mut program = load;
    program.push(SockFilter::new((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, 0, 1, u32::from(identifier)));
    program.push(statement(libc::BPF_RET | libc::BPF_K, u32::MAX));
    program.push(statement(libc::BPF_RET | libc::BPF_K, 0));
    program
}

/// The message with identifier and checksum; `None` when it is too short to be an echo request.
pub(super) fn fill(family: Family, identifier: u16, message: &[u8]) -> Option<Vec<u8>> {
    let mut message = message.get(..icmp::HEADER_LEN).map(|_| message.to_vec())?;
    message.get_mut(4..6)?.copy_from_slice(&identifier.to_be_bytes());
    if family == Family::V4 {
        icmp::fill_checksum(&mut message);
    }
    Some(message)
}

/// The ICMP message in an IPv4 packet.
pub(super) fn without_ip_header(packet: &[u8]) -> Option<&[u8]> {
    let length = usize::from(packet.first()? & 0x0f) * 4;
    packet.get(length..).filter(|_| length >= 20)
}

/// Whether a message is an echo request or reply (`kind`) with our identifier.
pub(super) fn is_ours(family: Family, identifier: u16, kind: icmp::Kind, message: &[u8]) -> bool {
    Message::parse(family, message).is_some_and(|message| message.kind == kind && message.identifier == identifier)
}

/// The sequence number of an echo message.
pub(super) fn sequence(family: Family, message: &[u8]) -> Option<u16> {
    Message::parse(family, message).map(|message| message.sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filled_message_verifies() {
        // Type 8, sequence 7, odd payload.
        let message = [8, 0, 0xff, 0xff, 0, 0, 0, 7, b'a', b'b', b'c'];
        let filled = fill(Family::V4, 0x1234, &message).unwrap();
        assert_eq!(&filled[4..8], &[0x12, 0x34, 0, 7]);
        assert_eq!(icmp::checksum(&filled), 0, "the sum over a right message is 0");
        assert_eq!(fill(Family::V6, 0x1234, &message).unwrap()[2..4], [0xff, 0xff], "left to the kernel");
    }

    #[test]
    fn short_messages_are_refused() {
        for length in 0..8 {
            assert_eq!(fill(Family::V4, 1, &vec![8; length]), None);
            assert_eq!(sequence(Family::V4, &vec![8; length]), None);
        }
        assert_eq!(without_ip_header(&[]), None);
        assert_eq!(without_ip_header(&[0x44; 40]), None, "a header of 16 bytes");
        assert_eq!(without_ip_header(&[0x4f; 59]), None, "cut within its options");
        assert_eq!(without_ip_header(&[0x45; 21]), Some(&[0x45][..]));
    }

    #[test]
    fn only_our_own_requests_are_ours() {
        use icmp::Kind::{EchoReply, EchoRequest};
        let ours = [8, 0, 0, 0, 0x12, 0x34, 0, 1];
        assert!(is_ours(Family::V4, 0x1234, EchoRequest, &ours));
        assert!(!is_ours(Family::V4, 0x1235, EchoRequest, &ours));
        assert!(!is_ours(Family::V4, 0x1234, EchoReply, &ours));
        assert!(!is_ours(Family::V6, 0x1234, EchoRequest, &ours), "128 is ICMPv6's echo request");
        assert!(!is_ours(Family::V4, 0x1234, EchoRequest, &ours[..5]));
    }
}
