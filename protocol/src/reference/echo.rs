//! The echo over UDP: datagrams of asked sizes, up and down, by which path MTUs and lost fragments are found.
//!
//! An answer is never longer than the request, unless the request carries a token that the server gave to the same address
//! over TLS; then it is at most three times as long (the bound of QUIC, RFC 9000, 8.1). So the server is of no use for
//! showering others. Sizes are of the UDP payload; the packet has 8 bytes of UDP header and 20 (IPv4) or 40 (IPv6) more.
//!
//! Both messages have [`HEADER`] bytes, most significant first, and then padding of zeros:
//!
//! | Bytes | Request | Reply |
//! |---|---|---|
//! | 0–3 | `SdEq` | `SdEr` |
//! | 4 | flags: 1 = the reply may be fragmented | flags: 1 = the hop limit is known |
//! | 5 | 0 | TTL or hop limit of the request as it arrived |
//! | 6–7 | size wanted of the reply | size of the request as it arrived |
//! | 8–15 | identifier | the same |
//! | 16–31 | token, or zeros | who told the server last that a reply to this address was too big (IPv4-mapped), or zeros |
//! | 32–33 | 0 | the MTU that it told |
//! | 34–35 | 0 | the greatest packet the request came in, 0 when it came in one |
//! | 36–39 | 0 | 0 |

use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

/// Bytes of both messages before their padding.
pub const HEADER: usize = 40;

/// The most bytes of a message: beyond every path of the open internet, and far below what would shower anybody.
pub const MAX: usize = 2048;

/// Bytes of a token.
pub const TOKEN: usize = 16;

const REQUEST: &[u8; 4] = b"SdEq";
const REPLY: &[u8; 4] = b"SdEr";
const MAY_FRAGMENT: u8 = 1;
const HOP_LIMIT_KNOWN: u8 = 1;

/// Shows that whoever asks has lately received something at this address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token(pub [u8; TOKEN]);

impl<C> Encode<C> for Token {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Token {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        d.bytes()?.try_into().map(Self).map_err(|_| decode::Error::message("a token has 16 bytes"))
    }
}

/// A request, without its padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Chosen by the asker, to know the reply by.
    pub id: u64,
    /// Bytes the reply shall have.
    pub want: u16,
    /// The server may send the reply in fragments; otherwise it must arrive whole or not at all.
    pub may_fragment: bool,
    /// From the server over TLS.
    pub token: Option<Token>,
}

/// A router on the way to the asker said that a reply was too big for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooBig {
    /// The router.
    pub from: IpAddr,
    /// What it can take, in bytes of the whole packet.
    pub mtu: u16,
}

/// A reply, without its padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// The request's.
    pub id: u64,
    /// Bytes of the request as it arrived.
    pub received: u16,
    /// TTL or hop limit of the request as it arrived, if the server's kernel told.
    pub hop_limit: Option<u8>,
    /// The last such message about a reply to this address and port, within the last minutes.
    pub too_big: Option<TooBig>,
    /// The greatest packet the request came in, in bytes, when it came in fragments.
    pub fragment: Option<u16>,
}

impl Request {
    /// The datagram, `size` bytes long but at least [`HEADER`] and at most [`MAX`].
    pub fn to_bytes(&self, size: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size.clamp(HEADER, MAX));
        bytes.extend_from_slice(REQUEST);
        bytes.extend_from_slice(&[if self.may_fragment { MAY_FRAGMENT } else { 0 }, 0]);
        bytes.extend_from_slice(&self.want.to_be_bytes());
        bytes.extend_from_slice(&self.id.to_be_bytes());
        bytes.extend_from_slice(&self.token.map_or([0; TOKEN], |token| token.0));
        bytes.resize(size.clamp(HEADER, MAX), 0);
        bytes
    }

    /// Reads a datagram. `None`: it is no request.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER] = bytes.first_chunk()?;
        if bytes.len() > MAX || header.first_chunk() != Some(REQUEST) {
            return None;
        }
        let token: [u8; TOKEN] = array(header, 16)?;
        Some(Self {
            id: u64::from_be_bytes(array(header, 8)?),
            want: u16::from_be_bytes(array(header, 6)?),
            may_fragment: header[4] & MAY_FRAGMENT != 0,
            token: (token != [0; TOKEN]).then_some(Token(token)),
        })
    }

    /// How many bytes the reply has, when `received` came and `known` says whether the token is right.
    pub fn reply_size(&self, received: usize, known: bool) -> usize {
        let most = if known { received.saturating_mul(3) } else { received };
        usize::from(self.want).clamp(HEADER, most.clamp(HEADER, MAX))
    }
}

