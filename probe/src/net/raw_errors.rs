//! What only a raw socket sees of an ICMP error: its size, and the IP header that it quotes. The error queue stays the
//! source of the errors; here are their details, found by the bytes that both have.
//!
//! The kernel gives an ICMP message to raw sockets before it tells the socket that the message is about (`raw_local_deliver`
//! comes before the protocol's handler). So whoever reads the error queue first and this one then finds the details there.
//! Where there are none (no CAP_NET_RAW, a full queue) they are absent.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc;
use nix::sys::socket::{SockaddrStorage, recvfrom};
use socket2::{Domain, Protocol, Socket, Type};
use sonde_engine::quote::Quote;
use sonde_engine::{ErrorDetails, IcmpErrorEvent, icmp};
use sonde_protocol::net::Family;

use super::control::socket_addr;
use super::{icmp_socket, sys};

/// Messages kept until they are asked for; the oldest go first. The kernel tells of errors of other programs too.
const MAX_HELD: usize = 256;
/// A message longer than any error that routers send (RFC 4443, 2.4 c) is not kept.
const MAX_MESSAGE: usize = 1280;
/// Messages read at most in one go.
const BATCH: usize = 1024;
/// Receive buffer in bytes.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Types of errors (RFC 792, RFC 4443).
const TYPES_V4: [u8; 3] = [3, 11, 12];
const TYPES_V6: [u8; 4] = [1, 2, 3, 4];
/// The number of UDP; its header is not in what the error queue gives.
const UDP: u8 = 17;

/// A raw ICMP socket that hears all errors which this machine is told.
#[derive(Debug)]
pub struct RawErrors {
    socket: Socket,
    family: Family,
    held: VecDeque<Held>,
}

#[derive(Debug)]
struct Held {
    from: IpAddr,
    /// From its type byte on.
    message: Vec<u8>,
}

impl RawErrors {
    /// Opens one.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, mostly.
    pub fn open(family: Family) -> io::Result<Self> {
        let socket = match family {
            Family::V4 => {
                let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
                let wanted = TYPES_V4.iter().fold(0u32, |mask, kind| mask | 1 << kind);
                sys::set(socket.as_fd(), sys::SOL_RAW, sys::ICMP_FILTER, !wanted)?;
                socket
            }
            Family::V6 => {
                let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
                let mut drop = [u32::MAX; 8];
                drop[0] = !TYPES_V6.iter().fold(0u32, |mask, kind| mask | 1 << kind);
                sys::set(socket.as_fd(), libc::IPPROTO_ICMPV6, sys::ICMPV6_FILTER, drop)?;
                socket
            }
        };
        socket.set_nonblocking(true)?;
        // As much as the system allows.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        Ok(Self { socket, family, held: VecDeque::new() })
    }

    /// Reads what has come.
    pub fn drain(&mut self, scratch: &mut [u8]) {
        for _ in 0..BATCH {
            let Ok((length, from)) = recvfrom::<SockaddrStorage>(self.socket.as_raw_fd(), scratch) else { return };
            let bytes = scratch.get(..length).unwrap_or_default();
            let message = match self.family {
                Family::V4 => icmp_socket::without_ip_header(bytes),
                Family::V6 => Some(bytes),
            };
            if let (Some(message), Some(from)) = (message, from.and_then(socket_addr)) {
                self.hold(from.ip(), message);
            }
        }
    }

    fn hold(&mut self, from: IpAddr, message: &[u8]) {
        if message.len() > MAX_MESSAGE {
            return;
        }
        if self.held.len() >= MAX_HELD {
            self.held.pop_front();
        }
        self.held.push_back(Held { from, message: message.to_vec() });
    }

    /// The details of an error that the error queue has told of, once: a second error of the same bytes has its own.
    /// `source_port` is that of the UDP socket that was told.
    pub fn details(&mut self, event: &IcmpErrorEvent, source_port: Option<u16>) -> Option<ErrorDetails> {
        let found = |held: &Held| details(self.family, held, event, source_port);
        let (place, details) = self.held.iter().enumerate().find_map(|(place, held)| Some((place, found(held)?)))?;
        self.held.remove(place);
        Some(details)
    }
}

