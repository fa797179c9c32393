//! What `ntp` saw.

use minicbor::{Decode, Encode};

use super::{IcmpError, Why};
use crate::bounded::List;
use crate::time::UnixNanos;

/// What `ntp` saw.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct NtpOutcome {
    /// What the server says of itself, in the first answer that tells a time, else in the first answer; absent when none came.
    #[n(0)]
    pub server: Option<NtpServer>,
    /// In the order of the requests. Fewer than were asked for when the server asked to be left alone.
    #[n(1)]
    pub replies: List<NtpReply, 16>,
    /// Datagrams and ICMP errors that came and answered none of the requests, or came too late.
    #[n(2)]
    pub strays: u32,
}

/// What a server says of itself and its clock (RFC 5905, 7.3), as it stands in the packet.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NtpServer {
    /// Leap indicator: 0 none, 1 a last minute of 61 seconds, 2 of 59, 3 the clock is not synchronised.
    #[n(0)]
    pub leap: u8,
    /// Version of the protocol.
    #[n(1)]
    pub version: u8,
    /// 1 at a reference clock, 2 to 15 steps away from one, 16 not synchronised; 0 has no meaning but in a kiss-o'-death.
    #[n(2)]
    pub stratum: u8,
    /// Seconds between requests, as a power of two.
    #[n(3)]
    pub poll: i8,
    /// Of the server's clock in seconds, as a power of two.
    #[n(4)]
    pub precision: i8,
    /// Round trip to the reference clock, in 1/65536 seconds.
    #[n(5)]
    pub root_delay: u32,
    /// Dispersion to the reference clock, in 1/65536 seconds.
    #[n(6)]
    pub root_dispersion: u32,
    /// Text at stratum 0 and 1, else what names the server's own server.
    #[n(7)]
    pub reference_id: u32,
    /// When the server's clock was last set; absent when never.
    #[n(8)]
    pub reference_time: Option<UnixNanos>,
}

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum NtpReply {
    /// The time.
    #[n(0)]
    Answer(#[n(0)] NtpAnswer),
    /// Silence.
    #[n(1)]
    Timeout,
    /// The request could not be sent.
    #[n(2)]
    SendError(#[n(0)] Why),
    /// A router or the server sent an ICMP error, and nothing better came.
    #[n(3)]
    Icmp(#[n(0)] IcmpError),
    /// The server answered without a time.
    #[n(4)]
    NoTime(#[n(0)] NtpNoTime),
}

/// The four times of one exchange (RFC 5905, 8) and what follows from them.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NtpAnswer {
    /// When the request left, by the probe's clock (T1).
    #[n(0)]
    pub origin: UnixNanos,
    /// When it arrived, by the server's (T2).
    #[n(1)]
    pub receive: UnixNanos,
    /// When the answer left, by the server's (T3).
    #[n(2)]
    pub transmit: UnixNanos,
    /// When it arrived, by the probe's (T4).
    #[n(3)]
    pub last: UnixNanos,
    /// Nanoseconds on the way there and back, (T4 − T1) − (T3 − T2). Negative when the server claims to have taken longer
    /// than the whole exchange.
    #[n(4)]
    pub rtt: i64,
    /// Nanoseconds that the server's clock is ahead of the probe's, ((T2 − T1) + (T3 − T4)) / 2. A positive number is a
    /// server ahead (RFC 5905; RIPE Atlas had the opposite sign for years).
    #[n(5)]
    pub offset: i64,
}

/// An answer without a time: a kiss-o'-death (RFC 5905, 7.4), or one with empty time stamps.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NtpNoTime {
    /// Nanoseconds from request to answer.
    #[n(0)]
    pub elapsed: u64,
    /// The four bytes that say why, where the stratum is 0; absent when the server just left the times out.
    #[n(1)]
    pub kiss: Option<u32>,
}
