//! The packets of one traceroute as bytes: what stays the same in all of them, so that every router that balances load by
//! flow sends them the same way, and what tells them apart in an answer.
//!
//! Paris traceroute (Augustin et al., IMC 2006), with as many packets under way at once as one likes:
//!
//! - ICMP: the identifier is the socket's, the sequence number names the packet. Two bytes at the start of the payload
//!   make up for it, so that the checksum, which takes part in the choice of a path, is the same in every packet. The
//!   variation of the flow is what moves the checksum.
//! - UDP: the source port is the socket's, the destination port [`BASE_PORT`] plus the variation. The first two bytes of
//!   the payload name the packet, two more keep the checksum as it is. With Paris mode off the port grows by one with
//!   every packet, as in the classic program.
//!
//! The cookie follows, then filler. Where `size` has no room for the bytes that name the packet or mend the checksum (2
//! for ICMP in Paris mode, 4 for UDP), they are sent all the same, as RIPE Atlas does; results report the size asked for.

use alloc::vec::Vec;

use sonde_protocol::net::{Family, Transport};

use crate::Channel;
use crate::icmp::{self, HEADER_LEN, Kind, Message};

/// The destination port of UDP packets counts from here, as in every traceroute since the first.
pub const BASE_PORT: u16 = 33_434;

/// Bytes of a UDP header.
const UDP_HEADER_LEN: usize = 8;

/// Which packet an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// The packet with this index; whether it was ever sent is not checked.
    Packet(u16),
    /// One of this run's, but the quote is too short to say which.
    Unknown,
    /// None of this run's.
    Foreign,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Flow {
    family: Family,
    transport: Transport,
    first_sequence: u16,
    cookie: [u8; 8],
    /// How much of the cookie every packet carries.
    cookie_len: usize,
    /// From 1; `None` with Paris mode off.
    paris_id: Option<u16>,
    /// No packet is made smaller, so that each of them can be told from the others and from a stranger's.
    min_size: usize,
}

impl Flow {
    /// `size` is the payload size asked for; no packet will carry more, unless it is below the least that works.
    pub fn new(
        family: Family,
        transport: Transport,
        first_sequence: u16,
        cookie: u64,
        paris_id: Option<u16>,
        size: usize,
    ) -> Self {
        let cookie = cookie.to_be_bytes();
        let mut flow = Self { family, transport, first_sequence, cookie, cookie_len: 0, paris_id, min_size: 0 };
        let needed = if flow.needs_tag() { flow.tag_len() } else { 0 };
        flow.cookie_len = size.saturating_sub(flow.tag_len()).min(cookie.len());
        flow.min_size = (flow.tag_len() + flow.cookie_len).min(size).max(needed);
        flow
    }

    /// Bytes before the cookie.
    fn tag_len(&self) -> usize {
        if self.transport == Transport::Icmp { 2 } else { 4 }
    }

    fn needs_tag(&self) -> bool {
        self.transport != Transport::Icmp || self.paris_id.is_some()
    }

    /// Where and as what packet `index` goes out, with `size` bytes of payload if it works with so few.
    pub fn packet(&self, index: u16, size: usize) -> (Channel, Vec<u8>) {
        let size = size.max(self.min_size);
        match self.transport {
            Transport::Icmp => (Channel::Icmp, self.echo_request(index, size)),
            Transport::Tcp | Transport::Udp => {
                let step = self.paris_id.unwrap_or(index);
                (Channel::Udp { port: BASE_PORT.wrapping_add(step) }, self.datagram(index, size))
            }
        }
    }

    /// The payload that fits into a packet of `mtu` bytes.
    pub fn size_within(&self, mtu: u32) -> usize {
        let ip_header = if self.family == Family::V4 { 20 } else { 40 };
        // Both ICMP and UDP have headers of 8 bytes.
        usize::try_from(mtu).unwrap_or(usize::MAX).saturating_sub(ip_header + HEADER_LEN)
    }