/// What a message says beyond the error of the error queue, if it is that error.
fn details(family: Family, held: &Held, event: &IcmpErrorEvent, source_port: Option<u16>) -> Option<ErrorDetails> {
    let (header, quoted_packet) = held.message.split_at_checked(icmp::HEADER_LEN)?;
    let [kind, code, ..] = *header else { return None };
    if (kind, code, held.from) != (event.kind, event.code, event.from) {
        return None;
    }
    let quote = Quote::parse(family, quoted_packet)?;
    let transport = quoted_packet.get(quote.transport_at..)?;
    let (is_ours, rest) = match (source_port, quote.protocol) {
        (Some(port), UDP) => (transport.starts_with(&port.to_be_bytes()), transport.get(8..)?),
        (Some(_), _) | (None, UDP) => (false, transport),
        (None, _) => (true, transport),
    };
    let extensions = event.extensions.as_deref().unwrap_or_default();
    let same = rest.strip_prefix(event.quoted.as_slice()) == Some(extensions);
    (is_ours && same).then(|| ErrorDetails {
        size: u32::try_from(held.message.len()).ok(),
        quoted_dst: Some(quote.dst),
        quoted_hop_limit: Some(quote.hop_limit),
        quoted_traffic_class: Some(quote.traffic_class),
        hop_by_hop_size: quote.hop_by_hop_size,
        destination_size: quote.destination_size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sonde_protocol::time::Nanos;

    const ROUTER: &str = "192.0.2.9";

    /// Time exceeded about a UDP packet from port 5000 with 4 bytes of payload.
    fn message(hop_limit: u8, source_port: u16, payload: &[u8]) -> Vec<u8> {
        let mut message = vec![11, 0, 0, 0, 0, 0, 0, 0];
        message.extend(*b"\x45\x48\x00\x20\0\0\0\0");
        message.extend([hop_limit, UDP, 0, 0, 10, 0, 0, 2, 192, 0, 2, 1]);
        message.extend(source_port.to_be_bytes());
        message.extend([0x82, 0x9b, 0, 12, 0, 0]);
        message.extend(payload);
        message
    }

    fn event(quoted: &[u8]) -> IcmpErrorEvent {
        IcmpErrorEvent {
            received_at: Nanos(0),
            from: ROUTER.parse().unwrap(),
            hop_limit: None,
            kind: 11,
            code: 0,
            mtu: None,
            quoted: quoted.to_vec(),
            extensions: None,
            details: ErrorDetails::default(),
        }
    }

    fn errors() -> Option<RawErrors> {
        RawErrors::open(Family::V4).ok()
    }

    #[test]
    fn each_error_finds_its_own_details_once() {
        let Some(mut errors) = errors() else { return eprintln!("SKIPPED: needs CAP_NET_RAW") };
        let router = ROUTER.parse().unwrap();
        errors.hold(router, &message(3, 6000, b"one!"));
        errors.hold(router, &message(1, 5000, b"one!"));
        errors.hold(router, &message(2, 5000, b"two!"));
        errors.hold(router, &message(7, 5000, b"two!"));
        let mut hop_limit =
            |quoted: &[u8], port| errors.details(&event(quoted), port).map(|details| details.quoted_hop_limit.unwrap());
        assert_eq!(hop_limit(b"two!", Some(5000)), Some(2));
        assert_eq!(hop_limit(b"two!", Some(5000)), Some(7));
        assert_eq!(hop_limit(b"two!", Some(5000)), None);
        assert_eq!(hop_limit(b"one", Some(5000)), None, "other bytes");
        assert_eq!(hop_limit(b"one!", None), None, "a socket that does not speak UDP");
        assert_eq!(hop_limit(b"one!", Some(5000)), Some(1));
        assert_eq!(hop_limit(b"one!", Some(6000)), Some(3));
    }

    #[test]
    fn what_is_held_is_bounded_and_the_rest_is_read_off_the_message() {
        let Some(mut errors) = errors() else { return eprintln!("SKIPPED: needs CAP_NET_RAW") };
        for number in 0..=MAX_HELD {
            errors.hold(ROUTER.parse().unwrap(), &message(1, 5000, &number.to_be_bytes()));
        }
        errors.hold(ROUTER.parse().unwrap(), &vec![11; MAX_MESSAGE + 1]);
        assert_eq!(errors.held.len(), MAX_HELD);
        assert_eq!(errors.details(&event(&0_usize.to_be_bytes()), Some(5000)), None);
        let details = errors.details(&event(&1_usize.to_be_bytes()), Some(5000)).unwrap();
        assert_eq!((details.size, details.quoted_traffic_class), (Some(8 + 28 + 8), Some(0x48)));
        assert_eq!(details.quoted_dst, Some("192.0.2.1".parse().unwrap()));
    }
}
