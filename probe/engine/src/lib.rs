//! The measurement engines, without I/O and without a clock: packets, stamps and deadlines go in, packets and deadlines
//! come out. The same inputs give the same result, byte for byte.
//!
//! This crate must not know about sockets, clocks, tokio or random numbers. It is `no_std`, so the compiler holds it to
//! that, and a test holds its dependencies to a short list.
//!
//! Packet kinds ([`ping`], [`traceroute`], [`ntp`], [`path_mtu`], [`dns`] over UDP) implement [`Engine`]; one loop in the shell
//! drives them all. Exchange kinds ([`sslcert`], [`http`], [`dns`] over TCP and what is above it) are a plan, events and a pure
//! function instead.
//!
//! Order of calls: after each `handle_*`, call [`Engine::poll_transmit`] until it gives `None`, then
//! [`Engine::poll_timeout`] and [`Engine::poll_outcome`].

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod dns;
pub mod http;
pub mod icmp;
pub mod ipv6;
pub mod ntp;
pub mod padding;
pub mod path_mtu;
pub mod ping;
pub mod quote;
pub mod sslcert;
mod tagged;
pub mod tcp;
pub mod traceroute;

use alloc::vec::Vec;
use core::net::IpAddr;

use sonde_protocol::result::{Outcome, Why};
use sonde_protocol::time::Nanos;

/// Names one transmitted packet of one engine, so that its stamp and errors find it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u32);

/// How a packet is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// The family's shared ICMP socket: `payload` is a whole ICMP message, its sequence from the block this engine was
    /// given; identifier and checksum are zero and filled in below (the kernel does, or the shell on a raw socket).
    Icmp,
    /// A UDP socket of this engine's own with a fixed source port: `payload` is the UDP payload.
    Udp {
        /// Destination port.
        port: u16,
    },
    /// A raw TCP socket of this engine's own with a fixed source port: `payload` is a whole segment, its source port and
    /// checksum zero and filled in below ([`tcp::fill`]).
    Tcp {
        /// The source port to take, when it is free.
        source_port: Option<u16>,
        /// Destination port.
        port: u16,
    },
}

/// What an engine needs of its sockets beyond the ordinary. It stays the same for all of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// It has a use for [`ErrorDetails`], where the system gives them.
    pub error_details: bool,
    /// The source port of its UDP packets, where it has a wish; it gets another one when that is taken.
    pub source_port: Option<u16>,
    /// Bytes of options in an IPv6 hop-by-hop options header ([`padding::header`]); 0 for none.
    pub hop_by_hop: u32,
    /// Bytes of options in an IPv6 destination options header; 0 for none.
    pub destination: u32,
    /// The number of the link over which it sends, where its destination is an address of that link alone; 0: as the routes say.
    pub link: u32,
}

impl Needs {
    /// Whether its packets have options headers.
    pub const fn options(&self) -> bool {
        self.hop_by_hop > 0 || self.destination > 0
    }
}

/// One packet to send now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Names it.
    pub token: Token,
    /// Where to.
    pub dst: IpAddr,
    /// How.
    pub channel: Channel,
    /// TTL or hop limit; the system's default when absent.
    pub hop_limit: Option<u8>,
    /// Traffic class or TOS byte.
    pub traffic_class: u8,
    /// Sets the don't-fragment bit (IPv4) or forbids fragmenting at the source (IPv6).
    pub dont_fragment: bool,
    /// The bytes, see [`Channel`].
    pub payload: Vec<u8>,
}

/// What the shell knows of a datagram besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// When it arrived.
    pub received_at: Nanos,
    /// Who sent it.
    pub from: IpAddr,
    /// Source port; 0 for ICMP and TCP.
    pub from_port: u16,
    /// TTL or hop limit on arrival, when the system tells it.
    pub hop_limit: Option<u8>,
    /// The greatest of the IP packets that it came in, when it came in pieces and the system tells.
    pub fragment: Option<u32>,
}

/// An ICMP error about a packet of ours, from the socket's error queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IcmpErrorEvent {
    /// When it arrived.
    pub received_at: Nanos,
    /// The router or host that sent it.
    pub from: IpAddr,
    /// TTL or hop limit of the error itself.
    pub hop_limit: Option<u8>,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// The MTU it names.
    pub mtu: Option<u32>,
    /// What the system gives back of our packet: for ICMP the message from its type byte on, for UDP the payload, for TCP
    /// the segment. It may be cut, even to nothing.
    pub quoted: Vec<u8>,
    /// Raw RFC 4884 extension structure, when the system gives it.
    pub extensions: Option<Vec<u8>>,
    /// What not every system and not every probe is told.
    pub details: ErrorDetails,
}

/// What is known of an ICMP error beyond what an error queue tells. Absent is not known; nothing here is a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ErrorDetails {
    /// Bytes of the error behind its IP header.
    pub size: Option<u32>,
    /// Where the quoted packet was going.
    pub quoted_dst: Option<IpAddr>,
    /// TTL or hop limit of the quoted packet.
    pub quoted_hop_limit: Option<u8>,
    /// TOS or traffic class of the quoted packet.
    pub quoted_traffic_class: Option<u8>,
    /// Bytes of the quoted packet's hop-by-hop options header beyond its first 8.
    pub hop_by_hop_size: Option<u32>,
    /// Bytes of the quoted packet's destination options header beyond its first 8.
    pub destination_size: Option<u32>,
}

/// A measurement of a packet kind, as a state machine.
pub trait Engine {
    /// What it needs of its sockets.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// The next packet to send at `now`, if one is due.
    fn poll_transmit(&mut self, now: Nanos) -> Option<Transmit>;

    /// The packet left at `sent_at`. Comes once with the shell's own clock right after the send, and again with the
    /// kernel's stamp, which is better: the last one counts.
    fn handle_sent(&mut self, token: Token, sent_at: Nanos);

    /// The packet could not be sent.
    fn handle_send_error(&mut self, token: Token, now: Nanos, why: Why);

    /// The packet was refused because it is longer than what the interface takes.
    fn handle_too_long(&mut self, token: Token, now: Nanos) {
        self.handle_send_error(token, now, Why::cut("Message too long"));
    }

    /// A datagram came. For ICMP and TCP `bytes` is the whole message; the shell has matched it to this engine by [`Token`] where
    /// it could, but the engine checks for itself.
    fn handle_datagram(&mut self, meta: &Meta, bytes: &[u8]);

    /// An ICMP error came.
    fn handle_icmp_error(&mut self, event: &IcmpErrorEvent);

    /// When [`Engine::handle_timeout`] wants to be called, if ever.
    fn poll_timeout(&self) -> Option<Nanos>;

    /// The time is `now`.
    fn handle_timeout(&mut self, now: Nanos);

    /// The outcome, once, when the run has ended.
    fn poll_outcome(&mut self) -> Option<Outcome>;
}
