//! Reads the SYN that a connection began with. Pure: bytes in, what they say out.

use sonde_protocol::bounded::List;
use sonde_protocol::reference::MAX_HEADERS;

const TCP: u8 = 6;
/// Extension headers (RFC 8200, 4; RFC 4302): hop-by-hop options, routing, fragment, authentication, destination options.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

/// What a SYN said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Syn {
    /// TTL or hop limit.
    pub(crate) hop_limit: Option<u8>,
    /// The MSS option.
    pub(crate) mss: Option<u16>,
    /// IPv6 extension headers in their order.
    pub(crate) headers: List<u8, MAX_HEADERS>,
}

impl Syn {
    /// Reads IP header, extension headers and TCP header. What is not there, or makes no sense, stays empty.
    pub(crate) fn parse(packet: &[u8]) -> Self {
        let mut syn = Self::default();
        let tcp = match packet.first().map(|byte| byte >> 4) {
            Some(4) => syn.ipv4(packet),
            Some(6) => syn.ipv6(packet),
            _ => None,
        };
        syn.mss = tcp.and_then(mss);
        syn
    }

    fn ipv4<'a>(&mut self, packet: &'a [u8]) -> Option<&'a [u8]> {
        self.hop_limit = packet.get(8).copied();
        let length = usize::from(packet.first()? & 0x0f) * 4;
        (packet.get(9) == Some(&TCP)).then(|| packet.get(length..)).flatten()
    }

    fn ipv6<'a>(&mut self, packet: &'a [u8]) -> Option<&'a [u8]> {
        self.hop_limit = packet.get(7).copied();
        let (mut next, mut rest) = (*packet.get(6)?, packet.get(40..)?);
        while next != TCP {
            let units = usize::from(*rest.get(1)?);
            let length = match next {
                HOP_BY_HOP | ROUTING | DESTINATION => (units + 1) * 8,
                FRAGMENT => 8,
                AUTHENTICATION => (units + 2) * 4,
                _ => return None,
            };
            self.headers.push(next).ok()?;
            (next, rest) = (*rest.first()?, rest.get(length..)?);
        }
        Some(rest)
    }
}

/// The MSS option of a TCP header (RFC 9293, 3.1: kind 2, length 4).
fn mss(tcp: &[u8]) -> Option<u16> {
    let length = usize::from(tcp.get(12)? >> 4) * 4;
    let mut options = tcp.get(20..length)?;
    loop {
        match options {
            [2, 4, high, low, ..] => return Some(u16::from_be_bytes([*high, *low])),
            [] | [0, ..] => return None,
            [1, rest @ ..] => options = rest,
            [_, length, ..] if *length >= 2 => options = options.get(usize::from(*length)..)?,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TCP header with these options, padded.
    fn tcp(options: &[u8]) -> Vec<u8> {
        let mut options = options.to_vec();
        options.resize(options.len().next_multiple_of(4), 0);
        let mut header = vec![0; 20];
        header[12] = u8::try_from((20 + options.len()) / 4).unwrap() << 4;
        [header, options].concat()
    }

    fn ipv6(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = vec![0; 40];
        (header[0], header[6], header[7]) = (0x60, next, 57);
        [&header, rest].concat()
    }

    #[test]
    fn hop_limit_mss_and_headers_are_read() {
        let mut v4 = vec![0; 24];
        (v4[0], v4[8], v4[9]) = (0x46, 64, TCP);
        let v4 = [v4, tcp(&[1, 1, 2, 4, 5, 0xb4])].concat();
        type Case = (&'static str, Vec<u8>, Option<u8>, Option<u16>, &'static [u8]);
        let cases: [Case; 6] = [
            ("IPv4 with options", v4, Some(64), Some(1460), &[]),
            ("IPv6", ipv6(TCP, &tcp(&[3, 3, 7, 2, 4, 5, 0xa0])), Some(57), Some(1440), &[]),
            (
                "two options headers",
                ipv6(
                    HOP_BY_HOP,
                    &[&[60, 0, 1, 4, 0, 0, 0, 0][..], &[TCP, 0, 1, 4, 0, 0, 0, 0], &tcp(&[2, 4, 4, 0xd8])].concat(),
                ),
                Some(57),
                Some(1240),
                &[HOP_BY_HOP, DESTINATION],
            ),
            ("no MSS", ipv6(TCP, &tcp(&[])), Some(57), None, &[]),
            ("an option of length 0", ipv6(TCP, &tcp(&[9, 0, 2, 4, 5, 0xa0])), Some(57), None, &[]),
            ("UDP", ipv6(17, &[0; 8]), Some(57), None, &[]),
        ];
        for (name, packet, hop_limit, mss, headers) in cases {
            let syn = Syn::parse(&packet);
            assert_eq!((syn.hop_limit, syn.mss, &*syn.headers), (hop_limit, mss, headers), "{name}");
        }
    }

    #[test]
    fn cut_off_anywhere_it_is_read_as_far_as_it_goes() {
        let whole = ipv6(HOP_BY_HOP, &[&[TCP, 0, 1, 4, 0, 0, 0, 0][..], &tcp(&[2, 4, 5, 0xa0])].concat());
        for length in 0..whole.len() {
            let syn = Syn::parse(&whole[..length]);
            assert_eq!(syn.mss, None, "{length}");
            assert_eq!(syn.hop_limit, (length >= 8).then_some(57), "{length}");
        }
        // A chain of headers without end.
        let endless = ipv6(HOP_BY_HOP, &[0, 0, 1, 4, 0, 0, 0, 0].repeat(100));
        assert_eq!(Syn::parse(&endless).headers.len(), MAX_HEADERS);
    }
}
