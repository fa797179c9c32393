//! The packets of one traceroute as bytes: what stays the same in all of them, so that every router that balances load by
//! flow sends them the same way, and what tells them apart in an answer.
//!
//! ICMP and UDP packets are [`Tagged`] ones; this is what traceroute adds to them:
//!
//! - ICMP: the identifier is the socket's. The variation of the flow is what moves the checksum.
//! - UDP: the source port is the socket's, the destination port [`BASE_PORT`] plus the variation. With Paris mode off the port
//!   grows by one with every packet, as in the classic program.
//! - TCP: SYN segments with one source port, which is [`TCP_SOURCE_PORT`] plus the variation, and one destination port. The
//!   sequence number names the packet and takes part in no choice of a path; it counts from the cookie. Answers acknowledge
//!   it, and of every error it is in the quote. With Paris mode off the system chooses the source port, and the flow is
//!   constant all the same, as in RIPE Atlas.
//!
//! Where `size` has no room for the bytes that name the packet or mend the checksum (2 for ICMP in Paris mode, 4 for UDP), they
//! are sent all the same, as RIPE Atlas does; results report the size asked for.

use alloc::vec::Vec;

use sonde_protocol::net::{Family, Transport};

use crate::Channel;
use crate::icmp::{self, HEADER_LEN, Message};
use crate::tagged::{Named, Tagged, UDP_HEADER_LEN};
use crate::tcp::{self, Segment, Start, flag};

/// The destination port of UDP packets counts from here, as in every traceroute since the first.
pub const BASE_PORT: u16 = 33_434;

/// The source port of TCP packets counts from here, below the ports that systems give out by themselves (RIPE Atlas).
pub const TCP_SOURCE_PORT: u16 = 20_480;

/// Sequence numbers of TCP packets are so many bits apart, because whoever acknowledges a SYN may acknowledge its payload
/// too.
const SEQUENCE_BITS: u32 = 12;
/// The greatest acknowledgement of a packet, counted from its sequence number: SYN and the greatest payload.
const MAX_ACKNOWLEDGED: u32 = 1 + 2048;

/// What a flow is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct FlowConfig {
    pub family: Family,
    pub transport: Transport,
    /// Destination port of TCP.
    pub port: u16,
    pub first_sequence: u16,
    pub cookie: u64,
    /// From 1; `None` with Paris mode off.
    pub paris_id: Option<u16>,
    /// The payload size asked for; no packet will carry more, unless it is below the least that works.
    pub size: usize,
    /// Bytes of IPv6 options headers.
    pub options: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Flow {
    config: FlowConfig,
    tagged: Tagged,
    /// No packet is made smaller, so that each of them can be told from the others and from a stranger's.
    min_size: usize,
}

impl Flow {
    pub fn new(config: FlowConfig) -> Self {
        let FlowConfig { family, first_sequence, cookie, .. } = config;
        let tagged = Tagged { family, first_sequence, cookie: cookie.to_be_bytes(), cookie_len: 0 };
        let mut flow = Self { config, tagged, min_size: 0 };
        if config.transport != Transport::Tcp {
            let needed = if flow.needs_tag() { flow.tag_len() } else { 0 };
            flow.tagged.cookie_len = config.size.saturating_sub(flow.tag_len()).min(flow.tagged.cookie.len());
            flow.min_size = (flow.tag_len() + flow.tagged.cookie_len).min(config.size).max(needed);
        }
        flow
    }

    /// Bytes before the cookie.
    fn tag_len(&self) -> usize {
        if self.config.transport == Transport::Icmp { 2 } else { 4 }
    }

    fn needs_tag(&self) -> bool {
        self.config.transport != Transport::Icmp || self.config.paris_id.is_some()
    }

    /// Where and as what packet `index` goes out, with `size` bytes of payload if it works with so few.
    pub fn packet(&self, index: u16, size: usize) -> (Channel, Vec<u8>) {
        let size = size.max(self.min_size);
        match self.config.transport {
            Transport::Icmp => (Channel::Icmp, self.tagged.echo_request(index, self.config.paris_id, size)),
            Transport::Tcp => {
                let FlowConfig { port, paris_id, .. } = self.config;
                let source_port = paris_id.map(|id| TCP_SOURCE_PORT.wrapping_add(id));
                (Channel::Tcp { source_port, port }, self.syn(index, size))
            }
            Transport::Udp => {
                let step = self.config.paris_id.unwrap_or(index);
                (Channel::Udp { port: BASE_PORT.wrapping_add(step) }, self.tagged.datagram(index, size))
            }
        }
    }