    fn echo_request(&self, index: u16, size: usize) -> Vec<u8> {
        let mut payload = Vec::with_capacity(size);
        payload.extend([0, 0]);
        payload.extend(self.cookie);
        icmp::fill(&mut payload, size);
        let mut message = icmp::echo_request(self.family, self.first_sequence.wrapping_add(index), &payload);
        if let Some(id) = self.paris_id {
            // ICMPv6 counts the length in its checksum, which changes when a smaller packet is tried.
            let length = if self.family == Family::V6 { message.len() } else { 0 };
            icmp::balance(&mut message, HEADER_LEN, -i64::from(id) - length as i64);
        }
        message
    }

    fn datagram(&self, index: u16, size: usize) -> Vec<u8> {
        let mut payload = Vec::with_capacity(size);
        payload.extend(index.to_be_bytes());
        payload.extend([0, 0]);
        payload.extend(self.cookie);
        icmp::fill(&mut payload, size);
        // The length stands in the header and in the pseudo-header (RFC 768).
        let length = UDP_HEADER_LEN + payload.len();
        icmp::balance(&mut payload, 2, -2 * length as i64);
        payload
    }

    /// The packet that an ICMP error quotes: for ICMP from its type byte on, for UDP from the payload on; either may be
    /// cut. What is there of the cookie has to be ours.
    pub fn quoted(&self, quoted: &[u8]) -> Named {
        match self.transport {
            Transport::Icmp => match Message::parse(self.family, quoted) {
                Some(message) if message.kind == Kind::EchoRequest => self.by_sequence(&message, false),
                _ => Named::Foreign,
            },
            Transport::Tcp | Transport::Udp => self.by_tag(quoted, false),
        }
    }

    /// The packet that a datagram answers. An answer has to bring back all of the cookie.
    pub fn answered(&self, bytes: &[u8]) -> Named {
        match self.transport {
            Transport::Icmp => match Message::parse(self.family, bytes) {
                Some(message) if message.kind == Kind::EchoReply && message.code == 0 => {
                    self.by_sequence(&message, true)
                }
                _ => Named::Foreign,
            },
            Transport::Tcp | Transport::Udp => match self.by_tag(bytes, true) {
                // A service that listens at our port may say anything; it is an answer, though not an echo.
                Named::Foreign => Named::Unknown,
                named => named,
            },
        }
    }

    fn by_sequence(&self, message: &Message<'_>, whole: bool) -> Named {
        let rest = message.payload.get(self.tag_len()..).unwrap_or(&[]);
        if self.is_our_cookie(rest, whole) {
            Named::Packet(message.sequence.wrapping_sub(self.first_sequence))
        } else {
            Named::Foreign
        }
    }