impl Reply {
    /// The datagram, `size` bytes long but at least [`HEADER`] and at most [`MAX`].
    pub fn to_bytes(&self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size.clamp(HEADER, MAX)];
        let from = self.too_big.map_or(Ipv6Addr::UNSPECIFIED, |too_big| match too_big.from {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        });
        let fields: [(usize, &[u8]); 8] = [
            (0, REPLY),
            (4, &[if self.hop_limit.is_some() { HOP_LIMIT_KNOWN } else { 0 }]),
            (5, &[self.hop_limit.unwrap_or(0)]),
            (6, &self.received.to_be_bytes()),
            (8, &self.id.to_be_bytes()),
            (16, &from.octets()),
            (32, &self.too_big.map_or(0, |too_big| too_big.mtu).to_be_bytes()),
            (34, &self.fragment.unwrap_or(0).to_be_bytes()),
        ];
        for (at, value) in fields {
            // All offsets lie inside the header.
            if let Some(place) = bytes.get_mut(at..at + value.len()) {
                place.copy_from_slice(value);
            }
        }
        bytes
    }

    /// Reads a datagram. `None`: it is no reply.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER] = bytes.first_chunk()?;
        if bytes.len() > MAX || header.first_chunk() != Some(REPLY) {
            return None;
        }
        let nonzero = |value: [u8; 2]| Some(u16::from_be_bytes(value)).filter(|value| *value > 0);
        let from = Ipv6Addr::from(array::<16>(header, 16)?);
        Some(Self {
            id: u64::from_be_bytes(array(header, 8)?),
            received: u16::from_be_bytes(array(header, 6)?),
            hop_limit: (header[4] & HOP_LIMIT_KNOWN != 0).then_some(header[5]),
            too_big: nonzero(array(header, 32)?).map(|mtu| TooBig { from: IpAddr::V6(from).to_canonical(), mtu }),
            fragment: nonzero(array(header, 34)?),
        })
    }
}

fn array<const N: usize>(header: &[u8; HEADER], at: usize) -> Option<[u8; N]> {
    header.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    #[test]
    fn both_messages_survive_their_bytes_at_every_size() {
        for (token, may_fragment) in [(None, false), (Some(Token([7; TOKEN])), true)] {
            let request = Request { id: u64::MAX - 1, want: 1500, may_fragment, token };
            for size in [0, HEADER, 1472, MAX] {
                let bytes = request.to_bytes(size);
                assert_eq!(bytes.len(), size.max(HEADER));
                assert_eq!(Request::parse(&bytes), Some(request));
                assert_eq!(Reply::parse(&bytes), None);
            }
        }
        for from in [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6("2001:db8::1".parse().unwrap())] {
            let too_big = Some(TooBig { from, mtu: 1280 });
            let reply = Reply { id: 3, received: 1452, hop_limit: Some(0), too_big, fragment: Some(1280) };
            assert_eq!(Reply::parse(&reply.to_bytes(100)), Some(reply));
        }
        let bare = Reply { id: 0, received: 40, hop_limit: None, too_big: None, fragment: None };
        assert_eq!(Reply::parse(&bare.to_bytes(0)), Some(bare));
    }

    #[test]
    fn what_is_no_request_is_none() {
        let bytes = Request { id: 1, want: 40, may_fragment: false, token: None }.to_bytes(HEADER);
        assert_eq!(Request::parse(&bytes[..HEADER - 1]), None);
        assert_eq!(Request::parse(&[0; HEADER]), None);
        assert_eq!(Request::parse(&[&bytes[..], &[0; MAX]].concat()), None);
    }

    #[test]
    fn nobody_gets_more_than_he_may() {
        let request = |want| Request { id: 1, want, may_fragment: false, token: None };
        for (received, want, known, size) in [
            (40, 1452, false, 40),
            (40, 1452, true, 120),
            (500, 1452, true, 1452),
            (1452, 100, false, 100),
            (1452, 0, false, HEADER),
            (MAX, u16::MAX, true, MAX),
        ] {
            assert_eq!(request(want).reply_size(received, known), size, "{received} {want} {known}");
        }
    }
}