    /// The payload that fits into a packet of `mtu` bytes.
    pub fn size_within(&self, mtu: u32) -> usize {
        let ip_header = if self.config.family == Family::V4 { 20 } else { 40 + self.config.options };
        let header = match self.config.transport {
            Transport::Tcp => tcp::HEADER_LEN,
            Transport::Icmp | Transport::Udp => HEADER_LEN,
        };
        usize::try_from(mtu).unwrap_or(usize::MAX).saturating_sub(ip_header + header)
    }

    /// Bytes of our packets before what is given back of them as a quote.
    pub fn headers_before_quote(&self) -> usize {
        let ip_header = if self.config.family == Family::V4 { 20 } else { 40 + self.config.options };
        ip_header + if self.config.transport == Transport::Udp { UDP_HEADER_LEN } else { 0 }
    }

    /// Sequence number of the first TCP packet.
    fn base(&self) -> u32 {
        let [a, b, c, d, ..] = self.tagged.cookie;
        u32::from_be_bytes([a, b, c, d])
    }

    fn syn(&self, index: u16, size: usize) -> Vec<u8> {
        let mut payload = Vec::with_capacity(size);
        icmp::fill(&mut payload, size);
        let sequence = self.base().wrapping_add(u32::from(index) << SEQUENCE_BITS);
        tcp::syn(self.config.port, sequence, &payload)
    }

    /// The packet whose sequence number is so far before this number, and how far.
    fn by_number(&self, number: u32) -> (Option<u16>, u32) {
        let distance = number.wrapping_sub(self.base());
        (u16::try_from(distance >> SEQUENCE_BITS).ok(), distance & ((1 << SEQUENCE_BITS) - 1))
    }

    fn by_start(&self, quoted: &[u8]) -> Named {
        let Some(start) = Start::parse(quoted) else { return Named::Foreign };
        match self.by_number(start.sequence) {
            (Some(index), 0) if start.destination_port == self.config.port => Named::Packet(index),
            _ => Named::Foreign,
        }
    }

    /// An acknowledgement alone is no answer of its own: a host sends one again for each further SYN while it waits for the
    /// end of the connection that the first of them has opened (RFC 9293, 3.10.7.4).
    fn by_acknowledgement(&self, segment: &[u8]) -> Named {
        let Some(segment) = Segment::parse(segment).filter(|segment| segment.source_port == self.config.port) else {
            return Named::Foreign;
        };
        let says_something = segment.has(flag::SYN) || segment.has(flag::RST);
        match (says_something, segment.has(flag::ACK), self.by_number(segment.acknowledgement)) {
            (true, true, (Some(index), 1..=MAX_ACKNOWLEDGED)) => Named::Packet(index),
            (true, false, _) if segment.has(flag::RST) => Named::Unknown,
            _ => Named::Foreign,
        }
    }

    /// The packet that an ICMP error quotes: for ICMP from its type byte on, for UDP from the payload on, for TCP from the
    /// segment's header on; each may be cut. What is there of the cookie has to be ours.
    pub fn quoted(&self, quoted: &[u8]) -> Named {
        match self.config.transport {
            Transport::Icmp => self.tagged.quoted_request(quoted),
            Transport::Tcp => self.by_start(quoted),
            Transport::Udp => self.tagged.quoted_datagram(quoted),
        }
    }