    fn by_tag(&self, payload: &[u8], whole: bool) -> Named {
        let [high, low, rest @ ..] = payload else { return Named::Unknown };
        // Behind the index come two bytes that mend the checksum.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::icmp::checksum;

    const COOKIE: u64 = 0x1122_3344_5566_7788;

    fn flow(family: Family, transport: Transport, paris_id: Option<u16>, size: usize) -> Flow {
        Flow::new(family, transport, 65_530, COOKIE, paris_id, size)
    }

    /// The checksum as it goes over the wire, with a pseudo-header whose addresses and ports add up to 4711.
    fn on_the_wire(family: Family, channel: Channel, payload: &[u8]) -> u16 {
        let mut bytes = 4711_u16.to_be_bytes().to_vec();
        let length = (payload.len() + 8) as u16;
        match channel {
            Channel::Icmp if family == Family::V4 => {}
            Channel::Icmp => bytes.extend((payload.len() as u16).to_be_bytes()),
            Channel::Udp { .. } => bytes.extend([length.to_be_bytes(), length.to_be_bytes()].as_flattened()),
        }
        bytes.extend(payload);
        checksum(&bytes)
    }

    #[test]
    fn the_checksum_is_that_of_the_variation_in_every_packet_of_every_size() {
        for family in Family::BOTH {
            for (transport, step) in [(Transport::Icmp, 1), (Transport::Udp, 0)] {
                let sum_of = |id, index, size| {
                    let (channel, payload) = flow(family, transport, Some(id), 48).packet(index, size);
                    on_the_wire(family, channel, &payload)
                };
                let one = sum_of(1, 0, 48);
                for index in [1, 5, 6, 7, 4095] {
                    for size in [12, 20, 21, 47, 48] {
                        assert_eq!(sum_of(1, index, size), one, "{family:?} {transport:?} {index} {size}");
                    }
                }
                assert_eq!(sum_of(2, 0, 48), one + step, "{family:?} {transport:?}");
            }
        }
    }

    #[test]
    fn ports_stay_in_paris_mode_and_count_without() {
        let port = |paris_id, index| flow(Family::V4, Transport::Udp, paris_id, 48).packet(index, 48).0;
        assert_eq!([port(Some(3), 0), port(Some(3), 9)], [Channel::Udp { port: 33_437 }; 2]);
        assert_eq!([port(None, 0), port(None, 9)], [33_434, 33_443].map(|port| Channel::Udp { port }));
    }

    #[test]
    fn tiny_sizes_still_name_the_packet() {
        let lengths = |transport, paris_id| {
            [0, 1, 2, 3, 4, 5].map(|size| flow(Family::V4, transport, paris_id, size).packet(7, size).1.len())
        };
        assert_eq!(lengths(Transport::Udp, Some(1)), [4, 4, 4, 4, 4, 5]);
        assert_eq!(lengths(Transport::Icmp, Some(1)), [10, 10, 10, 11, 12, 13]);
        assert_eq!(lengths(Transport::Icmp, None), [8, 9, 10, 11, 12, 13]);
        for transport in [Transport::Icmp, Transport::Udp] {
            for size in 0..20 {
                let flow = flow(Family::V6, transport, Some(1), size);
                assert_eq!(flow.quoted(&flow.packet(7, size).1), Named::Packet(7), "{transport:?} {size}");
            }
        }
    }

    #[test]
    fn a_smaller_packet_keeps_what_names_it() {
        let flow = flow(Family::V4, Transport::Udp, Some(1), 1000);
        assert_eq!(flow.packet(0, flow.size_within(576)).1.len(), 548);
        assert_eq!(flow.packet(0, flow.size_within(0)).1.len(), 12);
    }

    #[test]
    fn a_cut_quote_names_its_packet_as_long_as_it_can() {
        let udp = flow(Family::V4, Transport::Udp, Some(1), 48);
        let datagram = udp.packet(300, 48).1;
        for length in 0..datagram.len() {
            let expected = if length < 2 { Named::Unknown } else { Named::Packet(300) };
            assert_eq!(udp.quoted(&datagram[..length]), expected, "{length} bytes of UDP");
        }
        let icmp = flow(Family::V4, Transport::Icmp, Some(1), 48);
        let message = icmp.packet(300, 48).1;
        for length in 0..message.len() {
            let expected = if length < 8 { Named::Foreign } else { Named::Packet(300) };
            assert_eq!(icmp.quoted(&message[..length]), expected, "{length} bytes of ICMP");
        }
        // RFC 4884 pads quotes with zeros.
        let padded = |bytes: &[u8]| [bytes, &[0; 128]].concat();
        assert_eq!(udp.quoted(&padded(&datagram)), Named::Packet(300));
        let short = flow(Family::V4, Transport::Udp, Some(1), 6);
        assert_eq!(short.quoted(&padded(&short.packet(300, 6).1)), Named::Packet(300));
    }

    #[test]
    fn another_cookie_is_somebody_elses() {
        let ours = flow(Family::V6, Transport::Icmp, Some(1), 48);
        let theirs = Flow::new(Family::V6, Transport::Icmp, 65_530, COOKIE + 1, Some(1), 48).packet(0, 48).1;
        assert_eq!(ours.quoted(&theirs), Named::Foreign);
        let mut reply = ours.packet(7, 48).1;
        assert_eq!(ours.answered(&reply), Named::Foreign, "a request is no reply");
        reply[0] = 129;
        assert_eq!(ours.answered(&reply), Named::Packet(7));
        assert_eq!(ours.answered(&reply[..17]), Named::Foreign, "half of the cookie is missing");
    }
}
