//! Packets that are all of one flow and yet can be told apart, as bytes: what routers look at when they balance load stays
//! the same, and a number in each packet says which one an answer is about (Paris traceroute: Augustin et al., IMC 2006).
//!
//! - ICMP: the sequence number names the packet. Two bytes at the start of the payload make up for it, so that the checksum
//!   is the same in every packet.
//! - UDP: the first two bytes of the payload name the packet, two more keep the checksum as it is.
//!
//! The run's cookie follows, then filler. It must not know what the packets are for, nor their hop limits and ports.

use alloc::vec::Vec;

use sonde_protocol::net::Family;

use crate::icmp::{self, HEADER_LEN, Kind, Message};

/// Bytes of a UDP header.
pub(crate) const UDP_HEADER_LEN: usize = 8;

/// Which packet an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    /// The packet with this number; whether it was ever sent is not checked.
    Packet(u16),
    /// One of this run's, but the answer does not say which.
    Unknown,
    /// None of this run's.
    Foreign,
}

/// The packets of one run. Sizes are of the payload.
#[derive(Debug)]
pub(crate) struct Tagged {
    pub family: Family,
    /// The first of the run's own ICMP sequence numbers.
    pub first_sequence: u16,
    /// Tells this run's answers from an earlier run's and from a stranger's.
    pub cookie: [u8; 8],
    /// How much of the cookie every packet carries.
    pub cookie_len: usize,
}

impl Tagged {
    /// Packet `number` as a whole ICMP message, of the flow variation `flow`; without one its checksum is what it becomes.
    pub fn echo_request(&self, number: u16, flow: Option<u16>, size: usize) -> Vec<u8> {
        let payload = self.payload([0, 0].into(), size);
        let mut message = icmp::echo_request(self.family, self.first_sequence.wrapping_add(number), &payload);
        if let Some(flow) = flow {
            // ICMPv6 counts the length in its checksum (RFC 4443, 2.3), which changes when a smaller packet is tried.
            let length = if self.family == Family::V6 { message.len() } else { 0 };
            icmp::balance(&mut message, HEADER_LEN, -i64::from(flow) - length as i64);
        }
        message
    }

    /// Packet `number` as the payload of a datagram.
    pub fn datagram(&self, number: u16, size: usize) -> Vec<u8> {
        let [high, low] = number.to_be_bytes();
        let mut payload = self.payload([high, low, 0, 0].into(), size);
        // The length stands in the header and in the pseudo-header (RFC 768).
        let length = UDP_HEADER_LEN + payload.len();
        icmp::balance(&mut payload, 2, -2 * length as i64);
        payload
    }

    fn payload(&self, mut tag: Vec<u8>, size: usize) -> Vec<u8> {
        tag.extend(self.cookie);
        icmp::fill(&mut tag, size);
        tag
    }

    /// The echo request that a reply answers; it has to bring back all of the cookie.
    pub fn echoed(&self, message: &Message<'_>) -> Named {
        if message.kind == Kind::EchoReply && message.code == 0 {
            self.by_sequence(message, true)
        } else {
            Named::Foreign
        }
    }

    /// The packet that a datagram answers. A service at our port may say anything; that is an answer, though not an echo.
    pub fn served(&self, bytes: &[u8]) -> Named {
        match self.by_tag(bytes, true) {
            Named::Foreign => Named::Unknown,
            named => named,
        }
    }

    /// The echo request that an ICMP error quotes, from its type byte on. What is there of the cookie has to be ours.
    pub fn quoted_request(&self, quoted: &[u8]) -> Named {
        match Message::parse(self.family, quoted) {
            Some(message) if message.kind == Kind::EchoRequest => self.by_sequence(&message, false),
            _ => Named::Foreign,
        }
    }

    /// The datagram that an ICMP error quotes, from its payload on, which may be cut to nothing.
    pub fn quoted_datagram(&self, quoted: &[u8]) -> Named {
        self.by_tag(quoted, false)
    }

    fn by_sequence(&self, message: &Message<'_>, whole: bool) -> Named {
        if self.is_our_cookie(message.payload.get(2..).unwrap_or(&[]), whole) {
            Named::Packet(message.sequence.wrapping_sub(self.first_sequence))
        } else {
            Named::Foreign
        }
    }

    fn by_tag(&self, payload: &[u8], whole: bool) -> Named {
        let [high, low, rest @ ..] = payload else { return Named::Unknown };
        // Behind the number come two bytes that mend the checksum.
        if self.is_our_cookie(rest.get(2..).unwrap_or(&[]), whole) {
            Named::Packet(u16::from_be_bytes([*high, *low]))
        } else {
            Named::Foreign
        }
    }

    fn is_our_cookie(&self, bytes: &[u8], whole: bool) -> bool {
        let same = bytes.iter().zip(&self.cookie).take(self.cookie_len).all(|(theirs, ours)| theirs == ours);
        same && (!whole || bytes.len() >= self.cookie_len)
    }
}