    /// The packet that a datagram answers. An answer has to bring back all of the cookie.
    pub fn answered(&self, bytes: &[u8]) -> Named {
        match self.config.transport {
            Transport::Icmp => {
                Message::parse(self.config.family, bytes).map_or(Named::Foreign, |message| self.tagged.echoed(&message))
            }
            Transport::Tcp => self.by_acknowledgement(bytes),
            Transport::Udp => self.tagged.served(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::icmp::checksum;

    const COOKIE: u64 = 0x1122_3344_5566_7788;

    fn flow(family: Family, transport: Transport, paris_id: Option<u16>, size: usize) -> Flow {
        Flow::new(config(family, transport, paris_id, size))
    }

    fn config(family: Family, transport: Transport, paris_id: Option<u16>, size: usize) -> FlowConfig {
        FlowConfig { family, transport, port: 80, first_sequence: 65_530, cookie: COOKIE, paris_id, size, options: 0 }
    }

    /// The checksum as it goes over the wire, with a pseudo-header whose addresses and ports add up to 4711.
    fn on_the_wire(family: Family, channel: Channel, payload: &[u8]) -> u16 {
        let mut bytes = 4711_u16.to_be_bytes().to_vec();
        let length = (payload.len() + 8) as u16;
        match channel {
            Channel::Icmp if family == Family::V4 => {}
            Channel::Icmp => bytes.extend((payload.len() as u16).to_be_bytes()),
            Channel::Udp { .. } => bytes.extend([length.to_be_bytes(), length.to_be_bytes()].as_flattened()),
            Channel::Tcp { .. } => unreachable!("its checksum takes part in no choice of a path"),
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
        let other = FlowConfig { cookie: COOKIE + 1, ..config(Family::V6, Transport::Icmp, Some(1), 48) };
        let theirs = Flow::new(other).packet(0, 48).1;
        assert_eq!(ours.quoted(&theirs), Named::Foreign);
        let mut reply = ours.packet(7, 48).1;
        assert_eq!(ours.answered(&reply), Named::Foreign, "a request is no reply");
        reply[0] = 129;
        assert_eq!(ours.answered(&reply), Named::Packet(7));
        assert_eq!(ours.answered(&reply[..17]), Named::Foreign, "half of the cookie is missing");
    }

    /// What the target says to a segment of ours: an acknowledgement that far behind its sequence number.
    fn answer(segment: &[u8], flags: u8, acknowledged: u32) -> Vec<u8> {
        let sent = Segment::parse(segment).unwrap();
        let mut answer = tcp::syn(sent.source_port, 0x0bad_cafe, b"");
        answer[..2].copy_from_slice(&80_u16.to_be_bytes());
        answer[8..12].copy_from_slice(&sent.sequence.wrapping_add(acknowledged).to_be_bytes());
        answer[13] = flags;
        answer
    }

    #[test]
    fn tcp_packets_differ_in_nothing_but_their_sequence_number() {
        let flow = flow(Family::V4, Transport::Tcp, Some(3), 40);
        let (channel, first) = flow.packet(0, 40);
        assert_eq!(channel, Channel::Tcp { source_port: Some(TCP_SOURCE_PORT + 3), port: 80 });
        let (same, mut later) = flow.packet(4095, 40);
        assert_eq!((same, later.len()), (channel, 60));
        assert_ne!(later[4..8], first[4..8]);
        later[4..8].copy_from_slice(&first[4..8]);
        assert_eq!(later, first);
        let off = self::flow(Family::V4, Transport::Tcp, None, 0).packet(9, 0);
        assert_eq!((off.0, off.1.len()), (Channel::Tcp { source_port: None, port: 80 }, 20));
    }

    #[test]
    fn tcp_packets_are_named_by_eight_bytes_and_by_acknowledgements() {
        const SYN_ACK: u8 = flag::SYN | flag::ACK;
        const RST_ACK: u8 = flag::RST | flag::ACK;
        let flow = flow(Family::V6, Transport::Tcp, Some(1), 2048);
        for index in [0, 1, 300, 4095] {
            let segment = flow.packet(index, 2048).1;
            let named = Named::Packet(index);
            assert_eq!((flow.quoted(&segment), flow.quoted(&segment[..8])), (named, named));
            assert_eq!(flow.quoted(&segment[..7]), Named::Foreign);
            // Who opens the connection acknowledges the SYN, who refuses it the payload too.
            assert_eq!(flow.answered(&answer(&segment, SYN_ACK, 1)), named);
            assert_eq!(flow.answered(&answer(&segment, RST_ACK, 2049)), named);
            for (flags, acknowledged) in [(SYN_ACK, 0), (SYN_ACK, 2050), (flag::ACK, 1), (0, 1), (flag::SYN, 1)] {
                assert_eq!(flow.answered(&answer(&segment, flags, acknowledged)), Named::Foreign, "{flags}");
            }
            assert_eq!(flow.answered(&answer(&segment, flag::RST, 1)), Named::Unknown);
            let mut other_port = answer(&segment, SYN_ACK, 1);
            other_port[1] = 81;
            assert_eq!(flow.answered(&other_port), Named::Foreign);
        }
        assert_eq!(flow.quoted(&tcp::syn(80, 17, b"")), Named::Foreign);
    }

    #[test]
    fn options_headers_and_tcp_take_their_room_of_a_small_mtu() {
        let size = |transport, options| {
            Flow::new(FlowConfig { options, ..config(Family::V6, transport, None, 2000) }).size_within(1280)
        };
        assert_eq!([size(Transport::Udp, 0), size(Transport::Udp, 264)], [1232, 968]);
        assert_eq!(size(Transport::Tcp, 8), 1212);
    }
}
