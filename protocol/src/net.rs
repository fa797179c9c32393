//! Network words with one fixed encoding each: address family, IP address, transport protocol; and what carries a
//! probe's own connection.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

/// An address family (Atlas: `af`). On the wire and in text the number 4 or 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families, IPv6 first.
    pub const BOTH: [Family; 2] = [Family::V6, Family::V4];

    /// 4 or 6.
    pub const fn number(self) -> u8 {
        match self {
            Family::V4 => 4,
            Family::V6 => 6,
        }
    }

    /// The family with this number.
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            4 => Some(Family::V4),
            6 => Some(Family::V6),
            _ => None,
        }
    }

    /// The family of an address as it would be sent; an IPv4-mapped IPv6 address is IPv6 here.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

impl<C> Encode<C> for Family {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.u8(self.number())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Family {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Family::from_number(u64::from(d.u8()?))
            .ok_or_else(|| decode::Error::message("address family is neither 4 nor 6"))
    }
}

/// An IP address. On the wire a byte string of 4 or 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ip(pub IpAddr);

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<IpAddr> for Ip {
    fn from(address: IpAddr) -> Self {
        Ip(address)
    }
}

impl<C> Encode<C> for Ip {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        match self.0 {
            IpAddr::V4(v4) => e.bytes(&v4.octets())?.ok(),
            IpAddr::V6(v6) => e.bytes(&v6.octets())?.ok(),
        }
    }
}

impl<'b, C> Decode<'b, C> for Ip {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let bytes = d.bytes()?;
        if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
            Ok(Ip(IpAddr::V4(Ipv4Addr::from(octets))))
        } else if let Ok(octets) = <[u8; 16]>::try_from(bytes) {
            Ok(Ip(IpAddr::V6(Ipv6Addr::from(octets))))
        } else {
            Err(decode::Error::message("an IP address has 4 or 16 bytes"))
        }
    }
}

/// Is this a label of a host name: letters, digits and hyphens within (RFC 1123, 2.1), at most 63 of them? Names that are only
/// measured may have more in them; this is for those that we make ourselves.
pub fn is_host_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// What a probe's connection to its collector runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Uplink {
    /// QUIC.
    Quic,
    /// TLS over TCP ([`crate::lanes`]), where UDP is blocked.
    Tls,
}

impl Uplink {
    /// A word for people, JSON and databases.
    pub const fn name(self) -> &'static str {
        match self {
            Uplink::Quic => "quic",
            Uplink::Tls => "tls",
        }
    }

    /// Reads [`Uplink::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Uplink::Quic, Uplink::Tls].into_iter().find(|uplink| uplink.name() == name)
    }
}

/// What carries a measurement's packets (Atlas: `protocol`, `proto`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Transport {
    /// ICMP or ICMPv6.
    #[n(1)]
    Icmp,
    /// TCP.
    #[n(6)]
    Tcp,
    /// UDP.
    #[n(17)]
    Udp,
}

impl Transport {
    /// Atlas's spelling.
    pub const fn name(self) -> &'static str {
        match self {
            Transport::Icmp => "ICMP",
            Transport::Tcp => "TCP",
            Transport::Udp => "UDP",
        }
    }

    /// Reads Atlas's spelling, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        [Transport::Icmp, Transport::Tcp, Transport::Udp].into_iter().find(|t| t.name().eq_ignore_ascii_case(name))
    }
}
