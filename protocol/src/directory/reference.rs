//! A network's own reference servers: what IPv6 reachability is measured against.
//!
//! A reference is one machine with both families, so that a difference between the two is the path's and not the server's.
//! The directory lists them, so a root key vouches for their addresses and keys. What a reference does not offer is absent,
//! and what needs it is then not tested.

use core::net::IpAddr;

use minicbor::{Decode, Encode};

use crate::bounded::Text;
use crate::key::PublicKey;
use crate::net::{Family, Ip};

/// The most references that a directory lists.
pub const MAX_REFERENCES: usize = 64;

/// The name of a reference, as results carry it.
pub type ReferenceName = Text<64>;

/// One reference server.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Reference {
    /// Its name, for people and in results; no other reference of the directory has it.
    #[n(0)]
    pub name: ReferenceName,
    /// The key it proves to have over TLS and QUIC.
    #[n(1)]
    pub key: PublicKey,
    /// Its IPv4 address.
    #[n(2)]
    pub v4: Option<Ip>,
    /// Its IPv6 address.
    #[n(3)]
    pub v6: Option<Ip>,
    /// TCP port where it speaks TLS 1.3 and tells what it saw.
    #[n(4)]
    pub tls: Option<u16>,
    /// UDP port where it speaks QUIC and tells what it saw.
    #[n(5)]
    pub quic: Option<u16>,
    /// UDP port of the sized echo.
    #[n(6)]
    pub echo: Option<u16>,
    /// A UDP port where nothing listens and nothing is filtered: it answers with an ICMP error.
    #[n(7)]
    pub closed: Option<u16>,
    /// An IPv6 address of its own behind a link that takes 1280 bytes: longer packets to it come back as "too big".
    #[n(8)]
    pub narrow: Option<Ip>,
    /// The signed zone, without a final dot, whose names `ds`, `v4`, `v6` … lead to this reference.
    #[n(9)]
    pub zone: Option<Text<253>>,
}

impl Reference {
    /// Its address of a family. An address that stands where one of the other family belongs does not count.
    pub fn address(&self, af: Family) -> Option<IpAddr> {
        let address = match af {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        };
        address.map(|ip| ip.0).filter(|address| Family::of(*address) == af)
    }

    /// Its address behind the narrow link.
    pub fn narrow_address(&self) -> Option<IpAddr> {
        self.narrow.map(|ip| ip.0).filter(|address| Family::of(*address) == Family::V6)
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn an_address_of_the_wrong_family_is_none() {
        let v4 = Ip(Ipv4Addr::new(192, 0, 2, 1).into());
        let reference = Reference {
            name: Text::cut("r1"),
            key: PublicKey([1; 32]),
            v4: Some(Ip(Ipv6Addr::LOCALHOST.into())),
            v6: Some(v4),
            tls: None,
            quic: None,
            echo: None,
            closed: None,
            narrow: Some(v4),
            zone: None,
        };
        assert_eq!(Family::BOTH.map(|af| reference.address(af)), [None, None]);
        assert_eq!(reference.narrow_address(), None);
        assert_eq!(Reference { v4: Some(v4), ..reference }.address(Family::V4), Some(v4.0));
    }
}
