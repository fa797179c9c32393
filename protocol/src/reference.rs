//! What a probe and a reference server say to each other.
//!
//! Reference servers are the network's own targets of the kind `ipv6`. They tell what they saw of a connection, take and
//! give bulk in both directions, and echo datagrams of asked sizes. Over TLS and over QUIC (one bidirectional stream) the
//! exchange is the same: a [`wire`](crate::wire) message [`Ask`] up, a [`Seen`] down, end. The echo is in [`echo`].
//!
//! The probe knows the server by the key that the directory lists; the server does not ask who the probe is. It tells
//! nothing that the asker could not see by itself, and so keeps no secret but its own key.

pub mod echo;

use minicbor::{Decode, Encode};

use crate::bounded::{Bytes, List};
use crate::net::Ip;

/// The name of the exchange in the handshake (ALPN, RFC 7301), over TCP and over QUIC.
pub const ALPN_REFERENCE: &[u8] = b"sonde-reference/1";

/// The most padding in one direction, in bytes: several full segments, so that a path which loses them is found.
pub const MAX_PADDING: usize = 8 * 1024;

/// The greatest message of the exchange.
pub const MAX_MESSAGE: usize = MAX_PADDING + 1024;

/// IPv6 extension headers remembered of one packet.
pub const MAX_HEADERS: usize = 8;

/// What the probe asks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Ask {
    /// Bytes without meaning, so that the way up carries full segments.
    #[n(0)]
    pub padding: Bytes<MAX_PADDING>,
    /// How many bytes without meaning the answer shall carry. More than [`MAX_PADDING`] counts as that.
    #[n(1)]
    pub want: u16,
}

/// What the server saw of the connection.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Seen {
    /// The address the connection came from: after all translation on the way.
    #[n(0)]
    pub src: Ip,
    /// The port it came from.
    #[n(1)]
    pub src_port: u16,
    /// The MSS option of the SYN as it arrived (RFC 9293, 3.7.1), in bytes. Absent over QUIC, without such an option, and where the
    /// server's kernel does not keep SYNs.
    #[n(2)]
    pub mss: Option<u16>,
    /// TTL or hop limit of the SYN as it arrived. Absent as `mss` is.
    #[n(3)]
    pub hop_limit: Option<u8>,
    /// The IPv6 extension headers of the SYN as it arrived, by their protocol numbers, in their order. Empty for IPv4.
    #[n(4)]
    pub headers: List<u8, MAX_HEADERS>,
    /// Lets this address ask for echoes of more bytes than it sends, for an hour at least.
    #[n(5)]
    pub token: echo::Token,
    /// As many bytes without meaning as were asked for.
    #[n(6)]
    pub padding: Bytes<MAX_PADDING>,
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use core::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_greatest_messages_fit_their_bound() {
        let ask = Ask { padding: Bytes::new(vec![0; MAX_PADDING]).unwrap(), want: u16::MAX };
        let seen = Seen {
            src: Ip(Ipv4Addr::LOCALHOST.into()),
            src_port: 65535,
            mss: Some(1440),
            hop_limit: Some(255),
            headers: List::cut([0; MAX_HEADERS]),
            token: echo::Token([255; echo::TOKEN]),
            padding: Bytes::new(vec![0; MAX_PADDING]).unwrap(),
        };
        for bytes in [minicbor::to_vec(&ask).unwrap(), minicbor::to_vec(&seen).unwrap()] {
            assert!(bytes.len() <= MAX_MESSAGE, "{}", bytes.len());
        }
        let bytes = minicbor::to_vec(&seen).unwrap();
        assert_eq!(minicbor::decode::<Seen>(&bytes).unwrap(), seen);
    }
}
